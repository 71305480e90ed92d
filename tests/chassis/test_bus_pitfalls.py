"""Ways in which a broker or its client library once lost, hung or lied; our bus must not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import aio_pika
import pytest

from chassis import bus_rabbit
from chassis.bus_rabbit import RabbitBus
from chassis.engines import RabbitServer
from chassis.messaging import PublishFailed, Unroutable
from chassis.testing import eventually, remove_topology
from chassis.values import uuid7
from tests.chassis.conftest import TOPOLOGY, WALLS, Recorder, a_command, send

StartBus = Callable[[Recorder], Awaitable[RabbitBus]]


@pytest.fixture
def prefix() -> str:
    return f"t{uuid7()[-12:]}."


@pytest.fixture
async def start_bus(own_broker: RabbitServer, prefix: str) -> AsyncIterator[StartBus]:
    """A bus on a broker that the test may mistreat."""
    made: list[RabbitBus] = []

    async def start(walls: Recorder) -> RabbitBus:
        bus = RabbitBus(own_broker.url, TOPOLOGY, "tests", prefix=prefix)
        made.append(bus)
        await bus.subscribe(WALLS, walls)
        await bus.start()
        await eventually(lambda: bus.ready, 30)
        return bus

    yield start
    for bus in made:
        await bus.stop()
    await remove_topology(own_broker.url, TOPOLOGY, prefix)


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on an answer, so short that a test can wait for it."""
    monkeypatch.setattr(bus_rabbit, "PUBLISH_S", 0.3)


@pytest.mark.usefixtures("short_patience")
async def test_an_answer_that_never_came_does_not_silence_the_channel_for_ever(
    start_bus: StartBus, own_broker: RabbitServer
) -> None:
    # aio-pika issues 367 and 671: after publish(timeout=...) every later publish hung.
    walls = Recorder()
    bus = await start_bus(walls)
    pid = own_broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        results = await asyncio.gather(
            *(bus.publish(a_command(key=f"wall/{n}")) for n in range(5)), return_exceptions=True
        )
    finally:
        os.kill(pid, signal.SIGCONT)
    assert all(isinstance(result, PublishFailed) for result in results)
    await send(bus, a_command(b"after"))
    await eventually(lambda: b"after" in walls.bodies)


async def test_canceled_publishes_make_no_other_parcel_look_confirmed(start_bus: StartBus) -> None:
    # A publish canceled between counting and sending once shifted all later confirmations.
    walls = Recorder()
    bus = await start_bus(walls)
    confirmed: set[bytes] = set()

    async def publish(number: int) -> None:
        body = str(number).encode()
        try:
            await bus.publish(a_command(body, key=f"wall/{number}"))
        except PublishFailed:
            return
        confirmed.add(body)

    for start in range(0, 300, 10):
        tasks = [asyncio.create_task(publish(start + offset)) for offset in range(10)]
        for turns in range(3):
            await asyncio.sleep(0)
            tasks[turns].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await eventually(lambda: bus.ready)
    await send(bus, a_command(b"last"))
    await eventually(lambda: confirmed | {b"last"} <= set(walls.bodies))


@pytest.mark.usefixtures("short_patience")
async def test_a_broker_that_blocks_publishers_still_takes_acknowledgements(
    start_bus: StartBus, own_broker: RabbitServer
) -> None:
    walls = Recorder(pause_s=0.5)
    bus = await start_bus(walls)
    await bus.publish(a_command(b"before"))
    await asyncio.to_thread(own_broker.ctl, "set_vm_memory_high_watermark", "0.0000001")
    try:
        blocked = [a_command(f"blocked {n}".encode(), key=f"wall/{n}") for n in range(3)]
        results = await asyncio.gather(*map(bus.publish, blocked), return_exceptions=True)
        assert all(isinstance(result, PublishFailed) for result in results)
        await eventually(lambda: walls.bodies == [b"before"])
    finally:
        await asyncio.to_thread(own_broker.ctl, "set_vm_memory_high_watermark", "0.4")
    await send(bus, a_command(b"after"))
    await eventually(lambda: b"after" in walls.bodies)


async def test_a_consumer_taken_away_by_the_broker_comes_back(
    start_bus: StartBus, own_broker: RabbitServer, prefix: str
) -> None:
    # aio-pika issue 334: Basic.Cancel from the server once left an open channel without consumer.
    walls = Recorder()
    bus = await start_bus(walls)
    connection = await aio_pika.connect(own_broker.url)
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete(prefix + WALLS.queue)
    await eventually(lambda: not bus.ready)
    await eventually(lambda: bus.ready, 30)
    await send(bus, a_command(b"back"))
    await eventually(lambda: walls.bodies == [b"back"])


