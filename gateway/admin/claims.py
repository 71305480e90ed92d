"""Claims over all orders (ours; Medusa shows claims on their orders only)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from chassis.errors import Invalid, NotFound
from chassis.http import json_response
from gateway import answers, bodies, store, wire
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import check

router = APIRouter()
_FILTERS = ("order_id", "type", "status", "payment_status", "assigned_to")
_QUEUES = ("needs_review", "waiting_for_return", "stuck")


@router.get("/admin/claims")
async def list_claims(request: Request, parts: Parts, who: Who) -> Response:
    """A page of claims, newest first: {claims, count, offset, limit}. ``queue`` names what somebody
    has to look at; ``is_open``, ``assigned_to``, ``created_at[gte]`` and ``[lt]`` narrow it."""
    query = wire.query(request)
    wire.reject_unknown(query, {*_FILTERS, "queue", "is_open", "created_at", "limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=100)
    params = {name: wire.text(query, name) for name in _FILTERS} | {
        "queue": _one_of(query, "queue", _QUEUES),
        "is_open": _one_of(query, "is_open", ("true", "false")),
        **wire.days(query, "created_at"),
        "limit": limit,
        "offset": offset,
    }
    return json_response(await parts.claims.get("/claims", who=who, params=params))


@router.get("/admin/claims/{claim_id}")
async def get_claim(claim_id: str, parts: Parts, who: Who) -> Response:
    """One claim with the timeline of its sagas: {claim}."""
    return json_response(await parts.claims.get(f"/claims/{segment(claim_id)}", who=who))


@router.post("/admin/claims/{claim_id}/assign")
async def assign_claim(request: Request, claim_id: str, parts: Parts, who: Who) -> Response:
    """Give a claim to a user, with ``user_id`` null to nobody: {claim}."""
    body = await wire.body(request)

    async def work() -> Any:
        given = check(bodies.ASSIGN_CLAIM, body)
        user_id = given.get("user_id")
        if user_id is not None:
            async with parts.database.glance() as tx:
                if await store.user_by_id(tx, user_id=user_id) is None:
                    raise NotFound("user_unknown", f"User with id: {user_id} was not found")
        return await _worked_on(parts, who, claim_id, "assign", given)

    tried = answers.attempt(request, body)
    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/claims/{claim_id}/close")
async def close_claim(request: Request, claim_id: str, parts: Parts, who: Who) -> Response:
    """The work on a claim is over, for good: {claim}. Money, units and stock stay as they are."""
    body = await wire.body(request)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        return await _worked_on(parts, who, claim_id, "close", {})

    tried = answers.attempt(request, body)
    return await answers.once(parts.database, who=who, tried=tried, work=work)


async def _worked_on(
    parts: Gate, who: Principal, claim_id: str, act: str, body: dict[str, Any]
) -> Any:
    path = f"/claims/{segment(claim_id)}"
    await parts.claims.send("POST", f"{path}/{act}", who=who, body=body)
    return await parts.claims.get(path, who=who)


def _one_of(query: dict[str, Any], name: str, values: tuple[str, ...]) -> str | None:
    value = wire.text(query, name)
    if value is not None and value not in values:
        told = ", ".join(values)
        raise Invalid("invalid_data", f"{name} must be one of the following values: {told}")
    return value
