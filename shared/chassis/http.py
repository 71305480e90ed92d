"""The HTTP face of a service: strict JSON in, problem+json out, health, metrics."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import auth, clock, context, gauges
from chassis.db import CheckFailed, Database, DuplicateRow, Transient, Tx
from chassis.door import BodyTooLarge, Given, Router, WrongRequest
from chassis.errors import Refusal, Unavailable, refusal
from chassis.failpoints import failpoint
from chassis.idempotency import Caller
from chassis.observability import REQUESTS
from chassis.strict_json import UnreadableJson
from chassis.values import uuid7

log = structlog.get_logger(__name__)

STATUS = {
    "not_found": 404,
    "invalid": 422,
    "not_allowed": 409,
    "conflict": 409,
    "forbidden": 403,
    "key_reused": 422,
    "duplicate": 422,
    "failed": 409,
}
_REQUEST_ID = re.compile(r"[!-~]{1,64}")
_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Body too large",
    422: "Invalid request",
    500: "Internal error",
    503: "Unavailable",
}


def json_response(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A JSON answer; datetimes become ISO 8601."""
    return Response(to_json(content), status, headers, "application/json")


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """An RFC 9457 answer: type, title, status, detail, code, kind, correlation id and more."""
    body = {
        "type": f"urn:reclamo:problem:{code}",
        "title": _TITLES.get(status, "Refused"),
        "status": status,
        "detail": detail,
        "code": code,
        "kind": kind,
        "correlation_id": context.current().correlation_id,
        **more,
    }
    return Response(to_json(body), status, headers, "application/problem+json")


def refused(error: Refusal, *, settled: bool = False) -> Response:
    """The answer to a refusal. ``settled``: the request was accepted first, this is its end."""
    headers = {"Retry-After": "1"} if error.kind == "conflict" else None
    more = {"settled": True} if settled else {}
    return problem(
        STATUS.get(error.kind, 409),
        error.code,
        error.message,
        kind=error.kind,
        headers=headers,
        facts=error.facts,
        **more,
    )


def unavailable(error: Unavailable) -> Response:
    """The answer to passing trouble: 503 and when to come back."""
    headers = {"Retry-After": str(error.retry_after_s)}
    return problem(503, error.code, error.message, kind="unavailable", headers=headers)


@dataclass(frozen=True)
class Attempt:
    """What names this attempt of a client: its key, and what the key is bound to."""

    key: str | None
    fingerprint: str
    respond_async: bool

    def by(self, principal: str) -> Caller:
        """Who makes it."""
        return Caller(principal, self.key, self.fingerprint)


def _attempt(request: Request) -> Attempt:
    headers = request.headers
    return Attempt(
        key=headers.get("idempotency-key"),
        fingerprint=headers.get("reclamo-fingerprint", ""),
        respond_async="respond-async" in headers.get("prefer", ""),
    )


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


Tries = Annotated[Attempt, Given(_attempt)]
Db = Annotated[Database, Given(_database)]
Outcome = dict[str, Any] | Refusal


@asynccontextmanager
async def accepting(database: Database) -> AsyncIterator[Tx]:
    """The transaction that takes on a request; what follows goes on without the client."""
    async with database.transaction() as tx:
        await failpoint(f"{database.service}.accept.k1")
        yield tx
        await failpoint(f"{database.service}.accept.k3")
    await failpoint(f"{database.service}.accept.k4")


async def settled(
    database: Database,
    *,
    key: str,
    outcome: Callable[[Tx], Awaitable[Outcome | None]],
    attempt: Attempt,
    bound_s: float,
    location: str,
    one_statement: bool = False,
) -> Response:
    """Wait until what was accepted is decided, holding nothing meanwhile.

    200 with the result, the refusal of a participant, 202 if the client does not want to wait, or
    503 ``still_running`` after ``bound_s``: the work goes on, the same key joins it again.
    """
    if attempt.respond_async:
        return json_response({"id": key, "status": "accepted"}, 202, {"Location": location})
    found = await database.wait(key, outcome, bound_s, one_statement=one_statement)
    if found is None:
        return unavailable(
            Unavailable(
                "Still being worked on. Send the same request with the same Idempotency-Key again.",
                retry_after_s=2,
                code="still_running",
            )
        )
    if isinstance(found, Refusal):
        return refused(found, settled=True)
    return json_response(found)


def rebuilt(data: dict[str, Any]) -> Refusal:
    """The refusal in a rejected reply: {code, kind, message, ...}."""
    return refusal(data.get("kind", "not_allowed"), data["code"], data["message"])


