"""The tables of returns and every statement that writes them.

A return is loaded under its row lock, changed by `domain`, and saved whole; what has come is
counted by the database from the lines of the receipt, never read, added and written back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from chassis.audit import audit_table
from chassis.db import Instant, Json, Tx, metadata
from chassis.idempotency import idempotency_table
from chassis.inbox import inbox_table
from chassis.outbox import outbox_table
from chassis.saga_log import saga_table
from services.returns.domain import (
    ITEMS_MAX,
    PUBLIC,
    Arrival,
    Facts,
    Line,
    Reason,
    Return,
    State,
)

METADATA = metadata()
outbox_table(METADATA)
inbox_table(METADATA)
audit_table(METADATA)
saga_table(METADATA)
idempotency_table(METADATA)

_Text = sa.Text()
_States = ", ".join(f"'{state}'" for state in State)
_Statuses = ", ".join(f"'{state}'" for state in PUBLIC)

returns = sa.Table(
    "returns",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("number", _Text, nullable=False, index=True),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("claim_id", _Text, unique=True),
    # The claim is an exchange.
    sa.Column("of_exchange", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Column("customer_id", _Text, index=True),
    sa.Column("state", _Text, nullable=False),
    sa.Column("status", _Text),
    sa.Column("currency_code", _Text),
    sa.Column("refund_given", sa.BigInteger),
    sa.Column("refund_amount", sa.BigInteger),
    sa.Column("refunded_amount", sa.BigInteger, nullable=False, default=0),
    sa.Column("explanation", Json),
    sa.Column("facts", Json),
    sa.Column("shipping", Json),
    sa.Column("location_id", _Text),
    sa.Column("no_notification", sa.Boolean),
    sa.Column("receive_now", sa.Boolean, nullable=False, default=False),
    sa.Column("policy_binds", sa.Boolean, nullable=False, default=False),
    sa.Column("policy_findings", Json),
    sa.Column("requested_by", _Text),
    sa.Column("refusal", Json),
    sa.Column("metadata", Json),
    sa.Column("idempotency_key", _Text),
    sa.Column("receipt_id", _Text),
    sa.Column("version", sa.Integer, nullable=False, default=0),
    sa.Column("requested_at", Instant),
    sa.Column("received_at", Instant),
    sa.Column("canceled_at", Instant),
    sa.Column("closed_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint(f"state IN ({_States})", name="state"),
    sa.CheckConstraint(f"status IS NULL OR status IN ({_Statuses})", name="status"),
    sa.CheckConstraint(
        f"state NOT IN ({_Statuses}) OR (status IS NOT NULL AND status = state)",
        name="status_follows_state",
    ),
    sa.CheckConstraint("refunded_amount >= 0", name="refunded_amount"),
)
sa.Index("ix_returns_created_at_id", returns.c.created_at, returns.c.id)

return_items = sa.Table(
    "return_items",
    METADATA,
    sa.Column("return_id", _Text, sa.ForeignKey("returns.id"), primary_key=True),
    sa.Column("line_id", _Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("requested_quantity", sa.Integer, nullable=False),
    sa.Column("received_quantity", sa.Integer, nullable=False, default=0),
    sa.Column("reason_id", _Text),
    sa.Column("note", _Text),
    sa.Column("metadata", Json),
    # What came without being announced has a row too, of 0 requested units.
    sa.CheckConstraint("requested_quantity >= 0", name="requested_quantity"),
    sa.CheckConstraint("received_quantity >= 0", name="received_quantity"),
)

receipts = sa.Table(
    "receipts",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("return_id", _Text, sa.ForeignKey("returns.id"), nullable=False, index=True),
    sa.Column("state", _Text, nullable=False),
    sa.Column("location_id", _Text),
    sa.Column("refund_given", sa.BigInteger),
    sa.Column("refund_id", _Text),
    sa.Column("refund_amount", sa.BigInteger, nullable=False, default=0),
    sa.Column("explanation", Json),
    sa.Column("action_required", sa.Boolean, nullable=False, default=False),
    # Money for these goods that could not be paid, until a later receipt settles it.
    sa.Column("owed_amount", sa.BigInteger, nullable=False, default=0, server_default="0"),
    # A receipt without goods: it only settles what others left owed.
    sa.Column("settles_owed", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    # What somebody should know who looks: [{code, message}].
    sa.Column("warnings", Json),
    sa.Column("note", _Text),
    sa.Column("refusal", Json),
    sa.Column("received_by", _Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("settled_at", Instant),
    sa.CheckConstraint("state IN ('receiving', 'settled', 'refused')", name="state"),
)
# The last net under "one receipt at a time".
sa.Index(
    "uq_receipts_in_flight",
    receipts.c.return_id,
    unique=True,
    postgresql_where=sa.text("state = 'receiving'"),
    sqlite_where=sa.text("state = 'receiving'"),
)

receipt_lines = sa.Table(
    "receipt_lines",
    METADATA,
    sa.Column("receipt_id", _Text, sa.ForeignKey("receipts.id"), primary_key=True),
    sa.Column("line_no", sa.Integer, primary_key=True),
    sa.Column("line_id", _Text, nullable=False),
    sa.Column("variant_id", _Text),
    sa.Column("quantity", sa.Integer, nullable=False),
    # Received, but not put back into stock.
    sa.Column("damaged_quantity", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.CheckConstraint("quantity >= 1", name="quantity"),
)

return_reasons = sa.Table(
    "return_reasons",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("value", _Text, nullable=False),
    sa.Column("label", _Text, nullable=False),
    sa.Column("description", _Text),
    sa.Column("parent_return_reason_id", _Text, index=True),
    sa.Column("metadata", Json),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("deleted_at", Instant),
)
sa.Index(
    "uq_return_reasons_living_value",
    return_reasons.c.value,
    unique=True,
    postgresql_where=sa.text("deleted_at IS NULL"),
    sqlite_where=sa.text("deleted_at IS NULL"),
)

# ---- returns ------------------------------------------------------------------------------------

_STATE_COLUMNS = (
    "state",
    "status",
    "refund_given",
    "refund_amount",
    "refunded_amount",
    "no_notification",
    "receipt_id",
    "version",
    "requested_at",
    "received_at",
    "canceled_at",
    "closed_at",
)
_SAVE = f"""
UPDATE returns SET {", ".join(f"{name} = :{name}" for name in _STATE_COLUMNS)}, updated_at = :now
WHERE id = :id
"""
_LOAD = """
SELECT id, order_id, claim_id, of_exchange, state, status, refund_given, refund_amount,
       refunded_amount, facts, location_id, no_notification, policy_binds, receive_now,
       receipt_id, version, requested_at, received_at, canceled_at, closed_at,
       CAST((SELECT COALESCE(SUM(receipts.owed_amount), 0) FROM receipts
             WHERE receipts.return_id = returns.id) AS BIGINT) AS owed_amount
