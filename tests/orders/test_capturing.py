"""The money of an order is taken: from our own books at once, from providers by the worker."""

from __future__ import annotations

from typing import Any

import pytest

from chassis import clock
from chassis.db import Database, Row
from chassis.errors import NotAllowed, NotFound, Refusal
from chassis.idempotency import Caller
from services.orders import invariants, operations, operations_money, queries_money
from services.orders.providers import FakeProvider, fake_captures
from services.orders.worker import CAPTURES, CaptureWorker, measure
from tests.orders.builders import Desk, an_item, an_order, keys
from tests.orders.conftest import OpenShop

CANCELED = "A canceled order cannot capture payment"


def unpaid(*amounts: int, provider: str = "fake", **changes: Any) -> Row:
    """An order whose payments were authorized and not taken."""
    payments = [
        {"id": f"pay_{number}", "amount": amount, "provider_id": provider}
        for number, amount in enumerate(amounts, 1)
    ]
    return an_order(an_item(), **{"payment_status": "awaiting", "payments": payments, **changes})


@pytest.fixture
def captures(database: Database, fake: FakeProvider) -> CaptureWorker:
    """The worker, to be stepped by hand."""
    return CaptureWorker(database, {"fake": fake})


async def capture(desk: Desk, **given: Any) -> Any:
    return await desk.do(operations_money.capture_order, **{"order_id": "order_01", **given})


async def outcome(desk: Desk, payment_id: str = "pay_1") -> Any:
    async with desk.database.reading() as tx:
        return await queries_money.payment_capture_outcome(tx, payment_id=payment_id)


async def sound(desk: Desk, fake: FakeProvider | None = None) -> None:
    async with desk.database.reading() as tx:
        assert await invariants.findings(tx) == []
        asked = await invariants.provider_captures(tx)
    if fake is not None:
        assert invariants.provider_findings(asked, fake_captures(fake.file)) == []


async def test_manual_payments_are_taken_at_once_and_once(open_shop: OpenShop) -> None:
    desk = await open_shop(unpaid(300, 700, provider="manual"))
    assert (await capture(desk)).done
    said = await desk.heard()
    assert keys(said) == ["order.payment-captured"]
    assert said[0]["data"] == {
        "name": "order.payment_captured",
        "id": "order_01",
        "no_notification": False,
        "amount": 1000,
        "currency_code": "gbp",
        "payment_status": "captured",
    }
    order = await desk.order()
    assert (order["captured"], order["payment_status"]) == (1000, "captured")
    before = await desk.everything()
    assert (await capture(desk)).done
    assert await desk.everything() == before
    assert await desk.heard() == []
    await sound(desk)


async def test_what_was_captured_can_be_refunded(open_shop: OpenShop) -> None:
    desk = await open_shop(unpaid(1000, provider="manual"))
    await capture(desk)
    refund = {"payment_id": "pay_1", "amount": 400, "reason": "other", "note": "late"}
    await desk.do(operations_money.refund_payment, **refund)
    order = await desk.order()
    assert (order["refunded"], order["payment_status"]) == (400, "partially_refunded")
    await sound(desk)


async def test_a_provider_is_asked_by_the_worker(
    open_shop: OpenShop, captures: CaptureWorker, fake: FakeProvider
) -> None:
    desk = await open_shop(unpaid(1000))
    assert not (await capture(desk)).done
    assert (await desk.order())["captured"] == 0
    assert await outcome(desk) is None
    await captures.step()
    order = await desk.order()
    assert (order["captured"], order["payment_status"]) == (1000, "captured")
    assert keys(await desk.heard()) == ["order.payment-captured"]
    assert [row["key"] for row in fake_captures(fake.file)] == ["cp_pay_1"]
    found = await outcome(desk)
    assert found["payment"]["captured_at"] is not None
    await sound(desk, fake)


@pytest.mark.parametrize("amount", [1008, 1009])
async def test_a_lost_answer_is_asked_for_again_and_money_is_taken_once(
    open_shop: OpenShop, captures: CaptureWorker, fake: FakeProvider, amount: int
) -> None:
    desk = await open_shop(unpaid(amount))
    await capture(desk)
    await captures.step()
    assert (await desk.order())["captured"] == 0
    (row,) = await desk.rows("SELECT state, tries FROM captures")
    assert (row["state"], row["tries"]) == ("unknown", 1)
    async with desk.database.reading() as tx:
        assert len(await invariants.unsettled(tx)) == 1
        assert (await measure(tx))[CAPTURES] == 1
        ledger = await queries_money.ledger_of(tx, order_id="order_01")
        assert [row["state"] for row in ledger["captures"]] == ["unknown"]
    assert not (await capture(desk)).done
    async with desk.database.transaction() as tx:
        await tx.execute("UPDATE captures SET next_at = created_at")
    await captures.step()
    assert (await desk.order())["captured"] == amount
    assert len(fake_captures(fake.file)) == 1
    await sound(desk, fake)


