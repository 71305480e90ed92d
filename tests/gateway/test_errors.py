"""Every refusal in Medusa's shape, and the headers of every answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.types import Message

from chassis.auth import Unauthorized
from chassis.db import DuplicateRow, Transient
from chassis.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KeyReused,
    NotAllowed,
    NotFound,
    Unavailable,
)
from chassis.strict_json import UnreadableJson
from gateway import errors, wire
from gateway.clients import TimedOut
from gateway.gate import TooManyRequests
from gateway.identity import TooManyTries

SHOP = "https://shop.example"
CONFLICT = {
    "code": "invalid_state_error",
    "type": "conflict",
    "message": (
        "The request conflicted with another request. You may retry the request with the provided"
        " Idempotency-Key."
    ),
}
RAISED: dict[str, Exception] = {
    "invalid": Invalid("invalid_data", "quantity must be an integer number"),
    "not_allowed": NotAllowed(
        "units_taken", "Cannot claim more of an item than has been fulfilled."
    ),
    "not_found": NotFound("order_not_found", "Order with id x was not found"),
    "forbidden": Forbidden("role", "The role agent may not do this."),
    "conflict": Conflict("order_busy", "somebody is at it", order_id="order_1"),
    "key_reused": KeyReused("idempotency_key_reused", "The key was used for another request."),
    "unavailable": Unavailable("orders cannot be reached", retry_after_s=7),
    "timed_out": TimedOut("orders did not answer in 10 s"),
    "unreadable": UnreadableJson("a key occurs twice in one object"),
    "transient": Transient("could not serialize access"),
    "duplicate": DuplicateRow("uq_users_email"),
    "unauthorized": Unauthorized("the token is expired"),
    "too_many_requests": TooManyRequests(3),
    "too_many_tries": TooManyTries(60),
    "bug": RuntimeError("SELECT secret FROM users -- app.py line 3"),
}


def an_app(*origins: str) -> FastAPI:
    """An application that raises what the path names."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    routes = APIRouter()

    @routes.post("/admin/{name}")
    @routes.get("/admin/{name}")
    async def admin(name: str, request: Request) -> Any:
        await wire.body(request)
        if name in RAISED:
            raise RAISED[name]
        return {"name": name}

    @routes.get("/typed")
    async def typed(count: int) -> Any:
        return count

    @routes.get("/static/reclamo.css")
    async def style() -> Any:
        return {}

    app.include_router(routes, max_body_size=1000)
    errors.add_errors(app)
    app.add_middleware(errors.SecurityHeaders, origins=origins)
    return app


