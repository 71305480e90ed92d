"""One shop, opened once; every test runs seeds in copies of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chassis.observability import configure_logs
from deploy.simulation.report import opened
from deploy.simulation.run import Simulation


@pytest.fixture(scope="session")
def simulation() -> Iterator[Simulation]:
    """Ready for seeds. What services say of accidents on purpose would fill the captured output."""
    configure_logs("CRITICAL")
    with opened() as ready:
        yield ready
