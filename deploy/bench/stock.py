"""The orders of a measured system: loaded through its own import, each claimed once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from deploy.batches import ORDERS_MAX, Batch, Listing, batches, listings
from deploy.bench import document
from deploy.bench.catalog import BenchFailed
from deploy.gateway_client import Gateway
from deploy.progress import bar

IN_FLIGHT = 3


class Stock:
    """Numbers of orders from 1 on: ``loaded`` of them are there, ``fresh`` are not claimed yet."""

    def __init__(self, url: str, token: str, *, progress: bool) -> None:
        self._gateway = Gateway(url, token, in_flight=IN_FLIGHT)
        self._progress = progress
        self.loaded = 0
        self.fresh: list[int] = []

    async def __aenter__(self) -> Stock:
        await self._gateway.__aenter__()
        for listing in listings(document.shop()):
            for batch in batches(listing):
                await self._send(batch)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._gateway.__aexit__(None, None, None)

    async def ensure(self, count: int) -> bool:
        """Have that many unclaimed orders; whether any had to be loaded."""
        missing = count - len(self.fresh)
        if missing > 0:
            self.fresh += await self._load("Loading orders", missing, lines=None)
        return missing > 0

    async def add_history(self, count: int) -> None:
        """Load orders that stay what they are, of one or two lines."""
        for half in (count - count // 2, count // 2):
            await self._load("Loading history", half, lines=1 + (half == count // 2))

    def take(self, used: int) -> None:
        """So many of the fresh ones were given out, the first ones first."""
        del self.fresh[:used]

    async def _load(self, label: str, count: int, *, lines: int | None) -> list[int]:
        numbers = range(self.loaded + 1, self.loaded + count + 1)
        records = (document.order(number, lines=lines) for number in numbers)
        source = batches(Listing("orders", count, records))
        with bar(label, count, shown=self._progress and count > ORDERS_MAX) as advance:

            async def worker(source: Iterator[Batch]) -> None:
                for batch in source:
                    await self._send(batch)
                    advance(len(batch.records))

            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(worker(source))
        self.loaded += count
        return list(numbers)

    async def _send(self, batch: Batch) -> None:
        answer = await self._gateway.post_text("/admin/import", batch.body())
        if answer["refused"]:
            raise BenchFailed(
                f"not loaded: {answer['refused']} records, e.g. {answer['refusals'][0]}"
            )
