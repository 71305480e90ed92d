"""Lines that claims send out, and later refunds of claims, at the message door of orders."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chassis.values import uuid7
from contracts.orders import (
    RecordReplacement,
    RetryClaimRefund,
    SentReplacement,
    ShipReplacement,
    WithdrawReplacement,
)
from services.orders import invariants, operations_money, refunds
from tests.orders.builders import (
    CAPTURED,
    Desk,
    a_claim,
    a_receipt,
    a_release,
    a_return,
    a_return_release,
    an_item,
    an_order,
    keys,
    lines,
)
from tests.orders.conftest import OpenShop

PARCEL = {"fulfillment_id": "ful_01", "claim_id": "claim_01", "order_id": "order_01"}
RECORDED, SHIPPED, WITHDRAWN = (
    [f"replacement.{what}"] for what in ("recorded", "shipped", "withdrawn")
)


def a_sending(line_id: str, **changes: Any) -> SentReplacement:
    known = {"variant_id": "variant_02", "title": "Blue mug", "unit_price": 900, "quantity": 1}
    return SentReplacement(**{"line_id": line_id, **known, **changes})


def a_record(*sent: SentReplacement, **changes: Any) -> RecordReplacement:
    """One line packed, and all there is."""
    all_of_it = list(sent) or [a_sending("item_new")]
    packed = [line.line_id for line in all_of_it]
    return RecordReplacement(**{**PARCEL, "lines": all_of_it, "packed": packed, **changes})


def a_withdrawal(request_id: str = "csaga_1") -> WithdrawReplacement:
    return WithdrawReplacement(**PARCEL, request_id=request_id)


async def replacing(desk: Desk, units: int = 1) -> None:
    """A replace claim on so many mugs, paid with 1200 each."""
    said = await desk.say(a_claim(type="replace", execute_refund=False, lines=lines(item_01=units)))
    assert keys(said) == ["claim-hold.placed"]


async def is_sound(desk: Desk) -> None:
    async with desk.database.reading() as tx:
        assert await invariants.findings(tx) == []


async def test_packed_goods_are_lines_worth_what_was_paid(open_shop: OpenShop) -> None:
    desk = await open_shop()
    await replacing(desk)
    assert keys(await desk.say(a_record())) == RECORDED
    before = await desk.everything()
    assert keys(await desk.say(a_record())) == RECORDED
    assert await desk.everything() == before
    line = await desk.line("item_new")
    assert (line["worth"], line["fulfilled_quantity"], line["shipped_quantity"]) == (1200, 1, 0)
    (placed,) = await desk.say(a_return(lines=lines(item_new=1)))
    assert placed["data"]["amount"] == 1200
    await is_sound(desk)


async def test_goods_that_are_not_sent_are_worth_no_refund_of_a_claim(open_shop: OpenShop) -> None:
    """D7, for what a claim sent out as for what was bought."""
    desk = await open_shop()
    await replacing(desk)
    await desk.say(a_record())
    (placed,) = await desk.say(a_claim("claim_02", lines=lines(item_new=1)))
    assert placed["data"]["refund"]["amount"] == 0
    await desk.say(a_release("claim_02"))
    assert keys(await desk.say(ShipReplacement(**PARCEL))) == SHIPPED
    assert keys(await desk.say(ShipReplacement(**PARCEL))) == SHIPPED
    (placed, *_) = await desk.say(a_claim("claim_03", lines=lines(item_new=1)))
    assert placed["data"]["refund"]["amount"] == 1200
    await is_sound(desk)


async def test_two_parcels_share_what_was_paid_whatever_is_packed_first(
    open_shop: OpenShop,
) -> None:
    desk = await open_shop()
    await replacing(desk)
    sent = [a_sending("item_b", unit_price=100), a_sending("item_a", unit_price=200)]
    await desk.say(a_record(*sent, packed=["item_b"]))
    await desk.say(a_record(*sent, packed=["item_a"], fulfillment_id="ful_02"))
    assert (await desk.line("item_a"))["worth"] == 800
    assert (await desk.line("item_b"))["worth"] == 400
    await is_sound(desk)


async def test_unpacked_goods_are_lines_no_more(open_shop: OpenShop) -> None:
    desk = await open_shop()
    await replacing(desk)
    await desk.say(a_record())
    await desk.say(a_return(lines=lines(item_new=1)))
    (no,) = await desk.say(a_withdrawal())
    assert keys([no]) == ["replacement.withdrawal-rejected"]
    assert no["data"]["code"] == "units_claimed"
    await desk.say(a_return_release())
    # Whoever was told no has gone on; the same request is not granted behind its back.
    assert keys(await desk.say(a_withdrawal())) == ["replacement.withdrawal-rejected"]
    for _ in range(2):
        assert keys(await desk.say(a_withdrawal("csaga_2"))) == WITHDRAWN
    assert await desk.rows("SELECT id FROM order_lines WHERE claim_id IS NOT NULL") == []
    # A record that comes late finds that it is over.
    assert keys(await desk.say(a_record())) == RECORDED
    assert await desk.rows("SELECT id FROM order_lines WHERE claim_id IS NOT NULL") == []
    await is_sound(desk)


async def test_a_withdrawal_that_comes_first_leaves_a_tombstone(open_shop: OpenShop) -> None:
    desk = await open_shop()
    await replacing(desk)
    assert keys(await desk.say(a_withdrawal())) == WITHDRAWN
    await desk.say(a_record())
    assert await desk.rows("SELECT id FROM order_lines WHERE claim_id IS NOT NULL") == []


async def test_all_that_came_back_is_refunded_with_what_was_paid(open_shop: OpenShop) -> None:
    """Both mugs are replaced by three, which come back one by one: 2400 in all, not a cent more."""
    desk = await open_shop(an_order(captured=2400))
    await replacing(desk, units=2)
    await desk.say(a_record(a_sending("item_new", quantity=3, unit_price=777)))
    for number in range(3):
        await desk.say(a_return(f"ret_{number}", lines=lines(item_new=1)))
        receipt = a_receipt(f"rcpt_{number}", return_id=f"ret_{number}", lines=lines(item_new=1))
        assert "return-receipt.settled" in keys(await desk.say(receipt))
    order = await desk.order()
    assert (order["refunded"], order["captured"]) == (2400, 2400)
    assert order["fulfillment_status"] == "partially_returned"
    await is_sound(desk)


@given(amount=st.integers(0, 10**9), quantity=st.integers(1, 50), data=st.data())
def test_units_of_a_replacement_are_worth_the_whole_in_any_split(
    amount: int, quantity: int, data: st.DataObject
) -> None:
    line = refunds.worth_of(line_id="item_new", quantity=quantity, amount=amount)
    assert line.paid.amount == amount
    taken: list[refunds.Share] = []
    left = quantity
    while left:
        units = data.draw(st.integers(1, left))
        remaining = refunds.minus(share=line.paid, taken=taken)
        taken.append(refunds.share_of(line=line, remaining=remaining, quantity=units))
        left -= units
    assert sum(share.amount for share in taken) == amount
    assert min(share.amount for share in taken) >= 0


# ---- a refund that comes later -----------------------------------------------------------------


def a_retry(**changes: Any) -> RetryClaimRefund:
    known = {"claim_id": "claim_01", "order_id": "order_01", "request_id": uuid7()}
    return RetryClaimRefund(**{**known, **changes})


async def test_a_later_refund_is_made_once_and_explained(open_shop: OpenShop) -> None:
    desk = await open_shop(an_order(an_item(shipped_quantity=0)))
    await desk.say(a_claim())
    early = a_retry()
    (nothing,) = await desk.say(early)
    assert (nothing["data"]["amount"], nothing["data"]["refund_id"]) == (0, None)
    too_much = a_retry(refund_amount=100_001)
    (no,) = await desk.say(too_much)
    async with desk.database.transaction() as tx:
        await tx.execute("UPDATE order_lines SET shipped_quantity = 2")
    # What was decided stays so for whoever asked.
    assert [row["data"] for row in await desk.say(early)] == [nothing["data"]]
    assert [row["data"] for row in await desk.say(too_much)] == [no["data"]]
    said = await desk.say(a_retry())
    assert sorted(keys(said)) == ["claim-refund.succeeded", "order.refunded"]
    done = next(row["data"] for row in said if row["key"].startswith("orders.claim-refund"))
    assert done["amount"] == sum(part["amount"] for part in done["explanation"]) == 1200
    before = await desk.everything()
    (again,) = await desk.say(a_retry(refund_amount=1))
    assert again["data"] == done
    after = await desk.everything()
    for rows in (*before.values(), *after.values()):
        for row in rows:
            row.pop("retries", None)
    assert after == before
    await is_sound(desk)


async def test_a_claim_that_holds_nothing_is_not_refunded_later(open_shop: OpenShop) -> None:
    desk = await open_shop()
    for command in (a_retry(), a_retry(order_id="order_x")):
        (no,) = await desk.say(command)
        assert (no["data"]["code"], no["data"]["kind"]) == ("hold_unknown", "not_found")
    await desk.say(a_claim(type="replace", execute_refund=False))
    (no,) = await desk.say(a_retry(refund_amount=100_001))
    assert no["data"]["code"] == "amount_exceeds_refundable"
    await desk.say(a_release())
    (no,) = await desk.say(a_retry())
    assert no["data"]["code"] == "hold_unknown"


async def test_a_declined_refund_keeps_the_units_and_its_key(
    open_shop: OpenShop, worker: Any
) -> None:
    paid = {"id": "pay_1", "amount": 5000, "provider_id": "fake", "captured_at": CAPTURED}
    desk = await open_shop(an_order(payments=[paid]))
    await desk.say(a_claim(type="replace", execute_refund=False))
    for _ in range(2):
        assert await desk.say(a_retry(refund_amount=602)) == []
        await worker.step()
        (no,) = await desk.heard()
        assert keys([no]) == ["claim-refund.declined"]
    (attempt,) = await desk.rows("SELECT state, provider_key FROM refund_attempts")
    (refund,) = await desk.rows("SELECT id, state FROM refunds")
    assert (attempt["state"], refund["state"]) == ("declined", "declined")
    assert attempt["provider_key"] == f"rf_{refund['id']}"
    assert (await desk.line())["remedied_quantity"] == 1
    order = await desk.order()
    assert (order["refunded"], order["refund_pending"]) == (0, 0)
    await is_sound(desk)
    (released,) = await desk.say(a_release())
    assert released["data"]["pivot_passed"] is False
    await is_sound(desk)


async def test_a_declined_refund_is_not_asked_for_again_where_its_payment_has_less_left(
    open_shop: OpenShop, worker: Any
) -> None:
    """The order has enough, but what goes through a payment is fixed with the refund's key."""
    payments = [
        {"id": f"pay_{number}", "amount": 1000, "provider_id": provider, "captured_at": CAPTURED}
        for number, provider in enumerate(("fake", "manual"), 1)
    ]
    desk = await open_shop(an_order(payments=payments))
    await desk.say(a_claim(type="replace", execute_refund=False))
    assert await desk.say(a_retry(refund_amount=602)) == []
    await worker.step()
    await desk.do(
        operations_money.refund_payment, payment_id="pay_1", amount=500, reason="other", note=None
    )
    await worker.step()
    await desk.heard()
    (no,) = await desk.say(a_retry(refund_amount=602))
    assert (no["key"], no["data"]["code"], no["data"]["message"]) == (
        "orders.claim-refund.declined.v1",
        "amount_exceeds_payment",
        "Only 500 can be refunded from Payment pay_1",
    )
    assert (await desk.order())["refund_pending"] == 0
    await is_sound(desk)
