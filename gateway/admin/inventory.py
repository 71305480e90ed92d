"""Stock: variants, inventory items, levels, locations."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from chassis.errors import NotFound
from chassis.http import json_response
from chassis.values import round_half_up
from gateway import bodies, wire
from gateway.admin.passing import DATE, NUMBER, TEXT, VALUES, asked, change, read
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who

router = APIRouter()
_LEVELS = "/admin/inventory-items/{item_id}/location-levels"
# As in Medusa: a page of variants fills a picker.
_VARIANTS_LIMIT = 100

_ITEM_FILTERS = {
    **dict.fromkeys(
        (
            *("q", "id", "variant_id", "location_id", "sku", "origin_country", "mid_code"),
            *("material", "requires_shipping"),
        ),
        VALUES,
    ),
    "hs_code": TEXT,
    **dict.fromkeys(("weight", "length", "height", "width"), NUMBER),
}
_VARIANT_FILTERS = {
    **dict.fromkeys(
        ("q", "ids", "id", "sku", "title", "manage_inventory", "allow_backorder"), VALUES
    ),
    "inventory_quantity": NUMBER,
    "created_at": DATE,
    "updated_at": DATE,
}
# What prices are for. There are no carts and no prices of customers here: both change nothing.
_PRICED_FOR = ("region_id", "currency_code", "cart_id", "customer_id")
_LOCATION_FILTERS = {
    **dict.fromkeys(("q", "id", "name", "address_id", "sales_channel_id"), VALUES),
    "created_at": DATE,
    "updated_at": DATE,
}


# Variants


@router.get("/admin/variants")
async def list_variants(request: Request, parts: Parts, who: Who) -> Response:
    """A page of variants: {variants, count, offset, limit}; with ``region_id`` or
    ``currency_code`` also what one unit costs there."""
    filters = _VARIANT_FILTERS | dict.fromkeys(_PRICED_FOR, VALUES)
    given, params = asked(request, filters, limit=_VARIANTS_LIMIT)
    for name in _PRICED_FOR:
        params.pop(name, None)
    region_id, currency = wire.text(given, "region_id"), wire.text(given, "currency_code")
    region = await _region(parts, who, region_id) if region_id is not None else None
    if region is not None:
        currency = region["currency_code"]
    params |= {"region_id": region_id, "currency_code": currency}
    page = await parts.inventory.get("/variants", who=who, params=params)
    if region is not None:
        for variant in page["variants"]:
            variant |= _taxed(variant["calculated_price"], region)
    return json_response(page)


async def _region(parts: Gate, who: Principal, region_id: str) -> dict[str, Any]:
    regions = (await parts.orders.get("/regions", who=who))["regions"]
    for region in regions:
        if region["id"] == region_id:
            return dict(region)
    raise NotFound("region_unknown", f"Region with {region_id} was not found")


def _taxed(price: int | None, region: dict[str, Any]) -> dict[str, Any]:
    """A unit price with the region's tax, rounded half up; what has no price has no tax."""
    rate = round((region["tax_rate"] or 0) * 1000)  # in thousandths of a percent
    included = bool(region["includes_tax"])
    tax = whole = None
    if price is not None:
        tax = round_half_up(price * rate, 100_000 + rate if included else 100_000)
        whole = price if included else price + tax
    return {
        name: value
        for kind in ("original", "calculated")
        for name, value in (
            (f"{kind}_price_incl_tax", whole),
            (f"{kind}_tax", tax),
            (f"{kind}_price_includes_tax", included),
        )
    }


@router.get("/admin/variants/{variant_id}")
async def get_variant(request: Request, variant_id: str, parts: Parts, who: Who) -> Response:
    """One variant: {variant}."""
    wire.reject_unknown(wire.query(request), {"expand", "fields"})
    page = await parts.inventory.get("/variants", who=who, params={"ids": [variant_id]})
    for variant in page["variants"]:
        if variant["id"] == variant_id:  # a comma would ask for several
            return json_response({"variant": variant})
    raise NotFound("variant_unknown", f"Variant with id: {variant_id} was not found")


@router.get("/admin/variants/{variant_id}/inventory")
async def get_variant_inventory(
    request: Request, variant_id: str, parts: Parts, who: Who
) -> Response:
    """The items of a variant and what each sales channel can sell: {variant}."""
    path = f"/variants/{segment(variant_id)}/inventory"
    found = await read(request, parts, who, path)
    availability = found["variant"]["sales_channel_availability"]
    names = await _channels(parts, who, [each["channel_id"] for each in availability])
    for each in availability:
        each["channel_name"] = (names.get(each["channel_id"]) or {}).get("name")
    return json_response(found)


# Inventory items and levels


@router.get("/admin/inventory-items")
async def list_items(request: Request, parts: Parts, who: Who) -> Response:
    """A page of inventory items with their levels: {inventory_items, count, offset, limit}.

    ``location_id`` also restricts the levels shown, and so the sums, to these locations.
    """
    _, params = asked(request, _ITEM_FILTERS)
    return json_response(await parts.inventory.get("/inventory-items", who=who, params=params))


