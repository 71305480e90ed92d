"""What waits in the outbox, for an operator: how long, what is blocked and why, and the way on."""

from __future__ import annotations

from datetime import datetime

from chassis import audit
from chassis.db import Row, Tx
from chassis.errors import NotAllowed, NotFound

# Each is the condition of a partial index, so that looking costs what is found, not what was sent.
CONDITIONS = {
    "unsent": "sent_at IS NULL AND blocked_at IS NULL",
    "blocked": "blocked_at IS NOT NULL",
}
_COLUMNS = (
    "seq, id, type, aggregatetype, aggregateid, created_at, sent_at, attempts, last_error,"
    " blocked_at"
)


async def lag(tx: Tx, *, now: datetime) -> Row:
    """{service, unsent, oldest_age_s, blocked}: how many wait, and for how long the oldest has."""
    counts = {
        name: int(await tx.fetch_value(f"SELECT COUNT(*) FROM outbox WHERE {condition}"))
        for name, condition in CONDITIONS.items()
    }
    oldest = await tx.fetch_value(
        f"SELECT created_at FROM outbox WHERE {CONDITIONS['unsent']} ORDER BY seq LIMIT 1"
    )
    age_s = (now - oldest).total_seconds() if oldest else 0.0
    return {"service": tx.database.service, **counts, "oldest_age_s": round(max(age_s, 0.0), 3)}


async def page(tx: Tx, *, state: str, limit: int, offset: int = 0) -> tuple[list[Row], int]:
    """Messages that are unsent or blocked, the oldest first, and how many there are in all."""
    where = CONDITIONS[state]
    count = await tx.fetch_value(f"SELECT COUNT(*) FROM outbox WHERE {where}")
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM outbox WHERE {where} ORDER BY seq LIMIT :limit OFFSET :offset",
        limit=limit,
        offset=offset,
    )
    return [_message(tx, row) for row in rows], int(count)


async def by_id(tx: Tx, message_id: str, *, lock: bool = False) -> Row:
    """One message, whatever became of it. Raises NotFound."""
    row = await tx.fetch_one(
        f"SELECT {_COLUMNS} FROM outbox WHERE id = :id{' FOR UPDATE' if lock else ''}",
        id=message_id,
    )
    if row is None:
        raise NotFound("message_unknown", f"Message with id: {message_id} was not found")
    return _message(tx, row)


async def unblock(tx: Tx, message_id: str) -> Row:
    """Let the relay try a blocked message again, with all its tries; the message.

    Raises NotFound; NotAllowed for one that is not blocked: the relay tries it by itself.
    """
    message = await by_id(tx, message_id, lock=True)
    if message["blocked_at"] is None:
        state = "sent" if message["sent_at"] else "tried again every second"
        raise NotAllowed("not_blocked", f"The message is not blocked: it is {state}.")
    await tx.execute(
        "UPDATE outbox SET blocked_at = NULL, attempts = 0 WHERE id = :id", id=message_id
    )
    await audit.record(
        tx,
        action="message.unblocked",
        about=f"message/{message_id}",
        before={"attempts": message["attempts"], "last_error": message["last_error"]},
    )
    tx.wake("outbox")
    return message | {"blocked_at": None, "attempts": 0}


def _message(tx: Tx, row: Row) -> Row:
    return {
        "id": row["id"],
        "service": tx.database.service,
        "type": row["type"],
        "about": f"{row['aggregatetype']}/{row['aggregateid']}",
        "attempts": row["attempts"],
        "last_error": row["last_error"],
        "created_at": row["created_at"],
        "sent_at": row["sent_at"],
        "blocked_at": row["blocked_at"],
    }
