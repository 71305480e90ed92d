"""Claims over all orders (ours; Medusa shows claims on their orders only)."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from chassis.errors import Invalid, NotFound, Unavailable
from chassis.http import json_response
from gateway import answers, bodies, compose, reporting, store, wire
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import check

router = APIRouter()
_FILTERS = ("order_id", "type", "status", "payment_status", "assigned_to")
_QUEUES = ("needs_review", "waiting_for_return", "stuck")


@router.get("/admin/claims")
async def list_claims(request: Request, parts: Parts, who: Who) -> Response:
    """A page of claims, by default the newest first: {claims, count, offset, limit}. ``order``
    names fields to sort by, separated by commas, each with - for descending. ``queue`` names what
    somebody has to look at; ``is_open``, ``assigned_to``, ``created_at[gte]`` and ``[lt]`` narrow
    it, ``q`` searches number, e-mail and customer of the orders. ``expand=order`` shows whose each
    is."""
    query = wire.query(request)
    known = {*_FILTERS, "queue", "is_open", "created_at", "q"}
    known |= {"expand", "order", "limit", "offset"}
    wire.reject_unknown(query, known)
    limit, offset = wire.paging(query, default=50, most=100)
    expand = _one_of(query, "expand", ("order",))
    params: dict[str, Any] = {name: wire.text(query, name) for name in _FILTERS} | {
        "queue": _one_of(query, "queue", _QUEUES),
        "is_open": _one_of(query, "is_open", ("true", "false")),
        "order": wire.text(query, "order"),
        **wire.days(query, "created_at"),
        "limit": limit,
        "offset": offset,
    }
    text = wire.text(query, "q")
    if text:
        like = await reporting.orders_like(parts, who, text)
        own = params["order_id"]
        params["order_id"] = [each for each in like if own in (None, each)]
        if not params["order_id"]:
            return json_response({"claims": [], "count": 0, "offset": offset, "limit": limit})
    page = await parts.claims.get("/claims", who=who, params=params)
    if expand:
        await _add_orders(parts, who, page["claims"])
    return json_response(page)


async def _add_orders(parts: Gate, who: Principal, claims: list[dict[str, Any]]) -> None:
    """``order`` of each claim: which it is, and whose."""
    ids = sorted({claim["order_id"] for claim in claims})
    if not ids:
        return
    page = await parts.orders.get("/orders", who=who, params={"id": ids, "limit": len(ids)})
    known = {
        order["id"]: {name: order[name] for name in ("id", "display_id", "email", "customer")}
        for order in page["orders"]
    }
    for claim in claims:
        claim["order"] = known.get(claim["order_id"])


@router.get("/admin/claims/{claim_id}")
async def get_claim(claim_id: str, parts: Parts, who: Who) -> Response:
    """One claim with the timeline of its sagas and the orders that follow from it: {claim}."""
    return json_response(await _whole(parts, who, claim_id))


async def _whole(parts: Gate, who: Principal, claim_id: str) -> Any:
    """``orders`` is null while the orders service is away."""
    path = f"/claims/{segment(claim_id)}"
    answer, orders = await asyncio.gather(
        parts.claims.get(path, who=who), _followed(parts, who, f"{path}/orders")
    )
    answer["claim"]["orders"] = orders
    return answer


async def _followed(parts: Gate, who: Principal, path: str) -> Any:
    try:
        return (await parts.orders.get(path, who=who))["orders"]
    except Unavailable:
        return None


@router.post("/admin/claims/{claim_id}/order")
async def open_linked_order(request: Request, claim_id: str, parts: Parts, who: Who) -> Response:
    """A new order that follows from a claim, for the same customer: {order}.

    Each item costs what its variant costs there unless ``unit_price`` is given; nothing is paid.
    """
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.LINKED_ORDER, body)
        claim = (await parts.claims.get(f"/claims/{segment(claim_id)}", who=who))["claim"]
        wanted = {
            "claim_id": claim_id,
            "of_order_id": claim["order_id"],
            "items": await _lines(parts, who, claim["order_id"], given["items"]),
        }
        answer = await parts.orders.send(
            "POST", "/linked-orders", who=who, body=wanted, headers=tried.upstream_headers
        )
        return {"order": await compose.order(parts, who=who, order_id=answer["order_id"])}

    return await answers.once(parts.database, who=who, tried=tried, always_show=True, work=work)


async def _lines(
    parts: Gate, who: Principal, order_id: str, items: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What the items are called and cost where the claimed order was sold."""
    facts = await parts.orders.get(f"/orders/{segment(order_id)}/facts", who=who)
    wanted = sorted({item["variant_id"] for item in items})
    params = {
        "id": wanted,
        "limit": len(wanted) + 1,
        "region_id": facts["region_id"],
        "currency_code": facts["currency_code"],
    }
    page = await parts.inventory.get("/variants", who=who, params=params)
    known = {variant["id"]: variant for variant in page["variants"]}
    lines = []
    for item in items:
        variant = known.get(item["variant_id"])
        if variant is None:
            message = f"Variant with id: {item['variant_id']} was not found"
            raise NotFound("variant_unknown", message)
        price = variant["calculated_price"] if item["unit_price"] is None else item["unit_price"]
        if price is None:
            raise Invalid(
                "variant_without_price",
                f"{item['variant_id']} has no price in {facts['currency_code']}: give a unit_price",
            )
        lines.append(
            {
                "variant_id": item["variant_id"],
                "title": variant["product"]["title"],
                "description": variant["title"],
                "sku": variant["sku"],
                "unit_price": price,
                "quantity": item["quantity"],
            }
        )
    return lines


@router.post("/admin/claims/{claim_id}/assign")
async def assign_claim(request: Request, claim_id: str, parts: Parts, who: Who) -> Response:
    """Give a claim to a user, with ``user_id`` null to nobody: {claim}."""
    body = await wire.body(request)

    async def work() -> Any:
        given = check(bodies.ASSIGN_CLAIM, body)
        user_id = given.get("user_id")
        if user_id is not None:
            async with parts.database.glance() as tx:
                if await store.user_by_id(tx, user_id=user_id) is None:
                    raise NotFound("user_unknown", f"User with id: {user_id} was not found")
        return await _worked_on(parts, who, claim_id, "assign", given)

    tried = answers.attempt(request, body)
    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/claims/{claim_id}/close")
async def close_claim(request: Request, claim_id: str, parts: Parts, who: Who) -> Response:
    """The work on a claim is over, for good: {claim}. Money, units and stock stay as they are."""
    body = await wire.body(request)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        return await _worked_on(parts, who, claim_id, "close", {}, tried.upstream_headers)

    tried = answers.attempt(request, body)
    return await answers.once(parts.database, who=who, tried=tried, work=work)


async def _worked_on(
    parts: Gate,
    who: Principal,
    claim_id: str,
    act: str,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
) -> Any:
    path = f"/claims/{segment(claim_id)}"
    await parts.claims.send("POST", f"{path}/{act}", who=who, body=body, headers=headers)
    return await _whole(parts, who, claim_id)


def _one_of(query: dict[str, Any], name: str, values: tuple[str, ...]) -> str | None:
    value = wire.text(query, name)
    if value is not None and value not in values:
        told = ", ".join(values)
        raise Invalid("invalid_data", f"{name} must be one of the following values: {told}")
    return value
