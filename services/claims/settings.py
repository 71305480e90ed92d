"""Settings of claims: those every service has."""

from chassis.settings import Settings

__all__ = ["Settings"]
