"""The HTTP face of a service: strict JSON in, problem+json out, health, metrics."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import auth, clock, context
from chassis.db import CheckFailed, Database, DuplicateRow, Transient, Tx
from chassis.errors import Refusal, Unavailable, refusal
from chassis.failpoints import failpoint
from chassis.observability import REQUESTS
from chassis.values import uuid7

log = structlog.get_logger(__name__)

BODY_MAX_BYTES = 1024 * 1024
JSON_DEPTH_MAX = 32
JSON_INTEGER_MAX = 2**63 - 1
STATUS = {
    "not_found": 404,
    "invalid": 422,
    "not_allowed": 409,
    "conflict": 409,
    "forbidden": 403,
    "key_reused": 422,
    "duplicate": 422,
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


class UnreadableJson(ValueError):
    """A body that is not the JSON we accept; the text says why."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableJson("a key occurs twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise UnreadableJson(f"{name} is not a JSON number")


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > JSON_INTEGER_MAX:
        raise UnreadableJson("a number is too large")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if abs(value) > JSON_INTEGER_MAX:
        raise UnreadableJson("a number is too large")
    return value


def parse_json(body: bytes) -> Any:
    """Strict JSON: UTF-8, no duplicate keys, NaN or huge numbers, at most 32 levels deep.

    Raises UnreadableJson with the reason.
    """
    try:
        text = body.decode()
        if _depth_over(body):
            raise UnreadableJson(f"nested deeper than {JSON_DEPTH_MAX} levels")
        value = json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
        )
        if "\\u0000" in text and _holds_nul(value):
            raise UnreadableJson("the character NUL cannot be stored")
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnreadableJson:
        raise
    except UnicodeEncodeError:
        raise UnreadableJson("a lone surrogate is not text") from None
    except UnicodeDecodeError:
        raise UnreadableJson("not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableJson(f"not JSON: {error}") from None
    return value


def _holds_nul(value: Any) -> bool:
    """Whether any text in a parsed value contains NUL, which PostgreSQL cannot store."""
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_holds_nul(part) for part in value)
    return isinstance(value, str) and "\x00" in value


def _depth_over(body: bytes) -> bool:
    """Whether brackets nest too deep. Brackets in strings count too, hence only a first look."""
    if body.count(b"[") + body.count(b"{") <= JSON_DEPTH_MAX:
        return False
    depth, in_string, escaped = 0, False, False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > JSON_DEPTH_MAX:
                return True
        elif byte in b"]}":
            depth -= 1
    return False


class _StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route whose JSON bodies are read by ``parse_json``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given the strict request."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return strict


def router() -> APIRouter:
    """A router for a service's ``api.py``: strict bodies, an internal token on every route."""
    return APIRouter(route_class=StrictRoute, dependencies=[Depends(auth.principal)])


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


async def _attempt(
    idempotency_key: Annotated[str | None, Header()] = None,
    reclamo_fingerprint: Annotated[str, Header()] = "",
    prefer: Annotated[str, Header()] = "",
) -> Attempt:
    return Attempt(idempotency_key, reclamo_fingerprint, "respond-async" in prefer)


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


Tries = Annotated[Attempt, Depends(_attempt)]
Db = Annotated[Database, Depends(_database)]
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
) -> Response:
    """Wait until what was accepted is decided, holding nothing meanwhile.

    200 with the result, the refusal of a participant, 202 if the client does not want to wait, or
    503 ``still_running`` after ``bound_s``: the work goes on, the same key joins it again.
    """
    if attempt.respond_async:
        return json_response({"id": key, "status": "accepted"}, 202, {"Location": location})
    found = await database.wait(key, outcome, bound_s)
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


class _TooLarge:
    """Pure ASGI: the body limit answers in plain text; here it becomes a problem like all."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        replaced = False

        async def watched(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 413:
                content_type = dict(message["headers"]).get(b"content-type", b"")
                if content_type.startswith(b"text/plain"):
                    replaced = True
                    told = problem(413, "body_too_large", "Content Too Large")
                    await told(scope, receive, send)
            if not replaced:
                await send(message)

        await self._app(scope, receive, watched)


def create_app(
    service: str,
    *,
    database: Database,
    verifier: auth.Verifier,
    routers: list[APIRouter],
    ready: Callable[[], Awaitable[dict[str, str]]],
    version: str = "0.1.0",
) -> FastAPI:
    """A service's application. ``ready``: check -> "ok", "degraded: ..." or what is wrong."""
    app = FastAPI(
        title=f"Reclamo {service}",
        version=version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.database = database
    app.state.verifier = verifier
    for part in routers:
        # Limited here and not on the app, whose plain 413 would come from outside all middleware.
        app.include_router(part, max_body_size=BODY_MAX_BYTES)
    _add_health(app, service, ready, version)
    _add_errors(app)
    app.add_middleware(_TooLarge)
    app.add_middleware(Edge, service=service)
    return app


def _add_health(
    app: FastAPI, service: str, ready: Callable[[], Awaitable[dict[str, str]]], version: str
) -> None:
    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return json_response({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        checks = await ready()
        bad = [text for text in checks.values() if not text.startswith(("ok", "degraded"))]
        worst = "unavailable" if bad else "ok"
        if not bad and any(text.startswith("degraded") for text in checks.values()):
            worst = "degraded"
        return json_response({"status": worst, "checks": checks}, 503 if bad else 200)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/version", include_in_schema=False)
    async def the_version() -> Response:
        return json_response({"service": service, "version": version})


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def _(_: Request, error: Refusal) -> Response:
        return refused(error)

    @app.exception_handler(Unavailable)
    async def _(_: Request, error: Unavailable) -> Response:
        log.warning("unavailable", error=error.message)
        return unavailable(error)

    @app.exception_handler(Transient)
    async def _(_: Request, error: Transient) -> Response:
        headers = {"Retry-After": "1"}
        return problem(409, "try_again", str(error), kind="conflict", headers=headers)

    @app.exception_handler(DuplicateRow)
    async def _(_: Request, error: DuplicateRow) -> Response:
        return problem(409, "duplicate", "That already exists.", kind="conflict")

    @app.exception_handler(CheckFailed)
    async def _(_: Request, error: CheckFailed) -> Response:
        log.error("check_failed", constraint=error.args[0])
        return problem(409, "check_failed", "The request breaks a rule.", kind="not_allowed")

    @app.exception_handler(auth.Unauthorized)
    async def _(_: Request, error: auth.Unauthorized) -> Response:
        return problem(401, "unauthorized", "A valid internal token is needed.")

    @app.exception_handler(RequestValidationError)
    async def _(_: Request, error: RequestValidationError) -> Response:
        errors = [
            {"path": ".".join(str(part) for part in item["loc"]), "message": item["msg"]}
            for item in error.errors()
        ]
        detail = "; ".join(f"{item['path']}: {item['message']}" for item in errors)
        return problem(422, "invalid_request", detail, kind="invalid", errors=errors)

    @app.exception_handler(HTTPException)
    async def _(_: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, UnreadableJson):  # FastAPI wraps what reading a body raises
            return problem(422, "unreadable_json", str(error.__cause__), kind="invalid")
        code = {404: "route_not_found", 405: "method_not_allowed", 413: "body_too_large"}.get(
            error.status_code, "http_error"
        )
        return problem(error.status_code, code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    async def _(_: Request, error: Exception) -> Response:
        log.error("request_failed", error=str(error), kind=type(error).__name__)
        # This one is answered outside of Edge, which would have added the header.
        headers = {"X-Request-Id": context.current().correlation_id}
        return problem(500, "internal_error", "An unexpected error occurred.", headers=headers)
