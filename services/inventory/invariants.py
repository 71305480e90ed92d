"""What must always be true of inventory, as queries that find the exceptions."""

from __future__ import annotations

from chassis.db import Row, Tx

# (invariant, what is wrong, query giving the columns item_id and location_id, and details)
_LEVEL_CHECKS = (
    (
        "I1",
        "more is reserved than is on hand",
        "SELECT item_id, location_id, on_hand, reserved FROM levels WHERE on_hand < 0"
        " OR reserved < 0 OR (reserved > on_hand AND NOT allow_backorder)",
    ),
    (
        "I1",
        "reserved differs from the sum of what is held",
        "SELECT l.item_id, l.location_id, l.reserved, COALESCE(SUM(r.quantity), 0) AS held"
        " FROM levels l LEFT JOIN reservations r ON r.item_id = l.item_id"
        " AND r.location_id = l.location_id AND r.state = 'held'"
        " GROUP BY l.item_id, l.location_id, l.reserved"
        " HAVING l.reserved <> COALESCE(SUM(r.quantity), 0)",
    ),
    (
        "I1",
        "something is held where no level is",
        "SELECT r.item_id, r.location_id, SUM(r.quantity) AS held FROM reservations r"
        " LEFT JOIN levels l ON l.item_id = r.item_id AND l.location_id = r.location_id"
        " WHERE r.state = 'held' AND l.item_id IS NULL GROUP BY r.item_id, r.location_id",
    ),
    (
        "I1",
        "a line has several reservations there",
        "SELECT item_id, location_id, line_id, COUNT(*) AS reservations FROM reservations"
        " WHERE state = 'held' AND line_id IS NOT NULL"
        " GROUP BY item_id, location_id, line_id, remedy_id HAVING COUNT(*) > 1",
    ),
    (
        "I1",
        "the rule on backorders differs from the variant's",
        "SELECT l.item_id, l.location_id FROM levels l JOIN inventory_items i ON i.id = l.item_id"
        " JOIN variants v ON v.id = i.variant_id WHERE v.allow_backorder <> l.allow_backorder",
    ),
    (
        "I17",
        "what is on hand differs from the sum of the movements",
        "SELECT l.item_id, l.location_id, l.on_hand, COALESCE(SUM(m.quantity), 0) AS moved"
        " FROM levels l LEFT JOIN movements m ON m.item_id = l.item_id"
        " AND m.location_id = l.location_id"
        " GROUP BY l.item_id, l.location_id, l.on_hand"
        " HAVING l.on_hand <> COALESCE(SUM(m.quantity), 0)",
    ),
    (
        "I17",
        "the movements of a level that is gone do not cancel out",
        "SELECT m.item_id, m.location_id, SUM(m.quantity) AS moved FROM movements m"
        " LEFT JOIN levels l ON l.item_id = m.item_id AND l.location_id = m.location_id"
        " WHERE l.item_id IS NULL GROUP BY m.item_id, m.location_id HAVING SUM(m.quantity) <> 0",
    ),
)


async def findings(tx: Tx) -> list[Row]:
    """What is wrong in this database alone: [{invariant, id, message}]."""
    found: list[Row] = []
    for invariant, wrong, sql in _LEVEL_CHECKS:
        for row in await tx.fetch(sql):
            place = f"{row.pop('item_id')} at {row.pop('location_id')}"
            figures = ", ".join(f"{name} {value}" for name, value in row.items())
            message = f"{wrong}: {figures}" if figures else wrong
            found.append({"invariant": invariant, "id": place, "message": message})
    for row in await tx.fetch(
        "SELECT DISTINCT m.cause_id FROM movements m LEFT JOIN receipts r ON r.id = m.cause_id"
        " WHERE m.cause_kind = 'receipt' AND (r.id IS NULL OR r.state <> 'booked')"
    ):
        message = "stock moved for a receipt that was not booked"
        found.append({"invariant": "I17", "id": row["cause_id"], "message": message})
    for row in await tx.fetch(
        "SELECT DISTINCT r.remedy_id FROM reservations r"
        " JOIN reservation_groups g ON g.remedy_id = r.remedy_id"
        " WHERE r.state = 'held' AND g.state = 'released'"
    ):
        message = "something is still held for a remedy that was released"
        found.append({"invariant": "I4", "id": row["remedy_id"], "message": message})
    return [*found, *await _fulfillments(tx)]


