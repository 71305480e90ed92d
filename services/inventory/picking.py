"""From where the units of a fulfillment are taken: pure functions over facts the caller has read.

What a line has reserved is there for it. It uses its reservation at the location first (one of
exactly its quantity before others), then its newest ones, wherever they are: what it had reserved
elsewhere is not needed there any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chassis.errors import NotAllowed
from services.inventory.domain import Level, LevelKey, Movement


@dataclass(frozen=True)
class Sent:
    """Units of an order line that leave; ``item_id`` is None when its stock is not managed."""

    line_no: int
    line_id: str
    title: str
    quantity: int
    item_id: str | None


@dataclass(frozen=True)
class Held:
    """A reservation that a line has."""

    id: str
    line_id: str | None
    item_id: str
    location_id: str
    quantity: int


@dataclass(frozen=True)
class Picked:
    """What is taken: movements out of stock, and units of reservations that are used up."""

    movements: tuple[Movement, ...]
    takes: tuple[tuple[str, int], ...]


def pick(
    lines: Sequence[Sent],
    *,
    location_id: str,
    levels: Sequence[Level],
    held: Sequence[Held],
) -> Picked:
    """All lines at one location, or none. ``held`` are the lines' reservations, the newest first.

    Raises NotAllowed in Medusa's words: the location does not stock a line, or has too little that
    is not promised to others.
    """
    stock = {(level.item_id, level.location_id): level for level in levels}
    on_hand = {key: level.on_hand for key, level in stock.items()}
    reserved = {key: level.reserved for key, level in stock.items()}
    movements: list[Movement] = []
    takes: list[tuple[str, int]] = []
    for line in lines:
        if line.item_id is None:
            continue
        here = (line.item_id, location_id)
        if here not in stock:
            raise not_at_location(title=line.title)
        mine = [each for each in held if (each.line_id, each.item_id) == (line.line_id, here[0])]
        for one, units in _used(mine, line.quantity, location_id):
            takes.append((one.id, units))
            key = (one.item_id, one.location_id)
            if key in reserved:
                reserved[key] -= units
        on_hand[here] -= line.quantity
        promised = 0 if stock[here].allow_backorder else reserved[here]
        if on_hand[here] < promised:
            raise insufficient(title=line.title)
        movements.append(Movement(line.line_no, line.item_id, location_id, -line.quantity))
    return Picked(tuple(movements), tuple(takes))


def _used(held: Sequence[Held], quantity: int, location_id: str) -> list[tuple[Held, int]]:
    def place(one: Held) -> tuple[bool, bool]:
        here = one.location_id == location_id
        return not (here and one.quantity == quantity), not here

    used = []
    left = quantity
    for one in sorted(held, key=place):
        units = min(left, one.quantity)
        if units:
            used.append((one, units))
            left -= units
    return used


def given_back(
    movements: Sequence[Movement], *, levels: Mapping[LevelKey, Level]
) -> list[Movement]:
    """The movements of a fulfillment turned around; a level that is gone gets nothing back."""
    return [
        Movement(move.line_no, move.item_id, move.location_id, -move.quantity)
        for move in movements
        if (move.item_id, move.location_id) in levels
    ]


def not_at_location(*, title: str) -> NotAllowed:
    """The location does not stock the line."""
    return NotAllowed("item_not_at_location", f"Inventory item for {title} not found at location")


def insufficient(*, title: str) -> NotAllowed:
    """The location has too little of it."""
    return NotAllowed("insufficient_stock", f"Insufficient stock for item: {title}")


def superseded(*, fulfillment_id: str) -> NotAllowed:
    """A consumption that comes after it was put back."""
    return NotAllowed("superseded", f"The goods of {fulfillment_id} have already been put back")
