"""Single payments: shown, captured, refunded."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.http import json_response
from gateway import answers, bodies, wire
from gateway.clients import segment
from gateway.gate import Parts, Who
from gateway.shapes import check

router = APIRouter()


@router.get("/admin/payments/{payment_id}")
async def get_payment(request: Request, payment_id: str, parts: Parts, who: Who) -> Response:
    """One payment: {payment}."""
    wire.reject_unknown(wire.query(request), {"expand", "fields"})
    return json_response(await parts.orders.get(f"/payments/{segment(payment_id)}", who=who))


@router.post("/admin/payments/{payment_id}/capture")
async def capture_payment(request: Request, payment_id: str, parts: Parts, who: Who) -> Response:
    """Take the money of a payment; one that is captured is left alone: {payment}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        path = f"/payments/{segment(payment_id)}"
        answer = await parts.orders.send(
            "POST", f"{path}/capture", who=who, headers=tried.upstream_headers
        )
        return _or_later(answer, payment_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/payments/{payment_id}/refund")
async def refund_payment(request: Request, payment_id: str, parts: Parts, who: Who) -> Response:
    """Refund a payment by hand: {refund}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.REFUND_PAYMENT, body)
        path = f"/payments/{segment(payment_id)}/refunds"
        answer = await parts.orders.send(
            "POST", path, who=who, body=given, headers=tried.upstream_headers
        )
        if "refund" in answer:  # the ledger tells what a refund was for
            answer["refund"]["metadata"] = None
        return _or_later(answer, payment_id, tried)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


def _or_later(answer: Any, payment_id: str, tried: answers.Try) -> Any:
    if not tried.respond_async or "status" not in answer:
        return answer
    location = {"Location": f"/admin/payments/{payment_id}"}
    return json_response({"id": payment_id, "status": "accepted"}, 202, location)
