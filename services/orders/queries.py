"""What can be asked of orders: plain rows in Medusa's shapes, composed from few statements.

Totals are computed from the lines as they were bought. A caller who is a customer sees own orders
only: another's order answers like one that does not exist.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from chassis.db import Row, Tx
from chassis.errors import Invalid, NotFound, Refusal, refusal
from services.orders import domain, schemas, shapes, store

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
        "payments": await _children(tx, "payments", "position", ids, columns=PAYMENT),
        "fulfillments": await _children(tx, "fulfillments", "position", ids, _SEEN),
        "refunds": await _children(tx, "refunds", "created_at, id", ids),
    }
    by_id = {
        row["id"]: shapes.order(row, **{name: found[row["id"]] for name, found in children.items()})
        for row in rows
    }
    return [by_id[id] for id in ids if id in by_id]


# One that inventory has not answered, or has refused, was never there for anybody outside.
_SEEN = " AND state IN ('live', 'canceling', 'canceled')"
# A payment may be the difference of an exchange.
PAYMENT = "payments.*, (SELECT e.id FROM exchanges e WHERE e.payment_id = payments.id) AS swap_id"


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


# ---------------------------------------------------------------------------------- outcomes


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


# ---------------------------------------------------------------------------------- reference data


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
        shapes.exported(row, lines[row["id"]], payments[row["id"]], fulfillments[row["id"]])
        for row in rows
    ]
