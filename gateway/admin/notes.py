"""Notes: what people write about an order, a claim or a return, and who wrote it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.http import json_response
from gateway import answers, bodies, store, wire
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import check

router = APIRouter()
Json = dict[str, Any]


@router.get("/admin/notes")
async def list_notes(request: Request, parts: Parts, who: Who) -> Response:
    """A page of notes, of one thing if asked, newest first: {notes, count, offset, limit}."""
    query = wire.query(request)
    wire.reject_unknown(query, {"resource_id", "limit", "offset"})
    limit, offset = wire.paging(query, default=50, most=200)
    params = {"resource_id": wire.text(query, "resource_id"), "limit": limit, "offset": offset}
    page = await parts.orders.get("/notes", who=who, params=params)
    return json_response({**page, "notes": await _with_authors(parts, page["notes"])})


@router.get("/admin/notes/{note_id}")
async def get_note(note_id: str, parts: Parts, who: Who) -> Response:
    """One note with its author: {note}."""
    note = (await parts.orders.get(f"/notes/{segment(note_id)}", who=who))["note"]
    return json_response({"note": (await _with_authors(parts, [note]))[0]})


@router.post("/admin/notes")
async def write_note(request: Request, parts: Parts, who: Who) -> Response:
    """A new note, whose author is who asks: {note}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.WRITE_NOTE, body)
        headers = tried.upstream_headers if tried.given else {}
        return await parts.orders.send("POST", "/notes", who=who, body=given, headers=headers)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/notes/{note_id}")
async def change_note(request: Request, note_id: str, parts: Parts, who: Who) -> Response:
    """Another text: {note}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.CHANGE_NOTE, body)
        path = f"/notes/{segment(note_id)}"
        note = (await parts.orders.send("POST", path, who=who, body=given))["note"]
        return {"note": (await _with_authors(parts, [note]))[0]}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.delete("/admin/notes/{note_id}")
async def remove_note(note_id: str, parts: Parts, who: Who) -> Response:
    """Forget a note: {id, object, deleted}."""
    path = f"/notes/{segment(note_id)}"
    return json_response(await parts.orders.send("DELETE", path, who=who))


async def _with_authors(parts: Gate, notes: list[Json]) -> list[Json]:
    """Notes with ``author``; of somebody who has left, only the id is known."""
    ids = sorted({note["author_id"] for note in notes})
    known: Json = {}
    if ids:
        async with parts.database.glance() as tx:
            known = {user["id"]: user for user in await store.users_by_id(tx, user_ids=ids)}
    unknown = {"email": None, "role": None, "created_at": None}
    return [
        {**note, "author": known.get(note["author_id"], {"id": note["author_id"], **unknown})}
        for note in notes
    ]
