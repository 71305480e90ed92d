"""The `reclamo` command and a running installation, as a person at a terminal has them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chassis import serve
from chassis.engines import free_port
from chassis.testing import eventually
from deploy.embedded import Embedded

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "rk_a_token_for_the_tests_of_the_command"
PASSWORD = "correct horse battery"
RECLAMO = (sys.executable, "-c", "from deploy.cli import main; main()")


def environment(**settings: object) -> dict[str, str]:
    """That of a fresh shell: nothing of Reclamo in it but these settings."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RECLAMO_", "COV_")) and name not in ("NO_COLOR", "FORCE_COLOR")
    }
    given = {f"RECLAMO_{name.upper()}": str(value) for name, value in settings.items()}
    return clean | {"COLUMNS": "80"} | given


def reclamo(
    *arguments: object, command: tuple[str, ...] = RECLAMO, **settings: object
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Up:
    """A `reclamo up --embedded` of its own."""

    def __init__(
        self, folder: Path, *arguments: object, port: int | None = None, **settings: object
    ) -> None:
        self.port = port or free_port()
        self.stderr_file = folder.with_name(f"{folder.name}.{self.port}.stderr")
        self.stdout_file = folder.with_name(f"{folder.name}.{self.port}.stdout")
        with open(self.stderr_file, "wb") as err, open(self.stdout_file, "wb") as out:
            self.process = subprocess.Popen(
                [
                    *(*RECLAMO, "up", "--embedded", "--port", str(self.port)),
                    *("--data-dir", str(folder), *map(str, arguments)),
                ],
                cwd=ROOT,
                env=environment(**settings),
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )

    @property
    def said(self) -> str:
        """Its words so far."""
        return self.stderr_file.read_text()

    @property
    def url(self) -> str:
        """Where it says that it is."""
        found = re.search(r"is ready.*?(http://\S+)", self.said)
        assert found, self.said
        return found.group(1)

    async def ready(self) -> str:
        """Until the banner is out; the URL."""

        def banner() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}: {self.said}")
            return "Ctrl-C stops it" in self.said

        await eventually(banner, within_s=60)
        return self.url

    async def end(self, number: int = signal.SIGINT) -> int:
        """Send it a signal, Ctrl-C unless told otherwise; its exit code."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Until it has ended by itself; its exit code."""
        return await asyncio.to_thread(self.process.wait, 60)


@asynccontextmanager
async def up(
    folder: Path, *arguments: object, port: int | None = None, **settings: object
) -> AsyncIterator[Up]:
    """``reclamo up --embedded`` with its banner out, gone at the end whatever happens."""
    system = Up(folder, *arguments, port=port, **settings)
    try:
        await system.ready()
        yield system
    finally:
        if system.process.poll() is None:
            system.process.kill()
        system.process.wait()


@asynccontextmanager
async def serving(embedded: Embedded) -> AsyncIterator[str]:
    """The gateway of an installation in this process, at a URL."""
    port = free_port()
    server = serve.server(embedded.gateway.app, host="127.0.0.1", port=port)
    # Signals belong to pytest; uvicorn would take them.
    task = asyncio.create_task(server._serve())
    await eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
