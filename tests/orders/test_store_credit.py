"""Store credit is given once, taken back once, and is what its entries say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chassis import clock
from chassis.db import Database
from chassis.errors import NotAllowed
from contracts.orders import PlaceClaimHold
from services.orders import invariants, operations_money
from tests.orders.builders import (
    Desk,
    a_claim,
    a_receipt,
    a_release,
    a_return,
    an_execution,
    an_order,
    keys,
    lines,
)
from tests.orders.conftest import OpenShop

ANA = {"customer_id": "cus_ana", "currency_code": "gbp", "note": None}


def credited(claim_id: str = "claim_01", **more: bool) -> PlaceClaimHold:
    return a_claim(claim_id, refund_to="store_credit", **more)


async def balance(desk: Desk) -> int:
    rows = await desk.rows("SELECT balance FROM store_credits WHERE customer_id = 'cus_ana'")
    return sum(row["balance"] for row in rows)


async def found(database: Database) -> list[str]:
    async with database.reading() as tx:
        return [row["invariant"] for row in await invariants.findings(tx)]


async def test_repeats_give_once_and_take_back_once(open_shop: OpenShop) -> None:
    desk = await open_shop(an_order(customer_id="cus_ana"))
    said = await desk.say(credited())
    assert sorted(keys(said)) == ["claim-hold.placed", "order.refunded", "store-credit.changed"]
    assert keys(await desk.say(credited())) == ["claim-hold.placed"]
    assert await balance(desk) == 1200
    assert (await desk.order())["refunded"] == 1200
    async with desk.database.transaction() as tx:
        # A numbered document could not be taken back with it.
        assert await operations_money.issue_memos(tx, now=clock.now()) == 0
    for expected in (["store-credit.changed", "order.updated", "claim-hold.released"], None):
        said = await desk.say(a_release())
        assert sorted(keys(said)) == sorted(expected or ["claim-hold.released"])
        assert said[-1]["data"]["pivot_passed"] is False
        assert await balance(desk) == 0
    order, line = await desk.order(), await desk.line()
    assert (order["refunded"], order["refund_pending"], line["remedied_quantity"]) == (0, 0, 0)
    assert keys(await desk.say(credited())) == ["claim-hold.rejected"]
    assert await found(desk.database) == []
    # The unit and its money are free for another remedy.
    assert "claim-hold.placed" in keys(await desk.say(a_claim("claim_02")))
    assert await found(desk.database) == []


async def test_what_is_held_gives_nothing_before_it_is_let_go(open_shop: OpenShop) -> None:
    desk = await open_shop(an_order(customer_id="cus_ana"))
    await desk.say(credited(execute_refund=False))
    assert await balance(desk) == 0
    assert await found(desk.database) == []
    await desk.say(a_release())
    assert keys(await desk.say(an_execution())) == ["claim-refund.declined"]
    assert await balance(desk) == 0
    await desk.say(credited("claim_02", execute_refund=False))
    for _ in range(2):
        said = await desk.say(an_execution("claim_02"))
        assert "claim-refund.succeeded" in keys(said)
    assert await balance(desk) == 1200
    assert await found(desk.database) == []


async def test_what_was_spent_is_not_taken_by_a_late_repeat(open_shop: OpenShop) -> None:
    """The claim was told that it stays; it would stay open, and its money be gone."""
    desk = await open_shop(an_order(customer_id="cus_ana"))
    await desk.say(credited())
    await desk.do(operations_money.adjust_store_credit, amount=-1, **ANA)
    release = a_release().model_copy(update={"request_id": "csaga_1"})
    for top_up in (0, 1000):
        if top_up:
            await desk.do(operations_money.adjust_store_credit, amount=top_up, **ANA)
            await desk.heard()
        (released,) = [row for row in await desk.say(release) if "hold" in row["key"]]
        assert released["data"]["pivot_passed"] is True
    assert await balance(desk) == 2199
    again = release.model_copy(update={"request_id": "csaga_2"})
    assert (await desk.say(again))[-1]["data"]["pivot_passed"] is False
    assert await balance(desk) == 999
    assert await found(desk.database) == []


async def test_nobody_has_credit_whom_the_shop_does_not_know(open_shop: OpenShop) -> None:
    desk = await open_shop()
    said = await desk.say(credited())
    assert keys(said) == ["claim-hold.rejected"]
    assert said[0]["data"]["code"] == "customer_missing"


async def test_who_spends_at_the_same_time_spends_no_more_than_there_is(
    open_shop: OpenShop,
) -> None:
    desk = await open_shop(an_order(customer_id="cus_ana"))
    await desk.do(operations_money.adjust_store_credit, amount=1000, **ANA)

    async def spend() -> int:
        try:
            await desk.do(operations_money.adjust_store_credit, amount=-400, **ANA)
        except NotAllowed:
            return 0
        return 400

    assert sum(await asyncio.gather(*(spend() for _ in range(5)))) == 800
    assert await balance(desk) == 200
    assert await found(desk.database) == []


async def settled(
    desk: Desk, receipt_id: str = "rcpt_01", **more: Any
) -> tuple[int, int, str | None]:
    """What a receipt says: paid, owed, why."""
    said = await desk.say(a_receipt(receipt_id, **more))
    (answer,) = [row["data"] for row in said if row["key"].endswith("settled.v1")]
    return answer["refund_amount"], answer["owed_amount"], answer["code"]


async def test_receipts_go_where_their_return_was_requested_to_go(open_shop: OpenShop) -> None:
    desk = await open_shop(an_order(customer_id="cus_ana"))
    placed = (await desk.say(a_return(lines=lines(item_01=2), refund_to="store_credit")))[-1]
    assert placed["data"]["refund_to"] == "store_credit"
    for _ in range(2):
        assert await settled(desk) == (1200, 0, None)
        assert await balance(desk) == 1200
    # Somebody at the door may say otherwise.
    assert await settled(desk, "rcpt_02", refund_to="payment") == (1200, 0, None)
    assert await balance(desk) == 1200
    assert (await desk.order())["refunded"] == 2400
    (entry,) = await desk.rows("SELECT order_id, claim_id, kind FROM store_credit_entries")
    assert tuple(entry.values()) == ("order_01", None, "granted")
    assert await found(desk.database) == []


async def test_money_that_was_owed_can_become_credit(open_shop: OpenShop) -> None:
    desk = await open_shop(an_order(captured=2000, customer_id="cus_ana"))
    await desk.say(a_return(lines=lines(item_01=2)))
    assert await settled(desk, lines=lines(item_01=2)) == (0, 2400, "amount_exceeds_refundable")
    owed = {"lines": [], "settle_owed": True, "refund": 2000, "refund_to": "store_credit"}
    for _ in range(2):
        assert await settled(desk, "rcpt_02", **owed) == (2000, 0, None)
    assert await balance(desk) == 2000
    assert await found(desk.database) == []


async def test_goods_of_nobody_are_booked_and_their_money_is_owed(open_shop: OpenShop) -> None:
    desk = await open_shop()
    no = (await desk.say(a_return(refund_to="store_credit")))[-1]
    assert (no["data"]["code"], no["data"]["kind"]) == ("customer_missing", "not_allowed")
    await desk.say(a_return("ret_02"))
    asked = {"return_id": "ret_02", "refund_to": "store_credit"}
    assert await settled(desk, **asked) == (0, 1200, "customer_missing")
    assert (await desk.line())["returned_quantity"] == 1
    assert await found(desk.database) == []


@pytest.mark.parametrize(
    ("sin", "invariant"),
    [
        ("UPDATE store_credits SET balance = balance + 1", "I9"),
        ("DELETE FROM store_credit_entries", "I2"),
        ("UPDATE store_credit_entries SET amount = amount - 1", "I9"),
        ("UPDATE refunds SET destination = 'payment'", "I2"),
        ("UPDATE refunds SET state = 'voided'", "I2"),
    ],
)
async def test_a_sin_is_found(open_shop: OpenShop, sin: str, invariant: str) -> None:
    desk = await open_shop(an_order(customer_id="cus_ana"))
    await desk.say(credited())
    assert await found(desk.database) == []
    async with desk.database.transaction() as tx:
        await tx.execute(sin)
    assert invariant in await found(desk.database)
