"""Virtual clients: they do anything with a handful of orders, and repeat a call with the same key
until it is answered, as the stock client does. What they asked and were told is the history."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

from deploy.simulation import shop
from deploy.simulation.world import Gone, Process, World

Json = dict[str, Any]

CLIENTS = 4
ACTS = 8
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

    ``takes`` says what a 200 makes of it: claim, return, receipt, refund, cancel; empty: nothing.
    """

    kind: str
    path: str
    body: Json
    key: str
    takes: str = ""
    status: int | None = None
    answer: bytes = b""
    tries: int = 0
    about: str = ""


@dataclass
class History:
    """Every call, and what was wrong with an answer."""

    calls: list[Call] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Client:
    """One of several; ``chance`` decides what it does."""

    def __init__(
        self, number: int, world: World, process: Process, history: History, orders: list[int]
    ) -> None:
        self._name = f"c{number}"
        self._world = world
        self._process = process
        self._history = history
        self._orders = orders
        self._chance: Random = world.chance(f"client {number}")
        self._made = 0
        self._keys = 0

    async def run(self) -> None:
        """Do everything, one thing after the other."""
        acts = (
            *(self._claim,) * 5,
            *(self._return,) * 3,
            *(self._receive,) * 4,
            *(self._cancel,) * 3,
            *(self._by_hand,) * 2,
            *(self._again,) * 2,
            self._twice_at_once,
            self._key_of_another,
        )
        for _ in range(ACTS):
            await asyncio.sleep(self._chance.uniform(0, THINKS_S_MAX))
            await self._chance.choice(acts)()

    # ------------------------------------------------------------------ what it does

    async def _claim(self) -> None:
        await self._done(self._some_claim())

    def _some_claim(self) -> Call:
        order = self._chance.choice(self._orders)
        body: Json = {
            "type": self._chance.choice(["refund", "refund", "replace"]),
            "claim_items": [
                {"item_id": line, "quantity": self._chance.randint(1, 2), "reason": "wrong_item"}
                for line in self._lines(order)
            ],
        }
        is_refund = body["type"] == "refund"
        if not is_refund or self._chance.random() < 0.25:
            variant = shop.variant_id(self._chance.randint(1, len(shop.STOCKED)))
            units = self._chance.randint(1, 2)
            body["additional_items"] = [{"variant_id": variant, "quantity": units}]
        if self._chance.random() < 0.4:
            body["return_shipping"] = {}
        if is_refund and self._chance.random() < 0.5:
            body["refund_amount"] = self._chance.choice(AMOUNTS)
        path = f"/admin/orders/{shop.order_id(order)}/claims"
        return self._call("claim", path, body, takes="claim")

    async def _return(self) -> None:
        order = self._chance.choice(self._orders)
        body: Json = {
            "items": [
                {"item_id": line, "quantity": self._chance.randint(1, 2)}
                for line in self._lines(order)
            ],
            "receive_now": self._chance.random() < 0.4,
        }
        if self._chance.random() < 0.3:
            body["refund"] = self._chance.choice(AMOUNTS)
        if self._chance.random() < 0.3:
            body["return_shipping"] = {"option_id": shop.RETURN_OPTION}
        path = f"/admin/orders/{shop.order_id(order)}/return"
        await self._done(self._call("return", path, body, takes="return"))

    async def _receive(self) -> None:
        returns = (await self._order())["returns"]
        if not returns:
            return
        one = self._chance.choice(returns)
        items = [
            {
                "item_id": item["item_id"],
                "quantity": self._chance.randint(1, max(1, item["requested_quantity"])),
            }
            for item in one["items"]
            if self._chance.random() < 0.8
        ]
        body: Json = {"items": items}
        if self._chance.random() < 0.3:
            body["refund"] = self._chance.choice(AMOUNTS)
        path = f"/admin/returns/{one['id']}/receive"
        await self._done(self._call("receive", path, body, takes="receipt"))

    async def _cancel(self) -> None:
        shown = await self._order()
        order = f"/admin/orders/{shown['id']}"
        things = [(f"/admin/returns/{each['id']}/cancel", each["id"]) for each in shown["returns"]]
        things += [(f"{order}/claims/{each['id']}/cancel", each["id"]) for each in shown["claims"]]
        if things:
            path, about = self._chance.choice(things)
            call = self._call("cancel", path, {}, takes="cancel")
            call.about = about
            await self._done(call)

    async def _by_hand(self) -> None:
        order = shop.order_id(self._chance.choice(self._orders))
        body = {"amount": self._chance.choice(AMOUNTS[1:]), "reason": "other"}
        await self._done(
            self._call("refund", f"/admin/orders/{order}/refund", body, takes="refund")
        )

    async def _again(self) -> None:
        """A call that was answered, once more: the same bytes."""
        answered = [call for call in self._history.calls if call.status == 200]
        if answered:
            await self.repeat(self._chance.choice(answered))

    async def repeat(self, call: Call) -> None:
        """Send it with its key once more and compare."""
        status, answer = await self._until_answered(call)
        if (status, answer) != (call.status, call.answer):
            self._wrong(call, f"is answered by {status} {answer[:80]!r} the second time")

    async def _twice_at_once(self) -> None:
        """An impatient client: the same key on two connections."""
        call = self._some_claim()
        self._history.calls.append(call)
        one, other = await asyncio.gather(
            self._until_answered(call), self._until_answered(call), return_exceptions=False
        )
        call.status, call.answer = one
        if one[0] == 200 and one != other:
            self._wrong(call, f"is answered by {one[0]} and {other[0]} at once")

    async def _key_of_another(self) -> None:
        """A key that stood for something else: refused."""
        answered = [call for call in self._history.calls if call.status == 200 and call.body]
        if not answered:
            return
        call = self._chance.choice(answered)
        other = self._call(call.kind, call.path, {**call.body, "no_notification": True})
        other.key = call.key
        status, _ = await self._until_answered(other)
        if status != 422:
            self._wrong(other, f"the key of another request gives {status}")

    # ------------------------------------------------------------------ how it asks

    def _lines(self, order: int) -> list[str]:
        lines = [
            shop.line_id(order, line)
            for line in range(1, shop.LINES + 1)
            if self._chance.random() < 0.5
        ]
        return lines or [shop.line_id(order, shop.LINES)]

    def _call(self, kind: str, path: str, body: Json, *, takes: str = "") -> Call:
        self._keys += 1
        return Call(kind, path, body, f"{self._name}-{self._keys}", takes)

    async def _done(self, call: Call) -> None:
        self._history.calls.append(call)
        call.status, call.answer = await self._until_answered(call)

    async def _order(self) -> Json:
        path = f"/admin/orders/{shop.order_id(self._chance.choice(self._orders))}"
        look = Call("look", path, {}, "")
        _, answer = await self._until_answered(look)
        order: Json = json.loads(answer)["order"]
        return order

    async def _until_answered(self, call: Call) -> tuple[int, bytes]:
        """The status and the bytes; (0, b"") for a call that nobody ever answers."""
        give_up_at = self._world.loop.time() + PATIENCE_S
        impatient = self._chance.random() < 0.15
        while self._world.loop.time() < give_up_at:
            call.tries += 1
            timeout_s = self._chance.uniform(0.05, 5) if impatient and call.tries < 4 else 120.0
            began = self._world.loop.time()
            reply = await self._once(call, timeout_s)
            took_s = self._world.loop.time() - began
            if took_s > ATTEMPT_S_MAX:
                self._wrong(call, f"waited {took_s:.0f} s for an answer")
            if reply is not None and reply[0] not in PASSING:
                if reply[0] not in ANSWERS:
                    self._wrong(call, f"is answered by {reply[0]} {reply[1][:200]!r}")
                return reply
            await asyncio.sleep(self._chance.uniform(0.1, 2.5))
        self._wrong(call, "was never answered")
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
                reply = await self._process.ask(method, call.path, headers, body)
        except (Gone, TimeoutError) as error:
            self._world.say(self._name, call.key, "has no answer:", type(error).__name__)
            return None
        told = hashlib.sha256(reply.body).hexdigest()[:16]
        self._world.say(self._name, call.key, "is told", reply.status, told)
        return reply.status, reply.body

    def _wrong(self, call: Call, what: str) -> None:
        self._history.wrong.append(f"{call.kind} {call.path} ({call.key}) {what}")
