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
    assert report.write(PARTS, seed=5, counts="quick", file=file) == 1
    said = json.loads(file.read_text())
    assert said["violations"] == 1
    assert (said["seed"], said["counts"]) == (5, "quick")
    assert said["rounds"]["violations"] == ["round 1: lost: a claim"]
    assert {"commit", "python", "postgres", "rabbitmq", "system"} <= set(said["versions"])


def test_the_table_shows_figures_and_what_is_wrong() -> None:
    lines = report.table(PARTS).splitlines()
    assert "  scenarios                               3" in lines
    assert "    round 1: lost: a claim" in lines


@pytest.mark.timeout(300)
def test_a_run_that_is_stopped_writes_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "reliability.json"
    options = ["--parts", "storm", "--duplicates", "100000000", "--seed", "3"]
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
    assert said["run"]["complete"] is False
    assert said["violations"] == 0
    assert said["storm"]["duplicates"] > 0
    assert "duplicates" in table
