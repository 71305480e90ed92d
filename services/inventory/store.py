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
from chassis.values import derived_id, new_id
from services.inventory.domain import Known, Level, LevelKey, Movement, Price, Record, Variant
from services.inventory.reservations import Reservation

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


def _level(row: Mapping[str, Any]) -> Level:
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
    return [_level(row) for row in rows], any(row["channel_is_mapped"] for row in rows)


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
    return _level(row) if row else None


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
    return [_level(row) for row in rows]


async def has(tx: Tx, table: sa.Table, record_id: str) -> bool:
    """Whether a table holds this id; the row then stays until the transaction ends."""
    sql = f"SELECT id FROM {table.name} WHERE id = :id FOR UPDATE"
    return await tx.fetch_one(sql, id=record_id) is not None


# Reservations


async def reservation_group(tx: Tx, remedy_id: str, *, lock: bool = False) -> Record | None:
    """State and stored reply of what was reserved for a remedy."""
    return await tx.fetch_one(
        "SELECT state, reply FROM reservation_groups WHERE remedy_id = :id"
        + (" FOR UPDATE" if lock else ""),
        id=remedy_id,
    )


async def add_reservation_group(
    tx: Tx, *, remedy_id: str, state: str, reply: Record | None, now: datetime
) -> bool:
    """Remember a remedy; False when another transaction was first."""
    row = {
        "remedy_id": remedy_id,
        "state": state,
        "reply": reply,
        "created_at": now,
        "released_at": now if state == "released" else None,
    }
    return bool(await tx.insert(reservation_groups, [row], ignore_conflicts=True))


async def add_reservations(tx: Tx, rows: Sequence[Record], *, now: datetime) -> None:
    """Write held reservations and raise what their levels have reserved.

    Raises Transient when a level cannot give that much: its figures moved without the lock.
    """
    for item_id, location_id, units in _sums(rows):
        reserved = await tx.execute(
            "UPDATE levels SET reserved = reserved + :units, updated_at = :now"
            " WHERE item_id = :item AND location_id = :location"
            " AND (on_hand - reserved >= :units OR allow_backorder = TRUE)",
            units=units,
            now=now,
            item=item_id,
            location=location_id,
        )
        if not reserved:
            raise Transient(f"{item_id} at {location_id} no longer has {units} units")
    stamps = {"state": "held", "created_at": now, "updated_at": now}
    await tx.insert(reservations, [{**row, **stamps} for row in rows])


async def lock_levels_of_remedy(tx: Tx, remedy_id: str) -> None:
    """Lock the levels that a remedy has reserved on, in the common order."""
    await tx.fetch(
        "SELECT item_id FROM levels WHERE (item_id, location_id) IN"
        " (SELECT item_id, location_id FROM reservations"
        " WHERE remedy_id = :id AND state = 'held')"
        " ORDER BY item_id, location_id FOR UPDATE",
        id=remedy_id,
    )


async def release_reservations(
    tx: Tx,
    *,
    remedy_id: str | None = None,
    location_id: str | None = None,
    cause: str,
    now: datetime,
) -> int:
    """End what is held for a remedy or at a location; its levels are locked already.

    Levels go down by the rows that were really ended here, so a repeat takes nothing.
    """
    column, value = (
        ("remedy_id", remedy_id) if remedy_id is not None else ("location_id", location_id)
    )
    ended = await tx.fetch(
        "UPDATE reservations SET state = 'released', release_cause = :cause, released_at = :now,"
        f" updated_at = :now WHERE {column} = :value AND state = 'held'"
        " RETURNING item_id, location_id, quantity",
        cause=cause,
        now=now,
        value=value,
    )
    for item_id, place, units in _sums(ended):
        await tx.execute(
            "UPDATE levels SET reserved = reserved - :units, updated_at = :now"
            " WHERE item_id = :item AND location_id = :location",
            units=units,
            now=now,
            item=item_id,
            location=place,
        )
    return len(ended)


async def mark_group_released(tx: Tx, remedy_id: str, *, now: datetime) -> None:
    """The remedy holds nothing any more; its row stays as the tombstone."""
    await tx.execute(
        "UPDATE reservation_groups SET state = 'released', released_at = :now"
        " WHERE remedy_id = :id AND state = 'held'",
        id=remedy_id,
        now=now,
    )


# Fulfillments


