"""Idempotency keys: a client's name for one attempt. A repeat finds what the first made."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Caller:
    """Who asks over HTTP, under which key (None: not asked to remember) and for which request."""

    principal: str
    key: str | None = None
    fingerprint: str = ""


async def take_key(tx: Tx, caller: Caller, *, subject_id: str) -> str | None:
    """Take the caller's key for ``subject_id``; the subject that it already stands for.

    None: the work is the caller's to do. Raises KeyReused when the key came with another request
    (method, path or body).
    """
    if caller.key is None:
        return None
    row = {
        "principal": caller.principal,
        "key": caller.key,
        "fingerprint": caller.fingerprint,
        "subject_id": subject_id,
        "created_at": clock.now(),
    }
    table = tx.database.tables["idempotency_keys"]
    if await tx.insert(table, [row], ignore_conflicts=True):
        return None
    held = await tx.fetch_one(
        "SELECT fingerprint, subject_id FROM idempotency_keys"
        " WHERE principal = :principal AND key = :key",
        principal=caller.principal,
        key=caller.key,
    )
    if held is None or held["fingerprint"] != caller.fingerprint:
        raise KeyReused(
            "idempotency_key_reused",
            f"The idempotency key {caller.key} was used for another request. Use a new key.",
        )
    return str(held["subject_id"])


async def taken(tx: Tx) -> dict[str, str]:
    """Every key that was ever taken, of any principal, and the subject it stands for."""
    rows = await tx.fetch("SELECT key, subject_id FROM idempotency_keys")
    return {row["key"]: row["subject_id"] for row in rows}
