"""Exchanges at the message door of orders: units held, the difference settled, once."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.db import Row
from contracts.orders import (
    PlaceClaimHold,
    ProcessExchange,
    RecordReplacement,
    SentReplacement,
    SettleExchange,
)
from services.orders import invariants, operations_money
from services.orders.worker import RefundWorker
from tests.orders.builders import (
    CAPTURED,
    Desk,
    a_claim,
    a_receipt,
    a_release,
    a_return,
    an_order,
    by,
    keys,
    lines,
)
from tests.orders.conftest import OpenShop

PLACED, RELEASED = ["claim-hold.placed"], ["claim-hold.released"]


def a_hold(exchange_id: str = "swap_01", **changes: Any) -> PlaceClaimHold:
    """One mug, paid with 1200, is given back."""
    return a_claim(exchange_id, **{"type": "exchange", "execute_refund": False, **changes})


def a_settlement(price: int, exchange_id: str = "swap_01", quantity: int = 1) -> SettleExchange:
    """Other goods at that price, to which the region adds 12.5 %."""
    return SettleExchange(
        exchange_id=exchange_id,
        order_id="order_01",
        lines=[
            SentReplacement(
                line_id=f"item_of_{exchange_id}",
                variant_id="variant_02",
                title="Blue mug",
                unit_price=price,
                quantity=quantity,
            )
        ],
    )


def a_payment(request_id: str = "csaga_1", exchange_id: str = "swap_01") -> ProcessExchange:
    return ProcessExchange(exchange_id=exchange_id, order_id="order_01", request_id=request_id)


def money(said: list[Row]) -> tuple[int, str, int]:
    """What the answer says: (difference, status, refunded)."""
    (told,) = [row["data"] for row in said if row["key"] == "orders.exchange.settled.v1"]
    return told["difference_due"], told["payment_status"], told["refund_amount"]


async def is_sound(desk: Desk) -> None:
    async with desk.database.reading() as tx:
        assert await invariants.findings(tx) == []


async def test_a_hold_says_what_is_credited_and_takes_the_units(open_shop: OpenShop) -> None:
    desk = await open_shop()
    said = await desk.say(a_hold(return_shipping=by("so_back"), shipping=[by("so_gross", 80)]))
    assert keys(said) == PLACED
    # 1000 and 12.5 % for the way back, 80 with its tax for the way out.
    assert said[0]["data"]["amount"] == 1200 - 1125 - 80
    assert (await desk.line())["remedied_quantity"] == 1
    assert (await desk.order())["refund_pending"] == 0
    before = await desk.everything()
    assert keys(await desk.say(a_hold())) == PLACED
    assert await desk.everything() == before
    assert keys(await desk.say(a_claim(lines=lines(item_01=2)))) == ["claim-hold.rejected"]
    assert keys(await desk.say(a_return(lines=lines(item_01=2)))) == ["return-hold.rejected"]
    await is_sound(desk)


@pytest.mark.parametrize(
    ("price", "difference", "status", "refunded"),
    [
        (400, 450 - 1200, "difference_refunded", 750),
        (1066, 1199 - 1200, "difference_refunded", 1),
        (1067, 1200 - 1200, "confirmed", 0),
        (1068, 1202 - 1200, "awaiting", 0),
        (2000, 2250 - 1200, "awaiting", 0),
        (0, -1200, "difference_refunded", 1200),
    ],
)
async def test_the_difference_is_settled_once(
    open_shop: OpenShop, price: int, difference: int, status: str, refunded: int
) -> None:
    desk = await open_shop()
    await desk.say(a_hold())
    assert money(await desk.say(a_settlement(price))) == (difference, status, refunded)
    before = await desk.everything()
    assert money(await desk.say(a_settlement(price))) == (difference, status, refunded)
    assert await desk.everything() == before
    assert (await desk.order())["refunded"] == refunded
    await is_sound(desk)


async def test_a_difference_that_came_is_a_payment_of_the_order_once(open_shop: OpenShop) -> None:
    desk = await open_shop(an_order(captured=2400))
    await desk.say(a_hold())
    await desk.say(a_settlement(2000))
    said = await desk.say(a_payment())
    assert money(said) == (1050, "captured", 0)
    assert set(keys(said)) == {"order.updated", "exchange.settled"}
    order = await desk.order()
    assert (order["paid"], order["captured"], order["payment_status"]) == (3450, 3450, "captured")
    before = await desk.everything()
    assert money(await desk.say(a_payment())) == (1050, "captured", 0)
    assert money(await desk.say(a_payment("csaga_2"))) == (1050, "captured", 0)
    after = await desk.everything()
    assert [row["id"] for row in after["payments"]] == [row["id"] for row in before["payments"]]
    assert after["transfers"] == before["transfers"]
    await is_sound(desk)


async def test_a_release_pays_back_what_was_paid_and_says_so_again(open_shop: OpenShop) -> None:
    desk = await open_shop(an_order(captured=2400))
    await desk.say(a_hold())
    await desk.say(a_settlement(2000))
    await desk.say(a_payment())
    for _ in range(2):
        said = await desk.say(a_release("swap_01"))
        released = next(row for row in said if row["key"].endswith("released.v1"))
        assert released["data"] == {
            "claim_id": "swap_01",
            "pivot_passed": False,
            "paid_back_amount": 1050,
        }
        order = await desk.order()
        assert (order["captured"], order["refunded"]) == (3450, 1050)
    assert (await desk.line())["remedied_quantity"] == 0
    # What comes late finds nothing: it neither takes nor gives money.
    for late in (a_payment("csaga_9"), a_hold()):
        assert keys(await desk.say(late))[-1].endswith("rejected")
    assert (await desk.order())["captured"] == 3450
    await is_sound(desk)


async def test_money_that_went_out_stops_a_release(open_shop: OpenShop) -> None:
    desk = await open_shop()
    await desk.say(a_hold())
    await desk.say(a_settlement(400))
    (released,) = await desk.say(a_release("swap_01"))
    assert released["data"]["pivot_passed"] is True
    assert (await desk.line())["remedied_quantity"] == 1
    await is_sound(desk)


async def test_a_release_that_comes_first_leaves_nothing_to_settle(open_shop: OpenShop) -> None:
    desk = await open_shop()
    assert keys(await desk.say(a_release("swap_01"))) == RELEASED
    for late in (a_hold(), a_settlement(400), a_payment()):
        (no,) = await desk.say(late)
        assert no["key"].endswith(".rejected.v1")
    assert (await desk.line())["remedied_quantity"] == 0
    assert (await desk.order())["refunded"] == 0
    await is_sound(desk)


async def test_what_is_no_longer_there_is_not_given_back(open_shop: OpenShop) -> None:
    """Money went elsewhere between hold and settlement: refused, and nothing changed."""
    desk = await open_shop(an_order(captured=1200))
    await desk.say(a_hold())
    await desk.say(a_claim(lines=lines(item_01=1), refund_amount=600))
    (no,) = await desk.say(a_settlement(400))
    assert (no["key"], no["data"]["code"]) == (
        "orders.exchange.rejected.v1",
        "amount_exceeds_refundable",
    )
    # A dearer thing takes nothing out.
    assert money(await desk.say(a_settlement(1067))) == (0, "confirmed", 0)
    await is_sound(desk)


async def test_a_provider_that_declines_leaves_the_exchange(
    open_shop: OpenShop, worker: RefundWorker
) -> None:
    """The fake provider declines what ends in 02, again and again under the same key."""
    paid = {"id": "pay_1", "amount": 5000, "provider_id": "fake", "captured_at": CAPTURED}
    desk = await open_shop(an_order(payments=[paid]))
    await desk.say(a_hold())
    assert await desk.say(a_settlement(976)) == []  # 1098: nobody knows yet
    await worker.step()
    assert money(await desk.heard()) == (-102, "requires_action", 0)
    assert (await desk.line())["remedied_quantity"] == 1
    await is_sound(desk)
    assert await desk.say(a_payment()) == []
    await worker.step()
    (no,) = await desk.heard()
    assert (no["key"], no["data"]["code"]) == ("orders.exchange.rejected.v1", "refund_declined")
    order = await desk.order()
    assert (order["refunded"], order["refund_pending"]) == (0, 0)
    # A repeat of that request asks nobody any more.
    (again,) = await desk.say(a_payment())
    assert again["data"] == no["data"]
    assert (await desk.order())["refund_pending"] == 0
    # It may be canceled: no money went out.
    assert keys(await desk.say(a_release("swap_01"))) == RELEASED
    await is_sound(desk)


async def test_what_one_of_two_payments_declined_is_not_the_refund(
    open_shop: OpenShop, worker: RefundWorker
) -> None:
    """602 over 500 by hand and 102 of a provider, which declines."""
    payments = [
        {"id": f"pay_{provider}", "amount": amount, "provider_id": provider}
        | {"captured_at": CAPTURED}
        for provider, amount in (("manual", 500), ("fake", 5000))
    ]
    desk = await open_shop(an_order(payments=payments))
    await desk.say(a_hold(lines=lines(item_01=2)))
    await desk.say(a_settlement(1598))  # 1797.75 with the tax
    await worker.step()
    assert money(await desk.heard()) == (-602, "partially_refunded", 500)
    order = await desk.order()
    assert (order["refunded"], order["refund_pending"]) == (500, 0)
    await is_sound(desk)


async def test_a_declined_difference_is_not_asked_for_again_where_its_payment_has_less_left(
    open_shop: OpenShop, worker: RefundWorker
) -> None:
    """The order has enough, but what goes through a payment is fixed with the refund's key."""
    payments = [
        {"id": f"pay_{number}", "amount": 1000, "provider_id": provider, "captured_at": CAPTURED}
        for number, provider in enumerate(("fake", "manual"), 1)
    ]
    desk = await open_shop(an_order(payments=payments))
    await desk.say(a_hold())
    assert await desk.say(a_settlement(976)) == []  # 1098: nobody knows yet
    await worker.step()
    assert money(await desk.heard()) == (-102, "requires_action", 0)
    await desk.do(
        operations_money.refund_payment, payment_id="pay_1", amount=900, reason="other", note=None
    )
    await worker.step()
    await desk.heard()
    (no,) = await desk.say(a_payment())
    assert (no["key"], no["data"]["code"], no["data"]["message"]) == (
        "orders.exchange.rejected.v1",
        "amount_exceeds_payment",
        "Only 100 can be refunded from Payment pay_1",
    )
    assert (await desk.order())["refund_pending"] == 0
    await is_sound(desk)


