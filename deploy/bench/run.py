"""``reclamo bench``: every cell on fresh systems, the ceilings beside them, one report."""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import signal
import statistics
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chassis import clock
from chassis.engines import EngineFailed, EngineMissing
from deploy.bench import catalog, ceilings, endurance, measure, origin, procs, profile, raw, systems
from deploy.bench.catalog import BenchFailed
from deploy.bench.load import Plan
from deploy.bench.report import Say
from deploy.bench.stock import Stock
from deploy.bench.systems import SECRETS, System, running, walkable
from deploy.gateway_client import GatewayError
from deploy.local import NotReady

# Orders to have ready per second of a writing cell, before a rate is known.
GUESS_PER_S = 250
# A machine's speed changes by a tenth within seconds: short cells in turn, in an order that leaves
# no system the later half of a round.
HISTORY_ROUNDS = 5
HISTORY_TURN = ("without", "with", "with", "without")
HISTORY_S_MAX = 4.0
HISTORY_CLIENTS = 8
CEILING_S_MAX = 5.0
IDLE_ORDERS = 1000
# Orders to read from, per second of a cell.
READ_PER_S = 100


@dataclass(frozen=True)
class Request:
    """What to measure: modes, names of ``catalog.SECTIONS``, numbers of clients, seconds per cell;
    ``history`` more orders; minutes of steady load; seconds of looking at an idle system."""

    modes: tuple[str, ...] = catalog.MODES
    only: tuple[str, ...] = catalog.SECTIONS
    clients: tuple[int, ...] = catalog.CLIENTS
    seconds: float = 10.0
    warmup_s: float = 2.0
    history: int = 0
    soak_minutes: float = 0.0
    idle_s: float = 60.0
    profile_dir: Path | None = None

    @property
    def works(self) -> list[str]:
        """The kinds of work among what is to be measured."""
        return [name for name in catalog.WORKS if name in self.only]


def request(*, mode: str, clients: str, only: str, **rest: Any) -> Request:
    """A request as a person writes it: ``both``, ``1,8,32``, ``refund,order`` (empty: all).

    Raises BenchFailed.
    """
    chosen = tuple(filter(None, only.split(","))) or catalog.SECTIONS
    if unknown := set(chosen) - set(catalog.SECTIONS):
        raise BenchFailed(f"--only knows {', '.join(catalog.SECTIONS)}; not {', '.join(unknown)}")
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", clients):
        raise BenchFailed(f"--clients takes numbers like 1,8,32; not {clients}")
    if not procs.is_there():
        raise BenchFailed("the benchmark reads /proc: it runs on Linux")
    if rest.get("profile_dir"):
        profile.profiler()
    return Request(
        modes=catalog.MODES if mode == "both" else (mode,),
        only=chosen,
        clients=tuple(map(int, clients.split(","))),
        **rest,
    )


