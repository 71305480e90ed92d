"""One connection to the broker, kept alive: connect, see the topology, watch, begin again."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import ClassVar

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from pamqp.common import FieldTable
from yarl import URL

from chassis.messaging import COMMANDS, DEAD_LETTERS, EVENTS
from chassis.topology import Topology, dead_letter_arguments, dead_letter_queue, queue_arguments

log = structlog.get_logger(__name__)
# It reports every refused connection as an error with its traceback; the links below tell it once.
logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)

CONNECT_S = 10.0
SETUP_S = 30.0
CLOSE_S = 2.0
WATCHDOG_S = 10.0
HEARTBEAT_S = 15
# A minute after the broker is back everything is done, however long it was away: the pause before
# the connection is the first part of that minute.
_RECONNECT_S = (0.5, 10.0)
# Before the first success the broker is probably still starting beside us.
_FIRST_CONNECT_S_MAX = 5.0


class Link(ABC):
    """One connection, made again for as long as it is wanted."""

    name: ClassVar[str]

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._look = asyncio.Event()
        self._broken = asyncio.Event()
        self._ever_stood = False

    @abstractmethod
    async def _set_up(self, connection: AbstractConnection) -> None:
        """Make of a fresh connection what is needed; the topology is there."""

    @abstractmethod
    async def _check(self) -> None:
        """Repair what can be; raise when only a new connection helps."""

    @abstractmethod
    def _tear_down(self) -> None:
        """Forget everything about the connection that is gone."""

    def _on_closed(self, *_: object) -> None:
        """A channel or a consumer ended: do not wait for the next round of the watchdog."""
        self._look.set()

    def give_up(self) -> None:
        """Close this connection, messages not acknowledged go back; a new one is made."""
        self._broken.set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            connection: AbstractConnection | None = None
            self._look.clear()
            self._broken.clear()
            try:
                async with asyncio.timeout(CONNECT_S + 5):
                    connection = await aio_pika.connect(self.broker.url, timeout=CONNECT_S)
                async with asyncio.timeout(SETUP_S):
                    await self.broker.see_topology(connection)
                    await self._set_up(connection)
                log.info("broker_connected", link=self.name)
                failures = 0
                self._ever_stood = True
                await self._watch(connection)
                log.warning("broker_connection_lost", link=self.name)
            except Exception as error:
                # Whatever it was, the answer is a new connection.
                log.warning("broker_not_reached", link=self.name, error=repr(error))
            finally:
                self._tear_down()
                if connection is not None:
                    await close_quietly(connection)
            await asyncio.sleep(self._pause_s(failures))
            failures += 1

    def _pause_s(self, failures: int) -> float:
        """Full jitter: processes that lost the broker together do not come back together."""
        least, most = _RECONNECT_S
        if not self._ever_stood:
            most = min(most, _FIRST_CONNECT_S_MAX)
        return random.uniform(0.05, min(most, least * 2 ** min(failures, 10)))

    async def _watch(self, connection: AbstractConnection) -> None:
        """Return when the connection is gone or given up; raise when a check fails."""
        assert connection.transport is not None
        # Not connection.closed(), which tells only of a close that was asked for on this side.
        gone = [connection.transport.connection.closing, asyncio.ensure_future(self._broken.wait())]
        try:
            while True:
                look = asyncio.ensure_future(self._look.wait())
                await asyncio.wait(
                    [*gone, look], timeout=WATCHDOG_S, return_when=asyncio.FIRST_COMPLETED
                )
                look.cancel()
                if any(sign.done() for sign in gone):
                    return
                self._look.clear()
                async with asyncio.timeout(CONNECT_S):
                    await self._check()
        finally:
            for sign in gone:
                sign.cancel()


class Broker:
    """Where the broker is and what must be there before anything else."""

    def __init__(
        self, url: str, topology: Topology, service_name: str, *, declare: bool, prefix: str
    ) -> None:
        self.url = URL(url).update_query(heartbeat=HEARTBEAT_S, name=service_name)
        self.user = self.url.user or "guest"
        self.service = service_name
        self.prefix = prefix
        self.topology = topology
        self._declare = declare
        self._turn = asyncio.Lock()

    async def see_topology(self, connection: AbstractConnection) -> None:
        """Declare or verify; raises what the broker says."""
        # Both links come here; one after the other, so that the second finds everything done.
        async with self._turn:
            channel = connection.channel(publisher_confirms=False)
            await channel.initialize()
            await (declare if self._declare else verify)(channel, self.topology, self.prefix)
            await channel.close()


async def close_quietly(thing: AbstractConnection | AbstractChannel) -> None:
    """Close, but do not wait long for an other side that may be gone."""
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_S):
            await thing.close()


async def declare(channel: AbstractChannel, topology: Topology, prefix: str = "") -> None:
    """Make every exchange, queue and binding; harmless when they are there.

    Raises what the broker says when one is there with other arguments.
    """
    for exchange, kind in ((COMMANDS, "topic"), (EVENTS, "topic"), (DEAD_LETTERS, "direct")):
        await channel.declare_exchange(prefix + exchange, kind, durable=True)
    for queue in topology.queues:
        last_stop = await channel.declare_queue(
            prefix + dead_letter_queue(queue), durable=True, arguments={**dead_letter_arguments()}
        )
        arguments: FieldTable = {
            **queue_arguments(queue),
            "x-dead-letter-exchange": prefix + DEAD_LETTERS,
            "x-dead-letter-routing-key": prefix + queue,
        }
        # First the last stop, then what can lead to it.
        await last_stop.bind(prefix + DEAD_LETTERS, prefix + queue)
        made = await channel.declare_queue(prefix + queue, durable=True, arguments=arguments)
        for bound, exchange, key in topology.bindings:
            if bound == queue:
                await made.bind(prefix + exchange, key)


async def bind_on_demand(
    channel: AbstractChannel, topology: Topology, queue: str, prefix: str = ""
) -> None:
    """Bind a queue to what it hears on demand; harmless when it is bound. The broker user needs to
    write to the queue and to read the exchange."""
    found = await channel.get_queue(prefix + queue, ensure=False)
    for bound, exchange, key in topology.on_demand:
        if bound == queue:
            await found.bind(prefix + exchange, key)


async def verify(channel: AbstractChannel, topology: Topology, prefix: str = "") -> None:
    """Raise what the broker says when an exchange or a queue is missing; changes nothing."""
    for exchange in (COMMANDS, EVENTS, DEAD_LETTERS):
        await channel.get_exchange(prefix + exchange)
    for queue in topology.queues:
        for name in (queue, dead_letter_queue(queue)):
            await channel.get_queue(prefix + name)


async def declare_topology(url: str, topology: Topology, prefix: str = "") -> None:
    """Connect, ``declare``, disconnect. Raises what the connection or the broker says."""
    connection = await aio_pika.connect(url, timeout=CONNECT_S)
    try:
        channel = connection.channel(publisher_confirms=False)
        await channel.initialize()
        await declare(channel, topology, prefix)
    finally:
        await close_quietly(connection)


async def missing_queues(url: str, topology: Topology, prefix: str = "") -> list[str]:
    """The queues of the topology, dead-letter queues included, that the broker does not have."""
    missing: list[str] = []
    connection = await aio_pika.connect(url, timeout=CONNECT_S)
    try:
        for queue in topology.queues:
            for name in (queue, dead_letter_queue(queue)):
                # The broker closes the channel on which one asks for what is not there.
                channel = connection.channel(publisher_confirms=False)
                await channel.initialize()
                try:
                    await channel.get_queue(prefix + name)
                    await channel.close()
                except ChannelNotFoundEntity:
                    missing.append(name)
    finally:
        await close_quietly(connection)
    return missing
