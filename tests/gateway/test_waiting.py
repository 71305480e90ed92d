"""Waiting for a saga with a key: a crowd, an impatient client, a service that is behind."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from chassis.testing import eventually
from gateway import access
from tests.gateway.builders import Door, a_claim, a_shop
from tests.gateway.conftest import OpenGateway

CLAIMS = "/admin/orders/order_ana/claims"
KEY = "idempotency-key"


async def test_a_hundred_requests_with_one_key_make_one_claim_and_get_the_same_bytes(
    shop: Door,
) -> None:
    async def stubborn() -> Any:
        """As the stock client: 409 and 503 are tried again with the same key."""
        for _ in range(50):
            answer = await shop.claim(key="k-crowd")
            if answer.status_code not in (409, 503):
                return answer
            assert answer.headers["retry-after"]
            await asyncio.sleep(0.01)
        return answer

    answers = await asyncio.gather(*(stubborn() for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    order = await shop.order()
    assert (len(order["claims"]), order["refunded_total"]) == (1, 1200)


async def test_a_hundred_keys_on_four_units_make_four_claims(shop: Door) -> None:
    answers = await asyncio.gather(*(shop.claim(key=f"k-{number}") for number in range(100)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 4 + [400] * 96
    order = await shop.order()
    assert (len(order["claims"]), order["refunded_total"]) == (4, 4800)


@pytest.mark.parametrize(
    ("path", "body", "at"),
    [
        (CLAIMS, a_claim(), "/admin/orders/order_ana"),
        (
            "/admin/orders/order_ana/return",
            {"items": [{"item_id": "item_ana_mug", "quantity": 1}]},
            "/admin/orders/order_ana",
        ),
    ],
)
async def test_who_prefers_not_to_wait_is_told_where_to_look(
    shop: Door, path: str, body: dict[str, Any], at: str
) -> None:
    answer = await shop.post(path, body, key="k-1", prefer="respond-async")
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == at
    assert answer.headers[KEY] == "k-1"
    assert set(answer.headers["access-control-expose-headers"].split(", ")) == {
        "Idempotency-Key",
        "Location",
    }

    async def settled() -> bool:
        order = await shop.order()
        return bool(order["claims"] or order["returns"])

    await eventually(settled)
    # The 202 was no result: the same key without the wish gets the result itself.
    patient = await shop.post(path, body, key="k-1")
    assert patient.status_code == 200
    order = await shop.order()
    assert len(order["claims"]) + len(order["returns"]) == 1


async def test_a_service_that_is_behind_is_503_and_the_retry_joins(
    open_gateway: OpenGateway,
) -> None:
    shop = await open_gateway(wait_bound_s=0.3)
    await shop.load(a_shop())
    orders = shop.embedded.services["orders"]
    async with orders.database.transaction() as tx:
        # SQLite has one writer: while this one is at work orders cannot book the hold.
        await tx.execute("UPDATE orders SET updated_at = updated_at WHERE id = 'order_ana'")
        first = await shop.claim(key="k-1")
        again = await shop.claim(key="k-1")
    for answer in (first, again):
        assert answer.status_code == 503, answer.text
        assert answer.json()["type"] == "unexpected_state"
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers[KEY] == "k-1"

    async def settled() -> bool:
        return (await shop.claim(key="k-1")).status_code == 200

    await eventually(settled)
    order = await shop.order()
    assert (len(order["claims"]), order["refunded_total"]) == (1, 1200)


async def test_the_key_is_told_on_errors_too(shop: Door) -> None:
    mugs = {"items": [{"item_id": "item_ana_mug", "quantity": 99}]}
    cases = (
        (CLAIMS, {}, 400),
        (CLAIMS, a_claim(claim_items=[]), 400),
        ("/admin/orders/order_x/claims", a_claim(), 404),
        ("/admin/orders/order_ana/return", {}, 400),
        ("/admin/orders/order_ana/return", mugs, 400),
        ("/store/returns", {}, 400),
        ("/store/returns", {**mugs, "order_id": "order_x"}, 404),
    )
    for number, (path, body, status) in enumerate(cases):
        for key in (None, f"k-{number}"):
            answer = await shop.post(path, body, key=key)
            assert answer.status_code == status, (path, body, answer.text)
            told = answer.headers[KEY]
            assert told == key if key else told.startswith("ikey_")
            assert "Idempotency-Key" in answer.headers["access-control-expose-headers"]


# Nothing of these lies in a table to be told again: a secret in the answer, a password in the body
# (its fingerprint would be a quick hash of it), or a document that is idempotent by its ids.
UNKEPT = (
    *("/admin/auth", "/admin/auth/token", "/store/auth", "/store/auth/token", "/admin/tokens"),
    *("/admin/users", "/admin/users/{user_id}", "/admin/import"),
    *("/admin/webhooks", "/admin/webhooks/{webhook_id}/rotate-secret"),
)


async def test_every_change_tells_the_key_that_it_was_sent(shop: Door) -> None:
    ana = await shop.customer("ana")
    silent = []
    for (method, template), who in sorted(access.TABLE.items(), key=lambda entry: entry[0]):
        if method != "POST" or template in UNKEPT:
            continue
        path = re.sub(r"{(\w+)}", r"\1_x", template)
        caller = ana if who == {"customer"} else shop
        answer = await caller.post(path, {"nonsense": 1}, key="k-any")
        assert answer.status_code in (400, 404), answer.text
        if KEY not in answer.headers:
            silent.append(template)
    assert silent == []
