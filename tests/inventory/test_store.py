"""The tables: the history leads to them."""

from __future__ import annotations

import asyncio

from chassis import migrations
from chassis.testing import DatabaseUrl


async def test_the_migrations_lead_to_the_tables_of_the_code(database_url: DatabaseUrl) -> None:
    url = await database_url("inventory")
    assert await asyncio.to_thread(migrations.differences, "inventory", url) == []
