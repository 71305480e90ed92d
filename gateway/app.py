"""Where the gateway is put together."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from contextlib import suppress

import structlog
import uvloop
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp

from chassis import audit_chain, auth, failpoints, gauges, migrations, serve
from chassis.db import Database, connect
from chassis.door import BODY_MAX_BYTES
from chassis.errors import Unavailable
from chassis.http import Edge, json_response
from chassis.loops import Loop
from chassis.observability import configure_logs
from chassis.settings import EXAMPLE_SECRETS
from gateway import drift, errors, openapi, pages, store, storefront, wire
from gateway.admin import (
    claims,
    documents,
    inventory,
    notes,
    operating,
    orders,
    people,
    reservations,
    returns,
    trust,
)
from gateway.clients import HttpTransport, InProcessTransport, Upstream
from gateway.gate import Gate
from gateway.identity import Identity
from gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

VERSION = "0.1.0"
SERVICES = ("orders", "claims", "returns", "inventory")
SECRET_MIN = 32


class Gateway:
    """The running gateway: its application and its database."""

    def __init__(self, app: FastAPI, parts: Gate, admin_token: str | None) -> None:
        self.app = app
        self.database = parts.database
        self._parts = parts
        self._admin_token = admin_token
        self._loops = (
            Loop("gateway.drift", parts.reconciler.step, idle_s=15.0),
            Loop(
                "gateway.audit",
                audit_chain.Sealer(parts.database).step,
                idle_s=audit_chain.IDLE_S,
            ),
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the database, make the first token, begin the background work."""
        await self.database.open()
        await self._parts.identity.bootstrap(self._admin_token)
        self._tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in self._loops]

    async def stop(self) -> None:
        """Stop the background work, close connections and the database."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for upstream in self._parts.upstreams.values():
            await upstream.close()
        await self.database.close()


def build(
    settings: GatewaySettings,
    database: Database,
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
    stock = (inventory, reservations)
    desk = (orders, claims, returns, *stock, notes, people, documents, operating, trust)
    for part in (*desk, storefront):
        # Limited here and not on the app, whose plain 413 would come from outside all middleware.
        app.include_router(part.router, max_body_size=BODY_MAX_BYTES)
    openapi.describe(app)
    _add_health(app, parts)
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
    return Gateway(app, parts, admin_token)


async def _services(parts: Gate) -> dict[str, str]:
    return {name: await upstream.readiness() for name, upstream in parts.upstreams.items()}


def _add_health(app: FastAPI, parts: Gate) -> None:
    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return json_response({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        checks = {}
        try:
            at, head = await migrations.current(parts.database), migrations.head("gateway")
            checks["database"] = "ok"
            checks["migrations"] = "ok" if at == head else f"at {at}, code needs {head}"
        except Unavailable as error:
            checks["database"] = error.message
        well = all(text == "ok" for text in checks.values())
        status = "ok" if well else "unavailable"
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
    gateway = build(
        settings,
        connect(settings.database_url("gateway")),
        secret_key=_secret(settings),
        upstreams={name: str(getattr(settings, f"{name}_url")) for name in SERVICES},
        admin_token=settings.admin_token.get_secret_value() if settings.admin_token else None,
    )
    await gateway.start()
    log.info("started", service="gateway", host=host, port=port)
    try:
        await serve.server(gateway.app, host=host, port=port).serve()
    finally:
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
