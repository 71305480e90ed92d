"""One installation, and one Node that asks it as the published client does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.client.client import Client, NodeMissing, install, running
from tests.journeys.system import SECRETS, Embedded


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The npm client; without it tests are skipped loudly, or fail with ``REQUIRE_INFRA=1``."""
    try:
        return install(tmp_path_factory.mktemp("npm"))
    except NodeMissing as missing:
        # In the words that the summary of chassis.testing counts.
        reason = f"no real engine: node: {missing}"
    if os.environ.get("REQUIRE_INFRA") == "1":
        pytest.fail(f"{reason} (REQUIRE_INFRA=1)", pytrace=False)
    pytest.skip(reason)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Embedded]:
    """The installation of a file's tests: each brings orders of its own."""
    folder = Path(tempfile.mkdtemp(prefix="reclamo-client-"))
    running_shop = Embedded(folder)
    try:
        await running_shop.start()
        yield running_shop
    finally:
        await running_shop.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(installed: Path, shop: Embedded) -> AsyncIterator[Client]:
    """A client with the administrator's token, as its makers show it."""
    async with running(installed) as node:
        yield Client(node, shop.url, {"apiKey": SECRETS.admin_token, "maxRetries": 0})
