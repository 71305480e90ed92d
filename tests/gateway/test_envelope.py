"""The whole order, relation by relation: exactly the properties that the contract names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway import medusa
from tests.gateway.builders import Door

STAMPS = {"created_at", "updated_at"}
LINE = {
    *("id", "order_id", "claim_order_id", "swap_id", "cart_id", "variant_id", "title"),
    *("description", "thumbnail", "is_return", "is_giftcard", "should_merge", "allow_discounts"),
    *("has_shipping", "unit_price", "quantity", "fulfilled_quantity", "shipped_quantity"),
    *("returned_quantity", "metadata", "original_item_id", "order_edit_id", "includes_tax"),
    *("tax_lines", "adjustments", "subtotal", "total", "tax_total", "discount_total"),
    *("original_total", "original_tax_total", "refundable", "variant"),
}
PAYMENT = {
    *("id", "amount", "currency_code", "amount_refunded", "provider_id", "data", "captured_at"),
    *("canceled_at", "order_id", "swap_id", "cart_id", "metadata"),
}
REFUND = {
    *("id", "order_id", "payment_id", "amount", "note", "reason", "metadata"),
    "idempotency_key",
}
FULFILLMENT = {
    *("id", "order_id", "claim_order_id", "swap_id", "provider_id", "location_id", "items"),
    *("tracking_links", "tracking_numbers", "data", "shipped_at", "canceled_at"),
    *("no_notification", "metadata", "idempotency_key"),
}
METHOD = {
    *("id", "shipping_option_id", "order_id", "claim_order_id", "swap_id", "return_id", "cart_id"),
    *("price", "data", "tax_lines", "shipping_option"),
}
CLAIM = {
    *("id", "type", "payment_status", "fulfillment_status", "order_id", "shipping_address_id"),
    *("refund_amount", "canceled_at", "no_notification", "metadata", "idempotency_key"),
    *("created_at", "updated_at", "deleted_at", "claim_items", "additional_items"),
    *("return_order", "fulfillments", "shipping_methods", "shipping_address"),
}
CLAIM_ITEM = {
    *("id", "claim_order_id", "item_id", "variant_id", "reason", "note", "quantity", "metadata"),
    *("images", "item"),
}
RETURN = {
    *("id", "status", "order_id", "claim_order_id", "swap_id", "location_id", "shipping_data"),
    *("refund_amount", "received_at", "no_notification", "metadata", "idempotency_key"),
    *("created_at", "updated_at", "items", "shipping_method"),
}
RETURN_ITEM = {
    *("return_id", "item_id", "quantity", "is_requested", "requested_quantity"),
    *("received_quantity", "reason_id", "reason", "note", "metadata"),
}


def _fits(record: dict[str, Any], names: set[str], *optional: str) -> bool:
    """All names, and of others only time stamps and the optional ones."""
    return names <= set(record) <= names | STAMPS | set(optional)


@pytest.fixture
async def order(door: Door) -> dict[str, Any]:
    """An order to which everything happened that can."""
    document = medusa.orders_document()
    document["orders"][0]["items"].append(
        medusa.an_item("second-item", 1000, 3, tax_lines=[medusa.VAT])
    )
    document["orders"][0]["fulfillments"] = [
        {
            "id": "ful_1",
            "items": [{"item_id": "second-item", "quantity": 3}],
            "tracking_numbers": ["TRACK1"],
            "shipped_at": medusa.CREATED,
        }
    ]
    document["return_reasons"] = [{"id": "rr_1", "value": "wrong_size", "label": "Wrong size"}]
    await door.load(document)
    claims = "/admin/orders/test-order/claims"
    item = {"item_id": "second-item", "quantity": 1, "reason": "other"}
    claimed = {
        "type": "replace",
        "claim_items": [{**item, "images": ["https://x.test/1.jpg"], "tags": ["torn"]}],
        "additional_items": [{"variant_id": "test-variant-2", "quantity": 1}],
        "shipping_methods": [{"option_id": "test-option", "price": 100}],
        "return_shipping": {"option_id": "test-return-option", "price": 0},
    }
    refunded = {"type": "refund", "claim_items": [item]}
    returned = {"items": [{"item_id": "second-item", "quantity": 1, "reason_id": "rr_1"}]}
    for path, body in (
        (claims, claimed),
        (claims, refunded),
        ("/admin/orders/test-order/return", returned),
        ("/admin/orders/test-order/refund", {"amount": 1, "reason": "other", "note": "sorry"}),
    ):
        answer = await door.post(path, body)
        assert answer.status_code == 200, answer.text
    return await door.order("test-order")


async def test_lines_have_variant_taxes_and_adjustments(order: dict[str, Any]) -> None:
    first, second = order["items"]
    for line in (first, second):
        assert _fits(line, LINE), set(line) ^ LINE
    assert first["variant"]["product"]["title"] == "test product"
    assert [
        (cut["amount"], cut["discount_id"], cut["item_id"]) for cut in first["adjustments"]
    ] == [(800, "test-discount", "test-item")]
    for tax in second["tax_lines"]:
        assert {"id", "rate", "code", "name"} <= set(tax)
        assert tax["id"]


async def test_an_order_names_whom_and_where(order: dict[str, Any]) -> None:
    assert order["customer"]["id"] == "test-customer"
    assert order["region"]["id"] == "test-region"
    assert order["sales_channel"] == {"id": "test-channel", "name": "Web", "is_disabled": False}
    assert order["shipping_address"]["first_name"] == "lebron"
    assert order["billing_address"]["country_code"] == "us"
    (discount,) = order["discounts"]
    assert (discount["code"], discount["rule"]["type"], discount["rule"]["value"]) == (
        "TEST134",
        "percentage",
        10,
    )
    assert (order["gift_cards"], order["gift_card_transactions"], order["swaps"]) == ([], [], [])


async def test_money_has_its_rows(order: dict[str, Any]) -> None:
    for payment in order["payments"]:
        assert _fits(payment, PAYMENT), set(payment) ^ PAYMENT
    assert len(order["refunds"]) == 2
    for refund in order["refunds"]:
        assert _fits(refund, REFUND), set(refund) ^ REFUND
        assert refund["metadata"] is None
    assert {refund["reason"] for refund in order["refunds"]} == {"claim", "other"}


async def test_what_was_sent_has_methods_and_fulfillments(order: dict[str, Any]) -> None:
    (method,) = order["shipping_methods"]
    assert _fits(method, METHOD, "includes_tax"), set(method) ^ METHOD
    assert method["shipping_option"]["id"] == "test-option"
    (fulfillment,) = order["fulfillments"]
    assert _fits(fulfillment, FULFILLMENT), set(fulfillment) ^ FULFILLMENT
    assert fulfillment["items"] == [
        {"fulfillment_id": "ful_1", "item_id": "second-item", "quantity": 3}
    ]
    (link,) = fulfillment["tracking_links"]
    assert set(link) == {"id", "url", "tracking_number", "fulfillment_id"}
    assert link["tracking_number"] == "TRACK1"


async def test_a_claim_has_everything_that_belongs_to_it(order: dict[str, Any]) -> None:
    replace, refund = order["claims"]
    for claim in (replace, refund):
        assert set(claim) == CLAIM, set(claim) ^ CLAIM
        # Without an address of its own a claim goes where the order went.
        assert claim["shipping_address_id"] == claim["shipping_address"]["id"]
        assert claim["shipping_address"]["first_name"] == "lebron"
        for item in claim["claim_items"]:
            assert set(item) == CLAIM_ITEM, set(item) ^ CLAIM_ITEM
            assert _fits(item["item"], LINE), set(item["item"]) ^ LINE
            assert item["item_id"] == item["item"]["id"] == "second-item"
    (image,) = replace["claim_items"][0]["images"]
    assert set(image) == {"id", "url", "claim_item_id", "metadata"}
    (line,) = replace["additional_items"]
    assert _fits(line, LINE), set(line) ^ LINE
    assert (line["claim_order_id"], line["order_id"]) == (replace["id"], None)
    assert line["variant"]["id"] == "test-variant-2"
    assert (line["subtotal"], line["total"], line["refundable"]) == (8000, 8000, 8000)
    (method,) = replace["shipping_methods"]
    assert _fits(method, METHOD), set(method) ^ METHOD
    assert (method["shipping_option"]["id"], method["price"]) == ("test-option", 100)
    assert replace["return_order"]["claim_order_id"] == replace["id"]
    assert refund["return_order"] is None


async def test_a_return_has_its_items_reasons_and_method(order: dict[str, Any]) -> None:
    of_claim, own = order["returns"]
    for each in (of_claim, own, order["claims"][0]["return_order"]):
        assert set(each) == RETURN, set(each) ^ RETURN
        for item in each["items"]:
            assert set(item) == RETURN_ITEM, set(item) ^ RETURN_ITEM
    assert own["items"][0]["reason"]["value"] == "wrong_size"
    assert own["shipping_method"] is None
    method = of_claim["shipping_method"]
    assert _fits(method, METHOD), set(method) ^ METHOD
    assert (method["return_id"], method["price"]) == (of_claim["id"], 0)
    assert method["shipping_option"]["id"] == "test-return-option"


async def test_a_change_answers_with_the_same_order_untrimmed(
    door: Door, order: dict[str, Any]
) -> None:
    answer = await door.post("/admin/orders/test-order/refund", {"amount": 1, "reason": "discount"})
    whole = answer.json()["order"]
    assert whole["object"] == "order"
    assert set(order) <= set(whole)
    missing = {"billing_address_id", "shipping_address_id", "external_id", "idempotency_key"}
    assert missing <= set(whole)


async def test_a_claim_may_go_to_another_address(door: Door) -> None:
    await door.load(medusa.orders_document())
    body = {
        "type": "refund",
        "claim_items": [{"item_id": "test-item", "quantity": 1, "reason": "other"}],
        "shipping_address": {"first_name": "kyrie", "city": "Boston"},
    }
    answer = await door.post("/admin/orders/test-order/claims", body)
    assert answer.status_code == 200, answer.text
    (claim,) = answer.json()["order"]["claims"]
    assert (claim["shipping_address"]["first_name"], claim["shipping_address"]["city"]) == (
        "kyrie",
        "Boston",
    )
    assert claim["shipping_address_id"] == claim["shipping_address"]["id"]
    assert claim["shipping_address_id"] != answer.json()["order"]["shipping_address_id"]
