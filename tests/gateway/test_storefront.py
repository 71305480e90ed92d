"""What a customer sees and does: the own, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway import access
from tests.gateway.builders import Door, an_order
from tests.gateway.conftest import OpenGateway


def a_return(name: str = "ana", **more: Any) -> dict[str, Any]:
    items = [{"item_id": f"item_{name}_mug", "quantity": 1, "reason_id": "rr_1", "note": "small"}]
    return {"order_id": f"order_{name}", "items": items, **more}


async def test_a_customer_sends_something_back(shop: Door) -> None:
    ana = await shop.customer("ana")
    answer = await ana.post("/store/returns", a_return(return_shipping={"option_id": "so_back"}))
    assert answer.status_code == 200, answer.text
    found = answer.json()["return"]
    assert (found["status"], found["order_id"], found["swap"]) == ("requested", "order_ana", None)
    assert found["refund_amount"] == 1200 - 360  # the label costs 300 and its tax of 20 %
    assert found["items"][0]["reason_id"] == "rr_1"
    assert answer.headers["idempotency-key"]


@pytest.mark.parametrize("somebody", ["ben", "nobody"])
async def test_anothers_order_answers_like_one_that_does_not_exist(
    shop: Door, somebody: str
) -> None:
    """D26."""
    stranger = shop.as_() if somebody == "nobody" else await shop.customer(somebody)
    theirs = await stranger.get("/store/orders/order_ana")
    missing = await stranger.get("/store/orders/order_xyz")
    assert theirs.status_code == missing.status_code == (401 if somebody == "nobody" else 404)
    assert theirs.text.replace("order_ana", "order_xyz") == missing.text
    refused = await stranger.post("/store/returns", a_return("ana"))
    nothing = await stranger.post("/store/returns", a_return("xyz"))
    assert refused.status_code == nothing.status_code == theirs.status_code
    assert refused.text.replace("order_ana", "order_xyz") == nothing.text
    assert (await shop.order())["returns"] == []


async def test_the_customers_of_two_orders_meet_nothing_of_each_other_on_any_route(
    shop: Door,
) -> None:
    ana, ben = await shop.customer("ana"), await shop.customer("ben")
    made = (await ana.post("/store/returns", a_return())).json()["return"]
    item = {"item_id": "item_ana_mug", "quantity": 1, "reason": "other"} | {"note": "loose handle"}
    body: Any = {"order_id": "order_ana", "claim_items": [item]}
    told = (await ana.post("/store/claims", body)).json()["claim"]
    known = {"order_id": "order_ana", "return_id": made["id"], "customer_id": "cus_ana"}
    known["inquiry_id"] = told["id"]
    credit = {"amount": 77123, "currency_code": "eur"}
    assert (await shop.post("/admin/customers/cus_ana/store-credits", credit)).status_code == 200
    assert "77123" in (await ana.get("/store/customers/me/store-credits")).text
    secrets = (made["id"], "loose handle", "item_ana_mug", "ana@shop.example", "Ljubljana", "77123")
    for method, template in access.TABLE:
        path = re.sub(r"{(\w+)}", lambda match: known.get(match.group(1), "x_1"), template)
        body = None if method == "GET" else a_return() if template == "/store/returns" else {}
        answer = await ben.client.request(method, path, json=body)
        assert answer.status_code in (400, 401, 403, 404, 200), (method, path)
        if answer.status_code == 200:
            own = ("/store/auth", "/store/claims", "/store/customers/me/store-credits")
            assert "reasons" in path or path in own, (method, path)
        assert not [secret for secret in secrets if secret in answer.text.replace(path, "")]


async def test_a_line_of_anothers_order_cannot_be_sent_back(shop: Door) -> None:
    ben = await shop.customer("ben")
    body = {"order_id": "order_ben", "items": [{"item_id": "item_ana_mug", "quantity": 1}]}
    answer = await ben.post("/store/returns", body)
    assert answer.status_code == 400
    assert answer.json() == {"type": "invalid_data", "message": "Return contains invalid line item"}
    assert (await shop.order())["returns"] == []
    assert (await shop.order("order_ben"))["returns"] == []


async def test_a_customer_sees_no_inner_matter_of_the_shop(shop: Door) -> None:
    ana = await shop.customer("ana")
    note = {"amount": 10, "reason": "other", "note": "she calls every day"}
    assert (await shop.post("/admin/orders/order_ana/refund", note)).status_code == 200
    assert (await shop.claim()).status_code == 200
    answer = await ana.get("/store/orders/order_ana")
    order = answer.json()["order"]
    assert "she calls every day" not in answer.text
    assert set(order) == {
        *("id", "status", "fulfillment_status", "payment_status", "display_id", "cart_id"),
        *("customer_id", "email", "region_id", "currency_code", "tax_rate", "created_at"),
        *("shipping_total", "discount_total", "tax_total", "refunded_total", "total", "subtotal"),
        *("paid_total", "refundable_amount", "gift_card_total", "gift_card_tax_total"),
        *("item_tax_total", "shipping_tax_total", "shipping_address", "fulfillments", "items"),
        *("shipping_methods", "discounts", "customer", "payments", "region"),
    }
    inner = {"metadata", "remedied_quantity", "ordered_quantity", "extra"}
    assert not [name for line in order["items"] for name in inner & set(line)]


async def test_the_policy_binds_the_customer_and_only_advises_the_clerk(shop: Door) -> None:
    late = an_order("ana", id="order_late")
    for line in late["items"]:
        line["id"] = f"late_{line['id']}"
        line["delivered_at"] = "2020-01-01T00:00:00Z"
    for part in ("payments", "shipping_methods"):
        late[part][0]["id"] += "_late"
    loaded = await shop.post("/admin/import", {"orders": [late]})
    assert loaded.json()["refusals"] == []
    items = [{"item_id": "late_item_ana_mug", "quantity": 1}]
    ana = await shop.customer("ana")
    answer = await ana.post("/store/returns", {"order_id": "order_late", "items": items})
    assert answer.status_code == 400
    assert answer.json()["type"] == "not_allowed"
    clerk = await shop.post("/admin/orders/order_late/return", {"items": items})
    assert clerk.status_code == 200, clerk.text


async def test_an_open_shop_answers_anyone_who_knows_the_order(open_gateway: OpenGateway) -> None:
    from tests.gateway.builders import a_shop

    shop = await open_gateway(store_returns="open")
    await shop.post("/admin/import", a_shop())
    nobody = shop.as_()
    answer = await nobody.post("/store/returns", a_return())
    assert answer.status_code == 200, answer.text
    assert (await nobody.get("/store/orders/order_ana")).status_code == 200
    assert (await nobody.get("/admin/orders/order_ana")).status_code == 401


async def test_reasons_are_public(shop: Door) -> None:
    nobody = shop.as_()
    reasons = (await nobody.get("/store/return-reasons/")).json()["return_reasons"]
    assert [(reason["id"], reason["return_reason_children"]) for reason in reasons] == [
        ("rr_1", [])
    ]
    one = await nobody.get("/store/return-reasons/rr_1")
    assert one.json()["return_reason"]["value"] == "wrong_size"
    missing = await nobody.get("/store/return-reasons/rr_x")
    message = "Return Reason with id: rr_x was not found."
    assert (missing.status_code, missing.json()["message"]) == (404, message)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("fields=id,email&expand=items", {"id", "email", "items"}),
        ("fields=id&expand=billing_address,fulfillments.tracking_links", None),
        ("expand=", None),
    ],
)
async def test_a_customer_chooses_among_what_may_be_seen(
    shop: Door, query: str, shown: set[str] | None
) -> None:
    ana = await shop.customer("ana")
    order = (await ana.get(f"/store/orders/order_ana?{query}")).json()["order"]
    if shown is not None:
        assert {name for name in order if "total" not in name} - {"refundable_amount"} == shown
    if "billing_address" in query:
        assert order["billing_address"]["first_name"] == "Ana"
        assert "items" not in order


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("expand=refunds", "Requested fields [refunds] are not valid"),
        ("fields=metadata,id", "Requested fields [metadata] are not valid"),
        ("fields=%2Bextra", "Requested fields [extra] are not valid"),
        ("expand=claims.claim_items,returns", "Requested fields [claims, returns] are not valid"),
        ("expand[]=items&tenant=1", "property tenant should not exist"),
    ],
)
async def test_a_customer_cannot_ask_for_what_is_the_shops(
    shop: Door, query: str, message: str
) -> None:
    ana = await shop.customer("ana")
    answer = await ana.get(f"/store/orders/order_ana?{query}")
    assert answer.status_code == 400
    assert answer.json() == {"type": "invalid_data", "message": message}


# ---- looking an order up ------------------------------------------------------------------------


async def _look_up(door: Door, query: str) -> Any:
    return await door.get(f"/store/orders?{query}")


async def test_who_knows_number_and_email_sees_the_order(shop: Door) -> None:
    guest = shop.as_()
    number = (await shop.order())["display_id"]
    answer = await _look_up(guest, f"display_id={number}&email=Ana%40shop.example")
    assert answer.status_code == 200, answer.text
    order = answer.json()["order"]
    assert order["id"] == "order_ana"
    assert order["items"][0]["title"] == "Mug"
    assert "claims" not in order


async def test_whatever_does_not_match_is_answered_alike(shop: Door) -> None:
    guest = shop.as_()
    number = (await shop.order())["display_id"]
    for query in (
        f"display_id={number}&email=ben%40shop.example",
        "display_id=999999&email=ana%40shop.example",
        f"display_id={number}&email=ana%40shop.example&shipping_address[postal_code]=1000",
    ):
        answer = await _look_up(guest, query)
        assert (answer.status_code, answer.text) == (404, "Not Found")


@pytest.mark.parametrize(
    ("query", "messages"),
    [
        (
            "",
            {
                "display_id must be a number conforming to the specified constraints",
                "email must be an email",
            },
        ),
        ("display_id=1&email=x", {"email must be an email"}),
        ("display_id=1&email=a%40b.example&secret=1", {"property secret should not exist"}),
        (
            "display_id=1&email=a%40b.example&shipping_address[city]=x",
            {"property city should not exist"},
        ),
    ],
)
async def test_a_wrong_look_up_is_told_so(shop: Door, query: str, messages: set[str]) -> None:
    answer = await _look_up(shop.as_(), query)
    assert answer.status_code == 400
    assert set(answer.json()["message"].split(", ")) == messages


async def test_no_order_was_ever_a_cart(shop: Door) -> None:
    ana = await shop.customer("ana")
    answer = await ana.get("/store/orders/cart/cart_1")
    assert (answer.status_code, answer.json()) == (
        404,
        {"type": "not_found", "message": "Order with cart id: cart_1 was not found"},
    )
    assert (await shop.as_().get("/store/orders/cart/cart_1")).status_code == 401
