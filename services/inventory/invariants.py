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
    return found


async def subjects(tx: Tx, *, after: str, limit: int) -> list[str]:
    """Ids of remedies and of receipts that are known here, in order."""
    rows = await tx.fetch(
        "SELECT id FROM (SELECT remedy_id AS id FROM reservation_groups WHERE remedy_id > :after"
        " ORDER BY remedy_id LIMIT :limit) AS a UNION"
        " SELECT id FROM (SELECT id FROM receipts WHERE id > :after ORDER BY id LIMIT :limit) AS b"
        " ORDER BY id LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [row["id"] for row in rows]


async def rows(tx: Tx, ids: list[str] | None) -> dict[str, list[Row]]:
    """What inventory has of these remedies and receipts (None: of all)."""
    return {"reservations": await remedies(tx, ids), "stock_receipts": await receipts(tx, ids)}


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
