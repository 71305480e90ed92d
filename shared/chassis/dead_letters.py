"""Messages that could not be handled, for an operator to find, mend, replay or discard.

They are rows of the inbox: parked (tried again by themselves) or dead (not any more). A replay
keeps the message's id and goes through the same door as the first try; nothing is published again.
A discarded message is done with, so that a late repeat is known; its envelope is kept, and with it
the way back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chassis import audit, context
from chassis.db import Row, Tx
from chassis.errors import NotAllowed, NotFound
from chassis.inbox import unfit
from chassis.messaging import Envelope, Malformed

STATES = ("parked", "dead")
Models = Mapping[str, Mapping[str, Any]]  # queue -> routing key -> message class

_COLUMNS = (
    "consumer, message_id, type, partitionkey, state, attempts, next_at, error, received_at,"
    " done_at, envelope"
)


async def page(
    tx: Tx,
    *,
    state: str | None = None,
    queue: str | None = None,
    type_: str | None = None,
    limit: int,
    offset: int = 0,
) -> tuple[list[Row], int]:
    """Dead letters without their envelopes, the newest first, and how many there are in all."""
    # The first condition is that of the index over what is not done.
    where = "state <> 'done'"
    given = {"state": state, "consumer": queue, "type": type_}
    filters = {name: value for name, value in given.items() if value is not None}
    where += "".join(f" AND {name} = :{name}" for name in filters)
    count = await tx.fetch_value(f"SELECT COUNT(*) FROM inbox WHERE {where}", **filters)
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM inbox WHERE {where}"
        " ORDER BY received_at DESC, consumer, message_id LIMIT :limit OFFSET :offset",
        **filters,
        limit=limit,
        offset=offset,
    )
    return [_letter(tx, row) for row in rows], int(count)


async def by_id(tx: Tx, letter_id: str) -> Row:
    """One message of the inbox with its envelope, whatever became of it. Raises NotFound."""
    row = await _load(tx, letter_id)
    return _letter(tx, row) | {"envelope": _readable(row["envelope"])}


async def replay(
    tx: Tx,
    letter_id: str,
    *,
    data: dict[str, Any] | None = None,
    models: Models,
    now: datetime,
) -> Row:
    """Let the inbox try a message again, now and with all its tries; the letter.

    ``data`` mends the message: it takes the place of the envelope's data, and must fit. Raises
    NotFound; NotAllowed when the message was handled, cannot be read, or still does not fit.
    """
    row = await _load(tx, letter_id, lock=True)
    if row["envelope"] is None:
        raise NotAllowed("handled_already", "The message was handled: there is nothing to replay.")
    envelope = row["envelope"] if data is None else _mended(row["envelope"], data)
    _must_fit(envelope, models.get(row["consumer"], {}))
    await tx.execute(
        "UPDATE inbox SET state = 'parked', attempts = 0, next_at = :now, error = NULL,"
        " done_at = NULL, envelope = :envelope WHERE consumer = :consumer"
        " AND message_id = :message_id",
        now=now,
        envelope=envelope,
        consumer=row["consumer"],
        message_id=row["message_id"],
    )
    before = {"state": _state(row), "error": row["error"], "data": _data(row["envelope"])}
    after = {"state": "parked", "error": None, "data": _data(envelope)}
    before, after = audit.changes(before, after)
    await audit.record(
        tx,
        action="dead_letter.replayed",
        about=f"dead-letter/{letter_id}",
        before=before,
        after=after,
    )
    return await by_id(tx, letter_id)


async def discard(tx: Tx, letter_id: str, *, reason: str, now: datetime) -> Row:
    """Never handle a message; who decided and why stands in its ``error``. The letter.

    Raises NotFound; NotAllowed when the message was handled or discarded before.
    """
    row = await _load(tx, letter_id, lock=True)
    if row["state"] == "done":
        raise NotAllowed("handled_already", f"The message is {_state(row)}: nothing to discard.")
    await tx.execute(
        "UPDATE inbox SET state = 'done', done_at = :now, next_at = NULL, error = :error"
        " WHERE consumer = :consumer AND message_id = :message_id",
        now=now,
        error=f"discarded by {context.current().actor_id}: {reason} (was: {row['error']})",
        consumer=row["consumer"],
        message_id=row["message_id"],
    )
    await audit.record(
        tx,
        action="dead_letter.discarded",
        about=f"dead-letter/{letter_id}",
        before={"state": row["state"], "error": row["error"]},
        after={"state": "discarded"},
        note=reason,
    )
    return await by_id(tx, letter_id)


async def _load(tx: Tx, letter_id: str, *, lock: bool = False) -> Row:
    queue, _, message_id = letter_id.partition(":")
    row = await tx.fetch_one(
        f"SELECT {_COLUMNS} FROM inbox WHERE consumer = :queue AND message_id = :message_id"
        f"{' FOR UPDATE' if lock else ''}",
        queue=queue,
        message_id=message_id,
    )
    if row is None:
        raise NotFound("dead_letter_unknown", f"Dead letter with id: {letter_id} was not found")
    return row


def _letter(tx: Tx, row: Row) -> Row:
    """The row as the outside knows it; its id names the queue too, for one message goes to many."""
    return {
        "id": f"{row['consumer']}:{row['message_id']}",
        "service": tx.database.service,
        "queue": row["consumer"],
        "message_id": row["message_id"],
        "type": row["type"],
        "about": row["partitionkey"],
        "state": _state(row),
        "attempts": row["attempts"],
        "next_at": row["next_at"],
        "error": row["error"],
        "received_at": row["received_at"],
        "done_at": row["done_at"],
    }


def _state(row: Row) -> str:
    """parked, dead, done or discarded."""
    discarded = row["state"] == "done" and row["envelope"] is not None
    return "discarded" if discarded else str(row["state"])


def _readable(envelope: str | None) -> Any:
    """The envelope as an object; as the text that it is where it is none."""
    try:
        return None if envelope is None else json.loads(envelope)
    except (ValueError, RecursionError):
        return envelope


def _data(envelope: str) -> Any:
    found = _readable(envelope)
    return found.get("data") if isinstance(found, dict) else None


def _mended(envelope: str, data: dict[str, Any]) -> str:
    found = _readable(envelope)
    if not isinstance(found, dict):
        return envelope
    return json.dumps(found | {"data": data}, ensure_ascii=False, separators=(",", ":"))


def _must_fit(envelope: str, models: Mapping[str, Any]) -> None:
    try:
        reason = unfit(Envelope.from_bytes(envelope.encode()), models)
    except Malformed as error:
        raise NotAllowed(
            "dead_letter_unreadable",
            f"It cannot be read ({error}): discard it, and let its sender send again.",
        ) from None
    if reason:
        raise NotAllowed("dead_letter_unfit", f"It still cannot be handled: {reason}. Mend it.")
