"""The tables of inventory and every statement that writes them.

What is on hand and what is reserved change by guarded statements with the difference in them,
never by reading, adding and writing back; rows of levels are locked in the order (item, location).
Every change of what is on hand writes its movement, so a level is the sum of its movements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from chassis.audit import audit_table
from chassis.db import Instant, Json, Serial, Transient, Tx, metadata
from chassis.idempotency import idempotency_table
from chassis.inbox import inbox_table
from chassis.outbox import outbox_table
from services.inventory.domain import Level, LevelKey, Movement, Price, Record, Variant

METADATA = metadata()
outbox_table(METADATA)
inbox_table(METADATA)
audit_table(METADATA)
idempotency_table(METADATA)

_Text = sa.Text()

variants = sa.Table(
    "variants",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("title", _Text, nullable=False),
    sa.Column("product_title", _Text),
    sa.Column("sku", _Text, index=True),
    sa.Column("manage_inventory", sa.Boolean, nullable=False, default=True),
    sa.Column("allow_backorder", sa.Boolean, nullable=False, default=False),
    # Read and written whole, and never searched: a table of their own would only be joined back.
    sa.Column("prices", Json, nullable=False),
    sa.Column("tax_rate", sa.Float),
    sa.Column("metadata", Json),
    sa.Column("categories", Json),
    sa.Column("final_sale", sa.Boolean),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

inventory_items = sa.Table(
    "inventory_items",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("variant_id", _Text, sa.ForeignKey("variants.id"), nullable=False, unique=True),
    sa.Column("sku", _Text, index=True),
    sa.Column("title", _Text),
    sa.Column("description", _Text),
    sa.Column("thumbnail", _Text),
    sa.Column("origin_country", _Text),
    sa.Column("hs_code", _Text),
    sa.Column("mid_code", _Text),
    sa.Column("material", _Text),
    sa.Column("weight", sa.Float),
    sa.Column("length", sa.Float),
    sa.Column("height", sa.Float),
    sa.Column("width", sa.Float),
    sa.Column("requires_shipping", sa.Boolean, nullable=False, default=True),
    sa.Column("metadata", Json),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

stock_locations = sa.Table(
    "stock_locations",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("name", _Text, nullable=False),
    # Locations at one address share its id and, each for itself, its lines.
    sa.Column("address_id", _Text, index=True),
    sa.Column("address", Json),
    sa.Column("metadata", Json),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

channel_locations = sa.Table(
    "channel_locations",
    METADATA,
    sa.Column("sales_channel_id", _Text, primary_key=True),
    sa.Column(
        "location_id", _Text, sa.ForeignKey("stock_locations.id"), primary_key=True, index=True
    ),
)

levels = sa.Table(
    "levels",
    METADATA,
    sa.Column("item_id", _Text, sa.ForeignKey("inventory_items.id"), primary_key=True),
    sa.Column(
        "location_id", _Text, sa.ForeignKey("stock_locations.id"), primary_key=True, index=True
    ),
    sa.Column("on_hand", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False, default=0),
    sa.Column("incoming", sa.BigInteger, nullable=False, default=0),
    # Copied from the variant, because a constraint sees only its own row.
    sa.Column("allow_backorder", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.CheckConstraint("on_hand >= 0", name="on_hand"),
    sa.CheckConstraint("reserved >= 0", name="reserved"),
    sa.CheckConstraint("incoming >= 0", name="incoming"),
    sa.CheckConstraint("reserved <= on_hand OR allow_backorder", name="oversell"),
)

reservation_groups = sa.Table(
    "reservation_groups",
    METADATA,
    sa.Column("remedy_id", _Text, primary_key=True),
    sa.Column("state", _Text, nullable=False),
    # What was answered, so that the same command is answered the same again.
    sa.Column("reply", Json),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("released_at", Instant),
    sa.CheckConstraint("state IN ('held', 'released')", name="state"),
)

reservations = sa.Table(
    "reservations",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("remedy_id", _Text, sa.ForeignKey("reservation_groups.remedy_id"), index=True),
    sa.Column("line_id", _Text, index=True),
    sa.Column("item_id", _Text, nullable=False),
    sa.Column("location_id", _Text, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("state", _Text, nullable=False),
    sa.Column("description", _Text),
    sa.Column("external_id", _Text),
    sa.Column("created_by", _Text),
    sa.Column("metadata", Json),
    # Who ended it: the release of its remedy or order, or an operator who removed the location.
    sa.Column("release_cause", _Text),
    # The fulfillment that used it up.
    sa.Column("fulfillment_id", _Text, index=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("released_at", Instant),
    sa.CheckConstraint("quantity > 0", name="quantity"),
    sa.CheckConstraint("state IN ('held', 'released', 'consumed')", name="state"),
    sa.CheckConstraint(
        "(state = 'released') = (release_cause IS NOT NULL)"
        " AND (release_cause IS NULL OR release_cause IN ('command', 'manual'))",
        name="release_cause",
    ),
    sa.CheckConstraint(
        "(state = 'consumed') = (fulfillment_id IS NOT NULL)", name="fulfillment_id"
    ),
    sa.Index("ix_reservations_item_id_location_id", "item_id", "location_id"),
    sa.Index(
        "uq_reservations_live",
        "remedy_id",
        "line_id",
        "location_id",
        unique=True,
        postgresql_where=sa.text("state = 'held' AND remedy_id IS NOT NULL"),
        sqlite_where=sa.text("state = 'held' AND remedy_id IS NOT NULL"),
    ),
    sa.Index(
        "uq_reservations_of_line",
        "line_id",
        "item_id",
        "location_id",
        unique=True,
        postgresql_where=sa.text("state = 'held' AND remedy_id IS NULL"),
        sqlite_where=sa.text("state = 'held' AND remedy_id IS NULL"),
    ),
)

# One row per line that people have reserved for: locking it puts them in a line, so that what is
# held for it is counted and changed by one at a time, at whatever locations.
reserved_lines = sa.Table(
    "reserved_lines",
    METADATA,
    sa.Column("line_id", _Text, primary_key=True),
)

receipts = sa.Table(
    "receipts",
    METADATA,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("return_id", _Text, nullable=False),
    sa.Column("state", _Text, nullable=False),
    sa.Column("reply", Json, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.CheckConstraint("state IN ('booked', 'rejected')", name="state"),
)

# What fulfillments took. A row without a reply is a tombstone: it was put back before it was taken.
stock_uses = sa.Table(
    "stock_uses",
    METADATA,
    sa.Column("fulfillment_id", _Text, primary_key=True),
    sa.Column("order_id", _Text, nullable=False),
    sa.Column("state", _Text, nullable=False),
    sa.Column("reply", Json),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("restored_at", Instant),
    sa.CheckConstraint("state IN ('consumed', 'restored')", name="state"),
)

# Lines of canceled orders: nothing is held for them again.
released_lines = sa.Table(
    "released_lines",
    METADATA,
    sa.Column("line_id", _Text, primary_key=True),
    sa.Column("order_id", _Text, nullable=False, index=True),
    sa.Column("released_at", Instant, nullable=False),
)

# The journal outlives levels, items and locations: it refers to them without foreign keys.
movements = sa.Table(
    "movements",
    METADATA,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("cause_kind", _Text, nullable=False),
    sa.Column("cause_id", _Text, nullable=False),
    sa.Column("line_no", sa.Integer, nullable=False),
    sa.Column("item_id", _Text, nullable=False),
    sa.Column("location_id", _Text, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("cause_kind", "cause_id", "line_no"),
    sa.CheckConstraint("quantity <> 0", name="quantity"),
    sa.CheckConstraint(
        "cause_kind IN ('receipt', 'import', 'count', 'removal', 'fulfillment', 'restoration')",
        name="cause_kind",
    ),
    sa.Index("ix_movements_item_id_location_id", "item_id", "location_id"),
)


# Reading for a decision


def prices(row: Mapping[str, Any]) -> tuple[Price, ...]:
    """The prices of a variant's row."""
    return tuple(
        Price(price["currency_code"], price["amount"], price.get("region_id"))
        for price in row["prices"]
    )


