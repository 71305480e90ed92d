"""The rules of stock: pure functions over facts the caller has read.

Quantities are whole units, amounts are minor units of the price's currency.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.errors import Conflict, Invalid, NotAllowed, NotFound
from chassis.values import derived_id

# So many units are certainly a mistake, and sums of them still fit into the database's integers.
UNITS_MAX = 10**9

Record = dict[str, Any]
LevelKey = tuple[str, str]  # of an item at a location

NO_LOCATION = (
    "Must provide location_id or sales_channel_id to a Sales Channel"
    " that has associated Stock Locations"
)
NO_STOCKED_LOCATION = (
    "Must provide location_id or sales_channel_id to a Sales Channel"
    " that has associated locations with inventory levels"
)


@dataclass(frozen=True)
class Price:
    """What one unit costs in a currency, everywhere or in one region."""

    currency_code: str
    amount: int
    region_id: str | None = None


@dataclass(frozen=True)
class Variant:
    """What can be sold. ``item_id`` is its inventory item, None while nothing is counted."""

    id: str
    title: str
    product_title: str | None = None
    sku: str | None = None
    manage_inventory: bool = True
    allow_backorder: bool = False
    prices: tuple[Price, ...] = ()
    item_id: str | None = None

    @property
    def counted_item(self) -> str | None:
        """The item whose stock bounds this variant, None when its stock is not managed."""
        return self.item_id if self.manage_inventory else None


@dataclass(frozen=True)
class Level:
    """The figures of one item at one location.

    ``in_channel``: the location serves the sales channel that was asked for.
    """

    item_id: str
    location_id: str
    on_hand: int
    reserved: int
    allow_backorder: bool = False
    in_channel: bool = False

    @property
    def available(self) -> int:
        """Units that may still be promised; negative only with backorders."""
        return self.on_hand - self.reserved


@dataclass(frozen=True)
class Wanted:
    """So many units of a variant for one line."""

    line_id: str
    variant_id: str
    quantity: int


@dataclass(frozen=True)
class PricedLine:
    """A wanted line with its variant and the price of one unit."""

    line_id: str
    variant: Variant
    quantity: int
    unit_price: int


@dataclass(frozen=True)
class Where:
    """Which locations may serve: the given one, else the channel's, else all.

    ``channel_is_mapped``: the sales channel has stock locations of its own;
    ``any_location``: there is a stock location at all.
    """

    location_id: str | None = None
    channel_is_mapped: bool = False
    any_location: bool = True


@dataclass(frozen=True)
class Arrived:
    """Units that arrived for one line of a receipt. ``line_no`` counts from 1."""

    line_no: int
    variant_id: str | None
    quantity: int


@dataclass(frozen=True)
class Movement:
    """One change of what is on hand; ``quantity`` is signed and not 0."""

    line_no: int
    item_id: str
    location_id: str
    quantity: int


# Reserving


def priced_lines(
    *,
    wanted: Sequence[Wanted],
    variants: Mapping[str, Variant],
    currency_code: str,
    region_id: str | None,
) -> list[PricedLine]:
    """Each wanted line with its variant and price; refuses what cannot be sold, as Medusa words it.

    Raises Invalid: unknown variants (all of them named), an impossible quantity, no price.
    """
    unknown = [line.variant_id for line in wanted if line.variant_id not in variants]
    if unknown:
        raise Invalid(
            "variant_not_found",
            "Unable to generate the line items, some variant has not been found: "
            + ", ".join(dict.fromkeys(unknown)),
        )
    if any(line.quantity < 1 for line in wanted):
        raise Invalid("quantity_below_one", "quantity must not be less than 1")
    _not_absurd(line.quantity for line in wanted)
    return [
        PricedLine(
            line_id=line.line_id,
            variant=variants[line.variant_id],
            quantity=line.quantity,
            unit_price=unit_price(
                variant=variants[line.variant_id], currency_code=currency_code, region_id=region_id
            ),
        )
        for line in wanted
    ]


def _not_absurd(quantities: Iterable[int]) -> None:
    if any(quantity > UNITS_MAX for quantity in quantities):
        raise Invalid("quantity_absurd", f"quantity must not be greater than {UNITS_MAX}")


def unit_price(*, variant: Variant, currency_code: str, region_id: str | None) -> int:
    """Minor units for one unit, as ``price_of``. Raises Invalid when there is no price."""
    found = price_of(prices=variant.prices, currency_code=currency_code, region_id=region_id)
    if found is None:
        raise Invalid(
            "variant_without_price",
            f'Cannot generate line item for variant "{variant.title}" without a price',
        )
    return found


def price_of(*, prices: Iterable[Price], currency_code: str, region_id: str | None) -> int | None:
    """Minor units for one unit: the region's own price, else the currency's, the lower of equals.

    A price of another region never applies. None when there is none.
    """
    currency = currency_code.lower()
    fitting = [price for price in prices if price.currency_code.lower() == currency]
    for region in dict.fromkeys((region_id, None)):
        amounts = [price.amount for price in fitting if price.region_id == region]
        if amounts:
            return min(amounts)
    return None


def choose_locations(
    *, lines: Sequence[PricedLine], levels: Sequence[Level], where: Where
) -> dict[str, str]:
    """Line id -> location id for every line whose stock is managed.

    One location for everything if there is one, else one location per line; real stock before
    backorders, then the smaller location id. Lines of one variant share its stock.
    Raises NotFound, Invalid (no location can be asked) or NotAllowed (too little, with ``short``).
    """
    counted = [line for line in lines if line.variant.counted_item is not None]
    candidates = _candidates(counted, levels, where)
    demand: defaultdict[str, int] = defaultdict(int)
    for line in counted:
        demand[_item(line)] += line.quantity
    locations = sorted({location for _, location in candidates})
    for backorders in (False, True):
        for location in locations:
            if all(
                _gives(candidates.get((item, location)), quantity, backorders)
                for item, quantity in demand.items()
            ):
                return {line.line_id: location for line in counted}
    return _one_location_per_line(counted, candidates, locations)


def _item(line: PricedLine) -> str:
    """The item of a line whose stock is managed; the lines without are sorted out before."""
    return line.variant.counted_item or ""


def _gives(level: Level | None, quantity: int, backorders: bool) -> bool:
    if level is None:
        return False
    return level.available >= quantity or (backorders and level.allow_backorder)


def _candidates(
    lines: Sequence[PricedLine], levels: Sequence[Level], where: Where
) -> dict[tuple[str, str], Level]:
    """Levels that may serve, by (item, location); refuses when an item has none."""
    fitting = {
        (level.item_id, level.location_id): level
        for level in levels
        if (
            level.location_id == where.location_id
            if where.location_id is not None
            else level.in_channel or not where.channel_is_mapped
        )
    }
    stocked = {item for item, _ in fitting}
    missing = list(dict.fromkeys(_item(line) for line in lines if _item(line) not in stocked))
    if missing and where.location_id is not None:
        raise NotFound(
            "item_not_stocked",
            ", ".join(
                f"Item {item} is not stocked at location {where.location_id}" for item in missing
            ),
        )
    if missing and where.channel_is_mapped:
        raise Invalid("no_stocked_location", NO_STOCKED_LOCATION)
    if missing and not where.any_location:
        raise Invalid("no_stock_location", NO_LOCATION)
    return fitting


def _one_location_per_line(
    lines: Sequence[PricedLine],
    candidates: Mapping[tuple[str, str], Level],
    locations: Sequence[str],
) -> dict[str, str]:
    left = {key: level.available for key, level in candidates.items()}
    chosen: dict[str, str] = {}
    # The largest line first: a small one must not break up the stock that only a large one needs.
    for line in sorted(lines, key=lambda each: -each.quantity):
        item = _item(line)
        fitting = [place for place in locations if left.get((item, place), -1) >= line.quantity]
        if not fitting:
            fitting = [
                place
                for place in locations
                if (level := candidates.get((item, place))) and level.allow_backorder
            ]
        if fitting:
            chosen[line.line_id] = fitting[0]
            left[item, fitting[0]] -= line.quantity
    missing = [line for line in lines if line.line_id not in chosen]
    if missing:
        raise _insufficient(lines, missing, chosen, left)
    return chosen


def _insufficient(
    lines: Sequence[PricedLine],
    missing: Sequence[PricedLine],
    chosen: Mapping[str, str],
    left: Mapping[tuple[str, str], int],
) -> NotAllowed:
    """Names the first short variant, and lists all: available is the most that could be given."""
    short = []
    for variant in dict.fromkeys(line.variant for line in missing):
        mine = [line for line in lines if line.variant == variant]
        given = sum(line.quantity for line in mine if line.line_id in chosen)
        rest = max(
            (units for (item, _), units in left.items() if item == variant.counted_item), default=0
        )
        short.append(
            {
                "variant_id": variant.id,
                "requested": sum(line.quantity for line in mine),
                "available": given + max(rest, 0),
            }
        )
    return NotAllowed(
        "insufficient_stock",
        f"Variant with id: {short[0]['variant_id']} does not have the required inventory",
        short=short,
    )


# Receiving


def receipt_movements(
    *,
    lines: Sequence[Arrived],
    items: Mapping[str, str],
    levels: Sequence[tuple[str, str]],
    location_id: str | None,
) -> list[Movement]:
    """One movement per line whose variant is counted (``items``: variant id -> item id).

    ``levels`` are the (item, location) pairs there are. Without a location the item's first level
    takes the goods, and an item without any level is passed over.
    Raises NotFound when the given location does not stock an item, Invalid for impossible units.
    """
    if any(line.quantity < 0 for line in lines):
        raise Invalid("quantity_below_zero", "quantity must not be less than 0")
    _not_absurd(line.quantity for line in lines)
    # Sorted downwards, so that the smallest location is the one that stays.
    first = dict(sorted(levels, reverse=True))
    stocked = set(levels)
    movements = []
    for line in lines:
        item_id = items.get(line.variant_id) if line.variant_id is not None else None
        if item_id is None or not line.quantity:
            continue
        if location_id is not None and (item_id, location_id) not in stocked:
            raise level_not_found(item_id=item_id, location_id=location_id)
        place = location_id if location_id is not None else first.get(item_id)
        if place is not None:
            movements.append(Movement(line.line_no, item_id, place, line.quantity))
    return movements


def totals(*, movements: Iterable[Movement]) -> list[tuple[str, str, int]]:
    """(item, location, units) per level, sorted: the order in which rows are locked."""
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for movement in movements:
        sums[movement.item_id, movement.location_id] += movement.quantity
    return [(item, location, units) for (item, location), units in sorted(sums.items())]


# What is said no with, in Medusa's words


def superseded(*, remedy_id: str) -> Conflict:
    """A reservation that comes after its own release."""
    return Conflict("superseded", f"The reservation of {remedy_id} has already been released")


def variant_not_found(*, variant_id: str) -> NotFound:
    """No such variant."""
    return NotFound("variant_not_found", f"Variant with id: {variant_id} was not found")


def item_not_found(*, item_id: str) -> NotFound:
    """No such inventory item."""
    return NotFound("inventory_item_not_found", f"InventoryItem with id {item_id} was not found")


def location_not_found(*, location_id: str) -> NotFound:
    """No such stock location."""
    return NotFound(
        "stock_location_not_found", f"StockLocation with id {location_id} was not found"
    )


def address_not_found(*, address_id: str) -> NotFound:
    """No location has this address."""
    return NotFound(
        "stock_location_address_not_found",
        f"StockLocationAddress with id {address_id} was not found",
    )


def reservation_not_found(*, reservation_id: str) -> NotFound:
    """No such reservation, or it has been released."""
    return NotFound("reservation_not_found", f"Reservation with id {reservation_id} not found")


def level_not_found(*, item_id: str, location_id: str) -> NotFound:
    """The location does not stock the item."""
    return NotFound(
        "level_not_found",
        f"Inventory level for inventory item {item_id} and location {location_id} not found",
    )


def level_exists(*, item_id: str, location_id: str) -> NotAllowed:
    """The location stocks the item already."""
    return NotAllowed(
        "level_exists",
        f"Inventory level for inventory item {item_id} and location {location_id} already exists",
    )


def item_exists() -> NotAllowed:
    """A variant has one inventory item."""
    return NotAllowed("inventory_item_exists", "Inventory Item already exists for this variant")


def level_reserved(*, item_id: str, location_id: str) -> NotAllowed:
    """What is promised there keeps the level."""
    return NotAllowed(
        "level_reserved",
        f"Cannot remove Inventory Level {item_id} at Location {location_id}"
        " because there are reserved items.",
    )


def item_reserved(*, item_id: str) -> NotAllowed:
    """What is promised of an item keeps it."""
    return NotAllowed(
        "inventory_item_reserved",
        f"Cannot remove Inventory Item {item_id} because there are reserved items.",
    )


def within_reserved(*, level: Level, on_hand: int) -> NotAllowed | None:
    """Policy: what is on hand covers what is reserved, unless backorders are allowed."""
    if on_hand >= level.reserved or level.allow_backorder:
        return None
    return NotAllowed(
        "below_reserved",
        f"stocked_quantity {on_hand} is less than the {level.reserved} units of"
        f" {level.item_id} that are reserved at {level.location_id}",
    )


# Ids that follow from others


def item_id_for(*, variant_id: str) -> str:
    """The inventory item a variant gets when nobody names another."""
    return f"iitem_{variant_id}"


def level_id(*, item_id: str, location_id: str) -> str:
    """The id under which a level is shown: it follows from its item and location."""
    return derived_id("ilev", item_id, location_id)


def address_id_for(*, location_id: str) -> str:
    """The id of the address that a location gets for itself."""
    return derived_id("laddr", location_id)
