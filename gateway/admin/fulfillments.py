"""Goods of an order: packed, sent, unpacked. Every change answers the whole order."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from gateway import answers, bodies, wire
from gateway.admin.orders import whole_after
from gateway.clients import segment
from gateway.gate import Parts, Who
from gateway.shapes import check

router = APIRouter()


@router.post("/admin/orders/{order_id}/fulfillment")
async def create_fulfillment(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Pack goods; with a location, and once they are out of its stock: {order}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.CREATE_FULFILLMENT, body)
        path = f"/orders/{segment(order_id)}/fulfillments"
        await parts.orders.send("POST", path, who=who, body=given, headers=tried.upstream_headers)
        return await whole_after(parts, who, order_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/orders/{order_id}/fulfillments/{fulfillment_id}/cancel")
async def cancel_fulfillment(
    request: Request, order_id: str, fulfillment_id: str, parts: Parts, who: Who
) -> Response:
    """Unpack goods, and wait until they are back in stock: {order}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        path = f"/orders/{segment(order_id)}/fulfillments/{segment(fulfillment_id)}/cancel"
        await parts.orders.send("POST", path, who=who, headers=tried.upstream_headers)
        return await whole_after(parts, who, order_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/orders/{order_id}/shipment")
async def create_shipment(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Packed goods are on their way: {order}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.CREATE_SHIPMENT, body)
        given["tracking_numbers"] = given["tracking_numbers"] or []
        path = f"/orders/{segment(order_id)}/shipments"
        await parts.orders.send("POST", path, who=who, body=given, headers=tried.upstream_headers)
        return await whole_after(parts, who, order_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)
