"""Demo data: a slice of real trade, and a small invented shop."""
