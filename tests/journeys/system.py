"""The application as its clients see it, whichever way it is put together.

``Application`` has two ways to run: ``Embedded`` (one process, SQLite, the in-process bus; here it
is this process) and ``Distributed`` (a process per service, private PostgreSQL and RabbitMQ). Both
are asked over HTTP and looked at, at rest, through ``deploy.verify``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import uvicorn
from pydantic import SecretStr

from chassis import at_rest
from chassis.db import Database, connect
from chassis.db_sqlite import ReadOnlySqlite
from chassis.engines import free_port
from chassis.settings import Settings
from chassis.testing import eventually
from deploy import embedded, local, verify
from deploy.assembly import PROCESSES, SERVICES, STORES
from deploy.secrets_file import Secrets
from gateway.settings import GatewaySettings
from services.orders import invariants as orders_books
from services.orders.providers import fake_ledger
from tests.journeys.shop import Order, reference_data

Json = dict[str, Any]

SECRETS = Secrets(
    secret_key="journeys-" + "0123456789abcdef" * 3,
    admin_token="rk_" + "0011223344556677" * 3,
    demo_password="unused",
)
REST_WITHIN_S = 30.0
_keys = itertools.count(1)


def fresh_key() -> str:
    """An idempotency key that no call has used."""
    return f"journey-{next(_keys)}"


@dataclass(frozen=True)
class Answer:
    """What came back. ``body`` are the bytes, ``json`` is what they say."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Json:
        """The body's object."""
        found: Json = json.loads(self.body)
        return found

    @property
    def message(self) -> str:
        """Why not; only for a refusal."""
        assert self.status >= 400, f"{self.status} is no refusal: {self.body[:300]!r}"
        return str(self.json["message"])

    @property
    def order(self) -> Json:
        """The order of a call that succeeded."""
        assert self.status == 200, f"{self.status}: {self.body[:500]!r}"
        order: Json = self.json["order"]
        return order


@dataclass(frozen=True)
class Level:
    """Units of a variant at the one warehouse."""

    stocked: int
    reserved: int


