"""Webhooks: who is told of what, what was told, and telling it again (ours; Medusa has none)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis import clock
from chassis.db import Row
from chassis.errors import Invalid
from chassis.http import json_response
from gateway import answers, bodies, queries, store, webhooks, wire
from gateway.gate import Parts, Who
from gateway.shapes import check

router = APIRouter()
_STATES = ("pending", "delivered", "failed")
OFFSET_MAX = 10_000


@router.get("/admin/webhooks")
async def list_webhooks(request: Request, parts: Parts, who: Who) -> Response:
    """All webhooks, the oldest first, without secrets: {webhooks, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(query, {"limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=100)
    async with parts.database.reading() as tx:
        rows = [_shown(row) for row in await store.webhooks(tx)]
    page = rows[offset : offset + limit]
    return json_response({"webhooks": page, "count": len(rows), "offset": offset, "limit": limit})


@router.post("/admin/webhooks")
async def create_webhook(request: Request, parts: Parts, who: Who) -> Response:
    """A new webhook: {webhook, secret}; the secret is shown this once."""
    # No stored answer for a repeat, because it would hold the secret; the URL is taken by then.
    given = check(bodies.CREATE_WEBHOOK, await wire.body(request))
    row, secret = await parts.webhooks.add(**given, user_id=who.id)
    return json_response({"webhook": _shown(row), "secret": secret})


@router.get("/admin/webhooks/{webhook_id}")
async def get_webhook(webhook_id: str, parts: Parts, who: Who) -> Response:
    """One webhook: {webhook}."""
    async with parts.database.reading() as tx:
        return json_response({"webhook": _shown(await webhooks.known(tx, webhook_id))})


@router.post("/admin/webhooks/{webhook_id}")
async def change_webhook(request: Request, webhook_id: str, parts: Parts, who: Who) -> Response:
    """Change url, events, description, or whether it is enabled: {webhook}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.CHANGE_WEBHOOK, body)
        changes = {
            name: value
            for name, value in given.items()
            if name in body and (value is not None or name == "description")
        }
        return {"webhook": _shown(await parts.webhooks.change(webhook_id, changes))}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.delete("/admin/webhooks/{webhook_id}")
async def remove_webhook(webhook_id: str, parts: Parts, who: Who) -> Response:
    """Forget a webhook and its deliveries: {id, object, deleted}."""
    await parts.webhooks.remove(webhook_id)
    return json_response({"id": webhook_id, "object": "webhook", "deleted": True})


@router.post("/admin/webhooks/{webhook_id}/rotate-secret")
async def rotate_secret(request: Request, webhook_id: str, parts: Parts, who: Who) -> Response:
    """A new secret, beside which the old one signs for a day: {webhook, secret}."""
    check(bodies.EMPTY, await wire.body(request))
    row, secret = await parts.webhooks.rotate(webhook_id)
    return json_response({"webhook": _shown(row), "secret": secret})


@router.post("/admin/webhooks/{webhook_id}/test")
async def test_webhook(request: Request, webhook_id: str, parts: Parts, who: Who) -> Response:
    """Send a message that means nothing: {delivery}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        return {"delivery": await parts.webhooks.send_test(webhook_id)}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.get("/admin/webhooks/{webhook_id}/deliveries")
async def list_deliveries(request: Request, webhook_id: str, parts: Parts, who: Who) -> Response:
    """What was sent and is to be, the newest first: {deliveries, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(query, {"state", "limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=100)
    state = wire.text(query, "state")
    if state is not None and state not in _STATES:
        raise Invalid("invalid_data", f"state must be one of: {', '.join(_STATES)}")
    if offset > OFFSET_MAX:
        raise Invalid("offset_too_far", f"offset must not be greater than {OFFSET_MAX}")
    async with parts.database.reading() as tx:
        await webhooks.known(tx, webhook_id)
        rows, count = await queries.deliveries(
            tx, webhook_id=webhook_id, state=state, limit=limit, offset=offset
        )
    return json_response({"deliveries": rows, "count": count, "offset": offset, "limit": limit})


@router.get("/admin/webhooks/{webhook_id}/deliveries/{delivery_id}")
async def get_delivery(webhook_id: str, delivery_id: str, parts: Parts, who: Who) -> Response:
    """One delivery with every try and the body that is sent: {delivery}."""
    async with parts.database.reading() as tx:
        await webhooks.known(tx, webhook_id)
        row = await queries.delivery(tx, webhook_id=webhook_id, delivery_id=delivery_id)
    if row is None:
        raise webhooks.unknown_delivery(delivery_id)
    return json_response({"delivery": row})


@router.post("/admin/webhooks/{webhook_id}/deliveries/{delivery_id}/resend")
async def resend_delivery(
    request: Request, webhook_id: str, delivery_id: str, parts: Parts, who: Who
) -> Response:
    """Send it again, whatever became of it, under its own id: {delivery}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        check(bodies.EMPTY, body)
        return {"delivery": await parts.webhooks.resend(webhook_id, delivery_id)}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


_NAMES = (
    *("id", "url", "description", "events", "disabled_at", "disabled_reason", "failing_since"),
    *("created_by", "created_at", "updated_at"),
)


def _shown(row: Row) -> Row:
    until = row["previous_until"]
    both = until if until is not None and clock.now() < until else None
    return {
        **{name: row[name] for name in _NAMES},
        "enabled": row["disabled_at"] is None,
        "previous_secret_until": both,
    }
