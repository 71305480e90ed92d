"""`reclamo bench`: what it measures, what it must notice, and what it leaves behind. Never how
fast: a figure is for people, and a slow machine is no defect."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from chassis.testing import eventually
from deploy.bench import catalog, document, endurance, load, measure, profile, report, run
from deploy.bench.load import Plan
from tests.deploy.system import RECLAMO, ROOT, environment, reclamo
from tests.journeys.conftest import needs_engines

RATES = ("per_second", "cpu_ms_per_unit", "seconds")
FIGURES = (*RATES, "p50_ms", "p95_ms", "p99_ms", "max_ms")
PROCESSES = {
    "embedded": {"embedded"},
    "distributed": {
        *("orders", "claims", "returns", "inventory", "gateway", "postgres", "broker"),
    },
}


# ---- whole runs --------------------------------------------------------------------------------


def _bench(folder: Path, *arguments: object) -> tuple[int, dict[str, Any], str]:
    """Run the command; its exit code, its report, its words."""
    ran = subprocess.run(
        [*RECLAMO, "bench", "--output", str(folder / "bench.json"), *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    file = folder / "bench.json"
    assert file.exists(), ran.stderr
    return ran.returncode, json.loads(file.read_text()), ran.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", catalog.MODES)
def test_every_cell_is_measured_without_an_error_and_without_a_refusal(
    mode: str, tmp_path: Path
) -> None:
    if mode == "distributed":
        needs_engines()
    code, found, said = _bench(
        tmp_path,
        *("--mode", mode, "--clients", 2, "--seconds", 0.5, "--warmup", 0.1),
        *("--idle-seconds", 1),
    )
    assert (code, found["troubles"]) == (0, []), said
    assert [(cell["work"], cell["clients"]) for cell in found["cells"]] == [
        (work, 2) for work in catalog.WORKS
    ]
    for cell in found["cells"]:
        # A unit may take longer than the measured time; then there is no latency of one.
        assert cell["units"] > 0
        assert (cell["errors"], cell["refusals"], cell["samples"]) == (0, 0, [])
        assert all(cell[name] > 0 for name in RATES)
        assert cell["p50_ms"] <= cell["p95_ms"] <= cell["p99_ms"] <= cell["max_ms"]
        assert set(cell["cpu_ms"]) == set(cell["cpu_percent"]) == PROCESSES[mode] | {"load"}
        assert set(cell["memory_mib"]) == PROCESSES[mode]
        assert all(
            0 < mib <= cell["memory_peak_mib"][name] for name, mib in cell["memory_mib"].items()
        )
    (verified,) = found["verify"]
    assert verified["findings"] == []
    assert min(verified["looked_at"].values()) > 0
    assert [row["when"] for row in found["idle"]] == ["before work", "behind work"]
    assert all(set(row["cpu_percent"]) == PROCESSES[mode] for row in found["idle"])
    parts = {row["what"] for row in found["ceilings"]}
    assert {"gateway /livez", "through the gateway, regions"} <= parts
    if mode == "distributed":
        assert {"6 inserts in 5 tables, asyncpg", "confirmed publish, quorum queue"} <= parts
    assert found["origin"]["versions"]["python"]
    assert found["machine"]["cores"] == os.cpu_count()


@pytest.mark.timeout(300)
async def test_a_long_history_and_a_steady_load_are_reported_as_ratio_and_slope(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What is looked at is how rounds are put together, and for that one is enough.
    monkeypatch.setattr(run, "HISTORY_ROUNDS", 1)
    request = run.Request(
        modes=("embedded",),
        only=("refund",),
        clients=(2,),
        seconds=0.5,
        warmup_s=0.1,
        history=150,
        soak_minutes=0.05,
    )
    found = await run.run(request, report.Say(shown=False))
    assert found["troubles"] == []
    (row,) = found["history"]
    assert (row["work"], row["orders"]) == ("refund", 150)
    assert found["verify"][0]["looked_at"]["claims"] > 0
    assert row["cpu_ms_per_unit"]["ratio"] > 0
    whens = [cell["when"] for cell in found["history_cells"]]
    assert whens == ["without", "with", "with", "without"]
    assert [verified["findings"] for verified in found["verify"]] == [[], []]
    (soak,) = found["soak"]
    assert (soak["errors"], soak["refusals"]) == (0, 0)
    assert soak["units"] > 0
    assert set(soak["slope_mib_per_h"]) == {"embedded"}
    assert soak["memory_mib"]["embedded"]


async def test_told_to_end_it_ends_everything_it_has_started(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*RECLAMO, "bench", "--mode", "embedded", "--only", "idle", "--idle-seconds", "600"),
        *("--output", str(tmp_path / "bench.json")),
        cwd=ROOT,
        env=environment(tmpdir=tmp_path) | {"TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    folders = f"{tmp_path}/reclamo-bench-"
    await eventually(lambda: _commands(f"--data-dir {folders}"), within_s=60)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 60) == 130
    assert _commands(folders) == []
    assert os.listdir(tmp_path) == []


def _commands(text: str) -> list[str]:
    """Command lines of living processes that contain a text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


