"""What the README promises is tried: every command runs, every address answers, the tables agree
with the code."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import typer

from chassis.engines import free_port
from chassis.settings import Settings
from chassis.testing import eventually
from deploy.assembly import PROCESSES, SETTINGS
from deploy.cli import app
from gateway.settings import GatewaySettings
from tests.deploy.system import ROOT, environment

README = (ROOT / "README.md").read_text()
PORT = "8000"


def _blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _table(heading: str) -> list[tuple[str, str]]:
    """The rows of the first table after a heading: its first two cells."""
    text = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.*?) \|(?<!\\\|) (.*?) \|$", text, re.MULTILINE)
    return rows[1:]


def _names(cell: str) -> list[str]:
    """The code in a cell, with braces spelled out."""
    found: list[str] = []
    for code in re.findall(r"`([^`]*)`", cell):
        parts = re.split(r"\{(.*?)\}", code)
        choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
        found += ["".join(pick) for pick in itertools.product(*choices)]
    return found


# ---- the commands ------------------------------------------------------------------------------


def _checkout(folder: Path) -> Path:
    """The repository with a .data of its own and the environment that is there already."""
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in (".venv", ".data", ".git", ".env"):
            (folder / entry.name).symlink_to(entry)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def _make_run(checkout: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    with open(log, "wb") as out:
        return subprocess.Popen(
            ["make", "--no-print-directory", "-o", "install", "run", f"PORT={port}"],
            cwd=checkout,
            env=environment(),
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


@asynccontextmanager
async def _made_run(checkout: Path, port: int) -> AsyncIterator[None]:
    """``make run`` as the README says, on a port of our own and without installing again."""
    log = checkout.with_name("make-run.log")
    make = _make_run(checkout, port, log)
    try:

        def started() -> bool:
            if make.poll() is not None:
                raise RuntimeError(log.read_text())
            return "Ctrl-C stops it" in log.read_text()

        await eventually(started, within_s=60)
        yield
        # As Ctrl-C in a terminal: to make and to what it started.
        os.killpg(make.pid, signal.SIGINT)
        await asyncio.to_thread(make.wait, 30)
        assert "Traceback" not in log.read_text()
    finally:
        if make.poll() is None:
            os.killpg(make.pid, signal.SIGKILL)
            make.wait()


async def test_every_command_of_the_readme_runs_in_order(tmp_path: Path) -> None:
    first, token, claim_call, *rest = _blocks()
    assert first == "make run\n"
    # "Send it again: the same bytes".
    blocks = [token, claim_call, claim_call, *rest]
    checkout, port = _checkout(tmp_path / "reclamo"), free_port()
    async with _made_run(checkout, port):
        mark = "=-=-=-=-=-=-=-="
        script = f'\nprintf "\\n{mark}\\n"\n'.join(blocks).replace(f":{PORT}", f":{port}")
        run = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-eu", "-c", script],
            cwd=checkout,
            env=environment(url=f"http://127.0.0.1:{port}"),
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert run.returncode == 0, run.stderr
        _token, opened, again, listed, _verified, loaded = run.stdout.split(mark)
        assert again.strip() == opened.strip()
        claim = json.loads(opened)["order"]["claims"][-1]
        assert claim["type"] == "refund"
        assert [each["id"] for each in json.loads(listed)["claims"]] == [claim["id"]]
        imported, report = _two_objects(loaded)
        assert imported["refused"] == 0
        assert report["difference_pence"] == 0
        assert "nothing found" in run.stderr


def _two_objects(text: str) -> tuple[dict[str, int], dict[str, int]]:
    decoder, text = json.JSONDecoder(), text.strip()
    first, end = decoder.raw_decode(text)
    second, _ = decoder.raw_decode(text[end:].strip())
    return first, second


async def test_every_address_of_the_readme_answers(tmp_path: Path) -> None:
    rows = _table("Quick start")
    paths = {name for cell, _ in rows for name in _names(cell) if "*" not in name}
    checkout, port = _checkout(tmp_path / "reclamo"), free_port()
    assert paths >= {"/docs", "/openapi.json", "/events", "/asyncapi.json", "/livez", "/metrics"}
    assert rows[0][0] == f"http://127.0.0.1:{PORT}/"
    async with _made_run(checkout, port):
        for path in ("/", *sorted(paths)):
            run = await asyncio.to_thread(
                subprocess.run,
                ["curl", "-sS", "-w", "\n%{http_code}", f"http://127.0.0.1:{port}{path}"],
                capture_output=True,
                text=True,
                check=True,
            )
            body, status = run.stdout.rsplit("\n", 1)
            assert status == "200", path
            # Nothing is fetched from anywhere else: the pages work offline.
            assert not re.search(r"""(src|href)=["']https?://(?!127\.0\.0\.1)""", body), path


# ---- the tables --------------------------------------------------------------------------------


def _settings() -> set[str]:
    fields = {
        name
        for each in (Settings, GatewaySettings, *SETTINGS.values())
        for name in each.model_fields
        if name != "databases"
    }
    urls = {f"{name}_database_url" for name in PROCESSES}
    return {f"RECLAMO_{name.upper()}" for name in fields | urls}


def test_the_settings_of_the_readme_are_those_of_the_code() -> None:
    told = [name for cell, _ in _table("Settings") for name in _names(cell)]
    assert sorted(told) == sorted(_settings())


@pytest.mark.parametrize("setting", ["wait_bound_s", "requests_per_minute", "data_dir"])
def test_the_defaults_of_the_readme_are_those_of_the_code(setting: str) -> None:
    default = GatewaySettings.model_fields[setting].default
    (told,) = (text for cell, text in _table("Settings") if f"RECLAMO_{setting.upper()}`" in cell)
    number = f"{default:g}" if isinstance(default, float) else str(default)
    assert f"({number})" in told or f"(`{number}`)" in told


def _told_commands() -> list[list[str]]:
    return [name.split() for cell, _ in _table("Commands") for name in _names(cell)]


def test_the_readme_names_every_command_and_no_other() -> None:
    command = typer.main.get_command(app)
    real = set(command.commands)  # type: ignore[attr-defined]
    told = {words[1] for words in _told_commands() if words[0] == "reclamo"}
    assert told == real


def test_the_readme_names_only_targets_that_make_has() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for words in _told_commands():
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words


def test_every_file_that_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 180
