"""What can be asked of orders: plain rows in Medusa's shapes, composed from few statements.

Totals are computed from the lines as they were bought. A caller who is a customer sees own orders
only: another's order answers like one that does not exist.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from chassis.db import Row, Tx
from chassis.errors import Invalid, NotFound, Refusal, refusal
from services.orders import domain, refunds, schemas, store, store_memos, store_units
from services.orders.refunds import PricedLine

EXPORT_ROWS_MAX = 1000
_SORTABLE = ("created_at", "updated_at", "display_id", "email", "id", "status")
_LISTS = (
    "id",
    "status",
    "fulfillment_status",
    "payment_status",
    "display_id",
    "customer_id",
    "email",
    "region_id",
    "currency_code",
    "sales_channel_id",
)
_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


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


# ---------------------------------------------------------------------------------- one order


async def order_by_id(tx: Tx, *, order_id: str, customer_id: str | None) -> Row:
    """{order, remedy_kinds}: an order as Medusa shows it, without claims, returns and swaps, and
    which of them there can be: without a remedy here there is no claim and no return anywhere.

    ``customer_id`` restricts to that customer's orders. Raises ``order_unknown``.
    """
    orders = await _orders(tx, [order_id])
    if not orders or not _visible(orders[0], customer_id):
        raise domain.order_unknown(order_id=order_id)
    kinds = await tx.fetch("SELECT DISTINCT kind FROM remedies WHERE order_id = :id", id=order_id)
    return {"order": orders[0], "remedy_kinds": sorted(row["kind"] for row in kinds)}


def _visible(order: Row, customer_id: str | None) -> bool:
    return customer_id is None or order["customer_id"] == customer_id


async def claimable(tx: Tx, *, order_id: str) -> list[Row]:
    """What of each line is free for a claim, and for a return: units without a live remedy that
    have not come back; a claim is bound by what was fulfilled besides. Lines that claims have
    sent out are among them. Raises NotFound."""
    await order_facts(tx, order_id=order_id, customer_id=None)
    rows = await tx.fetch(
        "SELECT l.id AS item_id, l.claim_id, r.kind, l.title, l.variant_id, l.quantity,"
        " l.fulfilled_quantity, l.shipped_quantity, l.returned_quantity, l.remedied_quantity"
        " FROM order_lines l LEFT JOIN remedies r ON r.id = l.claim_id WHERE l.order_id = :id"
        " ORDER BY l.position",
        id=order_id,
    )
    for row in rows:
        exchanged, sent_by = row.pop("kind") == "exchange", row.pop("claim_id")
        row["claim_order_id"] = None if exchanged else sent_by
        row["swap_id"] = sent_by if exchanged else None
        taken = row["returned_quantity"] + row["remedied_quantity"]
        row["claimable_quantity"] = max(0, row["fulfilled_quantity"] - taken)
        row["returnable_quantity"] = max(0, row["quantity"] - taken)
    return rows


async def orders_of_claim(tx: Tx, *, claim_id: str) -> list[Row]:
    """The orders that follow from a claim, oldest first, in a few words."""
    return await tx.fetch(
        "SELECT id, display_id, status, payment_status, fulfillment_status, created_at FROM orders"
        " WHERE claim_id = :claim_id ORDER BY created_at, id",
        claim_id=claim_id,
    )


async def order_facts(tx: Tx, *, order_id: str, customer_id: str | None) -> Row:
    """The few facts that other decisions need, cheaply. Raises ``order_unknown``."""
    row = await tx.fetch_one(
        "SELECT id, display_id, region_id, sales_channel_id, currency_code, customer_id, email,"
        " status, no_notification FROM orders WHERE id = :id",
        id=order_id,
    )
    if row is None or not _visible(row, customer_id):
        raise domain.order_unknown(order_id=order_id)
    return row


async def _orders(tx: Tx, ids: Sequence[str]) -> list[Row]:
    """Whole orders in the order of ``ids``, by five statements however many there are."""
    if not ids:
        return []
    rows = await tx.fetch(
        "SELECT o.*, r.name AS region_name, r.currency_code AS region_currency_code,"
        " r.tax_rate AS region_tax_rate, r.tax_code AS region_tax_code,"
        " r.countries AS region_countries, r.includes_tax AS region_includes_tax,"
        " c.email AS customer_email, c.first_name AS customer_first_name,"
        " c.last_name AS customer_last_name, c.phone AS customer_phone,"
        " c.created_at AS customer_created_at, s.name AS channel_name"
        " FROM orders o LEFT JOIN regions r ON r.id = o.region_id"
        " LEFT JOIN customers c ON c.id = o.customer_id"
        " LEFT JOIN sales_channels s ON s.id = o.sales_channel_id WHERE o.id IN :ids",
        ids=list(ids),
    )
    children = {
        "lines": await _children(tx, "order_lines", "position", ids),
        "payments": await _children(tx, "payments", "position", ids, columns=_PAYMENT),
        "fulfillments": await _children(tx, "fulfillments", "position", ids, _SEEN),
        "refunds": await _children(tx, "refunds", "created_at, id", ids),
    }
    by_id = {
        row["id"]: _order(row, **{name: found[row["id"]] for name, found in children.items()})
        for row in rows
    }
    return [by_id[id] for id in ids if id in by_id]


# One that inventory has not answered, or has refused, was never there for anybody outside.
_SEEN = " AND state IN ('live', 'canceling', 'canceled')"
# A payment may be the difference of an exchange.
_PAYMENT = "payments.*, (SELECT e.id FROM exchanges e WHERE e.payment_id = payments.id) AS swap_id"


async def _children(
    tx: Tx, table: str, order: str, ids: Sequence[str], only: str = "", columns: str = "*"
) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    rows = await tx.fetch(
        f"SELECT {columns} FROM {table} WHERE order_id IN :ids{only} ORDER BY {order}",
        ids=list(ids),
    )
    for row in rows:
        found[row["order_id"]].append(row)
    return found


def _order(
    row: Row, lines: list[Row], payments: list[Row], fulfillments: list[Row], refunds: list[Row]
) -> Row:
    sent_out = [line for line in lines if line["claim_id"] is not None]
    lines = [line for line in lines if line["claim_id"] is None]
    priced = [store_units.priced(row=line, order_tax_rate=row["tax_rate"]) for line in lines]
    return {
        "id": row["id"],
        "object": "order",
        "status": row["status"],
        "fulfillment_status": row["fulfillment_status"],
        "payment_status": row["payment_status"],
        "display_id": row["display_id"],
        "cart_id": None,
        "draft_order_id": None,
        "customer_id": row["customer_id"],
        "email": row["email"],
        "billing_address_id": _address_id(row, "billing_address"),
        "shipping_address_id": _address_id(row, "shipping_address"),
        "region_id": row["region_id"],
        "currency_code": row["currency_code"],
        "tax_rate": row["tax_rate"],
        "canceled_at": row["canceled_at"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "metadata": row["metadata"],
        "no_notification": row["no_notification"],
        "idempotency_key": None,
        "external_id": None,
        "claim_id": row["claim_id"],
        "sales_channel_id": row["sales_channel_id"],
        **_totals(row, priced),
        "billing_address": _address(row, "billing_address"),
        "shipping_address": _address(row, "shipping_address"),
        "customer": _order_customer(row),
        "region": _region(row),
        "sales_channel": _channel(row),
        "discounts": [_discount(discount) for discount in row["discounts"] or ()],
        "gift_cards": [],
        "gift_card_transactions": [],
        "items": [_item(line, whole) for line, whole in zip(lines, priced, strict=True)],
        "shipping_methods": [
            _shipping_method(row, method) for method in row["shipping_methods"] or ()
        ],
        "payments": [_payment(payment) for payment in payments],
        "refunds": [_refund(refund) for refund in refunds if refund["state"] == "posted"],
        "fulfillments": [_fulfillment(fulfillment) for fulfillment in fulfillments],
        "extra": row["extra"],
        "version": row["version"],
        # What orders knows of lines that claims sent out; claims shows them.
        "replacements": [_replacement(line) for line in sent_out],
    }


def _replacement(line: Row) -> Row:
    return {
        "item_id": line["id"],
        "returned_quantity": line["returned_quantity"],
        "remedied_quantity": line["remedied_quantity"],
        "refundable": line["worth"] - line["returned_amount"] - line["goodwill_amount"],
    }


def _totals(row: Row, priced: Iterable[PricedLine]) -> Row:
    rates = [
        (
            method,
            [row["tax_rate"]]
            if row["tax_rate"] is not None
            else [tax["rate"] for tax in method["tax_lines"] or ()],
        )
        for method in row["shipping_methods"] or ()
    ]
    totals = refunds.order_totals(
        lines=priced,
        shipping=[
            refunds.shipping_cost(
                price=method["price"], rates=each, includes_tax=method["includes_tax"]
            )
            for method, each in rates
        ],
    )
    return {
        **asdict(totals),
        "gift_card_total": 0,
        "gift_card_tax_total": 0,
        "paid_total": row["paid"],
        "refunded_total": row["refunded"],
        "refundable_amount": row["captured"] - row["refunded"] - row["refund_pending"],
    }


def _address_id(row: Row, name: str) -> str | None:
    address = row[name]
    if address is None:
        return None
    return address.get("id") or f"addr_{row['id']}_{name.removesuffix('_address')}"


def _address(row: Row, name: str) -> Row | None:
    return {**row[name], "id": _address_id(row, name)} if row[name] is not None else None


def _order_customer(row: Row) -> Row | None:
    if row["customer_id"] is None:
        return None
    return {
        "id": row["customer_id"],
        "email": row["customer_email"],
        "first_name": row["customer_first_name"],
        "last_name": row["customer_last_name"],
        "phone": row["customer_phone"],
        "has_account": False,
        "created_at": row["customer_created_at"],
    }


def _region(row: Row) -> Row:
    return {
        "id": row["region_id"],
        "name": row["region_name"],
        "currency_code": row["region_currency_code"],
        "tax_rate": row["region_tax_rate"],
        "tax_code": row["region_tax_code"],
        "includes_tax": row["region_includes_tax"],
        "countries": [{"iso_2": code} for code in row["region_countries"] or ()],
    }


def _channel(row: Row) -> Row | None:
    if row["sales_channel_id"] is None:
        return None
    return {"id": row["sales_channel_id"], "name": row["channel_name"], "is_disabled": False}


def _discount(discount: Row) -> Row:
    return {**discount, "is_dynamic": False, "is_disabled": False}


def _item(line: Row, whole: PricedLine) -> Row:
    """A line item. ``quantity`` is net of what came back; the totals are of the full quantity."""
    returned = line["returned_quantity"]
    return {
        "id": line["id"],
        "order_id": line["order_id"],
        "claim_order_id": None,
        "swap_id": None,
        "cart_id": None,
        "variant_id": line["variant_id"],
        "title": line["title"],
        "description": line["description"],
        "thumbnail": line["thumbnail"],
        "is_return": False,
        "is_giftcard": line["is_giftcard"],
        "should_merge": True,
        "allow_discounts": line["allow_discounts"],
        "has_shipping": None,
        "unit_price": line["unit_price"],
        "quantity": line["quantity"] - returned,
        "fulfilled_quantity": line["fulfilled_quantity"],
        "shipped_quantity": line["shipped_quantity"],
        "returned_quantity": returned,
        "metadata": line["metadata"],
        "original_item_id": None,
        "order_edit_id": None,
        "includes_tax": line["includes_tax"],
        "tax_lines": _numbered("litl", "item_id", line["id"], line["tax_lines"]),
        "adjustments": _numbered("lia", "item_id", line["id"], line["adjustments"]),
        **asdict(refunds.line_totals(line=whole)),
        "refundable": whole.paid.amount - line["returned_amount"] - line["goodwill_amount"],
        "ordered_quantity": line["quantity"],
        "remedied_quantity": line["remedied_quantity"],
        "delivered_at": line["delivered_at"],
        "extra": line["extra"],
    }


def _numbered(prefix: str, parent: str, parent_id: str, parts: list[Row] | None) -> list[Row]:
    """Parts of a line or method that has no table of its own; a part without an id gets one."""
    return [
        {**part, "id": part.get("id") or f"{prefix}_{parent_id}_{number}", parent: parent_id}
        for number, part in enumerate(parts or (), 1)
    ]


def _shipping_method(row: Row, method: Row) -> Row:
    tax_lines = _numbered("smtl", "shipping_method_id", method["id"], method["tax_lines"])
    return {
        **method,
        "tax_lines": tax_lines,
        "data": method["data"] or {},
        "order_id": row["id"],
        "claim_order_id": None,
        "swap_id": None,
        "return_id": None,
        "cart_id": None,
    }


def _payment(payment: Row) -> Row:
    return {
        "id": payment["id"],
        "amount": payment["amount"],
        "currency_code": payment["currency_code"],
        "amount_refunded": payment["amount_refunded"],
        "provider_id": payment["provider_id"],
        "data": {},
        "captured_at": payment["captured_at"],
        "canceled_at": payment["canceled_at"],
        "order_id": payment["order_id"],
        "swap_id": payment["swap_id"],
        "cart_id": None,
        "metadata": None,
        "created_at": payment["created_at"],
    }


def _refund(refund: Row) -> Row:
    return {
        "id": refund["id"],
        "order_id": refund["order_id"],
        "payment_id": refund["payment_id"],
        "amount": refund["amount"],
        "note": refund["note"],
        "reason": refund["reason"],
        "metadata": {"cause_kind": refund["cause_kind"], "cause_id": refund["cause_id"]},
        "idempotency_key": None,
        "created_at": refund["created_at"],
        "updated_at": refund["settled_at"] or refund["created_at"],
    }


def _fulfillment(fulfillment: Row) -> Row:
    numbers = fulfillment["tracking_numbers"] or []
    return {
        "id": fulfillment["id"],
        "order_id": fulfillment["order_id"],
        "claim_order_id": None,
        "swap_id": None,
        "provider_id": "manual",
        "location_id": fulfillment["location_id"],
        "items": [
            {**item, "fulfillment_id": fulfillment["id"]} for item in fulfillment["items"] or ()
        ],
        "tracking_links": [
            {
                "id": f"tlink_{fulfillment['id']}_{index}",
                "url": None,
                "tracking_number": number,
                "fulfillment_id": fulfillment["id"],
            }
            for index, number in enumerate(numbers)
        ],
        "tracking_numbers": numbers,
        "data": {},
        "shipped_at": fulfillment["shipped_at"],
        "canceled_at": fulfillment["canceled_at"],
        "no_notification": fulfillment["no_notification"],
        "metadata": fulfillment["metadata"],
        "idempotency_key": None,
        "created_at": fulfillment["created_at"],
    }


async def unsent_units(tx: Tx, *, line_id: str) -> Row:
    """{line_id, order_id, units}: units of a line that no fulfillment has; none if it is canceled.

    Raises ``line_unknown``.
    """
    row = await tx.fetch_one(
        "SELECT l.id AS line_id, l.order_id, l.quantity - l.fulfilled_quantity AS units, o.status"
        " FROM order_lines l JOIN orders o ON o.id = l.order_id"
        f" WHERE l.id = :id AND l.{store.OWN}",
        id=line_id,
    )
    if row is None:
        raise NotFound("line_unknown", f"Line item with {line_id} was not found")
    if row.pop("status") == "canceled":
        row["units"] = 0
    return row


# ---------------------------------------------------------------------------------- many orders


async def list_orders(
    tx: Tx, *, filters: schemas.OrderFilters, customer_id: str | None
) -> tuple[list[Row], int]:
    """A page of whole orders and how many there are in all. Raises Invalid for a wrong filter.

    ``after`` pages by id: whoever reads everything meets no order twice and misses none.
    """
    where, params = _where(filters, customer_id)
    count = int(await tx.fetch_value(f"SELECT COUNT(*) FROM orders o{where}", **params))
    sorting = _sorting(filters.order)
    if filters.after is not None:
        where += f"{' AND' if where else ' WHERE'} o.id > :after"
        params["after"], sorting = filters.after, "o.id"
    ids = await tx.fetch(
        f"SELECT o.id FROM orders o{where} ORDER BY {sorting} LIMIT :limit OFFSET :offset",
        limit=filters.limit,
        offset=filters.offset,
        **params,
    )
    return await _orders(tx, [row["id"] for row in ids]), count


def _sorting(order: str) -> str:
    name = order.removeprefix("-")
    if name not in _SORTABLE:
        raise Invalid("order_unknown_field", f"Order field {name} is not valid")
    direction = "DESC" if order.startswith("-") else "ASC"
    return f"o.{name} {direction}, o.id {direction}"


def _where(filters: schemas.OrderFilters, customer_id: str | None) -> tuple[str, Row]:
    parts: list[str] = []
    params: Row = {}
    for name, allowed in (
        ("status", domain.STATUSES),
        ("fulfillment_status", domain.FULFILLMENT_STATUSES),
        ("payment_status", domain.PAYMENT_STATUSES),
    ):
        if set(getattr(filters, name)) - set(allowed):
            raise Invalid(
                f"{name}_unknown",
                f"each value in {name} must be one of the following values: {', '.join(allowed)}",
            )
    for name in _LISTS:
        values = getattr(filters, name)
        if values:
            parts.append(f"o.{name} IN :{name}")
            params[name] = values
    if filters.line_id:
        parts.append(
            f"o.id IN (SELECT order_id FROM order_lines WHERE id IN :line_id AND {store.OWN})"
        )
        params["line_id"] = filters.line_id
    for column in ("created_at", "updated_at", "canceled_at"):
        for suffix, sign in _COMPARISONS.items():
            value = getattr(filters, f"{column}_{suffix}")
            if value is not None:
                parts.append(f"o.{column} {sign} :{column}_{suffix}")
                params[f"{column}_{suffix}"] = value
    if filters.tax_rate is not None:
        parts.append("o.tax_rate = :tax_rate")
        params["tax_rate"] = filters.tax_rate
    if filters.cart_id is not None:
        parts.append("1 = 0")  # no order here was ever a cart
    if customer_id is not None:
        parts.append("o.customer_id = :own_customer_id")
        params["own_customer_id"] = customer_id
    if filters.q:
        parts.append(
            "(o.search LIKE :q ESCAPE '\\' OR o.customer_id IN"
            " (SELECT id FROM customers WHERE search LIKE :q ESCAPE '\\'))"
        )
        params["q"] = f"%{_literal(filters.q.lower())}%"
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), params


def _literal(text: str) -> str:
    """Text in which LIKE's signs stand for themselves."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


