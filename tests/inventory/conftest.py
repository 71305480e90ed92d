"""A stocked inventory for the tests, on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chassis import db
from chassis.testing import DatabaseUrl
from services.inventory import store
from tests.inventory.builders import Warehouse


@pytest.fixture
async def warehouse(database_url: DatabaseUrl) -> AsyncIterator[Warehouse]:
    """An empty inventory, once on each database; its books are checked after the test."""
    database = db.connect(await database_url("inventory"))
    database.serve("inventory", store.METADATA)
    await database.open()
    warehouse = Warehouse(database)
    yield warehouse
    assert await warehouse.findings() == []
    await database.close()
