"""One contract, two carriers: what a service may rely on, whichever bus carries its messages."""

from __future__ import annotations

import asyncio

import aio_pika
import pytest

from chassis import bus_rabbit, rabbit_link
from chassis.bus_local import LocalBus
from chassis.bus_rabbit import RabbitBus, declare_topology, missing_queues
from chassis.engines import RabbitServer
from chassis.errors import Unavailable
from chassis.messaging import EVENTS, PublishFailed, Unroutable
from chassis.testing import eventually, remove_topology
from chassis.values import uuid7
from tests.chassis.conftest import (
    CHRONICLE,
    GUIDE,
    PRESS,
    TOPOLOGY,
    WALLS,
    Cleaned,
    MakeBus,
    Recorder,
    a_command,
    an_event,
    send,
)


class TestBothCarriers:
    async def test_an_event_reaches_every_bound_queue(self, make_bus: MakeBus) -> None:
        walls, guide, press = Recorder(), Recorder(), Recorder()
        bus = await make_bus({WALLS.queue: walls, GUIDE.queue: guide, PRESS.queue: press})
        await bus.publish(an_event(b'{"wall":1}'))
        await eventually(lambda: guide.handled and press.handled)
        assert guide.bodies == press.bodies == [b'{"wall":1}']
        assert walls.handled == []

    async def test_a_delivery_names_the_queue_as_the_service_knows_it(
        self, make_bus: MakeBus
    ) -> None:
        walls = Recorder()
        bus = await make_bus({WALLS.queue: walls})
        await bus.publish(a_command())
        await eventually(lambda: walls.handled)
        assert [delivery.queue for delivery in walls.handled] == [WALLS.queue]
        assert not walls.handled[0].dead

    async def test_a_command_that_no_queue_takes_is_refused_as_unroutable(
        self, make_bus: MakeBus
    ) -> None:
        bus = await make_bus()
        with pytest.raises(Unroutable, match=r"walls\.wall\.demolish"):
            await bus.publish(a_command(routing_key="walls.wall.demolish"))

    async def test_an_unroutable_command_does_not_harm_the_next_one(
        self, make_bus: MakeBus
    ) -> None:
        walls = Recorder()
        bus = await make_bus({WALLS.queue: walls})
        with pytest.raises(Unroutable):
            await bus.publish(a_command(routing_key="walls.wall.demolish"))
        await bus.publish(a_command(b"next"))
        await eventually(lambda: walls.bodies == [b"next"])

    async def test_an_event_nobody_waits_for_is_published_all_the_same(
        self, make_bus: MakeBus
    ) -> None:
        bus = await make_bus()
        await bus.publish(an_event(routing_key="walls.wall.dried.v1"))

    async def test_what_is_asked_for_is_delivered_from_then_on(self, make_bus: MakeBus) -> None:
        chronicle = Recorder()
        bus = await make_bus({CHRONICLE.queue: chronicle})
        await bus.hear(CHRONICLE.queue)
        await bus.publish(an_event(b"clean", routing_key=Cleaned.key))
        await eventually(lambda: chronicle.bodies == [b"clean"])

    async def test_what_is_confirmed_is_delivered_even_if_the_consumer_comes_later(
        self, make_bus: MakeBus
    ) -> None:
        sender = await make_bus()
        confirmed = True
        try:
            await sender.publish(a_command(b"early"))
        except PublishFailed:
            confirmed = False
        walls = Recorder()
        await make_bus({WALLS.queue: walls})
        if confirmed:
            await eventually(lambda: walls.bodies == [b"early"])
        else:
            assert walls.handled == []

    async def test_a_consumer_that_raises_gets_the_message_again(self, make_bus: MakeBus) -> None:
        walls = Recorder(failures=1)
        bus = await make_bus({WALLS.queue: walls})
        await send(bus, a_command(b"again"))
        await eventually(lambda: walls.handled)
        assert [delivery.body for delivery in walls.started] == [b"again", b"again"]

    async def test_a_queue_whose_consumer_raises_holds_up_no_other_queue(
        self, make_bus: MakeBus
    ) -> None:
        guide, press = Recorder(failures=1), Recorder()
        bus = await make_bus({GUIDE.queue: guide, PRESS.queue: press})
        await send(bus, an_event(b"news"))
        await eventually(lambda: guide.handled and press.handled)
        assert set(guide.bodies) == set(press.bodies) == {b"news"}

    async def test_one_aggregate_s_parcels_arrive_in_the_order_they_were_sent(
        self, make_bus: MakeBus
    ) -> None:
        guide = Recorder(pause_s=0.001)
        bus = await make_bus({GUIDE.queue: guide, PRESS.queue: Recorder()})
        sent = [str(number).encode() for number in range(40)]
        for body in sent:
            await bus.publish(an_event(body))
        await eventually(lambda: len(guide.handled) == len(sent))
        assert guide.bodies == sent

    async def test_different_aggregates_are_handled_side_by_side(self, make_bus: MakeBus) -> None:
        together = asyncio.Barrier(3)
        walls = Recorder()

        async def meet(delivery: object) -> None:
            async with asyncio.timeout(10):
                await together.wait()
            await walls(delivery)  # type: ignore[arg-type]

        bus = await make_bus({WALLS.queue: meet})
        await asyncio.gather(*(bus.publish(a_command(key=f"wall/{n}")) for n in range(3)))
        await eventually(lambda: len(walls.handled) == 3)

    async def test_the_bytes_arrive_as_they_were_sent(self, make_bus: MakeBus) -> None:
        walls = Recorder()
        bus = await make_bus({WALLS.queue: walls})
        bodies = [b"{}", '{"Größe":"½ m"}'.encode(), b"\x00\xff" * 100_000]
        for body in bodies:
            await bus.publish(a_command(body))
        await eventually(lambda: len(walls.handled) == len(bodies))
        assert walls.bodies == bodies

    async def test_stopping_lets_a_started_handler_finish(self, make_bus: MakeBus) -> None:
        walls, may_finish = Recorder(), asyncio.Event()
        started = asyncio.Event()

        async def slow(delivery: object) -> None:
            started.set()
            await may_finish.wait()
            await walls(delivery)  # type: ignore[arg-type]

        bus = await make_bus({WALLS.queue: slow})
        sending = asyncio.create_task(bus.publish(a_command(b"slow")))
        await started.wait()
        stopping = asyncio.create_task(bus.stop())
        asyncio.get_running_loop().call_later(0.05, may_finish.set)
        await stopping
        assert walls.bodies == [b"slow"]
        await asyncio.gather(sending, return_exceptions=True)

    async def test_publishing_without_a_connection_fails_at_once(self, make_bus: MakeBus) -> None:
        bus = await make_bus()
        await bus.stop()
        assert not bus.ready
        with pytest.raises(PublishFailed):
            await bus.publish(an_event())

    async def test_a_publish_that_is_canceled_leaves_a_bus_that_works(
        self, make_bus: MakeBus
    ) -> None:
        walls = Recorder()
        bus = await make_bus({WALLS.queue: walls})
        sending = asyncio.create_task(bus.publish(a_command(b"canceled")))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await send(bus, a_command(b"next"))
        await eventually(lambda: b"next" in walls.bodies)


