"""Where sagas are kept: one row each, in the database of the service that runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from pydantic import BaseModel

from chassis import audit, clock, context, outbox, sagas
from chassis.db import Database, Instant, Json, Row, Tx
from chassis.errors import NotAllowed, NotFound, Unavailable
from chassis.failpoints import failpoint
from chassis.sagas import Ask, Saga, SagaTable

log = structlog.get_logger(__name__)

OPERATOR = "operator"  # who turned a saga, in its history and among its refusals
_COLUMNS = (
    "id, kind, subject_id, plan, stage, direction, marks, facts, refusals, version, tries,"
    " next_at, deadline_at, history"
)


def saga_table(metadata: sa.MetaData) -> sa.Table:
    """The table; ``next_at`` is the saga's durable timer."""
    return sa.Table(
        "sagas",
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("plan", Json, nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("marks", Json, nullable=False),
        sa.Column("facts", Json, nullable=False),
        sa.Column("refusals", Json, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", Instant),
        sa.Column("deadline_at", Instant),
        sa.Column("history", Json, nullable=False),
        sa.Column("context", Json, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.CheckConstraint(
            "direction IN ('forward', 'back', 'finished', 'undone')", name="direction"
        ),
        sa.Index("ix_sagas_subject", "kind", "subject_id"),
        sa.Index(
            "ix_sagas_due",
            "next_at",
            postgresql_where=sa.text("next_at IS NOT NULL"),
            sqlite_where=sa.text("next_at IS NOT NULL"),
        ),
    )


async def begin(
    tx: Tx,
    table: SagaTable,
    *,
    saga_id: str,
    subject_id: str,
    facts: dict[str, Any],
    now: datetime,
) -> Saga:
    """Start a saga: its row and its first commands, in the caller's transaction."""
    saga, asks = sagas.begin(table, saga_id=saga_id, subject_id=subject_id, facts=facts, now=now)
    here = context.enter(saga_id=saga_id)
    row = _row(saga) | {
        "context": {
            "correlation_id": here.correlation_id,
            "actor_kind": here.actor_kind,
            "actor_id": here.actor_id,
        },
        "created_at": now,
        "updated_at": now,
    }
    await tx.insert(tx.database.tables["sagas"], [row])
    await _send(tx, saga, asks)
    return saga


async def load(tx: Tx, saga_id: str, *, lock: bool = False) -> Saga | None:
    """The saga, or None; ``lock`` keeps it to this transaction."""
    row = await tx.fetch_one(
        f"SELECT {_COLUMNS} FROM sagas WHERE id = :id{' FOR UPDATE' if lock else ''}", id=saga_id
    )
    return _saga(row) if row else None


async def advance(
    tx: Tx, tables: Mapping[str, SagaTable], reply: BaseModel, *, now: datetime
) -> Saga | None:
    """Apply the reply in hand to its saga and send what follows; None when it was stale."""
    here = context.current()
    saga = await load(tx, here.saga_id or "", lock=True)
    if saga is None or type(reply) not in tables[saga.kind].hears():
        return None
    table = tables[saga.kind]
    after, asks = sagas.advance(table, saga, reply=reply, answers=here.answers, now=now)
    await _save(tx, after, now)
    await _send(tx, after, asks)
    return after if after.version != saga.version else None


async def turn_back(
    tx: Tx, table: SagaTable, saga: Saga, *, by: str, refusal: dict[str, Any], now: datetime
) -> Saga:
    """Send the saga back, for a reason that its owner found."""
    saga, asks = sagas.turn_back(table, saga, by=by, refusal=refusal, now=now)
    await _save(tx, saga, now)
    await _send(tx, saga, asks)
    return saga


async def expire(
    tx: Tx, tables: Mapping[str, SagaTable], saga_id: str, *, now: datetime
) -> Saga | None:
    """A saga's timer came due: send again, or give up. None when there is nothing to do."""
    saga = await load(tx, saga_id, lock=True)
    if saga is None or saga.next_at is None or saga.next_at > now:
        return None
    table = tables[saga.kind]
    row = await tx.fetch_one("SELECT context FROM sagas WHERE id = :id", id=saga_id)
    context.enter(saga_id=saga_id, **(row or {}).get("context", {}))
    again = sagas.expire(table, saga, now=now)
    if again is None:
        refusal = {
            "code": "timeout",
            "kind": "not_allowed",
            "message": "The request was given up because not everybody answered in time.",
        }
        return await turn_back(tx, table, saga, by="timer", refusal=refusal, now=now)
    saga, message_ids = again
    await _save(tx, saga, now)
    await outbox.resend(tx, message_ids)
    return saga


async def resume(tx: Tx, tables: Mapping[str, SagaTable], saga_id: str, *, now: datetime) -> Saga:
    """An operator does not wait for the timer: ask for what is awaited again, with the same ids.

    Raises NotFound; NotAllowed for a saga that is over.
    """
    saga = await _under_way(tx, saga_id)
    await audit.record(
        tx,
        action="saga.resumed",
        about=f"saga/{saga_id}",
        before={"tries": saga.tries, "waits_for": saga.waits_for},
    )
    saga, message_ids = sagas.ask_again(tables[saga.kind], saga, by=OPERATOR, tries=0, now=now)
    await _save(tx, saga, now)
    await outbox.resend(tx, message_ids)
    return saga


async def give_up(
    tx: Tx, tables: Mapping[str, SagaTable], saga_id: str, *, reason: str, now: datetime
) -> Saga:
    """An operator turns a saga back. What follows for its subject is the caller's.

    Raises NotFound; NotAllowed for a saga that is over, goes back already, or has asked its pivot.
    """
    saga = await _under_way(tx, saga_id)
    if not saga.can_turn_back:
        if saga.direction == "back":
            raise NotAllowed("turned_back_already", "The saga goes back already: resume it.")
        raise NotAllowed(
            "pivot_passed",
            "The saga has asked for what cannot be undone and only goes forward: resume it.",
        )
    row = await tx.fetch_one("SELECT context FROM sagas WHERE id = :id", id=saga_id)
    # Its thread, but the operator's own name: this is the operator's doing.
    thread = (row or {}).get("context", {}).get("correlation_id", "")
    here = context.enter(saga_id=saga_id, correlation_id=thread)
    refusal = {
        "code": "given_up",
        "kind": "not_allowed",
        "message": "The request was given up by an operator.",
        "reason": reason,
        "operator": here.actor_id,
    }
    moved = await turn_back(tx, tables[saga.kind], saga, by=OPERATOR, refusal=refusal, now=now)
    await audit.record(
        tx,
        action="saga.compensated",
        about=f"saga/{saga_id}",
        before={"direction": saga.direction, "marks": saga.marks},
        after={"direction": moved.direction, "marks": moved.marks},
        note=reason,
    )
    return moved


async def _under_way(tx: Tx, saga_id: str) -> Saga:
    saga = await load(tx, saga_id, lock=True)
    if saga is None:
        raise NotFound("saga_unknown", f"Saga with id: {saga_id} was not found")
    if saga.over:
        raise NotAllowed("saga_over", f"The saga is {saga.direction}: nothing is under way.")
    return saga


async def page(
    tx: Tx,
    *,
    kind: str | None = None,
    direction: str | None = None,
    older_than_s: float = 0,
    limit: int,
    offset: int = 0,
    now: datetime,
) -> tuple[list[Row], int]:
    """Sagas under way without facts and history, the oldest first, and how many in all."""
    # The first condition is that of the index over timers: exactly what is under way has one.
    where = "next_at IS NOT NULL AND created_at <= :before"
    # An expression, or the index over kinds, which holds everything ever done, would be taken.
    conditions = {"kind": "kind || '' = :kind", "direction": "direction = :direction"}
    given = {"kind": kind, "direction": direction}
    filters: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    where += "".join(f" AND {conditions[name]}" for name in filters)
    filters["before"] = now - timedelta(seconds=older_than_s)
    count = await tx.fetch_value(f"SELECT COUNT(*) FROM sagas WHERE {where}", **filters)
    rows = await tx.fetch(
        f"SELECT {_COLUMNS}, created_at, updated_at FROM sagas WHERE {where}"
        " ORDER BY created_at, id LIMIT :limit OFFSET :offset",
        **filters,
        limit=limit,
        offset=offset,
    )
    return [_shown(tx, row, now) for row in rows], int(count)


async def show(tx: Tx, saga_id: str, *, now: datetime) -> Row:
    """One saga with its facts, refusals and whole history. Raises NotFound."""
    row = await tx.fetch_one(
        f"SELECT {_COLUMNS}, created_at, updated_at FROM sagas WHERE id = :id", id=saga_id
    )
    if row is None:
        raise NotFound("saga_unknown", f"Saga with id: {saga_id} was not found")
    whole = ("plan", "marks", "facts", "refusals", "history")
    return _shown(tx, row, now) | {name: row[name] for name in whole}


def _shown(tx: Tx, row: Row, now: datetime) -> Row:
    names = [name for name in row if name not in ("created_at", "updated_at")]
    saga = _saga({name: row[name] for name in names})
    return {
        "id": saga.id,
        "service": tx.database.service,
        "kind": saga.kind,
        "subject_id": saga.subject_id,
        "direction": saga.direction,
        "waits_for": saga.waits_for,
        "can_turn_back": saga.can_turn_back,
        "tries": saga.tries,
        "next_at": saga.next_at,
        "deadline_at": saga.deadline_at,
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "age_s": round((now - row["created_at"]).total_seconds(), 3),
    }


async def wake_due(
    database: Database, expire_one: Callable[[Tx, str, datetime], Awaitable[None]]
) -> bool:
    """Run ``expire_one(tx, saga_id, now)`` per saga whose timer is due; True if more may be."""
    now = clock.now()
    async with database.glance() as tx:
        due = await tx.fetch(
            "SELECT id FROM sagas WHERE next_at <= :now ORDER BY next_at LIMIT 50", now=now
        )
    failed = False
    for row in due:
        try:
            async with database.transaction() as tx:
                await failpoint(f"{database.service}.timers.k1")
                await expire_one(tx, row["id"], now)
                await failpoint(f"{database.service}.timers.k3")
            await failpoint(f"{database.service}.timers.k4")
        except Unavailable:
            raise
        except Exception:
            # One that cannot go on must not keep the others from their timers.
            failed = True
            log.exception("saga_timer_failed", saga_id=row["id"])
    return len(due) == 50 and not failed


async def _send(tx: Tx, saga: Saga, asks: list[Ask]) -> None:
    for ask in asks:
        await outbox.put(
            tx,
            ask.message,
            about=f"{saga.kind}/{saga.subject_id}",
            message_id=ask.message_id,
            saga_id=saga.id,
        )


async def _save(tx: Tx, saga: Saga, now: datetime) -> None:
    await tx.execute(
        "UPDATE sagas SET stage = :stage, direction = :direction, marks = :marks, facts = :facts,"
        " refusals = :refusals, version = :version, tries = :tries, next_at = :next_at,"
        " deadline_at = :deadline_at, history = :history, updated_at = :now WHERE id = :id",
        now=now,
        **{
            name: value
            for name, value in _row(saga).items()
            if name not in ("kind", "subject_id", "plan")
        },
    )


def _row(saga: Saga) -> Row:
    row = {f.name: getattr(saga, f.name) for f in dataclasses.fields(saga)}
    row["plan"] = [list(stage) for stage in saga.plan]
    row["history"] = list(saga.history)
    return row


def _saga(row: Row) -> Saga:
    return Saga(
        **{
            **row,
            "plan": tuple(tuple(stage) for stage in row["plan"]),
            "history": tuple(row["history"]),
        }
    )
