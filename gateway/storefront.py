"""The ``/store`` surface: what a customer may see and ask for."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal, Unauthorized
from chassis.errors import Invalid, NotFound
from chassis.http import json_response
from gateway import answers, bodies, compose, wire
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import Email, Number, Shape, check

router = APIRouter()

# Whom the gateway asks as when the shop trusts everybody who knows an order's id.
_SHOP = Principal("storefront", "agent")
_FIELDS = (
    *("id", "status", "fulfillment_status", "payment_status", "display_id", "cart_id"),
    *("customer_id", "email", "region_id", "currency_code", "tax_rate", "created_at"),
)
_RELATIONS = (
    *("shipping_address", "fulfillments", "items", "shipping_methods", "discounts"),
    *("customer", "payments", "region"),
)
# All that may be asked for; whatever else an order has is the shop's.
_ALLOWED = frozenset({*_FIELDS, *_RELATIONS, *compose.TOTALS, "billing_address"})


_PROOF = Shape(
    {
        "display_id": Number(required=True, say_empty=False, least=0, coerced=True),
        "email": Email(required=True, say_empty=False),
    }
)


def _as_whom(parts: Gate, who: Principal) -> Principal:
    """The customer; anybody only where the shop says so (``RECLAMO_STORE_RETURNS=open``)."""
    if who.customer_id:
        return who
    if parts.settings.store_returns == "open" or not who.is_customer:
        return _SHOP
    raise Unauthorized("sign in to see your orders")


@router.post("/store/returns")
async def request_return(request: Request, parts: Parts, who: Who) -> Response:
    """A customer sends something back: {return}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)
    asking = _as_whom(parts, who)

    async def work() -> Any:
        given = check(bodies.STORE_RETURN, body)
        facts = await parts.orders.get(f"/orders/{segment(given['order_id'])}/facts", who=asking)
        wanted = {
            "order_id": given["order_id"],
            "items": given["items"],
            "return_shipping": given.get("return_shipping"),
            "storefront": True,
            "customer_id": facts["customer_id"],
        }
        answer = await parts.returns.send(
            "POST", "/returns", who=asking, body=wanted, headers=tried.upstream_headers
        )
        if tried.respond_async:
            return json_response(answer, 202, {"Location": f"/store/orders/{given['order_id']}"})
        return {"return": {**answer["return"], "swap": None}}

    return await answers.once(parts.database, who=who, tried=tried, always_show=True, work=work)


@router.get("/store/orders")
async def look_up_order(request: Request, parts: Parts, who: Who) -> Response:
    """The one order of this number and e-mail: {order}; they are a guest's proof.

    Whatever does not match is answered alike, without a word on what was wrong.
    """
    query = wire.query(request)
    names = ("display_id", "email", "shipping_address", "fields", "expand")
    wire.reject_unknown(query, names)
    proof = check(_PROOF, {name: query.get(name) for name in _PROOF.fields})
    address = query.get("shipping_address") or {}
    if not isinstance(address, dict):
        raise Invalid("invalid_data", "shipping_address must be an object")
    wire.reject_unknown(address, {"postal_code"})
    postal_code = wire.text(address, "postal_code")
    wanted = _asked({name: query[name] for name in ("fields", "expand") if name in query})
    page = await parts.orders.get("/orders", who=_SHOP, params={"display_id": proof["display_id"]})
    found = [
        each
        for each in page["orders"]
        if each["email"].lower() == proof["email"].lower()
        and postal_code in (None, (each["shipping_address"] or {}).get("postal_code"))
    ]
    if len(found) != 1:
        return Response("Not Found", 404, media_type="text/plain")
    return await _shown(parts, _SHOP, found[0]["id"], wanted)


@router.get("/store/orders/cart/{cart_id}")
async def get_order_of_cart(cart_id: str, parts: Parts, who: Who) -> Response:
    """No order here was ever a cart: not found."""
    _as_whom(parts, who)
    raise NotFound("order_unknown", f"Order with cart id: {cart_id} was not found")


@router.get("/store/orders/{order_id}")
async def get_order(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """A customer's own order: {order}; another's answers like one that does not exist."""
    asking = _as_whom(parts, who)
    return await _shown(parts, asking, order_id, _asked(wire.query(request)))


async def _shown(parts: Gate, who: Principal, order_id: str, wanted: compose.Asked) -> Response:
    whole = await compose.order(parts, who=who, order_id=order_id)
    # What a customer has no business with: our notes on a line and on what was sold.
    for line in whole["items"]:
        for record in (line, line["variant"] or {}):
            record.pop("metadata", None)
    return json_response({"order": compose.view(whole, wanted=wanted)})


def _asked(query: dict[str, Any]) -> compose.Asked:
    wire.reject_unknown(query, {"fields", "expand"})
    fields, expand = wire.text(query, "fields"), wire.text(query, "expand")
    paths = [*(fields or "").split(","), *(expand or "").split(",")]
    heads = [path.lstrip("+-*").partition(".")[0] for path in paths]
    unknown = [head[:100] for head in heads if head and head not in _ALLOWED]
    if unknown:
        raise Invalid("invalid_data", f"Requested fields [{', '.join(unknown)}] are not valid")
    return compose.asked(fields=fields, expand=expand, defaults=_FIELDS, relations=_RELATIONS)


@router.get("/store/return-reasons")
async def list_reasons(parts: Parts, who: Who) -> Response:
    """Top-level reasons with their children: {return_reasons}."""
    return json_response(await parts.returns.get("/return-reasons", who=who))


@router.get("/store/return-reasons/{reason_id}")
async def get_reason(reason_id: str, parts: Parts, who: Who) -> Response:
    """One reason: {return_reason}."""
    return json_response(await parts.returns.get(f"/return-reasons/{segment(reason_id)}", who=who))
