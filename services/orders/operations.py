"""What can be done to an order, its fulfillments, its customer and its notes.

Every operation locks the order first and decides on what it then reads. What claims and returns
ask of an order is in ``operations_claims`` and ``operations_returns``, what moves money by hand or
by a provider's answer in ``operations_money``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from chassis import audit, idempotency, saga_log
from chassis.db import Row, Tx
from chassis.idempotency import Caller
from chassis.inbox import Retry
from chassis.outbox import put
from chassis.sagas import Saga
from chassis.values import new_id
from contracts.orders import (
    NoteCreated,
    NoteDeleted,
    NoteUpdated,
)
from services.orders import (
    changing,
    domain,
    fulfilling,
    fulfillments,
    importing,
    paying,
    saga,
    store,
    store_goods,
)
from services.orders.paying import OpenOrder


@dataclass(frozen=True)
class Accepted:
    """What was taken on, and what to wait for; ``done``: nothing is left to wait for."""

    id: str
    wait_for: str
    done: bool


# ---------------------------------------------------------------------------------- the order


async def complete_order(tx: Tx, *, order_id: str, caller: Caller, now: datetime) -> None:
    """Declare an order completed. Raises for a canceled one."""
    if await idempotency.take_key(tx, caller, subject_id=order_id) is None:
        order = await paying.known_order(tx, order_id)
        changing.complete(order)
        await paying.close_order(tx, order, now)


async def archive_order(tx: Tx, *, order_id: str, caller: Caller, now: datetime) -> None:
    """Put a completed order away. Raises for any other."""
    if await idempotency.take_key(tx, caller, subject_id=order_id) is None:
        order = await paying.known_order(tx, order_id)
        changing.archive(order)
        await paying.close_order(tx, order, now)


async def cancel_order(tx: Tx, *, order_id: str, caller: Caller, now: datetime) -> Accepted:
    """Cancel an order with its payments; its reservations are released. Raises in Medusa's words.

    One that is canceled already is left alone.
    """
    wait_for = changing.cancel_saga_id(order_id)
    if await idempotency.take_key(tx, caller, subject_id=order_id) is not None:
        return Accepted(order_id, wait_for, done=False)
    order = await paying.known_order(tx, order_id)
    done = await changing.cancel(tx, order, now)
    await paying.close_order(tx, order, now)
    return Accepted(order_id, wait_for, done=done)


async def update_order(
    tx: Tx, *, order_id: str, changes: Mapping[str, Any], caller: Caller, now: datetime
) -> None:
    """Correct an order's email, addresses, customer or wish for mail. Raises in Medusa's words."""
    if await idempotency.take_key(tx, caller, subject_id=order_id) is None:
        order = await paying.known_order(tx, order_id)
        await changing.correct(tx, order, changes, now)
        await paying.close_order(tx, order, now)


async def add_shipping_method(
    tx: Tx,
    *,
    order_id: str,
    option_id: str,
    price: int,
    data: Mapping[str, Any] | None,
    caller: Caller,
    now: datetime,
) -> None:
    """One more way to send an order. Raises for a canceled order and an unknown option."""
    if await idempotency.take_key(tx, caller, subject_id=order_id) is None:
        order = await paying.known_order(tx, order_id)
        await changing.add_shipping_method(tx, order, option_id=option_id, price=price, data=data)
        await paying.close_order(tx, order, now)


# ---------------------------------------------------------------------------------- fulfillments


async def create_fulfillment(
    tx: Tx,
    *,
    order_id: str,
    items: Sequence[tuple[str, int]],
    location_id: str | None,
    no_notification: bool | None,
    metadata: Mapping[str, Any] | None,
    caller: Caller,
    now: datetime,
) -> Accepted:
    """Pack units of lines; with a location their goods are taken out of its stock.

    Raises in Medusa's words; what inventory refuses is told to who waits.
    """
    fulfillment_id = new_id("ful")
    earlier = await idempotency.take_key(tx, caller, subject_id=fulfillment_id)
    if earlier is not None:
        return Accepted(earlier, earlier, done=False)
    order = await paying.known_order(tx, order_id)
    done = await fulfilling.pack(
        tx,
        order,
        fulfillment_id=fulfillment_id,
        items=items,
        location_id=location_id,
        no_notification=no_notification,
        metadata=metadata,
        now=now,
    )
    await paying.close_order(tx, order, now)
    return Accepted(fulfillment_id, fulfillment_id, done=done)


async def cancel_fulfillment(
    tx: Tx, *, order_id: str, fulfillment_id: str, caller: Caller, now: datetime
) -> Accepted:
    """Unpack a fulfillment and put its goods back; one that is canceled already is left alone.

    Raises in Medusa's words; a fulfillment of another order is not found.
    """
    wait_for = fulfilling.cancel_saga_id(fulfillment_id)
    if await idempotency.take_key(tx, caller, subject_id=fulfillment_id) is not None:
        return Accepted(fulfillment_id, wait_for, done=False)
    order = await paying.known_order(tx, order_id)
    row = await _fulfillment(tx, order, fulfillment_id)
    if row is None:
        raise fulfillments.unknown(fulfillment_id=fulfillment_id, order_id=order_id)
    done = await fulfilling.unpack(tx, order, row, now)
    await paying.close_order(tx, order, now)
    return Accepted(fulfillment_id, wait_for, done=done)


async def create_shipment(
    tx: Tx,
    *,
    order_id: str,
    fulfillment_id: str,
    tracking_numbers: Sequence[str],
    no_notification: bool | None,
    caller: Caller,
    now: datetime,
) -> None:
    """A fulfillment is on its way. Raises in Medusa's words."""
    if await idempotency.take_key(tx, caller, subject_id=fulfillment_id) is not None:
        return
    order = await paying.known_order(tx, order_id)
    await fulfilling.ship(
        tx,
        order,
        await _fulfillment(tx, order, fulfillment_id),
        tracking_numbers=tracking_numbers,
        no_notification=no_notification,
        now=now,
    )
    await paying.close_order(tx, order, now)


