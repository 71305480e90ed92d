"""What must always be true of claims, as queries that find the exceptions."""

from __future__ import annotations

from collections import Counter

from chassis import at_rest
from chassis.db import Row, Tx


async def findings(tx: Tx) -> list[Row]:
    """What is wrong in this database alone: [{invariant, id, message}]."""
    wrong = await tx.fetch(
        "SELECT id, status, payment_status, refund_amount FROM claims"
        " WHERE (type = 'replace' AND payment_status <> 'na')"
        " OR (payment_status = 'refunded' AND COALESCE(refund_amount, 0) = 0)"
        " OR (status = 'canceled' AND payment_status = 'refunded')"
        " OR (type = 'exchange' AND status IN ('open', 'canceling')"
        " AND (difference_due IS NULL OR return_id IS NULL"
        " OR payment_status NOT IN ('awaiting', 'captured', 'confirmed', 'difference_refunded',"
        " 'partially_refunded', 'requires_action')"
        " OR (difference_due > 0) <> (payment_status IN ('awaiting', 'captured'))"
        " OR (difference_due = 0) <> (payment_status = 'confirmed')))"
    )
    found = [
        {"invariant": "I12", "id": row["id"], "message": f"impossible state {row}"} for row in wrong
    ]
    gaps = await tx.fetch(
        "SELECT c.id, c.version, COUNT(o.id) AS events FROM claims c"
        " LEFT JOIN outbox o ON o.aggregateid = c.id AND o.aggregatetype"
        " = CASE WHEN c.type = 'exchange' THEN 'exchange' ELSE 'claim' END"
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
    return [*found, *await _sent(tx), *await _of_inquiries(tx)]


async def _sent(tx: Tx) -> list[Row]:
    """I5: an additional item is fulfilled and shipped exactly as its live fulfillments say."""
    packed: Counter[str] = Counter()
    shipped: Counter[str] = Counter()
    async for row in at_rest.paged(
        tx,
        "SELECT id, items, shipped_at FROM claim_fulfillments"
        " WHERE state IN ('live', 'canceling') AND id > :after ORDER BY id",
    ):
        for item in row["items"]:
            packed[item["item_id"]] += item["quantity"]
            shipped[item["item_id"]] += item["quantity"] if row["shipped_at"] else 0
    lines = await tx.fetch(
        "SELECT line_id, fulfilled_quantity, shipped_quantity FROM additional_items"
        " WHERE fulfilled_quantity > 0 OR shipped_quantity > 0 OR line_id IN :ids",
        ids=sorted(packed),
    )
    return [
        {
            "invariant": "I5",
            "id": row["line_id"],
            "message": f"fulfilled {row['fulfilled_quantity']}, shipped"
            f" {row['shipped_quantity']}, but its fulfillments say {packed[row['line_id']]},"
            f" {shipped[row['line_id']]}",
        }
        for row in lines
        if row["fulfilled_quantity"] != packed[row["line_id"]]
        or row["shipped_quantity"] != shipped[row["line_id"]]
    ]


async def _of_inquiries(tx: Tx) -> list[Row]:
    """An approved inquiry is one claim and the other way round; each of its turns was said."""
    apart = await tx.fetch(
        "SELECT i.id, i.status, i.claim_id FROM inquiries i LEFT JOIN claims c"
        " ON c.id = i.claim_id AND c.inquiry_id = i.id AND (i.status = 'approving'"
        " OR (c.status <> 'refused' AND c.recovery_point = 'finished'))"
        " WHERE i.status IN ('approving', 'approved') AND c.id IS NULL"
    )
    found = [
        {
            "invariant": "I21",
            "id": row["id"],
            "message": f"the inquiry is {row['status']}, its claim {row['claim_id']} is not there",
        }
        for row in apart
    ]
    strays = await tx.fetch(
        "SELECT c.id, c.inquiry_id FROM claims c LEFT JOIN inquiries i"
        " ON i.id = c.inquiry_id AND i.claim_id = c.id"
        " WHERE c.inquiry_id IS NOT NULL AND c.status <> 'refused' AND i.id IS NULL"
    )
    found += [
        {
            "invariant": "I21",
            "id": row["id"],
            "message": f"its inquiry {row['inquiry_id']} does not know of this claim",
        }
        for row in strays
    ]
    gaps = await tx.fetch(
        "SELECT i.id, i.version, COUNT(o.id) AS events FROM inquiries i"
        " LEFT JOIN outbox o ON o.aggregatetype = 'inquiry' AND o.aggregateid = i.id"
        " GROUP BY i.id, i.version HAVING COUNT(o.id) <> i.version"
    )
    return found + [
        {
            "invariant": "I10",
            "id": row["id"],
            "message": f"version {row['version']} but {row['events']} events were said",
        }
        for row in gaps
    ]


async def subjects(tx: Tx, *, after: str, limit: int) -> list[str]:
    """Ids of claims and of their fulfillments, in order."""
    rows = await tx.fetch(
        "SELECT id FROM (SELECT id FROM claims WHERE id > :after ORDER BY id LIMIT :limit) AS c"
        " UNION SELECT id FROM (SELECT id FROM claim_fulfillments WHERE id > :after"
        " ORDER BY id LIMIT :limit) AS f ORDER BY id LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [row["id"] for row in rows]


async def rows(tx: Tx, ids: list[str] | None) -> dict[str, list[Row]]:
    """What claims has of these claims and fulfillments (None: of all)."""
    return {
        "claims": await claims(tx, ids),
        "claimed": await claimed_units(tx, ids),
        "claim_fulfillments": await fulfillments(tx, ids),
    }


async def fulfillments(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every fulfillment of a claim: id, request_id (who asked for it), claim_id, order_id, state,
    uses_stock, items, shipped_at."""
    return await tx.fetch(
        "SELECT f.id, f.request_id, f.claim_id, c.order_id, f.state, f.uses_stock, f.items,"
        " f.shipped_at FROM claim_fulfillments f JOIN claims c ON c.id = f.claim_id"
        f"{' WHERE f.id IN :ids' if ids is not None else ''} ORDER BY f.id",
        ids=ids,
    )


async def claims(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Every claim as the others should know it: id, order_id, type, status, payment_status,
    refund_amount, return_id, recovery_point, closed_at, wants_stock, stock_id (under which
    inventory holds its goods), difference_due; exchanges among them."""
    return await tx.fetch(
        "SELECT c.id, c.order_id, c.type, c.status, c.payment_status, c.refund_amount,"
        " c.difference_due, c.return_id, c.recovery_point, c.closed_at,"
        " COALESCE(c.stock_id, c.id) AS stock_id,"
        " EXISTS (SELECT 1 FROM additional_items a WHERE a.claim_id = c.id) AS wants_stock"
        f" FROM claims c{' WHERE c.id IN :ids OR c.stock_id IN :ids' if ids is not None else ''}",
        ids=ids,
    )


async def claimed_units(tx: Tx, ids: list[str] | None = None) -> list[Row]:
    """Units per claim and order line: claim_id, line_id, quantity."""
    return await tx.fetch(
        "SELECT claim_id, line_id, CAST(SUM(quantity) AS BIGINT) AS quantity FROM claim_items"
        f"{' WHERE claim_id IN :ids' if ids is not None else ''} GROUP BY claim_id, line_id",
        ids=ids,
    )
