"""For operators: dead letters, outboxes and sagas of all services, as one list each.

A service that does not answer hides nothing of the others: the answer names it as ``missing``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from chassis.errors import Invalid, NotFound, Unavailable
from chassis.http import json_response
from gateway import answers, bodies, wire
from gateway.clients import UnexpectedAnswer, Upstream, segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import Shape, check

log = structlog.get_logger(__name__)

router = APIRouter()
LIMIT_MAX = 100
OFFSET_MAX = 9_900  # each service is asked for everything up to the page, 10,000 rows at most
ASK_S = 5.0


@router.get("/admin/dead-letters")
async def list_dead_letters(request: Request, parts: Parts, who: Who) -> Response:
    """Messages that could not be handled, the newest first: {dead_letters, count, offset, limit,
    missing}."""
    asked = await _list(request, parts, who, "/dead-letters", ("state", "queue", "type"))
    return asked.merged("dead_letters", by="received_at", newest_first=True)


@router.get("/admin/dead-letters/{letter_id}")
async def get_dead_letter(letter_id: str, parts: Parts, who: Who) -> Response:
    """One message with its envelope: {dead_letter}."""
    at = await _keeper(parts, letter_id)
    return json_response(await at.get(f"/dead-letters/{segment(letter_id)}", who=who))


@router.post("/admin/dead-letters/{letter_id}/replay")
async def replay_dead_letter(request: Request, letter_id: str, parts: Parts, who: Who) -> Response:
    """Try a message again, mended if ``data`` is given: {dead_letter}."""
    path = f"/dead-letters/{segment(letter_id)}/replay"
    at = partial(_keeper, parts, letter_id)
    return await _change(request, parts, who, at, path, bodies.REPLAY)


@router.post("/admin/dead-letters/{letter_id}/discard")
async def discard_dead_letter(request: Request, letter_id: str, parts: Parts, who: Who) -> Response:
    """Never handle a message: {dead_letter}."""
    path = f"/dead-letters/{segment(letter_id)}/discard"
    at = partial(_keeper, parts, letter_id)
    return await _change(request, parts, who, at, path, bodies.REASON)


@router.get("/admin/outbox")
async def list_outbox(request: Request, parts: Parts, who: Who) -> Response:
    """Messages that wait or are blocked, the oldest first, and how far each service lags:
    {messages, count, offset, limit, missing, lag}."""
    asked = await _list(request, parts, who, "/outbox", ("state",))
    lag = [answer["lag"] for answer in asked.answers]
    return asked.merged("messages", by="created_at", lag=lag)


@router.post("/admin/outbox/{message_id}/unblock")
async def unblock_message(request: Request, message_id: str, parts: Parts, who: Who) -> Response:
    """Let the relay try a blocked message again: {message}."""
    path = f"/outbox/{segment(message_id)}"
    at = partial(_owner, parts, who, path, f"Message with id: {message_id} was not found")
    return await _change(request, parts, who, at, f"{path}/unblock", bodies.EMPTY)


@router.get("/admin/sagas")
async def list_sagas(request: Request, parts: Parts, who: Who) -> Response:
    """Sagas under way, the oldest first: {sagas, count, offset, limit, missing}."""
    asked = await _list(request, parts, who, "/sagas", ("kind", "direction", "older_than_s"))
    return asked.merged("sagas", by="created_at")


@router.get("/admin/sagas/{saga_id}")
async def get_saga(saga_id: str, parts: Parts, who: Who) -> Response:
    """One saga with its facts, refusals and history: {saga}."""
    path = f"/sagas/{segment(saga_id)}"
    at = await _owner(parts, who, path, f"Saga with id: {saga_id} was not found")
    return json_response(await at.get(path, who=who))


@router.post("/admin/sagas/{saga_id}/resume")
async def resume_saga(request: Request, saga_id: str, parts: Parts, who: Who) -> Response:
    """Ask for what is awaited again, without waiting for the timer: {saga}."""
    path = f"/sagas/{segment(saga_id)}"
    at = partial(_owner, parts, who, path, f"Saga with id: {saga_id} was not found")
    return await _change(request, parts, who, at, f"{path}/resume", bodies.EMPTY)


@router.post("/admin/sagas/{saga_id}/compensate")
async def compensate_saga(request: Request, saga_id: str, parts: Parts, who: Who) -> Response:
    """Undo what was done and end the saga, where nothing final was asked: {saga}."""
    path = f"/sagas/{segment(saga_id)}"
    at = partial(_owner, parts, who, path, f"Saga with id: {saga_id} was not found")
    return await _change(request, parts, who, at, f"{path}/compensate", bodies.REASON)


class _Asked:
    """What the services answered to the same question, and which did not."""

    def __init__(self, limit: int, offset: int) -> None:
        self.answers: list[dict[str, Any]] = []
        self.missing: list[str] = []
        self._limit = limit
        self._offset = offset

    def merged(self, name: str, *, by: str, newest_first: bool = False, **more: Any) -> Response:
        """One page of all rows called ``name``, in the order of a time."""
        rows = [row for answer in self.answers for row in answer[name]]
        rows.sort(key=lambda row: (row[by], row["id"]), reverse=newest_first)
        page = {
            name: rows[self._offset : self._offset + self._limit],
            "count": sum(answer["count"] for answer in self.answers),
            "offset": self._offset,
            "limit": self._limit,
            "missing": self.missing,
        }
        return json_response(page | more)


async def _list(
    request: Request, parts: Gate, who: Principal, path: str, filters: Iterable[str]
) -> _Asked:
    """Ask every service, or the one that ``service`` names; raises Unavailable if none answers."""
    given = wire.query(request)
    wire.reject_unknown(given, {*filters, "service", "limit", "offset"})
    limit, offset = wire.paging(given, default=50, most=LIMIT_MAX)
    if offset > OFFSET_MAX:
        raise Invalid("invalid_data", f"offset must be at most {OFFSET_MAX}: use a filter")
    params = {name: wire.text(given, name) for name in filters}
    keepers = _keepers(parts) if path == "/dead-letters" else parts.upstreams
    wanted = _wanted(keepers, wire.text(given, "service"))
    asked = _Asked(limit, offset)
    found = await _ask(wanted, path, who, {**params, "limit": limit + offset, "offset": 0})
    for upstream, answer in zip(wanted, found, strict=True):
        if isinstance(answer, Unavailable):
            asked.missing.append(upstream.name)
        else:
            asked.answers.append(answer)
    # That we can tell of ourselves is no list of the services.
    if {upstream.name for upstream in wanted} - {parts.own.name} == set(asked.missing) != set():
        raise Unavailable(f"no answer from {', '.join(asked.missing)}")
    return asked


def _keepers(parts: Gate) -> dict[str, Upstream]:
    """Who has an inbox: the services, and the gateway itself."""
    return {**parts.upstreams, "gateway": parts.own}


def _wanted(keepers: dict[str, Upstream], service: str | None) -> list[Upstream]:
    if service is None:
        return list(keepers.values())
    if service not in keepers:
        raise Invalid("invalid_data", f"service must be one of {', '.join(keepers)}")
    return [keepers[service]]


async def _ask(
    upstreams: list[Upstream], path: str, who: Principal, params: dict[str, Any] | None = None
) -> list[Any]:
    """The answers in order; Unavailable in place of one that is not to be had. Raises Refusal."""

    async def one(upstream: Upstream) -> Any:
        try:
            return await upstream.get(path, who=who, params=params, timeout_s=ASK_S)
        except Unavailable as error:
            return error
        except UnexpectedAnswer as error:
            log.error("service_failed", service=upstream.name, path=path, error=str(error))
            return Unavailable(f"{upstream.name} failed")

    return list(await asyncio.gather(*(one(upstream) for upstream in upstreams)))


async def _keeper(parts: Gate, letter_id: str) -> Upstream:
    """Whose queue a dead letter lies in: queues carry their service's name."""
    found = _keepers(parts).get(letter_id.split(".", 1)[0])
    if found is None:
        raise NotFound("dead_letter_unknown", f"Dead letter with id: {letter_id} was not found")
    return found


