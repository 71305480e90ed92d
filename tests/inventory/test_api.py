"""The HTTP door, called as the gateway calls it, on each database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis import auth
from services.inventory import api
from tests.inventory.builders import a_document, place, release
from tests.inventory.door import ADMIN, AGENT, CUSTOMER, KEY, STAFF, Door, problem

ITEM_KEYS = {
    *("id", "sku", "origin_country", "hs_code", "mid_code", "material", "weight", "length"),
    *("height", "width", "requires_shipping", "title", "description", "thumbnail", "metadata"),
    *("created_at", "updated_at", "deleted_at", "reserved_quantity", "stocked_quantity"),
    "location_levels",
}
LEVEL_KEYS = {
    *("id", "inventory_item_id", "location_id", "stocked_quantity", "reserved_quantity"),
    *("incoming_quantity", "available_quantity", "metadata"),
    *("created_at", "updated_at", "deleted_at"),
}
LOCATION_KEYS = {"id", "name", "address_id", "metadata", "created_at", "updated_at"}
RESERVATION_KEYS = {
    *("id", "line_item_id", "inventory_item_id", "location_id", "quantity", "external_id"),
    *("description", "created_by", "metadata", "created_at", "updated_at", "deleted_at"),
}


def figures(item: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {
        level["location_id"]: (level["stocked_quantity"], level["incoming_quantity"])
        for level in item["location_levels"]
    }


class TestInventoryItems:
    async def test_an_item_shows_exactly_medusas_keys_and_what_is_available(
        self, door: Door
    ) -> None:
        await door.warehouse.stock({"mug": {"sloc_a": 5, "sloc_b": 2}})
        await door.warehouse.ask(place(("mug", 3)))
        item = (await door.get("/inventory-items/iitem_mug"))["inventory_item"]
        assert item.keys() == ITEM_KEYS
        assert item["location_levels"][0].keys() == LEVEL_KEYS
        assert (item["stocked_quantity"], item["reserved_quantity"]) == (7, 3)
        assert [level["available_quantity"] for level in item["location_levels"]] == [2, 2]
        assert item["sku"] == "sku-mug"
        (listed,) = (await door.get("/inventory-items"))["inventory_items"]
        (variant,) = listed.pop("variants")
        assert listed == item
        assert variant["id"] == "mug"

    async def test_the_list_is_filtered_and_paged(self, door: Door) -> None:
        await door.warehouse.stock(
            {"mug": {"sloc_a": 5}, "cup": {"sloc_b": 1}, "jar_100%": {"sloc_b": 1}}
        )

        async def ids(**params: Any) -> list[str]:
            page = await door.get("/inventory-items", order="id", **params)
            return [item["id"] for item in page["inventory_items"]]

        assert await ids() == ["iitem_cup", "iitem_jar_100%", "iitem_mug"]
        assert await ids(location_id="sloc_b", sku="sku-cup") == ["iitem_cup"]
        assert await ids(id=["iitem_mug", "iitem_cup"]) == ["iitem_cup", "iitem_mug"]
        assert await ids(q="MUG") == ["iitem_mug"]
        assert await ids(q="100%") == ["iitem_jar_100%"]
        assert await ids(q="%") == ["iitem_jar_100%"]
        assert await ids(limit=1, offset=1) == ["iitem_jar_100%"]
        page = await door.get("/inventory-items", limit=1)
        assert (page["count"], page["offset"], page["limit"]) == (3, 0, 1)

    async def test_the_list_is_filtered_by_what_is_said_of_items(self, door: Door) -> None:
        await door.warehouse.stock({"mug": {"sloc_a": 5}, "cup": {"sloc_b": 1}})
        described = {"weight": 300, "height": 9.5, "hs_code": "6912.00", "requires_shipping": False}
        await door.post("/inventory-items/iitem_mug", described)
        await door.post("/inventory-items/iitem_cup", {"weight": 100, "requires_shipping": None})

        async def ids(**params: Any) -> list[str]:
            page = await door.get("/inventory-items", order="id", **params)
            return [item["id"] for item in page["inventory_items"]]

        assert await ids(weight=300) == ["iitem_mug"]
        assert await ids(weight_gt=100) == ["iitem_mug"]
        assert await ids(weight_lte=300, weight_gte=100) == ["iitem_cup", "iitem_mug"]
        assert await ids(height_lt=10) == ["iitem_mug"]
        assert await ids(hs_code_contains="12.0") == ["iitem_mug"]
        assert await ids(hs_code_starts_with="12") == []
        assert await ids(hs_code_gte="6912", hs_code_lt="6913") == ["iitem_mug"]
        assert await ids(hs_code=["6912.00"]) == ["iitem_mug"]
        assert await ids(requires_shipping=True) == ["iitem_cup"]

    async def test_a_location_that_is_asked_for_is_the_only_one_shown(self, door: Door) -> None:
        await door.warehouse.stock({"mug": {"sloc_a": 5, "sloc_b": 2}})
        page = await door.get("/inventory-items", location_id="sloc_b")
        (item,) = page["inventory_items"]
        assert [level["location_id"] for level in item["location_levels"]] == ["sloc_b"]
        assert item["stocked_quantity"] == 2

    async def test_an_unknown_filter_or_order_is_refused(self, door: Door) -> None:
        assert (await door.call("GET", "/inventory-items?colour=red")).status_code == 422
        answer = await door.call("GET", "/inventory-items?order=colour")
        assert problem(answer) == ("invalid", "order_unknown", "Order field colour does not exist")

    async def test_a_level_is_created_updated_and_deleted(self, door: Door) -> None:
        await door.warehouse.stock({"mug": {}})
        levels = "/inventory-items/iitem_mug/location-levels"
        made = {"location_id": "sloc_a", "stocked_quantity": 17, "incoming_quantity": 2}
        created = await door.post(levels, made)
        assert figures(created["inventory_item"]) == {"sloc_a": (17, 2)}
        body = {"stocked_quantity": 21, "incoming_quantity": 0}
        updated = await door.post(f"{levels}/sloc_a", body)
        assert figures(updated["inventory_item"]) == {"sloc_a": (21, 0)}
        listed = (await door.get(levels))["inventory_item"]
        assert listed.keys() == {"id", "location_levels"}
        assert figures(listed) == {"sloc_a": (21, 0)}
        assert (await door.get(levels, location_id="elsewhere"))["inventory_item"] == {
            "id": "iitem_mug",
            "location_levels": [],
        }
        deleted = await door.call("DELETE", f"{levels}/sloc_a")
        assert figures(deleted.json()["inventory_item"]) == {}
        assert (await door.call("DELETE", f"{levels}/sloc_a")).status_code == 404

    @pytest.mark.parametrize(
        "body", [{"stocked_quantity": -1}, {"stocked_quantity": 1.5}, {"on_hand": 1}]
    )
    async def test_a_level_that_makes_no_sense_is_refused(
        self, door: Door, body: dict[str, Any]
    ) -> None:
        await door.warehouse.stock({"mug": {"sloc_a": 5}})
        answer = await door.call("POST", "/inventory-items/iitem_mug/location-levels/sloc_a", body)
        assert answer.status_code == 422
        assert await door.warehouse.levels() == {("mug", "sloc_a"): (5, 0)}

    async def test_a_repeated_attempt_gets_the_same_answer_and_another_request_is_refused(
        self, door: Door
    ) -> None:
        await door.warehouse.stock({"mug": {}})
        body = {"location_id": "sloc_a", "stocked_quantity": 3}
        path = "/inventory-items/iitem_mug/location-levels"
        keys = {"idempotency-key": "key-1", "reclamo-fingerprint": "print-1"}
        first = await door.post(path, body, headers=keys)
        assert await door.post(path, body, headers=keys) == first
        other = await door.call("POST", path, body, headers={**keys, "reclamo-fingerprint": "p2"})
        assert problem(other)[0] == "key_reused"

    async def test_an_item_is_made_described_and_removed(self, door: Door) -> None:
        await door.warehouse.stock({}, mug={"manage_inventory": False})
        made = await door.post("/inventory-items", {"variant_id": "mug", "weight": 300})
        item = made["inventory_item"]
        assert (item["id"], item["sku"], item["weight"]) == ("iitem_mug", "sku-mug", 300.0)
        changed = await door.post("/inventory-items/iitem_mug", {"material": "clay"})
        assert changed["inventory_item"]["material"] == "clay"
        assert changed["inventory_item"]["weight"] == 300.0
        gone = await door.call("DELETE", "/inventory-items/iitem_mug")
        assert gone.json() == {"id": "iitem_mug", "object": "inventory_item", "deleted": True}
        answer = await door.call("GET", "/inventory-items/iitem_mug")
        assert problem(answer)[2] == "InventoryItem with id iitem_mug was not found"


class TestVariants:
    async def test_variants_are_given_by_id_in_medusas_shape(self, door: Door) -> None:
        await door.warehouse.stock({"mug": {"sloc_a": 5, "sloc_b": 1}, "cup": {"sloc_a": 1}})
        await door.warehouse.ask(place(("mug", 2)))
        page = await door.get("/variants", ids="mug,nobody")
        assert page["count"] == 1
        variant = page["variants"][0]
        assert variant["inventory_quantity"] == 4
        assert (variant["title"], variant["product"]["title"]) == ("mug, red", "Mug")
        assert [(p["currency_code"], p["amount"], p["region_id"]) for p in variant["prices"]] == [
            ("gbp", 1000, None)
        ]
        assert variant["manage_inventory"] is True
        assert variant["allow_backorder"] is False

    async def test_variants_are_found_by_what_is_available_of_them(self, door: Door) -> None:
        await door.warehouse.stock(
            {"mug": {"sloc_a": 5, "sloc_b": 1}, "cup": {"sloc_a": 1}},
            card={"manage_inventory": False},
            cup={"allow_backorder": True},
        )
        await door.warehouse.ask(place(("mug", 2)))

        async def ids(**params: Any) -> list[str]:
            return [each["id"] for each in (await door.get("/variants", **params))["variants"]]

        assert await ids() == ["card", "cup", "mug"]
        assert await ids(inventory_quantity=4) == ["mug"]
        assert await ids(inventory_quantity_gt=0) == ["cup", "mug"]
        assert await ids(inventory_quantity_lt=1) == ["card"]
        assert await ids(manage_inventory=False) == ["card"]
        assert await ids(allow_backorder=True) == ["cup"]
        assert await ids(title="mug, red") == ["mug"]
        assert await ids(created_at_gte=datetime(2100, 1, 1, tzinfo=UTC).isoformat()) == []

    async def test_variants_say_what_they_cost_where_that_is_asked(self, door: Door) -> None:
        prices = [
            {"currency_code": "eur", "amount": 900},
            {"currency_code": "eur", "amount": 800, "region_id": "reg_1"},
        ]
        await door.warehouse.stock({"mug": {"sloc_a": 5}}, mug={"prices": prices})

        async def price(**params: Any) -> Any:
            (variant,) = (await door.get("/variants", **params))["variants"]
            return variant.get("calculated_price", "not asked")

        assert await price() == "not asked"
        assert await price(currency_code="EUR") == 900
        assert await price(currency_code="eur", region_id="reg_1") == 800
        assert await price(currency_code="usd") is None

    async def test_a_customer_may_read_variants_and_nothing_else(self, door: Door) -> None:
        await door.warehouse.stock({"mug": {"sloc_a": 5}})
        assert (await door.call("GET", "/variants?ids=mug", who=CUSTOMER)).status_code == 200
        for path in (
            *("/inventory-items", "/inventory-items/iitem_mug", "/variants/mug/inventory"),
            *("/inventory-items/iitem_mug/location-levels", "/reservations", "/reservations/x"),
            *("/stock-locations", "/stock-locations/sloc_a", "/export"),
        ):
            assert (await door.call("GET", path, who=CUSTOMER)).status_code == 403, path

    async def test_the_inventory_of_a_variant_says_what_each_channel_can_sell(
        self, door: Door
    ) -> None:
        await door.warehouse.stock(
            {"mug": {"sloc_a": 5, "sloc_b": 2}}, channels={"sc_1": ["sloc_a", "sloc_b"]}
        )
        found = (await door.get("/variants/mug/inventory"))["variant"]
        assert [item["id"] for item in found["inventory"]] == ["iitem_mug"]
        assert found["sales_channel_availability"] == [
            {"channel_id": "sc_1", "available_quantity": 7}
        ]
        assert (await door.call("GET", "/variants/nobody/inventory")).status_code == 404


class TestStockLocations:
    async def test_a_location_is_opened_changed_listed_and_closed(self, door: Door) -> None:
        address = {"address_1": "1 Dock Road", "country_code": "gb"}
        made = await door.post("/stock-locations", {"name": " North ", "address": address})
        location = made["stock_location"]
        assert location["name"] == "North"
        assert location.keys() == LOCATION_KEYS
        path = f"/stock-locations/{location['id']}"
        whole = (await door.get(path, expand="address,sales_channels"))["stock_location"]
        assert whole.keys() == {*LOCATION_KEYS, "address", "sales_channels"}
        assert whole["address"]["address_1"] == "1 Dock Road"
        assert whole["address"]["id"] == location["address_id"]
        changed = await door.post(path, {"name": "South"})
        assert changed["stock_location"]["name"] == "South"
        assert changed["stock_location"]["address_id"] == location["address_id"]
        page = await door.get("/stock-locations", q="sou")
        assert page["stock_locations"] == [changed["stock_location"]]
        gone = await door.call("DELETE", path)
        assert gone.json() == {"id": location["id"], "object": "stock_location", "deleted": True}
        answer = await door.call("GET", path)
        assert problem(answer)[2] == f"StockLocation with id {location['id']} was not found"

    async def test_locations_may_share_an_address(self, door: Door) -> None:
        address = {"address_1": "1 Dock Road", "country_code": "gb"}
        north = (await door.post("/stock-locations", {"name": "North", "address": address}))[
            "stock_location"
        ]
        body = {"name": "South", "address_id": north["address_id"]}
        south = (await door.post("/stock-locations", body))["stock_location"]
        assert south["address_id"] == north["address_id"]
        page = await door.get("/stock-locations", address_id=north["address_id"], order="name")
        assert [each["name"] for each in page["stock_locations"]] == ["North", "South"]
        moved = {"address": {"address_1": "2 Dock Road", "country_code": "gb"}}
        await door.post(f"/stock-locations/{north['id']}", moved)
        found = await door.get(f"/stock-locations/{south['id']}", expand="address")
        assert found["stock_location"]["address"]["address_1"] == "2 Dock Road"
        answer = await door.call(
            "POST", f"/stock-locations/{south['id']}", {"address_id": "laddr_x"}
        )
        assert problem(answer)[2] == "StockLocationAddress with id laddr_x was not found"

    async def test_an_imported_address_is_the_locations_own(self, door: Door) -> None:
        address = {"address_1": "1 Dock Road", "country_code": "gb"}
        document = {"stock_locations": [{"id": "sloc_n", "name": "North", "address": address}]}
        await door.warehouse.load(document)
        north = (await door.get("/stock-locations/sloc_n", expand="address"))["stock_location"]
        assert north["address"] == {"id": north["address_id"], **address}
        assert (await door.warehouse.load(document))["unchanged"] == 1
        body = {"name": "South", "address_id": north["address_id"]}
        south = (await door.post("/stock-locations", body))["stock_location"]
        elsewhere = {"address_1": "3 Hill", "country_code": "gb"}
        path = f"/stock-locations/{south['id']}"
        await door.warehouse.load(
            {"stock_locations": [{"id": south["id"], "name": "South", "address": elsewhere}]}
        )
        assert (await door.get(path))["stock_location"]["address_id"] != north["address_id"]

    async def test_locations_are_found_by_the_channel_they_serve(self, door: Door) -> None:
        await door.warehouse.stock({"mug": {"sloc_b": 1}}, channels={"sc_1": ["sloc_b"]})
        page = await door.get("/stock-locations", sales_channel_id="sc_1", expand="sales_channels")
        assert [each["id"] for each in page["stock_locations"]] == ["sloc_b"]
        assert page["stock_locations"][0]["sales_channels"] == [{"id": "sc_1"}]


class TestReservations:
    async def test_a_held_reservation_is_shown_and_a_released_one_is_gone(self, door: Door) -> None:
        await door.warehouse.stock({"mug": {"sloc_a": 5}})
        await door.warehouse.ask(place(("mug", 2)))
        page = await door.get("/reservations")
        found = page["reservations"][0]
        assert found.keys() == RESERVATION_KEYS
        assert (found["line_item_id"], found["quantity"]) == ("line_1", 2)
        path = f"/reservations/{found['id']}"
        assert await door.get(path) == {"reservation": found}
        expanded = await door.get(path, expand="line_item,inventory_item")
        assert expanded["reservation"]["inventory_item"]["sku"] == "sku-mug"
        await door.warehouse.ask(release())
        answer = await door.call("GET", path)
        assert problem(answer)[2] == f"Reservation with id {found['id']} not found"
        assert (await door.get("/reservations"))["count"] == 0

    async def test_the_list_is_filtered(self, door: Door) -> None:
        await door.warehouse.stock({"mug": {"sloc_a": 5}, "cup": {"sloc_b": 5}})
        await door.warehouse.ask(place(("mug", 2), ("cup", 1)))
        past = datetime.now(UTC) - timedelta(hours=1)

        async def lines(**params: Any) -> list[str]:
            page = await door.get("/reservations", order="quantity", **params)
            return [each["line_item_id"] for each in page["reservations"]]

        assert await lines() == ["line_2", "line_1"]
        assert await lines(location_id="sloc_a") == ["line_1"]
        assert await lines(inventory_item_id=["iitem_cup", "x"]) == ["line_2"]
        assert await lines(line_item_id=["line_1", "line_2"]) == ["line_2", "line_1"]
        assert await lines(remedy_id="claim_2") == []
        assert await lines(created_by="user_1") == []
        assert await lines(quantity=2) == ["line_1"]
        assert await lines(quantity_gt=1) == ["line_1"]
        assert await lines(quantity_lt=2, quantity_gte=1) == ["line_2"]
        assert await lines(created_at_gte=past.isoformat()) == ["line_2", "line_1"]
        assert await lines(created_at_lt=past.isoformat()) == []
        assert await lines(description="x") == []

    @pytest.mark.parametrize(
        ("params", "found"),
        [
            ({"description": "Gift for Ana"}, 1),
            ({"description": "Gift"}, 0),
            ({"description_contains": "FOR"}, 1),
            ({"description_contains": "f_r"}, 0),
            ({"description_starts_with": "gift"}, 1),
            ({"description_starts_with": "Ana"}, 0),
            ({"description_ends_with": "Ana"}, 1),
            ({"description_ends_with": "Gift"}, 0),
        ],
    )
    async def test_the_description_is_searched(
        self, door: Door, params: dict[str, str], found: int
    ) -> None:
        await door.warehouse.stock({"mug": {"sloc_a": 5}})
        await door.warehouse.ask(place(("mug", 2)))
        async with door.warehouse.database.transaction() as tx:
            await tx.execute("UPDATE reservations SET description = 'Gift for Ana'")
        assert (await door.get("/reservations", **params))["count"] == found


class TestImportAndExport:
    async def test_a_document_is_loaded_and_comes_back_as_it_was(self, door: Door) -> None:
        document = a_document(
            {"mug": {"sloc_a": 5, "sloc_b": 0}, "cup": {"sloc_b": 3}},
            channels={"sc_1": ["sloc_a"]},
            mug={"tax_rate": 20, "categories": ["a"], "final_sale": True, "metadata": {"k": 1}},
            card={"manage_inventory": False},
        )
        answer = await door.post("/import", document, who=ADMIN)
        assert (answer["created"], answer["refused"]) == (9, 0)
        exported = (await door.call("GET", "/export", who=ADMIN)).json()
        assert exported.pop("next") is None
        assert {kind: len(records) for kind, records in exported.items()} == {
            "stock_locations": 2,
            "sales_channels": 1,
            "variants": 3,
            "inventory_levels": 3,
        }
        again = await door.post("/import", exported, who=ADMIN)
        assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 9)

    async def test_the_pieces_of_an_export_together_are_the_whole(self, door: Door) -> None:
        stock = {f"v{n}": {"sloc_a": n, "sloc_b": n} for n in range(5)}
        await door.warehouse.stock(stock)
        whole = (await door.call("GET", "/export", who=ADMIN)).json()
        kinds = ("stock_locations", "sales_channels", "variants", "inventory_levels")
        pieces: dict[str, list[Any]] = {kind: [] for kind in kinds}
        cursor: str | None = None
        while True:
            params: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await door.call("GET", "/export", who=ADMIN, params=params)).json()
            for kind in kinds:
                pieces[kind] += page[kind]
            cursor = page["next"]
            if cursor is None:
                break
        assert pieces == {kind: whole[kind] for kind in kinds}
        assert len(pieces["inventory_levels"]) == 10

    async def test_an_item_with_an_id_of_its_own_keeps_it_in_a_copy(self, door: Door) -> None:
        await door.warehouse.stock({"mug": {}}, mug={"inventory_item_id": "iitem_own"})
        exported = (await door.call("GET", "/export", who=ADMIN)).json()
        assert exported["variants"][0]["inventory_item_id"] == "iitem_own"

    @pytest.mark.parametrize("cursor", ["x", "[]", '["orders", "a"]', '["levels", "a"]', "[[]]"])
    async def test_a_made_up_cursor_is_refused(self, door: Door, cursor: str) -> None:
        answer = await door.call("GET", "/export", who=ADMIN, params={"cursor": cursor})
        assert problem(answer)[1] == "cursor_unknown"

    async def test_an_unknown_list_refuses_the_document(self, door: Door) -> None:
        answer = await door.call("POST", "/import", {"products": []}, who=ADMIN)
        assert answer.status_code == 422

    async def test_a_document_may_be_larger_than_any_other_body(self, door: Door) -> None:
        notes = {"metadata": {"note": "x" * (2 * 1024 * 1024)}}
        document = a_document({"mug": {}}, mug=notes)
        assert (await door.post("/import", document, who=ADMIN))["created"] == 2
        answer = await door.call("POST", "/inventory-items/iitem_mug", notes)
        assert answer.status_code == 413
        too_large = b" " * (api.IMPORT_MAX_BYTES + 1)
        token = auth.Issuer(KEY).mint(ADMIN, "inventory")
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        answer = await door.http.post("/import", content=too_large, headers=headers)
        assert answer.status_code == 413


class TestRoles:
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/inventory-items", {"variant_id": "mug"}),
            ("POST", "/inventory-items/iitem_mug", {"material": "clay"}),
            ("DELETE", "/inventory-items/iitem_mug", None),
            (
                "POST",
                "/inventory-items/iitem_mug/location-levels",
                {"location_id": "sloc_a", "stocked_quantity": 1},
            ),
            ("POST", "/inventory-items/iitem_mug/location-levels/sloc_a", {"stocked_quantity": 1}),
            ("DELETE", "/inventory-items/iitem_mug/location-levels/sloc_a", None),
            ("POST", "/stock-locations", {"name": "North"}),
            ("POST", "/stock-locations/sloc_a", {"name": "North"}),
            ("DELETE", "/stock-locations/sloc_a", None),
            ("POST", "/import", {}),
        ],
    )
    async def test_who_only_serves_customers_moves_no_stock(
        self, door: Door, method: str, path: str, body: Any
    ) -> None:
        await door.warehouse.stock({"mug": {"sloc_a": 5}})
        for who in (AGENT, CUSTOMER):
            assert (await door.call(method, path, body, who=who)).status_code == 403
        assert await door.warehouse.levels() == {("mug", "sloc_a"): (5, 0)}

    async def test_only_an_administrator_loads_and_copies_the_data(self, door: Door) -> None:
        assert (await door.call("POST", "/import", {}, who=STAFF)).status_code == 403
        assert (await door.call("GET", "/export", who=STAFF)).status_code == 403

    async def test_without_a_token_nothing_is_shown(self, door: Door) -> None:
        for path in ("/variants", "/inventory-items", "/export", "/reservations"):
            assert (await door.http.get(path)).status_code == 401
