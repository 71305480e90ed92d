"""Opening a database to look at it: without its lock, and with the trouble in words."""

from __future__ import annotations

from chassis.db import Database, connect
from chassis.db_sqlite import ReadOnlySqlite
from chassis.errors import Unavailable


async def open_to_read(name: str, url: str) -> Database:
    """The database of a service, opened. Raises Unavailable that says which one and why not."""
    try:
        database = ReadOnlySqlite(url) if url.startswith("sqlite") else connect(url)
    except ValueError as error:
        raise Unavailable(f"{name}: {error}") from None
    try:
        await database.open()
        async with database.reading():
            pass
    except Exception as error:
        # Whatever a server has to say here (no such database, wrong password, away) is for people.
        await database.close()
        reason = error.message if isinstance(error, Unavailable) else str(error)
        raise Unavailable(f"{name}: {reason or type(error).__name__}") from None
    return database
