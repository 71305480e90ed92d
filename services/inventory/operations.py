"""What can be done to stock: each function is one decision inside the caller's transaction.

Commands are idempotent by their business id as well (remedy, receipt): the answer is stored with
it, and a repeat gets the same answer and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chassis import audit, outbox
from chassis.db import Transient, Tx
from chassis.errors import Refusal
from chassis.idempotency import Caller
from chassis.values import derived_id
from contracts.base import ReplacementLine
from contracts.inventory import (
    ConsumeFulfillmentStock,
    PlaceReservation,
    ReceiptStockReceived,
    ReceiptStockRejected,
    ReceiveReceiptStock,
    ReleaseOrderReservation,
    ReleaseReservation,
    ReservationPlaced,
    ReservationRejected,
    ReservationReleased,
    RestoreFulfillmentStock,
)
from services.inventory import (
    dispatching,
    domain,
    promising,
    store,
    store_reservations,
)
from services.inventory.reservations import Reservation

# Commands


async def place_reservation(tx: Tx, *, command: PlaceReservation, now: datetime) -> None:
    """Reserve every line of a remedy or none; answers ReservationPlaced or ReservationRejected.

    A repeat is answered as the first time, a remedy already released with ``superseded``.
    """
    group = await store_reservations.reservation_group(tx, command.remedy_id)
    if group is not None:
        await _say(tx, _repeated_reservation(command.remedy_id, group), "remedy", command.remedy_id)
        return
    reply: ReservationPlaced | ReservationRejected
    try:
        lines, places = await _decide_reservation(tx, command)
        reply = ReservationPlaced(
            remedy_id=command.remedy_id, lines=[_replacement(line, places) for line in lines]
        )
    except Refusal as refusal:
        lines, places = [], {}
        reply = ReservationRejected(
            remedy_id=command.remedy_id,
            code=refusal.code,
            kind=refusal.kind,
            message=refusal.message,
            short=refusal.facts.get("short", []),
        )
    await _remember_reservation(tx, command.remedy_id, reply, now)
    await store_reservations.add_reservations(
        tx,
        [
            {
                "id": derived_id("resitem", command.remedy_id, line.line_id),
                "remedy_id": command.remedy_id,
                "line_id": line.line_id,
                "item_id": line.variant.counted_item,
                "location_id": places[line.line_id],
                "quantity": line.quantity,
                "external_id": command.remedy_id,
            }
            for line in lines
            if line.line_id in places
        ],
        now=now,
    )
    await _say(tx, reply, "remedy", command.remedy_id)
    await _note_reservation(tx, reply, places)


async def preview_reservation(tx: Tx, *, command: PlaceReservation) -> list[ReplacementLine]:
    """The lines that ``place_reservation`` would reserve, by the same code under the same locks;
    nothing is reserved. Raises the refusal it would answer."""
    lines, places = await _decide_reservation(tx, command)
    return [_replacement(line, places) for line in lines]


async def _note_reservation(
    tx: Tx, reply: ReservationPlaced | ReservationRejected, places: Mapping[str, str]
) -> None:
    about = f"claim/{reply.remedy_id}"
    if isinstance(reply, ReservationRejected):
        await audit.record(
            tx,
            action="stock.refused",
            about=about,
            after={"code": reply.code},
            note=reply.message,
        )
        return
    units = {line.line_id: line.quantity for line in reply.lines}
    await audit.record(
        tx, action="stock.reserved", about=about, after={"units": units, "locations": dict(places)}
    )


async def _decide_reservation(
    tx: Tx, command: PlaceReservation
) -> tuple[list[domain.PricedLine], dict[str, str]]:
    """The lines with their prices, and line id -> location id; raises Refusal."""
    wanted = [domain.Wanted(line.line_id, line.variant_id, line.quantity) for line in command.lines]
    variants = await store.variants_by_id(tx, (line.variant_id for line in wanted))
    lines = domain.priced_lines(
        wanted=wanted,
        variants=variants,
        currency_code=command.currency_code,
        region_id=command.region_id,
    )
    items = {line.variant.counted_item for line in lines} - {None}
    if not items:
        return lines, {}
    channel = command.sales_channel_id if command.location_id is None else None
    levels, mapped = await store.lock_levels(
        tx, (item for item in items if item is not None), sales_channel_id=channel
    )
    any_location = bool(levels)
    if not levels:
        mapped, any_location = await store.location_facts(tx, sales_channel_id=channel)
    where = domain.Where(
        location_id=command.location_id, channel_is_mapped=mapped, any_location=any_location
    )
    return lines, domain.choose_locations(lines=lines, levels=levels, where=where)


def _replacement(line: domain.PricedLine, places: Mapping[str, str]) -> ReplacementLine:
    variant = line.variant
    return ReplacementLine(
        line_id=line.line_id,
        variant_id=variant.id,
        title=variant.product_title or variant.title,
        description=variant.title,
        sku=variant.sku,
        unit_price=line.unit_price,
        quantity=line.quantity,
        location_id=places.get(line.line_id),
    )


async def _remember_reservation(
    tx: Tx, remedy_id: str, reply: ReservationPlaced | ReservationRejected, now: datetime
) -> None:
    # A rejected remedy holds nothing, which is what "released" says; its stored answer tells why.
    first = await store_reservations.add_reservation_group(
        tx,
        remedy_id=remedy_id,
        state="held" if isinstance(reply, ReservationPlaced) else "released",
        reply=reply.model_dump(mode="json"),
        now=now,
    )
    if not first:
        raise Transient(f"{remedy_id} was placed or released at the same moment")


def _repeated_reservation(
    remedy_id: str, group: Mapping[str, Any]
) -> ReservationPlaced | ReservationRejected:
    stored = group["reply"]
    if stored is not None and "code" in stored:
        return ReservationRejected.model_validate(stored)
    if stored is not None and group["state"] == "held":
        return ReservationPlaced.model_validate(stored)
    late = domain.superseded(remedy_id=remedy_id)
    return ReservationRejected(
        remedy_id=remedy_id, code=late.code, kind=late.kind, message=late.message
    )


async def release_reservation(tx: Tx, *, command: ReleaseReservation, now: datetime) -> None:
    """Free what a remedy reserved, in any state; answers ReservationReleased.

    An unknown remedy leaves a tombstone, so that its reservation is refused if it comes later.
    """
    remedy_id = command.remedy_id
    unknown = await store_reservations.add_reservation_group(
        tx, remedy_id=remedy_id, state="released", reply=None, now=now
    )
    if not unknown:
        group = await store_reservations.reservation_group(tx, remedy_id, lock=True)
        if group is not None and group["state"] == "held":
            await store_reservations.lock_levels_of_remedy(tx, remedy_id)
            await store_reservations.release_reservations(
                tx, remedy_id=remedy_id, cause="command", now=now
            )
            await store_reservations.mark_group_released(tx, remedy_id, now=now)
            before, after = {"state": "held"}, {"state": "released"}
            await audit.record(
                tx, action="stock.released", about=f"claim/{remedy_id}", before=before, after=after
            )
    await _say(tx, ReservationReleased(remedy_id=remedy_id), "remedy", remedy_id)


async def receive_receipt_stock(tx: Tx, *, command: ReceiveReceiptStock, now: datetime) -> None:
    """Put the goods of a receipt into stock, all or nothing, one movement per line.

    Answers ReceiptStockReceived, or ReceiptStockRejected when a location does not stock an item.
    """
    stored = await store.receipt_reply(tx, command.receipt_id)
    if stored is not None:
        model = ReceiptStockReceived if stored["state"] == "booked" else ReceiptStockRejected
        await _say(tx, model.model_validate(stored["reply"]), "receipt", command.receipt_id)
        return
    reply: ReceiptStockReceived | ReceiptStockRejected
    try:
        moves, unstocked = await _decide_receipt(tx, command)
        reply = ReceiptStockReceived(
            receipt_id=command.receipt_id, return_id=command.return_id, unstocked=unstocked
        )
    except Refusal as refusal:
        moves = []
        reply = ReceiptStockRejected(
            receipt_id=command.receipt_id,
            return_id=command.return_id,
            code=refusal.code,
            kind=refusal.kind,
            message=refusal.message,
        )
    first = await store.add_receipt(
        tx,
        receipt_id=command.receipt_id,
        return_id=command.return_id,
        state="booked" if isinstance(reply, ReceiptStockReceived) else "rejected",
        reply=reply.model_dump(mode="json"),
        now=now,
    )
    if not first:
        raise Transient(f"{command.receipt_id} was booked at the same moment")
    await store.move_stock(tx, moves, cause_kind="receipt", cause_id=command.receipt_id, now=now)
    await _say(tx, reply, "receipt", command.receipt_id)
    rejected = isinstance(reply, ReceiptStockRejected)
    await audit.record(
        tx,
        action="stock.receipt_refused" if rejected else "stock.received",
        about=f"return/{command.return_id}",
        after={
            "receipt_id": command.receipt_id,
            "moves": [[move.item_id, move.location_id, move.quantity] for move in moves],
        },
        note=reply.message if isinstance(reply, ReceiptStockRejected) else None,
    )


async def _decide_receipt(
    tx: Tx, command: ReceiveReceiptStock
) -> tuple[list[domain.Movement], list[str]]:
    """The movements, and the counted variants that no location stocks."""
    arrived = [
        domain.Arrived(line.line_no, line.variant_id, line.quantity) for line in command.lines
    ]
    named = {line.variant_id for line in arrived} - {None}
    variants = await store.variants_by_id(tx, (each for each in named if each is not None))
    items = {
        variant.id: variant.counted_item
        for variant in variants.values()
        if variant.counted_item is not None
    }
    levels, _ = await store.lock_levels(tx, items.values()) if items else ([], False)
    moves = domain.receipt_movements(
        lines=arrived,
        items=items,
        levels=[(level.item_id, level.location_id) for level in levels],
        location_id=command.location_id,
    )
    stocked = {level.item_id for level in levels}
    return moves, sorted(id_ for id_, item_id in items.items() if item_id not in stocked)


async def consume_fulfillment_stock(
    tx: Tx, *, command: ConsumeFulfillmentStock, now: datetime
) -> None:
    """Take the goods of a fulfillment out of stock; answers consumed or rejected."""
    await dispatching.consume(tx, command, now)


async def restore_fulfillment_stock(
    tx: Tx, *, command: RestoreFulfillmentStock, now: datetime
) -> None:
    """Put the goods of a fulfillment back; answers restored, in any state."""
    await dispatching.restore(tx, command, now)


async def release_order_reservation(
    tx: Tx, *, command: ReleaseOrderReservation, now: datetime
) -> None:
    """Free what is reserved for a canceled order; answers released, in any state."""
    await dispatching.release_order(tx, command, now)


async def _say(tx: Tx, reply: Any, kind: str, subject: str) -> None:
    await outbox.put(tx, reply, about=f"{kind}/{subject}")


# Reservations by people


async def create_reservation(
    tx: Tx,
    *,
    item_id: str,
    location_id: str,
    quantity: int,
    line_id: str | None,
    line_unfulfilled: int | None,
    description: str | None,
    metadata: Mapping[str, Any] | None,
    caller: Caller,
    now: datetime,
) -> str:
    """Promise units of an item at a location, for a line or in general; the reservation's id.

    ``line_unfulfilled``: units of the line still to be sent, as its owner says. A line has one
    reservation of an item at a location: a second adds to it. Raises Invalid (more than the line
    needs), NotFound (not stocked there), NotAllowed (not enough, or its claim is over).
    """
    wanted = Reservation(
        id="",
        item_id=item_id,
        location_id=location_id,
        quantity=quantity,
        line_id=line_id,
        description=description,
        metadata=metadata,
    )
    return await promising.create(tx, wanted, line_unfulfilled, caller, now)


async def update_reservation(
    tx: Tx,
    *,
    reservation_id: str,
    changes: Mapping[str, Any],
    line_unfulfilled: int | None,
    caller: Caller,
    now: datetime,
) -> None:
    """Change ``quantity``, ``location_id``, ``description`` or ``metadata`` of what is held.

    A move gives up the old place and takes the new one in this transaction, or changes nothing.
    Units that a claim's reservation loses are recorded as released by hand.
    Raises NotFound, Invalid or NotAllowed as ``create_reservation``.
    """
    await promising.update(tx, reservation_id, changes, line_unfulfilled, caller, now)


async def recheck_reservation(
    tx: Tx, *, reservation_id: str, units: int, line_unfulfilled: int, now: datetime
) -> Refusal | None:
    """Look again, after ``units`` were promised: a line may have been sent in the same moment.

    Gives the units back and returns the refusal when the line is now held more than it needs;
    None when all is well, or nothing is held any more.
    """
    return await promising.recheck(tx, reservation_id, units, line_unfulfilled, now)


async def delete_reservation(tx: Tx, *, reservation_id: str, now: datetime) -> None:
    """End a reservation by hand, whoever made it. Raises NotFound.

    The claim or order it was for goes on without it.
    """
    await promising.delete(tx, reservation_id, now)
