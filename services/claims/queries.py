"""Reading claims: plain rows in the shape the outside knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from chassis.db import Row, Tx
from chassis.errors import Invalid, Refusal
from chassis.http import rebuilt
from chassis.saga_log import load
from chassis.values import derived_id
from services.claims import domain
from services.claims.saga import SAGAS, refusal_to_tell
from services.claims.store import SENDS_OUT

# What was never agreed to shows on no public read, only in the operator's saga view.
AGREED = "recovery_point <> 'started' AND status <> 'refused'"
# Exchanges lie beside claims, and are shown by themselves.
_IS_CLAIM = "type <> 'exchange'"
_VISIBLE = f"{_IS_CLAIM} AND {AGREED}"
# One that nobody has packed yet, or that was refused, was never there for anybody outside.
_SEEN = "state IN ('live', 'canceling', 'canceled')"
_FILTERS = {
    "order_id": "order_id IN :order_id",
    "line_id": "id IN (SELECT claim_id FROM additional_items WHERE line_id IN :line_id)",
    "type": "type = :type",
    "status": "status = :status",
    "payment_status": "payment_status = :payment_status",
    "assigned_to": "assigned_to = :assigned_to",
    "created_from": "created_at >= :created_from",
    "created_before": "created_at < :created_before",
}
_IS_OPEN = "closed_at IS NULL AND status <> 'canceled'"
# What somebody has to look at. A saga that is older than STUCK_S shows its claim even before
# anybody agreed to it.
QUEUES = {
    "needs_review": f"{_VISIBLE} AND {_IS_OPEN} AND status = 'open'"
    " AND recovery_point = 'finished' AND payment_status = 'not_refunded'",
    "waiting_for_return": f"{_VISIBLE} AND {_IS_OPEN} AND status = 'open'"
    " AND return_status IN ('requested', 'requires_action')",
    "stuck": f"{_IS_CLAIM} AND EXISTS (SELECT 1 FROM sagas s WHERE s.subject_id = claims.id"
    " AND s.next_at IS NOT NULL AND s.created_at <= :stuck_before)",
}
STUCK_S = 300
# What a list may be sorted by. What no claim has to have counts as less than anything, on every
# database.
_SORTABLE = {
    "id": "id",
    "order_id": "order_id",
    "type": "type",
    "status": "status",
    "payment_status": "payment_status",
    "refund_amount": "COALESCE(refund_amount, -1)",
    "is_open": f"CASE WHEN {_IS_OPEN} THEN 1 ELSE 0 END",
    "created_at": "created_at",
    "updated_at": "updated_at",
}
NEWEST_FIRST = "-created_at"


async def outcome_of_creation(tx: Tx, *, claim_id: str) -> dict[str, Any] | Refusal | None:
    """How the creation ended: {claim_id, order_id}, the refusal, or None while it runs."""
    row = await tx.fetch_one(
        "SELECT id, order_id, recovery_point, refusal FROM claims WHERE id = :id", id=claim_id
    )
    if row is None:
        return None
    if row["refusal"]:
        return rebuilt(row["refusal"])
    if row["recovery_point"] == "finished":
        return {"claim_id": row["id"], "order_id": row["order_id"]}
    return None


async def outcome_of_saga(tx: Tx, *, saga_id: str) -> dict[str, Any] | Refusal | None:
    """How a saga of a claim ended: {claim_id, order_id}, the refusal, or None while it runs."""
    saga = await load(tx, saga_id)
    if saga is None or not saga.over:
        return None
    if saga.direction == "undone":
        return rebuilt(refusal_to_tell(saga))
    return {"claim_id": saga.facts["claim_id"], "order_id": saga.facts["order_id"]}


async def outcome_of_packing(tx: Tx, *, request_id: str) -> dict[str, Any] | Refusal | None:
    """What became of the fulfillments of one request: {claim_id, order_id}, inventory's no where
    nothing was packed, or None while somebody has yet to answer."""
    rows = await tx.fetch(
        "SELECT f.state, f.refusal, f.claim_id, c.order_id FROM claim_fulfillments f"
        " JOIN claims c ON c.id = f.claim_id WHERE f.request_id = :id ORDER BY f.created_at, f.id",
        id=request_id,
    )
    if not rows or any(row["state"] == "pending" for row in rows):
        return None
    if all(row["state"] == "refused" for row in rows):
        return rebuilt(rows[0]["refusal"])
    return {"claim_id": rows[0]["claim_id"], "order_id": rows[0]["order_id"]}


async def claim_by_id(tx: Tx, *, claim_id: str) -> Row | None:
    """One visible claim with its sagas' timelines, or None."""
    rows = await tx.fetch(
        f"SELECT *, {SENDS_OUT} FROM claims WHERE id = :id AND {_VISIBLE}", id=claim_id
    )
    if not rows:
        return None
    claim = (await complete(tx, rows=rows, shape=_claim))[0]
    claim["timeline"] = await timeline(tx, claim_id=claim_id)
    return claim


