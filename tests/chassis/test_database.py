"""One contract, two databases: what the services may rely on, whichever they run on."""
# ruff: noqa: PT012 - a transaction that is to fail takes more than one statement

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa

from chassis import db, db_postgres
from chassis.db import CheckFailed, Database, DuplicateRow, Transient, Tx
from chassis.db_postgres import POOL_MAX, PostgresDatabase
from chassis.db_sqlite import READERS_MAX, ReadOnlySqlite, SqliteDatabase
from chassis.errors import Unavailable
from chassis.testing import DatabaseUrl, MakeDatabase, eventually

SCHEMA = db.metadata()
THINGS = sa.Table(
    "things",
    SCHEMA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("amount", sa.BigInteger, nullable=False, default=0, server_default="0"),
    sa.Column("kind", sa.Text, nullable=False, default="plain"),
    sa.Column("fragile", sa.Boolean),
    sa.Column("tags", db.Json),
    sa.Column("seen_at", db.Instant),
    sa.UniqueConstraint("name"),
    sa.CheckConstraint("amount >= 0", name="amount"),
)
NOW = datetime(2026, 11, 20, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return (await make_database(SCHEMA)).serve("things", SCHEMA)


async def put(database: Database, *ids: str, **more: Any) -> None:
    async with database.transaction() as tx:
        await tx.insert(THINGS, [{"id": id_, **more} for id_ in ids])


async def ids(database: Database) -> list[str]:
    async with database.reading() as tx:
        return [row["id"] for row in await tx.fetch("SELECT id FROM things ORDER BY id")]


class TestTransactions:
    async def test_everything_inside_commits_together(self, database: Database) -> None:
        async with database.transaction() as tx:
            await tx.insert(THINGS, [{"id": "a"}])
            await tx.execute("UPDATE things SET amount = :amount WHERE id = 'a'", amount=7)
            assert await ids(database) == []
        async with database.reading() as tx:
            assert await tx.fetch_value("SELECT amount FROM things") == 7

    async def test_an_error_takes_everything_back(self, database: Database) -> None:
        with pytest.raises(KeyError):
            async with database.transaction() as tx:
                await tx.insert(THINGS, [{"id": "a"}])
                raise KeyError
        assert await ids(database) == []

    async def test_an_error_that_was_swallowed_inside_does_not_commit_by_halves(
        self, database: Database
    ) -> None:
        await put(database, "a")
        with suppress(Transient):
            async with database.transaction() as tx:
                await tx.insert(THINGS, [{"id": "b"}])
                with pytest.raises(DuplicateRow):
                    await tx.insert(THINGS, [{"id": "c"}, {"id": "a"}])
        assert "c" not in await ids(database) or database.dialect == "sqlite"
        assert "a" in await ids(database)

    async def test_rows_for_the_end_commit_with_the_rest(self, database: Database) -> None:
        async with database.transaction() as tx:
            tx.insert_at_end(THINGS, {"id": "b"})
            tx.insert_at_end(THINGS, {"id": "c", "amount": 3})
            await tx.insert(THINGS, [{"id": "a"}])
            assert await tx.fetch("SELECT id FROM things") == [{"id": "a"}]
        assert await ids(database) == ["a", "b", "c"]

    async def test_rows_for_the_end_go_with_a_transaction_that_fails(
        self, database: Database
    ) -> None:
        with pytest.raises(KeyError):
            async with database.transaction() as tx:
                tx.insert_at_end(THINGS, {"id": "a"})
                raise KeyError
        assert await ids(database) == []

    async def test_a_row_for_the_end_that_meets_a_constraint_takes_everything_back(
        self, database: Database
    ) -> None:
        await put(database, "a")
        with pytest.raises(DuplicateRow):
            async with database.transaction() as tx:
                tx.insert_at_end(THINGS, {"id": "a"})
                await tx.insert(THINGS, [{"id": "b"}])
        assert await ids(database) == ["a"]
        await put(database, "c")
        assert await ids(database) == ["a", "c"]

    async def test_a_reading_sees_one_state(self, database: Database) -> None:
        await put(database, "a")
        async with database.reading() as tx:
            before = await tx.fetch("SELECT id FROM things")
            await put(database, "b")
            assert await tx.fetch("SELECT id FROM things") == before
        assert await ids(database) == ["a", "b"]

    async def test_a_reading_cannot_write(self, database: Database) -> None:
        with pytest.raises(Unavailable):
            async with database.reading() as tx:
                await tx.execute("INSERT INTO things (id) VALUES ('a')")
        assert await ids(database) == []

    async def test_a_row_for_the_end_of_a_reading_is_refused_and_not_lost_in_silence(
        self, database: Database
    ) -> None:
        with pytest.raises(Unavailable):
            async with database.reading() as tx:
                tx.insert_at_end(THINGS, {"id": "a"})
        assert await ids(database) == []

    async def test_a_glance_sees_what_is_committed(self, database: Database) -> None:
        await put(database, "a")
        async with database.glance() as tx:
            assert await tx.fetch_value("SELECT COUNT(*) FROM things") == 1

    async def test_a_long_look_aside_sees_one_state_and_keeps_nobody_from_work(
        self, database: Database
    ) -> None:
        await put(database, "a")
        slow = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000)"
            " SELECT COUNT(*) AS steps FROM n"
        )

        async def look() -> tuple[int, int]:
            async with database.aside() as tx:
                before = await tx.fetch_value("SELECT COUNT(*) FROM things")
                looked.set()
                await tx.fetch(slow)
                return before, await tx.fetch_value("SELECT COUNT(*) FROM things")

        looked = asyncio.Event()
        looking = asyncio.create_task(look())
        await looked.wait()
        await put(database, "b")
        assert not looking.done()
        assert await looking == (1, 1)

    async def test_a_look_aside_cannot_write_and_names_its_errors(self, database: Database) -> None:
        with pytest.raises(Exception, match=r"read-?only"):
            async with database.aside() as tx:
                await tx.fetch("INSERT INTO things (id) VALUES ('a') RETURNING id")
        assert await ids(database) == []

    async def test_two_that_read_modify_and_write_lose_no_update(self, database: Database) -> None:
        """SQLite's default, no BEGIN before a SELECT, loses one of them silently."""
        await put(database, "a")

        async def add_one() -> None:
            async with database.transaction() as tx:
                row = await tx.fetch_one("SELECT amount FROM things WHERE id = 'a' FOR UPDATE")
                assert row is not None
                await asyncio.sleep(0)
                await tx.execute("UPDATE things SET amount = :n", n=row["amount"] + 1)

        await asyncio.gather(*(add_one() for _ in range(20)))
        async with database.reading() as tx:
            assert await tx.fetch_value("SELECT amount FROM things") == 20

    async def test_a_closed_database_is_unavailable(self, database: Database) -> None:
        await database.close()
        for begin in (database.transaction, database.reading):
            with pytest.raises(Unavailable):
                async with begin():
                    raise AssertionError("it is closed")

    async def test_it_can_be_opened_and_closed_again_and_again(self, database: Database) -> None:
        await database.open()
        await put(database, "a")
        await database.close()
        await database.close()
        await database.open()
        await put(database, "b")
        assert await ids(database) == ["a", "b"]