def a_client(app: FastAPI, base_url: str = "http://gateway.test") -> httpx2.AsyncClient:
    """A client that sees what a browser would see."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=base_url)


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with a_client(an_app(SHOP)) as it:
        yield it


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        (
            "invalid",
            400,
            {"type": "invalid_data", "message": "quantity must be an integer number"},
        ),
        (
            "not_allowed",
            400,
            {
                "type": "not_allowed",
                "message": "Cannot claim more of an item than has been fulfilled.",
            },
        ),
        ("not_found", 404, {"type": "not_found", "message": "Order with id x was not found"}),
        ("forbidden", 403, {"type": "not_allowed", "message": "The role agent may not do this."}),
        ("conflict", 409, CONFLICT),
        ("transient", 409, CONFLICT),
        (
            "key_reused",
            422,
            {
                "code": "invalid_request_error",
                "type": "invalid_request_error",
                "message": "The key was used for another request.",
            },
        ),
        (
            "duplicate",
            422,
            {
                "code": "invalid_request_error",
                "type": "duplicate_error",
                "message": "That already exists.",
            },
        ),
        ("unavailable", 503, {"type": "unexpected_state", "message": "orders cannot be reached"}),
        (
            "timed_out",
            504,
            {"type": "unexpected_state", "message": "orders did not answer in 10 s"},
        ),
        (
            "unreadable",
            400,
            {
                "type": "invalid_data",
                "message": "Unreadable body: a key occurs twice in one object",
            },
        ),
        (
            "too_many_requests",
            429,
            {"type": "unexpected_state", "message": "Too many requests. Try again in 3 s."},
        ),
    ],
)
async def test_a_refusal_is_the_whole_body_that_callers_compare_with(
    client: httpx2.AsyncClient, name: str, status: int, body: dict[str, str]
) -> None:
    answer = await client.get(f"/admin/{name}")
    assert answer.status_code == status
    assert answer.json() == body


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("conflict", "1"),
        ("transient", "1"),
        ("unavailable", "7"),
        ("timed_out", "1"),
        ("too_many_requests", "3"),
        ("too_many_tries", "60"),
    ],
)
async def test_passing_trouble_says_when_to_try_again(
    client: httpx2.AsyncClient, name: str, seconds: str
) -> None:
    assert (await client.get(f"/admin/{name}")).headers["retry-after"] == seconds


async def test_nobody_is_told_unauthorized_and_not_why(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/admin/unauthorized")
    assert (answer.status_code, answer.text) == (401, "Unauthorized")


async def test_an_unexpected_exception_says_nothing_about_itself(
    client: httpx2.AsyncClient,
) -> None:
    answer = await client.get("/admin/bug")
    assert answer.status_code == 500
    assert answer.json() == {
        "code": "unknown_error",
        "type": "unknown_error",
        "message": "An unknown error occurred.",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


async def test_a_client_that_hung_up_is_not_answered() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/admin/x",
        "query_string": b"",
        "headers": [],
    }
    await an_app()(scope, receive, send)
    assert sent == []


async def test_what_is_not_served_is_told_in_the_same_shape(client: httpx2.AsyncClient) -> None:
    nowhere = await client.get("/nowhere")
    assert (nowhere.status_code, nowhere.json()["type"]) == (404, "not_found")
    method = await client.delete("/admin/x")
    assert (method.status_code, method.json()["type"]) == (405, "not_allowed")
    typed = await client.get("/typed?count=x")
    assert (typed.status_code, typed.json()["type"]) == (400, "invalid_data")


@pytest.mark.parametrize("told_length", [True, False])
async def test_a_body_over_the_limit_is_413_in_the_same_shape(
    client: httpx2.AsyncClient, told_length: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    content: Any = b"x" * 1100 if told_length else pieces()
    answer = await client.post("/admin/x", content=content)
    assert answer.status_code == 413
    assert answer.json() == {"type": "invalid_request_error", "message": "The body is too large."}
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PUT", "PATCH", "PROPFIND"])
async def test_methods_nobody_uses_are_refused_before_any_route(
    client: httpx2.AsyncClient, method: str
) -> None:
    answer = await client.request(method, "/admin/x")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert answer.json()["type"] == "not_allowed"


@pytest.mark.parametrize("path", ["/admin/%2e%2e", "/admin/%2e", "/%2e%2e/admin/x", "/admin/%00"])
async def test_a_path_that_no_id_can_have_is_not_found(
    client: httpx2.AsyncClient, path: str
) -> None:
    assert (await client.get(path)).status_code == 404


async def test_ids_of_any_signs_pass(client: httpx2.AsyncClient) -> None:
    for name in ("order_01J", "a.b", "a:b", "a@b", "a b", "ä", ".a", "a..", "a?b", "a#b", "a%b"):
        answer = await client.get(f"/admin/{quote(name, safe='')}")
        assert answer.json() == {"name": name}


# ---- headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/admin/x", "/admin/conflict", "/nowhere", "/admin/bug"])
async def test_every_answer_has_the_headers_that_browsers_obey(
    client: httpx2.AsyncClient, path: str
) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none';"
        " frame-ancestors 'none'"
    )
    assert headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in headers


async def test_over_tls_a_year_of_hsts_is_announced() -> None:
    async with a_client(an_app(), "https://gateway.test") as client:
        answer = await client.get("/admin/x")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_files_that_never_change_may_be_kept(client: httpx2.AsyncClient) -> None:
    assert "cache-control" not in (await client.get("/static/reclamo.css")).headers


# ---- other origins ------------------------------------------------------------------------------


def cors(answer: httpx2.Response) -> dict[str, str]:
    """The headers that let another origin in."""
    return {k: v for k, v in answer.headers.items() if k.startswith("access-control-")}


async def test_no_other_origin_is_let_in_by_default() -> None:
    async with a_client(an_app()) as client:
        answer = await client.get("/admin/x", headers={"origin": SHOP})
        assert cors(answer) == {}


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example.evil.example",
        "http://shop.example",
        "https://SHOP.example",
        "https://shop.example:8443",
        "https://xshop.example",
        "null",
        "*",
    ],
)
async def test_only_the_exact_origin_is_let_in(client: httpx2.AsyncClient, origin: str) -> None:
    answer = await client.get("/admin/x", headers={"origin": origin})
    assert cors(answer) == {}
    assert answer.headers["vary"] == "origin"


async def test_an_allowed_origin_may_send_credentials_and_read_the_key(
    client: httpx2.AsyncClient,
) -> None:
    for path in ("/admin/x", "/admin/not_allowed", "/admin/bug"):
        answer = await client.get(path, headers={"origin": SHOP})
        assert cors(answer) == {
            "access-control-allow-origin": SHOP,
            "access-control-allow-credentials": "true",
            "access-control-expose-headers": "Idempotency-Key, Location",
        }


@pytest.mark.parametrize("listed", ["*", "null", ""])
async def test_neither_a_star_nor_null_can_be_allowed(listed: str) -> None:
    async with a_client(an_app(listed)) as client:
        for origin in ("*", "null", SHOP):
            assert cors(await client.get("/admin/x", headers={"origin": origin})) == {}


async def test_a_preflight_allows_the_headers_of_the_stock_client(
    client: httpx2.AsyncClient,
) -> None:
    asked = {"access-control-request-method": "POST", "origin": SHOP}
    answer = await client.options("/admin/x", headers=asked)
    assert answer.status_code == 204
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert set(allowed) == {
        "x-medusa-access-token",
        "authorization",
        "content-type",
        "idempotency-key",
        "x-publishable-api-key",
    }
    foreign = await client.options("/admin/x", headers={**asked, "origin": "https://x.example"})
    assert cors(foreign) == {}


async def test_an_origin_of_any_bytes_is_harmless(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/admin/x", headers={b"origin": b"\xff\xfe"})
    assert answer.status_code == 200
