"""How goods that a claim sends out become lines of its order, and cease to be, under the order's
lock.

Such a line is there exactly while its goods are packed. What it is worth is its part of what was
paid for the units that were claimed; a line of an exchange is worth what it costs, because the
difference is settled.
"""

from __future__ import annotations

from datetime import datetime

from chassis import audit
from chassis.db import Row, Tx
from chassis.values import allocate
from contracts.orders import RecordReplacement, SentReplacement, WithdrawReplacement
from services.orders import remedies, store_exchanges, store_goods, store_units
from services.orders.paying import OpenOrder


async def record(tx: Tx, order: OpenOrder, command: RecordReplacement, now: datetime) -> None:
    """Put the packed lines of a claim among the lines of its order, once."""
    parcel = {
        "fulfillment_id": command.fulfillment_id,
        "claim_id": command.claim_id,
        "order_id": order.id,
        "state": "recorded",
        "created_at": now,
    }
    if not await store_goods.add_parcel(tx, row=parcel):
        return
    all_worth = await _worth(tx, command)
    worth = {line_id: all_worth[line_id] for line_id in all_worth if line_id in command.packed}
    rows = [
        _row(order, command, line, worth[line.line_id])
        for line in sorted(command.lines, key=lambda line: line.line_id)
        if line.line_id in worth
    ]
    await store_goods.add_replacement_lines(tx, order_id=order.id, rows=rows)
    _note(order, command.fulfillment_id, command.claim_id, "recorded", worth)


async def _worth(tx: Tx, command: RecordReplacement) -> dict[str, int]:
    """What each line is worth that goes out, packed now or not."""
    exchange = await store_exchanges.exchange(tx, exchange_id=command.claim_id)
    if exchange is not None:
        return {line["line_id"]: line["amount"] for line in exchange["lines"]}
    held = store_units.held_lines(
        rows=await store_units.remedy_lines_of(tx, remedy_id=command.claim_id)
    )
    paid = sum(line.share.amount for line in held.values())
    # All lines share in the same order, however many parcels there are.
    lines = sorted(command.lines, key=lambda line: line.line_id)
    weights = [line.unit_price * line.quantity for line in lines]
    if not any(weights):
        weights = [line.quantity for line in lines]
    shares = allocate(paid, weights)
    return {line.line_id: amount for line, amount in zip(lines, shares, strict=True)}


def _row(order: OpenOrder, command: RecordReplacement, line: SentReplacement, worth: int) -> Row:
    return {
        "id": line.line_id,
        "order_id": order.id,
        "claim_id": command.claim_id,
        "fulfillment_id": command.fulfillment_id,
        "worth": worth,
        "variant_id": line.variant_id,
        "title": line.title,
        "description": line.description,
        "unit_price": line.unit_price,
        "quantity": line.quantity,
        "fulfilled_quantity": line.quantity,
    }


async def ship(tx: Tx, order: OpenOrder, *, fulfillment_id: str, claim_id: str) -> None:
    """The goods of a fulfillment are on their way: from now on their units are worth a refund."""
    if await store_goods.ship_replacement(tx, fulfillment_id=fulfillment_id):
        _note(order, fulfillment_id, claim_id, "shipped", {})


async def withdraw(tx: Tx, order: OpenOrder, command: WithdrawReplacement, now: datetime) -> None:
    """Take the lines of a fulfillment out again; one that was never recorded leaves a tombstone.

    Raises NotAllowed when a unit of them has been claimed or has come back, and for this request
    ever after.
    """
    fulfillment_id, claim_id = command.fulfillment_id, command.claim_id
    tombstone = {
        "fulfillment_id": fulfillment_id,
        "claim_id": claim_id,
        "order_id": order.id,
        "state": "withdrawn",
        "created_at": now,
    }
    if await store_goods.add_parcel(tx, row=tombstone):
        return
    rejected = await store_goods.rejected_withdrawals(tx, fulfillment_id=fulfillment_id)
    if command.request_id in rejected:
        raise remedies.units_claimed()
    if await store_goods.replacement_units_in_use(tx, fulfillment_id=fulfillment_id):
        requests = [*rejected, command.request_id]
        await store_goods.reject_withdrawal(tx, fulfillment_id=fulfillment_id, requests=requests)
        raise remedies.units_claimed()
    if await store_goods.withdraw_replacement(tx, fulfillment_id=fulfillment_id):
        _note(order, fulfillment_id, claim_id, "withdrawn", {})


def _note(
    order: OpenOrder, fulfillment_id: str, claim_id: str, what: str, worth: dict[str, int]
) -> None:
    after: Row = {"order_id": order.id, "claim_id": claim_id, "state": what}
    if worth:
        after["worth"] = worth
    about = f"fulfillment/{fulfillment_id}"
    order.records.append(audit.Entry(f"replacement.{what}", about, None, after))
