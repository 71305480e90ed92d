"""A net that never caught anything proves nothing: the simulation finds what is planted. A run of
the suite plants what is found within a few seeds; the others are ``long``."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from typer.testing import CliRunner

from deploy.assembly import SUBSCRIPTIONS
from deploy.cli import app
from deploy.simulation import clients
from deploy.simulation.run import Simulation
from tests.planted.bugs import BUGS, NOT_PLANTED, Bug, inbox_off, recomputed_after_a_crash

# Virtual seconds: a broken system often never comes to rest, and nobody has to wait for that.
REST_S_MAX = 200.0
PATIENCE_S = 400.0
CONTROL = range(1, 5)
QUICK = ("3", "9", "11", "19", "26", "35")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PATIENCE_S", PATIENCE_S)


def _wrong(simulation: Simulation, seed: int) -> list[str]:
    return simulation.run(seed, rest_s_max=REST_S_MAX).wrong


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "bug",
    [pytest.param(bug, marks=() if bug.number in QUICK else pytest.mark.long) for bug in BUGS],
    ids=str,
)
def test_a_planted_bug_is_caught(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch, bug: Bug
) -> None:
    bug.plant(monkeypatch)
    told: list[str] = []
    for seed in bug.seeds:
        told += _wrong(simulation, seed)
        # A plant that no longer fits the code would be caught for its own sake.
        assert not any("TypeError" in each for each in told), told
        if any(bug.told in each for each in told):
            return
    pytest.fail(f"not caught: {told}")


@pytest.mark.timeout(600)
def test_without_a_bug_the_same_seeds_find_nothing(simulation: Simulation) -> None:
    assert {seed: wrong for seed in CONTROL if (wrong := _wrong(simulation, seed))} == {}


@pytest.mark.timeout(600)
def test_with_the_inbox_off_the_natural_keys_hold_alone(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox_off(monkeypatch)
    assert {seed: wrong for seed in CONTROL if (wrong := _wrong(simulation, seed))} == {}


def test_no_message_goes_to_two_queues_of_one_database() -> None:
    # So a dedupe by id without the consumer (18) would change nothing.
    for subscriptions in SUBSCRIPTIONS.values():
        bound = Counter(binding for part in subscriptions for binding in part.bindings)
        assert max(bound.values()) == 1


# 1 to 29 are the list that was there first; each new act of the clients adds to it.
NUMBERS = range(1, 38)


def test_every_number_of_the_list_is_planted_or_says_why_not() -> None:
    planted = {bug.number for bug in BUGS}
    assert planted | set(NOT_PLANTED) == {str(number) for number in NUMBERS}
    assert not planted & set(NOT_PLANTED)


def test_the_command_says_which_seed_failed_and_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recomputed_after_a_crash(monkeypatch)
    ended = CliRunner().invoke(app, ["sim", "--seed", "1", "--seeds", "3", "--json"])
    assert ended.exit_code == 1
    seed, wrong = next(iter(json.loads(ended.stdout)["failed"].items()))
    assert wrong
    assert f"reclamo sim --seed {seed} --trace" in ended.stderr
