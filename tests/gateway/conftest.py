"""The real gateway over the real services, in this process, on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog

from chassis.testing import DatabaseUrl, sqlite_files
from deploy.assembly import PROCESSES
from deploy.embedded import Embedded, running
from deploy.secrets_file import Secrets
from gateway.settings import GatewaySettings
from tests.gateway.builders import ADMIN_TOKEN, SECRET_KEY, Door, a_shop

OpenGateway = Callable[..., Awaitable[Door]]


@pytest.fixture(autouse=True, scope="package")
def plain_logs() -> Iterator[None]:
    """Logs as the product writes them; the colorful default draws a trace for seconds."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
async def open_gateway(
    sqlite_url_factory: DatabaseUrl, tmp_path: Path
) -> AsyncIterator[OpenGateway]:
    """``door = await open_gateway(store_returns="open")``: an installation with these settings."""
    opened: list[Any] = []

    async def open_it(**settings: Any) -> Door:
        databases = {name: await sqlite_url_factory(name) for name in PROCESSES}
        given = GatewaySettings(data_dir=tmp_path, databases=databases, **settings)
        entered = _installation(given)
        opened.append(entered)
        embedded = await entered.__aenter__()
        return Door(embedded.gateway.app, embedded=embedded)

    yield open_it
    for each in reversed(opened):
        await each.__aexit__(None, None, None)


@asynccontextmanager
async def _installation(settings: GatewaySettings) -> AsyncIterator[Embedded]:
    secrets = Secrets(secret_key=SECRET_KEY, admin_token=ADMIN_TOKEN, demo_password="unused")
    async with running(settings, secrets) as embedded:
        yield embedded


@pytest.fixture
async def door(open_gateway: OpenGateway) -> Door:
    """An empty installation, to be asked as the administrator."""
    return await open_gateway()


@pytest.fixture
async def shop(door: Door) -> Door:
    """An installation with a small shop: see ``builders.a_shop``."""
    answer = await door.post("/admin/import", a_shop())
    assert answer.status_code == 200, answer.text
    assert answer.json()["refusals"] == []
    return door


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """One installation for all tests of a file; its webhooks may go to loopback."""
    folder = tmp_path_factory.mktemp("shared")
    make = sqlite_files(folder)
    databases = {name: await make(name) for name in PROCESSES}
    settings = GatewaySettings(data_dir=folder, databases=databases, webhook_targets="any")
    async with _installation(settings) as embedded:
        yield Door(embedded.gateway.app, embedded=embedded)