# ---------------------------------------------------------------------------------- money


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
        " WHERE order_id = :id ORDER BY created_at, refund_id, position",
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
        "remedies": _grouped(held),
    }


def _grouped(rows: Iterable[Row]) -> list[Row]:
    remedies: dict[str, Row] = {}
    for row in rows:
        head = _only(row, "id kind state amount created_at")
        remedy = remedies.setdefault(row["id"], {**head, "lines": []})
        if row["line_id"] is not None:
            remedy["lines"].append(_only(row, "line_id quantity received_quantity"))
    return list(remedies.values())


async def fulfillment_outcome(tx: Tx, *, fulfillment_id: str) -> Row | Refusal | None:
    """What became of packing: {fulfillment_id, order_id}, inventory's no, or None while nobody
    knows."""
    row = await tx.fetch_one(
        "SELECT id, order_id, state, refusal FROM fulfillments WHERE id = :id", id=fulfillment_id
    )
    if row is None or row["state"] == "pending":
        return None
    if row["state"] == "refused":
        return refusal(**row["refusal"])
    return {"fulfillment_id": row["id"], "order_id": row["order_id"]}


async def unpacking_outcome(tx: Tx, *, fulfillment_id: str) -> Row | None:
    """{fulfillment_id, order_id} once a fulfillment is canceled and its goods are back."""
    row = await tx.fetch_one(
        "SELECT id, order_id, state FROM fulfillments WHERE id = :id", id=fulfillment_id
    )
    if row is None or row["state"] != "canceled":
        return None
    return {"fulfillment_id": row["id"], "order_id": row["order_id"]}


