"""Reading exchanges: plain rows in the shape of Medusa's swaps, and what is ours beside it."""

from __future__ import annotations

from typing import Any

from chassis.db import Row, Tx
from services.claims import queries
from services.claims.store import SENDS_OUT

_VISIBLE = f"type = 'exchange' AND {queries.AGREED}"
_FILTERS = {
    "order_id": "order_id IN :order_id",
    "line_id": "id IN (SELECT claim_id FROM additional_items WHERE line_id IN :line_id)",
    "return_id": "return_id IN :return_id",
}


async def exchange_by_id(tx: Tx, *, exchange_id: str) -> Row | None:
    """One visible exchange with its sagas' timelines, or None."""
    rows = await tx.fetch(
        f"SELECT *, {SENDS_OUT} FROM claims WHERE id = :id AND {_VISIBLE}", id=exchange_id
    )
    if not rows:
        return None
    found = (await queries.complete(tx, rows=rows, shape=_exchange))[0]
    found["timeline"] = await queries.timeline(tx, claim_id=exchange_id)
    return found


async def exchanges_of_order(tx: Tx, *, order_id: str) -> list[Row]:
    """The visible exchanges of an order, oldest first."""
    rows = await tx.fetch(
        f"SELECT *, {SENDS_OUT} FROM claims WHERE order_id = :id AND {_VISIBLE}"
        " ORDER BY created_at, id",
        id=order_id,
    )
    return await queries.complete(tx, rows=rows, shape=_exchange)


async def list_exchanges(
    tx: Tx, *, filters: dict[str, Any], limit: int, offset: int
) -> tuple[list[Row], int]:
    """A page of visible exchanges, newest first, and how many there are in all."""
    where = " AND ".join([_VISIBLE, *(_FILTERS[name] for name in filters)])
    count = await tx.fetch_value(f"SELECT COUNT(*) FROM claims WHERE {where}", **filters)
    rows = await tx.fetch(
        f"SELECT *, {SENDS_OUT} FROM claims WHERE {where}"
        " ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset",
        **filters,
        limit=limit,
        offset=offset,
    )
    return await queries.complete(tx, rows=rows, shape=_exchange), int(count)


def _exchange(row: Row, items: list[Row], lines: list[Row], fulfillments: list[Row]) -> Row:
    """From ``status`` on it is ours; addresses, return and payment are joined by the gateway."""
    sent = queries.sending(row=row, lines=lines, fulfillments=fulfillments)
    whose = {"claim_order_id": None, "swap_id": row["id"]}
    return {
        "id": row["id"],
        "fulfillment_status": row["fulfillment_status"],
        "payment_status": row["payment_status"],
        "order_id": row["order_id"],
        "difference_due": row["difference_due"],
        "shipping_address_id": None,
        "cart_id": None,
        "confirmed_at": row["confirmed_at"],
        "canceled_at": row["canceled_at"],
        "no_notification": row["no_notification"],
        "allow_backorder": row["allow_backorder"],
        "idempotency_key": row["idempotency_key"],
        "metadata": row["metadata"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "deleted_at": None,
        **{name: [each | whose for each in found] for name, found in sent.items()},
        "status": row["status"],
        "recovery_point": row["recovery_point"],
        "currency_code": row["currency_code"],
        "refund_amount": row["refund_amount"],
        "explanation": row["explanation"],
        "return_id": row["return_id"],
        "return_status": row["return_status"],
        "return_items": [
            {"item_id": item["line_id"], "quantity": item["quantity"]}
            for item in items
            if item["claim_id"] == row["id"]
        ],
    }
