"""Settings of claims: where evidence is kept, and how much a customer may report."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from chassis import settings


class Settings(settings.Settings):
    """``RECLAMO_EVIDENCE_DIR`` must be the same folder for all replicas."""

    evidence_dir: Path | None = Field(
        None, description="where files of customers and clerks lie; evidence in the data folder"
    )
    inquiries_per_day: int = Field(20, description="how many problems a customer may report a day")

    @property
    def evidence_folder(self) -> Path:
        """Where evidence is kept."""
        return (self.evidence_dir or self.data_dir / "evidence").absolute()

    @classmethod
    def of(cls, given: settings.Settings) -> Settings:
        """Those of the process, and our own beside them from the environment."""
        return given if isinstance(given, cls) else cls(**given.model_dump())