async def cancel_outcome(tx: Tx, *, order_id: str, saga_id: str) -> Row | None:
    """{order_id} once the saga that cancels an order is over, or there never was one."""
    direction = await tx.fetch_value("SELECT direction FROM sagas WHERE id = :id", id=saga_id)
    return {"order_id": order_id} if direction in (None, "finished") else None


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
        f"SELECT {_PAYMENT}, c.state FROM payments LEFT JOIN captures c"
        " ON c.payment_id = payments.id WHERE payments.id = :id ORDER BY c.number DESC LIMIT 1",
        id=payment_id,
    )
    if row is None or (row["captured_at"] is None and row["state"] not in (None, "declined")):
        return None
    if row["captured_at"] is None:
        return domain.capture_failed(payment_id=payment_id)
    return {"payment": _payment(row)}


async def payment_refund_outcome(
    tx: Tx, *, payment_id: str, refund_id: str
) -> Row | Refusal | None:
    """As ``refund_outcome``; a provider's no is told as Medusa tells it of a payment."""
    found = await refund_outcome(tx, refund_id=refund_id)
    return domain.refund_failed(payment_id=payment_id) if isinstance(found, Refusal) else found


async def payment_by_id(tx: Tx, *, payment_id: str) -> Row:
    """A payment as Medusa shows it. Raises NotFound."""
    row = await tx.fetch_one(f"SELECT {_PAYMENT} FROM payments WHERE id = :id", id=payment_id)
    if row is None:
        raise domain.payment_unknown(payment_id=payment_id)
    return _payment(row)


