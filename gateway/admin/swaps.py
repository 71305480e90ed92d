"""Exchanges, which Medusa calls swaps: units given back for other goods, without a cart."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from chassis.errors import Invalid
from chassis.http import json_response
from gateway import answers, bodies, compose, wire
from gateway.admin.orders import order_facts, priced_methods, whole_after
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import Shape, check

router = APIRouter()


@router.get("/admin/swaps")
async def list_swaps(request: Request, parts: Parts, who: Who) -> Response:
    """A page of swaps, newest first: {swaps, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(query, {"limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=200)
    params = {"limit": limit, "offset": offset}
    page = await parts.claims.get("/exchanges", who=who, params=params)
    shown = await compose.swaps(parts, who=who, found=page["exchanges"])
    return json_response({"swaps": shown, "count": page["count"], "offset": offset, "limit": limit})


@router.get("/admin/swaps/{swap_id}")
async def get_swap(swap_id: str, parts: Parts, who: Who) -> Response:
    """One swap: {swap}."""
    found = await parts.claims.get(f"/exchanges/{segment(swap_id)}", who=who)
    (swap,) = await compose.swaps(parts, who=who, found=[found["exchange"]])
    return json_response({"swap": swap})


@router.get("/admin/exchanges/{exchange_id}")
async def get_exchange(exchange_id: str, parts: Parts, who: Who) -> Response:
    """Ours: what Medusa's shape of a swap has no place for: {exchange} with what its difference is
    made of, what comes back, and the timeline of its sagas."""
    path = f"/exchanges/{segment(exchange_id)}"
    return json_response(await parts.claims.get(path, who=who))


@router.post("/admin/orders/{order_id}/swaps")
async def create_swap(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Exchange units for other goods, and settle the difference as far as nobody has to pay:
    {order} with every effect."""
    query = wire.query(request)
    wire.reject_unknown(query, {"expand", "fields"})
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.CREATE_SWAP, body)
        # Medusa looks for the order before it looks into the request.
        facts = await order_facts(parts, who, order_id)
        wanted = await _drawn_up(parts, who, facts, given) | {"order_id": order_id}
        await parts.claims.send(
            "POST", "/exchanges", who=who, body=wanted, headers=tried.upstream_headers
        )
        answer = await whole_after(parts, who, order_id, tried)
        if query and isinstance(answer, dict):
            fields, expand = wire.text(query, "fields"), wire.text(query, "expand")
            shown = compose.asked(fields=fields, expand=expand)
            answer["order"] = compose.view(answer["order"], wanted=shown)
        return answer

    return await answers.once(parts.database, who=who, tried=tried, always_show=True, work=work)


async def _drawn_up(
    parts: Gate, who: Principal, facts: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """The body of the claims service: with what it needs to know of the order."""
    options = given["custom_shipping_options"] or []
    if len(options) > 1:
        # Medusa offers them to the customer, who chooses one in the cart.
        raise Invalid(
            "too_many_shipping_options",
            "A swap has no cart to choose a shipping option in:"
            " give one of custom_shipping_options",
        )
    await _check_reasons(parts, who, given["return_items"])
    methods = [
        {"id": None, "option_id": each["option_id"], "price": each["price"], "data": None}
        for each in options
    ]
    order = {name: facts[name] for name in ("region_id", "sales_channel_id", "currency_code")}
    if given["sales_channel_id"] is not None:
        order["sales_channel_id"] = given["sales_channel_id"]
    return {
        "return_items": given["return_items"],
        "return_shipping": given["return_shipping"],
        "additional_items": given["additional_items"] or [],
        "shipping_methods": await priced_methods(parts, who, methods),
        "no_notification": given["no_notification"],
        "return_location_id": given["return_location_id"],
        "allow_backorder": given["allow_backorder"],
        "order": order,
    }


async def _check_reasons(parts: Gate, who: Principal, items: list[dict[str, Any]]) -> None:
    """Reasons belong to returns, which cannot refuse the return of an exchange any more."""
    for reason_id in sorted({item["reason_id"] for item in items if item["reason_id"]}):
        path = f"/return-reasons/{segment(reason_id)}"
        reason = (await parts.returns.get(path, who=who))["return_reason"]
        if reason["return_reason_children"]:
            raise Invalid("reason_is_category", "Cannot apply return reason category")


@router.post("/admin/orders/{order_id}/swaps/{swap_id}/process-payment")
async def process_payment(
    request: Request, order_id: str, swap_id: str, parts: Parts, who: Who
) -> Response:
    """The difference was paid, or a refund of it that was declined is asked for again: {order}."""
    return await _of_swap(request, parts, who, order_id, swap_id, "process-payment", bodies.EMPTY)


@router.post("/admin/orders/{order_id}/swaps/{swap_id}/cancel")
async def cancel_swap(
    request: Request, order_id: str, swap_id: str, parts: Parts, who: Who
) -> Response:
    """Cancel a swap, pay a difference back that was paid, and wait for all of it: {order}."""
    return await _of_swap(request, parts, who, order_id, swap_id, "cancel", bodies.EMPTY)


@router.post("/admin/orders/{order_id}/swaps/{swap_id}/fulfillments")
async def fulfill_swap(
    request: Request, order_id: str, swap_id: str, parts: Parts, who: Who
) -> Response:
    """Pack all that a swap still owes, and wait until it is out of stock: {order}. Without a
    location each item is taken from where it is reserved."""
    shape = bodies.FULFILL_CLAIM
    return await _of_swap(request, parts, who, order_id, swap_id, "fulfillments", shape)


@router.post("/admin/orders/{order_id}/swaps/{swap_id}/fulfillments/{fulfillment_id}/cancel")
async def cancel_swap_fulfillment(
    request: Request, order_id: str, swap_id: str, fulfillment_id: str, parts: Parts, who: Who
) -> Response:
    """Unpack goods of a swap, and wait until they are back and reserved again: {order}."""
    path = f"fulfillments/{segment(fulfillment_id)}/cancel"
    return await _of_swap(request, parts, who, order_id, swap_id, path, bodies.EMPTY)


@router.post("/admin/orders/{order_id}/swaps/{swap_id}/shipments")
async def ship_swap(
    request: Request, order_id: str, swap_id: str, parts: Parts, who: Who
) -> Response:
    """Packed goods of a swap are on their way: {order}."""
    shape = bodies.SHIP_SWAP
    return await _of_swap(request, parts, who, order_id, swap_id, "shipments", shape)


async def _of_swap(
    request: Request,
    parts: Gate,
    who: Principal,
    order_id: str,
    swap_id: str,
    path: str,
    shape: Shape,
) -> Response:
    """Have claims change an exchange, and answer the whole order."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(shape, body) | {"order_id": order_id}
        # Whoever asks for the order asks for no mail: the exchange's own wish counts.
        if path == "shipments":
            given.pop("no_notification")
            given["tracking_numbers"] = given["tracking_numbers"] or []
        await parts.claims.send(
            "POST",
            f"/exchanges/{segment(swap_id)}/{path}",
            who=who,
            body=given,
            headers=tried.upstream_headers,
        )
        return await whole_after(parts, who, order_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)
