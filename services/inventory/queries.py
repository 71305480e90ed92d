"""What can be asked of inventory: plain rows in the shapes of Medusa's API, and the export.

Lists answer ``{<plural>, count, offset, limit}``, newest first unless ``order`` says otherwise.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from chassis.db import Tx
from chassis.errors import Invalid
from chassis.values import derived_id
from services.inventory import domain, planning, store
from services.inventory.schemas import (
    InventoryItemFilters,
    Paging,
    ReservationFilters,
    StockLocationFilters,
    VariantFilters,
)

Record = dict[str, Any]
_COMPARISONS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_SEARCHES = {"contains": "%{}%", "starts_with": "{}%", "ends_with": "%{}"}


class _Where:
    """Conditions of a list, collected from its filters; values travel as parameters."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.params: Record = {}

    def one_of(self, column: str, values: Sequence[str] | None) -> None:
        if values is not None:
            self._add(f"{column} IN :{{}}", list(values))

    def equals(self, column: str, value: object) -> None:
        if value is not None:
            self._add(f"{column} = :{{}}", value)

    def compares(self, name: str, filters: Paging, *, column: str | None = None) -> None:
        """The bounds ``<name>_lt``, ``<name>_gte`` and so on of the filters."""
        for operator, sign in _COMPARISONS.items():
            value = getattr(filters, f"{name}_{operator}")
            if value is not None:
                self._add(f"{column or name} {sign} :{{}}", value)

    def searches(self, name: str, filters: Paging) -> None:
        """The searches ``<name>_contains`` and so on of the filters."""
        for operator, pattern in _SEARCHES.items():
            self.like((name,), pattern, getattr(filters, f"{name}_{operator}"))

    def like(self, columns: Sequence[str], pattern: str, value: str | None) -> None:
        if value is not None:
            escaped = value.lower()
            for sign in ("\\", "%", "_"):
                escaped = escaped.replace(sign, "\\" + sign)
            either = " OR ".join(f"LOWER({column}) LIKE :{{0}} ESCAPE '\\'" for column in columns)
            self._add(f"({either})", pattern.format(escaped))

    def exists(self, condition: str, values: Sequence[str] | None) -> None:
        if values is not None:
            self._add(f"EXISTS (SELECT 1 FROM {condition} IN :{{}})", list(values))

    def _add(self, condition: str, value: object) -> None:
        name = f"p{len(self.params)}"
        self._conditions.append(condition.format(name))
        self.params[name] = value

    @property
    def sql(self) -> str:
        return " AND ".join(self._conditions) or "1 = 1"


async def _page(
    tx: Tx, table: str, where: _Where, paging: Paging, columns: Sequence[str]
) -> tuple[list[Record], Record]:
    """The rows of a page and its envelope."""
    field = paging.order.removeprefix("-")
    if field not in columns:
        raise Invalid("order_unknown", f"Order field {field} does not exist")
    way = "DESC" if paging.order.startswith("-") else "ASC"
    rows = await tx.fetch(
        f"SELECT * FROM {table} WHERE {where.sql} ORDER BY {field} {way}, id {way}"
        " LIMIT :limit OFFSET :offset",
        **where.params,
        limit=paging.limit,
        offset=paging.offset,
    )
    count = len(rows)
    if paging.offset or count >= paging.limit:
        count = await tx.fetch_value(
            f"SELECT COUNT(*) FROM {table} WHERE {where.sql}", **where.params
        )
    return rows, {"count": count, "offset": paging.offset, "limit": paging.limit}


# Inventory items and levels

_ITEM_TEXTS = ("sku", "origin_country", "mid_code", "material", "hs_code")
_ITEM_ORDER = ("id", "created_at", "updated_at", "title", *_ITEM_TEXTS)
# Medusa tells them of a variant too; here they are known of its item.
_GOODS_FIELDS = (
    *("origin_country", "hs_code", "mid_code", "material"),
    *("weight", "length", "height", "width"),
)
_ITEM_FIELDS = (
    "id",
    "sku",
    "origin_country",
    "hs_code",
    "mid_code",
    "material",
    "weight",
    "length",
    "height",
    "width",
    "requires_shipping",
    "title",
    "description",
    "thumbnail",
    "metadata",
    "created_at",
    "updated_at",
)


