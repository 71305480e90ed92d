"""Bugs that are planted into started processes, by the nursery that forks them and nowhere else.

Each function breaks one rule of messaging or storage the way a plausible change would. None of it
can be switched on in production: the code is replaced from here, in a test's process.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiormq.channel
import pytest

from chassis import bus_rabbit, clock, db_postgres, db_sqlite, http, outbox
from chassis.db import Database, Session, Tx
from chassis.failpoints import failpoint


def ack_before_commit() -> None:
    """1: the broker hears of success before the handler has begun."""
    consuming = bus_rabbit._Consuming
    handle = consuming._handle

    async def hasty(self: Any, consumer: Any, message: Any, over: asyncio.Event) -> None:
        with suppress(Exception):
            await message.ack()

        class Acked:
            def __getattr__(self, name: str) -> Any:
                return getattr(message, name)

            async def ack(self) -> None:
                return

        await handle(self, consumer, Acked(), over)  # type: ignore[arg-type]

    consuming._handle = hasty  # type: ignore[method-assign]


def relay_marks_before_confirm() -> None:
    """4: rows are marked as sent, then sent."""
    batch = outbox.Relay._batch

    async def hasty(self: Any, session: Session) -> bool:
        if not self._bus.ready:
            return False
        rows = await session.fetch(
            "SELECT seq FROM outbox WHERE sent_at IS NULL AND blocked_at IS NULL"
            " ORDER BY seq LIMIT :batch",
            batch=outbox.BATCH_ROWS,
        )

        class Marked(Session):
            """Reads the rows as if they were not marked yet."""

            async def fetch(self, sql: str, **params: Any) -> list[dict[str, Any]]:
                found = await session.fetch(sql, **params)
                await session.execute(
                    "UPDATE outbox SET sent_at = :now WHERE seq IN :seqs",
                    now=clock.now(),
                    seqs=[row["seq"] for row in found],
                )
                return found

            async def execute(self, sql: str, **params: Any) -> int:
                return await session.execute(sql, **params)

        return await batch(self, Marked()) if rows else False

    outbox.Relay._batch = hasty  # type: ignore[method-assign]


def cursor_relay() -> None:
    """5: the relay remembers the last number and asks for higher ones."""
    _rewrite(
        "FROM outbox o WHERE sent_at IS NULL AND blocked_at IS NULL",
        "FROM outbox o WHERE blocked_at IS NULL AND sent_at IS NULL AND seq >"
        " (SELECT COALESCE(MAX(seq), 0) FROM outbox WHERE sent_at IS NOT NULL)",
    )


def miscounting_library() -> None:
    """No bug of ours: a publish that is given up between counting and sending was counted, as the
    library once did. What 6 is compared with."""
    publish = aiormq.channel.Channel.basic_publish

    async def given_up(self: Any, *given: Any, **more: Any) -> Any:
        if self.publisher_confirms and random.random() < 0.1:
            async with self.lock:
                self.delivery_tag += 1
            raise TimeoutError("given up between counting and sending")
        return await publish(self, *given, **more)

    aiormq.channel.Channel.basic_publish = given_up  # type: ignore[method-assign]


def channel_reused_after_timeout() -> None:
    """6: a channel on which a publish was given up is used again."""
    miscounting_library()
    bus_rabbit._Publishing._retire = lambda self, channel: None  # type: ignore[method-assign]


def returned_messages_count_as_sent() -> None:
    """7: on_return_raises=False, the library's default."""

    async def open_channel(self: Any, connection: Any) -> None:
        channel = connection.channel(publisher_confirms=True, on_return_raises=False)
        await channel.initialize()
        channel.close_callbacks.add(self._on_closed)
        self._channel = channel

    bus_rabbit._Publishing._open_channel = open_channel  # type: ignore[method-assign]


def no_lock_on_the_order() -> None:
    """13: what is decided about an order is decided on figures that somebody else may change."""
    _rewrite(" FOR UPDATE OF o", "")


def unsorted_locks() -> None:
    """14: levels are locked in the order in which they were asked for."""
    from services.inventory import store

    lock_levels = store.lock_levels

    async def one_by_one(tx: Tx, items: Any, **given: Any) -> Any:
        for item in list(items):
            await tx.fetch("SELECT item_id FROM levels WHERE item_id = :id FOR UPDATE", id=item)
            await asyncio.sleep(0.01)
        return await lock_levels(tx, items, **given)

    from services.inventory import operations

    decide = operations._decide_reservation

    async def as_asked(tx: Tx, command: Any) -> Any:
        variants = await store.variants_by_id(tx, (line.variant_id for line in command.lines))
        asked = [variants[line.variant_id].counted_item for line in command.lines]
        await one_by_one(tx, [item for item in asked if item])
        return await decide(tx, command)

    operations._decide_reservation = as_asked


def deferred_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """15: every writer of SQLite on a connection of its own, and ``BEGIN`` without IMMEDIATE.

    The one writing connection of the product would hide the second half alone.
    """

    @asynccontextmanager
    async def write(self: Any) -> AsyncIterator[db_sqlite.SqliteTx]:
        connection = db_sqlite.open_connection(self.path, write=True)
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("BEGIN")
            tx = db_sqlite.SqliteTx(self, connection)
            try:
                yield tx
                await tx._end()
                # Others come in between, as they do between two statements of a real driver.
                await asyncio.sleep(0)
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise db_sqlite._named(error) from error
            finally:
                if connection.in_transaction:
                    connection.rollback()
            tx._committed()
        finally:
            connection.close()

    monkeypatch.setattr(db_sqlite.SqliteDatabase, "_write", write)


def answer_before_commit() -> None:
    """16: the transaction ends after the answer went out, as a request-scoped dependency would."""
    ending: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def accepting(database: Database) -> AsyncIterator[Tx]:
        manager = database.transaction()
        tx = await manager.__aenter__()
        try:
            yield tx
        except BaseException as error:
            await manager.__aexit__(type(error), error, error.__traceback__)
            raise

        async def end() -> None:
            await asyncio.sleep(0.05)
            await failpoint(f"{database.service}.accept.k3")
            await manager.__aexit__(None, None, None)

        task = asyncio.create_task(end())
        ending.add(task)
        task.add_done_callback(ending.discard)

    http.accepting = accepting


def _rewrite(old: str, new: str) -> None:
    """Statements of PostgreSQL are changed on their way."""
    translate: Callable[[str], Any] = db_postgres._translate
    db_postgres._translate = lambda sql: translate(sql.replace(old, new))  # type: ignore[assignment]
