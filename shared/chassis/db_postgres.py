"""PostgreSQL by asyncpg: READ COMMITTED, explicit row locks, CHECK constraints."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any

import asyncpg
import sqlalchemy as sa
from pydantic_core import from_json, to_json

from chassis.db import (
    HOLD_S,
    CheckFailed,
    Database,
    DuplicateRow,
    Row,
    Session,
    Transient,
    Tx,
    chunks,
    to_the_end,
)
from chassis.errors import Invalid, Unavailable
from chassis.hints import Hints

POOL_MAX = 10
END_WITHIN_S = 10
_PARAM = re.compile(r"(\b(NOT\s+)?IN\s+)?(?<![:\w]):([a-zA-Z_]\w*)", re.IGNORECASE)
_SETTINGS = {
    "lock_timeout": "2000",
    "statement_timeout": "10000",
    "idle_in_transaction_session_timeout": "30000",
}
_MULTI_ROW_MAX = 64
# Not the lock that waits: a statement that waits keeps VACUUM from all that is newer than it.
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.DiskFullError,
    asyncpg.ReadOnlySQLTransactionError,
    TimeoutError,
)
_AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InvalidCachedStatementError,
)

_UNSTORABLE = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)


@lru_cache(maxsize=4096)
def _translate(sql: str) -> tuple[str, tuple[str, ...]]:
    """``:name`` to ``$1``; ``IN :names`` to ``= ANY($1)``, ``NOT IN :names`` to ``<> ALL($1)``."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        in_list, negated, name = match.groups()
        if name not in names:
            names.append(name)
        position = f"${names.index(name) + 1}"
        if not in_list:
            return position
        return f"<> ALL({position})" if negated else f"= ANY({position})"

    return _PARAM.sub(number, sql), tuple(names)


@lru_cache(maxsize=4096)
def _insert_sql(table: str, names: tuple[str, ...], rows: int, ignore: bool) -> str:
    width = len(names)
    marks = ", ".join(
        "(" + ", ".join(f"${row * width + column + 1}" for column in range(width)) + ")"
        for row in range(rows)
    )
    end = " ON CONFLICT DO NOTHING" if ignore else ""
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES {marks}{end}"


def _named(error: BaseException) -> BaseException:
    if isinstance(error, _AGAIN):
        return Transient(str(error))
    if isinstance(error, asyncpg.UniqueViolationError):
        return DuplicateRow(error.constraint_name or str(error))
    if isinstance(error, asyncpg.CheckViolationError):
        return CheckFailed(error.constraint_name or str(error))
    if isinstance(error, _UNSTORABLE):
        return Invalid("text_unstorable", "A text contains a character that cannot be stored.")
    if isinstance(error, _AWAY):
        return Unavailable(f"the database cannot be reached: {error or type(error).__name__}")
    return error


def _touched(status: str) -> int:
    last = status.rsplit(" ", 1)[-1]
    return int(last) if last.isdigit() else 0


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: to_json(value).decode(),
        decoder=from_json,
    )


async def _as_it_is(_: asyncpg.Connection) -> None:
    """Nothing of ours outlives its transaction, so a connection goes back without asyncpg's round
    trip of RESET ALL: that is half the time of a short transaction."""


def _throw_away(connection: asyncpg.Connection) -> None:
    """It is gone or in disorder, and its transaction with it; the pool makes another."""
    with suppress(asyncpg.InterfaceError):  # the pool has noticed already
        connection.terminate()


