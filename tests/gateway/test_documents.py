"""Import and export: one document for a whole installation."""

from __future__ import annotations

from typing import Any

from tests.gateway.builders import PASSWORD, Door, a_shop, an_order
from tests.gateway.conftest import OpenGateway


async def _load(door: Door, document: Any) -> dict[str, Any]:
    answer = await door.post("/admin/import", document)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_document_is_split_and_counted_once_per_record(door: Door) -> None:
    document = a_shop()
    records = sum(len(records) for records in document.values())
    first = await _load(door, document)
    assert first == {
        "created": records,
        "updated": 0,
        "unchanged": 0,
        "refused": 0,
        "refusals": [],
    }
    again = await _load(door, document)
    assert (again["created"], again["updated"], again["refused"]) == (0, 0, 0)
    assert again["unchanged"] == records


async def test_a_changed_record_is_updated_and_counted(shop: Door) -> None:
    reason = {"id": "rr_1", "value": "wrong_size", "label": "Does not fit"}
    answer = await _load(shop, {"return_reasons": [reason]})
    assert (answer["created"], answer["updated"]) == (0, 1)


async def test_a_refused_record_is_named_and_stops_no_other(door: Door) -> None:
    document = a_shop()
    document["orders"][0]["items"][0]["colour"] = "blue"
    document["variants"][1]["weight_in_stone"] = 2
    document["return_reasons"][0]["moood"] = 1
    answer = await _load(door, document)
    refused = {row["path"]: row for row in answer["refusals"]}
    assert set(refused) >= {"orders[0].items[0]", "variants[1]", "return_reasons[0]"} or set(
        refused
    ) >= {"orders[0].items[0].colour", "variants[1].weight_in_stone", "return_reasons[0].moood"}
    assert all(set(row) == {"path", "id", "code", "message"} for row in answer["refusals"])
    assert answer["refused"] == len(answer["refusals"])
    assert (await door.get("/admin/orders/order_ana")).status_code == 404
    assert (await door.get("/admin/orders/order_ben")).status_code == 200


async def test_an_unknown_list_is_refused_and_nothing_is_loaded(door: Door) -> None:
    answer = await door.post("/admin/import", {**a_shop(), "gift_cards": []})
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "invalid_data",
        "message": "property gift_cards should not exist",
    }
    assert (await door.get("/admin/orders")).json()["count"] == 0


async def test_a_document_that_cannot_be_read_is_refused(door: Door) -> None:
    for content in (b"{", b"[]", b'{"orders": {}}', b'{"orders": "x"}'):
        answer = await door.client.post("/admin/import", content=content)
        assert answer.status_code == 400, content
        assert answer.json()["type"] == "invalid_data"


async def test_a_weak_customer_password_refuses_the_login_only(door: Door) -> None:
    customer = {"id": "cus_1", "email": "c@shop.example", "password": "password"}
    answer = await _load(door, {"customers": [customer]})
    (refusal,) = answer["refusals"]
    assert (refusal["path"], refusal["id"]) == ("customers[0].password", "cus_1")
    assert (await door.get("/admin/customers/cus_1")).status_code == 200


async def test_an_installation_can_be_copied(shop: Door, open_gateway: OpenGateway) -> None:
    exported = await shop.get("/admin/export")
    assert exported.status_code == 200
    document = exported.json()
    assert set(document) == {
        *("regions", "sales_channels", "shipping_options", "customers", "orders"),
        *("stock_locations", "variants", "inventory_levels", "return_reasons"),
    }
    copy = await open_gateway()
    answer = await _load(copy, document)
    assert answer["refusals"] == []
    assert (await copy.get("/admin/export")).json() == document
    own, theirs = await shop.order(), await copy.order()
    for name in ("total", "tax_total", "refundable_amount", "email", "payment_status"):
        assert own[name] == theirs[name], name
    lamp = [{"variant_id": "variant_lamp", "quantity": 1}]
    claim = await copy.claim(type="replace", additional_items=lamp)
    assert claim.status_code == 200, claim.text


async def test_one_order_is_created_whole_or_refused_with_its_reason(shop: Door) -> None:
    order = an_order("ana", id="order_new")
    for line in order["items"]:
        line["id"] = f"new_{line['id']}"
    for part in ("payments", "shipping_methods"):
        order[part][0]["id"] = f"new_{order[part][0]['id']}"
    answer = await shop.post("/admin/orders", order)
    assert answer.status_code == 200, answer.text
    assert answer.json()["order"]["id"] == "order_new"
    assert answer.json()["order"]["total"] == 10_300
    refused = await shop.post("/admin/orders", {**order, "id": "order_no", "currency_code": 5})
    assert refused.status_code == 400
    assert refused.json()["type"] == "invalid_data"
    assert "currency_code" in refused.json()["message"]
    assert (await shop.get("/admin/orders/order_no")).status_code == 404


async def test_an_order_without_an_id_gets_one(shop: Door) -> None:
    order = an_order("ana")
    del order["id"]
    for line in order["items"]:
        del line["id"]
    for part in ("payments", "shipping_methods"):
        del order[part][0]["id"]
    answer = await shop.post("/admin/orders", order)
    assert answer.status_code == 200, answer.text
    assert answer.json()["order"]["id"].startswith("order_")


async def test_a_customer_without_an_id_can_sign_in_and_is_the_same_next_time(door: Door) -> None:
    document = {"customers": [{"email": "C@shop.example", "password": PASSWORD}]}
    assert (await _load(door, document))["created"] == 1
    assert (await _load(door, document))["unchanged"] == 1
    login = {"email": "c@shop.example", "password": PASSWORD}
    answer = await door.as_().post("/store/auth", login)
    assert answer.status_code == 200, answer.text
    assert answer.json()["customer"]["email"].lower() == "c@shop.example"


async def test_a_channel_at_an_unknown_location_is_told(door: Door) -> None:
    channel = {"id": "sc_9", "name": "Far", "stock_location_ids": ["sloc_nowhere"]}
    answer = await _load(door, {"sales_channels": [channel]})
    assert [row["path"].split(".")[0] for row in answer["refusals"]] == ["sales_channels[0]"]
    assert answer["refused"] == 1
