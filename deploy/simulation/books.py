"""At rest: what the services hold, as plain rows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from chassis import at_rest, idempotency
from chassis.db import Database, Row
from deploy.reading import open_to_read
from deploy.simulation import shop
from gateway.settings import GatewaySettings
from services.claims import inquiry_queries
from services.claims import invariants as claims_books
from services.claims import store as claims_store
from services.inventory import store as inventory_store
from services.orders import invariants as orders_books
from services.orders import queries_money as orders_money
from services.orders import store as orders_store
from services.orders import store_exchanges, store_money
from services.returns import invariants as returns_books
from services.returns import store as returns_store

_STORES = {
    "orders": orders_store,
    "claims": claims_store,
    "returns": returns_store,
    "inventory": inventory_store,
}
_ALL = 10_000


@dataclass(frozen=True)
class Books:
    """What the services hold by id, and which subject each client's key stands for, by service.

    ``announced`` and ``returned``: units that were to come, and that came, by return and line.
    ``exchanges`` is what orders settled of them, ``differences`` the payments that orders did not
    have when the shop opened.
    """

    claims: dict[str, Row]
    claim_fulfillments: dict[str, Row]
    inquiries: dict[str, Row]
    returns: dict[str, Row]
    announced: dict[str, Counter[str]]
    returned: dict[str, Counter[str]]
    receipts: dict[str, Row]
    receipt_lines: list[Row]
    refunds: dict[str, Row]
    fulfillments: dict[str, Row]
    payments: dict[str, Row]
    exchanges: dict[str, Row]
    differences: dict[str, Row]
    credits: dict[str, Row]
    subjects: dict[str, dict[str, str]]

    def came_with(self, receipt_id: str) -> tuple[dict[str, int], dict[str, int]]:
        """Units and damaged units by line of one receipt."""
        lines = [row for row in self.receipt_lines if row["receipt_id"] == receipt_id]
        return (
            {row["line_id"]: row["quantity"] for row in lines},
            {row["line_id"]: row["damaged_quantity"] for row in lines},
        )


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
        """Everything that is judged."""
        subjects = {}
        for name, database in self._databases.items():
            async with database.reading() as tx:
                subjects[name] = await idempotency.taken(tx)
        async with self._databases["claims"].reading() as tx:
            claims = await claims_books.claims(tx)
            claim_fulfillments = await claims_books.fulfillments(tx)
            inquiries, _ = await inquiry_queries.list_inquiries(
                tx, filters={}, owner=None, limit=_ALL, offset=0
            )
        async with self._databases["returns"].reading() as tx:
            returns = await returns_books.returns(tx)
            receipts = await returns_books.refunds(tx)
            receipt_lines = await returns_books.receipts(tx)
            announced: dict[str, Counter[str]] = {row["id"]: Counter() for row in returns}
            returned: dict[str, Counter[str]] = {row["id"]: Counter() for row in returns}
            for row in await returns_books.returned_units(tx):
                announced[row["return_id"]][row["line_id"]] += row["requested_quantity"]
                returned[row["return_id"]][row["line_id"]] += row["received_quantity"]
        async with self._databases["orders"].reading() as tx:
            refunds = await orders_books.refunds(tx)
            fulfillments = await orders_books.fulfillments(tx)
            payments = [
                await orders_money.payment_by_id(tx, payment_id=id_) for id_ in shop.payments()
            ]
            exchanges = [
                await store_exchanges.exchange(tx, exchange_id=row["id"])
                for row in await orders_books.exchanges(tx)
            ]
            differences = [
                await orders_money.payment_by_id(tx, payment_id=row["id"])
                for number in range(1, shop.ORDERS + 1)
                for row in await store_money.payments_of(tx, order_id=shop.order_id(number))
                if row["id"] not in shop.payments()
            ]
            credit = await orders_money.store_credits(
                tx, customer_id=shop.CUSTOMER, own_id=None, limit=_ALL, offset=0
            )
        return Books(
            claims=_by_id(claims),
            claim_fulfillments=_by_id(claim_fulfillments),
            inquiries=_by_id(inquiries),
            returns=_by_id(returns),
            announced=announced,
            returned=returned,
            receipts={row["receipt_id"]: row for row in receipts},
            receipt_lines=receipt_lines,
            refunds=_by_id(refunds),
            fulfillments=_by_id(fulfillments),
            payments=_by_id(payments),
            exchanges={row["id"]: row for row in exchanges if row is not None},
            differences=_by_id(differences),
            credits=_by_id(credit["entries"]),
            subjects=subjects,
        )


def _by_id(rows: list[Row]) -> dict[str, Row]:
    return {row["id"]: row for row in rows}


def as_lines(books: Books) -> list[str]:
    """The books as text, for the digest of a run."""
    return [
        json.dumps(row, sort_keys=True, default=str)
        for rows in (
            books.claims,
            books.claim_fulfillments,
            books.inquiries,
            books.returns,
            books.receipts,
            books.refunds,
            books.fulfillments,
            books.payments,
            books.exchanges,
            books.differences,
            books.credits,
        )
        for _, row in sorted(rows.items())
    ]
