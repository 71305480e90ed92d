"""The audit trail: written with the change, sealed behind it, never changed unseen."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from chassis import audit, audit_chain, audit_list, clock, context
from chassis.db import Database, Row
from chassis.testing import MakeDatabase
from gateway.store import METADATA


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return (await make_database("gateway")).serve("gateway", METADATA)


async def _record(database: Database, *actions: str) -> None:
    for action in actions:
        async with database.transaction() as tx:
            await audit.record(tx, action=action, about="thing/1", after={"at": action})


async def _seal(database: Database) -> None:
    sealer = audit_chain.Sealer(database)
    while await sealer.step():
        pass


async def _check(database: Database) -> list[Row]:
    async with database.reading() as tx:
        return await audit_chain.check(tx)


async def _force(database: Database, sql: str) -> None:
    """What somebody who owns the database can do."""
    async with database.transaction() as tx:
        for statement in audit.unguards(database.dialect):
            await tx.execute(statement)
        assert await tx.execute(sql)


async def test_a_record_tells_who_what_and_why(database: Database) -> None:
    context.begin(context.Context(correlation_id="c1", actor_kind="agent", actor_id="usr_1"))
    async with database.transaction() as tx:
        before, after = audit.changes({"a": 1, "b": 2}, {"a": 1, "b": 3})
        await audit.record(
            tx,
            action="thing.changed",
            about="thing/1",
            before=before,
            after=after | {"password": "x", "token_hash": "y"},
            note="because",
        )
    async with database.reading() as tx:
        ((row,), count) = await audit_list.page(tx, about="thing/1", limit=10)
    assert count == 1
    assert (row["actor_kind"], row["actor_id"], row["correlation_id"]) == ("agent", "usr_1", "c1")
    assert (row["before"], row["after"], row["note"]) == ({"b": 2}, {"b": 3}, "because")
    assert (row["number"], row["service"]) == (None, "gateway")


async def test_a_record_goes_with_its_transaction(database: Database) -> None:
    async def half() -> None:
        async with database.transaction() as tx:
            await audit.record(tx, action="thing.made", about="thing/1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half()
    async with database.reading() as tx:
        assert await audit_list.page(tx, limit=10) == ([], 0)


async def test_records_are_found_by_what_is_asked(database: Database) -> None:
    context.begin(context.Context(actor_kind="ops", actor_id="usr_2"))
    await _record(database, "thing.made", "thing.sold", "other.made")
    soon = clock.now() + timedelta(hours=1)
    async with database.reading() as tx:
        for wanted, count in (
            ({"action": "thing."}, 2),
            ({"action": "thing.sold"}, 1),
            ({"actor": "usr_2"}, 3),
            ({"actor": "ops"}, 3),
            ({"actor": "nobody"}, 0),
            ({"about": "thing/2"}, 0),
            ({"since": soon}, 0),
        ):
            rows, many = await audit_list.page(tx, limit=10, **wanted)
            assert len(rows) == many == count, wanted


async def test_what_was_sealed_is_whole(database: Database) -> None:
    await _record(database, "one", "two")
    await _seal(database)
    await _record(database, "three")
    await _seal(database)
    assert await _check(database) == []
    async with database.reading() as tx:
        assert (await audit_chain.head(tx))["number"] == 3


async def test_records_that_commit_out_of_order_are_all_sealed(database: Database) -> None:
    sealer = audit_chain.Sealer(database)
    if database.dialect == "sqlite":  # one writer: there it cannot happen, a rollback can
        await _record(database, "early")
        assert not await sealer.step()
    else:
        async with database.transaction() as late:
            await audit.record(late, action="late", about="thing/1")
            await _record(database, "early")
            assert not await sealer.step()
    await _record(database, "last")
    await sealer.step()
    assert await _check(database) == []
    async with database.reading() as tx:
        rows, _ = await audit_list.page(tx, limit=10)
        assert all(row["number"] for row in rows), rows


async def test_two_sealers_make_one_chain(database: Database) -> None:
    await _record(database, *(f"a{number}" for number in range(30)))
    await asyncio.gather(*(_seal(database) for _ in range(4)))
    assert await _check(database) == []
    async with database.reading() as tx:
        assert (await audit_chain.head(tx))["number"] == 30


@pytest.mark.parametrize("table", ["audit", "audit_seals"])
@pytest.mark.parametrize("change", ["UPDATE {} SET seq = seq", "DELETE FROM {}"])
async def test_the_database_refuses_to_change_the_record(
    database: Database, table: str, change: str
) -> None:
    await _record(database, "one")
    await _seal(database)
    with pytest.raises(Exception, match=f"{table} is only ever added to"):
        async with database.transaction() as tx:
            await tx.execute(change.format(table))


_OLD = "'2020-01-01 00:00:00+00:00'"
TAMPERING = {
    "a changed action": ("UPDATE audit SET action = 'x' WHERE seq = 2", "2", "was changed"),
    "a changed actor": ("UPDATE audit SET actor_id = 'y' WHERE seq = 2", "2", "was changed"),
    "a changed value": (
        'UPDATE audit SET after = \'{"at":"z"}\' WHERE seq = 2',
        "2",
        "was changed",
    ),
    "a changed time": (f"UPDATE audit SET at = {_OLD} WHERE seq = 2", "2", "was changed"),
    "a deleted record": ("DELETE FROM audit WHERE seq = 2", "2", "was deleted"),
    "a deleted link": ("DELETE FROM audit_seals WHERE seq = 2", "3", "the chain has a gap"),
    "a changed link": ("UPDATE audit_seals SET hash = 'x' WHERE seq = 2", "2", "was changed"),
    "a backdated record": (
        "INSERT INTO audit (seq, at, actor_kind, action, about, correlation_id)"
        f" VALUES (9, {_OLD}, 'admin', 'x', 'thing/1', '')",
        "9",
        "was inserted later",
    ),
}


@pytest.mark.parametrize("name", TAMPERING)
async def test_tampering_is_found_and_named(database: Database, name: str) -> None:
    await _record(database, "one", "two", "three")
    await _seal(database)
    sql, seq, words = TAMPERING[name]
    await _force(database, sql)
    if "INSERT" in sql:
        await _seal(database)
    first, *_ = await _check(database)
    assert (first["invariant"], first["id"]) == ("I14", f"audit/{seq}")
    assert words in first["message"]


async def test_a_record_behind_the_sealers_back_has_no_link(database: Database) -> None:
    await _record(database, "one")
    await _seal(database)
    sql, _, _ = TAMPERING["a backdated record"]
    await _force(database, sql)
    (found,) = await _check(database)
    assert "has no link" in found["message"]


async def test_a_cut_end_is_seen_by_who_kept_the_head(database: Database) -> None:
    await _record(database, "one", "two")
    await _seal(database)
    async with database.reading() as tx:
        head = await audit_chain.head(tx)
    await _force(database, "DELETE FROM audit_seals WHERE number = 2")
    async with database.transaction() as tx:
        await tx.execute("DELETE FROM audit WHERE seq = 2")
    assert await _check(database) == []
    async with database.reading() as tx:
        (found,) = await audit_chain.moved(tx, number=head["number"], expected=head["hash"])
    assert found["message"] == "link 2 was cut off"
