"""What forks services is itself a process that can die."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from chassis.testing import eventually
from tests.crash.nursery import Nursery

# It serves until it is told to end.
SERVES = ("http.server", ["0", "--bind", "127.0.0.1"])


@pytest.mark.timeout(60)
async def test_who_waits_for_a_child_of_a_dead_nursery_hears_of_its_end(tmp_path: Path) -> None:
    nursery = Nursery()
    try:
        await nursery.ready()
        log = tmp_path / "child.log"
        child = nursery.start(*SERVES, dict(os.environ), log)
        # From here on it dies with its parent.
        await eventually(log.exists)
        assert child.poll() is None
        os.kill(nursery.pid, signal.SIGTERM)
        assert child.wait(10) == -signal.SIGKILL
    finally:
        nursery.close()
