"""The broker's definitions: from subscriptions to a file, and a real broker that keeps to it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, DeliveryError
from typer.testing import CliRunner

from chassis import engines
from chassis.bus_rabbit import RabbitBus, declare_topology
from chassis.messaging import COMMANDS, EVENTS, Delivery, Parcel, Subscription
from chassis.testing import eventually
from chassis.topology import Topology
from contracts import catalogue
from deploy import cli
from deploy.rabbitmq_definitions import DEPLOYER, definitions, password_hash

LISTEN = Path(__file__).resolve().parents[2] / "deploy/examples/listen.py"
SERVICES = ("orders", "claims", "returns", "inventory")
PASSWORDS = {name: f"{name}-password" for name in (*SERVICES, "gateway", "outside", DEPLOYER)}


async def _never(*_: Any) -> None:
    raise AssertionError("only the keys of a subscription matter here")


def _subscriptions() -> list[Subscription]:
    """What the catalogue says that every queue takes."""
    queues: dict[str, dict[Any, Any]] = {}
    for entry in catalogue.entries():
        for queue in entry.queues:
            queues.setdefault(queue, {})[entry.model] = _never
    for entry in catalogue.public_events():
        queues.setdefault("gateway.notify.v1", {})[entry.model] = _never
    return [
        Subscription(queue, handlers, on_demand=queue == "gateway.notify.v1")
        for queue, handlers in queues.items()
    ]


MADE = definitions(_subscriptions(), passwords=PASSWORDS)


def _rows(kind: str, **where: str) -> list[dict[str, Any]]:
    return [row for row in MADE[kind] if all(row[key] == value for key, value in where.items())]


def test_the_same_input_gives_the_same_file() -> None:
    again = definitions(reversed(_subscriptions()), passwords=PASSWORDS)
    assert json.dumps(again) == json.dumps(MADE)


def test_a_service_writes_to_two_exchanges_reads_its_queues_and_declares_nothing() -> None:
    for name in SERVICES:
        assert _rows("permissions", user=name) == [
            {
                "user": name,
                "vhost": "/",
                "configure": "^$",
                "write": r"^reclamo\.(commands|events)\.v1$",
                "read": rf"^{name}\..*",
            }
        ]


def test_who_only_listens_reads_its_own_queue_and_says_nothing() -> None:
    [row] = _rows("permissions", user="outside")
    assert (row["configure"], row["write"], row["read"]) == ("^$", "^$", r"^outside\..*")
    for row in _rows("topic_permissions", user="outside"):
        assert (row["write"], row["read"]) == ("^$", "^$")


def test_the_gateway_binds_its_own_queue_to_events_that_have_a_name_and_says_nothing() -> None:
    [row] = _rows("permissions", user="gateway")
    assert row["configure"] == "^$"
    assert row["write"] == r"^gateway\.notify\.v1$"
    assert row["read"] == r"^gateway\..*|^reclamo\.events\.v1$"
    assert _rows("bindings", destination="gateway.notify.v1") == []
    [commands] = _rows("topic_permissions", user="gateway", exchange=COMMANDS)
    [events] = _rows("topic_permissions", user="gateway", exchange=EVENTS)
    assert (commands["write"], commands["read"], events["write"]) == ("^$", "^$", "^$")
    public = {entry.key for entry in catalogue.public_events()}
    said = {entry.key for entry in catalogue.entries()}
    assert {key for key in said if re.search(events["read"], key)} == public


def test_a_listener_outside_gets_every_event_that_has_a_name_and_no_answer_of_a_service() -> None:
    keys = {row["routing_key"] for row in _rows("bindings", destination="outside.events.v1")}
    assert keys == {entry.key for entry in catalogue.public_events()}
    assert "claims.claim.created.v1" in keys
    assert "orders.claim-hold.placed.v1" not in keys


def test_a_listener_outside_that_does_not_read_keeps_nobody_from_sending() -> None:
    [queue] = _rows("queues", name="outside.events.v1")
    assert queue["arguments"]["x-overflow"] == "drop-head"
    assert queue["arguments"]["x-max-length-bytes"] == 64 * 1024 * 1024


def test_without_a_password_there_is_nobody_outside() -> None:
    inside = {user: word for user, word in PASSWORDS.items() if user != "outside"}
    assert "outside" not in json.dumps(definitions(_subscriptions(), passwords=inside))


@pytest.mark.parametrize(
    ("service", "exchange", "write"),
    [
        ("claims", COMMANDS, r"^(inventory|orders|returns)\."),
        ("returns", COMMANDS, r"^(inventory|orders)\."),
        ("orders", COMMANDS, r"^(inventory)\."),
        ("inventory", COMMANDS, "^$"),
        ("claims", EVENTS, r"^claims\."),
        ("orders", EVENTS, r"^orders\."),
    ],
)
def test_a_service_says_only_what_the_catalogue_lets_it_say(
    service: str, exchange: str, write: str
) -> None:
    [row] = _rows("topic_permissions", user=service, exchange=exchange)
    assert row["write"] == write


def test_every_queue_has_its_dead_letter_queue_and_every_binding_a_queue() -> None:
    # What is outside looks after itself.
    queues = {row["name"] for row in MADE["queues"]} - {"outside.events.v1"}
    live = {name for name in queues if not name.endswith(".dlq")}
    assert queues == live | {f"{name}.dlq" for name in live}
    bound = {row["destination"] for row in MADE["bindings"]} - {"outside.events.v1"}
    assert bound | {"gateway.notify.v1"} == queues
    assert all(row["arguments"]["x-queue-type"] == "quorum" for row in MADE["queues"])


def test_a_password_is_hashed_as_rabbitmq_expects_and_is_nowhere_in_clear() -> None:
    raw = base64.b64decode(password_hash("orders", "s3cret"))
    assert raw[4:] == hashlib.sha256(raw[:4] + b"s3cret").digest()
    assert password_hash("claims", "s3cret") != password_hash("orders", "s3cret")
    assert not [secret for secret in PASSWORDS.values() if secret in json.dumps(MADE)]


def test_the_command_writes_what_the_services_subscribe_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user, password in PASSWORDS.items():
        name = "RABBITMQ" if user == DEPLOYER else user.upper()
        monkeypatch.setenv(f"RECLAMO_{name}_PASSWORD", password)
    file = tmp_path / "definitions.json"
    run = CliRunner().invoke(cli.app, ["topology", "definitions", "--output", str(file)])
    assert run.exit_code == 0, run.output
    assert json.loads(file.read_text()) == MADE


def test_a_missing_password_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECLAMO_CLAIMS_PASSWORD", raising=False)
    run = CliRunner().invoke(cli.app, ["topology", "definitions"])
    assert run.exit_code == 2


# --- a real broker ------------------------------------------------------------------------------


class _Broker(engines.RabbitServer):
    """A private broker that loads a definitions file when it boots."""

    def _prepare(self) -> None:
        super()._prepare()
        file = self.data_dir / "definitions.json"
        file.write_text(json.dumps(MADE))
        with (self.data_dir / "rabbitmq.conf").open("a") as configuration:
            configuration.write(f"load_definitions = {file}\n")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host and port of a broker that runs by these definitions."""
    try:
        engines.rabbitmq_binary()
    except engines.EngineMissing as missing:
        pytest.skip(f"needs a broker of its own: {missing}")
    folder: Path = tmp_path_factory.mktemp("broker")
    with _Broker(folder) as url:
        yield url.rpartition("@")[2].rstrip("/")


