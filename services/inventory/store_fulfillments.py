"""Every statement that writes what fulfillments take from stock and canceled orders free again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from chassis.db import Transient, Tx
from chassis.values import derived_id
from services.inventory import store
from services.inventory.domain import Level, LevelKey, Movement, Record


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
    return bool(await tx.insert(store.stock_uses, [row], ignore_conflicts=True))


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
            await store.update_row(tx, store.reservations, reservation_id, used)
        else:
            rest = {"quantity": row["quantity"] - units, "updated_at": now}
            await store.update_row(tx, store.reservations, reservation_id, rest)
            part = {
                **used,
                "id": derived_id("resitem", fulfillment_id, reservation_id),
                "quantity": units,
            }
            await tx.insert(store.reservations, [{**row, **part}])
        await store.add_reserved(tx, row["item_id"], row["location_id"], -units, now)


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
    return [store.level_of(row) for row in rows]


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
            await store.update_row(tx, store.reservations, row["id"], {**free, **ended})
            continue
        other = await _held_beside(tx, row)
        if other is None:
            await store.update_row(tx, store.reservations, row["id"], {**free, "state": "held"})
        else:
            more = {"quantity": other["quantity"] + row["quantity"], "updated_at": now}
            await store.update_row(tx, store.reservations, other["id"], more)
            await store.delete_row(tx, store.reservations, row["id"])
        await store.add_reserved(tx, row["item_id"], row["location_id"], row["quantity"], now)


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


async def remember_lines(tx: Tx, *, order_id: str, line_ids: Iterable[str], now: datetime) -> None:
    """Nothing is held for these lines from now on."""
    await tx.insert(
        store.released_lines,
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
    for item_id, place, units in store.sums(ended):
        await store.add_reserved(tx, item_id, place, -units, now)
    units_of: dict[str, int] = {}
    for row in ended:
        units_of[row["line_id"]] = units_of.get(row["line_id"], 0) + row["quantity"]
    return units_of
