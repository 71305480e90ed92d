"""A running service: its doors, its background work, its life."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from starlette.applications import Starlette

from chassis import audit_api, auth, migrations, operating, reconciling
from chassis.audit_chain import IDLE_S, Sealer
from chassis.db import Database
from chassis.door import Router
from chassis.errors import Unavailable
from chassis.gauges import Gauges, Measure
from chassis.http import create_app
from chassis.inbox import Inbox
from chassis.loops import Loop
from chassis.messaging import Bus, Subscription
from chassis.outbox import Relay
from chassis.topology import Topology

log = structlog.get_logger(__name__)


class Service:
    """HTTP app, inboxes, relay, loops, on one database and one bus.

    ``books`` and ``release`` are for ``chassis.reconciling``.
    ``sagas`` are for its operator, ``measure`` adds gauges of its own to every scrape.
    """

    def __init__(
        self,
        name: str,
        *,
        database: Database,
        bus: Bus,
        verifier: auth.Verifier,
        routers: list[Router],
        subscriptions: Iterable[Subscription],
        loops: Iterable[Loop] = (),
        verify_sender: bool = False,
        books: reconciling.Books | None = None,
        release: reconciling.Release | None = None,
        sagas: operating.SagaDesk | None = None,
        measure: Measure | None = None,
    ) -> None:
        self.name = name
        self.database = database
        self._bus = bus
        self._subscriptions = tuple(subscriptions)
        self._loops = list(loops)
        routers = [*routers, audit_api.router]
        if "audit" in database.tables:
            self._loops.append(Loop(f"{name}.audit", Sealer(database).step, idle_s=IDLE_S))
        if books is not None:
            routers.append(reconciling.router)
        self._verify_sender = verify_sender
        self._tasks: list[asyncio.Task[None]] = []
        self.app: Starlette = create_app(
            name,
            database=database,
            verifier=verifier,
            routers=[*routers, operating.router],
            ready=self.ready,
        )
        self.app.state.models = {part.queue: part.models for part in self._subscriptions}
        if books is not None:
            bindings = Topology.of(self._subscriptions).bindings
            self.app.state.reconciling = reconciling.Desk(books, bindings, release)
        self.app.state.sagas = sagas or operating.SagaDesk()
        kinds = tuple(self.app.state.sagas.tables)
        self._gauges = Gauges(name, database, lambda: bus.ready, kinds=kinds, measure=measure)

    async def prepare(self) -> None:
        """Open the database and register the consumers; call before the bus starts."""
        await self.database.open()
        for subscription in self._subscriptions:
            inbox = Inbox(self.name, self.database, subscription, verify_sender=self._verify_sender)
            await self._bus.subscribe(subscription, inbox.deliver)
            self._loops.append(
                Loop(f"{self.name}.parked.{subscription.queue}", inbox.retry_due, idle_s=2.0)
            )

    async def start(self) -> None:
        """Start the background work; this object owns every task."""
        relay = Relay(self.name, self.database, self._bus)
        self._gauges.start()
        self._tasks = [
            asyncio.create_task(work, name=f"{self.name}.{name}")
            for name, work in [("relay", relay.run()), ("wakes", self.database.share_wakes())]
            + [(loop.name, loop.run()) for loop in self._loops]
        ]

    async def stop(self) -> None:
        """Stop the background work, close the database. Safe at any moment: SIGKILL is too."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._gauges.stop()
        await self.database.close()

    async def ready(self) -> dict[str, str]:
        """Own database answers, migrations at head, bus connected (its loss only degrades)."""
        checks = {"bus": "ok" if self._bus.ready else "degraded: not connected, the outbox keeps"}
        try:
            at = await migrations.current(self.database)
            head = migrations.head(self.name)
            checks["database"] = "ok"
            checks["migrations"] = "ok" if at == head else f"at {at}, code needs {head}"
        except Unavailable as error:
            checks["database"] = error.message
        return checks
