"""How a change of a claim or an exchange is kept: saved, told to the outside, left in the trail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from chassis import audit, outbox
from chassis.db import Row, Tx
from contracts.base import LineQuantity
from contracts.claims import (
    ClaimAssigned,
    ClaimCanceled,
    ClaimClosed,
    ClaimConfirmed,
    ClaimConverted,
    ClaimCreated,
    ClaimItemCreated,
    ClaimItemUpdated,
    ClaimRefunded,
    ClaimRefused,
    ClaimUpdated,
    SwapCanceled,
    SwapCreated,
    SwapPaymentCaptured,
    SwapPaymentCompleted,
    SwapReceived,
    SwapRefundFailed,
    SwapRefundProcessed,
)
from services.claims import domain, store
from services.claims.domain import Change, Claim, ClaimItem

EVENTS = {
    "created": ClaimCreated,
    "refunded": ClaimRefunded,
    "confirmed": ClaimConfirmed,
    "refused": ClaimRefused,
    "canceled": ClaimCanceled,
    "updated": ClaimUpdated,
    "assigned": ClaimAssigned,
    "closed": ClaimClosed,
    "converted": ClaimConverted,
}
_OF_EXCHANGES = {
    "created": SwapCreated,
    "received": SwapReceived,
    "refund_processed": SwapRefundProcessed,
    "refund_failed": SwapRefundFailed,
    "payment_captured": SwapPaymentCaptured,
    "payment_completed": SwapPaymentCompleted,
    "canceled": SwapCanceled,
}
# What the audit trail tells of a claim.
_STATE = (
    *("type", "status", "payment_status", "recovery_point", "refund_amount", "refusal"),
    *("assigned_to", "closed_by", "return_status", "busy_with", "stock_id"),
    *("refund_to", "difference_due"),
)


async def say(
    tx: Tx,
    before: Claim,
    change: Change,
    now: datetime,
    wrote: tuple[Row, Row] = ({}, {}),
) -> None:
    """Save a change and put its events into the outbox, one version each.

    ``wrote``: (before, after) of what people wrote, for the audit trail.
    """
    claim = change.claim
    version = claim.version
    for happening in change.happened:
        version += 1
        await _say_one(tx, claim, happening, version)
        if claim.is_exchange:
            continue
        if happening == "created":
            await _say_items(tx, ClaimItemCreated, claim, claim.items, version)
        if happening == "updated":
            edited = [item for item in claim.items if item not in before.items]
            await _say_items(tx, ClaimItemUpdated, claim, edited, version)
    if change.happened or claim != before:
        await store.save(tx, claim=replace(claim, version=version), now=now)
        await _note(tx, before, change, wrote)


async def _say_one(tx: Tx, claim: Claim, happening: str, version: int) -> None:
    both = {
        "id": claim.id,
        "no_notification": bool(claim.no_notification),
        "order_id": claim.order_id,
        "status": claim.status,
        "payment_status": claim.payment_status,
        "items": [
            LineQuantity(line_id=line, quantity=units)
            for line, units in domain.claimed_units(items=claim.items)
        ],
    }
    if claim.is_exchange:
        swap = _OF_EXCHANGES[happening](
            **both,
            fulfillment_status=claim.fulfillment_status,
            difference_due=claim.difference_due or 0,
        )
        await outbox.put(tx, swap, about=domain.about(claim=claim), version=version)
        return
    said = EVENTS[happening](**both, type=claim.type, refund_amount=claim.refund_amount)
    await outbox.put(tx, said, about=domain.about(claim=claim), version=version)


async def _say_items(
    tx: Tx,
    event: type[ClaimItemCreated | ClaimItemUpdated],
    claim: Claim,
    items: Sequence[ClaimItem],
    version: int,
) -> None:
    for item in items:
        said = event(
            id=item.id,
            claim_id=claim.id,
            line_id=item.line_id,
            quantity=item.quantity,
            reason=item.reason,
        )
        await outbox.put(tx, said, about=f"claim-item/{item.id}", version=version)


async def _note(tx: Tx, before: Claim, change: Change, wrote: tuple[Row, Row]) -> None:
    """One record per happening; the first tells what this transaction changed."""
    claim = change.claim
    was, is_ = audit.changes(
        {name: getattr(before, name) for name in _STATE},
        {name: getattr(claim, name) for name in _STATE},
    )
    # Not every turn has an event: one refused before anybody saw it, one that is not canceled.
    turned = (claim.status,) if claim.status != before.status else ()
    first, *more = change.happened or turned or ("moved",)
    about = domain.about(claim=claim)
    kind = about.partition("/")[0]
    entries = [audit.Entry(f"{kind}.{first}", about, was | wrote[0], is_ | wrote[1])]
    await audit.record_all(tx, [*entries, *(audit.Entry(f"{kind}.{name}", about) for name in more)])
