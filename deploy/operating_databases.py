"""The operator's lists out of the databases, read-only, for when the gateway does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from chassis import clock, dead_letters, saga_log, unsent
from chassis.db import Database, Row, Tx
from chassis.errors import NotFound, Unavailable
from deploy.assembly import PROCESSES, STORES
from deploy.reading import open_to_read
from deploy.terminal import words
from gateway import store as gateway_store
from gateway.settings import GatewaySettings

# list -> the name of its rows, the time they are sorted by, whether the newest come first
_LISTS = {
    "dead-letters": ("dead_letters", "received_at", True),
    "outbox": ("messages", "created_at", False),
    "sagas": ("sagas", "created_at", False),
}


class InDatabases:
    """The lists as the services' databases hold them, read-only and without a lock."""

    def __init__(self, databases: dict[str, Database], missing: list[str]) -> None:
        self._databases = databases
        self._missing = missing

    async def page(
        self, what: str, *, limit: int, offset: int = 0, service: str | None = None, **filters: Any
    ) -> Row:
        """Read every service's part, or one's."""
        name, by, newest_first = _LISTS[what]
        now, rows, count, lag = clock.now(), [], 0, []
        for database in self._of(service):
            async with database.reading() as tx:
                found, many = await _rows(tx, what, limit + offset, now, filters)
                if what == "outbox" and what in database.tables:
                    lag.append(await unsent.lag(tx, now=now))
            rows += found
            count += many
        rows.sort(key=lambda row: (row[by], row["id"]), reverse=newest_first)
        page = {
            name: rows[offset : offset + limit],
            "count": count,
            "offset": offset,
            "limit": limit,
            "missing": self._missing,
        }
        return page | ({"lag": lag} if what == "outbox" else {})

    async def one(self, what: str, id_: str) -> Row:
        """Look for it in every service. Raises Unavailable when it is in none."""
        for database in self._databases.values():
            async with database.reading() as tx:
                try:
                    if what == "dead-letters":
                        return {"dead_letter": await dead_letters.by_id(tx, id_)}
                    if "sagas" in database.tables:
                        return {"saga": await saga_log.show(tx, id_, now=clock.now())}
                except NotFound:
                    continue
        raise Unavailable(f"{id_} is in no database that could be read")

    def _of(self, service: str | None) -> list[Database]:
        return [each for name, each in self._databases.items() if service in (None, name)]


async def _rows(
    tx: Tx, what: str, limit: int, now: datetime, filters: dict[str, Any]
) -> tuple[list[Row], int]:
    if what == "dead-letters":
        return await dead_letters.page(tx, **filters, limit=limit)
    if what not in ("dead-letters", *tx.database.tables):
        return [], 0
    if what == "outbox":
        return await unsent.page(tx, **filters, limit=limit)
    filters = {name: value for name, value in filters.items() if value is not None}
    return await saga_log.page(tx, **filters, limit=limit, now=now)


@asynccontextmanager
async def in_databases() -> AsyncIterator[InDatabases]:
    """The source that the settings name. Raises Unavailable when no database can be read."""
    settings = GatewaySettings()
    databases: dict[str, Database] = {}
    missing = []
    try:
        for name in PROCESSES:
            try:
                database = await open_to_read(name, settings.database_url(name))
            except Unavailable as error:
                missing.append(name)
                words.print(f"cannot read {error.message}", markup=False)
                continue
            tables = gateway_store if name == "gateway" else STORES[name]
            databases[name] = database.serve(name, tables.METADATA)
        if not databases:
            raise Unavailable("no database can be read: set RECLAMO_DATA_DIR, or say --url")
        yield InDatabases(databases, missing)
    finally:
        for database in databases.values():
            await database.close()
