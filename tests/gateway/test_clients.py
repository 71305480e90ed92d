"""How the gateway speaks to services: every trouble has an answer, and none tells too much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from chassis import auth
from chassis.auth import Issuer, Principal
from chassis.errors import Conflict, Invalid, KeyReused, NotAllowed, NotFound, Unavailable
from gateway import clients
from gateway.clients import (
    HttpTransport,
    InProcessTransport,
    TimedOut,
    Transport,
    UnexpectedAnswer,
    Upstream,
    segment,
)
from tests.gateway.builders import SECRET_KEY, Door
from tests.gateway.conftest import OpenGateway

WHO = Principal("usr_1", "agent")
KEY = auth.private_key(SECRET_KEY, "internal")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[Upstream]]


def an_upstream(transport: Transport, *, wait_bound_s: float = 10) -> Upstream:
    return Upstream("orders", transport, Issuer(KEY), wait_bound_s=wait_bound_s)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """``upstream = await serve(handler)``: a service of one handler on a real port."""
    opened: list[tuple[TestServer, Upstream]] = []

    async def start(handler: Handler) -> Upstream:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        server = TestServer(app)
        await server.start_server()
        upstream = an_upstream(HttpTransport(str(server.make_url("/"))), wait_bound_s=0.2)
        opened.append((server, upstream))
        return upstream

    yield start
    for server, upstream in opened:
        await upstream.close()
        await server.close()


def answers(status: int, body: Any, **headers: str) -> Handler:
    """A handler that always says this."""
    text = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers=named)

    return handler


async def test_a_request_carries_a_token_for_this_service_alone(serve: Serve) -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"method": request.method, "query": request.query_string})

    orders = await serve(handler)
    await orders.get("/orders", who=WHO, params={"id": ["a", "b"], "q": None, "limit": 5})
    await orders.send("POST", "/x", who=WHO, body={"a": 1}, headers={"idempotency-key": "k"})
    first, second = seen
    assert first.query_string == "id=a&id=b&limit=5"
    assert second.headers["idempotency-key"] == "k"
    assert second.headers["content-type"] == "application/json"
    token = first.headers["authorization"].removeprefix("Bearer ")
    assert auth.Verifier(KEY.public_key(), "orders").verify(token) == WHO
    with pytest.raises(auth.Unauthorized):
        auth.Verifier(KEY.public_key(), "claims").verify(token)


@pytest.mark.parametrize("odd", ["a/b", "..", ".", "a?b=1", "a#b", "a%2Fb", "é ü", "a+b", "a;b"])
async def test_an_id_stays_one_segment_of_the_path(serve: Serve, odd: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"raw": request.raw_path})

    orders = await serve(handler)
    answer = await orders.get(f"/orders/{segment(odd)}/claims", who=WHO)
    assert answer["raw"].startswith("/orders/")
    assert answer["raw"].endswith("/claims")
    assert answer["raw"].count("/") == 3
    assert not {"?", "#"} & set(answer["raw"])


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("not_found", 404, NotFound),
        ("invalid", 422, Invalid),
        ("not_allowed", 409, NotAllowed),
        ("conflict", 409, Conflict),
        ("key_reused", 422, KeyReused),
    ],
)
async def test_a_refusal_arrives_as_it_was_said(
    serve: Serve, kind: str, status: int, expected: type[Exception]
) -> None:
    problem = {
        "kind": kind,
        "code": "why",
        "detail": "Because.",
        "settled": True,
        "facts": {"a": 1},
    }
    orders = await serve(answers(status, problem))
    with pytest.raises(expected) as caught:
        await orders.send("POST", "/x", who=WHO)
    refusal: Any = caught.value
    assert (refusal.code, refusal.message) == ("why", "Because.")
    assert refusal.facts == {"a": 1, "settled": True}


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_passing_trouble_is_passed_on_with_its_time(serve: Serve, status: int) -> None:
    orders = await serve(answers(status, {"detail": "busy", "code": "busy"}, Retry_After="7"))
    with pytest.raises(Unavailable) as caught:
        await orders.get("/x", who=WHO)
    assert (caught.value.retry_after_s, caught.value.code) == (7, "busy")


async def test_a_token_that_came_too_late_is_passing_trouble(serve: Serve) -> None:
    orders = await serve(answers(401, {"code": "unauthorized", "detail": "no"}))
    with pytest.raises(Unavailable, match="clocks or keys differ") as caught:
        await orders.get("/x", who=WHO)
    assert caught.value.code == "token_refused"


@pytest.mark.parametrize("body", ["<html>", "", "[]", "null", '"text"'])
async def test_a_proxys_page_instead_of_an_answer_is_passing_trouble(
    serve: Serve, body: str
) -> None:
    orders = await serve(answers(502, body, Retry_After="soon"))
    with pytest.raises(Unavailable) as caught:
        await orders.get("/x", who=WHO)
    assert caught.value.retry_after_s == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"code": "internal_error", "detail": "secret stack"}),
        (500, "[1]"),
        (404, {"code": "route_not_found", "detail": "no"}),
        (302, ""),
        (418, "tea"),
    ],
)
async def test_what_a_service_should_never_say_is_a_defect(
    serve: Serve, status: int, body: Any
) -> None:
    orders = await serve(answers(status, body, Location="/elsewhere"))
    with pytest.raises(UnexpectedAnswer):
        await orders.get("/x", who=WHO)


async def test_a_hung_service_is_given_up_and_the_next_call_is_not(serve: Serve) -> None:
    hung = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/hang":
            await hung.wait()
        return web.json_response({})

    orders = await serve(handler)
    with pytest.raises(TimedOut):
        await orders.send("POST", "/hang", who=WHO, timeout_s=0.05)
    assert await orders.get("/fine", who=WHO) == {}
    hung.set()


async def test_nobody_there_and_a_broken_line_are_passing_trouble(serve: Serve) -> None:
    nobody = an_upstream(HttpTransport(f"http://127.0.0.1:{unused_port()}"))
    with pytest.raises(Unavailable):
        await nobody.get("/x", who=WHO)
    assert await nobody.readiness() == "unreachable"
    await nobody.close()

    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    orders = await serve(hang_up)
    with pytest.raises(Unavailable):
        await orders.send("POST", "/x", who=WHO, body={})


async def test_readiness_is_what_the_service_says(serve: Serve) -> None:
    assert await (await serve(answers(200, {"status": "ok"}))).readiness() == "ok"
    assert await (await serve(answers(503, {"status": "degraded"}))).readiness() == "degraded"
    for trash in ("", "[]", "{}"):
        assert await (await serve(answers(200, trash))).readiness() == "unreachable"


async def test_an_application_that_breaks_in_this_process_is_a_defect_too() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/answered":
            headers = [(b"content-type", b"application/problem+json")]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"code": "internal_error"}'})
        raise RuntimeError("a bug")

    orders = an_upstream(InProcessTransport(app))
    with pytest.raises(UnexpectedAnswer):
        await orders.get("/answered", who=WHO)
    with pytest.raises(RuntimeError):
        await orders.get("/silent", who=WHO)


async def test_an_application_in_this_process_is_given_up_in_time_as_well() -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    orders = an_upstream(InProcessTransport(app))
    with pytest.raises(TimedOut):
        await orders.send("POST", "/x", who=WHO, timeout_s=0.02)
    await asyncio.wait_for(gone.wait(), 5)


# ---- through the door ---------------------------------------------------------------------------


class _Broken:
    """A transport in one of its bad moods."""

    def __init__(self, mood: Exception | None) -> None:
        self._mood = mood

    async def send(self, *_: Any) -> Any:
        if self._mood:
            raise self._mood
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing to give back."""


