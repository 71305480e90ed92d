"""What orders says of a parcel that holds more, and of money that could not be paid at first."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.db import Row
from contracts.orders import CheckReturnReceipt
from services.orders import invariants
from services.orders.providers import FakeProvider
from services.orders.worker import RefundWorker
from tests.orders.builders import (
    CAPTURED,
    Desk,
    a_claim,
    a_receipt,
    a_return,
    an_item,
    an_order,
    keys,
    lines,
)
from tests.orders.conftest import OpenShop
from tests.orders.test_worker import settle


def a_check(**quantities: int) -> CheckReturnReceipt:
    return CheckReturnReceipt(
        receipt_id="rcpt_01", return_id="ret_01", order_id="order_01", lines=lines(**quantities)
    )


def told(said: list[Row], key: str = "return-receipt.settled") -> Any:
    """The answer among what was said."""
    (found,) = [row["data"] for row in said if row["key"].split(".", 1)[1].startswith(key)]
    return found


async def owed(desk: Desk) -> int:
    (row,) = await desk.rows("SELECT SUM(owed_amount) AS owed FROM receipts")
    return int(row["owed"])


async def sound(desk: Desk) -> None:
    async with desk.database.reading() as tx:
        assert await invariants.findings(tx) == []


class TestCheckReturnReceipt:
    async def test_tells_what_the_units_are_and_holds_nothing(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        before = await desk.everything()
        for _ in range(2):
            checked = told(await desk.say(a_check(item_01=2)), "return-receipt.checked")
            (line,) = checked["lines"]
            assert (line["line_id"], line["title"]) == ("item_01", "Red mug")
        assert await desk.everything() == before

    @pytest.mark.parametrize(
        ("quantities", "kind", "message"),
        [
            ({"item_01": 3}, "not_allowed", "Cannot return more items than have been purchased"),
            ({"item_98": 1}, "invalid", "Return contains invalid line item"),
            ({"item_99": 1}, "not_found", "Line item with item_99 was not found"),
        ],
    )
    async def test_refuses_what_cannot_be_of_the_order(
        self, open_shop: OpenShop, quantities: dict[str, int], kind: str, message: str
    ) -> None:
        other = an_order(an_item(id="item_98"), id="order_02", payments=[])
        desk = await open_shop(an_order(), other)
        no = told(await desk.say(a_check(**quantities)), "return-receipt.rejected")
        assert (no["kind"], no["message"]) == (kind, message)

    async def test_counts_what_others_hold(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_claim())
        told(await desk.say(a_check(item_01=1)), "return-receipt.checked")
        told(await desk.say(a_check(item_01=2)), "return-receipt.rejected")


class TestOwedMoney:
    async def test_is_kept_with_its_explanation_and_paid_once_it_can_be(
        self, open_shop: OpenShop
    ) -> None:
        desk = await open_shop(an_order(captured=1500))
        await desk.say(a_return(lines=lines(item_01=2)))
        assert told(await desk.say(a_receipt()))["refund_amount"] == 1200
        blocked = told(await desk.say(a_receipt("rcpt_02")))
        assert (blocked["refund_amount"], blocked["owed_amount"]) == (0, 1200)
        again = told(await desk.say(a_receipt("rcpt_03", lines=[], settle_owed=True)))
        assert (again["action_required"], again["owed_amount"]) == (True, 1200)
        assert await owed(desk) == 1200
        named = a_receipt("rcpt_04", lines=[], settle_owed=True, refund=300)
        said = await desk.say(named, message_id="m4")
        paid = told(said)
        assert (paid["refund_amount"], paid["owed_amount"]) == (300, 0)
        assert [part["part"] for part in paid["explanation"]] == ["goods", "tax", "waived"]
        assert sum(part["amount"] for part in paid["explanation"]) == 300
        assert "order.items-returned" in keys(said)
        order = await desk.order()
        assert (order["refunded"], order["fulfillment_status"]) == (1500, "returned")
        assert await owed(desk) == 0
        assert told(await desk.say(named)) == paid
        nothing = told(await desk.say(a_receipt("rcpt_05", lines=[], settle_owed=True)))
        assert (nothing["refund_amount"], nothing["action_required"]) == (0, False)
        await sound(desk)

    async def test_is_what_a_provider_declined(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        paid = {"id": "pay_1", "amount": 5000, "provider_id": "fake", "captured_at": CAPTURED}
        desk = await open_shop(an_order(payments=[paid]))
        await desk.say(a_return(refund=1002))
        await desk.say(a_receipt())
        declined = told(await settle(desk, worker))
        assert (declined["code"], declined["owed_amount"]) == ("refund_declined", 1002)
        await desk.say(a_receipt("rcpt_02", lines=[], settle_owed=True, refund=1000))
        settled = told(await settle(desk, worker))
        assert (settled["refund_amount"], settled["owed_amount"]) == (1000, 0)
        assert await owed(desk) == 0
        await sound(desk)

    async def test_is_the_part_of_a_split_that_was_declined(
        self, open_shop: OpenShop, worker: RefundWorker, fake: FakeProvider
    ) -> None:
        payments = [
            {"id": f"pay_{n}", "amount": amount, "provider_id": "fake", "captured_at": CAPTURED}
            for n, amount in enumerate((1000, 4000))
        ]
        desk = await open_shop(an_order(payments=payments))
        await desk.say(a_return(refund=1102))
        await desk.say(a_receipt())
        part = told(await settle(desk, worker))
        assert (part["refund_amount"], part["owed_amount"]) == (1000, 102)
        assert sum(each["amount"] for each in part["explanation"]) == 1000
        await sound(desk)


async def test_what_came_with_a_claims_parcel_is_no_unit_of_the_claim(open_shop: OpenShop) -> None:
    first = an_item(quantity=3, fulfilled_quantity=1, shipped_quantity=1)
    desk = await open_shop(an_order(first, an_item(id="item_02")))
    await desk.say(a_claim())
    parcel = a_receipt(claim_id="claim_01", lines=lines(item_01=2, item_02=1))
    settled = told(await desk.say(parcel))
    assert (settled["refund_amount"], settled["action_required"]) == (0, False)
    rows = await desk.rows(
        "SELECT remedy_id, line_id, quantity, received_quantity AS came FROM remedy_lines"
        " ORDER BY remedy_id, line_id"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("claim_01", "item_01", 1, 1),
        ("rcpt_01", "item_01", 1, 1),
        ("rcpt_01", "item_02", 1, 1),
    ]
    assert told(await desk.say(parcel)) == settled
    await sound(desk)