async def test_goods_of_an_exchange_are_worth_what_they_cost(open_shop: OpenShop) -> None:
    desk = await open_shop()
    await desk.say(a_hold())
    await desk.say(a_settlement(400, quantity=3))
    sent = a_settlement(400, quantity=3).lines
    record = RecordReplacement(
        fulfillment_id="ful_01",
        claim_id="swap_01",
        order_id="order_01",
        lines=sent,
        packed=[sent[0].line_id],
    )
    assert keys(await desk.say(record)) == ["replacement.recorded"]
    assert (await desk.line("item_of_swap_01"))["worth"] == 1350
    (placed,) = await desk.say(a_return("ret_02", lines=lines(item_of_swap_01=1)))
    assert placed["data"]["amount"] == 450
    await is_sound(desk)


async def test_a_parcel_of_an_exchange_is_not_paid_again(open_shop: OpenShop) -> None:
    """What it holds beyond the exchange has a remedy of its own, under the receipt's id."""
    desk = await open_shop()
    await desk.say(a_hold())
    await desk.say(a_settlement(400))
    await desk.say(a_receipt(claim_id="swap_01", lines=lines(item_01=2)))
    assert (await desk.order())["refunded"] == 750
    rows = await desk.rows("SELECT id, kind FROM remedies ORDER BY id")
    assert [(row["id"], row["kind"]) for row in rows] == [
        ("rcpt_01", "return"),
        ("swap_01", "exchange"),
    ]
    await is_sound(desk)


@pytest.mark.parametrize(
    ("sin", "invariant"),
    [
        ("UPDATE exchanges SET difference_due = difference_due + 1", "I9"),
        ("DELETE FROM exchanges", "I16"),
        ("UPDATE remedies SET kind = 'claim'", "I16"),
        ("UPDATE payments SET amount = amount + 1 WHERE id <> 'pay_01'", "I9"),
        ("UPDATE orders SET captured = captured - 1", "I9"),
    ],
)
async def test_a_sin_is_found(open_shop: OpenShop, sin: str, invariant: str) -> None:
    desk = await open_shop()
    await desk.say(a_hold())
    await desk.say(a_settlement(2000))
    await desk.say(a_payment())
    await is_sound(desk)
    async with desk.database.transaction() as tx:
        await tx.execute(sin)
    async with desk.database.reading() as tx:
        found = {row["invariant"] for row in await invariants.findings(tx)}
    assert invariant in found
