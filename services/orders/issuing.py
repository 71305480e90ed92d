"""How credit memos are issued: behind the refunds, many at once, under the lock of the year.

Not in the transaction of the refund, because a number without a gap makes all who take one wait
for each other.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from chassis import audit
from chassis.db import Row, Tx
from chassis.values import derived_id
from services.orders import memos, store_memos
from services.orders.refunds import Part

AT_ONCE = 100


async def issue(tx: Tx, now: datetime) -> int:
    """Issue the memos of refunds that have none, the earliest refund first; how many."""
    last = await store_memos.lock_year(tx, year=now.year)
    due = await store_memos.due_refunds(tx, limit=AT_ONCE)
    if not due:
        return 0
    shares = await store_memos.payments_of(tx, refund_ids=[row["id"] for row in due])
    rows = [
        _memo(row, last + index, shares.get(row["id"], []), now) for index, row in enumerate(due, 1)
    ]
    await store_memos.add(tx, rows=rows)
    await store_memos.count(tx, year=now.year, last=last + len(rows))
    await audit.record(
        tx,
        action="memos.issued",
        about=f"credit-memos/{now.year}",
        after={"from": rows[0]["number"], "to": rows[-1]["number"]},
    )
    return len(rows)


def _memo(refund: Row, sequence: int, shares: list[Row], now: datetime) -> Row:
    answer = refund["held"] or refund["received"] or {}
    explanation = refund["exchanged"] or answer.get("explanation", ())
    parts = memos.parts_of(
        cause_kind=refund["cause_kind"],
        explained=[Part(**part) for part in explanation],
        amount=refund["amount"],
        note=refund["note"],
        reason=refund["reason"],
    )
    taken = ("order_id", "cause_kind", "cause_id", "reason", "note", "amount", "currency_code")
    return {
        **{name: refund[name] for name in taken},
        "id": derived_id("cmemo", refund["id"]),
        "number": memos.number_of(year=now.year, sequence=sequence),
        "year": now.year,
        "sequence": sequence,
        "refund_id": refund["id"],
        "display_id": refund["display_id"],
        "customer_id": refund["customer_id"],
        "lines": [asdict(part) for part in parts],
        "payments": shares,
        "refunded_at": refund["settled_at"],
        "issued_at": now,
    }
