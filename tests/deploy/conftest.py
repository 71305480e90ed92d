"""One installation with the demo data per run: whoever wants to break it takes a copy."""

from __future__ import annotations

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.demo_seed import seed
from deploy.embedded import running
from deploy.gateway_client import Gateway
from deploy.secrets_file import load
from gateway.settings import GatewaySettings
from tests.deploy.system import PASSWORD, TOKEN, serving


async def _seed(settings: GatewaySettings) -> None:
    async with (
        running(settings, load(settings)) as embedded,
        serving(embedded) as url,
        Gateway(url, TOKEN) as gateway,
    ):
        await seed(gateway, password=PASSWORD)


@pytest.fixture(scope="session")
def _seeded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeded")
    settings = GatewaySettings(data_dir=folder, databases={}, admin_token=TOKEN)
    # The fixture may be asked for inside a test's event loop: a thread has its own.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(lambda: asyncio.run(_seed(settings))).result()
    return folder


@pytest.fixture
def seeded(_seeded_once: Path, tmp_path: Path) -> GatewaySettings:
    """Settings of a stopped installation with the demo data, which the test may break."""
    folder = tmp_path / "data"
    shutil.copytree(_seeded_once, folder)
    return GatewaySettings(data_dir=folder, databases={}, admin_token=TOKEN)