@router.post("/admin/inventory-items")
async def create_item(request: Request, parts: Parts, who: Who) -> Response:
    """Start to count a variant: {inventory_item}."""
    return await change(request, parts, who, "/inventory-items", bodies.CREATE_INVENTORY_ITEM)


@router.get("/admin/inventory-items/{item_id}")
async def get_item(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """One inventory item: {inventory_item}."""
    return json_response(await read(request, parts, who, f"/inventory-items/{segment(item_id)}"))


@router.post("/admin/inventory-items/{item_id}")
async def update_item(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """Change what is known of an item: {inventory_item}."""
    path = f"/inventory-items/{segment(item_id)}"
    return await change(request, parts, who, path, bodies.UPDATE_INVENTORY_ITEM)


@router.delete("/admin/inventory-items/{item_id}")
async def delete_item(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """Stop counting: {id, object, deleted}."""
    return await change(request, parts, who, f"/inventory-items/{segment(item_id)}", None)


@router.get(_LEVELS)
async def list_levels(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """The levels of an item: {inventory_item: {id, location_levels}}."""
    path = f"/inventory-items/{segment(item_id)}/location-levels"
    return json_response(await read(request, parts, who, path, "location_id"))


@router.post(_LEVELS)
async def create_level(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """Let a location stock an item: {inventory_item}."""
    path = f"/inventory-items/{segment(item_id)}/location-levels"
    return await change(request, parts, who, path, bodies.CREATE_LEVEL)


@router.post(_LEVELS + "/{location_id}")
async def update_level(
    request: Request, item_id: str, location_id: str, parts: Parts, who: Who
) -> Response:
    """What was counted, what is expected: {inventory_item}."""
    path = f"/inventory-items/{segment(item_id)}/location-levels/{segment(location_id)}"
    return await change(request, parts, who, path, bodies.UPDATE_LEVEL)


@router.delete(_LEVELS + "/{location_id}")
async def delete_level(
    request: Request, item_id: str, location_id: str, parts: Parts, who: Who
) -> Response:
    """A location no longer stocks an item: {inventory_item}."""
    path = f"/inventory-items/{segment(item_id)}/location-levels/{segment(location_id)}"
    return await change(request, parts, who, path, None)


# Stock locations


@router.get("/admin/stock-locations")
async def list_locations(request: Request, parts: Parts, who: Who) -> Response:
    """A page of stock locations: {stock_locations, count, offset, limit}."""
    _, params = asked(request, _LOCATION_FILTERS)
    page = await parts.inventory.get("/stock-locations", who=who, params=params)
    await _name_channels(parts, who, page["stock_locations"])
    return json_response(page)


@router.get("/admin/stock-locations/{location_id}")
async def get_location(request: Request, location_id: str, parts: Parts, who: Who) -> Response:
    """One stock location: {stock_location}."""
    path = f"/stock-locations/{segment(location_id)}"
    found = await read(request, parts, who, path, "expand")
    await _name_channels(parts, who, [found["stock_location"]])
    return json_response(found)


async def _name_channels(parts: Gate, who: Principal, locations: list[dict[str, Any]]) -> None:
    """Inventory knows which channels a location serves, orders what they are called."""
    shown = [location for location in locations if location.get("sales_channels")]
    ids = [channel["id"] for location in shown for channel in location["sales_channels"]]
    channels = await _channels(parts, who, ids)
    for location in shown:
        location["sales_channels"] = [
            channels.get(channel["id"], channel) for channel in location["sales_channels"]
        ]


async def _channels(parts: Gate, who: Principal, ids: list[str]) -> dict[str, dict[str, Any]]:
    if not ids:
        return {}
    params = {"id": sorted(set(ids))}
    found = await parts.orders.get("/sales-channels", who=who, params=params)
    return {channel["id"]: channel for channel in found["sales_channels"]}


@router.post("/admin/stock-locations")
async def create_location(request: Request, parts: Parts, who: Who) -> Response:
    """Open a location: {stock_location}."""
    return await change(request, parts, who, "/stock-locations", bodies.STOCK_LOCATION)


@router.post("/admin/stock-locations/{location_id}")
async def update_location(request: Request, location_id: str, parts: Parts, who: Who) -> Response:
    """Change a location: {stock_location}."""
    path = f"/stock-locations/{segment(location_id)}"
    return await change(request, parts, who, path, bodies.CHANGE_LOCATION)


@router.delete("/admin/stock-locations/{location_id}")
async def delete_location(request: Request, location_id: str, parts: Parts, who: Who) -> Response:
    """Close a location with its levels and reservations: {id, object, deleted}."""
    return await change(request, parts, who, f"/stock-locations/{segment(location_id)}", None)
