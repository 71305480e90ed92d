"""A running shop that is made to be killed: the distributed mode on private engines, what may
happen to it, and every question that is asked of it afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from chassis import at_rest, clock
from chassis.bus_rabbit import RabbitBus
from chassis.db import Database, Row, connect
from chassis.engines import PostgresServer, RabbitServer, Server, free_port
from chassis.errors import Unavailable
from chassis.messaging import Parcel
from chassis.settings import Settings
from chassis.testing import eventually
from chassis.topology import dead_letter_queue
from deploy.assembly import PROCESSES, SERVICES, STORES, topology
from deploy.secrets_file import Secrets
from deploy.verify import Report, verify
from gateway import store as gateway_store
from services.orders import invariants as orders_books
from tests.crash.clients import PATIENCE_S, Clients, Errand, Wrong
from tests.crash.history import Books, History, audit, events, read_books
from tests.crash.listener import Listener
from tests.crash.nursery import ForkedLocal, Nursery

REST_WITHIN_S = 60.0
# Well before the first timer of a saga (30 s) everything is at rest, if no message was lost.
LATE = timedelta(seconds=20)
PREFIX = "reclamo-crash-"


class Shop(Clients):
    """One installation and its clients. When to kill whom is decided elsewhere."""

    def __init__(self, nursery: Nursery, *, orders: int, extra: dict[str, str] | None = None):
        # PostgreSQL may have to run as another user, who must be able to walk through.
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.folder.chmod(0o711)
        (self.folder / "owner").write_text(str(os.getpid()))
        self.failpoints = self.folder / "failpoints"
        self.system = ForkedLocal(
            self.folder,
            Secrets("crash-" + "0123456789abcdef" * 3, "rk_" + "fedcba9876543210" * 3, "none"),
            port=free_port(),
            fsync=False,
            extra={
                "RECLAMO_REQUESTS_PER_MINUTE": "1000000",
                "RECLAMO_TOKEN_REQUESTS_PER_MINUTE": "10000000",
                "RECLAMO_FAILPOINT_FILE": str(self.failpoints),
                "RECLAMO_LOG_LEVEL": "WARNING",
                # The one who listens is on loopback.
                "RECLAMO_WEBHOOK_TARGETS": "any",
                **(extra or {}),
            },
        )
        self.system.nursery = nursery
        super().__init__(History(self.folder / "history.jsonl"))
        self.kills = 0
        self.rest_within_s = REST_WITHIN_S
        self.databases: dict[str, Database] = {}
        self.listener = Listener()
        self._gateway: Database | None = None
        self._orders = orders
        self._keeper: asyncio.Task[None] | None = None
        self._sender: RabbitBus | None = None

    # ------------------------------------------------------------------ life

    async def open(self) -> None:
        """Start everything, load orders, wait until the broker would survive a kill."""
        await self.system.start()
        self._keeper = asyncio.create_task(self._keep())
        self.come(self.system.urls("gateway"), self.system.secrets.admin_token)
        for name in SERVICES:
            database = connect(self.system.database_url(name))
            self.databases[name] = database.serve(name, STORES[name].METADATA)
            await database.open()
        self._gateway = connect(self.system.database_url("gateway"))
        await self._gateway.serve("gateway", gateway_store.METADATA).open()
        await self.stock_up(self._orders)
        await self._let_listen()
        queues = [name for q in topology().queues for name in (q, dead_letter_queue(q))]
        await eventually(lambda: all(self.system.rabbit.would_keep(q) for q in queues), 60)

    async def close(self) -> None:
        """Stop everything and remove the folder."""
        try:
            if self._keeper is not None:
                self._keeper.cancel()
            if self._sender is not None:
                await self._sender.stop()
            await self.go()
            await self.listener.stop()
            for database in (*self.databases.values(), self._gateway):
                if database is not None:
                    await database.close()
            self.system.kill()
            await self.system.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _let_listen(self) -> None:
        """Somebody outside is told of everything from now on."""
        await self.listener.start()
        assert self._session is not None
        async with self._session.post(
            f"{self.system.url}/admin/webhooks",
            json={"url": self.listener.url, "events": ["*"]},
            headers={"x-medusa-access-token": self.system.secrets.admin_token},
        ) as answer:
            if answer.status != 200:
                raise Wrong(await answer.text())

    async def _keep(self) -> None:
        """Start again at once what ended by itself."""
        while True:
            for process in self.system.processes.values():
                if process.wanted and process.running and process.running.poll() is not None:
                    process.start()
            await asyncio.sleep(0.01)

    # ------------------------------------------------------------------ what happens to it

    async def arm(self, service: str, text: str) -> None:
        """Arm failpoints in a running service; whoever is started meanwhile has them too."""
        self.failpoints.write_text(text)
        self.system.processes[service].signal(signal.SIGUSR1)
        # It reads the file before it answers whoever comes after the signal.
        await eventually(lambda: self.lives(service), within_s=PATIENCE_S)

    def disarm(self) -> None:
        """Nobody who starts from now on has a failpoint."""
        self.failpoints.write_text("")

    async def died(self, service: str) -> None:
        """Until the process has ended; raises Wrong if not by SIGKILL."""
        running = self.system.processes[service].running
        assert running is not None
        await eventually(lambda: running.poll() is not None, within_s=PATIENCE_S, every_s=0.005)
        self.kills += 1
        if running.poll() != -signal.SIGKILL:
            raise Wrong(f"{service} ended by itself with {running.poll()}")

    async def reborn(self, service: str, starts: int) -> datetime:
        """Until it was started once more and answers; that moment."""
        process = self.system.processes[service]
        await eventually(lambda: process.starts > starts, within_s=PATIENCE_S)
        await eventually(lambda: self.lives(service), within_s=PATIENCE_S)
        return clock.now()

    async def kill(self, *services: str) -> datetime:
        """SIGKILL, now and at once; the moment when all of them answer again."""
        starts = {name: self.system.processes[name].starts for name in services}
        for name in services:
            self.system.processes[name].signal(signal.SIGKILL)
            self.kills += 1
        return max([await self.reborn(name, starts[name]) for name in services])

    async def kill_engine(self, engine: Server) -> datetime:
        """SIGKILL a server with all its processes and start it again; when it answers again."""
        await asyncio.to_thread(engine.kill)
        self.kills += 1
        await asyncio.to_thread(engine.start)
        return clock.now()

    async def lives(self, service: str) -> bool:
        """Whether the process answers."""
        assert self._session is not None
        try:
            url = f"{self.system.processes[service].url}/livez"
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(5)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def deliver_again(self, since: datetime) -> int:
        """Every message that was written since then goes to the broker once more, as it is."""
        if self._sender is None:
            self._sender = RabbitBus(self.system.rabbit.url, topology(), "crash", declare=False)
            await self._sender.start()
        sender = self._sender
        await eventually(lambda: sender.ready, within_s=PATIENCE_S)
        parcels = []
        for name, database in self.databases.items():
            async with database.reading() as tx:
                parcels += [
                    Parcel(
                        id=row["id"],
                        exchange=row["exchange"],
                        routing_key=row["routing_key"],
                        partition_key=f"{row['aggregatetype']}/{row['aggregateid']}",
                        body=row["payload"].encode(),
                        source=name,
                    )
                    for row in await tx.fetch(
                        "SELECT id, exchange, routing_key, aggregatetype, aggregateid, payload"
                        " FROM outbox WHERE created_at >= :since ORDER BY seq",
                        since=since,
                    )
                ]
        await asyncio.gather(*(sender.publish(parcel) for parcel in parcels))
        return len(parcels)

    async def timers_come_due(self) -> dict[str, int]:
        """Every saga that waits is late now; how many by service."""
        return {
            name: await self.write(
                name,
                "UPDATE sagas SET next_at = :now WHERE next_at IS NOT NULL",
                now=clock.now() - timedelta(seconds=1),
            )
            for name in _SAGA_OWNERS
        }

    async def parked_comes_due(self, service: str) -> int:
        """Every parked message of a service may be tried at once; how many."""
        return await self.write(
            service,
            "UPDATE inbox SET next_at = :now WHERE state = 'parked'",
            now=clock.now() - timedelta(seconds=1),
        )

    async def gateways_work_comes_due(self) -> None:
        """What a dead gateway had in hand is not waited for."""
        for sql in (
            "UPDATE webhook_deliveries SET next_at = :now WHERE state = 'pending'",
            "UPDATE batch_jobs SET next_at = :now WHERE next_at IS NOT NULL",
        ):
            await self.write("gateway", sql, now=clock.now())

    async def write(self, service: str, sql: str, **params: Any) -> int:
        """A statement in a service's database; rows touched."""
        async with self._database(service).transaction() as tx:
            return await tx.execute(sql, **params)

    async def rows(self, service: str, sql: str, **params: Any) -> list[Row]:
        """What a service's database says."""
        async with self._database(service).reading() as tx:
            return await tx.fetch(sql, **params)

    def _database(self, service: str) -> Database:
        if service != "gateway":
            return self.databases[service]
        assert self._gateway is not None
        return self._gateway

    # ------------------------------------------------------------------ what is true afterwards

    async def rest(self, since: datetime) -> float:
        """Until nothing is under way; how many seconds after ``since``. Raises Wrong after 60."""
        left: list[str] = []
        while True:
            try:
                left = await self._under_way()
            except Unavailable as error:
                left = [error.message]
            if not left:
                return max((clock.now() - since).total_seconds(), 0.0)
            if (clock.now() - since).total_seconds() > self.rest_within_s:
                raise Wrong("\n".join(["not at rest:", *left[:20]]))
            await asyncio.sleep(0.02)

    async def _under_way(self) -> list[str]:
        found = []
        for name, database in self.databases.items():
            async with database.reading() as tx:
                found += [f"{name}: {row['message']}" for row in await at_rest.findings(tx)]
                if name == "orders":
                    found += [f"refund {row}" for row in await orders_books.unsettled(tx)]
        async with self._database("gateway").reading() as tx:
            found += [f"gateway: {row['message']}" for row in await at_rest.findings(tx)]
        pending = await self.rows(
            "gateway", "SELECT name, tries FROM webhook_deliveries WHERE state = 'pending'"
        )
        found += [f"webhook {row['name']}, tried: {row['tries']}" for row in pending]
        jobs = await self.rows(
            "gateway", "SELECT id, status FROM batch_jobs WHERE next_at IS NOT NULL"
        )
        return found + [f"batch job {row['id']} is {row['status']}" for row in jobs]

    async def all_is_well(self, since: datetime, *, errands: list[Errand] | None = None) -> float:
        """At rest; every invariant; the books hold what clients were told; the same answers for
        the same keys, which change nothing. Seconds to the rest. Raises Wrong."""
        seconds = await self.rest(since)
        report = await self.verified()
        wrong = [report.summary, *map(str, report.findings[:20])] if report.findings else []
        wrong += await self._audited()
        if wrong:
            raise Wrong("\n".join(wrong))
        # Only now: a repeat could do what the first time was lost.
        await self.same_answers(self.errands if errands is None else errands)
        await self.rest(clock.now())
        if wrong := await self._audited():
            raise Wrong("\n".join(["after the same calls once more:", *wrong]))
        return seconds

    async def _audited(self) -> list[str]:
        wrong = audit(events(self.history.file), await self.books())
        for row in await self.rows(
            "gateway", "SELECT event_id, name, state FROM webhook_deliveries"
        ):
            if row["state"] != "delivered" or row["event_id"] not in self.listener.heard:
                wrong.append(f"webhook {row['name']} is {row['state']}, and nobody heard it")
        exported = await self.rows("gateway", _EXPORTED)
        # Orders are loaded before the first errand, and never after.
        orders = (await self.rows("orders", "SELECT COUNT(*) AS n FROM orders"))[0]["n"]
        wrong += [
            f"batch job {row['id']} is {row['status']}, its file has {row['lines']} lines"
            for row in exported
            if row["status"] != "completed" or row["lines"] != orders + 1
        ]
        return wrong[:20]

    async def verified(self) -> Report:
        """``reclamo verify --at-rest``."""
        return await verify(self._settings(), at_rest=True)

    async def nobody_tried_twice(self, errands: list[Errand], since: datetime) -> None:
        """Where nothing was killed since then, nobody had to repeat anything: no client, no
        message, no transaction. Raises Wrong."""
        wrong = [
            f"{asked.key} was asked {asked.tries} times"
            for errand in errands
            for asked in errand.calls
            if asked.tries > 1
        ]
        for name in SERVICES:
            for row in await self.rows(
                name,
                "SELECT type, error FROM inbox WHERE attempts > 0 AND received_at >= :since",
                since=since,
            ):
                wrong.append(f"{name} parked a {row['type']}: {row['error']}")
        rings = self.system.postgres._log_file.read_text().count("deadlock detected")
        if rings:
            wrong.append(f"{rings} deadlocks")
        if wrong:
            raise Wrong("\n".join(wrong[:20]))

    async def asked_again_late(self, since: datetime) -> list[str]:
        """Sagas that had to ask again long after everything answered: a message was lost.

        A timer heals that, so it would not show otherwise. Questions repeated while a process was
        away, or slow to come back, are what timers are for.
        """
        return [
            f"lost: {row['kind']} {row['id']} asked again at {entry['at']}"
            for name in _SAGA_OWNERS
            for row in await self.rows(
                name,
                "SELECT id, kind, history FROM sagas WHERE updated_at > :since",
                since=since,
            )
            for entry in row["history"]
            if entry["step"] == "timer" and datetime.fromisoformat(entry["at"]) > since + LATE
        ]

    async def books(self) -> Books:
        """What the services hold."""
        return await read_books(self.databases, self.folder / "fake_provider.sqlite3")

    async def sagas(self) -> int:
        """How many sagas there were."""
        found = [await self.rows(name, "SELECT COUNT(*) AS n FROM sagas") for name in _SAGA_OWNERS]
        return sum(rows[0]["n"] for rows in found)

    def sizes(self) -> dict[str, dict[str, int]]:
        """Memory (KiB) and open files of every process of ours."""
        return {
            name: _size(process.running.pid)
            for name, process in self.system.processes.items()
            if process.running and process.running.poll() is None
        }

    def _settings(self) -> Settings:
        return Settings(
            bus_url=self.system.rabbit.url,
            data_dir=self.folder,
            secret_key=SecretStr(self.system.secrets.secret_key),
            databases={name: self.system.database_url(name) for name in PROCESSES},
        )


# A line of the file is of one order; the first one is the header.
_EXPORTED = (
    "SELECT id, status, (SELECT SUM(LENGTH(text) - LENGTH(REPLACE(text, CHR(10), '')))"
    " FROM file_pieces WHERE file = batch_jobs.id) AS lines FROM batch_jobs"
)
_SAGA_OWNERS = ("orders", "claims", "returns")


def _size(pid: int) -> dict[str, int]:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        rss = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return {"rss_kib": int(rss.split()[1]), "fds": len(os.listdir(f"/proc/{pid}/fd"))}
    except (OSError, StopIteration):
        return {}


def end_abandoned() -> None:
    """A run that was killed leaves its engines behind (its services end with it)."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder / "owner"
        try:
            if owner.exists() and not Path(f"/proc/{owner.read_text()}").exists():
                PostgresServer(folder / "postgres").kill()
                RabbitServer(folder / "rabbitmq").kill()
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
