"""Exchanges: what comes back, settled against what goes out instead. Pure.

What comes back is worth what was paid for it, what goes out costs its price with the region's tax.
The difference is what the customer owes; below 0, what the customer gets back.

difference | when                  | payment_status
above 0    | settled               | awaiting
above 0    | somebody says it came | captured
0          | settled               | confirmed
below 0    | the refund went out   | difference_refunded, or partially_refunded
below 0    | a provider declined   | requires_action
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from chassis.errors import NotAllowed, NotFound, Refusal
from services.orders import refunds, remedies
from services.orders.domain import Money
from services.orders.refunds import Part, Tax
from services.orders.remedies import Hold, Line

# Of an order all of whose money was taken; what went back since does not matter here.
_CAPTURED = ("captured", "partially_refunded", "refunded")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A line that goes out. ``unit_price`` is minor units, as its region names prices."""

    line_id: str
    title: str
    unit_price: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Bill:
    """What an exchange comes to: ``amounts`` are the lines that go out, taxes included. The parts
    of ``explanation`` add up to what the customer gets back, which is minus the difference."""

    amounts: Mapping[str, int]
    difference_due: int
    explanation: tuple[Part, ...]


def hold_unknown(*, exchange_id: str) -> Refusal:
    """Nothing is held for the exchange (any more)."""
    return NotFound("hold_unknown", f"Swap {exchange_id} holds nothing")


def check(
    *,
    payment_status: str,
    fulfillment_status: str,
    lines: Mapping[str, Line],
    foreign: Collection[str],
    quantities: Mapping[str, int],
) -> None:
    """Whether these units may be exchanged; ``foreign`` are asked lines of another order.

    Raises in Medusa's order: a canceled order has no captured payment.
    """
    if payment_status not in _CAPTURED:
        raise NotAllowed("order_not_captured", "Cannot swap an order that has not been captured")
    if fulfillment_status == "not_fulfilled":
        raise NotAllowed("order_not_fulfilled", "Cannot swap an order that has not been fulfilled")
    remedies.check_units(lines=lines, foreign=foreign, quantities=quantities)
    for line_id, quantity in quantities.items():
        line = lines[line_id]
        if line.returned_quantity + line.remedied_quantity + quantity > line.fulfilled_quantity:
            raise NotAllowed(
                "quantity_exceeds_fulfilled",
                "Cannot swap more of an item than has been fulfilled.",
                line_id=line_id,
            )


def decide_hold(
    *,
    lines: Mapping[str, Line],
    quantities: Mapping[str, int],
    shipping_cost: int,
    money: Money,
) -> Hold:
    """What an exchange holds. Its amount is what the customer is credited: the worth of the units,
    as far as it did not go back already, minus ``shipping_cost``; it may be negative. No money is
    held; the units were checked before.
    """
    shares = {
        line_id: lines[line_id].worth(quantity=units) for line_id, units in quantities.items()
    }
    over = sum(share.amount for share in shares.values()) - money.refundable
    parts = [
        part
        for line_id, share in shares.items()
        for part in refunds.explain(line=lines[line_id].priced, share=share)
    ]
    if over > 0:
        parts.append(Part(None, "cap", None, -over, "refunded already"))
    if shipping_cost:
        parts.append(Part(None, "shipping", None, -shipping_cost, "shipping"))
    return Hold(shares, sum(part.amount for part in parts), tuple(parts))


def bill(
    *, credited: Iterable[Part], wanted: Iterable[Wanted], tax: Tax, includes_tax: bool
) -> Bill:
    """The difference of an exchange; ``credited`` explains what the customer is credited."""
    amounts, parts = {}, list(credited)
    for line in wanted:
        priced = refunds.price_line(
            line_id=line.line_id,
            unit_price=line.unit_price,
            quantity=line.quantity,
            taxes=(tax,),
            includes_tax=includes_tax,
            discount=0,
        )
        amounts[line.line_id] = priced.paid.amount
        rule = f"{line.quantity} x {line.unit_price} {line.title}, {refunds.percent(tax.rate)} tax"
        amount = -priced.paid.amount
        parts.append(Part(line.line_id, "exchange", line.quantity, amount, rule))
    return Bill(amounts, -sum(part.amount for part in parts), tuple(parts))


def payment_status(
    *, difference_due: int, is_paid: bool, refund_state: str | None, refunded: int
) -> str | None:
    """Medusa's payment_status of an exchange; None while a provider has yet to answer.

    ``refunded`` is what of a negative difference went out, in minor units.
    """
    if difference_due > 0:
        return "captured" if is_paid else "awaiting"
    if difference_due == 0:
        return "confirmed"
    if refund_state == "posted":
        whole = refunded >= -difference_due
        return "difference_refunded" if whole else "partially_refunded"
    return "requires_action" if refund_state == "declined" else None
