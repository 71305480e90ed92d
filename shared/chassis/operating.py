"""The operator's door of every service: dead letters, the outbox, sagas.

For the roles ops and admin. Lists answer ``{<plural>, count, offset, limit}``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from chassis import auth, clock, dead_letters, http, saga_log, unsent
from chassis.db import Tx
from chassis.door import Given, Router, Who
from chassis.errors import NotFound
from chassis.http import Db
from chassis.sagas import SagaTable

LIMIT_MAX = 10_000  # the gateway asks every service for all pages up to the one it shows
_may = auth.require("ops", "admin")
router = Router()
Limit = Annotated[int, Field(ge=0, le=LIMIT_MAX)]
Offset = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class SagaDesk:
    """The sagas a service runs, and how one of them is turned back: its subject follows it.

    ``give_up(tx, saga_id, reason, now)`` raises NotFound and NotAllowed.
    """

    tables: Mapping[str, SagaTable] = field(default_factory=dict)
    give_up: Callable[[Tx, str, str, datetime], Awaitable[None]] | None = None


def _desk(request: Request) -> SagaDesk:
    desk: SagaDesk = request.app.state.sagas
    return desk


def _models(request: Request) -> dead_letters.Models:
    models: dead_letters.Models = request.app.state.models
    return models


Desk = Annotated[SagaDesk, Given(_desk)]
Models = Annotated[dead_letters.Models, Given(_models)]


class Replay(BaseModel):
    """``data`` mends the message: it takes the place of the envelope's data."""

    model_config = ConfigDict(extra="forbid")
    data: dict[str, Any] | None = None


class Reason(BaseModel):
    """Why an operator decided so."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(min_length=1, max_length=1000)


def _listed(name: str, rows: list[Any], count: int, limit: int, offset: int) -> Response:
    return http.json_response({name: rows, "count": count, "offset": offset, "limit": limit})


@router.get("/dead-letters")
async def list_dead_letters(
    db: Db,
    who: Who,
    limit: Limit = 50,
    offset: Offset = 0,
    state: Literal["parked", "dead"] | None = None,
    queue: str | None = None,
    type: str | None = None,
) -> Response:
    """Messages that could not be handled, the newest first, without their envelopes."""
    _may(who)
    async with db.reading() as tx:
        rows, count = await dead_letters.page(
            tx, state=state, queue=queue, type_=type, limit=limit, offset=offset
        )
    return _listed("dead_letters", rows, count, limit, offset)


@router.get("/dead-letters/{letter_id}")
async def get_dead_letter(letter_id: str, db: Db, who: Who) -> Response:
    """One message with its envelope: {dead_letter}."""
    _may(who)
    async with db.reading() as tx:
        found = await dead_letters.by_id(tx, letter_id)
    return http.json_response({"dead_letter": found})


@router.post("/dead-letters/{letter_id}/replay")
async def replay_dead_letter(
    letter_id: str, body: Replay, models: Models, db: Db, who: Who
) -> Response:
    """Try a message again, mended if ``data`` is given: {dead_letter}."""
    _may(who)
    async with db.transaction() as tx:
        found = await dead_letters.replay(
            tx, letter_id, data=body.data, models=models, now=clock.now()
        )
    return http.json_response({"dead_letter": found})


@router.post("/dead-letters/{letter_id}/discard")
async def discard_dead_letter(letter_id: str, body: Reason, db: Db, who: Who) -> Response:
    """Never handle a message: {dead_letter}."""
    _may(who)
    async with db.transaction() as tx:
        found = await dead_letters.discard(tx, letter_id, reason=body.reason, now=clock.now())
    return http.json_response({"dead_letter": found})


@router.get("/outbox")
async def list_outbox(
    db: Db,
    who: Who,
    limit: Limit = 50,
    offset: Offset = 0,
    state: Literal["unsent", "blocked"] = "unsent",
) -> Response:
    """Messages that wait or are blocked, the oldest first, and the lag of the whole outbox."""
    _may(who)
    async with db.reading() as tx:
        rows, count = await unsent.page(tx, state=state, limit=limit, offset=offset)
        lag = await unsent.lag(tx, now=clock.now())
    return http.json_response(
        {"messages": rows, "count": count, "offset": offset, "limit": limit, "lag": lag}
    )


@router.get("/outbox/{message_id}")
async def get_message(message_id: str, db: Db, who: Who) -> Response:
    """One message of the outbox: {message}."""
    _may(who)
    async with db.reading() as tx:
        found = await unsent.by_id(tx, message_id)
    return http.json_response({"message": found})


@router.post("/outbox/{message_id}/unblock")
async def unblock_message(message_id: str, db: Db, who: Who) -> Response:
    """Let the relay try a blocked message again: {message}."""
    _may(who)
    async with db.transaction() as tx:
        found = await unsent.unblock(tx, message_id)
    return http.json_response({"message": found})


@router.get("/sagas")
async def list_sagas(
    desk: Desk,
    db: Db,
    who: Who,
    limit: Limit = 50,
    offset: Offset = 0,
    kind: str | None = None,
    direction: Literal["forward", "back"] | None = None,
    older_than_s: Annotated[float, Field(ge=0, le=10**9)] = 0,
) -> Response:
    """Sagas under way, the oldest first."""
    _may(who)
    if not desk.tables:
        return _listed("sagas", [], 0, limit, offset)
    async with db.reading() as tx:
        rows, count = await saga_log.page(
            tx,
            kind=kind,
            direction=direction,
            older_than_s=older_than_s,
            limit=limit,
            offset=offset,
            now=clock.now(),
        )
    return _listed("sagas", rows, count, limit, offset)


@router.get("/sagas/{saga_id}")
async def get_saga(saga_id: str, desk: Desk, db: Db, who: Who) -> Response:
    """One saga with its facts, refusals and history: {saga}."""
    _may(who)
    _must_run_sagas(desk, saga_id)
    async with db.reading() as tx:
        found = await saga_log.show(tx, saga_id, now=clock.now())
    return http.json_response({"saga": found})


@router.post("/sagas/{saga_id}/resume")
async def resume_saga(saga_id: str, desk: Desk, db: Db, who: Who) -> Response:
    """Ask for what is awaited again, without waiting for the timer: {saga}."""
    _may(who)
    _must_run_sagas(desk, saga_id)
    async with db.transaction() as tx:
        await saga_log.resume(tx, desk.tables, saga_id, now=clock.now())
        found = await saga_log.show(tx, saga_id, now=clock.now())
    return http.json_response({"saga": found})


@router.post("/sagas/{saga_id}/compensate")
async def compensate_saga(saga_id: str, body: Reason, desk: Desk, db: Db, who: Who) -> Response:
    """Undo what was done and end the saga, where no pivot was passed: {saga}."""
    _may(who)
    give_up = _must_run_sagas(desk, saga_id)
    async with db.transaction() as tx:
        await give_up(tx, saga_id, body.reason, clock.now())
        found = await saga_log.show(tx, saga_id, now=clock.now())
    return http.json_response({"saga": found})


def _must_run_sagas(
    desk: SagaDesk, saga_id: str
) -> Callable[[Tx, str, str, datetime], Awaitable[None]]:
    if desk.give_up is None:
        raise NotFound("saga_unknown", f"Saga with id: {saga_id} was not found")
    return desk.give_up
