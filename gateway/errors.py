"""Refusals in the words of the surface: Medusa's ``{code?, type, message}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.auth import Unauthorized
from chassis.db import DuplicateRow, Transient
from chassis.errors import Refusal, Unavailable
from chassis.http import json_response
from chassis.strict_json import UnreadableJson
from gateway.clients import TimedOut
from gateway.gate import TooManyRequests
from gateway.identity import TooManyTries

log = structlog.get_logger(__name__)

CONFLICT = (
    "The request conflicted with another request. You may retry the request with the provided"
    " Idempotency-Key."
)
# kind -> (status, type, code); the code is absent where the contract does not name one.
_KINDS: dict[str, tuple[int, str, str | None]] = {
    "invalid": (400, "invalid_data", None),
    "not_allowed": (400, "not_allowed", None),
    "not_found": (404, "not_found", None),
    "forbidden": (403, "not_allowed", None),
    "conflict": (409, "conflict", "invalid_state_error"),
    "key_reused": (422, "invalid_request_error", "invalid_request_error"),
    "duplicate": (422, "duplicate_error", "invalid_request_error"),
    "failed": (500, "unexpected_state", None),
}


def told(
    status: int,
    type_: str,
    message: str,
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error answer; ``code`` is left out unless there is one, callers compare whole objects."""
    body = {"code": code} if code else {}
    return json_response({**body, "type": type_, "message": message}, status, dict(headers or {}))


def refusal_response(error: Refusal) -> Response:
    """The answer to a refusal of ours or of a service."""
    return _kind(error.kind, error.message)


def _kind(kind: str, message: str) -> Response:
    status, type_, code = _KINDS.get(kind, (400, "not_allowed", None))
    if status == 409:
        return told(409, type_, CONFLICT, code=code, headers={"Retry-After": "1"})
    return told(status, type_, message, code=code)


def unavailable_response(error: Unavailable) -> Response:
    """Passing trouble: 503 (504 when a service did not answer in time), and when to try again."""
    status = 504 if isinstance(error, TimedOut) else 503
    headers = {"Retry-After": str(error.retry_after_s)}
    return told(status, "unexpected_state", error.message, headers=headers)


def _http_error(error: HTTPException) -> Response:
    if error.status_code == 413:
        return _too_large()
    if error.status_code == 404:
        return told(404, "not_found", "There is nothing at this address. See /docs.")
    if error.status_code == 405:
        return told(405, "not_allowed", "This method is not served here.", headers=error.headers)
    return told(error.status_code, "invalid_request_error", str(error.detail))


def _too_large() -> Response:
    return told(413, "invalid_request_error", "The body is too large.")


def add_errors(app: FastAPI) -> None:
    """Register the answers to everything that can be raised, and to what nobody expected."""

    def on(kind: type[Exception], answer: Any) -> None:
        async def handler(_: Request, error: Exception) -> Response:
            response: Response = answer(error)
            return response

        app.add_exception_handler(kind, handler)

    def retry(error: TooManyTries | TooManyRequests) -> Response:
        headers = {"Retry-After": str(error.retry_after_s)}
        return told(429, "unexpected_state", str(error), headers=headers)

    def misread(error: RequestValidationError) -> Response:
        said = [f"{item['loc'][-1]}: {item['msg']}" for item in error.errors()]
        return told(400, "invalid_data", ", ".join(said))

    on(Refusal, refusal_response)
    on(Unavailable, unavailable_response)
    on(Unauthorized, lambda _: Response("Unauthorized", 401, media_type="text/plain"))
    on(TooManyTries, retry)
    on(TooManyRequests, retry)
    on(UnreadableJson, lambda error: told(400, "invalid_data", f"Unreadable body: {error}"))
    on(Transient, lambda _: _kind("conflict", CONFLICT))
    on(DuplicateRow, lambda _: _kind("duplicate", "That already exists."))
    on(RequestValidationError, misread)
    on(HTTPException, _http_error)
    app.add_middleware(LastWord)


class LastWord:
    """Pure ASGI: the answers that no handler gives.

    An exception that nobody named is logged and becomes a 500 without a word about itself; as a
    handler it would be called outside all middleware, and its answer would lack their headers.
    The body limit answers in plain text; here it gets the surface's shape.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = replaced = False

        async def watched(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started = True
                if message["status"] == 413 and _is_plain(message):
                    replaced = True
                    await _too_large()(scope, receive, send)
            if not replaced:
                await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception as error:
            log.exception("request_failed", kind=type(error).__name__)
            if started:
                raise
            answer = told(500, "unknown_error", "An unknown error occurred.", code="unknown_error")
            await answer(scope, receive, send)


def _is_plain(message: Message) -> bool:
    content_type: bytes = dict(message["headers"]).get(b"content-type", b"")
    return content_type.startswith(b"text/plain")


class SecurityHeaders:
    """Pure ASGI: headers for every answer, CORS for an exact allowlist, no unusual methods."""

    _ALWAYS = (
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (
            b"content-security-policy",
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
            b" connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none';"
            b" frame-ancestors 'none'",
        ),
    )
    _METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})
    _ALLOW = ", ".join(sorted(_METHODS))
    # No id has them: NUL cannot be stored, and dots are folded by whoever passes an address on.
    _ODD = re.compile(r"\x00|/\.{1,2}(?:/|$)")
    _CORS = (
        (b"access-control-allow-methods", b"GET, POST, DELETE"),
        (
            b"access-control-allow-headers",
            b"x-medusa-access-token, authorization, content-type, idempotency-key,"
            b" x-publishable-api-key",
        ),
        (b"access-control-max-age", b"600"),
    )

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self._app = app
        # ``null`` is what sandboxed pages of anybody send, ``*`` is no origin.
        self._origins = frozenset(origin for origin in origins if urlsplit(origin).netloc)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to whatever is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        extra = [*self._ALWAYS, *self._origin_headers(origin)]
        if scope["scheme"] == "https":
            extra.append((b"strict-transport-security", b"max-age=31536000"))
        if not scope["path"].startswith("/static/"):
            # Also the start page: it shows the demo's password.
            extra.append((b"cache-control", b"no-store"))

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                have = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in extra if name not in have),
                ]
            await send(message)

        if scope["method"] not in self._METHODS:
            error = HTTPException(405, headers={"Allow": self._ALLOW})
            await _http_error(error)(scope, receive, tagged)
        elif self._ODD.search(scope["path"]):
            await _http_error(HTTPException(404))(scope, receive, tagged)
        elif scope["method"] == "OPTIONS":
            preflight = b"access-control-request-method" in headers and origin in self._origins
            answer = Response(status_code=204, headers={"Allow": self._ALLOW})
            answer.raw_headers += self._CORS if preflight else ()
            await answer(scope, receive, tagged)
        else:
            await self._app(scope, receive, tagged)

    def _origin_headers(self, origin: str) -> list[tuple[bytes, bytes]]:
        if not self._origins:
            return []
        vary = (b"vary", b"origin")
        if origin not in self._origins:
            return [vary]
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", b"Idempotency-Key, Location"),
            vary,
        ]
