"""Credit memos: one per refund, numbered without a gap, adding up; on both databases."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from chassis import at_rest, clock
from services.orders import invariants, memos, operations_money, queries_money
from services.orders.providers import FakeProvider
from services.orders.refunds import Part
from services.orders.worker import MemoClerk, RefundWorker
from tests.orders.builders import Desk, a_claim, a_receipt, a_return, an_item, lines
from tests.orders.conftest import OpenShop
from tests.orders.test_worker import by_card, settle

GOODS = Part("item_01", "goods", 1, 1000, "1 x 1000")
TAX = Part("item_01", "tax", 1, 200, "20% tax (VAT)")


class TestTheDocument:
    def test_has_a_number_that_sorts_and_names_its_year(self) -> None:
        assert memos.number_of(year=2026, sequence=7) == "CM-2026-000007"

    @pytest.mark.parametrize(
        ("cause_kind", "explained", "amount", "parts"),
        [
            ("claim", [GOODS, TAX], 1200, ["goods", "tax"]),
            ("receipt", [GOODS, TAX], 1000, ["goods", "tax", "declined"]),
            ("manual", [], 300, ["given"]),
        ],
    )
    def test_adds_up_to_what_went_out(
        self, cause_kind: str, explained: list[Part], amount: int, parts: list[str]
    ) -> None:
        found = memos.parts_of(
            cause_kind=cause_kind, explained=explained, amount=amount, note=None, reason="other"
        )
        assert [part.part for part in found] == parts
        assert sum(part.amount for part in found) == amount


async def _issued(desk: Desk) -> list[str]:
    rows = await desk.rows("SELECT number FROM credit_memos ORDER BY year, sequence")
    return [row["number"][-6:] for row in rows]


async def _sound(desk: Desk) -> None:
    async with desk.database.reading() as tx:
        assert await invariants.findings(tx) == []


async def test_every_refund_that_went_out_has_one_and_no_other(
    open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
) -> None:
    item = an_item(quantity=5, fulfilled_quantity=5, shipped_quantity=5)
    desk = await open_shop(by_card(1000, 5000, item=item))
    await desk.say(a_claim(refund_amount=1102))
    await desk.say(a_claim("claim_02", refund_amount=302))
    await desk.say(a_return(lines=lines(item_01=2)))
    await desk.say(a_receipt())
    await desk.say(a_claim("claim_03", lines=lines(item_01=1), execute_refund=False))
    clerk = MemoClerk(desk.database)
    assert not await clerk.step()
    await settle(desk, worker)
    assert await clerk.step()
    assert not await clerk.step()
    refunds = await desk.rows("SELECT id, state, memo_id FROM refunds ORDER BY id")
    assert {row["state"] for row in refunds} == {"posted", "declined", "held"}
    assert all((row["state"] == "posted") == (row["memo_id"] is not None) for row in refunds)
    assert await _issued(desk) == ["000001", "000002"]
    async with desk.database.reading() as tx:
        page = await queries_money.credit_memos(
            tx, order_ids=["order_01"], refund_ids=None, year=None, limit=2, offset=0
        )
    # The provider answers in any order.
    (first,) = (memo for memo in page["credit_memos"] if memo["amount"] == 1000)
    assert page["count"] == 2
    assert [line["part"] for line in first["lines"]] == ["given", "declined"]
    assert first["payments"] == [{"payment_id": "pay_1", "amount": 1000}]
    await _sound(desk)


async def test_several_clerks_at_once_leave_no_gap_and_a_year_begins_anew(
    open_shop: OpenShop,
) -> None:
    item = an_item(quantity=30, fulfilled_quantity=30, shipped_quantity=30)
    desk = await open_shop(by_hand(item))
    for number in range(30):
        await desk.say(a_claim(f"claim_{number}"))
        if number % 10 == 9:
            clerks = [MemoClerk(desk.database) for _ in range(4)]
            await asyncio.gather(*(clerk.step() for clerk in clerks))
    assert await _issued(desk) == [f"{number:06d}" for number in range(1, 31)]
    await desk.say(a_claim("claim_30", lines=lines(item_02=1)))
    next_year = clock.now() + timedelta(days=366)
    async with desk.database.transaction() as tx:
        assert await operations_money.issue_memos(tx, now=next_year) == 1
        assert await operations_money.issue_memos(tx, now=next_year) == 0
    assert await _issued(desk) == [*(f"{number:06d}" for number in range(1, 31)), "000001"]
    await _sound(desk)


def by_hand(item: dict[str, object]) -> dict[str, object]:
    order = by_card(item=item)
    order["items"].append(an_item(id="item_02"))
    order["payments"][0]["provider_id"] = "manual"
    return order


@pytest.mark.parametrize(
    "sin",
    [
        "UPDATE credit_memos SET amount = amount + 1",
        "UPDATE refunds SET memo_id = NULL",
        "DELETE FROM credit_memos",
        "UPDATE credit_memo_years SET last_sequence = last_sequence + 1",
        "UPDATE credit_memos SET sequence = sequence + 1",
    ],
)
async def test_a_wrong_document_is_found(open_shop: OpenShop, sin: str) -> None:
    desk = await open_shop()
    await desk.say(a_claim())
    assert await MemoClerk(desk.database).step()
    await _sound(desk)
    async with desk.database.transaction() as tx:
        assert await tx.execute(sin) == 1
    async with desk.database.reading() as tx:
        found = await invariants.findings(tx)
    assert {finding["invariant"] for finding in found} == {"I9"}


async def test_each_of_many_documents_is_looked_at(
    open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_rest, "PAGE_ROWS", 2)
    desk = await open_shop(by_hand(an_item(quantity=5, fulfilled_quantity=5, shipped_quantity=5)))
    for number in range(5):
        await desk.say(a_claim(f"claim_{number}"))
    assert await MemoClerk(desk.database).step()
    for number in await _issued(desk):
        await _sound(desk)
        for change in (1, -1):
            async with desk.database.transaction() as tx:
                await tx.execute(
                    "UPDATE credit_memos SET amount = amount + :change WHERE number LIKE :number",
                    change=change,
                    number=f"%{number}",
                )
                found = await invariants.findings(tx)
            assert len(found) == (1 if change == 1 else 0), found
