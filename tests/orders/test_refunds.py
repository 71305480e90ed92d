"""Any split, order or cancellation of remedies adds up to exactly what was paid."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orders import refunds
from services.orders.refunds import PricedLine, Share, Tax

RATES = [0.0, 5.0, 7.0, 7.375, 12.5, 19.0, 20.0, 25.0]


def a_line(
    *,
    unit_price: int = 1000,
    quantity: int = 1,
    rates: tuple[float, ...] = (),
    discount: int = 0,
    includes_tax: bool = False,
) -> PricedLine:
    return refunds.price_line(
        line_id="item_01",
        unit_price=unit_price,
        quantity=quantity,
        taxes=tuple(Tax(rate=rate, name=f"tax {index}") for index, rate in enumerate(rates)),
        includes_tax=includes_tax,
        discount=discount,
    )


def worth(line: PricedLine, quantity: int = 1, taken: list[Share] | None = None) -> int:
    remaining = refunds.minus(share=line.paid, taken=taken or [])
    return refunds.share_of(line=line, remaining=remaining, quantity=quantity).amount


def medusa_first_unit(
    *, unit_price: int, quantity: int, rates: tuple[float, ...], discount: int
) -> int:
    """Medusa v1's line refund for one unit, tax-exclusive, written down independently."""
    unit_discount = (2 * discount + quantity) // (2 * quantity)
    sub = unit_price - unit_discount
    return sub + sum(int((sub * int(rate * 1000) + 50_000) // 100_000) for rate in rates)


@st.composite
def lines(draw: st.DrawFn) -> PricedLine:
    unit_price = draw(st.integers(0, 20_000))
    quantity = draw(st.integers(1, 12))
    return a_line(
        unit_price=unit_price,
        quantity=quantity,
        rates=tuple(draw(st.lists(st.sampled_from(RATES), max_size=3))),
        discount=draw(st.integers(0, unit_price * quantity)),
        includes_tax=draw(st.booleans()),
    )


class TestTheExamplesOfTheReference:
    @pytest.mark.parametrize(
        ("line", "amount"),
        [
            (a_line(quantity=2, rates=(20.0,)), 1200),
            (a_line(quantity=2, rates=(12.5,)), 1125),
            (a_line(unit_price=8000, discount=800), 7200),
            (a_line(unit_price=1125, rates=(12.5,), includes_tax=True), 1125),
            (a_line(unit_price=1200, rates=(20.0,), includes_tax=True), 1200),
            (a_line(rates=(25.0,)), 1250),
            (a_line(rates=(25.0,), discount=20), 1225),
            (a_line(rates=(25.0,), discount=100), 1125),
        ],
    )
    def test_one_unit_is_worth(self, line: PricedLine, amount: int) -> None:
        assert worth(line) == amount

    def test_three_units_with_a_discount_of_100_add_up_to_2900(self) -> None:
        line = a_line(quantity=3, discount=100)
        taken: list[Share] = []
        for _ in range(3):
            remaining = refunds.minus(share=line.paid, taken=taken)
            taken.append(refunds.share_of(line=line, remaining=remaining, quantity=1))
        assert [share.amount for share in taken] == [967, 966, 967]
        assert line.paid.amount == 2900
        assert worth(line, quantity=3) == 2900

    def test_the_old_tax_rate_of_an_order_replaces_its_tax_lines(self) -> None:
        taxes = refunds.taxes_of(order_tax_rate=12.5, tax_lines=[(20.0, "default")])
        assert [tax.rate for tax in taxes] == [12.5]
        assert refunds.taxes_of(order_tax_rate=None, tax_lines=[(20.0, "default")]) == (
            Tax(rate=20.0, name="default"),
        )

    def test_a_line_without_discounts_keeps_only_adjustments_that_no_discount_made(self) -> None:
        adjustments = [(300, "disc_01"), (200, None)]
        assert refunds.discount_of(adjustments=adjustments, allow_discounts=True) == 500
        assert refunds.discount_of(adjustments=adjustments, allow_discounts=False) == 200

    def test_order_totals_are_medusas(self) -> None:
        totals = refunds.order_totals(
            lines=[a_line(unit_price=8000, discount=800)],
            shipping=[refunds.shipping_cost(price=1000, rates=[12.5], includes_tax=False)],
        )
        assert (totals.subtotal, totals.discount_total, totals.shipping_total) == (8000, 800, 1000)
        assert (totals.item_tax_total, totals.shipping_tax_total, totals.tax_total) == (0, 125, 125)
        assert totals.total == 8325

    def test_a_shipping_price_that_includes_tax_stays_as_it_is(self) -> None:
        assert sum(refunds.shipping_cost(price=1000, rates=[12.5], includes_tax=True)) == 1000


class TestTheFirstUnit:
    @given(
        unit_price=st.integers(0, 100_000),
        quantity=st.integers(1, 20),
        rates=st.lists(st.sampled_from(RATES), max_size=2).map(tuple),
        share=st.integers(0, 100),
    )
    def test_gets_medusas_figure(
        self, unit_price: int, quantity: int, rates: tuple[float, ...], share: int
    ) -> None:
        discount = unit_price * quantity * share // 100
        line = a_line(unit_price=unit_price, quantity=quantity, rates=rates, discount=discount)
        assert worth(line) == medusa_first_unit(
            unit_price=unit_price, quantity=quantity, rates=rates, discount=discount
        )


class TestSharesOfALine:
    @given(line=lines(), data=st.data())
    @settings(max_examples=400, deadline=None)
    def test_add_up_to_what_was_paid_whatever_was_taken_and_given_back(
        self, line: PricedLine, data: st.DataObject
    ) -> None:
        live: list[Share] = []
        for _ in range(data.draw(st.integers(0, 12))):
            remaining = refunds.minus(share=line.paid, taken=live)
            if live and (not remaining.quantity or data.draw(st.booleans())):
                live.pop(data.draw(st.integers(0, len(live) - 1)))
            elif remaining.quantity:
                quantity = data.draw(st.integers(1, remaining.quantity))
                share = refunds.share_of(line=line, remaining=remaining, quantity=quantity)
                assert 0 <= share.amount <= remaining.amount
                assert min(share.goods, share.discount, *share.taxes, 0) == 0
                assert share.discount <= share.goods
                live.append(share)
        remaining = refunds.minus(share=line.paid, taken=live)
        while remaining.quantity:
            live.append(refunds.share_of(line=line, remaining=remaining, quantity=1))
            remaining = refunds.minus(share=line.paid, taken=live)
        assert sum(share.amount for share in live) == line.paid.amount
        assert refunds.plus(shares=live) == line.paid

    @given(line=lines(), data=st.data())
    def test_add_up_with_what_was_given_back_without_a_unit(
        self, line: PricedLine, data: st.DataObject
    ) -> None:
        taken: list[Share] = []
        given = 0
        remaining = line.paid
        while remaining.quantity:
            if data.draw(st.booleans()):
                amount = data.draw(st.integers(0, remaining.amount))
                share = refunds.given_back(remaining=remaining, amount=amount)
                assert share.amount == amount
                given -= share.discount
            else:
                quantity = data.draw(st.integers(1, remaining.quantity))
                share = refunds.share_of(line=line, remaining=remaining, quantity=quantity)
                assert min(share.goods - share.discount, share.discount, *share.taxes, 0) == 0
                parts = refunds.explain(line=replace(line, given_back=given), share=share)
                assert sum(part.amount for part in parts) == share.amount
            taken.append(share)
            remaining = refunds.minus(share=line.paid, taken=taken)
            assert min(remaining.goods - remaining.discount, *remaining.taxes, 0) == 0
        assert sum(share.amount for share in taken) == line.paid.amount

    @given(line=lines(), data=st.data())
    def test_are_explained_line_by_line(self, line: PricedLine, data: st.DataObject) -> None:
        quantity = data.draw(st.integers(1, line.paid.quantity))
        share = refunds.share_of(line=line, remaining=line.paid, quantity=quantity)
        parts = refunds.explain(line=line, share=share)
        assert sum(part.amount for part in parts) == share.amount
        assert all(part.rule for part in parts)

    @given(line=lines(), data=st.data())
    def test_arrive_in_any_number_of_receipts_and_are_paid_once(
        self, line: PricedLine, data: st.DataObject
    ) -> None:
        received = paid = 0
        while received < line.paid.quantity:
            more = data.draw(st.integers(1, line.paid.quantity - received))
            before = refunds.first_units(share=line.paid, quantity=received)
            after = refunds.first_units(share=line.paid, quantity=received + more)
            paid += after.amount - before.amount
            received += more
        assert paid == line.paid.amount


def test_twenty_thousand_orders_give_back_exactly_what_was_paid() -> None:
    chance = random.Random(20260101)
    for _ in range(20_000):
        unit_price, quantity = chance.randint(1, 30_000), chance.randint(1, 8)
        line = a_line(
            unit_price=unit_price,
            quantity=quantity,
            rates=tuple(chance.choices(RATES, k=chance.randint(0, 2))),
            discount=chance.choice([0, chance.randint(0, unit_price * quantity)]),
            includes_tax=chance.random() < 0.3,
        )
        live: list[Share] = []
        while sum(share.quantity for share in live) < quantity:
            remaining = refunds.minus(share=line.paid, taken=live)
            part = chance.randint(1, remaining.quantity)
            live.append(refunds.share_of(line=line, remaining=remaining, quantity=part))
            if len(live) > 1 and chance.random() < 0.2:
                live.pop(chance.randrange(len(live)))
        assert sum(share.amount for share in live) == line.paid.amount
