"""`reclamo doctor`: each trouble is found, and the fix that it names is the right one."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from pydantic import SecretStr

from chassis import auth
from chassis.bus_rabbit import declare_topology
from chassis.testing import DatabaseUrl, remove_topology
from deploy.assembly import PROCESSES, topology
from deploy.doctor import Check, examine
from gateway.settings import GatewaySettings
from tests.deploy.system import reclamo

GOOD_SECRET = "7c1f0a9be24d8836f51c0a9be24d8836"
CLOSED = "127.0.0.1:1"


async def _checks(settings: GatewaySettings) -> dict[str, Check]:
    return {check.name: check for check in await examine(settings)}


def _distributed(tmp_path: Path, **more: object) -> GatewaySettings:
    given = {"bus_url": f"amqp://guest:guest@{CLOSED}/", "data_dir": tmp_path, "databases": {}}
    return GatewaySettings.model_validate(given | more)


async def test_a_seeded_installation_is_well(seeded: GatewaySettings) -> None:
    checks = await _checks(seeded)
    assert {check.state for name, check in checks.items() if name != "local engines"} == {"ok"}
    assert {f"database {name}" for name in PROCESSES} <= set(checks)


async def test_a_fresh_folder_is_a_note_and_no_trouble(tmp_path: Path) -> None:
    checks = await _checks(GatewaySettings(data_dir=tmp_path / "fresh", databases={}))
    for name in PROCESSES:
        check = checks[f"database {name}"]
        assert check.state == "note"
        assert "does not exist" in check.found
        assert check.fix == "`make run` creates it at the first start"
    assert not (tmp_path / "fresh").exists()


async def test_a_schema_that_is_behind_is_to_be_migrated(seeded: GatewaySettings) -> None:
    _revision(seeded, "orders", "0000")
    check = (await _checks(seeded))["database orders"]
    assert (check.state, check.fix) == ("wrong", "reclamo migrate orders")
    assert check.found.startswith("schema at 0000, code at ")


async def test_an_empty_file_has_no_schema_yet(seeded: GatewaySettings) -> None:
    for file in seeded.data_dir.glob("claims.db*"):
        file.unlink()
    sqlite3.connect(seeded.data_dir / "claims.db").execute("VACUUM").connection.close()
    check = (await _checks(seeded))["database claims"]
    assert (check.state, check.fix) == ("wrong", "reclamo migrate claims")
    assert check.found.startswith("schema at nothing, code at ")


async def test_a_schema_of_the_future_is_not_to_be_migrated(seeded: GatewaySettings) -> None:
    _revision(seeded, "returns", "9999")
    check = (await _checks(seeded))["database returns"]
    assert check.state == "wrong"
    assert check.fix == "the data is newer: install the version that wrote it"


def _revision(settings: GatewaySettings, name: str, revision: str) -> None:
    connection = sqlite3.connect(settings.data_dir / f"{name}.db")
    connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()


async def test_a_file_that_is_no_database_is_wrong(seeded: GatewaySettings) -> None:
    for file in seeded.data_dir.glob("inventory.db*"):
        file.unlink()
    (seeded.data_dir / "inventory.db").write_text("This is a letter, not a database. " * 99)
    check = (await _checks(seeded))["database inventory"]
    assert check.state == "wrong"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://localhost/orders", "begins with 'mysql'"),
        (f"postgresql://nobody:nothing@{CLOSED}/orders", "cannot be reached"),
    ],
)
async def test_a_wrong_or_dead_database_names_its_setting(
    tmp_path: Path, url: str, words: str
) -> None:
    settings = _distributed(tmp_path, databases={"orders": url})
    check = (await _checks(settings))["database orders"]
    assert check.state == "wrong"
    assert words in check.found
    assert check.fix == "start the server, or correct RECLAMO_ORDERS_DATABASE_URL"
    assert "nothing" not in check.found, "the password is nobody's business"


async def test_postgresql_is_looked_at_as_sqlite_is(
    postgres_url_factory: DatabaseUrl, tmp_path: Path
) -> None:
    url = await postgres_url_factory("orders")
    missing = url.rsplit("/", 1)[0] + "/no_such_database"
    databases = {"orders": url, "claims": missing, "returns": url}
    checks = await _checks(_distributed(tmp_path, databases=databases))
    assert checks["database orders"].state == "ok"
    assert checks["database claims"].state == "wrong"
    assert "no_such_database" in checks["database claims"].found
    # Nothing set for it: outside the embedded mode nobody makes it by itself.
    assert checks["database gateway"].state == "wrong"
    assert checks["database gateway"].fix == (
        "reclamo migrate gateway, or correct RECLAMO_GATEWAY_DATABASE_URL"
    )


async def test_a_dead_broker_names_its_setting(tmp_path: Path) -> None:
    check = (await _checks(_distributed(tmp_path)))["broker"]
    assert (check.state, check.fix) == ("wrong", "start RabbitMQ, or correct RECLAMO_BUS_URL")
    assert check.found


async def test_missing_queues_are_to_be_declared(amqp_url: str, tmp_path: Path) -> None:
    # No other test of a run uses the broker's names without a prefix.
    settings = _distributed(tmp_path, bus_url=amqp_url)
    await remove_topology(amqp_url, topology(), "")
    check = (await _checks(settings))["broker"]
    assert (check.state, check.fix) == ("wrong", "reclamo topology apply")
    assert "orders.commands.v1" in check.found

    run = await asyncio.to_thread(reclamo, "topology", "apply", bus_url=amqp_url)
    assert (run.returncode, run.stdout) == (0, "")
    assert "queues" in run.stderr
    try:
        assert (await _checks(settings))["broker"].state == "ok"
        await declare_topology(amqp_url, topology())
    finally:
        await remove_topology(amqp_url, topology(), "")


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (None, "is not set"),
        ("short", "short or an example"),
        ("change-me", "short or an example"),
        ("a" * 64, "short or an example"),
    ],
)
async def test_a_weak_secret_is_wrong_outside_the_embedded_mode(
    tmp_path: Path, secret: str | None, words: str
) -> None:
    settings = _distributed(tmp_path, secret_key=secret)
    check = (await _checks(settings))["secret"]
    assert check.state == "wrong"
    assert words in check.found
    assert "reclamo keygen" in check.fix


async def test_a_public_key_of_another_secret_is_wrong(tmp_path: Path) -> None:
    def key(secret: str) -> str:
        return auth.public_text(auth.private_key(secret, "internal"))

    for public, state in ((key(GOOD_SECRET), "ok"), (key(GOOD_SECRET[::-1]), "wrong")):
        settings = _distributed(tmp_path, secret_key=GOOD_SECRET, internal_public_key=public)
        checks = await _checks(settings)
        assert checks["secret"].state == "ok"
        assert checks["public key"].state == state


async def test_a_short_admin_token_is_wrong_outside_the_embedded_mode(tmp_path: Path) -> None:
    token = SecretStr("short")
    checks = await _checks(_distributed(tmp_path, secret_key=GOOD_SECRET, admin_token=token))
    assert checks["admin token"].state == "wrong"
    embedded = GatewaySettings(data_dir=tmp_path, databases={}, admin_token=token)
    assert "admin token" not in await _checks(embedded)


async def test_the_command_prints_a_table_and_ends_well_on_a_fresh_folder(tmp_path: Path) -> None:
    run = await asyncio.to_thread(reclamo, "doctor", data_dir=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert "database orders" in run.stdout
    assert "make run" in run.stdout


async def test_the_command_ends_with_1_when_something_is_wrong(tmp_path: Path) -> None:
    run = await asyncio.to_thread(
        reclamo, "doctor", "--json", data_dir=tmp_path, bus_url=f"amqp://guest:guest@{CLOSED}/"
    )
    assert (run.returncode, run.stderr) == (1, "")
    found = {check["name"]: check for check in json.loads(run.stdout)}
    assert found["secret"] == {
        "name": "secret",
        "state": "wrong",
        "found": "RECLAMO_SECRET_KEY is not set",
        "fix": "run `reclamo keygen` and put its lines into the environment",
    }
    assert found["broker"]["state"] == "wrong"
