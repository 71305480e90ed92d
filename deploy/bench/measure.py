"""One cell of the benchmark: a load generator at a system, and what it cost every process."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deploy.bench import procs
from deploy.bench.catalog import BenchFailed
from deploy.bench.load import Plan, Result

MEMORY_EVERY_S = 1.0


@dataclass
class Cell:
    """Figures of one measured time. ``good`` units were done in it; ``units`` counts those at its
    borders by the part that lies within, and rate and cost are by ``units``. CPU is that of the
    measured time alone: ``cpu_percent`` of one core by process, ``cpu_ms`` per unit by process,
    ``cpu_ms_per_unit`` of the system without the load generator. ``others_percent``: everybody
    else on the machine."""

    seconds: float
    good: int
    units: float
    per_second: float
    refusals: int
    errors: int
    samples: list[str]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    cpu_percent: dict[str, float]
    cpu_ms: dict[str, float]
    cpu_ms_per_unit: float
    others_percent: float
    memory_mib: dict[str, float] = field(default_factory=dict)
    memory_peak_mib: dict[str, float] = field(default_factory=dict)
    used: int = 0
    done: dict[str, int] = field(default_factory=dict)
    ran_out: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return asdict(self)


@dataclass
class Measured:
    """What the parent saw of a load generator."""

    result: Result
    spent: procs.Spent
    peaks_mib: dict[str, float]


def percentile(sorted_values: list[float], share: float) -> float:
    """The smallest value that ``share`` of all do not exceed; 0 of none."""
    if not sorted_values:
        return 0.0
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]


async def cell(plan: Plan, processes: dict[str, int]) -> Cell:
    """Run a plan; ``processes`` are those of the system. Raises BenchFailed when the load
    generator ends without a result; it has said why on standard error."""
    measured = await _measured(plan, processes)
    return _figures(measured, processes)


async def _measured(plan: Plan, processes: dict[str, int]) -> Measured:
    # A latency per unit is megabytes where units are small: a file holds them, not a line.
    with tempfile.NamedTemporaryFile(prefix="reclamo-bench-") as answer:
        return await _told(plan, answer.name, processes)


async def _told(plan: Plan, answer: str, processes: dict[str, int]) -> Measured:
    async with _generator(plan, answer) as generator:
        watched = {**processes, "load": generator.pid}
        await _expect(generator, "begin")
        before = procs.snapshot(watched)
        peaks: dict[str, float] = {}
        watching = asyncio.create_task(_watch_memory(processes, peaks))
        try:
            await _expect(generator, "end")
        finally:
            watching.cancel()
        after = procs.snapshot(watched)
        await _expect(generator, "told")
        result = json.loads(await asyncio.to_thread(Path(answer).read_text))
        return Measured(Result(**result), procs.spent(before, after), peaks)


@asynccontextmanager
async def _generator(plan: Plan, answer: str) -> AsyncIterator[asyncio.subprocess.Process]:
    generator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.bench.load", answer),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert generator.stdin is not None
        generator.stdin.write(json.dumps(asdict(plan)).encode() + b"\n")
        await generator.stdin.drain()
        yield generator
    finally:
        if generator.returncode is None:
            try:
                await asyncio.wait_for(generator.wait(), 5)
            except TimeoutError:
                generator.kill()
                await generator.wait()


async def _expect(generator: asyncio.subprocess.Process, word: str) -> None:
    assert generator.stdout is not None
    line = await generator.stdout.readline()
    if line.strip() != word.encode():
        raise BenchFailed(f"the load generator said {line[:200]!r} instead of {word}")


async def _watch_memory(processes: dict[str, int], peaks: dict[str, float]) -> None:
    while True:
        for name, mib in procs.memory_mib(processes).items():
            peaks[name] = max(mib, peaks.get(name, 0.0))
        await asyncio.sleep(MEMORY_EVERY_S)


def _figures(measured: Measured, processes: dict[str, int]) -> Cell:
    result, spent = measured.result, measured.spent
    latencies = sorted(result.latencies_ms)
    units = result.units
    of_system = sum(spent.cpu_s[name] for name in processes)
    memory = procs.memory_mib(processes)
    return Cell(
        seconds=round(result.seconds, 3),
        good=len(latencies),
        units=round(units, 2),
        per_second=round(units / result.seconds, 1) if result.seconds else 0.0,
        refusals=result.refusals,
        errors=result.errors,
        samples=result.samples,
        p50_ms=round(percentile(latencies, 0.50), 2),
        p95_ms=round(percentile(latencies, 0.95), 2),
        p99_ms=round(percentile(latencies, 0.99), 2),
        max_ms=round(latencies[-1], 2) if latencies else 0.0,
        cpu_percent=spent.percent,
        cpu_ms={k: round(1000 * s / units, 3) if units else 0.0 for k, s in spent.cpu_s.items()},
        cpu_ms_per_unit=round(1000 * of_system / units, 3) if units else 0.0,
        others_percent=spent.others_percent,
        memory_mib=memory,
        memory_peak_mib={k: max(v, measured.peaks_mib.get(k, 0.0)) for k, v in memory.items()},
        used=result.used,
        done=result.done,
        ran_out=result.ran_out,
    )
