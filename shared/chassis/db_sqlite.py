"""SQLite: one file per service, one writer, a few readers.

Statements take microseconds and run in the event loop; only COMMIT, which waits for the disk, goes
to a thread. One connection writes and checkpoints: that is what keeps SQLite's WAL-reset defect
(3.7.0 to 3.51.2) away, and ``BEGIN IMMEDIATE`` is what keeps lost updates away.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from pydantic_core import from_json, to_json

from chassis.db import CheckFailed, Database, DuplicateRow, Row, Session, Transient, Tx, to_the_end
from chassis.errors import Unavailable

READERS_MAX = 4
_LIST = re.compile(r"\bIN\s+:(\w+)", re.IGNORECASE)
_LOCK = re.compile(r"\bFOR\s+UPDATE(\s+OF\s+\w+)?(\s+SKIP\s+LOCKED)?", re.IGNORECASE)


def _time_text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def _json_text(value: Any) -> str:
    return to_json(value).decode()


sqlite3.register_adapter(datetime, _time_text)
sqlite3.register_adapter(dict, _json_text)
sqlite3.register_adapter(list, _json_text)
sqlite3.register_adapter(tuple, _json_text)
sqlite3.register_converter("DATETIME", lambda raw: datetime.fromisoformat(raw.decode()))
sqlite3.register_converter("JSON", from_json)
sqlite3.register_converter("BOOLEAN", lambda raw: raw == b"1")


@lru_cache(maxsize=4096)
def _translate(sql: str) -> str:
    return _LOCK.sub("", _LIST.sub(r"IN (SELECT value FROM json_each(:\1))", sql))


@lru_cache(maxsize=4096)
def _insert_sql(table: str, names: tuple[str, ...], ignore: bool) -> str:
    marks = ", ".join("?" * len(names))
    end = " ON CONFLICT DO NOTHING" if ignore else ""
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}){end}"


def file_of(url: str) -> Path:
    """The file behind ``sqlite:///relative`` or ``sqlite:////absolute``."""
    return Path(url.split(":", 1)[1].removeprefix("///"))


def _row_factory(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def open_connection(path: Path, *, write: bool) -> sqlite3.Connection:
    """A connection with our pragmas; a reader cannot write and cannot checkpoint."""
    mode = "rwc" if write else "ro"
    connection = sqlite3.connect(
        f"file:{path}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        detect_types=sqlite3.PARSE_DECLTYPES,
        cached_statements=512,
    )
    connection.row_factory = _row_factory
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA trusted_schema = OFF")
    if write:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _named(error: sqlite3.Error) -> Exception:
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError):
        if "UNIQUE" in text:
            return DuplicateRow(text)
        if "CHECK" in text:
            return CheckFailed(text)
        return error
    if isinstance(error, sqlite3.OperationalError):
        if "locked" in text or "busy" in text:
            return Transient(text)
        if any(word in text for word in ("unable to open", "disk", "readonly", "full")):
            return Unavailable(f"the database cannot be used: {text}")
    return error


class SqliteTx(Tx):
    """A transaction on one connection of the file."""

    dialect = "sqlite"

    def __init__(self, database: Database, connection: sqlite3.Connection) -> None:
        super().__init__(database)
        self._connection = connection

    async def fetch(self, sql: str, **params: Any) -> list[Row]:
        try:
            return self._connection.execute(_translate(sql), params).fetchall()
        except sqlite3.Error as error:
            raise _named(error) from error

    async def execute(self, sql: str, **params: Any) -> int:
        try:
            return self._connection.execute(_translate(sql), params).rowcount
        except sqlite3.Error as error:
            raise _named(error) from error

    async def _insert(
        self, table: sa.Table, names: tuple[str, ...], rows: list[tuple[Any, ...]], ignore: bool
    ) -> int:
        try:
            sql = _insert_sql(table.name, names, ignore)
            return self._connection.executemany(sql, rows).rowcount
        except sqlite3.Error as error:
            raise _named(error) from error


class _AsideTx(SqliteTx):
    """Its statements run in a thread: one of these may read a whole table."""

    async def fetch(self, sql: str, **params: Any) -> list[Row]:
        def work() -> list[Row]:
            return self._connection.execute(_translate(sql), params).fetchall()

        try:
            # To its end, also for a caller who goes away: the connection is closed after it.
            return await to_the_end(asyncio.ensure_future(asyncio.to_thread(work)))
        except sqlite3.Error as error:
            raise _named(error) from error


