"""Batch jobs: exports that are written in the background, a bounded step at a time.

A step reads one page from a service and writes one piece of the file; the piece and how far the
job has come are one transaction, so whoever goes on after a crash goes on exactly there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from chassis import audit, clock, context
from chassis.auth import Principal
from chassis.db import Database, Row, Tx
from chassis.errors import Invalid, NotAllowed, NotFound, Refusal, Unavailable
from chassis.failpoints import failpoint
from chassis.values import jitter, new_id, uuid7
from gateway import store, wire
from gateway.clients import UnexpectedAnswer, Upstream
from gateway.files import Files
from gateway.sheets import SHEETS, Sheet, lines

log = structlog.get_logger(__name__)

WAKE = "exports"
PAGE_ROWS = 100
# Longer than a step takes: until then nobody else makes it again.
LEASE_S = 20.0
AGAIN_S = 5.0
GIVE_UP = timedelta(hours=24)
UNDER_WAY_MAX = 10
KEEP_FILES = timedelta(days=7)
FORGET_EVERY_S = 600.0
VALUES_MAX = 100
_COMPARISONS = ("gt", "gte", "lt", "lte")


class Exports:
    """What people do with batch jobs. Everybody sees only their own."""

    def __init__(self, database: Database, files: Files) -> None:
        self._database = database
        self.files = files

    async def create(
        self, who: Principal, *, type_: str, job_context: Row, dry_run: bool, job_id: str
    ) -> Row:
        """A new job; the one that is there if there is one of that id. Raises Invalid, NotAllowed.

        Without ``dry_run`` it goes on by itself; with it, it counts and waits to be confirmed.
        """
        filters_of(SHEETS[type_], job_context)
        now = clock.now()
        row: Row = {
            "id": job_id,
            "type": type_,
            "context": job_context,
            "dry_run": dry_run,
            "status": "created",
            "created_by": who.id,
            "role": who.role,
            "result": None,
            "after_id": "",
            "pieces": 0,
            "next_at": now,
            **dict.fromkeys(_TIMES),
            "created_at": now,
            "updated_at": now,
        }
        async with self._database.transaction() as tx:
            known = await store.job(tx, job_id=job_id)
            if known is not None:
                return known
            if await store.jobs_under_way(tx, created_by=who.id) >= UNDER_WAY_MAX:
                message = f"{UNDER_WAY_MAX} of your batch jobs are under way: wait or cancel one."
                raise NotAllowed("too_many_batch_jobs", message)
            await store.add_job(tx, row=row)
            told = {"type": type_, "context": job_context, "dry_run": dry_run}
            await _record(tx, "batch_job.created", job_id, after=told)
            tx.wake(WAKE)
        return row

    async def confirm(self, who: Principal, job_id: str) -> Row:
        """Let a counted job go on. Raises NotFound, NotAllowed."""
        async with self._database.transaction() as tx:
            row = await self._own(tx, who, job_id)
            if row["status"] != "pre_processed":
                raise NotAllowed(
                    "batch_job_not_pre_processed",
                    "Cannot confirm processing for a batch job that is not pre processed",
                )
            row = await _turn(tx, row, "confirmed", next_at=clock.now())
            await _record(tx, "batch_job.confirmed", job_id)
            tx.wake(WAKE)
        return row

    async def cancel(self, who: Principal, job_id: str) -> Row:
        """End a job and remove what it wrote; twice is as good as once.

        Raises NotFound, NotAllowed.
        """
        async with self._database.transaction() as tx:
            row = await self._own(tx, who, job_id)
            if row["status"] == "completed":
                raise NotAllowed("batch_job_completed", "Cannot cancel completed batch job")
            if row["status"] != "canceled":
                row = await _turn(tx, row, "canceled", next_at=None)
                await self.files.remove(tx, job_id)
                await _record(tx, "batch_job.canceled", job_id)
        return row

    async def get(self, who: Principal, job_id: str) -> Row:
        """One job. Raises NotFound, NotAllowed."""
        async with self._database.reading() as tx:
            return _checked(await store.job(tx, job_id=job_id), who, job_id)

    async def fetched(self, who: Principal, job_id: str) -> Row:
        """A job whose file may be read. Raises NotFound, NotAllowed."""
        row = await self.get(who, job_id)
        if row["status"] != "completed":
            raise NotAllowed("batch_job_not_completed", "The file of the batch job is not complete")
        async with self._database.transaction() as tx:
            if not await self.files.there(tx, job_id):
                days = KEEP_FILES.days
                raise NotFound("file_gone", f"The file was removed: files are kept {days} days")
            await _record(tx, "batch_job.downloaded", job_id)
        return row

    async def _own(self, tx: Tx, who: Principal, job_id: str) -> Row:
        return _checked(await store.lock_job(tx, job_id=job_id), who, job_id)


_TIMES = tuple(
    f"{name}_at"
    for name in ("pre_processed", "confirmed", "processing", "completed", "canceled", "failed")
)


def new_job_id() -> str:
    """An id for a job."""
    return new_id("batch")


def _checked(row: Row | None, who: Principal, job_id: str) -> Row:
    if row is None:
        raise NotFound("batch_job_unknown", f"Batch job with id {job_id} was not found")
    if row["created_by"] != who.id:
        raise NotAllowed(
            "batch_job_of_another",
            "Cannot access a batch job that does not belong to the logged in user",
        )
    return row


async def _turn(tx: Tx, row: Row, status: str, *, next_at: datetime | None, **more: Any) -> Row:
    """Write a new status with its time; the job."""
    now = clock.now()
    turned = {**row, f"{status}_at": now, "status": status, "next_at": next_at, "updated_at": now}
    turned |= more
    await store.save_job(tx, row=turned)
    return turned


async def _record(tx: Tx, action: str, job_id: str, **more: Any) -> None:
    await audit.record(tx, action=action, about=f"batch-job/{job_id}", **more)


def filters_of(sheet: Sheet, job_context: Mapping[str, Any]) -> dict[str, Any]:
    """The query of a service that a job's context means. Raises Invalid for what is no filter.

    ``list_config`` is Medusa's, and pages are the job's own: every row is exported.
    """
    wire.reject_unknown(job_context, {"filterable_fields", "list_config"})
    given = job_context.get("filterable_fields") or {}
    if not isinstance(given, dict):
        raise Invalid("invalid_data", "filterable_fields must be an object")
    wire.reject_unknown(given, {*sheet.filters, *sheet.dates})
    params: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in sheet.dates:
            params |= _compared(name, value)
            continue
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in values):
            raise Invalid("invalid_data", f"each value in {name} must be a string")
        if len(values) > (VALUES_MAX if sheet.filters[name] else 1):
            raise Invalid("invalid_data", f"{name} has too many values")
        params[name] = values
    return params


def _compared(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Invalid("invalid_data", f"{name} must be an object")
    wire.reject_unknown(value, set(_COMPARISONS))
    return {f"{name}_{sign}": wire.date(each).isoformat() for sign, each in value.items()}


class Exporter:
    """Does what is due, one step of one job at a time. ``step`` is for a Loop."""

    def __init__(self, database: Database, upstreams: Mapping[str, Upstream], files: Files) -> None:
        self._database = database
        self._upstreams = upstreams
        self._files = files
        self._forget_at_s = 0.0

    async def step(self) -> bool:
        """One step; False when nothing is due."""
        await self._forget()
        now = clock.now()
        async with self._database.glance() as tx:
            if await store.due_job(tx, now=now) is None:
                return False
        async with self._database.transaction() as tx:
            until = now + timedelta(seconds=LEASE_S)
            job = await store.take_job(tx, now=now, until=until)
        if job is None:
            return False
        context.begin(
            context.Context(
                correlation_id=uuid7(), actor_kind=job["role"], actor_id=job["created_by"]
            )
        )
        try:
            await self._go_on(job)
        except Unavailable as trouble:
            log.info("export_waits", job=job["id"], reason=trouble.message)
            await self._later(job, trouble)
        except (Refusal, UnexpectedAnswer) as error:
            await self._fail(job, str(error))
        return True

    async def _go_on(self, job: Row) -> None:
        sheet = SHEETS[job["type"]]
        who = Principal(job["created_by"], job["role"])
        params = filters_of(sheet, job["context"])
        upstream = self._upstreams[sheet.service]
        if job["status"] == "created":
            page = await upstream.get(f"/{sheet.plural}", who=who, params={**params, "limit": 0})
            await self._count(job, sheet, page["count"])
            return
        params |= {"limit": PAGE_ROWS, "after": job["after_id"]}
        page = await upstream.get(f"/{sheet.plural}", who=who, params=params)
        await failpoint("gateway.export.x1")
        await self._write(job, sheet, page[sheet.plural])
        await failpoint("gateway.export.x3")

    async def _count(self, job: Row, sheet: Sheet, count: int) -> None:
        descriptor = {
            "key": f"{job['type']}-count",
            "name": f"{sheet.label} count to export",
            "message": f"There will be {count} {sheet.plural} exported by this action",
        }
        result = {
            "count": count,
            "advancement_count": 0,
            "progress": 0,
            "errors": [],
            "stat_descriptors": [descriptor],
            "file_key": None,
            "file_size": 0,
        }
        async with self._database.transaction() as tx:
            row = await self._still(tx, job)
            if row is None:
                return
            row = await _turn(tx, row, "pre_processed", next_at=None, result=result)
            if not row["dry_run"]:
                await _turn(tx, row, "confirmed", next_at=clock.now())

    async def _write(self, job: Row, sheet: Sheet, records: list[Row]) -> None:
        first = job["pieces"] == 0
        text = lines([*([sheet.header] if first else []), *map(sheet.row, records)])
        last = len(records) < PAGE_ROWS
        async with self._database.transaction() as tx:
            row = await self._still(tx, job)
            if row is None:
                return
            now, done = clock.now(), row["result"]["advancement_count"] + len(records)
            count = max(row["result"]["count"], done)
            size = row["result"]["file_size"] + len(text.encode())
            result = {
                **row["result"],
                "count": count,
                "advancement_count": done,
                "progress": 1 if last else round(done / count, 4),
                "file_key": f"{job['id']}.csv",
                "file_size": size,
            }
            number = row["pieces"] + 1
            # The last page may be empty; a file has no empty pieces.
            if text:
                await self._files.append(tx, job["id"], number, text, now=now)
            row |= {
                "result": result,
                "pieces": number if text else row["pieces"],
                "after_id": records[-1]["id"] if records else row["after_id"],
                "processing_at": row["processing_at"] or now,
            }
            if last:
                await _turn(tx, row, "completed", next_at=None)
            else:
                going_on = {"status": "processing", "next_at": now, "updated_at": now}
                await store.save_job(tx, row={**row, **going_on})
            await failpoint("gateway.export.x2")

    async def _still(self, tx: Tx, job: Row) -> Row | None:
        """The job, locked, unless it was canceled or another process did this step meanwhile."""
        row = await store.lock_job(tx, job_id=job["id"])
        same = row is not None and all(row[name] == job[name] for name in ("status", "pieces"))
        return row if same else None

    async def _later(self, job: Row, trouble: Unavailable) -> None:
        if clock.now() - job["created_at"] > GIVE_UP:
            await self._fail(job, trouble.message)
            return
        async with self._database.transaction() as tx:
            row = await self._still(tx, job)
            if row is not None:
                pause = timedelta(seconds=jitter(AGAIN_S, 0.2))
                await store.save_job(tx, row={**row, "next_at": clock.now() + pause})

    async def _fail(self, job: Row, reason: str) -> None:
        log.error("export_failed", job=job["id"], reason=reason)
        async with self._database.transaction() as tx:
            row = await self._still(tx, job)
            if row is not None:
                result = {**(row["result"] or {}), "errors": [reason[:1000]]}
                await _turn(tx, row, "failed", next_at=None, result=result)
                await self._files.remove(tx, job["id"])

    async def _forget(self) -> None:
        if clock.monotonic_s() < self._forget_at_s:
            return
        self._forget_at_s = clock.monotonic_s() + FORGET_EVERY_S
        async with self._database.transaction() as tx:
            await self._files.forget(tx, before=clock.now() - KEEP_FILES)
