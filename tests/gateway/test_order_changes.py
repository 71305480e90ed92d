"""Orders are completed, archived, canceled, captured, corrected; payments are refunded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.gateway import medusa
from tests.gateway.builders import Door
from tests.gateway.test_fulfillments import (
    HERE,
    a_document,
    levels,
    pack,
    refused,
    reserve,
    sound,
    the_order,
    unpack,
)

Json = dict[str, Any]
ORDER = "/admin/orders/test-order"


async def act(door: Door, what: str, body: Json | None = None, **more: Any) -> Any:
    return await door.post(f"{ORDER}/{what}" if what else ORDER, body, **more)


# ---- cancel -------------------------------------------------------------------------------------


async def test_an_order_with_a_refund_is_not_canceled(door: Door) -> None:
    """M93."""
    await door.load(a_document())
    the_order(await act(door, "refund", {"amount": 100, "reason": "other"}))
    assert refused(await act(door, "cancel")) == (
        *(400, "not_allowed"),
        "Order with refund(s) cannot be canceled",
    )


async def test_cancel_gives_back_what_the_order_had_reserved(door: Door) -> None:
    """M94: available 1 -> 2."""
    await door.load(a_document(quantity=1, stock=2))
    await reserve(door, 1)
    assert (await levels(door))[HERE] == (2, 1, 1)
    order = the_order(await act(door, "cancel"))
    assert (order["status"], order["fulfillment_status"], order["payment_status"]) == (
        *("canceled", "canceled"),
        "canceled",
    )
    assert order["canceled_at"] is not None
    assert (await levels(door))[HERE] == (2, 0, 2)
    await sound(door)


async def test_cancel_after_unpacking_gives_back_all_of_it(door: Door) -> None:
    """M94: available 1 -> 3, after a fulfillment that was canceled first."""
    await door.load(a_document(quantity=2, stock=3))
    await reserve(door, 2)
    fulfillment = the_order(await pack(door, 2))["fulfillments"][0]
    answer = await act(door, "cancel")
    assert refused(answer)[2] == "All fulfillments must be canceled before canceling an order"
    the_order(await unpack(door, fulfillment["id"]))
    assert (await levels(door))[HERE] == (3, 2, 1)
    the_order(await act(door, "cancel"))
    assert (await levels(door))[HERE] == (3, 0, 3)
    await sound(door)


async def test_nothing_is_reserved_for_a_canceled_order(door: Door) -> None:
    await door.load(a_document(quantity=1, stock=2))
    the_order(await act(door, "cancel"))
    body = {
        "line_item_id": "test-item",
        "inventory_item_id": "iitem_test-variant",
        "location_id": HERE,
        "quantity": 1,
    }
    answer = await door.post("/admin/reservations", body)
    assert refused(answer)[2] == "Line item test-item belongs to a canceled order"
    await sound(door)


async def test_cancel_moves_nothing_that_is_not_counted(door: Door) -> None:
    """M94: manage_inventory false."""
    document = a_document(quantity=1)
    document["variants"] = [medusa.a_variant("test-variant", 1000, manage_inventory=False)]
    document["inventory_levels"] = []
    await door.load(document)
    the_order(await act(door, "cancel"))
    await sound(door)


async def test_claims_and_returns_are_canceled_first(door: Door) -> None:
    document = a_document()
    document["orders"][0]["items"][0] |= {"fulfilled_quantity": 3, "shipped_quantity": 3}
    await door.load(document)
    unit = {"item_id": "test-item", "quantity": 1}
    order = the_order(await act(door, "return", {"items": [unit]}))
    answer = await act(door, "cancel")
    assert refused(answer)[2] == "All returns must be canceled before canceling an order"
    await door.post(f"/admin/returns/{order['returns'][0]['id']}/cancel")
    claim = {
        "type": "replace",
        "claim_items": [{**unit, "reason": "other"}],
        "additional_items": [{"variant_id": "test-variant", "quantity": 1}],
    }
    order = the_order(await act(door, "claims", claim))
    answer = await act(door, "cancel")
    assert refused(answer)[2] == "All claims must be canceled before canceling an order"
    the_order(await act(door, f"claims/{order['claims'][0]['id']}/cancel"))
    assert the_order(await act(door, "cancel"))["status"] == "canceled"
    await sound(door)


async def test_packing_and_canceling_at_once_come_one_after_the_other(door: Door) -> None:
    await door.load(a_document(quantity=1, stock=1))
    await reserve(door, 1)
    packed, canceled = await asyncio.gather(pack(door, 1), act(door, "cancel"))
    if packed.status_code == 200:
        assert canceled.status_code in (400, 409)
        assert (await levels(door))[HERE] == (0, 0, 0)
    else:
        assert refused(packed)[2] == "A canceled order cannot be fulfilled"
        assert canceled.status_code == 200
        assert (await levels(door))[HERE] == (1, 0, 1)
    await sound(door)


async def test_canceling_again_changes_nothing(door: Door) -> None:
    await door.load(a_document())
    first = the_order(await act(door, "cancel"))
    assert the_order(await act(door, "cancel")) == first


async def test_a_key_cancels_once_with_the_same_bytes(door: Door) -> None:
    await door.load(a_document())
    first, again = [await act(door, "cancel", key="cancel-1") for _ in range(2)]
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"


# ---- complete, archive --------------------------------------------------------------------------


async def test_only_what_is_completed_is_archived(door: Door) -> None:
    await door.load(a_document())
    answer = await act(door, "archive")
    assert refused(answer) == (400, "not_allowed", "Can't archive an unprocessed order")
    assert the_order(await act(door, "complete"))["status"] == "completed"
    assert the_order(await act(door, "archive"))["status"] == "archived"


async def test_a_canceled_order_stays_as_it_is(door: Door) -> None:
    await door.load(a_document(status="canceled"))
    method = {"price": 1, "option_id": "test-option"}
    for what, body, message in (
        ("complete", {}, "A canceled order cannot be completed"),
        ("capture", {}, "A canceled order cannot capture payment"),
        ("", {"email": "a@b.example"}, "A canceled order cannot be updated"),
        ("shipping-methods", method, "A shipping method cannot be added to a canceled order"),
    ):
        assert refused(await act(door, what, body)) == (400, "not_allowed", message)


@pytest.mark.parametrize("what", ["complete", "archive", "cancel", "capture", ""])
async def test_an_order_that_is_not_there_is_not_found(door: Door, what: str) -> None:
    answer = await door.post(f"/admin/orders/order_x/{what}".rstrip("/"))
    assert refused(answer) == (404, "not_found", "Order with id order_x was not found")


# ---- payments -----------------------------------------------------------------------------------


def an_unpaid_document(*amounts: int, provider: str = "fake") -> Json:
    document = a_document()
    document["orders"][0] |= {
        "payment_status": "awaiting",
        "payments": [
            {"id": f"pay_{number}", "amount": amount, "provider_id": provider}
            for number, amount in enumerate(amounts, 1)
        ],
    }
    return document


async def test_the_money_of_an_order_is_taken(door: Door) -> None:
    await door.load(an_unpaid_document(1000, 2000))
    order = await door.order("test-order")
    assert (order["paid_total"], order["refundable_amount"]) == (3000, 0)
    order = the_order(await act(door, "capture"))
    assert order["payment_status"] == "captured"
    assert order["refundable_amount"] == 3000
    assert all(payment["captured_at"] for payment in order["payments"])
    await sound(door)


async def test_a_providers_no_is_no_error_but_a_status(door: Door) -> None:
    await door.load(an_unpaid_document(1002))
    order = the_order(await act(door, "capture"))
    assert order["payment_status"] == "requires_action"
    assert order["payments"][0]["captured_at"] is None
    await sound(door)


async def test_a_payment_is_shown_captured_and_refunded(door: Door) -> None:
    await door.load(an_unpaid_document(1000))
    shown = (await door.get("/admin/payments/pay_1")).json()["payment"]
    assert (shown["amount"], shown["captured_at"], shown["order_id"]) == (1000, None, "test-order")
    for _ in range(2):
        answer = await door.post("/admin/payments/pay_1/capture")
        assert answer.status_code == 200, answer.text
        assert answer.json()["payment"]["captured_at"] is not None
    body = {"amount": 400, "reason": "return", "note": "scratched"}
    answers = [await door.post("/admin/payments/pay_1/refund", body, key="r1") for _ in range(2)]
    assert answers[0].content == answers[1].content
    refund = answers[0].json()["refund"]
    assert (refund["payment_id"], refund["amount"], refund["reason"], refund["note"]) == (
        *("pay_1", 400, "return"),
        "scratched",
    )
    assert refund["metadata"] is None
    shown = (await door.get("/admin/payments/pay_1")).json()["payment"]
    assert shown["amount_refunded"] == 400
    order = await door.order("test-order")
    assert (order["payment_status"], order["refunded_total"]) == ("partially_refunded", 400)
    await sound(door)


async def test_what_a_payment_cannot_do_is_told_in_medusas_words(door: Door) -> None:
    await door.load(an_unpaid_document(1002, 500))
    lost = await door.get("/admin/payments/pay_x")
    assert refused(lost) == (404, "not_found", "Payment with id pay_x was not found")
    body = {"amount": 100, "reason": "other"}
    answer = await door.post("/admin/payments/pay_1/refund", body)
    assert refused(answer) == (400, "not_allowed", "Payment pay_1 is not captured")
    answer = await door.post("/admin/payments/pay_1/capture")
    assert refused(answer) == (500, "unexpected_state", "Failed to capture Payment pay_1")
    await door.post("/admin/payments/pay_2/capture")
    answer = await door.post("/admin/payments/pay_2/refund", {"amount": 501, "reason": "other"})
    assert refused(answer) == (400, "not_allowed", "Only 500 can be refunded from Payment pay_2")
    answer = await door.post("/admin/payments/pay_2/refund", {"amount": 402, "reason": "other"})
    assert refused(answer) == (500, "unexpected_state", "Failed to refund Payment pay_2")
    answer = await door.post("/admin/payments/pay_2/refund", {"reason": "x"})
    assert answer.status_code == 400
    assert set(answer.json()["message"].split(", ")) >= {
        "amount should not be empty",
        "amount must be an integer number",
    }


async def test_captured_money_of_a_canceled_order_has_a_way_back(door: Door) -> None:
    await door.load(a_document())
    order = the_order(await act(door, "cancel"))
    payment = order["payments"][0]
    assert payment["captured_at"] is not None
    body = {"amount": payment["amount"], "reason": "other"}
    answer = await door.post(f"/admin/payments/{payment['id']}/refund", body)
    assert answer.status_code == 200, answer.text
    await sound(door)


# ---- corrections --------------------------------------------------------------------------------


async def test_an_order_is_corrected(door: Door) -> None:
    document = a_document(shipping_address={"first_name": "lebron", "country_code": "us"})
    document["customers"] = [{"id": "cus_1", "email": "a@b.example"}]
    await door.load(document)
    body = {
        "email": "new@email.com",
        "shipping_address": {"first_name": "James", "country_code": "US"},
        "customer_id": "cus_1",
        "no_notification": True,
    }
    order = the_order(await act(door, "", body))
    assert order["email"] == "new@email.com"
    assert order["shipping_address"]["first_name"] == "James"
    assert (order["customer_id"], order["no_notification"]) == ("cus_1", True)
    found = await door.get("/admin/orders?q=james")
    assert [each["id"] for each in found.json()["orders"]] == ["test-order"]


@pytest.mark.parametrize(
    ("body", "type_", "message"),
    [
        (
            {"shipping_address": {"country_code": "dk"}},
            "invalid_data",
            "Shipping country must be in the order region",
        ),
        (
            {"items": [{}]},
            "not_allowed",
            "Can't update shipping, billing, items and payment method when order is processed",
        ),
        ({"metadata": {}}, "invalid_data", "property metadata should not exist"),
        ({"email": "x"}, "invalid_data", "email must be an email"),
        (
            {"shipping_address": "x"},
            "invalid_data",
            "nested property shipping_address must be either object or array",
        ),
    ],
)
async def test_a_wrong_correction_is_refused(
    door: Door, body: Json, type_: str, message: str
) -> None:
    await door.load(a_document())
    before = await door.order("test-order")
    assert refused(await act(door, "", body)) == (400, type_, message)
    assert await door.order("test-order") == before


async def test_a_shipping_method_is_added(door: Door) -> None:
    await door.load(a_document())
    body = {"price": 700, "option_id": "test-option", "data": {"door": 3}}
    order = the_order(await act(door, "shipping-methods", body, key="ship-1"))
    assert [method["price"] for method in order["shipping_methods"]] == [0, 700]
    assert order["shipping_total"] == 700
    the_order(await act(door, "shipping-methods", body, key="ship-1"))
    assert len((await door.order("test-order"))["shipping_methods"]) == 2
    answer = await act(door, "shipping-methods", {})
    assert set(answer.json()["message"].split(", ")) == {
        *("price should not be empty", "price must be an integer number"),
        *("option_id should not be empty", "option_id must be a string"),
    }
    answer = await act(door, "shipping-methods", {"price": 1, "option_id": "so_x"})
    assert refused(answer)[2] == "Shipping Option with id: so_x was not found"
