"""What the parts can do alone, in the same run on the same machine: transactions, confirmed
messages, one hop through the gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aio_pika

from chassis import clock
from deploy.bench import measure, procs, raw
from deploy.bench.load import Plan
from deploy.bench.systems import Distributed, System

TRANSACTION_CLIENTS = (1, 8, 32)
PUBLISHERS = (1, 100)
HOP_CLIENTS = (1, 8)
MESSAGE_BYTES = 412
WARMUP_S = 0.5
_SHOWN = (
    *("per_second", "p50_ms", "p95_ms", "p99_ms", "errors", "refusals"),
    *("cpu_percent", "others_percent"),
)
_QUEUE = "bench.ceiling"


async def measured(system: System, seconds: float) -> list[dict[str, Any]]:
    """Rows {what, clients, per_second, p50_ms, p95_ms, p99_ms, cpu_percent}, those of the mode."""
    rows = await _hops(system, seconds)
    if isinstance(system, Distributed):
        rows += await _transactions(system, seconds)
        rows += await _publishes(system, seconds)
    else:
        file = Path(system.data_dir) / "raw.sqlite3"
        figures = await asyncio.to_thread(raw.sqlite_transactions, file, seconds)
        rows.append({"what": "6 inserts in 5 tables, SQLite", "clients": 1, **figures})
    return [{"mode": system.mode, **row} for row in rows]


async def _hops(system: System, seconds: float) -> list[dict[str, Any]]:
    paths = [
        ("gateway /livez", system.url, "/livez", {}),
        ("through the gateway, regions", system.url, "/admin/regions", system.headers),
    ]
    if isinstance(system, Distributed):
        url, _ = system.service("orders")
        paths.insert(0, ("service /version", url, "/version", {}))
        paths.insert(1, ("direct at the service, regions", url, "/regions", {}))
    rows = []
    for what, url, path, headers in paths:
        for clients in HOP_CLIENTS:
            if what.startswith("direct") and isinstance(system, Distributed):
                headers = system.service("orders")[1]  # an internal token lives for a minute
            plan = Plan(url, headers, ["path"], clients, seconds, WARMUP_S, path=path)
            found = (await measure.cell(plan, system.processes())).to_json()
            rows.append({"what": what, "clients": clients, **{n: found[n] for n in _SHOWN}})
    return rows


async def _transactions(system: Distributed, seconds: float) -> list[dict[str, Any]]:
    rows = []
    async with raw.scratch_database(system.local.postgres.url) as url:
        for clients in TRANSACTION_CLIENTS:
            before = procs.snapshot(system.processes())
            figures = await raw.postgres_transactions(url, clients=clients, seconds=seconds)
            rows.append(
                {
                    "what": "6 inserts in 5 tables, asyncpg",
                    "clients": clients,
                    **figures,
                    **_cost(before, procs.snapshot(system.processes())),
                }
            )
    return rows


async def _publishes(system: Distributed, seconds: float) -> list[dict[str, Any]]:
    rows = []
    connection = await aio_pika.connect(system.local.rabbit.url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue(_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        exchange = channel.default_exchange
        for publishers in PUBLISHERS:
            before = procs.snapshot(system.processes())
            figures = await _published(exchange, publishers, seconds)
            rows.append(
                {
                    "what": "confirmed publish, quorum queue",
                    "clients": publishers,
                    **figures,
                    **_cost(before, procs.snapshot(system.processes())),
                }
            )
        await channel.queue_delete(_QUEUE)
    return rows


async def _published(
    exchange: aio_pika.abc.AbstractExchange, publishers: int, seconds: float
) -> dict[str, float]:
    message = aio_pika.Message(b"x" * MESSAGE_BYTES, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    latencies: list[float] = []
    begun = clock.monotonic_s()

    async def publisher() -> None:
        while (at := clock.monotonic_s()) - begun < seconds:
            await exchange.publish(message, _QUEUE)  # house: a ceiling, not a message of ours
            latencies.append((clock.monotonic_s() - at) * 1000)

    await asyncio.gather(*(publisher() for _ in range(publishers)))
    return raw.figures(clock.monotonic_s() - begun, latencies)


def _cost(before: procs.Snapshot, after: procs.Snapshot) -> dict[str, Any]:
    spent = procs.spent(before, after)
    client = round(100 * spent.own_s / spent.seconds, 1)
    return {
        "cpu_percent": {**spent.percent, "client": client},
        "others_percent": spent.others_percent,
    }
