"""What processes cost, as /proc tells it: CPU seconds, memory, and the machine around them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chassis import clock

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


def is_there() -> bool:
    """Whether this system tells what processes cost (Linux does)."""
    return Path("/proc/self/stat").exists()


@dataclass(frozen=True)
class Snapshot:
    """CPU seconds so far of each named process with all its children, of this very process (alone)
    and of the machine."""

    at_s: float
    cpu_s: dict[str, float]
    own_s: float
    machine_s: float


@dataclass(frozen=True)
class Spent:
    """Between two snapshots: seconds passed, CPU seconds by name, those of this very process, and
    those of everybody else."""

    seconds: float
    cpu_s: dict[str, float]
    own_s: float
    others_s: float

    @property
    def percent(self) -> dict[str, float]:
        """Of one core, by name."""
        return {name: round(100 * used / self.seconds, 1) for name, used in self.cpu_s.items()}

    @property
    def others_percent(self) -> float:
        """Of one core, everybody else."""
        return round(100 * self.others_s / self.seconds, 1)


def snapshot(roots: dict[str, int]) -> Snapshot:
    """Look now. A process that is gone counts as nothing."""
    stats = _stats()
    families = {name: _family(pid, stats) for name, pid in roots.items()}
    cpu_s = {
        name: sum(stats[pid].cpu_s for pid in family if pid in stats)
        for name, family in families.items()
    }
    own_s = sum(os.times()[:2])
    return Snapshot(clock.monotonic_s(), cpu_s, own_s, _machine_s())


def spent(before: Snapshot, after: Snapshot) -> Spent:
    """What was used between two looks at the same processes."""
    used = {name: after.cpu_s[name] - before.cpu_s[name] for name in before.cpu_s}
    own_s = after.own_s - before.own_s
    others_s = after.machine_s - before.machine_s - sum(used.values()) - own_s
    return Spent(after.at_s - before.at_s, used, own_s, max(0.0, others_s))


def memory_mib(roots: dict[str, int]) -> dict[str, float]:
    """Resident memory of each process with its children; what they share is counted once."""
    stats = _stats()
    return {name: _resident_mib(_family(pid, stats)) for name, pid in roots.items()}


def machine() -> dict[str, object]:
    """Cores, CPU, memory, system, and how busy it was over the last minute."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * _PAGE_MIB / 1024, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


@dataclass(frozen=True)
class _Stat:
    parent: int
    cpu_s: float


def _stats() -> dict[int, _Stat]:
    """Every process; CPU includes children that have ended."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            cpu_s = sum(map(int, fields[11:15])) / _TICKS_PER_S
            found[int(entry.name)] = _Stat(int(fields[1]), cpu_s)
    return found


def _family(root: int, stats: dict[int, _Stat]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    family = [root]
    for pid in family:
        family += children.get(pid, [])
    return family


def _resident_mib(pids: Iterable[int]) -> float:
    own = largest_shared = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/statm").read_text().split()
        except OSError:
            continue
        resident, shared = int(fields[1]), int(fields[2])
        own += resident - shared
        largest_shared = max(largest_shared, shared)
    return round((own + largest_shared) * _PAGE_MIB, 1)


def _machine_s() -> float:
    """CPU seconds that anybody used, without idle time and waiting for disks."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS_PER_S


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
