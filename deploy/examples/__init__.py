"""Programs of others: how to read from Reclamo."""
