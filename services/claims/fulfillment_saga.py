"""The sagas of the goods that a claim sends out, as tables. Pure.

claim_fulfillment
step              do                        undo                      replies
consume           ConsumeFulfillmentStock   RestoreFulfillmentStock   ...Consumed | ...Rejected
record (pivot)    RecordReplacement         -                         ReplacementRecorded

claim_fulfillment_cancel
withdraw (pivot)  WithdrawReplacement       -                         ...Withdrawn | ...Rejected
restore (pivot)   RestoreFulfillmentStock   -                         FulfillmentStockRestored

claim_shipment
ship (pivot)      ShipReplacement           -                         ReplacementShipped

Goods that are not counted take nothing out of stock: then only orders is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from chassis.sagas import Facts, SagaTable, Step
from contracts.inventory import (
    ConsumeFulfillmentStock,
    FulfillmentStockConsumed,
    FulfillmentStockRejected,
    FulfillmentStockRestored,
    RestoreFulfillmentStock,
    SentLine,
)
from contracts.orders import (
    RecordReplacement,
    ReplacementRecorded,
    ReplacementShipped,
    ReplacementWithdrawalRejected,
    ReplacementWithdrawn,
    SentReplacement,
    ShipReplacement,
    WithdrawReplacement,
)
from services.claims.domain import AdditionalItem, Claim
from services.claims.fulfillments import Fulfillment


def packing_facts(*, claim: Claim, fulfillment: Fulfillment) -> dict[str, Any]:
    """What the steps of packing need, JSON-able."""
    return parcel_facts(claim=claim, fulfillment=fulfillment) | {
        "location_id": fulfillment.location_id,
        "lines": [_line(item) for item in claim.additional_items],
        "packed": list(fulfillment.line_ids),
    }


def parcel_facts(*, claim: Claim, fulfillment: Fulfillment, request_id: str = "") -> dict[str, Any]:
    """What unpacking and sending need, JSON-able. ``request_id`` names the attempt to unpack."""
    return {
        "request_id": request_id,
        "fulfillment_id": fulfillment.id,
        "claim_id": claim.id,
        "order_id": claim.order_id,
        "uses_stock": fulfillment.uses_stock,
    }


def _line(item: AdditionalItem) -> dict[str, Any]:
    return {
        "line_id": item.line_id,
        "variant_id": item.variant_id,
        "title": item.title or item.variant_id,
        "description": item.description,
        "unit_price": item.unit_price or 0,
        "quantity": item.quantity,
    }


def _packed(facts: Facts, packed: Collection[str]) -> Iterable[dict[str, Any]]:
    return (line for line in facts["lines"] if line["line_id"] in packed)


def _consume(facts: Facts) -> ConsumeFulfillmentStock:
    return ConsumeFulfillmentStock(
        fulfillment_id=facts["fulfillment_id"],
        order_id=facts["order_id"],
        location_id=facts["location_id"],
        lines=[
            SentLine(
                line_no=number,
                line_id=line["line_id"],
                variant_id=line["variant_id"],
                title=line["title"],
                quantity=line["quantity"],
            )
            for number, line in enumerate(_packed(facts, facts["packed"]), 1)
        ],
    )


def _restore(facts: Facts) -> RestoreFulfillmentStock:
    return RestoreFulfillmentStock(
        fulfillment_id=facts["fulfillment_id"], order_id=facts["order_id"]
    )


def _parcel(facts: Facts) -> dict[str, Any]:
    return {name: facts[name] for name in ("fulfillment_id", "claim_id", "order_id")}


def _withdraw(facts: Facts) -> WithdrawReplacement:
    return WithdrawReplacement(**_parcel(facts), request_id=facts["request_id"])


def releases(*, facts: Facts) -> list[WithdrawReplacement | RestoreFulfillmentStock]:
    """The commands that free all that a dead fulfillment may have."""
    return [_withdraw(facts), _restore(facts)]


def _record(facts: Facts) -> RecordReplacement:
    return RecordReplacement(
        **_parcel(facts),
        lines=[SentReplacement(**line) for line in facts["lines"]],
        packed=facts["packed"],
    )


FULFILLMENT = SagaTable(
    kind="claim_fulfillment",
    plan=lambda facts: ((("consume",),) if facts["uses_stock"] else ()) + (("record",),),
    steps=(
        Step(
            name="consume",
            do=_consume,
            done=FulfillmentStockConsumed,
            refused=FulfillmentStockRejected,
            undo=_restore,
            undone=FulfillmentStockRestored,
        ),
        Step(name="record", do=_record, done=ReplacementRecorded, pivot=True),
    ),
)

FULFILLMENT_CANCEL = SagaTable(
    kind="claim_fulfillment_cancel",
    plan=lambda facts: (("withdraw",),) + ((("restore",),) if facts["uses_stock"] else ()),
    steps=(
        # A pivot although it may be refused: once asked, only orders knows whether it is done.
        Step(
            name="withdraw",
            do=_withdraw,
            done=ReplacementWithdrawn,
            refused=ReplacementWithdrawalRejected,
            pivot=True,
        ),
        Step(name="restore", do=_restore, done=FulfillmentStockRestored, pivot=True),
    ),
)

SHIPMENT = SagaTable(
    kind="claim_shipment",
    plan=lambda facts: (("ship",),),
    steps=(
        Step(
            name="ship",
            do=lambda facts: ShipReplacement(**_parcel(facts)),
            done=ReplacementShipped,
            pivot=True,
        ),
    ),
)

TABLES = (FULFILLMENT, FULFILLMENT_CANCEL, SHIPMENT)
