"""The sagas of a claim as tables. Pure.

creation         do                   undo                 replies
hold          || PlaceClaimHold       ReleaseClaimHold     ClaimHoldPlaced | ClaimHoldRejected
reserve       || PlaceReservation     ReleaseReservation   ReservationPlaced | ReservationRejected
refund (pivot)   ExecuteClaimRefund   -                    ClaimRefundSucceeded | ...Declined
return           OpenClaimReturn      -                    ClaimReturnOpened

An exchange goes the same way; after hold and reserve orders settles the difference of the prices
(``exchange_saga``), then its return is opened.

Where orders is the only one that can refuse, the hold carries "go on with the refund": the
refund's answer then comes from the hold's command, one round trip for a plain refund claim; with
the hold's own reply if no payment provider has to be asked.
"""

from __future__ import annotations

from typing import Any

from chassis.errors import Refusal
from chassis.sagas import Facts, Saga, SagaTable, Step
from contracts.base import LineQuantity, LineSnapshot, ReturnShipping, ShippingQuote
from contracts.inventory import (
    PlaceReservation,
    ReleaseReservation,
    ReservationPlaced,
    ReservationRejected,
    ReservationReleased,
    WantedLine,
)
from contracts.orders import (
    ClaimHoldPlaced,
    ClaimHoldRejected,
    ClaimHoldReleased,
    ClaimRefundDeclined,
    ClaimRefundSucceeded,
    ExecuteClaimRefund,
    PlaceClaimHold,
    ReleaseClaimHold,
)
from contracts.returns import (
    CheckClaimReturn,
    ClaimReturnChecked,
    ClaimReturnItem,
    ClaimReturnOpened,
    OpenClaimReturn,
)
from services.claims import conversion_saga, exchange_saga, fulfillment_saga
from services.claims.domain import EXCHANGE, Claim, Progress, RefundAlreadyMade, claimed_units
from services.claims.exchanges import SwapRefunded

# Medusa meets refusals in this order; with parallel steps the answer is chosen by it, not by
# arrival: the order itself, then variants and stock, then lines, units and amounts.
_ORDER_ITSELF = ("order_unknown", "order_canceled")
_BY_STEP = ("reserve", "hold")
# What Medusa's swaps ask of the order before anything else.
_ORDER_STATE = ("order_not_captured", "order_not_fulfilled")


