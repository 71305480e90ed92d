"""Reservations through the door: bodies, guards, claims, roles, keys."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.clients import Reply, Transport
from tests.gateway.builders import Door, an_order

OVER_LINE = "The reservation quantity cannot be greater than the unfulfilled line item quantity"
Json = dict[str, Any]
MUG = "iitem_variant_mug"


@pytest.fixture
async def open_shop(shop: Door) -> Door:
    """A shop with an order of Ben's of which nothing is sent yet."""
    await shop.load({"orders": [unsent()]})
    return shop


def unsent(sent: int = 0, **more: Any) -> Json:
    """Four mugs for Ben."""
    order = an_order("ben", id="order_new", payments=[], shipping_methods=[], **more)
    mug = {**order["items"][0], "id": "item_new_mug", "delivered_at": None}
    mug |= {"fulfilled_quantity": sent, "shipped_quantity": sent}
    return order | {"items": [mug], "fulfillment_status": "not_fulfilled"}


def a_reservation(quantity: int = 2, **more: Any) -> Json:
    body = {"inventory_item_id": MUG, "location_id": "sloc_1", "quantity": quantity, **more}
    return {"line_item_id": "item_new_mug", **body}


async def held(door: Door, **params: Any) -> list[tuple[str | None, int]]:
    """(line, units) of what is reserved."""
    page = (await door.get("/admin/reservations", params=params)).json()
    return [(each["line_item_id"], each["quantity"]) for each in page["reservations"]]


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (
            {},
            {
                "location_id must be a string",
                "inventory_item_id must be a string",
                "quantity must be a number conforming to the specified constraints",
            },
        ),
        (a_reservation(0), {"quantity must not be less than 1"}),
        (a_reservation(1, metadata=[]), {"metadata must be an object"}),
        (a_reservation(1, line_unfulfilled=9), {"property line_unfulfilled should not exist"}),
        (
            a_reservation(1, line_item_id=5, description=5),
            {"line_item_id must be a string", "description must be a string"},
        ),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused_in_medusas_words(
    open_shop: Door, body: Json, messages: set[str]
) -> None:
    answer = await open_shop.post("/admin/reservations", body)
    assert (answer.status_code, answer.json()["type"]) == (400, "invalid_data")
    assert set(answer.json()["message"].split(", ")) == messages
    assert await held(open_shop) == []


async def test_what_is_unknown_is_not_found(open_shop: Door) -> None:
    answer = await open_shop.post("/admin/reservations", a_reservation(line_item_id="item_x"))
    told = {"type": "not_found", "message": "Line item with item_x was not found"}
    assert (answer.status_code, answer.json()) == (404, told)
    path = "/admin/reservations/resitem_x"
    for answer, message in (
        (await open_shop.get(path), "Reservation with id resitem_x not found"),
        (
            await open_shop.post(path, {"quantity": 1}),
            "ReservationItem with id resitem_x was not found",
        ),
        (await open_shop.delete(path), "ReservationItem with id resitem_x was not found"),
        (
            await open_shop.get("/admin/orders/order_x/reservations"),
            "Order with id order_x was not found",
        ),
    ):
        assert (answer.status_code, answer.json()["type"]) == (404, "not_found")
        assert answer.json()["message"] == message


async def test_a_line_that_is_sent_or_canceled_needs_nothing(open_shop: Door) -> None:
    for line, order in (("item_ana_mug", None), ("item_new_mug", unsent(status="canceled"))):
        if order is not None:
            await open_shop.load({"orders": [order]})
        answer = await open_shop.post("/admin/reservations", a_reservation(1, line_item_id=line))
        assert (answer.status_code, answer.json()["message"]) == (400, OVER_LINE)
    partly = unsent(sent=3)
    await open_shop.load({"orders": [partly]})
    answer = await open_shop.post("/admin/reservations", a_reservation(2))
    assert answer.json()["message"] == OVER_LINE
    assert (await open_shop.post("/admin/reservations", a_reservation(1))).status_code == 200


