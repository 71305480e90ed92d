"""What ``make crash`` leaves behind, also when it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash import report

PARTS = {
    "matrix": {"scenarios": 3, "by_point": {"a": {"once": 1}}, "violations": []},
    "rounds": {"service_kills": 7, "violations": ["round 1: lost: a claim"]},
}


def test_the_report_counts_violations_and_says_what_was_tested(tmp_path: Path) -> None:
    file = tmp_path / "reports" / "reliability.json"
    assert report.write(PARTS, run={"seed": 5, "counts": "quick"}, file=file) == 1
    said = json.loads(file.read_text())
    assert said["violations"] == 1
    rounds = said["parts"]["rounds"]
    assert (rounds["run"]["seed"], rounds["run"]["counts"]) == (5, "quick")
    assert rounds["violations"] == ["round 1: lost: a claim"]
    assert {"commit", "python", "postgres", "rabbitmq", "system"} <= set(rounds["run"]["versions"])


def test_only_what_differs_from_the_commit_is_counted_as_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "--message", "first")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    assert report.versions()["changed_files"] == "0"
    (tmp_path / "more").touch()
    assert report.versions()["changed_files"] == "1"


def test_parts_run_one_by_one_make_one_report(tmp_path: Path) -> None:
    file = tmp_path / "reliability.json"
    report.write(PARTS, run={"seed": 5}, file=file)
    again = {"rounds": {"service_kills": 8, "violations": []}}
    assert report.write(again, run={"seed": 6}, file=file) == 0
    said = json.loads(file.read_text())
    seeds = {name: part["run"]["seed"] for name, part in said["parts"].items()}
    assert seeds == {"matrix": 5, "rounds": 6}
    assert said["violations"] == 0


def test_the_table_shows_figures_and_what_is_wrong() -> None:
    lines = report.table(PARTS).splitlines()
    assert "  scenarios                               3" in lines
    assert "    round 1: lost: a claim" in lines


@pytest.mark.timeout(300)
def test_a_run_that_is_stopped_writes_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "reliability.json"
    options = ["--parts", "storm", "--duplicates", "100000000", "--errands", "15", "--seed", "3"]
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.crash", "quick", *options, "--report", str(file)],
        cwd=report.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    for line in run.stderr:
        if "sqlite, inbox on:" in line:
            run.send_signal(signal.SIGINT)
            break
    table, words = run.communicate(timeout=120)
    assert run.returncode == 2, words
    said = json.loads(file.read_text())
    assert said["violations"] == 0
    assert said["parts"]["storm"]["run"]["complete"] is False
    assert said["parts"]["storm"]["duplicates"] > 0
    assert "duplicates" in table


@pytest.mark.timeout(300)
def test_seeds_of_the_simulation_stand_in_the_report(tmp_path: Path) -> None:
    file = tmp_path / "reliability.json"
    options = ["--parts", "simulation", "--seeds", "1", "--report", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", *options],
        cwd=report.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    simulation = json.loads(file.read_text())["parts"]["simulation"]
    assert (simulation["seeds"], simulation["violations"]) == (1, [])
    assert simulation["sagas"] > 0
    assert simulation["run"]["complete"] is True
