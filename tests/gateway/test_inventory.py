"""Stock through the door."""

from __future__ import annotations

from tests.gateway.builders import Door


async def _item(shop: Door, sku: str) -> dict[str, object]:
    (only,) = (await shop.get(f"/admin/inventory-items?sku={sku}")).json()["inventory_items"]
    return dict(only)


async def test_an_item_is_listed_with_its_levels_and_shown_alone(shop: Door) -> None:
    page = (await shop.get("/admin/inventory-items/")).json()
    assert (page["count"], page["limit"], page["offset"]) == (2, 20, 0)
    lamp = await _item(shop, "LAMP")
    assert (lamp["stocked_quantity"], lamp["reserved_quantity"]) == (1, 0)
    answer = await shop.get(f"/admin/inventory-items/{lamp['id']}")
    (level,) = answer.json()["inventory_item"]["location_levels"]
    assert (level["location_id"], level["available_quantity"]) == ("sloc_1", 1)
    missing = await shop.get("/admin/inventory-items/iitem_x")
    assert (missing.status_code, missing.json()["type"]) == (404, "not_found")


async def test_a_level_is_counted_made_and_removed(shop: Door) -> None:
    lamp = await _item(shop, "LAMP")
    levels = f"/admin/inventory-items/{lamp['id']}/location-levels"
    counted = await shop.post(f"{levels}/sloc_1", {"stocked_quantity": 21})
    assert counted.status_code == 200, counted.text
    await shop.post("/admin/import", {"stock_locations": [{"id": "sloc_2", "name": "Shed"}]})
    made = await shop.post(levels, {"location_id": "sloc_2", "stocked_quantity": 17})
    assert made.status_code == 200, made.text
    found = (await shop.get(levels)).json()["inventory_item"]["location_levels"]
    assert {row["location_id"]: row["stocked_quantity"] for row in found} == {
        "sloc_1": 21,
        "sloc_2": 17,
    }
    assert (await shop.delete(f"{levels}/sloc_2")).status_code == 200
    left = (await shop.get(levels)).json()["inventory_item"]["location_levels"]
    assert [row["location_id"] for row in left] == ["sloc_1"]


async def test_a_negative_level_is_refused_in_medusas_words(shop: Door) -> None:
    lamp = await _item(shop, "LAMP")
    path = f"/admin/inventory-items/{lamp['id']}/location-levels/sloc_1"
    answer = await shop.post(path, {"stocked_quantity": -1, "incoming_quantity": -1})
    assert answer.status_code == 400
    assert set(answer.json()["message"].split(", ")) == {
        "incoming_quantity must not be less than 0",
        "stocked_quantity must not be less than 0",
    }


async def test_locations_variants_and_reservations_are_read(shop: Door) -> None:
    (location,) = (await shop.get("/admin/stock-locations/")).json()["stock_locations"]
    assert location["id"] == "sloc_1"
    one = await shop.get("/admin/stock-locations/sloc_1")
    assert one.json()["stock_location"]["name"] == "Warehouse"
    missing = await shop.get("/admin/stock-locations/sloc_x")
    message = "StockLocation with id sloc_x was not found"
    assert missing.json() == {"type": "not_found", "message": message}
    variants = (await shop.get("/admin/variants?ids=variant_lamp,variant_mug")).json()
    assert variants["count"] == 2
    lamp = [{"variant_id": "variant_lamp", "quantity": 1}]
    await shop.claim(type="replace", additional_items=lamp)
    (held,) = (await shop.get("/admin/reservations?quantity[gt]=0")).json()["reservations"]
    shown = await shop.get(f"/admin/reservations/{held['id']}")
    assert shown.json()["reservation"]["quantity"] == 1
    assert (await shop.get("/admin/reservations?quantity[gt]=1")).json()["count"] == 0


async def test_an_unknown_filter_of_stock_is_refused_in_medusas_words(shop: Door) -> None:
    for path in ("inventory-items", "stock-locations", "reservations", "variants"):
        answer = await shop.get(f"/admin/{path}?colour=blue")
        assert answer.status_code == 400, path
        assert answer.json()["type"] == "invalid_data"
        assert answer.json()["message"] == "property colour should not exist", path


async def test_a_location_is_opened_changed_and_closed(shop: Door) -> None:
    address = {"address_1": "Main street 1", "country_code": "si", "city": "Koper"}
    made = await shop.post("/admin/stock-locations", {"name": " Shed ", "address": address})
    assert made.status_code == 200, made.text
    location = made.json()["stock_location"]
    assert location["name"] == "Shed"
    path = f"/admin/stock-locations/{location['id']}"
    changed = await shop.post(path, {"name": "Barn"})
    assert changed.json()["stock_location"]["name"] == "Barn"
    gone = await shop.delete(path)
    assert gone.json() == {"id": location["id"], "object": "stock_location", "deleted": True}
    assert (await shop.get(path)).status_code == 404


async def test_what_a_claim_form_needs_is_served(shop: Door) -> None:
    options = (await shop.get("/admin/shipping-options?is_return=true&region_id=reg_1")).json()
    assert [option["id"] for option in options["shipping_options"]] == ["so_back"]
    regions = (await shop.get("/admin/regions")).json()
    assert ([region["id"] for region in regions["regions"]], regions["count"]) == (["reg_1"], 1)
    stock = await shop.get("/admin/variants/variant_lamp/inventory")
    assert stock.json()["variant"]["id"] == "variant_lamp"