Channels = Any


@pytest.fixture
async def channel_of(broker: str) -> AsyncIterator[Channels]:
    """``channel = await channel_of("claims")``: a channel of that broker user."""
    connections = []

    async def open_channel(user: str) -> aio_pika.abc.AbstractChannel:
        connection = await aio_pika.connect(f"amqp://{user}:{PASSWORDS[user]}@{broker}/")
        connections.append(connection)
        return await connection.channel(on_return_raises=True)

    yield open_channel
    for connection in connections:
        await connection.close()


def _message(user: str) -> aio_pika.Message:
    return aio_pika.Message(b"{}", user_id=user, delivery_mode=2)


async def test_a_command_reaches_its_receiver_with_its_sender_proven(channel_of: Channels) -> None:
    claims, orders = await channel_of("claims"), await channel_of("orders")
    exchange = await claims.get_exchange(COMMANDS, ensure=False)
    await exchange.publish(_message("claims"), "orders.claim-hold.place")
    queue = await orders.get_queue("orders.commands.v1", ensure=False)
    got = await queue.get(timeout=5)
    await got.ack()
    assert (got.user_id, got.routing_key) == ("claims", "orders.claim-hold.place")


async def test_our_own_bus_lives_with_these_rights(broker: str) -> None:
    """Only looking at what is there, a service becomes ready, sends and receives."""
    topology = Topology.of(_subscriptions())
    got: asyncio.Queue[Delivery] = asyncio.Queue()
    buses = {
        user: RabbitBus(f"amqp://{user}:{PASSWORDS[user]}@{broker}/", topology, user, declare=False)
        for user in ("claims", "returns")
    }
    subscription = next(s for s in _subscriptions() if s.queue == "returns.commands.v1")
    await buses["returns"].subscribe(subscription, got.put)
    for bus in buses.values():
        await bus.start()
    try:
        await eventually(lambda: all(bus.ready for bus in buses.values()), within_s=20)
        await buses["claims"].publish(
            Parcel("m1", COMMANDS, "returns.claim-return.check", "claim/claim_1", b"{}")
        )
        delivery = await asyncio.wait_for(got.get(), 10)
        assert (delivery.body, delivery.user_id) == (b"{}", "claims")
    finally:
        for bus in buses.values():
            await bus.stop()


