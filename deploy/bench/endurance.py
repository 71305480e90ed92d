"""What a system costs while nobody asks, and whether its memory grows while many do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from chassis import clock
from deploy.bench import procs
from deploy.bench.measure import Cell
from deploy.bench.report import Say
from deploy.bench.systems import System

MIX = ["refund", "order", "replace", "return", "orders", "refund-return"]
CLIENTS = 8
SAMPLE_EVERY_S = 10.0
SEGMENT_S = 60.0
# Pools, caches and allocators fill first; the slope is that of the rest.
SETTLING_SHARE = 0.2


async def idle(system: System, seconds: float) -> dict[str, Any]:
    """CPU of a system at rest: {mode, seconds, cpu_percent by process, total_percent, ...}."""
    await system.rest()
    before = procs.snapshot(system.processes())
    await asyncio.sleep(seconds)
    spent = procs.spent(before, procs.snapshot(system.processes()))
    total = round(100 * sum(spent.cpu_s.values()) / spent.seconds, 2)
    return {
        "mode": system.mode,
        "seconds": round(spent.seconds, 1),
        "cpu_percent": {k: round(100 * s / spent.seconds, 2) for k, s in spent.cpu_s.items()},
        "total_percent": total,
        "others_percent": spent.others_percent,
        "memory_mib": procs.memory_mib(system.processes()),
    }


async def soak(
    system: System, seconds: float, some: Callable[[float], Awaitable[Cell]], say: Say
) -> dict[str, Any]:
    """A mix of all work for some time, loading of orders included; memory every few seconds.

    {mode, units, errors, refusals, memory_mib: {name: [[seconds, MiB]]}, slope_mib_per_h: {name}}.
    """
    begun = clock.monotonic_s()
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in system.processes()}

    async def watch() -> None:
        while True:
            at = round(clock.monotonic_s() - begun, 1)
            for name, mib in procs.memory_mib(system.processes()).items():
                samples[name].append((at, mib))
            await asyncio.sleep(SAMPLE_EVERY_S)

    watching = asyncio.create_task(watch())
    cells: list[Cell] = []
    try:
        while (left := seconds - (clock.monotonic_s() - begun)) > 0:
            cells.append(await some(min(SEGMENT_S, max(left, 1.0))))
            say(f"{system.mode}: {cells[-1].per_second} units/s, {_sizes(samples)}")
    finally:
        watching.cancel()
    return {
        "mode": system.mode,
        "seconds": round(clock.monotonic_s() - begun, 1),
        "clients": CLIENTS,
        "units": round(sum(cell.units for cell in cells), 1),
        "errors": sum(cell.errors for cell in cells),
        "refusals": sum(cell.refusals for cell in cells),
        "samples": [text for cell in cells for text in cell.samples][:5],
        "per_second": [cell.per_second for cell in cells],
        "cpu_ms_per_unit": [cell.cpu_ms_per_unit for cell in cells],
        "memory_mib": samples,
        "slope_mib_per_h": {
            name: round(slope_per_s(settled(points, seconds)) * 3600, 1)
            for name, points in samples.items()
        },
    }


def settled(points: list[tuple[float, float]], seconds: float) -> list[tuple[float, float]]:
    """The points after the first fifth of the time."""
    return [point for point in points if point[0] >= SETTLING_SHARE * seconds]


def slope_per_s(points: list[tuple[float, float]]) -> float:
    """The slope of the line through points (seconds, value) by least squares; 0 of fewer than 3."""
    if len(points) < 3:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def _sizes(samples: dict[str, list[tuple[float, float]]]) -> str:
    return ", ".join(f"{name} {points[-1][1]:.0f}" for name, points in samples.items()) + " MiB"
