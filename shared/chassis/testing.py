"""Pytest plugin: real engines for tests, fresh databases in milliseconds, and patience.

Each engine is looked for once per run, the two independently of each other: a URL from the
environment (``RECLAMO_TEST_POSTGRES_URL``, ``RECLAMO_TEST_AMQP_URL``), Docker, the binaries of this
machine. Where none is found its tests are skipped loudly, or fail with ``REQUIRE_INFRA=1``.

Engines start when the first test asks for them and serve all workers of the run.
"""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import sqlalchemy as sa

from chassis import db, engines, migrations
from chassis.messaging import COMMANDS, DEAD_LETTERS, EVENTS
from chassis.topology import Topology, dead_letter_queue
from chassis.values import uuid7

T = TypeVar("T")
DatabaseUrl = Callable[[str | sa.MetaData], Awaitable[str]]
MakeDatabase = Callable[[str | sa.MetaData], Awaitable[db.Database]]

_POSTGRES_IMAGE = "postgres:17"
_RABBITMQ_IMAGE = "rabbitmq:4-management"
_RUN_DIR = "RECLAMO_TEST_RUN_DIR"
_WITHOUT = "no real engine: "
_VARIABLES = {"postgres": "RECLAMO_TEST_POSTGRES_URL", "rabbitmq": "RECLAMO_TEST_AMQP_URL"}

_missed: set[str] = set()
_own_run: Path | None = None
_own_lock: IO[str] | None = None
# Started by this process; only the run's owner may end them, other workers may be using them.
_started: list[engines.Server] = []


# ---------------------------------------------------------------------- one run, many workers


def _run_dir() -> Path:
    return Path(os.environ[_RUN_DIR])


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Only one worker of the run at a time."""
    with (_run_dir() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _end_engines(run_dir: Path) -> None:
    engines.PostgresServer(run_dir / "postgres").kill()
    engines.RabbitServer(run_dir / "rabbitmq").kill()
    for note in run_dir.glob("*.container"):
        with suppress(Exception):
            import docker

            docker.from_env().containers.get(note.read_text()).remove(force=True, v=True)
    shutil.rmtree(run_dir, ignore_errors=True)


def _end_abandoned_runs() -> None:
    """A run that was killed leaves its engines behind; nobody holds its lock any more."""
    for run_dir in Path(tempfile.gettempdir()).glob("reclamo-test-*"):
        with suppress(OSError), (run_dir / "alive").open("r") as lock:
            # A run that is just beginning has made its folder and not yet its lock.
            if time.time() - run_dir.stat().st_ctime < 60:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _end_engines(run_dir)


def pytest_configure(config: pytest.Config) -> None:
    """The first process of a run owns its engines, workers find them by the environment."""
    global _own_run, _own_lock
    if hasattr(config, "workerinput") or _own_run is not None:
        return
    _end_abandoned_runs()
    _own_run = Path(tempfile.mkdtemp(prefix="reclamo-test-"))
    # PostgreSQL may have to run as another user, who must be able to walk through.
    _own_run.chmod(0o711)
    _own_lock = (_own_run / "alive").open("w")
    fcntl.flock(_own_lock, fcntl.LOCK_EX)
    os.environ[_RUN_DIR] = str(_own_run)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the run started."""
    global _own_run, _own_lock
    if _own_run is None or hasattr(config, "workerinput"):
        return
    for server in _started:
        server.kill()
    _end_engines(_own_run)
    os.environ.pop(_RUN_DIR, None)
    if _own_lock is not None:
        _own_lock.close()
    _own_run = _own_lock = None


# ---------------------------------------------------------------------- finding an engine


