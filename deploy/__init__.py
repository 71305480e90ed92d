"""The `reclamo` command, the ways to run the services, and the demo data."""
