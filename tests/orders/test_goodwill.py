"""What a refund by hand gives back of lines counts as far as its money went out."""

from __future__ import annotations

from chassis import clock
from chassis.idempotency import Caller
from services.orders import invariants, operations_money
from services.orders.providers import FakeProvider
from services.orders.worker import RefundWorker
from tests.orders.builders import Desk, a_claim, a_release
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


async def test_declined_money_lowers_no_price(
    open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
) -> None:
    desk = await open_shop(by_card())
    await give(desk, 402)
    # Nobody knows yet whether it goes out: until then it counts.
    assert await worth(desk) == 998
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
