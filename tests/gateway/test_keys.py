"""Idempotency keys at the door: one answer per key, byte for byte, and never somebody else's."""

from __future__ import annotations

import asyncio

from tests.gateway.builders import Door, a_claim


async def test_a_repeat_gets_the_same_bytes_and_nothing_happens_twice(shop: Door) -> None:
    """D1."""
    first = await shop.claim(key="k-1")
    # In between the order changes; the answer under the key does not.
    assert (await shop.claim(key="k-2")).status_code == 200
    again = await shop.claim(key="k-1")
    assert again.status_code == 200
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotency-key"] == "k-1"
    assert len((await shop.order())["claims"]) == 2


async def test_two_requests_at_once_with_one_key_make_one_claim_and_one_answer(shop: Door) -> None:
    """D3."""
    answers = await asyncio.gather(*(shop.claim(key="k-1") for _ in range(8)))
    settled = [answer for answer in answers if answer.status_code == 200]
    # 409 only while the accepting transaction is open; the stock client repeats it.
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert settled
    assert len({answer.content for answer in settled}) == 1
    order = await shop.order()
    assert (len(order["claims"]), order["refunded_total"]) == (1, 1200)


async def test_the_same_key_for_another_body_is_refused(shop: Door) -> None:
    """D2."""
    assert (await shop.claim(key="k-1")).status_code == 200
    answer = await shop.claim(key="k-1", refund_amount=5)
    assert answer.status_code == 422
    assert answer.json()["type"] == "invalid_request_error"
    assert answer.headers["idempotency-key"] == "k-1"
    assert len((await shop.order())["claims"]) == 1


async def test_the_same_key_on_another_path_is_refused(shop: Door) -> None:
    """D2."""
    assert (await shop.claim(key="k-1")).status_code == 200
    answer = await shop.post("/admin/orders/order_ben/claims", a_claim(), key="k-1")
    assert answer.status_code == 422


async def test_the_order_of_keys_in_the_body_does_not_matter(shop: Door) -> None:
    body = a_claim(refund_amount=7)
    first = await shop.post("/admin/orders/order_ana/claims", body, key="k-1")
    turned = dict(reversed(body.items()))
    again = await shop.post("/admin/orders/order_ana/claims/", turned, key="k-1")
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"


async def test_anothers_equal_key_is_another_key(shop: Door) -> None:
    """D2."""
    agent = await shop.with_role("agent")
    other = shop.as_(**await _signed_in(shop, "agent"))
    mine = await agent.claim(key="k-1")
    theirs = await other.claim(key="k-1")
    assert (mine.status_code, theirs.status_code) == (200, 200)
    assert theirs.content != mine.content
    assert len((await shop.order())["claims"]) == 2


async def _signed_in(shop: Door, role: str) -> dict[str, str]:
    login = await shop.user(role)
    answer = await shop.as_().post("/admin/auth/token", login)
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


async def test_a_refusal_after_acceptance_is_kept_under_its_key(shop: Door) -> None:
    lamps = [{"variant_id": "variant_lamp", "quantity": 2}]
    first = await shop.claim(key="k-1", type="replace", additional_items=lamps)
    level = {"variant_id": "variant_lamp", "location_id": "sloc_1", "stocked_quantity": 9}
    await shop.post("/admin/import", {"inventory_levels": [level]})
    again = await shop.claim(key="k-1", type="replace", additional_items=lamps)
    assert (first.status_code, again.status_code) == (400, 400)
    assert again.content == first.content
    fresh = await shop.claim(key="k-2", type="replace", additional_items=lamps)
    assert fresh.status_code == 200


async def test_a_validation_error_is_not_kept(shop: Door) -> None:
    wrong = await shop.claim(key="k-1", type="something")
    assert wrong.status_code == 400
    assert wrong.headers["idempotency-key"] == "k-1"
    assert (await shop.claim(key="k-1")).status_code == 200


async def test_without_a_key_the_server_makes_one_and_tells_it(shop: Door) -> None:
    first, second = await shop.claim(), await shop.claim()
    assert first.headers["idempotency-key"].startswith("ikey_")
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
    again = await shop.claim(key=first.headers["idempotency-key"])
    assert len((await shop.order())["claims"]) == 2
    assert again.status_code == 200


async def test_a_refund_by_hand_honors_the_key_of_the_stock_client(shop: Door) -> None:
    body = {"amount": 100, "reason": "other"}
    first = await shop.post("/admin/orders/order_ana/refund", body, key="k-1")
    again = await shop.post("/admin/orders/order_ana/refund", body, key="k-1")
    assert again.content == first.content
    assert first.headers["idempotency-key"] == "k-1"
    assert (await shop.order())["refunded_total"] == 100
    silent = await shop.post("/admin/orders/order_ana/refund", body)
    assert "idempotency-key" not in silent.headers
    assert (await shop.order())["refunded_total"] == 200


async def test_a_return_and_its_receipt_honor_the_key(shop: Door) -> None:
    items = {"items": [{"item_id": "item_ana_mug", "quantity": 2}]}
    first = await shop.post("/admin/orders/order_ana/return", items, key="k-1")
    again = await shop.post("/admin/orders/order_ana/return", items, key="k-1")
    assert again.content == first.content
    (only,) = (await shop.order())["returns"]
    path = f"/admin/returns/{only['id']}/receive"
    one = await shop.post(path, items, key="k-2")
    two = await shop.post(path, items, key="k-2")
    assert one.status_code == 200, one.text
    assert two.content == one.content
    assert (await shop.order())["refunded_total"] == 2400


async def test_a_key_may_be_a_structured_field_string(shop: Door) -> None:
    first = await shop.claim(key='"k-1"')
    again = await shop.claim(key="k-1")
    assert again.content == first.content


async def test_an_unreadable_key_is_refused(shop: Door) -> None:
    for key in ("", "a b", "x" * 256, "ümlaut".encode("latin-1").decode("latin-1"), "a;b"):
        answer = await shop.client.post(
            "/admin/orders/order_ana/claims",
            json=a_claim(),
            headers={"idempotency-key": key.encode("latin-1")},
        )
        assert answer.status_code == 400, key
        assert answer.json()["type"] == "invalid_data"
    assert (await shop.order())["claims"] == []


async def test_a_foreign_customer_learns_nothing_by_a_key(shop: Door) -> None:
    ana, ben = await shop.customer("ana"), await shop.customer("ben")
    body = {"order_id": "order_ana", "items": [{"item_id": "item_ana_mug", "quantity": 1}]}
    mine = await ana.post("/store/returns", body, key="k-1")
    assert mine.status_code == 200, mine.text
    theirs = await ben.post("/store/returns", body, key="k-1")
    assert theirs.status_code == 404
    assert mine.json()["return"]["id"] not in theirs.text
