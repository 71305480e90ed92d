"""A hundred thousand random orders come back piece by piece: none is off by a cent.

What rounds each piece for itself, as most shops do, is off for most of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from chassis.values import round_half_up
from services.orders import refunds
from services.orders.refunds import PricedLine, Share, Tax

ORDERS = 100_000
RATES = (5.0, 7.0, 7.375, 12.5, 19.0, 20.0, 25.0)
TAXES = tuple(
    tuple(Tax(rate=rate, name=f"{rate}") for rate in rates)
    for rates in ((), *((rate,) for rate in RATES), (7.0, 12.5), (19.0, 5.0))
)


@dataclass(frozen=True, slots=True)
class Sale:
    """One line as it was sold: ``unit_price`` with or without its tax, ``discount`` over all."""

    line: PricedLine
    unit_price: int
    quantity: int
    taxes: tuple[Tax, ...]
    includes_tax: bool
    discount: int


def _sale(chance: random.Random) -> Sale:
    unit_price, quantity = chance.randint(1, 30_000), chance.randint(1, 6)
    taxes, includes_tax = chance.choice(TAXES), chance.random() < 0.5
    discount = chance.randint(1, unit_price * quantity) if chance.random() < 0.7 else 0
    line = refunds.price_line(
        line_id="item_01",
        unit_price=unit_price,
        quantity=quantity,
        taxes=taxes,
        includes_tax=includes_tax,
        discount=discount,
    )
    return Sale(line, unit_price, quantity, taxes, includes_tax, line.paid.discount)


def _piece_by_piece(line: PricedLine) -> int:
    """What goes back in all when every piece comes back for itself."""
    back, remaining = 0, line.paid
    while remaining.quantity:
        share = refunds.share_of(line=line, remaining=remaining, quantity=1)
        back += share.amount
        remaining = _without(remaining, share)
    return back


def _without(share: Share, taken: Share) -> Share:
    return refunds.minus(share=share, taken=(taken,))


def _rounded_piece_by_piece(sale: Sale) -> int:
    """As it is commonly done: the discount of a piece is rounded, then each tax of it."""
    off = round_half_up(sale.discount, sale.quantity)
    net = sale.line.net_unit - off
    taxes = sum(refunds.tax_on(net=net, rate=tax.rate) for tax in sale.taxes)
    return (net + taxes) * sale.quantity


def test_a_hundred_thousand_orders_come_back_piece_by_piece_and_none_is_off_by_a_cent() -> None:
    chance = random.Random(20261128)
    off = off_when_rounded = 0
    for _ in range(ORDERS):
        sales = [_sale(chance) for _ in range(chance.choice((1, 1, 1, 2)))]
        paid = sum(sale.line.paid.amount for sale in sales)
        off += sum(_piece_by_piece(sale.line) for sale in sales) != paid
        off_when_rounded += sum(_rounded_piece_by_piece(sale) for sale in sales) != paid
    assert off == 0
    assert off_when_rounded > ORDERS / 2
