"""Replacement goods that are packed and sent: what may be, in Medusa's words. All pure.

Those of an exchange are packed once its difference is not awaited any more.
A claim always packs all that it still owes. What lies at several locations leaves in several
fulfillments, one per location. A fulfillment is *pending* while inventory is asked for its goods,
then *live*, or *refused* and never seen; *canceling* while it is unpacked, then *canceled*, or
live again where its units have been claimed or returned meanwhile.

given                     | when                    | then
not_fulfilled or canceled | all is packed           | fulfilled
not_fulfilled or canceled | only a part is packed   | requires_action
requires_action           | the rest is packed      | fulfilled
any                       | all packed is sent      | shipped, or partially_shipped
any                       | a fulfillment canceled  | canceled
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chassis.errors import Conflict, NotAllowed, NotFound, Refusal
from services.claims.domain import AdditionalItem, Claim, ClaimBusy, word

STATES = ("pending", "live", "refused", "canceling", "canceled")
OPEN_TO_PACKING = ("not_fulfilled", "canceled", "requires_action")


@dataclass(frozen=True, kw_only=True)
class Fulfillment:
    """Goods of a claim in one parcel; ``line_ids`` are its additional items, all units of each.
    ``uses_stock``: inventory is asked for them."""

    id: str
    claim_id: str
    state: str
    line_ids: tuple[str, ...]
    location_id: str | None = None
    uses_stock: bool = False
    is_shipped: bool = False
    no_notification: bool | None = None


@dataclass(frozen=True)
class Parcel:
    """What goes out together, and where it is taken from (None: nothing of it is counted)."""

    location_id: str | None
    lines: tuple[AdditionalItem, ...]


def unknown(*, fulfillment_id: str, claim_id: str, word: str = "claim") -> Refusal:
    """There is no such fulfillment of this claim."""
    return NotFound(
        "fulfillment_unknown",
        f"no fulfillment was found with the id: {fulfillment_id} related to {word}: {claim_id}",
    )


def under_way() -> Refusal:
    """Somebody has yet to say whether there are the goods, or whether they may be unpacked."""
    return Conflict(
        "fulfillment_under_way",
        "A fulfillment of the claim is being worked on. Try again in a moment.",
    )


def decide_parcels(
    *,
    claim: Claim,
    fulfillments: Iterable[Fulfillment],
    has_shipping_method: bool,
    location_id: str | None,
) -> list[Parcel]:
    """What is to be packed, and from where: from ``location_id``, or each item from where it was
    reserved. Raises in Medusa's order; Conflict while something is under way.
    """
    if claim.status == "canceled":
        raise NotAllowed("claim_canceled", f"Canceled {word(claim=claim)} cannot be fulfilled")
    if claim.status != "open" or claim.busy_with:
        raise ClaimBusy
    states = {each.state for each in fulfillments}
    if states & {"pending", "canceling"}:
        raise under_way()
    owed = [item for item in claim.additional_items if item.fulfilled_quantity < item.quantity]
    if claim.fulfillment_status not in OPEN_TO_PACKING or (claim.additional_items and not owed):
        if claim.is_exchange:
            raise NotAllowed("swap_fulfilled", "The swap was already fulfilled")
        raise NotAllowed("claim_fulfilled", "The claim has already been fulfilled.")
    if claim.type == "refund":
        raise NotAllowed("claim_of_refund", 'Claims with the type "refund" can not be fulfilled.')
    if claim.payment_status == "awaiting":
        raise NotAllowed(
            "difference_unpaid",
            f"The difference of {claim.difference_due} has not been paid:"
            " process the payment of the swap first",
        )
    # Nobody chooses a way to send an exchange: it has no cart.
    if not has_shipping_method and not claim.is_exchange:
        raise NotAllowed("no_shipping_method", "Cannot fulfill a claim without a shipping method.")
    if location_id is not None:
        return [Parcel(location_id, tuple(owed))]
    places = sorted({item.location_id or "" for item in owed})
    return [
        Parcel(place or None, tuple(item for item in owed if (item.location_id or "") == place))
        for place in places
    ]


def decide_cancel(*, fulfillment: Fulfillment) -> bool:
    """Whether there is something to unpack: not where that was begun or done before.

    Raises NotAllowed for goods that are on their way, Conflict for some that nobody has packed yet.
    """
    if fulfillment.state in ("canceling", "canceled"):
        return False
    if fulfillment.state == "pending":
        raise under_way()
    if fulfillment.is_shipped:
        raise NotAllowed(
            "fulfillment_shipped",
            "The fulfillment has already been shipped. Shipped fulfillments cannot be canceled",
        )
    return True


def decide_shipment(*, claim: Claim, fulfillment: Fulfillment | None) -> None:
    """Whether goods may go on their way; raises in Medusa's order."""
    if claim.status == "canceled":
        message = f"Canceled {word(claim=claim)} cannot be fulfilled as shipped"
        raise NotAllowed("claim_canceled", message)
    if fulfillment is None:
        raise NotFound("fulfillment_unknown", "Could not find fulfillment")
    if fulfillment.state == "canceled":
        raise NotAllowed("fulfillment_canceled", "Fulfillment has been canceled")
    if fulfillment.state != "live":
        raise under_way()
    if fulfillment.is_shipped:
        raise NotAllowed("fulfillment_shipped", "The fulfillment has already been shipped")


def check_claim_cancel(*, fulfillments: Iterable[Fulfillment], word: str = "claim") -> None:
    """Whether the goods of a claim let it be canceled. Raises NotAllowed; Conflict while a
    fulfillment may still go either way."""
    states = {each.state for each in fulfillments}
    if "live" in states:
        raise NotAllowed(
            "fulfillments_not_canceled",
            f"All fulfillments must be canceled before the {word} can be canceled",
        )
    if states & {"pending", "canceling"}:
        raise under_way()


def packed_status(*, items: Sequence[AdditionalItem], before: str) -> str:
    """The claim's fulfillment_status once inventory has answered for every parcel; ``before`` stays
    where nothing was packed."""
    if all(item.fulfilled_quantity >= item.quantity for item in items):
        return "fulfilled"
    return "requires_action" if any(item.fulfilled_quantity for item in items) else before


def shipped_status(*, items: Sequence[AdditionalItem]) -> str:
    """The claim's fulfillment_status once goods of it are on their way."""
    done = all(item.shipped_quantity >= item.quantity for item in items)
    return "shipped" if done else "partially_shipped"
