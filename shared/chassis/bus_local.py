"""The carrier inside one process: publishing returns when every bound consumer has committed.

The contract is that of the broker (tests/chassis/test_bus_contract.py): at least once, no order
between aggregates, a failed delivery comes again. Faults can be rehearsed on purpose, see Faults.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Self

import structlog

from chassis.messaging import (
    COMMANDS,
    Deliver,
    Delivery,
    Parcel,
    PublishFailed,
    Subscription,
    Unroutable,
)
from chassis.topology import Topology

log = structlog.get_logger(__name__)

# As the broker's bus: a handler has 20 s to finish before the process goes.
_STOP_WITHIN_S = 20.0
# How long a parcel may be held back for shuffling when no others come.
_HELD_S_MAX = 0.05
_DELAY_S_MAX = 0.1


@dataclass(frozen=True)
class Faults:
    """What goes wrong on purpose, the same way for the same seed.

    Probabilities are between 0 and 1. ``duplicate``: the consumers get it a second time; ``delay``:
    up to 100 ms late; ``drop_before_commit``: not delivered and reported as failed;
    ``drop_after_commit``: delivered, yet reported as failed (a lost confirmation). ``reorder``
    holds back up to that many parcels and lets them go shuffled.
    """

    duplicate: float = 0.0
    delay: float = 0.0
    drop_before_commit: float = 0.0
    drop_after_commit: float = 0.0
    reorder: int = 0
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``dup:0.2,reorder:16,delay:0.1,drop_before_commit:0.1,seed=1``; empty means none.

        Raises ValueError that names the part it does not understand.
        """
        names = {"dup": "duplicate", "drop": "drop_before_commit"}
        found: dict[str, float | int] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            name, _, value = part.replace("=", ":", 1).partition(":")
            name = names.get(name.strip(), name.strip())
            if name not in cls.__dataclass_fields__:
                raise ValueError(f"unknown fault {part!r}")
            try:
                found[name] = int(value) if name in ("reorder", "seed") else float(value)
            except ValueError:
                raise ValueError(f"fault {part!r} needs a number") from None
            if name not in ("reorder", "seed") and not 0 <= found[name] <= 1:
                raise ValueError(f"fault {part!r} is not a probability")
        return cls(**found)  # type: ignore[arg-type]


class LocalBus:
    """Bus of a single process. ``topology`` is the same complete set the broker would get."""

    def __init__(self, topology: Topology, faults: str = "") -> None:
        self._topology = topology
        self._faults = Faults.parse(faults)
        self._random = random.Random(self._faults.seed)
        self._consumers: dict[str, Deliver] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._held: list[asyncio.Future[None]] = []
        self._release_timer: asyncio.TimerHandle | None = None
        self._ready = False

    async def start(self) -> None:
        """Nothing to connect: ready at once."""
        self._ready = True

    async def subscribe(self, subscription: Subscription, deliver: Deliver) -> None:
        """Deliver what the queue gets; one consumer per queue."""
        if subscription.queue in self._consumers:
            raise ValueError(f"{subscription.queue} has a consumer already")
        self._consumers[subscription.queue] = deliver

    async def hear(self, queue: str) -> None:
        """Nothing to do: what is delivered inside one process costs next to nothing."""

    async def publish(self, parcel: Parcel) -> None:
        """Return when each bound consumer has returned.

        Raises Unroutable for a command without a queue; PublishFailed when one failed (the others
        were tried all the same, sending again repeats all) or when the bus does not run.
        """
        if not self._ready:
            raise PublishFailed("the bus does not run")
        queues = self._topology.queues_for(parcel.exchange, parcel.routing_key)
        if not queues and parcel.exchange == COMMANDS:
            raise Unroutable(f"no queue takes {parcel.routing_key}")
        lost_confirm = await self._misfortune(parcel)
        copies = 2 if self._happens(self._faults.duplicate) else 1
        for copy in range(copies):
            await self._deliver_to(queues, parcel, redelivered=copy > 0)
        if lost_confirm:
            raise PublishFailed(f"{parcel.id}: confirmation lost on purpose")

    async def stop(self) -> None:
        """Take nothing new, let started handlers finish (20 s at most)."""
        self._ready = False
        self._release()
        if self._running:
            _, late = await asyncio.wait(set(self._running), timeout=_STOP_WITHIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @property
    def ready(self) -> bool:
        """Between start and stop."""
        return self._ready

    async def _deliver_to(
        self, queues: tuple[str, ...], parcel: Parcel, *, redelivered: bool
    ) -> None:
        # A task of its own per handler: it neither inherits the sender's context changes nor dies
        # with a sender that is cancelled in the middle of the handler's commit.
        tasks = [asyncio.create_task(self._one(q, parcel, redelivered), name=q) for q in queues]
        self._running.update(tasks)
        for task in tasks:
            task.add_done_callback(self._finished)
        if not tasks:
            return
        await asyncio.wait(tasks)
        failed = {task.get_name(): _failure(task) for task in tasks if _failure(task)}
        if failed:
            raise PublishFailed(f"{parcel.id} failed at {', '.join(sorted(failed))}: {failed}")

    async def _one(self, queue: str, parcel: Parcel, redelivered: bool) -> None:
        deliver = self._consumers.get(queue)
        if deliver is None:
            raise PublishFailed(f"nobody consumes {queue}")
        await deliver(Delivery(queue=queue, body=parcel.body, redelivered=redelivered))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        # Looked at here too, because a cancelled sender no longer does.
        _failure(task)

    # ------------------------------------------------------------------ faults

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability

    async def _misfortune(self, parcel: Parcel) -> bool:
        """Lose, delay or hold back the parcel; True when its confirmation shall get lost."""
        faults = self._faults
        if self._happens(faults.drop_before_commit):
            raise PublishFailed(f"{parcel.id}: lost on purpose")
        lost_confirm = self._happens(faults.drop_after_commit)
        if self._happens(faults.delay):
            await asyncio.sleep(self._random.uniform(0, _DELAY_S_MAX))
        if faults.reorder > 1:
            await self._hold_back()
        return lost_confirm

    async def _hold_back(self) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._held.append(turn)
        if len(self._held) >= self._faults.reorder:
            self._release()
        elif self._release_timer is None:
            self._release_timer = loop.call_later(_HELD_S_MAX, self._release)
        await turn

    def _release(self) -> None:
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        held, self._held = self._held, []
        self._random.shuffle(held)
        for turn in held:
            if not turn.done():
                turn.set_result(None)


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
