"""Tables of claims and every statement that writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from chassis.audit import audit_table
from chassis.db import Instant, Json, Row, Serial, Tx, metadata
from chassis.idempotency import idempotency_table
from chassis.inbox import inbox_table
from chassis.outbox import outbox_table
from chassis.saga_log import saga_table
from services.claims.domain import AdditionalItem, Claim, ClaimItem
from services.claims.fulfillments import Fulfillment

METADATA = metadata()
outbox_table(METADATA)
inbox_table(METADATA)
audit_table(METADATA)
saga_table(METADATA)
idempotency_table(METADATA)

CLAIMS = sa.Table(
    "claims",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("payment_status", sa.Text, nullable=False),
    sa.Column("fulfillment_status", sa.Text, nullable=False),
    sa.Column("recovery_point", sa.Text, nullable=False),
    sa.Column("refund_amount", sa.BigInteger),
    sa.Column("currency_code", sa.Text),
    sa.Column("return_id", sa.Text),
    sa.Column("no_notification", sa.Boolean),
    sa.Column("explanation", Json, nullable=False),
    sa.Column("refusal", Json),
    sa.Column("shipping_address", Json),
    sa.Column("shipping_methods", Json, nullable=False),
    sa.Column("metadata", Json),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("canceled_at", Instant),
    sa.Column("assigned_to", sa.Text),
    sa.Column("closed_at", Instant),
    sa.Column("closed_by", sa.Text),
    sa.Column("return_status", sa.Text),
    sa.Column("busy_with", sa.Text),
    sa.Column("stock_id", sa.Text, index=True),
    sa.Column("inquiry_id", sa.Text),
    sa.Column("refund_to", sa.Text, nullable=False, server_default="payment"),
    sa.CheckConstraint("refund_to IN ('payment', 'store_credit')", name="refund_to"),
    # Of exchanges.
    sa.Column("difference_due", sa.BigInteger),
    sa.Column("confirmed_at", Instant),
    sa.Column("allow_backorder", sa.Boolean),
    sa.CheckConstraint("type IN ('refund', 'replace', 'exchange')", name="type"),
    sa.CheckConstraint(
        "status IN ('opening', 'open', 'canceling', 'canceled', 'refused')", name="status"
    ),
    sa.CheckConstraint("refund_amount >= 0", name="refund_amount"),
    sa.Index("ix_claims_order", "order_id"),
    sa.Index("ix_claims_created", "created_at", "id"),
    sa.Index(
        "ix_claims_exchange_return",
        "return_id",
        sqlite_where=sa.text("type = 'exchange'"),
        postgresql_where=sa.text("type = 'exchange'"),
    ),
    # An inquiry becomes one claim; those that were refused on the way do not count.
    sa.Index(
        "uq_claims_inquiry",
        "inquiry_id",
        unique=True,
        sqlite_where=sa.text("status <> 'refused'"),
        postgresql_where=sa.text("status <> 'refused'"),
    ),
)

CLAIM_ITEMS = sa.Table(
    "claim_items",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("claim_id", sa.Text, sa.ForeignKey("claims.id"), nullable=False, index=True),
    sa.Column("line_id", sa.Text, nullable=False),
    sa.Column("variant_id", sa.Text),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("note", sa.Text),
    sa.Column("tags", Json, nullable=False),
    sa.Column("images", Json, nullable=False),
    sa.Column("metadata", Json),
    sa.CheckConstraint("quantity > 0", name="quantity"),
)

ADDITIONAL_ITEMS = sa.Table(
    "additional_items",
    METADATA,
    sa.Column("line_id", sa.Text, primary_key=True),
    sa.Column("claim_id", sa.Text, sa.ForeignKey("claims.id"), nullable=False, index=True),
    sa.Column("variant_id", sa.Text, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("title", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("sku", sa.Text),
    sa.Column("unit_price", sa.BigInteger),
    sa.Column("tax_lines", Json, nullable=False),
    sa.Column("location_id", sa.Text),
    sa.Column("fulfilled_quantity", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("shipped_quantity", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("includes_tax", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("quantity > 0", name="quantity"),
    sa.CheckConstraint(
        "shipped_quantity >= 0 AND shipped_quantity <= fulfilled_quantity"
        " AND fulfilled_quantity <= quantity",
        name="sent",
    ),
)

CLAIM_FULFILLMENTS = sa.Table(
    "claim_fulfillments",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("claim_id", sa.Text, sa.ForeignKey("claims.id"), nullable=False, index=True),
    # What was asked for together is answered together.
    sa.Column("request_id", sa.Text, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("items", Json, nullable=False),
    sa.Column("location_id", sa.Text),
    sa.Column("uses_stock", sa.Boolean, nullable=False),
    sa.Column("tracking_numbers", Json, nullable=False),
    sa.Column("no_notification", sa.Boolean),
    sa.Column("metadata", Json),
    sa.Column("refusal", Json),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("shipped_at", Instant),
    sa.Column("canceled_at", Instant),
    sa.CheckConstraint(
        "state IN ('pending', 'live', 'refused', 'canceling', 'canceled')", name="state"
    ),
)

INQUIRIES = sa.Table(
    "inquiries",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("customer_id", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("claim_id", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("refusal", Json),
    sa.Column("assigned_to", sa.Text),
    sa.Column("history", Json, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint(
        "status IN ('pending', 'in_review', 'approving', 'approved', 'rejected', 'canceled')",
        name="status",
    ),
    sa.CheckConstraint(
        "(status IN ('approving', 'approved')) = (claim_id IS NOT NULL)", name="claim"
    ),
    sa.Index("ix_inquiries_created", "created_at", "id"),
    sa.Index("ix_inquiries_order", "order_id"),
    sa.Index("ix_inquiries_customer", "customer_id", "created_at"),
)

INQUIRY_ITEMS = sa.Table(
    "inquiry_items",
    METADATA,
    sa.Column("inquiry_id", sa.Text, sa.ForeignKey("inquiries.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("line_id", sa.Text, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("note", sa.Text),
    sa.CheckConstraint("quantity > 0", name="quantity"),
)

INQUIRY_MESSAGES = sa.Table(
    "inquiry_messages",
    METADATA,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("inquiry_id", sa.Text, sa.ForeignKey("inquiries.id"), nullable=False, index=True),
    sa.Column("author_kind", sa.Text, nullable=False),
    sa.Column("author_id", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.CheckConstraint("author_kind IN ('customer', 'shop')", name="author_kind"),
)

# One row per order that was ever reported: its lock puts inquiries about an order in a row.
REPORTED_ORDERS = sa.Table(
    "reported_orders", METADATA, sa.Column("order_id", sa.Text, primary_key=True)
)

EVIDENCE = sa.Table(
    "evidence",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("inquiry_id", sa.Text, sa.ForeignKey("inquiries.id"), index=True),
    sa.Column("claim_id", sa.Text, sa.ForeignKey("claims.id"), index=True),
    sa.Column("file_key", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("author_kind", sa.Text, nullable=False),
    sa.Column("author_id", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.CheckConstraint("size_bytes > 0", name="size"),
    sa.CheckConstraint("author_kind IN ('customer', 'shop')", name="author_kind"),
    sa.CheckConstraint("(inquiry_id IS NULL) <> (claim_id IS NULL)", name="about"),
)


# Most claims send nothing out, and need no second look for it.
SENDS_OUT = "EXISTS (SELECT 1 FROM additional_items a WHERE a.claim_id = claims.id) AS sends_out"


async def add(tx: Tx, *, claim: Claim, request: Row, created_by: str, now: datetime) -> None:
    """Store a new claim. ``request``: idempotency_key, inquiry_id, metadata, address and shipping
    methods."""
    row = _state(claim) | {
        "id": claim.id,
        "order_id": claim.order_id,
        "return_id": claim.return_id,
        "return_status": "requested" if claim.return_id else None,
        "shipping_address": request.get("shipping_address"),
        "shipping_methods": request.get("shipping_methods") or [],
        "metadata": request.get("metadata"),
        "idempotency_key": request.get("idempotency_key"),
        "inquiry_id": request.get("inquiry_id"),
        "allow_backorder": request.get("allow_backorder"),
        "created_by": created_by,
        "created_at": now,
        "updated_at": now,
    }
    await tx.insert(CLAIMS, [row])
    await tx.insert(
        CLAIM_ITEMS,
        [
            {
                "id": item.id,
                "claim_id": claim.id,
                "line_id": item.line_id,
                "quantity": item.quantity,
                "reason": item.reason,
                "note": item.note,
                "tags": list(item.tags),
                "images": list(item.images),
            }
            for item in claim.items
        ],
    )
    await add_additional_items(tx, claim_id=claim.id, items=claim.additional_items)


async def add_additional_items(tx: Tx, *, claim_id: str, items: Iterable[AdditionalItem]) -> None:
    """Write lines that a claim sends out; name and price come with ``price_additional_items``."""
    await tx.insert(
        ADDITIONAL_ITEMS,
        [
            {
                "line_id": item.line_id,
                "claim_id": claim_id,
                "variant_id": item.variant_id,
                "quantity": item.quantity,
                "tax_lines": [],
            }
            for item in items
        ],
    )


async def drop_additional_items(tx: Tx, *, claim_id: str) -> None:
    """A claim sends nothing out any more."""
    await tx.execute("DELETE FROM additional_items WHERE claim_id = :id", id=claim_id)


async def set_shipping_methods(tx: Tx, *, claim_id: str, methods: list[Row]) -> None:
    """How a claim sends its goods."""
    await tx.execute(
        "UPDATE claims SET shipping_methods = :methods WHERE id = :id", methods=methods, id=claim_id
    )


async def load(tx: Tx, *, claim_id: str) -> Claim | None:
    """The claim, locked for this transaction."""
    row = await tx.fetch_one(
        f"SELECT *, {SENDS_OUT} FROM claims WHERE id = :id FOR UPDATE", id=claim_id
    )
    if row is None:
        return None
    items = await tx.fetch(
        "SELECT * FROM claim_items WHERE claim_id = :id ORDER BY id", id=claim_id
    )
    additional = []
    if row["sends_out"]:
        additional = await tx.fetch(
            "SELECT line_id, variant_id, quantity, title, description, unit_price, location_id,"
            " fulfilled_quantity, shipped_quantity FROM additional_items"
            " WHERE claim_id = :id ORDER BY line_id",
            id=claim_id,
        )
    return Claim(
        items=tuple(
            ClaimItem(
                id=item["id"],
                line_id=item["line_id"],
                quantity=item["quantity"],
                reason=item["reason"],
                note=item["note"],
                tags=tuple(item["tags"]),
                images=tuple(item["images"]),
                metadata=item["metadata"],
            )
            for item in items
        ),
        additional_items=tuple(AdditionalItem(**line) for line in additional),
        explanation=tuple(row["explanation"]),
        **{
            name: row[name]
            for name in (
                *("id", "order_id", "type", "status", "payment_status", "fulfillment_status"),
                *("recovery_point", "refund_amount", "currency_code", "return_id"),
                *("no_notification", "refusal", "canceled_at", "version"),
                *("assigned_to", "closed_at", "closed_by", "return_status"),
                *("busy_with", "stock_id", "refund_to", "difference_due", "confirmed_at"),
            )
        },
    )


async def save(tx: Tx, *, claim: Claim, now: datetime) -> None:
    """Write the state that can change."""
    await tx.execute(
        "UPDATE claims SET type = :type, status = :status, payment_status = :payment_status,"
        " fulfillment_status = :fulfillment_status, recovery_point = :recovery_point,"
        " refund_amount = :refund_amount, currency_code = :currency_code,"
        " no_notification = :no_notification, explanation = :explanation, refusal = :refusal,"
        " canceled_at = :canceled_at, version = :version, assigned_to = :assigned_to,"
        " closed_at = :closed_at, closed_by = :closed_by, return_status = :return_status,"
        " busy_with = :busy_with, stock_id = :stock_id, refund_to = :refund_to,"
        " difference_due = :difference_due, confirmed_at = :confirmed_at,"
        " updated_at = :now WHERE id = :id",
        id=claim.id,
        now=now,
        **_state(claim),
    )


async def price_additional_items(
    tx: Tx,
    *,
    lines: list[dict[str, Any]],
    tax: dict[str, Any] | None,
    includes_tax: bool = False,
) -> None:
    """Freeze what the lines to be sent out are called and cost, as inventory and orders said."""
    tax_lines = [tax] if tax else []
    for line in lines:
        await tx.execute(
            "UPDATE additional_items SET title = :title, description = :description, sku = :sku,"
            " unit_price = :unit_price, tax_lines = :tax_lines, location_id = :location_id,"
            " includes_tax = :includes_tax WHERE line_id = :line_id",
            title=line["title"],
            description=line["description"],
            sku=line["sku"],
            unit_price=line["unit_price"],
            tax_lines=tax_lines,
            location_id=line["location_id"],
            includes_tax=includes_tax,
            line_id=line["line_id"],
        )


async def name_claimed_variants(tx: Tx, *, claim_id: str, lines: list[dict[str, Any]]) -> None:
    """Remember which variant each claimed line was, from the hold's snapshot."""
    for line in lines:
        await tx.execute(
            "UPDATE claim_items SET variant_id = :variant_id"
            " WHERE claim_id = :claim_id AND line_id = :line_id",
            variant_id=line["variant_id"],
            claim_id=claim_id,
            line_id=line["line_id"],
        )


