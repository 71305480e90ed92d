"""What people do to levels, items and locations, and what an import brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from chassis import audit, idempotency, outbox
from chassis.db import Tx
from chassis.errors import NotAllowed
from chassis.idempotency import Caller
from chassis.values import derived_id, new_id
from contracts.inventory import (
    InventoryItemCreated,
    InventoryItemDeleted,
    InventoryItemUpdated,
    InventoryLevelCreated,
    InventoryLevelDeleted,
    InventoryLevelUpdated,
    ReservationItemDeleted,
)
from services.inventory import domain, planning, store, store_imports, store_reservations

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
    await outbox.put(
        tx, InventoryLevelCreated(ids=[level_id], **state), about=f"inventory-level/{level_id}"
    )


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
    await outbox.put(
        tx, InventoryLevelUpdated(id=level_id, **state), about=f"inventory-level/{level_id}"
    )


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
        about = f"inventory-item/{item_id}" if item_id else f"stock-location/{location_id}"
        if item_id and location_id:
            about = f"inventory-level/{event.ids[0]}"
        await outbox.put(tx, event, about=about)


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
    await outbox.put(tx, event, about=f"inventory-item/{item_id}")
    return item_id


async def update_inventory_item(
    tx: Tx, *, item_id: str, fields: Mapping[str, Any], now: datetime
) -> None:
    """Change the description of an item. Raises NotFound."""
    if not await store.has(tx, store.inventory_items, item_id):
        raise domain.item_not_found(item_id=item_id)
    await store.update_row(tx, store.inventory_items, item_id, {**fields, "updated_at": now})
    await audit.record(tx, action="item.updated", about=f"inventory-item/{item_id}", after=fields)
    await outbox.put(tx, InventoryItemUpdated(id=item_id), about=f"inventory-item/{item_id}")


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
    await outbox.put(tx, InventoryItemDeleted(ids=[item_id]), about=f"inventory-item/{item_id}")


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
        await outbox.put(tx, event, about=f"stock-location/{location_id}")
    await _say_levels_deleted(tx, levels, item_id=None, location_id=location_id)
    await audit.record(tx, action="location.deleted", about=about, before=before)


# Import


async def import_document(
    tx: Tx, *, document: planning.Document, now: datetime
) -> planning.Outcome:
    """Load locations, channels, variants and levels; what became of each record.

    Everything is decided before anything is written. Levels are set absolutely, by movements.
    """
    levels = [record for _, record in document.inventory_levels]
    variants = [record for _, record in document.variants]
    channels = [record for _, record in document.sales_channels]
    known = await store_imports.known(
        tx,
        location_ids=[
            *(planning.location_id_for(record) for _, record in document.stock_locations),
            *(record["location_id"] for record in levels),
            *(each for record in channels for each in record["stock_location_ids"] or ()),
        ],
        channel_ids=(record["id"] for record in channels),
        variant_ids=[
            *(planning.variant_id_for(record) for record in variants),
            *(record["variant_id"] for record in levels if record["variant_id"]),
        ],
        item_ids=[
            *(record["inventory_item_id"] for record in variants if record["inventory_item_id"]),
            *(record["inventory_item_id"] for record in levels if record["inventory_item_id"]),
        ],
        skus=(record["sku"] for record in levels if record["sku"]),
    )
    plan = planning.plan_import(document=document, known=known)
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
