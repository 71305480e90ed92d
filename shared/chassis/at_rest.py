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


async def sent_messages(tx: Tx) -> list[Row]:
    """Every message ever written here: id, exchange, routing_key, sent (a truth value)."""
    return await tx.fetch(
        "SELECT id, exchange, routing_key, sent_at IS NOT NULL AS sent FROM outbox"
    )


async def seen_messages(tx: Tx) -> list[Row]:
    """Every message that reached a consumer here: consumer, message_id."""
    return await tx.fetch("SELECT consumer, message_id FROM inbox")
