"""The parts of a report that other programs carry out: seeds of the simulation, planted bugs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chassis import clock

ROOT = Path(__file__).resolve().parents[2]
# So much is lost at most when a run is stopped.
SEEDS_AT_ONCE = 200
_CAUGHT = re.compile(r"test_(a_planted_bug|a_deferred_begin)_is_caught")


@dataclass
class Seeds:
    """What the simulated seeds had in sum."""

    first: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    rest_s_max: float = 0.0
    failed: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, figures: dict[str, Any]) -> None:
        """What one run of ``reclamo sim --json`` printed."""
        names = ("seeds", "sagas", "calls", "tries", "steps")
        self.sums.update({name: figures[name] for name in names})
        self.faults.update(figures["faults"])
        self.rest_s_max = max(self.rest_s_max, figures["longest_rest_s"])
        self.failed |= figures["failed"]

    def report(self) -> dict[str, Any]:
        """For the report file."""
        return {
            **self.sums,
            "first_seed": self.first,
            "faults": sum(self.faults.values()),
            "by_fault": dict(sorted(self.faults.items())),
            "longest_virtual_rest_s": self.rest_s_max,
            "seconds": round(self.seconds, 1),
            "violations": [f"seed {seed}: {wrong}" for seed, wrong in self.failed.items()],
        }


@dataclass
class Planted:
    """Which planted bugs were caught, and what else went wrong."""

    caught: list[str] = field(default_factory=list)
    controls: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def report(self) -> dict[str, Any]:
        """For the report file."""
        return {
            "bugs_caught": len(self.caught),
            "caught": self.caught,
            "controls_that_found_nothing": self.controls,
            "seconds": round(self.seconds, 1),
            "violations": self.wrong,
        }


async def _output(*command: str) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    return process.returncode or 0, out, err


async def simulate(*, first: int, count: int, seeds: Seeds, tell: Callable[[str], None]) -> None:
    """So many seeds of ``reclamo sim``, on every processor."""
    begun = clock.monotonic_s()
    seeds.first = first
    starts = list(range(first, first + count, SEEDS_AT_ONCE))
    command = str(Path(sys.executable).with_name("reclamo"))

    async def work() -> None:
        while starts:
            start = starts.pop(0)
            here = min(SEEDS_AT_ONCE, first + count - start)
            code, out, err = await _output(
                command, "sim", "--seed", str(start), "--seeds", str(here), "--json"
            )
            if not out:
                raise RuntimeError(f"reclamo sim ended with {code}: {err.decode()[-2000:]}")
            seeds.add(json.loads(out))
            seeds.seconds = clock.monotonic_s() - begun
            tell(f"seeds: {seeds.sums['seeds']}/{count}, {len(seeds.failed)} failed")

    async with asyncio.TaskGroup() as group:
        for _ in range(os.cpu_count() or 1):
            group.create_task(work())


async def plant(*, planted: Planted, tell: Callable[[str], None]) -> None:
    """Every planted bug of ``tests/planted``, and the runs without one."""
    begun = clock.monotonic_s()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "planted.xml"
        code, out, _ = await _output(
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-m", "long or not long", "tests/planted", f"--junitxml={file}"),
        )
        if not file.exists():
            raise RuntimeError(f"pytest ended with {code}: {out.decode()[-2000:]}")
        for case in ElementTree.parse(file).iter("testcase"):
            name = case.get("name", "")
            if [part.tag for part in case if part.tag in ("failure", "error", "skipped")]:
                planted.wrong.append(f"{name}: see pytest tests/planted")
            elif _CAUGHT.match(name):
                planted.caught.append(name)
            else:
                planted.controls += 1
    planted.seconds = clock.monotonic_s() - begun
    tell(f"planted bugs: {len(planted.caught)} caught, {len(planted.wrong)} not")
