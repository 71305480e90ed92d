"""What a claim gives, changed (ours): refunds are retried, remedies are converted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from chassis.http import json_response
from gateway import answers, bodies, wire
from gateway.admin.orders import order_facts, priced_methods
from gateway.answers import Try
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import check

router = APIRouter()


@router.post("/admin/claims/{claim_id}/refund")
async def retry_refund(request: Request, claim_id: str, parts: Parts, who: Who) -> Response:
    """Refund a claim whose money did not go out, and wait for its fate: {claim}. Without
    ``refund_amount``, what its units are worth by now; ``refund_to: store_credit`` helps where a
    provider declines."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.RETRY_CLAIM_REFUND, body)
        return await _changed(parts, who, claim_id, "refund", given, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/claims/{claim_id}/convert")
async def convert_claim(request: Request, claim_id: str, parts: Parts, who: Who) -> Response:
    """Make a claim one of the other type, while nothing is paid and nothing is sent: {claim}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = await _wanted(parts, who, claim_id, check(bodies.CONVERT_CLAIM, body))
        return await _changed(parts, who, claim_id, "convert", given, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/claims/{claim_id}/convert/preview")
async def preview_conversion(request: Request, claim_id: str, parts: Parts, who: Who) -> Response:
    """What the same body would convert, and nothing converted: {preview} with the money line by
    line, or the lines that would go out. Refuses as the conversion would."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = await _wanted(parts, who, claim_id, check(bodies.CONVERT_CLAIM, body))
        path = f"/claims/{segment(claim_id)}/convert/preview"
        plan = await parts.claims.send("POST", path, who=who, body=given)
        shown = {"type": given["type"], "refund_amount": None, "explanation": []}
        shown["additional_items"] = []
        if plan["refund"] is not None:
            path = f"/orders/{segment(plan['refund']['order_id'])}/claims/refund/preview"
            answer = await parts.orders.send("POST", path, who=who, body=plan["refund"])
            shown["refund_amount"] = answer["refund"]["amount"]
            shown["explanation"] = answer["refund"]["explanation"]
        if plan["reservation"] is not None:
            answer = await parts.inventory.send(
                "POST", "/reservations/preview", who=who, body=plan["reservation"]
            )
            shown["additional_items"] = answer["lines"]
        return {"preview": shown}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


async def _wanted(
    parts: Gate, who: Principal, claim_id: str, given: dict[str, Any]
) -> dict[str, Any]:
    """The body of the claims service: with what it needs to know of the order, and prices."""
    wanted = given | {"additional_items": given["additional_items"] or []}
    if not wanted["additional_items"] and not wanted["shipping_methods"]:
        return wanted
    claim = (await parts.claims.get(f"/claims/{segment(claim_id)}", who=who))["claim"]
    facts = await order_facts(parts, who, claim["order_id"])
    names = ("region_id", "sales_channel_id", "currency_code")
    wanted["order"] = {name: facts[name] for name in names}
    if wanted["shipping_methods"]:
        methods = await priced_methods(parts, who, wanted["shipping_methods"])
        wanted["shipping_methods"] = methods
    return wanted


async def _changed(
    parts: Gate, who: Principal, claim_id: str, act: str, body: dict[str, Any], tried: Try
) -> Any:
    path = f"/claims/{segment(claim_id)}"
    await parts.claims.send(
        "POST", f"{path}/{act}", who=who, body=body, headers=tried.upstream_headers
    )
    if tried.respond_async:
        location = {"Location": f"/admin/claims/{claim_id}"}
        return json_response({"id": claim_id, "status": "accepted"}, 202, location)
    return await parts.claims.get(path, who=who)
