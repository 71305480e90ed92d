"""Inquiries: what was reported and is not decided. Approved, one becomes a claim."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.errors import Unavailable
from chassis.http import json_response
from gateway import answers, bodies, reporting, uploads, wire
from gateway.admin.orders import drawn_up
from gateway.clients import segment
from gateway.gate import Parts, Who
from gateway.shapes import Shape, check

router = APIRouter()
_STATES = ("pending", "in_review", "approving", "approved", "rejected", "canceled")
_FILTERS = ("customer_id", "assigned_to", "claim_id")
NOTES_MOST = 200


@router.get("/admin/inquiries")
async def list_inquiries(request: Request, parts: Parts, who: Who) -> Response:
    """A page of inquiries, newest first: {inquiries, count, offset, limit}. ``q`` searches number,
    e-mail and customer of their orders; ``created_at[gte]`` and ``[lt]`` narrow to days."""
    query = wire.query(request)
    known = {*_FILTERS, "order_id", "status", "q", "created_at", "limit", "offset"}
    wire.reject_unknown(query, known)
    limit, offset = wire.paging(query, default=50, most=100)
    order_ids = wire.texts(query, "order_id")
    if query.get("q"):
        found = await reporting.orders_like(parts, who, wire.text(query, "q") or "")
        order_ids = [each for each in found if order_ids is None or each in order_ids]
        if not order_ids:
            return json_response({"inquiries": [], "count": 0, "offset": offset, "limit": limit})
    params = {name: wire.text(query, name) for name in _FILTERS} | {
        "order_id": order_ids,
        "status": wire.choices(query, "status", _STATES),
        **wire.days(query, "created_at"),
        "limit": limit,
        "offset": offset,
    }
    return json_response(await parts.claims.get("/inquiries", who=who, params=params))


@router.post("/admin/orders/{order_id}/inquiries")
async def report(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """Report a problem for a customer: {inquiry}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.REPORT, body)
        inquiry_id = await reporting.report(parts, who, order_id, given, tried)
        return await _whole(parts, who, inquiry_id)

    return await answers.once(parts.database, who=who, tried=tried, always_show=True, work=work)


@router.get("/admin/inquiries/{inquiry_id}")
async def get_inquiry(inquiry_id: str, parts: Parts, who: Who) -> Response:
    """One inquiry with messages, evidence, history and the shop's notes: {inquiry}."""
    return json_response(await _whole(parts, who, inquiry_id))


async def _whole(parts: Parts, who: Who, inquiry_id: str) -> dict[str, Any]:
    """``notes`` is null while orders, which keeps them, is away."""
    inquiry = await reporting.inquiry(parts, who, inquiry_id)
    params = {"resource_id": inquiry_id, "limit": NOTES_MOST}
    try:
        notes = (await parts.orders.get("/notes", who=who, params=params))["notes"]
    except Unavailable:
        notes = None
    return {"inquiry": {**inquiry, "notes": notes}}


@router.post("/admin/inquiries/{inquiry_id}/review")
async def review(request: Request, inquiry_id: str, parts: Parts, who: Who) -> Response:
    """Take it into review: whoever asks works on it now: {inquiry}."""
    return await _acted(request, parts, who, inquiry_id, "review", bodies.EMPTY)


@router.post("/admin/inquiries/{inquiry_id}/reject")
async def reject(request: Request, inquiry_id: str, parts: Parts, who: Who) -> Response:
    """Say no, with a ``reason`` that the customer reads: {inquiry}."""
    return await _acted(request, parts, who, inquiry_id, "reject", bodies.REJECT_INQUIRY)


@router.post("/admin/inquiries/{inquiry_id}/cancel")
async def cancel(request: Request, inquiry_id: str, parts: Parts, who: Who) -> Response:
    """Take a pending one back for the customer: {inquiry}."""
    return await _acted(request, parts, who, inquiry_id, "cancel", bodies.EMPTY)


@router.post("/admin/inquiries/{inquiry_id}/messages")
async def write(request: Request, inquiry_id: str, parts: Parts, who: Who) -> Response:
    """Write to the customer: {inquiry}. What only the shop shall read is a note."""
    return await _acted(request, parts, who, inquiry_id, "messages", bodies.WRITE_MESSAGE)


@router.post("/admin/inquiries/{inquiry_id}/approve")
async def approve(request: Request, inquiry_id: str, parts: Parts, who: Who) -> Response:
    """Make it a claim, and wait until that is there: {inquiry} with its ``claim_id``.

    The body is that of a claim; without ``claim_items`` it claims what was reported. If the claim
    is refused the inquiry stays in review, and ``refusal`` tells why.
    """
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.APPROVE_INQUIRY, body)
        order_id = (await reporting.inquiry(parts, who, inquiry_id))["order_id"]
        claim = await drawn_up(parts, who, order_id, given)
        accepted = await reporting.acted(parts, who, inquiry_id, "approve", claim, tried)
        return accepted or await _whole(parts, who, inquiry_id)

    return await answers.once(parts.database, who=who, tried=tried, always_show=True, work=work)


async def _acted(
    request: Request, parts: Parts, who: Who, inquiry_id: str, act: str, shape: Shape
) -> Response:
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(shape, body)
        await reporting.acted(parts, who, inquiry_id, act, given or None, tried)
        return await _whole(parts, who, inquiry_id)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/inquiries/{inquiry_id}/evidence", max_body_size=uploads.EVIDENCE_MAX_BYTES)
async def add_evidence(request: Request, inquiry_id: str, parts: Parts, who: Who) -> Response:
    """Add a picture or document, which is the body; ``name`` in the query: {evidence}."""
    return await uploads.added(request, parts, who, f"/inquiries/{segment(inquiry_id)}/evidence")
