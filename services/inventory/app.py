"""Where inventory is put together."""

from __future__ import annotations

from chassis import serve
from chassis.auth import Verifier
from chassis.db import Database
from chassis.messaging import Bus
from chassis.service import Service
from services.inventory import api, consumers, invariants, store
from services.inventory.settings import Settings


def build(settings: Settings, database: Database, bus: Bus, verifier: Verifier) -> Service:
    """The service on a given database and bus."""
    database.serve("inventory", store.METADATA)
    return Service(
        "inventory",
        database=database,
        bus=bus,
        verifier=verifier,
        routers=[api.router],
        subscriptions=consumers.SUBSCRIPTIONS,
        verify_sender=settings.bus_verify_sender,
        books=invariants,
    )


if __name__ == "__main__":
    serve.main("inventory", build, consumers.SUBSCRIPTIONS, Settings())
