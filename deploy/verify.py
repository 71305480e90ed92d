"""``reclamo verify``: every invariant, within the services and across them.

Each service knows what must be true of its own data (``invariants.py``). What must agree between
two services is compared here, over plain rows. While work is under way two services may differ
for a moment, so a difference counts only if it is still there a little later.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chassis import at_rest as rest
from chassis import migrations
from chassis.db import Database, Row
from chassis.errors import Unavailable
from chassis.settings import Settings
from chassis.topology import Topology
from deploy.assembly import SERVICES, STORES, SUBSCRIPTIONS, settings_of, topology
from deploy.reading import open_to_read
from services.claims import invariants as claims
from services.inventory import invariants as inventory
from services.orders import invariants as orders
from services.orders.providers import fake_ledger
from services.returns import invariants as returns

LOCAL = {"orders": orders, "claims": claims, "returns": returns, "inventory": inventory}
LOOK_AGAIN_AFTER_S = 1.5
LOOKS_MAX = 20
PAGE_ROWS = 2000
_OWNERS = {part.queue: name for name, parts in SUBSCRIPTIONS.items() for part in parts}
_DEAD = ("canceled", "refused")
_LIVE_RETURNS = ("requested", "receiving", "requires_action", "received", "canceling")


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


@dataclass
class Picture:
    """What the services say of what they share, read at about the same time."""

    claims: dict[str, Row]
    claimed: dict[tuple[str, str], int]
    remedies: dict[str, Row]
    remedied: dict[tuple[str, str], int]
    refunds: dict[tuple[str, str], Row]
    attempts: list[Row]
    order_receipts: dict[str, Row]
    returns: dict[str, Row]
    receipts: list[Row]
    receipt_lines: list[Row]
    reservations: dict[str, Row]
    stock_receipts: dict[str, Row]


async def verify(
    settings: Settings, *, at_rest: bool = False, look_again_after_s: float = LOOK_AGAIN_AFTER_S
) -> Report:
    """Look at all databases, changing nothing. ``at_rest`` also finds what is still under way.

    Raises Unavailable when a database cannot be read, or has another schema than the code.
    """
    async with AsyncExitStack() as stack:
        databases = {}
        for name in SERVICES:
            database = await open_to_read(name, settings.database_url(name))
            stack.push_async_callback(database.close)
            databases[name] = database.serve(name, STORES[name].METADATA)
            await _check_schema(name, database)
        ledger = _provider_file(settings)
        report = await _look(databases, ledger, at_rest=at_rest)
        for _ in range(LOOKS_MAX - 1):
            if not report.findings:
                break
            await asyncio.sleep(look_again_after_s)
            before, report = report, await _look(databases, ledger, at_rest=at_rest)
            report.findings = _still(before.findings, report.findings)
            # As long as differences go away by themselves, the rest may be about to.
            if len(report.findings) >= len(before.findings):
                break
        return report


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


async def _look(databases: dict[str, Database], ledger: Path, *, at_rest: bool) -> Report:
    rows: list[Row] = []
    for name, database in databases.items():
        async with database.reading() as tx:
            rows += await LOCAL[name].findings(tx)
            rows += await rest.findings(tx) if at_rest else []
    if at_rest:
        rows += await _unsettled(databases["orders"])
    picture = await _picture(databases)
    rows += compare(picture)
    theirs = await asyncio.to_thread(fake_ledger, ledger)
    asked = [row for row in picture.attempts if row["provider_id"] == "fake"]
    rows += orders.provider_findings(asked, theirs)
    messages, strays = await _messages(databases)
    looked_at = {
        "claims": len(picture.claims),
        "returns": len(picture.returns),
        "remedies": len(picture.remedies),
        "refunds": len(picture.refunds),
        "reservations": len(picture.reservations),
        "messages": messages,
    }
    return Report([Finding(**row) for row in rows + strays], looked_at)


async def _unsettled(database: Database) -> list[Row]:
    async with database.reading() as tx:
        return [
            _row("I15", row["id"], f"refund attempt {row['state']} after {row['tries']} tries")
            for row in await orders.unsettled(tx)
        ]


async def _picture(databases: dict[str, Database]) -> Picture:
    """The order matters little: what moved meanwhile is looked at again."""
    async with databases["claims"].reading() as tx:
        of_claims = {row["id"]: row for row in await claims.claims(tx)}
        units = await claims.claimed_units(tx)
    async with databases["returns"].reading() as tx:
        of_returns = {row["id"]: row for row in await returns.returns(tx)}
        receipts = await returns.refunds(tx)
        receipt_lines = await returns.receipts(tx)
    async with databases["orders"].reading() as tx:
        remedies = {row["id"]: row for row in await orders.remedies(tx)}
        remedied = await orders.remedied_units(tx)
        refunds = {(row["cause_kind"], row["cause_id"]): row for row in await orders.refunds(tx)}
        attempts = await orders.provider_refunds(tx)
        order_receipts = {row["id"]: row for row in await orders.receipts(tx)}
    async with databases["inventory"].reading() as tx:
        reservations = {row["remedy_id"]: row for row in await inventory.remedies(tx)}
        stock = {row["receipt_id"]: row for row in await inventory.receipts(tx)}
    return Picture(
        claims=of_claims,
        claimed={(row["claim_id"], row["line_id"]): int(row["quantity"]) for row in units},
        remedies=remedies,
        remedied={(row["remedy_id"], row["line_id"]): int(row["quantity"]) for row in remedied},
        refunds=refunds,
        attempts=attempts,
        order_receipts=order_receipts,
        returns=of_returns,
        receipts=receipts,
        receipt_lines=receipt_lines,
        reservations=reservations,
        stock_receipts=stock,
    )


def _row(invariant: str, about: str, message: str) -> Row:
    return {"invariant": invariant, "id": about, "message": message}


def compare(picture: Picture) -> list[Row]:
    """Everything in which two services disagree: [{invariant, id, message}]."""
    found = [
        *_claims_and_remedies(picture),
        *_returns_and_remedies(picture),
        *_claims_and_refunds(picture),
        *_receipts_and_refunds(picture),
        *_claims_and_stock(picture),
        *_receipts_and_stock(picture),
        *_claims_and_returns(picture),
    ]
    return [_row(*each) for each in found]


Disagreements = Iterable[tuple[str, str, str]]


def _is_live(claim: Row) -> bool:
    """Agreed to, and not taken back."""
    return claim["status"] in ("open", "canceling")


def _is_held(remedy: Row | None) -> bool:
    """Orders holds units for it, or has settled it."""
    return remedy is not None and remedy["state"] in ("held", "settled")


def _is_reserved(stock: Row | None) -> bool:
    """Inventory agreed to hold stock, and was not told to release it."""
    return stock is not None and stock["state"] == "held" and not stock["rejected"]


def _paid(picture: Picture, cause_kind: str, cause_id: str) -> int:
    """What orders really refunded for a cause."""
    refund = picture.refunds.get((cause_kind, cause_id))
    return int(refund["amount"]) if refund and refund["state"] == "posted" else 0


def _claims_and_remedies(picture: Picture) -> Disagreements:
    """I13, I16: a live claim holds its units at orders, a dead one nothing, and the reverse."""
    for id_, claim in picture.claims.items():
        remedy = picture.remedies.get(id_)
        live = _is_held(remedy)
        if claim["status"] == "open" and not live:
            yield "I16", id_, "the claim is open, but orders holds nothing for it"
        if claim["status"] in _DEAD and live:
            yield "I13", id_, f"the claim is {claim['status']}, but orders still holds its units"
        if remedy and remedy["order_id"] != claim["order_id"]:
            yield "I8", id_, f"claimed on {claim['order_id']}, but held on {remedy['order_id']}"
    for id_, remedy in picture.remedies.items():
        if remedy["kind"] == "claim" and _is_held(remedy) and id_ not in picture.claims:
            yield "I16", id_, "orders holds units for a claim that nobody knows"
    for (id_, line), units in picture.claimed.items():
        held = picture.remedied.get((id_, line), 0)
        live = _is_live(picture.claims[id_]) and _is_held(picture.remedies.get(id_))
        if live and held != units:
            yield "I16", id_, f"{units} units of {line} are claimed, {held} are held"


def _returns_and_remedies(picture: Picture) -> Disagreements:
    """I16 for returns of their own; those of a claim live under the claim's remedy."""
    for id_, each in picture.returns.items():
        if each["claim_id"]:
            continue
        remedy = picture.remedies.get(id_)
        live = _is_held(remedy)
        if each["state"] in _LIVE_RETURNS and each["state"] != "canceling" and not live:
            yield "I16", id_, "the return is live, but orders holds nothing for it"
        if each["state"] in _DEAD and live:
            yield "I13", id_, f"the return is {each['state']}, but orders still holds its units"
        if remedy and remedy["order_id"] != each["order_id"]:
            yield "I8", id_, f"returned from {each['order_id']}, but held on {remedy['order_id']}"
    for id_, remedy in picture.remedies.items():
        if remedy["kind"] == "return" and _is_held(remedy) and id_ not in picture.returns:
            yield "I16", id_, "orders holds units for a return that nobody knows"


