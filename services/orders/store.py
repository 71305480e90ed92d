"""The tables of orders, and the statements about orders, customers and notes; ``store_*.py`` have
those about units, goods, money and imports.

The order row is locked first, always: everything below it (lines, payments, remedies, refunds,
transfers) then changes under that lock by guarded statements, one per kind of thing. What is read
after the lock is therefore what is written upon, and CHECK constraints are the last net.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from chassis.audit import audit_table
from chassis.db import Instant, Json, Row, Serial, Tx, metadata
from chassis.idempotency import idempotency_table
from chassis.inbox import inbox_table
from chassis.outbox import outbox_table
from chassis.saga_log import saga_table

METADATA = metadata()
outbox_table(METADATA)
inbox_table(METADATA)
audit_table(METADATA)
idempotency_table(METADATA)
saga_table(METADATA)

_Text = sa.Text()


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, default=0)


def _money(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, default=0)


regions = sa.Table(
    "regions",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("name", _Text, nullable=False),
    sa.Column("currency_code", _Text, nullable=False),
    sa.Column("tax_rate", sa.Float, nullable=False),
    sa.Column("tax_code", _Text),
    sa.Column("countries", Json),
    sa.Column("includes_tax", sa.Boolean, nullable=False, default=False),
    sa.Column("content_hash", _Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

sales_channels = sa.Table(
    "sales_channels",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("name", _Text, nullable=False),
    sa.Column("stock_location_ids", Json),
    sa.Column("content_hash", _Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

shipping_options = sa.Table(
    "shipping_options",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("name", _Text, nullable=False),
    sa.Column("region_id", _Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("is_return", sa.Boolean, nullable=False),
    sa.Column("includes_tax", sa.Boolean, nullable=False, default=False),
    sa.Column("data", Json),
    sa.Column("content_hash", _Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

customers = sa.Table(
    "customers",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("email", _Text, nullable=False, index=True),
    sa.Column("first_name", _Text),
    sa.Column("last_name", _Text),
    sa.Column("phone", _Text),
    sa.Column("search", _Text, nullable=False),
    sa.Column("content_hash", _Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

orders = sa.Table(
    "orders",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("display_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("status", _Text, nullable=False),
    sa.Column("payment_status", _Text, nullable=False),
    sa.Column("fulfillment_status", _Text, nullable=False),
    sa.Column("email", _Text, nullable=False, index=True),
    sa.Column("customer_id", _Text, index=True),
    sa.Column("region_id", _Text, nullable=False),
    sa.Column("sales_channel_id", _Text),
    sa.Column("currency_code", _Text, nullable=False),
    sa.Column("tax_rate", sa.Float),
    _money("paid"),
    _money("captured"),
    _money("refunded"),
    _money("refund_pending"),
    sa.Column("no_notification", sa.Boolean),
    sa.Column("metadata", Json),
    sa.Column("shipping_address", Json),
    sa.Column("billing_address", Json),
    sa.Column("shipping_methods", Json),
    sa.Column("discounts", Json),
    sa.Column("extra", Json),
    sa.Column("search", _Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, default=0),
    sa.Column("content_hash", _Text, nullable=False),
    # The claim that this order follows from.
    sa.Column("claim_id", _Text, index=True),
    sa.Column("canceled_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint("refunded >= 0 AND refund_pending >= 0", name="refunds"),
    sa.CheckConstraint("refunded + refund_pending <= captured", name="captured"),
)
sa.Index("ix_orders_created_at_id", orders.c.created_at, orders.c.id)

order_lines = sa.Table(
    "order_lines",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("order_id", _Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("variant_id", _Text),
    sa.Column("title", _Text, nullable=False),
    sa.Column("description", _Text),
    sa.Column("thumbnail", _Text),
    sa.Column("unit_price", sa.BigInteger, nullable=False),
    sa.Column("quantity", sa.Integer, nullable=False),
    _count("fulfilled_quantity"),
    _count("shipped_quantity"),
    _count("returned_quantity"),
    _count("remedied_quantity"),
    # Units that had come back before the order came here: no remedy of ours tells of them.
    _count("returned_before"),
    # What the returned units were worth, so that a line's refundable is one subtraction.
    _money("returned_amount"),
    # What was refunded of its price without taking a unit away: see ``goodwill_lines``.
    sa.Column("goodwill_amount", sa.BigInteger, nullable=False, default=0, server_default="0"),
    sa.Column("delivered_at", Instant),
    sa.Column("includes_tax", sa.Boolean, nullable=False, default=False),
    sa.Column("allow_discounts", sa.Boolean, nullable=False, default=True),
    sa.Column("is_giftcard", sa.Boolean, nullable=False, default=False),
    sa.Column("tax_lines", Json),
    sa.Column("adjustments", Json),
    sa.Column("metadata", Json),
    sa.Column("extra", Json),
    # A line that a claim sent out: the claim, the fulfillment that has it, and what was paid for
    # what it replaces. It is there while it is packed.
    sa.Column("claim_id", _Text),
    sa.Column("fulfillment_id", _Text, index=True),
    sa.Column("worth", sa.BigInteger),
    sa.Index("ix_order_lines_order_id_position", "order_id", "position"),
    sa.CheckConstraint(
        "quantity > 0 AND fulfilled_quantity <= quantity"
        " AND shipped_quantity <= fulfilled_quantity",
        name="quantities",
    ),
    sa.CheckConstraint(
        "returned_quantity >= 0 AND remedied_quantity >= 0"
        " AND returned_quantity + remedied_quantity <= quantity",
        name="remedies",
    ),
)

payments = sa.Table(
    "payments",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("provider_id", _Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency_code", _Text, nullable=False),
    _money("amount_refunded"),
    _money("refund_pending"),
    # Refunded before the order came here: an import and an export agree on it.
    _money("refunded_before"),
    sa.Column("captured_at", Instant),
    sa.Column("canceled_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.CheckConstraint(
        "amount_refunded >= 0 AND refund_pending >= 0"
        " AND amount_refunded + refund_pending <= amount",
        name="refunds",
    ),
)

fulfillments = sa.Table(
    "fulfillments",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("items", Json),
    sa.Column("location_id", _Text),
    sa.Column("tracking_numbers", Json),
    sa.Column("shipped_at", Instant),
    sa.Column("canceled_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("state", _Text, nullable=False, default="live", server_default="live"),
    # Imported ones are taken as given: they took nothing out of stock, and need not fit the lines.
    sa.Column("made_here", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Column("uses_stock", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Column("no_notification", sa.Boolean),
    sa.Column("metadata", Json),
    sa.Column("refusal", Json),
    sa.CheckConstraint(
        "state IN ('pending', 'live', 'refused', 'canceling', 'canceled')", name="state"
    ),
)

# Replacement goods of claims: what claims said of each of their fulfillments.
parcels = sa.Table(
    "parcels",
    METADATA,
    sa.Column("fulfillment_id", _Text, primary_key=True),
    sa.Column("claim_id", _Text, nullable=False),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("state", _Text, nullable=False),
    # Requests to withdraw it that were rejected.
    sa.Column("rejected", Json),
    sa.Column("created_at", Instant, nullable=False),
    sa.CheckConstraint("state IN ('recorded', 'shipped', 'withdrawn')", name="state"),
)

# Money that a provider is asked for: one row per try of a payment that a no may be followed by.
captures = sa.Table(
    "captures",
    METADATA,
    # The provider's idempotency key: a function of the payment and of how often it said no.
    sa.Column("id", _Text, primary_key=True),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("payment_id", _Text, nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("provider_id", _Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency_code", _Text, nullable=False),
    sa.Column("state", _Text, nullable=False),
    sa.Column("provider_ref", _Text, unique=True),
    _count("tries"),
    sa.Column("last_error", _Text),
    sa.Column("next_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.UniqueConstraint("payment_id", "number"),
    sa.CheckConstraint(
        "state IN ('pending', 'sent', 'unknown', 'posted', 'declined')", name="state"
    ),
    sa.Index(
        "ix_captures_due",
        "next_at",
        postgresql_where=sa.text("next_at IS NOT NULL"),
        sqlite_where=sa.text("next_at IS NOT NULL"),
    ),
)

remedies = sa.Table(
    "remedies",
    METADATA,
    # The claim's, return's or exchange's own id. A release that comes first leaves its row here.
    sa.Column("id", _Text, primary_key=True),
    sa.Column("kind", _Text, nullable=False),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("state", _Text, nullable=False),
    _money("amount"),
    # An amount agreed at the request of a return; null = what the received units are worth.
    sa.Column("given_amount", sa.BigInteger),
    _money("shipping_cost"),
    # The answer given to the hold: a repeat gets it again. Null for a release that came first.
    sa.Column("answer", Json),
    sa.Column("refusal", Json),
    # What was decided of refunds that came later, and of store credit that was to be taken back:
    # request id -> the refusal, or null.
    sa.Column("retries", Json),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint("kind IN ('claim', 'return', 'exchange')", name="kind"),
    sa.CheckConstraint("state IN ('held', 'settled', 'released')", name="state"),
)

remedy_lines = sa.Table(
    "remedy_lines",
    METADATA,
    sa.Column("remedy_id", _Text, primary_key=True),
    sa.Column("line_id", _Text, primary_key=True),
    sa.Column("quantity", sa.Integer, nullable=False),
    _count("received_quantity"),
    _money("goods"),
    _money("discount"),
    sa.Column("taxes", Json),
    sa.Index("ix_remedy_lines_line_id", "line_id"),
    sa.CheckConstraint("quantity > 0", name="quantity"),
    sa.CheckConstraint("received_quantity >= 0 AND received_quantity <= quantity", name="received"),
)

# What exchanges come to, once their goods are reserved and priced.
exchanges = sa.Table(
    "exchanges",
    METADATA,
    # The remedy's id.
    sa.Column("id", _Text, primary_key=True),
    sa.Column("order_id", _Text, nullable=False, index=True),
    # Minor units: what the customer owes; below 0, what the customer gets back.
    sa.Column("difference_due", sa.BigInteger, nullable=False),
    # What each line that goes out costs, taxes included: [{line_id, amount}].
    sa.Column("lines", Json, nullable=False),
    # The parts of its refund: they add up to minus the difference, until that is paid back.
    sa.Column("explanation", Json, nullable=False),
    # The payment by which a positive difference came.
    sa.Column("payment_id", _Text, index=True),
    sa.Column("created_at", Instant, nullable=False),
)

receipts = sa.Table(
    "receipts",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("return_id", _Text, nullable=False),
    sa.Column("remedy_id", _Text, nullable=False),
    sa.Column("state", _Text, nullable=False),
    # Units under this receipt as they were booked: [{line_id, announced, unannounced, unbooked}].
    sa.Column("arrivals", Json),
    sa.Column("answer", Json),
    # Money that could not be paid, and what it is made of, until a later receipt settles it.
    sa.Column("owed_amount", sa.BigInteger, nullable=False, default=0, server_default="0"),
    sa.Column("owed_explanation", Json),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_receipts_return_id", "return_id"),
    sa.CheckConstraint("state IN ('refunding', 'settled')", name="state"),
)

# Of store credit there is no memo: it is taken back as long as it is unspent.
MEMO_DUE = "state = 'posted' AND memo_id IS NULL AND destination = 'payment'"

refunds = sa.Table(
    "refunds",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("cause_kind", _Text, nullable=False),
    sa.Column("cause_id", _Text, nullable=False),
    sa.Column("state", _Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency_code", _Text, nullable=False),
    sa.Column("reason", _Text, nullable=False),
    sa.Column("note", _Text),
    sa.Column("no_notification", sa.Boolean, nullable=False, default=False),
    # Set where somebody refunds one payment, and not the order.
    sa.Column("payment_id", _Text),
    # Back to the payments it came from, or to the customer's store credit.
    sa.Column("destination", _Text, nullable=False, default="payment", server_default="payment"),
    sa.Column("decline", Json),
    # Where the outcome is to be told, when it comes after the command was handled.
    sa.Column("reply_to", Json),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("settled_at", Instant),
    # The credit memo, which is written some time after the money went out.
    sa.Column("memo_id", _Text),
    sa.Index(
        "ix_refunds_memo_due",
        "settled_at",
        "id",
        postgresql_where=sa.text(MEMO_DUE),
        sqlite_where=sa.text(MEMO_DUE),
    ),
    sa.UniqueConstraint("cause_kind", "cause_id"),
    sa.CheckConstraint("amount > 0", name="amount"),
    sa.CheckConstraint(
        "state IN ('held', 'pending', 'posted', 'declined', 'voided')", name="state"
    ),
    sa.CheckConstraint("destination IN ('payment', 'store_credit')", name="destination"),
)

# What a customer may spend with the shop, per currency: the sum of its entries, never below 0.
store_credits = sa.Table(
    "store_credits",
    METADATA,
    sa.Column("customer_id", _Text, primary_key=True),
    sa.Column("currency_code", _Text, primary_key=True),
    _money("balance"),
    # How many entries there are: the number of the last one.
    sa.Column("version", sa.BigInteger, nullable=False, default=0),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint("balance >= 0", name="balance"),
)

# Append only; ``amount`` is signed.
store_credit_entries = sa.Table(
    "store_credit_entries",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("customer_id", _Text, nullable=False),
    sa.Column("currency_code", _Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("balance", sa.BigInteger, nullable=False),
    sa.Column("kind", _Text, nullable=False),
    sa.Column("order_id", _Text),
    sa.Column("claim_id", _Text),
    sa.Column("refund_id", _Text),
    sa.Column("note", _Text),
    sa.Column("created_by", _Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("customer_id", "currency_code", "number"),
    sa.UniqueConstraint("refund_id", "kind"),
    sa.CheckConstraint("amount <> 0 AND balance >= 0", name="amounts"),
    sa.CheckConstraint("kind IN ('granted', 'reversed', 'adjusted')", name="kind"),
)

# What a refund by hand gives back of the price of a line whose units stay with the customer. Its
# amount is net + taxes, and becomes what went out when a provider declines.
goodwill_lines = sa.Table(
    "goodwill_lines",
    METADATA,
    sa.Column("refund_id", _Text, primary_key=True),
    sa.Column("line_id", _Text, primary_key=True),
    sa.Column("net", sa.BigInteger, nullable=False),
    sa.Column("taxes", Json),
    sa.Index("ix_goodwill_lines_line_id", "line_id"),
    sa.CheckConstraint("net >= 0", name="net"),
)

refund_attempts = sa.Table(
    "refund_attempts",
    METADATA,
    sa.Column("refund_id", _Text, primary_key=True),
    sa.Column("payment_id", _Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("order_id", _Text, nullable=False),
    sa.Column("provider_id", _Text, nullable=False),
    # The provider's idempotency key: a function of the cause, never of the try.
    sa.Column("provider_key", _Text, nullable=False, unique=True),
    sa.Column("cause_id", _Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency_code", _Text, nullable=False),
    sa.Column("state", _Text, nullable=False),
    sa.Column("provider_ref", _Text, unique=True),
    _count("tries"),
    sa.Column("last_error", _Text),
    sa.Column("next_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint(
        "state IN ('pending', 'sent', 'unknown', 'posted', 'declined')", name="state"
    ),
    sa.Index(
        "ix_refund_attempts_due",
        "next_at",
        postgresql_where=sa.text("next_at IS NOT NULL"),
        sqlite_where=sa.text("next_at IS NOT NULL"),
    ),
)

# Append only. A row in state 'pending' is resolved by a later row that names it in pending_id.
transfers = sa.Table(
    "transfers",
    METADATA,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("id", _Text, nullable=False, unique=True),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("kind", _Text, nullable=False),
    sa.Column("debit_account", _Text, nullable=False),
    sa.Column("credit_account", _Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency_code", _Text, nullable=False),
    sa.Column("state", _Text, nullable=False),
    sa.Column("pending_id", _Text, unique=True),
    sa.Column("payment_id", _Text, nullable=False),
    sa.Column("refund_id", _Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index(
        "ix_transfers_refund_id",
        "refund_id",
        postgresql_where=sa.text("refund_id IS NOT NULL"),
        sqlite_where=sa.text("refund_id IS NOT NULL"),
    ),
    sa.CheckConstraint("amount > 0", name="amount"),
    # A reversal takes a posted refund to store credit back.
    sa.CheckConstraint("kind IN ('capture', 'refund', 'refund_before', 'reversal')", name="kind"),
    sa.CheckConstraint("state IN ('pending', 'posted', 'voided')", name="state"),
    sa.CheckConstraint("debit_account <> credit_account", name="accounts"),
)

# Documents: a row is never changed or removed. Their statements are in store_memos.py.
credit_memos = sa.Table(
    "credit_memos",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("number", _Text, nullable=False, unique=True),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("display_id", sa.BigInteger, nullable=False),
    sa.Column("customer_id", _Text),
    sa.Column("refund_id", _Text, nullable=False, unique=True),
    sa.Column("cause_kind", _Text, nullable=False),
    sa.Column("cause_id", _Text, nullable=False),
    sa.Column("reason", _Text, nullable=False),
    sa.Column("note", _Text),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency_code", _Text, nullable=False),
    sa.Column("lines", Json),
    sa.Column("payments", Json),
    sa.Column("refunded_at", Instant, nullable=False),
    sa.Column("issued_at", Instant, nullable=False),
    sa.UniqueConstraint("year", "sequence"),
)

credit_memo_years = sa.Table(
    "credit_memo_years",
    METADATA,
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("last_sequence", sa.Integer, nullable=False),
)

# What somebody wrote about an order, a claim or anything else: orders keeps it for all.
notes = sa.Table(
    "notes",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("resource_type", _Text, nullable=False),
    sa.Column("resource_id", _Text, nullable=False),
    sa.Column("value", _Text, nullable=False),
    sa.Column("author_id", _Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Index("ix_notes_resource", "resource_id", "created_at"),
    sa.Index("ix_notes_created", "created_at", "id"),
)


# A condition on order_lines: what was bought, and not sent out by a claim.
OWN = "claim_id IS NULL"


async def change_rows(
    tx: Tx, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], sql: str
) -> int:
    """One guarded UPDATE of several rows; how many were touched. ``sql`` is what stands behind SET,
    WHERE included, in which ``d`` has their id and one number per column."""
    names = ("id", *columns)
    params = {
        f"{name}{index}": value
        for index, row in enumerate(rows)
        for name, value in zip(names, row, strict=True)
    }
    values = ", ".join(
        "("
        + ", ".join(
            [f"CAST(:id{index} AS TEXT)"] + [f"CAST(:{name}{index} AS BIGINT)" for name in columns]
        )
        + ")"
        for index in range(len(rows))
    )
    given = ", ".join(f"column{number} AS {name}" for number, name in enumerate(names, 1))
    changes, _, condition = sql.partition(" WHERE ")
    return await tx.execute(
        f"UPDATE {table} SET {changes} FROM (SELECT {given} FROM (VALUES {values}) AS v) AS d"
        f" WHERE {table}.id = d.id AND {condition}",
        **params,
    )


# ---------------------------------------------------------------------------------- orders


async def lock_order(tx: Tx, *, order_id: str) -> Row | None:
    """The order's row and its region's tax, locked until the end of the transaction; or None."""
    return await tx.fetch_one(
        "SELECT o.id, o.status, o.payment_status, o.fulfillment_status, o.currency_code,"
        " o.tax_rate, o.paid, o.captured, o.refunded, o.refund_pending, o.version,"
        " o.no_notification, o.customer_id, r.tax_rate AS region_tax_rate,"
        " r.tax_code AS region_tax_code, r.includes_tax AS region_includes_tax"
        " FROM orders o LEFT JOIN regions r ON r.id = o.region_id"
        " WHERE o.id = :order_id FOR UPDATE OF o",
        order_id=order_id,
    )


async def save_order(
    tx: Tx,
    *,
    order_id: str,
    posted: int,
    pending: int,
    taken: int,
    added: int,
    events: int,
    status: str,
    payment_status: str,
    fulfillment_status: str,
    now: datetime,
) -> bool:
    """Book money and move the version by the number of events; False when money would not do.

    An order whose status becomes canceled remembers when.
    """
    touched = await tx.execute(
        "UPDATE orders SET refunded = refunded + :posted,"
        " refund_pending = refund_pending + :pending, captured = captured + :taken,"
        " paid = paid + :added,"
        " version = version + :events, status = :status,"
        " payment_status = :payment_status, fulfillment_status = :fulfillment_status,"
        " canceled_at = CASE WHEN :status = 'canceled' THEN COALESCE(canceled_at, :now)"
        " ELSE canceled_at END, updated_at = :now WHERE id = :order_id"
        " AND refunded + :posted + refund_pending + :pending <= captured + :taken",
        order_id=order_id,
        posted=posted,
        pending=pending,
        taken=taken,
        added=added,
        events=events,
        status=status,
        payment_status=payment_status,
        fulfillment_status=fulfillment_status,
        now=now,
    )
    return touched == 1


async def details(tx: Tx, *, order_id: str) -> Row | None:
    """What of an order people correct; lock the order before: display_id, email, addresses,
    shipping_methods, and the countries of its region."""
    return await tx.fetch_one(
        "SELECT o.display_id, o.email, o.shipping_address, o.billing_address, o.shipping_methods,"
        " r.countries FROM orders o LEFT JOIN regions r ON r.id = o.region_id WHERE o.id = :id",
        id=order_id,
    )


async def customer_and_place(tx: Tx, *, order_id: str) -> Row | None:
    """What an order to the same customer has in common with this one, and whether prices of its
    region contain the tax. An order that was taxed line by line gives the rate of its region."""
    return await tx.fetch_one(
        "SELECT o.status, o.email, o.customer_id, o.region_id, o.sales_channel_id,"
        " o.currency_code, COALESCE(o.tax_rate, r.tax_rate) AS tax_rate, o.no_notification,"
        " o.shipping_address, o.billing_address, r.includes_tax"
        " FROM orders o LEFT JOIN regions r ON r.id = o.region_id WHERE o.id = :id",
        id=order_id,
    )


async def correct(tx: Tx, *, order_id: str, changes: Mapping[str, Any]) -> None:
    """Set columns of an order's row; the names of ``changes`` are columns of the table."""
    unknown = set(changes) - {column.name for column in orders.columns}
    if unknown:
        raise KeyError(f"orders has no column {', '.join(sorted(unknown))}")
    sets = ", ".join(f"{name} = :{name}" for name in sorted(changes))
    await tx.execute(f"UPDATE orders SET {sets} WHERE id = :order_id", order_id=order_id, **changes)


