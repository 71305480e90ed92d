"""Where orders is put together."""

from __future__ import annotations

from chassis import serve
from chassis.auth import Verifier
from chassis.db import Database
from chassis.loops import Loop
from chassis.messaging import Bus
from chassis.service import Service
from chassis.settings import Settings as AnySettings
from services.orders import api, consumers, invariants, paying, providers, store
from services.orders.settings import Settings
from services.orders.worker import RefundWorker, measure


def build(settings: AnySettings, database: Database, bus: Bus, verifier: Verifier) -> Service:
    """The service on a given database and bus."""
    own = settings if isinstance(settings, Settings) else Settings(data_dir=settings.data_dir)
    database.serve("orders", store.METADATA)
    configured = providers.configured(
        fake_file=own.fake_ledger_file, fake_faults=own.fake_provider_faults
    )
    worker = Loop("orders.refunds", RefundWorker(database, configured).step, idle_s=1.0)
    database.listen(paying.WORKER, worker.wake)
    service = Service(
        "orders",
        database=database,
        bus=bus,
        verifier=verifier,
        routers=[api.router],
        subscriptions=consumers.SUBSCRIPTIONS,
        loops=[worker],
        verify_sender=settings.bus_verify_sender,
        books=invariants,
        measure=measure,
    )
    service.app.state.wait_bound_s = settings.wait_bound_s
    service.app.state.providers = frozenset(configured)
    return service


if __name__ == "__main__":
    serve.main("orders", build, consumers.SUBSCRIPTIONS, Settings())
