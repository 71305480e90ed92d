"""Schema history: one per service, numbered 0001, 0002, ... in its ``migrations`` folder.

``python -m chassis.migrations services.orders "add a column"`` writes the next revision from the
difference between the tables in ``store.py`` and the history.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from chassis.db import Database, Transient
from chassis.errors import Unavailable

_HERE = Path(__file__).parent


def package_of(service: str) -> str:
    """The import name of a service's package: ``orders`` -> ``services.orders``."""
    return service if "." in service or service == "gateway" else f"services.{service}"


def _folder(service: str) -> Path:
    module = importlib.import_module(package_of(service))
    return Path(str(module.__file__)).parent / "migrations"


def schema(service: str) -> sa.MetaData:
    """The tables of a service: ``METADATA`` in its ``store.py``."""
    found = importlib.import_module(f"{package_of(service)}.store").METADATA
    assert isinstance(found, sa.MetaData)
    return found


def head(service: str) -> str:
    """The newest revision there is."""
    return max((path.name[:4] for path in _folder(service).glob("[0-9]*.py")), default="0000")


async def current(database: Database) -> str | None:
    """The revision the database is at; None for an empty one. Raises Unavailable when away."""
    try:
        async with database.reading() as tx:
            found = await tx.fetch_value("SELECT version_num FROM alembic_version")
            return str(found) if found else None
    except (Unavailable, Transient):
        raise
    except Exception:
        return None


def upgrade(service: str, url: str) -> None:
    """Bring a database to the newest revision. Safe to run from several processes at once."""
    from alembic import command

    _with_connection(url, lambda connection: command.upgrade(_config(service, connection), "head"))


def differences(service: str, url: str) -> list[Any]:
    """What the tables in ``store.py`` have that the history does not, and the reverse."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    found: list[Any] = []

    def compare(connection: sa.Connection) -> None:
        found.extend(compare_metadata(MigrationContext.configure(connection), schema(service)))

    _with_connection(url, compare)
    return found


def revise(service: str, message: str) -> None:
    """Write the next revision."""
    from alembic import command

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/history.db"
        upgrade(service, url)
        number = f"{int(head(service)) + 1:04d}"
        _with_connection(
            url,
            lambda connection: command.revision(
                _config(service, connection), message, autogenerate=True, rev_id=number
            ),
        )


def _config(service: str, connection: sa.Connection) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE / "alembic_env"))
    config.set_main_option("version_locations", str(_folder(service)))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes.update(connection=connection, metadata=schema(service))
    return config


def _with_connection(url: str, work: Callable[[sa.Connection], object]) -> None:
    if url.startswith("sqlite"):
        from chassis.db_sqlite import file_of

        file_of(url).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            work(connection)
        engine.dispose()
        return
    asyncio.run(_with_postgres(url, work))


async def _with_postgres(url: str, work: Callable[[sa.Connection], object]) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine("postgresql+asyncpg://" + url.split("://", 1)[1])
    try:
        async with engine.begin() as connection:
            await connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtextextended('reclamo.migrate', 0))")
            )
            await connection.run_sync(work)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    revise(sys.argv[1], sys.argv[2])
