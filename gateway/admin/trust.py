"""Who did what (the audit trail of all services), and where their books differ (findings)."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from chassis import audit_list
from chassis.auth import Principal
from chassis.db import Row
from chassis.errors import Invalid
from chassis.http import json_response
from gateway import answers, bodies, repairs, store, wire
from gateway.gate import Gate, Parts, Who
from gateway.shapes import check

router = APIRouter()
_FILTERS = ("about", "actor", "action")
_STATES = ("open", "resolved", "repaired", "dismissed")
OFFSET_MAX = 10_000


@router.get("/admin/audit")
async def list_audit(request: Request, parts: Parts, who: Who) -> Response:
    """A page of what was done, anywhere, newest first: {audit, count, offset, limit}.

    Filters: ``about`` (``claim/claim_...``), ``actor`` (an id or a role), ``action`` (also a family
    like ``refund.``), ``since``.
    """
    query = wire.query(request)
    wire.reject_unknown(query, {*_FILTERS, "since", "limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=100)
    if offset > OFFSET_MAX:
        raise Invalid(
            "offset_too_far",
            f"offset must not be greater than {OFFSET_MAX}: narrow the search by about, actor,"
            " action or since",
        )
    wanted: Row = {name: wire.text(query, name) for name in _FILTERS}
    since = wire.date(query["since"]) if "since" in query else None
    pages = await asyncio.gather(
        _own(parts, wanted, since, limit + offset),
        *(_of(parts, name, who, wanted, since, limit + offset) for name in parts.upstreams),
    )
    rows = [row for page, _ in pages for row in page]
    rows.sort(key=lambda row: (row["at"], row["seq"]), reverse=True)
    count = sum(many for _, many in pages)
    shown = rows[offset : offset + limit]
    return json_response({"audit": shown, "count": count, "offset": offset, "limit": limit})


async def _own(
    parts: Gate, wanted: Row, since: datetime | None, limit: int
) -> tuple[list[Row], int]:
    async with parts.database.reading() as tx:
        return await audit_list.page(tx, **wanted, since=since, limit=limit)


async def _of(
    parts: Gate, name: str, who: Principal, wanted: Row, since: datetime | None, limit: int
) -> tuple[list[Row], int]:
    params = {**wanted, "since": since.isoformat() if since else None, "limit": limit}
    answer = await parts.upstreams[name].get("/internal/audit", who=who, params=params)
    rows = [{**row, "at": datetime.fromisoformat(row["at"])} for row in answer["audit"]]
    return rows, answer["count"]


@router.get("/admin/findings")
async def list_findings(request: Request, parts: Parts, who: Who) -> Response:
    """A page of findings, the last seen first: {findings, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(query, {"state", "invariant", "limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=100)
    state = wire.text(query, "state")
    if state is not None and state not in _STATES:
        raise Invalid("invalid_data", f"state must be one of: {', '.join(_STATES)}")
    async with parts.database.reading() as tx:
        rows, count = await store.findings(
            tx, state=state, invariant=wire.text(query, "invariant"), limit=limit, offset=offset
        )
    found = [_shown(row) for row in rows]
    return json_response({"findings": found, "count": count, "offset": offset, "limit": limit})


@router.post("/admin/findings/{finding_id}/repair")
async def repair_finding(request: Request, finding_id: str, parts: Parts, who: Who) -> Response:
    """Make the proposed repair: {finding}. It is closed when the next look finds it gone."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        return {"finding": _shown(await parts.reconciler.repair(finding_id, who))}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/findings/{finding_id}/dismiss")
async def dismiss_finding(request: Request, finding_id: str, parts: Parts, who: Who) -> Response:
    """Want no more of it: {finding}. Body: note."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.DISMISS_FINDING, body)
        finding = await parts.reconciler.dismiss(finding_id, given.get("note"))
        return {"finding": _shown(finding)}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


def _shown(finding: Row) -> dict[str, Any]:
    proposal = repairs.propose(invariant=finding["invariant"], message=finding["message"])
    return {
        **{name: value for name, value in finding.items() if name != "facts"},
        "proposal": {"repair": proposal.repair, "advice": proposal.advice},
    }
