"""The message door of the gateway: every event that the outside may hear."""

from __future__ import annotations

import asyncio

from chassis import clock
from chassis.db import Database, Tx
from chassis.errors import Unavailable
from chassis.inbox import Inbox
from chassis.messaging import Bus, Deliver, Delivery, Envelope, Subscription
from contracts import catalogue
from gateway import store, webhooks


async def on_event(tx: Tx, envelope: Envelope) -> None:
    """Notes it for the webhooks that want it."""
    await webhooks.take(tx, envelope, now=clock.now())


LOOK_AGAIN_S = 2.0

SUBSCRIPTIONS = (
    Subscription(
        queue="gateway.notify.v1",
        handlers={entry.model: on_event for entry in catalogue.public_events()},
        envelopes=True,
        # Of what a claim says, most is heard by nobody else.
        on_demand=True,
    ),
)


async def listen(bus: Bus) -> None:
    """Let the bus deliver events, from now on. Raises Unavailable."""
    for subscription in SUBSCRIPTIONS:
        await bus.hear(subscription.queue)


async def listen_again(database: Database, bus: Bus) -> None:
    """Of a process that starts: if there is any webhook, as soon as database and broker are there.

    The broker keeps what it was asked for; this is for one that lost everything.
    """
    while True:
        try:
            async with database.reading() as tx:
                wanted = await store.webhooks(tx)
            if wanted:
                await listen(bus)
            return
        except Unavailable:
            await asyncio.sleep(LOOK_AGAIN_S)


class Listening:
    """Whether any webhook is enabled, looked up at most every second: another gateway may have
    added one. What this one adds or enables counts at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found = False
        self._look_at_s = 0.0
        self._changed = False
        self._looking = asyncio.Lock()
        database.listen(webhooks.WAKE, self._look_again)

    def _look_again(self) -> None:
        self._changed = True
        self._look_at_s = 0.0

    async def somebody(self) -> bool:
        """The answer of the last second, or of a look that is shared. Raises Unavailable."""
        if clock.monotonic_s() >= self._look_at_s:
            # Whoever comes during a look waits for its answer: the one before is no answer.
            async with self._looking:
                if clock.monotonic_s() >= self._look_at_s:
                    await self._look()
        return self._found

    async def _look(self) -> None:
        self._changed = False
        async with self._database.glance() as tx:
            self._found = await store.somebody_listens(tx)
        if not self._changed:
            self._look_at_s = clock.monotonic_s() + webhooks.HEARS_WITHIN_S


def door(database: Database, inbox: Inbox) -> Deliver:
    """Where the bus delivers. While nobody listens an event is nothing: it is not written down,
    for that would be a transaction for every event of every claim."""
    listening = Listening(database)

    async def deliver(delivery: Delivery) -> None:
        if await listening.somebody():
            await inbox.deliver(delivery)

    return deliver
