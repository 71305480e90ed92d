"""The systems that are measured, each started for the benchmark alone, as it would be in use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from chassis import at_rest, clock
from chassis.auth import Issuer, Principal, private_key
from chassis.db import Database
from chassis.engines import free_port
from chassis.settings import Settings
from deploy import local
from deploy.assembly import PROCESSES, SERVICES, STORES
from deploy.bench.catalog import BenchFailed
from deploy.reading import open_to_read
from deploy.secrets_file import Secrets
from deploy.verify import Report, verify

READY_WITHIN_S = 60.0
REST_WITHIN_S = 120.0
SECRETS = Secrets(
    secret_key="bench-" + "0123456789abcdef" * 3,
    admin_token="rk_" + "0011223344556677" * 3,
    demo_password="unused-in-the-benchmark",
)
# Programs may make 1,000 requests a second; the benchmark asks how many more there could be.
_UNLIMITED = {"RECLAMO_TOKEN_REQUESTS_PER_MINUTE": "100000000"}


class System(ABC):
    """A running installation. ``settings`` find its databases."""

    mode: str
    url: str
    settings: Settings

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._databases: dict[str, Database] = {}

    @property
    def headers(self) -> dict[str, str]:
        """Those of the admin."""
        return {"x-medusa-access-token": SECRETS.admin_token}

    async def start(self) -> None:
        """Start everything, and look into the databases."""
        await self._run()
        for name in SERVICES:
            database = await open_to_read(name, self.settings.database_url(name))
            self._databases[name] = database.serve(name, STORES[name].METADATA)

    async def stop(self) -> None:
        """Stop everything, also after a start that failed half way."""
        for database in self._databases.values():
            await database.close()
        await self._end()

    @abstractmethod
    async def _run(self) -> None:
        """Start, and return when the gateway is ready."""

    @abstractmethod
    async def _end(self) -> None:
        """Stop what was started."""

    @abstractmethod
    def processes(self) -> dict[str, int]:
        """Name and id of each process whose cost counts."""

    def python_processes(self) -> dict[str, int]:
        """Those that run our code."""
        engines = ("postgres", "broker")
        return {name: pid for name, pid in self.processes().items() if name not in engines}

    async def rest(self) -> float:
        """Until nothing is under way; how many seconds that took. Raises BenchFailed."""
        begun = clock.monotonic_s()
        while True:
            found = [row for name in SERVICES for row in await self._under_way(name)]
            seconds = clock.monotonic_s() - begun
            if not found:
                return seconds
            if seconds > REST_WITHIN_S:
                raise BenchFailed(f"{len(found)} things under way, e.g. {found[0]}")
            await asyncio.sleep(0.2)

    async def _under_way(self, name: str) -> list[dict[str, object]]:
        async with self._databases[name].reading() as tx:
            return await at_rest.findings(tx)

    async def verified(self) -> Report:
        """What ``verify --at-rest`` says, once the system is at rest."""
        await self.rest()
        return await verify(self.settings, at_rest=True)


class Embedded(System):
    """``reclamo up --embedded``: one process on SQLite."""

    mode = "embedded"

    async def _run(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.settings = Settings(data_dir=self.data_dir, databases={})
        given = {
            "RECLAMO_SECRET_KEY": SECRETS.secret_key,
            "RECLAMO_ADMIN_TOKEN": SECRETS.admin_token,
            **_UNLIMITED,
        }
        self._process = local.Process(
            name="embedded",
            service="embedded",
            command=[
                *(sys.executable, "-c", "from deploy.cli import main; main()"),
                *("up", "--embedded", "--port", str(port), "--data-dir", str(self.data_dir)),
            ],
            environment={**_plain_environment(), **given},
            url=self.url,
            log_file=self.data_dir / "embedded.log",
        )
        self._process.start()
        await self._ready()

    async def _ready(self) -> None:
        give_up_at = clock.monotonic_s() + READY_WITHIN_S
        async with aiohttp.ClientSession() as session:
            while clock.monotonic_s() < give_up_at:
                assert self._process.running is not None
                if self._process.running.poll() is not None:
                    break
                try:
                    async with session.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
        said = self._process.log_file.read_text(errors="replace")[-1000:]
        raise local.NotReady(f"the embedded system did not get ready: {said}")

    async def _end(self) -> None:
        self._process.signal(signal.SIGINT)
        await asyncio.to_thread(self._process.wait, 30)

    def processes(self) -> dict[str, int]:
        """The one process."""
        assert self._process.running is not None
        return {"embedded": self._process.running.pid}


class Distributed(System):
    """As ``reclamo local`` runs it: a process per service, private engines, fsync on."""

    mode = "distributed"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.local = local.Local(data_dir, SECRETS, port=free_port(), extra=_UNLIMITED)

    async def _run(self) -> None:
        await self.local.start()
        self.url = self.local.url
        self.settings = Settings(
            bus_url=self.local.rabbit.url,
            data_dir=self.data_dir,
            secret_key=SecretStr(SECRETS.secret_key),
            databases={name: self.local.database_url(name) for name in PROCESSES},
        )

    async def _end(self) -> None:
        await self.local.stop()

    def processes(self) -> dict[str, int]:
        """The gateway, the services, and the two engines."""
        running = {
            name: process.running.pid
            for name, process in self.local.processes.items()
            if process.running is not None
        }
        engines = {"postgres": self.local.postgres.pid, "broker": self.local.rabbit.pid}
        return running | {name: pid for name, pid in engines.items() if pid is not None}

    def service(self, name: str) -> tuple[str, dict[str, str]]:
        """A service without the gateway: its URL, and the headers the gateway would send."""
        issuer = Issuer(private_key(SECRETS.secret_key, "internal"))
        token = issuer.mint(Principal("bench", "admin"), name)
        return self.local.processes[name].url, {"Authorization": f"Bearer {token}"}


def _plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RECLAMO_")}


def walkable(folder: Path) -> Path:
    """Make a folder that another user, as whom PostgreSQL may have to run, can walk through."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    return folder


@asynccontextmanager
async def running(mode: str, data_dir: Path) -> AsyncIterator[System]:
    """A started system of a mode, stopped at the end."""
    walkable(data_dir)
    system: System = Embedded(data_dir) if mode == "embedded" else Distributed(data_dir)
    try:
        await system.start()
        yield system
    finally:
        await system.stop()
