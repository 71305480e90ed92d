"""Random SIGKILLs of services, broker and database while clients work; each round is audited."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from chassis import clock
from deploy.assembly import PROCESSES
from tests.crash.clients import Errand, Wrong
from tests.crash.kinds import KINDS
from tests.crash.shop import Shop

CLIENTS = 8
OpenShop = Callable[..., AbstractAsyncContextManager[Shop]]
# Between two kills, so that they meet work and recovery alike.
PAUSE_S = (0.0, 0.6)
# Engines take seconds to come back; between two there must be time to work.
ENGINE_PAUSE_S = (0.2, 1.5)
# A shop's books are read whole after each round: fresh ones keep that quick.
ORDERS_LEAST, ORDERS_MOST = 600, 1500
# How many lines of each provider must be left for a round to begin.
SPARE_LINES = 800
SAGAS_A_ROUND_MOST = 500
_POSTGRES, _BROKER = "postgres", "rabbit"


@dataclass
class Round:
    """One round: what was killed how often, and how it ended."""

    number: int
    kills: dict[str, int] = field(default_factory=dict)
    sagas: int = 0
    calls: int = 0
    tries: int = 0
    rest_s: float = 0.0
    seconds: float = 0.0
    trouble: str = ""


@dataclass
class Rounds:
    """All rounds so far."""

    rounds: list[Round] = field(default_factory=list)
    sizes: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def kills(self, *names: str) -> int:
        """How often these were killed."""
        return sum(each.kills.get(name, 0) for each in self.rounds for name in names)

    @property
    def sagas(self) -> int:
        """How many sagas all rounds had."""
        return sum(each.sagas for each in self.rounds)

    def report(self) -> dict[str, Any]:
        """For the report file."""
        seconds = sum(each.seconds for each in self.rounds)
        return {
            "rounds": len(self.rounds),
            "service_kills": self.kills(*PROCESSES),
            "broker_kills": self.kills(_BROKER),
            "postgres_kills": self.kills(_POSTGRES),
            "kills_by_process": {
                name: self.kills(name) for name in (*PROCESSES, _BROKER, _POSTGRES)
            },
            "sagas": self.sagas,
            "calls": sum(each.calls for each in self.rounds),
            "tries": sum(each.tries for each in self.rounds),
            "rest_s_max": round(max((each.rest_s for each in self.rounds), default=0.0), 2),
            "seconds": round(seconds, 1),
            "sagas_per_second": round(self.sagas / seconds, 1) if seconds else 0.0,
            "sizes": {
                name: {what: {"least": min(v), "most": max(v)} for what, v in each.items()}
                for name, each in self.sizes.items()
            },
            "violations": [f"round {r.number}: {r.trouble}" for r in self.rounds if r.trouble],
        }


class Load:
    """Clients at work until told that it is enough; each finishes the errand in hand."""

    def __init__(self, shop: Shop, chance: random.Random, clients: int = CLIENTS) -> None:
        self._shop = shop
        self._chance = chance
        self._enough = asyncio.Event()
        self.errands: list[Errand] = []
        self._tasks = [asyncio.create_task(self._client()) for _ in range(clients)]

    def look(self) -> None:
        """Raises what a client met."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def done(self, errands: int) -> None:
        """Until so many errands are begun."""
        while len(self.errands) < errands and not all(task.done() for task in self._tasks):
            self.look()
            await asyncio.sleep(0.05)

    async def finish(self) -> None:
        """Nobody begins anything new; returns when every client has every answer."""
        self._enough.set()
        await asyncio.gather(*self._tasks)

    async def leave(self) -> None:
        """Everybody goes, answered or not."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self) -> None:
        names = list(KINDS)
        weights = [KINDS[name].weight for name in names]
        while not self._enough.is_set() and self._shop.lines_left() > len(self._tasks):
            errand = self._shop.errand(self._chance.choices(names, weights)[0])
            self.errands.append(errand)
            await self._shop.run(errand)


async def run(
    open_shop: OpenShop,
    *,
    services: int,
    brokers: int,
    postgres: int,
    sagas: int,
    seed: int,
    rounds: Rounds,
    tell: Callable[[str], None],
    kills_a_round: int = 20,
    lanes: int = 1,
) -> None:
    """Until there were so many kills of each and so many sagas, in so many shops at once."""
    chance = random.Random(seed)

    def left() -> dict[str, int]:
        return {
            "service": services - rounds.kills(*PROCESSES),
            _BROKER: brokers - rounds.kills(_BROKER),
            _POSTGRES: postgres - rounds.kills(_POSTGRES),
        }

    def to_do() -> bool:
        return any(count > 0 for count in left().values()) or rounds.sagas < sagas

    async def lane() -> None:
        while to_do():
            many = sagas - rounds.sagas > ORDERS_LEAST
            async with open_shop(orders=ORDERS_MOST if many else ORDERS_LEAST) as shop:
                while to_do() and shop.lines_left() > SPARE_LINES:
                    victims = _victims(left(), chance, kills_a_round)
                    rest = max(_rounds_left(left(), kills_a_round), 1)
                    more = max(sagas - rounds.sagas, 0) // rest
                    this = Round(len(rounds.rounds) + 1)
                    rounds.rounds.append(this)
                    await _play(shop, this, rounds, victims, min(more, SAGAS_A_ROUND_MOST), chance)
                    tell(
                        f"round {this.number}: {sum(this.kills.values())} kills,"
                        f" {this.sagas} sagas, {this.calls} calls in {this.tries} tries,"
                        f" at rest after {this.rest_s:.1f} s:"
                        f" {this.trouble or 'well'} ({this.seconds:.0f} s)"
                    )
                    if this.trouble:
                        break

    async with asyncio.TaskGroup() as group:
        for _ in range(lanes):
            group.create_task(lane())


def _rounds_left(left: dict[str, int], kills_a_round: int) -> int:
    return -(-sum(max(count, 0) for count in left.values()) // kills_a_round)


def _victims(left: dict[str, int], chance: random.Random, most: int) -> list[str]:
    """Who dies in this round, in which order: from what is left, in proportion."""
    pool = [name for name, count in left.items() for _ in range(max(count, 0))]
    chosen = chance.sample(pool, min(most, len(pool)))
    return [chance.choice(PROCESSES) if name == "service" else name for name in chosen]


async def _play(
    shop: Shop,
    this: Round,
    rounds: Rounds,
    victims: list[str],
    sagas: int,
    chance: random.Random,
) -> None:
    begun, sagas_before = clock.monotonic_s(), await shop.sagas()
    load = Load(shop, chance)
    try:
        since = clock.now()
        for victim in victims:
            load.look()
            if victim in (_BROKER, _POSTGRES):
                await asyncio.sleep(chance.uniform(*ENGINE_PAUSE_S))
                since = await shop.kill_engine(getattr(shop.system, victim))
            else:
                await asyncio.sleep(chance.uniform(*PAUSE_S))
                since = await shop.kill(victim)
            this.kills[victim] = this.kills.get(victim, 0) + 1
            _measure(shop, rounds)
        # Most errands are one saga, some two.
        await load.done(sagas)
        await load.finish()
        this.rest_s = await shop.all_is_well(since, errands=load.errands)
        lost = await shop.asked_again_late(since)
        if lost:
            raise Wrong("\n".join(lost[:20]))
    except (Wrong, AssertionError, OSError) as error:
        this.trouble = f"{type(error).__name__}: {error}"
    finally:
        await load.leave()
        _measure(shop, rounds)
        this.seconds = clock.monotonic_s() - begun
        this.calls = sum(len(errand.calls) for errand in load.errands)
        this.tries = sum(asked.tries for errand in load.errands for asked in errand.calls)
    this.sagas = await shop.sagas() - sagas_before


def _measure(shop: Shop, rounds: Rounds) -> None:
    for name, size in shop.sizes().items():
        for what, value in size.items():
            rounds.sizes.setdefault(name, {}).setdefault(what, []).append(value)
