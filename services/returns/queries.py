"""Reads: returns in Medusa's shape, what a waiting door looks for, reasons, sagas.

A return whose units were never held has no status and is on none of the public reads.
``owner`` limits a read to the returns of one customer; None shows all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chassis.db import Row, Tx
from chassis.errors import Refusal, refusal
from chassis.values import derived_id
from services.returns import domain
from services.returns.domain import State
from services.returns.saga import SAGAS

_COLUMNS = """
returns.id AS id, returns.status AS status, returns.order_id AS order_id,
returns.claim_id AS claim_id, returns.of_exchange AS of_exchange,
returns.location_id AS location_id,
returns.refund_amount AS refund_amount, returns.received_at AS received_at,
returns.no_notification AS no_notification, returns.metadata AS metadata,
returns.idempotency_key AS idempotency_key, returns.created_at AS created_at,
returns.updated_at AS updated_at, returns.number AS number, returns.shipping AS shipping
"""
_ITEMS = """
SELECT return_items.return_id AS return_id, return_items.line_id AS item_id,
       return_items.requested_quantity AS requested_quantity,
       return_items.received_quantity AS received_quantity,
       return_items.reason_id AS reason_id, return_items.note AS note,
       return_items.metadata AS metadata,
       return_reasons.value AS value, return_reasons.label AS label,
       return_reasons.description AS description,
       return_reasons.parent_return_reason_id AS parent_return_reason_id,
       return_reasons.created_at AS created_at, return_reasons.updated_at AS updated_at,
       return_reasons.deleted_at AS deleted_at