class TestStatements:
    async def test_a_list_is_a_parameter(self, database: Database) -> None:
        await put(database, "a", "b", "ü")
        async with database.reading() as tx:
            some = "SELECT id FROM things WHERE id IN :ids ORDER BY id"
            others = "SELECT id FROM things WHERE id NOT IN :ids ORDER BY id"
            assert await tx.fetch(some, ids=["ü", "a", "x"]) == [{"id": "a"}, {"id": "ü"}]
            assert await tx.fetch(some, ids=[]) == []
            assert await tx.fetch(others, ids=["a"]) == [{"id": "b"}, {"id": "ü"}]
            assert len(await tx.fetch(others, ids=[])) == 3

    async def test_a_list_of_numbers_is_a_parameter(self, database: Database) -> None:
        await put(database, "a", amount=2**40)
        async with database.reading() as tx:
            found = await tx.fetch("SELECT id FROM things WHERE amount IN :ns", ns=[1, 2**40])
        assert found == [{"id": "a"}]

    async def test_one_parameter_may_occur_twice(self, database: Database) -> None:
        await put(database, "a", name="a")
        async with database.reading() as tx:
            assert await tx.fetch_one("SELECT id FROM things WHERE id = :x AND name = :x", x="a")

    async def test_values_come_back_as_they_went_in(self, database: Database) -> None:
        row = {
            "id": "a",
            "name": 'Łódź "quoted" :not_a_parameter \'',
            "amount": 2**53,
            "kind": "plain",
            "fragile": True,
            "tags": {"a": [1, 2.5, None, True, "ß"], "b": {}},
            "seen_at": NOW,
        }
        async with database.transaction() as tx:
            await tx.insert(THINGS, [row])
        async with database.reading() as tx:
            assert await tx.fetch("SELECT * FROM things") == [row]

    async def test_nothing_comes_back_as_none(self, database: Database) -> None:
        row = dict.fromkeys(("name", "fragile", "tags", "seen_at"))
        await put(database, "a", **row)
        async with database.reading() as tx:
            found = await tx.fetch_one("SELECT name, fragile, tags, seen_at FROM things")
        assert found == row

    async def test_values_can_be_updated_by_parameters(self, database: Database) -> None:
        await put(database, "a", tags=[1], fragile=True)
        async with database.transaction() as tx:
            await tx.execute(
                "UPDATE things SET tags = :tags, fragile = :fragile, seen_at = :at, name = :name",
                tags=["x", {"y": 1}],
                fragile=False,
                at=NOW,
                name=None,
            )
            found = await tx.fetch_one("SELECT tags, fragile, seen_at, name FROM things")
        assert found == {"tags": ["x", {"y": 1}], "fragile": False, "seen_at": NOW, "name": None}

    async def test_times_of_any_zone_compare_as_instants(self, database: Database) -> None:
        await put(database, "a", seen_at=NOW)
        elsewhere = (NOW + timedelta(seconds=1)).astimezone(timezone(timedelta(hours=9)))
        async with database.reading() as tx:
            assert await tx.fetch("SELECT id FROM things WHERE seen_at < :at", at=elsewhere)
            assert not await tx.fetch("SELECT id FROM things WHERE seen_at > :at", at=elsewhere)

    async def test_execute_tells_how_many_rows_it_touched(self, database: Database) -> None:
        await put(database, "a", "b")
        async with database.transaction() as tx:
            assert await tx.execute("UPDATE things SET amount = 1") == 2
            assert await tx.execute("UPDATE things SET amount = 2 WHERE id = 'x'") == 0
            assert await tx.execute("DELETE FROM things WHERE id = 'a'") == 1

    async def test_fetch_one_and_fetch_value_of_nothing_are_none(self, database: Database) -> None:
        async with database.reading() as tx:
            assert await tx.fetch_one("SELECT id FROM things") is None
            assert await tx.fetch_value("SELECT id FROM things") is None

    async def test_locking_clauses_are_understood(self, database: Database) -> None:
        await put(database, "a")
        async with database.transaction() as tx:
            for clause in ("FOR UPDATE", "FOR UPDATE SKIP LOCKED", "FOR UPDATE OF t"):
                assert await tx.fetch(f"SELECT t.id FROM things t {clause}")

    async def test_returning_gives_texts_and_numbers(self, database: Database) -> None:
        async with database.transaction() as tx:
            found = await tx.fetch(
                "INSERT INTO things (id, kind, amount) VALUES (:id, '', :n) RETURNING id, amount",
                id="a",
                n=3,
            )
        assert found == [{"id": "a", "amount": 3}]
        assert await ids(database) == ["a"]

    async def test_a_missing_parameter_is_a_defect_and_not_passing_trouble(
        self, database: Database
    ) -> None:
        for sql in ("SELECT id FROM things WHERE id = :id", "SELECT nothing FROM nowhere"):
            async with database.reading() as tx:
                with pytest.raises(Exception) as caught:
                    await tx.fetch(sql)
                assert not isinstance(caught.value, (Unavailable, Transient))

    @pytest.mark.parametrize("value", [2**63, 2**70, "many", object()])
    async def test_a_value_that_does_not_fit_is_a_defect_and_not_passing_trouble(
        self, database: Database, value: object
    ) -> None:
        """Passing trouble is tried again for ever; this would never heal."""
        with pytest.raises(Exception) as caught:
            async with database.transaction() as tx:
                await tx.execute("INSERT INTO things (id, amount) VALUES ('a', :n)", n=value)
                if database.dialect == "sqlite" and value == "many":
                    raise ValueError("SQLite takes any text for a number")
        assert not isinstance(caught.value, (Unavailable, Transient))
        await put(database, "b")


