"""The distributed mode without containers: a process per service or several, private engines.

One supervisor starts everything, starts a process again that ended, and ends everything with one
Ctrl-C. Engines keep fsync on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import aiohttp
import asyncpg
import structlog

from chassis import auth, migrations
from chassis.bus_rabbit import declare_topology
from chassis.db import to_the_end
from chassis.engines import PostgresServer, RabbitServer, free_port
from deploy.assembly import PROCESSES, SERVICES, topology
from deploy.secrets_file import Secrets

log = structlog.get_logger(__name__)

READY_WITHIN_S = 60
_LAST_LINES = 5
RESTART_AFTER_S = 0.3
_PR_SET_PDEATHSIG = 1


class InUse(Exception):
    """Another supervisor works on the data folder."""


class NotReady(Exception):
    """A process did not get ready in time; the text names its log."""


def _end_with_parent() -> None:
    """Runs in the child: a supervisor that is killed must not leave services behind (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Process:
    """One service as an operating-system process."""

    name: str
    service: str
    command: list[str]
    environment: dict[str, str]
    url: str
    log_file: Path
    running: subprocess.Popen[bytes] | None = None
    wanted: bool = True
    starts: int = 0

    def start(self) -> None:
        """Start, unless it runs."""
        if self.running and self.running.poll() is None:
            return
        with open(self.log_file, "ab") as out:
            self.running = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                # Ctrl-C in the terminal is for the supervisor, who ends everybody in order.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self.starts += 1

    def signal(self, number: int) -> None:
        """Send a signal to this very process."""
        if self.running and self.running.poll() is None:
            self.running.send_signal(number)

    def wait(self, timeout_s: float) -> None:
        """Until it has ended; killed when it takes too long."""
        if self.running:
            try:
                self.running.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.running.kill()
                self.running.wait()

    def last_words(self) -> str:
        """Where its log is and how that ends, for whoever reads only the error."""
        ended = self.running.poll() if self.running else None
        state = "runs" if ended is None else f"ended with {ended}"
        said = self.log_file.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "\n  ".join([f"\n{self.log_file} (it {state})", *said])


@dataclass
class Local:
    """A distributed installation on this machine: ``replicas`` processes of each service.

    The first is named like its service, the next are ``orders.2`` and so on. ``extra`` settings go
    to every process.
    """

    data_dir: Path
    secrets: Secrets
    host: str = "127.0.0.1"
    port: int = 8000
    fsync: bool = True
    replicas: int = 1
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.postgres = PostgresServer(self.data_dir / "postgres", fsync=self.fsync)
        self.rabbit = RabbitServer(self.data_dir / "rabbitmq")
        self.processes: dict[str, Process] = {}
        self._lock: IO[str] | None = None

    @property
    def url(self) -> str:
        """The gateway, the first if there are several."""
        return f"http://{self.host}:{self.port}"

    def urls(self, service: str) -> list[str]:
        """Where the replicas of a service answer."""
        return [each.url for each in self.processes.values() if each.service == service]

    async def start(self) -> None:
        """Engines, databases, schemas, topology, processes; returns when the gateway is ready.

        Raises InUse, EngineMissing, EngineFailed, NotReady.
        """
        self._take_folder()
        # To the end even if we are told to stop meanwhile: ``stop`` must find what it has to end.
        await to_the_end(
            asyncio.gather(
                asyncio.to_thread(self.postgres.start), asyncio.to_thread(self.rabbit.start)
            )
        )
        for name in PROCESSES:
            await self._make_database(name)
            # One after the other: Alembic keeps its state in the process.
            await asyncio.to_thread(migrations.upgrade, name, self.database_url(name))
        await declare_topology(self.rabbit.url, topology())
        self._plan_processes()
        for process in self.processes.values():
            process.start()
        await self.ready()

    async def supervise(self) -> None:
        """Start again what ended by itself, until cancelled."""
        while True:
            for process in self.processes.values():
                ended = process.running and process.running.poll() is not None
                if process.wanted and ended:
                    log.warning("process_ended", name=process.name, starts=process.starts)
                    process.start()
            await asyncio.sleep(RESTART_AFTER_S)

    async def stop(self) -> None:
        """Ask every process to end, then end the engines. Without the folder, touch nothing."""
        if self._lock is None:
            return
        for process in self.processes.values():
            process.wanted = False
            process.signal(signal.SIGTERM)
        for process in self.processes.values():
            await asyncio.to_thread(process.wait, 30)
        await asyncio.to_thread(self.rabbit.stop)
        await asyncio.to_thread(self.postgres.stop)
        self._lock.close()
        self._lock = None

    def kill(self) -> None:
        """End every process of ours at once; the engines end orderly."""
        for process in self.processes.values():
            process.wanted = False
            process.signal(signal.SIGKILL)

    def database_url(self, name: str) -> str:
        """The database of a service on our server."""
        return self.postgres.url.rsplit("/", 1)[0] + f"/{name}"

    def environment(self, name: str) -> dict[str, str]:
        """The settings of one process: only the gateway gets the secret."""
        key = auth.private_key(self.secrets.secret_key, "internal")
        settings = {
            "RECLAMO_BUS_URL": self.rabbit.url,
            f"RECLAMO_{name.upper()}_DATABASE_URL": self.database_url(name),
            "RECLAMO_INTERNAL_PUBLIC_KEY": auth.public_text(key),
            "RECLAMO_DATA_DIR": str(self.data_dir),
            # The whole topology is declared before the first process starts.
            "RECLAMO_BUS_DECLARE": "false",
            **self.extra,
        }
        if name == "gateway":
            settings["RECLAMO_SECRET_KEY"] = self.secrets.secret_key
            settings["RECLAMO_ADMIN_TOKEN"] = self.secrets.admin_token
            settings |= {
                f"RECLAMO_{service.upper()}_URL": ",".join(self.urls(service))
                for service in SERVICES
            }
        return settings

    def _take_folder(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.data_dir / "local.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise InUse(
                f"{self.data_dir} is in use: stop the other `reclamo local`, or choose another "
                "folder with --data-dir"
            ) from None
        self._lock = lock

    def _plan_processes(self) -> None:
        for service in PROCESSES:
            for number in range(1, self.replicas + 1):
                self._plan(service, service if number == 1 else f"{service}.{number}")

    def _plan(self, service: str, name: str) -> None:
        port = self.port if name == "gateway" else free_port()
        module = "gateway.app" if service == "gateway" else f"services.{service}.app"
        host = self.host if service == "gateway" else "127.0.0.1"
        self.processes[name] = Process(
            name=name,
            service=service,
            command=[sys.executable, "-m", module, "--host", host, "--port", str(port)],
            environment=dict(os.environ) | self.environment(service),
            url=f"http://127.0.0.1:{port}",
            log_file=self.data_dir / f"{name}.log",
        )

    async def _make_database(self, name: str) -> None:
        connection = await asyncpg.connect(self.postgres.url)
        try:
            found = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name)
            if not found:
                await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()

    async def ready(self, within_s: float = READY_WITHIN_S) -> None:
        """Until every process says that it is ready; NotReady names those that are not."""
        waiting = dict(self.processes)
        async with aiohttp.ClientSession() as session:
            try:
                async with asyncio.timeout(within_s):
                    while waiting:
                        for name, process in list(waiting.items()):
                            if await _is_ready(session, process.url):
                                del waiting[name]
                        await asyncio.sleep(0.05)
            except TimeoutError:
                logs = "".join(process.last_words() for process in waiting.values())
                raise NotReady(f"not ready in {within_s:.0f} s, look into:{logs}") from None


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz", timeout=aiohttp.ClientTimeout(2)) as answer:
            return bool((await answer.json())["status"] == "ok")
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError):
        return False