async def stock_use(tx: Tx, fulfillment_id: str, *, lock: bool = False) -> Record | None:
    """State and stored reply of what a fulfillment took."""
    return await tx.fetch_one(
        "SELECT state, reply FROM stock_uses WHERE fulfillment_id = :id"
        + (" FOR UPDATE" if lock else ""),
        id=fulfillment_id,
    )


async def add_stock_use(
    tx: Tx, *, fulfillment_id: str, order_id: str, state: str, reply: Record | None, now: datetime
) -> bool:
    """Remember a fulfillment; False when another transaction was first."""
    row = {
        "fulfillment_id": fulfillment_id,
        "order_id": order_id,
        "state": state,
        "reply": reply,
        "created_at": now,
        "restored_at": now if state == "restored" else None,
    }
    return bool(await tx.insert(stock_uses, [row], ignore_conflicts=True))


async def mark_use_restored(tx: Tx, fulfillment_id: str, *, now: datetime) -> None:
    """The fulfillment has nothing out of stock any more; its row stays as the tombstone."""
    await tx.execute(
        "UPDATE stock_uses SET state = 'restored', restored_at = :now"
        " WHERE fulfillment_id = :id AND state = 'consumed'",
        id=fulfillment_id,
        now=now,
    )


async def held_for_lines(tx: Tx, line_ids: Iterable[str]) -> list[Record]:
    """What is held for these lines, locked, the newest first; lock the levels before."""
    return await tx.fetch(
        "SELECT id, remedy_id, line_id, item_id, location_id, quantity FROM reservations"
        " WHERE line_id IN :lines AND state = 'held' ORDER BY created_at DESC, id DESC FOR UPDATE",
        lines=sorted(set(line_ids)),
    )


async def use_reservations(
    tx: Tx, takes: Iterable[tuple[str, int]], *, fulfillment_id: str, now: datetime
) -> None:
    """Use up (reservation id, units); of one that has more, the rest stays held."""
    for reservation_id, units in takes:
        row = await tx.fetch_one("SELECT * FROM reservations WHERE id = :id", id=reservation_id)
        if row is None or row["state"] != "held" or row["quantity"] < units:
            raise Transient(f"reservation {reservation_id} changed meanwhile")
        used = {"state": "consumed", "fulfillment_id": fulfillment_id, "updated_at": now}
        if row["quantity"] == units:
            await update_row(tx, reservations, reservation_id, used)
        else:
            rest = {"quantity": row["quantity"] - units, "updated_at": now}
            await update_row(tx, reservations, reservation_id, rest)
            part = {
                **used,
                "id": derived_id("resitem", fulfillment_id, reservation_id),
                "quantity": units,
            }
            await tx.insert(reservations, [{**row, **part}])
        await _add_reserved(tx, row["item_id"], row["location_id"], -units, now)


async def lock_levels_of_use(tx: Tx, fulfillment_id: str) -> list[Level]:
    """Lock the levels that a fulfillment took from, goods or reservations, in the common order."""
    rows = await tx.fetch(
        "SELECT item_id, location_id, on_hand, reserved, allow_backorder FROM levels"
        " WHERE (item_id, location_id) IN (SELECT item_id, location_id FROM movements"
        " WHERE cause_kind = 'fulfillment' AND cause_id = :id)"
        " OR (item_id, location_id) IN (SELECT item_id, location_id FROM reservations"
        " WHERE fulfillment_id = :id) ORDER BY item_id, location_id FOR UPDATE",
        id=fulfillment_id,
    )
    return [_level(row) for row in rows]


async def moved_by(tx: Tx, *, cause_kind: str, cause_id: str) -> list[Movement]:
    """The movements of one cause."""
    rows = await tx.fetch(
        "SELECT line_no, item_id, location_id, quantity FROM movements"
        " WHERE cause_kind = :kind AND cause_id = :id ORDER BY line_no",
        kind=cause_kind,
        id=cause_id,
    )
    return [Movement(**row) for row in rows]


