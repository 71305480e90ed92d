"""Returns and their reasons."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.http import json_response
from gateway import answers, bodies, compose, wire
from gateway.clients import segment
from gateway.gate import Parts, Who
from gateway.shapes import check

router = APIRouter()


@router.get("/admin/returns")
async def list_returns(request: Request, parts: Parts, who: Who) -> Response:
    """A page of returns with their orders, newest first: {returns, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(query, {"limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=200)
    page = await parts.returns.get("/returns", who=who, params={"limit": limit, "offset": offset})
    ids = sorted({each["order_id"] for each in page["returns"]})
    orders: dict[str, Any] = {}
    if ids:
        params = {"id": ids, "limit": len(ids)}
        found = await parts.orders.get("/orders", who=who, params=params)
        orders = {order["id"]: order for order in found["orders"]}
    for each in page["returns"]:
        each["order"] = orders.get(each["order_id"])
        each["swap"] = None
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
            "location_id": given.get("location_id"),
        }
        path = f"/returns/{segment(return_id)}/receive"
        answer = await parts.returns.send(
            "POST", path, who=who, body=wanted, headers=tried.upstream_headers
        )
        if tried.respond_async:
            return json_response(answer, 202, {"Location": f"/admin/returns/{return_id}"})
        answer["return"]["swap"] = None
        return answer

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
