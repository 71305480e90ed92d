"""One way to the database: plain SQL with named parameters, on PostgreSQL and on SQLite.

``transaction()`` is the only place that commits. Statements are text because SQL is what every
reader knows; they run on the bare drivers (asyncpg, sqlite3) because the same work through a
query builder costs three times the processor (DECISIONS.md).

What a statement may use: ``:name`` parameters, ``IN :names`` with a list, ``FOR UPDATE [SKIP
LOCKED]`` (SQLite has one writer and drops it), ``ON CONFLICT``, ``RETURNING`` (on SQLite it gives
times, booleans and JSON unconverted, so return only text and numbers).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from chassis import clock

Row = dict[str, Any]
T = TypeVar("T")

Instant = sa.DateTime(timezone=True)
Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# A hold whose process shows no statement for this long is another's to take.
HOLD_S = 15.0
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Transient(Exception):
    """The database asks to try again: deadlock, serialization, lock wait. Nothing was changed."""


class DuplicateRow(Exception):
    """A unique constraint said no; ``constraint`` names it where the driver tells."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class CheckFailed(Exception):
    """A CHECK constraint, the last net under the rules, said no."""


def metadata() -> sa.MetaData:
    """An empty schema whose constraints get stable names."""
    return sa.MetaData(naming_convention=_NAMES)


