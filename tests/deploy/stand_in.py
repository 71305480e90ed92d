"""A small gateway on a real port, for tests of the command's clients.

It keeps the published contract (upserts by id, idempotency keys, no unit twice, refunds on the
order and in its ledger) over plain dictionaries, and can be told to fail on the way.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

LISTS = {
    "regions",
    "stock_locations",
    "sales_channels",
    "shipping_options",
    "return_reasons",
    "variants",
    "inventory_levels",
    "customers",
    "orders",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class No(Exception):
    """An answer in the error shape of ``/admin``."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"type": kind, "message": message}


@dataclass
class StandIn:
    """The state of the gateway, and what a test may set or look at."""

    token: str = "the-token"
    body_bytes_max: int = 1024 * 1024
    # (method, last part of the path) -> what happens to the next calls: a status, or "lost" for
    # a connection that ends after the work was done.
    troubles: dict[tuple[str, str], list[int | str]] = field(default_factory=dict)
    refused_ids: set[str] = field(default_factory=set)
    lists: dict[str, dict[str, dict[str, Any]]] = field(
        default_factory=lambda: {key: {} for key in LISTS}
    )
    claims: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    swaps: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    returns: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    refunds: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    remedied: Counter[str] = field(default_factory=Counter)
    reserved: Counter[str] = field(default_factory=Counter)
    keys: dict[str, tuple[str, str, dict[str, Any]]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    url: str = ""

    # ---- import ---------------------------------------------------------------------------------

    async def load(self, request: web.Request) -> dict[str, Any]:
        raw = await request.read()
        if len(raw) > self.body_bytes_max:
            raise No(413, "invalid_request_error", "Request body is too large")
        document = json.loads(raw)
        if unknown := set(document) - LISTS:
            raise No(400, "invalid_data", f"Unknown key {min(unknown)}")
        counts: Counter[str] = Counter()
        refusals = []
        for key, records in document.items():
            for place, record in enumerate(records):
                record_id = record.get("id") or f"{key}-{record.get('variant_id')}"
                reason = self._refusal(key, record)
                if reason:
                    counts["refused"] += 1
                    path = f"{key}[{place}]{reason[0]}"
                    refusals.append(
                        {"path": path, "id": record_id, "code": reason[1], "message": reason[2]}
                    )
                    continue
                known = self.lists[key].get(record_id)
                outcome = (
                    "created" if known is None else "unchanged" if known == record else "updated"
                )
                counts[outcome] += 1
                self.lists[key][record_id] = record
        names = ("created", "updated", "unchanged", "refused")
        return {**{name: counts[name] for name in names}, "refusals": refusals}

    def _refusal(self, key: str, record: dict[str, Any]) -> tuple[str, str, str] | None:
        if record.get("id") in self.refused_ids:
            return "", "refused", "Not this one"
        if key == "inventory_levels" and record["location_id"] not in self.lists["stock_locations"]:
            return ".location_id", "unknown_location", "No such stock location"
        if key != "orders":
            return None
        for place, item in enumerate(record["items"]):
            if item["variant_id"] not in self.lists["variants"]:
                return f".items[{place}]", "unknown_variant", "No such variant"
        if record["customer_id"] not in self.lists["customers"]:
            return ".customer_id", "unknown_customer", "No such customer"
        return None

    # ---- orders, claims, returns ----------------------------------------------------------------

    def order(self, order_id: str) -> dict[str, Any]:
        if order_id not in self.lists["orders"]:
            raise No(404, "not_found", f"Order with id {order_id} was not found")
        return {
            **self.lists["orders"][order_id],
            "claims": self.claims[order_id],
            "swaps": self.swaps[order_id],
            "returns": self.returns[order_id],
            "refunds": self.refunds[order_id],
        }

    def line(self, order_id: str, line_id: str) -> dict[str, Any]:
        """One line of an order, as imported."""
        for item in self.order(order_id)["items"]:
            if item["id"] == line_id:
                return dict(item)
        raise No(404, "not_found", f"Line item with {line_id} was not found")

    def _take(self, order_id: str, items: list[dict[str, Any]], message: str) -> int:
        """Put units under a remedy; what they cost."""
        wanted: Counter[str] = Counter()
        for item in items:
            wanted[item["item_id"]] += item["quantity"]
        lines = {line_id: self.line(order_id, line_id) for line_id in wanted}
        for line_id, units in wanted.items():
            if self.remedied[line_id] + units > lines[line_id]["quantity"]:
                raise No(400, "not_allowed", message)
        self.remedied.update(wanted)
        return sum(int(lines[line_id]["unit_price"]) * units for line_id, units in wanted.items())

    def refund(self, order_id: str, amount: int, kind: str, cause_id: str) -> None:
        """Write a refund row; the ledger shows the same rows."""
        if amount:
            number = sum(map(len, self.refunds.values())) + 1
            self.refunds[order_id].append(
                {
                    "id": f"ref_{number}",
                    "amount": amount,
                    "reason": "return" if kind == "receipt" else kind,
                    "metadata": {"cause_kind": kind, "cause_id": cause_id},
                }
            )

    async def claim(self, request: web.Request) -> dict[str, Any]:
        order_id, body = request.match_info["order_id"], await request.json()
        for extra in body.get("additional_items", ()):
            stock = self.lists["inventory_levels"][f"inventory_levels-{extra['variant_id']}"]
            free = stock["stocked_quantity"] - self.reserved[extra["variant_id"]]
            if free < extra["quantity"]:
                message = (
                    f"Variant with id: {extra['variant_id']} does not have the required inventory"
                )
                raise No(400, "not_allowed", message)
        worth = self._take(
            order_id,
            body["claim_items"],
            "Cannot claim more of an item than has been fulfilled.",
        )
        for extra in body.get("additional_items", ()):
            self.reserved[extra["variant_id"]] += extra["quantity"]
        is_refund = body["type"] == "refund"
        claim = {
            "id": f"claim_{sum(map(len, self.claims.values())) + 1}",
            "type": body["type"],
            "payment_status": "refunded" if is_refund else "na",
            "refund_amount": worth if is_refund else None,
            "canceled_at": None,
            "metadata": body.get("metadata"),
            "claim_items": body["claim_items"],
            "additional_items": body.get("additional_items", []),
        }
        self.claims[order_id].append(claim)
        if is_refund:
            self.refund(order_id, worth, "claim", str(claim["id"]))
        if "return_shipping" in body:
            self._open_return(order_id, body["claim_items"], worth, str(claim["id"]))
        return {"order": self.order(order_id)}

    async def swap(self, request: web.Request) -> dict[str, Any]:
        order_id, body = request.match_info["order_id"], await request.json()
        message = "Cannot return more items than have been purchased"
        worth = self._take(order_id, body["return_items"], message)
        for extra in body["additional_items"]:
            self.reserved[extra["variant_id"]] += extra["quantity"]
        self.swaps[order_id].append({**body, "id": f"swap_{order_id}", "worth": worth})
        return {"order": self.order(order_id)}

    async def cancel_claim(self, request: web.Request) -> dict[str, Any]:
        order_id, claim_id = request.match_info["order_id"], request.match_info["claim_id"]
        for claim in self.claims[order_id]:
            if claim["id"] == claim_id and not claim["canceled_at"]:
                claim["canceled_at"] = "2026-01-01T00:00:00Z"
                for extra in claim["additional_items"]:
                    self.reserved[extra["variant_id"]] -= extra["quantity"]
        return {"order": self.order(order_id)}

    def _open_return(
        self, order_id: str, items: list[dict[str, Any]], worth: int, claim_id: str | None
    ) -> dict[str, Any]:
        opened = {
            "id": f"ret_{sum(map(len, self.returns.values())) + 1}",
            "order_id": order_id,
            "claim_order_id": claim_id,
            "status": "requested",
            "refund_amount": worth,
            "items": [{"item_id": i["item_id"], "quantity": i["quantity"]} for i in items],
        }
        self.returns[order_id].append(opened)
        return opened

    async def request_return(self, request: web.Request) -> dict[str, Any]:
        order_id, body = request.match_info["order_id"], await request.json()
        worth = self._take(
            order_id, body["items"], "Cannot return more items than have been purchased"
        )
        opened = self._open_return(order_id, body["items"], worth, None)
        if body.get("receive_now"):
            opened["status"] = "received"
            self.refund(order_id, worth, "receipt", f"rcpt_{opened['id']}")
        return {"order": self.order(order_id)}

    def _return(self, request: web.Request) -> dict[str, Any]:
        wanted = request.match_info["return_id"]
        for rows in self.returns.values():
            for row in rows:
                if row["id"] == wanted:
                    return row
        raise No(404, "not_found", f"Return with id: {wanted} was not found")

    async def receive(self, request: web.Request) -> dict[str, Any]:
        found, body = self._return(request), await request.json()
        arrived = [{"item_id": i["item_id"], "quantity": i["quantity"]} for i in body["items"]]
        found["status"] = "received" if arrived == found["items"] else "requires_action"
        worth = sum(
            i["quantity"] * self.line(found["order_id"], i["item_id"])["unit_price"]
            for i in arrived
        )
        found["refund_amount"] = worth
        self.refund(found["order_id"], worth, "receipt", f"rcpt_{found['id']}")
        return {"return": found}

    async def cancel_return(self, request: web.Request) -> dict[str, Any]:
        found = self._return(request)
        found["status"] = "canceled"
        return {"order": self.order(found["order_id"])}

    async def refund_by_hand(self, request: web.Request) -> dict[str, Any]:
        order_id, body = request.match_info["order_id"], await request.json()
        self.refund(order_id, body["amount"], "manual", f"by-hand-{order_id}")
        return {"order": self.order(order_id)}

    async def add_user(self, request: web.Request) -> dict[str, Any]:
        return {"user": {"email": (await request.json())["email"]}}

    async def show(self, request: web.Request) -> dict[str, Any]:
        return {"order": self.order(request.match_info["order_id"])}

    async def ledger(self, request: web.Request) -> dict[str, Any]:
        order_id = request.match_info["order_id"]
        captured = {"id": "tr_0", "kind": "capture", "state": "posted", "amount": 10**9}
        refunds = [
            {
                "id": f"tr_{row['id']}",
                "kind": "refund",
                "state": "posted",
                "amount": row["amount"],
                **row["metadata"],
            }
            for row in self.refunds[order_id]
        ]
        return {"transfers": [captured, *refunds]}


@web.middleware
async def _doorman(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Token, planned troubles, idempotency keys and the error shape."""
    state = request.app[_STATE]
    state.calls[f"{request.method} {request.path.rsplit('/', 1)[1]}"] += 1
    if request.headers.get("x-medusa-access-token") != state.token:
        return web.json_response({"type": "unauthorized", "message": "Unauthorized"}, status=401)
    planned = state.troubles.get((request.method, request.path.rsplit("/", 1)[1])) or []
    trouble = planned.pop(0) if planned else None
    if isinstance(trouble, int):
        body = {"type": "unexpected_state", "message": "Busy"}
        return web.json_response(body, status=trouble, headers={"Retry-After": "0"})
    try:
        answer = await _once(state, request, handler)
    except No as no:
        return web.json_response(no.body, status=no.status)
    if trouble == "lost":
        assert request.transport is not None
        request.transport.close()
    return answer


async def _once(state: StandIn, request: web.Request, handler: Handler) -> web.StreamResponse:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return await handler(request)
    print_of_it = await request.text()
    if key in state.keys:
        path, first, answer = state.keys[key]
        if (path, first) != (request.path, print_of_it):
            raise No(422, "invalid_request_error", "The key was used for another request")
        return web.json_response(answer)
    response = await handler(request)
    assert isinstance(response, web.Response)
    assert response.text is not None
    state.keys[key] = (request.path, print_of_it, json.loads(response.text))
    return response


def _json(operation: Callable[[web.Request], Awaitable[dict[str, Any]]]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(await operation(request))

    return handler


_STATE = web.AppKey("state", StandIn)


@asynccontextmanager
async def a_gateway(**facts: Any) -> AsyncIterator[StandIn]:
    """A listening gateway; its ``url`` and ``token`` are on the yielded state."""
    state = StandIn(**facts)
    app = web.Application(middlewares=[_doorman], client_max_size=64 * 1024 * 1024)
    app[_STATE] = state
    order = "/admin/orders/{order_id}"
    app.add_routes(
        [
            web.post("/admin/import", _json(state.load)),
            web.post("/admin/users", _json(state.add_user)),
            web.get(order, _json(state.show)),
            web.get(f"{order}/ledger", _json(state.ledger)),
            web.post(f"{order}/claims", _json(state.claim)),
            web.post(f"{order}/swaps", _json(state.swap)),
            web.post(f"{order}/claims/{{claim_id}}/cancel", _json(state.cancel_claim)),
            web.post(f"{order}/return", _json(state.request_return)),
            web.post(f"{order}/refund", _json(state.refund_by_hand)),
            web.post("/admin/returns/{return_id}/receive", _json(state.receive)),
            web.post("/admin/returns/{return_id}/cancel", _json(state.cancel_return)),
        ]
    )
    server = TestServer(app)
    await server.start_server()
    state.url = str(server.make_url("/")).rstrip("/")
    try:
        yield state
    finally:
        await server.close()
