"""``reclamo verify``: every invariant, within the services and across them.

Each service knows what must be true of its own data (``invariants.py``). What must agree between
two services is compared here, over plain rows. While work is under way two services may differ
for a moment, so a difference counts only if it is still there a little later.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from chassis import at_rest as rest
from chassis import audit_chain, clock, migrations
from chassis.db import Database, Row
from chassis.errors import Unavailable
from chassis.settings import Settings
from chassis.topology import Topology
from contracts import catalogue
from deploy.assembly import PROCESSES, STORES, SUBSCRIPTIONS, settings_of, topology_of_services
from deploy.reading import open_to_read
from gateway import queries as gateway_queries
from gateway import store as gateway_store
from gateway import webhooks
from gateway.comparing import Picture, compare, lost, picture, strange
from services.claims import invariants as claims
from services.inventory import invariants as inventory
from services.orders import invariants as orders
from services.orders.providers import fake_captures, fake_ledger
from services.returns import invariants as returns

LOCAL = {"orders": orders, "claims": claims, "returns": returns, "inventory": inventory}
LOOK_AGAIN_AFTER_S = 1.5
LOOKS_MAX = 20
PAGE_ROWS = 2000
# Deliveries are forgotten after a month.
TOLD_WITHIN = timedelta(days=7)
# Twice the time after which a gateway hears for a webhook that another has added.
HEARS_WITHIN = timedelta(seconds=2 * webhooks.HEARS_WITHIN_S)
_PUBLIC = {entry.key: entry for entry in catalogue.public_events()}
_OWNERS = {part.queue: name for name, parts in SUBSCRIPTIONS.items() for part in parts}


@dataclass(frozen=True)
class Finding:
    """Something that must not be: which invariant, what it is about, what is wrong."""

    invariant: str
    id: str
    message: str


@dataclass
class Report:
    """What was found, and how much was looked at."""

    findings: list[Finding] = field(default_factory=list)
    looked_at: dict[str, int] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One sentence for people."""
        things = ", ".join(f"{count} {name}" for name, count in self.looked_at.items())
        count = len(self.findings)
        found = f"{count} finding{'s' if count > 1 else ''}" if count else "nothing found"
        return f"Looked at {things}: {found}."

    def to_json(self) -> dict[str, Any]:
        """{findings, looked_at}."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "looked_at": self.looked_at,
        }


async def verify(
    settings: Settings, *, at_rest: bool = False, look_again_after_s: float = LOOK_AGAIN_AFTER_S
) -> Report:
    """Look at all databases, changing nothing. ``at_rest`` also finds what is still under way.

    Raises Unavailable when a database cannot be read, or has another schema than the code.
    """
    async with AsyncExitStack() as stack:
        databases = await open_all(settings, stack)
        trail = await broken_links(databases)
        gateway = databases.pop("gateway")
        ledger = _provider_file(settings)
        report = await _look(databases, gateway, ledger, at_rest=at_rest)
        for _ in range(LOOKS_MAX - 1):
            if not report.findings:
                break
            await asyncio.sleep(look_again_after_s)
            before = report
            report = await _look(databases, gateway, ledger, at_rest=at_rest)
            report.findings = _still(before.findings, report.findings)
            # As long as differences go away by themselves, the rest may be about to.
            if len(report.findings) >= len(before.findings):
                break
        report.findings += [Finding(**row) for row in trail]
        return report


async def open_all(settings: Settings, stack: AsyncExitStack) -> dict[str, Database]:
    """Every database, to be read; closed with the stack. Raises Unavailable."""
    databases = {}
    for name in PROCESSES:
        database = await open_to_read(name, settings.database_url(name))
        stack.push_async_callback(database.close)
        tables = gateway_store if name == "gateway" else STORES[name]
        databases[name] = database.serve(name, tables.METADATA)
        await _check_schema(name, database)
    return databases


async def broken_links(databases: dict[str, Database]) -> list[Row]:
    """I14: the audit chains, in each the first broken record first. What is sealed does not change,
    so looking once is enough."""
    found = []
    for name, database in databases.items():
        # The search for drift keeps the ends of the chains, in another database than theirs.
        async with databases["gateway"].reading() as tx:
            kept = await gateway_store.drift_mark(tx, name=f"audit.{name}")
        async with database.reading() as tx:
            rows = await audit_chain.check(tx)
            if kept is not None:
                rows += await audit_chain.moved(tx, number=kept["number"], expected=kept["hash"])
        found += [{**row, "id": f"{name} {row['id']}"} for row in rows]
    return found


async def chains(settings: Settings) -> tuple[list[Row], dict[str, int]]:
    """The audit chains alone: what is broken, and how many records each has sealed."""
    async with AsyncExitStack() as stack:
        databases = await open_all(settings, stack)
        lengths = {}
        for name, database in databases.items():
            async with database.reading() as tx:
                lengths[name] = (await audit_chain.head(tx))["number"]
        return await broken_links(databases), lengths


def _still(before: list[Finding], now: list[Finding]) -> list[Finding]:
    known = {(finding.invariant, finding.id) for finding in before}
    return [finding for finding in now if (finding.invariant, finding.id) in known]


async def _check_schema(name: str, database: Database) -> None:
    at, head = await migrations.current(database), migrations.head(name)
    if at != head:
        raise Unavailable(
            f"the schema of {name} is at {at or 'nothing'}, the code at {head}:"
            f" run `reclamo migrate {name}`, or the version that wrote it"
        )


def _provider_file(settings: Settings) -> Path:
    file: Path = settings_of("orders", settings).fake_ledger_file  # type: ignore[attr-defined]
    return file


async def _look(
    databases: dict[str, Database], gateway: Database, ledger: Path, *, at_rest: bool
) -> Report:
    rows: list[Row] = []
    if at_rest:
        async with gateway.reading() as tx:
            rows += await rest.findings(tx)
    for name, database in databases.items():
        async with database.reading() as tx:
            rows += await LOCAL[name].findings(tx)
            rows += await rest.lost_timers(tx, now=clock.now())
            rows += await rest.findings(tx) if at_rest else []
    if at_rest:
        rows += await _unsettled(databases["orders"])
    seen = await _picture(databases)
    rows += compare(seen)
    async with databases["orders"].reading() as tx:
        attempts = await orders.provider_refunds(tx)
    theirs = await asyncio.to_thread(fake_ledger, ledger)
    asked = [row for row in attempts if row["provider_id"] == "fake"]
    rows += orders.provider_findings(asked, theirs)
    rows += await _captures(databases["orders"], ledger)
    messages, strays = await _messages(databases, gateway)
    looked_at = {
        "claims": len(seen.claims),
        "returns": len(seen.returns),
        "remedies": len(seen.remedies),
        "refunds": len(seen.refunds),
        "reservations": len(seen.reservations),
        "messages": messages,
    }
    return Report([Finding(**row) for row in rows + strays], looked_at)


async def _captures(database: Database, ledger: Path) -> list[Row]:
    """I2 for money that came: the provider's books and ours."""
    async with database.reading() as tx:
        asked = await orders.provider_captures(tx)
    theirs = await asyncio.to_thread(fake_captures, ledger)
    mine = [row for row in asked if row["provider_id"] == "fake"]
    return orders.provider_findings(mine, theirs, did="captured", do="capture")


