"""At rest: what clients asked and were told, against what the services hold."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from chassis import at_rest, idempotency
from chassis.db import Database, Row
from deploy.reading import open_to_read
from deploy.simulation import shop
from deploy.simulation.clients import Call, History
from gateway.settings import GatewaySettings
from services.claims import invariants as claims_books
from services.claims import store as claims_store
from services.inventory import store as inventory_store
from services.orders import invariants as orders_books
from services.orders import store as orders_store
from services.returns import invariants as returns_books
from services.returns import store as returns_store

_STORES = {
    "orders": orders_store,
    "claims": claims_store,
    "returns": returns_store,
    "inventory": inventory_store,
}


@dataclass(frozen=True)
class Books:
    """What the services hold, and which subject each client's key stands for."""

    claims: dict[str, Row]
    returns: dict[str, Row]
    receipts: dict[str, Row]
    refunds: dict[str, Row]
    returned: Counter[str]
    subjects: dict[str, dict[str, str]]


class Look:
    """All databases, open for reading."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._databases: dict[str, Database] = {}

    async def __aenter__(self) -> Look:
        """Open them."""
        for name, store in _STORES.items():
            database = await open_to_read(name, self._settings.database_url(name))
            self._databases[name] = database.serve(name, store.METADATA)
        return self

    async def __aexit__(self, *_: Any) -> None:
        """Close them."""
        for database in self._databases.values():
            await database.close()

    async def under_way(self) -> list[Row]:
        """What is not at rest."""
        found: list[Row] = []
        for name, database in self._databases.items():
            async with database.reading() as tx:
                found += await at_rest.findings(tx)
                if name == "orders":
                    found += await orders_books.unsettled(tx)
        return found

    async def books(self) -> Books:
        """Everything that ``audit`` compares."""
        subjects = {}
        for name, database in self._databases.items():
            async with database.reading() as tx:
                subjects[name] = await idempotency.taken(tx)
        async with self._databases["claims"].reading() as tx:
            claims = {row["id"]: row for row in await claims_books.claims(tx)}
        async with self._databases["returns"].reading() as tx:
            returns = {row["id"]: row for row in await returns_books.returns(tx)}
            receipts = {row["receipt_id"]: row for row in await returns_books.refunds(tx)}
            came: Counter[str] = Counter()
            for row in await returns_books.returned_units(tx):
                came[row["return_id"]] += row["received_quantity"]
        async with self._databases["orders"].reading() as tx:
            refunds = {row["id"]: row for row in await orders_books.refunds(tx)}
        return Books(claims, returns, receipts, refunds, came, subjects)


def audit(history: History, books: Books) -> list[str]:
    """What was lost, doubled, or came from nowhere; and every answer that turned out untrue."""
    wrong = list(history.wrong)
    keys = {call.key for call in history.calls}
    for service, taken in books.subjects.items():
        wrong += [
            f"{service} knows the key {key}, which nobody sent" for key in taken.keys() - keys
        ]
    for call in history.calls:
        wrong += [f"{call.kind} {call.key}: {what}" for what in _of(call, books)]
    made = {subject for taken in books.subjects.values() for subject in taken.values()}
    wrong += [f"nobody asked for claim {id_}" for id_ in books.claims.keys() - made]
    wrong += [
        f"nobody asked for return {id_}"
        for id_, row in books.returns.items()
        if id_ not in made and row["claim_id"] is None
    ]
    wrong += [
        f"nobody asked for refund {id_}"
        for id_, row in books.refunds.items()
        if row["cause_kind"] == "manual" and id_ not in made
    ]
    return sorted(wrong + _money_of_returns(history, books))


def _money_of_returns(history: History, books: Books) -> list[str]:
    """What came is paid, and no more, where nobody named another amount."""
    named = {call.path.split("/")[3] for call in history.calls if "refund" in call.body}
    wrong = []
    for call in history.calls:
        row = books.returns.get(books.subjects["returns"].get(call.key, ""))
        plain = call.takes == "return" and not {"refund", "return_shipping"} & call.body.keys()
        if not plain or row is None or row["id"] in named:
            continue
        worth, paid = books.returned[row["id"]] * shop.GROSS, row["refunded_amount"]
        if paid > worth or (row["status"] == "received" and paid != worth):
            wrong.append(f"return {row['id']}: goods worth {worth} came, {paid} was refunded")
    return wrong


def _of(call: Call, books: Books) -> list[str]:
    check = {
        "claim": _claim,
        "return": _return,
        "refund": _refund,
        "receipt": _receipt,
        "cancel": _canceled,
    }.get(call.takes)
    return check(call, books) if check and call.status else []


def _claim(call: Call, books: Books) -> list[str]:
    claim = books.claims.get(books.subjects["claims"].get(call.key, ""))
    if call.status != 200:
        if claim is None or claim["status"] in ("refused", "canceled"):
            return []
        return [f"answered {call.status}, but its claim is {claim['status']}"]
    if claim is None:
        return ["answered 200, but there is no claim"]
    if claim["status"] not in ("open", "canceled") or claim["recovery_point"] not in (
        "finished",
        "canceled",
    ):
        return [f"answered 200, but it is {claim['status']}, {claim['recovery_point']}"]
    if call.body["type"] == "replace" or claim["status"] == "canceled":
        return []
    units = sum(item["quantity"] for item in call.body["claim_items"])
    asked = call.body.get("refund_amount", units * shop.GROSS)
    refunds = [row for row in books.refunds.values() if row["cause_id"] == claim["id"]]
    posted = sum(row["amount"] for row in refunds if row["state"] == "posted")
    # Where one of two payments was declined, what the other took is the refund.
    if posted != asked and not (0 < posted < asked):
        return [f"{asked} should be refunded, {posted} was"]
    return []


def _return(call: Call, books: Books) -> list[str]:
    row = books.returns.get(books.subjects["returns"].get(call.key, ""))
    if call.status == 200 and (row is None or row["state"] == "refused"):
        return [f"answered 200, but its return is {row and row['state']}"]
    if call.status != 200 and row is not None and row["state"] not in ("refused", "canceled"):
        return _after_all(call, row)
    return []


def _after_all(call: Call, row: Row) -> list[str]:
    # A return whose goods were to be received at once stands though that receipt was refused.
    if call.body.get("receive_now") and row["state"] in (
        "requested",
        "received",
        "requires_action",
    ):
        return []
    return [f"answered {call.status}, but its return is {row['state']}"]


def _receipt(call: Call, books: Books) -> list[str]:
    receipt = books.subjects["returns"].get(call.key, "")
    if not call.body["items"]:  # nothing came, so nothing is booked
        return []
    settled = receipt in books.receipts
    if (call.status == 200) != settled:
        return [f"answered {call.status}, but its receipt is {'' if settled else 'not '}settled"]
    return []


def _refund(call: Call, books: Books) -> list[str]:
    row = books.refunds.get(books.subjects["orders"].get(call.key, ""))
    if call.status != 200:
        posted = row is not None and row["state"] == "posted"
        return [f"answered {call.status}, but the refund is posted"] if posted else []
    if row is None or row["state"] != "posted":
        return [f"answered 200, but the refund is {row and row['state']}"]
    amount = call.body["amount"]
    if row["amount"] != amount and not 0 < row["amount"] < amount:
        return [f"{amount} should be refunded, {row['amount']} was"]
    return []


def _canceled(call: Call, books: Books) -> list[str]:
    row = books.claims.get(call.about) or books.returns.get(call.about)
    status = row and row.get("status")
    if call.status == 200 and status != "canceled":
        return [f"answered 200, but {call.about} is {status}"]
    return []


def as_lines(books: Books) -> list[str]:
    """The books as text, for the digest of a run."""
    return [
        json.dumps(row, sort_keys=True, default=str)
        for rows in (books.claims, books.returns, books.receipts, books.refunds)
        for _, row in sorted(rows.items())
    ]
