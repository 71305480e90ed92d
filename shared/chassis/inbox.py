"""Inbox: a message is handled in the transaction that records it, so a repeat changes nothing.

A message that cannot be handled now is parked in the table and acknowledged; retries and dead
letters live here, not in the broker, so that every broker version and the in-process bus behave
alike and an operator can query them.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from chassis import clock, context
from chassis.db import Database, Instant, Row, Transient, Tx
from chassis.errors import Unavailable
from chassis.failpoints import failpoint
from chassis.messaging import Delivery, Envelope, Malformed, Subscription
from chassis.observability import MESSAGES
from chassis.values import jitter

log = structlog.get_logger(__name__)

RETRY_AFTER_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
TRIES_MAX = 1 + len(RETRY_AFTER_S)
DEFECT_TRIES_MAX = 4  # a bug rarely heals by itself: 1 s, 5 s, 15 s, then an operator looks
CRASHES_MAX = 5
CRASH_SUSPECT_DELIVERIES = 3
_STARTED = re.compile(r"started (\d+) times without an end")


class Retry(Exception):
    """A handler cannot do it now; try the message again later."""


def unfit(envelope: Envelope, models: Mapping[str, Any]) -> str | None:
    """Why no handler can take a message that can be read and named; None when one can.

    ``models``: routing key -> message class. Such a message is dead under its own id, so that an
    operator can mend it and whoever sends it again is known.
    """
    if envelope.key not in models:
        return f"nobody here handles {envelope.type}"
    try:
        envelope.message(models[envelope.key])
    except Malformed as error:
        return str(error)
    return None


def inbox_table(metadata: sa.MetaData) -> sa.Table:
    """The table: one row per consumer and message. The envelope is kept for parked and dead.

    A row that is done and still has its envelope was discarded (``chassis.dead_letters``).
    """
    return sa.Table(
        "inbox",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("partitionkey", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, default=0, server_default="0"),
        sa.Column("next_at", Instant),
        sa.Column("error", sa.Text),
        sa.Column("envelope", sa.Text),
        sa.Column("received_at", Instant, nullable=False),
        sa.Column("done_at", Instant),
        sa.CheckConstraint("state IN ('done', 'parked', 'dead')", name="state"),
        sa.Index(
            "ix_inbox_due",
            "next_at",
            postgresql_where=sa.text("state = 'parked'"),
            sqlite_where=sa.text("state = 'parked'"),
        ),
        sa.Index(
            "ix_inbox_open",
            "state",
            postgresql_where=sa.text("state <> 'done'"),
            sqlite_where=sa.text("state <> 'done'"),
        ),
    )


def _text(anything: str) -> str:
    """What PostgreSQL can store of it."""
    return anything.replace("\x00", "\ufffd").encode(errors="replace").decode()


def _pause_s(attempt: int) -> float:
    """Seconds to the next try after this many."""
    return jitter(RETRY_AFTER_S[min(attempt, len(RETRY_AFTER_S)) - 1], 0.2)


class Inbox:
    """The door of one queue: dedupes, handles, parks."""

    def __init__(
        self,
        service: str,
        database: Database,
        subscription: Subscription,
        *,
        verify_sender: bool = False,
    ) -> None:
        self._service = service
        self._database = database
        self._queue = subscription.queue
        self._handlers: dict[str, tuple[Any, Callable[..., Awaitable[None]]]] = {
            model.key: (model, handler) for model, handler in subscription.handlers.items()
        }
        self._models = subscription.models
        self._envelopes = subscription.envelopes
        self._verify_sender = verify_sender

    async def deliver(self, delivery: Delivery) -> None:
        """Handle one delivery; returning means that it is recorded as done, parked or dead.

        Raises Unavailable when the database cannot record anything: the bus keeps the message.
        """
        try:
            envelope = self._opened(delivery)
        except Malformed as error:
            await self._bury_unreadable(delivery, str(error))
            return
        misfit = unfit(envelope, self._models)
        if misfit:
            await self._park(envelope, delivery.body, misfit, dead=True)
            return
        if delivery.dead:
            await self._park(envelope, delivery.body, "given up by the broker", dead=True)
            return
        if delivery.count >= CRASH_SUSPECT_DELIVERIES and await self._crash_loop(
            envelope, delivery
        ):
            return
        for pause_s in (0.05, 0.25, None):
            try:
                await self._handle_once(envelope)
                return
            except (Transient, Retry) as error:
                if pause_s is None:
                    await self._park(envelope, delivery.body, str(error))
                    return
                await asyncio.sleep(jitter(pause_s, 0.5))
            except Unavailable:
                raise
            except Exception as error:
                log.exception("handler_failed", queue=self._queue, type=envelope.type)
                await self._park(envelope, delivery.body, f"{type(error).__name__}: {error}")
                return

    def _opened(self, delivery: Delivery) -> Envelope:
        envelope = Envelope.from_bytes(delivery.body)
        sender = delivery.user_id
        if self._verify_sender and envelope.source != f"/reclamo/{sender}":
            raise Malformed(
                f"{sender or 'nobody'} sent a message that claims to be from {envelope.source}"
            )
        return envelope

    async def _handle_once(self, envelope: Envelope) -> None:
        async with self._database.transaction() as tx:
            now = clock.now()
            row = {
                "consumer": self._queue,
                "message_id": envelope.id,
                "type": envelope.type,
                "partitionkey": envelope.subject,
                "state": "done",
                "received_at": now,
                "done_at": now,
            }
            new = await tx.insert(self._database.tables["inbox"], [row], ignore_conflicts=True)
            if new:
                await self._run_handler(tx, envelope)
        if new:
            MESSAGES.labels(self._service, "handled", envelope.key).inc()
        # A repeat passes here too: recorded, and not yet acknowledged.
        await failpoint(f"{self._service}.{envelope.key}.k4")

    async def _run_handler(self, tx: Tx, envelope: Envelope) -> None:
        context.begin(
            context.Context(
                correlation_id=envelope.correlation_id,
                causation_id=envelope.id,
                saga_id=envelope.saga_id,
                answers=envelope.causation_id,
                actor_kind=envelope.actor_kind,
                actor_id=envelope.actor_id,
            )
        )
        await failpoint(f"{self._service}.{envelope.key}.k1")
        model, handler = self._handlers[envelope.key]
        message = envelope.message(model)
        await handler(tx, envelope if self._envelopes else message)
        await failpoint(f"{self._service}.{envelope.key}.k3")

    async def _park(
        self, envelope: Envelope, body: bytes, error: str, *, dead: bool = False
    ) -> None:
        # A type that nobody handles is any text: it must not become a name among the metrics.
        kind = envelope.key if envelope.key in self._handlers else "unreadable"
        MESSAGES.labels(self._service, "dead" if dead else "parked", kind).inc()
        log.warning("parked", queue=self._queue, type=envelope.type, id=envelope.id, error=error)
        now = clock.now()
        row = {
            "consumer": self._queue,
            "message_id": envelope.id,
            "type": envelope.type,
            "partitionkey": envelope.subject,
            "state": "dead" if dead else "parked",
            "attempts": 1,
            "next_at": None if dead else now + timedelta(seconds=_pause_s(1)),
            "error": _text(error),
            "envelope": body.decode(),
            "received_at": now,
        }
        async with self._database.transaction() as tx:
            await tx.insert(self._database.tables["inbox"], [row], ignore_conflicts=True)
            await failpoint(f"{self._service}.park.k3")
        await failpoint(f"{self._service}.park.k4")

    async def _bury_unreadable(self, delivery: Delivery, error: str) -> None:
        MESSAGES.labels(self._service, "dead", "unreadable").inc()
        log.error("unreadable_message", queue=self._queue, error=error)
        row = {
            "consumer": self._queue,
            "message_id": f"unreadable-{hashlib.sha256(delivery.body).hexdigest()}",
            "type": "unreadable",
            "partitionkey": "",
            "state": "dead",
            "error": _text(error),
            "envelope": _text(delivery.body.decode(errors="backslashreplace")),
            "received_at": clock.now(),
        }
        async with self._database.transaction() as tx:
            await tx.insert(self._database.tables["inbox"], [row], ignore_conflicts=True)

    async def _crash_loop(self, envelope: Envelope, delivery: Delivery) -> bool:
        """Count the start before it happens: a message that kills its process ends up dead.

        True when it is not to be handled here (already recorded, or given up).
        """
        await self._park(envelope, delivery.body, "suspected of killing the process")
        await self.retry_due(only=envelope.id)
        return True

    async def retry_due(self, only: str | None = None) -> bool:
        """Try parked messages whose time has come; True when there may be more."""
        async with self._database.glance() as tx:
            due = await tx.fetch(
                "SELECT message_id FROM inbox WHERE consumer = :queue AND state = 'parked'"
                " AND (next_at <= :now OR message_id = :only) ORDER BY next_at LIMIT 50",
                queue=self._queue,
                now=clock.now(),
                only=only or "",
            )
        for row in due:
            await self._retry(row["message_id"], only=only)
        return len(due) == 50

    async def _retry(self, message_id: str, *, only: str | None) -> None:
        async with self._database.transaction() as tx:
            row = await tx.fetch_one(
                "SELECT type, attempts, envelope, error FROM inbox WHERE consumer = :queue"
                # Due no more: another process has just begun this very try.
                " AND message_id = :id AND state = 'parked'"
                " AND (next_at <= :now OR message_id = :only) FOR UPDATE SKIP LOCKED",
                queue=self._queue,
                id=message_id,
                now=clock.now(),
                only=only or "",
            )
            if row is None:
                return
            # Registered before the handler runs: a crash in it must not be forgotten. Whatever
            # else ends the try writes its own error over this one.
            attempts = row["attempts"] + 1
            crashed = _STARTED.fullmatch(row["error"] or "")
            starts = int(crashed.group(1)) + 1 if crashed else 1
            error, dead = f"started {starts} times without an end", False
            if starts > CRASHES_MAX:
                error, dead = f"crash_loop: {row['error']}", True
            elif attempts > TRIES_MAX:
                error, dead = row["error"], True
            await tx.execute(
                "UPDATE inbox SET attempts = :attempts, next_at = :next, error = :error,"
                " state = :state WHERE consumer = :queue AND message_id = :id",
                attempts=attempts,
                next=None if dead else clock.now() + timedelta(seconds=_pause_s(attempts)),
                error=error,
                state="dead" if dead else "parked",
                queue=self._queue,
                id=message_id,
            )
            await failpoint(f"{self._service}.retry.k1")
        if dead:
            log.error("dead", queue=self._queue, id=message_id, error=error)
            return
        await failpoint(f"{self._service}.retry.k2")
        await self._retry_registered(message_id, row)

    async def _retry_registered(self, message_id: str, row: Row) -> None:
        try:
            envelope = Envelope.from_bytes(row["envelope"].encode())
            async with self._database.transaction() as tx:
                done = await tx.execute(
                    "UPDATE inbox SET state = 'done', done_at = :now, envelope = NULL,"
                    " next_at = NULL, error = NULL WHERE consumer = :queue AND message_id = :id"
                    " AND state = 'parked'",
                    now=clock.now(),
                    queue=self._queue,
                    id=message_id,
                )
                if done:
                    await self._run_handler(tx, envelope)
                await failpoint(f"{self._service}.retry.k3")
            await failpoint(f"{self._service}.retry.k4")
        except (Transient, Retry, Unavailable) as error:
            log.warning("retry_failed", queue=self._queue, type=row["type"], error=str(error))
            await self._note(message_id, str(error), tries_max=TRIES_MAX)
        except Exception as error:
            log.exception("retry_failed", queue=self._queue, type=row["type"])
            text = f"{type(error).__name__}: {error}"
            await self._note(message_id, text, tries_max=DEFECT_TRIES_MAX)

    async def _note(self, message_id: str, error: str, *, tries_max: int) -> None:
        """Why a try failed; the last one makes the message dead."""
        async with self._database.transaction() as tx:
            await tx.execute(
                "UPDATE inbox SET error = :error,"
                " state = CASE WHEN attempts >= :most THEN 'dead' ELSE state END"
                " WHERE consumer = :queue AND message_id = :id AND state = 'parked'",
                error=_text(error),
                most=tries_max,
                queue=self._queue,
                id=message_id,
            )