async def test_a_program_outside_hears_what_a_service_says(
    broker: str, channel_of: Channels
) -> None:
    """The example that the documentation shows, as it is, as a process of its own."""
    url = f"amqp://outside:{PASSWORDS['outside']}@{broker}/"
    listener = await asyncio.create_subprocess_exec(
        sys.executable, str(LISTEN), url, stdout=asyncio.subprocess.PIPE
    )
    try:
        claims = await channel_of("claims")
        exchange = await claims.get_exchange(EVENTS, ensure=False)
        data = {"name": "claim.created", "id": "claim_1"}
        event = {"id": "e1", "subject": "claim/claim_1", "sequence": "1", "data": data}
        for _ in range(2):
            message = aio_pika.Message(json.dumps(event).encode(), user_id="claims")
            await exchange.publish(message, "claims.claim.created.v1")
        event |= {"id": "e2", "data": {**data, "name": "claim.confirmed"}, "sequence": "2"}
        message = aio_pika.Message(json.dumps(event).encode(), user_id="claims")
        await exchange.publish(message, "claims.claim.confirmed.v1")
        assert listener.stdout is not None
        async with asyncio.timeout(20):
            heard = [(await listener.stdout.readline()).decode().split() for _ in range(2)]
        assert heard == [
            ["claim.created", "claim/claim_1", "1"],
            ["claim.confirmed", "claim/claim_1", "2"],
        ]
    finally:
        listener.kill()
        await listener.wait()


async def test_the_gateway_lives_with_its_rights_and_hears(
    broker: str, channel_of: Channels
) -> None:
    topology = Topology.of(s for s in _subscriptions() if s.queue == "gateway.notify.v1")
    got: asyncio.Queue[Delivery] = asyncio.Queue()
    url = f"amqp://gateway:{PASSWORDS['gateway']}@{broker}/"
    bus = RabbitBus(url, topology, "gateway", declare=False)
    await bus.subscribe(Subscription("gateway.notify.v1"), got.put)
    await bus.start()
    try:
        await eventually(lambda: bus.ready, within_s=20)
        await bus.hear("gateway.notify.v1")
        claims = await channel_of("claims")
        exchange = await claims.get_exchange(EVENTS, ensure=False)
        await exchange.publish(_message("claims"), "claims.claim.canceled.v1")
        delivery = await asyncio.wait_for(got.get(), 10)
        while delivery.body != b"{}":  # what an earlier test said lies here too
            delivery = await asyncio.wait_for(got.get(), 10)
        assert delivery.user_id == "claims"
    finally:
        await bus.stop()


