"""Where claims is put together."""

from __future__ import annotations

from datetime import datetime

from chassis import saga_log, serve, settings
from chassis.auth import Verifier
from chassis.db import Database, Tx
from chassis.files import LocalFiles
from chassis.loops import Loop
from chassis.messaging import Bus
from chassis.operating import SagaDesk
from chassis.service import Service
from services.claims import (
    api,
    consumers,
    exchange_api,
    inquiry_api,
    invariants,
    operations,
    saga,
    store,
)
from services.claims.evidence import Sweeper
from services.claims.settings import Settings


def build(given: settings.Settings, database: Database, bus: Bus, verifier: Verifier) -> Service:
    """The service on a given database and bus."""
    own = Settings.of(given)
    database.serve("claims", store.METADATA)
    files = LocalFiles(own.evidence_folder)

    async def expire_one(tx: Tx, saga_id: str, now: datetime) -> None:
        await operations.expire_saga(tx, saga_id=saga_id, now=now)

    async def wake_due() -> bool:
        return await saga_log.wake_due(database, expire_one)

    async def release(tx: Tx, subject_id: str) -> bool:
        return await operations.release_again(tx, subject_id=subject_id)

    async def give_up(tx: Tx, saga_id: str, reason: str, now: datetime) -> None:
        await operations.give_up(tx, saga_id=saga_id, reason=reason, now=now)

    service = Service(
        "claims",
        database=database,
        bus=bus,
        verifier=verifier,
        routers=[api.router, exchange_api.router, inquiry_api.router],
        subscriptions=consumers.SUBSCRIPTIONS,
        loops=[
            Loop("claims.timers", wake_due, idle_s=1.0),
            Loop("claims.evidence", Sweeper(database, files).step, idle_s=1800.0),
        ],
        verify_sender=own.bus_verify_sender,
        books=invariants,
        release=release,
        sagas=SagaDesk(saga.SAGAS, give_up),
    )
    service.app.state.wait_bound_s = own.wait_bound_s
    service.app.state.files = files
    service.app.state.inquiries_a_day = own.inquiries_per_day
    return service


if __name__ == "__main__":
    serve.main("claims", build, consumers.SUBSCRIPTIONS, Settings())
