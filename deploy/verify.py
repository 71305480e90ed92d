"""``reclamo verify``: every invariant, within the services and across them.

Each service knows what must be true of its own data (``invariants.py``). What must agree between
two services is compared here, over plain rows. While work is under way two services may differ
for a moment, so a difference counts only if it is still there a little later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chassis import at_rest as rest
from chassis.db import Database, Row, connect
from chassis.db_sqlite import ReadOnlySqlite
from chassis.settings import Settings
from deploy.assembly import SERVICES, STORES, settings_of, topology
from services.claims import invariants as claims
from services.inventory import invariants as inventory
from services.orders import invariants as orders
from services.orders.providers import fake_ledger
from services.returns import invariants as returns

LOCAL = {"orders": orders, "claims": claims, "returns": returns, "inventory": inventory}
LOOK_AGAIN_AFTER_S = 1.5
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
        found = f"{len(self.findings)} findings" if self.findings else "nothing found"
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
    returns: dict[str, Row]
    receipts: list[Row]
    receipt_lines: list[Row]
    reservations: dict[str, Row]
    stock_receipts: dict[str, Row]
    sent: list[Row]
    handled: set[tuple[str, str]]


async def verify(settings: Settings, *, at_rest: bool = False) -> Report:
    """Look at all databases, changing nothing; raises Unavailable when one cannot be read."""
    async with AsyncExitStack() as stack:
        databases = {}
        for name in SERVICES:
            url = settings.database_url(name)
            database = ReadOnlySqlite(url) if url.startswith("sqlite") else connect(url)
            databases[name] = database.serve(name, STORES[name].METADATA)
            stack.push_async_callback(database.close)
            await database.open()
        return await _verify(databases, _provider_file(settings), at_rest=at_rest)


def _provider_file(settings: Settings) -> Path:
    file: Path = settings_of("orders", settings).fake_ledger_file  # type: ignore[attr-defined]
    return file


async def _verify(databases: dict[str, Database], ledger: Path, *, at_rest: bool) -> Report:
    found = await _look(databases, ledger, at_rest=at_rest)
    if found[0]:
        await asyncio.sleep(LOOK_AGAIN_AFTER_S)
        again = await _look(databases, ledger, at_rest=at_rest)
        still = {(finding.invariant, finding.id) for finding in again[0]}
        return Report([each for each in found[0] if (each.invariant, each.id) in still], again[1])
    return Report(*found)


async def _look(
    databases: dict[str, Database], ledger: Path, *, at_rest: bool
) -> tuple[list[Finding], dict[str, int]]:
    rows: list[Row] = []
    for name, database in databases.items():
        async with database.reading() as tx:
            rows += await LOCAL[name].findings(tx)
            rows += await rest.findings(tx) if at_rest else []
    picture = await _picture(databases)
    if at_rest:
        async with databases["orders"].reading() as tx:
            rows += [
                {
                    "invariant": "I15",
                    "id": row["refund_id"],
                    "message": f"refund attempt {row['state']} after {row['tries']} tries",
                }
                for row in await orders.unsettled(tx)
            ]
    rows += compare(picture)
    theirs = await asyncio.to_thread(_theirs, ledger)
    asked = [row for row in picture.attempts if row["provider_id"] == "fake"]
    rows += orders.provider_findings(asked, theirs)
    looked_at = {
        "claims": len(picture.claims),
        "returns": len(picture.returns),
        "remedies": len(picture.remedies),
        "refunds": len(picture.refunds),
        "reservations": len(picture.reservations),
        "messages": len(picture.sent),
    }
    return [Finding(**row) for row in rows], looked_at


def _theirs(ledger: Path) -> list[Any]:
    return fake_ledger(ledger) if ledger.exists() else []


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
    async with databases["inventory"].reading() as tx:
        reservations = {row["remedy_id"]: row for row in await inventory.remedies(tx)}
        stock = {row["receipt_id"]: row for row in await inventory.receipts(tx)}
    sent: list[Row] = []
    handled: set[tuple[str, str]] = set()
    for database in databases.values():
        async with database.reading() as tx:
            sent += await rest.sent_messages(tx)
            handled |= {
                (row["consumer"], row["message_id"]) for row in await rest.seen_messages(tx)
            }
    return Picture(
        claims=of_claims,
        claimed={(row["claim_id"], row["line_id"]): int(row["quantity"]) for row in units},
        remedies=remedies,
        remedied={(row["remedy_id"], row["line_id"]): int(row["quantity"]) for row in remedied},
        refunds=refunds,
        attempts=attempts,
        returns=of_returns,
        receipts=receipts,
        receipt_lines=receipt_lines,
        reservations=reservations,
        stock_receipts=stock,
        sent=sent,
        handled=handled,
    )


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
        *_lost_messages(picture),
    ]
    return [{"invariant": which, "id": about, "message": what} for which, about, what in found]


Disagreements = Iterable[tuple[str, str, str]]


def _is_live(claim: Row) -> bool:
    """Agreed to, and not taken back."""
    return claim["status"] in ("open", "canceling")


def _claims_and_remedies(picture: Picture) -> Disagreements:
    """I13, I16: a live claim holds its units at orders, a dead one nothing, and the reverse."""
    for id_, claim in picture.claims.items():
        remedy = picture.remedies.get(id_)
        live = remedy is not None and remedy["state"] in ("held", "settled")
        if claim["status"] == "open" and not live:
            yield "I16", id_, "the claim is open, but orders holds nothing for it"
        if claim["status"] in ("canceled", "refused") and live:
            yield "I13", id_, f"the claim is {claim['status']}, but orders still holds its units"
    for id_, remedy in picture.remedies.items():
        live = remedy["kind"] == "claim" and remedy["state"] in ("held", "settled")
        if live and id_ not in picture.claims:
            yield "I16", id_, "orders holds units for a claim that nobody knows"
    for (id_, line), units in picture.claimed.items():
        held = picture.remedied.get((id_, line))
        if _is_live(picture.claims[id_]) and held is not None and held != units:
            yield "I16", id_, f"{units} units of {line} are claimed, {held} are held"


def _returns_and_remedies(picture: Picture) -> Disagreements:
    """I16 for returns of their own; those of a claim live under the claim's remedy."""
    for id_, each in picture.returns.items():
        if each["claim_id"]:
            continue
        remedy = picture.remedies.get(id_)
        live = remedy is not None and remedy["state"] in ("held", "settled")
        if each["state"] in _LIVE_RETURNS and each["state"] != "canceling" and not live:
            yield "I16", id_, "the return is live, but orders holds nothing for it"
        if each["state"] in ("canceled", "refused") and live:
            yield "I13", id_, f"the return is {each['state']}, but orders still holds its units"
    for id_, remedy in picture.remedies.items():
        live = remedy["kind"] == "return" and remedy["state"] in ("held", "settled")
        if live and id_ not in picture.returns:
            yield "I16", id_, "orders holds units for a return that nobody knows"