async def shipping_option(tx: Tx, *, option_id: str) -> Row | None:
    """A shipping option, or None."""
    return await tx.fetch_one(
        "SELECT id, name, amount, includes_tax, data FROM shipping_options WHERE id = :id",
        id=option_id,
    )


# ---------------------------------------------------------------------------------- notes


async def add_note(tx: Tx, *, row: Mapping[str, Any]) -> None:
    """A new note."""
    await tx.insert(notes, [row])


async def lock_note(tx: Tx, *, note_id: str) -> Row | None:
    """resource_type, resource_id and version of a note, locked; or None."""
    return await tx.fetch_one(
        "SELECT resource_type, resource_id, version FROM notes WHERE id = :id FOR UPDATE",
        id=note_id,
    )


async def change_note(tx: Tx, *, note_id: str, value: str, now: datetime) -> None:
    """Another text; the version goes up by one."""
    await tx.execute(
        "UPDATE notes SET value = :value, updated_at = :now, version = version + 1 WHERE id = :id",
        id=note_id,
        value=value,
        now=now,
    )


async def remove_note(tx: Tx, *, note_id: str) -> None:
    """Forget a note and its text."""
    await tx.execute("DELETE FROM notes WHERE id = :id", id=note_id)


# ---------------------------------------------------------------------------------- customers


async def lock_customer(tx: Tx, *, customer_id: str) -> Row | None:
    """email, first_name, last_name and phone of a customer, locked; or None."""
    return await tx.fetch_one(
        "SELECT email, first_name, last_name, phone FROM customers WHERE id = :id FOR UPDATE",
        id=customer_id,
    )


async def change_customer(tx: Tx, *, customer_id: str, row: Row, now: datetime) -> None:
    """Write email, first_name, last_name, phone and search of a customer."""
    await tx.execute(
        "UPDATE customers SET email = :email, first_name = :first_name, last_name = :last_name,"
        " phone = :phone, search = :search, updated_at = :now WHERE id = :id",
        id=customer_id,
        now=now,
        **row,
    )
