"""``reclamo doctor``: is everything there that the system needs? Each finding names its fix."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from chassis import engines, migrations
from chassis.bus_rabbit import missing_queues
from chassis.db import connect
from chassis.db_sqlite import ReadOnlySqlite
from chassis.errors import Unavailable
from chassis.settings import EXAMPLE_SECRETS, Settings
from deploy.assembly import PROCESSES, topology


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``state`` is ok, note or wrong; ``fix`` says what to do."""

    name: str
    state: str
    found: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


async def examine(settings: Settings) -> list[Check]:
    """Settings, databases with their migrations, broker with its topology."""
    checks = [_secret(settings), await _broker(settings)]
    for name in PROCESSES:
        checks.append(await _database(settings, name))
    checks.append(_engines())
    return checks


def _secret(settings: Settings) -> Check:
    if settings.bus_url.startswith("memory"):
        return Check("secret", "ok", "embedded mode keeps random secrets in its data folder")
    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    fix = "run `reclamo keygen` and put its lines into the environment"
    if not secret:
        return Check("secret", "wrong", "RECLAMO_SECRET_KEY is not set", fix)
    if len(secret) < 32 or secret.lower() in EXAMPLE_SECRETS:
        return Check("secret", "wrong", "RECLAMO_SECRET_KEY is short or an example", fix)
    return Check("secret", "ok", "set")


async def _database(settings: Settings, name: str) -> Check:
    url = settings.database_url(name)
    title = f"database {name}"
    head = migrations.head(name)
    sqlite = url.startswith("sqlite")
    database = ReadOnlySqlite(url) if sqlite else connect(url)
    try:
        await database.open()
        at = await migrations.current(database)
    except Unavailable as error:
        if sqlite:
            return Check(title, "note", error.message, "`make run` creates it at the first start")
        variable = f"RECLAMO_{name.upper()}_DATABASE_URL"
        return Check(title, "wrong", error.message, f"start the server, or correct {variable}")
    finally:
        await database.close()
    if at != head:
        return Check(title, "wrong", f"schema at {at}, code at {head}", f"reclamo migrate {name}")
    return Check(title, "ok", f"schema at {at}")


async def _broker(settings: Settings) -> Check:
    if settings.bus_url.startswith("memory"):
        return Check("broker", "ok", "in-process bus, no broker needed")
    try:
        async with asyncio.timeout(10):
            missing = await missing_queues(settings.bus_url, topology())
    except (OSError, TimeoutError, Exception) as error:
        return Check(
            "broker",
            "wrong",
            f"{type(error).__name__}: {error}",
            "start RabbitMQ, or correct RECLAMO_BUS_URL",
        )
    if missing:
        return Check("broker", "wrong", f"missing: {', '.join(missing)}", "reclamo topology apply")
    return Check("broker", "ok", "connected, every queue is there")


def _engines() -> Check:
    try:
        found = f"{engines.postgres_version()}; {engines.rabbitmq_version()}"
    except engines.EngineMissing as missing:
        return Check("local engines", "note", str(missing), "only `make local` and tests need them")
    return Check("local engines", "ok", found)
