"""Files that come and go through the door: read within bounds, passed on, never shown in a page."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from fastapi import Request, Response

from chassis.auth import Principal
from chassis.errors import Invalid, Unavailable
from chassis.http import json_response
from gateway import answers, wire
from gateway.clients import segment
from gateway.gate import Gate

# What claims takes; more is cut off while it comes.
EVIDENCE_MAX_BYTES = 5 * 1024 * 1024
# Nobody holds one of the places in memory for longer.
BODY_TIMEOUT_S = 30.0
# A picture that a browser took for a page could act in the shop's name.
_NEVER_INLINE = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


async def added(request: Request, parts: Gate, who: Principal, path: str) -> Response:
    """Have claims keep the body as a file of an inquiry or a claim: {evidence}.

    ``name`` in the query is what people call it. Raises Invalid, Unavailable.
    """
    query = wire.query(request)
    wire.reject_unknown(query, {"name"})
    name = wire.text(query, "name") or ""
    if len(name) > 255:
        raise Invalid("invalid_data", "name must be shorter than or equal to 255 characters")
    if parts.uploads.locked():
        raise Unavailable("Many files are being sent just now. Try again.", retry_after_s=2)
    async with parts.uploads:
        content = await _body(request)
        digest = hashlib.sha256(content).hexdigest()
        tried = answers.attempt(request, {"name": name, "sha256": digest})

        async def work() -> Any:
            return await parts.claims.put(
                path,
                who=who,
                content=content,
                params={"name": name},
                headers=tried.upstream_headers,
            )

        return await answers.once(parts.database, who=who, tried=tried, work=work)


async def _body(request: Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            content = await request.body()
    except TimeoutError:
        raise Unavailable("The file did not come in time. Send it again.") from None
    if not content:
        raise Invalid("invalid_data", "The body is empty: send the file as the body")
    return content


async def fetched(
    parts: Gate, who: Principal, evidence_id: str, *, inquiry_id: str | None = None
) -> Response:
    """A file as an attachment, of a type that was looked at when it came."""
    reply = await parts.claims.fetch(
        f"/evidence/{segment(evidence_id)}", who=who, params={"inquiry_id": inquiry_id}
    )
    return Response(
        reply.body,
        200,
        {"Content-Disposition": reply.headers["content-disposition"], **_NEVER_INLINE},
        reply.headers["content-type"],
    )


async def removed(
    parts: Gate, who: Principal, evidence_id: str, *, inquiry_id: str | None = None
) -> Response:
    """Have claims forget a file: {id, object, deleted}."""
    path = f"/evidence/{segment(evidence_id)}"
    if inquiry_id is not None:
        path += f"?inquiry_id={segment(inquiry_id)}"
    return json_response(await parts.claims.send("DELETE", path, who=who))
