"""Clients of a shop: each repeats a call with its key until it is answered, and keeps a history."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from chassis import clock
from chassis.db import chunks
from tests.crash import stock
from tests.crash.history import History, digest
from tests.crash.kinds import KINDS, call, learnt

PATIENCE_S = 60.0
# What a client of the shop repeats with the same key; anything else is an answer.
PASSING = (409, 502, 503, 504)
RETRY_S = 0.1
ORDERS_AT_ONCE = 100
# Orders for errands about whole ones: enough for all scenarios of a shop, and their part of others.
LONE_LEAST, LONE_PART = 130, 5


class Wrong(Exception):
    """What must not be: a client was told something else than it should, or nothing, or the books
    do not hold what was asked. The text lists it."""


@dataclass
class Call:
    """One request with its key. ``answer`` is (status, body), None while there is none."""

    act: str
    path: str
    body: Any
    key: str
    answer: tuple[int, bytes] | None = None
    tries: int = 0


@dataclass
class Errand:
    """What a client wants done about one order line."""

    number: int
    kind: str
    order_id: str
    line_id: str
    provider: str
    calls: list[Call] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)


class Clients:
    """Whoever asks the gateways, in turn, with the stock of order lines that they ask about."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.errands: list[Errand] = []
        self.patience_s = PATIENCE_S
        self._lines: dict[str, list[tuple[str, str]]] = {"fake": [], "manual": []}
        self._lone: list[tuple[str, str]] = []
        self._numbers = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None
        self._turns: Iterator[str] = iter(())

    def come(self, gateways: list[str], token: str) -> None:
        """Begin to be clients of these gateways."""
        self._turns = itertools.cycle(gateways)
        self._session = aiohttp.ClientSession(
            headers={"x-medusa-access-token": token},
            connector=aiohttp.TCPConnector(limit=100),
            timeout=aiohttp.ClientTimeout(total=30),
        )

    async def go(self) -> None:
        """No more calls."""
        if self._session is not None:
            await self._session.close()
        self.history.close()

    async def stock_up(self, orders: int) -> None:
        """Load what the shop sells, and that many orders of four lines."""
        sold = [stock.order(number) for number in range(1, orders + 1)]
        documents = [stock.reference_data()]
        lone = [stock.lone_order(n) for n in range(1, LONE_LEAST + orders // LONE_PART + 1)]
        documents += [{"orders": list(part)} for part in chunks(sold + lone, ORDERS_AT_ONCE)]
        for number, document in enumerate(documents):
            status, answer = await self.post("/admin/import", document, f"import-{number}")
            assert status == 200, answer
            assert json.loads(answer)["refused"] == 0, answer
        for order in sold:
            provider = order["payments"][0]["provider_id"]
            self._lines[provider] += [(order["id"], item["id"]) for item in order["items"]]
        self._lone += [(order["id"], order["items"][0]["id"]) for order in lone]

    def lines_left(self) -> int:
        """How many errands of each provider there may be yet, at least."""
        return min(len(lines) for lines in self._lines.values())

    def errand(self, kind: str) -> Errand:
        """The next one, about a line that nobody else touches, on an order that others do (unless
        it is about the whole order)."""
        number = next(self._numbers)
        provider = KINDS[kind].provider or ("fake", "manual")[number % 2]
        order_id, line_id = (self._lone if KINDS[kind].alone else self._lines[provider]).pop()
        errand = Errand(number, kind, order_id, line_id, provider)
        self.errands.append(errand)
        return errand

    async def run(self, errand: Errand) -> None:
        """All acts of an errand."""
        for act in KINDS[errand.kind].acts:
            await self.do(errand, act)

    async def do(self, errand: Errand, act: str) -> None:
        """One act: asked with one key until it is answered, and the answer is the right one."""
        path, body = call(act, order_id=errand.order_id, line_id=errand.line_id, known=errand.known)
        asked = Call(act, path, body, f"crash-{errand.number}-{len(errand.calls)}")
        errand.calls.append(asked)
        give_up_at = clock.monotonic_s() + self.patience_s
        trouble = ""
        while clock.monotonic_s() < give_up_at:
            asked.tries += 1
            trouble = await self._try(errand, asked)
            if asked.answer is not None:
                return
            await asyncio.sleep(RETRY_S)
        raise Wrong(f"no answer to {act} of {errand.kind} after {asked.tries} tries: {trouble}")

    async def _try(self, errand: Errand, asked: Call) -> str:
        """One try; why there is no answer."""
        value = {
            "kind": errand.kind,
            "order_id": errand.order_id,
            "line_id": errand.line_id,
            "provider": errand.provider,
            "key": asked.key,
        }
        self.history.add(errand.number, "invoke", asked.act, value)
        try:
            status, answer = await self.ask(asked)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.history.add(errand.number, "info", asked.act, value | {"error": repr(error)})
            return repr(error)
        if status in PASSING or status >= 500:
            self.history.add(errand.number, "info", asked.act, value | {"error": str(status)})
            return f"{status} {answer[:300]!r}"
        told = value | {"digest": digest(status, answer)}
        self.history.add(errand.number, "ok" if status < 300 else "fail", asked.act, told)
        kind = KINDS[errand.kind]
        expected = kind.status if asked.act == kind.acts[-1] else 200
        if status != expected:
            raise Wrong(f"{asked.act} of {errand.kind}: {status} {answer[:300]!r}")
        asked.answer = (status, answer)
        if status == 200:
            errand.known |= learnt(json.loads(answer), errand.line_id)
        return ""

    async def ask(self, asked: Call) -> tuple[int, bytes]:
        """A call of an errand; (status, body)."""
        later = {"Prefer": "respond-async"} if asked.act.endswith("async") else {}
        return await self.post(asked.path, asked.body, asked.key, later)

    async def post(
        self, path: str, body: Any, key: str, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One request; (status, body)."""
        assert self._session is not None
        async with self._session.post(
            next(self._turns) + path, json=body, headers={"Idempotency-Key": key, **(headers or {})}
        ) as answer:
            return answer.status, await answer.read()

    async def same_answers(self, errands: list[Errand]) -> None:
        """Every call once more: byte for byte what its client was told."""
        calls = [asked for errand in errands for asked in errand.calls if asked.answer]
        for part in chunks(calls, 8):
            again = await asyncio.gather(*(self.ask(each) for each in part))
            for asked, answer in zip(part, again, strict=True):
                if answer != asked.answer:
                    raise Wrong(f"{asked.key}: first {asked.answer}, now {answer}")
