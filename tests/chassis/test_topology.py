"""The topology: complete, derived from subscriptions, and safe by its arguments alone."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

from chassis.messaging import COMMANDS, DEAD_LETTERS, EVENTS, Subscription
from chassis.topology import Topology, dead_letter_arguments, dead_letter_queue, queue_arguments
from tests.chassis.conftest import GUIDE, PRESS, WALLS, Paint, Painted


class Scraped(BaseModel):
    """Another event."""

    key: ClassVar[str] = "walls.wall.scraped.v2"


async def _handle(*_: object) -> None:
    raise AssertionError("not called")


class TestBindings:
    def test_a_command_goes_through_the_command_exchange_and_an_event_through_the_other(
        self,
    ) -> None:
        both = Subscription("both.v1", {Paint: _handle, Painted: _handle})
        assert Topology.of([both]).bindings == (
            ("both.v1", COMMANDS, "walls.wall.paint"),
            ("both.v1", EVENTS, "walls.wall.painted.v1"),
        )

    def test_an_event_goes_to_every_queue_that_handles_it_and_to_no_other(self) -> None:
        topology = Topology.of([WALLS, GUIDE, PRESS])
        assert topology.queues_for(EVENTS, Painted.key) == (GUIDE.queue, PRESS.queue)
        assert topology.queues_for(COMMANDS, Paint.key) == (WALLS.queue,)

    def test_a_key_on_the_wrong_exchange_or_of_another_version_reaches_nothing(self) -> None:
        topology = Topology.of([Subscription("q.v1", {Scraped: _handle})])
        assert topology.queues_for(EVENTS, "walls.wall.scraped.v2") == ("q.v1",)
        assert topology.queues_for(EVENTS, "walls.wall.scraped.v1") == ()
        assert topology.queues_for(COMMANDS, "walls.wall.scraped.v2") == ()

    def test_the_order_of_subscriptions_does_not_matter(self) -> None:
        assert Topology.of([WALLS, GUIDE, PRESS]) == Topology.of([PRESS, WALLS, GUIDE])

    def test_a_queue_is_named_once_however_many_bindings_it_has(self) -> None:
        both = Subscription("both.v1", {Paint: _handle, Painted: _handle})
        assert Topology.of([both, WALLS]).queues == ("both.v1", WALLS.queue)


class TestArguments:
    def test_a_queue_keeps_its_messages_without_any_policy(self) -> None:
        assert queue_arguments("walls.commands.v1") == {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": DEAD_LETTERS,
            "x-dead-letter-routing-key": "walls.commands.v1",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": 50,
        }

    def test_the_last_stop_leads_nowhere_and_gives_up_nothing(self) -> None:
        arguments = dead_letter_arguments()
        assert "x-dead-letter-exchange" not in arguments
        # Brokers from 4.0 on set a limit of 20 where none is given, and drop what exceeds it.
        assert int(arguments["x-delivery-limit"]) > 1_000_000
        assert dead_letter_queue("walls.commands.v1") == "walls.commands.v1.dlq"
