"""Store credit of customers: read by them and the shop, corrected by the shop; claims give it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from chassis.http import json_response
from gateway import answers, bodies, wire
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import check

router = APIRouter()


@router.get("/admin/customers/{customer_id}/store-credits")
async def get_store_credits(request: Request, customer_id: str, parts: Parts, who: Who) -> Response:
    """What a customer may spend, per currency, and how it came to be, newest first:
    {store_credits, entries, count, offset, limit}."""
    return json_response(await _found(request, parts, who, customer_id))


@router.get("/store/customers/me/store-credits")
async def get_own_store_credits(request: Request, parts: Parts, who: Who) -> Response:
    """The same for the customer who is signed in."""
    return json_response(await _found(request, parts, who, who.customer_id or ""))


async def _found(request: Request, parts: Gate, who: Principal, customer_id: str) -> Any:
    query = wire.query(request)
    wire.reject_unknown(query, {"limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=100)
    params = {"limit": str(limit), "offset": str(offset)}
    path = f"/customers/{segment(customer_id)}/store-credits"
    return await parts.orders.get(path, who=who, params=params)


@router.post("/admin/customers/{customer_id}/store-credits")
async def adjust_store_credit(
    request: Request, customer_id: str, parts: Parts, who: Who
) -> Response:
    """Give store credit by hand, or book what was spent; ``amount`` is signed:
    {store_credits, entries, count, offset, limit}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        path = f"/customers/{segment(customer_id)}/store-credits"
        await parts.orders.send(
            "POST",
            path,
            who=who,
            body=check(bodies.ADJUST_STORE_CREDIT, body),
            headers=tried.upstream_headers,
        )
        return await _found(request, parts, who, customer_id)

    return await answers.once(parts.database, who=who, tried=tried, work=work)
