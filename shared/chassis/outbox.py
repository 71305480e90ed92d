"""Outbox and relay: a message is written with the change it tells of, and sent from there.

The relay reads what is unsent in the order of writing, keeps at most one unconfirmed message per
aggregate, and marks a row only after the confirm: a crash in between sends it again with the same
id, and the receiver's inbox drops the repeat.
"""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
import structlog
from pydantic import BaseModel

from chassis import clock, context
from chassis.db import HOLD_S, Database, Instant, Row, Serial, Session, Tx
from chassis.errors import Unavailable
from chassis.failpoints import failpoint
from chassis.messaging import (
    ENVELOPE_MAX_BYTES,
    Bus,
    Envelope,
    Parcel,
    PublishFailed,
    Unroutable,
    exchange_of,
)
from chassis.observability import MESSAGES, RELAY_HOLDS
from chassis.values import uuid7

log = structlog.get_logger(__name__)

BATCH_ROWS = 200
UNROUTABLE_TRIES_MAX = 10
IDLE_S = 2.0  # what is written here wakes the relay; this is for what somebody else left
AGAIN_S = 1.0
# A group begins no message later than this after its rows were read, and a message takes 10 s at
# most: a relay that lost its hold meanwhile has stopped before another one can begin.
SEND_WITHIN_S = HOLD_S - 11


