"""Exchanges from the first call to the last, in both ways to run the application."""

from __future__ import annotations

import pytest

from tests.journeys.shop import Line, Variant, an_order
from tests.journeys.system import Application

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # One installation of each kind serves them all.
    pytest.mark.xdist_group("journeys"),
]


@pytest.mark.parametrize("provider", ["manual", "fake"])
async def test_an_exchange_for_less_is_refunded_sent_and_received(
    system: Application, provider: str
) -> None:
    """Two pieces of 1200 for one of 1200: the price of one goes back."""
    order = await system.sell(an_order(Line(quantity=3), provider=provider))
    variant = Variant(stocked=5)
    await system.stock(variant)
    path = f"/admin/orders/{order.id}/swaps"
    body = {
        "return_items": [order.line.units(2)],
        "additional_items": [variant.times(1)],
    }
    (swap,) = (await system.post(path, body)).order["swaps"]
    assert (swap["difference_due"], swap["payment_status"]) == (-1200, "difference_refunded")
    assert await system.provider_refunds(order) == ([1200] if provider == "fake" else [])
    packed = (await system.post(f"{path}/{swap['id']}/fulfillments")).order["swaps"][0]
    body = {"fulfillment_id": packed["fulfillments"][0]["id"]}
    sent = (await system.post(f"{path}/{swap['id']}/shipments", body)).order["swaps"][0]
    assert sent["fulfillment_status"] == "shipped"
    parcel = {"items": [order.line.units(2)]}
    came = await system.post(f"/admin/returns/{swap['return_id']}/receive", parcel)
    assert (came.json["return"]["status"], came.json["return"]["swap_id"]) == (
        "received",
        swap["id"],
    )
    assert (await system.order(order.id))["refunded_total"] == 1200
    await system.verify()


async def test_an_exchange_for_more_is_paid_and_taken_back(system: Application) -> None:
    """One piece of 1200 for two: 1200 are paid, and paid back when it is canceled."""
    order, variant = await system.sell(an_order()), Variant(stocked=5)
    await system.stock(variant)
    path = f"/admin/orders/{order.id}/swaps"
    body = {"return_items": [order.line.units(1)], "additional_items": [variant.times(2)]}
    (swap,) = (await system.post(path, body)).order["swaps"]
    assert (swap["difference_due"], swap["payment_status"]) == (1200, "awaiting")
    assert (await system.level(variant.id)).reserved == 2
    paid = (await system.post(f"{path}/{swap['id']}/process-payment")).order
    assert (paid["swaps"][0]["payment_status"], paid["paid_total"]) == ("captured", 2400)
    await system.post(f"/admin/returns/{swap['return_id']}/cancel")
    shown = (await system.post(f"{path}/{swap['id']}/cancel")).order
    assert (shown["swaps"][0]["payment_status"], shown["refunded_total"]) == ("canceled", 1200)
    assert (await system.level(variant.id)).reserved == 0
    await system.verify()
