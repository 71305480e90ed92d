"""What can be done to stock: each function is one decision inside the caller's transaction.

Commands are idempotent by their business id as well (remedy, receipt): the answer is stored with
it, and a repeat gets the same answer and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from chassis import audit, idempotency, outbox
from chassis.db import Transient, Tx
from chassis.errors import NotAllowed, Refusal
from chassis.idempotency import Caller
from chassis.values import derived_id, new_id
from contracts.base import ReplacementLine
from contracts.inventory import (
    ConsumeFulfillmentStock,
    InventoryItemCreated,
    InventoryItemDeleted,
    InventoryItemUpdated,
    InventoryLevelCreated,
    InventoryLevelDeleted,
    InventoryLevelUpdated,
    PlaceReservation,
    ReceiptStockReceived,
    ReceiptStockRejected,
    ReceiveReceiptStock,
    ReleaseOrderReservation,
    ReleaseReservation,
    ReservationItemDeleted,
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
    store_imports,
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


# Levels


async def create_level(
    tx: Tx,
    *,
    item_id: str,
    location_id: str,
    stocked_quantity: int,
    incoming_quantity: int,
    caller: Caller,
    now: datetime,
) -> None:
    """Let a location stock an item. Raises NotFound, NotAllowed when it does already."""
    if await idempotency.take_key(tx, caller, subject_id=item_id) is not None:
        return
    backorder = await store.backorder_rule(tx, item_id)
    if backorder is None:
        raise domain.item_not_found(item_id=item_id)
    if not await store.has(tx, store.stock_locations, location_id):
        raise domain.location_not_found(location_id=location_id)
    added = await store.add_level(
        tx,
        item_id=item_id,
        location_id=location_id,
        on_hand=0,
        incoming=incoming_quantity,
        allow_backorder=backorder,
        now=now,
    )
    if not added:
        raise domain.level_exists(item_id=item_id, location_id=location_id)
    level = domain.Level(item_id, location_id, on_hand=0, reserved=0)
    await _count(tx, level, stocked_quantity, now)
    after = {"stocked_quantity": stocked_quantity, "incoming_quantity": incoming_quantity}
    await _note_level(tx, "level.created", level, None, after)
    state = await store.level_state(tx, item_id=item_id, location_id=location_id)
    level_id = domain.level_id(item_id=item_id, location_id=location_id)
    await _say(tx, InventoryLevelCreated(ids=[level_id], **state), "inventory-level", level_id)


async def update_level(
    tx: Tx,
    *,
    item_id: str,
    location_id: str,
    stocked_quantity: int | None,
    incoming_quantity: int | None,
    caller: Caller,
    now: datetime,
) -> None:
    """Say what was counted, or what is expected, at a location; None leaves a figure as it is.

    Raises NotFound, or NotAllowed for less than what is reserved there.
    """
    if await idempotency.take_key(tx, caller, subject_id=item_id) is not None:
        return
    level = await store.lock_level(tx, item_id=item_id, location_id=location_id)
    if level is None:
        raise domain.level_not_found(item_id=item_id, location_id=location_id)
    if stocked_quantity is not None:
        refusal = domain.within_reserved(level=level, on_hand=stocked_quantity)
        if refusal is not None:
            raise refusal
        await _count(tx, level, stocked_quantity, now)
    if incoming_quantity is not None:
        await store.set_incoming(
            tx, item_id=item_id, location_id=location_id, incoming=incoming_quantity, now=now
        )
    given = {"stocked_quantity": stocked_quantity, "incoming_quantity": incoming_quantity}
    after = {name: value for name, value in given.items() if value is not None}
    await _note_level(tx, "level.set", level, {"stocked_quantity": level.on_hand}, after)
    state = await store.level_state(tx, item_id=item_id, location_id=location_id)
    level_id = domain.level_id(item_id=item_id, location_id=location_id)
    await _say(tx, InventoryLevelUpdated(id=level_id, **state), "inventory-level", level_id)


async def _note_level(
    tx: Tx, action: str, level: domain.Level, before: Mapping[str, Any] | None, after: Any
) -> None:
    await audit.record(
        tx,
        action=action,
        about=f"inventory-item/{level.item_id}",
        before=before,
        after=after,
        note=f"at {level.location_id}",
    )


async def _count(tx: Tx, level: domain.Level, on_hand: int, now: datetime) -> None:
    """Book the difference between what was on hand and what was counted."""
    if on_hand != level.on_hand:
        move = domain.Movement(1, level.item_id, level.location_id, on_hand - level.on_hand)
        cause_id = new_id("count")
        await store.move_stock(tx, [move], cause_kind="count", cause_id=cause_id, now=now)


async def delete_level(tx: Tx, *, item_id: str, location_id: str, now: datetime) -> None:
    """Let a location no longer stock an item; what lay there is written off in the journal.

    Raises NotFound, or NotAllowed while something is reserved there.
    """
    level = await store.lock_level(tx, item_id=item_id, location_id=location_id)
    if level is None:
        raise domain.level_not_found(item_id=item_id, location_id=location_id)
    if level.reserved:
        raise domain.level_reserved(item_id=item_id, location_id=location_id)
    await _remove_levels(tx, [level], now)
    await _note_level(tx, "level.deleted", level, {"stocked_quantity": level.on_hand}, None)
    await _say_levels_deleted(tx, [level], item_id=item_id, location_id=location_id)


async def _remove_levels(tx: Tx, levels: list[domain.Level], now: datetime) -> None:
    moves = [
        domain.Movement(number, level.item_id, level.location_id, -level.on_hand)
        for number, level in enumerate(levels, start=1)
        if level.on_hand
    ]
    cause_id = new_id("removal")
    await store.move_stock(tx, moves, cause_kind="removal", cause_id=cause_id, now=now)
    await store.delete_levels(tx, [(level.item_id, level.location_id) for level in levels])


async def _say_levels_deleted(
    tx: Tx, levels: list[domain.Level], *, item_id: str | None, location_id: str | None
) -> None:
    """One event for all levels of an item, of a location, or for one level: what is named."""
    if levels:
        event = InventoryLevelDeleted(
            ids=[
                domain.level_id(item_id=level.item_id, location_id=level.location_id)
                for level in levels
            ],
            inventory_item_id=item_id,
            location_id=location_id,
        )
        about = ("inventory-item", item_id) if item_id else ("stock-location", location_id or "")
        if item_id and location_id:
            about = ("inventory-level", event.ids[0])
        await _say(tx, event, *about)


# Inventory items


async def create_inventory_item(
    tx: Tx, *, variant_id: str | None, fields: Mapping[str, Any], caller: Caller, now: datetime
) -> str:
    """Start to count a variant; returns the id of its item. ``fields`` are columns of the item.

    Raises NotAllowed without a variant or when it has an item, NotFound for an unknown variant.
    """
    if not variant_id:
        raise NotAllowed("variant_required", "variant_id is required")
    item_id = domain.item_id_for(variant_id=variant_id)
    if await idempotency.take_key(tx, caller, subject_id=item_id) is not None:
        return item_id
    variants = await store.variants_by_id(tx, [variant_id])
    if variant_id not in variants:
        raise domain.variant_not_found(variant_id=variant_id)
    variant = variants[variant_id]
    row = {
        "sku": variant.sku,
        "title": variant.title,
        **fields,
        "id": item_id,
        "variant_id": variant_id,
        "created_at": now,
        "updated_at": now,
    }
    if not await store.add_item(tx, row):
        raise domain.item_exists()
    if not variant.manage_inventory:
        changes = {"manage_inventory": True, "updated_at": now}
        await store.update_row(tx, store.variants, variant_id, changes)
    after = {"variant_id": variant_id, **fields}
    await audit.record(tx, action="item.created", about=f"inventory-item/{item_id}", after=after)
    event = InventoryItemCreated(ids=[item_id], variant_id=variant_id)
    await _say(tx, event, "inventory-item", item_id)
    return item_id


async def update_inventory_item(
    tx: Tx, *, item_id: str, fields: Mapping[str, Any], now: datetime
) -> None:
    """Change the description of an item. Raises NotFound."""
    if not await store.has(tx, store.inventory_items, item_id):
        raise domain.item_not_found(item_id=item_id)
    await store.update_row(tx, store.inventory_items, item_id, {**fields, "updated_at": now})
    await audit.record(tx, action="item.updated", about=f"inventory-item/{item_id}", after=fields)
    await _say(tx, InventoryItemUpdated(id=item_id), "inventory-item", item_id)


async def delete_inventory_item(tx: Tx, *, item_id: str, now: datetime) -> None:
    """Stop counting a variant. Raises NotFound, or NotAllowed while something is reserved."""
    if not await store.has(tx, store.inventory_items, item_id):
        raise domain.item_not_found(item_id=item_id)
    levels, _ = await store.lock_levels(tx, [item_id])
    if any(level.reserved for level in levels):
        raise domain.item_reserved(item_id=item_id)
    await _remove_levels(tx, levels, now)
    await store.delete_row(tx, store.inventory_items, item_id)
    before = {"levels": [[level.location_id, level.on_hand] for level in levels]}
    await audit.record(tx, action="item.deleted", about=f"inventory-item/{item_id}", before=before)
    await _say_levels_deleted(tx, levels, item_id=item_id, location_id=None)
    await _say(tx, InventoryItemDeleted(ids=[item_id]), "inventory-item", item_id)


# Stock locations


async def create_stock_location(
    tx: Tx,
    *,
    name: str,
    address: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None,
    caller: Caller,
    now: datetime,
    address_id: str | None = None,
) -> str:
    """Open a stock location at a new address, or at that of another one; returns its id.

    Raises NotFound for an address that no location has.
    """
    location_id = new_id("sloc")
    if caller.key is not None:
        # The id follows from the attempt, so that its repeat finds the location it made.
        location_id = derived_id("sloc", caller.principal, caller.key)
    if await idempotency.take_key(tx, caller, subject_id=location_id) is not None:
        return location_id
    if address is not None:
        address_id = domain.address_id_for(location_id=location_id)
    elif address_id is not None:
        address = await _known_address(tx, address_id)
    row = {
        "id": location_id,
        "name": name,
        "address_id": address_id,
        "address": dict(address) if address is not None else None,
        "metadata": dict(metadata) if metadata is not None else None,
        "created_at": now,
        "updated_at": now,
    }
    await tx.insert(store.stock_locations, [row])
    about = f"stock-location/{location_id}"
    await audit.record(tx, action="location.created", about=about, after={"name": name})
    return location_id


async def update_stock_location(
    tx: Tx, *, location_id: str, fields: Mapping[str, Any], now: datetime
) -> None:
    """Change name, address or metadata, or move it to the address of another location.

    An address that several locations share changes for all of them. Raises NotFound.
    """
    if not await store.has(tx, store.stock_locations, location_id):
        raise domain.location_not_found(location_id=location_id)
    changes = dict(fields)
    if "address" in changes:
        own = await store.address_id_of(tx, location_id)
        changes["address_id"] = own or domain.address_id_for(location_id=location_id)
        await store.change_address(tx, changes["address_id"], changes["address"], now=now)
    elif "address_id" in changes:
        changes["address"] = await _known_address(tx, changes["address_id"])
    await store.update_row(tx, store.stock_locations, location_id, {**changes, "updated_at": now})
    about = f"stock-location/{location_id}"
    await audit.record(tx, action="location.updated", about=about, after=fields)


async def _known_address(tx: Tx, address_id: str) -> dict[str, Any]:
    found = await store.address(tx, address_id)
    if found is None:
        raise domain.address_not_found(address_id=address_id)
    return found


async def delete_stock_location(tx: Tx, *, location_id: str, now: datetime) -> None:
    """Close a location with its levels and reservations, as Medusa does. Raises NotFound.

    The reservations are recorded as released by hand: their remedies go on without them.
    """
    if not await store.has(tx, store.stock_locations, location_id):
        raise domain.location_not_found(location_id=location_id)
    levels = await store.lock_levels_at(tx, location_id)
    held = await store_reservations.held_at(tx, location_id)
    await store_reservations.release_reservations(
        tx, location_id=location_id, cause="manual", now=now
    )
    await _remove_levels(tx, [replace(level, reserved=0) for level in levels], now)
    await store.unmap_location(tx, location_id)
    await store.delete_row(tx, store.stock_locations, location_id)
    before: dict[str, Any] = {
        "levels": [[level.item_id, level.on_hand, level.reserved] for level in levels]
    }
    about = f"stock-location/{location_id}"
    if held:
        before["reservations"] = held
        event = ReservationItemDeleted(ids=held, location_id=location_id)
        await _say(tx, event, "stock-location", location_id)
    await _say_levels_deleted(tx, levels, item_id=None, location_id=location_id)
    await audit.record(tx, action="location.deleted", about=about, before=before)


# Import


async def import_document(tx: Tx, *, document: domain.Document, now: datetime) -> domain.Outcome:
    """Load locations, channels, variants and levels; what became of each record.

    Everything is decided before anything is written. Levels are set absolutely, by movements.
    """
    levels = [record for _, record in document.inventory_levels]
    variants = [record for _, record in document.variants]
    channels = [record for _, record in document.sales_channels]
    known = await store_imports.known(
        tx,
        location_ids=[
            *(domain.location_id_for(record) for _, record in document.stock_locations),
            *(record["location_id"] for record in levels),
            *(each for record in channels for each in record["stock_location_ids"] or ()),
        ],
        channel_ids=(record["id"] for record in channels),
        variant_ids=[
            *(domain.variant_id_for(record) for record in variants),
            *(record["variant_id"] for record in levels if record["variant_id"]),
        ],
        item_ids=[
            *(record["inventory_item_id"] for record in variants if record["inventory_item_id"]),
            *(record["inventory_item_id"] for record in levels if record["inventory_item_id"]),
        ],
        skus=(record["sku"] for record in levels if record["sku"]),
    )
    plan = domain.plan_import(document=document, known=known)
    await store_imports.save_rows(
        tx, store.stock_locations, known.locations, plan.locations, now=now
    )
    for channel_id, location_ids in sorted(plan.channels.items()):
        if list(known.channels.get(channel_id, ())) != list(location_ids):
            await store.map_channel(tx, channel_id, location_ids)
    await store_imports.save_rows(tx, store.variants, known.variants, plan.variants, now=now)
    await store_imports.save_rows(tx, store.inventory_items, known.items, plan.items, now=now)
    await store_imports.save_levels(
        tx, known.levels, plan.levels, cause_id=new_id("import"), now=now
    )
    outcome = plan.outcome
    if outcome.created or outcome.updated:
        after = {
            "created": outcome.created,
            "updated": outcome.updated,
            "unchanged": outcome.unchanged,
            "refused": len(outcome.refusals),
        }
        about = "import/inventory"
        await audit.record(tx, action="document.imported", about=about, after=after)
    return outcome
