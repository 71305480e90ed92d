"""Refunds through a provider that may decline, be slow, lose answers, or meet a dying process."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chassis import clock, failpoints
from chassis.db import Database, Row
from services.orders import invariants, operations_money
from services.orders.providers import CaptureCall, FakeProvider, Faults, RefundCall, fake_ledger
from services.orders.worker import RefundWorker
from tests.orders.builders import (
    CAPTURED,
    Desk,
    a_claim,
    a_receipt,
    a_release,
    a_return,
    an_execution,
    an_item,
    an_order,
    keys,
    lines,
)
from tests.orders.conftest import OpenShop

CAPTURE = CaptureCall(key="cp_1", payment_id="pay_1", amount=500, currency_code="eur")


def by_card(*amounts: int, item: Row | None = None) -> Row:
    """An order paid by card, over one payment per amount."""
    payments = [
        {"id": f"pay_{n}", "amount": amount, "provider_id": "fake", "captured_at": CAPTURED}
        for n, amount in enumerate(amounts or (100_000,), 1)
    ]
    return an_order(*([item] if item else []), payments=payments)


async def make_due(desk: Desk) -> None:
    """The pause before the next try is over."""
    async with desk.database.transaction() as tx:
        await tx.execute(
            "UPDATE refund_attempts SET next_at = :past WHERE next_at IS NOT NULL",
            past=clock.now() - timedelta(seconds=1),
        )


async def settle(desk: Desk, worker: RefundWorker, rounds: int = 6) -> list[Row]:
    """Let the worker go on until nothing is open; what was said."""
    said = []
    for _ in range(rounds):
        await make_due(desk)
        await worker.step()
        said += await desk.heard()
        if not await desk.rows("SELECT 1 AS one FROM refund_attempts WHERE next_at IS NOT NULL"):
            return said
    raise AssertionError("an attempt is still open")


async def agree(desk: Desk, fake: FakeProvider) -> None:
    """Our books and the provider's say the same."""
    async with desk.database.reading() as tx:
        assert await invariants.findings(tx) == []
        assert await invariants.unsettled(tx) == []
        attempts = await invariants.provider_refunds(tx)
    assert invariants.provider_findings(attempts, fake_ledger(fake.file)) == []


