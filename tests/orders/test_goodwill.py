"""What a refund by hand gives back of lines counts as far as its money went out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chassis import clock
from chassis.idempotency import Caller
from contracts.base import Command
from services.orders import invariants, operations_claims, operations_money
from services.orders.providers import FakeProvider
from services.orders.worker import RefundWorker
from tests.orders.builders import Desk, a_claim, a_receipt, a_release, a_return, an_item, lines
from tests.orders.conftest import OpenShop
from tests.orders.test_worker import agree, by_card, settle


async def give(desk: Desk, amount: int, *, key: str | None = None, named: bool = True) -> str:
    async with desk.database.transaction() as tx:
        return await operations_money.refund_order(
            tx,
            order_id="order_01",
            amount=amount,
            reason="discount",
            note=None,
            no_notification=None,
            items=[("item_01", amount)] if named else [],
            caller=Caller("usr_1", key),
            now=clock.now(),
        )


async def worth(desk: Desk) -> int:
    """What one unit is worth: held, told and given free again."""
    number = len(await desk.rows("SELECT id FROM remedies"))
    await desk.heard()
    placed, *_ = await desk.say(a_claim(f"claim_{number}", execute_refund=False))
    await desk.say(a_release(f"claim_{number}"))
    amount: int = placed["data"]["amount"]
    return amount


async def previewed(desk: Desk) -> int:
    """What a claim of one unit would refund."""
    async with desk.database.transaction() as tx:
        return (await operations_claims.preview_claim(tx, command=a_claim())).amount


async def waits(desk: Desk, command: Command) -> None:
    """Deliver a command that cannot be handled yet: it is kept, and nothing else changes."""
    before = await desk.everything()
    why = "a refund of item_01 is on its way: its units wait for it"
    assert await desk.say(command, waits=[why]) == []
    assert await desk.everything() == before


async def try_again(desk: Desk) -> None:
    """The pause of what waits is over."""
    async with desk.database.transaction() as tx:
        past = clock.now() - timedelta(seconds=1)
        await tx.execute("UPDATE inbox SET next_at = :past WHERE state = 'parked'", past=past)
    await desk.inbox.retry_due()
    assert await desk.waiting() == []


async def test_declined_money_lowers_no_price(
    open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
) -> None:
    desk = await open_shop(by_card())
    await give(desk, 402)
    # Nobody knows yet whether it goes out: until then it counts.
    assert await previewed(desk) == 998
    await settle(desk, worker)
    assert await worth(desk) == 1200
    assert (await desk.line())["goodwill_amount"] == 0
    await agree(desk, fake)


async def test_of_a_split_counts_what_went_out(
    open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
) -> None:
    desk = await open_shop(by_card(1000, 5000))
    await give(desk, 1102)
    await settle(desk, worker)
    assert (await desk.order())["refunded"] == 1000
    assert (await desk.line())["goodwill_amount"] == 1000
    assert await worth(desk) == 700
    await agree(desk, fake)


@pytest.mark.parametrize(
    ("given", "worth_of_one"), [(402, 1200), (400, 1000)], ids=["declined", "paid"]
)
@pytest.mark.parametrize(
    "taking",
    [
        a_claim("taker"),
        a_claim("taker", type="replace", execute_refund=False),
        a_claim("taker", type="exchange", execute_refund=False),
        a_return("taker"),
    ],
    ids=["refund claim", "replace claim", "exchange", "return"],
)
async def test_no_unit_is_taken_while_nobody_knows_what_it_is_worth(
    open_shop: OpenShop,
    worker: RefundWorker,
    fake: FakeProvider,
    taking: Command,
    given: int,
    worth_of_one: int,
) -> None:
    desk = await open_shop(by_card())
    await give(desk, given)
    await waits(desk, taking)
    await settle(desk, worker)
    await try_again(desk)
    (taken,) = await desk.rows("SELECT remedy_id, goods, discount, taxes FROM remedy_lines")
    assert taken["remedy_id"] == "taker"
    assert taken["goods"] - taken["discount"] + sum(taken["taxes"]) == worth_of_one
    await settle(desk, worker)
    assert await worth(desk) == worth_of_one
    await agree(desk, fake)


async def test_goods_that_nobody_announced_are_paid_when_it_is_known_what_they_are_worth(
    open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
) -> None:
    desk = await open_shop(by_card())
    await desk.say(a_return())
    # Of the other unit, which is free; the announced one alone would not have to wait.
    await give(desk, 402)
    both = a_receipt(lines=lines(item_01=2))
    await waits(desk, both)
    await settle(desk, worker)
    await try_again(desk)
    await settle(desk, worker)
    assert (await desk.order())["refunded"] == 2400
    await agree(desk, fake)


async def test_what_was_taken_before_does_not_wait(
    open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
) -> None:
    desk = await open_shop(by_card())
    await desk.say(a_return())
    await give(desk, 402)
    (again,) = await desk.say(a_return())
    assert again["data"]["amount"] == 1200
    await desk.say(a_receipt())
    await settle(desk, worker)
    assert (await desk.order())["refunded"] == 1200
    await agree(desk, fake)


async def test_units_of_other_lines_do_not_wait(open_shop: OpenShop) -> None:
    desk = await open_shop({**by_card(), "items": [an_item(), an_item(id="item_02")]})
    await give(desk, 402)
    placed, *_ = await desk.say(a_claim(lines=lines(item_02=1), execute_refund=False))
    assert placed["data"]["amount"] == 1200


async def test_a_refund_that_names_no_line_lowers_no_price_however_it_ends(
    open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
) -> None:
    desk = await open_shop(by_card(1000, 5000))
    await give(desk, 1102, named=False)
    await settle(desk, worker)
    assert (await desk.order())["refunded"] == 1000
    assert await worth(desk) == 1200
    await agree(desk, fake)


async def test_the_same_attempt_gives_once_and_units_under_a_remedy_are_left_alone(
    open_shop: OpenShop,
) -> None:
    desk = await open_shop()
    await desk.say(a_claim())
    assert await give(desk, 200, key="once") == await give(desk, 200, key="once")
    assert (await desk.line())["goodwill_amount"] == 200
    # One of the two mugs was refunded whole; the other one carries all of it.
    assert await worth(desk) == 1000


async def test_a_wrong_count_is_found(open_shop: OpenShop) -> None:
    desk = await open_shop()
    await give(desk, 200)
    for sin in (
        "UPDATE order_lines SET goodwill_amount = goodwill_amount + 1",
        "UPDATE goodwill_lines SET net = net + 2400",
    ):
        async with desk.database.transaction() as tx:
            assert await invariants.findings(tx) == []
        async with desk.database.transaction() as tx:
            await tx.execute(sin)
            found = await invariants.findings(tx)
            assert {row["invariant"] for row in found} == {"I3"}
            await tx.execute("UPDATE order_lines SET goodwill_amount = 200")
            await tx.execute("UPDATE goodwill_lines SET net = 167")


async def test_a_unit_that_is_worth_more_than_it_cost_is_found(open_shop: OpenShop) -> None:
    desk = await open_shop()
    await desk.say(a_claim())
    await give(desk, 200)
    for sin in (
        "UPDATE remedy_lines SET discount = -1, goods = goods - 1",
        "UPDATE remedy_lines SET discount = 168, goods = goods + 168",
    ):
        async with desk.database.transaction() as tx:
            assert await invariants.findings(tx) == []
        async with desk.database.transaction() as tx:
            await tx.execute(sin)
            found = await invariants.findings(tx)
            assert {row["message"] for row in found} == {
                "a unit is worth more than was paid for it"
            }
            await tx.execute("UPDATE remedy_lines SET discount = 0, goods = 1000")
