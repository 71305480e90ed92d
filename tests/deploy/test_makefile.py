"""What make would do: `make --dry-run` prints it, nothing is started."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = [
    "run",
    "test",
    "up",
    "local",
    "bench",
    "install",
    "check",
    "crash",
    "logs",
    "down",
    "seed",
    "clean",
    "lock",
]


def _make(*arguments: str, **environment: str) -> str:
    run = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_help_lists_every_target_in_one_line_each() -> None:
    said = _make("help")
    for target in TARGETS:
        assert re.search(rf"^  make {target} +\S", said, re.MULTILINE), target


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_planned(target: str) -> None:
    assert _make("--dry-run", target)


def test_run_takes_the_demo_data_unless_told_otherwise() -> None:
    assert "up --embedded --seed demo" in _make("--dry-run", "run")
    assert "up --embedded --seed none" in _make("--dry-run", "run", "SEED=none")


def test_run_hands_on_host_port_and_folder() -> None:
    said = _make("--dry-run", "run", "HOST=0.0.0.0", "PORT=9000", "DATA=my data")
    assert '--host "0.0.0.0" --port "9000" --data-dir "my data"' in said


def test_a_host_that_stands_in_the_environment_is_not_ours() -> None:
    said = _make("--dry-run", "run", HOST="x86_64-conda-linux-gnu", PORT="1")
    assert "--host" not in said
    assert "--port" not in said


@pytest.mark.parametrize(("target", "lock"), [("run", "base"), ("test", "dev")])
def test_run_installs_what_it_runs_and_test_what_it_tests(target: str, lock: str) -> None:
    assert f"deploy/install.sh {lock}" in _make("--dry-run", target)


@pytest.mark.parametrize("lock", ["base", "dev", "uv"])
def test_every_line_of_a_lock_has_a_hash_and_names_no_host(lock: str) -> None:
    text = (ROOT / f"requirements/{lock}.txt").read_text()
    pinned = re.findall(
        r"^([A-Za-z0-9][^\s;=]*)==[^\s;]+[^\n]*\\\n(    --hash)?", text, re.MULTILINE
    )
    names = re.findall(r"^[A-Za-z0-9][^\s]*", text, re.MULTILINE)
    assert names
    assert len(pinned) == len(names)
    assert all(has_hash for _, has_hash in pinned)
    assert not re.search(r"://|--index|--find-links", text)


def test_the_tests_run_on_the_same_versions_as_production() -> None:
    def versions(lock: str) -> dict[str, str]:
        text = (ROOT / f"requirements/{lock}.txt").read_text()
        return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))

    base, dev = versions("base"), versions("dev")
    assert {name: dev.get(name) for name in base} == base
