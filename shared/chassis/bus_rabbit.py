"""The carrier between processes: RabbitMQ, quorum queues, confirms, an own connection supervisor.

Rules that look odd and are not (tests/chassis/test_bus_pitfalls.py):
- Two connections: a broker that blocks publishers must not block acknowledgements.
- A publish that did not end with an answer leaves its channel in an unknown state: the channel is
  thrown away. Deadlines go around the library's calls, never into its ``timeout=``.
- Handlers run in tasks of this bus, not of the library, which cancels its own with the channel.
- A failing handler is not answered with a negative acknowledgement: the message stays with us,
  unacknowledged, and is tried again; the broker's delivery count is for crashes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError, PublishError

from chassis import clock
from chassis.errors import Unavailable
from chassis.messaging import (
    COMMANDS,
    CONTENT_TYPE,
    Deliver,
    Delivery,
    Parcel,
    PublishFailed,
    Subscription,
    Unroutable,
)
from chassis.observability import QUEUE_READY
from chassis.rabbit_link import (
    CLOSE_S,
    SETUP_S,
    Broker,
    Link,
    bind_on_demand,
    close_quietly,
    declare,
    declare_topology,
    missing_queues,
)
from chassis.topology import Topology, dead_letter_queue

__all__ = ["RabbitBus", "declare", "declare_topology", "missing_queues"]

log = structlog.get_logger(__name__)

PUBLISH_S = 10.0
STOP_WITHIN_S = 20.0
# Deliveries are held while the database is away; they must not sleep long past its return.
_RETRY_S = (1.0, 5.0)
# The broker takes an unacknowledged message for lost after 30 min; stay well below.
_HOLD_S_MAX = 20 * 60.0
_DEAD_COUNT = 1000


class _Publishing(Link):
    """The connection that sends, and its one channel with confirms."""

    name = "publisher"

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        return self._channel is not None

    async def publish(self, parcel: Parcel) -> None:
        channel, connection = self._channel, self._connection
        if channel is None or connection is None or connection.transport is None:
            raise PublishFailed("not connected to the broker")
        try:
            async with asyncio.timeout(PUBLISH_S):
                # Waits while the broker blocks publishers: then nothing has left this process.
                await connection.transport.ready()
                exchange = await channel.get_exchange(
                    self.broker.prefix + parcel.exchange, ensure=False
                )
                await exchange.publish(
                    self._message(parcel),
                    parcel.routing_key,
                    mandatory=parcel.exchange == COMMANDS,
                )
        except PublishError:
            raise Unroutable(f"no queue takes {parcel.routing_key}") from None
        except DeliveryError as error:
            # An answer, though a no (queue full or its leader being elected): the channel is sound.
            raise PublishFailed(f"{parcel.id}: the broker refused it: {error}") from error
        except BaseException as error:
            self._retire(channel)
            if isinstance(error, Exception):
                raise PublishFailed(f"{parcel.id}: not confirmed: {error!r}") from error
            raise

    async def closed(self) -> None:
        """Wait for channels that are being thrown away."""
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _message(self, parcel: Parcel) -> aio_pika.Message:
        kind = f"reclamo.{parcel.routing_key}"
        return aio_pika.Message(
            parcel.body,
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=parcel.id,
            type=kind,
            timestamp=clock.now(),
            app_id=self.broker.service,
            # The broker refuses any other name than that of the connection's user.
            user_id=self.broker.user,
            headers={
                "cloudEvents_id": parcel.id,
                "cloudEvents_type": kind,
                "cloudEvents_source": f"/reclamo/{parcel.source or self.broker.service}",
                "cloudEvents_subject": parcel.partition_key,
            },
        )

    async def _set_up(self, connection: AbstractConnection) -> None:
        self._connection = connection
        await self._open_channel(connection)

    async def _open_channel(self, connection: AbstractConnection) -> None:
        # Without on_return_raises a command that reaches no queue would count as sent.
        channel = connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.initialize()
        channel.close_callbacks.add(self._on_closed)
        self._channel = channel

    async def _check(self) -> None:
        if self._channel is not None and self._channel.is_closed:
            self._retire(self._channel)
        if self._channel is None and self._connection is not None:
            await self._open_channel(self._connection)

    def _tear_down(self) -> None:
        self._channel = self._connection = None

    def _retire(self, channel: AbstractChannel) -> None:
        """Never publish on it again; whoever waits for an answer on it gets an error."""
        if self._channel is not channel:
            return
        self._channel = None
        closing = asyncio.create_task(close_quietly(channel))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._look.set()


@dataclass(frozen=True)
class _Consumer:
    """A queue that is read: its name at the broker, and the name its handlers know."""

    source: str
    queue: str
    deliver: Deliver
    dead: bool
    slots: asyncio.Semaphore


@dataclass
class _Turn:
    """Who handles a partition key right now, and how many wait."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class _Consuming(Link):
    """The connection that receives, and the handlers that are under way."""

    name = "consumer"

    def __init__(self, broker: Broker, prefetch: int) -> None:
        super().__init__(broker)
        self.consumers: list[_Consumer] = []
        self.heard: set[str] = set()
        self._prefetch = prefetch
        self._channel: AbstractChannel | None = None
        self._tags: Mapping[str, str] = {}
        self._over = asyncio.Event()
        self._stopping = asyncio.Event()
        self._turns: dict[tuple[str, str], _Turn] = {}
        self._handling: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        return bool(self._tags)

    async def finish(self) -> None:
        """Take nothing new; give started handlers 20 s."""
        self._stopping.set()
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_S):
                if self._channel is not None:
                    underlay = await self._channel.get_underlay_channel()
                    for tag in self._tags.values():
                        await underlay.basic_cancel(tag)
        if self._handling:
            _, late = await asyncio.wait(set(self._handling), timeout=STOP_WITHIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _set_up(self, connection: AbstractConnection) -> None:
        channel = connection.channel(publisher_confirms=False)
        await channel.initialize()
        # Per consumer: quorum queues refuse a limit that is global to the channel.
        await channel.set_qos(prefetch_count=self._prefetch)
        channel.close_callbacks.add(self._on_closed)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._on_closed)
        self._channel, self._over = channel, asyncio.Event()
        await self._bind_what_is_heard(channel)
        tags: dict[str, str] = {}
        for consumer in self.consumers:
            queue = await channel.get_queue(consumer.source, ensure=False)
            tags[consumer.source] = await queue.consume(
                self._receiver(consumer, self._over),
                consumer_tag=f"{self.broker.service}:{consumer.source}",
            )
        self._tags = tags

    async def hear(self, queue: str) -> None:
        """Bind now, and again with every connection. Raises Unavailable."""
        channel = self._channel
        if channel is None:
            raise Unavailable("the broker is not connected")
        try:
            async with asyncio.timeout(SETUP_S):
                await bind_on_demand(channel, self.broker.topology, queue, self.broker.prefix)
        except Exception as error:
            # Whatever it was, on this channel nothing is certain any more.
            self.give_up()
            raise Unavailable(f"the broker does not bind {queue}: {error}") from error
        self.heard.add(queue)

    async def _check(self) -> None:
        """The broker may take a consumer away and leave channel and connection open."""
        if self._channel is None or self._channel.is_closed:
            raise ConnectionError("the consumer channel is closed")
        underlay: Any = await self._channel.get_underlay_channel()
        for source, tag in self._tags.items():
            if tag not in underlay.consumers:
                raise ConnectionError(f"the consumer of {source} was cancelled by the broker")
            seen = await self._channel.declare_queue(source, passive=True)
            told = seen.declaration_result
            QUEUE_READY.labels(self.broker.service, source).set(told.message_count or 0)
            if not told.consumer_count:
                raise ConnectionError(f"the broker knows no consumer of {source}")
        await self._bind_what_is_heard(self._channel)

    async def _bind_what_is_heard(self, channel: AbstractChannel) -> None:
        """Again with every look: who deletes an exchange takes its bindings, and no consumer is
        told."""
        for name in sorted(self.heard):
            await bind_on_demand(channel, self.broker.topology, name, self.broker.prefix)

    def _tear_down(self) -> None:
        self._over.set()
        self._channel = None
        self._tags = {}

    def _receiver(
        self, consumer: _Consumer, over: asyncio.Event
    ) -> Callable[[AbstractIncomingMessage], Coroutine[Any, Any, None]]:
        async def receive(message: AbstractIncomingMessage) -> None:
            task = asyncio.create_task(self._handle(consumer, message, over))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)

        return receive

    async def _handle(
        self, consumer: _Consumer, message: AbstractIncomingMessage, over: asyncio.Event
    ) -> None:
        key = str(message.headers.get("cloudEvents_subject") or message.message_id)
        async with self._in_turn(consumer.source, key):
            handled = await self._try_until_handled(consumer, _delivery(consumer, message), over)
            if handled and not over.is_set():
                # Lost with its channel: the message comes again, and the inbox knows it.
                with suppress(Exception):
                    await message.ack()

    @asynccontextmanager
    async def _in_turn(self, source: str, key: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault((source, key), _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                self._turns.pop((source, key), None)

    async def _try_until_handled(
        self, consumer: _Consumer, delivery: Delivery, over: asyncio.Event
    ) -> bool:
        """Hold the delivery and try again; False when it is better to let the broker have it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _HOLD_S_MAX
        pause_s, longest_s = _RETRY_S
        while True:
            async with consumer.slots:
                if self._stopping.is_set() or over.is_set():
                    return False
                try:
                    await consumer.deliver(delivery)
                    return True
                except Exception as error:
                    log.warning(
                        "delivery_held", queue=delivery.queue, again_in_s=pause_s, error=repr(error)
                    )
            if loop.time() + pause_s > deadline:
                self.give_up()
                return False
            await _first_of(self._stopping, over, within_s=pause_s * random.uniform(0.8, 1.2))
            pause_s = min(pause_s * 2, longest_s)


class RabbitBus:
    """Bus over AMQP 0-9-1. ``prefix`` keeps tests apart on one broker.

    ``declare=False`` only verifies that exchanges and queues exist, for a broker user that may not
    configure; while something is missing the bus is not ready. ``concurrency`` handlers and
    ``prefetch`` messages per queue. Deliveries of one partition key are handled one at a time, in
    the order they came, by this process; its replicas take their share of the queue at the same
    time, so no handler may rely on an order.
    """

    def __init__(
        self,
        url: str,
        topology: Topology,
        service_name: str,
        *,
        declare: bool = True,
        prefix: str = "",
        concurrency: int = 8,
        prefetch: int = 32,
    ) -> None:
        broker = Broker(url, topology, service_name, declare=declare, prefix=prefix)
        self._prefix = prefix
        self._concurrency = concurrency
        self._publishing = _Publishing(broker)
        self._consuming = _Consuming(broker, prefetch)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to connect; ``ready`` tells when it stands."""
        links: list[Link] = [self._publishing]
        if self._consuming.consumers:
            links.append(self._consuming)
        self._tasks = [asyncio.create_task(link.run(), name=link.name) for link in links]

    async def subscribe(self, subscription: Subscription, deliver: Deliver) -> None:
        """Deliver what the queue and its dead-letter queue get; call before ``start``."""
        queue = subscription.queue
        for source, dead in ((queue, False), (dead_letter_queue(queue), True)):
            slots = asyncio.Semaphore(1 if dead else self._concurrency)
            consumer = _Consumer(self._prefix + source, queue, deliver, dead, slots)
            self._consuming.consumers.append(consumer)

    async def hear(self, queue: str) -> None:
        """Let a queue on demand get its messages, now and after every new connection.

        Before ``start``: as soon as there is one. Raises Unavailable while there is none.
        """
        if self._tasks:
            await self._consuming.hear(queue)
        else:
            self._consuming.heard.add(queue)

    async def publish(self, parcel: Parcel) -> None:
        """Return when every bound queue has the parcel on disk.

        Raises Unroutable for a command that no queue takes; PublishFailed at once without a
        connection, after 10 s without an answer, and when a queue refuses.
        """
        await self._publishing.publish(parcel)

    async def stop(self) -> None:
        """Stop consuming, let started handlers finish (20 s at most), close."""
        await self._consuming.finish()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._publishing.closed()
        self._tasks.clear()

    @property
    def ready(self) -> bool:
        """Connected, topology seen, consumers registered."""
        return self._publishing.ready and (not self._consuming.consumers or self._consuming.ready)


def _delivery(consumer: _Consumer, message: AbstractIncomingMessage) -> Delivery:
    counted = message.headers.get("x-delivery-count", 0)
    return Delivery(
        queue=consumer.queue,
        body=message.body,
        redelivered=bool(message.redelivered),
        count=_DEAD_COUNT if consumer.dead else counted if isinstance(counted, int) else 0,
        user_id=message.user_id,
        dead=consumer.dead,
    )


async def _first_of(*events: asyncio.Event, within_s: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