async def inventory_items_page(tx: Tx, *, filters: InventoryItemFilters) -> Record:
    """A page of items, each with totals, levels and its variant; of the asked locations only."""
    where = _Where()
    where.one_of("id", filters.id)
    where.one_of("variant_id", filters.variant_id)
    for name in _ITEM_TEXTS:
        where.one_of(name, getattr(filters, name))
    where.searches("hs_code", filters)
    where.compares("hs_code", filters)
    for name in ("weight", "length", "height", "width"):
        where.equals(name, getattr(filters, name))
        where.compares(name, filters)
    where.equals("requires_shipping", filters.requires_shipping)
    where.like(("sku", "title", "description"), "%{}%", filters.q)
    where.exists(
        "levels l WHERE l.item_id = inventory_items.id AND l.location_id", filters.location_id
    )
    rows, envelope = await _page(tx, "inventory_items", where, filters, _ITEM_ORDER)
    return {"inventory_items": await _items(tx, rows, filters.location_id), **envelope}


async def inventory_item_by_id(tx: Tx, *, item_id: str) -> Record:
    """One item with totals and levels. Raises NotFound."""
    rows = await tx.fetch("SELECT * FROM inventory_items WHERE id = :id", id=item_id)
    if not rows:
        raise domain.item_not_found(item_id=item_id)
    return _item(rows[0], (await _levels(tx, [item_id]))[item_id])


async def levels_of_item(
    tx: Tx, *, item_id: str, location_ids: Sequence[str] | None = None
) -> Record:
    """``{id, location_levels}`` of one item, at all or some locations. Raises NotFound."""
    found = await tx.fetch_value("SELECT id FROM inventory_items WHERE id = :id", id=item_id)
    if found is None:
        raise domain.item_not_found(item_id=item_id)
    levels = (await _levels(tx, [item_id]))[item_id]
    return {
        "id": item_id,
        "location_levels": _at(levels, location_ids),
    }


async def _items(
    tx: Tx, rows: Sequence[Record], location_ids: Sequence[str] | None = None
) -> list[Record]:
    levels = await _levels(tx, [row["id"] for row in rows])
    variants = {
        row["id"]: _variant(row, levels[row["item_id"]])
        for row in await _variant_rows(tx, [row["variant_id"] for row in rows])
    }
    return [
        {
            **_item(row, _at(levels[row["id"]], location_ids)),
            "variants": [variants[row["variant_id"]] | {name: row[name] for name in _GOODS_FIELDS}],
        }
        for row in rows
    ]


def _at(levels: Sequence[Record], location_ids: Sequence[str] | None) -> list[Record]:
    """The levels at these locations, None for all."""
    return [
        level for level in levels if location_ids is None or level["location_id"] in location_ids
    ]


def _item(row: Record, levels: Sequence[Record]) -> Record:
    return {
        **{name: row[name] for name in _ITEM_FIELDS},
        "deleted_at": None,
        "reserved_quantity": sum(level["reserved_quantity"] for level in levels),
        "stocked_quantity": sum(level["stocked_quantity"] for level in levels),
        "location_levels": levels,
    }


async def _levels(tx: Tx, item_ids: Iterable[str]) -> dict[str, list[Record]]:
    levels: defaultdict[str, list[Record]] = defaultdict(list)
    for row in await tx.fetch(
        "SELECT item_id, location_id, on_hand, reserved, incoming, created_at, updated_at"
        " FROM levels WHERE item_id IN :ids ORDER BY item_id, created_at, location_id",
        ids=list(item_ids),
    ):
        levels[row["item_id"]].append(
            {
                "id": domain.level_id(item_id=row["item_id"], location_id=row["location_id"]),
                "inventory_item_id": row["item_id"],
                "location_id": row["location_id"],
                "stocked_quantity": row["on_hand"],
                "reserved_quantity": row["reserved"],
                "incoming_quantity": row["incoming"],
                "available_quantity": row["on_hand"] - row["reserved"],
                "metadata": None,
                "created_at": row["created_at"],
                "updated_at": row["updated_at"],
                "deleted_at": None,
            }
        )
    return levels


# Variants

