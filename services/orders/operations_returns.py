"""What returns ask of an order: units held, what came back checked, its money settled.

Answers are remembered as in ``operations_claims``.
"""

from __future__ import annotations

from datetime import datetime

from chassis.db import Tx
from chassis.errors import Refusal
from chassis.outbox import put
from contracts.base import ShippingQuote
from contracts.orders import (
    CheckReturnReceipt,
    PlaceReturnHold,
    ReleaseReturnHold,
    ReturnHoldPlaced,
    ReturnHoldRejected,
    ReturnHoldReleased,
    ReturnReceiptSettled,
    SettleReturnReceipt,
)
from services.orders import (
    domain,
    holding,
    paying,
    receiving,
    remedies,
    store_units,
)
from services.orders.paying import OpenOrder
from services.orders.remedies import Hold, Line


async def place_return_hold(tx: Tx, *, command: PlaceReturnHold, now: datetime) -> None:
    """Hold the units of a return, and say what its refund will be. Holds no money.

    Answers ReturnHoldPlaced, or ReturnHoldRejected with nothing held.
    """
    about = f"return/{command.return_id}"
    try:
        order = await paying.known_order(tx, command.order_id)
        quote, cost, hold, lines = await _decide_return(tx, order, command)
    except Refusal as no:
        if await holding.remember_refusal(
            tx, "return", command.return_id, command.order_id, no, now
        ):
            await put(tx, _return_rejected(command.return_id, no), about=about)
        else:
            await _repeat_return_hold(tx, command)
        return
    placed = ReturnHoldPlaced(
        return_id=command.return_id,
        order_id=order.id,
        currency_code=order.row["currency_code"],
        amount=hold.amount,
        explanation=holding.explained(hold.explanation),
        lines=holding.snapshots(lines, hold.shares),
        return_shipping=quote,
        no_notification=order.no_notification,
        refund_to=command.refund_to,
    )
    if not await holding.add_remedy(
        tx,
        "return",
        command.return_id,
        order,
        hold,
        placed,
        "held",
        now,
        given_amount=None if command.refund is None else max(0, command.refund),
        shipping_cost=cost,
    ):
        await _repeat_return_hold(tx, command)
        return
    await holding.hold_units(tx, lines, hold, limit="quantity")
    await put(tx, placed, about=about)
    await paying.close_order(tx, order, now)


async def _decide_return(
    tx: Tx, order: OpenOrder, command: PlaceReturnHold
) -> tuple[ShippingQuote | None, int, Hold, dict[str, Line]]:
    quantities = holding.quantities_of(command.lines)
    lines = await holding.lines_of(tx, order, quantities)
    missing = quantities.keys() - lines.keys()
    foreign = await store_units.lines_elsewhere(tx, line_ids=missing) if missing else []
    remedies.check_return(
        order_status=order.row["status"], lines=lines, foreign=foreign, quantities=quantities
    )
    customer_id = order.row["customer_id"]
    domain.check_destination(refund_to=command.refund_to, customer_id=customer_id)
    quote, cost = await holding.quote_of(tx, order, command.return_shipping)
    hold = remedies.decide_return(
        lines=lines,
        quantities=quantities,
        refund=command.refund,
        shipping_cost=cost,
        money=order.money,
    )
    return quote, cost, hold, lines


def _return_rejected(return_id: str, no: Refusal) -> ReturnHoldRejected:
    return ReturnHoldRejected(return_id=return_id, code=no.code, kind=no.kind, message=no.message)


async def _repeat_return_hold(tx: Tx, command: PlaceReturnHold) -> None:
    remedy = await holding.known_remedy(tx, command.return_id)
    about = f"return/{command.return_id}"
    if remedy["refusal"] is not None:
        no = ReturnHoldRejected(return_id=command.return_id, **remedy["refusal"])
        await put(tx, no, about=about)
    elif remedy["answer"] is None or remedy["state"] == "released":
        await put(tx, _return_rejected(command.return_id, remedies.superseded()), about=about)
    else:
        await put(tx, ReturnHoldPlaced(**remedy["answer"]), about=about)


async def release_return_hold(tx: Tx, *, command: ReleaseReturnHold, now: datetime) -> None:
    """Give back the units of a return that have not come. Answers ReturnHoldReleased."""
    order = await paying.open_order(tx, command.order_id)
    remedy = await holding.remedy_or_tombstone(
        tx, "return", command.return_id, command.order_id, now
    )
    if order is not None and remedy is not None and remedy["state"] != "released":
        await holding.release_units(tx, order, "return", command.return_id, now)
        await paying.close_order(tx, order, now)
    released = ReturnHoldReleased(return_id=command.return_id)
    await put(tx, released, about=f"return/{command.return_id}")


# ---------------------------------------------------------------------------------- receipts


async def check_return_receipt(tx: Tx, *, command: CheckReturnReceipt) -> None:
    """Say whether units that nobody announced can be of the order. Nothing is held: what follows is
    their booking, which never refuses. Answers ReturnReceiptChecked or ReturnReceiptRejected."""
    await put(tx, await receiving.check(tx, command), about=f"return/{command.return_id}")


async def settle_return_receipt(tx: Tx, *, command: SettleReturnReceipt, now: datetime) -> None:
    """Book goods that arrived, and refund them. Never refuses: goods are a fact.

    Answers ReturnReceiptSettled, with ``action_required`` where the money did not go out.
    """
    order = await paying.open_order(tx, command.order_id)
    known = await store_units.receipt(tx, receipt_id=command.receipt_id)
    about = f"return/{command.return_id}"
    if known is not None:
        if known["state"] == "settled":
            await put(tx, ReturnReceiptSettled(**known["answer"]), about=about)
        return
    if order is None:
        no = domain.order_unknown(order_id=command.order_id)
        answer = receiving.answer_of(command, why=(no.code, no.message))
        await put(tx, answer, about=about)
        return
    await receiving.settle(tx, order, command, now)
    await paying.close_order(tx, order, now)
