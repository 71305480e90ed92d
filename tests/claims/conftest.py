"""The claims service on a migrated database, on each engine."""

from __future__ import annotations

import pytest

from chassis import context
from chassis.testing import MakeDatabase
from services.claims import store
from tests.claims.builders import World


@pytest.fixture
async def world(make_database: MakeDatabase) -> World:
    database = (await make_database("claims")).serve("claims", store.METADATA)
    context.begin(context.Context(correlation_id="corr", actor_kind="agent", actor_id="usr_1"))
    return World(database)
