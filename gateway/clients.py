"""The services as the gateway sees them: one call, one answer, a timeout on each.

The only file that knows where the services are. A service is reached over HTTP (aiohttp), or by
calling its ASGI application in this process (embedded mode): the same request, the same checks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode

import aiohttp
import structlog
from pydantic_core import from_json, to_json
from starlette.types import ASGIApp, Message
from yarl import URL

from chassis import context
from chassis.auth import Issuer, Principal
from chassis.errors import Refusal, Unavailable, refusal

log = structlog.get_logger(__name__)

READ_TIMEOUT_S = 10.0
WAITING_MARGIN_S = 2.0


class TimedOut(Unavailable):
    """The service did not answer in time."""


@dataclass(frozen=True)
class Reply:
    """Status, headers (lower case) and body of an upstream answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The parsed body."""
        return from_json(self.body)


def segment(text: str) -> str:
    """An id as one segment of a path, whatever signs it is made of."""
    return quote(text, safe="")


class Transport(Protocol):
    """How a request gets to a service."""

    async def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Reply:
        """Send and wait; raises Unavailable when nobody answers."""

    async def close(self) -> None:
        """Give connections back."""


class HttpTransport:
    """Over the network."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Reply:
        """One request; connections are kept and reused."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=200, keepalive_timeout=20),
                auto_decompress=False,
                # A service sets no cookies; whatever did would leak from one caller to the next.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            async with self._session.request(
                method,
                URL(self._url + path, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
            ) as answer:
                return Reply(
                    answer.status,
                    {name.lower(): value for name, value in answer.headers.items()},
                    await answer.read(),
                )
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"a service cannot be reached ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close the session."""
        if self._session:
            await self._session.close()


class InProcessTransport:
    """The service's ASGI application, called in a task of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Reply:
        """One request."""
        return await asyncio.create_task(self._call(method, path, headers, body))

    async def _call(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Reply:
        plain, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(plain),
            "raw_path": plain.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 0),
            "server": ("in-process", 80),
        }
        given = False
        status, answer_headers, parts = 500, {}, []

        async def receive() -> Message:
            nonlocal given
            if given:
                await asyncio.Event().wait()
            given = True
            return {"type": "http.request", "body": body or b"", "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, answer_headers
            if message["type"] == "http.response.start":
                status = message["status"]
                answer_headers = {
                    name.decode().lower(): value.decode() for name, value in message["headers"]
                }
            else:
                parts.append(message.get("body", b""))

        try:
            await self._app(scope, receive, send)
        except Exception:
            # Starlette answers 500 and raises on, so that a server can log; nobody else would.
            if not answer_headers:
                raise
            log.exception("service_failed", path=plain)
        return Reply(status, answer_headers, b"".join(parts))

    async def close(self) -> None:
        """Nothing to give back."""


class Upstream:
    """One service."""

    def __init__(
        self, name: str, transport: Transport, issuer: Issuer, *, wait_bound_s: float
    ) -> None:
        self.name = name
        self._transport = transport
        self._issuer = issuer
        self._waiting_s = wait_bound_s + WAITING_MARGIN_S

    async def get(
        self,
        path: str,
        *,
        who: Principal,
        params: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Read; the answer's JSON. Raises the service's Refusal, Unavailable, TimedOut."""
        query = _query(params)
        reply = await self._send("GET", path + query, who, {}, None, timeout_s or READ_TIMEOUT_S)
        return _accepted(reply)

    async def send(
        self,
        method: str,
        path: str,
        *,
        who: Principal,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Change something; waits as long as the service may wait for its saga.

        Raises Refusal (its ``settled`` fact tells that the request had been accepted).
        """
        encoded = None if body is None else to_json(body)
        reply = await self._send(
            method, path, who, dict(headers or {}), encoded, timeout_s or self._waiting_s
        )
        return _accepted(reply)

    async def readiness(self) -> str:
        """ok, degraded, or what is wrong."""
        try:
            async with asyncio.timeout(2):
                reply = await self._transport.send("GET", "/readyz", {}, None)
            return str(reply.json()["status"])
        except (Unavailable, TimeoutError, ValueError, KeyError, TypeError):
            return "unreachable"

    async def close(self) -> None:
        """Give connections back."""
        await self._transport.close()

    async def _send(
        self,
        method: str,
        path: str,
        who: Principal,
        headers: dict[str, str],
        body: bytes | None,
        timeout_s: float,
    ) -> Reply:
        headers["authorization"] = f"Bearer {self._issuer.mint(who, self.name)}"
        headers["x-request-id"] = context.current().correlation_id
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            async with asyncio.timeout(timeout_s):
                return await self._transport.send(method, path, headers, body)
        except TimeoutError:
            raise TimedOut(f"{self.name} did not answer in {timeout_s:.0f} s") from None


def _query(params: Mapping[str, Any] | None) -> str:
    if not params:
        return ""
    given = {name: value for name, value in params.items() if value is not None}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def _problem(reply: Reply) -> dict[str, Any]:
    try:
        found = reply.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _accepted(reply: Reply) -> Any:
    if reply.status < 300:
        return reply.json() if reply.body else None
    problem = _problem(reply)
    if reply.status in (502, 503, 504):
        retry = reply.headers.get("retry-after", "1")
        raise Unavailable(
            problem.get("detail", "a service is not available"),
            retry_after_s=int(retry) if retry.isdecimal() else 1,
            code=problem.get("code", "unavailable"),
        )
    if reply.status >= 500 or not problem.get("kind"):
        raise UnexpectedAnswer(f"{reply.status} {problem.get('code')}: {problem.get('detail')}")
    error: Refusal = refusal(problem["kind"], problem["code"], _told(problem))
    error.facts = {**(problem.get("facts") or {}), "settled": problem.get("settled", False)}
    raise error


def _told(problem: dict[str, Any]) -> str:
    """The refusal's words; what a service says of a field becomes ``<field> must be ...``."""
    if not problem.get("errors"):
        return str(problem["detail"])
    said = []
    for error in problem["errors"]:
        names = [part for part in error["path"].split(".") if not part.isdecimal()]
        said.append(f"{names[-1]} {error['message'].replace('Input should', 'must')}")
    return ", ".join(said)


class UnexpectedAnswer(Exception):
    """A service answered what it never should: a defect, not a refusal."""
