"""One answer per idempotency key: what was sent first is sent again, byte for byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from chassis import clock
from chassis.auth import Principal
from chassis.db import Database
from chassis.errors import Invalid, KeyReused, Refusal, Unavailable
from chassis.failpoints import failpoint
from chassis.http import json_response
from chassis.values import new_id
from gateway import errors, store

KEY_MAX = 255
_KEY_SIGNS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-")


@dataclass(frozen=True)
class Try:
    """One attempt of a client. ``shown``: its key goes into the answer's headers."""

    key: str
    fingerprint: str
    given: bool
    respond_async: bool

    @property
    def upstream_headers(self) -> dict[str, str]:
        """What the owning service needs to know of it."""
        headers = {"idempotency-key": self.key, "reclamo-fingerprint": self.fingerprint}
        if self.respond_async:
            headers["prefer"] = "respond-async"
        return headers

    @property
    def headers(self) -> dict[str, str]:
        """What the client is told."""
        return {
            "Idempotency-Key": self.key,
            "Access-Control-Expose-Headers": "Idempotency-Key, Location",
        }


def attempt(request: Request, body: Any) -> Try:
    """Read the key, raw or as a structured-field string; without one the server makes it."""
    raw = request.headers.get("idempotency-key")
    key = raw.strip() if raw is not None else new_id("ikey")
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= KEY_MAX or not set(key) <= _KEY_SIGNS:
        raise Invalid(
            "idempotency_key_unreadable",
            "Idempotency-Key must be 1 to 255 letters, digits or . _ : -",
        )
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    content = f"{request.method}\n{request.url.path.rstrip('/')}\n{canonical}"
    return Try(
        key=key,
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
        given=raw is not None,
        respond_async="respond-async" in request.headers.get("prefer", ""),
    )


async def once(
    database: Database,
    *,
    who: Principal,
    tried: Try,
    always_show: bool = False,
    status: int = 200,
    work: Callable[[], Awaitable[Any]],
) -> Response:
    """Do the work, or give the answer that its key already has.

    ``work`` gives the body of the answer of that ``status``, or a Response that is passed on
    unstored (202). A refusal after acceptance is stored too; validation errors, passing trouble
    and 5xx never are.
    """
    headers = tried.headers if tried.given or always_show else {}
    try:
        if tried.given:
            stored = await _stored(database, who, tried)
            if stored is not None:
                return _replayed(stored, headers)
        result = await work()
        if isinstance(result, Response):
            result.headers.update(headers)
            return result
        return await _keep(database, who, tried, json_response(result, status), headers)
    except Refusal as error:
        response = errors.refusal_response(error)
        if error.facts.get("settled") and error.kind not in ("conflict", "failed"):
            return await _keep(database, who, tried, response, headers)
        response.headers.update(headers)
        return response
    except Unavailable as error:
        # Whatever was begun is found again under this key, also when we made it.
        response = errors.unavailable_response(error)
        response.headers.update(tried.headers)
        return response


async def _stored(database: Database, who: Principal, tried: Try) -> Response | None:
    async with database.glance() as tx:
        row = await store.answer(tx, principal=who.id, key=tried.key)
    if row is None:
        return None
    if row["fingerprint"] != tried.fingerprint:
        raise KeyReused(
            "idempotency_key_reused",
            f"The idempotency key {tried.key} was used for another request. Use a new key.",
        )
    return Response(row["body"], row["status"], media_type="application/json")


async def _keep(
    database: Database, who: Principal, tried: Try, response: Response, headers: dict[str, str]
) -> Response:
    """Store the answer before it is sent; of two at once the first is everybody's."""
    if tried.given:
        row = {
            "principal": who.id,
            "key": tried.key,
            "fingerprint": tried.fingerprint,
            "status": response.status_code,
            "body": bytes(response.body).decode(),
            "created_at": clock.now(),
        }
        async with database.transaction() as tx:
            first = await store.keep_answer(tx, row=row)
            await failpoint("gateway.answer.k3")
        await failpoint("gateway.answer.k4")
        if not first:
            stored = await _stored(database, who, tried)
            if stored is not None:
                return _replayed(stored, headers)
    response.headers.update(headers)
    return response


def _replayed(stored: Response, headers: dict[str, str]) -> Response:
    stored.headers.update(headers)
    stored.headers["Idempotent-Replayed"] = "true"
    return stored
