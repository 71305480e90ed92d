"""The whole system in an invented world: its time, its chance and its accidents follow from a seed."""
