"""Orders: list, retrieve, change, refund, and the claims and returns that are opened on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from chassis.errors import Invalid, NotFound
from chassis.http import json_response
from gateway import answers, bodies, compose, wire
from gateway.answers import Try
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import Shape, check

router = APIRouter()

ORDERS_MOST = 200
_SCALARS = ("q", "cart_id", "tax_rate")
_LISTS = (
    *("id", "status", "fulfillment_status", "payment_status", "display_id", "customer_id"),
    *("email", "region_id", "currency_code", "sales_channel_id"),
)
_DATES = ("created_at", "updated_at", "canceled_at")
_ENUMS = ("status", "fulfillment_status", "payment_status")


@router.get("/admin/orders")
async def list_orders(request: Request, parts: Parts, who: Who) -> Response:
    """A page of orders, newest first: {orders, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(
        query, {*_SCALARS, *_LISTS, *_DATES, "limit", "offset", "expand", "fields", "order"}
    )
    limit, offset = wire.paging(query, default=50, most=ORDERS_MOST)
    wanted = compose.asked(fields=wire.text(query, "fields"), expand=wire.text(query, "expand"))
    if "returnable_items" in wanted.relations:
        raise Invalid(
            "invalid_data",
            'The field "returnable_items" is not supported by this end point. ',
        )
    params = _filters(query) | {"limit": limit, "offset": offset}
    page = await parts.orders.get("/orders", who=who, params=params)
    await compose.orders(parts, who=who, found=page["orders"], wanted=wanted)
    shown = [
        compose.view(each, wanted=wanted) | {"created_at": each["created_at"]}
        for each in page["orders"]
    ]
    return json_response(
        {"orders": shown, "count": page["count"], "offset": offset, "limit": limit}
    )


def _filters(query: dict[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = {name: wire.text(query, name) for name in (*_SCALARS, "order")}
    for name in _LISTS:
        if name in _ENUMS and not isinstance(query.get(name, []), list):
            raise Invalid("invalid_data", f"{name} must be an array")
        params[name] = wire.texts(query, name)
    for name in _DATES:
        operators = query.get(name, {})
        if not isinstance(operators, dict):
            raise Invalid("invalid_data", f"{name} must be an object")
        wire.reject_unknown(operators, {"lt", "gt", "lte", "gte"})
        for operator, value in operators.items():
            params[f"{name}_{operator}"] = wire.date(value).isoformat()
    return params


@router.get("/admin/orders/{order_id}")
async def get_order(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """One order: {order}, with the asked fields and relations and always the totals."""
    query = wire.query(request)
    wire.reject_unknown(query, {"expand", "fields"})
    wanted = compose.asked(fields=wire.text(query, "fields"), expand=wire.text(query, "expand"))
    whole = await compose.order(parts, who=who, order_id=order_id)
    return json_response({"order": compose.view(whole, wanted=wanted)})


@router.post("/admin/orders/{order_id}")
async def update_order(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Correct email, addresses, customer, or whether mail is wanted: {order}."""
    return await _changed(request, parts, who, order_id, "", bodies.UPDATE_ORDER)


@router.post("/admin/orders/{order_id}/complete")
async def complete_order(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Declare an order completed: {order}."""
    return await _changed(request, parts, who, order_id, "/complete")


@router.post("/admin/orders/{order_id}/archive")
async def archive_order(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Put a completed order away: {order}."""
    return await _changed(request, parts, who, order_id, "/archive")


@router.post("/admin/orders/{order_id}/cancel")
async def cancel_order(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Cancel an order, and wait until its reservations are released: {order}."""
    return await _changed(request, parts, who, order_id, "/cancel")


@router.post("/admin/orders/{order_id}/capture")
async def capture_order(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Take the money of an order; a provider's no shows as payment_status: {order}."""
    return await _changed(request, parts, who, order_id, "/capture")


@router.post("/admin/orders/{order_id}/shipping-methods")
async def add_shipping_method(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """One more way to send an order: {order}."""
    shape = bodies.ADD_SHIPPING_METHOD
    return await _changed(request, parts, who, order_id, "/shipping-methods", shape)


async def _changed(
    request: Request,
    parts: Gate,
    who: Principal,
    order_id: str,
    path: str,
    shape: Shape = bodies.EMPTY,
) -> Response:
    """Have orders change an order, and answer it whole."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(shape, body)
        await parts.orders.send(
            "POST",
            f"/orders/{segment(order_id)}{path}",
            who=who,
            body=given if shape.fields else None,
            headers=tried.upstream_headers,
        )
        return await whole_after(parts, who, order_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.get("/admin/orders/{order_id}/ledger")
async def get_ledger(order_id: str, parts: Parts, who: Who) -> Response:
    """The money of an order: {transfers, refunds, attempts, captures, remedies, captured, ...}."""
    ledger = (await parts.orders.get(f"/orders/{segment(order_id)}/ledger", who=who))["ledger"]
    causes = {refund["id"]: refund for refund in ledger["refunds"]}
    for transfer in ledger["transfers"]:
        cause = causes.get(transfer["refund_id"], {})
        transfer["cause_kind"] = cause.get("cause_kind")
        transfer["cause_id"] = cause.get("cause_id")
    return json_response(ledger)


@router.post("/admin/orders/{order_id}/refund")
async def refund_order(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Refund by hand: {order}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.REFUND_ORDER, body)
        await parts.orders.send(
            "POST",
            f"/orders/{segment(order_id)}/refunds",
            who=who,
            body=given,
            headers=tried.upstream_headers,
        )
        return await whole_after(parts, who, order_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/orders/{order_id}/claims")
async def create_claim(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Open a claim and wait for its saga: {order} with every effect."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        claim = await drawn_up(parts, who, order_id, check(bodies.CREATE_CLAIM, body))
        async with _order_told_first(parts, who, order_id):
            await parts.claims.send(
                "POST", "/claims", who=who, body=claim, headers=tried.upstream_headers
            )
        return await whole_after(parts, who, order_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, always_show=True, work=work)


@router.post("/admin/orders/{order_id}/claims/preview")
async def preview_claim(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """What the same body would open, and nothing opened: {preview} with the money line by line, the
    lines that would go out, the return, and the events that would be told. Refuses as the opening
    would."""
    body = await wire.body(request)

    async def work() -> Any:
        given = check(bodies.CREATE_CLAIM, body)
        claim = await drawn_up(parts, who, order_id, given)
        async with _order_told_first(parts, who, order_id):
            plan = await parts.claims.send("POST", "/claims/preview", who=who, body=claim)
        held, reserved = await asyncio.gather(
            parts.orders.send(
                "POST", f"/orders/{segment(order_id)}/claims/preview", who=who, body=plan["hold"]
            ),
            _reserved(parts, who, plan["reservation"]),
            return_exceptions=True,
        )
        _refuse_in_turn(held, reserved)
        return {"preview": compose.preview(given, plan, held["placed"], reserved)}

    tried = answers.attempt(request, body)
    return await answers.once(parts.database, who=who, tried=tried, work=work)


async def _reserved(parts: Gate, who: Principal, wanted: Any) -> list[Any]:
    if wanted is None:
        return []
    answer = await parts.inventory.send("POST", "/reservations/preview", who=who, body=wanted)
    lines: list[Any] = answer["lines"]
    return lines


def _refuse_in_turn(held: Any, reserved: Any) -> None:
    """Medusa meets refusals in this order: the order itself, then stock, then units and money."""
    order_itself = getattr(held, "code", None) in ("order_unknown", "order_canceled")
    for outcome in (held, reserved) if order_itself else (reserved, held):
        if isinstance(outcome, BaseException):
            raise outcome


@router.get("/admin/orders/{order_id}/claimable")
async def get_claimable(order_id: str, parts: Parts, who: Who) -> Response:
    """What of each line may still be claimed and returned: {lines}."""
    return json_response(await parts.orders.get(f"/orders/{segment(order_id)}/claimable", who=who))


@router.post("/admin/orders/{order_id}/claims/{claim_id}")
async def update_claim(
    request: Request, order_id: str, claim_id: str, parts: Parts, who: Who
) -> Response:
    """Change what is written on a claim: {order}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.UPDATE_CLAIM, body)
        if given.get("shipping_methods"):
            given["shipping_methods"] = await priced_methods(parts, who, given["shipping_methods"])
        await parts.claims.send(
            "POST", f"/claims/{segment(claim_id)}", who=who, body={**given, "order_id": order_id}
        )
        return {"order": await compose.order(parts, who=who, order_id=order_id)}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


async def drawn_up(
    parts: Gate, who: Principal, order_id: str, given: dict[str, Any]
) -> dict[str, Any]:
    """The body of the claims service: with what it needs to know of the order, and prices."""
    claim = _claim(given) | {"order_id": order_id}
    if claim["additional_items"] or claim["shipping_methods"]:
        facts = await order_facts(parts, who, order_id)
        names = ("region_id", "sales_channel_id", "currency_code")
        claim["order"] = {name: facts[name] for name in names}
        claim["shipping_methods"] = await priced_methods(parts, who, claim["shipping_methods"])
    return claim


async def order_facts(parts: Gate, who: Principal, order_id: str) -> dict[str, Any]:
    facts: dict[str, Any] = await parts.orders.get(f"/orders/{segment(order_id)}/facts", who=who)
    return facts


@asynccontextmanager
async def _order_told_first(parts: Gate, who: Principal, order_id: str) -> AsyncIterator[None]:
    """Medusa looks for the order before it looks into the request: a service that refused what
    makes no sense, before it asked orders, is not the first to speak of an order that is not there.
    """
    try:
        yield
    except (Invalid, NotFound) as error:
        if not error.facts.get("settled"):
            await order_facts(parts, who, order_id)
        raise


async def priced_methods(
    parts: Gate, who: Principal, methods: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Shipping methods with the price of their option, where none was given."""
    if not any(method["option_id"] for method in methods):
        return methods
    answer = await parts.orders.get("/shipping-options", who=who)
    amounts = {option["id"]: option["amount"] for option in answer["shipping_options"]}
    for method in methods:
        option_id = method["option_id"]
        if option_id is not None and option_id not in amounts:
            message = f"Shipping Option with id: {option_id} was not found"
            raise NotFound("shipping_option_unknown", message)
        if method["price"] is None:
            method["price"] = amounts.get(option_id)
    return methods


def _claim(given: dict[str, Any]) -> dict[str, Any]:
    """Medusa's body in the words of the claims service: lists are never null there."""
    items = [
        {**item, "tags": item.get("tags") or [], "images": item.get("images") or []}
        for item in given["claim_items"] or ()
    ]
    return {
        **given,
        "claim_items": items,
        "additional_items": given.get("additional_items") or [],
        "shipping_methods": given.get("shipping_methods") or [],
    }


@router.post("/admin/orders/{order_id}/claims/{claim_id}/cancel")
async def cancel_claim(
    request: Request, order_id: str, claim_id: str, parts: Parts, who: Who
) -> Response:
    """Cancel a claim and wait until everything is released: {order}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        await parts.claims.send(
            "POST",
            f"/claims/{segment(claim_id)}/cancel",
            who=who,
            body={"order_id": order_id},
            headers=_only_given(tried),
        )
        return await whole_after(parts, who, order_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/orders/{order_id}/return")
async def request_return(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Request a return, with ``receive_now`` also receive it: {order}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.REQUEST_RETURN, body)
        names = ("items", "return_shipping", "no_notification", "location_id", "refund_to")
        wanted = {name: given.get(name) for name in names} | {
            "order_id": order_id,
            # As given: returns tells a negative amount (0) from 0 (not given).
            "refund": given.get("refund"),
            "receive_now": bool(given.get("receive_now")),
        }
        async with _order_told_first(parts, who, order_id):
            await parts.returns.send(
                "POST", "/returns", who=who, body=wanted, headers=tried.upstream_headers
            )
        return await whole_after(parts, who, order_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, always_show=True, work=work)


def _only_given(tried: Try) -> dict[str, str]:
    """A cancel is idempotent by itself: the key goes along only if the client sent one."""
    headers = tried.upstream_headers
    return headers if tried.given else {k: v for k, v in headers.items() if k == "prefer"}


async def whole_after(parts: Gate, who: Principal, order_id: str, tried: Try) -> Any:
    """The answer of a change: the whole order, or 202 and where to look."""
    if tried.respond_async:
        location = {"Location": f"/admin/orders/{order_id}"}
        return json_response({"id": order_id, "status": "accepted"}, 202, location)
    return {"order": await compose.order(parts, who=who, order_id=order_id)}
