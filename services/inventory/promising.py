"""Reservations that people make, change and end.

Locks are taken in one order: the claim that a line is a replacement of, as the release of a claim
does; the line, so that what is held for it is added up by one person at a time; the levels of the
item; the reservation. Who takes stock for a line takes the levels only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from chassis import audit, idempotency, outbox
from chassis.db import Transient, Tx
from chassis.errors import Refusal
from chassis.idempotency import Caller
from chassis.values import derived_id, new_id
from contracts.inventory import (
    ReservationItemCreated,
    ReservationItemDeleted,
    ReservationItemUpdated,
)
from services.inventory import reservations, store, store_fulfillments, store_reservations
from services.inventory.reservations import Line, Reservation


async def create(
    tx: Tx, wanted: Reservation, line_unfulfilled: int | None, caller: Caller, now: datetime
) -> str:
    """Promise what is wanted (its id is made here), or add it to what its line has there."""
    line_id, place = wanted.line_id, (wanted.item_id, wanted.location_id)
    remedy_id = None
    if line_id is not None:
        remedy_id = await _living_remedy(tx, line_id)
        await store_reservations.lock_line(tx, line_id)
        if await store_fulfillments.is_released_line(tx, line_id):
            raise reservations.order_over(line_id=line_id)
    level = await store.lock_level(tx, item_id=wanted.item_id, location_id=wanted.location_id)
    others = await store_reservations.held_for_line(tx, line_id) if line_id is not None else []
    same = next((each for each in others if (each.item_id, each.location_id) == place), None)
    made = await idempotency.take_key(tx, caller, subject_id=same.id if same else _fresh_id(caller))
    if made is not None:
        return made
    reservations.check_new(
        item_id=wanted.item_id,
        location_id=wanted.location_id,
        quantity=wanted.quantity,
        level=level,
        line=_line(line_id, line_unfulfilled, others),
    )
    if same is not None:
        given = {name: getattr(wanted, name) for name in ("description", "metadata")}
        words = {name: value for name, value in given.items() if value is not None}
        more = same.quantity + wanted.quantity
        await _change(tx, same, replace(same, quantity=more, **words), now)
        return same.id
    held = replace(wanted, id=_fresh_id(caller), remedy_id=remedy_id)
    row = {**asdict(held), "created_by": caller.principal, "external_id": remedy_id}
    await store_reservations.add_reservations(tx, [row], now=now)
    await _say(tx, held.id, ReservationItemCreated(ids=[held.id], **_state(held)))
    await _note(tx, "created", held, None, _state(held))
    return held.id


def _fresh_id(caller: Caller) -> str:
    """The id follows from the attempt, so that its repeat finds the reservation it made."""
    if caller.key is None:
        return new_id("resitem")
    return derived_id("resitem", caller.principal, caller.key)


async def update(
    tx: Tx,
    reservation_id: str,
    changes: Mapping[str, Any],
    line_unfulfilled: int | None,
    caller: Caller,
    now: datetime,
) -> None:
    """Change or move what is held; ``changes`` are fields of a Reservation."""
    before, others = await _lock(tx, reservation_id)
    if await idempotency.take_key(tx, caller, subject_id=reservation_id) is not None:
        return
    after = replace(before, **changes)
    levels, _ = await store.lock_levels(tx, [before.item_id])
    await _still_the_same(tx, before)
    raised = after.quantity > before.quantity
    reservations.check_change(
        before=before,
        location_id=after.location_id,
        quantity=after.quantity,
        level=next((each for each in levels if each.location_id == after.location_id), None),
        line=_line(before.line_id, line_unfulfilled, others) if raised else None,
    )
    moved = after.location_id != before.location_id
    place = (before.item_id, after.location_id)
    if moved and before.line_id and place in {(o.item_id, o.location_id) for o in others}:
        raise reservations.already_there(line_id=before.line_id, location_id=after.location_id)
    await _change(tx, before, after, now)


async def recheck(
    tx: Tx, reservation_id: str, units: int, line_unfulfilled: int, now: datetime
) -> Refusal | None:
    """Give back units that the line turns out not to need; the refusal then, else None."""
    if await store_reservations.held_reservation(tx, reservation_id) is None:
        return None
    held, others = await _lock(tx, reservation_id)
    promised = held.quantity + sum(each.quantity for each in others)
    if held.line_id is None or promised <= line_unfulfilled:
        return None
    await store.lock_levels(tx, [held.item_id])
    await _still_the_same(tx, held)
    if held.quantity > units:
        await _change(tx, held, replace(held, quantity=held.quantity - units), now)
    else:
        await _end(tx, held, now)
    return reservations.over_line()


async def delete(tx: Tx, reservation_id: str, now: datetime) -> None:
    """End what is held, by hand."""
    held, _ = await _lock(tx, reservation_id)
    await store.lock_levels(tx, [held.item_id])
    await _still_the_same(tx, held)
    await _end(tx, held, now)


async def _end(tx: Tx, held: Reservation, now: datetime) -> None:
    await store_reservations.end_reservation(tx, held, now=now)
    event = ReservationItemDeleted(ids=[held.id], line_item_id=held.line_id)
    await _say(tx, held.id, event)
    await _note(tx, "deleted", held, _state(held), None)


async def _lock(tx: Tx, reservation_id: str) -> tuple[Reservation, list[Reservation]]:
    """What is held, and what else is held for its line; both stay as long as the transaction."""
    found = await store_reservations.held_reservation(tx, reservation_id)
    if found is None:
        raise reservations.not_held(reservation_id=reservation_id)
    if found.remedy_id is not None:
        await store_reservations.reservation_group(tx, found.remedy_id, lock=True)
    of_line: list[Reservation] = []
    if found.line_id is not None:
        await store_reservations.lock_line(tx, found.line_id)
        of_line = await store_reservations.held_for_line(tx, found.line_id)
    held = await store_reservations.held_reservation(tx, reservation_id)
    if held is None:
        raise reservations.not_held(reservation_id=reservation_id)
    return held, [each for each in of_line if each.id != reservation_id]


async def _still_the_same(tx: Tx, held: Reservation) -> None:
    """Under the lock of its levels: whoever takes stock for a line takes only that lock."""
    if await store_reservations.held_reservation(tx, held.id, lock=True) != held:
        raise Transient(f"{held.id} was changed at the same moment")


async def _living_remedy(tx: Tx, line_id: str) -> str | None:
    """The claim that a line is a replacement of, so that its end frees this reservation too."""
    found = await store_reservations.lock_remedy_of_line(tx, line_id)
    if found is None:
        return None
    remedy_id, state = found
    if state != "held":
        raise reservations.remedy_over(line_id=line_id)
    return remedy_id


def _line(line_id: str | None, unfulfilled: int | None, others: list[Reservation]) -> Line | None:
    if line_id is None:
        return None
    if unfulfilled is None:
        raise reservations.line_unchecked()
    return Line(line_id, unfulfilled, sum(each.quantity for each in others))


async def _change(tx: Tx, before: Reservation, after: Reservation, now: datetime) -> None:
    await store_reservations.change_reservation(tx, before, after, now=now)
    event = ReservationItemUpdated(id=after.id, **_state(after))
    await _say(tx, after.id, event)
    names = ("location_id", "quantity", "description", "metadata")
    old, new = ({name: getattr(each, name) for name in names} for each in (before, after))
    was, became = audit.changes(old, new)
    await _note(tx, "updated", after, was, became)


def _state(held: Reservation) -> dict[str, Any]:
    return {
        "line_item_id": held.line_id,
        "inventory_item_id": held.item_id,
        "location_id": held.location_id,
        "quantity": held.quantity,
    }


async def _note(
    tx: Tx, what: str, held: Reservation, before: dict[str, Any] | None, after: Any
) -> None:
    """About the claim it is for, whose books are then compared; else about the reservation."""
    await audit.record(
        tx,
        action=f"reservation.{what}",
        about=f"claim/{held.remedy_id}" if held.remedy_id else f"reservation/{held.id}",
        before=before,
        after=after,
        note=f"reservation {held.id}",
    )


async def _say(tx: Tx, reservation_id: str, event: Any) -> None:
    await outbox.put(tx, event, about=f"reservation/{reservation_id}")
