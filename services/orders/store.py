"""The tables of orders and every statement that writes them.

The order row is locked first, always: everything below it (lines, payments, remedies, refunds,
transfers) then changes under that lock by guarded statements, one per kind of thing. What is read
after the lock is therefore what is written upon, and CHECK constraints are the last net.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from chassis.audit import audit_table
from chassis.db import Instant, Json, Row, Serial, Tx, metadata
from chassis.idempotency import idempotency_table
from chassis.inbox import inbox_table
from chassis.outbox import outbox_table
from chassis.saga_log import saga_table
from services.orders.fulfillments import Fulfillment
from services.orders.fulfillments import Line as PackedLine
from services.orders.refunds import (
    PricedLine,
    Share,
    discount_of,
    price_line,
    share_of,
    taxes_of,
    worth_of,
)
from services.orders.remedies import HeldLine, Line

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


async def captured_payments(tx: Tx, *, order_id: str) -> list[Row]:
    """Captured payments in their order: id, provider_id, left_amount."""
    return await tx.fetch(
        "SELECT id, provider_id, amount - amount_refunded - refund_pending AS left_amount"
        " FROM payments WHERE order_id = :order_id AND captured_at IS NOT NULL ORDER BY position",
        order_id=order_id,
    )


async def payments_of(tx: Tx, *, order_id: str) -> list[Row]:
    """All payments of an order in their order; lock the order before."""
    return await tx.fetch(
        "SELECT id, provider_id, amount, amount_refunded, refund_pending, currency_code,"
        " captured_at, canceled_at FROM payments WHERE order_id = :order_id ORDER BY position",
        order_id=order_id,
    )


async def order_of_payment(tx: Tx, *, payment_id: str) -> str | None:
    """The order that a payment belongs to, or None for an unknown payment."""
    found = await tx.fetch_value("SELECT order_id FROM payments WHERE id = :id", id=payment_id)
    return None if found is None else str(found)


async def set_captured(tx: Tx, *, payment_id: str, now: datetime) -> bool:
    """The money of a payment is taken; False when it was before, or was canceled."""
    touched = await tx.execute(
        "UPDATE payments SET captured_at = :now"
        " WHERE id = :id AND captured_at IS NULL AND canceled_at IS NULL",
        id=payment_id,
        now=now,
    )
    return touched == 1


async def cancel_payments(tx: Tx, *, order_id: str, now: datetime) -> int:
    """Payments that were never captured never will be; how many."""
    return await tx.execute(
        "UPDATE payments SET canceled_at = :now"
        " WHERE order_id = :id AND captured_at IS NULL AND canceled_at IS NULL",
        id=order_id,
        now=now,
    )


async def shipping_option(tx: Tx, *, option_id: str) -> Row | None:
    """A shipping option, or None."""
    return await tx.fetch_one(
        "SELECT id, name, amount, includes_tax, data FROM shipping_options WHERE id = :id",
        id=option_id,
    )


# ---------------------------------------------------------------------------------- lines


async def lines_with_remedies(tx: Tx, *, order_id: str, line_ids: Iterable[str]) -> list[Row]:
    """Lines of the order, one row per live remedy on the line (its share), at least one each."""
    return await tx.fetch(
        "SELECT l.id, l.variant_id, l.title, l.quantity, l.unit_price, l.fulfilled_quantity,"
        " l.shipped_quantity, l.returned_quantity, l.remedied_quantity, l.returned_before,"
        " l.delivered_at, l.includes_tax, l.allow_discounts, l.tax_lines, l.adjustments, l.worth,"
        " l.goodwill_amount,"
        " rl.quantity AS taken_quantity, rl.goods, rl.discount, rl.taxes"
        " FROM order_lines l LEFT JOIN remedy_lines rl ON rl.line_id = l.id"
        " WHERE l.order_id = :order_id AND l.id IN :ids ORDER BY l.id",
        order_id=order_id,
        ids=list(line_ids),
    )


async def goodwill_on(tx: Tx, *, line_ids: Collection[str]) -> list[Row]:
    """What was given back of these lines, refund by refund: line_id, net, taxes."""
    return await tx.fetch(
        "SELECT line_id, net, taxes FROM goodwill_lines WHERE line_id IN :ids"
        " ORDER BY line_id, refund_id",
        ids=sorted(line_ids),
    )


async def goodwill_of(tx: Tx, *, refund_id: str) -> list[Row]:
    """What a refund gives back of lines: line_id, net, taxes."""
    return await tx.fetch(
        "SELECT line_id, net, taxes FROM goodwill_lines WHERE refund_id = :id ORDER BY line_id",
        id=refund_id,
    )


async def add_goodwill(tx: Tx, *, refund_id: str, shares: Mapping[str, Share]) -> None:
    """Write what a refund gives back of lines, and count it on them."""
    rows = [
        {
            "refund_id": refund_id,
            "line_id": line_id,
            "net": -share.discount,
            "taxes": list(share.taxes),
        }
        for line_id, share in shares.items()
    ]
    await tx.insert(goodwill_lines, rows)
    await _count_goodwill(tx, {line_id: share.amount for line_id, share in shares.items()})


async def lower_goodwill(
    tx: Tx, *, refund_id: str, before: Mapping[str, Share], now: Mapping[str, Share]
) -> None:
    """Less went out than was to be given back of these lines."""
    for line_id, share in now.items():
        await tx.execute(
            "UPDATE goodwill_lines SET net = :net, taxes = :taxes"
            " WHERE refund_id = :refund_id AND line_id = :line_id",
            refund_id=refund_id,
            line_id=line_id,
            net=-share.discount,
            taxes=list(share.taxes),
        )
    await _count_goodwill(
        tx, {line_id: share.amount - before[line_id].amount for line_id, share in now.items()}
    )


async def _count_goodwill(tx: Tx, amounts: Mapping[str, int]) -> None:
    await _change(
        tx,
        "order_lines",
        ["more"],
        sorted(amounts.items()),
        "goodwill_amount = goodwill_amount + d.more WHERE goodwill_amount + d.more >= 0",
    )


async def lines_elsewhere(tx: Tx, *, line_ids: Iterable[str]) -> list[str]:
    """Which of these lines exist at all, on whatever order."""
    rows = await tx.fetch("SELECT id FROM order_lines WHERE id IN :ids", ids=list(line_ids))
    return [row["id"] for row in rows]


async def _change(
    tx: Tx, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], sql: str
) -> int:
    """One UPDATE of several rows: ``d`` has their id and one number per column; rows touched."""
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


async def hold_units(tx: Tx, *, quantities: Mapping[str, int], limit: str) -> bool:
    """Put units under a remedy; False (and a rollback is due) when some line has not so many.

    ``limit`` is the column that bounds claimed or returned units: fulfilled_quantity or quantity.
    """
    rows = sorted(quantities.items())
    touched = await _change(
        tx,
        "order_lines",
        ["units"],
        rows,
        "remedied_quantity = remedied_quantity + d.units"
        f" WHERE returned_quantity + remedied_quantity + d.units <= {limit}",
    )
    return touched == len(rows)


async def free_units(tx: Tx, *, quantities: Mapping[str, int]) -> bool:
    """Give held units back."""
    rows = sorted(quantities.items())
    if not rows:
        return True
    touched = await _change(
        tx,
        "order_lines",
        ["units"],
        rows,
        "remedied_quantity = remedied_quantity - d.units WHERE remedied_quantity >= d.units",
    )
    return touched == len(rows)


async def book_arrivals(tx: Tx, *, rows: Sequence[tuple[str, int, int, int]]) -> bool:
    """Move units to *returned*: (line id, announced, unannounced, their worth) rows."""
    touched = await _change(
        tx,
        "order_lines",
        ["announced", "unannounced", "worth"],
        sorted(rows),
        "remedied_quantity = remedied_quantity - d.announced,"
        " returned_quantity = returned_quantity + d.announced + d.unannounced,"
        " returned_amount = returned_amount + d.worth"
        " WHERE remedied_quantity >= d.announced"
        " AND returned_quantity + remedied_quantity + d.unannounced <= quantity",
    )
    return touched == len(rows)


async def unit_counts(tx: Tx, *, order_id: str) -> tuple[int, int]:
    """(ordered, returned) units over the whole order; not those that claims sent out."""
    row = await tx.fetch_one(
        "SELECT SUM(quantity) AS ordered, SUM(returned_quantity) AS returned"
        f" FROM order_lines WHERE order_id = :order_id AND {OWN}",
        order_id=order_id,
    )
    return (int(row["ordered"] or 0), int(row["returned"] or 0)) if row else (0, 0)


# ---------------------------------------------------------------------------------- fulfillments


async def packed_lines(tx: Tx, *, order_id: str) -> dict[str, PackedLine]:
    """Every line that was bought, in units, by id; lock the order before."""
    rows = await tx.fetch(
        "SELECT l.id, l.variant_id, l.title, l.quantity, l.fulfilled_quantity, l.shipped_quantity,"
        " l.returned_quantity, COALESCE(c.units, 0) AS claimed FROM order_lines l LEFT JOIN"
        " (SELECT rl.line_id, SUM(rl.quantity - rl.received_quantity) AS units"
        " FROM remedy_lines rl JOIN remedies r ON r.id = rl.remedy_id"
        " WHERE r.order_id = :order_id AND r.kind <> 'return' GROUP BY rl.line_id) c"
        f" ON c.line_id = l.id WHERE l.order_id = :order_id AND l.{OWN} ORDER BY l.position",
        order_id=order_id,
    )
    pending: dict[str, int] = {}
    for row in await tx.fetch(
        "SELECT items FROM fulfillments WHERE order_id = :id AND state = 'pending'", id=order_id
    ):
        for item in row["items"] or ():
            pending[item["item_id"]] = pending.get(item["item_id"], 0) + item["quantity"]
    return {
        row["id"]: PackedLine(
            line_id=row["id"],
            variant_id=row["variant_id"],
            title=row["title"],
            quantity=row["quantity"],
            fulfilled=row["fulfilled_quantity"],
            shipped=row["shipped_quantity"],
            returned=row["returned_quantity"],
            claimed=int(row["claimed"]),
            pending=pending.get(row["id"], 0),
        )
        for row in rows
    }


async def has_shipping_method(tx: Tx, *, order_id: str) -> bool:
    """Whether the order says how it is to be sent."""
    row = await tx.fetch_one("SELECT shipping_methods FROM orders WHERE id = :id", id=order_id)
    return bool(row and row["shipping_methods"])


async def fulfillment(tx: Tx, *, fulfillment_id: str) -> Row | None:
    """A fulfillment's row, whatever its state; lock the order before a decision on it."""
    return await tx.fetch_one("SELECT * FROM fulfillments WHERE id = :id", id=fulfillment_id)


