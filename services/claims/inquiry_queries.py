"""Reading inquiries and evidence. What a customer gets is named here, field by field."""

from __future__ import annotations

from typing import Any

from chassis.db import Row, Tx
from chassis.errors import Refusal
from chassis.http import rebuilt
from services.claims.evidence import EvidenceNotFound
from services.claims.inquiry import InquiryNotFound, shown_status

_FILTERS = {
    "status": "status IN :status",
    "order_id": "order_id IN :order_id",
    "customer_id": "customer_id = :customer_id",
    "assigned_to": "assigned_to = :assigned_to",
    "claim_id": "claim_id = :claim_id",
    "created_from": "created_at >= :created_from",
    "created_before": "created_at < :created_before",
}


async def outcome_of_approval(tx: Tx, *, claim_id: str) -> dict[str, Any] | Refusal | None:
    """How an approval ended: {inquiry_id, claim_id}, the refusal, or None while it runs."""
    row = await tx.fetch_one(
        "SELECT i.id, i.status, i.claim_id, c.refusal FROM claims c"
        " JOIN inquiries i ON i.id = c.inquiry_id WHERE c.id = :claim_id",
        claim_id=claim_id,
    )
    if row is None:
        return None
    if row["claim_id"] == claim_id:
        done = row["status"] == "approved"
        return {"inquiry_id": row["id"], "claim_id": claim_id} if done else None
    return rebuilt(row["refusal"])


async def inquiry_by_id(tx: Tx, *, inquiry_id: str, owner: str | None) -> Row:
    """One inquiry whole, with messages and evidence; ``owner`` restricts to that customer's, and
    to what a customer may see. Raises InquiryNotFound."""
    rows = await tx.fetch("SELECT * FROM inquiries WHERE id = :id", id=inquiry_id)
    if not rows or owner not in (None, rows[0]["customer_id"]):
        raise InquiryNotFound(inquiry_id=inquiry_id)
    inside = owner is None
    (shown,) = await _complete(tx, rows, inside=inside)
    messages = await tx.fetch(
        "SELECT author_kind, author_id, text, created_at FROM inquiry_messages"
        " WHERE inquiry_id = :id ORDER BY seq",
        id=inquiry_id,
    )
    shown["messages"] = [
        {
            "by": message["author_kind"],
            **({"by_id": message["author_id"]} if inside else {}),
            "text": message["text"],
            "created_at": message["created_at"],
        }
        for message in messages
    ]
    files = await tx.fetch(
        "SELECT * FROM evidence WHERE inquiry_id = :id ORDER BY created_at, id", id=inquiry_id
    )
    shown["evidence"] = [shown_evidence(row=row, inside=inside) for row in files]
    return shown


async def list_inquiries(
    tx: Tx, *, filters: dict[str, Any], owner: str | None, limit: int, offset: int
) -> tuple[list[Row], int]:
    """A page of inquiries, newest first, and how many there are; without messages and files."""
    if owner is not None:
        filters = filters | {"customer_id": owner}
    if "in_review" in filters.get("status", ()) and owner is not None:
        filters = filters | {"status": [*filters["status"], "approving"]}
    where = " AND ".join(["1 = 1", *(_FILTERS[name] for name in filters)])
    count = await tx.fetch_value(f"SELECT COUNT(*) FROM inquiries WHERE {where}", **filters)
    rows = await tx.fetch(
        f"SELECT * FROM inquiries WHERE {where} ORDER BY created_at DESC, id DESC"
        " LIMIT :limit OFFSET :offset",
        **filters,
        limit=limit,
        offset=offset,
    )
    return await _complete(tx, rows, inside=owner is None), int(count)


async def _complete(tx: Tx, rows: list[Row], *, inside: bool) -> list[Row]:
    if not rows:
        return []
    items = await tx.fetch(
        "SELECT * FROM inquiry_items WHERE inquiry_id IN :ids ORDER BY inquiry_id, position",
        ids=[row["id"] for row in rows],
    )
    return [
        _shown(row, [item for item in items if item["inquiry_id"] == row["id"]], inside=inside)
        for row in rows
    ]


def _shown(row: Row, items: list[Row], *, inside: bool) -> Row:
    shown = {
        "id": row["id"],
        "order_id": row["order_id"],
        "status": row["status"] if inside else shown_status(status=row["status"]),
        "reason": row["reason"],
        "claim_items": [
            {
                "item_id": item["line_id"],
                "quantity": item["quantity"],
                "reason": item["reason"],
                "note": item["note"],
            }
            for item in items
        ],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
    if not inside:
        return shown | {"history": _public_history(row["history"])}
    inner = ("customer_id", "claim_id", "attempts", "refusal", "assigned_to", "created_by")
    return shown | {name: row[name] for name in inner} | {"history": row["history"]}


def _public_history(history: list[Row]) -> list[Row]:
    """Every state that the customer could see, once; who in the shop and why is the shop's."""
    told: list[Row] = []
    for entry in history:
        status = shown_status(status=entry["status"])
        if not told or told[-1]["status"] != status:
            told.append({"status": status, "at": entry["at"]})
    return told


async def evidence_of_claim(tx: Tx, *, claim_id: str) -> list[Row]:
    """The files of a claim, and of the inquiry that it was."""
    rows = await tx.fetch(
        "SELECT e.* FROM evidence e WHERE e.claim_id = :claim_id OR e.inquiry_id ="
        " (SELECT inquiry_id FROM claims WHERE id = :claim_id) ORDER BY e.created_at, e.id",
        claim_id=claim_id,
    )
    return [shown_evidence(row=row, inside=True) for row in rows]


async def evidence_by_id(
    tx: Tx, *, evidence_id: str, inquiry_id: str | None, owner: str | None
) -> Row:
    """The row of a file; a customer (``owner``) sees those of the own inquiry that is named.
    Raises EvidenceNotFound."""
    row = await tx.fetch_one(
        "SELECT e.*, i.customer_id FROM evidence e LEFT JOIN inquiries i ON i.id = e.inquiry_id"
        " WHERE e.id = :id",
        id=evidence_id,
    )
    own = row and row["inquiry_id"] == inquiry_id and row["customer_id"] == owner
    if row is None or not (owner is None or own):
        raise EvidenceNotFound(evidence_id=evidence_id)
    return row


def shown_evidence(*, row: Row, inside: bool) -> Row:
    """A file as it is listed; where its bytes lie is nobody's business."""
    inner = ("order_id", "inquiry_id", "claim_id", "sha256", "author_id") if inside else ()
    return {
        "id": row["id"],
        "name": row["name"],
        "content_type": row["content_type"],
        "size": row["size_bytes"],
        "by": row["author_kind"],
        **{name: row[name] for name in inner},
        "created_at": row["created_at"],
    }
