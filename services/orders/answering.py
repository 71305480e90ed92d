"""What claims are answered: what was held for them, why not, and what became of their refund."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.db import Row, Tx
from chassis.errors import Refusal
from chassis.outbox import put
from contracts.base import ShippingQuote
from contracts.orders import (
    BookedRefund,
    ClaimHoldPlaced,
    ClaimHoldRejected,
    ClaimRefundDeclined,
    ClaimRefundSucceeded,
    PlaceClaimHold,
)
from services.orders import holding
from services.orders.paying import Cause, OpenOrder
from services.orders.remedies import Hold, Line


def placed(
    command: PlaceClaimHold,
    order: OpenOrder,
    quote: ShippingQuote | None,
    hold: Hold,
    lines: dict[str, Line],
) -> ClaimHoldPlaced:
    """What is held for a claim, with everything that it has to know of the order."""
    return ClaimHoldPlaced(
        claim_id=command.claim_id,
        order_id=order.id,
        currency_code=order.row["currency_code"],
        amount=hold.amount,
        explanation=holding.explained(hold.explanation),
        lines=holding.snapshots(lines, hold.shares),
        tax=holding.replacement_tax(order),
        includes_tax=bool(order.row["region_includes_tax"]),
        return_shipping=quote,
        no_notification=order.no_notification,
    )


def rejected(claim_id: str, no: Refusal) -> ClaimHoldRejected:
    """Why nothing is held."""
    return ClaimHoldRejected(claim_id=claim_id, code=no.code, kind=no.kind, message=no.message)


def booked(claim_id: str, amount: int) -> BookedRefund:
    """The refund of a claim, in minor units; one of nothing has no id."""
    refund_id = Cause("claim", claim_id, "claim").refund_id if amount else None
    return BookedRefund(refund_id=refund_id, amount=amount)


async def tell_refund(
    tx: Tx,
    claim_id: str,
    refund: Row | None,
    *,
    reply_to: Mapping[str, Any] | None,
    remedy: Row | None = None,
) -> None:
    """Say what became of a claim's refund; nothing while nobody knows. ``remedy`` is given where
    its amount was decided after the hold."""
    about = f"claim/{claim_id}"
    address = dict(reply_to) if reply_to else None
    parts = (remedy["answer"] or {}).get("explanation", []) if remedy else []
    if refund is None:
        await put(tx, _refunded(claim_id, 0, parts), about=about, reply_to=address)
    elif refund["state"] == "posted":
        done = _refunded(claim_id, refund["amount"], parts)
        await put(tx, done, about=about, reply_to=address)
    elif refund["state"] == "declined":
        no = ClaimRefundDeclined(claim_id=claim_id, **refund["decline"])
        await put(tx, no, about=about, reply_to=address)
    elif refund["state"] == "voided":
        no = ClaimRefundDeclined(
            claim_id=claim_id,
            code="superseded",
            kind="conflict",
            message="The hold was released before the refund was asked for",
        )
        await put(tx, no, about=about, reply_to=address)


def _refunded(claim_id: str, amount: int, explanation: Sequence[Any] = ()) -> ClaimRefundSucceeded:
    refund = booked(claim_id, amount)
    return ClaimRefundSucceeded(
        claim_id=claim_id, explanation=list(explanation), **refund.model_dump()
    )
