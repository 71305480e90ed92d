"""Where the gateway is put together."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import structlog
import uvloop
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp

from chassis import audit_chain, auth, failpoints, gauges, migrations, serve
from chassis import operating as operators_door
from chassis.db import Database, connect
from chassis.door import BODY_MAX_BYTES
from chassis.errors import Unavailable
from chassis.http import Edge, create_app, json_response
from chassis.inbox import Inbox
from chassis.loops import Loop
from chassis.messaging import Bus
from chassis.observability import configure_logs
from chassis.settings import EXAMPLE_SECRETS
from gateway import (
    consumers,
    customer_claims,
    delivering,
    drift,
    errors,
    exporting,
    openapi,
    pages,
    store,
    storefront,
    webhooks,
    wire,
)
from gateway.admin import (
    batch_jobs,
    claims,
    conversions,
    credit_memos,
    documents,
    evidence,
    fulfillments,
    inquiries,
    inventory,
    notes,
    operating,
    orders,
    payments,
    people,
    reference,
    reservations,
    returns,
    store_credits,
    swaps,
    trust,
)
from gateway.admin import webhooks as webhook_routes
from gateway.clients import HttpTransport, InProcessTransport, Upstream
from gateway.files import DatabaseFiles
from gateway.gate import Gate
from gateway.identity import Identity
from gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

VERSION = "0.1.0"
SERVICES = ("orders", "claims", "returns", "inventory")
SECRET_MIN = 32


class Gateway:
    """The running gateway: its application, its database, and what it hears on the bus."""

    def __init__(self, app: FastAPI, parts: Gate, bus: Bus, admin_token: str | None) -> None:
        self.app = app
        self.database = parts.database
        self._parts = parts
        self._bus = bus
        self._admin_token = admin_token
        self._deliverer = delivering.Deliverer(parts.database, parts.webhooks)
        sending = Loop("gateway.webhooks", self._deliverer.step, idle_s=2.0)
        parts.database.listen(webhooks.WAKE, sending.wake)
        exporter = exporting.Exporter(parts.database, parts.upstreams, parts.exports.files)
        writing = Loop("gateway.exports", exporter.step, idle_s=2.0)
        parts.database.listen(exporting.WAKE, writing.wake)
        self._loops = [
            Loop("gateway.drift", parts.reconciler.step, idle_s=15.0),
            Loop(
                "gateway.audit",
                audit_chain.Sealer(parts.database).step,
                idle_s=audit_chain.IDLE_S,
            ),
            sending,
            writing,
        ]
        self._gauges = gauges.Gauges(
            "gateway", parts.database, lambda: bus.ready, measure=delivering.measure
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def prepare(self) -> None:
        """Open the database and register the consumers; call before the bus starts."""
        await self.database.open()
        verify = self._parts.settings.bus_verify_sender
        for subscription in consumers.SUBSCRIPTIONS:
            inbox = Inbox("gateway", self.database, subscription, verify_sender=verify)
            await self._bus.subscribe(subscription, consumers.door(self.database, inbox))
            name = f"gateway.parked.{subscription.queue}"
            self._loops.append(Loop(name, inbox.retry_due, idle_s=2.0))

    async def start(self) -> None:
        """Make the first token, begin the background work."""
        await self._parts.identity.bootstrap(self._admin_token)
        self._gauges.start()
        self._tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in self._loops]
        self._tasks.append(asyncio.create_task(self.database.share_wakes(), name="gateway.wakes"))
        if not self._parts.embedded:
            listening = consumers.listen_again(self.database, self._bus)
            self._tasks.append(asyncio.create_task(listening, name="gateway.listening"))

    async def stop(self) -> None:
        """Stop the background work, close connections and the database."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._deliverer.stop()
        await self._gauges.stop()
        for upstream in self._parts.upstreams.values():
            await upstream.close()
        await self.database.close()