class _SqliteSession(Session):
    """The file's lock already keeps other processes out; ours ask the set of held names."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def fetch(self, sql: str, **params: Any) -> list[Row]:
        async with self._database.reading() as tx:
            return await tx.fetch(sql, **params)

    async def execute(self, sql: str, **params: Any) -> int:
        async with self._database.transaction() as tx:
            return await tx.execute(sql, **params)


class SqliteDatabase(Database):
    """One file, locked against a second process."""

    dialect = "sqlite"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.path = file_of(url)
        self._lock_file: IO[str] | None = None
        self._writer: sqlite3.Connection | None = None
        self._turn = asyncio.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._reader_slots = asyncio.Semaphore(READERS_MAX)
        self._held: set[str] = set()
        self._threads: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        if self._writer:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock_file = open(f"{self.path}.lock", "w")  # noqa: SIM115, ASYNC230 - held until close
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock_file.close()
            raise Unavailable(
                f"{self.path} is in use by another process: stop it, or choose another data folder"
            ) from None
        self._lock_file = lock_file
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-commit")
        self._writer = open_connection(self.path, write=True)

    async def close(self) -> None:
        for connection in self._readers:
            connection.close()
        self._readers.clear()
        if self._writer:
            async with self._turn:
                self._writer.close()
                self._writer = None
        if self._lock_file:
            self._lock_file.close()
            self._lock_file = None
        if self._threads:
            self._threads.shutdown(wait=False)
            self._threads = None

    def _is_open(self) -> bool:
        return self._writer is not None

    def _begin(self, *, write: bool) -> Any:
        return self._write() if write else self._read()

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[SqliteTx]:
        async with self._turn:
            connection = self._writer
            if connection is None:
                raise Unavailable("the database is closed")
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise _named(error) from error
            tx = SqliteTx(self, connection)
            try:
                yield tx
                await tx._end()
            except BaseException:
                connection.rollback()
                raise
            await self._commit(connection, tx)

    async def _commit(self, connection: sqlite3.Connection, tx: SqliteTx) -> None:
        loop = asyncio.get_running_loop()

        async def commit() -> None:
            await loop.run_in_executor(self._threads, connection.execute, "COMMIT")
            tx._committed()

        try:
            # Also for a caller who goes away: it must end before the next writer gets the
            # connection. The caller's retry will find what it did.
            await to_the_end(asyncio.ensure_future(commit()))
        except sqlite3.Error as error:
            raise _named(error) from error
        finally:
            if connection.in_transaction:
                connection.rollback()

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[SqliteTx]:
        async with self._reader_slots:
            if not self._is_open():
                raise Unavailable("the database is closed")
            try:
                connection = (
                    self._readers.pop()
                    if self._readers
                    else open_connection(self.path, write=False)
                )
            except sqlite3.Error as error:
                raise _named(error) from error
            try:
                try:
                    connection.execute("BEGIN")
                except sqlite3.Error as error:
                    raise _named(error) from error
                tx = SqliteTx(self, connection)
                yield tx
                await tx._end()
            finally:
                connection.rollback()
                if self._is_open():
                    self._readers.append(connection)
                else:
                    connection.close()

    @asynccontextmanager
    async def _aside(self) -> AsyncIterator[SqliteTx]:
        if not self._is_open():
            raise Unavailable("the database is closed")
        try:
            connection = open_connection(self.path, write=False)
        except sqlite3.Error as error:
            raise _named(error) from error
        try:
            connection.execute("BEGIN")
            yield _AsideTx(self, connection)
        finally:
            connection.close()

    @asynccontextmanager
    async def _hold(self, name: str, again_s: float | None) -> AsyncIterator[Session | None]:
        while again_s is not None and name in self._held:  # noqa: ASYNC110
            await asyncio.sleep(again_s)
        if name in self._held:
            yield None
            return
        self._held.add(name)
        try:
            yield _SqliteSession(self)
        finally:
            self._held.discard(name)


class ReadOnlySqlite(SqliteDatabase):
    """A file that another process may be using: read without its lock (``reclamo verify``)."""

    async def open(self) -> None:
        if not self.path.exists():
            raise Unavailable(
                f"{self.path} does not exist: set RECLAMO_DATA_DIR to the folder with the data"
            )
        self._writer = open_connection(self.path, write=False)
