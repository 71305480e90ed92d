"""Fills an installation with demo data through its public API: a slice of real trade, an invented
shop, and one claim or return in every interesting state, with an exchange.

Every call has a fixed idempotency key and every record a fixed id, so a seed that was interrupted
is finished by the next one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chassis import clock
from deploy import online_retail, online_retail_document
from deploy.demo import shop
from deploy.demo.shop import line_id, order_id, variant_id
from deploy.gateway_client import Call, GatewayRefused

SLICE = Path(__file__).parent / "demo" / "online_retail_slice.csv"
USERS = ("admin", "agent", "warehouse")
# The last step refunds by hand on this order; where that is done, everything is.
LAST_ORDER = 1010


class SeedRefused(Exception):
    """The demo data was refused: data and services do not fit together."""


async def seed(call: Call, *, password: str | None = None) -> None:
    """Fill an installation once. With a password the demo logins can sign in with it.

    Raises SeedRefused, GatewayError.
    """
    if await _is_seeded(call):
        return
    if password:
        await _add_logins(call, password)
    book = online_retail.read(SLICE)
    slice_document = {
        listing.key: list(listing.records) for listing in online_retail_document.listings(book)
    }
    await _load(call, slice_document)
    await _load(call, shop.document(now=clock.now(), password=password))
    await _make_claims(call)
    await _make_returns(call)
    await _make_exchange(call)
    await _refund_by_hand(call)


async def _is_seeded(call: Call) -> bool:
    try:
        answer = await call.get(f"/admin/orders/{order_id(LAST_ORDER)}?expand=refunds")
    except GatewayRefused as refused:
        if refused.status == 404:
            return False
        raise
    return bool(answer["order"].get("refunds"))


async def _add_logins(call: Call, password: str) -> None:
    for role in USERS:
        user = {"email": f"{role}@reclamo.example", "password": password, "role": role}
        try:
            await call.post("/admin/users", user)
        except GatewayRefused as refused:
            # 422: the login is there from a seed that was interrupted.
            if refused.status != 422:
                raise


async def _load(call: Call, document: dict[str, Any]) -> None:
    answer = await call.post("/admin/import", document)
    for refusal in answer.get("refusals", ()):
        raise SeedRefused(f"{refusal.get('path')}: {refusal.get('message')}")


async def _claim(
    call: Call, number: int, variant: str, reason: str, **more: Any
) -> list[dict[str, Any]]:
    """Claim one unit of a line; the order's claims."""
    body = {
        "claim_items": [{"item_id": line_id(number, variant), "quantity": 1, "reason": reason}],
        **more,
    }
    path = f"/admin/orders/{order_id(number)}/claims"
    answer = await call.post(path, body, f"demo-{number}-claim")
    return list(answer["order"]["claims"])


async def _make_claims(call: Call) -> None:
    """Refunded; refunded with a return on its way; a reserved and a canceled replacement; and one
    that is refused for want of stock and leaves nothing."""
    parcel = {"option_id": "so_demo_return", "price": 0}
    await _claim(call, 1001, "mug", "production_failure", type="refund")
    await _claim(call, 1002, "lamp", "wrong_item", type="refund", return_shipping=parcel)
    kettle = [{"variant_id": variant_id("kettle"), "quantity": 1}]
    await _claim(
        call, 1003, "kettle", "production_failure", type="replace", additional_items=kettle
    )
    jacket = [{"variant_id": variant_id("jacket"), "quantity": 1}]
    claims = await _claim(
        call, 1004, "jacket", "wrong_item", type="replace", additional_items=jacket
    )
    path = f"/admin/orders/{order_id(1004)}/claims/{claims[0]['id']}/cancel"
    await call.post(path, {}, "demo-1004-cancel")
    headphones = [{"variant_id": variant_id("headphones"), "quantity": 1}]
    try:
        await _claim(call, 1005, "headphones", "other", type="replace", additional_items=headphones)
    except GatewayRefused as refused:
        if refused.status != 400:
            raise


async def _request_return(call: Call, number: int, variant: str, quantity: int) -> str:
    """Request a return of one line; its id."""
    item = {
        "item_id": line_id(number, variant),
        "quantity": quantity,
        "reason_id": "rr_demo_changed",
    }
    path = f"/admin/orders/{order_id(number)}/return"
    answer = await call.post(path, {"items": [item]}, f"demo-{number}-return")
    return str(answer["order"]["returns"][0]["id"])


async def _receive(call: Call, number: int, variant: str, quantity: int, return_id: str) -> None:
    item = {"item_id": line_id(number, variant), "quantity": quantity}
    path = f"/admin/returns/{return_id}/receive"
    await call.post(path, {"items": [item]}, f"demo-{number}-receive")


async def _make_returns(call: Call) -> None:
    """Requested; received; received in part, which asks for a decision; canceled."""
    await _request_return(call, 1006, "atlas", 2)
    await _receive(call, 1007, "plates", 1, await _request_return(call, 1007, "plates", 1))
    await _receive(call, 1008, "glass", 1, await _request_return(call, 1008, "glass", 4))
    canceled = await _request_return(call, 1009, "scarf", 1)
    await call.post(f"/admin/returns/{canceled}/cancel", {}, "demo-1009-cancel")


async def _make_exchange(call: Call) -> None:
    """Plates for a lamp, which costs more: the difference is awaited."""
    body = {
        "return_items": [{"item_id": line_id(1012, "plates"), "quantity": 1}],
        "additional_items": [{"variant_id": variant_id("lamp"), "quantity": 1}],
    }
    await call.post(f"/admin/orders/{order_id(1012)}/swaps", body, "demo-1012-swap")


async def _refund_by_hand(call: Call) -> None:
    body = {"amount": 500, "reason": "discount", "note": "Goodwill for the late parcel"}
    await call.post(f"/admin/orders/{order_id(LAST_ORDER)}/refund", body, "demo-1010-refund")
