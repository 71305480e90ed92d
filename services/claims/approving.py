"""How an inquiry becomes a claim: the approval is the opening of a claim, in one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chassis import idempotency
from chassis.db import Tx
from chassis.idempotency import Caller
from chassis.values import derived_id
from services.claims import inquiries, operations
from services.claims.inquiry import By
from services.claims.operations import Accepted


async def approve_inquiry(
    tx: Tx,
    *,
    inquiry_id: str,
    request: dict[str, Any],
    by: By,
    caller: Caller,
    now: datetime,
) -> Accepted:
    """Begin the claim that an inquiry becomes. ``request`` is the body of ``schemas.OpenClaim``
    for the inquiry's own order; without claim_items it claims what was reported.

    The id of the claim follows from inquiry and attempt, and while one is on its way no other can
    begin; so whatever is repeated there is one. A known key answers with its claim. Raises
    InquiryNotFound, WrongState, InquiryBusy, KeyReused, Invalid.
    """
    inquiry = await inquiries.found(tx, inquiry_id=inquiry_id)
    claim_id = derived_id("claim", inquiry_id, str(inquiry.attempts + 1))
    held = await idempotency.take_key(tx, caller, subject_id=claim_id)
    if held is not None:
        return Accepted(held, held)
    await inquiries.begin_approval(tx, before=inquiry, claim_id=claim_id, by=by, now=now)
    reported: list[dict[str, Any]] = [
        {
            "item_id": item.line_id,
            "quantity": item.quantity,
            "reason": item.reason,
            "note": item.note,
            "tags": [],
            "images": [],
        }
        for item in inquiry.items
    ]
    await operations.take_on(
        tx,
        claim_id=claim_id,
        request=request
        | {
            "order_id": inquiry.order_id,
            "claim_items": request["claim_items"] or reported,
            "inquiry_id": inquiry_id,
            "idempotency_key": caller.key,
        },
        principal=caller.principal,
        now=now,
    )
    return Accepted(claim_id, claim_id)