class TestAClaimRefundedByCard:
    async def test_is_placed_at_once_and_paid_when_the_provider_has_answered(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        desk = await open_shop(by_card())
        said = await desk.say(a_claim(), message_id="m1")
        assert keys(said) == ["claim-hold.placed"]
        order = await desk.order()
        assert (order["refunded"], order["refund_pending"]) == (0, 1200)
        said = await settle(desk, worker)
        assert keys(said) == ["claim-refund.succeeded", "order.refunded"]
        assert said[0]["causation"] == "m1"
        assert said[0]["saga"] == "saga_01"
        order = await desk.order()
        assert (order["refunded"], order["refund_pending"]) == (1200, 0)
        assert [row["amount"] for row in fake_ledger(fake.file)] == [1200]
        await agree(desk, fake)

    async def test_is_free_again_when_the_provider_declines(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_claim(refund_amount=1002), message_id="m1")
        said = await settle(desk, worker)
        assert keys(said) == ["claim-refund.declined"]
        assert said[0]["data"]["message"] == (
            "The payment provider declined the refund: card closed"
        )
        assert said[0]["causation"] == "m1"
        order, line = await desk.order(), await desk.line()
        assert (order["refunded"], order["refund_pending"]) == (0, 0)
        assert line["remedied_quantity"] == 0
        assert fake_ledger(fake.file) == []
        await agree(desk, fake)
        again = await desk.say(a_claim(refund_amount=1002))
        assert keys(again) == ["claim-hold.placed", "claim-refund.declined"]
        assert (await desk.line())["remedied_quantity"] == 0
        said = await desk.say(a_release())
        assert said[0]["data"]["pivot_passed"] is False

    @pytest.mark.parametrize("amount", [1008, 1009])
    async def test_is_paid_once_although_an_answer_was_lost(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider, amount: int
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_claim(refund_amount=amount))
        await worker.step()
        attempt = (await desk.rows("SELECT state, next_at FROM refund_attempts"))[0]
        assert attempt["state"] == "unknown"
        assert attempt["next_at"] > clock.now()
        said = await desk.say(a_release())
        assert said[0]["data"]["pivot_passed"] is True
        said = await settle(desk, worker)
        assert keys(said) == ["claim-refund.succeeded", "order.refunded"]
        assert [row["amount"] for row in fake_ledger(fake.file)] == [amount]
        await agree(desk, fake)

    @pytest.mark.parametrize("point", ["orders.refund.p1", "orders.refund.p2", "orders.refund.p3"])
    async def test_is_paid_once_although_the_process_died(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider, point: str
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_claim())
        failpoints.arm(f"{point}:raise")
        try:
            await worker.step()
        except failpoints.Broken:
            pass
        finally:
            failpoints.arm("")
        reborn = RefundWorker(desk.database, {"fake": FakeProvider(fake.file, Faults())})
        said = await desk.heard()
        if not said:
            said = await settle(desk, reborn)
        assert keys(said) == ["claim-refund.succeeded", "order.refunded"]
        assert len(fake_ledger(fake.file)) == 1
        await agree(desk, fake)

    async def test_cannot_be_released_while_its_refund_is_on_the_way(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_claim(execute_refund=False))
        await desk.say(an_execution(), message_id="m2")
        before = await desk.everything()
        said = await desk.say(a_release())
        assert said[0]["data"]["pivot_passed"] is True
        assert await desk.everything() == before
        assert await desk.say(an_execution()) == []
        said = await settle(desk, worker)
        assert said[0]["causation"] == "m2"
        await agree(desk, fake)

    async def test_waits_for_every_payment_of_a_split(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        desk = await open_shop(by_card(1000, 5000))
        await desk.say(a_claim(lines=lines(item_01=2), refund_amount=2400))
        found = await desk.rows("SELECT provider_key FROM refund_attempts ORDER BY position")
        assert [row["provider_key"][-2:] for row in found] == ["_1", "_2"]
        said = await settle(desk, worker)
        assert keys(said) == ["claim-refund.succeeded", "order.refunded"]
        assert sorted(row["amount"] for row in fake_ledger(fake.file)) == [1000, 1400]
        await agree(desk, fake)

    async def test_tells_what_went_out_when_a_part_of_a_split_was_declined(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        desk = await open_shop(by_card(1000, 5000))
        await desk.say(a_claim(refund_amount=1102))
        said = await settle(desk, worker)
        assert keys(said) == ["claim-refund.succeeded", "order.refunded"]
        assert (said[0]["data"]["amount"], said[1]["data"]["amount"]) == (1000, 1000)
        order = await desk.order()
        assert (order["refunded"], order["refund_pending"]) == (1000, 0)
        await agree(desk, fake)

    async def test_pays_by_hand_what_was_paid_by_hand_and_by_card_the_rest(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        payments = [
            {"id": "pay_1", "amount": 700, "provider_id": "manual", "captured_at": CAPTURED},
            {"id": "pay_2", "amount": 700, "provider_id": "fake", "captured_at": CAPTURED},
        ]
        desk = await open_shop(an_order(payments=payments))
        await desk.say(a_claim())
        said = await settle(desk, worker)
        assert keys(said) == ["claim-refund.succeeded", "order.refunded"]
        assert [row["amount"] for row in fake_ledger(fake.file)] == [500]
        assert (await desk.order())["refunded"] == 1200


class TestAReceiptRefundedByCard:
    async def test_is_booked_at_once_and_answered_when_the_money_is_out(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_return())
        assert await desk.say(a_receipt(), message_id="m1") == []
        assert (await desk.line())["returned_quantity"] == 1
        assert await desk.say(a_receipt()) == []
        said = await settle(desk, worker)
        assert keys(said) == ["return-receipt.settled", "order.refunded", "order.items-returned"]
        assert said[0]["causation"] == "m1"
        assert said[0]["data"]["refund_amount"] == 1200
        again = await desk.say(a_receipt())
        assert [row["data"] for row in again] == [said[0]["data"]]
        await agree(desk, fake)

    async def test_asks_for_action_when_the_provider_declines(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        desk = await open_shop(by_card(item=an_item(unit_price=1002, tax_lines=[])))
        await desk.say(a_return())
        await desk.say(a_receipt())
        said = await settle(desk, worker)
        assert keys(said) == ["return-receipt.settled", "order.items-returned"]
        settled, event = said[0]["data"], said[1]["data"]
        assert (settled["refund_amount"], settled["action_required"]) == (0, True)
        assert settled["code"] == "refund_declined"
        assert event["name"] == "order.return_action_required"
        order, line = await desk.order(), await desk.line()
        assert (order["fulfillment_status"], order["refund_pending"]) == ("requires_action", 0)
        assert line["returned_quantity"] == 1
        await agree(desk, fake)


class TestAnAttempt:
    async def test_left_behind_by_a_dead_process_is_asked_again_at_once(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_claim())
        failpoints.arm("orders.refund.p2:raise")
        with pytest.raises(failpoints.Broken):
            await worker.step()
        failpoints.arm("")
        await RefundWorker(desk.database, {"fake": fake}).step()
        assert keys(await desk.heard()) == ["claim-refund.succeeded", "order.refunded"]
        await agree(desk, fake)

    async def test_whose_answer_could_not_be_written_down_is_asked_again_at_once(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_claim())
        failpoints.arm("orders.refund.p2:raise")
        with pytest.raises(failpoints.Broken):
            await worker.step()
        failpoints.arm("")
        await worker.step()
        assert keys(await desk.heard()) == ["claim-refund.succeeded", "order.refunded"]
        await agree(desk, fake)

    async def test_is_asked_again_within_half_a_minute_however_long_nobody_answered(
        self, open_shop: OpenShop, database: Database
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_claim())
        without_provider = RefundWorker(database, {})
        for _ in range(10):
            await make_due(desk)
            await without_provider.step()
        attempt = (await desk.rows("SELECT tries, state, next_at FROM refund_attempts"))[0]
        assert (attempt["tries"], attempt["state"]) == (10, "unknown")
        assert attempt["next_at"] - clock.now() <= timedelta(seconds=30)

    async def test_is_taken_by_one_worker_only(
        self, open_shop: OpenShop, database: Database
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_claim())
        async with database.transaction() as tx:
            first = await operations_money.take_attempts(tx, now=clock.now())
        async with database.transaction() as tx:
            second = await operations_money.take_attempts(tx, now=clock.now())
        assert (len(first), len(second)) == (1, 0)

    async def test_is_recorded_once_when_two_answers_come(
        self, open_shop: OpenShop, database: Database
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_claim())
        async with database.transaction() as tx:
            attempt = (await operations_money.take_attempts(tx, now=clock.now()))[0]
        for _ in range(2):
            async with database.transaction() as tx:
                await operations_money.record_answer(
                    tx,
                    attempt=attempt,
                    posted=True,
                    provider_ref="ref",
                    message=None,
                    now=clock.now(),
                )
        assert keys(await desk.heard()) == ["claim-refund.succeeded", "order.refunded"]
        assert (await desk.order())["refunded"] == 1200

    async def test_is_not_sent_again_when_the_provider_may_have_forgotten_its_key(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        desk = await open_shop(by_card())
        await desk.say(a_claim(refund_amount=1009))
        await worker.step()
        async with desk.database.transaction() as tx:
            await tx.execute(
                "UPDATE refund_attempts SET created_at = :old",
                old=clock.now() - timedelta(hours=24),
            )
        await make_due(desk)
        await worker.step()
        attempt = (await desk.rows("SELECT state, last_error FROM refund_attempts"))[0]
        assert attempt["state"] == "unknown"
        assert "needs an operator" in attempt["last_error"]
        assert fake_ledger(fake.file) == []


class TestTheFakeProvider:
    async def test_answers_a_key_the_same_however_often_it_is_asked(
        self, fake: FakeProvider
    ) -> None:
        call = RefundCall("rf_1", "pay_01", 500, "gbp", "claim_01")
        first = await fake.refund(call)
        assert await fake.refund(call) == first
        assert await fake.status(call) == first
        assert len(fake_ledger(fake.file)) == 1

    async def test_waits_for_another_who_writes_into_its_books(self, tmp_path: Path) -> None:
        file = tmp_path / "provider.db"
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asked = asyncio.create_task(FakeProvider(file).capture(CAPTURE))
            done, _ = await asyncio.wait([asked], timeout=0.2)
            assert not done
            other.execute("COMMIT")
        assert (await asked).posted

    @pytest.mark.parametrize("text", ["declined:0.3,lost_answer:0.4,seed=7", "slow:0.05", ""])
    def test_reads_its_faults(self, text: str) -> None:
        faults = Faults.parse(text)
        hit = [faults.strike(name="x", chance=0.3, key=str(n)) for n in range(1000)]
        assert 230 < sum(hit) < 370

    def test_names_a_fault_it_does_not_know(self) -> None:
        with pytest.raises(ValueError, match="unknown fault 'late'"):
            Faults.parse("late:1")

    async def test_pays_every_claim_once_under_all_its_faults(
        self, open_shop: OpenShop, database: Database, tmp_path: Any
    ) -> None:
        faults = Faults.parse("declined:0.2,lost_answer:0.4,seed=3")
        fake = FakeProvider(tmp_path / "faulty.db", faults)
        worker = RefundWorker(database, {"fake": fake})
        item = an_item(quantity=30, fulfilled_quantity=30, shipped_quantity=30)
        desk = await open_shop(by_card(item=item))
        for number in range(30):
            await desk.say(a_claim(f"claim_{number}"))
        for _ in range(4):
            await settle(desk, worker, rounds=20)
        await agree(desk, fake)
        order, line = await desk.order(), await desk.line()
        assert order["refunded"] == sum(row["amount"] for row in fake_ledger(fake.file))
        assert order["refunded"] == 1200 * line["remedied_quantity"]
        assert 0 < line["remedied_quantity"] < 30
