"""Every statement that writes inquiries and evidence; the tables are those of store.py."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chassis.db import Row, Tx
from services.claims.inquiry import UNDECIDED, By, Inquiry, InquiryItem
from services.claims.store import (
    EVIDENCE,
    INQUIRIES,
    INQUIRY_ITEMS,
    INQUIRY_MESSAGES,
    REPORTED_ORDERS,
)

_STATE = (
    *("status", "claim_id", "attempts", "reason", "refusal", "assigned_to", "history", "version"),
)


async def lock_order(tx: Tx, *, order_id: str) -> None:
    """From here to the commit nobody else reports anything about this order."""
    await tx.insert(REPORTED_ORDERS, [{"order_id": order_id}], ignore_conflicts=True)
    await tx.fetch(
        "SELECT order_id FROM reported_orders WHERE order_id = :order_id FOR UPDATE",
        order_id=order_id,
    )


async def asked_for(tx: Tx, *, order_id: str) -> dict[str, int]:
    """Units per line that undecided inquiries report."""
    rows = await tx.fetch(
        "SELECT i.line_id, CAST(SUM(i.quantity) AS BIGINT) AS units FROM inquiry_items i"
        " JOIN inquiries q ON q.id = i.inquiry_id"
        " WHERE q.order_id = :order_id AND q.status IN :undecided GROUP BY i.line_id",
        order_id=order_id,
        undecided=list(UNDECIDED),
    )
    return {row["line_id"]: int(row["units"]) for row in rows}


async def reported_since(tx: Tx, *, customer_id: str, since: datetime) -> int:
    """How many inquiries a customer has reported since then."""
    found = await tx.fetch_value(
        "SELECT COUNT(*) FROM inquiries WHERE customer_id = :customer_id AND created_at >= :since",
        customer_id=customer_id,
        since=since,
    )
    return int(found)


async def add(tx: Tx, *, inquiry: Inquiry, created_by: str, now: datetime) -> None:
    """Store a new inquiry."""
    row = _state(inquiry) | {
        "id": inquiry.id,
        "order_id": inquiry.order_id,
        "customer_id": inquiry.customer_id,
        "created_by": created_by,
        "created_at": now,
        "updated_at": now,
    }
    await tx.insert(INQUIRIES, [row])
    await tx.insert(
        INQUIRY_ITEMS,
        [
            {
                "inquiry_id": inquiry.id,
                "position": position,
                "line_id": item.line_id,
                "quantity": item.quantity,
                "reason": item.reason,
                "note": item.note,
            }
            for position, item in enumerate(inquiry.items)
        ],
    )


async def load(tx: Tx, *, inquiry_id: str) -> Inquiry | None:
    """The inquiry, locked for this transaction."""
    row = await tx.fetch_one("SELECT * FROM inquiries WHERE id = :id FOR UPDATE", id=inquiry_id)
    if row is None:
        return None
    items = await tx.fetch(
        "SELECT line_id, quantity, reason, note FROM inquiry_items WHERE inquiry_id = :id"
        " ORDER BY position",
        id=inquiry_id,
    )
    return Inquiry(
        items=tuple(InquiryItem(**item) for item in items),
        **{name: row[name] for name in ("id", "order_id", "customer_id")},
        **{name: row[name] for name in _STATE if name != "history"},
        history=tuple(row["history"]),
    )


async def save(tx: Tx, *, inquiry: Inquiry, now: datetime) -> None:
    """Write the state that can change."""
    written = ", ".join(f"{name} = :{name}" for name in _STATE)
    await tx.execute(
        f"UPDATE inquiries SET {written}, updated_at = :now WHERE id = :id",
        id=inquiry.id,
        now=now,
        **_state(inquiry),
    )


def _state(inquiry: Inquiry) -> Row:
    state: dict[str, Any] = {name: getattr(inquiry, name) for name in _STATE}
    return state | {"history": list(inquiry.history)}


async def add_message(tx: Tx, *, inquiry_id: str, by: By, text: str, now: datetime) -> None:
    """What customer or shop wrote."""
    row = {
        "inquiry_id": inquiry_id,
        "author_kind": by.kind,
        "author_id": by.id,
        "text": text,
        "created_at": now,
    }
    await tx.insert(INQUIRY_MESSAGES, [row])


async def count_messages(tx: Tx, *, inquiry_id: str) -> int:
    """How many there are."""
    return int(
        await tx.fetch_value(
            "SELECT COUNT(*) FROM inquiry_messages WHERE inquiry_id = :id", id=inquiry_id
        )
    )


async def add_evidence(tx: Tx, *, row: Row) -> None:
    """The row of a file that is there already."""
    await tx.insert(EVIDENCE, [row])


async def evidence(tx: Tx, *, evidence_id: str) -> Row | None:
    """The row of a file."""
    return await tx.fetch_one("SELECT * FROM evidence WHERE id = :id", id=evidence_id)


async def count_evidence(tx: Tx, *, inquiry_id: str | None, claim_id: str | None) -> int:
    """How many files an inquiry or a claim has of its own."""
    return int(
        await tx.fetch_value(
            "SELECT COUNT(*) FROM evidence WHERE inquiry_id = :inquiry_id OR claim_id = :claim_id",
            inquiry_id=inquiry_id,
            claim_id=claim_id,
        )
    )


async def remove_evidence(tx: Tx, *, evidence_id: str) -> bool:
    """Forget a file, whose bytes go after the commit; False if it was forgotten already."""
    return bool(await tx.execute("DELETE FROM evidence WHERE id = :id", id=evidence_id))


async def known_files(tx: Tx, *, keys: list[str]) -> set[str]:
    """Those of the keys that a row speaks of."""
    if not keys:
        return set()
    rows = await tx.fetch("SELECT file_key FROM evidence WHERE file_key IN :keys", keys=keys)
    return {row["file_key"] for row in rows}
