"""How an import is planned: what each record means, what it changes, and why it is refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chassis.errors import Invalid, NotAllowed, NotFound, Refusal
from chassis.values import derived_id
from services.inventory.domain import (
    Level,
    LevelKey,
    Record,
    address_id_for,
    item_exists,
    item_id_for,
    item_not_found,
    location_not_found,
    variant_not_found,
    within_reserved,
)


@dataclass(frozen=True)
class Known:
    """What the database holds of the things a document names: rows by id, as they are stored."""

    locations: Mapping[str, Record] = field(default_factory=dict)
    channels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    variants: Mapping[str, Record] = field(default_factory=dict)
    items: Mapping[str, Record] = field(default_factory=dict)
    levels: Mapping[LevelKey, Record] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """Well-formed records, each with its path, in the import format."""

    stock_locations: Sequence[tuple[str, Record]] = ()
    sales_channels: Sequence[tuple[str, Record]] = ()
    variants: Sequence[tuple[str, Record]] = ()
    inventory_levels: Sequence[tuple[str, Record]] = ()


@dataclass
class Outcome:
    """What became of the records. ``refusals`` are ``{path, id, code, message}``."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refusals: list[Record] = field(default_factory=list)

    def count(self, before: object, after: object) -> None:
        """Book one record by comparing what was stored with what it asks for."""
        if before is None:
            self.created += 1
        elif before == after:
            self.unchanged += 1
        else:
            self.updated += 1

    def refuse(self, path: str, record_id: str | None, refusal: Refusal) -> None:
        """Book one refused record."""
        self.refusals.append(
            {
                "path": path,
                "id": record_id,
                "code": refusal.code,
                "message": refusal.message,
            }
        )

    def as_answer(self) -> Record:
        """The answer of the import call."""
        return {
            "created": self.created,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "refused": len(self.refusals),
            "refusals": self.refusals,
        }


@dataclass(frozen=True)
class ImportPlan:
    """The wanted state of everything a document names, beside what was known; nothing written.

    ``new`` and ``changed`` of each kind are found by comparing with ``Known``.
    """

    locations: Mapping[str, Record]
    channels: Mapping[str, Sequence[str]]
    variants: Mapping[str, Record]
    items: Mapping[str, Record]
    levels: Mapping[LevelKey, Record]
    outcome: Outcome


def plan_import(*, document: Document, known: Known) -> ImportPlan:
    """Decide every record of a document in its order; a refused one does not stop the others.

    A record is the whole truth about its id: keys it leaves out take their defaults, except
    ``incoming_quantity`` and ``stock_location_ids``, which then stay as they are.
    """
    plan = _Planner(known)
    for path, record in document.stock_locations:
        plan.location(path, record)
    for path, record in document.sales_channels:
        plan.channel(path, record)
    plan.wish_item_ids(document.inventory_levels)
    for path, record in document.variants:
        plan.variant(path, record)
    for path, record in document.inventory_levels:
        plan.level(path, record)
    return ImportPlan(
        plan.locations, plan.channels, plan.variants, plan.items, plan.levels, plan.outcome
    )


def location_id_for(record: Record) -> str:
    """The id of an imported location: its own, or one that its name always gives."""
    return str(record["id"] or derived_id("sloc", record["name"]))


def variant_id_for(record: Record) -> str:
    """The id of an imported variant: its own, or one that its sku and titles always give."""
    return str(
        record["id"]
        or derived_id(
            "variant", record["sku"] or "", record["product_title"] or "", record["title"]
        )
    )


