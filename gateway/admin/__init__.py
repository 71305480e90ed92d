"""The ``/admin`` surface: Medusa v1's contract for the back office, and our additions to it."""
