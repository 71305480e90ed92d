"""The message door of returns: one function per message, one call inwards each."""

from __future__ import annotations

from chassis import clock
from chassis.db import Tx
from chassis.messaging import Subscription
from contracts.inventory import ReceiptStockReceived, ReceiptStockRejected
from contracts.orders import (
    ReturnHoldPlaced,
    ReturnHoldRejected,
    ReturnHoldReleased,
    ReturnReceiptChecked,
    ReturnReceiptRejected,
    ReturnReceiptSettled,
)
from contracts.returns import CheckClaimReturn, OpenClaimReturn
from services.returns import operations


async def on_open_claim_return(tx: Tx, message: OpenClaimReturn) -> None:
    """Claims lets the goods of a claim come back."""
    await operations.open_claim_return(tx, command=message, now=clock.now())


async def on_check_claim_return(tx: Tx, message: CheckClaimReturn) -> None:
    """Claims wants to cancel a claim and asks how its return stands."""
    await operations.check_claim_return(tx, command=message)


async def on_return_hold_placed(tx: Tx, message: ReturnHoldPlaced) -> None:
    """Orders holds the units of a requested return."""
    await operations.continue_request(tx, reply=message, now=clock.now())


async def on_return_hold_rejected(tx: Tx, message: ReturnHoldRejected) -> None:
    """Orders refuses to hold them."""
    await operations.refuse_request(tx, reply=message, now=clock.now())


async def on_return_hold_released(tx: Tx, message: ReturnHoldReleased) -> None:
    """Orders holds nothing of a return any more."""
    await operations.continue_release(tx, reply=message, now=clock.now())


async def on_return_receipt_checked(tx: Tx, message: ReturnReceiptChecked) -> None:
    """Orders knows what was not announced."""
    await operations.continue_receipt(tx, reply=message, now=clock.now())


async def on_return_receipt_rejected(tx: Tx, message: ReturnReceiptRejected) -> None:
    """What was not announced cannot be of the order."""
    await operations.refuse_receipt(tx, reply=message, now=clock.now())


async def on_receipt_stock_received(tx: Tx, message: ReceiptStockReceived) -> None:
    """Inventory booked what came."""
    await operations.continue_receipt(tx, reply=message, now=clock.now())


async def on_receipt_stock_rejected(tx: Tx, message: ReceiptStockRejected) -> None:
    """Inventory cannot book it at that location."""
    await operations.refuse_receipt(tx, reply=message, now=clock.now())


async def on_return_receipt_settled(tx: Tx, message: ReturnReceiptSettled) -> None:
    """Orders booked units and money of a receipt."""
    await operations.settle_receipt(tx, reply=message, now=clock.now())


SUBSCRIPTIONS = (
    Subscription(
        queue="returns.commands.v1",
        handlers={
            OpenClaimReturn: on_open_claim_return,
            CheckClaimReturn: on_check_claim_return,
        },
    ),
    Subscription(
        queue="returns.saga.v1",
        handlers={
            ReturnHoldPlaced: on_return_hold_placed,
            ReturnHoldRejected: on_return_hold_rejected,
            ReturnHoldReleased: on_return_hold_released,
            ReturnReceiptChecked: on_return_receipt_checked,
            ReturnReceiptRejected: on_return_receipt_rejected,
            ReceiptStockReceived: on_receipt_stock_received,
            ReceiptStockRejected: on_receipt_stock_rejected,
            ReturnReceiptSettled: on_return_receipt_settled,
        },
    ),
)
