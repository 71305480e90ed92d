"""Goods are packed, sent and unpacked over HTTP, with the stock behind them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chassis import clock
from chassis.testing import eventually
from chassis.values import new_id
from deploy.verify import verify
from services.inventory import store_reservations
from tests.gateway import medusa
from tests.gateway.builders import Door

Json = dict[str, Any]
HERE, THERE = medusa.LOCATION, "sloc_there"
SHIPPED = "The fulfillment has already been shipped. Shipped fulfillments cannot be canceled"


def a_document(*, quantity: int = 3, stock: int = 100, there: int = 0, **more: Any) -> Json:
    """One order of mugs that nobody has packed, and their stock at two places."""
    document = medusa.a_base(medusa.a_variant("test-variant", 1000), stock=stock)
    document["stock_locations"].append({"id": THERE, "name": "There"})
    document["inventory_levels"].append(
        {"variant_id": "test-variant", "location_id": THERE, "stocked_quantity": there}
    )
    item = medusa.an_item("test-item", 1000, quantity, fulfilled_quantity=0, shipped_quantity=0)
    method = {"id": "test-method", "shipping_option_id": "test-option", "price": 0}
    order = medusa.an_order("test-order", item, paid=1000 * quantity, shipping_methods=[method])
    document["orders"] = [{**order, "fulfillment_status": "not_fulfilled", **more}]
    document["shipping_options"] = [medusa.an_option("test-option", 0, is_return=False)]
    return document


async def reserve(door: Door, units: int, *, at: str = HERE, line: str = "test-item") -> None:
    """Stock promised to a line of an order."""
    row = {
        "id": new_id("resitem"),
        "line_id": line,
        "item_id": "iitem_test-variant",
        "location_id": at,
        "quantity": units,
    }
    async with door.embedded.services["inventory"].database.transaction() as tx:
        await store_reservations.add_reservations(tx, [row], now=clock.now())


async def pack(door: Door, units: int = 2, *, key: str | None = None, **more: Any) -> Any:
    items = [{"item_id": "test-item", "quantity": units}]
    body = {"items": items, "location_id": HERE, **more}
    return await door.post("/admin/orders/test-order/fulfillment", body, key=key)


async def unpack(door: Door, fulfillment_id: str, order_id: str = "test-order") -> Any:
    path = f"/admin/orders/{order_id}/fulfillments/{fulfillment_id}/cancel"
    return await door.post(path)


async def ship(door: Door, fulfillment_id: str, **more: Any) -> Any:
    body = {"fulfillment_id": fulfillment_id, **more}
    return await door.post("/admin/orders/test-order/shipment", body)


async def levels(door: Door) -> dict[str, tuple[int, int, int]]:
    """Location -> (stocked, reserved, available) of the mugs."""
    answer = await door.get("/admin/inventory-items/iitem_test-variant/location-levels")
    return {
        level["location_id"]: (
            level["stocked_quantity"],
            level["reserved_quantity"],
            level["available_quantity"],
        )
        for level in answer.json()["inventory_item"]["location_levels"]
    }


async def reserved(door: Door) -> list[tuple[str, int]]:
    rows = (await door.get("/admin/reservations")).json()["reservations"]
    return sorted((row["location_id"], row["quantity"]) for row in rows)


async def sound(door: Door) -> None:
    report = await verify(door.embedded.settings, look_again_after_s=0.1)
    assert report.findings == []


def the_order(answer: Any) -> Json:
    assert answer.status_code == 200, answer.text
    order: Json = answer.json()["order"]
    return order


def refused(answer: Any) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["type"], body["message"]


# ---- Medusa's cases -----------------------------------------------------------------------------


async def test_all_and_a_part_of_an_order(door: Door) -> None:
    """M107."""
    await door.load(a_document())
    order = the_order(await pack(door, 1))
    assert order["fulfillment_status"] == "partially_fulfilled"
    assert order["items"][0]["fulfilled_quantity"] == 1
    order = the_order(await pack(door, 2))
    assert order["fulfillment_status"] == "fulfilled"
    assert [each["items"][0]["quantity"] for each in order["fulfillments"]] == [1, 2]
    assert order["fulfillments"][0]["location_id"] == HERE
    await sound(door)


async def test_a_canceled_order_is_not_packed(door: Door) -> None:
    """M107."""
    await door.load(a_document(status="canceled"))
    assert refused(await pack(door)) == (
        *(400, "not_allowed"),
        "A canceled order cannot be fulfilled",
    )


async def test_goods_are_sent_with_their_numbers(door: Door) -> None:
    """M108."""
    await door.load(a_document())
    fulfillment = the_order(await pack(door, 3))["fulfillments"][0]
    order = the_order(await ship(door, fulfillment["id"], tracking_numbers=["A1", "A2"]))
    assert order["fulfillment_status"] == "shipped"
    assert order["items"][0]["shipped_quantity"] == 3
    shown = order["fulfillments"][0]
    assert shown["shipped_at"] is not None
    assert shown["tracking_numbers"] == ["A1", "A2"]
    assert [link["tracking_number"] for link in shown["tracking_links"]] == ["A1", "A2"]
    await sound(door)


async def test_more_than_was_bought_is_not_packed(door: Door) -> None:
    """M109."""
    await door.load(a_document())
    assert refused(await pack(door, 4)) == (
        *(400, "not_allowed"),
        "Cannot fulfill more items than have been purchased",
    )
    assert (await levels(door))[HERE] == (100, 0, 100)


async def test_what_was_unpacked_is_not_sent(door: Door) -> None:
    """M110."""
    await door.load(a_document())
    fulfillment = the_order(await pack(door))["fulfillments"][0]
    the_order(await unpack(door, fulfillment["id"]))
    answer = await ship(door, fulfillment["id"])
    assert refused(answer) == (400, "not_allowed", "Fulfillment has been canceled")


async def test_a_fulfillment_of_another_order_is_not_found(door: Door) -> None:
    """M111."""
    document = a_document()
    document["orders"].append(medusa.an_order("else", medusa.an_item("else-item", 1000)))
    await door.load(document)
    fulfillment = the_order(await pack(door))["fulfillments"][0]
    for order_id, answer in (
        ("else", await unpack(door, fulfillment["id"], "else")),
        ("test-order", await unpack(door, "ful_x")),
    ):
        wanted = fulfillment["id"] if order_id == "else" else "ful_x"
        assert refused(answer) == (
            *(404, "not_found"),
            f"no fulfillment was found with the id: {wanted} related to order: {order_id}",
        )
    body = {"fulfillment_id": fulfillment["id"]}
    answer = await door.post("/admin/orders/else/shipment", body)
    assert refused(answer) == (404, "not_found", "Could not find fulfillment")


async def test_a_reservation_that_was_moved_is_used_up(door: Door) -> None:
    """M118."""
    await door.load(a_document(quantity=1, there=1))
    await reserve(door, 1, at=THERE)
    the_order(await pack(door, 1))
    assert await levels(door) == {HERE: (99, 0, 99), THERE: (1, 0, 1)}
    assert await reserved(door) == []
    await sound(door)


@pytest.mark.parametrize(("before", "left"), [(0, []), (3, [(HERE, 1)])])
async def test_packed_unpacked_and_packed_again(
    door: Door, before: int, left: list[tuple[str, int]]
) -> None:
    """M119; from three reserved one stays reserved, because unpacking holds again (D13)."""
    await door.load(a_document())
    if before:
        await reserve(door, before)
    fulfillment = the_order(await pack(door))["fulfillments"][0]
    order = the_order(await unpack(door, fulfillment["id"]))
    assert order["fulfillment_status"] == "canceled"
    assert order["fulfillments"][0]["canceled_at"] is not None
    assert (await levels(door))[HERE] == (100, before, 100 - before)
    order = the_order(await pack(door))
    assert order["items"][0]["fulfilled_quantity"] == 2
    assert order["fulfillment_status"] == "partially_fulfilled"
    assert await reserved(door) == left
    rest = sum(units for _, units in left)
    assert (await levels(door))[HERE] == (98, rest, 98 - rest)
    await sound(door)


async def test_a_reservation_of_a_part(door: Door) -> None:
    """M120."""
    await door.load(a_document(quantity=2))
    await reserve(door, 1)
    the_order(await pack(door, 1))
    assert (await levels(door))[HERE] == (99, 0, 99)


async def test_the_orders_own_reservation_stands_in_no_way(door: Door) -> None:
    """M121: all of the stock is reserved, by this line."""
    await door.load(a_document(quantity=2, stock=2))
    await reserve(door, 2)
    the_order(await pack(door, 2))
    assert (await levels(door))[HERE] == (0, 0, 0)


async def test_the_place_of_the_goods_goes_first(door: Door) -> None:
    """M123."""
    await door.load(a_document(there=9))
    await reserve(door, 1)
    await reserve(door, 2, at=THERE)
    the_order(await pack(door, 2))
    assert await reserved(door) == [(THERE, 1)]


# ---- our own ------------------------------------------------------------------------------------


async def test_without_a_location_no_stock_moves(door: Door) -> None:
    await door.load(a_document())
    order = the_order(await pack(door, location_id=None, metadata={"box": "small"}))
    assert order["fulfillments"][0]["metadata"] == {"box": "small"}
    assert (await levels(door))[HERE] == (100, 0, 100)
    the_order(await unpack(door, order["fulfillments"][0]["id"]))
    assert (await levels(door))[HERE] == (100, 0, 100)
    await sound(door)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (HERE, "Insufficient stock for item: Line Item"),
        ("sloc_nowhere", "Inventory item for Line Item not found at location"),
    ],
)
async def test_what_is_not_there_is_not_packed(door: Door, location: str, message: str) -> None:
    await door.load(a_document(stock=1))
    answer = await pack(door, 2, location_id=location)
    assert refused(answer) == (400, "not_allowed", message)
    order = await door.order("test-order")
    assert order["fulfillment_status"] == "not_fulfilled"
    assert order["fulfillments"] == []
    assert order["items"][0]["fulfilled_quantity"] == 0
    assert (await levels(door))[HERE] == (1, 0, 1)
    await sound(door)


async def test_what_is_promised_to_a_claim_is_not_taken(door: Door) -> None:
    document = a_document(stock=1)
    document["orders"].append(medusa.an_order("else", medusa.an_item("else-item", 1000), paid=1000))
    await door.load(document)
    claim = {
        "type": "replace",
        "claim_items": [{"item_id": "else-item", "quantity": 1, "reason": "wrong_item"}],
        "additional_items": [{"variant_id": "test-variant", "quantity": 1}],
    }
    the_order(await door.post("/admin/orders/else/claims", claim))
    assert refused(await pack(door, 1))[2] == "Insufficient stock for item: Line Item"


async def test_an_unknown_line_is_refused(door: Door) -> None:
    """D30."""
    await door.load(a_document())
    body = {"items": [{"item_id": "nobody", "quantity": 1}]}
    answer = await door.post("/admin/orders/test-order/fulfillment", body)
    assert refused(answer) == (400, "invalid_data", "Line item with nobody was not found")


async def test_an_order_without_shipping_is_not_packed(door: Door) -> None:
    await door.load(a_document(shipping_methods=[]))
    assert refused(await pack(door)) == (
        *(400, "not_allowed"),
        "Cannot fulfill an order that lacks shipping methods",
    )


async def test_shipped_goods_are_not_unpacked(door: Door) -> None:
    await door.load(a_document())
    fulfillment = the_order(await pack(door))["fulfillments"][0]
    the_order(await ship(door, fulfillment["id"]))
    assert refused(await unpack(door, fulfillment["id"])) == (400, "not_allowed", SHIPPED)


async def test_unpacking_twice_puts_back_once(door: Door) -> None:
    await door.load(a_document())
    fulfillment = the_order(await pack(door))["fulfillments"][0]
    first = await unpack(door, fulfillment["id"])
    second = await unpack(door, fulfillment["id"])
    assert the_order(first)["fulfillments"] == the_order(second)["fulfillments"]
    assert (await levels(door))[HERE] == (100, 0, 100)
    await sound(door)


async def test_the_same_key_packs_once_with_the_same_bytes(door: Door) -> None:
    await door.load(a_document())
    answers = await asyncio.gather(*(pack(door, 1, key="pack-1") for _ in range(3)))
    late = await pack(door, 1, key="pack-1")
    assert {answer.status_code for answer in (*answers, late)} == {200}
    assert {answer.content for answer in (*answers, late)} == {answers[0].content}
    assert late.headers["idempotent-replayed"] == "true"
    assert (await levels(door))[HERE] == (99, 0, 99)
    other = await pack(door, 2, key="pack-1")
    assert other.status_code == 422


async def test_who_packs_at_once_gets_no_more_than_there_is(door: Door) -> None:
    await door.load(a_document(quantity=5, stock=3))
    answers = await asyncio.gather(*(pack(door, 1) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 400, 400]
    assert (await levels(door))[HERE] == (0, 0, 0)
    assert (await door.order("test-order"))["items"][0]["fulfilled_quantity"] == 3
    await sound(door)


async def test_who_does_not_wait_is_told_where_to_look(door: Door) -> None:
    await door.load(a_document())
    items = [{"item_id": "test-item", "quantity": 1}]
    answer = await door.post(
        "/admin/orders/test-order/fulfillment",
        {"items": items, "location_id": HERE},
        prefer="respond-async",
    )
    assert answer.status_code == 202
    assert answer.headers["location"] == "/admin/orders/test-order"

    async def packed() -> bool:
        return bool((await door.order("test-order"))["fulfillments"])

    await eventually(packed)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("fulfillment", {}, "items must be an array"),
        (
            "fulfillment",
            {"items": [{}]},
            "item_id should not be empty, item_id must be a string, quantity should not be empty,"
            " quantity must be an integer number",
        ),
        (
            "fulfillment",
            {"items": [{"item_id": "test-item", "quantity": 0}]},
            "quantity must not be less than 1",
        ),
        ("fulfillment", {"items": [], "box": 1}, "property box should not exist"),
        (
            "shipment",
            {},
            "fulfillment_id should not be empty, fulfillment_id must be a string",
        ),
        (
            "shipment",
            {"fulfillment_id": "f", "tracking_numbers": [1]},
            "each value in tracking_numbers must be a string",
        ),
        ("fulfillments/f/cancel", {"why": "so"}, "property why should not exist"),
    ],
)
async def test_bodies_are_checked_in_medusas_words(
    door: Door, path: str, body: Json, message: str
) -> None:
    await door.load(a_document())
    answer = await door.post(f"/admin/orders/test-order/{path}", body)
    assert refused(answer) == (400, "invalid_data", message)


async def test_the_warehouse_packs_and_finance_does_not(door: Door) -> None:
    await door.load(a_document())
    warehouse, finance = await door.with_role("warehouse"), await door.with_role("finance")
    assert (await pack(finance)).status_code == 403
    the_order(await pack(warehouse))


async def test_the_trail_tells_what_both_services_did(door: Door) -> None:
    await door.load(a_document())
    fulfillment = the_order(await pack(door))["fulfillments"][0]
    the_order(await unpack(door, fulfillment["id"]))
    trail = await door.get(f"/admin/audit?about=fulfillment/{fulfillment['id']}")
    actions = {row["action"] for row in trail.json()["audit"]}
    assert actions == {
        *("fulfillment.asked", "fulfillment.created"),
        *("fulfillment.cancel_asked", "fulfillment.canceled"),
        *("stock.sent", "stock.put_back"),
    }