class TestRabbit:
    async def test_a_handled_message_does_not_come_again(self, rabbit_bus: MakeBus) -> None:
        walls = Recorder()
        bus = await rabbit_bus({WALLS.queue: walls})
        await bus.publish(a_command(b"one"))
        await eventually(lambda: walls.handled)
        await bus.stop()
        again = Recorder()
        second = await rabbit_bus({WALLS.queue: again})
        await second.publish(a_command(b"two"))
        await eventually(lambda: again.handled)
        assert again.bodies == [b"two"]

    async def test_a_message_held_by_a_failing_consumer_goes_back_with_its_count_when_it_stops(
        self, rabbit_bus: MakeBus
    ) -> None:
        broken = Recorder(failures=100)
        bus = await rabbit_bus({WALLS.queue: broken})
        await bus.publish(a_command(b"held"))
        await eventually(lambda: broken.started)
        await bus.stop()
        assert broken.started[0].count == 0
        walls = Recorder()
        await rabbit_bus({WALLS.queue: walls})
        await eventually(lambda: walls.handled)
        assert walls.handled[0].redelivered
        assert walls.handled[0].count == 1

    async def test_nothing_is_delivered_on_demand_before_it_is_asked_for(
        self, rabbit_bus: MakeBus
    ) -> None:
        chronicle = Recorder()
        bus = await rabbit_bus({CHRONICLE.queue: chronicle})
        await bus.publish(an_event(b"early", routing_key=Cleaned.key))
        await bus.hear(CHRONICLE.queue)
        await bus.publish(an_event(b"late", routing_key=Cleaned.key))
        await eventually(lambda: chronicle.handled)
        assert chronicle.bodies == [b"late"]

    async def test_what_was_asked_for_is_bound_again_on_a_broker_that_lost_it(
        self, amqp_url: str, rabbit_bus: MakeBus
    ) -> None:
        prefix: str = rabbit_bus.prefix  # type: ignore[attr-defined]
        chronicle = Recorder()
        bus = await rabbit_bus({CHRONICLE.queue: chronicle})
        await bus.hear(CHRONICLE.queue)
        # The consumer is canceled with its queue, and the bus begins again. Whoever declares the
        # queue anew before that gets no consumer: RabbitMQ 3.10 moves the old one to the new queue,
        # tells nobody, and drops what it delivers (deploy/README.md, "Queues are never deleted").
        await remove_topology(amqp_url, TOPOLOGY, prefix)
        await eventually(lambda: not bus.ready)
        sender = await rabbit_bus()

        async def heard() -> bool:
            await sender.publish(an_event(b"again", routing_key=Cleaned.key))
            return bool(chronicle.handled)

        await eventually(heard, 30, every_s=0.2)

    async def test_what_was_asked_for_is_bound_again_when_only_its_exchange_was_lost(
        self, amqp_url: str, rabbit_bus: MakeBus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody is told: queue, consumer, channel and connection stay as they are."""
        monkeypatch.setattr(rabbit_link, "WATCHDOG_S", 0.2)
        prefix: str = rabbit_bus.prefix  # type: ignore[attr-defined]
        chronicle = Recorder()
        bus = await rabbit_bus({CHRONICLE.queue: chronicle})
        await bus.hear(CHRONICLE.queue)
        connection = await aio_pika.connect(amqp_url)
        async with connection:
            channel = await connection.channel()
            await channel.exchange_delete(prefix + EVENTS)
        await declare_topology(amqp_url, TOPOLOGY, prefix)

        async def heard() -> bool:
            await bus.publish(an_event(b"again", routing_key=Cleaned.key))
            return bool(chronicle.handled)

        await eventually(heard, 30, every_s=0.2)

    async def test_nobody_is_told_that_he_hears_while_the_broker_is_away(
        self, own_broker: RabbitServer
    ) -> None:
        bus = RabbitBus(own_broker.url, TOPOLOGY, "tests", prefix=f"t{uuid7()[-12:]}.")
        await bus.subscribe(CHRONICLE, Recorder())
        own_broker.kill()
        await bus.start()
        try:
            with pytest.raises(Unavailable, match="not connected"):
                await bus.hear(CHRONICLE.queue)
        finally:
            await bus.stop()
            own_broker.start()

    async def test_the_broker_vouches_for_the_sender(self, rabbit_bus: MakeBus) -> None:
        walls = Recorder()
        bus = await rabbit_bus({WALLS.queue: walls})
        await bus.publish(a_command())
        await eventually(lambda: walls.handled)
        assert walls.handled[0].user_id == "guest"

    async def test_what_the_broker_gave_up_is_delivered_as_dead(
        self, rabbit_bus: MakeBus, amqp_url: str
    ) -> None:
        sender = await rabbit_bus()
        await sender.publish(a_command(b"given up"))
        prefix = rabbit_bus.prefix  # type: ignore[attr-defined]
        connection = await aio_pika.connect(amqp_url)
        async with connection:
            queue = await (await connection.channel()).get_queue(prefix + WALLS.queue)
            message = await queue.get()
            assert message is not None
            await message.reject(requeue=False)
        walls = Recorder()
        await rabbit_bus({WALLS.queue: walls})
        await eventually(lambda: walls.handled)
        assert [(letter.queue, letter.body, letter.dead) for letter in walls.handled] == [
            (WALLS.queue, b"given up", True)
        ]

    async def test_a_message_held_for_too_long_goes_back_to_the_broker(
        self, rabbit_bus: MakeBus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bus_rabbit, "_HOLD_S_MAX", 0.0)
        walls = Recorder(failures=1)
        bus = await rabbit_bus({WALLS.queue: walls})
        await bus.publish(a_command(b"held"))
        await eventually(lambda: walls.handled, 20)
        assert [delivery.count for delivery in walls.started] == [0, 1]

    async def test_what_is_missing_at_the_broker_is_named(self, amqp_url: str) -> None:
        prefix = f"t{uuid7()[-12:]}."
        assert WALLS.queue in await missing_queues(amqp_url, TOPOLOGY, prefix)
        await declare_topology(amqp_url, TOPOLOGY, prefix)
        # Once more changes nothing.
        await declare_topology(amqp_url, TOPOLOGY, prefix)
        assert await missing_queues(amqp_url, TOPOLOGY, prefix) == []
        await remove_topology(amqp_url, TOPOLOGY, prefix)

    async def test_a_bus_that_may_not_declare_is_ready_once_everything_is_there(
        self, amqp_url: str
    ) -> None:
        prefix = f"t{uuid7()[-12:]}."
        careful = RabbitBus(amqp_url, TOPOLOGY, "tests", prefix=prefix, declare=False)
        await careful.start()
        try:
            with pytest.raises(PublishFailed):
                await careful.publish(a_command())
            owner = RabbitBus(amqp_url, TOPOLOGY, "tests", prefix=prefix)
            await owner.start()
            await eventually(lambda: careful.ready and owner.ready, 30)
            await careful.publish(a_command())
            await owner.stop()
        finally:
            await careful.stop()
            await remove_topology(amqp_url, TOPOLOGY, prefix)

    async def test_a_broker_that_comes_late_is_waited_for(self, own_broker: RabbitServer) -> None:
        prefix = f"t{uuid7()[-12:]}."
        own_broker.stop()
        bus = RabbitBus(own_broker.url, TOPOLOGY, "tests", prefix=prefix)
        await bus.start()
        try:
            assert not bus.ready
            with pytest.raises(PublishFailed):
                await bus.publish(a_command())
            await asyncio.to_thread(own_broker.start)
            await eventually(lambda: bus.ready, 30)
            await send(bus, a_command())
        finally:
            await bus.stop()

    async def test_nothing_confirmed_is_lost_when_the_broker_is_killed(
        self, own_broker: RabbitServer
    ) -> None:
        prefix = f"t{uuid7()[-12:]}."
        walls = Recorder()
        bus = RabbitBus(own_broker.url, TOPOLOGY, "tests", prefix=prefix)
        await bus.subscribe(WALLS, walls)
        await bus.start()
        try:
            await eventually(lambda: bus.ready, 30)
            # A queue younger than a second may not survive a killed broker.
            await eventually(lambda: own_broker.would_keep(prefix + WALLS.queue))
            confirmed: set[bytes] = set()
            stop = asyncio.Event()

            async def keep_sending(lane: int) -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    body = f"{lane}-{number}".encode()
                    try:
                        await bus.publish(a_command(body, key=f"wall/{lane}"))
                        confirmed.add(body)
                    except PublishFailed:
                        await asyncio.sleep(0.02)

            lanes = [asyncio.create_task(keep_sending(lane)) for lane in range(4)]
            await eventually(lambda: len(confirmed) > 50)
            await asyncio.to_thread(own_broker.kill)
            before = len(confirmed)
            await asyncio.to_thread(own_broker.start)
            await eventually(lambda: len(confirmed) > before + 50, 40)
            stop.set()
            await asyncio.gather(*lanes)
            await eventually(lambda: confirmed <= set(walls.bodies), 30)
        finally:
            await bus.stop()


class TestLocalFaults:
    async def test_a_duplicated_parcel_is_delivered_twice(self, local_bus: MakeBus) -> None:
        walls = Recorder()
        bus = await local_bus({WALLS.queue: walls}, faults="dup:1")
        await bus.publish(a_command())
        assert [delivery.redelivered for delivery in walls.handled] == [False, True]

    async def test_a_dropped_parcel_is_reported_and_arrives_when_sent_again(
        self, local_bus: MakeBus
    ) -> None:
        walls = Recorder()
        bus = await local_bus({WALLS.queue: walls}, faults="drop_before_commit:0.5,seed=1")
        for number in range(20):
            await send(bus, a_command(str(number).encode()))
        assert walls.bodies == [str(number).encode() for number in range(20)]

    async def test_a_lost_confirmation_means_delivered_and_reported_as_failed(
        self, local_bus: MakeBus
    ) -> None:
        walls = Recorder()
        bus = await local_bus({WALLS.queue: walls}, faults="drop_after_commit:1")
        with pytest.raises(PublishFailed):
            await bus.publish(a_command(b"there"))
        assert walls.bodies == [b"there"]

    async def test_reordered_parcels_all_arrive_shuffled_the_same_way_for_a_seed(
        self, local_bus: MakeBus
    ) -> None:
        orders: list[list[bytes]] = []
        sent = [str(number).encode() for number in range(10)]
        for _ in range(2):
            walls = Recorder()
            bus = await local_bus({WALLS.queue: walls}, faults="reorder:10,seed=7")
            await asyncio.gather(
                *(bus.publish(a_command(body, key=body.decode())) for body in sent)
            )
            orders.append(walls.bodies)
        assert orders[0] == orders[1] != sent
        assert sorted(orders[0]) == sorted(sent)

    async def test_a_parcel_held_back_for_reordering_is_not_held_for_ever(
        self, local_bus: MakeBus
    ) -> None:
        walls = Recorder()
        bus = await local_bus({WALLS.queue: walls}, faults="reorder:16")
        await bus.publish(a_command(b"alone"))
        assert walls.bodies == [b"alone"]

    @pytest.mark.parametrize("faults", ["dup:often", "dup:2", "explode:1"])
    def test_a_fault_nobody_understands_is_refused_by_name(self, faults: str) -> None:
        with pytest.raises(ValueError, match=faults):
            LocalBus(TOPOLOGY, faults)
