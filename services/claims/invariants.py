"""What must always be true of claims, as queries that find the exceptions."""

from __future__ import annotations

from chassis.db import Row, Tx


async def findings(tx: Tx) -> list[Row]:
    """What is wrong in this database alone: [{invariant, id, message}]."""
    wrong = await tx.fetch(
        "SELECT id, status, payment_status, refund_amount FROM claims"
        " WHERE (type = 'replace' AND payment_status <> 'na')"
        " OR (payment_status = 'refunded' AND COALESCE(refund_amount, 0) = 0)"
        " OR (status = 'canceled' AND payment_status = 'refunded')"
    )
    found = [
        {"invariant": "I12", "id": row["id"], "message": f"impossible state {row}"} for row in wrong
    ]
    gaps = await tx.fetch(
        "SELECT c.id, c.version, COUNT(o.id) AS events FROM claims c"
        " LEFT JOIN outbox o ON o.aggregatetype = 'claim' AND o.aggregateid = c.id"
        " AND o.aggregateversion IS NOT NULL"
        " GROUP BY c.id, c.version HAVING COUNT(o.id) <> c.version"
    )
    found += [
        {
            "invariant": "I10",
            "id": row["id"],
            "message": f"version {row['version']} but {row['events']} events were said",
        }
        for row in gaps
    ]
    return found


async def subjects(tx: Tx, *, after: str, limit: int) -> list[str]:
    """Ids of claims, in order."""
    rows = await tx.fetch(
        "SELECT id FROM claims WHERE id > :after ORDER BY id LIMIT :limit", after=after, limit=limit
    )
    return [row["id"] for row in rows]


async def rows(tx: Tx, ids: list[str] | None) -> dict[str, list[Row]]:
    """What claims has of these claims (None: of all)."""
    return {"claims": await claims(tx, ids), "claimed": await claimed_units(tx, ids)}


async def claims(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every claim as the others should know it: id, order_id, type, status, payment_status,
    refund_amount, return_id, recovery_point, wants_stock."""
    return await tx.fetch(
        "SELECT c.id, c.order_id, c.type, c.status, c.payment_status, c.refund_amount,"
        " c.return_id, c.recovery_point,"
        " EXISTS (SELECT 1 FROM additional_items a WHERE a.claim_id = c.id) AS wants_stock"
        f" FROM claims c{' WHERE c.id IN :ids' if ids is not None else ''}",
        ids=ids,
    )


async def claimed_units(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Units per claim and order line: claim_id, line_id, quantity."""
    return await tx.fetch(
        "SELECT claim_id, line_id, CAST(SUM(quantity) AS BIGINT) AS quantity FROM claim_items"
        f"{' WHERE claim_id IN :ids' if ids is not None else ''} GROUP BY claim_id, line_id",
        ids=ids,
    )
