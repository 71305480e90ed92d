"""The tables: the history leads to them, and takes along what was there."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from alembic import command

from chassis import migrations
from chassis.testing import DatabaseUrl
from services.inventory.domain import address_id_for

WITHOUT_ADDRESS_IDS = "0003"


async def test_the_migrations_lead_to_the_tables_of_the_code(database_url: DatabaseUrl) -> None:
    url = await database_url("inventory")
    assert await asyncio.to_thread(migrations.differences, "inventory", url) == []


async def test_an_address_of_before_keeps_the_id_it_was_shown_with(
    database_url: DatabaseUrl,
) -> None:
    url = await database_url("inventory")
    found: dict[str, str | None] = {}

    def back_and_forth(connection: sa.Connection) -> None:
        config = migrations._config("inventory", connection)
        command.downgrade(config, WITHOUT_ADDRESS_IDS)
        connection.execute(
            sa.text(
                "INSERT INTO stock_locations (id, name, address, created_at, updated_at) VALUES"
                " ('sloc_a', 'A', '{}', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP),"
                " ('sloc_b', 'B', NULL, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)"
            )
        )
        command.upgrade(config, "head")
        rows = connection.execute(sa.text("SELECT id, address_id FROM stock_locations"))
        found.update({row[0]: row[1] for row in rows})

    await asyncio.to_thread(migrations._with_connection, url, back_and_forth)
    assert found == {"sloc_a": address_id_for(location_id="sloc_a"), "sloc_b": None}
