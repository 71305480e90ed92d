"""Which code was measured, on which versions."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from chassis import engines
from deploy.bench import raw

_PACKAGES = (
    *("uvicorn", "uvloop", "httptools", "fastapi", "pydantic-core", "aiohttp"),
    *("asyncpg", "aio-pika", "sqlalchemy"),
)


def told() -> dict[str, object]:
    """{commit, changed (files that are not committed), versions}."""
    versions = {name: version(name) for name in _PACKAGES}
    return {
        "commit": _git("rev-parse", "--short=12", "HEAD") or "unknown",
        "changed": len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
        "versions": {
            "python": platform.python_version(),
            "sqlite": raw.SQLITE_VERSION,
            **_engines(),
            **versions,
        },
    }


def _engines() -> dict[str, str]:
    try:
        return {"postgres": engines.postgres_version(), "rabbitmq": engines.rabbitmq_version()}
    except engines.EngineMissing:
        return {}


def _git(*arguments: str) -> str:
    try:
        asked = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return asked.stdout.strip()