@dataclass
class Bench:
    """One system under measurement, and the report that grows."""

    request: Request
    system: System
    stock: Stock
    report: dict[str, Any]
    say: Say
    _best: dict[str, float] = field(default_factory=dict)
    _done: Counter[str] = field(default_factory=Counter)

    async def sections(self) -> None:
        """Those that were asked for: idle before there was work, cells, ceilings, idle then."""
        request = self.request
        if catalog.IDLE in request.only:
            await self._idle("before work")
        for work in request.works:
            for clients in request.clients:
                await self.cell(work, clients, "cells")
        if catalog.CEILINGS in request.only:
            self.say(f"{self.system.mode}: ceilings")
            seconds = min(request.seconds, CEILING_S_MAX)
            self.report["ceilings"] += await ceilings.measured(self.system, seconds)
        if catalog.IDLE in request.only and request.works:
            await self._idle("behind work")

    async def _idle(self, when: str) -> None:
        """A system with orders to whom nothing happens. Behind work it still compares what changed,
        which is a cost of the work: only before it there is a floor."""
        await self.stock.ensure(IDLE_ORDERS - self.stock.loaded)
        await self._settle()
        self.say(f"{self.system.mode}: idle for {self.request.idle_s:.0f} s, {when}")
        row = await endurance.idle(self.system, self.request.idle_s) | {"when": when}
        if when == "before work":
            met = row["total_percent"] < catalog.IDLE_MAX_PERCENT
            row |= {"floor": catalog.IDLE_MAX_PERCENT, "floor_met": met}
        self.report["idle"].append(row)

    async def cell(
        self, work: str, clients: int, section: str, *, seconds: float | None = None, **more: Any
    ) -> dict[str, Any]:
        """Measure one cell and put it into the report; ``seconds``: those of the request."""
        seconds = seconds or self.request.seconds
        plan = await self._plan([work], clients, seconds, catalog.WORKS[work].writes)
        profiling = self.request.profile_dir
        async with profile.recorded(
            profiling and profiling / f"{self.system.mode}-{work}-{clients}",
            self.system.python_processes(),
            plan.warmup_s,
            plan.seconds,
        ):
            found = await measure.cell(plan, self.system.processes())
        self._account([work], found)
        rest_s = await self.system.rest()
        row = {"mode": self.system.mode, "work": work, "clients": clients, **more}
        row |= found.to_json() | {"rest_after_s": round(rest_s, 2), **_held_against(row, found)}
        self.report[section].append(row)
        self.say.cell(row)
        return row

    def _account(self, kinds: list[str], found: measure.Cell) -> None:
        self.stock.take(found.used)
        self._done.update(found.done)
        for kind in kinds:
            self._best[kind] = max(self._best.get(kind, 0.0), found.per_second)

    async def _plan(self, kinds: list[str], clients: int, seconds: float, writes: bool) -> Plan:
        warmup_s = self.request.warmup_s
        rate = max([GUESS_PER_S, *(1.5 * self._best.get(kind, 0.0) for kind in kinds)])
        wanted = math.ceil(rate * (seconds + warmup_s)) if writes else 0
        loaded = await self.stock.ensure(
            max(wanted, math.ceil(READ_PER_S * seconds) - self.stock.loaded)
        )
        if loaded:
            await self._settle()
        return Plan(
            self.system.url,
            self.system.headers,
            kinds,
            clients,
            seconds,
            warmup_s,
            fresh=self.stock.fresh[:wanted],
            orders=self.stock.loaded,
        )

    async def _settle(self) -> None:
        await self.system.rest()
        if isinstance(self.system, systems.Distributed):
            local = self.system.local
            await raw.settle([local.database_url(name) for name in local.processes])

    async def history(self, short: Bench) -> None:
        """The same cells here after many more orders, and on a system without them."""
        count = self.request.history
        self.say(f"{self.system.mode}: loading {count:,} more orders")
        begun = clock.monotonic_s()
        await self.stock.add_history(count)
        loading_s = clock.monotonic_s() - begun
        await self._settle()
        for work in self.request.works or ["refund"]:
            row: dict[str, Any] = {"mode": self.system.mode, "work": work, "orders": count}
            row |= {"clients": HISTORY_CLIENTS, "loaded_per_second": round(count / loading_s, 1)}
            rounds = [await self._history_round(short, work) for _ in range(HISTORY_ROUNDS)]
            row |= {name: _compared(name, rounds) for name in ("cpu_ms_per_unit", "p50_ms")}
            growth = row["cpu_ms_per_unit"]["ratio"]
            if catalog.WORKS[work].writes:
                row["floor_met"] = 0 < growth <= catalog.HISTORY_MAX_GROWTH
            self.report["history"].append(row)
            self.say(
                f"{self.system.mode}: {work} with {count:,} more orders costs {growth:.2f}"
                " times as much CPU"
            )

    async def _history_round(self, short: Bench, work: str) -> dict[str, list[dict[str, Any]]]:
        """Cells of one kind of work by ``when``, in turn."""
        cells: dict[str, list[dict[str, Any]]] = {"without": [], "with": []}
        seconds = min(self.request.seconds, HISTORY_S_MAX)
        for when in HISTORY_TURN:
            bench = self if when == "with" else short
            found = await bench.cell(
                work, HISTORY_CLIENTS, "history_cells", seconds=seconds, when=when
            )
            cells[when].append(found)
        return cells

    async def soak(self) -> None:
        """Minutes of steady load."""
        minutes = self.request.soak_minutes
        self.say(f"{self.system.mode}: {minutes:g} minutes of steady load")

        async def some(seconds: float) -> measure.Cell:
            plan = await self._plan(endurance.MIX, endurance.CLIENTS, seconds, writes=True)
            found = await measure.cell(plan, self.system.processes())
            self._account(endurance.MIX, found)
            return found

        self.report["soak"].append(await endurance.soak(self.system, minutes * 60, some, self.say))

    async def verify(self) -> None:
        """What verify says of it, and whether it holds what was answered."""
        said = await self.system.verified()
        found = [f"{each.invariant} {each.id} {each.message}" for each in said.findings]
        for what, kinds in catalog.MADE_BY.items():
            answered, there = sum(self._done[kind] for kind in kinds), said.looked_at[what]
            # After an error nobody knows whether the change was made; the error is told anyway.
            if answered != there and not troubles(self.report):
                found.append(f"{answered} {what} were answered, {there} are there")
        row = {"mode": self.system.mode, "looked_at": said.looked_at, "findings": found}
        self.report["verify"].append(row)
        self.say(f"{self.system.mode}: verify --at-rest found {len(found) or 'nothing'}")


