"""Wakes between the processes of a service: told after the commit, heard by who waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from chassis import db, hints
from chassis.db import Database, Tx
from chassis.outbox import Relay
from chassis.testing import DatabaseUrl, eventually
from tests.chassis.shop import SCHEMA, RecordingBus, packed, say

# Longer than any of these tests may take: what looks by itself only that often was woken.
NEVER_S = 3600.0


@pytest.fixture
async def replica(
    postgres_url_factory: DatabaseUrl,
) -> AsyncIterator[Callable[[], Awaitable[Database]]]:
    """``one, other = await replica(), await replica()``: processes on the same database."""
    url = await postgres_url_factory(SCHEMA)
    opened: list[tuple[Database, asyncio.Task[None]]] = []

    async def open_one() -> Database:
        database = db.connect(url).serve("shop", SCHEMA)
        await database.open()
        opened.append((database, asyncio.create_task(database.share_wakes())))
        return database

    yield open_one
    for database, task in opened:
        task.cancel()
        await asyncio.wait([task])
        await database.close()


@asynccontextmanager
async def relaying(database: Database, bus: RecordingBus) -> AsyncIterator[None]:
    relay = asyncio.create_task(Relay("shop", database, bus, idle_s=NEVER_S).run())
    try:
        yield
    finally:
        relay.cancel()
        await asyncio.wait([relay])


async def wake(database: Database, *keys: str) -> None:
    async with database.transaction() as tx:
        for key in keys:
            tx.wake(key)


async def acquainted(one: Database, other: Database) -> None:
    """Until each hears the other."""
    for speaker, listener in ((one, other), (other, one)):
        heard = asyncio.Event()
        end = listener.listen("are you there?", heard.set)

        async def asked(speaker: Database = speaker, heard: asyncio.Event = heard) -> bool:
            await wake(speaker, "are you there?")
            return heard.is_set()

        await eventually(asked, within_s=30)
        end()


async def test_a_wake_reaches_the_other_process_and_does_not_come_back(
    replica: Callable[[], Awaitable[Database]],
) -> None:
    one, other = await replica(), await replica()
    await acquainted(one, other)
    heard: list[str] = []
    for name, database in (("one", one), ("other", other)):
        database.listen(f"for {name}", lambda name=name: heard.append(name))
    await wake(one, "for other", "for nobody", "for other")
    await wake(other, "for one")
    await eventually(lambda: sorted(heard) == ["one", "other"])
    await wake(one, *(f"key {number}" for number in range(500)), "for other")
    await eventually(lambda: sorted(heard) == ["one", "other", "other"])


async def test_a_wake_is_not_told_when_the_transaction_fails(
    replica: Callable[[], Awaitable[Database]],
) -> None:
    one, other = await replica(), await replica()
    await acquainted(one, other)
    heard: list[str] = []
    for key in ("failed", "committed"):
        other.listen(key, lambda key=key: heard.append(key))
    with pytest.raises(KeyError):  # noqa: PT012
        async with one.transaction() as tx:
            tx.wake("failed")
            raise KeyError
    await wake(one, "committed")
    await eventually(lambda: heard == ["committed"])


async def test_who_waits_for_a_request_is_woken_by_the_process_that_finished_it(
    replica: Callable[[], Awaitable[Database]],
) -> None:
    one, other = await replica(), await replica()
    await acquainted(one, other)
    looks = 0

    async def probe(tx: Tx) -> bool | None:
        nonlocal looks
        looks += 1
        return True if await tx.fetch("SELECT 1 FROM boxes WHERE id = 'a'") else None

    waiting = asyncio.create_task(one.wait("a", probe, 30))
    await eventually(lambda: looks > 0)
    async with other.transaction() as tx:
        await tx.execute("INSERT INTO boxes (id, packed) VALUES ('a', 1)")
        tx.wake("a")
    assert await waiting


async def test_what_the_standby_wrote_is_sent_without_waiting_for_a_look_at_the_outbox(
    replica: Callable[[], Awaitable[Database]],
) -> None:
    one, other = await replica(), await replica()
    await acquainted(one, other)
    buses = RecordingBus(), RecordingBus()
    async with relaying(one, buses[0]):
        first = await say(one, "a")
        await eventually(lambda: buses[0].ids == first)
        async with relaying(other, buses[1]):
            for number in range(20):
                said = await say((one, other)[number % 2], "a")
                await eventually(lambda said=said: buses[0].ids[-1:] == said)
            assert buses[1].ids == []
    assert await packed(one) == {"a": 21}


async def test_after_its_connection_is_killed_it_hears_again(
    replica: Callable[[], Awaitable[Database]],
) -> None:
    one, other = await replica(), await replica()
    await acquainted(one, other)
    looked: list[int] = []
    other.listen("key", lambda: looked.append(1))
    async with one.transaction() as tx:
        killed = await tx.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'reclamo wakes'"
        )
    assert len(killed) == 2
    # What was said meanwhile was heard by nobody, so on its return everybody looks.
    await eventually(lambda: looked, within_s=30)
    await acquainted(one, other)


async def test_a_process_that_is_alone_says_nothing(
    replica: Callable[[], Awaitable[Database]],
) -> None:
    alone = await replica()
    heard: list[str] = []
    listener = await asyncpg.connect(alone.url)
    await listener.add_listener(hints.CHANNEL, lambda *said: heard.append(said[-1]))
    for number in range(20):
        await wake(alone, f"key {number}")
    # Notifications come in the order of their commits: nothing was said before this.
    await listener.execute("SELECT pg_notify($1, 'the end')", hints.CHANNEL)
    await eventually(lambda: "the end" in heard)
    assert set(heard) <= {"", "the end"}
    await listener.close()