async def fulfillment_states(tx: Tx, *, order_id: str) -> list[str]:
    """The states of all fulfillments of an order; lock the order before."""
    rows = await tx.fetch("SELECT state FROM fulfillments WHERE order_id = :id", id=order_id)
    return [row["state"] for row in rows]


async def add_fulfillment(tx: Tx, *, row: Mapping[str, Any]) -> None:
    """Write a fulfillment behind those that the order has."""
    last = await tx.fetch_value(
        "SELECT COALESCE(MAX(position), -1) FROM fulfillments WHERE order_id = :id",
        id=row["order_id"],
    )
    await tx.insert(fulfillments, [{**row, "position": int(last) + 1}])


async def set_fulfillment(
    tx: Tx, *, fulfillment_id: str, before: str, changes: Mapping[str, Any]
) -> bool:
    """Change a fulfillment that is in the state ``before``; False when it is not."""
    sets = ", ".join(f"{name} = :{name}" for name in sorted(changes))
    touched = await tx.execute(
        f"UPDATE fulfillments SET {sets} WHERE id = :fulfillment_id AND state = :before",
        fulfillment_id=fulfillment_id,
        before=before,
        **changes,
    )
    return touched == 1


async def move_packed(tx: Tx, *, quantities: Mapping[str, int], column: str, sign: int = 1) -> bool:
    """Add units to fulfilled_quantity or shipped_quantity; False when some line cannot."""
    bound = "quantity" if column == "fulfilled_quantity" else "fulfilled_quantity"
    least = "shipped_quantity" if column == "fulfilled_quantity" else "0"
    rows = sorted((line_id, sign * units) for line_id, units in quantities.items() if units)
    if not rows:
        return True
    touched = await _change(
        tx,
        "order_lines",
        ["units"],
        rows,
        f"{column} = {column} + d.units"
        f" WHERE {column} + d.units <= {bound} AND {column} + d.units >= {least}",
    )
    return touched == len(rows)