FROM return_items
LEFT JOIN return_reasons ON return_reasons.id = return_items.reason_id
WHERE return_items.return_id IN :return_ids
ORDER BY return_items.return_id, return_items.position, return_items.line_id
"""
_REASON_FIELDS = (
    "value",
    "label",
    "description",
    "parent_return_reason_id",
    "created_at",
    "updated_at",
    "deleted_at",
)
_FILTERS = {
    "owner": "returns.customer_id = :owner",
    "order_ids": "returns.order_id IN :order_ids",
    "claim_ids": "returns.claim_id IN :claim_ids AND returns.of_exchange = FALSE",
    "swap_ids": "returns.claim_id IN :swap_ids AND returns.of_exchange = TRUE",
    "statuses": "returns.status IN :statuses",
}


# ---- returns ------------------------------------------------------------------------------------


async def returns_page(
    tx: Tx,
    *,
    owner: str | None = None,
    order_ids: Sequence[str] | None = None,
    claim_ids: Sequence[str] | None = None,
    swap_ids: Sequence[str] | None = None,
    statuses: Sequence[str] | None = None,
    limit: int = 50,
    offset: int = 0,
    after: str | None = None,
) -> dict[str, Any]:
    """Returns, newest first: {returns, count, offset, limit}; ``count`` is without the limit.

    ``after`` pages by id instead: whoever reads everything meets no return twice and misses none.
    """
    given = {
        "owner": owner,
        "order_ids": None if order_ids is None else list(order_ids),
        "claim_ids": None if claim_ids is None else list(claim_ids),
        "swap_ids": None if swap_ids is None else list(swap_ids),
        "statuses": None if statuses is None else list(statuses),
    }
    params: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    where = " AND ".join(["returns.status IS NOT NULL", *(_FILTERS[name] for name in params)])
    count = await tx.fetch_value(f"SELECT COUNT(*) AS n FROM returns WHERE {where}", **params)
    sorting = "returns.created_at DESC, returns.id DESC"
    if after is not None:
        where, sorting = f"{where} AND returns.id > :after", "returns.id"
        params["after"] = after
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM returns WHERE {where}"
        f" ORDER BY {sorting} LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        **params,
    )
    return {
        "returns": await _shaped(tx, rows),
        "count": count,
        "offset": offset,
        "limit": limit,
    }


async def returns_of_order(tx: Tx, *, order_id: str, owner: str | None = None) -> dict[str, Any]:
    """All returns of an order, oldest first: {returns}."""
    own = "" if owner is None else " AND returns.customer_id = :owner"
    params = {} if owner is None else {"owner": owner}
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM returns WHERE returns.status IS NOT NULL"
        f" AND returns.order_id = :order_id{own} ORDER BY returns.created_at, returns.id",
        order_id=order_id,
        **params,
    )
    return {"returns": await _shaped(tx, rows)}


async def return_by_id(
    tx: Tx, *, return_id: str, owner: str | None = None, inside: bool = False
) -> dict[str, Any]:
    """One return: {return}. ``inside`` adds, beside it, what the shop knows: number, state,
    allowed_actions, policy_findings, explanation, receipts and sagas with their timelines.

    Raises ReturnNotFound, also for another customer's return.
    """
    row = await tx.fetch_one(
        f"SELECT {_COLUMNS}, returns.customer_id AS customer_id FROM returns"
        " WHERE returns.id = :return_id AND returns.status IS NOT NULL",
        return_id=return_id,
    )
    if row is None or (owner is not None and row.pop("customer_id") != owner):
        raise domain.ReturnNotFound(return_id)
    row.pop("customer_id", None)
    answer = {"return": (await _shaped(tx, [row]))[0]}
    if inside:
        answer |= await _inside(tx, return_id)
    return answer


async def _inside(tx: Tx, return_id: str) -> dict[str, Any]:
    own = await tx.fetch_one(
        "SELECT number, state, currency_code, refund_given, refunded_amount, explanation,"
        " policy_findings, requested_by, requested_at, canceled_at, closed_at"
        " FROM returns WHERE id = :return_id",
        return_id=return_id,
    )
    receipts = await tx.fetch(
        "SELECT id, state, location_id, refund_given, refund_id, refund_amount, explanation,"
        " action_required, owed_amount, settles_owed, warnings, note, refusal, received_by,"
        " created_at, settled_at"
        " FROM receipts WHERE return_id = :return_id ORDER BY created_at, id",
        return_id=return_id,
    )
    lines = await tx.fetch(
        "SELECT receipt_lines.receipt_id AS receipt_id, receipt_lines.line_no AS line_no,"
        " receipt_lines.line_id AS item_id, receipt_lines.variant_id AS variant_id,"
        " receipt_lines.quantity AS quantity,"
        " receipt_lines.damaged_quantity AS damaged_quantity FROM receipt_lines"
        " JOIN receipts ON receipts.id = receipt_lines.receipt_id"
        " WHERE receipts.return_id = :return_id"
        " ORDER BY receipt_lines.receipt_id, receipt_lines.line_no",
        return_id=return_id,
    )
    by_receipt: dict[str, list[Row]] = {receipt["id"]: [] for receipt in receipts}
    for line in lines:
        by_receipt[line.pop("receipt_id")].append(line)
    assert own is not None
    owed = sum(receipt["owed_amount"] for receipt in receipts)
    return {
        **own,
        "owed_amount": owed,
        "allowed_actions": domain.allowed_actions(state=State(own["state"]), owed_amount=owed),
        "receipts": [receipt | {"lines": by_receipt[receipt["id"]]} for receipt in receipts],
        "sagas": await _sagas(
            tx,
            "kind IN :kinds AND subject_id = :subject_id",
            kinds=sorted(SAGAS),
            subject_id=return_id,
        ),
    }


async def _shaped(tx: Tx, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Medusa's shape of a return: exactly its keys, and the items."""
    if not rows:
        return []
    items: dict[str, list[dict[str, Any]]] = {row["id"]: [] for row in rows}
    for item in await tx.fetch(_ITEMS, return_ids=list(items)):
        items[item["return_id"]].append(_item(item))
    return [_return(row, items[row["id"]]) for row in rows]


