"""`reclamo up --embedded`: what is said at the start, how it ends, what is left behind."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chassis.testing import eventually
from deploy.demo.shop import order_id
from deploy.gateway_client import Gateway
from gateway.settings import GatewaySettings
from tests.deploy.system import TOKEN, Up, reclamo, up


async def _order(url: str, token: str = TOKEN, number: int = 1001) -> dict[str, Any]:
    async with Gateway(url, token, patience_s=5) as gateway:
        return dict((await gateway.get(f"/admin/orders/{order_id(number)}"))["order"])


def _resident_kb(pid: int) -> int:
    """Memory of a whole process; 0 where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    return int(status.read_text().split("VmRSS:")[1].split()[0]) if status.exists() else 0


def _curl(said: str) -> str:
    """The copyable command of a banner."""
    found = re.search(r"^  curl .*?\n\n", said, re.MULTILINE | re.DOTALL)
    assert found, said
    return found.group()


# ---- the banner --------------------------------------------------------------------------------


async def test_the_banner_tells_where_everything_is_and_its_curl_opens_a_claim(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "fresh folder"
    async with up(folder, "--seed", "demo") as system:
        said = system.said
        assert system.stdout_file.read_text() == ""
        assert max(map(len, said.splitlines())) <= 80 or len(str(folder)) > 60
        secrets = json.loads((folder / "secrets.json").read_text())
        for told in (*secrets.values(), str(folder), f"{system.url}/docs", "admin@reclamo.example"):
            if told != secrets["secret_key"]:
                assert told in said
        assert secrets["secret_key"] not in said

        run = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-c", _curl(said)],
            capture_output=True,
            text=True,
            check=True,
        )
        before = len((await _order(system.url, secrets["admin_token"]))["claims"])
        assert len(json.loads(run.stdout)["order"]["claims"]) == before

        assert _resident_kb(system.process.pid) < 200_000


async def test_no_line_of_the_banner_is_wider_than_a_terminal(seeded: GatewaySettings) -> None:
    async with up(seeded.data_dir, "--seed", "demo") as system:
        for line in system.said.splitlines():
            assert len(line) <= 80 or "  data  " in line


async def test_without_demo_data_no_logins_are_promised(tmp_path: Path) -> None:
    async with up(tmp_path / "data", "--seed", "none") as system:
        assert "logins" not in system.said
        assert "curl" not in system.said
        assert "API token" in system.said


async def test_the_pages_of_the_banner_answer(seeded: GatewaySettings) -> None:
    async with up(seeded.data_dir) as system:
        pages = re.findall(rf"{system.url}/\S*", system.said)
        assert len(pages) >= 4
        for page in pages:
            run = await asyncio.to_thread(
                subprocess.run,
                ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", page],
                capture_output=True,
                text=True,
                check=True,
            )
            assert run.stdout == "200", page


async def test_secrets_are_random_and_for_the_owner_alone(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        async with up(tmp_path / name):
            file = tmp_path / name / "secrets.json"
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            found += list(json.loads(file.read_text()).values())
    assert len(set(found)) == 6


async def test_token_and_password_can_be_given_at_the_first_start_and_stay(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    first = {"admin_token": "x", "demo_password": "a password of mine"}
    async with up(folder, "--seed", "demo", **first) as system:
        assert "a password of mine" in system.said
        assert (await _order(system.url, "x"))["id"] == order_id(1001)
    later = {"admin_token": "y", "demo_password": "another one"}
    async with up(folder, "--seed", "demo", **later) as system:
        for name in ("ADMIN_TOKEN", "DEMO_PASSWORD"):
            told = f"RECLAMO_{name} has no effect: this data folder began with another one."
            assert told in system.said
        assert "a password of mine" in system.said
        assert (await _order(system.url, "x"))["id"] == order_id(1001)
        login = {"email": "admin@reclamo.example", "password": "a password of mine"}
        async with Gateway(system.url, None) as nobody:
            assert (await nobody.post("/admin/auth", login))["user"]["email"] == login["email"]


# ---- ports -------------------------------------------------------------------------------------


async def test_a_taken_port_makes_way_for_the_next_and_it_is_said(
    seeded: GatewaySettings,
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        async with up(seeded.data_dir, port=taken) as system:
            assert system.url != f"http://127.0.0.1:{taken}"
            used = system.url.rsplit(":", 1)[1]
            assert f"Port {taken} is taken, using {used}." in system.said
            assert (await _order(system.url))["id"] == order_id(1001)


async def test_every_address_of_the_machine_is_shown_as_one_that_can_be_opened(
    seeded: GatewaySettings,
) -> None:
    async with up(seeded.data_dir, "--host", "0.0.0.0") as system:
        assert system.url.startswith("http://127.0.0.1:")
        assert (await _order(system.url))["id"] == order_id(1001)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "192.0.2.1"), "cannot listen on 192.0.2.1"),
        (("--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid"),
    ],
)
async def test_an_address_that_is_not_here_is_one_line_and_exit_code_2(
    seeded: GatewaySettings, arguments: tuple[str, ...], words: str
) -> None:
    run = await asyncio.to_thread(
        reclamo, "up", "--embedded", "--data-dir", seeded.data_dir, *arguments
    )
    _is_one_line(run, words)


def _is_one_line(run: subprocess.CompletedProcess[str], words: str) -> None:
    assert run.returncode == 2
    assert run.stdout == ""
    assert words in run.stderr
    assert len(run.stderr.splitlines()) == 1, run.stderr
    assert run.stderr.startswith("reclamo: ")


