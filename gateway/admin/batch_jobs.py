"""Batch jobs: exports as CSV, counted first if wanted, written in the background, fetched after."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from chassis.db import Row
from chassis.errors import Invalid
from chassis.http import json_response
from chassis.values import derived_id
from gateway import answers, bodies, queries, wire
from gateway.exporting import new_job_id
from gateway.gate import Parts, Who
from gateway.shapes import check
from gateway.sheets import SHEETS

router = APIRouter()
_NULLABLE = ("confirmed_at", "pre_processed_at", "completed_at", "failed_at", "canceled_at")
_DATES = ("created_at", "updated_at")
_OPERATORS = {"gt", "gte", "lt", "lte"}


@router.post("/admin/batch-jobs", status_code=201)
async def create_job(request: Request, parts: Parts, who: Who) -> Response:
    """A new job: 201 {batch_job}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)
    # A repeat under the same key must mean the same job.
    job_id = derived_id("batch", who.id, tried.key) if tried.given else new_job_id()

    async def work() -> Any:
        given = check(bodies.CREATE_JOB, body)
        row = await parts.exports.create(
            who,
            type_=given["type"],
            job_context=given["context"],
            dry_run=given["dry_run"],
            job_id=job_id,
        )
        return {"batch_job": _shown(row)}

    return await answers.once(parts.database, who=who, tried=tried, work=work, status=201)


@router.get("/admin/batch-jobs")
async def list_jobs(request: Request, parts: Parts, who: Who) -> Response:
    """A page of the caller's own jobs: {batch_jobs, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(
        query,
        {"id", "type", "limit", "offset", "order", "expand", "fields", *_NULLABLE, *_DATES},
    )
    limit, offset = wire.paging(query, default=10, most=200)
    types = wire.texts(query, "type")
    if types is not None and not isinstance(query["type"], list):
        raise Invalid("invalid_data", "type must be an array")
    for unknown in set(types or ()) - set(SHEETS):
        raise Invalid("invalid_data", f"{unknown[:100]} is not a type of batch job")
    async with parts.database.reading() as tx:
        rows, count = await queries.jobs(
            tx,
            created_by=who.id,
            ids=wire.texts(query, "id"),
            types=types,
            times=_times(query),
            order=wire.text(query, "order") or "-created_at",
            limit=limit,
            offset=offset,
        )
    shown = [_picked(_shown(row), wire.text(query, "fields")) for row in rows]
    return json_response({"batch_jobs": shown, "count": count, "offset": offset, "limit": limit})


@router.get("/admin/batch-jobs/{job_id}")
async def get_job(job_id: str, parts: Parts, who: Who) -> Response:
    """One of the caller's own jobs: {batch_job}."""
    return json_response({"batch_job": _shown(await parts.exports.get(who, job_id))})


@router.post("/admin/batch-jobs/{job_id}/confirm")
async def confirm_job(request: Request, job_id: str, parts: Parts, who: Who) -> Response:
    """Let a job that was only counted go on: {batch_job}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        return {"batch_job": _shown(await parts.exports.confirm(who, job_id))}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/batch-jobs/{job_id}/cancel")
async def cancel_job(request: Request, job_id: str, parts: Parts, who: Who) -> Response:
    """End a job that is not complete: {batch_job}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        return {"batch_job": _shown(await parts.exports.cancel(who, job_id))}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.get("/admin/batch-jobs/{job_id}/file")
async def get_file(job_id: str, parts: Parts, who: Who) -> Response:
    """The file that a job wrote, as CSV (ours; Medusa keeps files elsewhere)."""
    row = await parts.exports.fetched(who, job_id)
    return StreamingResponse(
        parts.exports.files.read(job_id, row["pieces"]),
        media_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{row["type"]}-{job_id}.csv"',
            "Content-Length": str(row["result"]["file_size"]),
            "Cache-Control": "no-store",
        },
    )


def _times(query: Row) -> dict[str, dict[str, datetime] | None]:
    found: dict[str, dict[str, datetime] | None] = {}
    for name in (*_NULLABLE, *_DATES):
        value = query.get(name)
        if value is None:
            continue
        if value == "null" and name in _NULLABLE:
            found[name] = None
        elif isinstance(value, dict):
            wire.reject_unknown(value, _OPERATORS)
            found[name] = {sign: wire.date(each) for sign, each in value.items()}
        else:
            raise Invalid("invalid_data", f"{name} must be an object")
    return found


_NAMES = (
    *("id", "type", "status", "created_by", "context", "result", "dry_run", "pre_processed_at"),
    *("confirmed_at", "processing_at", "completed_at", "canceled_at", "failed_at"),
    *("created_at", "updated_at"),
)


def _shown(row: Row) -> Row:
    return {**{name: row[name] for name in _NAMES}, "deleted_at": None}


def _picked(shown: Row, fields: str | None) -> Row:
    if not fields:
        return shown
    wanted = {"id", "created_at", *fields.split(",")}
    return {name: value for name, value in shown.items() if name in wanted}
