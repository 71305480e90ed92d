"""Schema history of returns."""
