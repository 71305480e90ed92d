"""Every queue and binding, derived from the subscriptions of the services."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chassis.messaging import DEAD_LETTERS, Subscription

Binding = tuple[str, str, str]  # queue, exchange, routing key


@dataclass(frozen=True)
class Topology:
    """The complete set: it must exist before the first publish, or events would be lost.

    Bindings ``on_demand`` are made when somebody asks for what they bring; their queues are there.
    """

    bindings: tuple[Binding, ...]
    on_demand: tuple[Binding, ...] = ()

    @classmethod
    def of(cls, subscriptions: Iterable[Subscription]) -> Topology:
        """All (queue, exchange, routing key) triples, sorted."""
        all_ = list(subscriptions)

        def bindings(on_demand: bool) -> tuple[Binding, ...]:
            return tuple(
                sorted(
                    (subscription.queue, exchange, key)
                    for subscription in all_
                    if subscription.on_demand is on_demand
                    for exchange, key in subscription.bindings
                )
            )

        return cls(bindings(False), bindings(True))

    @property
    def queues(self) -> tuple[str, ...]:
        """Queue names, without their dead-letter queues."""
        return tuple(sorted({queue for queue, _, _ in (*self.bindings, *self.on_demand)}))

    def queues_for(self, exchange: str, routing_key: str) -> tuple[str, ...]:
        """Where a parcel goes when everything is asked for."""
        return tuple(
            queue
            for queue, bound, key in (*self.bindings, *self.on_demand)
            if bound == exchange and key == routing_key
        )


def queue_arguments(queue: str) -> dict[str, str | int]:
    """Arguments fixed at declaration: safety must not depend on a policy somebody sets.

    Quorum, also on one node; dead letters kept at least once; a full queue refuses the publisher,
    so the outbox keeps the row. The delivery limit is only the last net: retries live in the inbox.
    """
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": DEAD_LETTERS,
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": 50,
    }


def dead_letter_queue(queue: str) -> str:
    """Where the broker puts what it gave up; drained into the service's database."""
    return f"{queue}.dlq"


def dead_letter_arguments() -> dict[str, str | int]:
    """The last stop has no limit of its own: nothing may fall out behind it.

    A limit nobody reaches instead of none, because brokers from 4.0 on would set 20.
    """
    return {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