async def claims_of_order(tx: Tx, *, order_id: str) -> list[Row]:
    """The visible claims of an order, oldest first."""
    rows = await tx.fetch(
        f"SELECT *, {SENDS_OUT} FROM claims WHERE order_id = :id AND {_VISIBLE}"
        " ORDER BY created_at, id",
        id=order_id,
    )
    return await complete(tx, rows=rows, shape=_claim)


async def list_claims(
    tx: Tx,
    *,
    filters: dict[str, Any],
    queue: str | None = None,
    is_open: bool | None = None,
    order: str = NEWEST_FIRST,
    limit: int,
    offset: int,
    now: datetime,
    after: str | None = None,
) -> tuple[list[Row], int]:
    """A page of claims, and how many there are in all: the visible ones, or those of a work queue.

    ``order``: fields separated by commas, each with - for descending; raises Invalid for another.
    ``after`` pages by id instead: whoever reads everything meets no claim twice and misses none.
    """
    conditions = [QUEUES[queue] if queue else _VISIBLE, *(_FILTERS[name] for name in filters)]
    if is_open is not None:
        conditions.append(_IS_OPEN if is_open else f"NOT ({_IS_OPEN})")
    if queue == "stuck":
        filters = filters | {"stuck_before": now - timedelta(seconds=STUCK_S)}
    where = " AND ".join(conditions)
    count = await tx.fetch_value(f"SELECT COUNT(*) FROM claims WHERE {where}", **filters)
    sorting, behind = _sorting(order), {}
    if after is not None:
        where, sorting, behind = f"{where} AND id > :after", "id", {"after": after}
    rows = await tx.fetch(
        f"SELECT *, {SENDS_OUT} FROM claims WHERE {where}"
        f" ORDER BY {sorting} LIMIT :limit OFFSET :offset",
        **filters,
        **behind,
        limit=limit,
        offset=offset,
    )
    return await complete(tx, rows=rows, shape=_claim), int(count)


def _sorting(order: str) -> str:
    """The terms of ORDER BY; the last is the id, so that pages neither repeat nor miss a claim."""
    terms, direction = [], "ASC"
    for field in order.split(","):
        name, direction = field.removeprefix("-"), "DESC" if field.startswith("-") else "ASC"
        if name not in _SORTABLE:
            told = ", ".join(_SORTABLE)
            raise Invalid(
                "order_unknown_field",
                f"Claims cannot be sorted by {name[:100]!r}: order takes {told}, each with - in"
                " front for descending",
            )
        terms.append(f"{_SORTABLE[name]} {direction}")
    return ", ".join([*terms, f"id {direction}"])


async def complete(
    tx: Tx, *, rows: list[Row], shape: Callable[[Row, list[Row], list[Row], list[Row]], Row]
) -> list[Row]:
    """Rows of ``claims`` with what belongs to them, as ``shape`` has it: it gets a row, and the
    items, additional items and fulfillments of all of them."""
    if not rows:
        return []
    ids = [row["id"] for row in rows]
    items = await tx.fetch("SELECT * FROM claim_items WHERE claim_id IN :ids ORDER BY id", ids=ids)
    lines, fulfillments = [], []
    if any(row["sends_out"] for row in rows):
        lines = await tx.fetch(
            "SELECT * FROM additional_items WHERE claim_id IN :ids ORDER BY line_id", ids=ids
        )
        fulfillments = await tx.fetch(
            f"SELECT * FROM claim_fulfillments WHERE claim_id IN :ids AND {_SEEN}"
            " ORDER BY created_at, id",
            ids=ids,
        )
    return [shape(row, items, lines, fulfillments) for row in rows]


