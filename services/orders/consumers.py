"""The message door of orders: what claims and returns ask of it, what inventory answers it."""

from __future__ import annotations

from chassis import clock
from chassis.db import Tx
from chassis.messaging import Subscription
from contracts.base import Event
from contracts.inventory import (
    FulfillmentStockConsumed,
    FulfillmentStockRejected,
    FulfillmentStockRestored,
    OrderReservationReleased,
)
from contracts.orders import (
    CheckReturnReceipt,
    ExecuteClaimRefund,
    PlaceClaimHold,
    PlaceReturnHold,
    ProcessExchange,
    RecordReplacement,
    ReleaseClaimHold,
    ReleaseReturnHold,
    RetryClaimRefund,
    SettleExchange,
    SettleReturnReceipt,
    ShipReplacement,
    WithdrawReplacement,
)
from services.orders import operations, operations_claims, operations_returns


async def on_place_claim_hold(tx: Tx, message: PlaceClaimHold) -> None:
    """Answers placed (and, if asked, the refund's outcome), or rejected."""
    await operations_claims.place_claim_hold(tx, command=message, now=clock.now())


async def on_release_claim_hold(tx: Tx, message: ReleaseClaimHold) -> None:
    """Answers released, in whatever state the claim is."""
    await operations_claims.release_claim_hold(tx, command=message, now=clock.now())


async def on_execute_claim_refund(tx: Tx, message: ExecuteClaimRefund) -> None:
    """Answers succeeded or declined, as soon as that is known."""
    await operations_claims.execute_claim_refund(tx, command=message, now=clock.now())


async def on_retry_claim_refund(tx: Tx, message: RetryClaimRefund) -> None:
    """Answers succeeded or declined, as soon as that is known; the claim keeps its units."""
    await operations_claims.retry_claim_refund(tx, command=message, now=clock.now())


async def on_settle_exchange(tx: Tx, message: SettleExchange) -> None:
    """Answers settled, as soon as the money is decided, or rejected."""
    await operations_claims.settle_exchange(tx, command=message, now=clock.now())


async def on_process_exchange(tx: Tx, message: ProcessExchange) -> None:
    """Answers settled, as soon as the money is decided, or rejected."""
    await operations_claims.process_exchange(tx, command=message, now=clock.now())


async def on_place_return_hold(tx: Tx, message: PlaceReturnHold) -> None:
    """Answers placed or rejected."""
    await operations_returns.place_return_hold(tx, command=message, now=clock.now())


async def on_release_return_hold(tx: Tx, message: ReleaseReturnHold) -> None:
    """Answers released."""
    await operations_returns.release_return_hold(tx, command=message, now=clock.now())


async def on_check_return_receipt(tx: Tx, message: CheckReturnReceipt) -> None:
    """Answers checked or rejected."""
    await operations_returns.check_return_receipt(tx, command=message)


async def on_settle_return_receipt(tx: Tx, message: SettleReturnReceipt) -> None:
    """Answers settled, as soon as the money is decided."""
    await operations_returns.settle_return_receipt(tx, command=message, now=clock.now())


async def on_record_replacement(tx: Tx, message: RecordReplacement) -> None:
    """Answers recorded: goods that were packed are a fact."""
    await operations_claims.record_replacement(tx, command=message, now=clock.now())


async def on_ship_replacement(tx: Tx, message: ShipReplacement) -> None:
    """Answers shipped."""
    await operations_claims.ship_replacement(tx, command=message, now=clock.now())


async def on_withdraw_replacement(tx: Tx, message: WithdrawReplacement) -> None:
    """Answers withdrawn, or rejected where units have a remedy."""
    await operations_claims.withdraw_replacement(tx, command=message, now=clock.now())


async def on_reply(tx: Tx, message: Event) -> None:
    """Which step it answers, and whether it still counts, the saga knows."""
    await operations.continue_saga(tx, reply=message, now=clock.now())


SUBSCRIPTIONS = (
    Subscription(
        queue="orders.commands.v1",
        handlers={
            PlaceClaimHold: on_place_claim_hold,
            ReleaseClaimHold: on_release_claim_hold,
            ExecuteClaimRefund: on_execute_claim_refund,
            RetryClaimRefund: on_retry_claim_refund,
            SettleExchange: on_settle_exchange,
            ProcessExchange: on_process_exchange,
            PlaceReturnHold: on_place_return_hold,
            ReleaseReturnHold: on_release_return_hold,
            CheckReturnReceipt: on_check_return_receipt,
            SettleReturnReceipt: on_settle_return_receipt,
            RecordReplacement: on_record_replacement,
            ShipReplacement: on_ship_replacement,
            WithdrawReplacement: on_withdraw_replacement,
        },
    ),
    Subscription(
        queue="orders.saga.v1",
        handlers={
            FulfillmentStockConsumed: on_reply,
            FulfillmentStockRejected: on_reply,
            FulfillmentStockRestored: on_reply,
            OrderReservationReleased: on_reply,
        },
    ),
)
