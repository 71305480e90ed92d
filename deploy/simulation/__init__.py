"""The whole system in an invented world: its time, chance and accidents follow from a seed."""
