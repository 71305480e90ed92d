"""A storm of duplicates: after a run every message is delivered again, many times, in any order.

Everything runs in this process, on SQLite or on PostgreSQL, so that a million deliveries take
minutes. With the inbox nothing at all may change. Without it, the natural keys alone must hold:
participants answer again, and no claim, return, unit, refund or piece of stock changes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from pydantic import SecretStr

from chassis import at_rest, clock, serve
from chassis.engines import PostgresServer, free_port
from chassis.errors import Unavailable
from chassis.inbox import Inbox
from chassis.messaging import Delivery, Envelope
from chassis.testing import eventually
from deploy.assembly import PROCESSES, SERVICES, SUBSCRIPTIONS, topology_of_services
from deploy.embedded import Embedded
from deploy.secrets_file import Secrets
from deploy.verify import verify
from gateway.settings import GatewaySettings
from services.orders import invariants as orders_books
from services.orders.store import MEMO_DUE
from tests.crash.clients import Clients, Wrong
from tests.crash.history import History, audit, events, read_books
from tests.crash.kinds import KINDS

STORES = ("sqlite", "postgres")
ERRANDS = 300
CLIENTS = 12
AT_ONCE = 32
COPIES = (2, 5)
HELD_MOST = 4 * AT_ONCE
# Messages come twice and shuffled during the run, too.
FAULTS = "dup:0.5,reorder:8,seed={seed}"
# What a repeat may leave without the inbox: answers that nobody waits for, and notes of them.
_TRACES = {
    "inbox": None,
    "outbox": None,
    "sagas": ("history", "updated_at"),
    # Settled once more into the state in which it is.
    "remedies": ("updated_at",),
}


class Forgetful(Inbox):
    """An inbox that is switched off: every delivery is handled as if it were the first."""

    async def _handle_once(self, envelope: Envelope) -> None:
        async with self._database.transaction() as tx:
            await self._run_handler(tx, envelope)


@dataclass
class Storm:
    """One storm: ``inbox`` says whether it was on."""

    store: str
    inbox: bool
    messages: int = 0
    deliveries: int = 0
    seconds: float = 0.0
    trouble: str = ""

    def __str__(self) -> str:
        inbox = "inbox on" if self.inbox else "inbox off"
        return f"{self.store}, {inbox}"


@dataclass
class Storms:
    """All storms so far."""

    storms: list[Storm] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """For the report file."""
        return {
            "duplicates": sum(each.deliveries for each in self.storms),
            "duplicates_without_inbox": sum(e.deliveries for e in self.storms if not e.inbox),
            "storms": [
                {
                    "store": each.store,
                    "inbox": each.inbox,
                    "messages": each.messages,
                    "duplicates": each.deliveries,
                    "seconds": round(each.seconds, 1),
                }
                for each in self.storms
            ],
            "violations": [f"{each}: {each.trouble}" for each in self.storms if each.trouble],
        }


_UNSEALED = "SELECT (SELECT COUNT(*) FROM audit) - (SELECT COUNT(*) FROM audit_seals) AS n"
_WITHOUT_MEMO = f"SELECT COUNT(*) FROM refunds WHERE {MEMO_DUE}"


class Inside(Clients):
    """A whole installation in this process, and its clients."""

    def __init__(self, folder: Path, databases: dict[str, str], faults: str) -> None:
        super().__init__(History(folder / "history.jsonl"))
        self._secrets = Secrets("storm-" + "0123456789abcdef" * 3, "rk_" + "0123" * 10, "none")
        self._folder = folder
        self.settings = GatewaySettings(
            data_dir=folder,
            secret_key=SecretStr(self._secrets.secret_key),
            databases=databases,
            bus_local_faults=faults,
        )
        self.embedded = Embedded(self.settings, self._secrets)
        self._server: Any = None
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Inside:
        await self.embedded.start()
        port = free_port()
        self._server = serve.server(self.embedded.gateway.app, host="127.0.0.1", port=port)
        self._serving = asyncio.create_task(self._server.serve())
        await eventually(lambda: self._server.started)
        self.come([f"http://127.0.0.1:{port}"], self._secrets.admin_token)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.go()
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving
        await self.embedded.stop()

    @property
    def databases(self) -> dict[str, Any]:
        """By service."""
        return {name: service.database for name, service in self.embedded.services.items()}

    async def work(self, errands: int, chance: random.Random) -> None:
        """So many errands of all kinds by a dozen clients."""
        weights = [max(kind.weight, 1) for kind in KINDS.values()]
        todo = [self.errand(kind) for kind in chance.choices(list(KINDS), weights, k=errands)]

        async def client() -> None:
            while todo:
                await self.run(todo.pop())

        await asyncio.gather(*(client() for _ in range(CLIENTS)))

    async def rest(self) -> None:
        """Until nothing is under way, every refund has its memo, and every record of the audit
        trail its seal."""

        async def over() -> bool:
            for name, database in self.databases.items():
                async with database.reading() as tx:
                    if await at_rest.findings(tx) or await tx.fetch_value(_UNSEALED):
                        return False
                    if name == "orders" and (
                        await orders_books.unsettled(tx) or await tx.fetch_value(_WITHOUT_MEMO)
                    ):
                        return False
            return True

        await eventually(over, within_s=120, every_s=0.05)

    async def messages(self) -> list[Delivery]:
        """Every message that was ever sent, once per queue that got it."""
        bound = topology_of_services()
        found = []
        for database in self.databases.values():
            async with database.reading() as tx:
                found += [
                    Delivery(queue=queue, body=row["payload"].encode(), redelivered=True)
                    for row in await tx.fetch(
                        "SELECT exchange, routing_key, payload FROM outbox ORDER BY seq"
                    )
                    for queue in bound.queues_for(row["exchange"], row["routing_key"])
                ]
        return found

    async def picture(self, *, traces: bool) -> dict[str, str]:
        """A digest of every table; ``traces``: without what repeats may leave."""
        found = {}
        for name, database in self.databases.items():
            for table in sorted(database.tables):
                passed_over = _TRACES.get(table, ()) if traces else ()
                if passed_over is None:
                    continue
                async with database.reading() as tx:
                    rows = await tx.fetch(f"SELECT * FROM {table}")
                lines = sorted(
                    json.dumps({k: v for k, v in row.items() if k not in passed_over}, default=str)
                    for row in rows
                )
                digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
                found[f"{name}.{table}"] = f"{len(lines)} rows, {digest[:16]}"
        return found

    async def all_is_well(self) -> None:
        """Verify and the audit of what clients were told. Raises Wrong."""
        await self.rest()
        report = await verify(self.settings, at_rest=True)
        wrong = [report.summary, *map(str, report.findings[:20])] if report.findings else []
        ledger = self._folder / "fake_provider.sqlite3"
        wrong += audit(events(self.history.file), await read_books(self.databases, ledger))
        if wrong:
            raise Wrong("\n".join(wrong[:20]))


@asynccontextmanager
async def _urls(store: str, folder: Path):
    """Databases for every service: files, or a private server."""
    if store == "sqlite":
        yield {}
        return
    server = PostgresServer(folder / "postgres", fsync=False)
    await asyncio.to_thread(server.start)
    try:
        connection = await asyncpg.connect(server.url)
        for name in PROCESSES:
            await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        yield {name: server.url.rsplit("/", 1)[0] + f"/{name}" for name in PROCESSES}
    finally:
        await asyncio.to_thread(server.kill)


def _folder() -> Path:
    """PostgreSQL may have to run as another user, who must be able to walk through."""
    folder = Path(tempfile.mkdtemp(prefix="reclamo-storm-"))
    folder.chmod(0o711)
    return folder


async def run(
    *,
    store: str,
    with_inbox: int,
    without_inbox: int,
    seed: int,
    storms: Storms,
    tell: Callable[[str], None],
    errands: int = ERRANDS,
    inbox: type[Inbox] = Inbox,
) -> None:
    """One run on a store, then that many duplicates with the inbox, and without."""
    chance = random.Random(seed)
    folder = _folder()
    try:
        async with (
            _urls(store, folder) as databases,
            Inside(folder, databases, FAULTS.format(seed=seed)) as shop,
        ):
            await shop.stock_up(errands)
            await shop.work(errands, chance)
            await shop.all_is_well()
            for kind, count in ((inbox, with_inbox), (Forgetful, without_inbox)):
                if not count:
                    continue
                storm = Storm(store, kind is not Forgetful)
                storms.storms.append(storm)
                await _blow(shop, kind, storm, count, chance, tell)
                tell(
                    f"{storm}: {storm.deliveries} duplicates of {storm.messages} messages:"
                    f" {storm.trouble or 'well'} ({storm.seconds:.0f} s)"
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _blow(
    shop: Inside,
    kind: type[Inbox],
    storm: Storm,
    count: int,
    chance: random.Random,
    tell: Callable[[str], None],
) -> None:
    begun, held = clock.monotonic_s(), 0
    messages = await shop.messages()
    storm.messages = len(messages)
    before = await shop.picture(traces=not storm.inbox)
    inboxes = {
        part.queue: kind(name, shop.databases[name], part)
        for name in SERVICES
        for part in SUBSCRIPTIONS[name]
    }
    try:
        while storm.deliveries < count:
            pile = [each for each in messages for _ in range(chance.randint(*COPIES))]
            chance.shuffle(pile)
            pile = pile[: count - storm.deliveries]

            async def take(pile: list[Delivery] = pile) -> None:
                nonlocal held
                while pile:
                    delivery = pile.pop()
                    try:
                        await inboxes[delivery.queue].deliver(delivery)
                    except Unavailable:
                        # So many at once may keep each other waiting; a bus would hold it, too.
                        held += 1
                        if held > HELD_MOST:
                            raise
                        pile.insert(0, delivery)
                        continue
                    storm.deliveries += 1

            await asyncio.gather(*(take() for _ in range(AT_ONCE)))
            tell(f"{storm}: {storm.deliveries}/{count}")
        await shop.rest()
        after = await shop.picture(traces=not storm.inbox)
        changed = [
            f"{table} had {rows}, has {after[table]}"
            for table, rows in before.items()
            if after[table] != rows
        ]
        if changed:
            raise Wrong("\n".join(changed))
        await shop.all_is_well()
        await shop.same_answers(shop.errands)
    except (Wrong, AssertionError) as error:
        storm.trouble = f"{type(error).__name__}: {error}"
    storm.seconds = clock.monotonic_s() - begun
