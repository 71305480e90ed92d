"""Claims through the door: the answer is the whole order, with every effect."""

from __future__ import annotations

import asyncio

from tests.gateway.builders import Door, a_claim


async def test_a_refund_claim_answers_with_the_order_and_every_effect(shop: Door) -> None:
    answer = await shop.claim()
    assert answer.status_code == 200, answer.text
    order = answer.json()["order"]
    assert [claim["type"] for claim in order["claims"]] == ["refund"]
    assert order["claims"][0]["refund_amount"] == 1200
    assert order["claims"][0]["payment_status"] == "refunded"
    assert order["claims"][0]["claim_items"][0]["item"]["id"] == "item_ana_mug"
    assert [refund["amount"] for refund in order["refunds"]] == [1200]
    assert order["refunded_total"] == 1200
    assert order["payment_status"] == "partially_refunded"
    assert answer.headers["idempotency-key"]
    assert "Idempotency-Key" in answer.headers["access-control-expose-headers"]


async def test_a_claim_with_return_shipping_opens_a_return_that_mirrors_the_amount(
    shop: Door,
) -> None:
    answer = await shop.claim(return_shipping={"option_id": "so_back", "price": 0})
    order = answer.json()["order"]
    assert [one["refund_amount"] for one in order["returns"]] == [1200]
    returned = order["claims"][0]["return_order"]
    assert returned["id"] == order["returns"][0]["id"]
    assert returned["shipping_method"]["price"] == 0
    assert [refund["amount"] for refund in order["refunds"]] == [1200]


async def test_a_replacement_reserves_its_variant_and_shows_the_new_line(shop: Door) -> None:
    lamp = [{"variant_id": "variant_lamp", "quantity": 1}]
    answer = await shop.claim(type="replace", additional_items=lamp)
    assert answer.status_code == 200, answer.text
    claim = answer.json()["order"]["claims"][0]
    assert claim["payment_status"] == "na"
    assert claim["refund_amount"] is None
    line = claim["additional_items"][0]
    assert (line["variant_id"], line["unit_price"], line["quantity"]) == ("variant_lamp", 5000, 1)
    assert line["variant"]["id"] == "variant_lamp"
    reserved = (await shop.get("/admin/reservations")).json()["reservations"]
    assert [(row["line_item_id"], row["quantity"]) for row in reserved] == [(line["id"], 1)]


async def test_a_refused_reservation_leaves_no_claim_and_no_refund(shop: Door) -> None:
    lamps = [{"variant_id": "variant_lamp", "quantity": 2}]
    answer = await shop.claim(type="replace", additional_items=lamps)
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "not_allowed",
        "message": "Variant with id: variant_lamp does not have the required inventory",
    }
    order = await shop.order()
    assert (order["claims"], order["refunds"]) == ([], [])
    assert (await shop.get("/admin/claims")).json()["claims"] == []
    assert (await shop.get("/admin/reservations")).json()["count"] == 0


async def test_a_unit_is_claimed_once(shop: Door) -> None:
    item = {"item_id": "item_ana_mug", "quantity": 3, "reason": "wrong_item"}
    assert (await shop.claim(claim_items=[item])).status_code == 200
    answer = await shop.claim(claim_items=[{**item, "quantity": 2}])
    assert answer.status_code == 400
    assert answer.json()["message"] == "Cannot claim more of an item than has been fulfilled."
    assert (await shop.claim()).status_code == 200


