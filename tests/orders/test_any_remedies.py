"""Whatever is claimed, exchanged, sent back, received, called off and settled, in whatever order:
no more goes back than came, no unit has two remedies, and who sends everything back has paid
nothing.

The pure desk alone, driven as `operations` drives it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chassis.errors import Refusal
from services.orders import domain, exchanges, goodwill, refunds, remedies
from services.orders.domain import Money, Payment
from services.orders.refunds import Share, Tax
from services.orders.remedies import HeldLine, Line

RATES = (5.0, 7.0, 7.375, 12.5, 19.0, 20.0, 25.0)
LINES = ("item_1", "item_2", "item_3")
# What exchanges send out.
NEW = ("new_1", "new_2", "new_3")
UNITS = st.dictionaries(st.sampled_from((*LINES, *NEW)), st.integers(1, 4), min_size=1)


@dataclass
class Remedy:
    """A live claim, return or exchange as orders keeps it. ``due``: what its receipts said in all;
    ``owed``: what of it could not be paid; ``sends`` and ``paid``: the line that an exchange sends,
    the payment that settled it."""

    kind: str
    held: dict[str, HeldLine]
    given: int | None = None
    shipping_cost: int = 0
    refunded: bool = False
    due: int = 0
    owed: int = 0
    sends: str = ""
    paid: str = ""


@st.composite
def lines(draw: st.DrawFn, line_id: str) -> Line:
    """A sold line, all of it sent."""
    unit_price, quantity = draw(st.integers(0, 5_000)), draw(st.integers(1, 6))
    taxes = tuple(
        Tax(rate, f"{rate}") for rate in draw(st.lists(st.sampled_from(RATES), max_size=2))
    )
    priced = refunds.price_line(
        line_id=line_id,
        unit_price=unit_price,
        quantity=quantity,
        taxes=taxes,
        includes_tax=draw(st.booleans()),
        discount=draw(st.integers(0, unit_price * quantity)),
    )
    return Line(
        line_id=line_id,
        variant_id="variant",
        title=line_id,
        quantity=quantity,
        unit_price=unit_price,
        fulfilled_quantity=quantity,
        shipped_quantity=quantity,
        returned_quantity=0,
        remedied_quantity=0,
        delivered_at=None,
        priced=priced,
    )


class AnyRemedies(RuleBasedStateMachine):
    """An order paid over two payments. What bends the price of goods on purpose (amounts given by
    people, return shipping) comes in `AnyRemediesAndAmounts`; here nothing does."""

    @initialize(data=st.data())
    def sell(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(LINES)))
        self.sold = {line_id: data.draw(lines(line_id)) for line_id in LINES[:count]}
        self.paid = sum(line.priced.paid.amount for line in self.sold.values())
        first = data.draw(st.integers(0, self.paid))
        self.left = {"pay_1": first, "pay_2": self.paid - first}
        self.captured = True
        self.refunded = 0
        self.remedies: dict[int, Remedy] = {}
        self.returned = dict.fromkeys(self.sold, 0)
        self.goodwill: dict[str, list[Share]] = {line_id: [] for line_id in self.sold}

    # ---- what orders would read ---------------------------------------------------------------

    @property
    def money(self) -> Money:
        captured = self.paid if self.captured else 0
        return Money(self.paid, captured, self.refunded, 0)

    def shares(self, line_id: str) -> list[Share]:
        """The shares of the live remedies of a line, and what of its price was given back."""
        found = (remedy.held.get(line_id) for remedy in self.remedies.values())
        held = [line.share for line in found if line is not None]
        return [*held, *self.goodwill[line_id]]

    def now(self) -> dict[str, Line]:
        """The lines with what is taken of them."""
        found = {}
        for line_id, line in self.sold.items():
            taken = self.shares(line_id)
            units = sum(share.quantity for share in taken)
            back = self.returned[line_id]
            given = -sum(share.discount for share in self.goodwill[line_id])
            found[line_id] = replace(
                line,
                priced=replace(line.priced, given_back=given),
                taken=tuple(taken),
                returned_quantity=back,
                remedied_quantity=units - back,
            )
        return found

    def pay(self, amount: int) -> None:
        payments = [Payment(name, "manual", left) for name, left in self.left.items()]
        for share in domain.split(amount=amount, payments=payments):
            assert share.amount <= self.left[share.payment_id]
            self.left[share.payment_id] -= share.amount
        self.refunded += amount

    def add(self, remedy: Remedy) -> None:
        self.remedies[len(self.remedies) + 1000] = remedy

    def pick(self, data: st.DataObject, kind: str) -> Remedy:
        return data.draw(st.sampled_from([r for r in self.remedies.values() if r.kind == kind]))

    def of_the_order(self, units: dict[str, int]) -> dict[str, int]:
        """What is asked for, of lines that there are: nothing is learnt from those that are not."""
        return {line: count for line, count in units.items() if line in self.sold} or {
            LINES[0]: min(units.values())
        }

    def has(self, kind: str) -> bool:
        return any(remedy.kind == kind for remedy in self.remedies.values())

    # ---- what people do -----------------------------------------------------------------------

    @rule(units=UNITS, kind=st.sampled_from(["refund", "replace"]))
    def claim(self, units: dict[str, int], kind: str, amount: int | None = None) -> None:
        lines, units = self.now(), self.of_the_order(units)
        try:
            remedies.check_claim(order_status="pending", lines=lines, quantities=units)
            hold = remedies.decide_claim(
                lines=lines,
                quantities=units,
                claim_type=kind,
                refund_amount=amount if kind == "refund" else None,
                money=self.money,
            )
        except Refusal:
            return
        assert sum(part.amount for part in hold.explanation) == hold.amount
        if hold.amount:
            self.pay(hold.amount)
        held = {line_id: HeldLine(line_id, share, 0) for line_id, share in hold.shares.items()}
        self.add(Remedy("claim", held, refunded=kind == "refund"))

    @precondition(lambda self: not set(NEW) <= self.sold.keys())
    @rule(
        units=UNITS,
        price=st.integers(0, 9_000),
        quantity=st.integers(1, 3),
        rate=st.sampled_from(RATES),
        includes_tax=st.booleans(),
    )
    def exchange(
        self,
        units: dict[str, int],
        price: int,
        quantity: int,
        rate: float,
        includes_tax: bool,
        shipping_cost: int = 0,
    ) -> None:
        """Goods of one line for these; whoever owes the difference pays it at once."""
        lines, units = self.now(), self.of_the_order(units)
        new = next(name for name in NEW if name not in self.sold)
        try:
            exchanges.check(
                payment_status="captured" if self.captured else "awaiting",
                fulfillment_status="shipped",
                lines=lines,
                foreign=(),
                quantities=units,
            )
            hold = exchanges.decide_hold(
                lines=lines, quantities=units, shipping_cost=shipping_cost, money=self.money
            )
        except Refusal:
            return
        bill = exchanges.bill(
            credited=hold.explanation,
            wanted=[exchanges.Wanted(new, "thing", price, quantity)],
            tax=Tax(rate, "tax"),
            includes_tax=includes_tax,
        )
        due = bill.difference_due
        assert sum(part.amount for part in bill.explanation) == -due
        assert due == bill.amounts[new] - hold.amount
        held = {line_id: HeldLine(line_id, share, 0) for line_id, share in hold.shares.items()}
        remedy = Remedy("exchange", held, given=due, refunded=due < 0, sends=new)
        if due < 0:
            assert -due <= self.money.refundable
            self.pay(-due)
        if due > 0:
            remedy.paid = f"pay_{len(self.left) + 1}"
            self.left[remedy.paid] = due
            self.paid += due
        self.add(remedy)
        self.returned[new], self.goodwill[new] = 0, []
        self.sold[new] = Line(
            line_id=new,
            variant_id="variant",
            title=new,
            quantity=quantity,
            unit_price=price,
            fulfilled_quantity=quantity,
            shipped_quantity=quantity,
            returned_quantity=0,
            remedied_quantity=0,
            delivered_at=None,
            priced=refunds.worth_of(line_id=new, quantity=quantity, amount=bill.amounts[new]),
        )

    @precondition(lambda self: self.has("exchange"))
    @rule(data=st.data())
    def cancel_exchange(self, data: st.DataObject) -> None:
        """Only what gave no money, and of which nothing came or went on."""
        remedy = self.pick(data, "exchange")
        untouched = not any(line.received for line in remedy.held.values())
        if remedy.refunded or not untouched or self.shares(remedy.sends) or not self.captured:
            return
        remedy.held, remedy.kind = {}, "canceled"
        del self.sold[remedy.sends], self.returned[remedy.sends], self.goodwill[remedy.sends]
        if remedy.paid:
            back = self.left[remedy.paid]
            # Without refunds by hand nobody else can have had it.
            assert type(self) is not AnyRemedies or back == remedy.given
            self.left[remedy.paid] = 0
            self.refunded += back

    @rule(units=UNITS)
    def send_back(
        self, units: dict[str, int], given: int | None = None, shipping_cost: int = 0
    ) -> None:
        lines, units = self.now(), self.of_the_order(units)
        try:
            remedies.check_return(order_status="pending", lines=lines, foreign=(), quantities=units)
            hold = remedies.decide_return(
                lines=lines,
                quantities=units,
                refund=given,
                shipping_cost=shipping_cost,
                money=self.money,
            )
        except Refusal:
            return
        held = {line_id: HeldLine(line_id, share, 0) for line_id, share in hold.shares.items()}
        self.add(Remedy("return", held, given=given, shipping_cost=shipping_cost))

    @precondition(lambda self: self.has("return"))
    @rule(units=UNITS, data=st.data())
    def receive(self, units: dict[str, int], data: st.DataObject) -> None:
        self.arrive(self.pick(data, "return"), units)

    def arrive(self, remedy: Remedy, units: dict[str, int]) -> None:
        """A parcel with what was announced, more or less."""
        lines = self.now()
        arrivals = remedies.arrive(quantities=units, held=remedy.held, lines=lines)
        after = remedies.after(held=remedy.held, arrivals=arrivals)
        terms: dict[str, Any] = {"given": remedy.given, "shipping_cost": remedy.shipping_cost}
        before_due = remedies.due(held=remedy.held, **terms)
        amount = remedies.due(held=after, **terms) - before_due
        parts = remedies.explain_receipt(before=remedy.held, now=after, lines=lines, **terms)
        assert sum(part.amount for part in parts) == amount
        assert amount >= 0 or remedy.given is not None
        for arrival in arrivals:
            if arrival.line_id in self.returned:
                self.returned[arrival.line_id] += arrival.announced + arrival.unannounced
            assert (
                arrival.announced + arrival.unannounced + arrival.unbooked == units[arrival.line_id]
            )
        remedy.held = after
        remedy.due += amount
        if remedy.given is None:
            # What came is due, and not what was announced.
            came = remedies.received_worth(held=after)
            assert remedy.due == max(0, came - remedy.shipping_cost)
        if amount > self.money.refundable:
            remedy.owed += amount
        elif amount > 0:
            self.pay(amount)

    @precondition(lambda self: self.has("claim"))
    @rule(units=UNITS, data=st.data())
    def receive_of_claim(self, units: dict[str, int], data: st.DataObject) -> None:
        self.arrive_of_claim(self.pick(data, "claim"), units)

    @precondition(lambda self: self.has("exchange"))
    @rule(units=UNITS, data=st.data())
    def receive_of_exchange(self, units: dict[str, int], data: st.DataObject) -> None:
        self.arrive_of_claim(self.pick(data, "exchange"), units)

    def arrive_of_claim(self, remedy: Remedy, units: dict[str, int]) -> None:
        arrivals = remedies.arrive(quantities=units, held=remedy.held, lines=self.now())
        own = [replace(each, unannounced=0, extra=None) for each in arrivals]
        remedy.held = remedies.after(held=remedy.held, arrivals=own)
        for arrival in own:
            if arrival.line_id in self.returned:
                self.returned[arrival.line_id] += arrival.announced

    @rule(data=st.data())
    def call_off(self, data: st.DataObject) -> None:
        """A return, or a claim that paid nothing: what has come stays."""
        free = [
            number
            for number, r in self.remedies.items()
            if not r.refunded and r.kind in ("claim", "return")
        ]
        if free:
            self.release(data.draw(st.sampled_from(free)))

    def release(self, number: int) -> None:
        remedy = self.remedies[number]
        remedy.held = remedies.trimmed(held=remedy.held)

    @rule(data=st.data())
    def give_a_part_of_a_price_back(self, data: st.DataObject) -> None:
        lines = self.now()
        line_id = data.draw(st.sampled_from(sorted(lines)))
        amount = data.draw(st.integers(1, max(1, lines[line_id].priced.paid.amount)))
        try:
            domain.decide_refund(order_status="pending", amount=amount, money=self.money)
            shares = goodwill.decide(lines=lines, amounts={line_id: amount}, amount=amount)
        except Refusal:
            return
        assert shares[line_id].amount == amount
        self.pay(amount)
        self.goodwill[line_id].append(shares[line_id])

    @rule()
    def capture_or_not(self) -> None:
        if not self.refunded:
            self.captured = not self.captured

    @rule()
    def settle_owed(self) -> None:
        for remedy in self.remedies.values():
            if remedy.owed and remedy.owed <= self.money.refundable:
                self.pay(remedy.owed)
                remedy.owed = 0

    # ---- what must be true --------------------------------------------------------------------

    @invariant()
    def no_more_goes_back_than_came(self) -> None:
        assert self.refunded <= (self.paid if self.captured else 0)
        assert min(self.left.values()) >= 0

    @invariant()
    def no_unit_is_remedied_twice(self) -> None:
        for line_id, line in self.sold.items():
            taken = self.shares(line_id)
            left = refunds.minus(share=line.priced.paid, taken=taken)
            assert left.quantity >= 0
            assert min(left.goods, left.discount, left.goods - left.discount, *left.taxes) >= 0
            assert (
                sum(
                    remedy.held[line_id].received
                    for remedy in self.remedies.values()
                    if line_id in remedy.held
                )
                == self.returned[line_id]
            )

    def teardown(self) -> None:
        if hasattr(self, "sold"):
            self.everything_comes_back()

    def everything_comes_back(self) -> None:
        """Claims without money are called off, everything else is sent back and paid."""
        self.captured = True
        for number, remedy in list(self.remedies.items()):
            if remedy.kind == "claim" and not remedy.refunded:
                self.release(number)
        lost = sum(
            remedies.received_worth(held=remedy.held)
            for remedy in self.remedies.values()
            if remedy.kind == "claim" and not remedy.refunded
        )
        for line in self.now().values():
            if line.free:
                self.send_back({line.line_id: line.free})
        for remedy in [r for r in self.remedies.values() if r.kind == "return"]:
            open_units = {line.line_id: line.open for line in remedy.held.values() if line.open}
            if open_units:
                self.arrive(remedy, open_units)
        self.settle_owed()
        assert all(line.free == 0 for line in self.now().values())
        # Goods that came back for a replacement were paid with goods.
        assert self.refunded == self.paid - lost


class AnyRemediesAndAmounts(AnyRemedies):
    """The same with amounts that people name, return shipping, refunds by hand."""

    @rule(units=UNITS, amount=st.integers(0, 9_000))
    def claim_an_amount(self, units: dict[str, int], amount: int) -> None:
        self.claim(units, "refund", amount)

    @rule(units=UNITS, given=st.one_of(st.none(), st.integers(0, 9_000)), cost=st.integers(0, 900))
    def send_back_on_terms(self, units: dict[str, int], given: int | None, cost: int) -> None:
        self.send_back(units, given, cost)

    @rule(units=UNITS, price=st.integers(0, 9_000), cost=st.integers(0, 900))
    def exchange_with_shipping(self, units: dict[str, int], price: int, cost: int) -> None:
        if not set(NEW) <= self.sold.keys():
            self.exchange(units, price, 1, 20.0, False, cost)

    @rule(amount=st.integers(1, 9_000))
    def refund_by_hand(self, amount: int) -> None:
        try:
            domain.decide_refund(order_status="pending", amount=amount, money=self.money)
        except Refusal:
            return
        self.pay(amount)

    def everything_comes_back(self) -> None:
        """Nothing can be said of the sum then, but that it is not too much."""


@pytest.mark.parametrize("machine", [AnyRemedies, AnyRemediesAndAmounts])
def test_any_sequence_of_remedies_keeps_the_promise(machine: type[AnyRemedies]) -> None:
    case = machine.TestCase
    case.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
    case().runTest()
