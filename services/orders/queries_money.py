"""What can be asked of the money of orders: ledgers, captures, refunds, memos, store credit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chassis.db import Row, Tx
from chassis.errors import Refusal, refusal
from services.orders import (
    domain,
    queries,
    shapes,
    store_memos,
)


async def unanswered(tx: Tx, *, table: str) -> tuple[int, datetime | None]:
    """How many rows of refund_attempts or captures have been tried without an answer, and since
    when the oldest is."""
    # The first condition is that of the index over what is due some time.
    tried = f"FROM {table} WHERE next_at IS NOT NULL AND tries > 0"
    count = await tx.fetch_value(f"SELECT COUNT(*) {tried}")
    oldest = await tx.fetch_value(f"SELECT created_at {tried} ORDER BY created_at LIMIT 1")
    return int(count), oldest


async def is_capture_due(tx: Tx, *, now: datetime) -> bool:
    """Whether a provider is to be asked for money now."""
    found = await tx.fetch_value("SELECT 1 FROM captures WHERE next_at <= :now LIMIT 1", now=now)
    return found is not None


async def is_memo_due(tx: Tx) -> bool:
    """Whether a refund went out that has no credit memo."""
    return await store_memos.is_due(tx)


async def ledger_of(tx: Tx, *, order_id: str) -> Row:
    """An order's money: {order_id, currency_code, captured, refunded, refund_pending, refundable,
    transfers, refunds, attempts, captures, remedies}. Raises ``order_unknown``."""
    order = await tx.fetch_one(
        "SELECT id AS order_id, currency_code, captured, refunded, refund_pending,"
        " captured - refunded - refund_pending AS refundable FROM orders WHERE id = :id",
        id=order_id,
    )
    if order is None:
        raise domain.order_unknown(order_id=order_id)
    transfers = await tx.fetch(
        "SELECT id, kind, debit_account, credit_account, amount, currency_code, state,"
        " pending_id, payment_id, refund_id, created_at FROM transfers"
        " WHERE order_id = :id ORDER BY seq",
        id=order_id,
    )
    made = await tx.fetch(
        "SELECT id, cause_kind, cause_id, state, amount, reason, note, destination, decline,"
        " created_at, settled_at FROM refunds WHERE order_id = :id ORDER BY created_at, id",
        id=order_id,
    )
    attempts = await tx.fetch(
        "SELECT refund_id, payment_id, provider_id, provider_key, provider_ref, amount, state,"
        " tries, last_error, next_at, created_at, updated_at FROM refund_attempts"
        " WHERE refund_id IN (SELECT r.id FROM refunds r WHERE r.order_id = :id)"
        " ORDER BY created_at, refund_id, position",
        id=order_id,
    )
    captures = await tx.fetch(
        "SELECT id, payment_id, provider_id, provider_ref, amount, state, tries, last_error,"
        " next_at, created_at, updated_at FROM captures WHERE order_id = :id"
        " ORDER BY created_at, id",
        id=order_id,
    )
    held = await tx.fetch(
        "SELECT r.id, r.kind, r.state, r.amount, r.created_at, l.line_id, l.quantity,"
        " l.received_quantity FROM remedies r LEFT JOIN remedy_lines l ON l.remedy_id = r.id"
        " WHERE r.order_id = :id ORDER BY r.created_at, r.id, l.line_id",
        id=order_id,
    )
    return {
        **order,
        "transfers": transfers,
        "refunds": made,
        "attempts": attempts,
        "captures": captures,
        "remedies": shapes.remedies(held),
    }


async def capture_outcome(tx: Tx, *, order_id: str) -> Row | None:
    """{order_id} once every capture of an order is decided, one way or the other."""
    left = await tx.fetch_value(
        "SELECT COUNT(*) FROM captures WHERE order_id = :id"
        " AND state NOT IN ('posted', 'declined')",
        id=order_id,
    )
    return None if left else {"order_id": order_id}


async def payment_capture_outcome(tx: Tx, *, payment_id: str) -> Row | Refusal | None:
    """{payment} once it is captured, the provider's no, or None while nobody knows."""
    row = await tx.fetch_one(
        f"SELECT {queries.PAYMENT}, c.state FROM payments LEFT JOIN captures c"
        " ON c.payment_id = payments.id WHERE payments.id = :id ORDER BY c.number DESC LIMIT 1",
        id=payment_id,
    )
    if row is None or (row["captured_at"] is None and row["state"] not in (None, "declined")):
        return None
    if row["captured_at"] is None:
        return domain.capture_failed(payment_id=payment_id)
    return {"payment": shapes.payment(row)}


