"""What must not be there once everything has come to rest (invariant I15)."""

from __future__ import annotations

from chassis.db import Row, Tx

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
    routing_key. Begin after 0, go on after the last seq."""
    return await tx.fetch(
        "SELECT seq, id, exchange, routing_key FROM outbox"
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