# ---- troubles at the start ---------------------------------------------------------------------


async def test_a_second_one_on_the_same_folder_is_refused_and_the_first_goes_on(
    seeded: GatewaySettings,
) -> None:
    async with up(seeded.data_dir) as system:
        run = await asyncio.to_thread(
            reclamo,
            *("up", "--embedded", "--port", system.port, "--data-dir", seeded.data_dir),
        )
        _is_one_line(run, "is in use by another process: stop it, or choose another data folder")
        assert (await _order(system.url))["id"] == order_id(1001)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"wait_bound_s": "soon"}, "RECLAMO_WAIT_BOUND_S: Input should be a valid number"),
        ({"store_returns": "maybe"}, "RECLAMO_STORE_RETURNS: Input should be 'verified' or"),
        ({"store_policy": "maybe"}, "RECLAMO_STORE_POLICY: Input should be 'enforce' or"),
        ({"bus_local_faults": "luck"}, "unknown fault 'luck'"),
        ({"fake_provider_faults": "luck"}, "luck"),
        ({"failpoint": "here@soon"}, "a setting cannot be used"),
        ({"orders_database_url": "mysql://localhost/orders"}, "begins with 'mysql'"),
    ],
)
async def test_a_setting_that_cannot_be_used_is_named_in_one_line(
    seeded: GatewaySettings, settings: dict[str, str], words: str
) -> None:
    run = await asyncio.to_thread(
        reclamo, "up", "--embedded", "--data-dir", seeded.data_dir, **settings
    )
    _is_one_line(run, words)


async def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a file"
    file.write_text("no folder")
    run = await asyncio.to_thread(reclamo, "up", "--embedded", "--data-dir", file)
    _is_one_line(run, "cannot be used: File exists")


async def test_data_of_a_newer_version_is_left_alone(seeded: GatewaySettings) -> None:
    connection = sqlite3.connect(seeded.data_dir / "claims.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    run = await asyncio.to_thread(reclamo, "up", "--embedded", "--data-dir", seeded.data_dir)
    _is_one_line(run, "the data of claims is from a newer version")


@pytest.mark.parametrize("text", ["", "[]", '{"secret_key": "x"}', '{"other": 1}'])
async def test_broken_secrets_are_one_line_and_are_not_overwritten(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "secrets.json").write_text(text)
    run = await asyncio.to_thread(reclamo, "up", "--embedded", "--data-dir", tmp_path)
    _is_one_line(run, "holds no secrets: repair it, or remove it for new ones")
    assert (tmp_path / "secrets.json").read_text() == text


async def test_a_client_that_goes_away_while_it_is_answered_is_nobodys_trouble(
    seeded: GatewaySettings,
) -> None:
    async with up(seeded.data_dir) as system:
        said = system.said
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", system.port)) as client:
                client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
                # Closed with a reset and not with a farewell.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert (await _order(system.url))["id"] == order_id(1001)
        assert system.said == said


# ---- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_ends_when_told_to_without_a_word_and_the_data_is_there_again(
    seeded: GatewaySettings, number: int
) -> None:
    item = {"item_id": "item_demo_1001_mug", "quantity": 1, "reason": "other"}
    async with up(seeded.data_dir) as system:
        async with Gateway(system.url, TOKEN) as gateway:
            claim = {"type": "refund", "claim_items": [item]}
            path = f"/admin/orders/{order_id(1001)}/claims"
            opened = (await gateway.post(path, claim, "before-the-end"))["order"]["claims"]
            said = system.said
            assert await system.end(number) == 0
        assert system.said == said

    async with up(seeded.data_dir) as again, Gateway(again.url, TOKEN) as gateway:
        claims = (await _order(again.url))["claims"]
        assert [each["id"] for each in claims] == [each["id"] for each in opened]
        repeated = (await gateway.post(path, claim, "before-the-end"))["order"]["claims"]
        assert [each["id"] for each in repeated] == [each["id"] for each in opened]


async def test_a_kill_loses_nothing_that_was_answered(seeded: GatewaySettings) -> None:
    async with up(seeded.data_dir) as system, Gateway(system.url, TOKEN) as gateway:
        item = {"item_id": "item_demo_1001_mug", "quantity": 1, "reason": "other"}
        claim = {"type": "refund", "claim_items": [item]}
        path = f"/admin/orders/{order_id(1001)}/claims"
        opened = (await gateway.post(path, claim))["order"]["claims"]
        await system.end(signal.SIGKILL)
    async with up(seeded.data_dir) as again:
        claims = (await _order(again.url))["claims"]
        assert [each["id"] for each in claims] == [each["id"] for each in opened]


async def test_ctrl_c_during_the_demo_data_ends_and_the_next_start_finishes_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    system = Up(folder, "--seed", "demo", admin_token=TOKEN)
    try:
        await eventually((folder / "orders.db").exists, within_s=60)
        assert await system.end() in (0, 130)
        assert "Traceback" not in system.said
    finally:
        system.process.kill()
    async with up(folder, "--seed", "demo", admin_token=TOKEN) as again:
        assert (await _order(again.url, number=1010))["refunds"]
    run = await asyncio.to_thread(reclamo, "verify", "--at-rest", data_dir=folder)
    assert run.returncode == 0, run.stdout
