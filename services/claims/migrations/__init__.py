"""Schema history of claims."""
