"""``reclamo up --embedded``: start, seed, say where everything is, run until Ctrl-C."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chassis import clock, serve
from deploy import greeting
from deploy.demo_seed import seed as fill
from deploy.embedded import running
from deploy.gateway_client import Gateway
from deploy.secrets_file import load
from gateway.settings import GatewaySettings


async def run(*, host: str, port: int, data_dir: Path | None, seed: str) -> None:
    """Serve until told to stop."""
    started_at = clock.monotonic_s()
    settings = GatewaySettings()
    if data_dir:
        settings = settings.model_copy(update={"data_dir": data_dir})
    secrets = load(settings)
    url = f"http://{host}:{port}"
    async with running(settings, secrets) as embedded:
        server = serve.server(embedded.gateway.app, host=host, port=port)
        serving = asyncio.create_task(server.serve())
        while not server.started and not serving.done():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        if seed == "demo":
            async with Gateway(url, secrets.admin_token) as gateway:
                await fill(gateway, password=secrets.demo_password)
        greeting.embedded(
            url,
            secrets,
            data_dir=settings.data_dir,
            seeded=seed == "demo",
            seconds=clock.monotonic_s() - started_at,
        )
        await serving