# What ``inventory_quantity`` shows, as a condition; CAST because a sum is a decimal on PostgreSQL.
_AVAILABLE = (
    "CASE WHEN manage_inventory THEN (SELECT CAST(COALESCE(SUM(l.on_hand - l.reserved), 0)"
    " AS BIGINT) FROM levels l JOIN inventory_items i ON i.id = l.item_id"
    " WHERE i.variant_id = variants.id) ELSE 0 END"
)
_VARIANT_ORDER = ("id", "created_at", "updated_at", "title", "product_title", "sku")


async def variants_page(tx: Tx, *, filters: VariantFilters) -> Record:
    """A page of variants in Medusa's shape, with prices, product and ``inventory_quantity``."""
    where = _Where()
    where.one_of("id", filters.wanted)
    where.one_of("sku", filters.sku)
    where.one_of("title", filters.title)
    where.equals("manage_inventory", filters.manage_inventory)
    where.equals("allow_backorder", filters.allow_backorder)
    where.equals(_AVAILABLE, filters.inventory_quantity)
    where.compares("inventory_quantity", filters, column=_AVAILABLE)
    for name in ("created_at", "updated_at"):
        where.compares(name, filters)
    where.like(("title", "product_title", "sku"), "%{}%", filters.q)
    rows, envelope = await _page(tx, "variants", where, filters, _VARIANT_ORDER)
    items = {
        row["variant_id"]: row["id"]
        for row in await tx.fetch(
            "SELECT id, variant_id FROM inventory_items WHERE variant_id IN :ids",
            ids=[row["id"] for row in rows],
        )
    }
    for row in rows:
        row["item_id"] = items.get(row["id"])
    levels = await _levels(tx, items.values())
    found = [_variant(row, levels.get(row["item_id"] or "", ())) for row in rows]
    if filters.currency_code is not None:
        for variant, row in zip(found, rows, strict=True):
            price = domain.price_of(
                prices=store.prices(row),
                currency_code=filters.currency_code,
                region_id=filters.region_id,
            )
            variant |= {"original_price": price, "calculated_price": price}
    return {"variants": found, **envelope}


async def variant_inventory(tx: Tx, *, variant_id: str) -> Record:
    """``{id, inventory, sales_channel_availability}`` of one variant. Raises NotFound."""
    found = await tx.fetch_value("SELECT id FROM variants WHERE id = :id", id=variant_id)
    if found is None:
        raise domain.variant_not_found(variant_id=variant_id)
    rows = await tx.fetch("SELECT * FROM inventory_items WHERE variant_id = :id", id=variant_id)
    channels = await tx.fetch(
        "SELECT c.sales_channel_id, SUM(l.on_hand - l.reserved) AS available"
        " FROM channel_locations c JOIN levels l ON l.location_id = c.location_id"
        " JOIN inventory_items i ON i.id = l.item_id WHERE i.variant_id = :id"
        " GROUP BY c.sales_channel_id ORDER BY c.sales_channel_id",
        id=variant_id,
    )
    return {
        "id": variant_id,
        "inventory": await _items(tx, rows),
        "sales_channel_availability": [
            {
                "channel_id": row["sales_channel_id"],
                "available_quantity": int(row["available"]),
            }
            for row in channels
        ],
    }


async def _variant_rows(tx: Tx, ids: Iterable[str]) -> list[Record]:
    return await tx.fetch(
        "SELECT v.*, i.id AS item_id FROM variants v"
        " LEFT JOIN inventory_items i ON i.variant_id = v.id WHERE v.id IN :ids ORDER BY v.id",
        ids=list(ids),
    )


def _variant(row: Record, levels: Sequence[Record]) -> Record:
    counted = levels if row["manage_inventory"] else ()
    product_id = derived_id("prod", row["product_title"] or row["id"])
    stamps = {
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "deleted_at": None,
    }
    return {
        "id": row["id"],
        "title": row["title"],
        "product_id": product_id,
        "product": {"id": product_id, "title": row["product_title"] or row["title"]},
        "sku": row["sku"],
        "barcode": None,
        "ean": None,
        "upc": None,
        "variant_rank": 0,
        "inventory_quantity": sum(level["available_quantity"] for level in counted),
        "allow_backorder": row["allow_backorder"],
        "manage_inventory": row["manage_inventory"],
        "prices": [
            {
                "id": derived_id(
                    "ma", row["id"], price["currency_code"], price.get("region_id") or "", str(n)
                ),
                "currency_code": price["currency_code"],
                "amount": price["amount"],
                "min_quantity": None,
                "max_quantity": None,
                "price_list_id": None,
                "region_id": price.get("region_id"),
                **stamps,
            }
            for n, price in enumerate(row["prices"])
        ],
        "options": [],
        "tax_rate": row["tax_rate"],
        "categories": row["categories"] or [],
        "final_sale": bool(row["final_sale"]),
        "metadata": row["metadata"],
        **stamps,
    }


