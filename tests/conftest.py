"""What every test shares: the engines' fixtures, and the order of a whole run."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

_MEMORY = Path("/dev/shm")
_MEMORY_LEAST = 4 * 2**30

# Processes are killed here, but no plug is pulled: what the kernel holds is never lost. So where
# there is room the files of all tests, and those of their engines, lie in memory.
if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK):  # noqa: SIM102
    if shutil.disk_usage(_MEMORY).free >= _MEMORY_LEAST:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None

# Hundreds of processes are started, which read bytecode twice as fast as they compile.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A slow machine is no defect: the time of a single example proves nothing.
settings.register_profile("reclamo", deadline=None)
settings.load_profile("reclamo")

pytest_plugins = ["chassis.testing"]

# Quick and pure first, whole journeys last: the first red line of a run comes early and is the
# one nearest to its cause. The longest before those that fill the time beside them.
_ORDER = (
    "house",
    "contracts",
    "chassis",
    "orders",
    "claims",
    "returns",
    "inventory",
    "gateway",
    "client",
    "deploy",
    "simulation",
    "crash",
    "planted",
    "journeys/test_replicas.py",
    "journeys",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort by folder; inside a folder the order of collection stays."""
    root = config.rootpath / "tests"

    def rank(item: pytest.Item) -> int:
        place = item.path.relative_to(root).as_posix() if item.path.is_relative_to(root) else ""
        known = (n for n, name in enumerate(_ORDER) if place.startswith(name))
        return next(known, len(_ORDER) - 2)

    items.sort(key=rank)