async def refund_outcome(tx: Tx, *, refund_id: str) -> Row | Refusal | None:
    """What became of a refund by hand: {refund}, the provider's no, or None while nobody knows."""
    row = await tx.fetch_one("SELECT * FROM refunds WHERE id = :id", id=refund_id)
    if row is not None and row["state"] == "posted":
        return {"refund": _refund(row)}
    if row is not None and row["state"] == "declined":
        return refusal(**row["decline"])
    return None


# ---------------------------------------------------------------------------------- reference data


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


async def customer_by_id(tx: Tx, *, customer_id: str, own_id: str | None) -> Row:
    """A customer; ``own_id`` restricts to that one. Raises NotFound in Medusa's words."""
    row = await tx.fetch_one(
        "SELECT id, email, first_name, last_name, phone, created_at, updated_at FROM customers"
        " WHERE id = :id",
        id=customer_id,
    )
    if row is None or own_id not in (None, row["id"]):
        raise NotFound("customer_unknown", f"Customer with id: {customer_id} was not found")
    return row


async def store_credits(
    tx: Tx, *, customer_id: str, own_id: str | None, limit: int, offset: int
) -> Row:
    """A customer's store credit: {store_credits: [per currency], entries: [a page, newest first],
    count}. A customer does not see who booked an entry and why. Raises as ``customer_by_id``."""
    await customer_by_id(tx, customer_id=customer_id, own_id=own_id)
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


