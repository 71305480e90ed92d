"""What is too much, too deep, too big or not text: refused quickly, and nothing is stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gateway.builders import Door, a_claim
from tests.gateway.conftest import OpenGateway

MIB = 1024 * 1024
CLAIMS = "/admin/orders/order_ana/claims"


async def _raw(door: Door, content: Any, path: str = CLAIMS, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await door.client.post(path, content=content, headers=named)


async def _chunks(size: int) -> AsyncIterator[bytes]:
    yield b'{"x": "'
    for _ in range(size // 65_536):
        yield b"a" * 65_536
    yield b'"}'


async def test_a_body_over_a_mebibyte_is_refused_however_it_comes(shop: Door) -> None:
    big = b'{"x": "' + b"a" * MIB + b'"}'
    lying = shop.client.build_request("POST", CLAIMS, content=_chunks(4 * MIB))
    lying.headers["content-length"] = "2"
    for answer in (
        await _raw(shop, big),
        await _raw(shop, _chunks(4 * MIB)),
        await shop.client.send(lying),
    ):
        assert answer.status_code in (400, 413), answer.text
        assert answer.json()["type"] in ("invalid_request_error", "invalid_data")
    assert (await _raw(shop, big)).status_code == 413
    assert (await shop.order())["claims"] == []


async def test_an_import_may_be_larger_than_other_bodies_but_not_without_bound(door: Door) -> None:
    reasons = [{"id": f"rr_{n}", "value": f"v{n}", "label": "x" * 500} for n in range(3000)]
    answer = await door.post("/admin/import", {"return_reasons": reasons})
    assert (answer.status_code, answer.json()["created"]) == (200, 3000)
    huge = await _raw(door, b" " * (33 * MIB), "/admin/import")
    assert huge.status_code == 413


DEEP = '{"a":' * 40 + "1" + "}" * 40
BAD = {
    "too deep": DEEP,
    "very deep": "[" * 100_000 + "]" * 100_000,
    "a key twice": '{"type": "refund", "type": "replace"}',
    "NaN": '{"refund_amount": NaN}',
    "Infinity": '{"refund_amount": Infinity}',
    "a huge number": '{"refund_amount": 1e400}',
    "a huge integer": f'{{"refund_amount": 1{"0" * 308}}}',
    "a lone surrogate": '{"type": "\\ud800"}',
    "half of a document": '{"type": "refund"',
    "not JSON": "type=refund",
    "not UTF-8": b'{"type": "\xff"}',
    "a list": "[]",
    "a text": '"refund"',
    "a number": "1",
    "null": "null",
    "the character NUL": '{"type": "re\\u0000fund"}',
}


@pytest.mark.parametrize("what", sorted(BAD))
async def test_an_unreadable_body_is_refused_in_the_shape_of_errors(shop: Door, what: str) -> None:
    answer = await _raw(shop, BAD[what])
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"] == "invalid_data"
    assert set(answer.json()) == {"type", "message"}
    assert len(answer.text) < 1000


async def test_a_hundred_thousand_unknown_keys_are_not_all_told(shop: Door) -> None:
    body = json.dumps({f"k{n}": n for n in range(60_000)})
    answer = await _raw(shop, body)
    assert answer.status_code == 400
    assert "property k0 should not exist" in answer.json()["message"]
    assert len(answer.text) < 50_000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "quantity must not be less than 1"),
        (-1, "quantity must not be less than 1"),
        (2**53 + 1, "quantity must not be greater than 9007199254740991"),
        (2**63, None),
        (1.5, "quantity must be an integer number"),
        (True, "quantity must be an integer number"),
        ("1", "quantity must be an integer number"),
    ],
)
async def test_a_quantity_that_is_none_stores_nothing(
    shop: Door, given: Any, message: str | None
) -> None:
    item = {"item_id": "item_ana_mug", "quantity": given, "reason": "other"}
    answer = await shop.post(CLAIMS, a_claim(claim_items=[item]))
    assert (answer.status_code, answer.json()["type"]) == (400, "invalid_data")
    if message:
        assert answer.json()["message"] == message
    assert (await shop.get("/admin/claims")).json()["count"] == 0


async def test_a_negative_refund_is_refused(shop: Door) -> None:
    answer = await shop.post(CLAIMS, a_claim(refund_amount=-1))
    assert answer.json()["message"] == "refund_amount must not be less than 0"
    body = {"amount": -5, "reason": "other"}
    refund = await shop.post("/admin/orders/order_ana/refund", body)
    assert refund.status_code == 400
    assert (await shop.order())["refunded_total"] == 0


async def test_a_claim_and_a_return_have_at_most_a_hundred_lines(shop: Door) -> None:
    item = {"item_id": "item_ana_mug", "quantity": 1}
    claim = await shop.post(CLAIMS, a_claim(claim_items=[{**item, "reason": "other"}] * 101))
    returned = await shop.post("/admin/orders/order_ana/return", {"items": [item] * 101})
    for answer in (claim, returned):
        assert (answer.status_code, answer.json()["type"]) == (400, "invalid_data")
    order = await shop.order()
    assert (order["claims"], order["returns"]) == ([], [])


@pytest.mark.parametrize(
    "name",
    [
        *("status", "recovery_point", "tenant", "canceled_at", "payment_status", "id"),
        *("fulfillment_status", "idempotency_key", "order", "order_id", "created_by"),
    ],
)
async def test_what_a_client_may_not_set_is_refused(shop: Door, name: str) -> None:
    for path, body in (
        (CLAIMS, a_claim()),
        ("/admin/orders/order_ana/return", {"items": []}),
        ("/admin/orders/order_ana/refund", {"amount": 1, "reason": "other"}),
        ("/admin/return-reasons", {"value": "v", "label": "l"}),
    ):
        answer = await shop.post(path, {**body, name: "x"})
        assert answer.status_code == 400
        assert f"property {name} should not exist" in answer.json()["message"].split(", ")
    assert (await shop.order())["refunded_total"] == 0


async def test_an_unknown_parameter_is_refused(shop: Door) -> None:
    for path in ("/admin/orders", "/admin/orders/order_ana", "/admin/claims", "/admin/returns"):
        answer = await shop.get(path, params={"tenant": "x"})
        assert answer.status_code == 400, path
        assert answer.json()["message"] == "property tenant should not exist"


async def test_a_page_is_capped_and_says_so(shop: Door) -> None:
    own = (await shop.get("/admin/claims?limit=5000")).json()
    assert own["limit"] == 100
    medusa = (await shop.get("/admin/orders?limit=5000")).json()
    assert medusa["limit"] == 200
    for bad in ("-1", "x", "1e3", "99999999999"):
        answer = await shop.get(f"/admin/orders?limit={bad}")
        assert answer.status_code == 400, bad


async def test_who_asks_too_often_is_told_when_to_come_back(open_gateway: OpenGateway) -> None:
    door = await open_gateway(requests_per_minute=5)
    nobody = door.as_()
    answers = [await nobody.get("/store/return-reasons") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].json()["type"] == "unexpected_state"
    spoofed = await nobody.get("/store/return-reasons", headers={"x-forwarded-for": "10.1.1.1"})
    assert spoofed.status_code == 429
    elsewhere = await door.as_("198.51.100.7").get("/store/return-reasons")
    assert elsewhere.status_code == 200
    # The owner of an embedded installation is not held up.
    assert [(await door.get("/admin/auth")).status_code for _ in range(8)] == [200] * 8