class Application(ABC):
    """A running installation under test. ``settings`` find its databases."""

    mode: str
    url: str
    settings: Settings
    data_dir: Path

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._databases: dict[str, Database] = {}
        self._known: set[verify.Finding] = set()

    # ------------------------------------------------------------------ life

    @abstractmethod
    async def _run(self) -> None:
        """Start everything and set ``url`` and ``settings``."""

    @abstractmethod
    async def _end(self) -> None:
        """Stop everything."""

    async def start(self) -> None:
        """Start, and load what every order needs: a region, a warehouse, shipping, reasons."""
        await self._run()
        self._session = aiohttp.ClientSession(
            headers={"x-medusa-access-token": SECRETS.admin_token},
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=60),
        )
        for name in SERVICES:
            url = self.settings.database_url(name)
            database = ReadOnlySqlite(url) if url.startswith("sqlite") else connect(url)
            self._databases[name] = database.serve(name, STORES[name].METADATA)
            await database.open()
        await self.load(reference_data())

    async def stop(self) -> None:
        """Stop, also after a start that failed half way."""
        if self._session is not None:
            await self._session.close()
        for database in self._databases.values():
            await database.close()
        await self._end()

    # ------------------------------------------------------------------ what clients do

    async def post(
        self,
        path: str,
        body: Json | None = None,
        key: str | None = None,
        prefer: str | None = None,
    ) -> Answer:
        """POST with an idempotency key, a fresh one unless it is given."""
        headers = {"Idempotency-Key": key or fresh_key()}
        if prefer is not None:
            headers["Prefer"] = prefer
        return await self._ask("POST", path, body if body is not None else {}, headers)

    async def get(self, path: str) -> Answer:
        """GET."""
        return await self._ask("GET", path, None, {})

    async def _ask(
        self, method: str, path: str, body: Json | None, headers: dict[str, str]
    ) -> Answer:
        assert self._session is not None, "not started"
        async with self._session.request(
            method, self.url + path, json=body, headers=headers
        ) as answer:
            told = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, await answer.read(), told)

    async def load(self, document: Json) -> None:
        """Import a document of which nothing is refused."""
        answer = await self.post("/admin/import", document)
        assert answer.status == 200, answer.body
        assert answer.json["refusals"] == [], answer.json["refusals"]

    async def sell(self, order: Order, *more: Order) -> Order:
        """Load orders with the variants of their lines; gives the first back."""
        orders = (order, *more)
        variants = {line.variant for each in orders for line in each.lines if line.variant}
        await self.load(
            {
                "variants": [variant.record for variant in variants],
                "inventory_levels": [v.level for v in variants if v.level is not None],
                "orders": [each.record for each in orders],
            }
        )
        return order

    async def stock(self, *variants: Any) -> None:
        """Load variants that no order line names."""
        await self.load(
            {
                "variants": [variant.record for variant in variants],
                "inventory_levels": [v.level for v in variants if v.level is not None],
            }
        )

    # ------------------------------------------------------------------ what clients see

    async def order(self, order_id: str) -> Json:
        """The order with its lines, claims, returns and refunds."""
        return (await self.get(f"/admin/orders/{order_id}")).order

    async def ledger(self, order_id: str) -> Json:
        """The order's money: captured, refunded, refund_pending, transfers, remedies."""
        answer = await self.get(f"/admin/orders/{order_id}/ledger")
        assert answer.status == 200, answer.body
        return answer.json

    async def level(self, variant_id: str) -> Level:
        """What the warehouse has of a variant."""
        answer = await self.get(f"/admin/inventory-items?variant_id={variant_id}")
        assert answer.status == 200, answer.body
        (item,) = answer.json["inventory_items"]
        (level,) = item["location_levels"]
        return Level(level["stocked_quantity"], level["reserved_quantity"])

    async def provider_refunds(self, order: Order) -> list[int]:
        """The amounts that the fake payment provider really sent back for an order."""
        payments = {payment["id"] for payment in order.record["payments"]}
        ledger = await asyncio.to_thread(fake_ledger, self.data_dir / "fake_provider.sqlite3")
        return [int(row["amount"]) for row in ledger if row["payment_id"] in payments]

    # ------------------------------------------------------------------ what is true at rest

    async def rest(self) -> None:
        """Until nothing is under way in any service."""
        await eventually(self._is_at_rest, within_s=REST_WITHIN_S, every_s=0.05)

    async def _is_at_rest(self) -> bool:
        for name, database in self._databases.items():
            async with database.reading() as tx:
                found = await at_rest.findings(tx)
                if name == "orders":
                    found += await orders_books.unsettled(tx)
            assert not found, f"{name}: {found[:3]}"
        return True

    async def quiet(self) -> None:
        """Until nothing is under way, and no message waits in the broker."""
        await eventually(self._is_quiet, within_s=REST_WITHIN_S, every_s=0.2)

    async def _is_quiet(self) -> bool:
        await self.rest()
        return await self._waiting_messages() == 0

    async def _waiting_messages(self) -> int:
        return 0

    async def verify(self) -> None:
        """Wait for rest; then no invariant may be broken, in a service or between two."""
        await self.rest()
        report = await verify.verify(self.settings, at_rest=True)
        # What an earlier journey broke is that journey's finding, not everybody's after it.
        fresh = [finding for finding in report.findings if finding not in self._known]
        self._known.update(fresh)
        assert not fresh, "\n".join(map(str, fresh[:20]))

    @abstractmethod
    async def tamper(self, service: str, sql: str) -> int:
        """Change a service's database behind its back; how many rows the statement touched."""

    async def sent(self) -> dict[str, int]:
        """How far each service has got in writing messages."""
        last = {}
        for name in SERVICES:
            (row,) = await self.rows(name, "SELECT COALESCE(MAX(seq), 0) AS seq FROM outbox")
            last[name] = int(row["seq"])
        return last

    async def send_again(self, since: dict[str, int], *, forgotten: bool = False) -> int:
        """Let the relays send all messages since then once more; how many.

        ``forgotten``: the inboxes no longer know them.
        """
        if forgotten:
            for name, seq in since.items():
                told = await self.rows(name, "SELECT id FROM outbox WHERE seq > :seq", seq=seq)
                ids = ", ".join(f"'{row['id']}'" for row in told)
                for receiver in SERVICES:
                    await self.tamper(receiver, f"DELETE FROM inbox WHERE message_id IN ({ids})")
        again = [
            await self.tamper(name, f"UPDATE outbox SET sent_at = NULL WHERE seq > {seq}")
            for name, seq in since.items()
        ]
        await self.quiet()
        return sum(again)

    async def rows(self, service: str, sql: str, **params: Any) -> list[Json]:
        """Rows of a service's own database, for what no answer shows."""
        async with self._databases[service].reading() as tx:
            return await tx.fetch(sql, **params)


