"""Claims over all orders (ours; Medusa shows claims on their orders only)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from chassis.http import json_response
from gateway import wire
from gateway.clients import segment
from gateway.gate import Parts, Who

router = APIRouter()
_FILTERS = ("order_id", "type", "status", "payment_status")


@router.get("/admin/claims")
async def list_claims(request: Request, parts: Parts, who: Who) -> Response:
    """A page of claims, newest first: {claims, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(query, {*_FILTERS, "limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=100)
    params = {name: wire.text(query, name) for name in _FILTERS} | {
        "limit": limit,
        "offset": offset,
    }
    return json_response(await parts.claims.get("/claims", who=who, params=params))


@router.get("/admin/claims/{claim_id}")
async def get_claim(claim_id: str, parts: Parts, who: Who) -> Response:
    """One claim with the timeline of its sagas: {claim}."""
    return json_response(await parts.claims.get(f"/claims/{segment(claim_id)}", who=who))