def _variant(row: Mapping[str, Any]) -> Variant:
    return Variant(
        id=row["id"],
        title=row["title"],
        product_title=row["product_title"],
        sku=row["sku"],
        manage_inventory=row["manage_inventory"],
        allow_backorder=row["allow_backorder"],
        prices=prices(row),
        item_id=row["item_id"],
    )


def level_of(row: Mapping[str, Any]) -> Level:
    """A level from its row."""
    return Level(
        item_id=row["item_id"],
        location_id=row["location_id"],
        on_hand=row["on_hand"],
        reserved=row["reserved"],
        allow_backorder=bool(row["allow_backorder"]),
        in_channel=bool(row.get("in_channel")),
    )


async def variants_by_id(tx: Tx, ids: Iterable[str]) -> dict[str, Variant]:
    """The variants there are, each with its item."""
    rows = await tx.fetch(
        "SELECT v.id, v.title, v.product_title, v.sku, v.manage_inventory, v.allow_backorder,"
        " v.prices, i.id AS item_id FROM variants v"
        " LEFT JOIN inventory_items i ON i.variant_id = v.id WHERE v.id IN :ids",
        ids=sorted(set(ids)),
    )
    return {row["id"]: _variant(row) for row in rows}


async def lock_levels(
    tx: Tx, items: Iterable[str], *, sales_channel_id: str | None = None
) -> tuple[list[Level], bool]:
    """All levels of the items, locked, and whether the sales channel has locations of its own.

    Whoever changes several levels locks them here first: what is decided on these figures then
    cannot fail, and the common order keeps transactions from waiting for each other in a ring.
    """
    rows = await tx.fetch(
        "SELECT item_id, location_id, on_hand, reserved, allow_backorder,"
        " EXISTS (SELECT 1 FROM channel_locations c WHERE c.location_id = levels.location_id"
        " AND c.sales_channel_id = :channel) AS in_channel,"
        " EXISTS (SELECT 1 FROM channel_locations c WHERE c.sales_channel_id = :channel)"
        " AS channel_is_mapped"
        " FROM levels WHERE item_id IN :items ORDER BY item_id, location_id FOR UPDATE",
        items=sorted(set(items)),
        channel=sales_channel_id or "",
    )
    return [level_of(row) for row in rows], any(row["channel_is_mapped"] for row in rows)