async def list_customers(
    tx: Tx, *, q: str | None, email: str | None, limit: int, offset: int
) -> tuple[list[Row], int]:
    """A page of customers by id, and how many there are; ``email`` matches in any case."""
    parts, params = [], {}
    if q:
        parts.append("search LIKE :q ESCAPE '\\'")
        params["q"] = f"%{_literal(q.lower())}%"
    if email is not None:
        parts.append("LOWER(email) = :email")
        params["email"] = email.lower()
    where = f" WHERE {' AND '.join(parts)}" if parts else ""
    count = int(await tx.fetch_value(f"SELECT COUNT(*) FROM customers{where}", **params))
    rows = await tx.fetch(
        "SELECT id, email, first_name, last_name, phone, created_at, updated_at FROM customers"
        f"{where} ORDER BY id LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        **params,
    )
    return rows, count


_NOTE = "SELECT id, resource_type, resource_id, value, author_id, created_at, updated_at FROM notes"


async def note_by_id(tx: Tx, *, note_id: str) -> Row:
    """One note. Raises ``note_unknown``."""
    row = await tx.fetch_one(f"{_NOTE} WHERE id = :id", id=note_id)
    if row is None:
        raise domain.note_unknown(note_id=note_id)
    return _shown_note(row)


async def list_notes(
    tx: Tx, *, resource_id: str | None, limit: int, offset: int
) -> tuple[list[Row], int]:
    """A page of notes, the newest first, and how many there are."""
    where, params = "", {}
    if resource_id is not None:
        where, params = " WHERE resource_id = :resource_id", {"resource_id": resource_id}
    count = int(await tx.fetch_value(f"SELECT COUNT(*) FROM notes{where}", **params))
    rows = await tx.fetch(
        f"{_NOTE}{where} ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
        **params,
    )
    return [_shown_note(row) for row in rows], count


