"""Private engines: they start, survive a crash with their data, and end without a trace."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aio_pika
import asyncpg
import pytest
import sqlalchemy as sa

from chassis import engines
from chassis.db import metadata
from chassis.engines import PostgresServer, RabbitServer
from chassis.testing import DatabaseUrl, MakeDatabase, eventually


def _schema() -> sa.MetaData:
    tables = metadata()
    sa.Table("things", tables, sa.Column("name", sa.Text, primary_key=True))
    return tables


@pytest.fixture
def open_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that another user may walk into, as PostgreSQL needs when tests run as root."""
    folder = tmp_path_factory.mktemp("engine")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder


@pytest.fixture
def has_postgres(request: pytest.FixtureRequest) -> None:
    try:
        engines.postgres_binaries()
    except engines.EngineMissing as missing:
        request.getfixturevalue("postgres_server_url")
        pytest.skip(f"no real engine: postgres: {missing}")


@pytest.fixture
def has_rabbitmq(request: pytest.FixtureRequest) -> None:
    try:
        engines.rabbitmq_binary()
    except engines.EngineMissing as missing:
        request.getfixturevalue("amqp_url")
        pytest.skip(f"no real engine: rabbitmq: {missing}")


@pytest.mark.usefixtures("has_postgres")
async def test_a_killed_postgres_comes_back_on_the_same_url_with_committed_rows(
    open_dir: Path,
) -> None:
    server = PostgresServer(open_dir, fsync=False)
    url = server.start()
    try:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept (name text)")
        await connection.execute("INSERT INTO kept VALUES ('row')")
        server.kill()
        assert not server.running
        assert server.start() == url
        again = await asyncpg.connect(url)
        assert await again.fetchval("SELECT name FROM kept") == "row"
        await again.close()
    finally:
        server.stop()
    assert not server.running


@pytest.mark.usefixtures("has_postgres")
async def test_another_process_object_finds_and_stops_the_same_server(open_dir: Path) -> None:
    async with PostgresServer(open_dir, fsync=False) as url:
        other = PostgresServer(open_dir)
        assert other.running
        assert other.url == url
        other.stop()
        assert not other.running


@pytest.mark.usefixtures("has_rabbitmq")
async def test_a_killed_rabbitmq_comes_back_on_the_same_url_with_confirmed_messages(
    tmp_path: Path,
) -> None:
    server = RabbitServer(tmp_path)
    url = server.start()
    try:
        connection = await aio_pika.connect(url)
        channel = await connection.channel()
        await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(b"x", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, "kept")
        await eventually(lambda: server.would_keep("kept"))
        server.kill()
        assert not server.running
        assert server.start() == url

        async def message_is_back() -> bool:
            again = await aio_pika.connect(url)
            async with again:
                queue = await (await again.channel()).get_queue("kept")
                got = await queue.get(fail=False)
                return got is not None and got.body == b"x"

        assert await eventually(message_is_back, 20, every_s=0.2)
    finally:
        server.stop()
    assert not server.running


@pytest.mark.usefixtures("has_rabbitmq")
async def test_a_broker_does_not_keep_half_a_gigabyte_of_its_log_in_memory(tmp_path: Path) -> None:
    # A quorum queue's log lies in memory until the file is full. The default is as much as the
    # broker may have, and publishers are blocked before it is written out.
    mebibyte = 2**20
    async with RabbitServer(tmp_path) as url:
        connection = await aio_pika.connect(url)
        async with connection:
            channel = await connection.channel()
            await channel.declare_queue("much", durable=True, arguments={"x-queue-type": "quorum"})
            for _ in range(80):
                await channel.default_exchange.publish(aio_pika.Message(b"x" * mebibyte), "much")
        logs = [file.stat().st_size for file in tmp_path.rglob("*.wal")]  # noqa: ASYNC240
    assert logs
    assert max(logs) < 66 * mebibyte


def test_a_recorded_process_id_that_now_belongs_to_somebody_else_is_left_alone(
    tmp_path: Path,
) -> None:
    server = PostgresServer(tmp_path)
    (tmp_path / "engine.json").write_text(
        f'{{"pid": {os.getpid()}, "pid_birth": "another", "port": 1}}'
    )
    server.kill()
    assert not server.running


def test_a_missing_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.shutil, "which", lambda _: None)
    monkeypatch.setattr(engines.Path, "glob", lambda *_: iter(()))
    with pytest.raises(engines.EngineMissing, match="apt-get install postgresql"):
        engines.postgres_binaries()


async def test_a_fresh_database_has_the_tables_and_no_rows_of_another_test(
    make_database: MakeDatabase,
) -> None:
    schema = _schema()
    first, second = await make_database(schema), await make_database(schema)
    async with first.transaction() as tx:
        await tx.execute("INSERT INTO things (name) VALUES (:name)", name="one")
    async with second.reading() as tx:
        assert await tx.fetch("SELECT name FROM things") == []


async def test_each_database_gets_a_url_of_its_own(database_url: DatabaseUrl) -> None:
    schema = _schema()
    urls = await asyncio.gather(*(database_url(schema) for _ in range(3)))
    assert len(set(urls)) == 3


async def test_eventually_returns_what_the_probe_gave() -> None:
    answers = iter([None, 0, "there"])
    assert await eventually(lambda: next(answers)) == "there"


async def test_eventually_tells_the_last_value_when_it_gives_up() -> None:
    async def probe() -> int:
        return 0

    with pytest.raises(AssertionError, match="last: 0"):
        await eventually(probe, 0.05)


def test_no_outgoing_connection_is_given_the_port_of_a_service() -> None:
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(outgoing.read_text().split()[0]) if outgoing.exists() else 32768
    ports = {engines.free_port() for _ in range(20)}
    assert len(ports) > 1
    assert max(ports) < first
