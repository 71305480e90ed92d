"""Every statement that writes reservations: those of remedies, and those that people make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chassis.db import Transient, Tx
from chassis.values import new_id
from services.inventory import store
from services.inventory.domain import Record
from services.inventory.reservations import Reservation


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
    return bool(await tx.insert(store.reservation_groups, [row], ignore_conflicts=True))


async def add_reservations(tx: Tx, rows: Sequence[Record], *, now: datetime) -> None:
    """Write held reservations and raise what their levels have reserved.

    Raises Transient when a level cannot give that much: its figures moved without the lock.
    """
    for item_id, location_id, units in store.sums(rows):
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
    await tx.insert(store.reservations, [{**row, **stamps} for row in rows])


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
    for item_id, place, units in store.sums(ended):
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
    await tx.insert(store.reserved_lines, [{"line_id": line_id}], ignore_conflicts=True)
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
        await tx.insert(store.reservations, [row])


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