def _shown_note(row: Row) -> Row:
    return {**row, "metadata": {}, "deleted_at": None}


async def shipping_options(tx: Tx, *, region_id: str | None, is_return: bool | None) -> list[Row]:
    """Shipping options, of a region or of a direction if asked."""
    parts, params = [], {}
    if region_id is not None:
        parts.append("region_id = :region_id")
        params["region_id"] = region_id
    if is_return is not None:
        parts.append(f"is_return = {'TRUE' if is_return else 'FALSE'}")
    where = f" WHERE {' AND '.join(parts)}" if parts else ""
    return await tx.fetch(
        "SELECT id, name, region_id, amount, is_return, includes_tax, data, created_at,"
        f" updated_at FROM shipping_options{where} ORDER BY id",
        **params,
    )


async def regions(tx: Tx) -> list[Row]:
    """Every region."""
    return await tx.fetch(
        "SELECT id, name, currency_code, tax_rate, tax_code, countries, includes_tax"
        " FROM regions ORDER BY id"
    )


async def sales_channels(tx: Tx, *, ids: Sequence[str] | None) -> list[Row]:
    """Sales channels as Medusa shows them, all or those of these ids."""
    rows = await tx.fetch(
        "SELECT id, name, created_at, updated_at FROM sales_channels"
        f"{' WHERE id IN :ids' if ids is not None else ''} ORDER BY id",
        **({"ids": list(ids)} if ids is not None else {}),
    )
    more = {"description": None, "is_disabled": False, "metadata": None, "deleted_at": None}
    return [{**row, **more} for row in rows]