def _claims_and_refunds(picture: Picture) -> Disagreements:
    """I2: a claim is refunded exactly when orders paid it, and with the same amount."""
    for id_, claim in picture.claims.items():
        paid = _paid(picture, "claim", id_)
        if claim["payment_status"] == "refunded" and paid != claim["refund_amount"]:
            yield "I2", id_, f"refunded {claim['refund_amount']} says claims, {paid} says orders"
        if claim["payment_status"] != "refunded" and paid:
            yield "I2", id_, f"orders refunded {paid}, claims does not know"
        if claim["status"] in _DEAD and paid:
            yield "I12", id_, f"the claim is {claim['status']}, but {paid} was refunded"
    for kind, id_ in picture.refunds:
        if kind == "claim" and id_ not in picture.claims and _paid(picture, kind, id_):
            yield "I2", id_, "orders refunded for a claim that nobody knows"


def _receipts_and_refunds(picture: Picture) -> Disagreements:
    """I2, I16: what arrived is booked at orders, and paid as returns says."""
    known = {row["receipt_id"]: row for row in picture.receipts}
    for id_, row in known.items():
        paid = _paid(picture, "receipt", id_)
        if paid != (row["refund_amount"] or 0):
            yield "I2", id_, f"refunded {row['refund_amount']} says returns, {paid} says orders"
        booked = picture.order_receipts.get(id_)
        if booked is None or booked["state"] != "settled":
            yield "I16", id_, "the receipt is settled, but orders has not booked it"
    for kind, id_ in picture.refunds:
        if kind == "receipt" and id_ not in known and _paid(picture, kind, id_):
            yield "I2", id_, "orders refunded for a receipt that returns has not settled"
    for id_, booked in picture.order_receipts.items():
        if booked["state"] == "settled" and id_ not in known:
            yield "I16", id_, "orders booked a receipt that returns has not settled"


