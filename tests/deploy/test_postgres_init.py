"""The script that makes a database and a role per service, run on a real server."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from chassis import engines

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/postgres/10-databases.sh"
SERVICES = ("orders", "claims", "returns", "inventory", "gateway")


def _run(url: str, passwords: dict[str, str]) -> subprocess.CompletedProcess[str]:
    parts = urlsplit(url)
    return subprocess.run(
        ["sh", str(SCRIPT)],
        env={
            "PATH": f"{engines.postgres_binaries()}:{os.environ['PATH']}",
            "PGHOST": str(parts.hostname),
            "PGPORT": str(parts.port),
            "PGPASSWORD": str(parts.password),
            "POSTGRES_USER": str(parts.username),
            **{f"RECLAMO_{name.upper()}_PASSWORD": p for name, p in passwords.items()},
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own: roles belong to a whole server, not to a database."""
    try:
        engines.postgres_binaries()
    except engines.EngineMissing as missing:
        pytest.skip(f"needs a server of its own: {missing}")
    with tempfile.TemporaryDirectory() as folder:
        # The server may have to run as another user, who must be able to walk through.
        Path(folder).chmod(0o711)
        with engines.local_postgres(Path(folder) / "server", fsync=False) as url:
            yield url


def _url(server: str, role: str, database: str, password: str) -> str:
    host = server.rpartition("@")[2].rpartition("/")[0]
    return f"postgresql://{role}:{password}@{host}/{database}"


async def test_each_role_owns_its_database_and_enters_no_other(server: str) -> None:
    run = _run(server, {name: f"it's {name}" for name in SERVICES})
    assert run.returncode == 0, run.stderr
    for name in SERVICES:
        password = f"it%27s%20{name}"
        connection = await asyncpg.connect(_url(server, name, name, password))
        await connection.execute("CREATE TABLE things (id text PRIMARY KEY)")
        await connection.execute("DROP TABLE things")
        await connection.close()
        for other in (*SERVICES, "postgres"):
            if other != name:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await asyncpg.connect(_url(server, name, other, password))


async def test_a_repeat_changes_the_passwords_and_nothing_else(server: str) -> None:
    assert _run(server, dict.fromkeys(SERVICES, "first")).returncode == 0
    connection = await asyncpg.connect(_url(server, "orders", "orders", "first"))
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (id text)")
    await connection.close()
    run = _run(server, dict.fromkeys(SERVICES, "second"))
    assert run.returncode == 0, run.stderr
    connection = await asyncpg.connect(_url(server, "orders", "orders", "second"))
    assert await connection.fetchval("SELECT count(*) FROM kept") == 0
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(_url(server, "orders", "orders", "first"))


def test_a_missing_password_is_named_before_anything_is_made(server: str) -> None:
    run = _run(server, {})
    assert run.returncode != 0
    assert "RECLAMO_ORDERS_PASSWORD is not set" in run.stderr
