"""The HTTP door to inquiries and evidence, for the gateway only.

A customer sees and changes own inquiries: another's answer exactly like one that does not exist.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from chassis import auth, clock, http
from chassis.auth import Principal
from chassis.door import Given, Router, Who, raw_body
from chassis.errors import Refusal, Unavailable
from chassis.files import Files, new_key
from chassis.http import Db, Tries
from services.claims import approving, evidence, inquiries, inquiry_queries, schemas
from services.claims.evidence import EvidenceNotFound, Kept
from services.claims.inquiry import By
from services.claims.pictures import content_of

EVIDENCE_MAX_BYTES = 5 * 1024 * 1024

router = Router()
_may_read = auth.require("admin", "agent", "finance", "ops", "warehouse", "customer")
_may_report = auth.require("admin", "agent", "customer")
_may_decide = auth.require("admin", "agent", "finance")
_may_write = auth.require("admin", "agent", "finance", "customer")
_may_show = auth.require("admin", "agent", "finance", "warehouse", "customer")


def _bound_s(request: Request) -> float:
    bound: float = request.app.state.wait_bound_s
    return bound


def _files(request: Request) -> Files:
    files: Files = request.app.state.files
    return files


def _a_day_most(request: Request) -> int:
    most: int = request.app.state.inquiries_a_day
    return most


Bound = Annotated[float, Given(_bound_s)]
Store = Annotated[Files, Given(_files)]
ADayMost = Annotated[int, Given(_a_day_most)]


def _owner(who: Principal) -> str | None:
    """Whose inquiries: a customer's own, nobody's for a guest, all for the shop."""
    return (who.customer_id or "") if who.is_customer else None


def _by(who: Principal) -> By:
    return By("customer" if who.is_customer else "shop", who.id)


# ---- inquiries ----------------------------------------------------------------------------------


@router.post("/inquiries")
async def open_inquiry(
    body: schemas.OpenInquiry, db: Db, who: Who, attempt: Tries, a_day_most: ADayMost
) -> Response:
    """Report what is wrong with an order: {inquiry_id}."""
    _may_report(who)
    request = body.model_dump(exclude={"claimable"})
    if who.is_customer:
        request["customer_id"] = who.customer_id
    async with http.accepting(db) as tx:
        inquiry_id = await inquiries.open_inquiry(
            tx,
            request=request,
            claimable=body.claimable,
            by=_by(who),
            caller=attempt.by(who.id),
            a_day_most=a_day_most,
            now=clock.now(),
        )
    return http.json_response({"inquiry_id": inquiry_id})


@router.get("/inquiries")
async def list_inquiries(
    db: Db,
    who: Who,
    limit: Annotated[int, Field(ge=0, le=1000)] = 50,
    offset: Annotated[int, Field(ge=0)] = 0,
    status: Annotated[list[str] | None, Field(max_length=100)] = None,
    order_id: Annotated[list[str] | None, Field(max_length=1000)] = None,
    customer_id: str | None = None,
    assigned_to: str | None = None,
    claim_id: str | None = None,
    created_from: datetime | None = None,
    created_before: datetime | None = None,
) -> Response:
    """A page of inquiries, newest first: {inquiries, count, offset, limit}."""
    _may_read(who)
    given: dict[str, Any] = {
        "status": status,
        "order_id": order_id,
        "customer_id": customer_id,
        "assigned_to": assigned_to,
        "claim_id": claim_id,
        "created_from": created_from,
        "created_before": created_before,
    }
    filters = {name: value for name, value in given.items() if value is not None}
    async with db.reading() as tx:
        found, count = await inquiry_queries.list_inquiries(
            tx, filters=filters, owner=_owner(who), limit=limit, offset=offset
        )
    return http.json_response(
        {"inquiries": found, "count": count, "offset": offset, "limit": limit}
    )


@router.get("/inquiries/{inquiry_id}")
async def get_inquiry(inquiry_id: str, db: Db, who: Who) -> Response:
    """One inquiry with its messages and its evidence: {inquiry}."""
    _may_read(who)
    async with db.reading() as tx:
        found = await inquiry_queries.inquiry_by_id(tx, inquiry_id=inquiry_id, owner=_owner(who))
    return http.json_response({"inquiry": found})


@router.post("/inquiries/{inquiry_id}/review")
async def review_inquiry(inquiry_id: str, db: Db, who: Who, attempt: Tries) -> Response:
    """Take an inquiry into review: {inquiry_id}."""
    _may_decide(who)
    async with http.accepting(db) as tx:
        await inquiries.review_inquiry(
            tx, inquiry_id=inquiry_id, by=_by(who), caller=attempt.by(who.id), now=clock.now()
        )
    return http.json_response({"inquiry_id": inquiry_id})


@router.post("/inquiries/{inquiry_id}/approve")
async def approve_inquiry(
    inquiry_id: str,
    body: schemas.ApproveInquiry,
    db: Db,
    who: Who,
    attempt: Tries,
    bound_s: Bound,
) -> Response:
    """Make an inquiry a claim, and wait for its saga: 200 {inquiry_id, claim_id}."""
    _may_decide(who)
    async with http.accepting(db) as tx:
        accepted = await approving.approve_inquiry(
            tx,
            inquiry_id=inquiry_id,
            request=body.model_dump(),
            by=_by(who),
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return await http.settled(
        db,
        key=accepted.claim_id,
        outcome=partial(inquiry_queries.outcome_of_approval, claim_id=accepted.claim_id),
        attempt=attempt,
        bound_s=bound_s,
        location=f"/inquiries/{inquiry_id}",
        one_statement=True,
    )


@router.post("/inquiries/{inquiry_id}/reject")
async def reject_inquiry(
    inquiry_id: str, body: schemas.Reason, db: Db, who: Who, attempt: Tries
) -> Response:
    """Say no to an inquiry: {inquiry_id}."""
    _may_decide(who)
    async with http.accepting(db) as tx:
        await inquiries.reject_inquiry(
            tx,
            inquiry_id=inquiry_id,
            reason=body.reason,
            by=_by(who),
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return http.json_response({"inquiry_id": inquiry_id})


@router.post("/inquiries/{inquiry_id}/cancel")
async def cancel_inquiry(inquiry_id: str, db: Db, who: Who) -> Response:
    """Take an inquiry back: {inquiry_id}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        await inquiries.cancel_inquiry(
            tx, inquiry_id=inquiry_id, owner=_owner(who), by=_by(who), now=clock.now()
        )
    return http.json_response({"inquiry_id": inquiry_id})


