"""What a service tells of its books, page by page, so that drift is found without anybody reading
its database; and the few ways to put right what is safe to repeat.

The gateway compares. ``subjects`` are the ids that several services share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from chassis import at_rest, audit, auth, clock, http, outbox
from chassis.db import Row, Tx
from chassis.door import Given, Router, Who
from chassis.errors import NotAllowed
from chassis.http import Db

PAGE_ROWS = 500
FINDINGS_MAX = 200
_may_look = auth.require("system")
_may_mend = auth.require("system", "ops", "admin")


class Books(Protocol):
    """``invariants.py`` of a service."""

    async def findings(self, tx: Tx, /) -> list[Row]:
        """What is wrong in this database alone: [{invariant, id, message}]."""

    async def subjects(self, tx: Tx, /, *, after: str, limit: int) -> list[str]:
        """Ids that others know too, in order."""

    async def rows(self, tx: Tx, ids: list[str] | None, /) -> dict[str, list[Row]]:
        """What is known of these ids (None: of all), list by list."""


Release = Callable[[Tx, str], Awaitable[bool]]


class Ids(BaseModel):
    """Which."""

    model_config = ConfigDict(extra="forbid")
    ids: list[str] = Field(max_length=10 * PAGE_ROWS)


class Seen(Ids):
    """Which messages of a queue."""

    consumer: str


class Resend(BaseModel):
    """Messages by id, or all that were said about a subject."""

    model_config = ConfigDict(extra="forbid")
    ids: list[str] = Field(default_factory=list, max_length=PAGE_ROWS)
    about: str | None = None


Limit = Annotated[int, Field(ge=1, le=2 * PAGE_ROWS)]


@dataclass(frozen=True)
class Desk:
    """What a service lets be compared and mended. ``bindings``: [(queue, exchange, key)].

    ``release(tx, id)`` sends again what frees all that a dead subject held, False when the subject
    is alive or unknown; None where nobody is asked to hold anything.
    """

    books: Books
    bindings: tuple[tuple[str, str, str], ...]
    release: Release | None = None


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.reconciling
    return desk


Own = Annotated[Desk, Given(_desk)]

router = Router()


@router.get("/internal/reconcile/findings")
async def findings(own: Own, db: Db, who: Who) -> Response:
    """What is wrong in this database alone: {findings}, a bounded number of them."""
    _may_look(who)
    async with db.aside() as tx:
        found = await own.books.findings(tx) + await at_rest.lost_timers(tx, now=clock.now())
    return http.json_response({"findings": found[:FINDINGS_MAX]})


@router.get("/internal/reconcile/subjects")
async def subjects(
    own: Own, db: Db, who: Who, after: str = "", limit: Limit = PAGE_ROWS
) -> Response:
    """The next ids: {ids}."""
    _may_look(who)
    async with db.reading() as tx:
        return http.json_response({"ids": await own.books.subjects(tx, after=after, limit=limit)})


@router.get("/internal/reconcile/changed")
async def changed(db: Db, who: Who, after: int, limit: Limit = PAGE_ROWS) -> Response:
    """What the audit trail says was touched: {touched: [kind/id], after, end}."""
    _may_look(who)
    async with db.reading() as tx:
        rows = await at_rest.touched(tx, after=after, limit=limit)
        end = await tx.fetch_value("SELECT COALESCE(MAX(seq), 0) FROM audit")
    last = rows[-1]["seq"] if rows else after
    touched = sorted({row["about"] for row in rows})
    return http.json_response({"touched": touched, "after": last, "end": end})


@router.post("/internal/reconcile/rows")
async def rows(body: Ids, own: Own, db: Db, who: Who) -> Response:
    """What is known of these ids: {rows: {list: [row]}}."""
    _may_look(who)
    async with db.reading() as tx:
        return http.json_response({"rows": await own.books.rows(tx, body.ids)})


@router.get("/internal/reconcile/bindings")
async def bound(own: Own, who: Who) -> Response:
    """What this service listens to: {bindings: [[queue, exchange, key]]}."""
    _may_look(who)
    return http.json_response({"bindings": own.bindings})


@router.get("/internal/reconcile/sent")
async def sent(
    db: Db, who: Who, after: int, settled_s: int = 0, limit: Limit = PAGE_ROWS
) -> Response:
    """Messages that were sent ``settled_s`` ago or longer, in order: {messages, end}."""
    _may_look(who)
    before = clock.now() - timedelta(seconds=settled_s)
    async with db.reading() as tx:
        messages = await at_rest.settled_messages(tx, after=after, before=before, limit=limit)
        end = await tx.fetch_value("SELECT COALESCE(MAX(seq), 0) FROM outbox")
    return http.json_response({"messages": messages, "end": end})


@router.get("/internal/reconcile/seen")
async def seen_page(
    db: Db, who: Who, consumer: str = "", message_id: str = "", limit: Limit = PAGE_ROWS
) -> Response:
    """Messages that came here, in order: {messages}."""
    _may_look(who)
    async with db.reading() as tx:
        page = await at_rest.seen_messages(tx, after=(consumer, message_id), limit=limit)
    return http.json_response({"messages": page})


@router.post("/internal/reconcile/seen")
async def seen(body: Seen, db: Db, who: Who) -> Response:
    """Which of these came to the queue: {ids}."""
    _may_look(who)
    async with db.reading() as tx:
        known = await at_rest.seen_of(tx, consumer=body.consumer, message_ids=body.ids)
    return http.json_response({"ids": sorted(known)})


@router.post("/internal/reconcile/written")
async def written(body: Ids, db: Db, who: Who) -> Response:
    """Which of these were written here: {ids}."""
    _may_look(who)
    async with db.reading() as tx:
        known = await at_rest.written_of(tx, message_ids=body.ids)
    return http.json_response({"ids": sorted(known)})


@router.post("/internal/reconcile/resend")
async def resend(body: Resend, db: Db, who: Who) -> Response:
    """Send again, by id or all about a subject: {sent}. Who has seen one drops the repeat."""
    _may_mend(who)
    async with db.transaction() as tx:
        ids = body.ids or await at_rest.said_about(tx, subject=body.about or "", limit=200)
        count = await outbox.resend(tx, ids) if ids else 0
        if count:
            about = f"message/{ids[0]}" if body.ids else f"subject/{body.about}"
            told = {"messages": ids}
            await audit.record(tx, action="repair.resent", about=about, after=told)
    return http.json_response({"sent": count})


@router.post("/internal/reconcile/wake")
async def wake(body: Ids, db: Db, who: Who) -> Response:
    """Let the timers of these sagas, if they are under way, come due now: {woken}."""
    _may_mend(who)
    now = clock.now()
    async with db.transaction() as tx:
        count = 0
        if "sagas" in tx.database.tables:
            count = await at_rest.wake(tx, saga_ids=body.ids, now=now)
        for saga_id in body.ids[:count]:
            await audit.record(tx, action="repair.woken", about=f"saga/{saga_id}")
    return http.json_response({"woken": count})


@router.post("/internal/reconcile/release/{subject}")
async def release_again(subject: str, own: Own, db: Db, who: Who) -> Response:
    """Ask again that everything a dead subject holds elsewhere is freed: {released}."""
    _may_mend(who)
    if own.release is None:
        raise NotAllowed("nothing_to_release", "This service asks nobody to hold anything.")
    async with db.transaction() as tx:
        done = await own.release(tx, subject)
        if done:
            await audit.record(tx, action="repair.released", about=f"subject/{subject}")
    return http.json_response({"released": done})
