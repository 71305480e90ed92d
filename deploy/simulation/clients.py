"""Virtual clients: they repeat a call with the same key until it is answered, as the stock client
does. What they asked and were told is the history; what they ask for is in ``acts``."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from deploy.simulation import shop
from deploy.simulation.world import Gone, Process, World

Json = dict[str, Any]

CLIENTS = 4
ACTS = 14
THINKS_S_MAX = 1.5
PATIENCE_S = 1200.0
# The bound of the wait, the gateway's margin and its reads, and a disk that may be slow.
ATTEMPT_S_MAX = 45.0
PASSING = (409, 429, 502, 503, 504)
ANSWERS = (200, 400, 404, 422)
# They end in 02 (declined), 08 (answer lost), 09 (lost on the way), or in nothing special.
AMOUNTS = (0, 1, 2, 8, 9, 102, 108, 109, 500, 1108, 1200)


@dataclass
class Call:
    """One request with its key. ``status`` and ``answer`` are None until it was answered for good.

    ``takes`` names who judges what came of it, ``about`` the thing it changes; ``customer``: whose
    token it carries, empty for the shop's. ``failing`` are words that its 500 may say: a payment
    provider's no.
    """

    kind: str
    path: str
    body: Json
    key: str
    takes: str = ""
    about: str = ""
    customer: str = ""
    failing: bytes = b""
    status: int | None = None
    answer: bytes = b""
    tries: int = 0


@dataclass
class History:
    """Every call, and what was wrong with an answer."""

    calls: list[Call] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def of(self, *takes: str, about: str = "") -> list[Call]:
        """The calls that these judges look at; with ``about`` only those about that thing."""
        return [call for call in self.calls if call.takes in takes and about in ("", call.about)]

    def told(self, *takes: str, about: str) -> int:
        """How many calls of these kinds about that thing were answered with 200."""
        return sum(call.status == 200 for call in self.of(*takes, about=about))


class Client:
    """One of several; ``chance`` decides what it does with which of ``orders`` (their numbers)."""

    def __init__(
        self, number: int, world: World, process: Process, history: History, orders: list[int]
    ) -> None:
        self._name = f"c{number}"
        self._world = world
        self._process = process
        self._keys = 0
        self.history = history
        self.orders = orders
        self.chance: Random = world.chance(f"client {number}")

    async def run(self, acts: Sequence[Act]) -> None:
        """Do one thing after the other."""
        for _ in range(ACTS):
            await asyncio.sleep(self.chance.uniform(0, THINKS_S_MAX))
            await self.chance.choice(acts)(self)

    # ------------------------------------------------------------------ what acts are made of

    def some_order(self) -> int:
        """The number of one of its orders."""
        return self.chance.choice(self.orders)

    async def order(self) -> Json:
        """One of its orders, as it is now."""
        path = f"/admin/orders/{shop.order_id(self.some_order())}"
        order: Json = (await self.look(path))["order"]
        return order

    async def look(self, path: str) -> Json:
        """What a page tells."""
        _, answer = await self.until_answered(Call("look", path, {}, ""))
        found: Json = json.loads(answer)
        return found

    def call(
        self, kind: str, path: str, body: Json, *, takes: str = "", about: str = "", **more: Any
    ) -> Call:
        """A request with a key of its own, not sent yet."""
        self._keys += 1
        return Call(kind, path, body, f"{self._name}-{self._keys}", takes, about, **more)

    async def ask(
        self, kind: str, path: str, body: Json, *, takes: str = "", about: str = "", **more: Any
    ) -> Call:
        """Send a request until it is answered."""
        call = self.call(kind, path, body, takes=takes, about=about, **more)
        self.history.calls.append(call)
        call.status, call.answer = await self.until_answered(call)
        return call

    async def repeat(self, call: Call) -> None:
        """Send it with its key once more and compare."""
        status, answer = await self.until_answered(call)
        if (status, answer) != (call.status, call.answer):
            self.wrong(call, f"is answered by {status} {answer[:80]!r} the second time")

    def wrong(self, call: Call, what: str) -> None:
        """An answer was not what it should have been."""
        self.history.wrong.append(f"{call.kind} {call.path} ({call.key}) {what}")

    # ------------------------------------------------------------------ how it asks

    async def until_answered(self, call: Call) -> tuple[int, bytes]:
        """The status and the bytes; (0, b"") for a call that nobody ever answers."""
        give_up_at = self._world.loop.time() + PATIENCE_S
        impatient = self.chance.random() < 0.15
        while self._world.loop.time() < give_up_at:
            call.tries += 1
            timeout_s = self.chance.uniform(0.05, 5) if impatient and call.tries < 4 else 120.0
            began = self._world.loop.time()
            reply = await self._once(call, timeout_s)
            took_s = self._world.loop.time() - began
            if took_s > ATTEMPT_S_MAX:
                self.wrong(call, f"waited {took_s:.0f} s for an answer")
            if reply is not None and not _passes(call, reply[0]):
                if reply[0] not in ANSWERS and not _declined(call, *reply):
                    self.wrong(call, f"is answered by {reply[0]} {reply[1][:200]!r}")
                return reply
            await asyncio.sleep(self.chance.uniform(0.1, 2.5))
        self.wrong(call, "was never answered")
        return 0, b""

    async def _once(self, call: Call, timeout_s: float) -> tuple[int, bytes] | None:
        headers = {"content-type": "application/json"} if call.key else {}
        if call.key:
            headers["idempotency-key"] = call.key
        body = json.dumps(call.body).encode() if call.key else None
        method = "POST" if call.key else "GET"
        self._world.say(self._name, "asks", method, call.path, call.key, call.body)
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._process.ask(
                    method, call.path, headers, body, customer=call.customer
                )
        except (Gone, TimeoutError) as error:
            self._world.say(self._name, call.key, "has no answer:", type(error).__name__)
            return None
        told = hashlib.sha256(reply.body).hexdigest()[:16]
        self._world.say(self._name, call.key, "is told", reply.status, told)
        return reply.status, reply.body


Act = Callable[[Client], Awaitable[None]]


def _passes(call: Call, status: int) -> bool:
    # A token that the clock has overtaken is no token: whoever holds it signs in again.
    return status in PASSING or (status == 401 and bool(call.customer))


def _declined(call: Call, status: int, answer: bytes) -> bool:
    return status == 500 and bool(call.failing) and call.failing in answer
