"""Reservations: what of the stock is promised, to which line, by whom.

How much a line still needs is known to orders (of replacements: to claims), how much is promised to
it to inventory. So a promise is looked at from both sides: what the line needs is read, inventory
promises within it under a lock, and then the line is read again. Whoever sends a line says so in
orders before taking its stock from inventory: of two that meet, one always sees the other.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.auth import Principal
from chassis.errors import NotFound
from chassis.http import json_response
from gateway import answers, bodies, compose, wire
from gateway.admin.passing import DATE, NUMBER, TEXT, VALUES, asked, change, key_of
from gateway.answers import Try
from gateway.clients import segment
from gateway.gate import Gate, Parts, Who
from gateway.shapes import check

router = APIRouter()
Json = dict[str, Any]

_FILTERS = {
    **dict.fromkeys(("location_id", "inventory_item_id", "line_item_id", "created_by"), VALUES),
    "quantity": NUMBER,
    "created_at": DATE,
    "updated_at": DATE,
    "description": TEXT,
}
_OF_LINES_MOST = 1000


@router.get("/admin/reservations")
async def list_reservations(request: Request, parts: Parts, who: Who) -> Response:
    """A page of what is reserved: {reservations, count, offset, limit}; ``expand`` adds
    ``line_item`` with its order, and ``inventory_item``."""
    given, params = asked(request, _FILTERS)
    page = await parts.inventory.get("/reservations", who=who, params=params)
    await _expand(parts, who, page["reservations"], wire.text(given, "expand"))
    return json_response(page)


@router.get("/admin/reservations/{reservation_id}")
async def get_reservation(
    request: Request, reservation_id: str, parts: Parts, who: Who
) -> Response:
    """One reservation: {reservation}."""
    given = wire.query(request)
    wire.reject_unknown(given, {"expand", "fields"})
    expand = wire.text(given, "expand")
    path = f"/reservations/{segment(reservation_id)}"
    found = await parts.inventory.get(path, who=who, params={"expand": expand})
    await _expand(parts, who, [found["reservation"]], expand)
    return json_response(found)


@router.get("/admin/orders/{order_id}/reservations")
async def list_of_order(request: Request, order_id: str, parts: Parts, who: Who) -> Response:
    """What is reserved for the lines of an order and for the replacements of its claims:
    {reservations, count, offset, limit}."""
    given = wire.query(request)
    wire.reject_unknown(given, {"expand", "fields", "limit", "offset"})
    limit, offset = wire.paging(given, default=20, most=200)
    expand = wire.text(given, "expand")
    lines = await _lines_of(parts, who, order_id)
    step = compose.VARIANTS_AT_ONCE
    pages = await asyncio.gather(
        *(
            parts.inventory.get(
                "/reservations",
                who=who,
                params={
                    "line_item_id": lines[at : at + step],
                    "limit": _OF_LINES_MOST,
                    "expand": expand,
                },
            )
            for at in range(0, len(lines), step)
        )
    )
    found = [held for page in pages for held in page["reservations"]]
    found.sort(key=lambda held: (held["created_at"], held["id"]), reverse=True)
    shown = found[offset : offset + limit]
    await _expand(parts, who, shown, expand)
    return json_response(
        {"reservations": shown, "count": len(found), "offset": offset, "limit": limit}
    )


async def _lines_of(parts: Gate, who: Principal, order_id: str) -> list[str]:
    path = f"/orders/{segment(order_id)}"
    answer = await parts.orders.get(path, who=who)
    lines = [line["id"] for line in answer["order"]["items"]]
    if "claim" in answer["remedy_kinds"]:
        claims = (await parts.claims.get(f"{path}/claims", who=who))["claims"]
        lines += [line["id"] for claim in claims for line in claim["additional_items"]]
    if "exchange" in answer["remedy_kinds"]:
        swaps = (await parts.claims.get(f"{path}/exchanges", who=who))["exchanges"]
        lines += [line["id"] for swap in swaps for line in swap["additional_items"]]
    return lines


async def _expand(parts: Gate, who: Principal, found: list[Json], expand: str | None) -> None:
    """Add the line items, which inventory does not know."""
    if "line_item" not in (expand or "").split(","):
        return
    ids = {held["line_item_id"] for held in found if held["line_item_id"]}
    lines = await compose.lines(parts, who=who, ids=ids)
    for held in found:
        line = lines.get(held["line_item_id"])
        held["line_item"] = compose.shown_line(line) if line else None


@router.post("/admin/reservations")
async def create_reservation(request: Request, parts: Parts, who: Who) -> Response:
    """Promise units of an item at a location, for a line or in general: {reservation}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(bodies.CREATE_RESERVATION, body)
        return await _promise(
            parts, who, tried, "/reservations", given, given["line_item_id"], given["quantity"]
        )

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.post("/admin/reservations/{reservation_id}")
async def update_reservation(
    request: Request, reservation_id: str, parts: Parts, who: Who
) -> Response:
    """Change how much is promised, or move it to another location: {reservation}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)
    path = f"/reservations/{segment(reservation_id)}"

    async def work() -> Any:
        given = check(bodies.UPDATE_RESERVATION, body)
        wanted = {name: value for name, value in given.items() if name in body}
        line_id, more = None, 0
        if wanted.get("quantity") is not None:
            with suppress(NotFound):  # who changes it says so in the words of a change
                held = (await parts.inventory.get(path, who=who))["reservation"]
                line_id, more = held["line_item_id"], wanted["quantity"] - held["quantity"]
        return await _promise(parts, who, tried, path, wanted, line_id, more)

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.delete("/admin/reservations/{reservation_id}")
async def delete_reservation(
    request: Request, reservation_id: str, parts: Parts, who: Who
) -> Response:
    """End a reservation by hand: {id, object, deleted}."""
    return await change(request, parts, who, f"/reservations/{segment(reservation_id)}", None)


async def _promise(
    parts: Gate,
    who: Principal,
    tried: Try,
    path: str,
    wanted: Json,
    line_id: str | None,
    more: int,
) -> Any:
    """Ask inventory; ``more`` units are for a line, which must need them before and after."""
    if line_id is None or more <= 0:
        return await parts.inventory.send("POST", path, who=who, body=wanted, headers=key_of(tried))
    body = wanted | {"line_unfulfilled": await _unfulfilled(parts, who, line_id)}
    answer = await parts.inventory.send("POST", path, who=who, body=body, headers=key_of(tried))
    again = {"quantity": more, "line_unfulfilled": await _unfulfilled(parts, who, line_id)}
    made = segment(answer["reservation"]["id"])
    await parts.inventory.send("POST", f"/reservations/{made}/recheck", who=who, body=again)
    return answer


async def _unfulfilled(parts: Gate, who: Principal, line_id: str) -> int:
    """Units of a line still to be sent. Raises NotFound, in the words of orders."""
    try:
        found = await parts.orders.get(f"/order-lines/{segment(line_id)}/unsent", who=who)
        return int(found["units"])
    except NotFound:
        for claim in await compose.senders(parts, who=who, line_ids=[line_id]):
            for line in claim["additional_items"]:
                if line["id"] == line_id:
                    open_ = claim["status"] == "open"
                    return int(line["quantity"] - line["fulfilled_quantity"]) if open_ else 0
        raise