def _return(row: Row, items: list[dict[str, Any]]) -> dict[str, Any]:
    shipping = row["shipping"]
    return {
        "id": row["id"],
        "status": row["status"],
        "order_id": row["order_id"],
        "claim_order_id": None if row["of_exchange"] else row["claim_id"],
        "swap_id": row["claim_id"] if row["of_exchange"] else None,
        "location_id": row["location_id"],
        "shipping_data": {**shipping["data"], "number": row["number"]} if shipping else None,
        "refund_amount": row["refund_amount"],
        "received_at": row["received_at"],
        "no_notification": row["no_notification"],
        "metadata": row["metadata"],
        "idempotency_key": row["idempotency_key"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "items": items,
        "shipping_method": _shipping_method(row["id"], shipping) if shipping else None,
    }


def _shipping_method(return_id: str, quote: dict[str, Any]) -> dict[str, Any]:
    option = None
    if quote["option_id"]:
        option = {"id": quote["option_id"], "name": quote["name"], "is_return": True}
    return {
        "id": derived_id("sm", return_id),
        "order_id": None,
        "claim_order_id": None,
        "swap_id": None,
        "cart_id": None,
        "return_id": return_id,
        "shipping_option_id": quote["option_id"],
        "price": quote["price"],
        "data": quote["data"],
        "tax_lines": quote["tax_lines"],
        "shipping_option": option,
    }


def _item(row: Row) -> dict[str, Any]:
    reason = None
    if row["value"] is not None:
        reason = {"id": row["reason_id"], **{name: row[name] for name in _REASON_FIELDS}}
    announced, came = row["requested_quantity"], row["received_quantity"]
    return {
        "return_id": row["return_id"],
        "item_id": row["item_id"],
        "quantity": announced or came,
        "is_requested": came in (0, announced),
        "requested_quantity": row["requested_quantity"],
        "received_quantity": row["received_quantity"] or None,
        "reason_id": row["reason_id"],
        "reason": reason,
        "note": row["note"],
        "metadata": row["metadata"],
    }


# ---- what a waiting door looks for --------------------------------------------------------------

Outcome = dict[str, Any] | Refusal


async def outcome_of_request(tx: Tx, *, return_id: str, receipt_id: str) -> Outcome | None:
    """The requested return, or why there is none; None while that is open.

    A return that is received at once is waited for until ``receipt_id``, its receipt, is decided.
    """
    row = await tx.fetch_one(
        "SELECT returns.state AS state, returns.refusal AS refusal,"
        " returns.receive_now AS receive_now, receipts.state AS receipt_state,"
        " receipts.refusal AS receipt_refusal FROM returns"
        " LEFT JOIN receipts ON receipts.id = :receipt_id WHERE returns.id = :return_id",
        return_id=return_id,
        receipt_id=receipt_id,
    )
    if row is None or row["state"] == State.OPENING:
        return None
    if row["state"] == State.REFUSED:
        return _refusal(row["refusal"])
    if row["receive_now"]:
        if row["receipt_state"] == "receiving":
            return None
        if row["receipt_state"] == "refused":
            return _refusal(row["receipt_refusal"])
    return await return_by_id(tx, return_id=return_id)


async def outcome_of_receipt(tx: Tx, *, return_id: str, receipt_id: str) -> Outcome | None:
    """The return with what came, or why it was not booked; None while that is open.

    A receipt of nothing has no row: the return is as it was. One that only settles money and
    could not is told as a refusal.
    """
    row = await tx.fetch_one(
        "SELECT state, refusal, settles_owed, action_required FROM receipts WHERE id = :receipt_id",
        receipt_id=receipt_id,
    )
    if row and row["state"] == "receiving":
        return None
    if row and (row["state"] == "refused" or (row["settles_owed"] and row["action_required"])):
        return _refusal(row["refusal"])
    return await return_by_id(tx, return_id=return_id)


async def outcome_of_close(tx: Tx, *, return_id: str) -> Outcome | None:
    """The closed return; None while the rest of its units is being released."""
    state = await tx.fetch_value(
        "SELECT state FROM returns WHERE id = :return_id", return_id=return_id
    )
    if state == State.CLOSING:
        return None
    return await return_by_id(tx, return_id=return_id)


async def outcome_of_cancel(tx: Tx, *, return_id: str) -> Outcome | None:
    """The canceled return; None while its units are being released."""
    state = await tx.fetch_value(
        "SELECT state FROM returns WHERE id = :return_id", return_id=return_id
    )
    if state == State.CANCELING:
        return None
    return await return_by_id(tx, return_id=return_id)


def _refusal(told: dict[str, Any]) -> Refusal:
    facts = {name: told[name] for name in told if name not in ("code", "kind", "message")}
    return refusal(told["kind"], told["code"], told["message"], **facts)


# ---- return reasons -----------------------------------------------------------------------------

_REASONS = f"SELECT id, {', '.join(_REASON_FIELDS)} FROM return_reasons WHERE deleted_at IS NULL"


async def reasons(tx: Tx) -> dict[str, Any]:
    """The top-level reasons with their children, newest first: {return_reasons}."""
    rows = await tx.fetch(f"{_REASONS} ORDER BY created_at DESC, id DESC")
    tops = [row for row in rows if row["parent_return_reason_id"] is None]
    return {"return_reasons": [_with_family(row, rows) for row in tops]}


async def reason_by_id(tx: Tx, *, reason_id: str) -> dict[str, Any]:
    """One reason with its parent and its children: {return_reason}. Raises ReasonNotFound."""
    rows = await tx.fetch(
        f"{_REASONS} AND (id = :reason_id OR parent_return_reason_id = :reason_id OR id ="
        " (SELECT parent_return_reason_id FROM return_reasons WHERE id = :reason_id))"
        " ORDER BY created_at DESC, id DESC",
        reason_id=reason_id,
    )
    own = next((row for row in rows if row["id"] == reason_id), None)
    if own is None:
        raise domain.ReasonNotFound(reason_id)
    return {"return_reason": _with_family(own, rows)}


def _with_family(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    parent_id = row["parent_return_reason_id"]
    return {
        **row,
        "parent_return_reason": next((dict(r) for r in rows if r["id"] == parent_id), None),
        "return_reason_children": [
            dict(r) for r in rows if r["parent_return_reason_id"] == row["id"]
        ],
    }


async def export(tx: Tx) -> dict[str, Any]:
    """What an import of this service would take, parents first: {return_reasons}."""
    rows = await tx.fetch(
        "SELECT id, value, label, description, parent_return_reason_id FROM return_reasons"
        " WHERE deleted_at IS NULL"
        " ORDER BY CASE WHEN parent_return_reason_id IS NULL THEN 0 ELSE 1 END, created_at, id"
    )
    return {
        "return_reasons": [
            {name: value for name, value in row.items() if value is not None} for row in rows
        ]
    }


# ---- sagas, for operators -----------------------------------------------------------------------


async def sagas_page(
    tx: Tx, *, open_only: bool = True, limit: int = 50, offset: int = 0
) -> dict[str, Any]:
    """Sagas, the longest waiting first: {sagas, count, offset, limit}."""
    where = "direction IN ('forward', 'back')" if open_only else "1 = 1"
    found = await _sagas(tx, where, limit=limit, offset=offset)
    count = await tx.fetch_value(f"SELECT COUNT(*) AS n FROM sagas WHERE {where}")
    return {"sagas": found, "count": count, "offset": offset, "limit": limit}


async def _sagas(
    tx: Tx, where: str, *, limit: int = 200, offset: int = 0, **params: Any
) -> list[Row]:
    """Sagas with their timelines, oldest first."""
    return await tx.fetch(
        "SELECT id, kind, subject_id, direction, stage, marks, refusals, tries, next_at,"
        f" deadline_at, history, created_at, updated_at FROM sagas WHERE {where}"
        " ORDER BY created_at, id LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        **params,
    )
