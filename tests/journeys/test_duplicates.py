"""Messages that come twice, late, in another order, or again after all is done change nothing.

The measure is the run in which nothing went wrong: the same clients do the same things, and what
is true at the end (ids and times apart) must be the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from chassis.testing import DatabaseUrl
from deploy.assembly import PROCESSES, SERVICES
from services.orders.providers import fake_ledger
from tests.journeys.conftest import OpenSystem
from tests.journeys.shop import Line, Order, Variant, an_order
from tests.journeys.system import Answer, Application, Level, fresh_key, together

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # One installation of each kind serves them all.
    pytest.mark.xdist_group("journeys"),
]

Json = dict[str, Any]
GIFTS = 500
# How the fake payment provider treats amounts that end like this.
IS_DECLINED, LOSES_ITS_ANSWER = 2, 8


@dataclass(frozen=True)
class Errand:
    """A client's business with one order."""

    name: str
    order: Order


ERRANDS = (
    "refund claim",
    "refund claim by the provider",
    "refund claim whose first answer is lost",
    "refund claim with return and receipt",
    "refund claim with gift",
    "refund claim by the provider with gift and return",
    "replace claim",
    "replace claim with return in two parcels",
    "replace claim that is canceled",
    "replace claim whose return and itself are canceled",
    "return in three parcels",
    "return received at once",
    "return that is canceled",
    "return whose refund is declined",
    "refund by hand",
    "refused: too many units",
    "refused: no stock",
    "refused: declined",
    "refused: declined with gift",
    "refused: return of too much",
    "two claims on one unit",
)