# (invariant, what is wrong, query giving the column id)
_USE_CHECKS = (
    (
        "I17",
        "stock moved for a fulfillment that took nothing",
        "SELECT DISTINCT m.cause_id AS id FROM movements m"
        " LEFT JOIN stock_uses u ON u.fulfillment_id = m.cause_id"
        " WHERE m.cause_kind IN ('fulfillment', 'restoration') AND u.fulfillment_id IS NULL",
    ),
    (
        "I17",
        "its goods were put back, but it still has them",
        "SELECT DISTINCT u.fulfillment_id AS id FROM stock_uses u JOIN movements m"
        " ON m.cause_kind = 'restoration' AND m.cause_id = u.fulfillment_id"
        " WHERE u.state = 'consumed'",
    ),
    (
        # A level that was removed meanwhile wrote its goods off.
        "I17",
        "it was put back, but its goods were not",
        "SELECT DISTINCT u.fulfillment_id AS id FROM stock_uses u JOIN movements m"
        " ON m.cause_kind = 'fulfillment' AND m.cause_id = u.fulfillment_id"
        " JOIN levels l ON l.item_id = m.item_id AND l.location_id = m.location_id"
        " AND l.created_at <= u.restored_at"
        " LEFT JOIN movements b ON b.cause_kind = 'restoration' AND b.cause_id = m.cause_id"
        " AND b.line_no = m.line_no"
        " WHERE u.state = 'restored' AND (b.id IS NULL OR b.quantity <> -m.quantity)",
    ),
    (
        "I4",
        "reservations are used up for a fulfillment that has nothing",
        "SELECT DISTINCT r.fulfillment_id AS id FROM reservations r"
        " LEFT JOIN stock_uses u ON u.fulfillment_id = r.fulfillment_id"
        " WHERE r.state = 'consumed' AND (u.state IS NULL OR u.state <> 'consumed')",
    ),
    (
        "I4",
        "something is still held for a line of a canceled order",
        "SELECT DISTINCT l.order_id AS id FROM reservations r"
        " JOIN released_lines l ON l.line_id = r.line_id WHERE r.state = 'held'",
    ),
)


async def _fulfillments(tx: Tx) -> list[Row]:
    """I4, I17: what fulfillments took is out of stock once, and what was put back is back once."""
    return [
        {"invariant": invariant, "id": row["id"], "message": wrong}
        for invariant, wrong, sql in _USE_CHECKS
        for row in await tx.fetch(sql)
    ]


# Each part by its own index, so that a page costs the same at the end as at the beginning.
_PARTS = (
    ("remedy_id", "reservation_groups"),
    ("id", "receipts"),
    ("fulfillment_id", "stock_uses"),
    ("order_id", "released_lines"),
)
_SUBJECTS = " UNION ".join(
    f"SELECT id FROM (SELECT DISTINCT {column} AS id FROM {table} WHERE {column} > :after"
    f" ORDER BY {column} LIMIT :limit) AS part_{number}"
    for number, (column, table) in enumerate(_PARTS)
)


async def subjects(tx: Tx, *, after: str, limit: int) -> list[str]:
    """Ids of remedies, receipts, fulfillments and canceled orders known here, in order."""
    rows = await tx.fetch(f"{_SUBJECTS} ORDER BY id LIMIT :limit", after=after, limit=limit)
    return [row["id"] for row in rows]


async def rows(tx: Tx, ids: list[str] | None) -> dict[str, list[Row]]:
    """What inventory has of these remedies, receipts, fulfillments and orders (None: of all)."""
    return {
        "reservations": await remedies(tx, ids),
        "stock_receipts": await receipts(tx, ids),
        "stock_uses": await uses(tx, ids),
        "released_orders": await released_orders(tx, ids),
    }


async def uses(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every fulfillment that took or was refused stock: fulfillment_id, order_id, state."""
    return await tx.fetch(
        "SELECT fulfillment_id, order_id, state FROM stock_uses"
        f"{' WHERE fulfillment_id IN :ids' if ids is not None else ''} ORDER BY fulfillment_id",
        ids=ids,
    )


async def released_orders(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every order whose reservations were released: order_id."""
    return await tx.fetch(
        "SELECT DISTINCT order_id FROM released_lines"
        f"{' WHERE order_id IN :ids' if ids is not None else ''} ORDER BY order_id",
        ids=ids,
    )


async def remedies(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """What each remedy has here: remedy_id, state (held, released), rejected (whether its
    reservation was refused), held_units, released_units, manual_units (released by hand)."""
    rows = await tx.fetch(
        "SELECT g.remedy_id, g.state, g.reply,"
        " CAST(COALESCE(s.held_units, 0) AS BIGINT) AS held_units,"
        " CAST(COALESCE(s.released_units, 0) AS BIGINT) AS released_units,"
        " CAST(COALESCE(s.manual_units, 0) AS BIGINT) AS manual_units"
        " FROM reservation_groups g LEFT JOIN (SELECT remedy_id,"
        " SUM(CASE WHEN state = 'held' THEN quantity ELSE 0 END) AS held_units,"
        " SUM(CASE WHEN state = 'released' THEN quantity ELSE 0 END) AS released_units,"
        " SUM(CASE WHEN release_cause = 'manual' THEN quantity ELSE 0 END) AS manual_units"
        f" FROM reservations{' WHERE remedy_id IN :ids' if ids is not None else ''}"
        " GROUP BY remedy_id) s ON s.remedy_id = g.remedy_id"
        f"{' WHERE g.remedy_id IN :ids' if ids is not None else ''}",
        ids=ids,
    )
    for row in rows:
        row["rejected"] = _is_rejection(row.pop("reply"))
    return rows


def _is_rejection(reply: object) -> bool:
    return isinstance(reply, dict) and "code" in reply


async def receipts(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every receipt that was booked or rejected: receipt_id, return_id, state, moved_units."""
    return await tx.fetch(
        "SELECT r.id AS receipt_id, r.return_id, r.state,"
        " CAST(COALESCE(SUM(m.quantity), 0) AS BIGINT) AS moved_units FROM receipts r"
        " LEFT JOIN movements m ON m.cause_kind = 'receipt' AND m.cause_id = r.id"
        f"{' WHERE r.id IN :ids' if ids is not None else ''}"
        " GROUP BY r.id, r.return_id, r.state",
        ids=ids,
    )
