"""A new order that follows from a claim: once, for the same customer, and both know each other."""

from __future__ import annotations

from tests.gateway.builders import Door, Json
from tests.gateway.test_claim_work import opened, told

LAMP = {"items": [{"variant_id": "variant_lamp", "quantity": 2}]}


async def shown(shop: Door, claim_id: str) -> Json:
    """The claim now."""
    claim: Json = (await shop.get(f"/admin/claims/{claim_id}")).json()["claim"]
    return claim


async def test_it_goes_to_the_same_customer_and_both_show_each_other(shop: Door) -> None:
    claim = await opened(shop)
    answer = await shop.post(f"/admin/claims/{claim['id']}/order", LAMP)
    assert answer.status_code == 200, answer.text
    order, old = answer.json()["order"], await shop.order()
    for name in ("email", "customer_id", "region_id", "currency_code", "sales_channel_id"):
        assert order[name] == old[name], name
    assert order["shipping_address"]["city"] == old["shipping_address"]["city"]
    (line,) = order["items"]
    assert (line["variant_id"], line["unit_price"], line["quantity"]) == ("variant_lamp", 5000, 2)
    assert (order["status"], order["payment_status"], order["fulfillment_status"]) == (
        *("pending", "not_paid", "not_fulfilled"),
    )
    assert order["claim_id"] == claim["id"]
    assert (await shop.order(order["id"]))["claim_id"] == claim["id"]
    assert "claim_id" not in old
    (linked,) = (await shown(shop, claim["id"]))["orders"]
    assert (linked["id"], linked["display_id"]) == (order["id"], order["display_id"])
    assert (await shop.get(f"/admin/claims/{claim['id']}")).json()["claim"]["status"] == "open"


async def test_once_under_a_key_and_as_often_as_one_wants(shop: Door) -> None:
    claim = await opened(shop)
    path = f"/admin/claims/{claim['id']}/order"
    first = await shop.post(path, LAMP, key="k")
    again = await shop.post(path, LAMP, key="k")
    assert first.content == again.content
    assert (await shop.post(path, LAMP, key="l")).status_code == 200
    assert len((await shown(shop, claim["id"]))["orders"]) == 2


async def test_goods_may_be_given_and_are_sent_as_with_any_order(shop: Door) -> None:
    claim = await opened(shop)
    body = {"items": [{"variant_id": "variant_mug", "quantity": 1, "unit_price": 0}]}
    order = (await shop.post(f"/admin/claims/{claim['id']}/order", body)).json()["order"]
    assert order["total"] == 0
    method = {"option_id": "so_1", "price": 0}
    sent_by = await shop.post(f"/admin/orders/{order['id']}/shipping-methods", method)
    assert sent_by.status_code == 200, sent_by.text
    packed = await shop.post(
        f"/admin/orders/{order['id']}/fulfillment",
        {"items": [{"item_id": order["items"][0]["id"], "quantity": 1}], "location_id": "sloc_1"},
    )
    assert packed.status_code == 200, packed.text


async def test_an_export_takes_the_link_along(shop: Door) -> None:
    claim = await opened(shop)
    order = (await shop.post(f"/admin/claims/{claim['id']}/order", LAMP)).json()["order"]
    document = (await shop.get("/admin/export")).json()
    links = {each["id"]: each.get("claim_id") for each in document["orders"]}
    assert links == {"order_ana": None, "order_ben": None, order["id"]: claim["id"]}


async def test_what_makes_no_sense_opens_nothing(shop: Door) -> None:
    claim = await opened(shop)
    for body, status, message in (
        ({"items": []}, 400, "items"),
        ({"items": [{"variant_id": "variant_none", "quantity": 1}]}, 404, "Variant with id:"),
        ({"items": [{"variant_id": "variant_mug", "quantity": 0}]}, 400, "quantity must not be"),
        ({**LAMP, "payments": []}, 400, "property payments should not exist"),
    ):
        answer = await shop.post(f"/admin/claims/{claim['id']}/order", body)
        assert answer.status_code == status, answer.text
        assert message in answer.json()["message"]
    assert (await shown(shop, claim["id"]))["orders"] == []


async def test_of_a_claim_that_is_not_there_nothing_follows(shop: Door) -> None:
    answer = await shop.post("/admin/claims/claim_none/order", LAMP)
    assert told(answer) == (404, "Claim with claim_none was not found")