async def payment_refund_outcome(
    tx: Tx, *, payment_id: str, refund_id: str
) -> Row | Refusal | None:
    """As ``refund_outcome``; a provider's no is told as Medusa tells it of a payment."""
    found = await refund_outcome(tx, refund_id=refund_id)
    return domain.refund_failed(payment_id=payment_id) if isinstance(found, Refusal) else found


async def payment_by_id(tx: Tx, *, payment_id: str) -> Row:
    """A payment as Medusa shows it. Raises NotFound."""
    row = await tx.fetch_one(
        f"SELECT {queries.PAYMENT} FROM payments WHERE id = :id", id=payment_id
    )
    if row is None:
        raise domain.payment_unknown(payment_id=payment_id)
    return shapes.payment(row)


async def refund_outcome(tx: Tx, *, refund_id: str) -> Row | Refusal | None:
    """What became of a refund by hand: {refund}, the provider's no, or None while nobody knows."""
    row = await tx.fetch_one("SELECT * FROM refunds WHERE id = :id", id=refund_id)
    if row is not None and row["state"] == "posted":
        return {"refund": shapes.refund(row)}
    if row is not None and row["state"] == "declined":
        return refusal(**row["decline"])
    return None


_MEMO = (
    "SELECT id, number, order_id, display_id, customer_id, refund_id, cause_kind, cause_id, reason,"
    " note, amount, currency_code, lines, payments, refunded_at, issued_at FROM credit_memos"
)


async def credit_memo(tx: Tx, *, memo_id: str) -> Row:
    """One credit memo, by its id or its number: {credit_memo}. Raises NotFound."""
    row = await tx.fetch_one(f"{_MEMO} WHERE id = :memo_id OR number = :memo_id", memo_id=memo_id)
    if row is None:
        raise domain.memo_unknown(memo_id=memo_id)
    return {"credit_memo": row}


async def credit_memos(
    tx: Tx,
    *,
    order_ids: Sequence[str] | None,
    refund_ids: Sequence[str] | None,
    year: int | None,
    limit: int,
    offset: int,
) -> Row:
    """A page of credit memos, the newest number first: {credit_memos, count, offset, limit}."""
    given = {"order_id": order_ids, "refund_id": refund_ids}
    params: Row = {name: list(ids) for name, ids in given.items() if ids is not None}
    parts = [f"{name} IN :{name}" for name in params]
    if year is not None:
        parts.append("year = :year")
        params["year"] = year
    where = f" WHERE {' AND '.join(parts)}" if parts else ""
    count = await tx.fetch_value(f"SELECT COUNT(*) FROM credit_memos{where}", **params)
    rows = await tx.fetch(
        f"{_MEMO}{where} ORDER BY year DESC, sequence DESC LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        **params,
    )
    return {"credit_memos": rows, "count": int(count), "offset": offset, "limit": limit}


async def store_credits(
    tx: Tx, *, customer_id: str, own_id: str | None, limit: int, offset: int
) -> Row:
    """A customer's store credit: {store_credits: [per currency], entries: [a page, newest first],
    count}. A customer does not see who booked an entry and why. Raises as ``customer_by_id``."""
    await queries.customer_by_id(tx, customer_id=customer_id, own_id=own_id)
    accounts = await tx.fetch(
        "SELECT currency_code, balance, updated_at FROM store_credits WHERE customer_id = :id"
        " ORDER BY currency_code",
        id=customer_id,
    )
    count = await tx.fetch_value(
        "SELECT COUNT(*) FROM store_credit_entries WHERE customer_id = :id", id=customer_id
    )
    inside = "" if own_id else ", note, created_by"
    entries = await tx.fetch(
        "SELECT id, currency_code, amount, balance, kind, order_id, claim_id, created_at"
        f"{inside} FROM store_credit_entries WHERE customer_id = :id"
        " ORDER BY created_at DESC, number DESC LIMIT :limit OFFSET :offset",
        id=customer_id,
        limit=limit,
        offset=offset,
    )
    return {"store_credits": accounts, "entries": entries, "count": int(count)}