class TestInsert:
    async def test_columns_left_out_take_their_default_or_nothing(self, database: Database) -> None:
        async with database.transaction() as tx:
            assert await tx.insert(THINGS, [{"id": "a"}, {"id": "b", "kind": "odd"}]) == 2
            found = await tx.fetch("SELECT id, kind, amount, tags FROM things ORDER BY id")
        assert found == [
            {"id": "a", "kind": "plain", "amount": 0, "tags": None},
            {"id": "b", "kind": "odd", "amount": 0, "tags": None},
        ]

    async def test_rows_may_name_different_columns(self, database: Database) -> None:
        async with database.transaction() as tx:
            await tx.insert(
                THINGS, [{"id": "a", "name": "x"}, {"id": "b", "tags": [1], "amount": 4}]
            )
            found = await tx.fetch("SELECT id, name, tags, amount FROM things ORDER BY id")
        assert found == [
            {"id": "a", "name": "x", "tags": None, "amount": 0},
            {"id": "b", "name": None, "tags": [1], "amount": 4},
        ]

    async def test_no_rows_are_no_statement(self, database: Database) -> None:
        async with database.transaction() as tx:
            assert await tx.insert(THINGS, []) == 0

    async def test_a_column_that_is_not_there_is_named(self, database: Database) -> None:
        async with database.transaction() as tx:
            with pytest.raises(KeyError, match="things has no column colour"):
                await tx.insert(THINGS, [{"id": "a", "colour": "red"}])

    @pytest.mark.parametrize("count", [1, 64, 65, 1000])
    async def test_many_rows_go_in_with_every_kind_of_value(
        self, database: Database, count: int
    ) -> None:
        rows = [
            {"id": f"{n:05}", "amount": n, "tags": {"n": n}, "seen_at": NOW, "fragile": n % 2 == 0}
            for n in range(count)
        ]
        async with database.transaction() as tx:
            assert await tx.insert(THINGS, rows) == count
            found = await tx.fetch(
                "SELECT id, amount, tags, seen_at, fragile FROM things ORDER BY id"
            )
        assert found == rows

    @pytest.mark.parametrize("count", [3, 200])
    async def test_conflicting_rows_are_skipped_when_asked_and_the_others_counted(
        self, database: Database, count: int
    ) -> None:
        await put(database, "00001")
        rows = [{"id": f"{n:05}"} for n in range(count)]
        async with database.transaction() as tx:
            assert await tx.insert(THINGS, rows, ignore_conflicts=True) == count - 1
            assert await tx.insert(THINGS, rows, ignore_conflicts=True) == 0

    @pytest.mark.parametrize("count", [2, 200])
    async def test_a_conflict_takes_all_rows_back(self, database: Database, count: int) -> None:
        await put(database, "00001")
        with pytest.raises(DuplicateRow):
            async with database.transaction() as tx:
                await tx.insert(THINGS, [{"id": f"{n:05}"} for n in range(count)])
        assert await ids(database) == ["00001"]


