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


async def test_locations_are_shown_with_address_and_channels_where_that_is_asked(
    shop: Door,
) -> None:
    address = {"address_1": "Main street 1", "country_code": "si"}
    await shop.post("/admin/stock-locations/sloc_1", {"address": address})
    plain = (await shop.get("/admin/stock-locations/sloc_1")).json()["stock_location"]
    assert plain.keys() == {"id", "name", "address_id", "metadata", "created_at", "updated_at"}
    query = "expand=address,sales_channels"
    whole = (await shop.get(f"/admin/stock-locations/sloc_1?{query}")).json()["stock_location"]
    assert (whole["address"]["id"], whole["address"]["address_1"]) == (
        plain["address_id"],
        "Main street 1",
    )
    (channel,) = whole["sales_channels"]
    assert (channel["id"], channel["name"], channel["is_disabled"]) == ("sc_1", "Web", False)
    page = (await shop.get(f"/admin/stock-locations?{query}&sales_channel_id=sc_1")).json()
    assert page["stock_locations"] == [whole]
    for filters in ("q=ware", "name=Warehouse", "id[]=sloc_1", f"address_id={plain['address_id']}"):
        assert (await shop.get(f"/admin/stock-locations?{filters}")).json()["count"] == 1, filters
    for filters in ("q=shed", "address_id=laddr_x", "created_at[lt]=2000-01-01"):
        assert (await shop.get(f"/admin/stock-locations?{filters}")).json()["count"] == 0, filters


async def test_a_location_needs_a_name_and_an_address_needs_its_parts(shop: Door) -> None:
    answer = await shop.post("/admin/stock-locations", {"name": " ", "address": {"city": "Koper"}})
    assert set(answer.json()["message"].split(", ")) == {
        "name should not be empty",
        "address_1 should not be empty",
        "address_1 must be a string",
        "country_code should not be empty",
        "country_code must be a string",
    }


async def test_items_are_found_by_their_figures(shop: Door) -> None:
    lamp = await _item(shop, "LAMP")
    await shop.post(f"/admin/inventory-items/{lamp['id']}", {"weight": 1200, "hs_code": "9405"})
    for filters, count in (
        ("weight=1200", 1),
        ("weight[gt]=1000", 1),
        ("weight[lt]=1000", 0),
        ("hs_code[starts_with]=94", 1),
        ("hs_code[gte]=9405&hs_code[lt]=9406", 1),
        ("hs_code[gt]=9405", 0),
        ("hs_code=9405", 1),
        ("location_id[]=sloc_1", 2),
        ("location_id[]=sloc_x", 0),
        ("requires_shipping=true", 2),
        ("q=lamp", 1),
    ):
        page = (await shop.get(f"/admin/inventory-items?{filters}")).json()
        assert page["count"] == count, filters
    answer = await shop.get("/admin/inventory-items?weight=heavy")
    assert answer.json() == {
        "type": "invalid_data",
        "message": "weight must be a number conforming to the specified constraints",
    }
    (item,) = (await shop.get("/admin/inventory-items?q=lamp")).json()["inventory_items"]
    assert (item["variants"][0]["id"], item["variants"][0]["weight"]) == ("variant_lamp", 1200)


async def test_an_item_is_made_for_a_variant_that_was_not_counted(shop: Door) -> None:
    card = {"id": "variant_card", "title": "Card", "product_title": "Card", "prices": []}
    await shop.load({"variants": [{**card, "sku": "CARD", "manage_inventory": False}]})
    for body, message in (
        ({}, "variant_id is required"),
        ({"variant_id": "variant_mug"}, "Inventory Item already exists for this variant"),
    ):
        refused = await shop.post("/admin/inventory-items", body)
        assert refused.json() == {"type": "not_allowed", "message": message}
    body = {"variant_id": "variant_card", "weight": 5}
    made = await shop.post("/admin/inventory-items", body, key="k-1")
    assert made.status_code == 200, made.text
    item = made.json()["inventory_item"]
    assert (item["sku"], item["weight"], item["requires_shipping"]) == ("CARD", 5, True)
    assert (await shop.post("/admin/inventory-items", body, key="k-1")).json() == made.json()
    changed = await shop.post(
        f"/admin/inventory-items/{item['id']}", {"title": "A card", "requires_shipping": None}
    )
    assert changed.json()["inventory_item"]["title"] == "A card"
    gone = await shop.delete(f"/admin/inventory-items/{item['id']}")
    assert gone.json() == {"id": item["id"], "object": "inventory_item", "deleted": True}


async def test_variants_are_picked_with_price_and_stock(shop: Door) -> None:
    page = (await shop.get("/admin/variants?q=mug&region_id=reg_1&cart_id=&limit=10")).json()
    (mug,) = page["variants"]
    assert (mug["original_price"], mug["calculated_price"]) == (1000, 1000)
    assert (mug["calculated_price_incl_tax"], mug["calculated_tax"]) == (1200, 200)
    assert mug["inventory_quantity"] == 10
    plain = (await shop.get("/admin/variants")).json()
    assert (plain["limit"], plain["count"]) == (100, 2)
    assert "calculated_price" not in plain["variants"][0]
    for filters, count in (
        ("inventory_quantity[gt]=1", 1),
        ("inventory_quantity=1", 1),
        ("manage_inventory=false", 0),
        ("title=Mug", 1),
        ("sku[]=MUG", 1),
    ):
        assert (await shop.get(f"/admin/variants?{filters}")).json()["count"] == count, filters
    answer = await shop.get("/admin/variants?region_id=reg_x")
    assert answer.json() == {"type": "not_found", "message": "Region with reg_x was not found"}


async def test_the_inventory_of_a_variant_names_the_channels_that_sell_it(shop: Door) -> None:
    found = (await shop.get("/admin/variants/variant_mug/inventory")).json()["variant"]
    assert found["sales_channel_availability"] == [
        {"channel_name": "Web", "channel_id": "sc_1", "available_quantity": 10}
    ]
    assert [item["id"] for item in found["inventory"]] == ["iitem_variant_mug"]