def _state(claim: Claim) -> Row:
    return {
        "type": claim.type,
        "status": claim.status,
        "payment_status": claim.payment_status,
        "fulfillment_status": claim.fulfillment_status,
        "recovery_point": claim.recovery_point,
        "refund_amount": claim.refund_amount,
        "currency_code": claim.currency_code,
        "no_notification": claim.no_notification,
        "explanation": list(claim.explanation),
        "refusal": claim.refusal,
        "canceled_at": claim.canceled_at,
        "version": claim.version,
        "assigned_to": claim.assigned_to,
        "closed_at": claim.closed_at,
        "closed_by": claim.closed_by,
        "return_status": claim.return_status,
        "busy_with": claim.busy_with,
        "stock_id": claim.stock_id,
        "refund_to": claim.refund_to,
        "difference_due": claim.difference_due,
        "confirmed_at": claim.confirmed_at,
    }


async def written(tx: Tx, *, claim_id: str) -> Row:
    """What people wrote on a claim beside its items: shipping_methods, metadata."""
    row = await tx.fetch_one(
        "SELECT shipping_methods, metadata FROM claims WHERE id = :id", id=claim_id
    )
    assert row is not None, claim_id
    return row


async def write(tx: Tx, *, claim: Claim, written: Row) -> None:
    """Write what ``written`` reads, and the texts of the items."""
    await tx.execute(
        "UPDATE claims SET shipping_methods = :shipping_methods, metadata = :metadata"
        " WHERE id = :id",
        id=claim.id,
        **written,
    )
    for item in claim.items:
        await tx.execute(
            "UPDATE claim_items SET reason = :reason, note = :note, tags = :tags,"
            " images = :images, metadata = :metadata WHERE id = :id",
            id=item.id,
            reason=item.reason,
            note=item.note,
            tags=list(item.tags),
            images=list(item.images),
            metadata=item.metadata,
        )


