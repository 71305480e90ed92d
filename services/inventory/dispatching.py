"""Goods that leave with a fulfillment of an order and, if it is canceled, come back.

Each command is idempotent by its business id as well: the answer is stored with the fulfillment,
and putting back what was never taken leaves a tombstone, so that a late taking is refused.
"""

from __future__ import annotations

from datetime import datetime

from chassis import audit, outbox
from chassis.db import Transient, Tx
from chassis.errors import Refusal
from contracts.inventory import (
    ConsumeFulfillmentStock,
    FulfillmentStockConsumed,
    FulfillmentStockRejected,
    FulfillmentStockRestored,
    OrderReservationReleased,
    ReleaseOrderReservation,
    RestoreFulfillmentStock,
)
from services.inventory import picking, store, store_fulfillments, store_reservations
from services.inventory.domain import Record
from services.inventory.picking import Held, Picked, Sent

_Answer = FulfillmentStockConsumed | FulfillmentStockRejected


async def consume(tx: Tx, command: ConsumeFulfillmentStock, now: datetime) -> None:
    """Take the goods of a fulfillment out of stock, all or nothing; answers consumed or rejected.

    A repeat is answered as the first time, one that was put back already with ``superseded``.
    """
    id_ = command.fulfillment_id
    use = await store_fulfillments.stock_use(tx, id_)
    if use is not None:
        await outbox.put(tx, _repeated(command, use), about=f"fulfillment/{id_}")
        return
    reply: _Answer
    picked = Picked((), ())
    try:
        picked = await _decide(tx, command)
        reply = FulfillmentStockConsumed(fulfillment_id=id_, order_id=command.order_id)
    except Refusal as no:
        reply = _rejected(command, no)
    # A rejected fulfillment has nothing out of stock, which is what "restored" says.
    first = await store_fulfillments.add_stock_use(
        tx,
        fulfillment_id=id_,
        order_id=command.order_id,
        state="consumed" if isinstance(reply, FulfillmentStockConsumed) else "restored",
        reply=reply.model_dump(mode="json"),
        now=now,
    )
    if not first:
        raise Transient(f"{id_} was taken or put back at the same moment")
    # Reservations first: what is reserved may never be more than what is on hand.
    await store_fulfillments.use_reservations(tx, picked.takes, fulfillment_id=id_, now=now)
    moves = picked.movements
    await store.move_stock(tx, moves, cause_kind="fulfillment", cause_id=id_, now=now)
    await outbox.put(tx, reply, about=f"fulfillment/{id_}")
    refused = isinstance(reply, FulfillmentStockRejected)
    await audit.record(
        tx,
        action="stock.sending_refused" if refused else "stock.sent",
        about=f"fulfillment/{id_}",
        after={
            "order_id": command.order_id,
            "moves": [[move.item_id, move.location_id, move.quantity] for move in moves],
            "reservations": [list(take) for take in picked.takes],
        },
        note=reply.message if isinstance(reply, FulfillmentStockRejected) else None,
    )


async def _decide(tx: Tx, command: ConsumeFulfillmentStock) -> Picked:
    named = {line.variant_id for line in command.lines} - {None}
    variants = await store.variants_by_id(tx, (each for each in named if each is not None))
    items = {variant.id: variant.counted_item for variant in variants.values()}
    lines = [
        Sent(
            line_no=line.line_no,
            line_id=line.line_id,
            title=line.title,
            quantity=line.quantity,
            item_id=items.get(line.variant_id) if line.variant_id is not None else None,
        )
        for line in command.lines
    ]
    counted = [line for line in lines if line.item_id is not None]
    if not counted:
        return Picked((), ())
    levels, _ = await store.lock_levels(tx, (line.item_id or "" for line in counted))
    held = await store_fulfillments.held_for_lines(tx, (line.line_id for line in counted))
    return picking.pick(
        lines,
        location_id=command.location_id,
        levels=levels,
        held=[
            Held(row["id"], row["line_id"], row["item_id"], row["location_id"], row["quantity"])
            for row in held
        ],
    )


def _rejected(command: ConsumeFulfillmentStock, no: Refusal) -> FulfillmentStockRejected:
    return FulfillmentStockRejected(
        fulfillment_id=command.fulfillment_id,
        order_id=command.order_id,
        code=no.code,
        kind=no.kind,
        message=no.message,
    )


def _repeated(command: ConsumeFulfillmentStock, use: Record) -> _Answer:
    stored = use["reply"]
    if stored is not None and "code" in stored:
        return FulfillmentStockRejected.model_validate(stored)
    if stored is not None and use["state"] == "consumed":
        return FulfillmentStockConsumed.model_validate(stored)
    return _rejected(command, picking.superseded(fulfillment_id=command.fulfillment_id))


async def restore(tx: Tx, command: RestoreFulfillmentStock, now: datetime) -> None:
    """Put the goods of a fulfillment back, and hold again what it had used of reservations.

    Works in any state, and answers restored. What has no level any more gets nothing back.
    """
    id_ = command.fulfillment_id
    unknown = await store_fulfillments.add_stock_use(
        tx, fulfillment_id=id_, order_id=command.order_id, state="restored", reply=None, now=now
    )
    if not unknown:
        use = await store_fulfillments.stock_use(tx, id_, lock=True)
        if use is not None and use["state"] == "consumed":
            await _put_back(tx, command, now)
    answer = FulfillmentStockRestored(fulfillment_id=id_, order_id=command.order_id)
    await outbox.put(tx, answer, about=f"fulfillment/{id_}")


async def _put_back(tx: Tx, command: RestoreFulfillmentStock, now: datetime) -> None:
    id_ = command.fulfillment_id
    locked = await store_fulfillments.lock_levels_of_use(tx, id_)
    levels = {(level.item_id, level.location_id): level for level in locked}
    taken = await store_fulfillments.moved_by(tx, cause_kind="fulfillment", cause_id=id_)
    moves = picking.given_back(taken, levels=levels)
    await store.move_stock(tx, moves, cause_kind="restoration", cause_id=id_, now=now)
    await store_fulfillments.hold_again(tx, id_, levels=levels, now=now)
    await store_fulfillments.mark_use_restored(tx, id_, now=now)
    await audit.record(
        tx,
        action="stock.put_back",
        about=f"fulfillment/{id_}",
        before={"state": "consumed"},
        after={
            "state": "restored",
            "order_id": command.order_id,
            "moves": [[move.item_id, move.location_id, move.quantity] for move in moves],
        },
        note=None if len(moves) == len(taken) else "some goods have no level any more",
    )


async def release_order(tx: Tx, command: ReleaseOrderReservation, now: datetime) -> None:
    """Free what is reserved for the lines of a canceled order; answers released."""
    for line_id in sorted(set(command.line_ids)):
        # Nobody promises anything to the line meanwhile; who comes later sees that it is over.
        await store_reservations.lock_line(tx, line_id)
    await store_fulfillments.remember_lines(
        tx, order_id=command.order_id, line_ids=command.line_ids, now=now
    )
    units = await store_fulfillments.release_lines(tx, command.line_ids, now=now)
    if units:
        await audit.record(
            tx, action="stock.released", about=f"order/{command.order_id}", after={"units": units}
        )
    answer = OrderReservationReleased(order_id=command.order_id)
    await outbox.put(tx, answer, about=f"order/{command.order_id}")