def test_what_cannot_be_measured_is_said_before_anything_starts() -> None:
    for arguments, told in (
        (("--only", "refunds"), "--only knows refund, refund-return"),
        (("--clients", "eight"), "--clients takes numbers like 1,8,32"),
    ):
        ran = reclamo("bench", *arguments)
        assert ran.returncode == 2
        assert told in ran.stderr


# ---- what the load generator must notice -------------------------------------------------------


def _claims(number: int, count: int, **claim: Any) -> dict[str, Any]:
    given = {
        "id": "claim_1",
        "payment_status": "refunded",
        "refund_amount": document.GROSS,
        "claim_items": [{"item_id": document.line_id(number)}],
        **claim,
    }
    return {"order": {"claims": [given] * count, "returns": []}}


@asynccontextmanager
async def _answering(answer: Callable[[int], tuple[int, dict[str, Any]]]) -> AsyncIterator[str]:
    """A gateway that answers every claim on order n with ``answer(n)``."""

    async def handle(request: web.Request) -> web.Response:
        status, body = answer(int(request.path.split("/")[3].rsplit("_", 1)[1]))
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post("/{rest:.*}", handle)
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("answer", "errors", "refusals"),
    [
        (lambda n: (200, _claims(n, 1)), 0, 0),
        (lambda n: (409, {"message": "busy"}), 0, 3),
        (lambda n: (500, {"message": "broken"}), 3, 0),
        (lambda n: (200, _claims(n, 2)), 3, 0),
        (lambda n: (200, _claims(n, 0)), 3, 0),
        (lambda n: (200, _claims(n + 1, 1)), 3, 0),
        (lambda n: (200, _claims(n, 1, payment_status="not_refunded")), 3, 0),
        (lambda n: (200, _claims(n, 1, refund_amount=1)), 3, 0),
    ],
    ids=["well", "409", "500", "twice", "none", "another line", "not refunded", "wrong amount"],
)
async def test_only_a_right_answer_counts_as_good(
    answer: Callable[[int], tuple[int, dict[str, Any]]], errors: int, refusals: int
) -> None:
    async with _answering(answer) as url:
        plan = Plan(url, {}, ["refund"], 2, seconds=30, warmup_s=0, fresh=[1, 2, 3])
        result = await load.run(plan)
    assert (result.errors, result.refusals) == (errors, refusals)
    assert (result.used, result.ran_out) == (3, True)
    assert len(result.samples) == errors + refusals
    assert result.done == ({} if errors + refusals else {"refund": 3})


@pytest.mark.parametrize(
    ("made", "status", "errors"),
    [(1, "shipped", 0), (0, "shipped", 3), (2, "shipped", 3), (1, "partially_shipped", 3)],
    ids=["well", "none", "twice", "not sent"],
)
async def test_a_fulfillment_counts_once_it_is_there_and_sent(
    made: int, status: str, errors: int
) -> None:
    def answer(number: int) -> tuple[int, dict[str, Any]]:
        ids = [document.fulfillment_id(number), *(f"ful_{n}" for n in range(made))]
        order = {"fulfillments": [{"id": id_} for id_ in ids], "fulfillment_status": status}
        return 200, {"order": order}

    async with _answering(answer) as url:
        plan = Plan(url, {}, ["fulfillment"], 2, seconds=30, warmup_s=0, fresh=[1, 2, 3])
        result = await load.run(plan)
    assert (result.errors, result.refusals, result.ran_out) == (errors, 0, True)