def _claims_and_refunds(picture: Picture) -> Disagreements:
    """I2: a claim is refunded exactly when orders paid it, and with the same amount."""
    for id_, claim in picture.claims.items():
        refund = picture.refunds.get(("claim", id_))
        paid = refund["amount"] if refund and refund["state"] == "posted" else None
        if claim["payment_status"] == "refunded" and paid != claim["refund_amount"]:
            yield "I2", id_, f"refunded {claim['refund_amount']} says claims, {paid} says orders"
        if claim["payment_status"] != "refunded" and paid:
            yield "I2", id_, f"orders refunded {paid}, claims does not know"
        if claim["status"] in ("canceled", "refused") and paid:
            yield "I12", id_, f"the claim is {claim['status']}, but {paid} was refunded"
    for (kind, id_), refund in picture.refunds.items():
        if kind == "claim" and refund["state"] == "posted" and id_ not in picture.claims:
            yield "I2", id_, "orders refunded for a claim that nobody knows"


def _receipts_and_refunds(picture: Picture) -> Disagreements:
    known = {row["receipt_id"]: row for row in picture.receipts}
    for id_, row in known.items():
        refund = picture.refunds.get(("receipt", id_))
        paid = refund["amount"] if refund and refund["state"] == "posted" else 0
        if paid != (row["refund_amount"] or 0):
            yield "I2", id_, f"refunded {row['refund_amount']} says returns, {paid} says orders"
    for (kind, id_), refund in picture.refunds.items():
        if kind == "receipt" and refund["state"] == "posted" and id_ not in known:
            yield "I2", id_, "orders refunded for a receipt that returns has not settled"


def _claims_and_stock(picture: Picture) -> Disagreements:
    """I4: a reservation is held exactly while its claim lives, or was released by hand."""
    for id_, claim in picture.claims.items():
        stock = picture.reservations.get(id_)
        held = stock is not None and stock["state"] == "held" and not stock["rejected"]
        if claim["status"] == "open" and claim["wants_stock"] and not held:
            yield "I4", id_, "the claim is open, but inventory holds nothing for it"
        if claim["status"] in ("canceled", "refused") and held:
            yield "I4", id_, f"the claim is {claim['status']}, but its stock is still reserved"
    for id_, stock in picture.reservations.items():
        if stock["state"] == "held" and not stock["rejected"] and id_ not in picture.claims:
            yield "I4", id_, "stock is reserved for a claim that nobody knows"


def _receipts_and_stock(picture: Picture) -> Disagreements:
    """I17: what arrived went into stock once."""
    with_goods = {row["receipt_id"] for row in picture.receipt_lines if row["variant_id"]}
    settled = {row["receipt_id"] for row in picture.receipt_lines}
    for id_ in with_goods:
        booked = picture.stock_receipts.get(id_)
        if booked is None or booked["state"] != "booked":
            yield "I17", id_, "the receipt is settled, but inventory has not booked it"
    for id_, row in picture.stock_receipts.items():
        if row["moved_units"] and id_ not in settled:
            yield "I17", id_, "stock moved for a receipt that is not settled"


def _claims_and_returns(picture: Picture) -> Disagreements:
    """The return of a finished claim is there, and knows its claim."""
    for id_, claim in picture.claims.items():
        if not claim["return_id"] or claim["recovery_point"] != "finished":
            continue
        its = picture.returns.get(claim["return_id"])
        if its is None or its["claim_id"] != id_:
            yield "I13", id_, f"its return {claim['return_id']} is not there"
        elif claim["status"] == "canceled" and its["state"] != "canceled":
            yield "I13", id_, f"the claim is canceled, its return is {its['state']}"
    for id_, each in picture.returns.items():
        if each["claim_id"] and each["claim_id"] not in picture.claims:
            yield "I8", id_, "the return belongs to a claim that nobody knows"


def _lost_messages(picture: Picture) -> Disagreements:
    """I7: whoever is bound to a sent message has seen it; nobody saw one that was never written."""
    bound = topology()
    for row in picture.sent:
        for queue in bound.queues_for(row["exchange"], row["routing_key"]):
            if row["sent"] and (queue, row["id"]) not in picture.handled:
                yield "I7", row["id"], f"{row['routing_key']} was sent, {queue} never saw it"
    written = {row["id"] for row in picture.sent}
    for queue, message_id in picture.handled:
        if message_id not in written and not message_id.startswith("unreadable-"):
            yield "I7", message_id, f"{queue} saw a message that nobody wrote"
