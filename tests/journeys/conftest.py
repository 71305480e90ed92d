"""One installation of each kind for all journeys, and fresh ones for those who want them alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from chassis import engines
from tests.journeys.system import Application, Distributed, Embedded

OpenSystem = Callable[..., Awaitable[Application]]
MODES = ("embedded", "local")


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
    folder = Path(tempfile.mkdtemp(prefix="reclamo-journey-"))
    # PostgreSQL may have to run as another user, who must be able to walk through.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
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
