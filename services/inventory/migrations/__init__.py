"""Schema history of inventory."""
