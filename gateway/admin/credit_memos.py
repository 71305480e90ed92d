"""Credit memos: the numbered document of every refund."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from chassis.errors import Invalid
from chassis.http import json_response
from gateway import wire
from gateway.clients import segment
from gateway.gate import Parts, Who

router = APIRouter()


@router.get("/admin/credit-memos")
async def list_credit_memos(request: Request, parts: Parts, who: Who) -> Response:
    """Ours: the documents of refunds, the newest first: {credit_memos, count, offset, limit};
    ``order_id``, ``refund_id`` and ``year`` narrow it."""
    query = wire.query(request)
    wire.reject_unknown(query, {"order_id", "refund_id", "year", "limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=100)
    params = {
        "order_id": wire.texts(query, "order_id"),
        "refund_id": wire.texts(query, "refund_id"),
        "year": _year(wire.text(query, "year")),
        "limit": limit,
        "offset": offset,
    }
    return json_response(await parts.orders.get("/credit-memos", who=who, params=params))


def _year(text: str | None) -> int | None:
    if text is None:
        return None
    if len(text) != 4 or not text.isascii() or not text.isdigit() or text == "0000":
        raise Invalid("invalid_data", "year must be an integer number")
    return int(text)


@router.get("/admin/credit-memos/{memo_id}")
async def get_credit_memo(memo_id: str, parts: Parts, who: Who) -> Response:
    """Ours: one document, by its id or its number: {credit_memo}."""
    return json_response(await parts.orders.get(f"/credit-memos/{segment(memo_id)}", who=who))