def _claim(row: Row, items: list[Row], lines: list[Row], fulfillments: list[Row]) -> Row:
    own_address = row["shipping_address"] is not None
    sent = sending(row=row, lines=lines, fulfillments=fulfillments)
    return {
        "id": row["id"],
        "type": row["type"],
        "status": row["status"],
        "payment_status": row["payment_status"],
        "fulfillment_status": row["fulfillment_status"],
        "order_id": row["order_id"],
        "return_id": row["return_id"],
        "shipping_address_id": f"addr_{row['id']}" if own_address else None,
        "shipping_address": (
            {"id": f"addr_{row['id']}", **row["shipping_address"]} if own_address else None
        ),
        "refund_amount": row["refund_amount"],
        "refund_to": row["refund_to"],
        "currency_code": row["currency_code"],
        "explanation": row["explanation"],
        "recovery_point": row["recovery_point"],
        "canceled_at": row["canceled_at"],
        "is_open": row["closed_at"] is None and row["status"] != "canceled",
        "closed_at": row["closed_at"],
        "closed_by": row["closed_by"],
        "assigned_to": row["assigned_to"],
        "return_status": row["return_status"],
        "inquiry_id": row["inquiry_id"],
        "no_notification": row["no_notification"],
        "metadata": row["metadata"],
        "idempotency_key": row["idempotency_key"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "deleted_at": None,
        "claim_items": [_item(item) for item in items if item["claim_id"] == row["id"]],
        **sent,
    }


def sending(*, row: Row, lines: list[Row], fulfillments: list[Row]) -> dict[str, list[Row]]:
    """What one of ``complete`` sends out, and how: {additional_items, shipping_methods,
    fulfillments}."""
    return {
        "additional_items": [_line(line) for line in lines if line["claim_id"] == row["id"]],
        "shipping_methods": [
            _method(row["id"], number, method)
            for number, method in enumerate(row["shipping_methods"], 1)
        ],
        "fulfillments": [
            _fulfillment(each) for each in fulfillments if each["claim_id"] == row["id"]
        ],
    }


def _fulfillment(row: Row) -> Row:
    return {
        "id": row["id"],
        "order_id": None,
        "claim_order_id": row["claim_id"],
        "swap_id": None,
        "provider_id": "manual",
        "location_id": row["location_id"],
        "items": [{**item, "fulfillment_id": row["id"]} for item in row["items"]],
        "tracking_links": [
            {
                "id": f"tlink_{row['id']}_{index}",
                "url": None,
                "tracking_number": number,
                "fulfillment_id": row["id"],
            }
            for index, number in enumerate(row["tracking_numbers"])
        ],
        "tracking_numbers": row["tracking_numbers"],
        "data": {},
        "shipped_at": row["shipped_at"],
        "canceled_at": row["canceled_at"],
        "no_notification": row["no_notification"],
        "metadata": row["metadata"],
        "idempotency_key": None,
        "created_at": row["created_at"],
    }


def _method(claim_id: str, number: int, given: Row) -> Row:
    return {
        "id": given.get("id") or derived_id("sm", claim_id, str(number)),
        "shipping_option_id": given.get("option_id"),
        "order_id": None,
        "claim_order_id": claim_id,
        "swap_id": None,
        "return_id": None,
        "cart_id": None,
        "price": given.get("price") or 0,
        "data": given.get("data") or {},
        "tax_lines": [],
    }


def _item(row: Row) -> Row:
    return {
        "id": row["id"],
        "claim_order_id": row["claim_id"],
        "item_id": row["line_id"],
        "variant_id": row["variant_id"],
        "reason": row["reason"],
        "note": row["note"],
        "quantity": row["quantity"],
        "metadata": row["metadata"],
        "tags": [{"id": domain.tag_id(value=tag), "value": tag} for tag in row["tags"]],
        "images": [
            {
                "id": domain.image_id(item_id=row["id"], url=url),
                "claim_item_id": row["id"],
                "url": url,
                "metadata": None,
            }
            for url in row["images"]
        ],
    }


def _line(row: Row) -> Row:
    """A full line item; ``sku`` and ``location_id`` are ours."""
    totals = domain.line_totals(
        unit_price=row["unit_price"] or 0,
        quantity=row["quantity"],
        rates=[tax["rate"] for tax in row["tax_lines"] or ()],
        includes_tax=row["includes_tax"],
    )
    return {
        "id": row["line_id"],
        "order_id": None,
        "claim_order_id": row["claim_id"],
        "swap_id": None,
        "cart_id": None,
        "variant_id": row["variant_id"],
        "title": row["title"],
        "description": row["description"],
        "thumbnail": None,
        "is_return": False,
        "is_giftcard": False,
        "should_merge": True,
        "allow_discounts": True,
        "has_shipping": None,
        "unit_price": row["unit_price"],
        "quantity": row["quantity"],
        "fulfilled_quantity": row["fulfilled_quantity"],
        "shipped_quantity": row["shipped_quantity"],
        "returned_quantity": 0,
        "metadata": None,
        "original_item_id": None,
        "order_edit_id": None,
        "includes_tax": bool(row["includes_tax"]),
        "tax_lines": [
            {"id": derived_id("litl", row["line_id"], str(n)), "item_id": row["line_id"], **tax}
            for n, tax in enumerate(row["tax_lines"] or ())
        ],
        "adjustments": [],
        **totals,
        "refundable": totals["total"],
        "sku": row["sku"],
        "location_id": row["location_id"],
    }


async def timeline(tx: Tx, *, claim_id: str) -> list[Row]:
    """The sagas of a claim or an exchange, oldest first: saga_id, kind, direction, steps,
    history."""
    sagas = await tx.fetch(
        "SELECT id, kind, direction, marks, history, created_at FROM sagas"
        " WHERE kind IN :kinds AND subject_id = :id ORDER BY created_at, id",
        kinds=sorted(SAGAS),
        id=claim_id,
    )
    return [
        {
            "saga_id": saga["id"],
            "kind": saga["kind"],
            "direction": saga["direction"],
            "steps": saga["marks"],
            "history": saga["history"],
        }
        for saga in sagas
    ]
