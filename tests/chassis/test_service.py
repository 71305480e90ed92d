"""A running service: it prepares, works, says how it is, and stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.applications import Starlette

from chassis import auth, db, outbox
from chassis.auth import Verifier
from chassis.bus_local import LocalBus
from chassis.db import Database
from chassis.errors import Unavailable
from chassis.loops import Loop
from chassis.service import Service
from chassis.testing import MakeDatabase, eventually
from chassis.topology import Topology
from services.claims import store
from tests.chassis.shop import SCHEMA, PackBox, Packer, packed, rows

VERIFIER = Verifier(
    auth.private_key("a secret of at least 32 characters", "internal").public_key(), "x"
)


def a_service(database: Database, packer: Packer, *loops: Loop) -> tuple[Service, LocalBus]:
    bus = LocalBus(Topology.of([packer.subscription]))
    service = Service(
        "shop",
        database=database,
        bus=bus,
        verifier=VERIFIER,
        routers=[],
        subscriptions=[packer.subscription],
        loops=loops,
    )
    return service, bus


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return (await make_database(SCHEMA)).serve("shop", SCHEMA)


async def test_what_it_says_is_sent_handled_and_answered(database: Database) -> None:
    service, bus = a_service(database, Packer(reply=True))
    await service.prepare()
    await bus.start()
    await service.start()
    async with database.transaction() as tx:
        await outbox.put(tx, PackBox(box="1"), about="box/1")

    async def all_sent() -> bool:
        written = await rows(database, "outbox")
        return len(written) == 2 and all(row["sent_at"] for row in written)

    await eventually(all_sent)
    assert await packed(database) == {"1": 1}
    await bus.stop()
    await service.stop()


async def test_what_was_parked_is_tried_again_by_itself(database: Database) -> None:
    service, bus = a_service(database, Packer(troubles=[ValueError("once")]))
    await service.prepare()
    await bus.start()
    await service.start()
    async with database.transaction() as tx:
        await outbox.put(tx, PackBox(box="1"), about="box/1")

    async def done() -> bool:
        return await packed(database) == {"1": 1}

    await eventually(done)
    await bus.stop()
    await service.stop()


async def test_stopped_it_has_no_task_left_and_its_database_is_closed(database: Database) -> None:
    asked = 0

    async def step() -> bool:
        nonlocal asked
        asked += 1
        return False

    service, bus = a_service(database, Packer(), Loop("own", step, idle_s=0.01))
    before = asyncio.all_tasks()
    await service.prepare()
    await bus.start()
    await service.start()
    await eventually(lambda: asked >= 2)
    await bus.stop()
    await service.stop()
    assert asyncio.all_tasks() <= before
    with pytest.raises(Unavailable):
        await packed(database)
    await service.stop()


class TestReady:
    async def checks(self, database: Database, bus_runs: bool = True) -> dict[str, str]:
        bus = LocalBus(Topology.of([]))
        if bus_runs:
            await bus.start()
        service = Service(
            "claims",
            database=database.serve("claims", store.METADATA),
            bus=bus,
            verifier=VERIFIER,
            routers=[],
            subscriptions=[],
        )
        assert isinstance(service.app, Starlette)
        return await service.ready()

    async def test_migrated_and_connected_all_is_well(self, make_database: MakeDatabase) -> None:
        assert set((await self.checks(await make_database("claims"))).values()) == {"ok"}

    async def test_a_lost_bus_only_degrades_because_the_outbox_keeps(
        self, make_database: MakeDatabase
    ) -> None:
        checks = await self.checks(await make_database("claims"), bus_runs=False)
        assert checks["bus"].startswith("degraded")
        assert checks["database"] == "ok"

    async def test_an_old_schema_is_named(self, make_database: MakeDatabase) -> None:
        checks = await self.checks(await make_database(SCHEMA))
        assert checks["migrations"].startswith("at None, code needs 0")

    async def test_a_database_that_is_away_is_told_and_does_not_raise(self, tmp_path: Path) -> None:
        for away in (
            db.connect("postgresql://u:p@127.0.0.1:1/nothing"),
            db.connect(f"sqlite:///{tmp_path}/closed.db"),
        ):
            if away.dialect == "postgresql":
                await away.open()
            checks = await self.checks(away)
            assert not checks["database"].startswith(("ok", "degraded"))
            await away.close()
