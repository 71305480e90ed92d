"""What the gateway hears: every event counts from the first moment of a process, each once."""

from __future__ import annotations

import asyncio
import json

import pytest

from chassis.bus_rabbit import RabbitBus
from chassis.db import Database
from chassis.errors import Unavailable
from chassis.inbox import Inbox
from chassis.messaging import EVENTS, Deliver, Delivery, Envelope, Parcel
from chassis.testing import MakeDatabase, eventually, remove_topology
from chassis.topology import Topology
from chassis.values import uuid7
from gateway import consumers, store
from gateway.webhooks import Webhooks
from tests.gateway.builders import SECRET_KEY

QUEUE = "gateway.notify.v1"


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    """A migrated database of the gateway: SQLite, and again PostgreSQL."""
    return (await make_database("gateway")).serve("gateway", store.METADATA)


async def _nothing_to_ask() -> None:
    """These tests hand deliveries over themselves."""


def _door(database: Database) -> Deliver:
    """The door of a process that has just started."""
    return consumers.door(database, Inbox("gateway", database, consumers.SUBSCRIPTIONS[0]))


def _event(number: int, name: str = "note.created") -> Delivery:
    about = {"id": f"note_{number}", "resource_type": "order", "resource_id": "order_1"}
    envelope = Envelope(
        id=f"event-{number}",
        source="/reclamo/orders",
        type=f"reclamo.orders.{name}.v1",
        subject=f"note/note_{number}",
        time="2026-11-20T12:00:00.000+00:00",
        data={"name": name, **about},
        sequence=1,
    )
    return Delivery(queue=QUEUE, body=envelope.to_bytes())


async def _listen(database: Database, number: int, *events: str) -> str:
    own = Webhooks(database, SECRET_KEY, _nothing_to_ask, anywhere=True)
    url = f"http://127.0.0.1:{number}/"
    row, _ = await own.add(url=url, events=list(events), description=None, user_id="usr_1")
    return str(row["id"])


async def _noted(database: Database) -> list[tuple[str, str, int]]:
    """(webhook, event, version) of every delivery."""
    async with database.reading() as tx:
        rows = await tx.fetch("SELECT webhook_id, event_id, body FROM webhook_deliveries")
    found = [(r["webhook_id"], r["event_id"], json.loads(r["body"])["event"]) for r in rows]
    return sorted((webhook, event, about["version"]) for webhook, event, about in found)


async def test_what_comes_all_at_once_when_a_process_starts_is_noted_whole(
    database: Database,
) -> None:
    webhook = await _listen(database, 1, "*")
    deliver = _door(database)
    await asyncio.gather(*(deliver(_event(number)) for number in range(8)))
    assert await _noted(database) == [(webhook, f"event-{number}", 1) for number in range(8)]


async def test_twice_and_in_any_order_each_webhook_has_what_it_chose_once(
    database: Database,
) -> None:
    everything = await _listen(database, 1, "*")
    some = await _listen(database, 2, "note.deleted", "reclamo.orders.note.updated.v1")
    names = ["note.created", "note.updated", "note.deleted"]
    events = [_event(number, name) for number, name in enumerate(names)]
    deliver = _door(database)
    for event in (*reversed(events), *events):
        await deliver(event)
    wanted = [(everything, 0), (everything, 1), (everything, 2), (some, 1), (some, 2)]
    assert await _noted(database) == sorted((each, f"event-{n}", 1) for each, n in wanted)


async def test_a_webhook_that_is_added_hears_at_once_and_the_last_one_that_goes_ends_it(
    database: Database,
) -> None:
    deliver = _door(database)
    await deliver(_event(1))
    webhook = await _listen(database, 1, "*")
    await deliver(_event(2))
    own = Webhooks(database, SECRET_KEY, _nothing_to_ask, anywhere=True)
    await own.change(webhook, {"enabled": False})
    await deliver(_event(3))
    await own.change(webhook, {"enabled": True})
    await deliver(_event(4))
    assert await _noted(database) == [(webhook, f"event-{number}", 1) for number in (2, 4)]
    async with database.reading() as tx:
        rows = await tx.fetch("SELECT message_id FROM inbox ORDER BY message_id")
    assert [row["message_id"] for row in rows] == ["event-2", "event-4"]


async def test_a_webhook_that_could_not_be_told_is_not_added(database: Database) -> None:
    async def listen() -> None:
        raise Unavailable("the broker is not connected")

    own = Webhooks(database, SECRET_KEY, listen, anywhere=True)
    with pytest.raises(Unavailable):
        await own.add(url="http://127.0.0.1:1/", events=["*"], description=None, user_id="usr_1")
    async with database.reading() as tx:
        assert await store.webhooks(tx) == []


@pytest.mark.parametrize("many", [0, 1])
async def test_a_gateway_that_starts_hears_events_if_there_is_a_webhook(
    database: Database, amqp_url: str, many: int
) -> None:
    """The broker had lost everything, and has just been declared anew."""
    for number in range(many):
        await _listen(database, number + 1, "*")
    topology = Topology.of(consumers.SUBSCRIPTIONS)
    prefix = f"t{uuid7()[-12:]}."
    bus = RabbitBus(amqp_url, topology, "orders", prefix=prefix)
    got: list[bytes] = []

    async def deliver(delivery: Delivery) -> None:
        got.append(delivery.body)

    await bus.subscribe(consumers.SUBSCRIPTIONS[0], deliver)
    listening = asyncio.create_task(consumers.listen_again(database, bus))
    await bus.start()
    try:
        await eventually(lambda: bus.ready, 30)
        await asyncio.wait_for(listening, 30)
        key = "orders.note.created.v1"
        await bus.publish(Parcel(uuid7(), EVENTS, key, "note/note_1", b"early"))
        await consumers.listen(bus)
        await bus.publish(Parcel(uuid7(), EVENTS, key, "note/note_1", b"late"))
        await eventually(lambda: b"late" in got)
        assert got == ([b"early", b"late"] if many else [b"late"])
    finally:
        await bus.stop()
        await remove_topology(amqp_url, topology, prefix)
