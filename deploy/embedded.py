"""Everything in one process: a SQLite file per service, the in-process bus, no other software.

The same handlers, outbox, inbox and sagas as in the distributed mode; only the two carriers
differ. One crash takes all services at once, and one disk is all the durability there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis import auth, failpoints, migrations
from chassis.bus_local import LocalBus
from chassis.db import Database, connect
from chassis.errors import Unavailable
from chassis.service import Service
from deploy.assembly import SERVICES, settings_of, topology
from deploy.secrets_file import Secrets
from gateway import app as gateway_app
from gateway.settings import GatewaySettings


class Embedded:
    """A whole installation in this process."""

    def __init__(self, settings: GatewaySettings, secrets: Secrets) -> None:
        self.settings = settings
        self.secrets = secrets
        self._bus = LocalBus(topology(), settings.bus_local_faults)
        key = auth.private_key(secrets.secret_key, "internal")
        self.services: dict[str, Service] = {
            name: build(
                settings_of(name, settings),
                connect(settings.database_url(name)),
                self._bus,
                auth.Verifier(key.public_key(), name),
            )
            for name, build in SERVICES.items()
        }
        self.gateway = gateway_app.build(
            settings,
            connect(settings.database_url("gateway")),
            self._bus,
            secret_key=secrets.secret_key,
            upstreams={name: service.app for name, service in self.services.items()},
            embedded=True,
            admin_token=secrets.admin_token,
            demo_password=secrets.demo_password,
        )

    async def start(self) -> None:
        """Migrate what is behind, open everything, start the background work."""
        failpoints.arm(self.settings.failpoint)
        for name, service in self.services.items():
            await _migrate(name, service.database)
        await _migrate("gateway", self.gateway.database)
        for service in self.services.values():
            await service.prepare()
        await self.gateway.prepare()
        await self._bus.start()
        for service in self.services.values():
            await service.start()
        await self.gateway.start()

    async def stop(self) -> None:
        """Stop the bus first: whoever hears on it must still be there for what it carries."""
        await self._bus.stop()
        await self.gateway.stop()
        for service in self.services.values():
            await service.stop()


async def _migrate(name: str, database: Database) -> None:
    """Alembic is heavy: it is loaded only for a database that is behind.

    Raises Unavailable for one that is ahead.
    """
    await database.open()
    at, head = await migrations.current(database), migrations.head(name)
    if at == head:
        return
    if at and at > head:
        raise Unavailable(
            f"the data of {name} is from a newer version (schema {at}, this one knows {head}):"
            " start that version, or choose another data folder"
        )
    await database.close()
    await asyncio.to_thread(migrations.upgrade, name, database.url)
    await database.open()


@asynccontextmanager
async def running(settings: GatewaySettings, secrets: Secrets) -> AsyncIterator[Embedded]:
    """A started installation, stopped at the end."""
    embedded = Embedded(settings, secrets)
    await embedded.start()
    try:
        yield embedded
    finally:
        await embedded.stop()
