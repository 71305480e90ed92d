"""Evidence of claims: files that show what is wrong."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from chassis.http import json_response
from gateway import uploads
from gateway.clients import segment
from gateway.gate import Parts, Who

router = APIRouter()


@router.get("/admin/claims/{claim_id}/evidence")
async def list_evidence(claim_id: str, parts: Parts, who: Who) -> Response:
    """The files of a claim, and of the inquiry that it was: {evidence, count, offset, limit}."""
    path = f"/claims/{segment(claim_id)}"
    await parts.claims.get(path, who=who)
    rows = (await parts.claims.get(f"{path}/evidence", who=who))["evidence"]
    return json_response({"evidence": rows, "count": len(rows), "offset": 0, "limit": len(rows)})


@router.post("/admin/claims/{claim_id}/evidence", max_body_size=uploads.EVIDENCE_MAX_BYTES)
async def add_evidence(request: Request, claim_id: str, parts: Parts, who: Who) -> Response:
    """Add a picture or document, which is the body; ``name`` in the query: {evidence}."""
    return await uploads.added(request, parts, who, f"/claims/{segment(claim_id)}/evidence")


@router.get("/admin/evidence/{evidence_id}")
async def get_evidence(evidence_id: str, parts: Parts, who: Who) -> Response:
    """The file, to be saved."""
    return await uploads.fetched(parts, who, evidence_id)


@router.delete("/admin/evidence/{evidence_id}")
async def remove_evidence(evidence_id: str, parts: Parts, who: Who) -> Response:
    """Forget a file while its case is not over: {id, object, deleted}."""
    return await uploads.removed(parts, who, evidence_id)