def _compared(name: str, rounds: list[dict[str, list[dict[str, Any]]]]) -> dict[str, float]:
    """Medians of a figure without and with, and the median of their ratios, round by round."""
    means = [
        {when: statistics.mean(cell[name] for cell in cells) for when, cells in each.items()}
        for each in rounds
    ]
    ratios = [mean["with"] / mean["without"] for mean in means if mean["without"]]
    return {
        "without": round(statistics.median(mean["without"] for mean in means), 3),
        "with": round(statistics.median(mean["with"] for mean in means), 3),
        "ratio": round(statistics.median(ratios), 3) if ratios else 0.0,
    }


def _held_against(row: dict[str, Any], found: measure.Cell) -> dict[str, Any]:
    """The bar of a cell, and whether it is met."""
    held = catalog.bar_of(row["work"], row["mode"], row["clients"])
    if held is None:
        return {}
    what, bar = held
    if what == "p50":
        met = [0 < found.p50_ms <= limit for limit in (bar.floor, bar.goal)]
    else:
        met = [found.per_second >= limit for limit in (bar.floor, bar.goal)]
    bounds = {"bar": what, "floor": bar.floor, "goal": bar.goal}
    return {**bounds, "floor_met": met[0], "goal_met": met[1]}


def troubles(report: dict[str, Any]) -> list[str]:
    """What must not be in a report, whatever the speed: errors, refusals, findings."""
    found = []
    for row in [*report["cells"], *report["history_cells"], *report["soak"]]:
        if row["errors"] or row["refusals"] or not row["units"]:
            what = f"{row['mode']} {row.get('work', 'soak')}: {row['units']} good answers,"
            found.append(f"{what} {row['errors']} errors, {row['refusals']} refusals")
            found += row["samples"]
    for row in report["ceilings"]:
        if row.get("errors") or row.get("refusals"):
            found.append(f"{row['mode']} {row['what']}: not every call was answered well")
    for row in report["verify"]:
        found += [f"{row['mode']} verify: {finding}" for finding in row["findings"]]
    return found


async def run(request: Request, say: Say) -> dict[str, Any]:
    """Measure; the report. Told to end by SIGTERM, it ends what it has started, as by Ctrl-C.

    Raises BenchFailed and asyncio.CancelledError.
    """
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    try:
        return await _measured(request, say)
    except (EngineMissing, EngineFailed, NotReady, GatewayError) as error:
        raise BenchFailed(str(error)) from error


@asynccontextmanager
async def _opened(
    request: Request, mode: str, folder: Path, report: dict[str, Any], say: Say
) -> AsyncIterator[Bench]:
    """A fresh system; at the end nothing is left of it."""
    try:
        async with (
            running(mode, folder) as system,
            Stock(system.url, SECRETS.admin_token, progress=say.shown) as stock,
        ):
            yield Bench(request, system, stock, report, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _measured(request: Request, say: Say) -> dict[str, Any]:
    begun = clock.monotonic_s()
    report: dict[str, Any] = {
        "at": clock.now().isoformat(timespec="seconds"),
        "origin": await asyncio.to_thread(origin.told),
        "machine": procs.machine(),
        "settings": {
            "modes": request.modes,
            "only": request.only,
            "clients": request.clients,
            "seconds": request.seconds,
            "warmup_s": request.warmup_s,
            "profiled": request.profile_dir is not None,
        },
    }
    sections = ("cells", "ceilings", "idle", "soak", "history", "history_cells", "verify")
    report |= {section: [] for section in sections}
    folder = walkable(Path(tempfile.mkdtemp(prefix="reclamo-bench-")))
    report["machine"]["fdatasync_ms"] = await asyncio.to_thread(raw.fdatasync_ms, folder)
    say.machine(report["machine"])
    try:
        for mode in request.modes:
            say(f"{mode}: starting")
            async with _opened(request, mode, folder / mode, report, say) as bench:
                await bench.sections()
                if request.history:
                    other = folder / f"{mode}-without-history"
                    async with _opened(request, mode, other, report, say) as short:
                        await bench.history(short)
                        await short.verify()
                if request.soak_minutes:
                    await bench.soak()
                await bench.verify()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report["took_s"] = round(clock.monotonic_s() - begun, 1)
    report["troubles"] = troubles(report)
    return report