async def location_facts(tx: Tx, *, sales_channel_id: str | None) -> tuple[bool, bool]:
    """Whether the sales channel has locations of its own, and whether there is any location."""
    mapped = await tx.fetch_one(
        "SELECT location_id FROM channel_locations WHERE sales_channel_id = :id LIMIT 1",
        id=sales_channel_id or "",
    )
    any_location = await tx.fetch_one("SELECT id FROM stock_locations LIMIT 1")
    return mapped is not None, any_location is not None


async def lock_level(tx: Tx, *, item_id: str, location_id: str) -> Level | None:
    """One level, locked."""
    row = await tx.fetch_one(
        "SELECT item_id, location_id, on_hand, reserved, allow_backorder FROM levels"
        " WHERE item_id = :item AND location_id = :location FOR UPDATE",
        item=item_id,
        location=location_id,
    )
    return level_of(row) if row else None


async def level_state(tx: Tx, *, item_id: str, location_id: str) -> Record:
    """The figures of a level that is there, as events tell them."""
    row = await tx.fetch_one(
        "SELECT item_id AS inventory_item_id, location_id, on_hand AS stocked_quantity,"
        " reserved AS reserved_quantity, incoming AS incoming_quantity FROM levels"
        " WHERE item_id = :item AND location_id = :location",
        item=item_id,
        location=location_id,
    )
    return row or {}