async def hold_again(
    tx: Tx, fulfillment_id: str, *, levels: Iterable[LevelKey], now: datetime
) -> None:
    """Hold once more what a fulfillment had used of reservations; ``levels`` are those there are.

    A line has one reservation of an item at a place: what it holds there grows. What was released
    meanwhile (its order or its claim is canceled, its level is gone) is released, not held.
    """
    there = set(levels)
    used = await tx.fetch(
        "SELECT r.id, r.remedy_id, r.line_id, r.item_id, r.location_id, r.quantity,"
        " g.state AS remedy_state, l.line_id AS released_line FROM reservations r"
        " LEFT JOIN reservation_groups g ON g.remedy_id = r.remedy_id"
        " LEFT JOIN released_lines l ON l.line_id = r.line_id"
        " WHERE r.fulfillment_id = :id ORDER BY r.id",
        id=fulfillment_id,
    )
    for row in used:
        free: Record = {"fulfillment_id": None, "updated_at": now}
        is_over = row["remedy_state"] == "released" or row["released_line"] is not None
        if is_over or (row["item_id"], row["location_id"]) not in there:
            cause = "command" if is_over else "manual"
            ended = {"state": "released", "release_cause": cause, "released_at": now}
            await update_row(tx, reservations, row["id"], {**free, **ended})
            continue
        other = await _held_beside(tx, row)
        if other is None:
            await update_row(tx, reservations, row["id"], {**free, "state": "held"})
        else:
            more = {"quantity": other["quantity"] + row["quantity"], "updated_at": now}
            await update_row(tx, reservations, other["id"], more)
            await delete_row(tx, reservations, row["id"])
        await _add_reserved(tx, row["item_id"], row["location_id"], row["quantity"], now)


async def _held_beside(tx: Tx, row: Record) -> Record | None:
    """What is held for the same line, item and place; its level is locked."""
    return await tx.fetch_one(
        "SELECT id, quantity FROM reservations WHERE line_id = :line AND item_id = :item"
        " AND location_id = :location AND COALESCE(remedy_id, '') = :remedy AND state = 'held'"
        " ORDER BY created_at DESC, id DESC LIMIT 1",
        line=row["line_id"],
        item=row["item_id"],
        location=row["location_id"],
        remedy=row["remedy_id"] or "",
    )


async def _add_reserved(tx: Tx, item_id: str, location_id: str, units: int, now: datetime) -> None:
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


async def remember_lines(tx: Tx, *, order_id: str, line_ids: Iterable[str], now: datetime) -> None:
    """Nothing is held for these lines from now on."""
    await tx.insert(
        released_lines,
        [
            {"line_id": line_id, "order_id": order_id, "released_at": now}
            for line_id in sorted(set(line_ids))
        ],
        ignore_conflicts=True,
    )


async def is_released_line(tx: Tx, line_id: str) -> bool:
    """Whether the line's order is canceled; lock the line before."""
    sql = "SELECT line_id FROM released_lines WHERE line_id = :id"
    return await tx.fetch_one(sql, id=line_id) is not None


async def release_lines(tx: Tx, line_ids: Iterable[str], *, now: datetime) -> dict[str, int]:
    """End what is held for these lines; units by line. Levels are locked in the common order."""
    ids = sorted(set(line_ids))
    await tx.fetch(
        "SELECT item_id FROM levels WHERE (item_id, location_id) IN"
        " (SELECT item_id, location_id FROM reservations"
        " WHERE line_id IN :lines AND state = 'held')"
        " ORDER BY item_id, location_id FOR UPDATE",
        lines=ids,
    )
    ended = await tx.fetch(
        "UPDATE reservations SET state = 'released', release_cause = 'command',"
        " released_at = :now, updated_at = :now WHERE line_id IN :lines AND state = 'held'"
        " RETURNING line_id, item_id, location_id, quantity",
        now=now,
        lines=ids,
    )
    for item_id, place, units in _sums(ended):
        await _add_reserved(tx, item_id, place, -units, now)
    units_of: dict[str, int] = {}
    for row in ended:
        units_of[row["line_id"]] = units_of.get(row["line_id"], 0) + row["quantity"]
    return units_of


