"""What can be done to inquiries, but for their approval. Each runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from chassis import audit, idempotency, outbox
from chassis.db import Tx
from chassis.idempotency import Caller
from chassis.values import new_id
from contracts.base import LineQuantity
from contracts.claims import (
    InquiryApproved,
    InquiryCanceled,
    InquiryCreated,
    InquiryMessageAdded,
    InquiryRejected,
    InquiryReviewStarted,
)
from services.claims import inquiry as desk
from services.claims import inquiry_store as store
from services.claims.inquiry import By, Inquiry, InquiryItem, InquiryNotFound

# What is said of a state that was reached; what only a saga waits for is not said.
_EVENTS = {
    "pending": InquiryCreated,
    "in_review": InquiryReviewStarted,
    "approved": InquiryApproved,
    "rejected": InquiryRejected,
    "canceled": InquiryCanceled,
}
# What the trail calls it.
_ACTIONS = {
    "pending": "created",
    "in_review": "review_started",
    "approving": "approval_begun",
}


_TRAIL = ("status", "claim_id", "assigned_to", "attempts", "refusal")


async def open_inquiry(
    tx: Tx,
    *,
    request: dict[str, Any],
    claimable: Mapping[str, int],
    by: By,
    caller: Caller,
    a_day_most: int,
    now: datetime,
) -> str:
    """Report what is wrong with an order; the inquiry's id, also for a known key.

    ``request`` is the body of ``schemas.OpenInquiry``, ``claimable`` units per line of the order.
    Raises Invalid, NotFound, NotAllowed as ``inquiry.report``, TooManyInquiries, KeyReused.
    """
    inquiry_id = new_id("inq")
    held = await idempotency.take_key(tx, caller, subject_id=inquiry_id)
    if held is not None:
        return held
    order_id, customer_id = request["order_id"], request["customer_id"]
    await store.lock_order(tx, order_id=order_id)
    if by.kind == "customer":
        since = now - timedelta(days=1)
        today = await store.reported_since(tx, customer_id=customer_id, since=since)
        if today >= a_day_most:
            raise desk.TooManyInquiries(most=a_day_most)
    inquiry = desk.report(
        inquiry_id=inquiry_id,
        order_id=order_id,
        customer_id=customer_id,
        items=[
            InquiryItem(
                line_id=item["item_id"],
                quantity=item["quantity"],
                reason=item["reason"],
                note=item["note"],
            )
            for item in request["claim_items"]
        ],
        claimable=claimable,
        asked_for=await store.asked_for(tx, order_id=order_id),
        by=by,
        now=now,
    )
    await store.add(tx, inquiry=inquiry, created_by=by.id or by.kind, now=now)
    if request["message"]:
        await store.add_message(tx, inquiry_id=inquiry_id, by=by, text=request["message"], now=now)
    await _say(tx, None, inquiry, now)
    return inquiry_id


async def review_inquiry(tx: Tx, *, inquiry_id: str, by: By, caller: Caller, now: datetime) -> None:
    """Take an inquiry into review, once under a key. Raises InquiryNotFound, KeyReused, and as
    ``inquiry.take_into_review``."""
    before = await found(tx, inquiry_id=inquiry_id)
    if await idempotency.take_key(tx, caller, subject_id=inquiry_id) is not None:
        return
    await _say(tx, before, desk.take_into_review(inquiry=before, by=by, now=now), now)


async def reject_inquiry(
    tx: Tx, *, inquiry_id: str, reason: str, by: By, caller: Caller, now: datetime
) -> None:
    """Say no, with a reason for the customer. Raises as ``review_inquiry``."""
    before = await found(tx, inquiry_id=inquiry_id)
    if await idempotency.take_key(tx, caller, subject_id=inquiry_id) is not None:
        return
    await _say(tx, before, desk.reject(inquiry=before, reason=reason, by=by, now=now), now)


async def cancel_inquiry(
    tx: Tx, *, inquiry_id: str, owner: str | None, by: By, now: datetime
) -> None:
    """Take an inquiry back that nobody has looked at; one that is canceled already stays so.

    ``owner`` restricts to that customer's. Raises as ``review_inquiry``.
    """
    before = await found(tx, inquiry_id=inquiry_id, owner=owner)
    if before.status != "canceled":
        await _say(tx, before, desk.cancel(inquiry=before, by=by, now=now), now)


async def write_message(
    tx: Tx,
    *,
    inquiry_id: str,
    owner: str | None,
    text: str,
    by: By,
    caller: Caller,
    now: datetime,
) -> None:
    """Write to the other side; once under a key. Raises InquiryNotFound, KeyReused, and as
    ``inquiry.check_may_be_written``."""
    before = await found(tx, inquiry_id=inquiry_id, owner=owner)
    if await idempotency.take_key(tx, caller, subject_id=inquiry_id) is not None:
        return
    messages = await store.count_messages(tx, inquiry_id=inquiry_id)
    desk.check_may_be_written(inquiry=before, messages=messages)
    await store.add_message(tx, inquiry_id=inquiry_id, by=by, text=text, now=now)
    version = before.version + 1
    event = InquiryMessageAdded(by=by.kind, **_public(before))
    await outbox.put(tx, event, about=f"inquiry/{inquiry_id}", version=version)
    await store.save(tx, inquiry=replace(before, version=version), now=now)
    # Not its text: the trail is for ever, and people write names into messages.
    await audit.record(tx, action="inquiry.message_added", about=f"inquiry/{inquiry_id}")


async def begin_approval(tx: Tx, *, before: Inquiry, claim_id: str, by: By, now: datetime) -> None:
    """Hold an inquiry for the claim that it shall become. Raises WrongState, InquiryBusy."""
    moved = desk.approve(inquiry=before, claim_id=claim_id, by=by, now=now)
    await _say(tx, before, moved, now)


async def claim_decided(
    tx: Tx, *, inquiry_id: str, claim_id: str, refusal: dict[str, Any] | None, now: datetime
) -> None:
    """The claim of an approval is there, or was refused with {code, kind, message}."""
    before = await found(tx, inquiry_id=inquiry_id)
    after = desk.decided(inquiry=before, claim_id=claim_id, refusal=refusal, now=now)
    if after != before:
        await _say(tx, before, after, now)


async def found(tx: Tx, *, inquiry_id: str, owner: str | None = None) -> Inquiry:
    """The inquiry, locked; ``owner`` restricts to that customer's. Raises InquiryNotFound."""
    inquiry = await store.load(tx, inquiry_id=inquiry_id)
    if inquiry is None or owner not in (None, inquiry.customer_id):
        raise InquiryNotFound(inquiry_id=inquiry_id)
    return inquiry


