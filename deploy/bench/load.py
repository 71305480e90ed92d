"""The load generator: a process of its own, clients in a closed loop, every answer looked at.

``python -m deploy.bench.load FILE`` reads a plan as one line of JSON from standard input, writes
the lines ``begin`` and ``end`` when the measured time begins and ends, and ``told`` when its result
stands as JSON in the file. It keeps connections, parses only answers of changes, and waits for
nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from pydantic_core import from_json, to_json

from chassis import clock
from deploy.bench import document

SAMPLES_MAX = 5
PAGE = 15
# A stride through the orders: far jumps, every order in turn, the same in every run.
STRIDE = 7919


@dataclass(frozen=True)
class Plan:
    """What to do: kinds of work in turn, ``fresh`` numbers of orders that nobody has claimed,
    ``orders`` numbers from 1 on to read, or a ``path`` to ask for."""

    url: str
    headers: dict[str, str]
    kinds: list[str]
    clients: int
    seconds: float
    warmup_s: float
    fresh: list[int] = field(default_factory=list)
    orders: int = 0
    path: str = ""


@dataclass
class Result:
    """``latencies_ms`` of the units that were done well within the measured time. ``units``: a
    unit that was begun before it or ended after it counts by the part that lies within, so that
    cost per unit is right also where a unit takes long. ``used`` fresh orders, ``done`` units by
    kind, refusals and errors (with a few samples) are those of the whole run, warm-up included."""

    seconds: float = 0.0
    units: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    used: int = 0
    done: dict[str, int] = field(default_factory=dict)
    refusals: int = 0
    errors: int = 0
    samples: list[str] = field(default_factory=list)
    ran_out: bool = False


class RanOut(Exception):
    """There is no order left that nobody has claimed."""


class Refused(Exception):
    """The system answered no."""


class Wrong(Exception):
    """The system answered something that cannot be right."""


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan, session: aiohttp.ClientSession) -> None:
        self._plan = plan
        self._session = session
        self._fresh = iter(plan.fresh)
        self._turn = itertools.count(1)
        self._over = asyncio.Event()
        self._begun_s = self._ended_s = math.inf
        self.result = Result()
        self._units: dict[str, Callable[[], Awaitable[None]]] = {
            "refund": lambda: self._claim("refund"),
            "refund-return": lambda: self._claim("refund", comes_back=True),
            "replace": lambda: self._claim("replace"),
            "return": self._return,
            "fulfillment": self._fulfillment,
            "sent": self._sent,
            "convert": self._convert,
            "exchange": self._exchange,
            "inquiry": self._inquiry,
            "order": self._order,
            "orders": self._orders,
            "path": self._path,
        }

    async def run(self) -> Result:
        """Warm up, measure, and wait for what is under way."""
        clients = [asyncio.create_task(self._client(n)) for n in range(self._plan.clients)]
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait({over}, timeout=self._plan.warmup_s)
        self._begun_s = clock.monotonic_s()
        _say("begin")
        await asyncio.wait({over}, timeout=self._plan.seconds)
        self._ended_s = clock.monotonic_s()
        self.result.seconds = self._ended_s - self._begun_s
        _say("end")
        self._over.set()
        await asyncio.gather(*clients, over)
        return self.result

    async def _client(self, number: int) -> None:
        kinds = itertools.islice(itertools.cycle(self._plan.kinds), number, None)
        while not self._over.is_set():
            begun, kind = clock.monotonic_s(), next(kinds)
            try:
                await self._units[kind]()
            except RanOut:
                self.result.ran_out = True
                self._over.set()
                return
            except Refused as no:
                self.result.refusals += 1
                self._note(no)
            except (Wrong, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                self.result.errors += 1
                self._note(error)
            else:
                self._count(begun, clock.monotonic_s())
                self.result.done[kind] = self.result.done.get(kind, 0) + 1

    def _count(self, begun_s: float, ended_s: float) -> None:
        within_s = min(ended_s, self._ended_s) - max(begun_s, self._begun_s)
        if within_s > 0:
            self.result.units += within_s / (ended_s - begun_s)
        if self._begun_s <= ended_s <= self._ended_s:
            self.result.latencies_ms.append((ended_s - begun_s) * 1000)

    def _note(self, error: Exception) -> None:
        if len(self.result.samples) < SAMPLES_MAX:
            self.result.samples.append(f"{type(error).__name__}: {error}"[:500])

    # ------------------------------------------------------------------ the kinds of work

    async def _claim(self, kind: str, *, comes_back: bool = False) -> None:
        number = self._next_order()
        body: dict[str, Any] = {"type": kind, "claim_items": [_reported(number)]}
        if comes_back:
            body["return_shipping"] = {"option_id": document.RETURN_OPTION, "price": 0}
        if kind == "replace":
            body["additional_items"] = [_goods(number)]
        path = f"{_order_path(number)}/claims"
        order = (await self._post(path, body, f"{kind}-{number}"))["order"]
        claim = _only(order["claims"], number, "claim_items")
        done = {"refund": ("refunded", document.GROSS), "replace": ("na", None)}[kind]
        if (claim["payment_status"], claim["refund_amount"]) != done:
            raise Wrong(f"{claim['id']} on order {number} is not done: {claim['payment_status']}")
        if comes_back and not _only(order["returns"], number, "items")["id"] == claim["return_id"]:
            raise Wrong(f"{claim['id']} on order {number} has no return")
        if kind == "replace" and len(claim["additional_items"]) != 1:
            raise Wrong(f"{claim['id']} on order {number} replaces nothing")

    async def _fulfillment(self) -> None:
        number = self._next_order()
        path = _order_path(number)
        items = [{"item_id": document.waiting_line(number), "quantity": 1}]
        body: dict[str, Any] = {"items": items, "location_id": document.LOCATION}
        packed = (await self._post(f"{path}/fulfillment", body, f"fulfill-{number}"))["order"]
        made = {each["id"] for each in packed["fulfillments"]} - {document.fulfillment_id(number)}
        if len(made) != 1:
            raise Wrong(f"order {number} has {len(made)} new fulfillments")
        body = {"fulfillment_id": made.pop(), "tracking_numbers": [f"SI{number}"]}
        sent = (await self._post(f"{path}/shipment", body, f"ship-{number}"))["order"]
        if (status := sent["fulfillment_status"]) != "shipped":
            raise Wrong(f"order {number} is {status}")

    async def _replacement(self, number: int, key: str) -> str:
        """A replace claim that may be sent; its path."""
        path = f"{_order_path(number)}/claims"
        way = {"option_id": document.SHIPPING_OPTION, "price": 0}
        body = {
            "type": "replace",
            "claim_items": [_reported(number)],
            "additional_items": [_goods(number)],
            "shipping_methods": [way],
        }
        order = (await self._post(path, body, f"{key}-{number}"))["order"]
        return f"{path}/{_only(order['claims'], number, 'claim_items')['id']}"

    async def _sent(self) -> None:
        number = self._next_order()
        path = await self._replacement(number, "sent")
        packed = (await self._post(f"{path}/fulfillments", {}, f"pack-{number}"))["order"]
        (parcel,) = packed["claims"][0]["fulfillments"]
        body = {"fulfillment_id": parcel["id"], "tracking_numbers": [f"SI{number}"]}
        sent = (await self._post(f"{path}/shipments", body, f"send-{number}"))["order"]
        if (status := sent["claims"][0]["fulfillment_status"]) != "shipped":
            raise Wrong(f"{path} is {status}")

    async def _convert(self) -> None:
        number = self._next_order()
        claim_id = (await self._replacement(number, "convert")).rpartition("/")[2]
        path = f"/admin/claims/{claim_id}/convert"
        claim = (await self._post(path, {"type": "refund"}, f"converted-{number}"))["claim"]
        if (claim["payment_status"], claim["refund_amount"]) != ("refunded", document.GROSS):
            raise Wrong(f"{claim_id} is {claim['payment_status']}")

    async def _exchange(self) -> None:
        number = self._next_order()
        units = {"item_id": document.line_id(number), "quantity": 1}
        body = {"return_items": [units], "additional_items": [_goods(number)]}
        path = f"{_order_path(number)}/swaps"
        order = (await self._post(path, body, f"exchange-{number}"))["order"]
        swap = _only(order["swaps"], number, "return_items")
        if swap["difference_due"] is None or swap["return_order"] is None:
            raise Wrong(f"{swap['id']} on order {number} is not settled")

    async def _inquiry(self) -> None:
        number = self._next_order()
        path = f"{_order_path(number)}/inquiries"
        body = {"claim_items": [_reported(number)]}
        asked = (await self._post(path, body, f"report-{number}"))["inquiry"]
        path = f"/admin/inquiries/{asked['id']}"
        await self._post(f"{path}/review", {}, f"review-{number}")
        said = await self._post(f"{path}/approve", {"type": "refund"}, f"approve-{number}")
        if (status := said["inquiry"]["status"]) != "approved":
            raise Wrong(f"{path} is {status}")

    async def _return(self) -> None:
        number = self._next_order()
        items = [{"item_id": document.line_id(number), "quantity": 1}]
        asked = await self._post(
            f"{_order_path(number)}/return", {"items": items}, f"return-{number}"
        )
        made = _only(asked["order"]["returns"], number, "items")
        path = f"/admin/returns/{made['id']}/receive"
        received = (await self._post(path, {"items": items}, f"receive-{number}"))["return"]
        if (received["status"], received["refund_amount"]) != ("received", document.GROSS):
            raise Wrong(f"{made['id']} of order {number} is {received['status']}")

    async def _order(self) -> None:
        wanted = document.order_id(next(self._turn) * STRIDE % self._plan.orders + 1)
        answer = await self._get(f"/admin/orders/{wanted}")
        if f'"id":"{wanted}"'.encode() not in answer:
            raise Wrong(f"asked for {wanted}: {answer[:200]!r}")

    async def _orders(self) -> None:
        answer = await self._get(f"/admin/orders?limit={PAGE}")
        if answer.count(b'"display_id":') != PAGE:
            raise Wrong(f"not {PAGE} orders: {answer[:200]!r}")

    async def _path(self) -> None:
        await self._get(self._plan.path)

    # ------------------------------------------------------------------ calls

    def _next_order(self) -> int:
        number = next(self._fresh, None)
        if number is None:
            raise RanOut
        self.result.used += 1
        return number

    async def _post(self, path: str, body: dict[str, Any], key: str) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"bench-{key}"}
        async with self._session.post(
            self._plan.url + path, data=to_json(body), headers=headers
        ) as answer:
            found: dict[str, Any] = from_json(await _well(answer))
            return found

    async def _get(self, path: str) -> bytes:
        async with self._session.get(self._plan.url + path) as answer:
            return await _well(answer)


async def _well(answer: aiohttp.ClientResponse) -> bytes:
    body = await answer.read()
    if answer.status == 200:
        return body
    told = f"{answer.method} {answer.url.path}: {answer.status} {body[:300]!r}"
    raise Refused(told) if answer.status < 500 else Wrong(told)


def _reported(number: int) -> dict[str, Any]:
    return {"item_id": document.line_id(number), "quantity": 1, "reason": "wrong_item"}


def _goods(number: int) -> dict[str, Any]:
    return {"variant_id": document.variant_id(number), "quantity": 1}


def _order_path(number: int) -> str:
    return f"/admin/orders/{document.order_id(number)}"


def _only(found: list[dict[str, Any]], number: int, items: str) -> dict[str, Any]:
    """The one claim or return of an order, about the line that was asked for."""
    lines = [item["item_id"] for each in found for item in each[items]]
    if lines != [document.line_id(number)]:
        raise Wrong(f"order {number}: {len(found)} {items} about {lines}")
    return found[0]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def run(plan: Plan) -> Result:
    """Carry a plan out, saying when the measured time begins and ends."""
    async with aiohttp.ClientSession(
        headers=plan.headers,
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=60),
    ) as session:
        return await Load(plan, session).run()


if __name__ == "__main__":
    told = uvloop.run(run(Plan(**json.loads(sys.stdin.readline()))))
    Path(sys.argv[1]).write_text(json.dumps(asdict(told)))
    _say("told")