async def test_two_claims_on_the_last_unit_at_once_leave_one(shop: Door) -> None:
    item = {"item_id": "item_ana_lamp", "quantity": 1, "reason": "other"}
    answers = await asyncio.gather(*(shop.claim(claim_items=[item]) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    order = await shop.order()
    assert [refund["amount"] for refund in order["refunds"]] == [5000]


async def test_a_line_of_another_order_is_not_found(shop: Door) -> None:
    item = {"item_id": "item_ben_mug", "quantity": 1, "reason": "other"}
    answer = await shop.claim(claim_items=[item])
    assert answer.status_code == 404
    assert answer.json() == {
        "type": "not_found",
        "message": "Line item with item_ben_mug was not found",
    }


async def test_an_unknown_order_is_not_found(shop: Door) -> None:
    answer = await shop.claim(order_id="order_nobody")
    assert answer.status_code == 404
    message = "Order with id order_nobody was not found"
    assert answer.json() == {"type": "not_found", "message": message}


async def test_an_unknown_order_comes_before_what_is_wrong_with_the_replacement(shop: Door) -> None:
    lamp = [{"variant_id": "variant_lamp", "quantity": 1}]
    answer = await shop.claim(order_id="order_nobody", type="replace", additional_items=lamp)
    assert answer.status_code == 404


async def test_a_replacement_is_canceled_and_its_stock_free_again(shop: Door) -> None:
    lamp = [{"variant_id": "variant_lamp", "quantity": 1}]
    order = (await shop.claim(type="replace", additional_items=lamp)).json()["order"]
    path = f"/admin/orders/order_ana/claims/{order['claims'][0]['id']}/cancel"
    answer = await shop.post(path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["order"]["claims"][0]["canceled_at"] is not None
    assert (await shop.get("/admin/reservations")).json()["count"] == 0
    again = await shop.post(path)
    assert again.status_code == 200
    first = answer.json()["order"]["claims"][0]["canceled_at"]
    assert again.json()["order"]["claims"][0]["canceled_at"] == first


async def test_a_refunded_claim_cannot_be_canceled(shop: Door) -> None:
    order = (await shop.claim()).json()["order"]
    answer = await shop.post(f"/admin/orders/order_ana/claims/{order['claims'][0]['id']}/cancel")
    assert answer.status_code == 400
    message = "Claim with a refund cannot be canceled"
    assert answer.json() == {"type": "not_allowed", "message": message}


async def test_a_claim_is_not_canceled_under_another_order(shop: Door) -> None:
    order = (await shop.claim()).json()["order"]
    claim_id = order["claims"][0]["id"]
    answer = await shop.post(f"/admin/orders/order_ben/claims/{claim_id}/cancel")
    assert answer.status_code == 404
    message = f"no claim was found with the id: {claim_id} related to order: order_ben"
    assert answer.json() == {"type": "not_found", "message": message}


async def test_a_claim_shows_the_timeline_of_its_saga(shop: Door) -> None:
    order = (await shop.claim()).json()["order"]
    answer = await shop.get(f"/admin/claims/{order['claims'][0]['id']}")
    claim = answer.json()["claim"]
    assert claim["recovery_point"] == "finished"
    assert claim["timeline"]
    listed = (await shop.get("/admin/claims?limit=1")).json()
    assert (listed["count"], listed["limit"], listed["offset"]) == (1, 1, 0)


async def test_zero_is_an_amount_and_no_money_moves(shop: Door) -> None:
    answer = await shop.claim(refund_amount=0)
    assert answer.status_code == 200
    order = answer.json()["order"]
    assert order["claims"][0]["refund_amount"] == 0
    assert order["refunds"] == []


async def test_more_than_was_captured_is_not_refunded(shop: Door) -> None:
    answer = await shop.claim(refund_amount=10_301)
    assert answer.status_code == 400
    message = "Refund amount is greater that the refundable amount"
    assert answer.json() == {"type": "not_allowed", "message": message}
    assert (await shop.order())["claims"] == []


async def test_who_does_not_want_to_wait_is_told_where_to_look(shop: Door) -> None:
    answer = await shop.client.post(
        "/admin/orders/order_ana/claims",
        json=a_claim(),
        headers={"prefer": "respond-async", "idempotency-key": "later"},
    )
    assert answer.status_code == 202
    assert answer.headers["idempotency-key"] == "later"
    found = await shop.get(answer.headers["location"])
    assert found.status_code == 200
    # The key joins what is under way.
    settled = await shop.claim(key="later")
    assert settled.status_code == 200
    assert len(settled.json()["order"]["claims"]) == 1
