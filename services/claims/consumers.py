"""The message door of claims: every reply continues the saga that asked."""

from __future__ import annotations

from chassis import clock
from chassis.db import Tx
from chassis.messaging import Subscription
from contracts.base import Event
from contracts.inventory import (
    FulfillmentStockConsumed,
    FulfillmentStockRejected,
    FulfillmentStockRestored,
    ReservationPlaced,
    ReservationRejected,
    ReservationReleased,
)
from contracts.orders import (
    ClaimHoldPlaced,
    ClaimHoldRejected,
    ClaimHoldReleased,
    ClaimRefundDeclined,
    ClaimRefundSucceeded,
    ExchangeRejected,
    ExchangeSettled,
    ReplacementRecorded,
    ReplacementShipped,
    ReplacementWithdrawalRejected,
    ReplacementWithdrawn,
)
from contracts.returns import (
    ClaimReturnChecked,
    ClaimReturnMoved,
    ClaimReturnOpened,
)
from services.claims import operations


async def on_reply(tx: Tx, message: Event) -> None:
    """Which step it answers, and whether it still counts, the saga knows."""
    await operations.continue_claim(tx, reply=message, now=clock.now())


async def on_return_moved(tx: Tx, message: ClaimReturnMoved) -> None:
    """A claim shows what became of its return."""
    await operations.return_moved(
        tx, claim_id=message.claim_id, status=message.status, now=clock.now()
    )


SUBSCRIPTIONS = (
    Subscription(
        queue="claims.saga.v1",
        handlers={
            ClaimHoldPlaced: on_reply,
            ClaimHoldRejected: on_reply,
            ClaimHoldReleased: on_reply,
            ClaimRefundSucceeded: on_reply,
            ClaimRefundDeclined: on_reply,
            ExchangeSettled: on_reply,
            ExchangeRejected: on_reply,
            ReservationPlaced: on_reply,
            ReservationRejected: on_reply,
            ReservationReleased: on_reply,
            FulfillmentStockConsumed: on_reply,
            FulfillmentStockRejected: on_reply,
            FulfillmentStockRestored: on_reply,
            ReplacementRecorded: on_reply,
            ReplacementShipped: on_reply,
            ReplacementWithdrawn: on_reply,
            ReplacementWithdrawalRejected: on_reply,
            ClaimReturnOpened: on_reply,
            ClaimReturnChecked: on_reply,
            ClaimReturnMoved: on_return_moved,
        },
    ),
)