class Load:
    """The clients. Every key is a function of errand and step, as is every record's id."""

    def __init__(self, system: Application, prefix: str, rounds: int) -> None:
        self._system = system
        self._prefix = prefix
        self.gift = Variant(stocked=GIFTS, id=f"variant_{prefix}_gift")
        self.rare = Variant(stocked=0, id=f"variant_{prefix}_rare")
        self.sold = Variant(stocked=100, id=f"variant_{prefix}_sold")
        self.errands = [
            Errand(name, self._order(number, name))
            for number, name in enumerate(ERRANDS * rounds, 1)
        ]

    def _order(self, number: int, name: str) -> Order:
        by_provider = any(word in name for word in ("provider", "lost", "declined"))
        price = 1000 + IS_DECLINED if name == "return whose refund is declined" else 1000
        rates = () if "refund is declined" in name else (20.0,)
        line = Line(
            3,
            price=price,
            rates=rates,
            variant=self.sold,
            id=f"item_{self._prefix}_{number}",
        )
        return an_order(
            line,
            provider="fake" if by_provider else "manual",
            id=f"order_{self._prefix}_{number}",
        )

    async def run(self) -> None:
        """Sell, then all errands at once."""
        await self._system.stock(self.gift, self.rare)
        await self._system.sell(*(errand.order for errand in self.errands))
        await together(*(self._do(errand) for errand in self.errands))

    async def _ask(self, path: str, body: Json, *expected: int) -> Answer:
        """As a client does: again with the same key until there is an answer."""
        key = fresh_key()
        for _ in range(60):
            answer = await self._system.post(path, body, key)
            if answer.status not in (409, 503, 504):
                assert answer.status in (expected or (200,)), (path, body, answer.body)
                return answer
        raise AssertionError(f"no answer: {path} {answer.body!r}")

    async def _do(self, errand: Errand) -> None:
        order, name = errand.order, errand.name
        gift = {"additional_items": [self.gift.times()]}
        back: Json = {"return_shipping": {}}
        if name.startswith("refused"):
            await self._refused(errand, gift)
        elif name.startswith("return "):
            await self._return(errand)
        elif name == "refund by hand":
            for amount in (100, 200 + LOSES_ITS_ANSWER):
                await self._ask(order.refund, {"amount": amount, "reason": "discount"})
        elif name == "two claims on one unit":
            body = order.refund_claim(2)
            await together(*(self._ask(order.claims, body, 200, 400) for _ in range(2)))
        elif name.startswith("refund"):
            extra = (gift if "gift" in name else {}) | (back if "return" in name else {})
            if "lost" in name:
                extra["refund_amount"] = 1100 + LOSES_ITS_ANSWER
            await self._ask(order.claims, order.refund_claim(2, **extra))
            if "receipt" in name:
                await self._parcels(order, 2)
        else:
            extra = back if "return" in name else {}
            await self._ask(order.claims, order.replace_claim(self.gift, 2, **extra))
            if "parcels" in name:
                await self._parcels(order, 1, 1)
            if "canceled" in name:
                await self._cancel(order)

    async def _refused(self, errand: Errand, gift: Json) -> None:
        order, name = errand.order, errand.name
        amount = {"refund_amount": 900 + IS_DECLINED}
        if "units" in name:
            await self._ask(order.claims, order.refund_claim(4), 400)
        elif "stock" in name:
            await self._ask(order.claims, order.replace_claim(self.rare), 400)
        elif "return" in name:
            await self._ask(order.returns, {"items": [order.line.units(4)]}, 400)
        else:
            extra = amount | (gift if "gift" in name else {})
            await self._ask(order.claims, order.refund_claim(**extra), 400)

    async def _return(self, errand: Errand) -> None:
        order, name = errand.order, errand.name
        at_once = "at once" in name
        body = {"items": [order.line.units(3)], "receive_now": at_once}
        shown = (await self._ask(order.returns, body)).order
        if "parcels" in name:
            await self._parcels(order, 1, 1, 1)
        elif "declined" in name:
            await self._parcels(order, 1)
        elif "canceled" in name:
            await self._ask(f"/admin/returns/{shown['returns'][0]['id']}/cancel", {})

    async def _parcels(self, order: Order, *quantities: int) -> None:
        (return_,) = (await self._system.order(order.id))["returns"]
        for units in quantities:
            body = {"items": [order.line.units(units)]}
            await self._ask(f"/admin/returns/{return_['id']}/receive", body)

    async def _cancel(self, order: Order) -> None:
        shown = await self._system.order(order.id)
        for return_ in shown["returns"]:
            await self._ask(f"/admin/returns/{return_['id']}/cancel", {})
        await self._ask(f"{order.claims}/{shown['claims'][0]['id']}/cancel", {})

    async def end_state(self) -> Json:
        """What is true now, without ids and times of its own: by order, and the stock."""
        state: Json = {}
        for errand in self.errands:
            state[f"{errand.name} {errand.order.id}"] = await self._state_of(errand.order)
        for variant in (self.gift, self.rare, self.sold):
            level = await self._system.level(variant.id)
            state[variant.id] = (level.stocked, level.reserved)
        return state

    async def _state_of(self, order: Order) -> Json:
        shown = await self._system.order(order.id)
        ledger = await self._system.ledger(order.id)
        units = await self._system.rows(
            "orders",
            "SELECT returned_quantity, remedied_quantity FROM order_lines WHERE order_id = :id",
            id=order.id,
        )
        said: Counter[str] = Counter()
        ids = [order.id, *(each["id"] for each in (*shown["claims"], *shown["returns"]))]
        for service in SERVICES:
            rows = await self._system.rows(
                service,
                "SELECT routing_key FROM outbox WHERE aggregateid IN :ids"
                " AND aggregateversion IS NOT NULL",
                ids=ids,
            )
            said.update(row["routing_key"] for row in rows)
        return {
            "order": [shown[name] for name in ("payment_status", "fulfillment_status")],
            "units": units,
            "claims": sorted(
                [
                    *(each["type"], each["payment_status"], each["refund_amount"] or 0),
                    *(bool(each["canceled_at"]), len(each["additional_items"])),
                ]
                for each in shown["claims"]
            ),
            "returns": sorted(
                [
                    *(each["status"], each["refund_amount"] or 0, bool(each["claim_order_id"])),
                    [(i["requested_quantity"], i["received_quantity"] or 0) for i in each["items"]],
                ]
                for each in shown["returns"]
            ),
            "refunds": sorted([each["reason"], each["amount"]] for each in shown["refunds"]),
            "money": [ledger[name] for name in ("captured", "refunded", "refund_pending")],
            "transfers": sorted(
                [each["kind"], each["state"], each["amount"]] for each in ledger["transfers"]
            ),
            "remedies": sorted(
                [each["kind"], each["state"], [list(line.values())[1:] for line in each["lines"]]]
                for each in ledger["remedies"]
            ),
            "provider": sorted(await self._system.provider_refunds(order)),
            "events": dict(sorted(said.items())),
        }


# ---------------------------------------------------------------------------------- in one process


async def _fresh_embedded(
    open_system: OpenSystem, make_url: DatabaseUrl, faults: str = ""
) -> Application:
    databases = {name: await make_url(name) for name in PROCESSES}
    return await open_system("embedded", databases=databases, bus_local_faults=faults)


async def _run(system: Application, *, again: bool = False) -> Json:
    begun = await system.sent()
    load = Load(system, "dup", rounds=1)
    await load.run()
    await system.rest()
    if again:
        # Each message came twice already; now it comes twice more.
        assert await system.send_again(begun) > 150
    await system.verify()
    state = await load.end_state()
    _holds_what_it_says(state)
    return state


def _holds_what_it_says(state: Json) -> None:
    """The measure itself is right: a few things that must be in it, whatever the run."""
    by_name = {key.rsplit(" ", 1)[0]: value for key, value in state.items() if " " in key}
    assert by_name["refund claim"]["refunds"] == [["claim", 2400]]
    assert by_name["refund claim with return and receipt"]["refunds"] == [["claim", 2400]]
    assert by_name["refund claim whose first answer is lost"]["provider"] == [1108]
    assert by_name["two claims on one unit"]["refunds"] == [["claim", 2400]]
    assert by_name["return in three parcels"]["money"] == [3600, 3600, 0]
    assert by_name["replace claim that is canceled"]["units"][0]["remedied_quantity"] == 0
    for name in ERRANDS:
        if name.startswith("refused"):
            assert by_name[name]["money"] == [3600, 0, 0]
            assert by_name[name]["claims"] == by_name[name]["returns"] == []


