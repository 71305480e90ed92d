"""What the chassis' own tables tell: what must not be there at rest (invariant I15), which
messages were sent and seen (I7), what was touched, whose timer is lost (I6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from chassis.db import Row, Tx

PAGE_ROWS = 500

# A timer is looked at every second; only a standing service is this late.
OVERDUE = timedelta(minutes=10)

_CHECKS = (
    ("unsent message", "SELECT id, type AS what FROM outbox WHERE sent_at IS NULL"),
    (
        "message that is parked or dead",
        "SELECT message_id AS id, type || ' (' || state || '): ' || COALESCE(error, '') AS what"
        " FROM inbox WHERE state <> 'done'",
    ),
    (
        "saga under way",
        "SELECT id, kind || ' ' || direction AS what FROM sagas"
        " WHERE direction IN ('forward', 'back')",
    ),
)


async def paged(tx: Tx, sql: str) -> AsyncIterator[Row]:
    """The rows of what may be a whole table, of which only a page is in memory at a time: a shop
    keeps everything that it ever did. ``sql`` gives rows whose ``id`` is above ``:after``, in the
    order of their ids."""
    after = ""
    while True:
        page = await tx.fetch(f"{sql} LIMIT :page", after=after, page=PAGE_ROWS)
        for row in page:
            yield row
        if len(page) < PAGE_ROWS:
            return
        after = page[-1]["id"]


async def findings(tx: Tx) -> list[Row]:
    """What is not at rest in a service's own tables: [{invariant, id, message}]."""
    return [
        {"invariant": "I15", "id": row["id"], "message": f"{name}: {row['what']}"}
        for name, sql in _CHECKS
        if sql.split(" FROM ")[1].split()[0] in tx.database.tables
        for row in await tx.fetch(sql)
    ]


async def sent_messages(tx: Tx, *, after: int, limit: int) -> list[Row]:
    """Messages that were confirmed, a page in the order of writing: seq, id, exchange,
    routing_key, created_at. Begin after 0, go on after the last seq."""
    return await tx.fetch(
        "SELECT seq, id, exchange, routing_key, created_at FROM outbox"
        " WHERE seq > :after AND sent_at IS NOT NULL ORDER BY seq LIMIT :limit",
        after=after,
        limit=limit,
    )


async def seen_messages(tx: Tx, *, after: tuple[str, str], limit: int) -> list[Row]:
    """Messages that reached a consumer here, a page: consumer, message_id, type. Begin after
    ("", ""), go on after the last pair."""
    return await tx.fetch(
        "SELECT consumer, message_id, type FROM inbox"
        " WHERE (consumer, message_id) > (:consumer, :message_id)"
        " ORDER BY consumer, message_id LIMIT :limit",
        consumer=after[0],
        message_id=after[1],
        limit=limit,
    )


async def seen_of(tx: Tx, *, consumer: str, message_ids: list[str]) -> set[str]:
    """Which of these messages reached that consumer."""
    rows = await tx.fetch(
        "SELECT message_id FROM inbox WHERE consumer = :consumer AND message_id IN :ids",
        consumer=consumer,
        ids=message_ids,
    )
    return {row["message_id"] for row in rows}


async def written_of(tx: Tx, *, message_ids: list[str]) -> set[str]:
    """Which of these messages were written here."""
    rows = await tx.fetch("SELECT id FROM outbox WHERE id IN :ids", ids=message_ids)
    return {row["id"] for row in rows}


async def settled_messages(tx: Tx, *, after: int, before: datetime, limit: int) -> list[Row]:
    """As ``sent_messages``, of those sent before that moment; stops at the first that was not.

    A blocked message is passed over: an operator has it in hand.
    """
    rows = await tx.fetch(
        "SELECT seq, id, exchange, routing_key, sent_at FROM outbox"
        " WHERE seq > :after AND blocked_at IS NULL ORDER BY seq LIMIT :limit",
        after=after,
        limit=limit,
    )
    settled = []
    for row in rows:
        if row["sent_at"] is None or row["sent_at"] > before:
            break
        settled.append({name: row[name] for name in ("seq", "id", "exchange", "routing_key")})
    return settled


async def touched(tx: Tx, *, after: int, limit: int) -> list[Row]:
    """What the audit trail recorded, in order: seq, about (``kind/id``)."""
    return await tx.fetch(
        "SELECT seq, about FROM audit WHERE seq > :after ORDER BY seq LIMIT :limit",
        after=after,
        limit=limit,
    )


async def said_about(tx: Tx, *, subject: str, limit: int) -> list[str]:
    """Ids of the messages about a subject, the oldest first."""
    rows = await tx.fetch(
        "SELECT id FROM outbox WHERE aggregateid = :subject AND blocked_at IS NULL"
        " ORDER BY seq LIMIT :limit",
        subject=subject,
        limit=limit,
    )
    return [row["id"] for row in rows]


async def lost_timers(tx: Tx, *, now: datetime) -> list[Row]:
    """I6: a saga under way looks again by itself: [{invariant, id, message}]."""
    if "sagas" not in tx.database.tables:
        return []
    rows = await tx.fetch(
        "SELECT id, kind, next_at FROM sagas WHERE direction IN ('forward', 'back')"
        " AND (next_at IS NULL OR next_at < :late) ORDER BY id",
        late=now - OVERDUE,
    )
    return [
        {"invariant": "I6", "id": row["id"], "message": f"{row['kind']} is under way, but {text}"}
        for row in rows
        for text in ["its timer is gone" if row["next_at"] is None else "its timer is overdue"]
    ]


async def wake(tx: Tx, *, saga_ids: list[str], now: datetime) -> int:
    """Let the timers of sagas under way come due; how many."""
    return await tx.execute(
        "UPDATE sagas SET next_at = :now WHERE id IN :ids AND direction IN ('forward', 'back')",
        now=now,
        ids=saga_ids,
    )
