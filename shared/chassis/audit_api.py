"""The door to a service's audit trail, for operators and for the gateway that checks its chain."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from chassis import audit_chain, audit_list, auth, http
from chassis.db import Row, Tx
from chassis.door import Router, Who
from chassis.http import Db

# What a page of several services together may ask of each: offset and limit added up.
PAGE_ROWS_MAX = 10_100
CHECK_ROWS = 2000
router = Router()
_may = auth.require("ops", "admin", "system")


@router.get("/internal/audit")
async def list_audit(
    db: Db,
    who: Who,
    about: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    limit: Annotated[int, Field(ge=0, le=PAGE_ROWS_MAX)] = 50,
) -> Response:
    """The newest records: {audit, count}."""
    _may(who)
    async with db.reading() as tx:
        rows, count = await audit_list.page(
            tx, about=about, actor=actor, action=action, since=since, limit=limit
        )
    return http.json_response({"audit": rows, "count": count})


@router.get("/internal/audit/check")
async def check_audit(
    db: Db,
    who: Who,
    number: int = 0,
    hash: str = audit_chain.FIRST,
    at: datetime | None = None,
    kept_number: int = 0,
    kept_hash: str = audit_chain.FIRST,
) -> Response:
    """Check a stretch of the chain: {findings, number, hash, at, more}. Go on with what it says."""
    _may(who)
    so_far = audit_chain.Walk(number, hash, at)
    async with db.reading() as tx:
        return http.json_response(await stretch(tx, so_far, kept_number, kept_hash))


async def stretch(tx: Tx, so_far: audit_chain.Walk, kept_number: int, kept_hash: str) -> Row:
    """The next records of the chain; at its beginning also what is not in it."""
    first = so_far.number == 0
    more = await audit_chain.walk(tx, so_far, limit=CHECK_ROWS)
    if first:
        so_far.findings += await audit_chain.moved(tx, number=kept_number, expected=kept_hash)
        so_far.findings += await audit_chain.unsealed(tx)
    return {
        "findings": so_far.findings,
        "number": so_far.number,
        "hash": so_far.hash,
        "at": so_far.at,
        "more": more,
    }
