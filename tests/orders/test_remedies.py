"""The unit remedy ledger and the money rules, pure: both sides of every border."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Refusal
from services.orders import refunds, remedies
from services.orders.domain import Money
from services.orders.refunds import Share, Tax
from services.orders.remedies import Arrival, HeldLine, Line


def a_line(line_id: str = "item_01", **changes: Any) -> Line:
    """Four mugs of 1000 at 20 %, three of them sent."""
    figures: dict[str, Any] = {
        "quantity": 4,
        "unit_price": 1000,
        "fulfilled_quantity": 3,
        "shipped_quantity": 3,
        "returned_quantity": 0,
        "remedied_quantity": 0,
        **changes,
    }
    return Line(
        line_id=line_id,
        variant_id="variant_01",
        title="Red mug",
        delivered_at=None,
        priced=refunds.price_line(
            line_id=line_id,
            unit_price=figures["unit_price"],
            quantity=figures["quantity"],
            taxes=(Tax(20.0, "default"),),
            includes_tax=False,
            discount=0,
        ),
        **figures,
    )


def a_share(quantity: int, amount: int) -> Share:
    return Share(quantity=quantity, goods=amount, discount=0, taxes=())


def some_money(**changes: int) -> Money:
    return Money(**{"paid": 5000, "captured": 5000, "refunded": 0, "refund_pending": 0, **changes})


def code_of(function: Any, **arguments: Any) -> str | None:
    """What a rule refuses with, or None."""
    try:
        function(**arguments)
    except Refusal as no:
        return no.code
    return None


class TestClaimableUnits:
    # fulfilled | returned | remedied | claimed | refused with
    TABLE = (
        (3, 0, 0, 3, None),
        (3, 0, 0, 4, "quantity_exceeds_fulfilled"),
        (3, 1, 0, 2, None),
        (3, 1, 0, 3, "units_taken"),
        (3, 0, 1, 2, None),
        (3, 0, 1, 3, "units_taken"),
        (3, 1, 1, 1, None),
        (3, 1, 1, 2, "units_taken"),
        (0, 0, 0, 1, "quantity_exceeds_fulfilled"),
    )

    @pytest.mark.parametrize(("fulfilled", "returned", "remedied", "claimed", "code"), TABLE)
    def test_are_those_fulfilled_without_a_remedy(
        self, fulfilled: int, returned: int, remedied: int, claimed: int, code: str | None
    ) -> None:
        line = a_line(
            fulfilled_quantity=fulfilled, returned_quantity=returned, remedied_quantity=remedied
        )
        asked = {"lines": {"item_01": line}, "quantities": {"item_01": claimed}}
        assert code_of(remedies.check_claim, order_status="pending", **asked) == code

    def test_are_checked_in_the_order_of_the_request(self) -> None:
        asked = {"item_99": 1, "item_01": 9}
        found = {"item_01": a_line()}
        assert (
            code_of(remedies.check_claim, order_status="pending", lines=found, quantities=asked)
            == "line_unknown"
        )
        assert (
            code_of(remedies.check_claim, order_status="canceled", lines=found, quantities=asked)
            == "order_canceled"
        )


class TestReturnableUnits:
    # returned | remedied | asked | refused with
    TABLE = (
        (0, 0, 4, None),
        (0, 0, 5, "quantity_exceeds_purchased"),
        (1, 1, 2, None),
        (1, 1, 3, "units_taken"),
        (4, 0, 1, "units_taken"),
    )

    @pytest.mark.parametrize(("returned", "remedied", "asked", "code"), TABLE)
    def test_are_those_bought_without_a_remedy(
        self, returned: int, remedied: int, asked: int, code: str | None
    ) -> None:
        line = a_line(returned_quantity=returned, remedied_quantity=remedied)
        given = {"lines": {"item_01": line}, "quantities": {"item_01": asked}}
        refused = code_of(remedies.check_return, order_status="pending", foreign=(), **given)
        assert refused == code


class TestAmounts:
    @pytest.mark.parametrize(
        ("shipped", "claimed", "amount"), [(3, 2, 2400), (2, 2, 2400), (1, 2, 0), (0, 1, 0)]
    )
    def test_of_a_claim_count_goods_that_were_sent(
        self, shipped: int, claimed: int, amount: int
    ) -> None:
        hold = remedies.decide_claim(
            lines={"item_01": a_line(shipped_quantity=shipped)},
            quantities={"item_01": claimed},
            claim_type="refund",
            refund_amount=None,
            money=some_money(),
        )
        assert hold.amount == amount
        assert hold.shares["item_01"].amount == 1200 * claimed

    @pytest.mark.parametrize(("given", "code"), [(5000, None), (5001, "amount_exceeds_refundable")])
    def test_of_a_claim_stop_at_what_was_captured(self, given: int, code: str | None) -> None:
        assert (
            code_of(
                remedies.decide_claim,
                lines={"item_01": a_line()},
                quantities={"item_01": 1},
                claim_type="refund",
                refund_amount=given,
                money=some_money(),
            )
            == code
        )

    def test_named_twice_are_summed_first(self) -> None:
        assert remedies.summed(lines=[("a", 1), ("b", 2), ("a", 3)]) == {"a": 4, "b": 2}
        assert code_of(remedies.summed, lines=[("a", 0)]) == "quantity_below_one"

    @given(
        amounts=st.lists(st.integers(0, 5000), min_size=1, max_size=4),
        given_amount=st.one_of(st.none(), st.integers(0, 9000)),
        cost=st.integers(0, 4000),
        data=st.data(),
    )
    def test_of_receipts_add_up_however_the_parcels_come(
        self, amounts: list[int], given_amount: int | None, cost: int, data: st.DataObject
    ) -> None:
        held = {
            f"item_{n}": HeldLine(f"item_{n}", a_share(2, amount * 2), 0)
            for n, amount in enumerate(amounts)
        }
        terms = {"given": given_amount, "shipping_cost": cost}
        paid = 0
        while any(line.open for line in held.values()):
            name = data.draw(st.sampled_from([key for key in held if held[key].open]))
            came = data.draw(st.integers(1, held[name].open))
            after = remedies.after(held=held, arrivals=[Arrival(name, came, 0, 0, None)])
            step = remedies.due(held=after, **terms) - remedies.due(held=held, **terms)
            assert step >= 0
            paid += step
            held = after
        whole = sum(amounts) * 2
        assert paid == (max(0, whole - cost) if given_amount is None else given_amount)


class TestArrivals:
    def test_take_announced_units_first_then_free_ones(self) -> None:
        line = a_line(remedied_quantity=2)
        held = {"item_01": HeldLine("item_01", line.worth(quantity=1), 0)}
        arrivals = remedies.arrive(
            quantities={"item_01": 5, "item_99": 1}, held=held, lines={"item_01": line}
        )
        booked = [(a.line_id, a.announced, a.unannounced, a.unbooked) for a in arrivals]
        assert booked == [("item_01", 1, 2, 2), ("item_99", 0, 0, 1)]
        now = remedies.after(held=held, arrivals=arrivals)
        assert (now["item_01"].received, now["item_01"].open) == (3, 0)
        assert "item_99" not in now

    def test_stay_when_the_rest_is_taken_back(self) -> None:
        held = {
            "item_01": HeldLine("item_01", a_share(3, 100), 2),
            "item_02": HeldLine("item_02", a_share(1, 50), 0),
        }
        kept = remedies.trimmed(held=held)
        assert list(kept) == ["item_01"]
        assert kept["item_01"].share.quantity == kept["item_01"].received == 2