def test_of_an_order_one_unit_is_to_be_sent_and_of_the_history_none() -> None:
    for number in (1, 2, 3):
        items = document.order(number)["items"]
        waiting = {item["id"]: item["quantity"] - item["shipped_quantity"] for item in items}
        assert waiting.pop(document.waiting_line(number)) == 1
        assert set(waiting.values()) == {0}
    (item,) = document.order(4, lines=1)["items"]
    assert item["quantity"] == item["shipped_quantity"]


def test_a_run_with_an_error_a_refusal_or_a_finding_is_in_trouble() -> None:
    cell = {"mode": "embedded", "work": "refund", "units": 9, "errors": 0, "refusals": 0}
    cell |= {"samples": []}
    empty: dict[str, Any] = {"cells": [cell], "history_cells": [], "soak": [], "ceilings": []}
    empty |= {"verify": []}
    assert run.troubles(empty) == []
    for worse in ({"errors": 1}, {"refusals": 1}, {"units": 0}):
        assert run.troubles(empty | {"cells": [cell | worse]}), worse
    lost = {"mode": "embedded", "findings": ["I2 claim_1 lost"]}
    assert run.troubles(empty | {"verify": [lost]}) == ["embedded verify: I2 claim_1 lost"]


# ---- figures -----------------------------------------------------------------------------------


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [measure.percentile(values, share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert measure.percentile([7.0], 0.5) == 7
    assert measure.percentile([], 0.5) == 0


def test_the_slope_of_memory_is_that_of_its_line() -> None:
    growing = [(float(at), 100 + at / 3600) for at in range(0, 600, 10)]
    assert endurance.slope_per_s(growing) * 3600 == pytest.approx(1)
    assert endurance.slope_per_s([(0.0, 5.0), (10.0, 5.0), (20.0, 5.0)]) == 0
    assert endurance.slope_per_s(growing[:2]) == 0
    assert endurance.settled(growing, 600)[0][0] == 120


@pytest.mark.parametrize(
    ("work", "mode", "clients", "what", "floor"),
    [
        ("refund", "embedded", 1, "p50", 30),
        ("refund", "distributed", 32, "per_second", 25),
        ("replace", "distributed", 8, "per_second", 20),
        ("return", "embedded", 8, "per_second", 30),
        ("order", "distributed", 8, "per_second", 80),
    ],
)
def test_a_cell_is_held_against_its_floor(
    work: str, mode: str, clients: int, what: str, floor: float
) -> None:
    held = catalog.bar_of(work, mode, clients)
    assert held is not None
    assert (held[0], held[1].floor) == (what, floor)


def test_a_cell_without_a_floor_is_held_against_nothing() -> None:
    assert catalog.bar_of("orders", "embedded", 8) is None
    assert catalog.bar_of("replace", "embedded", 1) is None


def test_a_profile_names_where_samples_ended_and_what_was_on_the_stack() -> None:
    said = profile.summary("main (a.py:1);work (b.py:7) 3\nmain (a.py:2);rest (b.py:9) 1\n")
    assert "4 samples" in said
    assert " 75.0 %  work (b.py)" in said
    assert "100.0 %  main (a.py)" in said


def test_a_report_of_nothing_but_a_cell_can_be_read() -> None:
    figures = dict.fromkeys(FIGURES, 1.0)
    cell = measure.Cell(
        **figures,
        good=1,
        units=1,
        refusals=0,
        errors=0,
        samples=[],
        cpu_percent={"embedded": 50.0, "load": 2.0},
        cpu_ms={"embedded": 9.0, "load": 1.0},
        others_percent=0.0,
        memory_mib={"embedded": 100.0},
        memory_peak_mib={"embedded": 101.0},
    )
    empty = ("ceilings", "history", "history_cells", "idle", "soak", "verify", "troubles")
    found: dict[str, Any] = {key: [] for key in empty}
    found |= {
        "origin": {"commit": "abc", "changed": 0},
        "machine": {"cores": 2, "cpu": "a", "load_before": [0.0]},
        "settings": {"modes": ["embedded"], "seconds": 10},
        "took_s": 1,
        "cells": [{"mode": "embedded", "work": "refund", "clients": 8, **asdict(cell)}],
    }
    console = Console(record=True, width=80, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        report.write(found, console)
        text = console.export_text()
    assert "refund claim" in text
    assert "9.00 (50)" in text
