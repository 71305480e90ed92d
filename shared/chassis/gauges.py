"""How a service is right now, as Prometheus gauges that are read when somebody scrapes.

A scrape never waits long and never fails: what cannot be read within a second is left out, and
``reclamo_database_up`` says so. All services of a process share one registry, hence the label.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Set
from datetime import datetime

import structlog
from prometheus_client import Gauge, generate_latest

from chassis import clock, unsent
from chassis.db import Database, Tx
from chassis.errors import Unavailable

log = structlog.get_logger(__name__)

FRESH_S = 3.0
WAIT_S = 1.0
Measure = Callable[[Tx], Awaitable[dict[Gauge, float]]]
Series = tuple[Gauge, tuple[str, ...]]  # a gauge and the values of its labels

DATABASE_UP = Gauge("reclamo_database_up", "Whether the last look was answered", ("service",))
BUS_READY = Gauge("reclamo_bus_ready", "Connected, queues seen, consuming", ("service",))
UNSENT = Gauge("reclamo_outbox_unsent", "Messages that wait to be sent", ("service",))
UNSENT_AGE = Gauge("reclamo_outbox_oldest_seconds", "Age of the oldest of them", ("service",))
BLOCKED = Gauge("reclamo_outbox_blocked", "Messages that reach no queue, given up", ("service",))
PARKED = Gauge("reclamo_inbox_parked", "Messages that are tried again later", ("service",))
DEAD = Gauge("reclamo_inbox_dead", "Messages that wait for an operator", ("service",))
SAGAS = Gauge("reclamo_sagas_under_way", "Sagas that are not over", ("service", "kind"))
SAGA_AGE = Gauge("reclamo_saga_oldest_seconds", "Age of the oldest of them", ("service", "kind"))

_live: set[Gauges] = set()


async def scraped() -> bytes:
    """All metrics of this process, with the gauges of its running services as of now."""
    looks = [asyncio.ensure_future(each.refresh()) for each in _live]
    if looks:
        # Not cut off but left behind: a look that takes longer is for the next scrape.
        await asyncio.wait(looks, timeout=WAIT_S)
    return generate_latest()


class Gauges:
    """The gauges of one running service; ``measure`` adds its own, ``kinds`` are its sagas."""

    def __init__(
        self,
        service: str,
        database: Database,
        bus_ready: Callable[[], bool],
        *,
        kinds: tuple[str, ...] = (),
        measure: Measure | None = None,
    ) -> None:
        self._service = service
        self._database = database
        self._bus_ready = bus_ready
        self._kinds = kinds
        self._measure = measure
        self._shown: set[Series] = set()
        self._look: asyncio.Task[None] | None = None
        self._looked_at_s: float | None = None

    def start(self) -> None:
        """Be part of every scrape of this process."""
        _live.add(self)

    async def stop(self) -> None:
        """Be part of no scrape."""
        _live.discard(self)
        if self._look is not None:
            await asyncio.wait([self._look])
        self._forget()

    async def refresh(self) -> None:
        """Look, unless somebody does or just did. Raises nothing."""
        BUS_READY.labels(self._service).set(self._bus_ready())
        if self._look is None or self._look.done():
            last = self._looked_at_s
            if last is not None and clock.monotonic_s() - last < FRESH_S:
                return
            self._look = asyncio.create_task(self._read())
        await asyncio.wait([self._look])

    async def _read(self) -> None:
        up = True
        found: dict[Series, float] = {}
        try:
            async with self._database.reading() as tx:
                found = await self._values(tx)
        except Exception as error:
            up = False
            level = log.warning if isinstance(error, Unavailable) else log.exception
            level("gauges_not_read", service=self._service, error=str(error))
        self._forget(set(found))
        for (gauge, labels), value in found.items():
            gauge.labels(*labels).set(value)
        self._shown = set(found)
        DATABASE_UP.labels(self._service).set(up)
        self._looked_at_s = clock.monotonic_s()

    def _forget(self, known: Set[Series] = frozenset()) -> None:
        """A number that is not known now is no number: take away what was shown before."""
        for gauge, labels in self._shown - known:
            gauge.remove(*labels)
        self._shown &= known

    async def _values(self, tx: Tx) -> dict[Series, float]:
        one = (self._service,)
        now = clock.now()
        found: dict[Series, float] = {(PARKED, one): 0.0, (DEAD, one): 0.0}
        if "outbox" in tx.database.tables:
            lag = await unsent.lag(tx, now=now)
            found |= {
                (UNSENT, one): float(lag["unsent"]),
                (UNSENT_AGE, one): lag["oldest_age_s"],
                (BLOCKED, one): float(lag["blocked"]),
            }
        for row in await tx.fetch(
            "SELECT state, COUNT(*) AS many FROM inbox WHERE state <> 'done' GROUP BY state"
        ):
            found[(PARKED if row["state"] == "parked" else DEAD, one)] = float(row["many"])
        if self._kinds:
            begun: dict[str, list[datetime]] = {kind: [] for kind in self._kinds}
            # Counted here: grouped by kind the database would rather read the index over kinds.
            for row in await tx.fetch(
                "SELECT kind, created_at FROM sagas WHERE next_at IS NOT NULL"
            ):
                begun.setdefault(row["kind"], []).append(row["created_at"])
            for kind, times in begun.items():
                age = now - min(times, default=now)
                found[(SAGAS, (*one, kind))] = float(len(times))
                found[(SAGA_AGE, (*one, kind))] = max(age.total_seconds(), 0.0)
        for gauge, value in (await self._measure(tx) if self._measure else {}).items():
            found[(gauge, one)] = float(value)
        return found