def outbox_table(metadata: sa.MetaData) -> sa.Table:
    """The table; its column names follow Debezium's outbox router."""
    return sa.Table(
        "outbox",
        metadata,
        sa.Column("seq", Serial, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("aggregatetype", sa.Text, nullable=False),
        sa.Column("aggregateid", sa.Text, nullable=False),
        sa.Column("aggregateversion", sa.BigInteger),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("exchange", sa.Text, nullable=False),
        sa.Column("routing_key", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("sent_at", Instant),
        sa.Column("attempts", sa.Integer, nullable=False, default=0, server_default="0"),
        sa.Column("last_error", sa.Text),
        sa.Column("blocked_at", Instant),
        sa.UniqueConstraint("aggregatetype", "aggregateid", "aggregateversion", "type"),
        sa.Index(
            "ix_outbox_unsent",
            "seq",
            postgresql_where=sa.text("sent_at IS NULL AND blocked_at IS NULL"),
            sqlite_where=sa.text("sent_at IS NULL AND blocked_at IS NULL"),
        ),
        sa.Index(
            "ix_outbox_blocked",
            "seq",
            postgresql_where=sa.text("blocked_at IS NOT NULL"),
            sqlite_where=sa.text("blocked_at IS NOT NULL"),
        ),
    )


def _service_of(tx: Tx) -> str:
    return tx.database.service


def reply_address() -> dict[str, Any]:
    """Where a reply to the message in hand belongs; store it to reply later."""
    now = context.current()
    return {
        "causation_id": now.causation_id,
        "saga_id": now.saga_id,
        "correlation_id": now.correlation_id,
    }


async def put(
    tx: Tx,
    message: BaseModel,
    *,
    about: str,
    version: int | None = None,
    message_id: str | None = None,
    saga_id: str | None = None,
    reply_to: dict[str, Any] | None = None,
) -> str:
    """Write a message into the outbox of the running transaction; returns its id.

    ``about`` is ``type/id`` of the aggregate. Events of an aggregate give its ``version``.
    A ``message_id`` that is already there is sent again instead (a saga's resend).
    """
    now = context.current()
    address = reply_to or {}
    kind, _, identity = about.partition("/")
    key: str = message.key  # type: ignore[attr-defined]
    envelope = Envelope(
        id=message_id or uuid7(),
        source=f"/reclamo/{_service_of(tx)}",
        type=f"reclamo.{key}",
        subject=about,
        time=clock.now().isoformat(timespec="milliseconds"),
        data=message.model_dump(mode="json"),
        sequence=version,
        correlation_id=address.get("correlation_id") or now.correlation_id,
        causation_id=address.get("causation_id") or now.causation_id,
        saga_id=saga_id or address.get("saga_id") or now.saga_id,
        actor_kind=now.actor_kind,
        actor_id=now.actor_id,
    )
    payload = envelope.to_bytes()
    if len(payload) > ENVELOPE_MAX_BYTES:
        raise ValueError(f"{key} would be {len(payload)} bytes, the limit is {ENVELOPE_MAX_BYTES}")
    row = {
        "id": envelope.id,
        "aggregatetype": kind,
        "aggregateid": identity,
        "aggregateversion": version,
        "type": envelope.type,
        "exchange": exchange_of(message),  # type: ignore[arg-type]
        "routing_key": key,
        "payload": payload.decode(),
        "created_at": clock.now(),
    }
    table = tx.database.tables["outbox"]
    if message_id is None:
        tx.insert_at_end(table, row)
    elif not await tx.insert(table, [row], ignore_conflicts=True):
        await resend(tx, [message_id])
    tx.wake("outbox")
    return envelope.id


async def resend(tx: Tx, message_ids: list[str]) -> int:
    """Send rows again that were sent before; how many are still there."""
    sent = await tx.execute(
        "UPDATE outbox SET sent_at = NULL WHERE id IN :ids AND blocked_at IS NULL", ids=message_ids
    )
    tx.wake("outbox")
    return sent


async def send_again(database: Database) -> int:
    """Send everything that is still here once more, as a rehearsal; how many messages."""
    async with database.transaction() as tx:
        tx.wake("outbox")
        return await tx.execute(
            "UPDATE outbox SET sent_at = NULL WHERE sent_at IS NOT NULL AND blocked_at IS NULL"
        )


class Relay:
    """One per database, whichever process gets the lock; the others stand by."""

    def __init__(
        self, service: str, database: Database, bus: Bus, *, idle_s: float = IDLE_S
    ) -> None:
        self._service = service
        self._database = database
        self._bus = bus
        self._woken = asyncio.Event()
        self._idle_s = self._pause_s = idle_s
        self._send_until = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        RELAY_HOLDS.labels(self._service).set(0)
        while True:
            try:
                # Without a broker it is better that another process, which may have one, sends.
                if self._bus.ready:
                    name = f"reclamo.relay.{self._service}"
                    async with self._database.exclusive(name, again_s=AGAIN_S) as session:
                        await self._send(session)
            except Unavailable as error:
                log.warning("relay_waits", error=error.message)
            except Exception:
                log.exception("relay_failed")
            await asyncio.sleep(AGAIN_S)

    async def _send(self, session: Session | None) -> None:
        """While the hold lasts and the broker is there. Only who holds listens: what a process
        without it writes is then told to the one that has it."""
        end = self._database.listen("outbox", self._woken.set)
        RELAY_HOLDS.labels(self._service).set(1)
        try:
            while session is not None and self._bus.ready:
                self._woken.clear()
                if not await self._batch(session):
                    await self._idle()
        finally:
            RELAY_HOLDS.labels(self._service).set(0)
            end()

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(self._pause_s):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _batch(self, session: Session) -> bool:
        """Send one batch; True when there may be more to send now."""
        self._pause_s = self._idle_s
        if not self._bus.ready:
            return False
        rows = await session.fetch(
            "SELECT seq, id, aggregatetype, aggregateid, type, exchange, routing_key, payload,"
            " attempts FROM outbox o WHERE sent_at IS NULL AND blocked_at IS NULL"
            # What follows a blocked message of its aggregate must not overtake it.
            " AND NOT EXISTS (SELECT 1 FROM outbox b WHERE b.aggregatetype = o.aggregatetype"
            " AND b.aggregateid = o.aggregateid AND b.blocked_at IS NOT NULL AND b.seq < o.seq)"
            " ORDER BY seq LIMIT :batch",
            batch=BATCH_ROWS,
        )
        if not rows:
            return False
        self._send_until = clock.monotonic_s() + SEND_WITHIN_S
        by_aggregate: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            by_aggregate.setdefault((row["aggregatetype"], row["aggregateid"]), []).append(row)
        groups = await asyncio.gather(*(self._in_order(group) for group in by_aggregate.values()))
        confirmed = [seq for sent, _ in groups for seq in sent]
        await failpoint(f"{self._service}.relay.r3")
        if confirmed:
            await session.execute(
                "UPDATE outbox SET sent_at = :now WHERE seq IN :seqs",
                now=clock.now(),
                seqs=confirmed,
            )
        if len(confirmed) < len(rows):
            self._pause_s = min(AGAIN_S, self._idle_s)
        for failed in (row for _, row in groups if row is not None):
            await self._note_unroutable(session, failed)
        # What is written from now on wakes us; what failed waits for the next look.
        return len(rows) == BATCH_ROWS and bool(confirmed)

    async def _in_order(self, group: list[Row]) -> tuple[list[int], Row | None]:
        """Send one aggregate's rows one after the other; stops at the first that fails."""
        sent: list[int] = []
        for row in group:
            if clock.monotonic_s() > self._send_until:
                return sent, None
            parcel = Parcel(
                id=row["id"],
                exchange=row["exchange"],
                routing_key=row["routing_key"],
                partition_key=f"{row['aggregatetype']}/{row['aggregateid']}",
                body=row["payload"].encode(),
                source=self._service,
            )
            try:
                await failpoint(f"{self._service}.relay.r1")
                await self._bus.publish(parcel)
            except Unroutable as error:
                return sent, row | {"last_error": str(error)}
            except PublishFailed as error:
                log.warning("publish_failed", id=row["id"], type=row["type"], error=str(error))
                return sent, None
            except Exception:
                # Not to be told from a lost confirm; the other aggregates' confirms still count.
                log.exception("publish_failed", id=row["id"], type=row["type"])
                return sent, None
            sent.append(row["seq"])
            await failpoint(f"{self._service}.relay.r2")
            MESSAGES.labels(self._service, "sent", row["routing_key"]).inc()
        return sent, None

    async def _note_unroutable(self, session: Session, row: Row) -> None:
        blocked = row["attempts"] + 1 >= UNROUTABLE_TRIES_MAX
        log.error("unroutable", id=row["id"], type=row["type"], blocked=blocked)
        await session.execute(
            "UPDATE outbox SET attempts = attempts + 1, last_error = :error,"
            " blocked_at = CASE WHEN :blocked THEN :now ELSE blocked_at END WHERE seq = :seq",
            error=row["last_error"],
            blocked=blocked,
            now=clock.now(),
            seq=row["seq"],
        )