async def _say(tx: Tx, before: Inquiry | None, after: Inquiry, now: datetime) -> None:
    """Save a change, say it and record it."""
    event, action = _EVENTS.get(after.status), _ACTIONS.get(after.status, after.status)
    if before is not None and before.status == "approving" and after.status == "in_review":
        event, action = None, "approval_refused"
    version = after.version + (1 if event else 0)
    if event:
        about = f"inquiry/{after.id}"
        await outbox.put(tx, event(**_public(after)), about=about, version=version)
    await store.save(tx, inquiry=replace(after, version=version), now=now)
    was, is_ = audit.changes(
        {} if before is None else {name: getattr(before, name) for name in _TRAIL},
        {name: getattr(after, name) for name in _TRAIL},
    )
    await audit.record(
        tx, action=f"inquiry.{action}", about=f"inquiry/{after.id}", before=was, after=is_
    )


def _public(inquiry: Inquiry) -> dict[str, Any]:
    return {
        "id": inquiry.id,
        "order_id": inquiry.order_id,
        "customer_id": inquiry.customer_id,
        "status": desk.shown_status(status=inquiry.status),
        "claim_id": inquiry.claim_id,
        "items": [
            LineQuantity(line_id=line_id, quantity=quantity)
            for line_id, quantity in desk.units(items=inquiry.items)
        ],
    }