class _Planner:
    """The state while a document is gone through, one method per kind of record."""

    def __init__(self, known: Known) -> None:
        self.locations = dict(known.locations)
        self.channels = dict(known.channels)
        self.variants = dict(known.variants)
        self.items = dict(known.items)
        self.levels = dict(known.levels)
        self.outcome = Outcome()
        self._item_of = {item["variant_id"]: item_id for item_id, item in known.items.items()}
        self._items_by_sku: defaultdict[str, set[str]] = defaultdict(set)
        for item_id, item in known.items.items():
            if item["sku"]:
                self._items_by_sku[item["sku"]].add(item_id)
        self._levels_of_item: defaultdict[str, list[LevelKey]] = defaultdict(list)
        for key in known.levels:
            self._levels_of_item[key[0]].append(key)
        self._wished: dict[str, str] = {}

    def location(self, path: str, record: Record) -> None:
        location_id = location_id_for(record)
        before = self.locations.get(location_id)
        address_id = address_id_for(location_id=location_id) if record["address"] else None
        if before is not None and before["address"] == record["address"]:
            address_id = before["address_id"]
        wanted = {
            "id": location_id,
            "name": record["name"],
            "address_id": address_id,
            "address": record["address"],
            "metadata": record["metadata"],
        }
        self.outcome.count(before, wanted)
        self.locations[location_id] = wanted

    def channel(self, path: str, record: Record) -> None:
        before = self.channels.get(record["id"])
        asked = record["stock_location_ids"]
        missing = [each for each in asked or () if each not in self.locations]
        if missing:
            refusal = location_not_found(location_id=missing[0])
            self.outcome.refuse(path, record["id"], refusal)
            return
        # A channel nobody mapped has no row here: "without locations" is what it already is.
        wanted = sorted(set(asked)) if asked is not None else list(before or ())
        self.outcome.count(before if before or wanted else wanted, wanted)
        self.channels[record["id"]] = wanted

    def wish_item_ids(self, levels: Sequence[tuple[str, Record]]) -> None:
        """A level that names both a variant and an item names the item of that variant."""
        for _, record in levels:
            if record["variant_id"] and record["inventory_item_id"]:
                self._wished.setdefault(record["variant_id"], record["inventory_item_id"])

    def variant(self, path: str, record: Record) -> None:
        wanted = {name: record[name] for name in VARIANT_FIELDS}
        wanted["id"] = variant_id_for(record)
        try:
            self._take_variant(wanted, record["inventory_item_id"])
        except Refusal as refusal:
            self.outcome.refuse(path, wanted["id"], refusal)

    def _take_variant(self, wanted: Record, named_item: str | None) -> None:
        variant_id = wanted["id"]
        item_id = self._item_of.get(variant_id)
        levels = self._levels_of_item[item_id] if item_id else []
        for key in levels:
            at = self.levels[key]
            if at["reserved"] > at["on_hand"] and not wanted["allow_backorder"]:
                raise NotAllowed(
                    "backorders_reserved",
                    f"Variant with id: {variant_id} has backorders at {key[1]},"
                    " so allow_backorder must stay true",
                )
        if item_id is not None and named_item is not None and named_item != item_id:
            raise item_exists()
        if item_id is None and wanted["manage_inventory"]:
            item_id = named_item or self._wished.get(variant_id)
            item_id = item_id or item_id_for(variant_id=variant_id)
            if item_id in self.items:
                raise NotAllowed(
                    "inventory_item_taken",
                    f"Inventory Item {item_id} belongs to another variant",
                )
        self.outcome.count(self.variants.get(variant_id), wanted)
        self.variants[variant_id] = wanted
        for key in levels:
            if self.levels[key]["allow_backorder"] != wanted["allow_backorder"]:
                self.levels[key] = {
                    **self.levels[key],
                    "allow_backorder": wanted["allow_backorder"],
                }
        if item_id is not None:
            self._take_item(item_id, wanted)

    def _take_item(self, item_id: str, variant: Record) -> None:
        before = self.items.get(item_id)
        if before is not None and before["sku"]:
            self._items_by_sku[before["sku"]].discard(item_id)
        self.items[item_id] = {
            "id": item_id,
            "variant_id": variant["id"],
            "sku": variant["sku"],
            "title": before["title"] if before is not None else variant["title"],
        }
        self._item_of[variant["id"]] = item_id
        if variant["sku"]:
            self._items_by_sku[variant["sku"]].add(item_id)

    def level(self, path: str, record: Record) -> None:
        names = (record["inventory_item_id"], record["variant_id"], record["sku"])
        try:
            self._take_level(self._resolve_item(*names), record)
        except Refusal as refusal:
            self.outcome.refuse(path, next(filter(None, names), None), refusal)

    def _resolve_item(self, item_id: str | None, variant_id: str | None, sku: str | None) -> str:
        """The one item that all given names mean."""
        meant: list[set[str]] = []
        if item_id is not None:
            if item_id not in self.items:
                raise item_not_found(item_id=item_id)
            meant.append({item_id})
        if variant_id is not None:
            if variant_id not in self.variants:
                raise variant_not_found(variant_id=variant_id)
            if variant_id not in self._item_of:
                raise NotAllowed(
                    "stock_not_managed",
                    f"Variant with id: {variant_id} has no inventory item:"
                    " its stock is not managed",
                )
            meant.append({self._item_of[variant_id]})
        if sku is not None:
            meant.append(self._items_by_sku.get(sku) or set())
            if not meant[-1]:
                raise NotFound(
                    "inventory_item_not_found", f"InventoryItem with sku {sku} was not found"
                )
        if not meant:
            raise Invalid(
                "item_unnamed", "one of inventory_item_id, variant_id, sku should not be empty"
            )
        common = set.intersection(*meant)
        if len(common) != 1:
            raise Invalid(
                "item_ambiguous",
                f"inventory_item_id, variant_id and sku name {len(common) or 'different'} items",
            )
        return common.pop()

    def _take_level(self, item_id: str, record: Record) -> None:
        location_id = record["location_id"]
        if location_id not in self.locations:
            raise location_not_found(location_id=location_id)
        key = (item_id, location_id)
        before = self.levels.get(key)
        variant = self.variants[self.items[item_id]["variant_id"]]
        wanted = {
            "item_id": item_id,
            "location_id": location_id,
            "on_hand": record["stocked_quantity"],
            "reserved": before["reserved"] if before else 0,
            "incoming": before["incoming"] if before else 0,
            "allow_backorder": variant["allow_backorder"],
        }
        if record["incoming_quantity"] is not None:
            wanted["incoming"] = record["incoming_quantity"]
        refusal = within_reserved(
            level=Level(item_id, location_id, 0, wanted["reserved"], wanted["allow_backorder"]),
            on_hand=wanted["on_hand"],
        )
        if refusal is not None:
            raise refusal
        self.outcome.count(before, wanted)
        self.levels[key] = wanted
        if before is None:
            self._levels_of_item[item_id].append(key)


VARIANT_FIELDS = (
    "id",
    "title",
    "product_title",
    "sku",
    "manage_inventory",
    "allow_backorder",
    "prices",
    "tax_rate",
    "metadata",
    "categories",
    "final_sale",
)