FROM returns WHERE id = :return_id FOR UPDATE
"""
_LOAD_LINES = """
SELECT line_id, requested_quantity, received_quantity, reason_id, note
FROM return_items WHERE return_id = :return_id ORDER BY position
"""
_ADD_STRANGERS = """
INSERT INTO return_items (return_id, line_id, position, requested_quantity, received_quantity)
SELECT CAST(:return_id AS TEXT), receipt_lines.line_id, :position + receipt_lines.line_no, 0, 0
FROM receipt_lines
WHERE receipt_lines.receipt_id = :receipt_id AND NOT EXISTS (
    SELECT 1 FROM return_items
    WHERE return_items.return_id = :return_id AND return_items.line_id = receipt_lines.line_id)
"""
_COUNT_ARRIVALS = """
UPDATE return_items
SET received_quantity = received_quantity + (
    SELECT receipt_lines.quantity FROM receipt_lines
    WHERE receipt_lines.receipt_id = :receipt_id
      AND receipt_lines.line_id = return_items.line_id)
WHERE return_id = :return_id
  AND line_id IN (
    SELECT receipt_lines.line_id FROM receipt_lines
    WHERE receipt_lines.receipt_id = :receipt_id)
"""


async def insert_return(
    tx: Tx,
    return_: Return,
    *,
    number: str,
    customer_id: str | None,
    requested_by: str | None,
    idempotency_key: str | None,
    metadata: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    """A new return with its lines."""
    row = {name: getattr(return_, name) for name in _STATE_COLUMNS}
    row |= {
        "id": return_.id,
        "number": number,
        "order_id": return_.order_id,
        "claim_id": return_.claim_id,
        "of_exchange": return_.of_exchange,
        "customer_id": customer_id,
        "location_id": return_.location_id,
        "receive_now": return_.receive_now,
        "policy_binds": return_.policy_binds,
        "requested_by": requested_by,
        "idempotency_key": idempotency_key,
        "metadata": dict(metadata) if metadata is not None else None,
        "created_at": now,
        "updated_at": now,
    }
    await tx.insert(returns, [row])
    await tx.insert(
        return_items,
        [
            {
                "return_id": return_.id,
                "line_id": line.line_id,
                "position": position,
                "requested_quantity": line.requested_quantity,
                "reason_id": line.reason_id,
                "note": line.note,
            }
            for position, line in enumerate(return_.lines)
        ],
    )


async def return_for_update(tx: Tx, return_id: str) -> Return | None:
    """The return under its row lock, or None."""
    row = await tx.fetch_one(_LOAD, return_id=return_id)
    if row is None:
        return None
    facts = {fact["line_id"]: fact for fact in row.pop("facts") or ()}
    lines = tuple(
        Line(
            **line,
            variant_id=fact.get("variant_id"),
            title=fact.get("title"),
            unit_price=fact.get("unit_price", 0),
            delivered_at=fact.get("delivered_at"),
        )
        for line in await tx.fetch(_LOAD_LINES, return_id=return_id)
        for fact in (facts.get(line["line_id"], {}),)
    )
    status = State(row.pop("status")) if row["status"] else row.pop("status")
    return Return(**{**row, "state": State(row["state"])}, status=status, lines=lines)


async def save_return(tx: Tx, return_: Return, *, now: datetime) -> None:
    """Everything a move changes. Quantities are not among it, see `count_arrivals`."""
    values = {name: getattr(return_, name) for name in _STATE_COLUMNS}
    await tx.execute(_SAVE, id=return_.id, now=now, **values)


async def save_agreement(
    tx: Tx,
    *,
    return_id: str,
    currency_code: str | None,
    explanation: Sequence[Mapping[str, Any]],
    facts: Iterable[Facts],
    shipping: Mapping[str, Any] | None,
    policy_findings: Sequence[Mapping[str, Any]],
) -> None:
    """What the return was agreed on: frozen facts, the money line by line, the shipping."""
    await tx.execute(
        "UPDATE returns SET currency_code = CAST(:currency_code AS TEXT),"
        " explanation = :explanation, facts = :facts, shipping = :shipping,"
        " policy_findings = :policy_findings WHERE id = :return_id",
        return_id=return_id,
        currency_code=currency_code,
        explanation=list(explanation),
        facts=[asdict(fact) for fact in facts],
        shipping=dict(shipping) if shipping is not None else None,
        policy_findings=list(policy_findings),
    )


async def save_refusal(tx: Tx, *, return_id: str, refusal: Mapping[str, Any]) -> None:
    """Why the return was refused, for the caller who waits and for a repeat of the request."""
    await tx.execute(
        "UPDATE returns SET refusal = :refusal WHERE id = :return_id",
        refusal=dict(refusal),
        return_id=return_id,
    )


async def return_of_claim(tx: Tx, claim_id: str) -> dict[str, Any] | None:
    """Id, state and public status of the return a claim opened, under its row lock."""
    return await tx.fetch_one(
        "SELECT id, state, status FROM returns WHERE claim_id = :claim_id FOR UPDATE",
        claim_id=claim_id,
    )


# ---- receipts -----------------------------------------------------------------------------------


async def insert_receipt(
    tx: Tx,
    *,
    receipt_id: str,
    return_id: str,
    lines: Iterable[Arrival],
    location_id: str | None,
    refund_given: int | None,
    received_by: str | None,
    note: str | None = None,
    settles_owed: bool = False,
    now: datetime,
) -> None:
    """A parcel at the door, with what is in it. Raises DuplicateRow when one is in flight."""
    await tx.insert(
        receipts,
        [
            {
                "id": receipt_id,
                "return_id": return_id,
                "state": "receiving",
                "location_id": location_id,
                "refund_given": refund_given,
                "received_by": received_by,
                "note": note,
                "settles_owed": settles_owed,
                "created_at": now,
            }
        ],
    )
    await tx.insert(receipt_lines, [{"receipt_id": receipt_id, **asdict(line)} for line in lines])


async def name_variants(tx: Tx, *, receipt_id: str, variants: Mapping[str, str | None]) -> None:
    """What orders told of lines that were not on the return: their variants."""
    for line_id, variant_id in variants.items():
        await tx.execute(
            "UPDATE receipt_lines SET variant_id = CAST(:variant_id AS TEXT)"
            " WHERE receipt_id = :receipt_id AND line_id = :line_id",
            receipt_id=receipt_id,
            line_id=line_id,
            variant_id=variant_id,
        )


async def receipt_arrivals(tx: Tx, receipt_id: str) -> tuple[Arrival, ...]:
    """The lines of a receipt, in their order."""
    rows = await tx.fetch(
        "SELECT line_no, line_id, variant_id, quantity, damaged_quantity FROM receipt_lines"
        " WHERE receipt_id = :receipt_id ORDER BY line_no",
        receipt_id=receipt_id,
    )
    return tuple(Arrival(**row) for row in rows)


async def add_strangers(tx: Tx, *, return_id: str, receipt_id: str) -> None:
    """Make lines of the return out of lines of a receipt that it does not have."""
    # Behind all that were announced, whose positions count from 0.
    await tx.execute(_ADD_STRANGERS, return_id=return_id, receipt_id=receipt_id, position=ITEMS_MAX)


async def count_arrivals(tx: Tx, *, return_id: str, receipt_id: str) -> int:
    """Add what a receipt brought to the lines of its return; how many lines were touched."""
    return await tx.execute(_COUNT_ARRIVALS, return_id=return_id, receipt_id=receipt_id)


async def settle_receipt(
    tx: Tx,
    *,
    receipt_id: str,
    refund_id: str | None,
    refund_amount: int,
    explanation: Sequence[Mapping[str, Any]],
    action_required: bool,
    owed_amount: int,
    warnings: Sequence[Mapping[str, Any]],
    refusal: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    """The receipt is booked; ``refusal`` says why the money is not out, if it is not."""
    await tx.execute(
        "UPDATE receipts SET state = 'settled', refund_id = CAST(:refund_id AS TEXT),"
        " refund_amount = :refund_amount, explanation = :explanation,"
        " action_required = :action_required, owed_amount = :owed_amount,"
        " warnings = :warnings, refusal = :refusal, settled_at = :now"
        " WHERE id = :receipt_id AND state = 'receiving'",
        receipt_id=receipt_id,
        refund_id=refund_id,
        refund_amount=refund_amount,
        explanation=list(explanation),
        action_required=action_required,
        owed_amount=owed_amount,
        warnings=[dict(warning) for warning in warnings],
        refusal=dict(refusal) if refusal is not None else None,
        now=now,
    )


async def forget_owed(tx: Tx, *, return_id: str) -> None:
    """What receipts of this return left owed is a later one's matter now."""
    await tx.execute(
        "UPDATE receipts SET owed_amount = 0 WHERE return_id = :return_id AND owed_amount <> 0",
        return_id=return_id,
    )


