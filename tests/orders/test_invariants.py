"""A check that was never seen to catch anything proves nothing: each meets its sinner."""

from __future__ import annotations

import random
from typing import Any

import pytest

from chassis import clock
from chassis.db import Database
from contracts.orders import CheckReturnReceipt
from services.orders import invariants, queries
from services.orders.providers import FakeProvider, Faults, ManualProvider, fake_ledger
from services.orders.worker import MemoClerk, RefundWorker
from tests.orders.builders import (
    CAPTURED,
    Desk,
    a_claim,
    a_receipt,
    a_release,
    a_return,
    a_return_release,
    a_shop,
    an_execution,
    an_item,
    an_order,
    lines,
    load,
)
from tests.orders.conftest import OpenShop


async def found(database: Database) -> list[str]:
    async with database.reading() as tx:
        return [row["invariant"] for row in await invariants.findings(tx)]


@pytest.mark.parametrize(
    ("sin", "invariant"),
    [
        ("UPDATE orders SET refunded = refunded - 1", "I9"),
        ("UPDATE payments SET amount_refunded = amount_refunded + 1", "I9"),
        ("UPDATE orders SET version = version + 1", "I10"),
        ("UPDATE refunds SET amount = amount + 1", "I2"),
        ("DELETE FROM refunds", "I2"),
        ("UPDATE order_lines SET remedied_quantity = remedied_quantity - 1", "I16"),
        ("UPDATE order_lines SET returned_quantity = 1", "I16"),
        ("UPDATE order_lines SET fulfilled_quantity = 0, shipped_quantity = 0", "I5"),
        ("UPDATE remedies SET state = 'released'", "I16"),
        ("UPDATE transfers SET currency_code = 'eur'", "I9"),
    ],
)
async def test_a_sin_is_found(open_shop: OpenShop, sin: str, invariant: str) -> None:
    desk = await open_shop()
    await desk.say(a_claim())
    assert await found(desk.database) == []
    async with desk.database.transaction() as tx:
        await tx.execute(sin)
    assert invariant in await found(desk.database)


def test_a_provider_that_says_otherwise_is_found() -> None:
    ours = {"provider_key": "rf_1", "amount": 100, "state": "posted"}
    theirs = {"key": "rf_1", "amount": 100}
    assert invariants.provider_findings([ours], [theirs]) == []
    assert len(invariants.provider_findings([ours], [])) == 1
    assert len(invariants.provider_findings([], [theirs])) == 1
    assert len(invariants.provider_findings([{**ours, "amount": 99}], [theirs])) == 1
    assert len(invariants.provider_findings([{**ours, "state": "declined"}], [theirs])) == 1


async def test_an_open_attempt_is_found_at_rest(open_shop: OpenShop) -> None:
    paid = {"id": "pay_1", "amount": 5000, "provider_id": "fake", "captured_at": CAPTURED}
    desk = await open_shop(an_order(payments=[paid]))
    await desk.say(a_claim())
    async with desk.database.reading() as tx:
        assert [row["state"] for row in await invariants.unsettled(tx)] == ["pending"]
        assert [row["id"] for row in await invariants.remedies(tx)] == ["claim_01"]
        assert [row["quantity"] for row in await invariants.remedied_units(tx)] == [1]
        assert [row["state"] for row in await invariants.refunds(tx)] == ["pending"]
        assert await invariants.receipts(tx) == []


def _random_order(chance: random.Random) -> dict[str, Any]:
    items = []
    for number in range(chance.randint(1, 3)):
        quantity = chance.randint(15, 25)
        price = chance.randint(1, 2000)
        items.append(
            an_item(
                id=f"item_{number}",
                quantity=quantity,
                unit_price=price,
                fulfilled_quantity=quantity,
                shipped_quantity=chance.choice([quantity, quantity, 0]),
                returned_quantity=chance.choice([0, 0, 0, 1]),
                includes_tax=chance.random() < 0.3,
                tax_lines=[
                    {"rate": rate, "name": f"tax {rate}"}
                    for rate in chance.sample([5, 7.5, 20], chance.randint(0, 2))
                ],
                adjustments=[{"amount": chance.randint(0, price * quantity)}]
                if chance.random() < 0.5
                else [],
            )
        )
    payments = [
        {
            "id": f"pay_{number}",
            "amount": chance.randint(5_000, 60_000),
            "provider_id": chance.choice(["manual", "fake"]),
            "captured_at": CAPTURED,
        }
        for number in range(chance.randint(1, 3))
    ]
    return an_order(*items, payments=payments)


