"""Calls to a running gateway over HTTP: one session, retries, errors in words.

GatewayError
 |- GatewayRefused      it answered no: status, type and message as it said them
 |- GatewayUnreachable  it could not be reached, or was busy for longer than our patience
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

import aiohttp

# What may work a moment later; every call is idempotent (by key, by id or by being a read), so a
# repeat is safe even when the first attempt did arrive.
PASSING_STATUSES = frozenset({409, 429, 502, 503, 504})
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
# A service that is restarted by hand is back within this.
PATIENCE_S = 120.0
# A claim waits up to 10 s for its saga; an import request is larger than that at worst.
REQUEST_TIMEOUT_S = 60.0


class GatewayError(Exception):
    """A call that did not succeed; the message is for people."""


class GatewayRefused(GatewayError):
    """The gateway answered no, and would again."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


class GatewayUnreachable(GatewayError):
    """Nobody answered, or everybody was busy, for as long as we were told to try."""


class Call(Protocol):
    """What the demo seed needs of a gateway; a refusal raises GatewayRefused."""

    async def post(
        self, path: str, body: Mapping[str, Any], key: str | None = None
    ) -> dict[str, Any]:
        """POST a JSON object, with an Idempotency-Key if given; the answer's JSON object."""

    async def get(self, path: str) -> dict[str, Any]:
        """GET a JSON object."""


def auth_header(token: str) -> dict[str, str]:
    """The header for a token: a JWT has three parts and goes as Bearer, else it is an API token."""
    if token.startswith("eyJ") and token.count(".") == 2:
        return {"Authorization": f"Bearer {token}"}
    return {"x-medusa-access-token": token}


class Gateway:
    """A gateway at a URL. Use as ``async with``; implements Call."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        in_flight: int = 8,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = auth_header(token) if token else {}
        self._in_flight = in_flight
        self._patience_s = patience_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Gateway:
        self._session = aiohttp.ClientSession(
            headers={"Accept": "application/json", **self._headers},
            connector=aiohttp.TCPConnector(limit=self._in_flight),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(
        self, path: str, body: Mapping[str, Any], key: str | None = None
    ) -> dict[str, Any]:
        """POST a JSON object. Raises GatewayError."""
        return await self.post_text(path, json.dumps(body).encode(), key)

    async def post_text(self, path: str, body: bytes, key: str | None = None) -> dict[str, Any]:
        """POST a body that is JSON already. Raises GatewayError."""
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self._call("POST", path, headers, body)

    async def get(self, path: str) -> dict[str, Any]:
        """GET a JSON object. Raises GatewayError."""
        return await self._call("GET", path, {}, None)

    async def _call(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            wait_s, trouble = 0.0, ""
            try:
                status, text, retry_after = await self._attempt(method, path, headers, body)
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as lost:
                trouble = str(lost) or type(lost).__name__
            except TimeoutError:
                trouble = f"no answer within {REQUEST_TIMEOUT_S:.0f} s"
            else:
                if status not in PASSING_STATUSES:
                    return _answer(status, text)
                trouble = f"{status} {_message(status, text)[1]}"
                wait_s = retry_after
            if loop.time() + pause_s > give_up_at:
                raise GatewayUnreachable(f"{method} {self._url}{path}: {trouble}")
            await asyncio.sleep(max(pause_s, min(wait_s, LONGEST_PAUSE_S)))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _attempt(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> tuple[int, str, float]:
        if self._session is None:
            raise RuntimeError("A Gateway is used as `async with Gateway(...)`")
        async with self._session.request(
            method, self._url + path, headers=headers, data=body
        ) as answer:
            after = answer.headers.get("Retry-After", "")
            return answer.status, await answer.text(), float(after) if after.isdecimal() else 0.0


def _answer(status: int, text: str) -> dict[str, Any]:
    if status >= 400:
        raise GatewayRefused(status, *_message(status, text))
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise GatewayRefused(status, "not_json", "The answer is no JSON object: is this a gateway?")
    return body


def _message(status: int, text: str) -> tuple[str, str]:
    """Type and message of an error answer, whatever its shape."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return "unknown", text.strip()[:200] or f"HTTP {status}"
    return str(body.get("type", "unknown")), str(body.get("message") or f"HTTP {status}")
