"""Many seeds: what they were, how long they took, and how to see a failed one again."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chassis import clock
from deploy.simulation.run import Outcome, Simulation

# In memory where there is such a place: the disk is not what is being tested.
_IN_MEMORY = Path("/dev/shm")


@dataclass
class Figures:
    """Sums over seeds; ``failed`` maps a seed to what was wrong."""

    seeds: int = 0
    sagas: int = 0
    calls: int = 0
    tries: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    rest_s_max: float = 0.0
    took_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failed: dict[int, list[str]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """One more seed."""
        self.seeds += 1
        self.sagas += outcome.sagas
        self.calls += outcome.calls
        self.tries += outcome.tries
        self.steps += outcome.steps
        self.virtual_s += outcome.virtual_s
        self.rest_s_max = max(self.rest_s_max, outcome.rest_s)
        self.faults.update(outcome.faults)
        if outcome.wrong:
            self.failed[outcome.seed] = outcome.wrong

    def to_json(self) -> dict[str, Any]:
        """Plain figures."""
        return {
            "seeds": self.seeds,
            "sagas": self.sagas,
            "calls": self.calls,
            "tries": self.tries,
            "steps": self.steps,
            "faults": dict(sorted(self.faults.items())),
            "virtual_hours": round(self.virtual_s / 3600, 3),
            "longest_rest_s": round(self.rest_s_max, 1),
            "seconds": round(self.took_s, 1),
            "failed": {str(seed): wrong for seed, wrong in self.failed.items()},
        }

    @property
    def summary(self) -> str:
        """One sentence for people."""
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        rate = self.seeds / self.took_s if self.took_s else 0.0
        return (
            f"{self.seeds} seeds in {self.took_s:.1f} s ({rate:.1f} per second):"
            f" {self.sagas} sagas, {self.calls} calls, faults: {faults};"
            f" {self.virtual_s / 3600:.1f} virtual hours,"
            f" at rest at most {self.rest_s_max:.0f} s after the last fault;"
            f" {len(self.failed) or 'no'} failed"
        )


@contextmanager
def opened() -> Iterator[Simulation]:
    """A simulation, ready for seeds, in a folder of its own."""
    folder = tempfile.mkdtemp(
        prefix="reclamo-sim-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None
    )
    try:
        simulation = Simulation(Path(folder))
        simulation.prepare()
        yield simulation
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def simulate(
    seeds: range, each: Callable[[Outcome], None], *, within_s: float | None = None
) -> Figures:
    """Run the seeds one after the other, as many as fit into the time if it is given."""
    figures = Figures()
    with opened() as simulation:
        began = clock.monotonic_s()
        for seed in seeds:
            outcome = simulation.run(seed)
            figures.add(outcome)
            each(outcome)
            figures.took_s = clock.monotonic_s() - began
            if within_s is not None and figures.took_s > within_s:
                break
    return figures
