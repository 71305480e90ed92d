"""A stocked inventory for the tests, on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from chassis import auth, db
from chassis.bus_local import LocalBus
from chassis.testing import DatabaseUrl
from chassis.topology import Topology
from services.inventory import app, consumers, store
from services.inventory.settings import Settings
from tests.inventory.builders import Warehouse
from tests.inventory.door import KEY, Door


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


@pytest.fixture
async def door(warehouse: Warehouse) -> AsyncIterator[Door]:
    """The application without its background work."""
    bus = LocalBus(Topology.of(consumers.SUBSCRIPTIONS))
    verifier = auth.Verifier(KEY.public_key(), "inventory")
    service = app.build(Settings(), warehouse.database, bus, verifier)
    transport = httpx2.ASGITransport(app=service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://inventory") as http:
        yield Door(http, warehouse)
