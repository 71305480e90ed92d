"""The services as the gateway sees them: one call, one answer, a timeout on each.

The only file that knows where the services are. A service is reached over HTTP (aiohttp), or by
calling its ASGI application in this process (embedded mode): the same request, the same checks.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode

import aiohttp
import structlog
from pydantic_core import from_json, to_json
from starlette.types import ASGIApp, Message
from yarl import URL

from chassis import clock, context
from chassis.auth import Issuer, Principal
from chassis.errors import Refusal, Unavailable, refusal

log = structlog.get_logger(__name__)

READ_TIMEOUT_S = 10.0
# Beyond what a service waits for its saga before it answers 503: its disk may stall for seconds.
WAITING_MARGIN_S = 5.0
CONNECT_S = 2.0
AVOID_S = 5.0


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


@dataclass
class _Replica:
    """One address of a service, and what is known of it."""

    url: str
    in_flight: int = 0
    avoid_until: float = 0.0
    turn: int = 0

    def rank(self, now: float) -> tuple[bool, int, int]:
        """The least is asked first: not in doubt, least busy, longest not asked."""
        return (self.avoid_until > now, self.in_flight, self.turn)


class HttpTransport:
    """Over the network. ``urls``: one for each replica of the service, separated by commas.

    A name with several addresses (replicas in containers) is one URL: connections go to all of
    them. A change is sent once: only a replica that cannot be connected to is passed over.
    """

    def __init__(self, urls: str) -> None:
        self._replicas = [_Replica(url.strip().rstrip("/")) for url in urls.split(",")]
        self._turns = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Reply:
        """One request; connections are kept and reused."""
        now = clock.monotonic_s()
        for replica in sorted(self._replicas, key=lambda replica: replica.rank(now)):
            try:
                return await self._ask(replica, method, path, headers, body)
            except (aiohttp.ClientError, OSError) as error:
                trouble = error
                never_sent = isinstance(
                    error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError
                )
                if not never_sent and method != "GET":
                    break
        raise Unavailable(f"a service cannot be reached ({type(trouble).__name__})") from trouble

    async def _ask(
        self, replica: _Replica, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Reply:
        replica.in_flight += 1
        replica.turn = next(self._turns)
        try:
            async with self._opened().request(
                method,
                URL(replica.url + path, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
            ) as answer:
                return Reply(
                    answer.status,
                    {name.lower(): value for name, value in answer.headers.items()},
                    await answer.read(),
                )
        except BaseException:
            # Dead, or so slow that the caller has given up: the others first for a while.
            replica.avoid_until = clock.monotonic_s() + AVOID_S
            raise
        finally:
            replica.in_flight -= 1

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=200, keepalive_timeout=20),
                # Callers bound the whole; an address that swallows packets is passed over.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
                auto_decompress=False,
                # A service sets no cookies; whatever did would leak from one caller to the next.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

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

    async def put(
        self,
        path: str,
        *,
        who: Principal,
        content: bytes,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Hand a file over, as it is; the answer's JSON. Raises as ``send``."""
        named = {**(headers or {}), "content-type": "application/octet-stream"}
        reply = await self._send(
            "POST", path + _query(params), who, named, content, self._waiting_s
        )
        return _accepted(reply)

    async def fetch(
        self, path: str, *, who: Principal, params: Mapping[str, Any] | None = None
    ) -> Reply:
        """Read a file: the reply with its headers. Raises as ``get``."""
        reply = await self._send("GET", path + _query(params), who, {}, None, READ_TIMEOUT_S)
        if reply.status != 200:
            _accepted(reply)
        return reply

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
            headers.setdefault("content-type", "application/json")
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
    if reply.status == 401:
        # A token is made for each call and lives a minute: a clock jumped, or keys were changed.
        raise Unavailable(
            "a service did not take the gateway's token: their clocks or keys differ",
            code="token_refused",
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