# Stock locations


async def stock_locations_page(tx: Tx, *, filters: StockLocationFilters) -> Record:
    """A page of locations; ``expand`` adds ``address`` and ``sales_channels``."""
    where = _Where()
    where.one_of("id", filters.id)
    where.one_of("name", filters.name)
    where.one_of("address_id", filters.address_id)
    for name in ("created_at", "updated_at"):
        where.compares(name, filters)
    where.like(("name",), "%{}%", filters.q)
    where.exists(
        "channel_locations c WHERE c.location_id = stock_locations.id AND c.sales_channel_id",
        filters.sales_channel_id,
    )
    columns = ("id", "created_at", "updated_at", "name")
    rows, envelope = await _page(tx, "stock_locations", where, filters, columns)
    return {"stock_locations": await _locations(tx, rows, filters.expand), **envelope}


async def stock_location_by_id(tx: Tx, *, location_id: str, expand: str = "") -> Record:
    """One location; ``expand`` adds ``address`` and ``sales_channels``. Raises NotFound."""
    rows = await tx.fetch("SELECT * FROM stock_locations WHERE id = :id", id=location_id)
    if not rows:
        raise domain.location_not_found(location_id=location_id)
    return (await _locations(tx, rows, expand))[0]


async def _locations(tx: Tx, rows: Sequence[Record], expand: str) -> list[Record]:
    relations = expand.split(",")
    locations = [
        {
            "id": row["id"],
            "name": row["name"],
            "address_id": row["address_id"],
            "metadata": row["metadata"],
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
        }
        for row in rows
    ]
    if "address" in relations:
        for location, row in zip(locations, rows, strict=True):
            address = row["address"]
            location["address"] = address and {**address, "id": row["address_id"]}
    if "sales_channels" in relations:
        channels: defaultdict[str, list[Record]] = defaultdict(list)
        for row in await tx.fetch(
            "SELECT sales_channel_id, location_id FROM channel_locations"
            " WHERE location_id IN :ids ORDER BY sales_channel_id",
            ids=[row["id"] for row in rows],
        ):
            channels[row["location_id"]].append({"id": row["sales_channel_id"]})
        for location in locations:
            location["sales_channels"] = channels[location["id"]]
    return locations


# Reservations

_RESERVATION_ORDER = ("id", "created_at", "updated_at", "quantity", "location_id", "item_id")


async def reservations_page(tx: Tx, *, filters: ReservationFilters) -> Record:
    """A page of what is reserved now; ``expand=inventory_item`` joins the item."""
    where = _Where()
    where.equals("state", "held")
    where.one_of("location_id", filters.location_id)
    where.one_of("item_id", filters.inventory_item_id)
    where.one_of("line_id", filters.line_item_id)
    where.one_of("created_by", filters.created_by)
    where.one_of("remedy_id", filters.remedy_id)
    where.equals("quantity", filters.quantity)
    where.equals("description", filters.description)
    where.searches("description", filters)
    for name in ("quantity", "created_at", "updated_at", "description"):
        where.compares(name, filters)
    rows, envelope = await _page(tx, "reservations", where, filters, _RESERVATION_ORDER)
    found = await _reservations(tx, rows, filters.expands("inventory_item"))
    return {"reservations": found, **envelope}


async def reservation_by_id(tx: Tx, *, reservation_id: str, expand: str = "") -> Record:
    """One reservation that is held. Raises NotFound."""
    rows = await tx.fetch(
        "SELECT * FROM reservations WHERE id = :id AND state = 'held'", id=reservation_id
    )
    if not rows:
        raise domain.reservation_not_found(reservation_id=reservation_id)
    return (await _reservations(tx, rows, "inventory_item" in expand.split(",")))[0]


