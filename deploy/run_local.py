"""``reclamo local``: the distributed mode on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

from chassis import clock
from chassis.engines import EngineFailed, EngineMissing
from deploy import greeting
from deploy.demo_seed import seed as fill
from deploy.gateway_client import Gateway
from deploy.local import Local
from deploy.secrets_file import load
from gateway.settings import GatewaySettings


async def run(*, host: str, port: int, data_dir: Path, seed: str) -> int:
    """Serve until told to stop; the exit code."""
    started_at = clock.monotonic_s()
    secrets = load(GatewaySettings().model_copy(update={"data_dir": data_dir}))
    system = Local(data_dir, secrets, host=host, port=port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await system.start()
        if seed == "demo":
            async with Gateway(system.url, secrets.admin_token) as gateway:
                await fill(gateway)
        supervisor = asyncio.create_task(system.supervise())
        greeting.local(system, secrets, seconds=clock.monotonic_s() - started_at)
        await stop.wait()
        supervisor.cancel()
    except (EngineMissing, EngineFailed, RuntimeError) as error:
        greeting.words.print(f"reclamo: {error}", style="red", markup=False)
        return 2
    finally:
        with contextlib.suppress(Exception):
            await system.stop()
    return 0