async def lock_levels_at(tx: Tx, location_id: str) -> list[Level]:
    """All levels of a location, locked."""
    rows = await tx.fetch(
        "SELECT item_id, location_id, on_hand, reserved, allow_backorder FROM levels"
        " WHERE location_id = :location ORDER BY item_id, location_id FOR UPDATE",
        location=location_id,
    )
    return [level_of(row) for row in rows]


async def has(tx: Tx, table: sa.Table, record_id: str) -> bool:
    """Whether a table holds this id; the row then stays until the transaction ends."""
    sql = f"SELECT id FROM {table.name} WHERE id = :id FOR UPDATE"
    return await tx.fetch_one(sql, id=record_id) is not None


# Stock


async def receipt_reply(tx: Tx, receipt_id: str) -> Record | None:
    """State and stored reply of a receipt."""
    return await tx.fetch_one("SELECT state, reply FROM receipts WHERE id = :id", id=receipt_id)


async def add_receipt(
    tx: Tx, *, receipt_id: str, return_id: str, state: str, reply: Record, now: datetime
) -> bool:
    """Remember a receipt; False when another transaction was first."""
    row = {
        "id": receipt_id,
        "return_id": return_id,
        "state": state,
        "reply": reply,
        "created_at": now,
    }
    return bool(await tx.insert(receipts, [row], ignore_conflicts=True))


async def add_reserved(tx: Tx, item_id: str, location_id: str, units: int, now: datetime) -> None:
    """So many units more (or less) of an item are reserved at a place. Raises Transient when the
    level is gone."""
    changed = await tx.execute(
        "UPDATE levels SET reserved = reserved + :units, updated_at = :now"
        " WHERE item_id = :item AND location_id = :location",
        units=units,
        now=now,
        item=item_id,
        location=location_id,
    )
    if not changed:
        raise Transient(f"{item_id} at {location_id} is gone")


