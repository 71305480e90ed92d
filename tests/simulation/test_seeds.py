"""Whatever goes wrong, nothing is lost and nothing happens twice; and a seed tells it again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chassis import clock, values
from chassis.sources import replaced
from deploy.simulation.report import Figures, simulate
from deploy.simulation.run import Outcome, Simulation
from deploy.simulation.world import World

ROOT = Path(__file__).parents[2]
SLICE_S = 25.0
SLICE_SEEDS = range(1, 1000)
FAULTS = {"clock", "crash", "disk", "provider", "replay", "restart", "slow", "trouble"}
_SIM = (str(Path(sys.executable).with_name("reclamo")), "sim")


def test_the_same_seed_is_the_same_course_of_events(simulation: Simulation) -> None:
    first, second = simulation.run(7), simulation.run(7)
    assert first.lines == second.lines
    assert first.digest == second.digest
    assert simulation.run(8).digest != first.digest


def _trace(hash_seed: str) -> str:
    done = subprocess.run(
        [*_SIM, "--seed", "3", "--trace"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_process_replays_it_bit_for_bit() -> None:
    trace = _trace("1")
    assert trace.count("FAULT") >= 5
    assert trace == _trace("2")


@pytest.mark.timeout(300)
def test_some_seeds_lose_and_double_nothing() -> None:
    outcomes: list[Outcome] = []
    figures: Figures = simulate(SLICE_SEEDS, outcomes.append, within_s=SLICE_S)
    assert figures.failed == {}, figures.summary
    assert set(figures.faults) <= FAULTS
    assert figures.faults["crash"] > 0
    assert figures.faults["trouble"] > 0
    assert all(sum(outcome.faults.values()) >= 3 for outcome in outcomes)
    assert figures.sagas / figures.seeds > 5


def test_clock_ids_and_chance_follow_from_the_world() -> None:
    def drawn() -> tuple[object, ...]:
        with replaced(World("x")):
            return (
                clock.now(),
                clock.monotonic_s(),
                values.new_id("claim"),
                values.uuid7(),
                values.random_token(),
                values.jitter(1.0, 0.5),
            )

    assert drawn() == drawn()
    assert clock.now().year > 2000
    assert values.random_token() != values.random_token()
