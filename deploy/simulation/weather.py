"""What goes wrong, when, and how often: drawn from the seed, and over at some time.

Accidents happen at failpoints (any of them, by name as the code passes it) and by the clock: the
process is killed or restarted, its clock is set, the payment provider is away, the disk is slow,
old messages are sent once more. The bus repeats, loses, delays and reorders all the time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from math import sqrt

from chassis import failpoints, outbox
from chassis.db import Transient
from chassis.errors import Unavailable
from chassis.failpoints import Broken
from deploy.simulation.loop import THREAD_S_MAX
from deploy.simulation.world import Gone, Process, World
from services.orders.settings import Settings as OrdersSettings

AT_POINTS_MAX = 16
CHANCE_AT_POINT = 0.07
CHANCE_OF_LEAP = 0.15
LEAP_S = 1000
TIMED = (3, 6)
LASTS_S = 14.0
_PAUSES_S = ((0.6, 0.05, 1.0), (0.85, 1.0, 4.0), (0.96, 4.0, 13.0), (1.0, 31.0, 40.0))


def bus_faults(world: World) -> str:
    """The faults of the in-process bus in this world."""
    chance = world.chance("bus")
    parts = [f"seed={chance.randrange(10**6)}"]
    for name, most in (
        ("dup", 0.5),
        ("delay", 0.5),
        ("drop_before_commit", 0.1),
        ("drop_after_commit", 0.2),
    ):
        if chance.random() < 0.6:
            parts.append(f"{name}:{chance.uniform(0, most):.3f}")
    if chance.random() < 0.4:
        parts.append(f"reorder:{chance.randint(2, 16)}")
    return ",".join(parts)


class Weather:
    """The accidents of one world."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self._chance = world.chance("weather")
        self._left = self._chance.randint(6, AT_POINTS_MAX)
        self._seen: Counter[str] = Counter()
        self._kill_in = 0
        self._again: Counter[str] = Counter()
        self.calm = False
        self.struck: Counter[str] = Counter()
        self.clock_was_set_back = False

    @contextmanager
    def over(self) -> Iterator[None]:
        """Every failpoint is watched while this lasts."""
        failpoints.watch(self._passed)
        try:
            yield
        finally:
            failpoints.watch(None)

    def _strike(self, kind: str, *details: object) -> None:
        self.struck[kind] += 1
        self._world.say("FAULT", kind, *details)

    # ------------------------------------------------------------------ at failpoints

    async def _passed(self, name: str) -> None:
        self._world.say("passes", name)
        self._seen[name] += 1
        if self.calm:
            return
        if self._kill_in:
            self._kill_in -= 1
            if not self._kill_in:
                await self._kill(name)
        if self._again[name]:
            self._again[name] -= 1
            self._trouble(name)
        if not self._left or self._chance.random() > CHANCE_AT_POINT / sqrt(self._seen[name]):
            return
        self._left -= 1
        kind = self._chance.random()
        if kind < 0.25:
            await self._kill(name)
        elif kind < 0.35:
            draw = self._chance.random()
            _, least, most = next(each for each in _PAUSES_S if draw < each[0])
            self._strike("slow", name)
            await asyncio.sleep(self._chance.uniform(least, most))
        else:
            if self._chance.random() < 0.3:
                self._again[name] = self._chance.randint(1, 5)
            self._trouble(name)

    async def _kill(self, name: str) -> None:
        self._strike("crash", name)
        if not self._kill_in and self._chance.random() < 0.2:
            self._kill_in = self._chance.randint(1, 20)
        self._process.kill()
        await asyncio.get_running_loop().create_future()

    def _trouble(self, name: str) -> None:
        """Doors and handlers meet trouble that passes: a message that meets a defect on its fourth
        try, whatever the others were, is rightly given up. Background work meets defects."""
        self._strike("trouble", name)
        if self._chance.random() < CHANCE_OF_LEAP:
            after_s = self._chance.uniform(0, 1)
            self._world.loop.call_later(after_s, self._leap, context=Context())
        if ".accept." in name or ".answer." in name:
            raise Unavailable("trouble on purpose")
        if ".k" in name:
            raise Transient("trouble on purpose")
        raise Broken(name)

    def _leap(self) -> None:
        """Past every deadline, while something is not done: an undo may come before its do."""
        self._strike("clock", LEAP_S)
        self._world.clock_is_ahead_s += LEAP_S

    # ------------------------------------------------------------------ by the clock

    async def blow(self) -> None:
        """All that does not wait for a failpoint, one after the other."""
        acts = (
            *(self._killed_anywhere,) * 3,
            *(self._clock_is_set,) * 3,
            *(self._provider_is_away,) * 2,
            *(self._old_messages_come_again,) * 3,
            self._disk_is_slow,
            self._restarted,
        )
        count = self._chance.randint(*TIMED)
        for _ in range(count):
            await asyncio.sleep(self._chance.uniform(0, 2 * LASTS_S / count))
            await self._chance.choice(acts)()
        self.calm = True
        self._world.say("the weather is calm")

    async def _killed_anywhere(self) -> None:
        self._strike("crash", "anywhere")
        self._process.kill()

    async def _restarted(self) -> None:
        if self._process.up.is_set():
            self._strike("restart")
            await self._process.restart()

    async def _clock_is_set(self) -> None:
        """Behind for a while, ahead for good, or ahead a little and corrected. Back by an hour for
        good would only show what is known: what was dated before waits an hour (DECISIONS 20)."""
        by_s, corrected = self._chance.choice(
            ((-3600, True), (-600, True), (-5, True), (600, False), (3600, False), (20, True))
        )
        self._strike("clock", by_s)
        self.clock_was_set_back |= corrected
        self._world.clock_is_ahead_s += by_s
        if corrected:
            await asyncio.sleep(self._chance.uniform(0.5, 12))
            self._world.clock_is_ahead_s -= by_s

    async def _provider_is_away(self) -> None:
        file = OrdersSettings(data_dir=self._process.settings.data_dir).fake_ledger_file
        away = file.with_suffix(".away")
        self._strike("provider")
        if file.exists():
            file.rename(away)
        file.mkdir()
        await asyncio.sleep(self._chance.uniform(0.5, 20))
        file.rmdir()
        if away.exists():
            away.rename(file)

    async def _disk_is_slow(self) -> None:
        self._strike("disk")
        self._world.loop.thread_s_max = self._chance.uniform(0.05, 0.6)
        await asyncio.sleep(self._chance.uniform(0.5, 5))
        self._world.loop.thread_s_max = THREAD_S_MAX

    async def _old_messages_come_again(self) -> None:
        """As after a broker's bad day, or an operator's replay."""
        if not self._process.up.is_set():
            return
        self._strike("replay")
        for name, service in self._process.now.services.items():
            try:
                again = await self._process.live(outbox.send_again(service.database))
            except (Gone, Unavailable):
                return
            self._world.say(name, "sends", again, "again")
