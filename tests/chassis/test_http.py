"""The HTTP face of a service: what comes in, what goes out, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import Response

from chassis import auth, context, http
from chassis.auth import Issuer, Principal, Verifier
from chassis.db import CheckFailed, Database, DuplicateRow, Transient, Tx
from chassis.door import BODY_MAX_BYTES, Router, Who
from chassis.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KeyReused,
    NotAllowed,
    NotFound,
    Refusal,
    Unavailable,
)
from chassis.http import Db, Tries
from chassis.strict_json import JSON_DEPTH_MAX, UnreadableJson, parse_json
from chassis.testing import MakeDatabase
from tests.chassis.shop import SCHEMA, pack, packed

KEY = auth.private_key("a secret of at least 32 characters", "internal")


def a_token(audience: str = "shop") -> str:
    """A fresh token: one made when this file was loaded would be too old in a long run."""
    return Issuer(KEY).mint(Principal(id="usr_1", role="agent"), audience)


def bearer() -> dict[str, str]:
    """The header that lets the gateway in."""
    return {"authorization": f"Bearer {a_token()}"}


class TestParseJson:
    @pytest.mark.parametrize(
        ("body", "value"),
        [
            (b'{"a": [1, 2.5, null, true, "\xc3\xbc"]}', {"a": [1, 2.5, None, True, "ü"]}),
            (b'"\\ud83d\\ude00"', "😀"),
            (b"9223372036854775807", 2**63 - 1),
            (b"-9223372036854775807", -(2**63) + 1),
            (b"1e3", 1000.0),
            (b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX, ...),
            (json.dumps({"a": "[{" * 100}).encode(), {"a": "[{" * 100}),
            (json.dumps({"a": '\\"[' * 100}).encode(), {"a": '\\"[' * 100}),
            (b"[" + b"{}," * 99 + b"{}]", [{}] * 100),
        ],
    )
    def test_what_is_sound_is_read(self, body: bytes, value: Any) -> None:
        assert value is ... or parse_json(body) == value
        parse_json(body)

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"", "not JSON"),
            (b"{", "not JSON"),
            (b"{'a': 1}", "not JSON"),
            (b'{"a": 1,}', "not JSON"),
            (b'{"a": 1} 2', "not JSON"),
            (b"\xff", "not UTF-8"),
            ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
            (b'{"a": 1, "a": 2}', "a key occurs twice"),
            (b'{"a": {"b": 1, "\\u0062": 2}}', "a key occurs twice"),
            (b"NaN", "NaN is not a JSON number"),
            (b"[Infinity]", "Infinity is not"),
            (b"-Infinity", "-Infinity is not"),
            (b"1" + b"0" * 308, "too large"),
            (b"1e308", "too large"),
            (b"1e999", "too large"),
            (b"-1e400", "too large"),
            (b"9223372036854775808", "too large"),
            (b"1" * 100_000, "too large"),
            (b'"\\ud800"', "surrogate"),
            (b'{"\\udfff": 1}', "surrogate"),
            (b'["\\uD800\\u0041"]', "surrogate"),
            (b'"a\\u0000b"', "NUL"),
            (b'{"\\u0000": 1}', "NUL"),
            (b"[" * (JSON_DEPTH_MAX + 1) + b"]" * (JSON_DEPTH_MAX + 1), "nested deeper than 32"),
            (b'{"a":' * 200 + b"1" + b"}" * 200, "nested deeper than 32"),
            (b"[" * 500_000, "nested deeper than 32"),
        ],
    )
    def test_what_is_not_is_refused_with_the_reason(self, body: bytes, why: str) -> None:
        with pytest.raises(UnreadableJson, match=why):
            parse_json(body)

    def test_a_backslash_before_u0000_is_only_text(self) -> None:
        assert parse_json(b'["\\\\u0000"]') == ["\\u0000"]

    def test_a_hundred_thousand_keys_are_read_and_one_twice_among_them_is_found(self) -> None:
        many = json.dumps({f"k{number}": number for number in range(100_000)})
        assert len(parse_json(many.encode())) == 100_000
        with pytest.raises(UnreadableJson):
            parse_json((many[:-1] + ', "k7": 1}').encode())


class Order(BaseModel):
    box: str
    count: int = 1


ERRORS: dict[str, tuple[Exception, int, str, str | None]] = {
    "not_found": (NotFound("box_missing", "No box."), 404, "box_missing", "not_found"),
    "invalid": (Invalid("bad", "Bad."), 422, "bad", "invalid"),
    "not_allowed": (NotAllowed("full", "Full.", free=0), 409, "full", "not_allowed"),
    "conflict": (Conflict("busy", "Busy."), 409, "busy", "conflict"),
    "forbidden": (Forbidden("forbidden", "No."), 403, "forbidden", "forbidden"),
    "key_reused": (KeyReused("key", "Used."), 422, "key", "key_reused"),
    "unavailable": (Unavailable("away", retry_after_s=7), 503, "unavailable", "unavailable"),
    "transient": (Transient("deadlock"), 409, "try_again", "conflict"),
    "duplicate": (DuplicateRow("uq_boxes"), 409, "duplicate", "conflict"),
    "check": (CheckFailed("ck_boxes"), 409, "check_failed", "not_allowed"),
    "defect": (ZeroDivisionError("secret detail"), 500, "internal_error", None),
}
OUTCOMES: dict[str, Any] = {
    "done": {"box": "1"},
    "refused": NotAllowed("full", "Full."),
    "not found": NotFound("box_missing", "No box."),
}

router = Router()


@router.post("/boxes")
async def pack_box(body: Order, db: Db, who: Who) -> Response:
    async with db.transaction() as tx:
        await pack(tx, body.box)
    return http.json_response({"box": body.box, "by": who.id})


@router.get("/errors/{name}")
async def fail(name: str) -> Response:
    raise ERRORS[name][0]


@router.get("/context")
async def tell_context() -> Response:
    here = context.current()
    return http.json_response({"correlation_id": here.correlation_id, "actor": here.actor_id})


@router.get("/attempt")
async def tell_attempt(attempt: Tries) -> Response:
    return http.json_response([attempt.key, attempt.fingerprint, attempt.respond_async])


@router.get("/pages")
async def page(limit: int = 10) -> Response:
    return http.json_response({"limit": limit, "at": datetime(2026, 1, 2, tzinfo=UTC)})


@router.get("/boxes/{box_id}")
async def get_box(box_id: str, db: Db) -> Response:
    async with db.reading() as tx:
        row = await tx.fetch_one("SELECT id FROM boxes WHERE id = :id", id=box_id)
    if row is None:
        raise NotFound("box_missing", "No box.")
    return http.json_response(row)


@router.post("/waits/{outcome}")
async def wait(outcome: str, db: Db, attempt: Tries) -> Response:
    async def probe(_: Tx) -> http.Outcome | None:
        return OUTCOMES.get(outcome)

    return await http.settled(
        db, key="box_1", outcome=probe, attempt=attempt, bound_s=0.05, location="/boxes/1"
    )


Call = Callable[..., Awaitable[httpx2.Response]]


def an_app(database: Database, checks: dict[str, str] | None = None) -> Starlette:
    async def ready() -> dict[str, str]:
        return checks or {"database": "ok"}

    return http.create_app(
        "shop",
        database=database,
        verifier=Verifier(KEY.public_key(), "shop"),
        routers=[router],
        ready=ready,
    )


def a_client(app: Starlette, **options: Any) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://shop", **options)


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return (await make_database(SCHEMA)).serve("shop", SCHEMA)


class _Nowhere(Database):
    """For what never reaches a database."""

    dialect = "none"

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def _begin(self, *, write: bool) -> Any:
        raise Unavailable("there is no database here")

    def _hold(self, name: str, again_s: float | None) -> Any:
        raise Unavailable("there is no database here")


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with a_client(an_app(_Nowhere("none")), headers=bearer()) as client:
        yield client


class TestWhoMayComeIn:
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"authorization": "{token}"},
            {"authorization": "bearer {token}"},
            {"authorization": "Basic dTpw"},
            {"authorization": "Bearer "},
            {"authorization": "Bearer nonsense"},
            {"authorization": "Bearer {token_of_another}"},
            {"x-medusa-access-token": "secret"},
        ],
    )
    async def test_every_route_needs_an_internal_token(self, headers: dict[str, str]) -> None:
        app = an_app(_Nowhere("none"))
        tokens = {"token": a_token(), "token_of_another": a_token("orders")}
        headers = {name: value.format(**tokens) for name, value in headers.items()}
        asked = 0
        async with a_client(app, headers=headers) as client:
            for route in router.routes:
                for method in route.methods or ():
                    path = route.path.replace("{", "").replace("}", "")
                    answer = await client.request(method, path, json={"box": "1"})
                    assert answer.status_code == 401, path
                    if method != "HEAD":
                        assert answer.json()["code"] == "unauthorized"
                        asked += 1
        assert asked == 7

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/version", "/metrics"])
    async def test_only_health_does_not(self, path: str) -> None:
        async with a_client(an_app(_Nowhere("none"))) as client:
            assert (await client.get(path)).status_code == 200

    async def test_who_asks_is_in_the_context_of_the_request(
        self, client: httpx2.AsyncClient
    ) -> None:
        assert (await client.get("/context")).json()["actor"] == "usr_1"


class TestProblems:
    @pytest.mark.parametrize("name", ERRORS)
    async def test_each_error_has_its_status_code_and_kind(
        self, client: httpx2.AsyncClient, name: str
    ) -> None:
        error, status, code, kind = ERRORS[name]
        answer = await client.get(f"/errors/{name}", headers={"x-request-id": "req-1"})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == "req-1"
        body = answer.json()
        assert body["type"] == f"urn:reclamo:problem:{code}"
        assert (body["status"], body["code"], body["kind"]) == (status, code, kind)
        assert body["correlation_id"] == "req-1"
        assert body["title"]
        assert "secret" not in answer.text
        if isinstance(error, Refusal):
            assert (body["detail"], body["facts"]) == (error.message, error.facts)
            assert "settled" not in body

    @pytest.mark.parametrize(
        ("name", "after"), [("conflict", "1"), ("transient", "1"), ("unavailable", "7")]
    )
    async def test_what_may_work_later_says_when(
        self, client: httpx2.AsyncClient, name: str, after: str
    ) -> None:
        assert (await client.get(f"/errors/{name}")).headers["retry-after"] == after

    async def test_a_refusal_that_is_final_does_not_invite_to_try_again(
        self, client: httpx2.AsyncClient
    ) -> None:
        for name in ("not_found", "invalid", "not_allowed", "forbidden", "key_reused", "defect"):
            assert "retry-after" not in (await client.get(f"/errors/{name}")).headers

    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nowhere", 404, "route_not_found"),
            ("GET", "/boxes/", 404, "route_not_found"),
            ("DELETE", "/boxes", 405, "method_not_allowed"),
        ],
    )
    async def test_what_is_not_there_is_a_problem_too(
        self, client: httpx2.AsyncClient, method: str, path: str, status: int, code: str
    ) -> None:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    async def test_a_wrong_parameter_or_field_is_named(self, client: httpx2.AsyncClient) -> None:
        answer = await client.get("/pages", params={"limit": "many"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert answer.json()["errors"][0]["path"] == "query.limit"
        answer = await client.post("/boxes", json={"count": "x"})
        assert {error["path"] for error in answer.json()["errors"]} == {"body.box", "body.count"}

    async def test_times_are_answered_in_iso_8601(self, client: httpx2.AsyncClient) -> None:
        assert (await client.get("/pages")).json()["at"] == "2026-01-02T00:00:00Z"


class TestBodies:
    @pytest.mark.parametrize(
        "body", [b'{"box": "1", "box": "2"}', b"{", b"\xff", b'{"box": "\\ud800"}', b"1e400"]
    )
    async def test_what_cannot_be_read_is_422_with_the_reason(
        self, client: httpx2.AsyncClient, body: bytes
    ) -> None:
        answer = await client.post(
            "/boxes", content=body, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "unreadable_json")
        assert answer.json()["detail"]

    async def test_a_body_that_is_no_json_by_its_type_is_not_read(
        self, client: httpx2.AsyncClient
    ) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            answer = await client.post(
                "/boxes", content=b'{"box": "1"}', headers={"content-type": kind}
            )
            assert answer.status_code == 422

    async def test_a_body_at_the_limit_is_read(self, database: Database) -> None:
        frame = len(b'{"box": "1", "note": ""}')
        body = b'{"box": "1", "note": "' + b"x" * (BODY_MAX_BYTES - frame) + b'"}'
        assert len(body) == BODY_MAX_BYTES
        async with a_client(an_app(database), headers=bearer()) as client:
            answer = await client.post(
                "/boxes", content=body, headers={"content-type": "application/json"}
            )
        assert answer.status_code == 200

    @pytest.mark.parametrize("declared", ["as it is", "not at all", "too small"])
    async def test_one_above_the_limit_is_413_however_it_is_declared(
        self, client: httpx2.AsyncClient, declared: str
    ) -> None:
        read = 0

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal read
            for _ in range(64):
                read += 1
                yield b" " * 65_536

        headers = {"content-type": "application/json"}
        if declared == "as it is":
            headers["content-length"] = str(64 * 65_536)
        elif declared == "too small":
            headers["content-length"] = "10"
        answer = await client.post("/boxes", content=pieces(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert answer.headers["content-type"] == "application/problem+json"

    async def test_nul_in_a_path_is_no_defect(self, database: Database) -> None:
        async with a_client(an_app(database), headers=bearer()) as client:
            assert (await client.get("/boxes/a%00b")).status_code in (404, 422)


class TestCorrelation:
    async def test_a_given_id_goes_through_and_a_missing_one_is_made(
        self, client: httpx2.AsyncClient
    ) -> None:
        answer = await client.get("/context", headers={"x-request-id": "abc-123"})
        assert answer.headers["x-request-id"] == answer.json()["correlation_id"] == "abc-123"
        made = (await client.get("/context")).json()["correlation_id"]
        assert len(made) == 36
        assert made != (await client.get("/context")).json()["correlation_id"]

    @pytest.mark.parametrize("given", ["x" * 65, "", "a b", "ü".encode(), b"\x01"])
    async def test_an_id_that_is_none_is_replaced(
        self, client: httpx2.AsyncClient, given: Any
    ) -> None:
        answer = await client.get("/context", headers={"x-request-id": given})
        assert len(answer.json()["correlation_id"]) == 36

    async def test_two_requests_at_once_keep_their_own(self, client: httpx2.AsyncClient) -> None:
        answers = await asyncio.gather(
            *(client.get("/context", headers={"x-request-id": f"r{n}"}) for n in range(20))
        )
        assert [a.json()["correlation_id"] for a in answers] == [f"r{n}" for n in range(20)]


class TestAttempts:
    async def test_the_headers_of_an_attempt_are_read(self, client: httpx2.AsyncClient) -> None:
        headers = {
            "idempotency-key": "k-1",
            "reclamo-fingerprint": "f" * 64,
            "prefer": "wait=5, respond-async",
        }
        assert (await client.get("/attempt", headers=headers)).json() == ["k-1", "f" * 64, True]
        assert (await client.get("/attempt")).json() == [None, "", False]


class TestSettled:
    async def ask(self, database: Database, outcome: str, **headers: str) -> httpx2.Response:
        async with a_client(an_app(database), headers=bearer()) as client:
            return await client.post(f"/waits/{outcome}", headers=headers)

    async def test_a_decided_result_is_200(self, database: Database) -> None:
        answer = await self.ask(database, "done")
        assert (answer.status_code, answer.json()) == (200, {"box": "1"})

    async def test_a_refusal_after_acceptance_says_that_it_is_settled(
        self, database: Database
    ) -> None:
        answer = await self.ask(database, "refused")
        assert (answer.status_code, answer.json()["settled"]) == (409, True)
        assert (answer.json()["code"], answer.json()["kind"]) == ("full", "not_allowed")
        assert (await self.ask(database, "not found")).status_code == 404

    async def test_still_running_at_the_bound_is_503_with_the_way_to_join_again(
        self, database: Database
    ) -> None:
        answer = await self.ask(database, "running")
        assert (answer.status_code, answer.json()["code"]) == (503, "still_running")
        assert answer.headers["retry-after"]

    async def test_who_does_not_want_to_wait_is_told_where_to_look(
        self, database: Database
    ) -> None:
        for outcome in ("running", "done"):
            answer = await self.ask(database, outcome, prefer="respond-async")
            assert (answer.status_code, answer.headers["location"]) == (202, "/boxes/1")
            assert answer.json() == {"id": "box_1", "status": "accepted"}


class TestTheCommitComesBeforeTheAnswer:
    """In a dependency with ``yield`` it came after: the client had its 200, the commit failed."""

    async def post(self, database: Database) -> tuple[int, list[str]]:
        order: list[str] = []
        app = an_app(database)

        async def noted(scope: Any, receive: Any, send: Any) -> None:
            async def tell(message: Any) -> None:
                if message["type"] == "http.response.start":
                    order.append("answered")
                await send(message)

            await app(scope, receive, tell)

        database.listen("packed", lambda: order.append("committed"))
        transport = httpx2.ASGITransport(app=noted, raise_app_exceptions=False)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://shop", headers=bearer()
        ) as client:
            answer = await client.post("/boxes", json={"box": "1"})
        return answer.status_code, order

    async def test_a_slow_commit_is_waited_for(self, database: Database) -> None:
        slow = _Slow(database)
        assert await self.post(slow) == (200, ["committed", "answered"])
        assert await packed(database) == {"1": 1}

    async def test_a_failing_commit_is_no_200(self, database: Database) -> None:
        failing = _Slow(database, fails=True)
        assert await self.post(failing) == (503, ["answered"])
        assert await packed(database) == {}


class _Slow(Database):
    """A database whose commit takes its time, and may fail in the end."""

    dialect = "slow"

    def __init__(self, inner: Database, fails: bool = False) -> None:
        super().__init__(inner.url)
        self.inner = inner
        self.fails = fails
        self.tables = inner.tables

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def _hold(self, name: str, again_s: float | None) -> Any:
        raise NotImplementedError

    def _begin(self, *, write: bool) -> Any:
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def begin() -> AsyncIterator[Tx]:
            async with self.inner._begin(write=write) as tx:
                yield tx
                for _ in range(50):
                    await asyncio.sleep(0)
                if self.fails:
                    raise Unavailable("the disk is full")
            self.notify("packed")

        return begin()


class TestHealth:
    @pytest.mark.parametrize(
        ("checks", "status", "said"),
        [
            ({"database": "ok", "bus": "ok"}, 200, "ok"),
            ({"database": "ok", "bus": "degraded: not connected"}, 200, "degraded"),
            ({"database": "away", "bus": "ok"}, 503, "unavailable"),
            ({"database": "away", "bus": "degraded: x"}, 503, "unavailable"),
        ],
    )
    async def test_ready_tells_the_worst_of_its_checks(
        self, checks: dict[str, str], status: int, said: str
    ) -> None:
        async with a_client(an_app(_Nowhere("none"), checks)) as client:
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["status"]) == (status, said)
            assert answer.json()["checks"] == checks
            assert (await client.get("/livez")).status_code == 200

    async def test_metrics_are_by_route_template_and_not_by_path(
        self, client: httpx2.AsyncClient
    ) -> None:
        await client.get("/errors/not_found")
        text = (await client.get("/metrics")).text
        assert 'route="/errors/{name}",service="shop",status="404"' in text
        assert "/errors/not_found" not in text
