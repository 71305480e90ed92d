"""The operator's drill of deploy/README.md, block by block, on a real distributed system."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chassis import engines
from chassis.testing import eventually
from deploy.demo_seed import seed
from deploy.gateway_client import Gateway
from tests.journeys.conftest import OpenSystem
from tests.journeys.system import SECRETS, Distributed

README = (Path(__file__).resolve().parents[2] / "deploy/README.md").read_text()


def _blocks() -> list[str]:
    drill = README.split("\n## A drill\n")[1]
    return re.findall(r"^```sh\n(.*?)^```", drill, re.MULTILINE | re.DOTALL)


class Operator:
    """A person at a shell, with the addresses of the banner."""

    def __init__(self, system: Distributed, folder: Path) -> None:
        process = system.local.processes["inventory"].running
        assert process is not None
        psql = engines.postgres_binaries()
        self._folder = folder
        folder.mkdir()
        (folder / ".venv").symlink_to(sys.prefix)
        clean = {name: text for name, text in os.environ.items() if "RECLAMO" not in name}
        self._environment = clean | {
            "PATH": f"{os.environ['PATH']}:{psql}",
            "RECLAMO_URL": system.url,
            "RECLAMO_ADMIN_TOKEN": SECRETS.admin_token,
            "RECLAMO_DATA_DIR": str(system.data_dir),
            "CLAIMS": system.local.processes["claims"].url,
            "INVENTORY_PID": str(process.pid),
            "POSTGRES": system.local.database_url("").rstrip("/"),
        }

    async def does(self, block: str) -> str:
        """Run a block of the drill; what it printed."""
        run = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-eu", "-c", block],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert run.returncode == 0, f"{block}\n{run.stdout}\n{run.stderr}"
        return run.stdout


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(600)
async def test_the_drill_goes_as_it_is_written(open_system: OpenSystem, tmp_path: Path) -> None:
    settings, breaks, sees, restarts, heals, poisons, mends, verifies = _blocks()
    system = await open_system("local")
    assert isinstance(system, Distributed)
    async with Gateway(system.url, SECRETS.admin_token) as gateway:
        await seed(gateway)
    await system.rest()
    operator = Operator(system, tmp_path / "operator")
    for name in re.findall(r"export (\w+)=", settings):
        assert name in operator._environment, name
    supervisor = asyncio.create_task(system.local.supervise())
    try:
        await operator.does(breaks)

        async def waits_for_inventory_alone() -> str | None:
            text = await operator.does(sees)
            listed = json.loads(text[text.index("{\n") :])
            (saga,) = listed["sagas"]
            assert listed["missing"] == ["inventory"]
            shown = 'reclamo_sagas_under_way{kind="claim",service="claims"} 1.0' in text
            return str(saga["id"]) if shown and saga["waits_for"] == ["reserve"] else None

        saga_id = await eventually(waits_for_inventory_alone, within_s=120)

        await operator.does(restarts)

        async def nothing_under_way() -> bool:
            listed = json.loads(await operator.does(f"{heals.strip()} || test $? = 1"))
            return bool(listed["sagas"] == [] and listed["missing"] == [])

        await eventually(nothing_under_way, within_s=120)
        saga = (await system.get(f"/admin/sagas/{saga_id}")).json["saga"]
        assert (saga["direction"], saga["refusals"]) == ("finished", {})

        await operator.does(poisons)

        async def dead() -> bool:
            return bool((await system.get("/admin/dead-letters")).json["count"] == 1)

        await eventually(dead, within_s=60)
        (letter,) = (await system.get("/admin/dead-letters")).json["dead_letters"]
        assert "does not fit PlaceReservation" in letter["error"]
        await operator.does(mends)
        await eventually(nothing_under_way, within_s=120)
        assert (await system.get("/admin/dead-letters")).json["count"] == 0
        claims = (await system.order("order_demo_1001"))["claims"]
        assert [claim["type"] for claim in claims].count("replace") == 2

        await system.rest()
        await operator.does(verifies)
        (row,) = await system.rows(
            "inventory",
            "SELECT actor_kind, actor_id, about FROM audit WHERE action = 'dead_letter.replayed'",
        )
        assert (row["actor_kind"], row["about"]) == ("admin", f"dead-letter/{letter['id']}")
    finally:
        supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)
