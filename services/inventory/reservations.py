"""The rules for reservations that people make, move and end: pure functions over facts.

Quantities are whole units. A line is a line of an order, or a replacement line of a claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chassis.errors import Invalid, NotAllowed, NotFound
from services.inventory.domain import Level


@dataclass(frozen=True)
class Reservation:
    """Units of an item that are promised at a location. ``remedy_id``: the claim they are for."""

    id: str
    item_id: str
    location_id: str
    quantity: int
    line_id: str | None = None
    remedy_id: str | None = None
    description: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Line:
    """A line as it stands: units still to be sent, and units held for it by other reservations."""

    id: str
    unfulfilled: int
    held: int


def check_new(
    *, item_id: str, location_id: str, quantity: int, level: Level | None, line: Line | None
) -> None:
    """Whether so many units may be promised; ``level`` is None where the item is not stocked.

    Raises Invalid (more than the line needs), NotFound (not stocked) or NotAllowed (too little).
    """
    if line is not None and line.held + quantity > line.unfulfilled:
        raise over_line()
    if level is None:
        raise not_stocked(item_id=item_id, location_id=location_id)
    if level.available < quantity and not level.allow_backorder:
        raise not_enough(item_id=item_id, location_id=location_id)


def check_change(
    *, before: Reservation, location_id: str, quantity: int, level: Level | None, line: Line | None
) -> None:
    """Whether a reservation may have this quantity at this location; ``level`` is that one.

    What it holds there already counts as available. Raises as ``check_new``.
    """
    own = before.quantity if location_id == before.location_id else 0
    if quantity > before.quantity and line is not None and line.held + quantity > line.unfulfilled:
        raise over_line()
    if level is None:
        raise not_stocked(item_id=before.item_id, location_id=location_id)
    # Giving back is always possible, also where backorders have left less than is promised.
    if quantity > own and level.available + own < quantity and not level.allow_backorder:
        raise not_enough(item_id=before.item_id, location_id=location_id)


def over_line() -> Invalid:
    """More than the line still needs."""
    return Invalid(
        "over_line",
        "The reservation quantity cannot be greater than the unfulfilled line item quantity",
    )


def not_stocked(*, item_id: str, location_id: str) -> NotFound:
    """The location has no level of the item."""
    return NotFound("item_not_stocked", f"Item {item_id} is not stocked at location {location_id}")


def not_enough(*, item_id: str, location_id: str) -> NotAllowed:
    """More than is available there, and no backorders."""
    return NotAllowed(
        "insufficient_stock",
        f"Not enough stock available for item {item_id} at location {location_id}",
    )


def not_held(*, reservation_id: str) -> NotFound:
    """Nothing to change: no such reservation, or it has ended."""
    return NotFound(
        "reservation_not_found", f"ReservationItem with id {reservation_id} was not found"
    )


def line_unchecked() -> Invalid:
    """Units for a line are only held by who has looked what the line still needs."""
    return Invalid("line_unfulfilled_missing", "line_unfulfilled should not be empty")


def already_there(*, line_id: str, location_id: str) -> NotAllowed:
    """A line has one reservation of an item at a location."""
    return NotAllowed(
        "reservation_exists",
        f"Line item {line_id} already has a reservation at location {location_id}",
    )


def order_over(*, line_id: str) -> NotAllowed:
    """The order of a line is canceled, and has let go of its stock."""
    return NotAllowed("order_canceled", f"Line item {line_id} belongs to a canceled order")


def remedy_over(*, line_id: str) -> NotAllowed:
    """The claim of a replacement line has let go of its stock."""
    return NotAllowed(
        "remedy_released", f"Line item {line_id} belongs to a claim that no longer needs it"
    )
