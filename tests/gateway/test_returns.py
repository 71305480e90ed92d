"""Returns and their reasons, through the door."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.builders import Door

MUGS = {"items": [{"item_id": "item_ana_mug", "quantity": 2}]}
PATH = "/admin/orders/order_ana/return"


async def _request(shop: Door, **more: Any) -> dict[str, Any]:
    answer = await shop.post(PATH, {**MUGS, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["order"]["returns"][0]
    return found


async def test_a_return_is_requested_received_and_paid(shop: Door) -> None:
    requested = await _request(shop)
    assert (requested["status"], requested["refund_amount"]) == ("requested", 2400)
    answer = await shop.post(f"/admin/returns/{requested['id']}/receive", MUGS)
    assert answer.status_code == 200, answer.text
    received = answer.json()["return"]
    assert (received["status"], received["swap"]) == ("received", None)
    assert received["items"][0]["received_quantity"] == 2
    order = await shop.order()
    assert (order["refunded_total"], order["fulfillment_status"]) == (2400, "partially_returned")
    assert order["items"][0]["quantity"] == 2
    assert order["items"][0]["returned_quantity"] == 2


async def test_a_numeric_text_is_a_quantity_on_a_request_and_on_no_receipt(shop: Door) -> None:
    requested = await _request(shop, items=[{"item_id": "item_ana_mug", "quantity": "2"}])
    assert requested["items"][0]["quantity"] == 2
    path = f"/admin/returns/{requested['id']}/receive"
    answer = await shop.post(path, {"items": [{"item_id": "item_ana_mug", "quantity": "2"}]})
    assert answer.status_code == 400
    message = "quantity must be a number conforming to the specified constraints"
    assert answer.json()["message"] == message


async def test_receive_now_does_both_at_once(shop: Door) -> None:
    answer = await shop.post(PATH, {**MUGS, "receive_now": True})
    order = answer.json()["order"]
    assert [one["status"] for one in order["returns"]] == ["received"]
    assert order["refunded_total"] == 2400


@pytest.mark.parametrize(("refund", "paid"), [(0, 0), (-7, 0), (1000, 1000), (None, 2400)])
async def test_the_given_refund_is_paid_at_the_receipt(
    shop: Door, refund: int | None, paid: int
) -> None:
    requested = await _request(shop)
    body = {**MUGS, "refund": refund} if refund is not None else MUGS
    answer = await shop.post(f"/admin/returns/{requested['id']}/receive", body)
    assert answer.status_code == 200, answer.text
    assert (await shop.order())["refunded_total"] == paid


async def test_the_claims_return_pays_nothing_again(shop: Door) -> None:
    order = (await shop.claim(return_shipping={"price": 0})).json()["order"]
    (opened,) = order["returns"]
    assert opened["claim_order_id"] == order["claims"][0]["id"]
    body = {"items": [{"item_id": "item_ana_mug", "quantity": 1}]}
    answer = await shop.post(f"/admin/returns/{opened['id']}/receive", body)
    assert answer.status_code == 200, answer.text
    assert (await shop.order())["refunded_total"] == 1200


async def test_a_canceled_return_frees_its_units(shop: Door) -> None:
    requested = await _request(shop)
    path = f"/admin/returns/{requested['id']}"
    answer = await shop.post(f"{path}/cancel")
    assert answer.status_code == 200, answer.text
    assert answer.json()["order"]["returns"][0]["status"] == "canceled"
    refused = await shop.post(f"{path}/receive", MUGS)
    message = "Cannot receive a canceled return"
    assert (refused.status_code, refused.json()["message"]) == (400, message)
    assert (await shop.post(f"{path}/cancel")).status_code == 200
    four = {"items": [{"item_id": "item_ana_mug", "quantity": 4}]}
    assert (await shop.post(PATH, four)).status_code == 200


async def test_the_list_has_each_returns_order_and_both_slashes(shop: Door) -> None:
    await _request(shop)
    for path in ("/admin/returns/", "/admin/returns?limit=2"):
        page = (await shop.get(path)).json()
        assert set(page) == {"returns", "count", "offset", "limit"}
        (only,) = page["returns"]
        assert (only["order"]["id"], only["swap"]) == ("order_ana", None)


async def test_one_return_is_shown_or_not_found(shop: Door) -> None:
    requested = await _request(shop)
    answer = await shop.get(f"/admin/returns/{requested['id']}")
    assert answer.json()["return"]["id"] == requested["id"]
    missing = await shop.get("/admin/returns/ret_x")
    message = "Return with id: ret_x was not found"
    assert missing.status_code == 404
    assert missing.json() == {"type": "not_found", "message": message}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "items must be an array"),
        (
            {"items": [{"item_id": "item_ana_mug", "quantity": 5}]},
            400,
            "Cannot return more items than have been purchased",
        ),
        (
            {"items": [{"item_id": "item_x", "quantity": 1}]},
            404,
            "Line item with item_x was not found",
        ),
        (
            {"items": [{"item_id": "item_ben_mug", "quantity": 1}]},
            400,
            "Return contains invalid line item",
        ),
        ({**MUGS, "refund": 99_999}, 400, "Cannot refund more than the original payment"),
    ],
)
async def test_a_refused_request_leaves_no_return(
    shop: Door, body: dict[str, Any], status: int, message: str
) -> None:
    answer = await shop.post(PATH, body)
    assert (answer.status_code, answer.json()["message"]) == (status, message)
    assert (await shop.order())["returns"] == []


# ---- reasons ------------------------------------------------------------------------------------


async def test_a_reason_lives_from_creation_to_deletion(shop: Door) -> None:
    body = {"value": "damaged", "label": "Damaged", "description": "broken on the way"}
    made = (await shop.post("/admin/return-reasons", body)).json()["return_reason"]
    child = {"value": "scratched", "label": "Scratched", "parent_return_reason_id": made["id"]}
    nested = (await shop.post("/admin/return-reasons", child)).json()["return_reason"]
    assert nested["parent_return_reason_id"] == made["id"]
    again = {**child, "value": "deep", "parent_return_reason_id": nested["id"]}
    doubly = await shop.post("/admin/return-reasons", again)
    assert doubly.status_code == 400
    assert doubly.json()["message"] == "Doubly nested return reasons is not supported"
    listed = (await shop.get("/admin/return-reasons")).json()["return_reasons"]
    children = {one["id"]: [each["id"] for each in one["return_reason_children"]] for one in listed}
    assert children == {"rr_1": [], made["id"]: [nested["id"]]}
    path = f"/admin/return-reasons/{made['id']}"
    changed = (await shop.post(path, {"label": "Broken"})).json()["return_reason"]
    assert (changed["label"], changed["value"], changed["description"]) == (
        "Broken",
        "damaged",
        "broken on the way",
    )
    gone = await shop.delete(path)
    assert gone.json() == {"id": made["id"], "object": "return_reason", "deleted": True}
    for reason_id in (made["id"], nested["id"]):
        assert (await shop.get(f"/admin/return-reasons/{reason_id}")).status_code == 404


async def test_a_taken_value_is_a_duplicate(shop: Door) -> None:
    answer = await shop.post("/admin/return-reasons", {"value": "wrong_size", "label": "Again"})
    assert answer.status_code == 422
    assert answer.json() == {
        "code": "invalid_request_error",
        "type": "duplicate_error",
        "message": "Return_reason with value wrong_size already exists.",
    }
