"""Money back for what the customer keeps: the whole price, or a part of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chassis.testing import eventually
from deploy.verify import verify
from tests.gateway.builders import Door, a_claim, a_shop
from tests.gateway.conftest import OpenGateway

Json = dict[str, Any]
MUG, LAMP = "item_ana_mug", "item_ana_lamp"


async def give(door: Door, amount: int, *items: tuple[str, int], **more: Any) -> Any:
    named = [{"item_id": item_id, "amount": part} for item_id, part in items]
    body = {"amount": amount, "reason": "discount", "note": "a scratch", "items": named}
    return await door.post("/admin/orders/order_ana/refund", body, **more)


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["message"]


async def line(door: Door, item_id: str) -> Json:
    order = await door.order()
    (found,) = [item for item in order["items"] if item["id"] == item_id]
    return found


async def sound(door: Door) -> None:
    assert (await verify(door.embedded.settings, look_again_after_s=0.1)).findings == []


async def test_a_part_given_back_lowers_what_the_units_are_worth_and_takes_none(shop: Door) -> None:
    """Four mugs of 1200: 600 of the 4800 goes back, so each is worth 1050 from now on."""
    answer = await give(shop, 600, (MUG, 400), (MUG, 200), key="g-1")
    assert answer.status_code == 200, answer.text
    again = await give(shop, 600, (MUG, 400), (MUG, 200), key="g-1")
    assert again.json() == answer.json()
    order = answer.json()["order"]
    assert order["refunded_total"] == 600
    assert [(each["reason"], each["note"]) for each in order["refunds"]] == [
        ("discount", "a scratch")
    ]
    assert (await line(shop, MUG))["refundable"] == 4200
    claimable = (await shop.get("/admin/orders/order_ana/claimable")).json()["lines"]
    assert [each["claimable_quantity"] for each in claimable] == [4, 1]

    (claim,) = (await shop.claim()).json()["order"]["claims"]
    assert claim["refund_amount"] == 1050
    shown = (await shop.get(f"/admin/claims/{claim['id']}")).json()["claim"]
    assert [(part["part"], part["amount"]) for part in shown["explanation"]] == [
        ("goods", 1000),
        ("discount", -125),
        ("tax", 175),
    ]
    assert shown["explanation"][1]["rule"].endswith("and of the 500 refunded before")

    units = [{"item_id": MUG, "quantity": 3}]
    body = {"items": units, "receive_now": True}
    answer = await shop.post("/admin/orders/order_ana/return", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["order"]["refunded_total"] == 4800
    assert refused(await give(shop, 1, (MUG, 1))) == (
        400,
        f"Only 0 is left of what was paid for the free units of {MUG}",
    )
    await sound(shop)


async def test_whoever_wants_units_meanwhile_waits_and_gets_what_they_are_worth(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RECLAMO_FAKE_PROVIDER_FILE", str(tmp_path / "fake.sqlite"))
    # It declines 402 at once, but nobody hears of that before the next try, a second later.
    monkeypatch.setenv("RECLAMO_FAKE_PROVIDER_FAULTS", "lost_answer:1")
    door = await open_gateway()
    document = a_shop()
    document["orders"][0]["payments"][0]["provider_id"] = "fake"
    await door.load(document)
    giving = asyncio.ensure_future(give(door, 402, (MUG, 402)))

    async def on_its_way() -> bool:
        return (await line(door, MUG))["refundable"] == 4800 - 402

    await eventually(on_its_way)
    refund, replacement, back = await asyncio.gather(
        door.claim(),
        door.claim(type="replace", additional_items=[{"variant_id": "variant_mug", "quantity": 1}]),
        door.post("/admin/orders/order_ana/return", {"items": [{"item_id": MUG, "quantity": 1}]}),
    )
    assert [answer.status_code for answer in (refund, replacement, back)] == [200] * 3
    order = await door.order()
    assert {claim["type"]: claim["refund_amount"] for claim in order["claims"]} == {
        "refund": 1200,
        "replace": None,
    }
    assert order["returns"][0]["refund_amount"] == 1200
    assert refused(await giving) == (
        400,
        "The payment provider declined the refund: card closed",
    )
    assert (await line(door, MUG))["refundable"] == 4800
    await sound(door)


async def test_a_unit_that_was_refunded_and_kept_is_not_refunded_again(shop: Door) -> None:
    item = {"item_id": LAMP, "quantity": 1, "reason": "production_failure"}
    answer = await shop.claim(claim_items=[item])
    (claim,) = answer.json()["order"]["claims"]
    assert (claim["refund_amount"], claim["return_order"]) == (5000, None)
    assert refused(await shop.claim(claim_items=[item])) == (
        400,
        "Cannot claim more of an item than has been fulfilled.",
    )
    units = {"items": [{"item_id": LAMP, "quantity": 1}]}
    assert refused(await shop.post("/admin/orders/order_ana/return", units)) == (
        400,
        "Cannot return more items than have been purchased",
    )
    assert (await give(shop, 1, (LAMP, 1))).status_code == 400
    assert (await shop.order())["refunded_total"] == 5000
    await sound(shop)


async def test_what_cannot_be_given_back_changes_nothing(shop: Door) -> None:
    sum_ = "amount must be the sum of the amounts of the items"
    assert refused(await give(shop, 500, (MUG, 400))) == (400, sum_)
    assert refused(await give(shop, 5, ("item_x", 5))) == (
        404,
        "Line item with item_x was not found",
    )
    assert refused(await give(shop, 5, ("item_ben_mug", 5)))[0] == 404
    assert refused(await give(shop, 5001, (LAMP, 5001))) == (
        400,
        f"Only 5000 is left of what was paid for the free units of {LAMP}",
    )
    assert (await give(shop, 0, (LAMP, 0))).status_code == 400
    assert (await give(shop.as_(), 5, (MUG, 5))).status_code == 401
    order = await shop.order()
    assert (order["refunded_total"], order["refunds"]) == (0, [])
    assert (await shop.claim(**a_claim())).json()["order"]["refunded_total"] == 1200
    await sound(shop)
