"""Idempotency keys: a client's name for one attempt. A repeat finds what the first made."""

from __future__ import annotations

import sqlalchemy as sa

from chassis import clock
from chassis.db import Instant, Tx
from chassis.errors import KeyReused


def idempotency_table(metadata: sa.MetaData) -> sa.Table:
    """The table: bound to the principal, so another's equal key is another key."""
    return sa.Table(
        "idempotency_keys",
        metadata,
        sa.Column("principal", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )


async def claim_key(
    tx: Tx, *, principal: str, key: str, fingerprint: str, subject_id: str
) -> str | None:
    """Take the key for ``subject_id``; the subject it already stands for, or None if it is ours.

    Raises KeyReused when the key came with another request (method, path or body).
    """
    row = {
        "principal": principal,
        "key": key,
        "fingerprint": fingerprint,
        "subject_id": subject_id,
        "created_at": clock.now(),
    }
    table = tx.database.tables["idempotency_keys"]
    if await tx.insert(table, [row], ignore_conflicts=True):
        return None
    held = await tx.fetch_one(
        "SELECT fingerprint, subject_id FROM idempotency_keys"
        " WHERE principal = :principal AND key = :key",
        principal=principal,
        key=key,
    )
    if held is None or held["fingerprint"] != fingerprint:
        raise KeyReused(
            "idempotency_key_reused",
            f"The idempotency key {key} was used for another request. Use a new key.",
        )
    return str(held["subject_id"])


async def taken(tx: Tx) -> dict[str, str]:
    """Every key that was ever taken, of any principal, and the subject it stands for."""
    rows = await tx.fetch("SELECT key, subject_id FROM idempotency_keys")
    return {row["key"]: row["subject_id"] for row in rows}
