"""The sagas of an order as tables. Pure.

fulfillment          do                        undo                      replies
consume              ConsumeFulfillmentStock   RestoreFulfillmentStock   ...Consumed | ...Rejected

fulfillment_cancel
restore (pivot)      RestoreFulfillmentStock   -                         FulfillmentStockRestored

order_cancel
release (pivot)      ReleaseOrderReservation   -                         OrderReservationReleased

A fulfillment without a location takes nothing out of stock and needs no saga; unpacking it neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chassis.sagas import Facts, SagaTable, Step
from contracts.inventory import (
    ConsumeFulfillmentStock,
    FulfillmentStockConsumed,
    FulfillmentStockRejected,
    FulfillmentStockRestored,
    OrderReservationReleased,
    ReleaseOrderReservation,
    RestoreFulfillmentStock,
    SentLine,
)


def fulfillment_facts(
    *,
    fulfillment_id: str,
    order_id: str,
    location_id: str | None,
    lines: Iterable[tuple[str, str | None, str, int]],
) -> dict[str, Any]:
    """What the steps need, JSON-able; ``lines`` are (line id, variant id, title, units)."""
    return {
        "fulfillment_id": fulfillment_id,
        "order_id": order_id,
        "location_id": location_id,
        "lines": [list(line) for line in lines],
    }


def _consume(facts: Facts) -> ConsumeFulfillmentStock:
    return ConsumeFulfillmentStock(
        fulfillment_id=facts["fulfillment_id"],
        order_id=facts["order_id"],
        location_id=facts["location_id"],
        lines=[
            SentLine(line_no=number, line_id=line, variant_id=variant, title=title, quantity=units)
            for number, (line, variant, title, units) in enumerate(facts["lines"], 1)
        ],
    )


def restore_command(*, facts: Facts) -> RestoreFulfillmentStock:
    """What puts the goods of a fulfillment back."""
    return RestoreFulfillmentStock(
        fulfillment_id=facts["fulfillment_id"], order_id=facts["order_id"]
    )


def _restore(facts: Facts) -> RestoreFulfillmentStock:
    return restore_command(facts=facts)


FULFILLMENT = SagaTable(
    kind="fulfillment",
    plan=lambda facts: (("consume",),),
    steps=(
        Step(
            name="consume",
            do=_consume,
            done=FulfillmentStockConsumed,
            refused=FulfillmentStockRejected,
            undo=_restore,
            undone=FulfillmentStockRestored,
        ),
    ),
)

FULFILLMENT_CANCEL = SagaTable(
    kind="fulfillment_cancel",
    plan=lambda facts: (("restore",),),
    steps=(Step(name="restore", do=_restore, done=FulfillmentStockRestored, pivot=True),),
)


def release_command(*, order_id: str, line_ids: Iterable[str]) -> ReleaseOrderReservation:
    """What frees the reservations of a canceled order."""
    return ReleaseOrderReservation(order_id=order_id, line_ids=sorted(line_ids))


ORDER_CANCEL = SagaTable(
    kind="order_cancel",
    plan=lambda facts: (("release",),),
    steps=(
        Step(
            name="release",
            do=lambda facts: release_command(
                order_id=facts["order_id"], line_ids=facts["line_ids"]
            ),
            done=OrderReservationReleased,
            pivot=True,
        ),
    ),
)

SAGAS = {table.kind: table for table in (FULFILLMENT, FULFILLMENT_CANCEL, ORDER_CANCEL)}
