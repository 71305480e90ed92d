"""Two connections, one unit; ten hands, one purse. PostgreSQL, where writers really meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from chassis import clock, db
from chassis.db import Database, Transient
from chassis.errors import Refusal
from chassis.idempotency import Caller
from chassis.inbox import Retry
from chassis.testing import DatabaseUrl
from services.orders import invariants, operations_money, operations_returns, store
from tests.orders.builders import (
    Desk,
    a_claim,
    a_receipt,
    a_release,
    a_return,
    a_shop,
    an_item,
    an_order,
    keys,
    lines,
    load,
)
from tests.orders.test_exchanges import a_hold, a_payment, a_settlement


@pytest.fixture
async def two(postgres_url_factory: DatabaseUrl) -> AsyncIterator[list[Database]]:
    """Two processes' pools on one database."""
    url = await postgres_url_factory("orders")
    opened = [db.connect(url).serve("orders", store.METADATA) for _ in range(2)]
    for database in opened:
        await database.open()
    yield opened
    for database in opened:
        await database.close()


async def sound(database: Database) -> None:
    async with database.reading() as tx:
        assert await invariants.findings(tx) == []


async def test_of_ten_claims_on_one_unit_one_is_placed(two: list[Database]) -> None:
    item = an_item(quantity=1, fulfilled_quantity=1, shipped_quantity=1)
    await load(two[0], a_shop(an_order(item)))
    desks = [Desk(two[number % 2]) for number in range(10)]
    await asyncio.gather(*(desk.say(a_claim(f"claim_{n}")) for n, desk in enumerate(desks)))
    said = keys(await Desk(two[0]).heard())
    assert said.count("claim-hold.placed") == 1
    assert said.count("claim-hold.rejected") == 9
    assert said.count("order.refunded") == 1
    await sound(two[0])


async def test_of_a_claim_and_a_return_of_the_last_unit_one_is_placed(two: list[Database]) -> None:
    item = an_item(quantity=1, fulfilled_quantity=1, shipped_quantity=1)
    await load(two[0], a_shop(an_order(item)))
    await asyncio.gather(Desk(two[0]).say(a_claim()), Desk(two[1]).say(a_return()))
    said = keys(await Desk(two[0]).heard())
    assert ("claim-hold.placed" in said) != ("return-hold.placed" in said)
    await sound(two[0])


async def test_of_a_claim_a_return_and_exchanges_of_the_last_unit_one_is_placed(
    two: list[Database],
) -> None:
    item = an_item(quantity=1, fulfilled_quantity=1, shipped_quantity=1)
    await load(two[0], a_shop(an_order(item)))
    await asyncio.gather(
        Desk(two[0]).say(a_claim()),
        Desk(two[1]).say(a_return()),
        *(Desk(two[number % 2]).say(a_hold(f"swap_{number}")) for number in range(4)),
    )
    said = keys(await Desk(two[0]).heard())
    assert said.count("claim-hold.placed") + said.count("return-hold.placed") == 1
    await sound(two[0])


async def test_a_difference_that_many_settle_and_pay_moves_once(two: list[Database]) -> None:
    await load(two[0], a_shop(an_order(captured=2400)))
    await Desk(two[0]).say(a_hold("swap_1"))
    await Desk(two[0]).say(a_hold("swap_2"))
    await asyncio.gather(
        *(Desk(two[n % 2]).say(a_settlement(400, "swap_1")) for n in range(4)),
        *(Desk(two[n % 2]).say(a_settlement(2000, "swap_2")) for n in range(4)),
    )
    await asyncio.gather(
        *(Desk(two[n % 2]).say(a_payment(f"csaga_{n}", "swap_2")) for n in range(4)),
    )
    order = await Desk(two[0]).order()
    assert (order["refunded"], order["paid"], order["captured"]) == (750, 3450, 3450)
    await sound(two[0])


async def test_refunds_by_many_hands_never_exceed_what_was_captured(two: list[Database]) -> None:
    await load(two[0], a_shop(an_order(captured=1000)))

    async def refund(number: int) -> bool:
        try:
            async with two[number % 2].transaction() as tx:
                await operations_money.refund_order(
                    tx,
                    order_id="order_01",
                    amount=300,
                    reason="other",
                    note=None,
                    no_notification=None,
                    caller=Caller("agent"),
                    now=clock.now(),
                )
            return True
        except Refusal:
            return False

    done = await asyncio.gather(*(refund(number) for number in range(10)))
    assert sum(done) == 3
    order = await Desk(two[0]).order()
    assert (order["refunded"], order["version"]) == (900, 3)
    await sound(two[0])


async def test_one_key_in_many_hands_refunds_once(two: list[Database]) -> None:
    await load(two[0], a_shop(an_order(captured=1000)))

    async def refund(number: int) -> str:
        async with two[number % 2].transaction() as tx:
            return await operations_money.refund_order(
                tx,
                order_id="order_01",
                amount=100,
                reason="other",
                note=None,
                no_notification=None,
                caller=Caller("agent", "k1", "f1"),
                now=clock.now(),
            )

    assert len(set(await asyncio.gather(*(refund(number) for number in range(8))))) == 1
    assert (await Desk(two[0]).order())["refunded"] == 100


async def test_a_hold_and_its_release_at_once_leave_nothing_held(two: list[Database]) -> None:
    item = an_item(quantity=20, fulfilled_quantity=20, shipped_quantity=20)
    await load(two[0], a_shop(an_order(item)))
    for number in range(10):
        claim_id = f"claim_{number}"
        await asyncio.gather(
            Desk(two[0]).say(a_claim(claim_id, execute_refund=False)),
            Desk(two[1]).say(a_release(claim_id)),
        )
    order, line = await Desk(two[0]).order(), await Desk(two[0]).line()
    assert (order["refund_pending"], line["remedied_quantity"]) == (0, 0)
    await sound(two[0])


async def test_the_same_receipt_twice_at_once_is_booked_once(two: list[Database]) -> None:
    await load(two[0], a_shop(an_order()))
    await Desk(two[0]).say(a_return(lines=lines(item_01=2)))

    async def settle(database: Database) -> None:
        for _ in range(5):
            try:
                async with database.transaction() as tx:
                    await operations_returns.settle_return_receipt(
                        tx, command=a_receipt(), now=clock.now()
                    )
                return
            except (Transient, Retry):
                continue

    await asyncio.gather(*(settle(database) for database in two * 3))
    order, line = await Desk(two[0]).order(), await Desk(two[0]).line()
    assert (order["refunded"], line["returned_quantity"]) == (1200, 1)
    await sound(two[0])