# ---------------------------------------------------------------------------------- replacements


async def add_parcel(tx: Tx, *, row: Mapping[str, Any]) -> bool:
    """Remember a fulfillment of a claim; False when it is known."""
    return await tx.insert(parcels, [row], ignore_conflicts=True) == 1


async def add_replacement_lines(
    tx: Tx, *, order_id: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write lines that a claim sends out, behind those that the order has."""
    last = await tx.fetch_value(
        "SELECT COALESCE(MAX(position), -1) FROM order_lines WHERE order_id = :id", id=order_id
    )
    await tx.insert(
        order_lines,
        [{**row, "position": int(last) + number} for number, row in enumerate(rows, 1)],
    )


async def ship_replacement(tx: Tx, *, fulfillment_id: str) -> bool:
    """All units of the fulfillment's lines count as shipped; False when they did before."""
    touched = await tx.execute(
        "UPDATE parcels SET state = 'shipped' WHERE fulfillment_id = :id AND state = 'recorded'",
        id=fulfillment_id,
    )
    await tx.execute(
        "UPDATE order_lines SET shipped_quantity = fulfilled_quantity WHERE fulfillment_id = :id",
        id=fulfillment_id,
    )
    return touched == 1


async def rejected_withdrawals(tx: Tx, *, fulfillment_id: str) -> list[str]:
    """Requests to withdraw a fulfillment that were rejected; lock the order before."""
    found = await tx.fetch_one(
        "SELECT rejected FROM parcels WHERE fulfillment_id = :id", id=fulfillment_id
    )
    return list(found["rejected"] or ()) if found else []


async def reject_withdrawal(tx: Tx, *, fulfillment_id: str, requests: Sequence[str]) -> None:
    """Remember all requests to withdraw a fulfillment that were rejected."""
    await tx.execute(
        "UPDATE parcels SET rejected = :requests WHERE fulfillment_id = :id",
        requests=list(requests),
        id=fulfillment_id,
    )


async def replacement_units_in_use(tx: Tx, *, fulfillment_id: str) -> int:
    """Units of the fulfillment's lines that have a remedy or came back, and lines of which money
    was given back; lock the order before."""
    return int(
        await tx.fetch_value(
            "SELECT COALESCE(SUM(returned_quantity + remedied_quantity"
            " + CASE WHEN goodwill_amount > 0 THEN 1 ELSE 0 END), 0) FROM order_lines"
            " WHERE fulfillment_id = :id",
            id=fulfillment_id,
        )
    )


async def withdraw_replacement(tx: Tx, *, fulfillment_id: str) -> bool:
    """The fulfillment's lines are lines no more; False when they were not before."""
    touched = await tx.execute(
        "UPDATE parcels SET state = 'withdrawn' WHERE fulfillment_id = :id"
        " AND state <> 'withdrawn'",
        id=fulfillment_id,
    )
    await tx.execute("DELETE FROM order_lines WHERE fulfillment_id = :id", id=fulfillment_id)
    return touched == 1


# ---------------------------------------------------------------------------------- captures


async def open_captures(tx: Tx, *, order_id: str) -> list[Row]:
    """Captures of an order that no provider has answered; lock the order before."""
    return await tx.fetch(
        "SELECT id, payment_id FROM captures WHERE order_id = :id"
        " AND state NOT IN ('posted', 'declined')",
        id=order_id,
    )


async def captures_so_far(tx: Tx, *, payment_id: str) -> int:
    """How often a payment was to be captured; lock the order before."""
    return int(
        await tx.fetch_value("SELECT COUNT(*) FROM captures WHERE payment_id = :id", id=payment_id)
    )


async def add_capture(tx: Tx, *, row: Mapping[str, Any]) -> None:
    """Write a capture; its number is unique among those of its payment."""
    await tx.insert(captures, [row])


async def take_due_captures(
    tx: Tx, *, now: datetime, lease_until: datetime, limit: int
) -> list[Row]:
    """Mark due captures as sent and return them as they were before, as ``take_due_attempts``."""
    rows = await tx.fetch(
        "SELECT * FROM captures WHERE next_at <= :now"
        " ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED",
        now=now,
        limit=limit,
    )
    for row in rows:
        await tx.execute(
            "UPDATE captures SET state = 'sent', tries = tries + 1, next_at = :lease_until,"
            " updated_at = :now WHERE id = :id",
            id=row["id"],
            lease_until=lease_until,
            now=now,
        )
    return rows


async def make_sent_captures_due(tx: Tx, *, now: datetime) -> int:
    """Do not wait for the lease of captures that are on their way; how many there were."""
    return await tx.execute(
        "UPDATE captures SET next_at = :now WHERE state = 'sent' AND next_at > :now", now=now
    )


async def settle_capture(
    tx: Tx,
    *,
    capture_id: str,
    state: str,
    provider_ref: str | None,
    error: str | None,
    next_at: datetime | None,
    now: datetime,
) -> bool:
    """Record what a try brought; False when the capture was decided before."""
    touched = await tx.execute(
        "UPDATE captures SET state = :state, provider_ref = :provider_ref, last_error = :error,"
        " next_at = :next_at, updated_at = :now"
        " WHERE id = :id AND state IN ('sent', 'unknown')",
        id=capture_id,
        state=state,
        provider_ref=provider_ref,
        error=error,
        next_at=next_at,
        now=now,
    )
    return touched == 1


# ---------------------------------------------------------------------------------- remedies


async def live_remedies(tx: Tx, *, order_id: str) -> list[str]:
    """The kinds of remedies that hold or have settled units of an order; lock the order before."""
    rows = await tx.fetch(
        "SELECT DISTINCT kind FROM remedies WHERE order_id = :id AND state <> 'released'",
        id=order_id,
    )
    return [row["kind"] for row in rows]


async def remedy(tx: Tx, *, remedy_id: str) -> Row | None:
    """A remedy, or None; read it after the order is locked."""
    return await tx.fetch_one(
        "SELECT id, kind, order_id, state, amount, given_amount, shipping_cost, answer, refusal,"
        " retries FROM remedies WHERE id = :id",
        id=remedy_id,
    )


async def remedy_lines_of(tx: Tx, *, remedy_id: str) -> list[Row]:
    """The live lines of a remedy with their frozen shares."""
    return await tx.fetch(
        "SELECT line_id, quantity, received_quantity, goods, discount, taxes FROM remedy_lines"
        " WHERE remedy_id = :id ORDER BY line_id",
        id=remedy_id,
    )


async def add_remedy(tx: Tx, *, row: Mapping[str, Any]) -> bool:
    """Write a remedy; False when its id is already taken (a repeat, or a release came first)."""
    return await tx.insert(remedies, [row], ignore_conflicts=True) == 1


async def add_remedy_lines(tx: Tx, *, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the lines of a remedy."""
    await tx.insert(remedy_lines, rows)


async def replace_remedy_lines(
    tx: Tx, *, remedy_id: str, line_ids: Iterable[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write these lines of a remedy anew; named lines without a row are gone."""
    await tx.execute(
        "DELETE FROM remedy_lines WHERE remedy_id = :id AND line_id IN :line_ids",
        id=remedy_id,
        line_ids=sorted(line_ids),
    )
    await tx.insert(remedy_lines, rows)


async def remember_retry(
    tx: Tx, *, remedy: Row, request_id: str, refusal: Mapping[str, Any] | None
) -> None:
    """What was decided for a request is not decided again."""
    await tx.execute(
        "UPDATE remedies SET retries = :retries WHERE id = :id",
        retries={**(remedy["retries"] or {}), request_id: refusal},
        id=remedy["id"],
    )


async def decide_remedy(
    tx: Tx, *, remedy_id: str, amount: int, explanation: Sequence[Mapping[str, Any]], now: datetime
) -> None:
    """A live remedy gets an amount after its hold; its answer tells it from now on."""
    answer = await tx.fetch_value("SELECT answer FROM remedies WHERE id = :id", id=remedy_id)
    await tx.execute(
        "UPDATE remedies SET state = 'settled', amount = :amount, answer = :answer,"
        " updated_at = :now WHERE id = :id AND state <> 'released'",
        id=remedy_id,
        amount=amount,
        answer={**answer, "amount": amount, "explanation": list(explanation)},
        now=now,
    )


async def set_remedy_state(tx: Tx, *, remedy_id: str, state: str, now: datetime) -> None:
    """Move a live remedy to another state."""
    await tx.execute(
        "UPDATE remedies SET state = :state, updated_at = :now"
        " WHERE id = :id AND state <> 'released'",
        id=remedy_id,
        state=state,
        now=now,
    )


# ---------------------------------------------------------------------------------- receipts


async def receipt(tx: Tx, *, receipt_id: str) -> Row | None:
    """A settled or settling receipt, or None."""
    return await tx.fetch_one(
        "SELECT id, order_id, return_id, remedy_id, state, answer FROM receipts WHERE id = :id",
        id=receipt_id,
    )


async def add_receipt(tx: Tx, *, row: Mapping[str, Any]) -> bool:
    """Write a receipt; False when it is already there."""
    return await tx.insert(receipts, [row], ignore_conflicts=True) == 1


async def settle_receipt(
    tx: Tx,
    *,
    receipt_id: str,
    answer: Mapping[str, Any],
    owed_amount: int,
    owed_explanation: Sequence[Mapping[str, Any]],
) -> None:
    """The money of a receipt is decided."""
    await tx.execute(
        "UPDATE receipts SET state = 'settled', answer = :answer, owed_amount = :owed_amount,"
        " owed_explanation = :owed_explanation WHERE id = :id",
        id=receipt_id,
        answer=answer,
        owed_amount=owed_amount,
        owed_explanation=list(owed_explanation),
    )


async def take_owed(tx: Tx, *, return_id: str) -> list[Row]:
    """What the receipts of a return left owed: amount, explanation; from now on it is not any more.
    Lock the order before."""
    rows = await tx.fetch(
        "SELECT owed_amount AS amount, owed_explanation AS explanation FROM receipts"
        " WHERE return_id = :return_id AND owed_amount > 0 ORDER BY created_at, id",
        return_id=return_id,
    )
    await tx.execute(
        "UPDATE receipts SET owed_amount = 0 WHERE return_id = :return_id AND owed_amount > 0",
        return_id=return_id,
    )
    return rows


# ---------------------------------------------------------------------------------- refunds


async def refund_of(tx: Tx, *, cause_kind: str, cause_id: str) -> Row | None:
    """The one refund of a cause, or None; read it after the order is locked."""
    return await tx.fetch_one(
        "SELECT * FROM refunds WHERE cause_kind = :kind AND cause_id = :id",
        kind=cause_kind,
        id=cause_id,
    )


async def refund(tx: Tx, *, refund_id: str) -> Row | None:
    """A refund by its id, or None."""
    return await tx.fetch_one("SELECT * FROM refunds WHERE id = :id", id=refund_id)


async def add_refund(tx: Tx, *, row: Mapping[str, Any]) -> None:
    """Write a refund; the cause is unique, so a second one fails."""
    await tx.insert(refunds, [row])


async def set_refund(
    tx: Tx,
    *,
    refund_id: str,
    state: str,
    amount: int,
    decline: Mapping[str, Any] | None,
    reply_to: Mapping[str, Any] | None,
    settled_at: datetime | None,
) -> None:
    """Move a refund on."""
    await tx.execute(
        "UPDATE refunds SET state = :state, amount = :amount, decline = :decline,"
        " reply_to = :reply_to, settled_at = :settled_at WHERE id = :id",
        id=refund_id,
        state=state,
        amount=amount,
        decline=decline,
        reply_to=reply_to,
        settled_at=settled_at,
    )


async def set_destination(tx: Tx, *, refund_id: str, destination: str) -> None:
    """A refund that was not made goes elsewhere."""
    await tx.execute(
        "UPDATE refunds SET destination = :destination WHERE id = :id AND state = 'declined'",
        id=refund_id,
        destination=destination,
    )


async def add_transfers(tx: Tx, *, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append to the money ledger."""
    await tx.insert(transfers, rows)


async def pending_transfers(tx: Tx, *, refund_id: str) -> list[Row]:
    """The pending transfers of a refund that nothing has resolved yet."""
    return await tx.fetch(
        "SELECT t.* FROM transfers t WHERE t.refund_id = :id AND t.state = 'pending'"
        " AND NOT EXISTS (SELECT 1 FROM transfers s WHERE s.pending_id = t.id)"
        " ORDER BY t.seq",
        id=refund_id,
    )


async def posted_transfers(tx: Tx, *, refund_id: str) -> list[Row]:
    """The transfers by which a refund went out."""
    return await tx.fetch(
        "SELECT * FROM transfers WHERE refund_id = :id AND state = 'posted' AND kind = 'refund'"
        " ORDER BY seq",
        id=refund_id,
    )


# ---------------------------------------------------------------------------------- store credit


async def book_store_credit(tx: Tx, *, entry: Mapping[str, Any]) -> Row | None:
    """Append an entry to a customer's account, which is locked from here on: {number, balance}, or
    None where less is left than is to be taken."""
    account = {name: entry[name] for name in ("customer_id", "currency_code")}
    row = {**account, "updated_at": entry["created_at"]}
    await tx.insert(store_credits, [row], ignore_conflicts=True)
    touched = await tx.execute(
        "UPDATE store_credits SET balance = balance + :amount, version = version + 1,"
        " updated_at = :now WHERE customer_id = :customer_id AND currency_code = :currency_code"
        " AND balance + :amount >= 0",
        amount=entry["amount"],
        now=entry["created_at"],
        **account,
    )
    if not touched:
        return None
    booked = await tx.fetch_one(
        "SELECT version AS number, balance FROM store_credits"
        " WHERE customer_id = :customer_id AND currency_code = :currency_code",
        **account,
    )
    assert booked is not None, account
    await tx.insert(store_credit_entries, [{**entry, **booked}])
    return booked


async def store_credit_grant(tx: Tx, *, refund_id: str) -> Row | None:
    """The entry by which a refund became store credit."""
    return await tx.fetch_one(
        "SELECT customer_id, claim_id, amount FROM store_credit_entries"
        " WHERE refund_id = :id AND kind = 'granted'",
        id=refund_id,
    )


async def store_credit_left(tx: Tx, *, customer_id: str, currency_code: str) -> int:
    """What a customer may spend in a currency, in minor units."""
    left = await tx.fetch_value(
        "SELECT balance FROM store_credits"
        " WHERE customer_id = :customer_id AND currency_code = :currency_code",
        customer_id=customer_id,
        currency_code=currency_code,
    )
    return int(left or 0)


async def move_payments(tx: Tx, *, rows: Sequence[tuple[str, int, int]]) -> bool:
    """Book (payment id, posted, pending) deltas on payments; False if one has too little."""
    touched = await _change(
        tx,
        "payments",
        ["posted", "pending"],
        sorted(rows),
        "amount_refunded = amount_refunded + d.posted,"
        " refund_pending = refund_pending + d.pending"
        " WHERE amount_refunded + d.posted + refund_pending + d.pending <= amount",
    )
    return touched == len(rows)


# ---------------------------------------------------------------------------------- attempts


async def add_attempts(tx: Tx, *, rows: Iterable[Mapping[str, Any]]) -> None:
    """One attempt per payment share; the provider's key is unique for ever."""
    await tx.insert(refund_attempts, rows)


async def make_sent_attempts_due(tx: Tx, *, now: datetime) -> int:
    """Do not wait for the lease of attempts that are on their way; how many there were."""
    return await tx.execute(
        "UPDATE refund_attempts SET next_at = :now WHERE state = 'sent' AND next_at > :now", now=now
    )


async def take_due_attempts(
    tx: Tx, *, now: datetime, lease_until: datetime, limit: int
) -> list[Row]:
    """Mark due attempts as sent and return them as they were before.

    Who dies after this is not lost: at ``lease_until`` the attempt is due again.
    """
    rows = await tx.fetch(
        "SELECT * FROM refund_attempts WHERE next_at <= :now"
        " ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED",
        now=now,
        limit=limit,
    )
    for row in rows:
        await tx.execute(
            "UPDATE refund_attempts SET state = 'sent', tries = tries + 1,"
            " next_at = :lease_until, updated_at = :now"
            " WHERE refund_id = :refund_id AND payment_id = :payment_id",
            refund_id=row["refund_id"],
            payment_id=row["payment_id"],
            lease_until=lease_until,
            now=now,
        )
    return rows


async def settle_attempt(
    tx: Tx,
    *,
    refund_id: str,
    payment_id: str,
    state: str,
    provider_ref: str | None,
    error: str | None,
    next_at: datetime | None,
    now: datetime,
) -> bool:
    """Record what a try brought; False when the attempt was decided before."""
    touched = await tx.execute(
        "UPDATE refund_attempts SET state = :state, provider_ref = :provider_ref,"
        " last_error = :error, next_at = :next_at, updated_at = :now"
        " WHERE refund_id = :refund_id AND payment_id = :payment_id"
        " AND state IN ('sent', 'unknown')",
        refund_id=refund_id,
        payment_id=payment_id,
        state=state,
        provider_ref=provider_ref,
        error=error,
        next_at=next_at,
        now=now,
    )
    return touched == 1


async def attempts_of(tx: Tx, *, refund_id: str) -> list[Row]:
    """All attempts of a refund in the order of the split."""
    return await tx.fetch(
        "SELECT * FROM refund_attempts WHERE refund_id = :id ORDER BY position", id=refund_id
    )


async def ask_attempts_again(tx: Tx, *, refund_id: str, now: datetime) -> list[Row]:
    """Declined attempts of a refund are due once more, each under the key it has; those attempts.

    Their tries are kept: so the provider is first asked what became of the key.
    """
    rows = await tx.fetch(
        "SELECT * FROM refund_attempts WHERE refund_id = :id AND state = 'declined'"
        " ORDER BY position",
        id=refund_id,
    )
    await tx.execute(
        "UPDATE refund_attempts SET state = 'pending', next_at = :now, created_at = :now,"
        " updated_at = :now"
        " WHERE refund_id = :id AND state = 'declined'",
        id=refund_id,
        now=now,
    )
    return rows


async def transfers_of(tx: Tx, *, refund_id: str) -> int:
    """How many rows of the ledger tell of a refund."""
    sql = "SELECT COUNT(*) FROM transfers WHERE refund_id = :id"
    return int(await tx.fetch_value(sql, id=refund_id))


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


# ---------------------------------------------------------------------------------- import


async def hashes(tx: Tx, *, table: str, ids: Collection[str]) -> dict[str, str]:
    """The content hash of each of these rows that exists."""
    rows = await tx.fetch(f"SELECT id, content_hash FROM {table} WHERE id IN :ids", ids=sorted(ids))
    return {row["id"]: row["content_hash"] for row in rows}


async def existing(tx: Tx, *, table: str, ids: Collection[str]) -> set[str]:
    """Which of these ids a table has."""
    if not ids:
        return set()
    rows = await tx.fetch(f"SELECT id FROM {table} WHERE id IN :ids", ids=sorted(ids))
    return {row["id"] for row in rows}


async def owners(tx: Tx, *, table: str, ids: Collection[str]) -> dict[str, str]:
    """The order that each of these rows belongs to."""
    if not ids:
        return {}
    rows = await tx.fetch(f"SELECT id, order_id FROM {table} WHERE id IN :ids", ids=list(ids))
    return {row["id"]: row["order_id"] for row in rows}


async def add_rows(tx: Tx, *, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert reference rows."""
    await tx.insert(METADATA.tables[table], rows)


async def update_row(tx: Tx, *, table: str, row: Mapping[str, Any]) -> None:
    """Write a reference row anew."""
    changes = ", ".join(f"{name} = :{name}" for name in row if name != "id")
    await tx.execute(f"UPDATE {table} SET {changes} WHERE id = :id", **row)


async def locked_orders(tx: Tx, *, ids: Sequence[str]) -> dict[str, Row]:
    """Those of these orders that exist, locked: content_hash, display_id."""
    rows = await tx.fetch(
        "SELECT id, content_hash, display_id FROM orders WHERE id IN :ids ORDER BY id FOR UPDATE",
        ids=list(ids),
    )
    return {row["id"]: row for row in rows}


async def orders_in_use(tx: Tx, *, ids: Sequence[str]) -> set[str]:
    """Those of these orders with which something was done here: whatever left a row or an event."""
    if not ids:
        return set()
    rows = await tx.fetch(
        "SELECT order_id FROM remedies WHERE order_id IN :ids"
        " UNION SELECT order_id FROM refunds WHERE order_id IN :ids"
        " UNION SELECT order_id FROM receipts WHERE order_id IN :ids"
        " UNION SELECT order_id FROM captures WHERE order_id IN :ids"
        " UNION SELECT order_id FROM fulfillments WHERE order_id IN :ids AND made_here = TRUE"
        " UNION SELECT id FROM orders WHERE id IN :ids AND version > 0",
        ids=list(ids),
    )
    return {row["order_id"] for row in rows}


async def forget_orders(tx: Tx, *, ids: Sequence[str]) -> None:
    """Remove orders that nothing was done with, to load them anew."""
    if not ids:
        return
    for table in ("order_lines", "payments", "fulfillments", "transfers"):
        await tx.execute(f"DELETE FROM {table} WHERE order_id IN :ids", ids=list(ids))
    await tx.execute("DELETE FROM orders WHERE id IN :ids", ids=list(ids))


async def last_display_id(tx: Tx) -> int:
    """The highest number an order has."""
    return int(await tx.fetch_value("SELECT COALESCE(MAX(display_id), 0) FROM orders"))


async def options_by_id(tx: Tx, *, ids: Collection[str]) -> dict[str, Row]:
    """Shipping options as they are shown with a shipping method."""
    if not ids:
        return {}
    rows = await tx.fetch(
        "SELECT id, name, region_id, amount, is_return, includes_tax, data"
        " FROM shipping_options WHERE id IN :ids",
        ids=sorted(ids),
    )
    return {row["id"]: row for row in rows}


async def add_orders(
    tx: Tx,
    *,
    orders: Sequence[Row],
    lines: Sequence[Row],
    payments: Sequence[Row],
    fulfillments: Sequence[Row],
    transfers: Sequence[Row],
) -> None:
    """Write whole orders, one statement per table."""
    tables = METADATA.tables
    await tx.insert(tables["orders"], orders)
    await tx.insert(tables["order_lines"], lines)
    await tx.insert(tables["payments"], payments)
    await tx.insert(tables["fulfillments"], fulfillments)
    await tx.insert(tables["transfers"], transfers)


# ---------------------------------------------------------------------------------- rows as values


def priced(*, row: Row, order_tax_rate: float | None) -> PricedLine:
    """A line's row, taken apart for the arithmetic."""
    if row.get("worth") is not None:
        return worth_of(line_id=row["id"], quantity=row["quantity"], amount=row["worth"])
    return price_line(
        line_id=row["id"],
        unit_price=row["unit_price"],
        quantity=row["quantity"],
        taxes=taxes_of(
            order_tax_rate=order_tax_rate,
            tax_lines=[(tax["rate"], tax["name"]) for tax in row["tax_lines"] or ()],
        ),
        includes_tax=row["includes_tax"],
        discount=discount_of(
            adjustments=[
                (adjustment["amount"], adjustment.get("discount_id"))
                for adjustment in row["adjustments"] or ()
            ],
            allow_discounts=row["allow_discounts"],
        ),
    )


def share(*, row: Row, quantity: str = "quantity") -> Share:
    """The share in a row of ``remedy_lines``; ``quantity`` names the column of its units."""
    return Share(
        quantity=row[quantity],
        goods=row["goods"],
        discount=row["discount"],
        taxes=tuple(row["taxes"] or ()),
    )


def goodwill_share(*, row: Row) -> Share:
    """The share in a row of ``goodwill_lines``: it takes no unit."""
    return Share(quantity=0, goods=0, discount=-row["net"], taxes=tuple(row["taxes"] or ()))


def lines(
    *, rows: Iterable[Row], order_tax_rate: float | None, goodwill: Iterable[Row] = ()
) -> dict[str, Line]:
    """The rows of ``lines_with_remedies`` as lines, by id; ``goodwill``: what ``goodwill_on`` has
    of them."""
    found: dict[str, Line] = {}
    for row in rows:
        line = found.get(row["id"]) or _line(row, order_tax_rate)
        if row["taken_quantity"] is not None:
            taken = (*line.taken, share(row=row, quantity="taken_quantity"))
            line = replace(line, taken=taken)
        found[row["id"]] = line
    for row in goodwill:
        line = found[row["line_id"]]
        whole = replace(line.priced, given_back=line.priced.given_back + row["net"])
        taken = (*line.taken, goodwill_share(row=row))
        found[row["line_id"]] = replace(line, priced=whole, taken=taken)
    return found


def _line(row: Row, order_tax_rate: float | None) -> Line:
    whole = priced(row=row, order_tax_rate=order_tax_rate)
    before: int = row["returned_before"]
    taken = (share_of(line=whole, remaining=whole.paid, quantity=before),) if before else ()
    delivered_at = row["delivered_at"]
    return Line(
        line_id=row["id"],
        variant_id=row["variant_id"],
        title=row["title"],
        quantity=row["quantity"],
        unit_price=row["unit_price"],
        fulfilled_quantity=row["fulfilled_quantity"],
        shipped_quantity=row["shipped_quantity"],
        returned_quantity=row["returned_quantity"],
        remedied_quantity=row["remedied_quantity"],
        delivered_at=delivered_at.isoformat() if delivered_at else None,
        priced=whole,
        taken=taken,
    )


def held_lines(*, rows: Iterable[Row]) -> dict[str, HeldLine]:
    """The rows of ``remedy_lines_of`` as held lines, by line id."""
    return {
        row["line_id"]: HeldLine(
            line_id=row["line_id"], share=share(row=row), received=row["received_quantity"]
        )
        for row in rows
    }


def packed(*, row: Row) -> Fulfillment:
    """A row of ``fulfillments`` as decisions see it."""
    units: dict[str, int] = {}
    for item in row["items"] or ():
        units[item["item_id"]] = units.get(item["item_id"], 0) + item["quantity"]
    return Fulfillment(
        id=row["id"],
        state=row["state"],
        units=units,
        uses_stock=bool(row["uses_stock"]),
        is_shipped=row["shipped_at"] is not None,
    )


def remedy_line_row(*, remedy_id: str, line_id: str, share: Share, received: int = 0) -> Row:
    """A row of ``remedy_lines``."""
    return {
        "remedy_id": remedy_id,
        "line_id": line_id,
        "quantity": share.quantity,
        "received_quantity": received,
        "goods": share.goods,
        "discount": share.discount,
        "taxes": list(share.taxes),
    }
