"""An order composed of four services' reads."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.errors import Unavailable
from gateway import compose
from gateway.clients import TimedOut, Upstream
from tests.gateway.builders import Door, an_order


class _Away:
    """A transport to a service that is not there."""

    async def send(self, *_: Any) -> Any:
        raise Unavailable("a service cannot be reached")

    async def close(self) -> None:
        """Nothing to give back."""


def _without(shop: Door, name: str) -> None:
    upstream: Upstream = shop.app.state.gate.upstreams[name]
    upstream._transport = _Away()


async def test_orders_are_read_and_refunded_while_inventory_is_away(shop: Door) -> None:
    _without(shop, "inventory")
    answer = await shop.claim()
    assert answer.status_code == 200, answer.text
    order = await shop.order()
    assert [line["variant"] for line in order["items"]] == [None, None]
    assert order["items"][0]["variant_id"] == "variant_mug"
    assert (await shop.get("/admin/orders")).status_code == 200


@pytest.mark.parametrize("name", ["claims", "returns"])
async def test_an_order_is_not_shown_without_its_claims_or_returns(shop: Door, name: str) -> None:
    claimed = await shop.claim(return_shipping={"option_id": "so_back", "price": 0})
    assert claimed.status_code == 200, claimed.text
    _without(shop, name)
    assert (await shop.get("/admin/orders/order_ana")).status_code == 503
    assert (await shop.get("/admin/orders")).status_code == 503


async def test_an_order_that_nothing_came_of_is_shown_without_claims_and_returns(
    shop: Door,
) -> None:
    _without(shop, "claims")
    _without(shop, "returns")
    order = await shop.order()
    assert (order["claims"], order["returns"]) == ([], [])


async def test_an_order_of_very_many_variants_is_read(shop: Door) -> None:
    count = 2 * compose.VARIANTS_AT_ONCE + 1
    variants = [
        {
            "id": f"variant_{number}",
            "title": f"Variant {number}",
            "product_title": "Many",
            "sku": f"SKU-{number}",
            "manage_inventory": False,
            "allow_backorder": False,
            "prices": [],
        }
        for number in range(count)
    ]
    line = an_order("ana")["items"][0]
    order = an_order("ana", id="order_many", payments=[], shipping_methods=[])
    order["items"] = [
        {**line, "id": f"item_{number}", "variant_id": f"variant_{number}", "delivered_at": None}
        for number in range(count)
    ]
    loaded = await shop.post("/admin/import", {"variants": variants, "orders": [order]})
    assert loaded.json()["refusals"] == []
    found = await shop.order("order_many")
    assert len(found["items"]) == count
    assert all(each["variant"]["id"] == each["variant_id"] for each in found["items"])


def test_a_timeout_is_passing_trouble() -> None:
    assert issubclass(TimedOut, Unavailable)


WHOLE = {
    "id": "order_1",
    "status": "pending",
    "email": "a@b.c",
    "extra": {"store": "x"},
    "total": 5,
    "items": [{"id": "i", "title": "Mug", "refundable": 3, "extra": None}],
    "refunds": [{"id": "r", "metadata": {"cause_id": "c"}}],
    "claims": [{"id": "c", "status": "open", "additional_items": [], "claim_items": []}],
    **{name: [] for name in compose.RELATIONS if name not in ("items", "refunds", "claims")},
}


@pytest.mark.parametrize(
    ("fields", "expand", "shown"),
    [
        ("id", "", {"id": "order_1", "total": 5}),
        ("-email", "region", {"region": [], "items": [{"refundable": 3}]}),
        ("status,items.title", "", {"status": "pending", "items": [{"title": "Mug"}]}),
        ("+email,+items.id", "", {"items": [{"refundable": 3, "id": "i"}]}),
        ("id,extra", "", {"extra": {"store": "x"}}),
        (None, "items.variant", {"claims": [{"additional_items": []}], "swaps": []}),
        ("id", "refunds", {"refunds": [{"id": "r", "metadata": None}]}),
        ("id,items.nothing,nothing", "nothing", {"items": [{}]}),
    ],
)
def test_fields_and_relations_are_picked(
    fields: str | None, expand: str, shown: dict[str, object]
) -> None:
    wanted = compose.asked(fields=fields, expand=expand)
    found = compose.view(WHOLE, wanted=wanted)
    assert {name: found[name] for name in shown} == shown
    if fields in ("id", "-email"):
        assert "email" not in found
