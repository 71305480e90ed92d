"""What the databases can do alone: the same six rows in five tables, durable, without us.

The only file of the benchmark that speaks SQL.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from chassis import clock
from deploy.bench.measure import percentile

_TABLES = {
    "raw_claims": "id TEXT PRIMARY KEY, order_id TEXT NOT NULL, body TEXT NOT NULL",
    "raw_items": "id TEXT PRIMARY KEY, claim_id TEXT NOT NULL, quantity INTEGER NOT NULL",
    "raw_sagas": "id TEXT PRIMARY KEY, step TEXT NOT NULL, body TEXT NOT NULL",
    "raw_inbox": "id TEXT PRIMARY KEY, type TEXT NOT NULL",
    "raw_outbox": "id TEXT PRIMARY KEY, type TEXT NOT NULL, body TEXT NOT NULL",
}
SQLITE_VERSION = sqlite3.sqlite_version
_BODY = '{"x": "' + "y" * 400 + '"}'
_SYNCS = 300


def _rows(key: str) -> list[tuple[str, tuple[Any, ...]]]:
    """The six rows of one transaction."""
    return [
        ("raw_claims", (key, f"order_{key}", _BODY)),
        ("raw_items", (key, key, 1)),
        ("raw_sagas", (key, "hold", _BODY)),
        ("raw_inbox", (key, "claims.open_claim.v1")),
        ("raw_outbox", (key + "a", "orders.place_hold.v1", _BODY)),
        ("raw_outbox", (key + "b", "claims.claim_opened.v1", _BODY)),
    ]


def _insert(table: str, marks: list[str]) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join(marks)})"


def figures(seconds: float, latencies_ms: list[float]) -> dict[str, float]:
    latencies_ms.sort()
    return {
        "per_second": round(len(latencies_ms) / seconds, 1),
        "p50_ms": round(percentile(latencies_ms, 0.5), 3),
        "p95_ms": round(percentile(latencies_ms, 0.95), 3),
        "p99_ms": round(percentile(latencies_ms, 0.99), 3),
    }


def fdatasync_ms(folder: Path) -> float:
    """How long the disk takes to make 4 KiB durable: the median of some hundred times."""
    file = folder / "fdatasync.probe"
    took = []
    with file.open("wb", buffering=0) as out:
        for _ in range(_SYNCS):
            begun = clock.monotonic_s()
            out.write(b"x" * 4096)
            os.fdatasync(out.fileno())
            took.append((clock.monotonic_s() - begun) * 1000)
    file.unlink()
    return round(statistics.median(took), 3)


def sqlite_transactions(file: Path, seconds: float) -> dict[str, float]:
    """One writer, WAL, synchronous=FULL, as the embedded mode writes."""
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        for table, columns in _TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
        latencies: list[float] = []
        begun = clock.monotonic_s()
        while (at := clock.monotonic_s()) - begun < seconds:
            connection.execute("BEGIN IMMEDIATE")
            for table, values in _rows(f"k{len(latencies)}"):
                connection.execute(_insert(table, ["?"] * len(values)), values)
            connection.execute("COMMIT")
            latencies.append((clock.monotonic_s() - at) * 1000)
        return figures(clock.monotonic_s() - begun, latencies)
    finally:
        connection.close()


@asynccontextmanager
async def scratch_database(server_url: str) -> AsyncIterator[str]:
    """A database with the five tables, dropped at the end."""
    server = await asyncpg.connect(server_url)
    try:
        await server.execute("CREATE DATABASE raw_bench")
        url = server_url.rsplit("/", 1)[0] + "/raw_bench"
        connection = await asyncpg.connect(url)
        try:
            for table, columns in _TABLES.items():
                await connection.execute(f"CREATE TABLE {table} ({columns})")
        finally:
            await connection.close()
        yield url
        await server.execute("DROP DATABASE raw_bench")
    finally:
        await server.close()


async def postgres_transactions(url: str, *, clients: int, seconds: float) -> dict[str, float]:
    """Six statements and a durable commit, each client on its own connection."""
    connections = [await asyncpg.connect(url) for _ in range(clients)]
    latencies: list[float] = []
    begun = clock.monotonic_s()

    async def client(number: int, connection: Any) -> None:
        count = 0
        while (at := clock.monotonic_s()) - begun < seconds:
            count += 1
            async with connection.transaction():
                for table, values in _rows(f"c{clients}n{number}x{count}"):
                    marks = [f"${place}" for place in range(1, len(values) + 1)]
                    await connection.execute(_insert(table, marks), *values)
            latencies.append((clock.monotonic_s() - at) * 1000)

    try:
        await asyncio.gather(*(client(n, each) for n, each in enumerate(connections)))
        return figures(clock.monotonic_s() - begun, latencies)
    finally:
        for connection in connections:
            await connection.close()


async def settle(urls: list[str]) -> None:
    """After loading: statistics for the planner and an empty write-ahead log, as after a night."""
    for url in urls:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()