async def _fulfillment(tx: Tx, order: OpenOrder, fulfillment_id: str) -> Row | None:
    """A fulfillment of this order that may be seen."""
    row = await store_goods.fulfillment(tx, fulfillment_id=fulfillment_id)
    mine = row is not None and row["order_id"] == order.id and row["state"] != "refused"
    return row if mine else None


# ---------------------------------------------------------------------------------- sagas


async def continue_saga(tx: Tx, *, reply: BaseModel, now: datetime) -> None:
    """Inventory answered: move the saga on, and its subject with it. Stale answers do nothing."""
    moved = await saga_log.advance(tx, saga.SAGAS, reply, now=now)
    if moved is not None:
        await _follow(tx, moved, now)


async def expire_saga(tx: Tx, *, saga_id: str, now: datetime) -> None:
    """A saga's timer came due: ask again, or give a fulfillment up."""
    moved = await saga_log.expire(tx, saga.SAGAS, saga_id, now=now)
    if moved is not None:
        await _follow(tx, moved, now)


async def give_up(tx: Tx, *, saga_id: str, reason: str, now: datetime) -> None:
    """An operator turns a saga back, and the fulfillment with it.

    Raises NotFound; NotAllowed where nothing can be turned back (any more).
    """
    moved = await saga_log.give_up(tx, saga.SAGAS, saga_id, reason=reason, now=now)
    await _follow(tx, moved, now)


async def release_again(tx: Tx, *, subject_id: str) -> bool:
    """Ask once more that all is freed that a dead fulfillment or a canceled order holds; False
    unless it is dead. Who holds nothing says so."""
    row = await store_goods.fulfillment(tx, fulfillment_id=subject_id)
    if row is not None and row["state"] in ("canceled", "refused"):
        facts = {"fulfillment_id": subject_id, "order_id": row["order_id"]}
        command = saga.restore_command(facts=facts)
        await put(tx, command, about=f"fulfillment/{subject_id}")
        return True
    order = await paying.open_order(tx, subject_id)
    if order is None or order.row["status"] != "canceled":
        return False
    lines = await store_goods.packed_lines(tx, order_id=subject_id)
    release = saga.release_command(order_id=subject_id, line_ids=lines)
    await put(tx, release, about=f"order/{subject_id}")
    return True


