"""``reclamo doctor``: is everything there that the system needs? Each finding names its fix."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from chassis import auth, engines, migrations
from chassis.errors import Unavailable
from chassis.settings import EXAMPLE_SECRETS
from deploy.assembly import PROCESSES, topology
from deploy.reading import open_to_read
from gateway.settings import GatewaySettings

SECRET_MIN = 32
_KEYGEN = "run `reclamo keygen` and put its lines into the environment"


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


async def examine(settings: GatewaySettings) -> list[Check]:
    """Secrets, databases with their migrations, broker with its topology, local engines."""
    secrets = [_secret(settings), _public_key(settings), _admin_token(settings)]
    checks = [check for check in secrets if check] + [await _broker(settings)]
    for name in PROCESSES:
        checks.append(await _database(settings, name))
    return [*checks, _engines()]


def _is_embedded(settings: GatewaySettings) -> bool:
    return settings.bus_url.startswith("memory")


def _secret(settings: GatewaySettings) -> Check:
    if _is_embedded(settings):
        return Check("secret", "ok", "embedded mode keeps random secrets in its data folder")
    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    if not secret:
        return Check("secret", "wrong", "RECLAMO_SECRET_KEY is not set", _KEYGEN)
    if len(secret) < SECRET_MIN or secret.lower() in EXAMPLE_SECRETS or len(set(secret)) < 8:
        return Check("secret", "wrong", "RECLAMO_SECRET_KEY is short or an example", _KEYGEN)
    return Check("secret", "ok", "set")


def _public_key(settings: GatewaySettings) -> Check | None:
    """Services check with this what the gateway signs with the secret."""
    if not settings.internal_public_key or not settings.secret_key:
        return None
    key = auth.private_key(settings.secret_key.get_secret_value(), "internal")
    if settings.internal_public_key != auth.public_text(key):
        found = "RECLAMO_INTERNAL_PUBLIC_KEY is not that of RECLAMO_SECRET_KEY"
        return Check("public key", "wrong", found, f"{_KEYGEN}, both of one run")
    return Check("public key", "ok", "that of the secret")


def _admin_token(settings: GatewaySettings) -> Check | None:
    if _is_embedded(settings) or not settings.admin_token:
        return None
    if len(settings.admin_token.get_secret_value()) < SECRET_MIN:
        found = f"RECLAMO_ADMIN_TOKEN has less than {SECRET_MIN} characters"
        return Check("admin token", "wrong", found, _KEYGEN)
    return Check("admin token", "ok", "set")


async def _database(settings: GatewaySettings, name: str) -> Check:
    url = settings.database_url(name)
    title = f"database {name}"
    try:
        database = await open_to_read(name, url)
    except Unavailable as error:
        found = error.message.removeprefix(f"{name}: ")
        variable = f"RECLAMO_{name.upper()}_DATABASE_URL"
        if not url.startswith("sqlite"):
            return Check(title, "wrong", found, f"start the server, or correct {variable}")
        if _is_embedded(settings):
            return Check(title, "note", found, "`make run` creates it at the first start")
        return Check(title, "wrong", found, f"reclamo migrate {name}, or correct {variable}")
    try:
        at, head = await migrations.current(database), migrations.head(name)
    except Exception as error:
        return Check(title, "wrong", f"{type(error).__name__}: {error}", f"look at {url}")
    finally:
        await database.close()
    if at == head:
        return Check(title, "ok", f"schema at {at}")
    found = f"schema at {at or 'nothing'}, code at {head}"
    if at and at > head:
        return Check(title, "wrong", found, "the data is newer: install the version that wrote it")
    return Check(title, "wrong", found, f"reclamo migrate {name}")


async def _broker(settings: GatewaySettings) -> Check:
    if _is_embedded(settings):
        return Check("broker", "ok", "in-process bus, no broker needed")
    from chassis.bus_rabbit import missing_queues

    try:
        async with asyncio.timeout(10):
            missing = await missing_queues(settings.bus_url, topology())
    except Exception as error:
        # A wrong URL, a closed port, a wrong password: whatever it is, it is told.
        found = str(error) or type(error).__name__
        return Check("broker", "wrong", found, "start RabbitMQ, or correct RECLAMO_BUS_URL")
    if missing:
        return Check("broker", "wrong", f"missing: {', '.join(missing)}", "reclamo topology apply")
    return Check("broker", "ok", "connected, every queue is there")


def _engines() -> Check:
    try:
        found = f"{engines.postgres_version()}; {engines.rabbitmq_version()}"
    except engines.EngineMissing as missing:
        return Check("local engines", "note", str(missing), "only `make local` and tests need them")
    return Check("local engines", "ok", found)
