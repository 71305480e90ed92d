"""The unit remedy ledger: every sold unit has at most one live remedy.

Claims and returns place holds on units here and nowhere else. A hold freezes what its units are
worth (``refunds.Share``); goods that come back move units from *remedied* to *returned*. The
functions decide and refuse, in Medusa's words and in Medusa's order; they never change anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from chassis.errors import Conflict, Invalid, NotAllowed, NotFound, Refusal
from services.orders import refunds
from services.orders.domain import Money, check_refundable
from services.orders.refunds import Part, PricedLine, Share


@dataclass(frozen=True, slots=True)
class Line:
    """An order line as a decision sees it. ``taken`` are the shares of its live remedies, those
    of units returned before the order came here included. ``is_settling``: a refund that names it
    is on its way, so nobody knows yet what its units are worth."""

    line_id: str
    variant_id: str | None
    title: str
    quantity: int
    unit_price: int
    fulfilled_quantity: int
    shipped_quantity: int
    returned_quantity: int
    remedied_quantity: int
    delivered_at: str | None
    priced: PricedLine
    taken: tuple[Share, ...] = ()
    is_settling: bool = False

    @property
    def free(self) -> int:
        """Units without a live remedy that have not come back."""
        return self.quantity - self.returned_quantity - self.remedied_quantity

    def worth(self, *, quantity: int) -> Share:
        """The share of ``quantity`` free units."""
        remaining = refunds.minus(share=self.priced.paid, taken=self.taken)
        return refunds.share_of(line=self.priced, remaining=remaining, quantity=quantity)


@dataclass(frozen=True, slots=True)
class Hold:
    """A decision to hold units: their frozen shares by line, the amount, and why."""

    shares: Mapping[str, Share]
    amount: int
    explanation: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class HeldLine:
    """A line of a remedy: its frozen share and how many of its units came back."""

    line_id: str
    share: Share
    received: int

    @property
    def open(self) -> int:
        """Announced units that have not come back."""
        return self.share.quantity - self.received


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a receipt is booked on one line.

    ``announced`` units leave the hold; ``unannounced`` ones take free units, worth ``extra``;
    ``unbooked`` ones have no place: all units of the line already came back or are held.
    """

    line_id: str
    announced: int
    unannounced: int
    unbooked: int
    extra: Share | None


def line_unknown(*, line_id: str) -> Refusal:
    """There is no such order line."""
    return NotFound("line_unknown", f"Line item with {line_id} was not found")


def shipping_option_unknown(*, option_id: str) -> Refusal:
    """There is no such shipping option."""
    return NotFound(
        "shipping_option_unknown", f"Shipping Option with id: {option_id} was not found"
    )


def units_claimed(**facts: str) -> Refusal:
    """Goods that came back, and goods that somebody claims, were sent: they stay packed."""
    return NotAllowed(
        "units_claimed",
        "Items of the fulfillment have been claimed or returned:"
        " cancel the claim or the return first",
        **facts,
    )


def hold_unknown(*, claim_id: str) -> Refusal:
    """Nothing is held for the claim (any more)."""
    return NotFound("hold_unknown", f"Claim {claim_id} holds nothing")


def superseded() -> Refusal:
    """The hold was taken back before it came, or since."""
    return Conflict("superseded", "The hold was released before it was placed")