async def _unsettled(database: Database) -> list[Row]:
    async with database.reading() as tx:
        return [
            {
                "invariant": "I15",
                "id": row["id"],
                "message": f"{row['what']} {row['state']} after {row['tries']} tries",
            }
            for row in await orders.unsettled(tx)
        ]


async def _picture(databases: dict[str, Database]) -> Picture:
    """The order matters little: what moved meanwhile is looked at again."""
    rows: dict[str, list[Row]] = {}
    for name in ("claims", "returns", "orders", "inventory"):
        async with databases[name].reading() as tx:
            rows |= await LOCAL[name].rows(tx, None)
    return picture(rows)


async def _messages(databases: dict[str, Database], gateway: Database) -> tuple[int, list[Row]]:
    """I7 and I18, page by page: however many messages there are, few are in memory. (how many,
    findings).

    Each page is read before its other side: what is under way is there by the time that the
    other side is looked at.
    """
    bound = topology_of_services()
    count, found = 0, []
    for database in databases.values():
        after = 0
        while page := await _sent_page(database, after):
            count, after = count + len(page), page[-1]["seq"]
            found += lost(page, bound, await _seen(databases, bound, page))
            found += await _untold(gateway, page)
        last = ("", "")
        while seen := await _seen_page(database, last):
            last = (seen[-1]["consumer"], seen[-1]["message_id"])
            found += strange(seen, await _written(databases, [row["message_id"] for row in seen]))
    return count, found


async def _untold(gateway: Database, page: list[Row]) -> list[Row]:
    """I18: whoever wanted to hear of an event by webhook has it among the deliveries."""
    async with gateway.reading() as tx:
        listeners = await gateway_store.listeners(tx)
        if not listeners:
            return []
        told = await gateway_queries.told(tx, event_ids=[row["id"] for row in page])
    oldest = clock.now() - TOLD_WITHIN
    return [
        {
            "invariant": "I18",
            "id": row["id"],
            "message": f"webhook {listener['id']} was not told of {row['routing_key']}",
        }
        for row in page
        if row["created_at"] > oldest
        for listener in listeners
        if row["created_at"] > listener["enabled_since"] + HEARS_WITHIN
        and _wants(listener, row["routing_key"])
        and (listener["id"], row["id"]) not in told
    ]


def _wants(listener: Row, key: str) -> bool:
    """Whether it wants every event of this key; where one key has two names, only by its type."""
    entry = _PUBLIC.get(key)
    if entry is None:
        return False
    name = entry.names[0] if len(entry.names) == 1 else entry.type
    return webhooks.selects(listener["events"], type_=entry.type, name=name)


async def _sent_page(database: Database, after: int) -> list[Row]:
    async with database.reading() as tx:
        return await rest.sent_messages(tx, after=after, limit=PAGE_ROWS)


async def _seen_page(database: Database, after: tuple[str, str]) -> list[Row]:
    async with database.reading() as tx:
        return await rest.seen_messages(tx, after=after, limit=PAGE_ROWS)


async def _seen(
    databases: dict[str, Database], bound: Topology, page: list[Row]
) -> set[tuple[str, str]]:
    """Which (queue, message) of those that the page should have reached."""
    wanted: dict[str, list[str]] = {}
    for row in page:
        for queue in bound.queues_for(row["exchange"], row["routing_key"]):
            wanted.setdefault(queue, []).append(row["id"])
    seen: set[tuple[str, str]] = set()
    for queue, ids in wanted.items():
        async with databases[_OWNERS[queue]].reading() as tx:
            known = await rest.seen_of(tx, consumer=queue, message_ids=ids)
        seen |= {(queue, id_) for id_ in known}
    return seen


async def _written(databases: dict[str, Database], ids: list[str]) -> set[str]:
    written: set[str] = set()
    for database in databases.values():
        async with database.reading() as tx:
            written |= await rest.written_of(tx, message_ids=ids)
    return written