async def test_a_no_shows_in_the_status_and_may_be_tried_again(
    open_shop: OpenShop, captures: CaptureWorker, fake: FakeProvider
) -> None:
    desk = await open_shop(unpaid(500, 1002))
    await capture(desk)
    await captures.step()
    order = await desk.order()
    assert (order["captured"], order["payment_status"]) == (500, "requires_action")
    said = await desk.heard()
    assert keys(said) == ["order.payment-capture-failed"]
    assert said[0]["data"]["name"] == "order.payment_capture_failed"
    assert (said[0]["data"]["payment_id"], said[0]["data"]["error"]) == ("pay_2", "card closed")
    no = await outcome(desk, "pay_2")
    assert isinstance(no, Refusal)
    assert (no.kind, no.message) == ("failed", "Failed to capture Payment pay_2")
    await capture(desk)
    asked = await desk.rows("SELECT id FROM captures ORDER BY id")
    assert [row["id"] for row in asked] == ["cp_pay_1", "cp_pay_2", "cp_pay_2_2"]
    await sound(desk, fake)


async def test_a_capture_in_hand_is_found_by_the_next_process(
    open_shop: OpenShop, database: Database, fake: FakeProvider
) -> None:
    desk = await open_shop(unpaid(1000))
    await capture(desk)
    async with desk.database.transaction() as tx:
        assert len(await operations_money.take_captures(tx, now=clock.now())) == 1
    await CaptureWorker(database, {"fake": fake}).step()
    assert (await desk.order())["captured"] == 1000


async def test_one_payment_alone(open_shop: OpenShop, captures: CaptureWorker) -> None:
    desk = await open_shop(unpaid(300, 700))
    await desk.do(operations_money.capture_payment, payment_id="pay_2")
    await captures.step()
    order = await desk.order()
    assert (order["captured"], order["payment_status"]) == (700, "awaiting")
    await capture(desk)
    await captures.step()
    assert (await desk.order())["payment_status"] == "captured"
    await sound(desk)


async def test_an_order_without_payments_is_captured(open_shop: OpenShop) -> None:
    desk = await open_shop(unpaid())
    assert (await capture(desk)).done
    assert (await desk.order())["payment_status"] == "captured"


async def test_the_same_key_asks_once(open_shop: OpenShop, captures: CaptureWorker) -> None:
    desk = await open_shop(unpaid(1002))
    caller = Caller("usr_1", "k1", "print")
    for _ in range(2):
        await desk.do(operations_money.capture_payment, payment_id="pay_1", caller=caller)
        await captures.step()
    assert len(await desk.rows("SELECT id FROM captures")) == 1


async def test_nothing_is_taken_for_a_canceled_order(open_shop: OpenShop) -> None:
    desk = await open_shop(unpaid(1000, status="canceled"))
    with pytest.raises(NotAllowed, match=CANCELED):
        await capture(desk)
    with pytest.raises(NotAllowed, match=CANCELED):
        await desk.do(operations_money.capture_payment, payment_id="pay_1")


async def test_an_order_is_not_canceled_while_its_money_is_on_the_way(
    open_shop: OpenShop, captures: CaptureWorker
) -> None:
    desk = await open_shop(unpaid(1000))
    await capture(desk)
    with pytest.raises(Refusal, match="A payment of the order is being captured"):
        await desk.do(operations.cancel_order, order_id="order_01")
    await captures.step()
    await desk.do(operations.cancel_order, order_id="order_01")
    assert (await desk.order())["status"] == "canceled"


@pytest.mark.parametrize(
    ("payment_id", "amount", "kind", "message"),
    [
        ("pay_9", 1, NotFound, "Payment with id pay_9 was not found"),
        ("pay_2", 1, NotAllowed, "Payment pay_2 is not captured"),
        ("pay_1", 301, NotAllowed, "Only 300 can be refunded from Payment pay_1"),
    ],
)
async def test_a_payment_gives_back_what_it_gave(
    open_shop: OpenShop, payment_id: str, amount: int, kind: type[Refusal], message: str
) -> None:
    order = unpaid(300, 700, provider="manual")
    order["payments"][0]["captured_at"] = "2026-01-05T12:00:00Z"
    desk = await open_shop(order)
    before = await desk.everything()
    refund = {"payment_id": payment_id, "amount": amount, "reason": "other", "note": None}
    with pytest.raises(kind) as no:
        await desk.do(operations_money.refund_payment, **refund)
    assert no.value.message == message
    assert await desk.everything() == before


async def test_a_payments_refund_names_it_and_a_providers_no_fails_it(
    open_shop: OpenShop, worker: Any
) -> None:
    order = unpaid(1002, 900)
    for payment in order["payments"]:
        payment["captured_at"] = "2026-01-05T12:00:00Z"
    desk = await open_shop(order)
    found = {}
    for payment_id, amount in (("pay_1", 1002), ("pay_2", 900)):
        refund = {"payment_id": payment_id, "amount": amount, "reason": "return", "note": None}
        refund_id = await desk.do(operations_money.refund_payment, **refund)
        await worker.step()
        async with desk.database.reading() as tx:
            found[payment_id] = await queries_money.payment_refund_outcome(
                tx, payment_id=payment_id, refund_id=refund_id
            )
    assert found["pay_1"].message == "Failed to refund Payment pay_1"
    assert found["pay_1"].kind == "failed"
    assert found["pay_2"]["refund"]["payment_id"] == "pay_2"
    assert found["pay_2"]["refund"]["reason"] == "return"
    await sound(desk)
