"""The sagas that change what a claim gives, as tables. Pure.

claim_refund
step              do                   undo                 replies
refund (pivot)    RetryClaimRefund     -                    ClaimRefundSucceeded | ...Declined
free (pivot)      ReleaseReservation   -                    ReservationReleased

claim_to_replace
reserve           PlaceReservation     ReleaseReservation   ReservationPlaced | ...Rejected

Money that is asked for cannot be called back, so goods are given free only once it is out; and a
provider that declines leaves the claim as it was. Each attempt to reserve has a name of its own:
what was refused once may be there the next time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chassis.sagas import Facts, SagaTable, Step
from contracts.inventory import (
    PlaceReservation,
    ReleaseReservation,
    ReservationPlaced,
    ReservationRejected,
    ReservationReleased,
    WantedLine,
)
from contracts.orders import ClaimRefundDeclined, ClaimRefundSucceeded, RetryClaimRefund
from services.claims.domain import AdditionalItem, Claim


def refund_facts(
    *,
    claim: Claim,
    request_id: str,
    refund_amount: int | None,
    converts: bool,
    refund_to: str | None = None,
) -> dict[str, Any]:
    """What the steps of a later refund need, JSON-able. ``converts``: it is paid instead of the
    goods that the claim would have sent, which are given free. ``refund_to``: other than the claim
    says."""
    return {
        "request_id": request_id,
        "claim_id": claim.id,
        "order_id": claim.order_id,
        "refund_amount": refund_amount,
        "refund_to": refund_to or claim.refund_to,
        "converts": converts,
        "stock_id": (claim.stock_id or claim.id) if converts else None,
    }


def replace_facts(
    *,
    claim: Claim,
    items: Iterable[AdditionalItem],
    order: dict[str, Any],
    stock_id: str,
    shipping_methods: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    """What the step of a conversion to goods needs, JSON-able. ``order`` tells region, channel,
    currency."""
    return {
        "claim_id": claim.id,
        "order_id": claim.order_id,
        "stock_id": stock_id,
        "wanted": [[item.line_id, item.variant_id, item.quantity] for item in items],
        "order": order,
        "shipping_methods": shipping_methods,
    }


def retry(*, facts: Facts) -> RetryClaimRefund:
    """What is asked of orders."""
    return RetryClaimRefund(
        claim_id=facts["claim_id"],
        order_id=facts["order_id"],
        request_id=facts["request_id"],
        refund_amount=facts["refund_amount"],
        refund_to=facts["refund_to"],
    )


def reserve(*, facts: Facts) -> PlaceReservation:
    """What is asked of inventory."""
    order = facts["order"]
    return PlaceReservation(
        remedy_id=facts["stock_id"],
        sales_channel_id=order.get("sales_channel_id"),
        region_id=order.get("region_id"),
        currency_code=order["currency_code"],
        lines=[
            WantedLine(line_id=line, variant_id=variant, quantity=units)
            for line, variant, units in facts["wanted"]
        ],
    )


def _release(facts: Facts) -> ReleaseReservation:
    return ReleaseReservation(remedy_id=facts["stock_id"])


REFUND = SagaTable(
    kind="claim_refund",
    plan=lambda facts: (("refund",),) + ((("free",),) if facts["converts"] else ()),
    steps=(
        Step(
            name="refund",
            do=lambda facts: retry(facts=facts),
            done=ClaimRefundSucceeded,
            refused=ClaimRefundDeclined,
            pivot=True,
        ),
        Step(name="free", do=_release, done=ReservationReleased, pivot=True),
    ),
)

TO_REPLACE = SagaTable(
    kind="claim_to_replace",
    plan=lambda facts: (("reserve",),),
    steps=(
        Step(
            name="reserve",
            do=lambda facts: reserve(facts=facts),
            done=ReservationPlaced,
            refused=ReservationRejected,
            undo=_release,
            undone=ReservationReleased,
        ),
    ),
)

TABLES = (REFUND, TO_REPLACE)
