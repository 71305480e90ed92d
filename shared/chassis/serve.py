"""A service as a process of its own: PostgreSQL or SQLite, RabbitMQ, uvicorn, an orderly stop."""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog
import uvicorn
import uvloop

from chassis import auth, failpoints, migrations
from chassis.db import Database, connect
from chassis.messaging import Bus, Subscription
from chassis.observability import configure_logs
from chassis.service import Service
from chassis.settings import Settings
from chassis.topology import Topology

log = structlog.get_logger(__name__)

Build = Callable[[Any, Database, Bus, auth.Verifier], Service]
GRACE_S = 25
DATE_S = 1.0


class MissingSetting(Exception):
    """A setting without which the process cannot work; the text names it and the fix."""


class _Server(uvicorn.Server):
    """Ends at once when told to, looks at nothing while it waits, and comes back to its caller
    after a signal. uvicorn would look ten times a second whether it was told, and raise the signal
    once more, which ends the process before consumers, relay and pools were told to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._told = asyncio.Event()
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        """Whether it was told to end, by a signal or its owner."""
        return self._told.is_set()

    @should_exit.setter
    def should_exit(self, told: bool) -> None:
        if told:
            self._told.set()
        else:
            self._told.clear()

    async def main_loop(self) -> None:
        """Wait to be told; once a second only, for the date in the answers."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), DATE_S)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals while inside; forget them at the end."""
        with super().capture_signals():
            try:
                yield
            finally:
                self._captured_signals.clear()


def server(app: Any, *, host: str, port: int) -> uvicorn.Server:
    """uvicorn for an ASGI app. It drains requests only; our tasks are stopped by their owner."""
    return _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=30,
        )
    )


def internal_verifier(settings: Settings, audience: str) -> auth.Verifier:
    """Checks the gateway's tokens: by the public key, or by the secret it is derived from."""
    if settings.internal_public_key:
        return auth.Verifier(auth.public_key(settings.internal_public_key), audience)
    if settings.secret_key:
        key = auth.private_key(settings.secret_key.get_secret_value(), "internal")
        return auth.Verifier(key.public_key(), audience)
    raise MissingSetting(
        "RECLAMO_INTERNAL_PUBLIC_KEY is not set: run `reclamo keygen` and give its line to "
        "every service"
    )


def keep_what_is_loaded() -> None:
    """Tell the garbage collector that what a started process holds stays: it looks at what requests
    leave only, and less often (a tenth of a claim's time on its default settings)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


async def run(
    name: str,
    build: Build,
    subscriptions: tuple[Subscription, ...],
    settings: Settings,
    *,
    host: str,
    port: int,
) -> None:
    """Serve until told to stop. A dead broker or database delays readiness, not the start."""
    failpoints.arm(settings.failpoint)
    if settings.failpoint_file:
        failpoints.arm_from(settings.failpoint_file)
    bus = broker(name, subscriptions, settings)
    service = build(
        settings, connect(settings.database_url(name)), bus, internal_verifier(settings, name)
    )
    await service.prepare()
    await bus.start()
    await service.start()
    keep_what_is_loaded()
    log.info("started", service=name, host=host, port=port)
    try:
        await server(service.app, host=host, port=port).serve()
    finally:
        await bus.stop()
        await service.stop()
        log.info("stopped", service=name)


def broker(name: str, subscriptions: tuple[Subscription, ...], settings: Settings) -> Bus:
    """The bus of a process of its own, not started. Raises MissingSetting."""
    if not settings.bus_url.startswith(("amqp://", "amqps://")):
        raise MissingSetting(
            "RECLAMO_BUS_URL must be amqp://user:password@host/ for a service of its own; "
            "`reclamo up --embedded` runs everything in one process without a broker"
        )
    # Here and not above: the embedded mode, which serves too, has no broker.
    from chassis.bus_rabbit import RabbitBus

    return RabbitBus(
        settings.bus_url,
        Topology.of(subscriptions),
        service_name=name,
        declare=settings.bus_declare,
    )


def options(name: str) -> argparse.Namespace:
    """--host, --port, --migrate."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--migrate", action="store_true", help="bring the schema up, then end")
    return parser.parse_args()


def main(
    name: str, build: Build, subscriptions: tuple[Subscription, ...], settings: Settings
) -> None:
    """``python -m services.<name>.app [--host] [--port] [--migrate]``."""
    given = options(name)
    configure_logs(settings.log_level)
    if given.migrate:
        migrations.upgrade(name, settings.database_url(name))
        return
    try:
        uvloop.run(run(name, build, subscriptions, settings, host=given.host, port=given.port))
    except MissingSetting as missing:
        log.error("cannot_start", service=name, reason=str(missing))
        raise SystemExit(2) from None