def _docker_answers() -> bool:
    """A running daemon accepts at once; asking its client library would take seconds."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(host.removeprefix("unix://"))
        except OSError:
            return False
        return True


def _plan(kind: str) -> tuple[str, str]:
    """(way, what it will be), without starting anything."""
    if os.environ.get(_VARIABLES[kind]):
        return "given", urlsplit(os.environ[_VARIABLES[kind]]).hostname or "?"
    if _docker_answers():
        return "docker", _POSTGRES_IMAGE if kind == "postgres" else _RABBITMQ_IMAGE
    try:
        if kind == "postgres":
            return "local", engines.postgres_version()
        return "local", engines.rabbitmq_version()
    except engines.EngineMissing as missing:
        return "none", str(missing)


def _start_container(kind: str) -> str:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    # Its reaper would end the container with the worker that started it, while others use it.
    testcontainers_config.ryuk_disabled = True
    if kind == "postgres":
        container = (
            DockerContainer(_POSTGRES_IMAGE)
            .with_env("POSTGRES_USER", "reclamo")
            .with_env("POSTGRES_PASSWORD", "reclamo")
            .with_env("POSTGRES_DB", "reclamo")
            .with_command("postgres -c fsync=off -c full_page_writes=off -c max_connections=300")
        )
        port = 5432
    else:
        container = DockerContainer(_RABBITMQ_IMAGE)
        port = 5672
    container.with_exposed_ports(port)
    container.start()
    number = str(container.get_wrapped_container().id)
    (_run_dir() / f"{kind}.container").write_text(number)
    host = f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"
    if kind == "postgres":
        return f"postgresql://reclamo:reclamo@{host}/reclamo"
    return f"amqp://guest:guest@{host}/"


async def _speaks(kind: str, url: str) -> None:
    if kind == "postgres":
        connection = await asyncpg.connect(url, timeout=5)
        await connection.close()
    else:
        import aio_pika

        await (await aio_pika.connect(url, timeout=5)).close()


def _await_container(kind: str, url: str) -> None:
    """A port that a container runtime has opened says nothing yet about the server behind it."""
    deadline = time.monotonic() + 90
    while True:
        try:
            # The fixture may run inside a test's event loop: a thread has its own.
            _in_thread(lambda: _speaks(kind, url))
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def _in_thread(work: Callable[[], Awaitable[T]]) -> T:
    from concurrent.futures import ThreadPoolExecutor

    async def run() -> T:
        return await work()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(run())).result()


def _start(kind: str) -> dict[str, str]:
    way, what = _plan(kind)
    begun = time.monotonic()
    try:
        if way == "given":
            url = os.environ[_VARIABLES[kind]]
            _in_thread(lambda: _speaks(kind, url))
        elif way == "docker":
            url = _start_container(kind)
            _await_container(kind, url)
        elif way == "local":
            server: engines.Server = (
                engines.PostgresServer(_run_dir() / kind, fsync=False)
                if kind == "postgres"
                else engines.RabbitServer(_run_dir() / kind)
            )
            _started.append(server)
            url = server.start()
            what = server.version
        else:
            return {"url": "", "told": f"{kind}=none", "why": what}
    except Exception as error:
        return {"url": "", "told": f"{kind}={way} FAILED", "why": f"{way}: {error}"}
    took = time.monotonic() - begun
    return {"url": url, "told": f"{kind}={way} {what} ({took:.1f} s)", "why": ""}


def _engine(kind: str) -> str:
    """The URL of the run's engine, started by whoever comes first; skips or fails without."""
    known = _run_dir() / f"{kind}.json"
    with _alone(kind):
        if not known.exists():
            known.write_text(json.dumps(_start(kind)))
        engine: dict[str, str] = json.loads(known.read_text())
    if engine["url"]:
        return engine["url"]
    reason = f"{_WITHOUT}{kind}: {engine['why']}"
    if os.environ.get("REQUIRE_INFRA") == "1":
        pytest.fail(f"{reason} (REQUIRE_INFRA=1)", pytrace=False)
    pytest.skip(reason)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which engines the run would use; nothing is started yet."""
    return "engines: " + "  ".join(f"{kind}={' '.join(_plan(kind))}" for kind in _VARIABLES)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count who met no engine."""
    if not report.passed and _WITHOUT in str(report.longrepr):
        _missed.add(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last word: which engines were met, and how many tests met none."""
    if _own_run is None:
        return
    met = [json.loads(known.read_text())["told"] for known in sorted(_own_run.glob("*.json"))]
    terminalreporter.write_sep("-", "engines")
    terminalreporter.write_line("  ".join(met) or "no test asked for an engine")
    if _missed:
        terminalreporter.write_line(
            f"{len(_missed)} tests did not meet a real engine", red=True, bold=True
        )
    else:
        terminalreporter.write_line("0 tests did not meet a real engine")


# ---------------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def postgres_server_url() -> str:
    """A PostgreSQL server, by a database from which others can be created."""
    return _engine("postgres")


@pytest.fixture(scope="session")
def amqp_url() -> str:
    """A RabbitMQ broker, shared by the run: use a prefix of your own for names."""
    return _engine("rabbitmq")


def _with_database(server_url: str, name: str) -> str:
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


async def _on_server(server_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _create_tables(tables: sa.MetaData, url: str) -> None:
    if url.startswith("sqlite"):
        engine = sa.create_engine(url)
        tables.create_all(engine)
        engine.dispose()
        return
    from sqlalchemy.ext.asyncio import create_async_engine

    remote = create_async_engine("postgresql+asyncpg://" + url.split("://", 1)[1])
    try:
        async with remote.begin() as connection:
            await connection.run_sync(tables.create_all)
    finally:
        await remote.dispose()


async def _migrate(service: str, url: str) -> None:
    # Alembic is not asynchronous and wants an event loop of its own.
    await asyncio.to_thread(migrations.upgrade, service, url)


def _template_name(service: str) -> str:
    run = re.sub(r"[^a-z0-9]", "", _run_dir().name.removeprefix("reclamo-test-").lower())
    return f"reclamo_{run}_{service.replace('.', '_')}"


async def _postgres_template(server_url: str, service: str) -> str:
    """A database with the service's schema, migrated once per run."""
    name = _template_name(service)
    ready = _run_dir() / f"{name}.template"
    with _alone(name):
        if not ready.exists():
            await _on_server(server_url, f'CREATE DATABASE "{name}"')
            await _migrate(service, _with_database(server_url, name))
            ready.touch()
    return name


async def _sqlite_template(service: str) -> Path:
    """A file with the service's schema, migrated once per run."""
    ready = _run_dir() / f"{service}.db"
    with _alone(f"{service}.sqlite"):
        if not ready.exists():
            fresh = _run_dir() / f"{service}.fresh.db"
            await _migrate(service, f"sqlite:///{fresh}")
            fresh.rename(ready)
    return ready


@pytest.fixture
async def postgres_url_factory(postgres_server_url: str) -> AsyncIterator[DatabaseUrl]:
    """``url = await postgres_url_factory("orders")``: a fresh migrated PostgreSQL database.

    Takes a service's name or a ``MetaData``, whose tables it creates. Gone after the test.
    """
    made: list[str] = []

    async def make(schema: str | sa.MetaData) -> str:
        name = f"t_{uuid7().replace('-', '')}"
        made.append(name)
        if isinstance(schema, str):
            template = await _postgres_template(postgres_server_url, schema)
            await _on_server(postgres_server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
            return _with_database(postgres_server_url, name)
        await _on_server(postgres_server_url, f'CREATE DATABASE "{name}"')
        url = _with_database(postgres_server_url, name)
        await _create_tables(schema, url)
        return url

    yield make
    if made:
        await _on_server(
            postgres_server_url,
            *(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)' for name in made),
        )


def sqlite_files(folder: Path) -> DatabaseUrl:
    """What ``sqlite_url_factory`` is, for files in a folder that outlives a test."""

    async def make(schema: str | sa.MetaData) -> str:
        path = folder / f"{uuid7()}.db"
        url = f"sqlite:///{path}"
        if isinstance(schema, str):
            shutil.copyfile(await _sqlite_template(schema), path)
        else:
            await _create_tables(schema, url)
        return url

    return make


@pytest.fixture
def sqlite_url_factory(tmp_path: Path) -> DatabaseUrl:
    """``url = await sqlite_url_factory("orders")``: a fresh migrated SQLite file."""
    return sqlite_files(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> DatabaseUrl:
    """``url = await database_url("orders")``; the test runs once on each database."""
    kind = "sqlite" if request.param == "sqlite" else "postgres"
    factory: DatabaseUrl = request.getfixturevalue(f"{kind}_url_factory")
    return factory


@pytest.fixture
async def make_database(database_url: DatabaseUrl) -> AsyncIterator[MakeDatabase]:
    """``database = await make_database("orders")``, opened; the test runs once on each database."""
    opened: list[db.Database] = []

    async def make(schema: str | sa.MetaData) -> db.Database:
        database = db.connect(await database_url(schema))
        await database.open()
        opened.append(database)
        return database

    yield make
    for database in opened:
        await database.close()


async def remove_topology(url: str, topology: Topology, prefix: str) -> None:
    """Delete the exchanges and queues that a test declared under its prefix."""
    import aio_pika

    connection = await aio_pika.connect(url, timeout=10)
    async with connection:
        channel = await connection.channel()
        for queue in topology.queues:
            for name in (queue, dead_letter_queue(queue)):
                # Quorum queues know no conditional deletion: 540 NOT_IMPLEMENTED.
                await channel.queue_delete(prefix + name, if_unused=False, if_empty=False)
        for exchange in (COMMANDS, EVENTS, DEAD_LETTERS):
            await channel.exchange_delete(prefix + exchange)


async def eventually(
    probe: Callable[[], T | Awaitable[T]], within_s: float = 10.0, every_s: float = 0.01
) -> T:
    """Wait until the probe gives something true, and return it.

    The probe may be async. An AssertionError inside it counts as "not yet". Raises AssertionError
    with the last thing the probe gave.
    """
    deadline = time.monotonic() + within_s
    last: Any = None
    while True:
        try:
            answer: Any = probe()
            last = await answer if inspect.isawaitable(answer) else answer
            if last:
                found: T = last
                return found
        except AssertionError as not_yet:
            last = not_yet
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s; last: {last!r}")
        await asyncio.sleep(every_s)
