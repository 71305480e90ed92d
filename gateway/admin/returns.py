"""Returns and their reasons."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from chassis.errors import Invalid
from chassis.http import json_response
from gateway import answers, bodies, compose, wire
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import Shape, check

_STATUSES = ("requested", "received", "requires_action", "canceled")

router = APIRouter()


@router.get("/admin/returns")
async def list_returns(request: Request, parts: Parts, who: Who) -> Response:
    """A page of returns with their orders, newest first: {returns, count, offset, limit}. Ours:
    ``status``, ``order_id``, ``claim_order_id`` and ``swap_id`` narrow it, each one value or
    several."""
    query = wire.query(request)
    known = {"limit", "offset", "status", "order_id", "claim_order_id", "swap_id"}
    wire.reject_unknown(query, known)
    limit, offset = wire.paging(query, default=50, most=200)
    statuses = wire.texts(query, "status")
    if statuses and set(statuses) - set(_STATUSES):
        values = ", ".join(_STATUSES)
        raise Invalid(
            "invalid_data", f"each value in status must be one of the following values: {values}"
        )
    params = {
        "status": statuses,
        "order_id": wire.texts(query, "order_id"),
        "claim_id": wire.texts(query, "claim_order_id"),
        "swap_id": wire.texts(query, "swap_id"),
        "limit": limit,
        "offset": offset,
    }
    page = await parts.returns.get("/returns", who=who, params=params)
    ids = sorted({each["order_id"] for each in page["returns"]})
    orders: dict[str, Any] = {}
    if ids:
        found = await parts.orders.get("/orders", who=who, params={"id": ids, "limit": len(ids)})
        orders = {order["id"]: order for order in found["orders"]}
    for each in page["returns"]:
        each["order"] = orders.get(each["order_id"])
    await compose.swaps_of_returns(parts, who=who, found=page["returns"])
    return json_response(page)


@router.get("/admin/returns/{return_id}")
async def get_return(return_id: str, parts: Parts, who: Who) -> Response:
    """One return with its receipts and timelines: {return}."""
    return json_response(await parts.returns.get(f"/returns/{segment(return_id)}", who=who))


@router.post("/admin/returns/{return_id}/receive")
async def receive_return(request: Request, return_id: str, parts: Parts, who: Who) -> Response:
    """Book a parcel: {return}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.RECEIVE_RETURN, body)
        refund = given.get("refund")
        wanted = {
            "items": given["items"],
            "refund": None if refund is None else max(int(refund), 0),
            "refund_to": given.get("refund_to"),
            "location_id": given.get("location_id"),
        }
        path = f"/returns/{segment(return_id)}/receive"
        answer = await parts.returns.send(
            "POST", path, who=who, body=wanted, headers=tried.upstream_headers
        )
        if tried.respond_async:
            return json_response(answer, 202, {"Location": f"/admin/returns/{return_id}"})
        await compose.swaps_of_returns(parts, who=who, found=[answer["return"]])
        return answer

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/returns/{return_id}/receipts")
async def add_receipt(request: Request, return_id: str, parts: Parts, who: Who) -> Response:
    """Ours: book a parcel with what of it is damaged, and a note: {return, receipts, ...}."""
    return await _act(request, return_id, "receive", bodies.ADD_RECEIPT, parts, who)


@router.post("/admin/returns/{return_id}/settle")
async def settle_return(request: Request, return_id: str, parts: Parts, who: Who) -> Response:
    """Ours: pay now what a receipt could not, or ``refund`` of it: {return, receipts, ...}."""
    return await _act(request, return_id, "settle", bodies.SETTLE_RETURN, parts, who)


@router.post("/admin/returns/{return_id}/close")
async def close_return(request: Request, return_id: str, parts: Parts, who: Who) -> Response:
    """Ours: what is missing will not come, its units are free: {return, receipts, ...}."""
    return await _act(request, return_id, "close", bodies.EMPTY, parts, who)


async def _act(
    request: Request, return_id: str, act: str, shape: Shape, parts: Gate, who: Principal
) -> Response:
    """Something is done to a return; the answer shows it as its own page does."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)
    path = f"/returns/{segment(return_id)}"

    async def work() -> Any:
        given = check(shape, body)
        wanted = {name: value for name, value in given.items() if value is not None}
        answer = await parts.returns.send(
            "POST",
            f"{path}/{act}",
            who=who,
            body=wanted if shape is not bodies.EMPTY else None,
            headers=tried.upstream_headers,
        )
        if tried.respond_async:
            return json_response(answer, 202, {"Location": f"/admin/returns/{return_id}"})
        return await parts.returns.get(path, who=who)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/returns/{return_id}/cancel")
async def cancel_return(request: Request, return_id: str, parts: Parts, who: Who) -> Response:
    """Call a return off: {order}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        answer = await parts.returns.send("POST", f"/returns/{segment(return_id)}/cancel", who=who)
        order_id = answer["return"]["order_id"]
        return {"order": await compose.order(parts, who=who, order_id=order_id)}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.get("/admin/return-reasons")
async def list_reasons(parts: Parts, who: Who) -> Response:
    """Top-level reasons with their children: {return_reasons}."""
    return json_response(await parts.returns.get("/return-reasons", who=who))


@router.get("/admin/return-reasons/{reason_id}")
async def get_reason(reason_id: str, parts: Parts, who: Who) -> Response:
    """One reason: {return_reason}."""
    return json_response(await parts.returns.get(f"/return-reasons/{segment(reason_id)}", who=who))


@router.post("/admin/return-reasons")
async def create_reason(request: Request, parts: Parts, who: Who) -> Response:
    """A new reason: {return_reason}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.CREATE_REASON, body)
        headers = tried.upstream_headers if tried.given else {}
        return await parts.returns.send(
            "POST", "/return-reasons", who=who, body=given, headers=headers
        )

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/return-reasons/{reason_id}")
async def update_reason(request: Request, reason_id: str, parts: Parts, who: Who) -> Response:
    """Change a reason: {return_reason}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.UPDATE_REASON, body)
        changes = {name: value for name, value in given.items() if name in body}
        path = f"/return-reasons/{segment(reason_id)}"
        return await parts.returns.send("POST", path, who=who, body=changes)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.delete("/admin/return-reasons/{reason_id}")
async def delete_reason(reason_id: str, parts: Parts, who: Who) -> Response:
    """Take a reason and its children out of use: {id, object, deleted}."""
    return json_response(
        await parts.returns.send("DELETE", f"/return-reasons/{segment(reason_id)}", who=who)
    )