# ---- what is sent out -------------------------------------------------------------------------


async def add_fulfillment(
    tx: Tx,
    *,
    fulfillment: Fulfillment,
    quantities: Mapping[str, int],
    request_id: str,
    metadata: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    """Write a fulfillment; ``quantities`` are units by additional item."""
    row = {
        "id": fulfillment.id,
        "claim_id": fulfillment.claim_id,
        "request_id": request_id,
        "state": fulfillment.state,
        "items": [{"item_id": line, "quantity": units} for line, units in quantities.items()],
        "location_id": fulfillment.location_id,
        "uses_stock": fulfillment.uses_stock,
        "tracking_numbers": [],
        "no_notification": fulfillment.no_notification,
        "metadata": metadata,
        "created_at": now,
    }
    await tx.insert(CLAIM_FULFILLMENTS, [row])


async def fulfillments_of(tx: Tx, *, claim_id: str) -> list[Fulfillment]:
    """Every fulfillment of a claim, whatever its state; lock the claim before."""
    rows = await tx.fetch(
        "SELECT * FROM claim_fulfillments WHERE claim_id = :id ORDER BY created_at, id", id=claim_id
    )
    return [_fulfillment(row) for row in rows]


async def fulfillment(tx: Tx, *, fulfillment_id: str) -> Fulfillment | None:
    """A fulfillment, whatever its state; lock its claim before a decision on it."""
    row = await tx.fetch_one("SELECT * FROM claim_fulfillments WHERE id = :id", id=fulfillment_id)
    return None if row is None else _fulfillment(row)


def _fulfillment(row: Row) -> Fulfillment:
    return Fulfillment(
        id=row["id"],
        claim_id=row["claim_id"],
        state=row["state"],
        line_ids=tuple(item["item_id"] for item in row["items"]),
        location_id=row["location_id"],
        uses_stock=bool(row["uses_stock"]),
        is_shipped=row["shipped_at"] is not None,
        no_notification=row["no_notification"],
    )


async def set_fulfillment(tx: Tx, *, fulfillment: Fulfillment, changes: Mapping[str, Any]) -> None:
    """Set columns of a fulfillment; the names of ``changes`` are columns of the table."""
    unknown = set(changes) - {column.name for column in CLAIM_FULFILLMENTS.columns}
    if unknown:
        raise KeyError(f"claim_fulfillments has no column {', '.join(sorted(unknown))}")
    sets = ", ".join(f"{name} = :{name}" for name in sorted(changes))
    await tx.execute(
        f"UPDATE claim_fulfillments SET {sets} WHERE id = :fulfillment_id",
        fulfillment_id=fulfillment.id,
        **changes,
    )


async def request_of(tx: Tx, *, fulfillment_id: str) -> str:
    """The request that a fulfillment was begun by: who waits, waits for that."""
    return str(
        await tx.fetch_value(
            "SELECT request_id FROM claim_fulfillments WHERE id = :id", id=fulfillment_id
        )
    )


async def running_unpacking(tx: Tx, *, fulfillment_id: str) -> str | None:
    """The saga that unpacks a fulfillment at the moment."""
    found: str | None = await tx.fetch_value(
        "SELECT id FROM sagas WHERE kind = 'claim_fulfillment_cancel' AND subject_id = :id"
        " AND next_at IS NOT NULL",
        id=fulfillment_id,
    )
    return found


async def count_sent(tx: Tx, *, line_ids: Iterable[str], column: str, all_units: bool) -> None:
    """Count all units of these additional items as fulfilled or shipped (``column``), or none."""
    assert column in ("fulfilled_quantity", "shipped_quantity"), column
    await tx.execute(
        f"UPDATE additional_items SET {column} = {'quantity' if all_units else '0'}"
        " WHERE line_id IN :ids",
        ids=sorted(line_ids),
    )
