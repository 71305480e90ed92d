"""``/store/claims``: what a signed-in customer reports, and sees of it. Own orders alone.

What a customer gets is chosen by the claims service, field by field: inner notes, who in the shop
works on it and why a claim could not be made are not among it.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.http import json_response
from gateway import answers, bodies, reporting, uploads, wire
from gateway.clients import segment
from gateway.gate import Parts, Who
from gateway.shapes import Shape, check

router = APIRouter()
_STATES = ("pending", "in_review", "approved", "rejected", "canceled")


@router.post("/store/claims")
async def report(request: Request, parts: Parts, who: Who) -> Response:
    """Report what is wrong with an own order: {claim}, which is pending."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.STORE_CLAIM, body)
        inquiry_id = await reporting.report(parts, who, given["order_id"], given, tried)
        return {"claim": await reporting.inquiry(parts, who, inquiry_id)}

    return await answers.once(parts.database, who=who, tried=tried, always_show=True, work=work)


@router.get("/store/claims")
async def list_reported(request: Request, parts: Parts, who: Who) -> Response:
    """A page of what the customer reported, newest first: {claims, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(query, {"order_id", "status", "limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=100)
    params = {
        "order_id": wire.texts(query, "order_id"),
        "status": wire.choices(query, "status", _STATES),
        "limit": limit,
        "offset": offset,
    }
    page = await parts.claims.get("/inquiries", who=who, params=params)
    claims = page.pop("inquiries")
    return json_response({"claims": claims, **page})


@router.get("/store/claims/{inquiry_id}")
async def get_reported(inquiry_id: str, parts: Parts, who: Who) -> Response:
    """One of them with its messages and files: {claim}."""
    return json_response({"claim": await reporting.inquiry(parts, who, inquiry_id)})


@router.post("/store/claims/{inquiry_id}/cancel")
async def cancel(request: Request, inquiry_id: str, parts: Parts, who: Who) -> Response:
    """Take it back while nobody has looked at it: {claim}."""
    return await _acted(request, parts, who, inquiry_id, "cancel", bodies.EMPTY)


@router.post("/store/claims/{inquiry_id}/messages")
async def write(request: Request, inquiry_id: str, parts: Parts, who: Who) -> Response:
    """Write to the shop: {claim}."""
    return await _acted(request, parts, who, inquiry_id, "messages", bodies.WRITE_MESSAGE)


async def _acted(
    request: Request, parts: Parts, who: Who, inquiry_id: str, act: str, shape: Shape
) -> Response:
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(shape, body)
        await reporting.acted(parts, who, inquiry_id, act, given or None, tried)
        return {"claim": await reporting.inquiry(parts, who, inquiry_id)}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/store/claims/{inquiry_id}/evidence", max_body_size=uploads.EVIDENCE_MAX_BYTES)
async def add_evidence(request: Request, inquiry_id: str, parts: Parts, who: Who) -> Response:
    """Add a picture or document, which is the body; ``name`` in the query: {evidence}."""
    return await uploads.added(request, parts, who, f"/inquiries/{segment(inquiry_id)}/evidence")


@router.get("/store/claims/{inquiry_id}/evidence/{evidence_id}")
async def get_evidence(inquiry_id: str, evidence_id: str, parts: Parts, who: Who) -> Response:
    """The file, to be saved."""
    return await uploads.fetched(parts, who, evidence_id, inquiry_id=inquiry_id)


@router.delete("/store/claims/{inquiry_id}/evidence/{evidence_id}")
async def remove_evidence(inquiry_id: str, evidence_id: str, parts: Parts, who: Who) -> Response:
    """Take an own file back while nothing is decided: {id, object, deleted}."""
    return await uploads.removed(parts, who, evidence_id, inquiry_id=inquiry_id)
