"""A shop with one paid order, on both databases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chassis.db import Database
from chassis.testing import MakeDatabase
from services.orders import store
from services.orders.providers import FakeProvider, Faults, ManualProvider
from services.orders.worker import RefundWorker
from tests.orders.builders import Desk, a_shop, an_order, load

OpenShop = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    """A migrated database of orders; the test runs once on SQLite and once on PostgreSQL."""
    return (await make_database("orders")).serve("orders", store.METADATA)


@pytest.fixture
def open_shop(database: Database) -> OpenShop:
    """``desk = await open_shop(an_order(...), ...)``; without orders: the two mugs."""

    async def open_it(*orders: Any) -> Desk:
        answer = await load(database, a_shop(*(orders or (an_order(),))))
        assert answer["refusals"] == []
        return Desk(database)

    return open_it


@pytest.fixture
def fake(tmp_path: Path) -> FakeProvider:
    """The fake payment provider without faults of chance."""
    return FakeProvider(tmp_path / "provider.db", Faults())


@pytest.fixture
def worker(database: Database, fake: FakeProvider) -> RefundWorker:
    """The refund worker, to be stepped by hand."""
    return RefundWorker(database, {"manual": ManualProvider(), "fake": fake})