FAULTS = (
    "dup:1,reorder:16,seed=1",
    "dup:1,reorder:64,seed=2",
    "dup:1,drop_after_commit:0.3,reorder:8,seed=3",
    "dup:0.5,delay:0.5,drop_before_commit:0.2,drop_after_commit:0.2,reorder:16,seed=4",
)


@pytest.mark.timeout(240)
async def test_repeated_reordered_and_lost_messages_end_as_if_nothing_had_happened(
    open_system: OpenSystem, sqlite_url_factory: DatabaseUrl
) -> None:
    undisturbed = await _run(await _fresh_embedded(open_system, sqlite_url_factory))
    for faults in FAULTS:
        system = await _fresh_embedded(open_system, sqlite_url_factory, faults)
        disturbed = await _run(system, again=faults == FAULTS[0])
        _same(disturbed, undisturbed, faults)


def _same(actual: Json, expected: Json, what: str) -> None:
    assert actual.keys() == expected.keys()
    different = {
        key: (actual[key], expected[key]) for key in expected if actual[key] != expected[key]
    }
    assert not different, f"{what}: {different}"


# ---------------------------------------------------------------------------------- all over again


async def test_the_whole_past_twice_more_changes_nothing(system: Application) -> None:
    begun = await system.sent()
    load = Load(system, "again", rounds=1)
    await load.run()
    await system.verify()
    before = await load.end_state()
    _holds_what_it_says(before)
    ledger = fake_ledger(system.data_dir / "fake_provider.sqlite3")
    for _ in range(2):
        assert await system.send_again(begun) > 150
        await system.verify()
        _same(await load.end_state(), before, "sent again")
    assert fake_ledger(system.data_dir / "fake_provider.sqlite3") == ledger


async def test_a_past_that_the_inboxes_have_forgotten_changes_nothing(system: Application) -> None:
    """D9. The second protection alone: claims, returns, receipts and sagas know what they saw."""
    begun = await system.sent()
    load = Load(system, "forgotten", rounds=1)
    await load.run()
    await system.verify()
    before = await load.end_state()
    for _ in range(2):
        assert await system.send_again(begun, forgotten=True) > 150
        await system.verify()
        _same(await load.end_state(), before, "forgotten and sent again")


# ---------------------------------------------------------------------------------- undo, then do


async def _undo_before_do(system: Application, owner: str, tables: str, command: str) -> None:
    """As if the undo had overtaken the command it takes back: ``owner`` has never heard of it."""
    for table in (*tables.split(), "inbox"):
        await system.tamper(owner, f"DELETE FROM {table}")
    for step in ("release", "place"):
        key = f"{owner}.{command}.{step}"
        again = f"UPDATE outbox SET sent_at = NULL WHERE routing_key = '{key}'"
        sent = [await system.tamper(name, again) for name in ("claims", "returns")]
        assert sum(sent) == 1, key
        await system.rest()


async def test_a_reservation_that_comes_after_its_release_reserves_nothing(
    open_system: OpenSystem, sqlite_url_factory: DatabaseUrl
) -> None:
    system = await _fresh_embedded(open_system, sqlite_url_factory)
    wanted = Variant(stocked=3)
    order = await system.sell(an_order())
    await system.stock(wanted)
    refused = await system.post(order.claims, order.replace_claim(wanted, 2))
    assert refused.status == 400
    await system.rest()
    await _undo_before_do(system, "inventory", "reservations reservation_groups", "reservation")
    assert await system.level(wanted.id) == Level(3, 0)
    await system.verify()


@pytest.mark.parametrize("kind", ["claim", "return"])
async def test_a_hold_that_comes_after_its_release_holds_nothing(
    open_system: OpenSystem, sqlite_url_factory: DatabaseUrl, kind: str
) -> None:
    system = await _fresh_embedded(open_system, sqlite_url_factory)
    rare = Variant(stocked=0)
    order = await system.sell(an_order())
    await system.stock(rare)
    if kind == "claim":
        assert (await system.post(order.claims, order.replace_claim(rare))).status == 400
    else:
        shown = (await system.post(order.returns, {"items": [order.line.units()]})).order
        await system.post(f"/admin/returns/{shown['returns'][0]['id']}/cancel")
    await system.rest()
    await _undo_before_do(system, "orders", "remedy_lines remedies", f"{kind}-hold")
    (line,) = await system.rows("orders", "SELECT remedied_quantity FROM order_lines")
    assert line["remedied_quantity"] == 0
    await system.verify()
