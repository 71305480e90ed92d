"""How a problem with an order is reported, by its customer or by the shop for one."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from chassis.auth import Principal
from chassis.http import json_response
from gateway.answers import Try
from gateway.clients import segment
from gateway.gate import Gate

# So many orders are looked through when somebody searches.
SEARCHED_MOST = 200
# As whom the gateway looks how much of an order is free, for a customer who may see that order.
_SHOP = Principal("storefront", "agent")


async def report(
    parts: Gate, who: Principal, order_id: str, given: dict[str, Any], tried: Try
) -> str:
    """Open an inquiry about an order that the caller may see; its id.

    Whose order it is decides orders, which answers for another's as for one that is not there.
    """
    path = f"/orders/{segment(order_id)}"
    facts = await parts.orders.get(f"{path}/facts", who=who)
    shop = _SHOP if who.is_customer else who
    lines = (await parts.orders.get(f"{path}/claimable", who=shop))["lines"]
    body = {
        "order_id": order_id,
        "customer_id": facts["customer_id"],
        "claim_items": given["claim_items"],
        "message": given["message"] or None,
        "claimable": {line["item_id"]: line["claimable_quantity"] for line in lines},
    }
    answer = await parts.claims.send(
        "POST", "/inquiries", who=who, body=body, headers=tried.upstream_headers
    )
    inquiry_id: str = answer["inquiry_id"]
    return inquiry_id


async def inquiry(parts: Gate, who: Principal, inquiry_id: str) -> dict[str, Any]:
    """An inquiry as the caller may see it."""
    answer = await parts.claims.get(f"/inquiries/{segment(inquiry_id)}", who=who)
    found: dict[str, Any] = answer["inquiry"]
    return found


async def acted(
    parts: Gate,
    who: Principal,
    inquiry_id: str,
    act: str,
    body: dict[str, Any] | None,
    tried: Try,
) -> Response | None:
    """Have claims do something to an inquiry; 202 for who does not want to wait, else None."""
    path = f"/inquiries/{segment(inquiry_id)}/{act}"
    answer = await parts.claims.send(
        "POST", path, who=who, body=body, headers=tried.upstream_headers
    )
    if tried.respond_async and "status" in answer:
        return json_response(answer, 202, {"Location": f"/admin/inquiries/{inquiry_id}"})
    return None


async def orders_like(parts: Gate, who: Principal, text: str) -> list[str]:
    """The ids of the newest orders whose number, e-mail or customer has this text in it."""
    params = {"q": text, "limit": SEARCHED_MOST}
    page = await parts.orders.get("/orders", who=who, params=params)
    return [order["id"] for order in page["orders"]]