def creation_facts(
    *,
    claim: Claim,
    order: dict[str, Any] | None,
    return_shipping: dict[str, Any] | None,
    location_id: str | None,
    shipping: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """What the steps of the creation need, JSON-able. ``order`` tells region, channel, currency;
    ``shipping`` are the ways to send an exchange's goods that its customer pays for."""
    more: dict[str, Any] = {}
    if claim.is_exchange:
        reasons = {item.line_id: item.reason for item in claim.items if item.reason}
        more = {"shipping": shipping or [], "reasons": reasons}
    return more | {
        "claim_id": claim.id,
        "order_id": claim.order_id,
        "type": claim.type,
        "units": [list(unit) for unit in claimed_units(items=claim.items)],
        "notes": {item.line_id: item.note for item in claim.items if item.note},
        "refund_amount": claim.refund_amount,
        "refund_to": claim.refund_to,
        "wanted": [[i.line_id, i.variant_id, i.quantity] for i in claim.additional_items],
        "order": order or {},
        "return_id": claim.return_id,
        "return_shipping": return_shipping,
        "location_id": location_id,
        "no_notification": claim.no_notification,
    }


def _plan(facts: Facts) -> tuple[tuple[str, ...], ...]:
    if facts["type"] == "replace":
        stages: tuple[tuple[str, ...], ...] = (("hold", "reserve"),)
    elif facts["type"] == EXCHANGE:
        stages = (("hold", "reserve"), ("settle",))
    elif facts["wanted"]:
        stages = (("hold", "reserve"), ("refund",))
    else:
        stages = (("hold", "refund"),)
    return (*stages, ("return",)) if facts["return_id"] else stages


def _refund_with_hold(facts: Facts) -> bool:
    return facts["type"] == "refund" and not facts["wanted"]


def _place_hold(facts: Facts) -> PlaceClaimHold:
    shipping = facts["return_shipping"]
    return PlaceClaimHold(
        claim_id=facts["claim_id"],
        order_id=facts["order_id"],
        type=facts["type"],
        lines=[LineQuantity(line_id=line, quantity=units) for line, units in facts["units"]],
        refund_amount=facts["refund_amount"],
        execute_refund=_refund_with_hold(facts),
        return_shipping=None if shipping is None else ReturnShipping(**shipping),
        # A claim that was opened before there was store credit does not say.
        refund_to=facts.get("refund_to", "payment"),
        shipping=[
            ReturnShipping(option_id=each["option_id"], price=each["price"])
            for each in facts.get("shipping") or ()
        ],
    )


def _place_reservation(facts: Facts) -> PlaceReservation:
    order = facts["order"]
    return PlaceReservation(
        remedy_id=facts["claim_id"],
        sales_channel_id=order.get("sales_channel_id"),
        region_id=order.get("region_id"),
        currency_code=order["currency_code"],
        lines=[
            WantedLine(line_id=line, variant_id=variant, quantity=units)
            for line, variant, units in facts["wanted"]
        ],
    )


def first_asks(facts: Facts) -> tuple[PlaceClaimHold, PlaceReservation | None]:
    """What the creation asks first."""
    return _place_hold(facts), _place_reservation(facts) if facts["wanted"] else None


def _open_return(facts: Facts) -> OpenClaimReturn:
    hold = facts["hold"]
    notes, reasons = facts["notes"], facts.get("reasons", {})
    quote = hold["return_shipping"]
    exchange = facts["type"] == EXCHANGE
    paid = facts["settle"]["refund_amount"] if exchange else facts.get("refund", hold)["amount"]
    return OpenClaimReturn(
        return_id=facts["return_id"],
        claim_id=facts["claim_id"],
        order_id=facts["order_id"],
        items=[
            ClaimReturnItem(
                line_id=line, quantity=units, note=notes.get(line), reason_id=reasons.get(line)
            )
            for line, units in facts["units"]
        ],
        lines=[LineSnapshot(**line) for line in hold["lines"]],
        refund_amount=paid,
        exchange=exchange,
        shipping=None if quote is None else ShippingQuote(**quote),
        location_id=facts["location_id"],
        no_notification=(
            hold["no_notification"]
            if facts["no_notification"] is None
            else facts["no_notification"]
        ),
    )


def _release_hold(facts: Facts) -> ReleaseClaimHold:
    # A creation that turns back is named by its claim, whose id its saga has.
    return ReleaseClaimHold(
        claim_id=facts["claim_id"],
        order_id=facts["order_id"],
        request_id=facts.get("request_id", facts["claim_id"]),
    )


def _release_reservation(facts: Facts) -> ReleaseReservation:
    return ReleaseReservation(remedy_id=facts.get("stock_id") or facts["claim_id"])


CREATION = SagaTable(
    kind="claim",
    plan=_plan,
    steps=(
        Step(
            name="hold",
            do=_place_hold,
            done=ClaimHoldPlaced,
            refused=ClaimHoldRejected,
            undo=_release_hold,
            undone=ClaimHoldReleased,
            stands=lambda reply: reply.pivot_passed,
        ),
        Step(
            name="reserve",
            do=_place_reservation,
            done=ReservationPlaced,
            refused=ReservationRejected,
            undo=_release_reservation,
            undone=ReservationReleased,
        ),
        Step(
            name="refund",
            do=lambda facts: (
                None
                if _refund_with_hold(facts)
                else ExecuteClaimRefund(claim_id=facts["claim_id"], order_id=facts["order_id"])
            ),
            asked_by="hold",
            brought=lambda hold: hold.refund.model_dump() if hold.refund else None,
            done=ClaimRefundSucceeded,
            refused=ClaimRefundDeclined,
            pivot=True,
        ),
        exchange_saga.SETTLE,
        Step(name="return", do=_open_return, done=ClaimReturnOpened, pivot=True),
    ),
)


def releases(*, claim: Claim) -> list[ReleaseClaimHold | ReleaseReservation]:
    """The commands that free all that a claim may hold."""
    facts = {"claim_id": claim.id, "order_id": claim.order_id, "stock_id": claim.stock_id}
    if not claim.additional_items:
        return [_release_hold(facts)]
    return [_release_hold(facts), _release_reservation(facts)]


def cancel_facts(*, claim: Claim, request_id: str) -> dict[str, Any]:
    """What the steps of a cancel need. ``request_id`` names the attempt."""
    return {
        "request_id": request_id,
        "claim_id": claim.id,
        "order_id": claim.order_id,
        "return_id": claim.return_id,
        "reserved": bool(claim.additional_items),
        "stock_id": claim.stock_id,
    }


def _cancel(*, kind: str, word: str, refunded: Refusal) -> SagaTable:
    """How a claim or an exchange is canceled; ``refunded`` is said where money went out."""

    def return_objects(reply: ClaimReturnChecked) -> dict[str, Any] | None:
        if reply.status in (None, "canceled"):
            return None
        return {
            "code": "return_not_canceled",
            "kind": "not_allowed",
            "message": f"Return must be canceled before the {word} can be canceled",
        }

    def refund_objects(reply: ClaimHoldReleased) -> dict[str, Any] | None:
        if not reply.pivot_passed:
            return None
        return {"code": refunded.code, "kind": refunded.kind, "message": refunded.message}

    return SagaTable(
        kind=kind,
        plan=lambda facts: (
            *((("check",),) if facts["return_id"] else ()),
            ("release",),
            *((("free",),) if facts["reserved"] else ()),
        ),
        steps=(
            Step(
                name="check",
                do=lambda facts: CheckClaimReturn(claim_id=facts["claim_id"]),
                done=ClaimReturnChecked,
                refuses=return_objects,
            ),
            Step(
                name="release",
                do=_release_hold,
                done=ClaimHoldReleased,
                refuses=refund_objects,
                pivot=True,
            ),
            Step(name="free", do=_release_reservation, done=ReservationReleased, pivot=True),
        ),
    )


CANCEL = _cancel(kind="claim_cancel", word="claim", refunded=RefundAlreadyMade())
EXCHANGE_CANCEL = _cancel(kind="exchange_cancel", word="swap", refunded=SwapRefunded())

SAGAS = {
    table.kind: table
    for table in (
        *(CREATION, CANCEL, EXCHANGE_CANCEL),
        *(*fulfillment_saga.TABLES, *conversion_saga.TABLES, *exchange_saga.TABLES),
    )
}


def progress(saga: Saga) -> Progress:
    """What the creation saga knows, in the claim's terms."""
    if _may_stand(saga):
        return Progress()
    if saga.direction in ("back", "undone"):
        return Progress(refusal=refusal_to_tell(saga))
    hold = saga.facts.get("hold", {})
    refund = saga.facts.get("refund")
    planned = {step for stage in saga.plan for step in stage}
    held = saga.did("hold") and ("reserve" not in planned or saga.did("reserve"))
    return Progress(
        held=held and saga.marks.get("hold") == "done" and "refused" not in saga.marks.values(),
        amount=hold.get("amount", 0),
        currency_code=hold.get("currency_code"),
        explanation=tuple(hold.get("explanation", ())),
        no_notification=hold.get("no_notification", False),
        refund_handled=held and ("refund" not in planned or refund is not None),
        refunded=bool(refund and refund["amount"]),
        declined=hold["amount"] - refund["amount"] if hold and refund else 0,
        finished=saga.direction == "finished",
    )


def _may_stand(saga: Saga) -> bool:
    """Given up, but the refund that rides on the hold may be out: orders has yet to say. A
    refusal told now would be kept under the client's key, and the money might go out all the same.
    """
    marks = saga.marks
    return (
        saga.direction == "back"
        and marks.get("hold") == "undoing"
        and marks.get("refund") in ("asked", "done")
    )


def refusal_to_tell(saga: Saga) -> dict[str, Any]:
    """Of all refusals the one that Medusa would have met first: {code, kind, message}.

    A deadline is told only if no rule said no.
    """

    def place(refused: tuple[str, dict[str, Any]]) -> tuple[bool, bool, int]:
        by, refusal = refused
        step = _BY_STEP.index(by) if by in _BY_STEP else len(_BY_STEP)
        first = refusal["code"] in (*_ORDER_ITSELF, *_ORDER_STATE)
        return not first, by == "timer", step

    _, chosen = min(saga.refusals.items(), key=place)
    return {name: chosen[name] for name in ("code", "kind", "message")}
