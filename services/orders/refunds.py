"""Exact refund arithmetic: what was paid for a line, and what any units of it are worth.

A line has components: goods, discount, and one part per tax. Units that get a remedy take their
share of what *remains* of each component, so any split, order or cancellation of remedies adds up
to exactly what was paid, and the last unit takes the rest. The first unit gets Medusa's figure.

Money is integer minor units, rates are percent. Nothing here touches a database or a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from chassis.values import allocate, round_half_up


@dataclass(frozen=True, slots=True)
class Tax:
    """One tax on a line. ``rate`` is percent."""

    rate: float
    name: str


@dataclass(frozen=True, slots=True)
class Share:
    """So many units of a line and their part of each component, all at least 0."""

    quantity: int
    goods: int
    discount: int
    taxes: tuple[int, ...]

    @property
    def amount(self) -> int:
        """What was paid for these units: goods - discount + taxes."""
        return self.goods - self.discount + sum(self.taxes)


@dataclass(frozen=True, slots=True)
class PricedLine:
    """An order line, taken apart. ``net_unit`` is the unit price without tax.

    ``paid`` is the share of all its units, ``given_back`` what of their net price was refunded
    without taking a unit away.
    """

    line_id: str
    net_unit: int
    taxes: tuple[Tax, ...]
    paid: Share
    given_back: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One named part of an amount: signed minor units, and the rule that made it."""

    line_id: str | None
    part: str
    quantity: int | None
    amount: int
    rule: str


@dataclass(frozen=True, slots=True)
class LineTotals:
    """Medusa's computed figures of a line, on its full quantity."""

    subtotal: int
    discount_total: int
    tax_total: int
    total: int
    original_total: int
    original_tax_total: int


@dataclass(frozen=True, slots=True)
class OrderTotals:
    """Medusa's computed figures of an order."""

    subtotal: int
    discount_total: int
    item_tax_total: int
    shipping_total: int
    shipping_tax_total: int
    tax_total: int
    total: int


@lru_cache(maxsize=1024)
def _ratio(rate: float) -> tuple[int, int]:
    """``rate`` percent as an exact fraction: 12.5 is 1/8, whatever a float makes of it."""
    ratio = Fraction(str(rate)) / 100
    return ratio.numerator, ratio.denominator


def tax_on(*, net: int, rate: float) -> int:
    """The tax of ``rate`` percent on a net amount, rounded half up."""
    numerator, denominator = _ratio(rate)
    return round_half_up(net * numerator, denominator)


def tax_within(*, gross: int, rates: Iterable[float]) -> int:
    """The tax that an amount with tax already contains, rounded half up."""
    whole = sum((Fraction(*_ratio(rate)) for rate in rates), Fraction())
    contained = Fraction(gross) * whole / (1 + whole)
    return round_half_up(contained.numerator, contained.denominator)


def taxes_of(
    *, order_tax_rate: float | None, tax_lines: Sequence[tuple[float, str]]
) -> tuple[Tax, ...]:
    """The taxes of a line: its own tax lines, or the order's one rate (Medusa's old tax system)."""
    if order_tax_rate is not None:
        return (Tax(rate=order_tax_rate, name="order"),)
    return tuple(Tax(rate=rate, name=name) for rate, name in tax_lines)


def price_line(
    *,
    line_id: str,
    unit_price: int,
    quantity: int,
    taxes: tuple[Tax, ...],
    includes_tax: bool,
    discount: int,
) -> PricedLine:
    """Take a line apart. ``discount`` is the sum of its adjustments over all units.

    A discount beyond the price of the goods counts as that price: nobody is owed for a purchase.
    """
    net_unit = unit_price
    if includes_tax:
        net_unit -= tax_within(gross=unit_price, rates=(tax.rate for tax in taxes))
    goods = net_unit * quantity
    discount = max(0, min(discount, goods))
    amounts = tuple(tax_on(net=goods - discount, rate=tax.rate) for tax in taxes)
    return PricedLine(
        line_id=line_id,
        net_unit=net_unit,
        taxes=taxes,
        paid=Share(quantity=quantity, goods=goods, discount=discount, taxes=amounts),
    )