@router.post("/inquiries/{inquiry_id}/messages")
async def write_message(
    inquiry_id: str, body: schemas.Message, db: Db, who: Who, attempt: Tries
) -> Response:
    """Write to the other side: {inquiry_id}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        await inquiries.write_message(
            tx,
            inquiry_id=inquiry_id,
            owner=_owner(who),
            text=body.text,
            by=_by(who),
            caller=attempt.by(who.id),
            now=clock.now(),
        )
    return http.json_response({"inquiry_id": inquiry_id})


# ---- evidence -----------------------------------------------------------------------------------


async def _kept(request: Request, files: Files, name: str) -> Kept:
    """Look at what was sent, and keep it. Raises BodyTooLarge, Invalid, Unavailable."""
    content = content_of(await raw_body(request, EVIDENCE_MAX_BYTES))
    kept = Kept(new_key(), content, name)
    await files.write(kept.file_key, content.data)
    return kept


Name = Annotated[str, Field(max_length=255)]


@router.post("/inquiries/{inquiry_id}/evidence")
async def add_to_inquiry(
    request: Request,
    inquiry_id: str,
    db: Db,
    who: Who,
    files: Store,
    attempt: Tries,
    name: Name = "",
) -> Response:
    """Add a file, which is the body, to an inquiry: {evidence}."""
    _may_show(who)
    kept = await _kept(request, files, name)
    try:
        async with http.accepting(db) as tx:
            row = await evidence.add_to_inquiry(
                tx,
                inquiry_id=inquiry_id,
                owner=_owner(who),
                kept=kept,
                by=_by(who),
                key=attempt.key,
                now=clock.now(),
            )
    except Refusal:
        await files.remove(kept.file_key)
        raise
    return await _added(files, kept, row, who)


@router.post("/claims/{claim_id}/evidence")
async def add_to_claim(
    request: Request,
    claim_id: str,
    db: Db,
    who: Who,
    files: Store,
    attempt: Tries,
    name: Name = "",
) -> Response:
    """Add a file, which is the body, to a claim: {evidence}."""
    auth.require("admin", "agent", "finance", "warehouse")(who)
    kept = await _kept(request, files, name)
    try:
        async with http.accepting(db) as tx:
            row = await evidence.add_to_claim(
                tx, claim_id=claim_id, kept=kept, by=_by(who), key=attempt.key, now=clock.now()
            )
    except Refusal:
        await files.remove(kept.file_key)
        raise
    return await _added(files, kept, row, who)


async def _added(files: Files, kept: Kept, row: dict[str, Any], who: Principal) -> Response:
    if row["file_key"] != kept.file_key:  # a repeat: the first one's file is there
        await files.remove(kept.file_key)
    shown = inquiry_queries.shown_evidence(row=row, inside=not who.is_customer)
    return http.json_response({"evidence": shown})


@router.get("/claims/{claim_id}/evidence")
async def evidence_of_claim(claim_id: str, db: Db, who: Who) -> Response:
    """The files of a claim, and of the inquiry that it was: {evidence}."""
    auth.require("admin", "agent", "finance", "ops", "warehouse")(who)
    async with db.reading() as tx:
        rows = await inquiry_queries.evidence_of_claim(tx, claim_id=claim_id)
    return http.json_response({"evidence": rows})


@router.get("/evidence/{evidence_id}")
async def get_evidence(
    evidence_id: str, db: Db, who: Who, files: Store, inquiry_id: str | None = None
) -> Response:
    """The file itself, to be saved and never to be shown."""
    _may_read(who)
    async with db.reading() as tx:
        row = await inquiry_queries.evidence_by_id(
            tx, evidence_id=evidence_id, inquiry_id=inquiry_id, owner=_owner(who)
        )
    content = await files.read(row["file_key"])
    if content is None:
        raise EvidenceNotFound(evidence_id=evidence_id)
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(row['name'], safe='')}"}
    return Response(content, 200, headers, row["content_type"])


@router.delete("/evidence/{evidence_id}")
async def remove_evidence(
    evidence_id: str, db: Db, who: Who, files: Store, inquiry_id: str | None = None
) -> Response:
    """Forget a file: {id, object, deleted}."""
    _may_write(who)
    async with http.accepting(db) as tx:
        key = await evidence.remove_evidence(
            tx, evidence_id=evidence_id, inquiry_id=inquiry_id, owner=_owner(who)
        )
    with suppress(Unavailable):  # the sweeper will find what nobody can see any more
        await files.remove(key)
    return http.json_response({"id": evidence_id, "object": "evidence", "deleted": True})
