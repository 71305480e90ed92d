"""Refunds by the hundred through a provider that loses calls and answers, is late, hears every call
twice, declines, and two workers one of which dies every now and then: each is paid once.

``RECLAMO_TEST_REFUNDS=10000 pytest tests/orders/test_many_refunds.py`` for as many.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chassis import clock, failpoints
from chassis.db import connect
from chassis.idempotency import Caller
from chassis.testing import DatabaseUrl
from services.orders import invariants, operations_money, store
from services.orders.providers import FakeProvider, Faults, fake_ledger
from services.orders.worker import RefundWorker
from tests.orders.builders import (
    CAPTURED,
    Desk,
    a_claim,
    a_receipt,
    a_return,
    a_shop,
    an_item,
    an_order,
    lines,
    load,
)

REFUNDS = int(os.environ.get("RECLAMO_TEST_REFUNDS", "500"))
PER_ORDER = 50
FAULTS = "declined:0.05,lost_call:0.2,lost_answer:0.3,doubled:0.3,slow:0.01,seed=11"
POINTS = ("orders.refund.p1", "orders.refund.p2", "orders.refund.p3")


def _order(number: int) -> dict[str, Any]:
    """Fifty mugs, paid by two cards: some refunds are split."""
    item = an_item(
        id=f"item_{number}",
        quantity=PER_ORDER,
        fulfilled_quantity=PER_ORDER,
        shipped_quantity=PER_ORDER,
    )
    payments = [
        {
            "id": f"pay_{number}_{part}",
            "amount": amount,
            "provider_id": "fake",
            "captured_at": CAPTURED,
        }
        for part, amount in enumerate((PER_ORDER * 700, PER_ORDER * 1300))
    ]
    return an_order(item, id=f"order_{number}", display_id=number + 1, payments=payments)


async def _ask(desk: Desk, chance: random.Random, number: int) -> None:
    """One more cause: a claim, a parcel, or a decision by hand."""
    order = number // PER_ORDER
    where: dict[str, Any] = {"order_id": f"order_{order}", "lines": lines(**{f"item_{order}": 1})}
    kind = chance.choice(("claim", "receipt", "hand"))
    if kind == "claim":
        await desk.say(a_claim(f"claim_{number}", **where))
    elif kind == "receipt":
        await desk.say(a_return(f"ret_{number}", **where))
        await desk.say(a_receipt(f"rcpt_{number}", return_id=f"ret_{number}", **where))
    else:
        async with desk.database.transaction() as tx:
            await operations_money.refund_order(
                tx,
                order_id=where["order_id"],
                amount=1200,
                reason="other",
                note=None,
                no_notification=None,
                caller=Caller("usr_1", f"key_{number}"),
                now=clock.now(),
            )


async def _work(desk: Desk, fake: FakeProvider, chance: random.Random, workers: list[Any]) -> None:
    """A round of both workers at once. One may die; who takes its place asks again what it had
    asked, also while the other still waits for the answer."""
    async with desk.database.transaction() as tx:
        await tx.execute(
            "UPDATE refund_attempts SET next_at = :past WHERE next_at IS NOT NULL",
            past=clock.now() - timedelta(seconds=1),
        )
    dying = chance.random() < 0.3
    failpoints.arm(f"{chance.choice(POINTS)}@{chance.randint(1, 6)}:raise" if dying else "")
    try:
        ends = await asyncio.gather(*(w.step() for w in workers), return_exceptions=True)
    finally:
        failpoints.arm("")
    for index, end in enumerate(ends):
        if isinstance(end, failpoints.Broken):
            workers[index] = RefundWorker(desk.database, {"fake": fake})
        elif isinstance(end, BaseException):
            raise end


@pytest.mark.timeout(60 + REFUNDS)
async def test_each_refund_is_paid_once_whatever_the_provider_and_the_workers_suffer(
    sqlite_url_factory: DatabaseUrl, tmp_path: Path
) -> None:
    database = connect(await sqlite_url_factory("orders"))
    await database.open()
    database.serve("orders", store.METADATA)
    fake = FakeProvider(tmp_path / "provider.db", Faults.parse(FAULTS))
    try:
        orders = [_order(number) for number in range(REFUNDS // PER_ORDER)]
        for begin in range(0, len(orders), 50):
            answer = await load(database, a_shop(*orders[begin : begin + 50]))
            assert answer["refusals"] == []
        desk, chance = Desk(database), random.Random(REFUNDS)
        workers: list[Any] = [RefundWorker(database, {"fake": fake}) for _ in range(2)]
        for number in range(REFUNDS):
            await _ask(desk, chance, number)
            if number % 8 == 0:
                await _work(desk, fake, chance, workers)
        while await desk.rows("SELECT 1 AS one FROM refund_attempts WHERE next_at IS NOT NULL"):
            await _work(desk, fake, chance, workers)
        await _agree(desk, fake)
    finally:
        await database.close()


async def _agree(desk: Desk, fake: FakeProvider) -> None:
    """The provider's ledger is ours, key by key, and nothing is in it twice."""
    async with desk.database.reading() as tx:
        assert await invariants.findings(tx) == []
        assert await invariants.unsettled(tx) == []
        attempts = await invariants.provider_refunds(tx)
    ledger = fake_ledger(fake.file)
    assert invariants.provider_findings(attempts, ledger) == []
    ours = {row["provider_key"]: row["amount"] for row in attempts if row["state"] == "posted"}
    assert {row["key"]: row["amount"] for row in ledger} == ours
    assert max(Counter(row["key"] for row in ledger).values()) == 1
    (total,) = await desk.rows("SELECT SUM(refunded) AS refunded FROM orders")
    assert total["refunded"] == sum(ours.values())
    refunds = await desk.rows("SELECT state, COUNT(*) AS n FROM refunds GROUP BY state")
    many = {row["state"]: row["n"] for row in refunds}
    assert sum(many.values()) == REFUNDS
    assert set(many) == {"posted", "declined"}
    (tries,) = await desk.rows(
        "SELECT COUNT(*) AS attempts, SUM(tries) AS tries FROM refund_attempts"
    )
    assert tries["tries"] > 1.3 * tries["attempts"]
    print(  # the figures of a long run
        f"{REFUNDS} refunds, {many}, {tries['attempts']} payments asked {tries['tries']} times;"
        f" the provider's ledger has {len(ledger)} rows, ours {len(ours)}, the sums are"
        f" {sum(row['amount'] for row in ledger)} and {total['refunded']}"
    )
