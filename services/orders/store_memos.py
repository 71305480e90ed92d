"""Statements of credit memos: which refunds have none, the counter of a year, the documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.db import Row, Tx
from services.orders.store import MEMO_DUE, credit_memo_years, credit_memos

# What explains a refund was stored with the decision on it: a claim's with its hold, a receipt's
# with its answer, an exchange's with its difference.
_DUE = f"""
SELECT r.id, r.order_id, r.cause_kind, r.cause_id, r.reason, r.note, r.amount, r.currency_code,
       r.settled_at, o.display_id, o.customer_id,
       h.answer AS held, c.answer AS received, x.explanation AS exchanged
FROM (SELECT * FROM refunds WHERE {MEMO_DUE} ORDER BY settled_at, id LIMIT :limit) r
JOIN orders o ON o.id = r.order_id
LEFT JOIN remedies h ON r.cause_kind = 'claim' AND h.id = r.cause_id
LEFT JOIN receipts c ON r.cause_kind = 'receipt' AND c.id = r.cause_id
LEFT JOIN exchanges x ON r.cause_kind = 'exchange' AND x.id = r.cause_id
ORDER BY r.settled_at, r.id
"""


async def is_due(tx: Tx) -> bool:
    """Whether a refund went out that has no memo."""
    found = await tx.fetch_value(f"SELECT 1 FROM refunds WHERE {MEMO_DUE} LIMIT 1")
    return found is not None


async def lock_year(tx: Tx, *, year: int) -> int:
    """The last number of a year, 0 before the first; nobody else takes one meanwhile."""
    row = {"year": year, "last_sequence": 0}
    await tx.insert(credit_memo_years, [row], ignore_conflicts=True)
    return int(
        await tx.fetch_value(
            "SELECT last_sequence FROM credit_memo_years WHERE year = :year FOR UPDATE", year=year
        )
    )


async def due_refunds(tx: Tx, *, limit: int) -> list[Row]:
    """Refunds that went out and have no memo, with what their amount is made of; lock the year
    before."""
    return await tx.fetch(_DUE, limit=limit)


async def payments_of(tx: Tx, *, refund_ids: Sequence[str]) -> dict[str, list[Row]]:
    """Over which payments refunds went: [{payment_id, amount}] by refund."""
    rows = await tx.fetch(
        "SELECT refund_id, payment_id, amount FROM transfers WHERE refund_id IN :ids"
        " AND state = 'posted' ORDER BY seq",
        ids=list(refund_ids),
    )
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.pop("refund_id"), []).append(row)
    return found


async def add(tx: Tx, *, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write memos, and into their refunds that they are there. Raises DuplicateRow for a second
    one of a refund."""
    await tx.insert(credit_memos, rows)
    await tx.execute(
        "UPDATE refunds SET memo_id = (SELECT m.id FROM credit_memos m"
        " WHERE m.refund_id = refunds.id) WHERE id IN :ids",
        ids=[row["refund_id"] for row in rows],
    )


async def count(tx: Tx, *, year: int, last: int) -> None:
    """Keep the last number that was given."""
    await tx.execute(
        "UPDATE credit_memo_years SET last_sequence = :last WHERE year = :year",
        year=year,
        last=last,
    )
