"""Where orders is put together."""

from __future__ import annotations

from datetime import datetime

from chassis import saga_log, serve
from chassis.auth import Verifier
from chassis.db import Database, Tx
from chassis.loops import Loop
from chassis.messaging import Bus
from chassis.operating import SagaDesk
from chassis.service import Service
from chassis.settings import Settings as AnySettings
from services.orders import (
    api,
    capturing,
    consumers,
    invariants,
    operations,
    paying,
    providers,
    saga,
    store,
)
from services.orders.settings import Settings
from services.orders.worker import CaptureWorker, MemoClerk, RefundWorker, measure


def build(settings: AnySettings, database: Database, bus: Bus, verifier: Verifier) -> Service:
    """The service on a given database and bus."""
    own = settings if isinstance(settings, Settings) else Settings(data_dir=settings.data_dir)
    database.serve("orders", store.METADATA)
    configured = providers.configured(
        fake_file=own.fake_ledger_file, fake_faults=own.fake_provider_faults
    )
    refunds = Loop("orders.refunds", RefundWorker(database, configured).step, idle_s=2.0)
    database.listen(paying.WORKER, refunds.wake)
    captures = Loop("orders.captures", CaptureWorker(database, configured).step, idle_s=2.0)
    database.listen(capturing.WORKER, captures.wake)

    async def expire_one(tx: Tx, saga_id: str, now: datetime) -> None:
        await operations.expire_saga(tx, saga_id=saga_id, now=now)

    async def wake_due() -> bool:
        return await saga_log.wake_due(database, expire_one)

    async def release(tx: Tx, subject_id: str) -> bool:
        return await operations.release_again(tx, subject_id=subject_id)

    async def give_up(tx: Tx, saga_id: str, reason: str, now: datetime) -> None:
        await operations.give_up(tx, saga_id=saga_id, reason=reason, now=now)

    service = Service(
        "orders",
        database=database,
        bus=bus,
        verifier=verifier,
        routers=[api.router],
        subscriptions=consumers.SUBSCRIPTIONS,
        loops=[
            refunds,
            captures,
            Loop("orders.memos", MemoClerk(database).step, idle_s=2.0),
            Loop("orders.timers", wake_due, idle_s=1.0),
        ],
        verify_sender=settings.bus_verify_sender,
        books=invariants,
        release=release,
        sagas=SagaDesk(saga.SAGAS, give_up),
        measure=measure,
    )
    service.app.state.wait_bound_s = settings.wait_bound_s
    service.app.state.providers = frozenset(configured)
    return service


if __name__ == "__main__":
    serve.main("orders", build, consumers.SUBSCRIPTIONS, Settings())