async def test_declaring_it_again_finds_everything_as_it_is(broker: str) -> None:
    """The file and `reclamo topology apply` agree about every argument, else 406."""
    url = f"amqp://{DEPLOYER}:{PASSWORDS[DEPLOYER]}@{broker}/"
    await declare_topology(url, Topology.of(_subscriptions()))


_REFUSED = (AMQPError, ChannelInvalidStateError, DeliveryError)


class TestTheBrokerRefuses:
    """What a service may not do, however it tries."""

    @pytest.mark.parametrize(
        ("user", "exchange", "key"),
        [
            ("claims", EVENTS, "orders.claim-refund.succeeded.v1"),
            ("inventory", COMMANDS, "orders.claim-refund.execute"),
            ("returns", COMMANDS, "returns.claim-return.open"),
            ("claims", "", "orders.commands.v1"),
            ("outside", EVENTS, "claims.claim.created.v1"),
            ("outside", "", "outside.events.v1"),
            ("gateway", EVENTS, "claims.claim.created.v1"),
        ],
        ids=[
            *("a forged reply", "a command", "a command to itself", "the default exchange"),
            *("anything from outside", "anything into its own queue", "anything of the gateway"),
        ],
    )
    async def test_a_publication_that_is_not_the_services_to_make(
        self, channel_of: Channels, user: str, exchange: str, key: str
    ) -> None:
        channel = await channel_of(user)
        target = (
            await channel.get_exchange(exchange, ensure=False)
            if exchange
            else channel.default_exchange
        )
        with pytest.raises(_REFUSED, match="ACCESS_REFUSED"):
            await target.publish(_message(user), key, timeout=5)

    async def test_a_forged_sender(self, channel_of: Channels) -> None:
        channel = await channel_of("claims")
        exchange = await channel.get_exchange(COMMANDS, ensure=False)
        with pytest.raises(_REFUSED, match="PRECONDITION_FAILED"):
            await exchange.publish(_message("returns"), "orders.claim-hold.place", timeout=5)

    @pytest.mark.parametrize("user", ["claims", "gateway", "outside"])
    async def test_reading_a_foreign_queue(self, channel_of: Channels, user: str) -> None:
        channel = await channel_of(user)
        queue = await channel.get_queue("orders.commands.v1", ensure=False)
        with pytest.raises(_REFUSED, match="ACCESS_REFUSED"):
            await queue.get(timeout=5)

    async def test_declaring_and_binding(self, channel_of: Channels) -> None:
        channel = await channel_of("claims")
        with pytest.raises(_REFUSED, match="ACCESS_REFUSED"):
            await channel.declare_queue("claims.extra.v1", durable=True)
        channel = await channel_of("claims")
        queue = await channel.get_queue("claims.saga.v1", ensure=False)
        with pytest.raises(_REFUSED, match="ACCESS_REFUSED"):
            await queue.bind(EVENTS, "#")

    async def test_the_guest(self, broker: str) -> None:
        with pytest.raises(AMQPError):
            await aio_pika.connect(f"amqp://guest:guest@{broker}/", timeout=5)


async def test_the_gateway_may_not_hear_what_services_answer_each_other(
    channel_of: Channels,
) -> None:
    gateway = await channel_of("gateway")
    queue = await gateway.get_queue("gateway.notify.v1", ensure=False)
    with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
        await queue.bind(EVENTS, "orders.claim-hold.placed.v1")


async def test_the_gateway_may_not_hear_commands(channel_of: Channels) -> None:
    gateway = await channel_of("gateway")
    queue = await gateway.get_queue("gateway.notify.v1", ensure=False)
    with pytest.raises(aio_pika.exceptions.ChannelClosed, match="ACCESS_REFUSED"):
        await queue.bind(COMMANDS, "orders.claim-hold.place")