async def refuse_receipt(
    tx: Tx, *, receipt_id: str, refusal: Mapping[str, Any], now: datetime
) -> None:
    """The receipt was refused before anything was booked."""
    await tx.execute(
        "UPDATE receipts SET state = 'refused', refusal = :refusal, settled_at = :now"
        " WHERE id = :receipt_id AND state = 'receiving'",
        receipt_id=receipt_id,
        refusal=dict(refusal),
        now=now,
    )


# ---- return reasons -----------------------------------------------------------------------------

_REASON = (
    "SELECT id, value, label, description, parent_return_reason_id, metadata FROM return_reasons"
)


async def reason_for_update(tx: Tx, reason_id: str) -> Reason | None:
    """A living reason under its row lock, or None."""
    sql = f"{_REASON} WHERE id = :reason_id AND deleted_at IS NULL FOR UPDATE"
    row = await tx.fetch_one(sql, reason_id=reason_id)
    return Reason(**row) if row else None


async def any_reason(tx: Tx, reason_id: str) -> tuple[Reason, bool] | None:
    """A reason under its row lock and whether it lives, or None: deleted ones can be imported
    again."""
    sql = _REASON.replace(" FROM", ", deleted_at FROM") + " WHERE id = :reason_id FOR UPDATE"
    row = await tx.fetch_one(sql, reason_id=reason_id)
    if row is None:
        return None
    lives = row.pop("deleted_at") is None
    return Reason(**row), lives