def _random_command(chance: random.Random, items: list[str], made: list[str]) -> Any:
    """Something new, or something about a claim or return of a moment ago (or not yet there)."""
    asked = lines(**{chance.choice(items): chance.randint(1, 3)})
    given = chance.choice([None, None, None, 0, chance.randint(1, 500)])
    if not made or chance.random() < 0.45:
        made.append(f"{chance.choice(['claim', 'claim', 'replace', 'ret'])}_{len(made)}")
        kind = made[-1].partition("_")[0]
        if kind == "ret":
            return a_return(made[-1], lines=asked, refund=given)
        if kind == "replace":
            return a_claim(made[-1], lines=asked, type="replace", execute_refund=False)
        execute = chance.random() < 0.6
        return a_claim(made[-1], lines=asked, refund_amount=given, execute_refund=execute)
    about = chance.choice([*made[-8:], f"claim_{len(made)}"])
    if about.startswith("ret"):
        if chance.random() < 0.2:
            return a_return_release(about)
        receipt_id = f"rcpt_{chance.randint(0, 99)}"
        if chance.random() < 0.15:
            ids = {"receipt_id": receipt_id, "return_id": about, "order_id": "order_01"}
            return CheckReturnReceipt(**ids, lines=asked)
        if chance.random() < 0.15:
            owed = {"lines": [], "settle_owed": True}
            return a_receipt(receipt_id, return_id=about, refund=given, **owed)
        return a_receipt(receipt_id, return_id=about, lines=asked, refund=given)
    if chance.random() < 0.3:
        receipt_id = f"rcpt_{chance.randint(100, 199)}"
        return a_receipt(receipt_id, return_id="ret_of", claim_id=about, lines=asked, refund=given)
    return chance.choice([an_execution(about), an_execution(about), a_release(about)])


@pytest.mark.parametrize("seed", range(6))
async def test_any_commands_in_any_order_leave_the_books_right(
    database: Database, tmp_path: Any, seed: int
) -> None:
    """Every message comes twice, some late, some before their time, over a faulty provider."""
    chance = random.Random(seed)
    order = _random_order(chance)
    answer = await load(database, a_shop(order))
    assert answer["refusals"] == []
    desk = Desk(database)
    fake = FakeProvider(tmp_path / "fake.db", Faults(0.2, 0.3, 0.0, seed))
    worker = RefundWorker(database, {"manual": ManualProvider(), "fake": fake})
    clerk = MemoClerk(database)
    items = [item["id"] for item in order["items"]]
    made: list[str] = []
    for _ in range(60):
        await desk.say(_random_command(chance, items, made))
        if chance.random() < 0.3:
            await desk.deliver(chance.choice(desk.sent))
        if chance.random() < 0.3:
            await _work(database, worker)
        if chance.random() < 0.1:
            await clerk.step()
    for _ in range(8):
        await _work(database, worker)
    while await clerk.step():
        pass
    posted = await desk.rows("SELECT memo_id FROM refunds WHERE state = 'posted'")
    assert all(row["memo_id"] for row in posted)
    async with database.reading() as tx:
        assert await invariants.findings(tx) == []
        assert await invariants.unsettled(tx) == []
        assert (
            invariants.provider_findings(
                [
                    row
                    for row in await invariants.provider_refunds(tx)
                    if row["provider_id"] == "fake"
                ],
                fake_ledger(fake.file),
            )
            == []
        )


async def _work(database: Database, worker: RefundWorker) -> None:
    async with database.transaction() as tx:
        await tx.execute(
            "UPDATE refund_attempts SET next_at = :now WHERE next_at IS NOT NULL", now=clock.now()
        )
    while await worker.step():
        pass


@pytest.mark.parametrize("seed", range(4))
async def test_an_order_given_back_piece_by_piece_costs_exactly_what_was_paid(
    open_shop: OpenShop, seed: int
) -> None:
    """Claims and returns in pieces, some taken back and asked again: nothing is left, nothing more
    than the price of the lines goes out."""
    chance = random.Random(seed)
    items = [
        an_item(
            id=f"item_{number}",
            unit_price=chance.randint(1, 9999),
            quantity=7,
            fulfilled_quantity=7,
            shipped_quantity=7,
            includes_tax=chance.random() < 0.5,
            tax_lines=[{"rate": rate, "name": "t"} for rate in chance.sample([7, 12.5, 20], 2)],
            adjustments=[{"amount": chance.randint(0, 999)}],
        )
        for number in range(2)
    ]
    desk = await open_shop(an_order(*items, captured=200_000))
    for number in range(200):
        free = await desk.rows(
            "SELECT id, quantity - returned_quantity - remedied_quantity AS units"
            " FROM order_lines WHERE quantity > returned_quantity + remedied_quantity"
        )
        if not free:
            break
        line = chance.choice(free)
        asked = lines(**{line["id"]: chance.randint(1, min(3, line["units"]))})
        if chance.random() < 0.5:
            paid_at_once = chance.random() < 0.6
            await desk.say(a_claim(f"c{number}", lines=asked, execute_refund=paid_at_once))
            if not paid_at_once:
                await desk.say(a_release(f"c{number}"))
        else:
            await desk.say(a_return(f"r{number}", lines=asked))
            if chance.random() < 0.3:
                await desk.say(a_return_release(f"r{number}"))
            else:
                await desk.say(a_receipt(f"p{number}", return_id=f"r{number}", lines=asked))
    async with desk.database.reading() as tx:
        found = await queries.order_by_id(tx, order_id="order_01", customer_id=None)
        order = found["order"]
        assert await invariants.findings(tx) == []
    assert order["refunded_total"] == sum(line["total"] for line in order["items"])