async def _owner(parts: Gate, who: Principal, path: str, unknown: str) -> Upstream:
    """The service that knows what is at ``path``. Raises NotFound; Unavailable if one that did
    not answer may know it."""

    async def known(upstream: Upstream) -> Upstream | Unavailable | None:
        try:
            (answer,) = await _ask([upstream], path, who)
        except NotFound:
            return None
        return answer if isinstance(answer, Unavailable) else upstream

    upstreams = list(parts.upstreams.values())
    answers_ = await asyncio.gather(*(known(upstream) for upstream in upstreams))
    for answer in answers_:
        if isinstance(answer, Upstream):
            return answer
    silent = [
        upstream.name
        for upstream, answer in zip(upstreams, answers_, strict=True)
        if answer is not None
    ]
    if silent:
        raise Unavailable(f"no answer from {', '.join(silent)}")
    raise NotFound("not_found", unknown)


async def _change(
    request: Request,
    parts: Gate,
    who: Principal,
    at: Callable[[], Awaitable[Upstream]],
    path: str,
    shape: Shape,
) -> Response:
    """Pass a checked body on to who keeps the thing; a key that the client sent is honored."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(shape, body)
        return await (await at()).send("POST", path, who=who, body=given)

    return await answers.once(parts.database, who=who, tried=tried, work=work)
