"""Settings of orders: those every service has, and the fake payment provider's."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from chassis import settings


class Settings(settings.Settings):
    """Names in the environment carry the prefix RECLAMO_."""

    fake_provider_file: Path | None = Field(
        None,
        description="ledger of the fake payment provider; in the data folder unless set",
    )
    fake_provider_faults: str = Field(
        "", description="its faults, e.g. declined:0.1,lost_answer:0.1,slow:0.05,seed=1"
    )

    @property
    def fake_ledger_file(self) -> Path:
        """Where the fake provider writes down what it refunded."""
        return self.fake_provider_file or (self.data_dir / "fake_provider.sqlite3").absolute()
