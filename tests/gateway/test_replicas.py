"""The gateway before several replicas of a service: it spreads calls, passes over the dead, and
sends a change once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer, unused_port

from chassis import auth
from chassis.auth import Issuer, Principal
from chassis.errors import Unavailable
from chassis.testing import eventually
from gateway.clients import HttpTransport, TimedOut, Upstream
from tests.gateway.builders import SECRET_KEY

WHO = Principal("usr_1", "agent")
ISSUER = Issuer(auth.private_key(SECRET_KEY, "internal"))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Replica:
    """A service of one handler that counts what reaches it."""

    def __init__(
        self, handler: Handler | None = None, *, host: str = "127.0.0.1", port: int | None = None
    ) -> None:
        self.asked = 0
        self._handler = handler
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.server = TestServer(app, host=host, port=port)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        return await self._handler(request) if self._handler else web.json_response({})

    @property
    def url(self) -> str:
        return str(self.server.make_url("/"))


Start = Callable[..., Awaitable[Upstream]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """``orders = await start(one, other)``; texts are URLs as they stand."""
    ends: list[Callable[[], Awaitable[Any]]] = []

    async def begin(*replicas: Replica | str) -> Upstream:
        for replica in replicas:
            if isinstance(replica, Replica):
                await replica.server.start_server()
                ends.append(replica.server.close)
        urls = ", ".join(each if isinstance(each, str) else each.url for each in replicas)
        upstream = Upstream("orders", HttpTransport(urls), ISSUER, wait_bound_s=0.2)
        ends.append(upstream.close)
        return upstream

    yield begin
    for end in reversed(ends):
        await end()


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def test_calls_are_spread_evenly(start: Start) -> None:
    one, other = Replica(), Replica()
    orders = await start(one, other)
    for _ in range(5):
        await orders.get("/x", who=WHO)
        await orders.send("POST", "/x", who=WHO, body={})
    assert (one.asked, other.asked) == (5, 5)


async def test_one_that_cannot_be_connected_to_is_passed_over(start: Start) -> None:
    alive = Replica()
    orders = await start(f"http://127.0.0.1:{unused_port()}", alive)
    for number in range(1, 7):
        await orders.send("POST", "/x", who=WHO, body={})
        assert alive.asked == number


async def test_when_all_are_dead_it_is_passing_trouble(start: Start) -> None:
    orders = await start(*(f"http://127.0.0.1:{unused_port()}" for _ in range(2)))
    with pytest.raises(Unavailable):
        await orders.send("POST", "/x", who=WHO, body={})


async def test_a_change_whose_fate_is_unknown_is_not_sent_to_another(start: Start) -> None:
    dying, alive = Replica(hang_up), Replica()
    orders = await start(dying, alive)
    with pytest.raises(Unavailable):
        await orders.send("POST", "/x", who=WHO, body={})
    assert (dying.asked, alive.asked) == (1, 0)


async def test_a_read_goes_on_to_the_next(start: Start) -> None:
    dying, alive = Replica(hang_up), Replica()
    orders = await start(dying, alive)
    assert await orders.get("/x", who=WHO) == {}
    assert alive.asked == 1


async def test_one_that_hangs_is_left_alone(start: Start) -> None:
    hanging, alive = Replica(hang), Replica()
    orders = await start(hanging, alive)
    waiting = asyncio.create_task(orders.send("POST", "/x", who=WHO, body={}))
    await eventually(lambda: hanging.asked == 1)
    for _ in range(5):
        await orders.send("POST", "/x", who=WHO, body={})
    with pytest.raises(TimedOut):
        await waiting
    for _ in range(5):
        await orders.send("POST", "/x", who=WHO, body={})
    assert (hanging.asked, alive.asked) == (1, 10)


async def test_a_name_with_several_addresses_reaches_all_of_them(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in containers: one name, an address for each replica."""
    port = unused_port()
    one, other = Replica(port=port), Replica(host="127.0.0.2", port=port)
    await one.server.start_server()
    await other.server.start_server()
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]

    class Names(AbstractResolver):
        """Knows the service by three addresses, nobody lives at the last."""

        def __init__(self, **_: Any) -> None: ...

        async def resolve(
            self, host: str, port: int = 0, family: Any = socket.AF_INET
        ) -> list[ResolveResult]:
            assert host == "orders"
            return [
                ResolveResult(
                    hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0
                )
                for each in addresses
            ]

        async def close(self) -> None: ...

    monkeypatch.setattr("aiohttp.connector.DefaultResolver", Names)
    orders = await start(f"http://orders:{port}")
    await asyncio.gather(*(orders.send("POST", "/x", who=WHO, body={}) for _ in range(12)))
    assert one.asked + other.asked == 12
    assert one.asked > 0
    assert other.asked > 0
    # One goes away: its connections end, new ones go where somebody answers.
    await other.server.close()
    before = one.asked
    await eventually(lambda: _sent(orders), within_s=10)
    await asyncio.gather(*(orders.send("POST", "/x", who=WHO, body={}) for _ in range(12)))
    assert one.asked >= before + 12
    await one.server.close()


async def _sent(orders: Upstream) -> bool:
    try:
        await orders.send("POST", "/x", who=WHO, body={})
    except Unavailable:
        return False
    return True