def _sums(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    sums: dict[LevelKey, int] = {}
    for row in rows:
        key = (row["item_id"], row["location_id"])
        sums[key] = sums.get(key, 0) + row["quantity"]
    return [(item, location, units) for (item, location), units in sorted(sums.items())]


# Reservations by people


def _reservation(row: Mapping[str, Any]) -> Reservation:
    return Reservation(
        id=row["id"],
        item_id=row["item_id"],
        location_id=row["location_id"],
        quantity=row["quantity"],
        line_id=row["line_id"],
        remedy_id=row["remedy_id"],
        description=row["description"],
        metadata=row["metadata"],
    )


async def held_reservation(
    tx: Tx, reservation_id: str, *, lock: bool = False
) -> Reservation | None:
    """A reservation that is held. Its level is locked before the row is."""
    row = await tx.fetch_one(
        "SELECT * FROM reservations WHERE id = :id AND state = 'held'"
        + (" FOR UPDATE" if lock else ""),
        id=reservation_id,
    )
    return _reservation(row) if row else None


async def lock_line(tx: Tx, line_id: str) -> None:
    """Until the transaction ends no other person promises anything to this line."""
    await tx.insert(reserved_lines, [{"line_id": line_id}], ignore_conflicts=True)
    await tx.fetch("SELECT line_id FROM reserved_lines WHERE line_id = :id FOR UPDATE", id=line_id)


async def held_for_line(tx: Tx, line_id: str) -> list[Reservation]:
    """What is held for a line, at whatever location."""
    rows = await tx.fetch(
        "SELECT * FROM reservations WHERE line_id = :id AND state = 'held' ORDER BY id", id=line_id
    )
    return [_reservation(row) for row in rows]


async def lock_remedy_of_line(tx: Tx, line_id: str) -> tuple[str, str] | None:
    """(remedy id, state) of the claim that a line is a replacement of, locked; None for others."""
    remedy_id = await tx.fetch_value(
        "SELECT remedy_id FROM reservations WHERE line_id = :id AND remedy_id IS NOT NULL LIMIT 1",
        id=line_id,
    )
    if remedy_id is None:
        return None
    group = await reservation_group(tx, remedy_id, lock=True)
    return (remedy_id, group["state"]) if group else None


async def change_reservation(
    tx: Tx, before: Reservation, after: Reservation, *, now: datetime
) -> None:
    """Give a held reservation another quantity, place or description; its levels are locked.

    What a claim holds less than before is kept as released by hand.
    Raises Transient when a level cannot give that much: its figures moved without the lock.
    """
    if (after.location_id, after.quantity) != (before.location_id, before.quantity):
        await _lower(tx, before, now=now)
        raised = await tx.execute(
            "UPDATE levels SET reserved = reserved + :units, updated_at = :now"
            " WHERE item_id = :item AND location_id = :location"
            " AND (on_hand - reserved >= :units OR allow_backorder = TRUE)",
            units=after.quantity,
            now=now,
            item=after.item_id,
            location=after.location_id,
        )
        if not raised:
            raise Transient(f"{after.item_id} at {after.location_id} has too little")
    await tx.execute(
        "UPDATE reservations SET location_id = :location, quantity = :quantity,"
        " description = :description, metadata = :metadata, updated_at = :now"
        " WHERE id = :id AND state = 'held'",
        location=after.location_id,
        quantity=after.quantity,
        description=after.description,
        metadata=after.metadata,
        now=now,
        id=before.id,
    )
    freed = before.quantity - after.quantity
    if freed > 0 and before.remedy_id is not None:
        row = {
            "id": new_id("resitem"),
            "remedy_id": before.remedy_id,
            "line_id": before.line_id,
            "item_id": before.item_id,
            "location_id": before.location_id,
            "quantity": freed,
            "state": "released",
            "release_cause": "manual",
            "created_at": now,
            "updated_at": now,
            "released_at": now,
        }
        await tx.insert(reservations, [row])


async def end_reservation(tx: Tx, held: Reservation, *, now: datetime) -> None:
    """End a held reservation by hand; its level is locked already."""
    await tx.execute(
        "UPDATE reservations SET state = 'released', release_cause = 'manual', released_at = :now,"
        " updated_at = :now WHERE id = :id AND state = 'held'",
        id=held.id,
        now=now,
    )
    await _lower(tx, held, now=now)


async def _lower(tx: Tx, held: Reservation, *, now: datetime) -> None:
    await tx.execute(
        "UPDATE levels SET reserved = reserved - :units, updated_at = :now"
        " WHERE item_id = :item AND location_id = :location",
        units=held.quantity,
        now=now,
        item=held.item_id,
        location=held.location_id,
    )


async def held_at(tx: Tx, location_id: str) -> list[str]:
    """Ids of what is held at a location; its levels are locked already."""
    rows = await tx.fetch(
        "SELECT id FROM reservations WHERE location_id = :id AND state = 'held' ORDER BY id",
        id=location_id,
    )
    return [row["id"] for row in rows]


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


async def move_stock(
    tx: Tx, moves: Sequence[Movement], *, cause_kind: str, cause_id: str, now: datetime
) -> None:
    """Change what is on hand and write the journal; the levels exist and are locked already."""
    for item_id, location_id, units in _sums(
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


# Importing

_KNOWN_VARIANT = (
    "id, title, product_title, sku, manage_inventory, allow_backorder, prices, tax_rate,"
    " metadata, categories, final_sale"
)


async def known(
    tx: Tx,
    *,
    location_ids: Iterable[str],
    channel_ids: Iterable[str],
    variant_ids: Iterable[str],
    item_ids: Iterable[str],
    skus: Iterable[str],
) -> Known:
    """What there is of the things a document names; levels are locked."""
    locations = await tx.fetch(
        "SELECT id, name, address_id, address, metadata FROM stock_locations WHERE id IN :ids",
        ids=sorted(set(location_ids)),
    )
    channels: dict[str, list[str]] = {}
    for row in await tx.fetch(
        "SELECT sales_channel_id, location_id FROM channel_locations"
        " WHERE sales_channel_id IN :ids",
        ids=sorted(set(channel_ids)),
    ):
        channels.setdefault(row["sales_channel_id"], []).append(row["location_id"])
    named = sorted(set(variant_ids))
    items = await tx.fetch(
        "SELECT id, variant_id, sku, title FROM inventory_items"
        " WHERE id IN :ids OR variant_id IN :variants OR sku IN :skus",
        ids=sorted(set(item_ids)),
        variants=named,
        skus=sorted(set(skus)),
    )
    found = await tx.fetch(
        f"SELECT {_KNOWN_VARIANT} FROM variants WHERE id IN :ids",
        ids=sorted({*named, *(item["variant_id"] for item in items)}),
    )
    stock = await tx.fetch(
        "SELECT item_id, location_id, on_hand, reserved, incoming, allow_backorder FROM levels"
        " WHERE item_id IN :items ORDER BY item_id, location_id FOR UPDATE",
        items=sorted(item["id"] for item in items),
    )
    return Known(
        locations={row["id"]: row for row in locations},
        channels={each: sorted(location_ids) for each, location_ids in channels.items()},
        variants={row["id"]: row for row in found},
        items={row["id"]: row for row in items},
        levels={(row["item_id"], row["location_id"]): row for row in stock},
    )


async def save_rows(
    tx: Tx,
    table: sa.Table,
    before: Mapping[str, Record],
    after: Mapping[str, Record],
    *,
    now: datetime,
) -> None:
    """Insert the rows that are new and update those that differ; equal rows cost nothing."""
    await tx.insert(
        table,
        [
            {**row, "created_at": now, "updated_at": now}
            for record_id, row in after.items()
            if record_id not in before
        ],
    )
    for record_id, row in sorted(after.items()):
        old = before.get(record_id)
        if old is not None and old != row:
            changes = {name: value for name, value in row.items() if value != old[name]}
            await update_row(tx, table, record_id, {**changes, "updated_at": now})


async def save_levels(
    tx: Tx,
    before: Mapping[LevelKey, Record],
    after: Mapping[LevelKey, Record],
    *,
    cause_id: str,
    now: datetime,
) -> None:
    """Insert and update levels as an import wants them, with a movement for each difference.

    Existing levels are locked. What is reserved is never written: only reservations change it.
    """
    fresh = [(key, row) for key, row in sorted(after.items()) if key not in before]
    await tx.insert(levels, [{**row, "created_at": now, "updated_at": now} for _, row in fresh])
    for (item_id, location_id), row in sorted(after.items()):
        old = before.get((item_id, location_id))
        if old is not None and old != row:
            await tx.execute(
                "UPDATE levels SET on_hand = :on_hand, incoming = :incoming,"
                " allow_backorder = :backorder, updated_at = :now"
                " WHERE item_id = :item AND location_id = :location",
                on_hand=row["on_hand"],
                incoming=row["incoming"],
                backorder=row["allow_backorder"],
                now=now,
                item=item_id,
                location=location_id,
            )
    differences = [
        (key, row["on_hand"] - (before[key]["on_hand"] if key in before else 0))
        for key, row in sorted(after.items())
    ]
    moves = [(key, units) for key, units in differences if units]
    await record_movements(
        tx,
        [
            Movement(number, item_id, location_id, units)
            for number, ((item_id, location_id), units) in enumerate(moves, start=1)
        ],
        cause_kind="import",
        cause_id=cause_id,
        now=now,
    )
