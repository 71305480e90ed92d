"""Stock: variants, inventory items, levels, locations, reservations."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.http import json_response
from gateway import answers, bodies, wire
from gateway.clients import segment
from gateway.gate import Parts, Who
from gateway.shapes import Shape, check

router = APIRouter()
_LEVELS = "/admin/inventory-items/{item_id}/location-levels"


# List filters -> the operators they take besides a plain value.
_COMPARED = ("lt", "lte", "gt", "gte")
_ITEM_FILTERS: dict[str, tuple[str, ...]] = dict.fromkeys(
    (
        *("q", "id", "variant_id", "location_id", "sku", "origin_country", "mid_code"),
        *("material", "hs_code", "weight", "length", "height", "width", "requires_shipping"),
    ),
    (),
)
_VARIANT_FILTERS: dict[str, tuple[str, ...]] = dict.fromkeys(("q", "ids", "id", "sku"), ())
_LOCATION_FILTERS: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("q", "id", "name", "sales_channel_id"), ()
)
_RESERVATION_FILTERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("location_id", "inventory_item_id", "line_item_id", "created_by"), ()),
    "quantity": _COMPARED,
    "created_at": _COMPARED,
    "updated_at": _COMPARED,
    "description": ("contains", "starts_with", "ends_with"),
}
# The stock client sends them along; what a list shows here is always whole.
_SHOWN = ("expand", "fields")
_DATES = ("created_at", "updated_at")


def _flat(given: dict[str, Any], filters: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """``a[gt]=1`` as the service writes it: ``a_gt=1``; lists stay lists."""
    flat: dict[str, Any] = {}
    for name, operators in filters.items():
        value = given.get(name)
        if isinstance(value, dict):
            wire.reject_unknown(value, operators)
            for operator, each in value.items():
                flat[f"{name}_{operator}"] = (
                    wire.date(each).isoformat() if name in _DATES else wire.text(value, operator)
                )
        else:
            flat[name] = wire.texts(given, name)
    return flat


async def _list(
    request: Request, parts: Parts, who: Who, path: str, filters: dict[str, tuple[str, ...]]
) -> Response:
    """A page of ``path``; only these filters, and at most 200 rows."""
    given = wire.query(request)
    wire.reject_unknown(given, {*filters, *_SHOWN, "limit", "offset", "order"})
    limit, offset = wire.paging(given, default=20, most=200)
    params = _flat(given, filters) | {"limit": limit, "offset": offset}
    passed = ("order", "expand") if path == "/reservations" else ("order",)
    params |= {name: wire.text(given, name) for name in passed}
    return json_response(await parts.inventory.get(path, who=who, params=params))


async def _read(request: Request, parts: Parts, who: Who, path: str, *passed: str) -> Response:
    """One thing. ``passed``: parameters that the service wants to know."""
    given = wire.query(request)
    wire.reject_unknown(given, {*_SHOWN, *passed})
    params = {name: wire.texts(given, name) for name in passed}
    return json_response(await parts.inventory.get(path, who=who, params=params))


async def _change(
    request: Request, parts: Parts, who: Who, path: str, shape: Shape | None
) -> Response:
    """Pass a checked body on; a key that the client sent is honored."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(shape or bodies.EMPTY, body)
        wanted = {name: value for name, value in given.items() if name in body}
        headers = tried.upstream_headers if tried.given else {}
        return await parts.inventory.send(
            request.method, path, who=who, body=wanted if shape else None, headers=headers
        )

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.get("/admin/variants")
async def list_variants(request: Request, parts: Parts, who: Who) -> Response:
    """A page of variants: {variants, count, offset, limit}."""
    return await _list(request, parts, who, "/variants", _VARIANT_FILTERS)


@router.get("/admin/variants/{variant_id}/inventory")
async def get_variant_inventory(
    request: Request, variant_id: str, parts: Parts, who: Who
) -> Response:
    """The items of a variant and what each sales channel can sell: {variant}."""
    return await _read(request, parts, who, f"/variants/{segment(variant_id)}/inventory")


@router.get("/admin/inventory-items")
async def list_items(request: Request, parts: Parts, who: Who) -> Response:
    """A page of inventory items with their levels: {inventory_items, count, offset, limit}."""
    return await _list(request, parts, who, "/inventory-items", _ITEM_FILTERS)


