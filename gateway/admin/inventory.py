"""Stock: variants, inventory items, levels, locations, reservations."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.http import json_response
from gateway import answers, bodies, wire
from gateway.gate import Parts, Who
from gateway.shapes import Shape, check

router = APIRouter()
_LEVELS = "/admin/inventory-items/{item_id}/location-levels"


def _flat(query: dict[str, Any]) -> dict[str, Any]:
    """``a[gt]=1`` as the service writes it: ``a_gt=1``; lists stay lists."""
    flat: dict[str, Any] = {}
    for name, value in query.items():
        if isinstance(value, dict):
            flat |= {f"{name}_{operator}": each for operator, each in value.items()}
        else:
            flat[name] = value
    return flat


async def _read(request: Request, parts: Parts, who: Who, path: str) -> Response:
    params = _flat(wire.query(request))
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
    return await _read(request, parts, who, "/variants")


@router.get("/admin/inventory-items")
async def list_items(request: Request, parts: Parts, who: Who) -> Response:
    """A page of inventory items with their levels: {inventory_items, count, offset, limit}."""
    return await _read(request, parts, who, "/inventory-items")


@router.post("/admin/inventory-items")
async def create_item(request: Request, parts: Parts, who: Who) -> Response:
    """Start to count a variant: {inventory_item}."""
    return await _change(request, parts, who, "/inventory-items", bodies.CREATE_INVENTORY_ITEM)


@router.get("/admin/inventory-items/{item_id}")
async def get_item(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """One inventory item: {inventory_item}."""
    return await _read(request, parts, who, f"/inventory-items/{item_id}")


@router.post("/admin/inventory-items/{item_id}")
async def update_item(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """Change what is known of an item: {inventory_item}."""
    path = f"/inventory-items/{item_id}"
    return await _change(request, parts, who, path, bodies.UPDATE_INVENTORY_ITEM)


@router.delete("/admin/inventory-items/{item_id}")
async def delete_item(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """Stop counting: {id, object, deleted}."""
    return await _change(request, parts, who, f"/inventory-items/{item_id}", None)


@router.get(_LEVELS)
async def list_levels(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """The levels of an item: {inventory_item: {id, location_levels}}."""
    return await _read(request, parts, who, f"/inventory-items/{item_id}/location-levels")


@router.post(_LEVELS)
async def create_level(request: Request, item_id: str, parts: Parts, who: Who) -> Response:
    """Let a location stock an item: {inventory_item}."""
    path = f"/inventory-items/{item_id}/location-levels"
    return await _change(request, parts, who, path, bodies.CREATE_LEVEL)


@router.post(_LEVELS + "/{location_id}")
async def update_level(
    request: Request, item_id: str, location_id: str, parts: Parts, who: Who
) -> Response:
    """What was counted, what is expected: {inventory_item}."""
    path = f"/inventory-items/{item_id}/location-levels/{location_id}"
    return await _change(request, parts, who, path, bodies.UPDATE_LEVEL)


@router.delete(_LEVELS + "/{location_id}")
async def delete_level(
    request: Request, item_id: str, location_id: str, parts: Parts, who: Who
) -> Response:
    """A location no longer stocks an item: {inventory_item}."""
    path = f"/inventory-items/{item_id}/location-levels/{location_id}"
    return await _change(request, parts, who, path, None)


@router.get("/admin/stock-locations")
async def list_locations(request: Request, parts: Parts, who: Who) -> Response:
    """A page of stock locations: {stock_locations, count, offset, limit}."""
    return await _read(request, parts, who, "/stock-locations")


@router.get("/admin/stock-locations/{location_id}")
async def get_location(request: Request, location_id: str, parts: Parts, who: Who) -> Response:
    """One stock location: {stock_location}."""
    return await _read(request, parts, who, f"/stock-locations/{location_id}")


@router.get("/admin/reservations")
async def list_reservations(request: Request, parts: Parts, who: Who) -> Response:
    """A page of what is reserved: {reservations, count, offset, limit}."""
    return await _read(request, parts, who, "/reservations")


@router.get("/admin/reservations/{reservation_id}")
async def get_reservation(
    request: Request, reservation_id: str, parts: Parts, who: Who
) -> Response:
    """One reservation: {reservation}."""
    return await _read(request, parts, who, f"/reservations/{reservation_id}")
