"""Goods that are packed and sent: what may be, in Medusa's words, and what it makes of an order.

A fulfillment is *pending* while inventory is asked for its goods, then *live*, or *refused* and
never seen. One that is unpacked is *canceling* until its goods are back in stock, then *canceled*;
its units are free again as soon as that is decided, because it cannot be refused. All pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chassis.errors import Conflict, Invalid, NotAllowed, NotFound, Refusal
from services.orders.remedies import units_claimed

STATES = ("pending", "live", "refused", "canceling", "canceled")


@dataclass(frozen=True, slots=True)
class Line:
    """An order line as packing sees it, in units. ``pending`` are under fulfillments that inventory
    has not answered; ``claimed`` are under claims and have not come back."""

    line_id: str
    variant_id: str | None
    title: str
    quantity: int
    fulfilled: int
    shipped: int
    returned: int
    claimed: int
    pending: int = 0

    @property
    def packable(self) -> int:
        """Units that no fulfillment has."""
        return self.quantity - self.fulfilled - self.pending


@dataclass(frozen=True, slots=True)
class Fulfillment:
    """A fulfillment as decisions see it; ``units`` by line. ``uses_stock``: inventory took it."""

    id: str
    state: str
    units: Mapping[str, int]
    uses_stock: bool
    is_shipped: bool


def decide_units(
    lines: Mapping[str, Line],
    *,
    order_status: str,
    has_shipping_method: bool,
    asked: Iterable[tuple[str, int]],
) -> dict[str, int]:
    """Units to pack per line, a line named twice summed; raises in Medusa's order."""
    if order_status == "canceled":
        raise NotAllowed("order_canceled", "A canceled order cannot be fulfilled")
    if not has_shipping_method:
        raise NotAllowed(
            "no_shipping_method", "Cannot fulfill an order that lacks shipping methods"
        )
    units: dict[str, int] = {}
    for line_id, quantity in asked:
        if quantity < 1:
            raise Invalid("quantity_below_one", "quantity must not be less than 1")
        if line_id not in lines:
            raise Invalid("line_unknown", f"Line item with {line_id} was not found")
        units[line_id] = units.get(line_id, 0) + quantity
    if not units:
        raise Invalid("items_empty", "items should not be empty")
    if any(quantity > lines[line_id].packable for line_id, quantity in units.items()):
        raise NotAllowed(
            "quantity_exceeds_purchased", "Cannot fulfill more items than have been purchased"
        )
    return units


def decide_cancel(fulfillment: Fulfillment, *, lines: Mapping[str, Line]) -> dict[str, int]:
    """Units that are no longer fulfilled, per line; raises what forbids to unpack.

    Goods that came back, and goods that somebody claims, were sent: they cannot be unpacked. An
    imported fulfillment may tell of more than its lines do: no line gets less than was shipped.
    """
    if fulfillment.is_shipped:
        raise NotAllowed(
            "fulfillment_shipped",
            "The fulfillment has already been shipped. Shipped fulfillments cannot be canceled",
        )
    units = {}
    for line_id, quantity in fulfillment.units.items():
        line = lines[line_id]
        units[line_id] = min(quantity, line.fulfilled - line.shipped)
        if line.fulfilled - units[line_id] < min(line.returned + line.claimed, line.fulfilled):
            raise units_claimed(line_id=line_id)
    return units


def decide_shipment(
    fulfillment: Fulfillment | None, *, order_status: str, lines: Mapping[str, Line]
) -> dict[str, int]:
    """Units that are on their way now, per line; raises in Medusa's order.

    Of an imported fulfillment no line ships more than the order has fulfilled of it.
    """
    if fulfillment is None:
        raise NotFound("fulfillment_unknown", "Could not find fulfillment")
    if order_status == "canceled":
        raise NotAllowed("order_canceled", "A canceled order cannot be fulfilled as shipped")
    if fulfillment.state in ("canceling", "canceled"):
        raise NotAllowed("fulfillment_canceled", "Fulfillment has been canceled")
    if fulfillment.is_shipped:
        raise NotAllowed("fulfillment_shipped", "The fulfillment has already been shipped")
    return {
        line_id: min(quantity, lines[line_id].fulfilled - lines[line_id].shipped)
        for line_id, quantity in fulfillment.units.items()
    }


def fulfilled_status(lines: Iterable[Line], *, units: Mapping[str, int]) -> str:
    """Medusa's fulfillment_status of the order once these units are packed."""
    done = all(line.fulfilled + units.get(line.line_id, 0) >= line.quantity for line in lines)
    return "fulfilled" if done else "partially_fulfilled"


def shipped_status(lines: Iterable[Line], *, units: Mapping[str, int]) -> str:
    """Medusa's fulfillment_status of the order once these units are on their way."""
    done = all(line.shipped + units.get(line.line_id, 0) >= line.quantity for line in lines)
    return "shipped" if done else "partially_shipped"


def check_order_cancel(
    *,
    refunded: int,
    refund_pending: int,
    fulfillment_states: Iterable[str],
    live_remedies: Iterable[str],
    captures_under_way: bool,
) -> None:
    """Whether an order may be canceled; raises in Medusa's order.

    What is under way and may yet go either way is a conflict, not a refusal: ask again.
    """
    states = set(fulfillment_states)
    kinds = set(live_remedies)
    if refunded:
        raise NotAllowed("order_refunded", "Order with refund(s) cannot be canceled")
    if refund_pending:
        raise Conflict("refund_under_way", "A refund of the order is under way")
    if states & {"pending", "canceling"}:
        raise Conflict("fulfillment_under_way", "A fulfillment of the order is under way")
    if "live" in states:
        raise _not_before("fulfillments")
    if "return" in kinds:
        raise _not_before("returns")
    if "exchange" in kinds:
        raise _not_before("swaps")
    if "claim" in kinds:
        raise _not_before("claims")
    if captures_under_way:
        raise Conflict("capture_under_way", "A payment of the order is being captured")


def _not_before(what: str) -> Refusal:
    return NotAllowed(
        f"{what}_not_canceled", f"All {what} must be canceled before canceling an order"
    )


def unknown(*, fulfillment_id: str, order_id: str) -> Refusal:
    """There is no such fulfillment on this order."""
    return NotFound(
        "fulfillment_unknown",
        f"no fulfillment was found with the id: {fulfillment_id} related to order: {order_id}",
    )


def under_way() -> Refusal:
    """Inventory has not said whether there are the goods."""
    return Conflict("fulfillment_under_way", "The fulfillment is being created")
