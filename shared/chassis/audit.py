"""Audit trail: who did what to what, when, and what it changed.

A record is written in the transaction of the change, so that neither is there without the other.
Its number and hash come later, from ``chassis.audit_chain``: a chain that every business
transaction had to lengthen would put all of them in one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from chassis import clock, context
from chassis.db import Instant, Json, Row, Serial, Tx

# Never in a record, whoever hands it over.
_SECRET = ("password", "token", "secret", "hash")
SYSTEM = "system"


def audit_table(metadata: sa.MetaData) -> sa.Table:
    """The trail and, beside it, the chain. Rows of both are only ever added (``guards``)."""
    sa.Table(
        "audit_seals",
        metadata,
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False, unique=True),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    return sa.Table(
        "audit",
        metadata,
        sa.Column("seq", Serial, primary_key=True, autoincrement=True),
        sa.Column("at", Instant, nullable=False),
        sa.Column("actor_kind", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("before", Json),
        sa.Column("after", Json),
        sa.Column("note", sa.Text),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Index("ix_audit_about", "about", "seq"),
    )


def guards(dialect: str) -> list[str]:
    """DDL for a migration: the database itself refuses to change or delete what was recorded."""
    tables = ("audit", "audit_seals")
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table} is only ever added to'); END"
            for table in tables
            for verb in ("UPDATE", "DELETE")
        ]
    return [
        "CREATE FUNCTION only_added_to() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME; END $$",
        *(
            f"CREATE TRIGGER {table}_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION only_added_to()"
            for table in tables
        ),
    ]


def unguards(dialect: str) -> list[str]:
    """Take ``guards`` back."""
    tables = ("audit", "audit_seals")
    if dialect == "sqlite":
        return [f"DROP TRIGGER {t}_no_{verb}" for t in tables for verb in ("update", "delete")]
    return [*(f"DROP TRIGGER {t}_guard ON {t}" for t in tables), "DROP FUNCTION only_added_to()"]


@dataclass(frozen=True)
class Entry:
    """One thing that happened. ``about`` is ``kind/id``; before and after hold what changed."""

    action: str
    about: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    note: str | None = None


async def record(
    tx: Tx,
    *,
    action: str,
    about: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    note: str | None = None,
) -> None:
    """Record what the running transaction does: ``claim.opened`` about ``claim/claim_...``.

    Who and why come from the context. ``before`` and ``after`` are JSON objects of what changed.
    """
    await record_all(tx, [Entry(action, about, before, after, note)])


async def record_all(tx: Tx, entries: Iterable[Entry]) -> None:
    """Several records with one statement."""
    here = context.current()
    now = clock.now()
    await tx.insert(
        tx.database.tables["audit"],
        [
            {
                "at": now,
                "actor_kind": here.actor_kind or SYSTEM,
                "actor_id": here.actor_id,
                "action": entry.action,
                "about": entry.about,
                "before": _without_secrets(entry.before),
                "after": _without_secrets(entry.after),
                "note": entry.note,
                "correlation_id": here.correlation_id,
            }
            for entry in entries
        ],
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Row, Row]:
    """What differs between two states, as (before, after)."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}


def _without_secrets(values: Mapping[str, Any] | None) -> Row | None:
    if values is None:
        return None
    return {
        name: value
        for name, value in values.items()
        if not any(word in name.lower() for word in _SECRET)
    }
