"""The HTTP door of inventory, for the gateway: every call carries its internal token.

Variants may be read by anybody, everything else by the staff only; counting stock is for the
warehouse, promising it also for agents, loading a document for an administrator.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from chassis import clock
from chassis.auth import Principal, require
from chassis.db import Database
from chassis.door import Router, Who
from chassis.errors import Forbidden
from chassis.http import Db, Tries, json_response
from contracts.inventory import PlaceReservation
from services.inventory import operations, operations_levels, queries, schemas

IMPORT_MAX_BYTES = 32 * 1024 * 1024
EXPORT_ROWS_MAX = 5000

router = Router()
stock_keepers = require("warehouse", "admin")
clerks = require("agent", "warehouse", "admin")
administrators = require("admin")


def _staff(who: Principal) -> None:
    if who.is_customer:
        raise Forbidden("forbidden", "Stock is shown to the staff only.")


async def _item_answer(db: Database, item_id: str) -> Response:
    """The item as it is after the commit."""
    async with db.reading() as tx:
        item = await queries.inventory_item_by_id(tx, item_id=item_id)
    return json_response({"inventory_item": item})


async def _location_answer(db: Database, location_id: str) -> Response:
    """The location as it is after the commit."""
    async with db.reading() as tx:
        location = await queries.stock_location_by_id(tx, location_id=location_id)
    return json_response({"stock_location": location})


async def _reservation_answer(db: Database, reservation_id: str) -> Response:
    """The reservation as it is after the commit."""
    async with db.reading() as tx:
        found = await queries.reservation_by_id(tx, reservation_id=reservation_id)
    return json_response({"reservation": found})


# Variants


@router.get("/variants")
async def variants(filters: schemas.VariantFilters, db: Db) -> Response:
    """Variants in Medusa's shape, by ``ids`` or by text."""
    async with db.reading() as tx:
        return json_response(await queries.variants_page(tx, filters=filters))


@router.get("/variants/{variant_id}/inventory")
async def variant_inventory(variant_id: str, db: Db, who: Who) -> Response:
    """The items of a variant and what each sales channel can sell."""
    _staff(who)
    async with db.reading() as tx:
        found = await queries.variant_inventory(tx, variant_id=variant_id)
    return json_response({"variant": found})


# Inventory items and levels


@router.get("/inventory-items")
async def inventory_items(filters: schemas.InventoryItemFilters, db: Db, who: Who) -> Response:
    """A page of items with totals, levels and variants."""
    _staff(who)
    async with db.reading() as tx:
        return json_response(await queries.inventory_items_page(tx, filters=filters))