class Edge:
    """Pure ASGI: correlation id in and out, metrics by route template."""

    def __init__(self, app: ASGIApp, service: str, trust_request_id: bool = True) -> None:
        self._app = app
        self._service = service
        self._trust_request_id = trust_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        usable = self._trust_request_id and _REQUEST_ID.fullmatch(given)
        correlation_id = given if usable else uuid7()
        context.begin(context.Context(correlation_id=correlation_id))
        started = clock.monotonic_s()
        status = 500

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", correlation_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, tagged)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            REQUESTS.labels(self._service, scope["method"], route, str(status)).observe(
                clock.monotonic_s() - started
            )


def create_app(
    service: str,
    *,
    database: Database,
    verifier: auth.Verifier,
    routers: Iterable[Router],
    ready: Callable[[], Awaitable[dict[str, str]]],
    version: str = "0.1.0",
) -> Starlette:
    """A service's application. ``ready``: check -> "ok", "degraded: ..." or what is wrong."""
    app = Starlette(
        routes=[
            *(route for part in routers for route in part.routes),
            *_health(service, ready, version),
        ],
        middleware=[Middleware(Edge, service=service)],
        exception_handlers=dict(_ANSWERS),
    )
    app.router.redirect_slashes = False
    app.state.database = database
    app.state.verifier = verifier
    return app


def _health(
    service: str, ready: Callable[[], Awaitable[dict[str, str]]], version: str
) -> list[Route]:
    async def livez(_: Request) -> Response:
        return json_response({"status": "ok"})

    async def readyz(_: Request) -> Response:
        checks = await ready()
        bad = [text for text in checks.values() if not text.startswith(("ok", "degraded"))]
        worst = "unavailable" if bad else "ok"
        if not bad and any(text.startswith("degraded") for text in checks.values()):
            worst = "degraded"
        return json_response({"status": worst, "checks": checks}, 503 if bad else 200)

    async def metrics(_: Request) -> Response:
        return Response(await gauges.scraped(), media_type=CONTENT_TYPE_LATEST)

    async def the_version(_: Request) -> Response:
        return json_response({"service": service, "version": version})

    return [
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/version", the_version),
    ]


async def _refusal(_: Request, error: Refusal) -> Response:
    return refused(error)


async def _unavailable(_: Request, error: Unavailable) -> Response:
    log.warning("unavailable", error=error.message)
    return unavailable(error)


async def _transient(_: Request, error: Transient) -> Response:
    headers = {"Retry-After": "1"}
    return problem(409, "try_again", str(error), kind="conflict", headers=headers)


async def _duplicate(_: Request, __: DuplicateRow) -> Response:
    return problem(409, "duplicate", "That already exists.", kind="conflict")


async def _check_failed(_: Request, error: CheckFailed) -> Response:
    log.error("check_failed", constraint=error.args[0])
    return problem(409, "check_failed", "The request breaks a rule.", kind="not_allowed")


async def _unauthorized(_: Request, __: auth.Unauthorized) -> Response:
    return problem(401, "unauthorized", "A valid internal token is needed.")


async def _wrong_request(_: Request, error: WrongRequest) -> Response:
    return problem(422, "invalid_request", str(error), kind="invalid", errors=error.errors)


async def _unreadable(_: Request, error: UnreadableJson) -> Response:
    return problem(422, "unreadable_json", str(error), kind="invalid")


async def _too_large(_: Request, __: BodyTooLarge) -> Response:
    return problem(413, "body_too_large", "Content Too Large")


async def _http_error(_: Request, error: HTTPException) -> Response:
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return problem(error.status_code, code, str(error.detail), headers=error.headers)


async def _defect(_: Request, error: Exception) -> Response:
    log.error("request_failed", error=str(error), kind=type(error).__name__)
    # This one is answered outside of Edge, which would have added the header.
    headers = {"X-Request-Id": context.current().correlation_id}
    return problem(500, "internal_error", "An unexpected error occurred.", headers=headers)


_ANSWERS: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
    Refusal: _refusal,
    Unavailable: _unavailable,
    Transient: _transient,
    DuplicateRow: _duplicate,
    CheckFailed: _check_failed,
    auth.Unauthorized: _unauthorized,
    WrongRequest: _wrong_request,
    UnreadableJson: _unreadable,
    BodyTooLarge: _too_large,
    HTTPException: _http_error,
    Exception: _defect,
}
