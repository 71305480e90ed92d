"""Gauges: as of now when somebody scrapes, never late, never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families

from chassis import clock, db, gauges
from chassis.bus_local import LocalBus
from chassis.db import Database, Tx
from chassis.gauges import Gauges
from chassis.inbox import Inbox
from chassis.messaging import Delivery
from chassis.service import Service
from chassis.testing import MakeDatabase, eventually
from chassis.topology import Topology
from tests.chassis.shop import SCHEMA, PackBox, Packer, a_delivery, say
from tests.chassis.test_service import VERIFIER

OWN = Gauge("test_boxes", "Boxes of the tests", ("service",))


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return (await make_database(SCHEMA)).serve("shop", SCHEMA)


@asynccontextmanager
async def watching(database: Database, *, ready: bool = True) -> AsyncIterator[Gauges]:
    async def measure(tx: Tx) -> dict[Gauge, float]:
        return {OWN: await tx.fetch_value("SELECT COUNT(*) FROM boxes")}

    watched = Gauges("shop", database, lambda: ready, kinds=("parcel",), measure=measure)
    watched.start()
    try:
        yield watched
    finally:
        await watched.stop()


async def scrape() -> dict[str, float]:
    """The numbers of the service, by name."""
    text = (await gauges.scraped()).decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("service") == "shop"
    }


async def test_what_waits_is_counted_and_aged(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "FRESH_S", 0.0)
    async with watching(database):
        empty = await scrape()
        await say(database, "1", "2")
        async with database.transaction() as tx:
            long_ago = clock.now() - timedelta(days=400)
            await tx.execute("UPDATE outbox SET created_at = :at", at=long_ago)
        found = await scrape()
    assert (empty["reclamo_outbox_unsent"], empty["reclamo_outbox_oldest_seconds"]) == (0, 0)
    assert found["reclamo_outbox_unsent"] == 2
    assert found["reclamo_outbox_oldest_seconds"] > 365 * 24 * 3600
    assert found["test_boxes"] == 2


async def test_parked_and_dead_are_told_apart(database: Database) -> None:
    inbox = Inbox("shop", database, Packer(troubles=[ValueError("odd")]).subscription)
    await inbox.deliver(a_delivery(PackBox(box="1")))
    for body in (b"one", b"two"):
        await inbox.deliver(Delivery(queue="shop.commands.v1", body=body))
    async with watching(database):
        found = await scrape()
    assert (found["reclamo_inbox_parked"], found["reclamo_inbox_dead"]) == (1, 2)


async def test_scrapes_in_a_row_share_one_look(database: Database) -> None:
    async with watching(database):
        await scrape()
        await say(database, "1")
        assert (await scrape())["reclamo_outbox_unsent"] == 0


async def test_a_database_that_is_away_is_told_and_old_numbers_are_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "FRESH_S", 0.0)
    async with watching(database, ready=False):
        assert (await scrape())["reclamo_database_up"] == 1
        await database.close()
        found = await scrape()
    assert (found["reclamo_database_up"], found["reclamo_bus_ready"]) == (0, 0)
    assert "reclamo_outbox_unsent" not in found
    assert "test_boxes" not in found


async def test_a_database_that_hangs_does_not_hold_the_scrape(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "WAIT_S", 0.05)
    let_go = asyncio.Event()

    async def hang(_: Tx) -> dict[Gauge, float]:
        await let_go.wait()
        return {OWN: 7}

    watched = Gauges("shop", database, lambda: True, measure=hang)
    watched.start()
    assert "test_boxes" not in await scrape()
    let_go.set()

    async def looked() -> bool:
        return (await scrape()).get("test_boxes") == 7

    await eventually(looked)
    await watched.stop()
    assert "test_boxes" not in await scrape()


async def test_a_running_service_is_part_of_every_scrape_until_it_stops(tmp_path: Path) -> None:
    away = db.connect("postgresql://u:p@127.0.0.1:1/nothing").serve("shop", SCHEMA)
    bus = LocalBus(Topology.of([]))
    service = Service(
        "shop",
        database=away,
        bus=bus,
        verifier=VERIFIER,
        routers=[],
        subscriptions=[],
    )
    await service.prepare()
    await service.start()

    async def told() -> bool:
        found = await scrape()
        return (found.get("reclamo_database_up"), found.get("reclamo_relay_holds")) == (0, 0)

    await eventually(told)
    await service.stop()
    assert not gauges._live