@router.post("/inventory-items")
async def create_inventory_item(
    body: schemas.CreateInventoryItem, db: Db, who: Who, attempt: Tries
) -> Response:
    """Start to count a variant."""
    stock_keepers(who)
    fields = body.described()
    async with db.transaction() as tx:
        item_id = await operations_levels.create_inventory_item(
            tx,
            variant_id=body.variant_id,
            fields=fields,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await _item_answer(db, item_id)


@router.get("/inventory-items/{item_id}")
async def inventory_item(item_id: str, db: Db, who: Who) -> Response:
    """One item with its levels."""
    _staff(who)
    async with db.reading() as tx:
        item = await queries.inventory_item_by_id(tx, item_id=item_id)
    return json_response({"inventory_item": item})


@router.post("/inventory-items/{item_id}")
async def update_inventory_item(
    item_id: str, body: schemas.UpdateInventoryItem, db: Db, who: Who
) -> Response:
    """Change what is said about an item."""
    stock_keepers(who)
    fields = body.described()
    async with db.transaction() as tx:
        await operations_levels.update_inventory_item(
            tx, item_id=item_id, fields=fields, now=clock.now()
        )
    return await _item_answer(db, item_id)


@router.delete("/inventory-items/{item_id}")
async def delete_inventory_item(item_id: str, db: Db, who: Who) -> Response:
    """Stop counting a variant."""
    stock_keepers(who)
    async with db.transaction() as tx:
        await operations_levels.delete_inventory_item(tx, item_id=item_id, now=clock.now())
    return json_response({"id": item_id, "object": "inventory_item", "deleted": True})


@router.get("/inventory-items/{item_id}/location-levels")
async def location_levels(
    item_id: str, db: Db, who: Who, location_id: list[str] | None = None
) -> Response:
    """The levels of an item, at all or some locations."""
    _staff(who)
    async with db.reading() as tx:
        found = await queries.levels_of_item(tx, item_id=item_id, location_ids=location_id)
    return json_response({"inventory_item": found})


@router.post("/inventory-items/{item_id}/location-levels")
async def create_location_level(
    item_id: str, body: schemas.CreateLevel, db: Db, who: Who, attempt: Tries
) -> Response:
    """Let a location stock an item."""
    stock_keepers(who)
    async with db.transaction() as tx:
        await operations_levels.create_level(
            tx,
            item_id=item_id,
            location_id=body.location_id,
            stocked_quantity=body.stocked_quantity,
            incoming_quantity=body.incoming_quantity,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await _item_answer(db, item_id)


@router.post("/inventory-items/{item_id}/location-levels/{location_id}")
async def update_location_level(
    item_id: str, location_id: str, body: schemas.UpdateLevel, db: Db, who: Who, attempt: Tries
) -> Response:
    """Say what was counted and what is expected."""
    stock_keepers(who)
    async with db.transaction() as tx:
        await operations_levels.update_level(
            tx,
            item_id=item_id,
            location_id=location_id,
            stocked_quantity=body.stocked_quantity,
            incoming_quantity=body.incoming_quantity,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await _item_answer(db, item_id)


@router.delete("/inventory-items/{item_id}/location-levels/{location_id}")
async def delete_location_level(item_id: str, location_id: str, db: Db, who: Who) -> Response:
    """Let a location no longer stock an item."""
    stock_keepers(who)
    async with db.transaction() as tx:
        await operations_levels.delete_level(
            tx, item_id=item_id, location_id=location_id, now=clock.now()
        )
    return await _item_answer(db, item_id)


# Stock locations


@router.get("/stock-locations")
async def stock_locations(filters: schemas.StockLocationFilters, db: Db, who: Who) -> Response:
    """A page of locations."""
    _staff(who)
    async with db.reading() as tx:
        return json_response(await queries.stock_locations_page(tx, filters=filters))


@router.post("/stock-locations")
async def create_stock_location(
    body: schemas.CreateStockLocation, db: Db, who: Who, attempt: Tries
) -> Response:
    """Open a location."""
    stock_keepers(who)
    async with db.transaction() as tx:
        location_id = await operations_levels.create_stock_location(
            tx,
            name=body.name,
            address=body.address.model_dump() if body.address else None,
            address_id=body.address_id,
            metadata=body.metadata,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await _location_answer(db, location_id)


@router.get("/stock-locations/{location_id}")
async def stock_location(location_id: str, db: Db, who: Who, expand: str = "") -> Response:
    """One location; ``expand`` adds its address and sales channels."""
    _staff(who)
    async with db.reading() as tx:
        location = await queries.stock_location_by_id(tx, location_id=location_id, expand=expand)
    return json_response({"stock_location": location})


@router.post("/stock-locations/{location_id}")
async def update_stock_location(
    location_id: str, body: schemas.UpdateStockLocation, db: Db, who: Who
) -> Response:
    """Change a location."""
    stock_keepers(who)
    fields = {name: value for name, value in body.model_dump().items() if value is not None}
    async with db.transaction() as tx:
        await operations_levels.update_stock_location(
            tx, location_id=location_id, fields=fields, now=clock.now()
        )
    return await _location_answer(db, location_id)


@router.delete("/stock-locations/{location_id}")
async def delete_stock_location(location_id: str, db: Db, who: Who) -> Response:
    """Close a location with its levels and reservations."""
    stock_keepers(who)
    async with db.transaction() as tx:
        await operations_levels.delete_stock_location(tx, location_id=location_id, now=clock.now())
    return json_response({"id": location_id, "object": "stock_location", "deleted": True})


# Reservations


@router.post("/reservations/preview")
async def preview_reservation(body: PlaceReservation, db: Db, who: Who) -> Response:
    """What the reservation of a claim would hold, and nothing held: {lines}."""
    _staff(who)
    async with db.transaction() as tx:
        lines = await operations.preview_reservation(tx, command=body)
    return json_response({"lines": lines})


@router.get("/reservations")
async def reservations(filters: schemas.ReservationFilters, db: Db, who: Who) -> Response:
    """A page of what is reserved."""
    _staff(who)
    async with db.reading() as tx:
        return json_response(await queries.reservations_page(tx, filters=filters))


@router.get("/reservations/{reservation_id}")
async def reservation(reservation_id: str, db: Db, who: Who, expand: str = "") -> Response:
    """One reservation."""
    _staff(who)
    async with db.reading() as tx:
        found = await queries.reservation_by_id(tx, reservation_id=reservation_id, expand=expand)
    return json_response({"reservation": found})


@router.post("/reservations")
async def create_reservation(
    body: schemas.CreateReservation, db: Db, who: Who, attempt: Tries
) -> Response:
    """Promise units at a location, for a line or in general."""
    clerks(who)
    async with db.transaction() as tx:
        reservation_id = await operations.create_reservation(
            tx,
            item_id=body.inventory_item_id,
            location_id=body.location_id,
            quantity=body.quantity,
            line_id=body.line_item_id,
            line_unfulfilled=body.line_unfulfilled,
            description=body.description,
            metadata=body.metadata,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await _reservation_answer(db, reservation_id)


@router.post("/reservations/{reservation_id}")
async def update_reservation(
    reservation_id: str, body: schemas.UpdateReservation, db: Db, who: Who, attempt: Tries
) -> Response:
    """Change or move what is promised."""
    clerks(who)
    async with db.transaction() as tx:
        await operations.update_reservation(
            tx,
            reservation_id=reservation_id,
            changes=body.changes(),
            line_unfulfilled=body.line_unfulfilled,
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await _reservation_answer(db, reservation_id)


@router.post("/reservations/{reservation_id}/recheck")
async def recheck_reservation(
    reservation_id: str, body: schemas.RecheckReservation, db: Db, who: Who
) -> Response:
    """Give back units that a line turns out not to need; refuses as the promise would have been."""
    clerks(who)
    async with db.transaction() as tx:
        refusal = await operations.recheck_reservation(
            tx,
            reservation_id=reservation_id,
            units=body.quantity,
            line_unfulfilled=body.line_unfulfilled,
            now=clock.now(),
        )
    if refusal is not None:
        raise refusal
    return json_response({"id": reservation_id})


@router.delete("/reservations/{reservation_id}")
async def delete_reservation(reservation_id: str, db: Db, who: Who) -> Response:
    """End a reservation by hand."""
    clerks(who)
    async with db.transaction() as tx:
        await operations.delete_reservation(tx, reservation_id=reservation_id, now=clock.now())
    return json_response({"id": reservation_id, "object": "reservation", "deleted": True})


# Import and export


@router.post("/import", max_body_size=IMPORT_MAX_BYTES)
async def import_document(body: schemas.ImportBody, db: Db, who: Who) -> Response:
    """Load locations, channels, variants and levels; a refused record does not stop the others."""
    administrators(who)
    document, malformed = body.checked()
    async with db.transaction() as tx:
        outcome = await operations_levels.import_document(tx, document=document, now=clock.now())
    outcome.refusals[:0] = malformed.refusals
    return json_response(outcome.as_answer())


@router.get("/export")
async def export(
    db: Db,
    who: Who,
    cursor: str | None = None,
    limit: Annotated[int, Field(ge=1, le=EXPORT_ROWS_MAX)] = EXPORT_ROWS_MAX,
) -> Response:
    """A piece of the document that an import reads; ``next`` is the cursor of the following."""
    administrators(who)
    async with db.reading() as tx:
        return json_response(await queries.export_page(tx, cursor=cursor, limit=limit))