async def id_of_living_value(tx: Tx, value: str) -> str | None:
    """Which living reason uses this value."""
    found = await tx.fetch_value(
        "SELECT id FROM return_reasons WHERE value = :value AND deleted_at IS NULL", value=value
    )
    return None if found is None else str(found)


async def has_children(tx: Tx, reason_id: str) -> bool:
    """Whether the reason groups others."""
    found = await tx.fetch_value(
        "SELECT 1 FROM return_reasons"
        " WHERE parent_return_reason_id = :reason_id AND deleted_at IS NULL LIMIT 1",
        reason_id=reason_id,
    )
    return found is not None


async def reasons_in_use(tx: Tx, reason_ids: Sequence[str]) -> dict[str, bool]:
    """Which of these reasons live, and whether each is a category (groups others)."""
    rows = await tx.fetch(
        "SELECT reasons.id AS id, MAX(CASE WHEN children.id IS NULL THEN 0 ELSE 1 END) AS category"
        " FROM return_reasons AS reasons"
        " LEFT JOIN return_reasons AS children"
        " ON children.parent_return_reason_id = reasons.id AND children.deleted_at IS NULL"
        " WHERE reasons.id IN :reason_ids AND reasons.deleted_at IS NULL GROUP BY reasons.id",
        reason_ids=list(reason_ids),
    )
    return {row["id"]: bool(row["category"]) for row in rows}


async def insert_reason(tx: Tx, reason: Reason, *, now: datetime) -> None:
    """Raises DuplicateRow when a living reason has the value."""
    await tx.insert(return_reasons, [asdict(reason) | {"created_at": now, "updated_at": now}])


async def save_reason(tx: Tx, reason: Reason, *, now: datetime) -> None:
    """All fields; a deleted one lives again. Raises DuplicateRow as `insert_reason`."""
    await tx.execute(
        "UPDATE return_reasons SET value = :value, label = :label,"
        " description = CAST(:description AS TEXT),"
        " parent_return_reason_id = CAST(:parent_return_reason_id AS TEXT),"
        " metadata = :metadata, updated_at = :now, deleted_at = NULL WHERE id = :id",
        now=now,
        **asdict(reason),
    )


async def delete_reason(tx: Tx, *, reason_id: str, now: datetime) -> None:
    """Mark the reason and its children as deleted; returns keep showing what they were given."""
    await tx.execute(
        "UPDATE return_reasons SET deleted_at = :now"
        " WHERE (id = :reason_id OR parent_return_reason_id = :reason_id) AND deleted_at IS NULL",
        reason_id=reason_id,
        now=now,
    )
