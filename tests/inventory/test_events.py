"""What inventory says to whoever listens outside, when people change stock."""

from __future__ import annotations

from services.inventory.domain import level_id
from tests.inventory.builders import place
from tests.inventory.door import Door

LEVELS = "/inventory-items/iitem_mug/location-levels"
AT_A = level_id(item_id="iitem_mug", location_id="sloc_a")
AT_B = level_id(item_id="iitem_mug", location_id="sloc_b")


async def test_a_levels_life_is_told_with_its_figures(door: Door) -> None:
    await door.warehouse.stock({"mug": {}})
    made = {"location_id": "sloc_a", "stocked_quantity": 5, "incoming_quantity": 2}
    await door.post(LEVELS, made)
    await door.warehouse.ask(place(("mug", 1)))
    await door.post(f"{LEVELS}/sloc_a", {"stocked_quantity": 7})
    at_a = {"inventory_item_id": "iitem_mug", "location_id": "sloc_a", "incoming_quantity": 2}
    assert await door.warehouse.events() == [
        {
            "name": "inventory-level.created",
            "ids": [AT_A],
            **at_a,
            "stocked_quantity": 5,
            "reserved_quantity": 0,
        },
        {
            "name": "inventory-level.updated",
            "id": AT_A,
            **at_a,
            "stocked_quantity": 7,
            "reserved_quantity": 1,
        },
    ]


async def test_a_removed_level_is_told(door: Door) -> None:
    await door.warehouse.stock({"mug": {"sloc_a": 5}})
    await door.call("DELETE", f"{LEVELS}/sloc_a")
    where = {"inventory_item_id": "iitem_mug", "location_id": "sloc_a"}
    assert await door.warehouse.events() == [
        {"name": "inventory-level.deleted", "ids": [AT_A], **where}
    ]


async def test_an_items_life_is_told_with_the_levels_that_go_with_it(door: Door) -> None:
    await door.warehouse.stock({"cup": {"sloc_b": 1}}, mug={"manage_inventory": False})
    await door.post("/inventory-items", {"variant_id": "mug"})
    for place_id in ("sloc_a", "sloc_b"):
        await door.post(LEVELS, {"location_id": place_id, "stocked_quantity": 0})
    await door.post("/inventory-items/iitem_mug", {"material": "clay"})
    await door.call("DELETE", "/inventory-items/iitem_mug")
    events = await door.warehouse.events()
    assert events[0] == {
        "name": "inventory-item.created",
        "ids": ["iitem_mug"],
        "variant_id": "mug",
    }
    assert events[-3:] == [
        {"name": "inventory-item.updated", "id": "iitem_mug"},
        {
            "name": "inventory-level.deleted",
            "ids": [AT_A, AT_B],
            "inventory_item_id": "iitem_mug",
            "location_id": None,
        },
        {"name": "inventory-item.deleted", "ids": ["iitem_mug"]},
    ]


async def test_a_closed_location_tells_what_ended_there(door: Door) -> None:
    await door.warehouse.stock({"mug": {"sloc_a": 5, "sloc_b": 1}})
    await door.warehouse.ask(place(("mug", 2)))
    (held,) = (await door.get("/reservations"))["reservations"]
    await door.call("DELETE", "/stock-locations/sloc_a")
    assert await door.warehouse.events() == [
        {
            "name": "reservation-item.deleted",
            "ids": [held["id"]],
            "line_item_id": None,
            "location_id": "sloc_a",
        },
        {
            "name": "inventory-level.deleted",
            "ids": [AT_A],
            "inventory_item_id": None,
            "location_id": "sloc_a",
        },
    ]


async def test_what_is_refused_is_not_told(door: Door) -> None:
    await door.warehouse.stock({"mug": {"sloc_a": 5}})
    await door.warehouse.ask(place(("mug", 2)))
    for method, path, body in (
        ("DELETE", f"{LEVELS}/sloc_a", None),
        ("POST", f"{LEVELS}/sloc_a", {"stocked_quantity": 1}),
        ("POST", LEVELS, {"location_id": "sloc_a", "stocked_quantity": 1}),
        ("DELETE", "/inventory-items/iitem_mug", None),
        ("POST", "/inventory-items", {"variant_id": "mug"}),
        ("DELETE", "/stock-locations/sloc_x", None),
    ):
        assert (await door.call(method, path, body)).status_code >= 400
    assert await door.warehouse.events() == []