async def _without_orders(shop: Door, mood: Exception | None) -> None:
    orders: Upstream = shop.app.state.gate.upstreams["orders"]
    orders._transport = _Broken(mood)


async def test_a_service_that_is_away_is_503_with_the_key_and_the_others_go_on(shop: Door) -> None:
    await _without_orders(shop, Unavailable("a service cannot be reached", retry_after_s=3))
    for answer in (
        await shop.get("/admin/orders/order_ana"),
        await shop.post(
            "/admin/orders/order_ana/refund", {"amount": 1, "reason": "other"}, key="k"
        ),
    ):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "3"
        assert answer.json()["type"] == "unexpected_state"
    assert answer.headers["idempotency-key"] == "k"
    assert (await shop.get("/admin/inventory-items")).status_code == 200
    assert (await shop.get("/admin/claims")).status_code == 200
    assert (await shop.get("/")).status_code == 200


async def test_a_service_that_hangs_is_504(shop: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    await _without_orders(shop, None)
    monkeypatch.setattr(clients, "READ_TIMEOUT_S", 0.05)
    answer = await shop.get("/admin/orders/order_ana")
    assert answer.status_code == 504
    assert answer.headers["retry-after"]
    assert answer.json()["type"] == "unexpected_state"


async def test_a_defect_is_500_without_a_word_about_itself(shop: Door) -> None:
    await _without_orders(shop, RuntimeError("SELECT secret FROM /srv/app.py"))
    answer = await shop.get("/admin/orders/order_ana")
    assert answer.status_code == 500
    assert answer.json() == {
        "code": "unknown_error",
        "type": "unknown_error",
        "message": "An unknown error occurred.",
    }
    assert answer.headers["x-request-id"]
    assert (await shop.get("/admin/claims")).status_code == 200


async def test_a_bound_that_passed_is_503_and_the_same_key_joins(open_gateway: OpenGateway) -> None:
    from chassis.testing import eventually
    from tests.gateway.builders import a_shop

    shop = await open_gateway(wait_bound_s=0.0)
    await shop.post("/admin/import", a_shop())
    first = await shop.claim(key="k-1")
    assert first.status_code in (200, 503)
    if first.status_code == 503:
        assert int(first.headers["retry-after"]) >= 1
        assert first.headers["idempotency-key"] == "k-1"

    async def settled() -> bool:
        return (await shop.claim(key="k-1")).status_code == 200

    await eventually(settled)
    order = await shop.order()
    assert (len(order["claims"]), order["refunded_total"]) == (1, 1200)