def summed(*, lines: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Quantities per line in the order of the request: a line named twice counts once, summed."""
    quantities: dict[str, int] = {}
    for line_id, quantity in lines:
        if quantity < 1:
            raise Invalid("quantity_below_one", "quantity must not be less than 1")
        quantities[line_id] = quantities.get(line_id, 0) + quantity
    return quantities


def check_claim(
    *, order_status: str, lines: Mapping[str, Line], quantities: Mapping[str, int]
) -> None:
    """Whether these units may be claimed; raises the refusals in Medusa's order."""
    if order_status == "canceled":
        raise Invalid("order_canceled", "Cannot create a claim on a canceled item.")
    for line_id, quantity in quantities.items():
        _claimable(lines=lines, line_id=line_id, quantity=quantity)


def decide_claim(
    *,
    lines: Mapping[str, Line],
    quantities: Mapping[str, int],
    claim_type: str,
    refund_amount: int | None,
    money: Money,
) -> Hold:
    """What a claim holds, and the refund it means; the units were checked before.

    A given amount counts as given; otherwise each line counts that was shipped in this quantity.
    A replace claim holds units and no money. Raises when the money does not suffice.
    """
    shares = _shares(lines=lines, quantities=quantities)
    if claim_type == "replace":
        return Hold(shares, 0, ())
    return decide_refund(lines=lines, shares=shares, refund_amount=refund_amount, money=money)


def decide_refund(
    *,
    lines: Mapping[str, Line],
    shares: Mapping[str, Share],
    refund_amount: int | None,
    money: Money,
) -> Hold:
    """The refund that claimed units mean: a given amount counts as given, else what was sent of
    them is worth. Raises when the money does not suffice."""
    if refund_amount is not None:
        amount = refund_amount
        parts = [Part(None, "given", None, amount, "as given with the claim")]
    else:
        parts = [
            part
            for line_id, share in shares.items()
            for part in _claim_parts(line=lines[line_id], share=share)
        ]
        amount = sum(part.amount for part in parts)
    check_refundable(amount=amount, money=money)
    return Hold(shares, amount, tuple(parts))


def _shares(*, lines: Mapping[str, Line], quantities: Mapping[str, int]) -> dict[str, Share]:
    return {
        line_id: lines[line_id].worth(quantity=quantity) for line_id, quantity in quantities.items()
    }


def _claimable(*, lines: Mapping[str, Line], line_id: str, quantity: int) -> None:
    line = lines.get(line_id)
    if line is None:
        raise line_unknown(line_id=line_id)
    if line.variant_id is None:
        raise NotAllowed("custom_line", "Cannot claim a custom line item")
    taken = line.returned_quantity + line.remedied_quantity
    if taken + quantity > line.fulfilled_quantity:
        fits = quantity <= line.fulfilled_quantity
        raise NotAllowed(
            "units_taken" if fits else "quantity_exceeds_fulfilled",
            "Cannot claim more of an item than has been fulfilled.",
            line_id=line_id,
        )


def _claim_parts(*, line: Line, share: Share) -> list[Part]:
    """The value of claimed units; goods that were never shipped are worth no refund (D7)."""
    if line.shipped_quantity > 0 and share.quantity <= line.shipped_quantity:
        return refunds.explain(line=line.priced, share=share)
    rule = f"{line.shipped_quantity} of {share.quantity} shipped: no refund for goods not sent"
    return [Part(line.line_id, "goods", share.quantity, 0, rule)]


def check_return(
    *,
    order_status: str,
    lines: Mapping[str, Line],
    foreign: Collection[str],
    quantities: Mapping[str, int],
) -> None:
    """Whether these units may be returned; ``foreign`` are asked lines of another order."""
    if order_status == "canceled":
        raise Invalid("order_canceled", "Cannot create a return for a canceled item.")
    check_units(lines=lines, foreign=foreign, quantities=quantities)


def check_units(
    *, lines: Mapping[str, Line], foreign: Collection[str], quantities: Mapping[str, int]
) -> None:
    """Whether the order has so many units that may come back; ``foreign`` as above."""
    for line_id, quantity in quantities.items():
        line = lines.get(line_id)
        if line is None and line_id in foreign:
            raise Invalid("line_foreign", "Return contains invalid line item")
        if line is None:
            raise line_unknown(line_id=line_id)
        if quantity > line.free:
            raise NotAllowed(
                "units_taken" if quantity <= line.quantity else "quantity_exceeds_purchased",
                "Cannot return more items than have been purchased",
                line_id=line_id,
            )


def decide_return(
    *,
    lines: Mapping[str, Line],
    quantities: Mapping[str, int],
    refund: int | None,
    shipping_cost: int,
    money: Money,
) -> Hold:
    """What a return holds, and the refund to expect at receipt: given, or the units' worth minus
    the return shipping, which may be negative. No money is held; the units were checked before.
    """
    shares = _shares(lines=lines, quantities=quantities)
    if refund is not None:
        if refund > money.refundable:
            raise Invalid(
                "amount_exceeds_refundable", "Cannot refund more than the original payment"
            )
        given = Part(None, "given", None, max(refund, 0), "as given with the return")
        return Hold(shares, given.amount, (given,))
    parts = [
        part
        for line_id, share in shares.items()
        for part in refunds.explain(line=lines[line_id].priced, share=share)
    ]
    if shipping_cost:
        parts.append(Part(None, "shipping", None, -shipping_cost, "return shipping"))
    return Hold(shares, sum(part.amount for part in parts), tuple(parts))


def arrive(
    *,
    quantities: Mapping[str, int],
    held: Mapping[str, HeldLine],
    lines: Mapping[str, Line],
) -> list[Arrival]:
    """How received units are booked: announced ones first, then on free units of the order.

    Never refuses: goods that lie on the table are a fact. A line of another order has no place.
    """
    arrivals = []
    for line_id, quantity in quantities.items():
        line = lines.get(line_id)
        announced = min(quantity, held[line_id].open) if line_id in held else 0
        unannounced = min(quantity - announced, line.free) if line is not None else 0
        extra = line.worth(quantity=unannounced) if line is not None and unannounced else None
        unbooked = quantity - announced - unannounced
        arrivals.append(Arrival(line_id, announced, unannounced, unbooked, extra))
    return arrivals


def after(*, held: Mapping[str, HeldLine], arrivals: Sequence[Arrival]) -> dict[str, HeldLine]:
    """The lines of a remedy after a receipt."""
    now = dict(held)
    for arrival in arrivals:
        line = now.get(arrival.line_id)
        if line is not None:
            line = replace(line, received=line.received + arrival.announced)
        if arrival.extra is not None and line is not None:
            line = HeldLine(
                arrival.line_id,
                refunds.plus(shares=[line.share, arrival.extra]),
                line.received + arrival.unannounced,
            )
        elif arrival.extra is not None:
            line = HeldLine(arrival.line_id, arrival.extra, arrival.unannounced)
        if line is not None:
            now[arrival.line_id] = line
    return now


def received_worth(*, held: Mapping[str, HeldLine]) -> int:
    """What the units that came back are worth."""
    return sum(
        refunds.first_units(share=line.share, quantity=line.received).amount
        for line in held.values()
    )


def due(*, held: Mapping[str, HeldLine], given: int | None, shipping_cost: int) -> int:
    """What a return owes in all for the units that came back so far.

    An amount given at the request is owed in proportion to the worth of what came back (by units
    where the goods are worth nothing). Otherwise their worth minus the return shipping, not below
    0. A function of the state alone, so receipts add up however the parcels were split.
    """
    if given is None:
        return max(0, received_worth(held=held) - shipping_cost)
    whole = sum(line.share.amount for line in held.values())
    if whole:
        part = received_worth(held=held)
        return refunds.proportional(amount=given, part=part, whole=whole)
    return refunds.proportional(
        amount=given,
        part=sum(line.received for line in held.values()),
        whole=sum(line.share.quantity for line in held.values()),
    )


def explain_receipt(
    *,
    before: Mapping[str, HeldLine],
    now: Mapping[str, HeldLine],
    lines: Mapping[str, Line],
    given: int | None,
    shipping_cost: int,
) -> list[Part]:
    """The amount of a receipt line by line; the parts add up to due(now) - due(before)."""
    amount = due(held=now, given=given, shipping_cost=shipping_cost) - due(
        held=before, given=given, shipping_cost=shipping_cost
    )
    if given is not None:
        return [Part(None, "given", None, amount, f"share of the {given} agreed at the request")]
    parts = [
        part
        for line_id, line in now.items()
        for part in _receipt_parts(line=lines[line_id], before=before.get(line_id), now=line)
    ]
    rest = amount - sum(part.amount for part in parts)
    if rest:
        parts.append(Part(None, "shipping", None, rest, "return shipping"))
    return parts


def _receipt_parts(*, line: Line, before: HeldLine | None, now: HeldLine) -> list[Part]:
    came = now.received - (before.received if before is not None else 0)
    if not came:
        return []
    share = refunds.first_units(share=now.share, quantity=now.received)
    if before is not None:
        earlier = refunds.first_units(share=before.share, quantity=before.received)
        share = refunds.minus(share=share, taken=[earlier])
    return refunds.explain(line=line.priced, share=share)


def trimmed(*, held: Mapping[str, HeldLine]) -> dict[str, HeldLine]:
    """What stays of a released remedy: the units that came back, with their part of the shares."""
    return {
        line_id: HeldLine(
            line_id, refunds.first_units(share=line.share, quantity=line.received), line.received
        )
        for line_id, line in held.items()
        if line.received
    }
