"""``reclamo local`` as a person uses it: start, lose a process, stop with Ctrl-C, start again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chassis.engines import free_port
from chassis.testing import eventually
from deploy.assembly import PROCESSES
from deploy.demo.shop import order_id
from tests.journeys.conftest import needs_engines

# A cold start on a machine that does other things too: engines, five schemas, the demo data.
START_WITHIN_S = 90
STOP_WITHIN_S = 30


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that PostgreSQL can walk into as its own user."""
    needs_engines()
    made = Path(tempfile.mkdtemp(prefix="reclamo-local-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@dataclass
class Reclamo:
    """The running command, and what it said."""

    process: asyncio.subprocess.Process
    url: str
    folder: Path
    said: list[str] = field(default_factory=list)

    def pids(self) -> dict[str, int]:
        """The services as they run now."""
        found = {}
        for pid in _family(self.process.pid):
            command = _command(pid)
            for name in PROCESSES:
                if f"{'gateway' if name == 'gateway' else f'services.{name}'}.app" in command:
                    found[name] = pid
        return found

    async def get(self, path: str) -> tuple[int, Any]:
        """A call as the admin; status 0 when nobody answers."""
        token = json.loads((self.folder / "secrets.json").read_text())["admin_token"]
        headers = {"x-medusa-access-token": token}
        async with aiohttp.ClientSession(headers=headers) as session:
            try:
                async with session.get(self.url + path) as answer:
                    return answer.status, await answer.json()
            except aiohttp.ClientError:
                return 0, None

    async def greets(self) -> Reclamo:
        """Wait until it says that everything runs."""
        assert self.process.stderr is not None
        async with asyncio.timeout(START_WITHIN_S):
            while not any("one Ctrl-C stops all" in line for line in self.said):
                line = await self.process.stderr.readline()
                assert line, "it ended: " + "".join(self.said)
                self.said.append(line.decode())
        return self

    async def ends(self) -> tuple[int, str]:
        """Its exit code and its last words."""
        assert self.process.stderr is not None
        async with asyncio.timeout(STOP_WITHIN_S):
            words = (await self.process.stderr.read()).decode()
            return await self.process.wait(), words

    async def answers(self) -> bool:
        """Whether every service does its work for a client."""
        lists = ("orders", "returns", "claims", "inventory-items")
        return all([(await self.get(f"/admin/{name}"))[0] == 200 for name in lists])


@asynccontextmanager
async def _local(folder: Path, *, seed: str = "demo") -> AsyncIterator[Reclamo]:
    """``reclamo local`` in a process group of its own, as a terminal would start it."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("reclamo")),
        *("local", "--port", str(port), "--data-dir", str(folder), "--seed", seed),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    running = Reclamo(process, f"http://127.0.0.1:{port}", folder)
    try:
        yield running
    finally:
        if process.returncode is None:
            for pid in list(_family(process.pid)):
                _kill(pid)
            await process.wait()


def _family(pid: int) -> Iterator[int]:
    """A process and everything below it."""
    yield pid
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = entry.read_text().rsplit(")", 1)[1].split()[1]
        except (OSError, IndexError):
            continue
        if parent == str(pid):
            yield from _family(int(entry.parent.name))


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _still_there(folder: Path) -> list[str]:
    """Commands of living processes that have to do with the folder."""
    commands = (_command(int(entry.name)) for entry in Path("/proc").glob("[0-9]*"))
    return [command for command in commands if str(folder) in command]


async def _claims_of(running: Reclamo, number: int) -> list[str]:
    status, body = await running.get(f"/admin/orders/{order_id(number)}")
    assert status == 200, body
    return [claim["id"] for claim in body["order"]["claims"]]


@pytest.mark.timeout(300)
async def test_a_dead_service_is_started_again_and_ctrl_c_leaves_nothing_but_the_data(
    folder: Path,
) -> None:
    async with _local(folder) as running:
        await running.greets()
        pids = running.pids()
        assert sorted(pids) == sorted(PROCESSES)
        family = set(_family(running.process.pid))
        claims = await _claims_of(running, 1001)
        assert claims

        os.kill(pids["orders"], signal.SIGKILL)
        await eventually(
            lambda: running.pids().get("orders") not in (None, pids["orders"]), within_s=30
        )
        assert running.pids() == pids | {"orders": running.pids()["orders"]}
        await eventually(running.answers, within_s=30, every_s=0.1)
        family |= set(_family(running.process.pid))

        # Like Ctrl-C in a terminal: the whole group hears it.
        os.killpg(running.process.pid, signal.SIGINT)
        assert (await running.ends())[0] == 0
        assert [_command(pid) for pid in family if _command(pid)] == []
        assert _still_there(folder) == []

    async with _local(folder) as again:
        await again.greets()
        assert await _claims_of(again, 1001) == claims
        os.kill(again.process.pid, signal.SIGTERM)
        assert (await again.ends())[0] == 0
        assert _still_there(folder) == []


@pytest.mark.timeout(300)
async def test_a_folder_in_use_is_refused_and_one_whose_supervisor_was_killed_is_taken_over(
    folder: Path,
) -> None:
    async with _local(folder, seed="none") as first:
        await first.greets()
        services = first.pids()
        async with _local(folder, seed="none") as second:
            code, words = await second.ends()
            assert code == 2
            assert "is in use" in words
        assert await first.answers()
        assert first.pids() == services

        _kill(first.process.pid)
        await eventually(lambda: not any(_command(pid) for pid in services.values()), within_s=30)

    async with _local(folder, seed="none") as heir:
        await heir.greets()
        assert await heir.answers()
        os.killpg(heir.process.pid, signal.SIGINT)
        assert (await heir.ends())[0] == 0
        assert _still_there(folder) == []


@pytest.mark.timeout(180)
async def test_ctrl_c_during_the_start_leaves_nothing(folder: Path) -> None:
    async with _local(folder, seed="none") as running:
        await eventually((folder / "postgres" / "engine.json").exists, within_s=START_WITHIN_S)
        os.killpg(running.process.pid, signal.SIGINT)
        assert (await running.ends())[0] == 0
        assert _still_there(folder) == []