def build(
    settings: GatewaySettings,
    database: Database,
    bus: Bus,
    *,
    secret_key: str,
    upstreams: Mapping[str, str | ASGIApp],
    embedded: bool = False,
    admin_token: str | None = None,
    demo_password: str | None = None,
) -> Gateway:
    """The gateway over services given by URL, or by application (embedded mode)."""
    database.serve("gateway", store.METADATA)
    issuer = auth.Issuer(auth.private_key(secret_key, "internal"))
    services = {
        name: Upstream(
            name,
            HttpTransport(where) if isinstance(where, str) else InProcessTransport(where),
            issuer,
            wait_bound_s=settings.wait_bound_s,
        )
        for name, where in upstreams.items()
    }
    parts = Gate(
        webhooks=webhooks.Webhooks(
            database,
            secret_key,
            partial(consumers.listen, bus),
            anywhere=settings.webhook_targets == "any",
        ),
        exports=exporting.Exports(database, DatabaseFiles(database)),
        own=_own_door(database, issuer, settings),
        settings=settings,
        database=database,
        identity=Identity(database, secret_key),
        upstreams=services,
        embedded=embedded,
        reconciler=drift.Reconciler(settings, database, services),
    )
    app = FastAPI(
        title="Reclamo",
        version=VERSION,
        description="Claims, returns, and the orders and stock behind them.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.gate = parts
    desk = (
        *(orders, fulfillments, payments, credit_memos, claims, conversions, returns),
        *(swaps, store_credits, inventory, reservations, notes),
    )
    work = (reference, people, documents, operating, trust, batch_jobs, webhook_routes)
    shop = (storefront, customer_claims)
    for part in (*desk, inquiries, evidence, *work, *shop):
        # Limited here and not on the app, whose plain 413 would come from outside all middleware.
        app.include_router(part.router, max_body_size=BODY_MAX_BYTES)
    openapi.describe(app)
    _add_health(app, parts, bus)
    app.include_router(
        pages.router(
            services=lambda: _services(parts),
            embedded=embedded,
            demo_password=demo_password,
            openapi=app.openapi,
            show_docs=settings.show_docs,
        )
    )
    errors.add_errors(app)
    app.add_middleware(errors.SecurityHeaders, origins=settings.origins)
    app.add_middleware(wire.TrailingSlash)
    app.add_middleware(Edge, service="gateway", trust_request_id=False)
    return Gateway(app, parts, bus, admin_token)


def _own_door(database: Database, issuer: auth.Issuer, settings: GatewaySettings) -> Upstream:
    """The operator's door that every service has, over the gateway's own inbox."""

    async def ready() -> dict[str, str]:
        return {}

    app = create_app(
        "gateway",
        database=database,
        verifier=auth.Verifier(issuer.public_key, "gateway"),
        routers=[operators_door.router],
        ready=ready,
    )
    app.state.models = {part.queue: part.models for part in consumers.SUBSCRIPTIONS}
    app.state.sagas = operators_door.SagaDesk()
    bound_s = settings.wait_bound_s
    return Upstream("gateway", InProcessTransport(app), issuer, wait_bound_s=bound_s)


async def _services(parts: Gate) -> dict[str, str]:
    return {name: await upstream.readiness() for name, upstream in parts.upstreams.items()}


def _add_health(app: FastAPI, parts: Gate, bus: Bus) -> None:
    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return json_response({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        checks = {"bus": "ok" if bus.ready else "degraded: not connected, webhooks wait"}
        try:
            at, head = await migrations.current(parts.database), migrations.head("gateway")
            checks["database"] = "ok"
            checks["migrations"] = "ok" if at == head else f"at {at}, code needs {head}"
        except Unavailable as error:
            checks["database"] = error.message
        well = all(text.startswith(("ok", "degraded")) for text in checks.values())
        status = "unavailable" if not well else "ok" if bus.ready else "degraded"
        return json_response({"status": status, "checks": checks}, 200 if well else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        if not _is_near(request.client.host if request.client else ""):
            return Response(status_code=404)
        with suppress(Unavailable):
            await drift.measure(parts.database)
        return Response(await gauges.scraped(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/version", include_in_schema=False)
    async def the_version() -> Response:
        return json_response({"service": "gateway", "version": VERSION})


def _is_near(address: str) -> bool:
    """Loopback and private networks: where a scraper lives."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address in ("", "testclient")
    return found.is_loopback or found.is_private


def _secret(settings: GatewaySettings) -> str:
    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    if len(secret) < SECRET_MIN or secret.lower() in EXAMPLE_SECRETS or len(set(secret)) < 8:
        raise serve.MissingSetting(
            f"RECLAMO_SECRET_KEY must be a random text of at least {SECRET_MIN} characters: "
            "run `reclamo keygen`"
        )
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    if token is not None and len(token) < SECRET_MIN:
        raise serve.MissingSetting(
            f"RECLAMO_ADMIN_TOKEN must have at least {SECRET_MIN} characters: run `reclamo keygen`"
        )
    return secret


async def run(settings: GatewaySettings, *, host: str, port: int) -> None:
    """Serve as a process of its own until told to stop."""
    failpoints.arm(settings.failpoint)
    if settings.failpoint_file:
        failpoints.arm_from(settings.failpoint_file)
    secret_key = _secret(settings)
    bus = serve.broker("gateway", consumers.SUBSCRIPTIONS, settings)
    gateway = build(
        settings,
        connect(settings.database_url("gateway")),
        bus,
        secret_key=secret_key,
        upstreams={name: str(getattr(settings, f"{name}_url")) for name in SERVICES},
        admin_token=settings.admin_token.get_secret_value() if settings.admin_token else None,
    )
    await gateway.prepare()
    await bus.start()
    await gateway.start()
    serve.keep_what_is_loaded()
    log.info("started", service="gateway", host=host, port=port)
    try:
        await serve.server(gateway.app, host=host, port=port).serve()
    finally:
        await bus.stop()
        await gateway.stop()


def main() -> None:
    """``python -m gateway.app [--host] [--port] [--migrate]``."""
    given = serve.options("gateway")
    settings = GatewaySettings()
    configure_logs(settings.log_level)
    if given.migrate:
        migrations.upgrade("gateway", settings.database_url("gateway"))
        return
    try:
        uvloop.run(run(settings, host=given.host, port=given.port))
    except serve.MissingSetting as missing:
        log.error("cannot_start", service="gateway", reason=str(missing))
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
