"""One installation of each kind for all journeys, and fresh ones for those who want them alone."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from chassis import engines
from tests.journeys.system import Application, Distributed, Embedded

OpenSystem = Callable[..., Awaitable[Application]]
MODES = ("embedded", "local")
PREFIX = "reclamo-journey-"
YOUNG_S = 60.0


def needs_engines() -> None:
    """Skip loudly where PostgreSQL or RabbitMQ is not installed; fail with ``REQUIRE_INFRA=1``."""
    try:
        engines.postgres_binaries()
        engines.rabbitmq_binary()
    except engines.EngineMissing as missing:
        # In the words that the summary of chassis.testing counts.
        reason = f"no real engine: {missing}"
        if os.environ.get("REQUIRE_INFRA") == "1":
            pytest.fail(f"{reason} (REQUIRE_INFRA=1)", pytrace=False)
        pytest.skip(reason)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for one installation, locked while it is in use."""
    _end_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    # PostgreSQL may have to run as another user, who must be able to walk through.
    folder.chmod(0o711)
    with (folder / "alive").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _end_abandoned() -> None:
    """A run that was killed leaves its engines behind (its services end with it); nobody holds
    its lock any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), (folder / "alive").open("r") as lock:
            # A run that is just beginning has made its folder and not yet its lock.
            if time.time() - folder.stat().st_ctime < YOUNG_S:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            engines.PostgresServer(folder / "postgres").kill()
            engines.RabbitServer(folder / "rabbitmq").kill()
            shutil.rmtree(folder, ignore_errors=True)


def build(mode: str, folder: Path, **settings: Any) -> Application:
    """An installation that is not started; ``settings`` are those of the mode."""
    if mode == "embedded":
        return Embedded(folder, **settings)
    needs_engines()
    return Distributed(folder, **settings)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=MODES)
async def system(request: pytest.FixtureRequest) -> AsyncIterator[Application]:
    """The shared installation: every journey brings orders and variants of its own."""
    with _folder() as folder:
        running = build(request.param, folder)
        try:
            await running.start()
            yield running
        finally:
            await running.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def open_system() -> AsyncIterator[OpenSystem]:
    """``system = await open_system("embedded")``: a fresh installation for one test."""
    opened: list[tuple[Application, Any]] = []

    async def open_it(mode: str, **settings: Any) -> Application:
        folder = _folder()
        running = build(mode, folder.__enter__(), **settings)
        opened.append((running, folder))
        await running.start()
        return running

    yield open_it
    for running, folder in reversed(opened):
        await running.stop()
        folder.__exit__(None, None, None)