class _Server(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


class Embedded(Application):
    """Everything in this process, behind a real socket."""

    mode = "embedded"

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        super().__init__()
        self.data_dir = data_dir
        self._given = settings
        self._running: embedded.Embedded | None = None
        self._serving: asyncio.Task[None] | None = None
        self._server: _Server | None = None

    async def _run(self) -> None:
        given = {"databases": {}, "token_requests_per_minute": 1_000_000, **self._given}
        settings = GatewaySettings(data_dir=self.data_dir, **given)
        self.settings = settings
        self._running = embedded.Embedded(settings, SECRETS)
        await self._running.start()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._server = _Server(
            uvicorn.Config(
                self._running.gateway.app,
                host="127.0.0.1",
                port=port,
                lifespan="off",
                log_config=None,
                access_log=False,
                # Longer than clients keep a connection: it is theirs to close.
                timeout_keep_alive=60,
            )
        )
        self._serving = asyncio.create_task(self._server.serve())
        await eventually(lambda: self._server is not None and self._server.started)

    async def tamper(self, service: str, sql: str) -> int:
        """By the service's own connection: a SQLite file has one writer."""
        assert self._running is not None
        async with self._running.services[service].database.transaction() as tx:
            touched = await tx.execute(sql)
            tx.wake("outbox")
        return touched

    async def _end(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        if self._running is not None:
            await self._running.stop()


class Distributed(Application):
    """A process per service on this machine, with private engines that need not survive."""

    mode = "local"

    def __init__(self, data_dir: Path, **extra: str) -> None:
        super().__init__()
        self.data_dir = data_dir
        self.local = local.Local(
            data_dir,
            SECRETS,
            port=free_port(),
            fsync=False,
            extra={"RECLAMO_TOKEN_REQUESTS_PER_MINUTE": "1000000", **extra},
        )

    async def _run(self) -> None:
        await self.local.start()
        self.url = self.local.url
        self.settings = Settings(
            bus_url=self.local.rabbit.url,
            data_dir=self.data_dir,
            secret_key=SecretStr(SECRETS.secret_key),
            databases={name: self.local.database_url(name) for name in PROCESSES},
        )

    async def tamper(self, service: str, sql: str) -> int:
        """By a connection of its own, as an operator would."""
        connection = await asyncpg.connect(self.local.database_url(service))
        try:
            done = await connection.execute(sql)
        finally:
            await connection.close()
        return int(done.split()[-1])

    async def _waiting_messages(self) -> int:
        told = await asyncio.to_thread(
            self.local.rabbit.ctl, "-q", "list_queues", "messages", "--no-table-headers"
        )
        return sum(int(line) for line in told.split())

    async def forget(self) -> None:
        """Empty at rest, as if just installed; who may sign in stays."""
        await self.rest()
        for name in PROCESSES:
            connection = await asyncpg.connect(self.local.database_url(name))
            try:
                # Else the sealer may hold records that it has read, and seal what is gone.
                await eventually(partial(_all_sealed, connection), REST_WITHIN_S, every_s=0.1)
                kept = ("alembic_version", "users", "api_tokens", "sessions")
                # Books are append-only by trigger; only a superuser may look away.
                await connection.execute("SET session_replication_role = replica")
                tables = await connection.fetch(
                    "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
                )
                names = [row["tablename"] for row in tables if row["tablename"] not in kept]
                await connection.execute(f"TRUNCATE {', '.join(names)}")
            finally:
                await connection.close()

    async def _end(self) -> None:
        await self.local.stop()


async def _all_sealed(connection: asyncpg.Connection) -> bool:
    """Whether the chain of audit records has reached the last one."""
    unsealed = "SELECT count(*) FROM audit WHERE seq NOT IN (SELECT seq FROM audit_seals)"
    return bool(await connection.fetchval(unsealed) == 0)


async def together(*calls: Any) -> list[Any]:
    """All calls at once; their results in order."""
    return list(await asyncio.gather(*calls))