async def _follow(tx: Tx, moved: Saga, now: datetime) -> None:
    if moved.kind == saga.ORDER_CANCEL.kind:
        if moved.over:
            tx.wake(moved.id)
        return
    order = await paying.known_order(tx, moved.facts["order_id"])
    row = await store_goods.fulfillment(tx, fulfillment_id=moved.subject_id)
    if row is None:
        raise Retry(f"fulfillment {moved.subject_id} cannot be seen yet")
    if moved.kind == saga.FULFILLMENT_CANCEL.kind:
        if moved.direction == "finished":
            await fulfilling.unpacked(tx, order, row, now)
    elif moved.direction == "finished":
        await fulfilling.packed(tx, order, row)
    elif moved.direction in ("back", "undone"):
        no = next(iter(moved.refusals.values()))
        await fulfilling.refused(tx, order, row, no)
    await paying.close_order(tx, order, now)
    tx.wake(moved.id)


# ---------------------------------------------------------------------------------- notes


async def add_note(
    tx: Tx,
    *,
    resource_type: str,
    resource_id: str,
    value: str,
    caller: Caller,
    now: datetime,
) -> str:
    """Write a note about anything that has an id; the note's id, also for a known key."""
    note_id = new_id("note")
    earlier = await idempotency.take_key(tx, caller, subject_id=note_id)
    if earlier is not None:
        return earlier
    about = {"resource_type": resource_type, "resource_id": resource_id}
    row = {"id": note_id, **about, "value": value, "author_id": caller.principal, "version": 1}
    await store.add_note(tx, row={**row, "created_at": now, "updated_at": now})
    await put(tx, NoteCreated(id=note_id, **about), about=f"note/{note_id}", version=1)
    # Not its text: the trail is for ever, and people write names into notes.
    await audit.record(tx, action="note.created", about=f"note/{note_id}", after=about)
    return note_id


async def change_note(tx: Tx, *, note_id: str, value: str, now: datetime) -> str:
    """Another text; the note's id. Raises ``note_unknown``."""
    about, version = await _note(tx, note_id)
    await store.change_note(tx, note_id=note_id, value=value, now=now)
    await put(tx, NoteUpdated(id=note_id, **about), about=f"note/{note_id}", version=version)
    await audit.record(tx, action="note.updated", about=f"note/{note_id}", after=about)
    return note_id


async def remove_note(tx: Tx, *, note_id: str) -> None:
    """Forget a note and its text. Raises ``note_unknown``."""
    about, version = await _note(tx, note_id)
    await store.remove_note(tx, note_id=note_id)
    await put(tx, NoteDeleted(id=note_id, **about), about=f"note/{note_id}", version=version)
    await audit.record(tx, action="note.deleted", about=f"note/{note_id}", before=about)


async def _note(tx: Tx, note_id: str) -> tuple[dict[str, str], int]:
    """What a note is about, and the version that a change of it makes."""
    row = await store.lock_note(tx, note_id=note_id)
    if row is None:
        raise domain.note_unknown(note_id=note_id)
    about = {"resource_type": row["resource_type"], "resource_id": row["resource_id"]}
    return about, row["version"] + 1


# ---------------------------------------------------------------------------------- customers


async def update_customer(
    tx: Tx, *, customer_id: str, changes: Mapping[str, Any], now: datetime
) -> None:
    """Correct what is known of a customer; orders keep the e-mail that they were made with.

    Raises ``customer_unknown``.
    """
    row = await store.lock_customer(tx, customer_id=customer_id)
    if row is None:
        raise domain.customer_unknown(customer_id=customer_id)
    fresh = domain.corrected_customer(known=row, changes=changes)
    changed = sorted(name for name in row if row[name] != fresh[name])
    if changed:
        search = domain.search_text(words=fresh.values())
        row = {**fresh, "search": search}
        await store.change_customer(tx, customer_id=customer_id, row=row, now=now)
        # Which, and not what: a phone number is nobody's business but the customer's.
        told = {"changed": changed}
        about = f"customer/{customer_id}"
        await audit.record(tx, action="customer.updated", about=about, after=told)


# ---------------------------------------------------------------------------------- import


async def import_document(
    tx: Tx, *, lists: Mapping[str, Sequence[Any]], providers: Collection[str], now: datetime
) -> Row:
    """Load the lists of a document that orders owns: {created, updated, unchanged, refused,
    refusals}. A refused record stops no other."""
    outcome = await importing.load(tx, lists, providers=providers, now=now)
    answer = outcome.as_answer()
    if outcome.created or outcome.updated:
        counts = {name: count for name, count in answer.items() if name != "refusals"}
        await audit.record(tx, action="document.imported", about="import/orders", after=counts)
    return answer