def sums(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """Units by item and place, in the order in which levels are locked."""
    units: dict[LevelKey, int] = {}
    for row in rows:
        key = (row["item_id"], row["location_id"])
        units[key] = units.get(key, 0) + row["quantity"]
    return [(item, location, number) for (item, location), number in sorted(units.items())]


async def move_stock(
    tx: Tx, moves: Sequence[Movement], *, cause_kind: str, cause_id: str, now: datetime
) -> None:
    """Change what is on hand and write the journal; the levels exist and are locked already."""
    for item_id, location_id, units in sums(
        {"item_id": move.item_id, "location_id": move.location_id, "quantity": move.quantity}
        for move in moves
    ):
        moved = await tx.execute(
            "UPDATE levels SET on_hand = on_hand + :units, updated_at = :now"
            " WHERE item_id = :item AND location_id = :location AND on_hand + :units >= 0",
            units=units,
            now=now,
            item=item_id,
            location=location_id,
        )
        if not moved:
            raise Transient(f"{item_id} at {location_id} cannot change by {units} units")
    await record_movements(tx, moves, cause_kind=cause_kind, cause_id=cause_id, now=now)


async def record_movements(
    tx: Tx, moves: Sequence[Movement], *, cause_kind: str, cause_id: str, now: datetime
) -> None:
    """Write the journal for levels that were inserted with, or lose, these quantities."""
    await tx.insert(
        movements,
        [
            {
                "cause_kind": cause_kind,
                "cause_id": cause_id,
                "line_no": move.line_no,
                "item_id": move.item_id,
                "location_id": move.location_id,
                "quantity": move.quantity,
                "created_at": now,
            }
            for move in moves
        ],
    )


async def backorder_rule(tx: Tx, item_id: str) -> bool | None:
    """Whether the item's variant may be promised beyond its stock; None for an unknown item."""
    row = await tx.fetch_one(
        "SELECT v.allow_backorder FROM inventory_items i JOIN variants v ON v.id = i.variant_id"
        " WHERE i.id = :id",
        id=item_id,
    )
    return bool(row["allow_backorder"]) if row else None


async def add_level(
    tx: Tx,
    *,
    item_id: str,
    location_id: str,
    on_hand: int,
    incoming: int,
    allow_backorder: bool,
    now: datetime,
) -> bool:
    """A new level; False when there is one."""
    row = {
        "item_id": item_id,
        "location_id": location_id,
        "on_hand": on_hand,
        "incoming": incoming,
        "allow_backorder": allow_backorder,
        "created_at": now,
        "updated_at": now,
    }
    return bool(await tx.insert(levels, [row], ignore_conflicts=True))


async def set_incoming(
    tx: Tx, *, item_id: str, location_id: str, incoming: int, now: datetime
) -> None:
    """What is expected at a level."""
    await tx.execute(
        "UPDATE levels SET incoming = :incoming, updated_at = :now"
        " WHERE item_id = :item AND location_id = :location",
        incoming=incoming,
        now=now,
        item=item_id,
        location=location_id,
    )


async def delete_levels(tx: Tx, keys: Iterable[LevelKey]) -> None:
    """Remove levels that hold nothing reserved; their movements were written before."""
    for item_id, location_id in sorted(keys):
        await tx.execute(
            "DELETE FROM levels WHERE item_id = :item AND location_id = :location",
            item=item_id,
            location=location_id,
        )


# Items, locations, channels


async def update_row(tx: Tx, table: sa.Table, record_id: str, changes: Mapping[str, Any]) -> None:
    """Set columns of one row; the names of ``changes`` are columns of the table."""
    unknown = set(changes) - {column.name for column in table.columns}
    if unknown:
        raise KeyError(f"{table.name} has no column {', '.join(sorted(unknown))}")
    sets = ", ".join(f"{name} = :{name}" for name in sorted(changes))
    sql = f"UPDATE {table.name} SET {sets} WHERE id = :id"
    await tx.execute(sql, **{**changes, "id": record_id})


async def delete_row(tx: Tx, table: sa.Table, record_id: str) -> None:
    """Remove one row."""
    sql = f"DELETE FROM {table.name} WHERE id = :id"
    await tx.execute(sql, id=record_id)


async def add_item(tx: Tx, row: Record) -> bool:
    """A new inventory item; False when its variant or its id has one."""
    return bool(await tx.insert(inventory_items, [row], ignore_conflicts=True))


async def map_channel(tx: Tx, channel_id: str, location_ids: Iterable[str]) -> None:
    """Say which locations serve a sales channel, and only these."""
    await tx.execute("DELETE FROM channel_locations WHERE sales_channel_id = :id", id=channel_id)
    await tx.insert(
        channel_locations,
        [{"sales_channel_id": channel_id, "location_id": each} for each in location_ids],
    )


async def address(tx: Tx, address_id: str) -> Record | None:
    """The address that a location has under this id."""
    row = await tx.fetch_one(
        "SELECT address FROM stock_locations WHERE address_id = :id ORDER BY id LIMIT 1",
        id=address_id,
    )
    return row["address"] if row else None


async def address_id_of(tx: Tx, location_id: str) -> str | None:
    """The id of a location's address, None without one."""
    found = await tx.fetch_value(
        "SELECT address_id FROM stock_locations WHERE id = :id", id=location_id
    )
    return str(found) if found is not None else None


async def change_address(tx: Tx, address_id: str, changed: Record, *, now: datetime) -> None:
    """Change an address for every location that has it."""
    await tx.execute(
        "UPDATE stock_locations SET address = :address, updated_at = :now WHERE address_id = :id",
        address=changed,
        now=now,
        id=address_id,
    )


async def unmap_location(tx: Tx, location_id: str) -> None:
    """The location serves no sales channel any more."""
    await tx.execute("DELETE FROM channel_locations WHERE location_id = :id", id=location_id)
