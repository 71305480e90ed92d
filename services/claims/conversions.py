"""What a claim gives, decided anew: the money that did not go out, or the other type. All pure.

given            | when                        | then
refund, unpaid   | the refund is retried       | refunded; unpaid, where nothing is worth a refund
refund, unpaid   | converted, goods reserved   | replace
replace, unsent  | converted, money out        | refund, refunded or unpaid; its goods are free
any of these     | somebody refuses            | as it was
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from chassis.errors import Invalid, NotAllowed
from services.claims.domain import (
    LINES_MAX,
    PAYMENT,
    AdditionalItem,
    Change,
    Claim,
    ClaimClosed,
    additional_items_missing,
    check_idle,
    declined_part,
    refund_amount_on_replace,
    refund_to_on_replace,
)
from services.claims.fulfillments import Fulfillment, under_way


def check_retry(*, claim: Claim) -> None:
    """Whether a claim may be refunded now. Raises NotAllowed, ClaimClosed, ClaimBusy."""
    _check_workable(claim, "processed")
    if claim.type == "replace":
        raise NotAllowed(
            "claim_of_replacement",
            'Claims with the type "replace" are not refunded: convert the claim first.',
        )
    if claim.payment_status == "refunded":
        raise NotAllowed("claim_already_refunded", "The claim has already been refunded.")
    check_idle(claim=claim)


def check_conversion(
    *,
    claim: Claim,
    to: str,
    additional_items: Sequence[AdditionalItem],
    refund_amount: int | None,
    fulfillments: Iterable[Fulfillment],
    refund_to: str | None = None,
) -> None:
    """Whether a claim may become one of the type ``to``: nothing is paid and nothing is sent.

    Raises NotAllowed, ClaimClosed, ClaimBusy; Invalid where the request makes no sense; Conflict
    while a fulfillment may still go either way.
    """
    _check_workable(claim, "converted")
    if claim.type == to:
        raise NotAllowed("claim_type_same", f'The claim has the type "{to}" already.')
    if claim.payment_status == "refunded":
        raise NotAllowed("claim_already_refunded", "Claim with a refund cannot be converted")
    states = {each.state for each in fulfillments}
    if "live" in states:
        raise NotAllowed(
            "fulfillments_not_canceled",
            "All fulfillments must be canceled before the claim can be converted",
        )
    if states & {"pending", "canceling"}:
        raise under_way()
    if to == "replace":
        if refund_amount is not None:
            raise refund_amount_on_replace()
        if refund_to is not None:
            raise refund_to_on_replace()
        if not additional_items and not claim.additional_items:
            raise additional_items_missing()
    if additional_items and (to == "refund" or claim.additional_items):
        raise Invalid(
            "additional_items_unwanted",
            "additional_items belong to a claim that becomes a replacement and sends nothing yet",
        )
    if len(additional_items) > LINES_MAX:
        raise Invalid("too_many_lines", f"A claim has at most {LINES_MAX} lines.")
    check_idle(claim=claim)


def _check_workable(claim: Claim, what: str) -> None:
    if claim.status == "canceled":
        raise NotAllowed("claim_canceled", f"Canceled claim cannot be {what}")
    if claim.closed_at is not None:
        raise ClaimClosed


def refunded(
    *,
    claim: Claim,
    amount: int,
    explanation: Sequence[dict[str, Any]],
    converts: bool,
    refund_to: str,
) -> Change:
    """The money of a claim is decided; ``amount`` went out to ``refund_to``, in minor units. It is
    less than the parts of ``explanation`` where one of several payments was declined."""
    declined = sum(part["amount"] for part in explanation) - amount
    if declined > 0:
        explanation = (*explanation, declined_part(amount=declined))
    happened = (*(("converted",) if converts else ()), *(("refunded",) if amount else ()))
    return Change(
        replace(
            claim,
            type="refund",
            payment_status="refunded" if amount else "not_refunded",
            refund_amount=amount,
            refund_to=refund_to,
            explanation=tuple(explanation),
            additional_items=() if converts else claim.additional_items,
            fulfillment_status="not_fulfilled" if converts else claim.fulfillment_status,
            stock_id=None if converts else claim.stock_id,
            busy_with=None,
        ),
        happened,
    )


def replaced(*, claim: Claim, stock_id: str | None) -> Change:
    """The goods of a claim are reserved, under ``stock_id``: it sends them and pays nothing."""
    return Change(
        replace(
            claim,
            type="replace",
            payment_status="na",
            refund_amount=None,
            refund_to=PAYMENT,
            explanation=(),
            stock_id=stock_id,
            busy_with=None,
        ),
        ("converted",),
    )


def kept(*, claim: Claim) -> Change:
    """Somebody refused: the claim stays as it was."""
    return Change(replace(claim, busy_with=None))
