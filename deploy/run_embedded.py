"""``reclamo up --embedded``: start, seed, say where everything is, run until Ctrl-C."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import ValidationError

from chassis import clock, failpoints, serve
from chassis.errors import Unavailable
from deploy import greeting, ports
from deploy.demo_seed import seed as fill
from deploy.embedded import Embedded
from deploy.gateway_client import Gateway
from deploy.secrets_file import Secrets, load, without_effect
from gateway.settings import GatewaySettings


async def run(*, host: str, port: int, data_dir: Path | None, seed: str) -> None:
    """Serve until told to stop.

    Raises Unavailable (folder locked or unusable, no port, a setting that cannot be used),
    pydantic's ValidationError for a setting that cannot be read, SeedRefused and GatewayError.
    """
    started_at = clock.monotonic_s()
    settings = GatewaySettings()
    if data_dir:
        settings = settings.model_copy(update={"data_dir": data_dir})
    secrets = load(settings)
    for name in without_effect(settings, secrets):
        greeting.words.print(f"{name} has no effect: this data folder began with another one.")
    embedded = _made(settings, secrets)
    try:
        # The folder first: who starts the same one twice should hear of that, not of the port.
        await embedded.start()
        serve.keep_what_is_loaded()
        chosen = ports.choose(host, port)
        if chosen != port:
            greeting.words.print(f"Port {port} is taken, using {chosen}.")
        url = ports.url(host, chosen)
        server = serve.server(embedded.gateway.app, host=host, port=chosen)
        serving = asyncio.create_task(server.serve())
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
            if seed == "demo":
                await _seed_while(serving, url, secrets)
            if not serving.done():
                greeting.embedded(
                    url,
                    secrets,
                    data_dir=settings.data_dir,
                    seeded=seed == "demo",
                    seconds=clock.monotonic_s() - started_at,
                )
        except BaseException:
            server.should_exit = True
            raise
        finally:
            await serving
    finally:
        await embedded.stop()


def _made(settings: GatewaySettings, secrets: Secrets) -> Embedded:
    try:
        failpoints.arm(settings.failpoint)
        return Embedded(settings, secrets)
    except ValidationError:
        raise  # it names its settings itself
    except ValueError as error:
        raise Unavailable(f"a setting cannot be used: {error}") from error


async def _seed_while(serving: asyncio.Task[None], url: str, secrets: Secrets) -> None:
    """Fill the system; given up when it is told to stop meanwhile, the next start goes on."""

    async def work() -> None:
        async with Gateway(url, secrets.admin_token) as gateway:
            await fill(gateway, password=secrets.demo_password)

    seeding = asyncio.create_task(work())
    await asyncio.wait({seeding, serving}, return_when=asyncio.FIRST_COMPLETED)
    if not seeding.done():
        seeding.cancel()
        await asyncio.gather(seeding, return_exceptions=True)
        return
    await seeding
