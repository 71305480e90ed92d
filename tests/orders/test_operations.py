"""Holds, refunds and receipts on one order: what is said, and what stays behind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.orders.builders import (
    a_claim,
    a_receipt,
    a_release,
    a_return,
    a_return_release,
    an_execution,
    an_item,
    an_order,
    by,
    keys,
    lines,
)
from tests.orders.conftest import OpenShop


class TestPlaceClaimHold:
    async def test_refunds_a_plain_claim_at_once_from_our_own_books(
        self, open_shop: OpenShop
    ) -> None:
        desk = await open_shop()
        said = await desk.say(a_claim(), message_id="m1")
        assert keys(said) == ["claim-hold.placed", "order.refunded"]
        placed, refunded = (row["data"] for row in said)
        assert placed["amount"] == 1200
        assert [(part["part"], part["amount"]) for part in placed["explanation"]] == [
            ("goods", 1000),
            ("tax", 200),
        ]
        assert placed["tax"] == {"rate": 12.5, "code": None, "name": "default"}
        assert placed["lines"][0]["title"] == "Red mug"
        assert placed["refund"] == {"refund_id": refunded["refund_id"], "amount": 1200}
        assert refunded["payment_status"] == "partially_refunded"
        assert said[1]["version"] == 1
        assert {row["causation"] for row in said} == {"m1"}
        assert {row["saga"] for row in said} == {"saga_01"}
        order, line = await desk.order(), await desk.line()
        assert (order["refunded"], order["refund_pending"], order["version"]) == (1200, 0, 1)
        assert (line["remedied_quantity"], line["returned_quantity"]) == (1, 0)
        payments = await desk.rows("SELECT amount_refunded FROM payments")
        assert payments == [{"amount_refunded": 1200}]

    async def test_holds_money_that_is_not_yet_to_go(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        said = await desk.say(a_claim(execute_refund=False))
        assert keys(said) == ["claim-hold.placed"]
        order = await desk.order()
        assert (order["refunded"], order["refund_pending"], order["version"]) == (0, 1200, 0)
        said = await desk.say(an_execution())
        assert keys(said) == ["claim-refund.succeeded", "order.refunded"]
        order = await desk.order()
        assert (order["refunded"], order["refund_pending"], order["version"]) == (1200, 0, 1)

    async def test_holds_only_units_for_a_replacement(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        said = await desk.say(a_claim(type="replace", execute_refund=False))
        assert keys(said) == ["claim-hold.placed"]
        assert said[0]["data"]["amount"] == 0
        assert (await desk.order())["refund_pending"] == 0
        assert (await desk.line())["remedied_quantity"] == 1

    async def test_makes_no_transfer_for_a_refund_of_nothing(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        said = await desk.say(a_claim(refund_amount=0))
        assert keys(said) == ["claim-hold.placed"]
        assert said[0]["data"]["refund"] == {"refund_id": None, "amount": 0}
        assert await desk.rows("SELECT * FROM refunds") == []

    async def test_counts_goods_that_were_never_shipped_as_nothing(
        self, open_shop: OpenShop
    ) -> None:
        desk = await open_shop(an_order(an_item(shipped_quantity=1)))
        said = await desk.say(a_claim(lines=lines(item_01=2)))
        assert said[0]["data"]["amount"] == 0
        assert (await desk.line())["remedied_quantity"] == 2

    @pytest.mark.parametrize(
        ("order", "claim", "kind", "message"),
        [
            (
                an_order(),
                a_claim(order_id="order_99"),
                "not_found",
                "Order with id order_99 was not found",
            ),
            (
                an_order(status="canceled"),
                a_claim(),
                "invalid",
                "Cannot create a claim on a canceled item.",
            ),
            (
                an_order(),
                a_claim(lines=lines(item_99=1)),
                "not_found",
                "Line item with item_99 was not found",
            ),
            (
                an_order(an_item(variant_id=None)),
                a_claim(),
                "not_allowed",
                "Cannot claim a custom line item",
            ),
            (
                an_order(an_item(fulfilled_quantity=1, shipped_quantity=1)),
                a_claim(lines=lines(item_01=2)),
                "not_allowed",
                "Cannot claim more of an item than has been fulfilled.",
            ),
            (
                an_order(),
                a_claim(lines=[*lines(item_01=2), *lines(item_01=1)]),
                "not_allowed",
                "Cannot claim more of an item than has been fulfilled.",
            ),
            (
                an_order(),
                a_claim(return_shipping=by("so_99")),
                "not_found",
                "Shipping Option with id: so_99 was not found",
            ),
            (
                an_order(captured=1199),
                a_claim(),
                "not_allowed",
                "Refund amount is greater that the refundable amount",
            ),
            (
                an_order(),
                a_claim(refund_amount=100_001),
                "not_allowed",
                "Refund amount is greater that the refundable amount",
            ),
        ],
    )
    async def test_refuses_in_medusas_words_and_holds_nothing(
        self, open_shop: OpenShop, order: Any, claim: Any, kind: str, message: str
    ) -> None:
        desk = await open_shop(order)
        before = await desk.everything()
        said = await desk.say(claim)
        assert keys(said) == ["claim-hold.rejected"]
        assert (said[0]["data"]["kind"], said[0]["data"]["message"]) == (kind, message)
        after = await desk.everything()
        remembered = after.pop("remedies")
        before.pop("remedies")
        assert after == before
        assert [row["state"] for row in remembered] == ["released"]

    async def test_refuses_a_refund_as_late_as_a_unit_below_the_border(
        self, open_shop: OpenShop
    ) -> None:
        desk = await open_shop(an_order(captured=1200))
        assert keys(await desk.say(a_claim()))[0] == "claim-hold.placed"
        assert (await desk.order())["payment_status"] == "refunded"
        said = await desk.say(a_claim("claim_02", refund_amount=1))
        assert keys(said) == ["claim-hold.rejected"]

    async def test_never_covers_a_unit_twice(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_claim())
        await desk.say(a_return())
        said = await desk.say(a_claim("claim_02"))
        assert said[0]["data"]["code"] == "units_taken"
        said = await desk.say(a_return("ret_02"))
        assert said[0]["data"]["code"] == "units_taken"
        assert (await desk.line())["remedied_quantity"] == 2

    async def test_gives_three_units_of_2900_back_as_2900(self, open_shop: OpenShop) -> None:
        desk = await open_shop(
            an_order(
                an_item(
                    quantity=3,
                    fulfilled_quantity=3,
                    shipped_quantity=3,
                    tax_lines=[],
                    adjustments=[{"amount": 100}],
                )
            )
        )
        amounts = []
        for number in range(3):
            said = await desk.say(a_claim(f"claim_0{number}"))
            amounts.append(said[0]["data"]["amount"])
        assert amounts == [967, 966, 967]
        assert (await desk.order())["refunded"] == 2900

    async def test_splits_a_refund_over_the_captured_payments_in_turn(
        self, open_shop: OpenShop
    ) -> None:
        payments = [
            {"id": f"pay_{n}", "amount": amount, "provider_id": "manual", "captured_at": at}
            for n, (amount, at) in enumerate(
                [
                    (1000, "2026-01-01T00:00:00Z"),
                    (5000, None),
                    (1000, "2026-01-01T00:00:00Z"),
                    (1000, "2026-01-01T00:00:00Z"),
                ]
            )
        ]
        desk = await open_shop(an_order(payments=payments))
        await desk.say(a_claim(refund_amount=1500))
        found = await desk.rows("SELECT id, amount_refunded FROM payments ORDER BY id")
        assert [row["amount_refunded"] for row in found] == [1000, 0, 500, 0]


class TestRepeatedCommands:
    """The second layer beside the inbox: another message id, the same business id."""

    @pytest.mark.parametrize("execute", [True, False])
    async def test_a_repeated_claim_gets_the_same_answer_and_changes_nothing(
        self, open_shop: OpenShop, execute: bool
    ) -> None:
        desk = await open_shop()
        first = await desk.say(a_claim(execute_refund=execute))
        before = await desk.everything()
        again = await desk.say(a_claim(execute_refund=execute))
        assert [row["data"] for row in again] == [
            row["data"] for row in first if row["key"] != "orders.order.refunded.v1"
        ]
        assert await desk.everything() == before

    async def test_a_repeated_message_says_nothing_at_all(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_claim(), message_id="m1")
        before = await desk.everything()
        assert await desk.say(a_claim(), message_id="m1") == []
        assert await desk.everything() == before

    async def test_a_refusal_is_kept_even_when_the_units_become_free(
        self, open_shop: OpenShop
    ) -> None:
        desk = await open_shop()
        await desk.say(a_return(lines=lines(item_01=2)))
        refused = await desk.say(a_claim())
        await desk.say(a_return_release())
        again = await desk.say(a_claim())
        assert [row["data"] for row in again] == [row["data"] for row in refused]
        assert (await desk.line())["remedied_quantity"] == 0

    async def test_repeated_executions_pay_once(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_claim(execute_refund=False))
        first = await desk.say(an_execution())
        again = await desk.say(an_execution())
        assert [row["data"] for row in again] == [first[0]["data"]]
        assert (await desk.order())["refunded"] == 1200

    async def test_repeated_returns_and_receipts_answer_the_same(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        for command in (a_return(), a_receipt(), a_return_release()):
            first = await desk.say(command)
            before = await desk.everything()
            again = await desk.say(command)
            assert [row["data"] for row in again] == [first[0]["data"]]
            assert await desk.everything() == before


class TestReleaseClaimHold:
    async def test_gives_units_and_money_back(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_claim(execute_refund=False))
        said = await desk.say(a_release())
        assert said[0]["data"] == {
            "claim_id": "claim_01",
            "pivot_passed": False,
            "paid_back_amount": 0,
        }
        order, line = await desk.order(), await desk.line()
        assert (order["refund_pending"], line["remedied_quantity"]) == (0, 0)
        states = await desk.rows("SELECT state, pending_id FROM transfers WHERE kind = 'refund'")
        assert sorted(row["state"] for row in states) == ["pending", "voided"]
        again = await desk.say(a_release())
        assert again[0]["data"] == said[0]["data"]

    async def test_leaves_a_tombstone_for_a_hold_that_comes_late(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        said = await desk.say(a_release())
        assert said[0]["data"]["pivot_passed"] is False
        said = await desk.say(a_claim())
        assert keys(said) == ["claim-hold.rejected"]
        assert (said[0]["data"]["code"], said[0]["data"]["kind"]) == ("superseded", "conflict")
        assert (await desk.line())["remedied_quantity"] == 0
        said = await desk.say(a_return_release())
        said = await desk.say(a_return())
        assert said[0]["data"]["code"] == "superseded"

    async def test_does_not_revive_a_released_claim(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_claim(execute_refund=False))
        await desk.say(a_release())
        said = await desk.say(a_claim(execute_refund=False))
        assert said[0]["data"]["code"] == "superseded"
        said = await desk.say(an_execution())
        assert keys(said) == ["claim-refund.declined"]
        assert (await desk.order())["refunded"] == 0

    async def test_changes_nothing_once_the_money_is_out(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_claim())
        before = await desk.everything()
        said = await desk.say(a_release())
        assert said[0]["data"]["pivot_passed"] is True
        assert await desk.everything() == before

    async def test_frees_a_claim_whose_refund_was_nothing(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_claim(refund_amount=0))
        said = await desk.say(a_release())
        assert said[0]["data"]["pivot_passed"] is False
        assert (await desk.line())["remedied_quantity"] == 0


class TestPlaceReturnHold:
    @pytest.mark.parametrize(
        ("order", "shipping", "amount"),
        [
            (an_order(), None, 1200),
            (an_order(), by("so_back"), 75),
            (an_order(), by("so_back", 0), 1200),
            (an_order(), by("so_gross"), 200),
            (an_order(tax_rate=12.5), None, 1125),
            (
                an_order(an_item(unit_price=1125, includes_tax=True), tax_rate=12.5),
                None,
                1125,
            ),
            (an_order(an_item(unit_price=1200, includes_tax=True)), None, 1200),
            (an_order(an_item(unit_price=500)), by("so_back"), -525),
        ],
    )
    async def test_says_what_the_refund_will_be(
        self, open_shop: OpenShop, order: Any, shipping: Any, amount: int
    ) -> None:
        desk = await open_shop(order)
        said = await desk.say(a_return(return_shipping=shipping))
        placed = said[0]["data"]
        assert placed["amount"] == amount
        assert sum(part["amount"] for part in placed["explanation"]) == amount
        order_row = await desk.order()
        assert order_row["refund_pending"] == 0

    async def test_takes_unfulfilled_unpaid_goods(self, open_shop: OpenShop) -> None:
        item = an_item(fulfilled_quantity=0, shipped_quantity=0)
        desk = await open_shop(an_order(item, payments=[]))
        assert keys(await desk.say(a_return())) == ["return-hold.placed"]

    @pytest.mark.parametrize(
        ("ask", "kind", "message"),
        [
            (
                a_return(lines=lines(item_01=3)),
                "not_allowed",
                "Cannot return more items than have been purchased",
            ),
            (a_return(lines=lines(item_98=1)), "invalid", "Return contains invalid line item"),
            (
                a_return(lines=lines(item_99=1)),
                "not_found",
                "Line item with item_99 was not found",
            ),
            (
                a_return(refund=100_001),
                "invalid",
                "Cannot refund more than the original payment",
            ),
        ],
    )
    async def test_refuses_in_medusas_words(
        self, open_shop: OpenShop, ask: Any, kind: str, message: str
    ) -> None:
        other = an_order(an_item(id="item_98"), id="order_02", payments=[])
        desk = await open_shop(an_order(), other)
        said = await desk.say(ask)
        assert keys(said) == ["return-hold.rejected"]
        assert (said[0]["data"]["kind"], said[0]["data"]["message"]) == (kind, message)


class TestSettleReturnReceipt:
    async def test_moves_the_units_and_pays_what_arrived(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_return(lines=lines(item_01=2)))
        said = await desk.say(a_receipt())
        assert keys(said) == [
            "order.refunded",
            "order.items-returned",
            "return-receipt.settled",
        ] or (
            set(keys(said)) == {"order.refunded", "order.items-returned", "return-receipt.settled"}
        )
        settled = next(row["data"] for row in said if "receipt" in row["key"])
        assert (settled["refund_amount"], settled["action_required"]) == (1200, False)
        assert sum(part["amount"] for part in settled["explanation"]) == 1200
        line, order = await desk.line(), await desk.order()
        assert (line["returned_quantity"], line["remedied_quantity"]) == (1, 1)
        assert line["returned_amount"] == 1200
        assert order["fulfillment_status"] == "partially_returned"
        assert order["version"] == 2
        await desk.say(a_receipt("rcpt_02"))
        order = await desk.order()
        assert (order["refunded"], order["fulfillment_status"]) == (2400, "returned")
        remedy = await desk.rows("SELECT state FROM remedies")
        assert remedy == [{"state": "settled"}]

    async def test_takes_the_return_shipping_off_once_however_the_parcels_come(
        self, open_shop: OpenShop
    ) -> None:
        desk = await open_shop()
        placed = await desk.say(
            a_return(lines=lines(item_01=2), return_shipping=by("so_back", 1200))
        )
        assert placed[0]["data"]["amount"] == 2400 - 1350
        paid = []
        for receipt_id in ("rcpt_01", "rcpt_02"):
            said = await desk.say(a_receipt(receipt_id))
            settled = next(row["data"] for row in said if "receipt" in row["key"])
            assert sum(p["amount"] for p in settled["explanation"]) == settled["refund_amount"]
            paid.append(settled["refund_amount"])
        assert paid == [0, 1050]

    async def test_pays_an_agreed_amount_in_proportion_and_exactly(
        self, open_shop: OpenShop
    ) -> None:
        item = an_item(quantity=3, fulfilled_quantity=3, shipped_quantity=3)
        desk = await open_shop(an_order(item))
        await desk.say(a_return(lines=lines(item_01=3), refund=1000))
        paid = []
        for number in range(3):
            said = await desk.say(a_receipt(f"rcpt_{number}"))
            settled = next(row["data"] for row in said if "receipt" in row["key"])
            paid.append(settled["refund_amount"])
        assert (paid, sum(paid)) == ([333, 334, 333], 1000)

    @pytest.mark.parametrize(("refund", "paid"), [(0, 0), (-5, 0), (95, 95), (1500, 1500)])
    async def test_pays_what_the_receipt_names_and_honors_nothing(
        self, open_shop: OpenShop, refund: int, paid: int
    ) -> None:
        desk = await open_shop()
        await desk.say(a_return())
        said = await desk.say(a_receipt(refund=refund))
        settled = next(row["data"] for row in said if "receipt" in row["key"])
        assert (settled["refund_amount"], settled["action_required"]) == (paid, False)
        assert (await desk.order())["refunded"] == paid

    async def test_books_the_goods_when_the_money_does_not_suffice(
        self, open_shop: OpenShop
    ) -> None:
        desk = await open_shop(an_order(captured=1000))
        await desk.say(a_return())
        said = await desk.say(a_receipt())
        assert keys(said) == ["return-receipt.settled", "order.items-returned"]
        settled, event = said[0]["data"], said[1]["data"]
        assert (settled["refund_amount"], settled["action_required"]) == (0, True)
        assert settled["code"] == "amount_exceeds_refundable"
        assert event["name"] == "order.return_action_required"
        order, line = await desk.order(), await desk.line()
        assert (order["fulfillment_status"], order["refunded"]) == ("requires_action", 0)
        assert line["returned_quantity"] == 1

    async def test_gives_nothing_for_a_claims_return_unless_it_is_named(
        self, open_shop: OpenShop
    ) -> None:
        desk = await open_shop(an_order(captured=3000))
        await desk.say(a_claim(lines=lines(item_01=2)))
        said = await desk.say(a_receipt(claim_id="claim_01"))
        assert keys(said) == ["return-receipt.settled", "order.items-returned"]
        assert said[0]["data"]["refund_amount"] == 0
        line = await desk.line()
        assert (line["returned_quantity"], line["remedied_quantity"]) == (1, 1)
        said = await desk.say(a_receipt("rcpt_02", claim_id="claim_01", refund=5000))
        settled = next(row["data"] for row in said if "receipt" in row["key"])
        assert settled["refund_amount"] == 600
        assert [part["part"] for part in settled["explanation"]] == ["given", "cap"]
        assert (await desk.order())["refunded"] == 3000

    async def test_takes_free_units_for_goods_nobody_announced(self, open_shop: OpenShop) -> None:
        desk = await open_shop(an_order(an_item(), an_item(id="item_02", unit_price=500)))
        await desk.say(a_return())
        said = await desk.say(a_receipt(lines=lines(item_01=3, item_02=1, item_99=1)))
        settled = next(row["data"] for row in said if "receipt" in row["key"])
        assert settled["refund_amount"] == 2400 + 600
        assert settled["code"] == "units_unbooked"
        assert "1 of item_01" in settled["message"]
        assert "1 of item_99" in settled["message"]
        assert (await desk.line())["returned_quantity"] == 2
        assert (await desk.line("item_02"))["returned_quantity"] == 1

    async def test_books_goods_of_a_return_that_was_taken_back(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_return())
        await desk.say(a_return_release())
        said = await desk.say(a_receipt())
        settled = next(row["data"] for row in said if "receipt" in row["key"])
        assert (settled["code"], settled["refund_amount"]) == ("hold_released", 0)
        line = await desk.line()
        assert (line["returned_quantity"], line["remedied_quantity"]) == (1, 0)

    async def test_changes_nothing_when_nothing_arrived(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_return())
        before = await desk.everything()
        said = await desk.say(a_receipt(lines=[]))
        assert keys(said) == ["return-receipt.settled"]
        assert said[0]["data"]["refund_amount"] == 0
        after = await desk.everything()
        after["receipts"] = before["receipts"]
        assert after == before

    async def test_ends_a_short_return_when_the_rest_is_released(self, open_shop: OpenShop) -> None:
        desk = await open_shop()
        await desk.say(a_return(lines=lines(item_01=2)))
        await desk.say(a_receipt())
        await desk.say(a_return_release())
        line = await desk.line()
        assert (line["returned_quantity"], line["remedied_quantity"]) == (1, 0)
        said = await desk.say(a_claim())
        assert said[0]["data"]["amount"] == 1200
        assert (await desk.order())["refunded"] == 2400