async def test_a_command_is_refused_while_its_queue_is_gone(
    own_broker: RabbitServer, prefix: str
) -> None:
    # With on_return_raises left at its default the returned message counts as published.
    bus = RabbitBus(own_broker.url, TOPOLOGY, "tests", prefix=prefix)
    await bus.start()
    try:
        await eventually(lambda: bus.ready, 30)
        connection = await aio_pika.connect(own_broker.url)
        async with connection:
            channel = await connection.channel()
            await channel.queue_delete(prefix + WALLS.queue)
        with pytest.raises(Unroutable):
            await bus.publish(a_command())
    finally:
        await bus.stop()
        await remove_topology(own_broker.url, TOPOLOGY, prefix)


async def test_messages_are_persistent_and_carry_what_tools_look_for(
    start_bus: StartBus, own_broker: RabbitServer, prefix: str
) -> None:
    # The library's default is delivery mode 1, gone with the broker.
    bus = RabbitBus(own_broker.url, TOPOLOGY, "tests", prefix=prefix)
    await bus.start()
    await eventually(lambda: bus.ready, 30)
    parcel = a_command(b"{}")
    await bus.publish(parcel)
    await bus.stop()
    connection = await aio_pika.connect(own_broker.url)
    async with connection:
        channel = await connection.channel()
        message = await (await channel.get_queue(prefix + WALLS.queue)).get()
        assert message is not None
        await message.ack()
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.message_id == parcel.id
    assert message.user_id == "guest"
    assert message.content_type == "application/cloudevents+json; charset=utf-8"
    assert message.headers["cloudEvents_subject"] == parcel.partition_key
    await remove_topology(own_broker.url, TOPOLOGY, prefix)


async def test_quorum_queues_with_messages_in_them_can_be_removed(
    own_broker: RabbitServer, prefix: str
) -> None:
    # queue.delete() asks for "if unused" by default, which closes the connection with 540.
    bus = RabbitBus(own_broker.url, TOPOLOGY, "tests", prefix=prefix)
    await bus.start()
    await eventually(lambda: bus.ready, 30)
    await bus.publish(a_command())
    await bus.stop()
    await remove_topology(own_broker.url, TOPOLOGY, prefix)
    connection = await aio_pika.connect(own_broker.url)
    async with connection:
        channel = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.get_queue(prefix + WALLS.queue)


async def test_a_handler_goes_on_when_its_connection_is_cut(
    start_bus: StartBus, own_broker: RabbitServer
) -> None:
    # The library cancels its own consumer tasks with the channel, in the middle of a commit.
    started, may_finish = asyncio.Event(), asyncio.Event()
    finished: list[bytes] = []

    class Slow(Recorder):
        async def __call__(self, delivery: object) -> None:  # type: ignore[override]
            started.set()
            await may_finish.wait()
            finished.append(delivery.body)  # type: ignore[attr-defined]

    bus = await start_bus(Slow())
    await bus.publish(a_command(b"slow"))
    await started.wait()
    await asyncio.to_thread(own_broker.ctl, "close_all_connections", "test")
    await eventually(lambda: not bus.ready)
    may_finish.set()
    await eventually(lambda: finished)
    await eventually(lambda: bus.ready, 30)
    # At least once: not acknowledged on the old connection, so it came again.
    await eventually(lambda: len(finished) == 2)


async def test_a_broker_user_that_may_configure_nothing_can_send_as_itself_only(
    own_broker: RabbitServer, start_bus: StartBus, prefix: str
) -> None:
    walls = Recorder()
    await start_bus(walls)
    user = f"clerk{uuid7()[-6:]}"

    def make_user() -> None:
        exchanges = f"^{prefix}reclamo\\.(commands|events)\\.v1$".replace(".", "\\.", 1)
        own_broker.ctl("add_user", user, "secret")
        own_broker.ctl("set_permissions", user, "^$", exchanges, "^$")

    await asyncio.to_thread(make_user)
    url = own_broker.url.replace("guest:guest", f"{user}:secret")
    clerk = RabbitBus(url, TOPOLOGY, "clerk", prefix=prefix, declare=False)
    await clerk.start()
    try:
        await eventually(lambda: clerk.ready, 30)
        await clerk.publish(a_command(b"mine"))
        await eventually(lambda: walls.handled)
        assert walls.handled[0].user_id == user
    finally:
        await clerk.stop()