async def test_a_reservation_is_changed_moved_and_ended(open_shop: Door) -> None:
    await open_shop.load({"stock_locations": [{"id": "sloc_2", "name": "Shed"}]})
    made = (await open_shop.post("/admin/reservations", a_reservation())).json()["reservation"]
    assert made["created_by"] == "admin_user"
    path = f"/admin/reservations/{made['id']}"
    changed = (await open_shop.post(path, {"quantity": 4, "description": "all"})).json()
    assert changed.keys() == {"reservation"}
    assert (changed["reservation"]["quantity"], changed["reservation"]["description"]) == (4, "all")
    nowhere = await open_shop.post(path, {"location_id": "sloc_2"})
    assert nowhere.json()["message"] == f"Item {MUG} is not stocked at location sloc_2"
    level = {"location_id": "sloc_2", "stocked_quantity": 3}
    await open_shop.post(f"/admin/inventory-items/{MUG}/location-levels", level)
    narrow = await open_shop.post(path, {"location_id": "sloc_2"})
    assert (narrow.status_code, narrow.json()) == (
        400,
        {
            "type": "not_allowed",
            "message": f"Not enough stock available for item {MUG} at location sloc_2",
        },
    )
    moved = await open_shop.post(path, {"location_id": "sloc_2", "quantity": 3})
    assert moved.json()["reservation"]["location_id"] == "sloc_2"
    item = (await open_shop.get(f"/admin/inventory-items/{MUG}")).json()["inventory_item"]
    assert {
        level["location_id"]: level["reserved_quantity"] for level in item["location_levels"]
    } == {"sloc_1": 0, "sloc_2": 3}
    refused = await open_shop.delete(f"/admin/inventory-items/{MUG}/location-levels/sloc_2")
    assert refused.json() == {
        "type": "not_allowed",
        "message": f"Cannot remove Inventory Level {MUG} at Location sloc_2"
        " because there are reserved items.",
    }
    gone = await open_shop.delete(path)
    assert gone.json() == {"id": made["id"], "object": "reservation", "deleted": True}
    assert await held(open_shop) == []


async def test_the_reservations_of_an_order_are_those_of_its_lines_and_replacements(
    open_shop: Door,
) -> None:
    lamp = [{"variant_id": "variant_lamp", "quantity": 1}]
    await open_shop.claim(type="replace", additional_items=lamp)
    await open_shop.post("/admin/reservations", a_reservation())
    await open_shop.post("/admin/reservations", a_reservation(1, line_item_id=None))
    page = (await open_shop.get("/admin/orders/order_new/reservations/")).json()
    assert (page["count"], page["offset"], page["limit"]) == (1, 0, 20)
    assert page["reservations"][0]["line_item_id"] == "item_new_mug"
    query = "limit=1&expand=line_item"
    page = (await open_shop.get(f"/admin/orders/order_ana/reservations?{query}")).json()
    (replacement,) = page["reservations"]
    assert replacement["line_item"]["variant_id"] == "variant_lamp"
    assert replacement["line_item"]["order"]["id"] == "order_ana"
    assert "claim" not in replacement["line_item"]
    refused = await open_shop.get("/admin/orders/order_ana/reservations?colour=red")
    assert refused.json()["message"] == "property colour should not exist"


