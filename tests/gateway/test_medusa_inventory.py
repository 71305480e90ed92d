"""Medusa's own cases of reservations and their stock, over HTTP; a docstring names the case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway import medusa
from tests.gateway.builders import Door

Json = dict[str, Any]
ITEM = "iitem_test-variant"
OVER_LINE = "The reservation quantity cannot be greater than the unfulfilled line item quantity"


def inventory_document() -> Json:
    """F8 without its reservation: 100 pieces, and a line of two of which none is fulfilled."""
    document = medusa.a_base(medusa.a_variant("test-variant", 1000), stock=100)
    item = medusa.an_item("line-item-id", 1000, 2, fulfilled_quantity=0, shipped_quantity=0)
    document["orders"] = [medusa.an_order("test-order", item)]
    document["stock_locations"].append({"id": "sloc_other", "name": "There"})
    return document


def a_reservation(quantity: int = 2, **more: Any) -> Json:
    return {
        "line_item_id": "line-item-id",
        "inventory_item_id": ITEM,
        "location_id": medusa.LOCATION,
        "quantity": quantity,
        **more,
    }


async def reserved(door: Door, quantity: int = 2, **more: Any) -> Json:
    """A reservation that is made."""
    answer = await door.post("/admin/reservations", a_reservation(quantity, **more))
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"reservation"}
    found: Json = answer.json()["reservation"]
    return found


@pytest.fixture
async def stocked(door: Door) -> Door:
    """F8 without its reservation."""
    await door.load(inventory_document())
    return door


async def test_a_line_is_not_reserved_more_than_it_needs_neither_at_first_nor_later(
    stocked: Door,
) -> None:
    """M115."""
    made = await reserved(stocked)
    told = {"type": "invalid_data", "message": OVER_LINE}
    answer = await stocked.post(f"/admin/reservations/{made['id']}", {"quantity": 3})
    assert (answer.status_code, answer.json()) == (400, told)
    answer = await stocked.post("/admin/reservations", a_reservation(1))
    assert (answer.status_code, answer.json()) == (400, told)
    item = (await stocked.get(f"/admin/inventory-items/{ITEM}")).json()["inventory_item"]
    assert item["reserved_quantity"] == 2


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("location_id[]=sloc_test", 1),
        ("location_id=sloc_test", 1),
        ("location_id[0]=sloc_other&location_id[1]=sloc_x", 0),
        (f"inventory_item_id[]={ITEM}", 1),
        ("inventory_item_id[]=iitem_x", 0),
        ("line_item_id[]=line-item-id", 1),
        ("created_by[]=admin_user", 1),
        ("created_by[]=somebody", 0),
        ("quantity[gt]=1", 1),
        ("quantity[gt]=2", 0),
        ("quantity[lte]=2&quantity[gte]=2", 1),
        ("created_at[gte]=1970-01-01T00%3A00%3A00.000Z", 1),
        ("created_at[gte]=4102444800", 0),
        ("updated_at[lt]=1970-01-01T00%3A00%3A00.000Z", 0),
        ("description=test%20description%201", 1),
        ("description=test", 0),
        ("description[contains]=descri", 1),
        ("description[contains]=x1", 0),
        ("description[starts_with]=test", 1),
        ("description[starts_with]=description", 0),
        ("description[ends_with]=1", 1),
        ("description[ends_with]=2", 0),
    ],
)
async def test_reservations_are_found_by_what_they_are(
    stocked: Door, query: str, count: int
) -> None:
    """M116."""
    await reserved(stocked, description="test description 1")
    page = (await stocked.get(f"/admin/reservations?{query}")).json()
    assert (page["count"], len(page["reservations"])) == (count, count)
    assert (page["offset"], page["limit"]) == (0, 20)


async def test_reservations_are_shown_with_their_line_and_its_order(stocked: Door) -> None:
    """M117."""
    made = await reserved(stocked)
    query = "expand=line_item,inventory_item"
    (listed,) = (await stocked.get(f"/admin/reservations?{query}")).json()["reservations"]
    path = f"/admin/reservations/{made['id']}"
    assert (await stocked.get(f"{path}?{query}")).json()["reservation"] == listed
    assert listed["inventory_item"]["sku"] == "sku-test-variant"
    assert listed["line_item"]["id"] == "line-item-id"
    assert listed["line_item"]["order"]["id"] == "test-order"
    assert "items" not in listed["line_item"]["order"]
    assert "ordered_quantity" not in listed["line_item"]
    assert (await stocked.get(path)).json()["reservation"] == made
    assert "line_item" not in made


async def test_two_reservations_of_a_line_count_together(stocked: Door) -> None:
    """The beginning of M121."""
    await reserved(stocked, 1)
    await reserved(stocked, 1)
    page = (await stocked.get("/admin/orders/test-order/reservations")).json()
    assert sum(each["quantity"] for each in page["reservations"]) == 2
    item = (await stocked.get(f"/admin/inventory-items/{ITEM}")).json()["inventory_item"]
    assert item["location_levels"][0]["available_quantity"] == 98


async def test_a_level_is_created_updated_and_deleted(stocked: Door) -> None:
    """M126."""
    path = f"/admin/inventory-items/{ITEM}/location-levels"
    there = f"{path}/sloc_other"

    async def figures() -> list[tuple[int, int]]:
        found = (await stocked.get(path)).json()["inventory_item"]
        assert found.keys() == {"id", "location_levels"}
        return [
            (level["stocked_quantity"], level["incoming_quantity"])
            for level in found["location_levels"]
            if level["location_id"] == "sloc_other"
        ]

    body = {"location_id": "sloc_other", "stocked_quantity": 17, "incoming_quantity": 2}
    made = await stocked.post(path, body)
    assert (made.status_code, made.json()["inventory_item"]["id"]) == (200, ITEM)
    assert await figures() == [(17, 2)]
    await stocked.post(there, {"stocked_quantity": 21, "incoming_quantity": 0})
    assert await figures() == [(21, 0)]
    gone = await stocked.delete(there)
    assert (gone.status_code, gone.json()["inventory_item"]["id"]) == (200, ITEM)
    assert await figures() == []
    missing = await stocked.post(there, {"stocked_quantity": 1})
    assert missing.json() == {
        "type": "not_found",
        "message": f"Inventory level for inventory item {ITEM} and location sloc_other not found",
    }


async def test_an_item_is_shown_with_what_is_available_at_its_locations(stocked: Door) -> None:
    """M128."""
    await stocked.post(
        f"/admin/inventory-items/{ITEM}/location-levels",
        {"location_id": "sloc_other", "stocked_quantity": 7, "incoming_quantity": 5},
    )
    await reserved(stocked)
    item = (await stocked.get(f"/admin/inventory-items/{ITEM}")).json()["inventory_item"]
    assert [
        (
            *(level["location_id"], level["stocked_quantity"], level["reserved_quantity"]),
            *(level["incoming_quantity"], level["available_quantity"]),
        )
        for level in item["location_levels"]
    ] == [(medusa.LOCATION, 100, 2, 0, 98), ("sloc_other", 7, 0, 5, 7)]
    assert (item["stocked_quantity"], item["reserved_quantity"]) == (107, 2)


async def test_a_removed_location_takes_its_levels_and_reservations_along(stocked: Door) -> None:
    """M129."""
    await stocked.post(
        f"/admin/inventory-items/{ITEM}/location-levels",
        {"location_id": "sloc_other", "stocked_quantity": 7},
    )
    await reserved(stocked, 1)
    await reserved(stocked, 1, location_id="sloc_other")
    gone = await stocked.delete("/admin/stock-locations/sloc_other")
    assert gone.json() == {"id": "sloc_other", "object": "stock_location", "deleted": True}
    (left,) = (await stocked.get("/admin/reservations")).json()["reservations"]
    assert left["location_id"] == medusa.LOCATION
    item = (await stocked.get(f"/admin/inventory-items/{ITEM}")).json()["inventory_item"]
    assert [level["location_id"] for level in item["location_levels"]] == [medusa.LOCATION]
    missing = await stocked.get("/admin/stock-locations/sloc_other")
    assert missing.json()["message"] == "StockLocation with id sloc_other was not found"


async def test_nothing_is_reserved_where_nothing_is_stocked(stocked: Door) -> None:
    """M130."""
    answer = await stocked.post("/admin/reservations", a_reservation(location_id="sloc_other"))
    assert (answer.status_code, answer.json()) == (
        404,
        {"type": "not_found", "message": f"Item {ITEM} is not stocked at location sloc_other"},
    )