class _Statements:
    """fetch and execute on one connection, errors by our names."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, **params: Any) -> list[Row]:
        text, names = _translate(sql)
        try:
            records = await self._connection.fetch(text, *(params[name] for name in names))
        except Exception as error:
            raise _named(error) from error
        return [dict(record) for record in records]

    async def execute(self, sql: str, **params: Any) -> int:
        text, names = _translate(sql)
        try:
            return _touched(await self._connection.execute(text, *(params[name] for name in names)))
        except Exception as error:
            raise _named(error) from error


class PostgresTx(_Statements, Tx):
    """A transaction on one pooled connection."""

    dialect = "postgresql"

    def __init__(self, database: Database, connection: asyncpg.Connection) -> None:
        Tx.__init__(self, database)
        _Statements.__init__(self, connection)

    async def _insert(
        self, table: sa.Table, names: tuple[str, ...], rows: list[tuple[Any, ...]], ignore: bool
    ) -> int:
        try:
            if len(rows) > _MULTI_ROW_MAX and not ignore:
                sql = _insert_sql(table.name, names, 1, ignore)
                await self._connection.executemany(sql, rows)
                return len(rows)
            inserted = 0
            for part in chunks(rows, _MULTI_ROW_MAX):
                sql = _insert_sql(table.name, names, len(part), ignore)
                values = [value for row in part for value in row]
                inserted += _touched(await self._connection.execute(sql, *values))
            return inserted
        except Exception as error:
            raise _named(error) from error


class _PostgresSession(_Statements, Session):
    """A connection that holds an advisory lock: lost connection, lost lock, failed statement."""


class PostgresDatabase(Database):
    """A pool of connections; reconnects by itself after the server was away."""

    dialect = "postgresql"

    def __init__(self, url: str) -> None:
        super().__init__(re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url))
        self._pool: asyncpg.Pool | None = None
        self._hints = Hints(self.url, wake=self._wake, wake_all=self._wake_all)

    async def share_wakes(self) -> None:
        """Exchange wakes with the other processes on this database, until cancelled."""
        await self._hints.run(self.service)

    def _tell(self, key: str) -> None:
        self._hints.tell(key)

    async def open(self) -> None:
        if self._pool:
            return
        self._pool = asyncpg.create_pool(
            self.url,
            min_size=0,
            max_size=POOL_MAX,
            init=_prepare,
            reset=_as_it_is,
            server_settings=_SETTINGS,
            timeout=5,
            max_inactive_connection_lifetime=300,
        )
        await self._pool

    async def close(self) -> None:
        if self._pool:
            try:
                async with asyncio.timeout(5):
                    await self._pool.close()
            except Exception:
                self._pool.terminate()
            self._pool = None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        pool = self._pool
        if pool is None:
            raise Unavailable("the database is closed")
        try:
            connection = await pool.acquire(timeout=5)
        except Exception as error:
            raise _named(error) from error
        try:
            yield connection
        finally:
            with suppress(Exception):  # then the pool has thrown it away
                await pool.release(connection)

    @asynccontextmanager
    async def _glance(self) -> AsyncIterator[PostgresTx]:
        async with self._connection() as connection:
            tx = PostgresTx(self, connection)
            yield tx
            await tx._end()

    @asynccontextmanager
    async def _begin(self, *, write: bool) -> AsyncIterator[PostgresTx]:
        async with self._connection() as connection:
            begin = "BEGIN" if write else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            tx = PostgresTx(self, connection)
            try:
                await tx.execute(begin)
                yield tx
                await tx._end()
            except BaseException:
                await self._rollback(connection)
                raise
            if write:
                await self._commit(connection, tx)
            else:
                await self._rollback(connection)

    async def _commit(self, connection: asyncpg.Connection, tx: PostgresTx) -> None:
        async def commit() -> None:
            if await connection.execute("COMMIT") == "ROLLBACK":
                raise Transient("the transaction had already failed")
            tx._committed()

        try:
            await to_the_end(asyncio.ensure_future(commit()), END_WITHIN_S)
        except Transient:
            raise
        except Exception as error:
            named = _named(error)
            if isinstance(named, Unavailable):
                _throw_away(connection)
            raise named from error

    async def _rollback(self, connection: asyncpg.Connection) -> None:
        try:
            await to_the_end(asyncio.ensure_future(connection.execute("ROLLBACK")), END_WITHIN_S)
        except Exception:
            _throw_away(connection)

    @asynccontextmanager
    async def _hold(self, name: str, again_s: float | None) -> AsyncIterator[Session | None]:
        try:
            connection = await asyncpg.connect(
                self.url,
                timeout=5,
                server_settings={
                    # A stopped or unreachable process would keep its lock as long as it likes.
                    "idle_session_timeout": str(int(HOLD_S * 1000)),
                    # What is written here is found out again if a crash of the server loses it.
                    "synchronous_commit": "off",
                },
            )
        except Exception as error:
            raise _named(error) from error
        try:
            try:
                await _prepare(connection)
                while not (mine := await connection.fetchval(_TRY_LOCK, name)):
                    if again_s is None:
                        break
                    await asyncio.sleep(again_s)
            except Exception as error:
                raise _named(error) from error
            yield _PostgresSession(connection) if mine else None
        finally:
            connection.terminate()