async def _reservations(tx: Tx, rows: Sequence[Record], expand: bool) -> list[Record]:
    items: dict[str, Record] = {}
    if expand:
        items = {
            row["id"]: {**{name: row[name] for name in _ITEM_FIELDS}, "deleted_at": None}
            for row in await tx.fetch(
                "SELECT * FROM inventory_items WHERE id IN :ids",
                ids=[row["item_id"] for row in rows],
            )
        }
    return [
        {
            "id": row["id"],
            "line_item_id": row["line_id"],
            "inventory_item_id": row["item_id"],
            "location_id": row["location_id"],
            "quantity": row["quantity"],
            "external_id": row["external_id"],
            "description": row["description"],
            "created_by": row["created_by"],
            "metadata": row["metadata"],
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
            "deleted_at": None,
            **({"inventory_item": items.get(row["item_id"])} if expand else {}),
        }
        for row in rows
    ]


# Export


async def export_page(tx: Tx, *, cursor: str | None, limit: int) -> Record:
    """A piece of the import document, and ``next``: the cursor of the following piece or None.

    Locations and channels come with the first piece, then variants, then levels.
    """
    section, *after = _cursor(cursor)
    page: Record = {
        "stock_locations": [],
        "sales_channels": [],
        "variants": [],
        "inventory_levels": [],
        "next": None,
    }
    if section == "start":
        page["stock_locations"] = await tx.fetch(
            "SELECT id, name, address, metadata FROM stock_locations ORDER BY id"
        )
        page["sales_channels"] = await _exported_channels(tx)
        section, after = "variants", [""]
    if section == "variants":
        page["variants"] = await _exported_variants(tx, after[0], limit)
        if len(page["variants"]) == limit:
            return {**page, "next": json.dumps(["variants", page["variants"][-1]["id"]])}
        section, after = "levels", ["", ""]
    levels = await tx.fetch(
        "SELECT l.item_id AS inventory_item_id, i.variant_id, l.location_id,"
        " l.on_hand AS stocked_quantity, l.incoming AS incoming_quantity"
        " FROM levels l JOIN inventory_items i ON i.id = l.item_id"
        " WHERE (l.item_id, l.location_id) > (:item, :location)"
        " ORDER BY l.item_id, l.location_id LIMIT :limit",
        item=after[0],
        location=after[1],
        limit=limit,
    )
    if len(levels) == limit:
        last = levels[-1]
        page["next"] = json.dumps(["levels", last["inventory_item_id"], last["location_id"]])
    return {**page, "inventory_levels": levels}


def _cursor(text: str | None) -> list[str]:
    if text is None:
        return ["start"]
    try:
        parts = json.loads(text)
    except ValueError:
        parts = None
    sizes = {"variants": 2, "levels": 3}
    if (
        not isinstance(parts, list)
        or not parts
        or any(not isinstance(part, str) for part in parts)
        or sizes.get(parts[0]) != len(parts)
    ):
        raise Invalid("cursor_unknown", "cursor must be one that an export has given")
    return parts


async def _exported_channels(tx: Tx) -> list[Record]:
    channels: defaultdict[str, list[str]] = defaultdict(list)
    for row in await tx.fetch("SELECT sales_channel_id, location_id FROM channel_locations"):
        channels[row["sales_channel_id"]].append(row["location_id"])
    return [
        {"id": channel_id, "stock_location_ids": sorted(location_ids)}
        for channel_id, location_ids in sorted(channels.items())
    ]


async def _exported_variants(tx: Tx, after: str, limit: int) -> list[Record]:
    rows = await tx.fetch(
        "SELECT v.*, i.id AS item_id FROM variants v"
        " LEFT JOIN inventory_items i ON i.variant_id = v.id"
        " WHERE v.id > :after ORDER BY v.id LIMIT :limit",
        after=after,
        limit=limit,
    )
    exported = []
    for row in rows:
        record = {name: row[name] for name in planning.VARIANT_FIELDS}
        if row["item_id"] not in (None, domain.item_id_for(variant_id=row["id"])):
            record["inventory_item_id"] = row["item_id"]
        exported.append(record)
    return exported
