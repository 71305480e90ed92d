"""Goods of an order and of its claims: packed, sent, unpacked. All answer the whole order."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from gateway import answers, bodies, wire
from gateway.admin.orders import whole_after
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import Shape, check

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


@router.post("/admin/orders/{order_id}/claims/{claim_id}/fulfillments")
async def fulfill_claim(
    request: Request, order_id: str, claim_id: str, parts: Parts, who: Who
) -> Response:
    """Pack all that a claim still owes, and wait until it is out of stock: {order}. Without a
    location each item is taken from where it is reserved."""
    return await _of_claim(
        request, parts, who, order_id, claim_id, "fulfillments", bodies.FULFILL_CLAIM
    )


@router.post("/admin/orders/{order_id}/claims/{claim_id}/fulfillments/{fulfillment_id}/cancel")
async def cancel_claim_fulfillment(
    request: Request, order_id: str, claim_id: str, fulfillment_id: str, parts: Parts, who: Who
) -> Response:
    """Unpack goods of a claim, and wait until they are back and reserved again: {order}."""
    path = f"fulfillments/{segment(fulfillment_id)}/cancel"
    return await _of_claim(request, parts, who, order_id, claim_id, path, bodies.EMPTY)


@router.post("/admin/orders/{order_id}/claims/{claim_id}/shipments")
async def ship_claim(
    request: Request, order_id: str, claim_id: str, parts: Parts, who: Who
) -> Response:
    """Packed goods of a claim are on their way: {order}."""
    return await _of_claim(request, parts, who, order_id, claim_id, "shipments", bodies.SHIP_CLAIM)


async def _of_claim(
    request: Request,
    parts: Gate,
    who: Principal,
    order_id: str,
    claim_id: str,
    path: str,
    shape: Shape,
) -> Response:
    """Have claims change the goods of a claim, and answer the whole order."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(shape, body) | {"order_id": order_id}
        if "tracking_numbers" in given:
            given["tracking_numbers"] = given["tracking_numbers"] or []
        await parts.claims.send(
            "POST",
            f"/claims/{segment(claim_id)}/{path}",
            who=who,
            body=given,
            headers=tried.upstream_headers,
        )
        return await whole_after(parts, who, order_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)
