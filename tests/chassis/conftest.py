"""What the bus tests share: a tiny language, a recorder, and a broker that may be hurt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import pytest
from pydantic import BaseModel

from chassis import engines
from chassis.bus_local import LocalBus
from chassis.bus_rabbit import RabbitBus
from chassis.engines import RabbitServer
from chassis.messaging import (
    COMMANDS,
    EVENTS,
    Bus,
    Deliver,
    Delivery,
    Parcel,
    PublishFailed,
    Subscription,
)
from chassis.testing import eventually, remove_topology
from chassis.topology import Topology
from chassis.values import uuid7


class Paint(BaseModel):
    """A command."""

    key: ClassVar[str] = "walls.wall.paint"


class Painted(BaseModel):
    """An event."""

    key: ClassVar[str] = "walls.wall.painted.v1"


class Cleaned(BaseModel):
    """An event that somebody may want to hear."""

    key: ClassVar[str] = "walls.wall.cleaned.v1"


async def _never(*_: object) -> None:
    raise AssertionError("a bus calls deliver, not the handler")


WALLS = Subscription("walls.commands.v1", {Paint: _never})
GUIDE = Subscription("guide.events.v1", {Painted: _never})
PRESS = Subscription("press.events.v1", {Painted: _never})
CHRONICLE = Subscription("chronicle.events.v1", {Cleaned: _never}, on_demand=True)
TOPOLOGY = Topology.of([WALLS, GUIDE, PRESS, CHRONICLE])


def a_command(body: bytes = b"{}", *, key: str = "wall/1", routing_key: str = Paint.key) -> Parcel:
    return Parcel(uuid7(), COMMANDS, routing_key, key, body, source="tests")


def an_event(body: bytes = b"{}", *, key: str = "wall/1", routing_key: str = Painted.key) -> Parcel:
    return Parcel(uuid7(), EVENTS, routing_key, key, body, source="tests")


@dataclass
class Recorder:
    """A consumer that remembers what it handled; ``failures`` deliveries go wrong first."""

    failures: int = 0
    pause_s: float = 0.0
    started: list[Delivery] = field(default_factory=list)
    handled: list[Delivery] = field(default_factory=list)

    async def __call__(self, delivery: Delivery) -> None:
        self.started.append(delivery)
        await asyncio.sleep(self.pause_s)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the database is away")
        self.handled.append(delivery)

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.handled]


async def send(bus: Bus, parcel: Parcel) -> None:
    """As the relay does: again, until the bus says that the parcel is safe."""

    async def confirmed() -> bool:
        try:
            await bus.publish(parcel)
        except PublishFailed:
            return False
        return True

    await eventually(confirmed, 30, every_s=0.05)


MakeBus = Callable[..., Awaitable[Bus]]


@pytest.fixture
async def rabbit_bus(amqp_url: str) -> AsyncIterator[MakeBus]:
    """``await rabbit_bus({WALLS: recorder})``: a running bus; all of a test share one prefix."""
    prefix = f"t{uuid7()[-12:]}."
    made: list[RabbitBus] = []

    async def make(consumers: dict[str, Deliver] | None = None, **options: object) -> RabbitBus:
        bus = RabbitBus(amqp_url, TOPOLOGY, "tests", prefix=prefix, **options)  # type: ignore[arg-type]
        made.append(bus)
        return await _started(bus, consumers)

    make.prefix = prefix  # type: ignore[attr-defined]
    yield make
    for bus in made:
        await bus.stop()
    await remove_topology(amqp_url, TOPOLOGY, prefix)


@pytest.fixture
async def local_bus() -> AsyncIterator[MakeBus]:
    """``await local_bus({WALLS: recorder})``: a running bus in this process."""
    made: list[LocalBus] = []

    async def make(consumers: dict[str, Deliver] | None = None, faults: str = "") -> LocalBus:
        bus = LocalBus(TOPOLOGY, faults)
        made.append(bus)
        return await _started(bus, consumers)

    yield make
    for bus in made:
        await bus.stop()


B = TypeVar("B", bound=Bus)


async def _started(bus: B, consumers: dict[str, Deliver] | None) -> B:
    by_queue = {
        subscription.queue: subscription for subscription in (WALLS, GUIDE, PRESS, CHRONICLE)
    }
    for queue, deliver in (consumers or {}).items():
        await bus.subscribe(by_queue[queue], deliver)
    await bus.start()
    await eventually(lambda: bus.ready, 30)
    return bus


@pytest.fixture(params=["memory", "amqp"])
def make_bus(request: pytest.FixtureRequest) -> MakeBus:
    """The test runs once on each carrier."""
    made: MakeBus = request.getfixturevalue(
        "local_bus" if request.param == "memory" else "rabbit_bus"
    )
    return made


@pytest.fixture(scope="session")
def own_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitServer]:
    """A RabbitMQ that a test may stop, kill and block; it has to leave it running."""
    try:
        engines.rabbitmq_binary()
    except engines.EngineMissing as missing:
        # A broker given by its URL is enough for a run that requires engines, not for this test.
        request.getfixturevalue("amqp_url")
        pytest.skip(f"no real engine: rabbitmq of its own: {missing}")
    server = RabbitServer(tmp_path_factory.mktemp("broker"))
    server.start()
    yield server
    server.kill()