def _claims_and_stock(picture: Picture) -> Disagreements:
    """I4: a reservation is held exactly while its claim lives, or was released by hand."""
    for id_, claim in picture.claims.items():
        stock = picture.reservations.get(id_)
        held = _is_reserved(stock)
        if claim["status"] == "open" and claim["wants_stock"] and not held:
            yield "I4", id_, "the claim is open, but inventory holds nothing for it"
        if claim["status"] in _DEAD and held:
            yield "I4", id_, f"the claim is {claim['status']}, but its stock is still reserved"
        if claim["status"] == "open" and held and stock is not None:
            freed = stock["released_units"] - stock["manual_units"]
            if freed:
                yield "I4", id_, f"the claim is open, but {freed} of its units were released"
    for id_, stock in picture.reservations.items():
        if _is_reserved(stock) and id_ not in picture.claims:
            yield "I4", id_, "stock is reserved for a claim that nobody knows"


def _receipts_and_stock(picture: Picture) -> Disagreements:
    """I17: what arrived went into stock once."""
    came: Counter[str] = Counter()
    for row in picture.receipt_lines:
        came[row["receipt_id"]] += row["quantity"] if row["variant_id"] else 0
    for id_, units in came.items():
        booked = picture.stock_receipts.get(id_)
        if units and (booked is None or booked["state"] != "booked"):
            yield "I17", id_, "the receipt is settled, but inventory has not booked it"
        elif booked and booked["moved_units"] > units:
            yield "I17", id_, f"{units} units came, {booked['moved_units']} went into stock"
    for id_, row in picture.stock_receipts.items():
        if row["moved_units"] and id_ not in came:
            yield "I17", id_, "stock moved for a receipt that is not settled"


def _claims_and_returns(picture: Picture) -> Disagreements:
    """I8, I13: the return of a finished claim is there and dies with it, and knows its claim."""
    for id_, claim in picture.claims.items():
        if not claim["return_id"] or claim["recovery_point"] != "finished":
            continue
        its = picture.returns.get(claim["return_id"])
        if its is None or its["claim_id"] != id_:
            yield "I13", id_, f"its return {claim['return_id']} is not there"
        elif claim["status"] == "canceled" and its["state"] != "canceled":
            yield "I13", id_, f"the claim is canceled, its return {its['id']} is {its['state']}"
    for id_, each in picture.returns.items():
        if each["claim_id"] and each["claim_id"] not in picture.claims:
            yield "I8", id_, "the return belongs to a claim that nobody knows"


async def _messages(databases: dict[str, Database]) -> tuple[int, list[Row]]:
    """I7, page by page: however many messages there are, few are in memory. (how many, findings).

    Each page is read before its other side: what is under way is there by the time that the
    other side is looked at.
    """
    bound = topology()
    count, found = 0, []
    for database in databases.values():
        after = 0
        while page := await _sent_page(database, after):
            count, after = count + len(page), page[-1]["seq"]
            found += lost(page, bound, await _seen(databases, bound, page))
        last = ("", "")
        while seen := await _seen_page(database, last):
            last = (seen[-1]["consumer"], seen[-1]["message_id"])
            found += strange(seen, await _written(databases, [row["message_id"] for row in seen]))
    return count, found


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


def lost(sent: list[Row], bound: Topology, seen: set[tuple[str, str]]) -> list[Row]:
    """I7: whoever is bound to a sent message has seen it. ``seen`` holds (queue, message id)."""
    return [
        _row("I7", row["id"], f"{row['routing_key']} was sent, but {queue} never saw it")
        for row in sent
        for queue in bound.queues_for(row["exchange"], row["routing_key"])
        if (queue, row["id"]) not in seen
    ]


def strange(seen: list[Row], written: set[str]) -> list[Row]:
    """I7: nobody saw a message that was never written. An unreadable one had no id to look for."""
    return [
        _row("I7", row["message_id"], f"{row['consumer']} saw a {row['type']} that nobody wrote")
        for row in seen
        if row["message_id"] not in written and not row["message_id"].startswith("unreadable-")
    ]