# ---------------------------------------------------------------------------------- export

_REFERENCE = {
    "regions": "id, name, currency_code, tax_rate, tax_code, countries, includes_tax",
    "sales_channels": "id, name, stock_location_ids",
    "shipping_options": "id, name, region_id, amount, is_return, includes_tax, data",
    "customers": "id, email, first_name, last_name, phone",
}


async def export_page(tx: Tx, *, cursor: str | None, limit: int) -> Row:
    """A piece of the import document, and ``next``: the cursor of the following piece or None.

    Reference lists come first, each in pieces by id, then the orders as they are now.
    """
    section, after = _cursor(cursor)
    sections = (*_REFERENCE, "orders")
    page: Row = {name: [] for name in sections}
    for name in sections[sections.index(section) :]:
        if name == "orders":
            page[name] = await _exported_orders(tx, after, limit)
        else:
            page[name] = await tx.fetch(
                f"SELECT {_REFERENCE[name]} FROM {name} WHERE id > :after ORDER BY id LIMIT :limit",
                after=after,
                limit=limit,
            )
        if len(page[name]) == limit:
            return {**page, "next": json.dumps([name, page[name][-1]["id"]])}
        after = ""
    return {**page, "next": None}


def _cursor(text: str | None) -> tuple[str, str]:
    if text is None:
        return next(iter(_REFERENCE)), ""
    try:
        section, after = json.loads(text)
    except (ValueError, TypeError):
        section, after = "", ""
    if section not in (*_REFERENCE, "orders") or not isinstance(after, str):
        raise Invalid("cursor_unknown", "cursor must be one that an export has given")
    return section, after


async def _exported_orders(tx: Tx, after: str, limit: int) -> list[Row]:
    rows = await tx.fetch(
        "SELECT * FROM orders WHERE id > :after ORDER BY id LIMIT :limit",
        after=after,
        limit=limit,
    )
    ids = [row["id"] for row in rows]
    if not ids:
        return []
    lines = await _children(tx, "order_lines", "position", ids, f" AND {store.OWN}")
    payments = await _children(tx, "payments", "position", ids)
    fulfillments = await _children(tx, "fulfillments", "position", ids, _SEEN)
    return [
        _exported(row, lines[row["id"]], payments[row["id"]], fulfillments[row["id"]])
        for row in rows
    ]


def _exported(row: Row, lines: list[Row], payments: list[Row], fulfillments: list[Row]) -> Row:
    return {
        **_only(
            row,
            "id display_id email customer_id region_id currency_code tax_rate status"
            " payment_status fulfillment_status sales_channel_id created_at no_notification"
            " metadata shipping_address billing_address discounts",
        ),
        **(row["extra"] or {}),
        **({"claim_id": row["claim_id"]} if row["claim_id"] else {}),
        "items": [
            {
                **_only(
                    line,
                    "id variant_id title description thumbnail unit_price quantity"
                    " fulfilled_quantity shipped_quantity returned_quantity delivered_at"
                    " includes_tax allow_discounts is_giftcard tax_lines adjustments metadata",
                ),
                **(line["extra"] or {}),
            }
            for line in lines
        ],
        "shipping_methods": [
            _only(method, "id shipping_option_id price data tax_lines")
            for method in row["shipping_methods"] or ()
        ],
        "payments": [
            _only(payment, "id amount provider_id captured_at amount_refunded")
            for payment in payments
        ],
        "fulfillments": [
            _only(fulfillment, "id items location_id tracking_numbers shipped_at canceled_at")
            for fulfillment in fulfillments
        ],
    }


def _only(row: Mapping[str, Any], names: str) -> Row:
    return {name: row[name] for name in names.split()}