@lru_cache(maxsize=4096)
def _insert_plan(table: sa.Table, given: frozenset[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Which columns an INSERT names, and the literal defaults of those that rows may leave out."""
    defaults = {
        column.name: column.default.arg  # type: ignore[attr-defined]
        for column in table.columns
        if column.default is not None and column.default.is_scalar
    }
    unknown = given - {column.name for column in table.columns}
    if unknown:
        raise KeyError(f"{table.name} has no column {', '.join(sorted(unknown))}")
    names = tuple(c.name for c in table.columns if c.name in given or c.name in defaults)
    return names, defaults


class Tx(ABC):
    """One transaction, or a reading that sees one state of the database."""

    dialect: str

    def __init__(self, database: Database) -> None:
        self.database = database
        self._callbacks: list[Callable[[], None]] = []
        self._wakes: list[str] = []
        self._at_end: dict[sa.Table, list[Mapping[str, Any]]] = {}

    @abstractmethod
    async def fetch(self, sql: str, **params: Any) -> list[Row]:
        """All rows as dicts."""

    @abstractmethod
    async def execute(self, sql: str, **params: Any) -> int:
        """Run a statement; the number of rows it touched."""

    @abstractmethod
    async def _insert(
        self, table: sa.Table, names: tuple[str, ...], rows: list[tuple[Any, ...]], ignore: bool
    ) -> int: ...

    async def fetch_one(self, sql: str, **params: Any) -> Row | None:
        """The first row, or None."""
        rows = await self.fetch(sql, **params)
        return rows[0] if rows else None

    async def fetch_value(self, sql: str, **params: Any) -> Any:
        """The first column of the first row, or None."""
        row = await self.fetch_one(sql, **params)
        return next(iter(row.values())) if row else None

    async def insert(
        self,
        table: sa.Table,
        rows: Iterable[Mapping[str, Any]],
        *,
        ignore_conflicts: bool = False,
    ) -> int:
        """Insert rows (columns left out take their scalar default, else NULL); how many went in.

        ``ignore_conflicts`` skips rows that meet a unique constraint instead of failing.
        """
        given = list(rows)
        if not given:
            return 0
        keys = frozenset(given[0])
        for row in given[1:]:
            if row.keys() != keys:
                keys = keys.union(*(other.keys() for other in given))
                break
        names, defaults = _insert_plan(table, keys)
        values = [tuple(row.get(name, defaults.get(name)) for name in names) for row in given]
        return await self._insert(table, names, values, ignore_conflicts)

    def insert_at_end(self, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Insert a row just before the commit, with all others of its table in one statement.

        For what nobody reads in this transaction. A constraint it meets fails the commit.
        """
        self._at_end.setdefault(table, []).append(row)

    async def _end(self) -> None:
        for table, rows in self._at_end.items():
            await self.insert(table, rows)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call this once the transaction stands; never after a rollback."""
        self._callbacks.append(callback)

    def wake(self, key: str) -> None:
        """After the commit, wake who waits for ``key``."""
        if key not in self._wakes:
            self._wakes.append(key)

    def _committed(self) -> None:
        """The transaction stands (its caller may be gone by now)."""
        for key in self._wakes:
            self.database.notify(key)
        for callback in self._callbacks:
            callback()


class Session(ABC):
    """An exclusive hold on a name across processes; statements on it commit at once."""

    @abstractmethod
    async def fetch(self, sql: str, **params: Any) -> list[Row]:
        """All rows; raises Unavailable when the hold is lost."""

    @abstractmethod
    async def execute(self, sql: str, **params: Any) -> int:
        """Rows touched; raises Unavailable when the hold is lost."""


class Database(ABC):
    """One service's database. ``open`` may be called before the server can be reached."""

    dialect: str

    def __init__(self, url: str) -> None:
        self.url = url
        self.service = ""
        self.tables: dict[str, sa.Table] = {}
        # In the order of waiting, so that the order of waking is not that of addresses.
        self._waiting: dict[str, dict[asyncio.Event, None]] = {}
        self._listeners: dict[str, list[Callable[[], None]]] = {}

    def serve(self, service: str, schema: sa.MetaData) -> Database:
        """Say whose database it is; the chassis finds its own tables in the schema."""
        self.service = service
        self.tables = dict(schema.tables)
        return self

    @abstractmethod
    async def open(self) -> None:
        """Prepare; does not fail when a server is down, the first use does."""

    @abstractmethod
    async def close(self) -> None:
        """Give every connection back."""

    @abstractmethod
    def _begin(self, *, write: bool) -> Any: ...

    def _glance(self) -> Any:
        return self._begin(write=False)

    def _aside(self) -> Any:
        return self._begin(write=False)

    @abstractmethod
    def _hold(self, name: str, again_s: float | None) -> Any: ...

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Everything inside commits together at the end, or nothing does.

        Raises Transient (try again), Unavailable (database away), DuplicateRow, CheckFailed.
        """
        async with self._begin(write=True) as tx:
            yield tx

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """One consistent view; writing fails."""
        async with self._begin(write=False) as tx:
            yield tx

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[Tx]:
        """As ``reading``, for what may take long: the rest of this process goes on meanwhile."""
        async with self._aside() as tx:
            yield tx

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[Tx]:
        """For reading by one statement: it sees one state by itself, without the cost of a view
        that would hold several together."""
        async with self._glance() as tx:
            yield tx

    @asynccontextmanager
    async def exclusive(
        self, name: str, *, again_s: float | None = None
    ) -> AsyncIterator[Session | None]:
        """Hold ``name`` alone among all processes, or get None because another one does.

        With ``again_s`` stand by instead, and try again that often. A process that stops in the
        middle loses its hold after ``HOLD_S`` without a statement.
        """
        async with self._hold(name, again_s) as session:
            yield session

    def listen(self, key: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after every commit that woke ``key``, until what is returned is called."""
        self._listeners.setdefault(key, []).append(callback)

        def end() -> None:
            self._listeners[key].remove(callback)

        return end

    def notify(self, key: str) -> None:
        """Wake who waits for ``key``: in this process and, unless its background work is here,
        in the others."""
        if not self._wake(key):
            self._tell(key)

    def _wake(self, key: str) -> bool:
        """Wake who waits here; whether background work was among them, of which one is enough."""
        events, callbacks = self._waiting.get(key, ()), self._listeners.get(key, ())
        for event in events:
            event.set()
        for callback in callbacks:
            callback()
        return bool(callbacks)

    def _wake_all(self) -> None:
        """Something may have been missed: let everybody look."""
        for key in {*self._waiting, *self._listeners}:
            self._wake(key)

    def _tell(self, key: str) -> None:  # noqa: B027
        """Hint other processes at a wake. None where there is only one process."""

    async def share_wakes(self) -> None:  # noqa: B027
        """Exchange wakes with the other processes on this database, until cancelled.

        They are hints: whoever waits also looks by itself. Returns where there are no others.
        """

    async def wait(
        self,
        key: str,
        probe: Callable[[Tx], Awaitable[T | None]],
        bound_s: float,
        *,
        one_statement: bool = False,
    ) -> T | None:
        """Wait until ``probe`` finds something, at most ``bound_s`` seconds; None if it never did.

        Woken by ``tx.wake(key)`` in any process; looks by itself
        every 50 to 200 ms in case that a hint of another process got lost. Holds no connection
        while it waits. A probe of ``one_statement`` is spared the cost of a view.
        """
        look = self.glance if one_statement else self.reading
        event = asyncio.Event()
        self._waiting.setdefault(key, {})[event] = None
        deadline = clock.monotonic_s() + bound_s
        pause_s = 0.05
        try:
            while True:
                try:
                    async with asyncio.timeout(min(pause_s, bound_s)):
                        await event.wait()
                except TimeoutError:
                    pause_s = min(pause_s * 2, 0.2)
                event.clear()
                async with look() as tx:
                    found = await probe(tx)
                if found is not None:
                    return found
                if clock.monotonic_s() >= deadline:
                    return None
        finally:
            events = self._waiting[key]
            del events[event]
            if not events:
                del self._waiting[key]


def connect(url: str) -> Database:
    """The database behind a URL: ``sqlite:///file`` or ``postgresql://...`` (also ``postgres://``)."""
    scheme = url.split(":", 1)[0].split("+", 1)[0]
    if scheme == "sqlite":
        from chassis.db_sqlite import SqliteDatabase

        return SqliteDatabase(url)
    if scheme in ("postgresql", "postgres"):
        from chassis.db_postgres import PostgresDatabase

        return PostgresDatabase(url)
    raise ValueError(
        f"cannot use a database URL that begins with {scheme!r}: "
        "write sqlite:///path/file.db or postgresql://user:password@host/database"
    )


async def to_the_end(work: asyncio.Future[T], within_s: float | None = None) -> T:
    """The result of ``work``, which goes on to its end even if the caller is canceled meanwhile.

    Then the cancellation is raised after the end: a transaction must not be left half-ended.
    ``within_s`` bounds that wait.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        deadline = None if within_s is None else clock.monotonic_s() + within_s
        while not work.done():
            left = None if deadline is None else max(deadline - clock.monotonic_s(), 0)
            try:
                await asyncio.wait([work], timeout=left)
            except asyncio.CancelledError:
                continue
            if left is not None and not work.done():
                work.cancel()
        if not work.cancelled():
            work.exception()  # looked at, so that nobody warns of it
        raise


def chunks(rows: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """Consecutive pieces of at most ``size``."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