class TestErrors:
    async def test_a_duplicate_names_its_constraint(self, database: Database) -> None:
        await put(database, "a", name="x")
        for row in ({"id": "a"}, {"id": "b", "name": "x"}):
            with pytest.raises(DuplicateRow) as caught:
                async with database.transaction() as tx:
                    await tx.insert(THINGS, [row])
            assert "things" in caught.value.constraint

    async def test_a_broken_check_is_named(self, database: Database) -> None:
        with pytest.raises(CheckFailed, match="amount"):
            await put(database, "a", amount=-1)
        await put(database, "a")
        with pytest.raises(CheckFailed):
            async with database.transaction() as tx:
                await tx.execute("UPDATE things SET amount = amount - 1")

    def test_an_unknown_kind_of_database_is_named_with_the_remedy(self) -> None:
        with pytest.raises(ValueError, match=r"'mysql'.*sqlite:///path/file\.db or postgresql://"):
            db.connect("mysql://host/database")

    def test_every_spelling_of_a_postgres_url_is_understood(self) -> None:
        for scheme in ("postgres", "postgresql", "postgresql+asyncpg"):
            assert db.connect(f"{scheme}://u:p@h/d").url == "postgresql://u:p@h/d"

    async def test_a_lock_that_is_not_given_is_transient(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        database = db.connect(await postgres_url_factory(SCHEMA))
        await database.open()
        await put(database, "a")
        async with database.transaction() as holder:
            await holder.execute("UPDATE things SET amount = 1 WHERE id = 'a'")
            with pytest.raises(Transient):
                async with database.transaction() as tx:
                    await tx.execute("SET LOCAL lock_timeout = '20ms'")
                    await tx.execute("UPDATE things SET amount = 2 WHERE id = 'a'")
        await database.close()

    async def test_a_deadlock_is_transient_for_one_and_harmless_for_the_other(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        database = db.connect(await postgres_url_factory(SCHEMA))
        await database.open()
        await put(database, "a", "b")
        both_hold_one = asyncio.Barrier(2)

        async def lock(first: str, second: str) -> str:
            try:
                async with database.transaction() as tx:
                    update = "UPDATE things SET amount = amount + 1 WHERE id = :id"
                    await tx.execute(update, id=first)
                    await both_hold_one.wait()
                    await tx.execute(update, id=second)
            except Transient:
                return "again"
            return "done"

        ends = await asyncio.gather(lock("a", "b"), lock("b", "a"))
        assert sorted(ends) == ["again", "done"]
        async with database.reading() as tx:
            assert await tx.fetch_value("SELECT SUM(amount) FROM things") == 2
        await database.close()


class TestAfterTheCommit:
    async def test_callbacks_run_only_once_it_stands(self, database: Database) -> None:
        called: list[str] = []
        async with database.transaction() as tx:
            tx.after_commit(lambda: called.append("a"))
            assert called == []
        assert called == ["a"]

    async def test_nothing_is_called_after_a_rollback(self, database: Database) -> None:
        called: list[str] = []
        database.listen("key", lambda: called.append("woken"))
        with pytest.raises(KeyError):
            async with database.transaction() as tx:
                tx.after_commit(lambda: called.append("a"))
                tx.wake("key")
                raise KeyError
        assert called == []

    async def test_a_wake_reaches_every_listener_of_its_key_once(self, database: Database) -> None:
        called: list[int] = []
        for number in (1, 2):
            database.listen("key", lambda number=number: called.append(number))
        database.listen("other", lambda: called.append(3))
        async with database.transaction() as tx:
            tx.wake("key")
            tx.wake("key")
        assert called == [1, 2]

    async def test_a_commit_survives_a_caller_who_goes_away(self, database: Database) -> None:
        """Canceled at any moment: either nothing happened, or all of it did, callbacks included."""
        called: list[str] = []

        async def work(id_: str) -> None:
            async with database.transaction() as tx:
                await tx.insert(THINGS, [{"id": id_}])
                tx.after_commit(lambda: called.append(id_))

        for number in range(60):
            task = asyncio.create_task(work(f"{number:03}"))
            for _ in range(number % 20):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await put(database, "last")
        assert await ids(database) == [*called, "last"]


class TestWaiting:
    async def test_a_waiter_is_woken_by_the_commit_that_it_waits_for(
        self, database: Database
    ) -> None:
        async def probe(tx: Tx) -> str | None:
            return await tx.fetch_value("SELECT id FROM things")

        async def later() -> None:
            async with database.transaction() as tx:
                await tx.insert(THINGS, [{"id": "a"}])
                tx.wake("key")

        found, _ = await asyncio.gather(database.wait("key", probe, 10), later())
        assert found == "a"

    async def test_a_waiter_finds_by_itself_what_another_process_did(
        self, database: Database
    ) -> None:
        async def probe(tx: Tx) -> str | None:
            return await tx.fetch_value("SELECT id FROM things")

        found, _ = await asyncio.gather(database.wait("key", probe, 10), put(database, "a"))
        assert found == "a"

    async def test_a_waiter_gives_up_and_leaves_nothing_behind(self, database: Database) -> None:
        async def probe(_: Tx) -> None:
            return None

        assert await database.wait("key", probe, 0) is None
        assert await database.wait("key", probe, 0.05) is None
        assert database._waiting == {}

    async def test_a_crowd_of_waiters_holds_no_connection(self, database: Database) -> None:
        async def probe(tx: Tx) -> str | None:
            return await tx.fetch_value("SELECT id FROM things")

        waiting = [asyncio.create_task(database.wait("key", probe, 10)) for _ in range(50)]
        await asyncio.sleep(0)
        await put(database, "a")
        assert set(await asyncio.gather(*waiting)) == {"a"}

    async def test_a_canceled_waiter_leaves_nothing_behind(self, database: Database) -> None:
        async def probe(_: Tx) -> None:
            return None

        task = asyncio.create_task(database.wait("key", probe, 60))
        await eventually(lambda: "key" in database._waiting)
        task.cancel()
        await asyncio.wait([task])
        assert database._waiting == {}


class TestCancellation:
    async def test_hundreds_of_cancellations_leave_no_transaction_and_no_connection_behind(
        self, database: Database
    ) -> None:
        chance = random.Random(7)

        async def write(id_: str) -> None:
            async with database.transaction() as tx:
                await tx.insert(THINGS, [{"id": id_}])
                await tx.fetch("SELECT * FROM things")
                await tx.execute("UPDATE things SET amount = amount + 1 WHERE id = :id", id=id_)

        async def read() -> None:
            async with database.reading() as tx:
                await tx.fetch("SELECT * FROM things")
                await asyncio.sleep(0)

        for number in range(100):
            tasks = [asyncio.create_task(write(f"{number}.{part}")) for part in range(3)]
            tasks += [asyncio.create_task(read()) for _ in range(2)]
            for _ in range(chance.randrange(25)):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            if number % 5 == 0:  # twice: the first is being seen to
                await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
            await asyncio.wait(tasks)
        async with database.reading() as tx:
            assert not await tx.fetch("SELECT id FROM things WHERE amount <> 1")
        most = POOL_MAX if database.dialect == "postgresql" else READERS_MAX
        async with asyncio.timeout(10):
            readings = [database.reading() for _ in range(most)]
            for reading in readings:
                tx = await reading.__aenter__()
                await tx.fetch_value("SELECT COUNT(*) FROM things")
            for reading in readings:
                await reading.__aexit__(None, None, None)
            await put(database, "last")
        if isinstance(database, PostgresDatabase):
            connection = await asyncpg.connect(database.url)
            ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"

            async def at_rest() -> bool:
                stuck = await connection.fetchval(f"{ours} AND state LIKE 'idle in transaction%'")
                return stuck == 0 and await connection.fetchval(ours) <= POOL_MAX + 1

            try:
                await eventually(at_rest)
            finally:
                await connection.close()

    async def test_canceled_in_the_middle_of_a_statement_nothing_is_written(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        database = db.connect(await postgres_url_factory(SCHEMA))
        await database.open()
        inside = asyncio.Event()

        async def slow() -> None:
            async with database.transaction() as tx:
                await tx.insert(THINGS, [{"id": "a"}])
                inside.set()
                await tx.fetch("SELECT pg_sleep(60)")

        task = asyncio.create_task(slow())
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await put(database, "a")
        await database.close()


class TestExclusive:
    async def test_only_one_holds_a_name_and_it_is_free_again_afterwards(
        self, database: Database
    ) -> None:
        async with database.exclusive("relay") as first:
            assert first is not None
            async with database.exclusive("relay") as second:
                assert second is None
            async with database.exclusive("something else") as other:
                assert other is not None
        async with database.exclusive("relay") as again:
            assert again is not None

    async def test_statements_on_it_commit_at_once(self, database: Database) -> None:
        await put(database, "a")
        async with database.exclusive("relay") as session:
            assert session is not None
            assert (
                await session.execute("UPDATE things SET amount = 5 WHERE id IN :i", i=["a"]) == 1
            )
            async with database.reading() as tx:
                assert await tx.fetch_value("SELECT amount FROM things") == 5
            assert await session.fetch("SELECT id FROM things") == [{"id": "a"}]

    async def test_it_is_exclusive_between_two_processes_and_lost_with_its_connection(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        url = await postgres_url_factory(SCHEMA)
        one, other = db.connect(url), db.connect(url)
        await one.open()
        await other.open()
        async with one.exclusive("relay") as held:
            assert held is not None
            async with other.exclusive("relay") as refused:
                assert refused is None
            (pid,) = await held.fetch("SELECT pg_backend_pid() AS pid")
            async with other.transaction() as tx:
                await tx.fetch("SELECT pg_terminate_backend(:pid)", pid=pid["pid"])
            with pytest.raises(Unavailable):
                for _ in range(100):
                    await held.fetch("SELECT 1 AS one")
            async with other.exclusive("relay") as inherited:
                assert inherited is not None
                with pytest.raises(Unavailable):
                    await held.execute("UPDATE things SET amount = 1")
        await one.close()
        await other.close()

    async def test_who_stands_by_gets_it_when_it_is_free(self, make_database: MakeDatabase) -> None:
        database = await make_database(SCHEMA)
        order: list[str] = []

        async def stand_by() -> None:
            async with database.exclusive("relay", again_s=0.01) as session:
                assert session is not None
                order.append("inherited")

        async with database.exclusive("relay"):
            heir = asyncio.create_task(stand_by())
            await asyncio.sleep(0.1)
            order.append("given up")
        await heir
        assert order == ["given up", "inherited"]

    async def test_who_shows_no_sign_of_life_loses_it(
        self, postgres_url_factory: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stopped process keeps its connection, and with it would keep the hold for ever."""
        monkeypatch.setattr(db_postgres, "HOLD_S", 0.3)
        url = await postgres_url_factory(SCHEMA)
        one, other = db.connect(url), db.connect(url)
        async with one.exclusive("relay") as stopped:
            assert stopped is not None
            async with other.exclusive("relay", again_s=0.05) as heir:
                assert heir is not None
                with pytest.raises(Unavailable):
                    await stopped.execute("UPDATE things SET amount = 1")


class TestPostgresGoesAway:
    @pytest.fixture
    async def database(self, postgres_url_factory: DatabaseUrl) -> AsyncIterator[Database]:
        database = db.connect(await postgres_url_factory(SCHEMA))
        await database.open()
        yield database
        await database.close()

    async def test_killed_in_the_middle_it_is_unavailable_and_heals(
        self, database: Database
    ) -> None:
        with pytest.raises(Unavailable):
            async with database.transaction() as tx:
                await tx.insert(THINGS, [{"id": "a"}])
                with suppress(Unavailable):
                    await tx.fetch("SELECT pg_terminate_backend(pg_backend_pid())")
                await tx.insert(THINGS, [{"id": "b"}])
        await put(database, "c")
        assert await ids(database) == ["c"]

    async def test_killed_before_the_commit_it_is_unavailable_and_nothing_stands(
        self, database: Database
    ) -> None:
        called: list[int] = []
        with pytest.raises(Unavailable):
            async with database.transaction() as tx:
                await tx.insert(THINGS, [{"id": "a"}])
                tx.after_commit(lambda: called.append(1))
                with suppress(Unavailable):
                    await tx.fetch("SELECT pg_terminate_backend(pg_backend_pid())")
        assert called == []
        assert await ids(database) == []

    async def test_every_pooled_connection_killed_at_rest_heals(self, database: Database) -> None:
        await asyncio.gather(*(put(database, f"{n}") for n in range(8)))
        killer = await asyncpg.connect(database.url)
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await killer.close()

        async def answers() -> bool:
            try:
                return len(await ids(database)) == 8
            except Unavailable:
                return False

        await eventually(answers)

    async def test_a_server_that_is_not_there_is_unavailable_only_when_used(self) -> None:
        away = db.connect("postgresql://u:p@127.0.0.1:1/nothing")
        await away.open()
        for begin in (away.transaction, away.reading):
            with pytest.raises(Unavailable, match="cannot be reached"):
                async with begin():
                    raise AssertionError("nobody is there")
        with pytest.raises(Unavailable):
            async with away.exclusive("relay"):
                raise AssertionError("nobody is there")
        await away.close()

    async def test_more_at_once_than_connections_wait_for_their_turn(
        self, database: Database
    ) -> None:
        await asyncio.gather(*(put(database, f"{n:03}") for n in range(5 * POOL_MAX)))
        assert len(await ids(database)) == 5 * POOL_MAX

    async def test_what_a_transaction_sets_for_itself_ends_with_it(
        self, database: Database
    ) -> None:
        async with database.transaction() as tx:
            await tx.execute("SET LOCAL lock_timeout = '7ms'")
            await tx.execute("SELECT pg_advisory_xact_lock(1)")
        async with database.transaction() as tx:
            assert await tx.fetch_value("SHOW lock_timeout") == "2s"
            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1"
            here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            assert await tx.fetch_value(f"{held} AND {here}") == 0

    async def test_a_table_that_changed_under_a_statement_is_transient_then_fine(
        self, database: Database
    ) -> None:
        await put(database, "a")
        async with database.transaction() as tx:
            await tx.fetch("SELECT * FROM things")
        other = await asyncpg.connect(database.url)
        await other.execute("ALTER TABLE things ADD COLUMN colour text")
        await other.close()
        with pytest.raises(Transient):
            async with database.transaction() as tx:
                await tx.fetch("SELECT * FROM things")
        async with database.transaction() as tx:
            (row,) = await tx.fetch("SELECT * FROM things")
        assert "colour" in row


class TestSqliteFile:
    async def test_a_second_process_is_refused_by_name(
        self, sqlite_url_factory: DatabaseUrl
    ) -> None:
        url = await sqlite_url_factory(SCHEMA)
        database = db.connect(url)
        await database.open()
        other = (
            "import asyncio, sys; from chassis import db\n"
            "try: asyncio.run(db.connect(sys.argv[1]).open())\n"
            "except Exception as error: print(type(error).__name__, error)"
        )

        async def another_process() -> str:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "ignore", "-c", other, url), stdout=subprocess.PIPE
            )
            said, _ = await process.communicate()
            return said.decode()

        said = await another_process()
        assert said.startswith("Unavailable")
        assert "in use by another process" in said
        await database.close()
        assert await another_process() == ""

    async def test_reading_only_needs_no_lock_and_sees_what_is_committed(
        self, sqlite_url_factory: DatabaseUrl
    ) -> None:
        database = db.connect(await sqlite_url_factory(SCHEMA))
        await database.open()
        await put(database, "a")
        watcher = ReadOnlySqlite(database.url)
        await watcher.open()
        async with database.transaction() as tx:
            await tx.insert(THINGS, [{"id": "b"}])
            assert await ids(watcher) == ["a"]
        assert await ids(watcher) == ["a", "b"]
        with pytest.raises(Unavailable):
            await put(watcher, "c")
        await database.close()
        assert await ids(watcher) == ["a", "b"]
        await watcher.close()

    async def test_reading_only_works_when_nobody_else_has_the_file(
        self, sqlite_url_factory: DatabaseUrl
    ) -> None:
        database = db.connect(await sqlite_url_factory(SCHEMA))
        await database.open()
        await put(database, "a")
        await database.close()
        watcher = ReadOnlySqlite(database.url)
        await watcher.open()
        assert await ids(watcher) == ["a"]
        await watcher.close()

    async def test_reading_only_says_that_a_file_is_missing(self, tmp_path: Any) -> None:
        with pytest.raises(Unavailable, match="does not exist"):
            await ReadOnlySqlite(f"sqlite:///{tmp_path}/nothing.db").open()

    async def test_a_commit_is_on_the_disk(self, sqlite_url_factory: DatabaseUrl) -> None:
        database = db.connect(await sqlite_url_factory(SCHEMA))
        await database.open()
        async with database.transaction() as tx:
            assert await tx.fetch_value("PRAGMA synchronous") == 2
            assert await tx.fetch_value("PRAGMA journal_mode") == "wal"
            assert await tx.fetch_value("PRAGMA foreign_keys") == 1
        await database.close()

    async def test_a_folder_that_is_missing_is_made(self, tmp_path: Any) -> None:
        database = SqliteDatabase(f"sqlite:///{tmp_path}/a/b/{uuid4()}.db")
        await database.open()
        assert database.path.exists()
        await database.close()