def worth_of(*, line_id: str, quantity: int, amount: int) -> PricedLine:
    """A line whose units together carry exactly ``amount``, taxes included: what replaces other
    units is worth what was paid for those. What does not divide by the units is its discount.
    """
    unit = -(-amount // quantity)
    goods = unit * quantity
    paid = Share(quantity=quantity, goods=goods, discount=goods - amount, taxes=())
    return PricedLine(line_id=line_id, net_unit=unit, taxes=(), paid=paid)


def discount_of(*, adjustments: Iterable[tuple[int, str | None]], allow_discounts: bool) -> int:
    """The adjustments of a line that count: (amount, discount id) pairs.

    A line that allows no discounts still keeps adjustments that no discount made.
    """
    return sum(
        amount for amount, discount_id in adjustments if allow_discounts or discount_id is None
    )


def minus(*, share: Share, taken: Iterable[Share]) -> Share:
    """What is left of a share after others were taken from it."""
    quantity, goods, discount = share.quantity, share.goods, share.discount
    taxes = list(share.taxes)
    for other in taken:
        quantity -= other.quantity
        goods -= other.goods
        discount -= other.discount
        for index, amount in enumerate(other.taxes):
            taxes[index] -= amount
    return Share(quantity=quantity, goods=goods, discount=discount, taxes=tuple(taxes))


def plus(*, shares: Iterable[Share]) -> Share:
    """Shares of one line together; there is at least one."""
    first, *others = shares
    quantity, goods, discount = first.quantity, first.goods, first.discount
    taxes = list(first.taxes)
    for other in others:
        quantity += other.quantity
        goods += other.goods
        discount += other.discount
        taxes = [mine + more for mine, more in zip(taxes, other.taxes, strict=True)]
    return Share(quantity=quantity, goods=goods, discount=discount, taxes=tuple(taxes))


def share_of(*, line: PricedLine, remaining: Share, quantity: int) -> Share:
    """What ``quantity`` of the remaining units are worth; 1 <= quantity <= remaining.quantity.

    The tax follows Medusa's formula as far as the remaining tax allows: it is never more than a
    minor unit away from these units' exact part of it, which keeps the sum over all units exact.
    """
    if quantity == remaining.quantity:
        return remaining
    goods = line.net_unit * quantity
    discount = round_half_up(remaining.discount * quantity, remaining.quantity)
    taxes = []
    for tax, left in zip(line.taxes, remaining.taxes, strict=True):
        floor, rest = divmod(left * quantity, remaining.quantity)
        wanted = tax_on(net=goods - discount, rate=tax.rate)
        taxes.append(min(max(wanted, floor), floor + (1 if rest else 0)))
    return Share(quantity=quantity, goods=goods, discount=discount, taxes=tuple(taxes))


def given_back(*, remaining: Share, amount: int) -> Share:
    """``amount`` of what remains of a line (0 to all of it), as a share of no unit.

    Taken like any other share it lowers what every free unit is worth, alike: net price and taxes
    in proportion. The net part stands as a negative discount.
    """
    net, *taxes = allocate(amount, [remaining.goods - remaining.discount, *remaining.taxes])
    return Share(quantity=0, goods=0, discount=-net, taxes=tuple(taxes))


def first_units(*, share: Share, quantity: int) -> Share:
    """The part of a frozen share that its first ``quantity`` units carry (0 to all of them).

    A function of the count alone, so the differences between receipts add up to the whole share.
    """
    whole = share.quantity
    return Share(
        quantity=quantity,
        goods=share.goods // whole * quantity,
        discount=round_half_up(share.discount * quantity, whole),
        taxes=tuple(round_half_up(tax * quantity, whole) for tax in share.taxes),
    )


def percent(rate: float) -> str:
    """A rate as people write it: ``20%``, ``12.5%``."""
    return f"{rate:g}%"


def explain(*, line: PricedLine, share: Share) -> list[Part]:
    """A share line by line: goods, discount, each tax. The amounts add up to ``share.amount``."""
    count = share.quantity
    parts = [
        Part(line.line_id, "goods", count, share.goods, f"{count} x {line.net_unit}"),
    ]
    if line.paid.discount or line.given_back:
        rule = f"share of the line's discount of {line.paid.discount}"
        if line.given_back:
            rule += f" and of the {line.given_back} refunded before"
        parts.append(Part(line.line_id, "discount", count, -share.discount, rule))
    for tax, paid, amount in zip(line.taxes, line.paid.taxes, share.taxes, strict=True):
        if paid:
            rule = f"{percent(tax.rate)} tax ({tax.name})"
            parts.append(Part(line.line_id, "tax", count, amount, rule))
    return parts


def proportional(*, amount: int, part: int, whole: int) -> int:
    """``amount * part / whole`` rounded half up, ``amount`` itself at the end; 0 of nothing."""
    return round_half_up(amount * part, whole) if whole else 0


def line_totals(*, line: PricedLine) -> LineTotals:
    """The computed fields of a line as Medusa shows them."""
    paid = line.paid
    before = sum(tax_on(net=paid.goods, rate=tax.rate) for tax in line.taxes)
    return LineTotals(
        subtotal=paid.goods,
        discount_total=paid.discount,
        tax_total=sum(paid.taxes),
        total=paid.amount,
        original_total=paid.goods + before,
        original_tax_total=before,
    )


def shipping_cost(*, price: int, rates: Sequence[float], includes_tax: bool) -> tuple[int, int]:
    """(net, tax) of a shipping method."""
    if includes_tax:
        tax = tax_within(gross=price, rates=rates)
        return price - tax, tax
    return price, sum(tax_on(net=price, rate=rate) for rate in rates)


def order_totals(
    *, lines: Iterable[PricedLine], shipping: Iterable[tuple[int, int]]
) -> OrderTotals:
    """The computed fields of an order; ``shipping`` are (net, tax) pairs of its methods."""
    subtotal = discount = item_tax = shipping_total = shipping_tax = 0
    for line in lines:
        subtotal += line.paid.goods
        discount += line.paid.discount
        item_tax += sum(line.paid.taxes)
    for net, tax in shipping:
        shipping_total += net
        shipping_tax += tax
    tax_total = item_tax + shipping_tax
    return OrderTotals(
        subtotal=subtotal,
        discount_total=discount,
        item_tax_total=item_tax,
        shipping_total=shipping_total,
        shipping_tax_total=shipping_tax,
        tax_total=tax_total,
        total=subtotal + shipping_total + tax_total - discount,
    )
