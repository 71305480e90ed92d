"""The benchmark: a closed loop of clients on a system of its own, and what its parts can do."""
