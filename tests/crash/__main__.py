"""Kill everything, everywhere, and report: ``make crash``, or ``python -m tests.crash --help``.

It lives with the tests because it needs their clients, their checker and a nursery that no
installation should have; operators rehearse a crash with ``kill -9`` and ``reclamo verify``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from chassis import clock
from tests.crash import matrix, others, report, rounds, storm
from tests.crash.matrix import Matrix, Scenario
from tests.crash.nursery import Nursery
from tests.crash.others import Planted, Seeds
from tests.crash.rounds import Rounds
from tests.crash.shop import Shop, end_abandoned
from tests.crash.storm import Storms

PARTS = ("matrix", "rounds", "storm", "simulation", "planted")
# scenarios (0: all), kills of services, broker, PostgreSQL, sagas, duplicates, those without
# inbox, seeds of the simulation
COUNTS = {
    "quick": (-1, 40, 2, 2, 400, 20_000, 2_000, 100),
    "full": (0, 1_000, 100, 100, 20_000, 1_000_000, 100_000, 10_000),
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("counts", choices=COUNTS, nargs="?", default="quick")
    parser.add_argument("--parts", default=",".join(PARTS), help="which of " + ", ".join(PARTS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    names = ("scenarios", "services", "brokers", "postgres", "sagas", "duplicates", "bare", "seeds")
    for name in names:
        parser.add_argument(f"--{name}", type=int, help="instead of the count of quick or full")
    parser.add_argument("--errands", type=int, default=storm.ERRANDS, help="before a storm")
    parser.add_argument("--lanes", type=int, default=1, help="shops at once, for matrix and rounds")
    parser.add_argument("--only", default="", help="scenarios that have this in their name")
    parser.add_argument("--report", type=Path, default=report.FILE)
    given = parser.parse_args()
    for name, count in zip(names, COUNTS[given.counts], strict=True):
        if getattr(given, name) is None:
            setattr(given, name, count)
    return given


def tell(text: str) -> None:
    """Progress, for people."""
    print(f"{clock.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


class Run:
    """All parts, and what they have found so far."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self.matrix, self.rounds, self.storms = Matrix(), Rounds(), Storms()
        self.seeds, self.planted = Seeds(), Planted()
        self._nursery: Nursery | None = None
        # Alembic's context is one for the whole process: shops are opened one after the other.
        self._opening = asyncio.Lock()

    def found(self) -> dict[str, dict[str, Any]]:
        """What the report says, by part."""
        parts = {
            "matrix": self.matrix.report(),
            "rounds": self.rounds.report(),
            "storm": self.storms.report(),
            "simulation": self.seeds.report(),
            "planted": self.planted.report(),
        }
        return {name: parts[name] for name in PARTS if name in self._given.parts.split(",")}

    async def go(self) -> None:
        """One part after the other."""
        given = self._given
        parts = given.parts.split(",")
        try:
            if {"matrix", "rounds"} & set(parts):
                self._nursery = Nursery()
                await self._nursery.ready()
            if "matrix" in parts:
                await matrix.run(
                    self._open_shop,
                    wanted=self._wanted,
                    matrix=self.matrix,
                    tell=tell,
                    lanes=given.lanes,
                )
            if "rounds" in parts:
                await rounds.run(
                    self._open_shop,
                    services=given.services,
                    brokers=given.brokers,
                    postgres=given.postgres,
                    sagas=given.sagas,
                    seed=given.seed,
                    rounds=self.rounds,
                    tell=tell,
                    lanes=given.lanes,
                )
            if "storm" in parts:
                for store in storm.STORES:
                    await storm.run(
                        store=store,
                        with_inbox=given.duplicates // len(storm.STORES),
                        without_inbox=given.bare // len(storm.STORES),
                        seed=given.seed,
                        storms=self.storms,
                        tell=tell,
                        errands=given.errands,
                    )
            if "simulation" in parts:
                await others.simulate(first=1, count=given.seeds, seeds=self.seeds, tell=tell)
            if "planted" in parts:
                await others.plant(planted=self.planted, tell=tell)
        finally:
            if self._nursery is not None:
                self._nursery.close()

    def _wanted(self, whole: list[Scenario]) -> list[Scenario]:
        given = self._given
        if given.only:
            return [scenario for scenario in whole if given.only in str(scenario)]
        if given.scenarios < 0:
            return matrix.slice_of(whole)
        if given.scenarios:
            return random.Random(given.seed).sample(whole, min(given.scenarios, len(whole)))
        return whole

    @asynccontextmanager
    async def _open_shop(self, *, orders: int) -> AsyncIterator[Shop]:
        assert self._nursery is not None
        shop = Shop(self._nursery, orders=orders)
        before = len(self._violations())
        try:
            async with self._opening:
                await shop.open()
            yield shop
        finally:
            if len(self._violations()) > before:
                _keep_evidence(shop.folder, self._given.report.parent)
            await shop.close()

    def _violations(self) -> list[str]:
        return [
            *self.matrix.report()["violations"],
            *self.rounds.report()["violations"],
        ]


def _keep_evidence(folder: Path, reports: Path) -> None:
    """History and logs of a shop in which something was wrong."""
    evidence = reports / "evidence" / folder.name
    evidence.mkdir(parents=True, exist_ok=True)
    for file in (*folder.glob("*.log"), folder / "history.jsonl"):
        with suppress(OSError):
            shutil.copy(file, evidence)
    tell(f"history and logs are kept in {evidence}")


async def _until_told(run: Run) -> bool:
    """Carry it out; False when a signal ended it before its end."""
    going = asyncio.create_task(run.go())
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        tell("stopping; what is known so far will be written")
        going.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await going
    except asyncio.CancelledError:
        if not stopped:
            raise
    return not stopped


def main() -> int:
    """0 when all was carried out and all is well, 1 for a violation, 2 when it was stopped."""
    given = _options()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("critical"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    end_abandoned()
    run = Run(given)
    begun = clock.monotonic_s()
    tell(f"{given.counts}: {given.parts}, seed {given.seed}")
    complete = False
    try:
        complete = asyncio.run(_until_told(run))
    finally:
        parts = run.found()
        violations = report.write(
            parts,
            run={
                "counts": given.counts,
                "seed": given.seed,
                "complete": complete,
                "seconds": round(clock.monotonic_s() - begun, 1),
            },
            file=given.report,
        )
        print(report.table(parts))
        tell(f"{violations} violations, report in {given.report}")
    if violations:
        return 1
    return 0 if complete else 2


if __name__ == "__main__":
    sys.exit(main())