@router.post("/admin/inventory-items")
async def create_item(request: Request, parts: Parts, who: Who) -> Response:
    """Start to count a variant: {inventory_item}."""
    return await _change(request, parts, who, "/inventory-items", bodies.CREATE_INVENTORY_ITEM)


@router.get("/admin/inventory-items/{item_id}")
async def get_item(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """One inventory item: {inventory_item}."""
    return await _read(request, parts, who, f"/inventory-items/{segment(item_id)}")


@router.post("/admin/inventory-items/{item_id}")
async def update_item(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """Change what is known of an item: {inventory_item}."""
    path = f"/inventory-items/{segment(item_id)}"
    return await _change(request, parts, who, path, bodies.UPDATE_INVENTORY_ITEM)


@router.delete("/admin/inventory-items/{item_id}")
async def delete_item(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """Stop counting: {id, object, deleted}."""
    return await _change(request, parts, who, f"/inventory-items/{segment(item_id)}", None)


@router.get(_LEVELS)
async def list_levels(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """The levels of an item: {inventory_item: {id, location_levels}}."""
    return await _read(
        request, parts, who, f"/inventory-items/{segment(item_id)}/location-levels", "location_id"
    )


@router.post(_LEVELS)
async def create_level(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """Let a location stock an item: {inventory_item}."""
    path = f"/inventory-items/{segment(item_id)}/location-levels"
    return await _change(request, parts, who, path, bodies.CREATE_LEVEL)


@router.post(_LEVELS + "/{location_id}")
async def update_level(
    request: Request, item_id: str, location_id: str, parts: Parts, who: Who
) -> Response:
    """What was counted, what is expected: {inventory_item}."""
    path = f"/inventory-items/{segment(item_id)}/location-levels/{segment(location_id)}"
    return await _change(request, parts, who, path, bodies.UPDATE_LEVEL)


@router.delete(_LEVELS + "/{location_id}")
async def delete_level(
    request: Request, item_id: str, location_id: str, parts: Parts, who: Who
) -> Response:
    """A location no longer stocks an item: {inventory_item}."""
    path = f"/inventory-items/{segment(item_id)}/location-levels/{segment(location_id)}"
    return await _change(request, parts, who, path, None)


@router.get("/admin/stock-locations")
async def list_locations(request: Request, parts: Parts, who: Who) -> Response:
    """A page of stock locations: {stock_locations, count, offset, limit}."""
    return await _list(request, parts, who, "/stock-locations", _LOCATION_FILTERS)


@router.get("/admin/stock-locations/{location_id}")
async def get_location(request: Request, location_id: str, parts: Parts, who: Who) -> Response:
    """One stock location: {stock_location}."""
    return await _read(request, parts, who, f"/stock-locations/{segment(location_id)}")


@router.post("/admin/stock-locations")
async def create_location(request: Request, parts: Parts, who: Who) -> Response:
    """Open a location: {stock_location}."""
    return await _change(request, parts, who, "/stock-locations", bodies.STOCK_LOCATION)


@router.post("/admin/stock-locations/{location_id}")
async def update_location(request: Request, location_id: str, parts: Parts, who: Who) -> Response:
    """Change a location: {stock_location}."""
    path = f"/stock-locations/{segment(location_id)}"
    return await _change(request, parts, who, path, bodies.CHANGE_LOCATION)


@router.delete("/admin/stock-locations/{location_id}")
async def delete_location(request: Request, location_id: str, parts: Parts, who: Who) -> Response:
    """Close a location with its levels and reservations: {id, object, deleted}."""
    return await _change(request, parts, who, f"/stock-locations/{segment(location_id)}", None)


@router.get("/admin/reservations")
async def list_reservations(request: Request, parts: Parts, who: Who) -> Response:
    """A page of what is reserved: {reservations, count, offset, limit}."""
    return await _list(request, parts, who, "/reservations", _RESERVATION_FILTERS)


@router.get("/admin/reservations/{reservation_id}")
async def get_reservation(
    request: Request, reservation_id: str, parts: Parts, who: Who
) -> Response:
    """One reservation: {reservation}."""
    return await _read(request, parts, who, f"/reservations/{segment(reservation_id)}", "expand")