async def test_a_claims_reservation_can_be_ended_and_made_again_until_the_claim_is_over(
    open_shop: Door,
) -> None:
    lamp = [{"variant_id": "variant_lamp", "quantity": 1}]
    claimed = await open_shop.claim(type="replace", additional_items=lamp)
    (claim,) = claimed.json()["order"]["claims"]
    line = claim["additional_items"][0]["id"]
    ((_, one),) = await held(open_shop, line_item_id=line)
    assert one == 1
    lamps = {"inventory_item_id": "iitem_variant_lamp", "line_item_id": line}
    again = await open_shop.post("/admin/reservations", a_reservation(1, **lamps))
    assert again.json()["message"] == OVER_LINE
    (found,) = (await open_shop.get(f"/admin/reservations?line_item_id={line}")).json()[
        "reservations"
    ]
    await open_shop.delete(f"/admin/reservations/{found['id']}")
    again = await open_shop.post("/admin/reservations", a_reservation(1, **lamps))
    assert again.status_code == 200, again.text
    assert again.json()["reservation"]["external_id"] == claim["id"]
    await open_shop.post(f"/admin/orders/order_ana/claims/{claim['id']}/cancel")
    assert await held(open_shop) == []
    late = await open_shop.post("/admin/reservations", a_reservation(1, **lamps))
    assert late.status_code == 400


async def test_a_key_promises_once(open_shop: Door) -> None:
    first = await open_shop.post("/admin/reservations", a_reservation(1), key="k-1")
    again = await open_shop.post("/admin/reservations", a_reservation(1), key="k-1")
    assert (again.status_code, again.content) == (200, first.content)
    assert await held(open_shop) == [("item_new_mug", 1)]
    other = await open_shop.post("/admin/reservations", a_reservation(2), key="k-1")
    assert other.status_code == 422


class _Meanwhile:
    """A way to a service on which, after the first call of this path, something happens."""

    def __init__(self, transport: Transport, path: str, happens: Any) -> None:
        self._transport = transport
        self._path = path
        self._happens = happens

    async def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Reply:
        """Pass on; then, once, what happens."""
        reply = await self._transport.send(method, path, headers, body)
        if path.startswith(self._path) and self._happens is not None:
            happens, self._happens = self._happens, None
            await happens()
        return reply

    async def close(self) -> None:
        """As it is."""
        await self._transport.close()


@pytest.mark.parametrize("before", [0, 1])
async def test_a_line_that_is_sent_while_it_is_promised_is_promised_nothing(
    open_shop: Door, before: int
) -> None:
    if before:
        await open_shop.post("/admin/reservations", a_reservation(before))
    orders = open_shop.app.state.gate.orders

    async def sent() -> None:
        await open_shop.load({"orders": [unsent(sent=3)]})

    orders._transport = _Meanwhile(orders._transport, "/order-lines/", sent)
    answer = await open_shop.post("/admin/reservations", a_reservation(2))
    assert (answer.status_code, answer.json()["message"]) == (400, OVER_LINE)
    assert await held(open_shop) == ([("item_new_mug", before)] if before else [])
    item = (await open_shop.get(f"/admin/inventory-items/{MUG}")).json()["inventory_item"]
    assert item["reserved_quantity"] == before


async def test_who_handles_claims_or_goods_may_promise_stock(open_shop: Door) -> None:
    for role in ("agent", "warehouse"):
        somebody = await open_shop.with_role(role)
        made = await somebody.post("/admin/reservations", a_reservation(1))
        assert made.status_code == 200, made.text
        path = f"/admin/reservations/{made.json()['reservation']['id']}"
        assert (await somebody.delete(path)).status_code == 200
    for role in ("finance", "ops"):
        somebody = await open_shop.with_role(role)
        answer = await somebody.post("/admin/reservations", a_reservation(1))
        assert (answer.status_code, answer.json()["type"]) == (403, "not_allowed")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "quantity[gt]=many",
            "gt must be a number conforming to the specified constraints",
        ),
        ("quantity[near]=1", "property near should not exist"),
        ("created_at=2024-01-01", "created_at must be an object"),
        ("created_at[gt]=yesterday", "yesterday is not a date"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(
    open_shop: Door, query: str, message: str
) -> None:
    answer = await open_shop.get(f"/admin/reservations?{query}")
    assert (answer.status_code, answer.json()["message"]) == (400, message)
