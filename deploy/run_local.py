"""``reclamo local``: the distributed mode on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

from chassis import clock
from chassis.engines import EngineFailed, EngineMissing
from deploy import greeting
from deploy.demo_seed import SeedRefused
from deploy.demo_seed import seed as fill
from deploy.gateway_client import Gateway, GatewayError
from deploy.local import InUse, Local, NotReady
from deploy.secrets_file import Secrets, load
from gateway.settings import GatewaySettings


async def run(*, host: str, port: int, data_dir: Path, seed: str, replicas: int) -> int:
    """Serve until told to stop; the exit code. Told twice, it does not wait for anybody."""
    secrets = load(GatewaySettings().model_copy(update={"data_dir": data_dir}))
    system = Local(data_dir, secrets, host=host, port=port, replicas=replicas)
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set():
            system.kill()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told)
    stopping = asyncio.create_task(stop.wait())
    serving = asyncio.create_task(_serve(system, secrets, seed))
    try:
        await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
    except (EngineMissing, EngineFailed, InUse, NotReady, GatewayError, SeedRefused) as error:
        greeting.words.print(f"reclamo: {error}", style="red", markup=False)
        return 2
    finally:
        serving.cancel()
        stopping.cancel()
        await asyncio.gather(serving, stopping, return_exceptions=True)
        with contextlib.suppress(Exception):
            await system.stop()
    return 0


async def _serve(system: Local, secrets: Secrets, seed: str) -> None:
    """Start, fill, greet, and start again what ends; until cancelled."""
    started_at = clock.monotonic_s()
    await system.start()
    supervisor = asyncio.create_task(system.supervise())
    try:
        if seed == "demo":
            async with Gateway(system.url, secrets.admin_token) as gateway:
                await fill(gateway)
        greeting.local(system, secrets, seconds=clock.monotonic_s() - started_at)
        await supervisor
    finally:
        supervisor.cancel()
