"""The message door of inventory: one function per command, one call inwards each."""

from __future__ import annotations

from chassis import clock
from chassis.db import Tx
from chassis.messaging import Subscription
from contracts.inventory import (
    ConsumeFulfillmentStock,
    PlaceReservation,
    ReceiveReceiptStock,
    ReleaseOrderReservation,
    ReleaseReservation,
    RestoreFulfillmentStock,
)
from services.inventory import operations


async def on_place_reservation(tx: Tx, message: PlaceReservation) -> None:
    """Claims wants replacement units reserved."""
    await operations.place_reservation(tx, command=message, now=clock.now())


async def on_release_reservation(tx: Tx, message: ReleaseReservation) -> None:
    """Claims no longer needs them."""
    await operations.release_reservation(tx, command=message, now=clock.now())


async def on_receive_receipt_stock(tx: Tx, message: ReceiveReceiptStock) -> None:
    """Returns has goods that may be sold again."""
    await operations.receive_receipt_stock(tx, command=message, now=clock.now())


async def on_consume_fulfillment_stock(tx: Tx, message: ConsumeFulfillmentStock) -> None:
    """Orders has packed goods."""
    await operations.consume_fulfillment_stock(tx, command=message, now=clock.now())


async def on_restore_fulfillment_stock(tx: Tx, message: RestoreFulfillmentStock) -> None:
    """Orders has unpacked them."""
    await operations.restore_fulfillment_stock(tx, command=message, now=clock.now())


async def on_release_order_reservation(tx: Tx, message: ReleaseOrderReservation) -> None:
    """An order was canceled."""
    await operations.release_order_reservation(tx, command=message, now=clock.now())


SUBSCRIPTIONS = (
    Subscription(
        queue="inventory.commands.v1",
        handlers={
            PlaceReservation: on_place_reservation,
            ReleaseReservation: on_release_reservation,
            ReceiveReceiptStock: on_receive_receipt_stock,
            ConsumeFulfillmentStock: on_consume_fulfillment_stock,
            RestoreFulfillmentStock: on_restore_fulfillment_stock,
            ReleaseOrderReservation: on_release_order_reservation,
        },
    ),
)
