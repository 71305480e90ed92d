"""Eight clients who do anything at all with a dozen orders: the books agree, whatever they did.

Amounts are drawn among those that the fake payment provider declines, loses or answers late; the
bus repeats and reorders under every other seed. A failure is repeated by its seed.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import Any

import pytest

from chassis.testing import DatabaseUrl, eventually
from deploy.assembly import PROCESSES
from tests.journeys.conftest import OpenSystem
from tests.journeys.shop import RETURN_OPTION, Line, Order, Variant, an_order
from tests.journeys.system import Answer, Application, fresh_key, together

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.xdist_group("journeys"),
]

Json = dict[str, Any]

ORDERS = 12
CLIENTS = 8
CALLS = 25
SEEDS = (1, 2)
BUSY = (409, 503)
# They end in 02 (declined), 08 (answer lost), 09 (lost on the way), or in nothing special.
AMOUNTS = (0, 1, 2, 8, 9, 102, 108, 109, 500, 702, 1108)


def _faults(seed: int) -> str:
    return "" if seed % 2 else f"dup:1,reorder:8,drop_after_commit:0.2,seed={seed}"


class Business:
    """The orders, what replaces their goods, and what was answered."""

    def __init__(self, system: Application, seed: int) -> None:
        self._system = system
        self._seed = seed
        chance = random.Random(seed)
        self.gifts = [
            Variant(stocked=chance.randint(0, 6), price=price) for price in (99, 1000, 2001)
        ]
        self.orders = [_an_order(chance) for _ in range(ORDERS)]
        self.answers: Counter[int] = Counter()

    async def run(self) -> None:
        """Open the shop and let everybody in."""
        await self._system.stock(*self.gifts)
        await self._system.sell(*self.orders)
        await together(*(self._client(number) for number in range(CLIENTS)))

    async def _client(self, number: int) -> None:
        chance = random.Random(self._seed * 1000 + number)
        acts = (
            *(self._claim, self._return, self._receive, self._receive, self._parcel),
            *(self._cancel, self._end, self._hand, self._goods, self._goods, self._change),
            *(self._exchange, self._exchange, self._on_with_it, self._on_with_it),
        )
        for _ in range(CALLS):
            await chance.choice(acts)(chance, chance.choice(self.orders))

    async def _ask(self, path: str, body: Json) -> Answer:
        key = fresh_key()

        async def answered() -> Answer | None:
            answer = await self._system.post(path, body, key)
            return None if answer.status in BUSY else answer

        answer = await eventually(answered, within_s=60)
        assert answer.status in (200, 400, 404), (path, body, answer.body)
        self.answers[answer.status] += 1
        return answer

    async def _claim(self, chance: random.Random, order: Order) -> None:
        body: Json = {
            "type": chance.choice(["refund", "refund", "replace"]),
            "claim_items": [line.claimed(chance.randint(1, 2)) for line in _some(chance, order)],
            "shipping_methods": [{"id": "sm_any"}],
        }
        sent = await self._sent(order)
        if sent and chance.random() < 0.3:
            claimed = {"item_id": chance.choice(sent), "quantity": 1, "reason": "other"}
            body["claim_items"] = [claimed]
        is_refund = body["type"] == "refund"
        if not is_refund or chance.random() < 0.3:
            body["additional_items"] = [chance.choice(self.gifts).times(chance.randint(1, 2))]
        if chance.random() < 0.4:
            body["return_shipping"] = chance.choice([{}, {"option_id": RETURN_OPTION}])
        if is_refund and chance.random() < 0.5:
            body["refund_amount"] = chance.choice(AMOUNTS)
        if is_refund and chance.random() < 0.2:
            body["refund_to"] = "store_credit"
        await self._ask(order.claims, body)

    async def _return(self, chance: random.Random, order: Order) -> None:
        body: Json = {
            "items": [line.units(chance.randint(1, 3)) for line in _some(chance, order)],
            "receive_now": chance.random() < 0.5,
        }
        sent = await self._sent(order)
        if sent and chance.random() < 0.3:
            body["items"] = [{"item_id": chance.choice(sent), "quantity": 1}]
        if chance.random() < 0.3:
            body["refund"] = chance.choice((*AMOUNTS, -5))
        if chance.random() < 0.3:
            body["return_shipping"] = {"option_id": RETURN_OPTION}
        await self._ask(order.returns, body)

    async def _exchange(self, chance: random.Random, order: Order) -> None:
        """Units of any lines, those that were sent out before among them, for something else."""
        units = [line.units(chance.randint(1, 2)) for line in _some(chance, order)]
        sent = await self._sent(order)
        if sent and chance.random() < 0.3:
            units = [{"item_id": chance.choice(sent), "quantity": 1}]
        body: Json = {
            "return_items": units,
            "additional_items": [chance.choice(self.gifts).times(chance.randint(1, 2))],
        }
        if chance.random() < 0.3:
            body["return_shipping"] = {"option_id": RETURN_OPTION, "price": chance.choice(AMOUNTS)}
        await self._ask(f"/admin/orders/{order.id}/swaps", body)

    async def _on_with_it(self, chance: random.Random, order: Order) -> None:
        """Pay an exchange, pack it, send it, unpack it, cancel it."""
        swaps = (await self._system.order(order.id))["swaps"]
        if not swaps:
            return
        swap = chance.choice(swaps)
        path = f"/admin/orders/{order.id}/swaps/{swap['id']}"
        parcel = chance.choice([each["id"] for each in swap["fulfillments"]] or ["ful_x"])
        acts: list[tuple[str, Json]] = [
            (f"{path}/process-payment", {}),
            (f"{path}/fulfillments", {}),
            (f"{path}/fulfillments/{parcel}/cancel", {}),
            (f"{path}/shipments", {"fulfillment_id": parcel}),
            (f"{path}/cancel", {}),
        ]
        await self._ask(*chance.choice(acts))

    async def _sent(self, order: Order) -> list[str]:
        """Lines that claims and exchanges of the order have sent out."""
        shown = await self._system.order(order.id)
        senders = [*shown["claims"], *shown["swaps"]]
        lines = [line for each in senders for line in each["additional_items"]]
        return [line["id"] for line in lines if line["fulfilled_quantity"]]

    async def _goods(self, chance: random.Random, order: Order) -> None:
        """Pack what a claim sends out, send it, unpack it."""
        claims = (await self._system.order(order.id))["claims"]
        claims = [claim for claim in claims if claim["additional_items"]]
        if not claims:
            return
        claim = chance.choice(claims)
        path = f"{order.claims}/{claim['id']}"
        parcel = chance.choice([each["id"] for each in claim["fulfillments"]] or ["ful_x"])
        path, body = chance.choice(
            [
                (f"{path}/fulfillments", {}),
                (f"{path}/fulfillments/{parcel}/cancel", {}),
                (f"{path}/shipments", {"fulfillment_id": parcel}),
            ]
        )
        await self._ask(path, body)

    async def _change(self, chance: random.Random, order: Order) -> None:
        """Give something else for a claim, or what it was to give."""
        claims = (await self._system.order(order.id))["claims"]
        if not claims:
            return
        claim = chance.choice(claims)
        path = f"/admin/claims/{claim['id']}"
        if chance.random() < 0.3:
            await self._ask(f"{path}/refund", {"refund_amount": chance.choice(AMOUNTS)})
            return
        body: Json = {"type": "replace" if claim["type"] == "refund" else "refund"}
        if body["type"] == "replace" and not claim["additional_items"]:
            body["additional_items"] = [chance.choice(self.gifts).times(1)]
        await self._ask(f"{path}/convert", body)

    async def _receive(self, chance: random.Random, order: Order) -> None:
        returns = (await self._system.order(order.id))["returns"]
        if not returns:
            return
        one = chance.choice(returns)
        items = [item for item in one["items"] if chance.random() < 0.8]
        body: Json = {
            "items": [
                {
                    "item_id": item["item_id"],
                    "quantity": chance.randint(1, max(1, item["requested_quantity"])),
                }
                for item in items
            ]
        }
        if chance.random() < 0.3:
            body["refund"] = chance.choice(AMOUNTS)
        await self._ask(f"/admin/returns/{one['id']}/receive", body)

    async def _parcel(self, chance: random.Random, order: Order) -> None:
        """Whatever lines of the order lie in it, some of it broken, into a return of it."""
        returns = (await self._system.order(order.id))["returns"]
        if not returns:
            return
        items = []
        for line in _some(chance, order):
            quantity = chance.randint(1, 3)
            items.append(line.units(quantity, damaged_quantity=chance.randint(0, quantity)))
        await self._ask(f"/admin/returns/{chance.choice(returns)['id']}/receipts", {"items": items})

    async def _end(self, chance: random.Random, order: Order) -> None:
        """A short return is closed, or money that stayed owed is settled, or some of it."""
        returns = (await self._system.order(order.id))["returns"]
        if not returns:
            return
        path = f"/admin/returns/{chance.choice(returns)['id']}"
        if chance.random() < 0.5:
            await self._ask(f"{path}/close", {})
        else:
            await self._ask(f"{path}/settle", chance.choice([{}, {}, {"refund": 108}]))

    async def _cancel(self, chance: random.Random, order: Order) -> None:
        shown = await self._system.order(order.id)
        paths = [f"/admin/returns/{each['id']}/cancel" for each in shown["returns"]]
        paths += [f"{order.claims}/{each['id']}/cancel" for each in shown["claims"]]
        if paths:
            await self._ask(chance.choice(paths), {})

    async def _hand(self, chance: random.Random, order: Order) -> None:
        amount = chance.choice(AMOUNTS[1:])
        body: Json = {"amount": amount, "reason": "other"}
        if chance.random() < 0.4:
            body["items"] = [{"item_id": chance.choice(order.lines).id, "amount": amount}]
        await self._ask(order.refund, body)

    async def books(self) -> Json:
        """Everything that can be read, as the bytes that are read."""
        found: Json = {}
        for order in self.orders:
            for path in (
                f"/admin/orders/{order.id}",
                f"/admin/orders/{order.id}/ledger",
                f"/admin/claims?limit=100&order_id={order.id}",
                *(f"/admin/swaps/{swap['id']}" for swap in await self._swaps(order)),
            ):
                found[path] = (await self._system.get(path)).body
        for variant in self.gifts:
            found[variant.id] = await self._system.level(variant.id)
        return found

    async def _swaps(self, order: Order) -> list[Json]:
        swaps: list[Json] = (await self._system.order(order.id))["swaps"]
        return swaps

    async def agree(self) -> None:
        """Claims, refunds, ledger and payment provider tell the same sums."""
        for order in self.orders:
            shown = await self._system.order(order.id)
            ledger = await self._system.ledger(order.id)
            path = f"/admin/claims?limit=100&order_id={order.id}"
            claims = (await self._system.get(path)).json["claims"]
            assert ledger["refund_pending"] == 0
            assert ledger["refunded"] <= ledger["captured"]
            assert sum(refund["amount"] for refund in shown["refunds"]) == ledger["refunded"]
            by_claims = sum(
                refund["amount"]
                for refund in ledger["refunds"]
                if (refund["cause_kind"], refund["state"]) == ("claim", "posted")
            )
            by_exchanges = sum(
                refund["amount"]
                for refund in ledger["refunds"]
                if (refund["cause_kind"], refund["state"]) == ("exchange", "posted")
            )
            back = {"difference_refunded", "partially_refunded"}
            due = [swap for swap in shown["swaps"] if swap["payment_status"] in back]
            paid = [swap for swap in shown["swaps"] if swap["payment"]]
            gone = [swap["payment"]["amount"] for swap in paid if swap["canceled_at"]]
            assert by_exchanges <= -sum(swap["difference_due"] for swap in due) + sum(gone)
            assert all(swap["payment"]["amount"] == swap["difference_due"] for swap in paid)
            refunded = [claim for claim in claims if claim["payment_status"] == "refunded"]
            assert sum(claim["refund_amount"] for claim in refunded) == by_claims
            for claim in claims:
                parts = sum(part["amount"] for part in claim["explanation"])
                assert parts == (claim["refund_amount"] or 0)
            through_provider = sum(
                attempt["amount"]
                for attempt in ledger["attempts"]
                if (attempt["provider_id"], attempt["state"]) == ("fake", "posted")
            )
            assert sum(await self._system.provider_refunds(order)) == through_provider
            await eventually(partial(self._documents_agree, order, ledger), within_s=30)

    async def _documents_agree(self, order: Order, ledger: Json) -> bool:
        """Each refund to a payment has its credit memo, and that adds up; store credit has none."""
        posted = {
            row["id"]: row["amount"]
            for row in ledger["refunds"]
            if (row["state"], row["destination"]) == ("posted", "payment")
        }
        path = f"/admin/credit-memos?limit=100&order_id={order.id}"
        memos = (await self._system.get(path)).json["credit_memos"]
        assert {memo["refund_id"]: memo["amount"] for memo in memos} == posted
        for memo in memos:
            assert sum(line["amount"] for line in memo["lines"]) == memo["amount"]
        return True


def _some(chance: random.Random, order: Order) -> list[Line]:
    return [line for line in order.lines if chance.random() < 0.6] or [order.lines[0]]


def _an_order(chance: random.Random) -> Order:
    lines = tuple(
        Line(
            chance.randint(1, 5),
            price=price,
            discount=min(chance.choice((0, 0, 1, 50)), price),
            rates=chance.choice(((20,), (), (12.5, 7), (8.875,))),
        )
        for price in chance.choices((1, 99, 333, 1002, 1000, 1999), k=chance.randint(1, 3))
    )
    paid = sum(line.paid for line in lines)
    cuts = sorted({chance.randint(0, paid) for _ in range(chance.randint(0, 2))} - {0, paid})
    payments = tuple(end - start for start, end in zip((0, *cuts), (*cuts, paid), strict=True))
    providers = chance.choice(("manual", "fake", ("fake", "manual"), ("manual", "fake")))
    return an_order(*lines, payments=payments if paid else (), provider=providers)


async def _do_business(system: Application, seed: int) -> None:
    begun = await system.sent()
    business = Business(system, seed)
    await business.run()
    assert business.answers[200] > 20
    assert business.answers[400] > 20
    await system.verify()
    await business.agree()
    before = await business.books()
    assert await system.send_again(begun, forgotten=True) > 150
    await system.verify()
    after = await business.books()
    different = [key for key in before if before[key] != after[key]]
    assert different == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", SEEDS)
async def test_in_one_process_the_books_agree_and_a_forgotten_past_changes_no_byte(
    open_system: OpenSystem, sqlite_url_factory: DatabaseUrl, seed: int
) -> None:
    databases = {name: await sqlite_url_factory(name) for name in PROCESSES}
    system = await open_system("embedded", databases=databases, bus_local_faults=_faults(seed))
    await _do_business(system, seed)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("system", ["local"], indirect=True)
@pytest.mark.parametrize("seed", SEEDS[:1])
async def test_over_a_broker_the_books_agree_and_a_forgotten_past_changes_no_byte(
    system: Application, seed: int
) -> None:
    await _do_business(system, seed)
