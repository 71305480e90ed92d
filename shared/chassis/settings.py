"""Settings from the environment; the only reader of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_URL_NAME = re.compile(r"RECLAMO_([A-Z]+)_DATABASE_URL")
EXAMPLE_SECRETS = ("change-me", "changeme", "secret", "example", "please-change")


def _database_urls() -> dict[str, str]:
    found = ((_URL_NAME.fullmatch(name), value) for name, value in os.environ.items())
    return {match.group(1).lower(): value for match, value in found if match and value}


class Settings(BaseSettings):
    """What every process reads. Names in the environment carry the prefix RECLAMO_."""

    model_config = SettingsConfigDict(env_prefix="RECLAMO_", extra="ignore", frozen=True)

    bus_url: str = Field("memory://", description="memory:// or amqp://user:password@host/")
    data_dir: Path = Field(Path(".data"), description="where the SQLite files lie")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    secret_key: SecretStr | None = Field(
        None, description="the gateway's secret, at least 32 characters; not for the services"
    )
    internal_public_key: str | None = Field(
        None, description="what services check the gateway's tokens with (`reclamo keygen`)"
    )
    databases: dict[str, str] = Field(
        default_factory=_database_urls, description="RECLAMO_<SERVICE>_DATABASE_URL of each"
    )
    wait_bound_s: float = Field(10.0, description="how long a call waits for its saga")
    bus_declare: bool = Field(
        True, description="declare exchanges and queues at start; false: only check them"
    )
    bus_verify_sender: bool = Field(
        False, description="each service has its own broker user: refuse forged senders"
    )
    bus_local_faults: str = Field(
        "", description="faults of the in-process bus, e.g. dup:0.2,reorder:16,seed=1"
    )
    failpoint: str = Field("", description="rehearse a crash, e.g. claims.relay.r3@2:kill")
    failpoint_file: Path | None = Field(
        None, description="a file with such text, read at the start and at each SIGUSR1"
    )

    def database_url(self, service: str) -> str:
        """The database of a service; a SQLite file in the data folder unless set."""
        file = (self.data_dir / f"{service}.db").absolute()
        return self.databases.get(service) or f"sqlite:///{file}"
