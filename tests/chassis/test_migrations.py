"""Every history leads from nothing to the tables that the code knows, on both databases."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import command

from chassis import db, migrations
from chassis.errors import Unavailable
from chassis.testing import DatabaseUrl

OWNERS = [
    owner
    for owner in ("orders", "claims", "returns", "inventory", "gateway")
    if owner != "gateway" or find_spec("gateway.store")
]
NOTHING = sa.MetaData()
EACH = pytest.mark.parametrize("owner", OWNERS)


@EACH
async def test_a_history_ends_where_the_code_is(owner: str, database_url: DatabaseUrl) -> None:
    url = await database_url(NOTHING)
    database = db.connect(url)
    await database.open()
    assert await migrations.current(database) is None
    await database.close()
    await asyncio.to_thread(migrations.upgrade, owner, url)
    assert await asyncio.to_thread(migrations.differences, owner, url) == []
    database = db.connect(url)
    await database.open()
    assert await migrations.current(database) == migrations.head(owner) != "0000"
    await database.close()


@EACH
async def test_what_is_at_its_head_is_left_alone(owner: str, database_url: DatabaseUrl) -> None:
    url = await database_url(owner)
    await asyncio.to_thread(migrations.upgrade, owner, url)
    assert await asyncio.to_thread(migrations.differences, owner, url) == []


@EACH
async def test_a_history_leads_back_and_forth(owner: str, database_url: DatabaseUrl) -> None:
    url = await database_url(owner)

    def back_and_forth(connection: sa.Connection) -> None:
        config = migrations._config(owner, connection)
        command.downgrade(config, "base")
        command.upgrade(config, "head")

    await asyncio.to_thread(migrations._with_connection, url, back_and_forth)
    assert await asyncio.to_thread(migrations.differences, owner, url) == []


async def test_a_difference_is_seen(sqlite_url_factory: DatabaseUrl) -> None:
    """The check of the check."""
    url = await sqlite_url_factory("claims")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE outbox ADD COLUMN surprise TEXT"))
        connection.execute(sa.text("DROP INDEX ix_outbox_unsent"))
    engine.dispose()
    assert len(await asyncio.to_thread(migrations.differences, "claims", url)) == 2


_SHAPE = (
    "SELECT conrelid::regclass::text AS at, conname AS name, pg_get_constraintdef(oid) AS what"
    " FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
    "SELECT tablename AS at, indexname AS name, indexdef AS what FROM pg_indexes"
    " WHERE schemaname = 'public'",
    "SELECT table_name AS at, column_name AS name,"
    " concat_ws(' ', data_type, is_nullable, column_default, is_identity) AS what"
    " FROM information_schema.columns WHERE table_schema = 'public'",
)


async def _shape(url: str) -> set[tuple[str, str, str]]:
    connection = await asyncpg.connect(url)
    try:
        rows = [row for sql in _SHAPE for row in await connection.fetch(sql)]
    finally:
        await connection.close()
    return {(r["at"], r["name"], r["what"]) for r in rows if r["at"] != "alembic_version"}


@EACH
async def test_checks_keys_indexes_and_columns_are_those_of_the_tables(
    owner: str, postgres_url_factory: DatabaseUrl
) -> None:
    """What alembic does not compare: above all the CHECK constraints, our last net."""
    migrated = await _shape(await postgres_url_factory(owner))
    assert migrated == await _shape(await postgres_url_factory(migrations.schema(owner)))
    assert any("CHECK" in what for _, _, what in migrated)


async def test_two_processes_may_upgrade_at_once(postgres_url_factory: DatabaseUrl) -> None:
    url = await postgres_url_factory(NOTHING)
    await asyncio.gather(*(asyncio.to_thread(migrations.upgrade, "claims", url) for _ in range(3)))
    database = db.connect(url)
    await database.open()
    assert await migrations.current(database) == migrations.head("claims")
    await database.close()


async def test_a_database_that_is_away_is_not_taken_for_an_empty_one() -> None:
    away = db.connect("postgresql://u:p@127.0.0.1:1/nothing")
    await away.open()
    with pytest.raises(Unavailable):
        await migrations.current(away)
    await away.close()
