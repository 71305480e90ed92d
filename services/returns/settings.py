"""Settings of returns: those every service has, and whether the return policy binds customers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from chassis import settings


class Settings(settings.Settings):
    """``RECLAMO_STORE_POLICY=advise`` lets customers return what the policy would refuse."""

    store_policy: Literal["enforce", "advise"] = Field(
        "enforce", description="whether the return policy binds customers and guests"
    )

    @classmethod
    def of(cls, given: settings.Settings) -> Settings:
        """Those of the process, and our own beside them from the environment."""
        return given if isinstance(given, cls) else cls(**given.model_dump())
