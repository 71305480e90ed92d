"""A participant says no: the caller reads why in Medusa's words, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from chassis.testing import DatabaseUrl, eventually
from deploy.assembly import PROCESSES
from tests.journeys.conftest import OpenSystem
from tests.journeys.shop import LOCATION, Line, Order, Variant, an_order
from tests.journeys.system import Answer, Application, Level, fresh_key

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # One installation of each kind serves them all.
    pytest.mark.xdist_group("journeys"),
]

MORE_THAN_FULFILLED = "Cannot claim more of an item than has been fulfilled."
TOO_MUCH = "Refund amount is greater that the refundable amount"
DECLINED = "The payment provider declined the refund: card closed"
# What the fake payment provider does with amounts that end like this.
IS_DECLINED, LOSES_ITS_ANSWER, IS_LOST_ON_THE_WAY = 2, 8, 9


@dataclass(frozen=True)
class Refused:
    """A claim that somebody will refuse: its order, its body, and what the caller shall read."""

    order: Order
    body: dict[str, Any]
    status: int
    message: str
    path: str | None = None
    stock: tuple[Variant, ...] = ()


async def nothing_is_held(system: Application, order: Order, *variants: Variant) -> None:
    """No unit, no money, no stock, and nothing to be seen."""
    await system.rest()
    ledger = await system.ledger(order.id)
    assert ledger["refund_pending"] == 0
    assert [remedy for remedy in ledger["remedies"] if remedy["lines"]] == []
    assert {remedy["state"] for remedy in ledger["remedies"]} <= {"released"}
    assert ledger["refunded"] == 0
    assert await system.provider_refunds(order) == []
    shown = await system.order(order.id)
    assert shown["claims"] == shown["returns"] == shown["refunds"] == []
    units = "SELECT remedied_quantity + returned_quantity AS taken FROM order_lines"
    lines = await system.rows("orders", f"{units} WHERE order_id = :id", id=order.id)
    assert {line["taken"] for line in lines} == {0}
    assert (await system.get(f"/admin/claims?order_id={order.id}")).json["claims"] == []
    for row in await system.rows("claims", "SELECT id FROM claims WHERE order_id = :o", o=order.id):
        assert (await system.get(f"/admin/claims/{row['id']}")).status == 404
    for variant in variants:
        assert await system.level(variant.id) == Level(variant.stocked or 0, 0)


async def is_refused(system: Application, case: Refused) -> Answer:
    """Ask, read why not, ask again with the same key, look around."""
    key = fresh_key()
    path = case.path or case.order.claims
    first = await system.post(path, case.body, key)
    assert (first.status, first.message) == (case.status, case.message)
    again = await system.post(path, case.body, key)
    assert (again.status, again.body) == (first.status, first.body)
    await nothing_is_held(system, case.order, *case.stock)
    await system.verify()
    return first


# ---------------------------------------------------------------------------------- orders


@pytest.mark.parametrize("kind", ["refund", "replace"])
async def test_a_claim_on_an_unknown_order(system: Application, kind: str) -> None:
    order = await system.sell(an_order())
    body = order.refund_claim() if kind == "refund" else order.replace_claim(order.line.variant)
    case = Refused(
        order,
        body,
        404,
        "Order with id order_nobody was not found",
        path="/admin/orders/order_nobody/claims",
    )
    await is_refused(system, case)


@pytest.mark.parametrize("kind", ["refund", "replace"])
async def test_a_claim_on_a_canceled_order(system: Application, kind: str) -> None:
    stocked = Variant(stocked=3)
    order = await system.sell(an_order(status="canceled"))
    await system.stock(stocked)
    body = order.refund_claim() if kind == "refund" else order.replace_claim(stocked)
    why = "Cannot create a claim on a canceled item."
    await is_refused(system, Refused(order, body, 400, why, stock=(stocked,)))


@pytest.mark.parametrize("kind", ["refund", "replace"])
async def test_a_claim_on_an_unknown_line(system: Application, kind: str) -> None:
    stocked = Variant(stocked=3)
    order = await system.sell(an_order())
    await system.stock(stocked)
    body = order.refund_claim() if kind == "refund" else order.replace_claim(stocked)
    body["claim_items"] = [order.line.claimed() | {"item_id": "item_nobody"}]
    why = "Line item with item_nobody was not found"
    await is_refused(system, Refused(order, body, 404, why, stock=(stocked,)))


async def test_a_claim_on_a_line_of_another_order(system: Application) -> None:
    order, other = an_order(), an_order()
    await system.sell(order, other)
    body = other.refund_claim()
    why = f"Line item with {other.line.id} was not found"
    await is_refused(system, Refused(order, body, 404, why))
    await nothing_is_held(system, other)


async def test_a_claim_of_which_only_one_line_is_wrong(system: Application) -> None:
    order = await system.sell(an_order(Line(), Line()))
    good, bad = order.lines
    body = {"type": "refund", "claim_items": [good.claimed(), bad.claimed(2)]}
    await is_refused(system, Refused(order, body, 400, MORE_THAN_FULFILLED))


async def test_a_claim_on_a_line_without_a_variant(system: Application) -> None:
    order = await system.sell(an_order(Line(variant=None)))
    why = "Cannot claim a custom line item"
    await is_refused(system, Refused(order, order.refund_claim(), 400, why))


@pytest.mark.parametrize("kind", ["refund", "replace"])
async def test_a_claim_on_more_units_than_were_fulfilled(system: Application, kind: str) -> None:
    stocked = Variant(stocked=9)
    order = await system.sell(an_order(Line(5, fulfilled=2, shipped=2)))
    await system.stock(stocked)
    body = order.refund_claim(3) if kind == "refund" else order.replace_claim(stocked, 3)
    case = Refused(order, body, 400, MORE_THAN_FULFILLED, stock=(stocked,))
    await is_refused(system, case)


@pytest.mark.parametrize("taken_by", ["a claim", "a return"])
async def test_a_claim_on_units_that_are_taken(system: Application, taken_by: str) -> None:
    stocked = Variant(stocked=3)
    order = await system.sell(an_order())
    await system.stock(stocked)
    if taken_by == "a claim":
        assert (await system.post(order.claims, order.refund_claim())).status == 200
    else:
        assert (await system.post(order.returns, {"items": [order.line.units()]})).status == 200
    before = await system.ledger(order.id)
    for body in (order.refund_claim(), order.replace_claim(stocked)):
        key = fresh_key()
        first = await system.post(order.claims, body, key)
        assert (first.status, first.message) == (400, MORE_THAN_FULFILLED)
        assert (await system.post(order.claims, body, key)).body == first.body
    await system.rest()
    after = await system.ledger(order.id)
    held = [[each for each in ledger["remedies"] if each["lines"]] for ledger in (before, after)]
    assert held[0] == held[1]
    assert after["transfers"] == before["transfers"]
    assert await system.level(stocked.id) == Level(3, 0)
    await system.verify()


@pytest.mark.parametrize("with_gift", [False, True])
async def test_a_claim_for_more_money_than_is_left(system: Application, with_gift: bool) -> None:
    gift = Variant(stocked=3)
    order = await system.sell(an_order())
    await system.stock(gift)
    extra = {"additional_items": [gift.times()]} if with_gift else {}
    body = order.refund_claim(refund_amount=1201, **extra)
    await is_refused(system, Refused(order, body, 400, TOO_MUCH, stock=(gift,)))


async def test_a_claim_for_more_than_was_captured(system: Application) -> None:
    order = await system.sell(an_order(payments=(1199,)))
    await is_refused(system, Refused(order, order.refund_claim(), 400, TOO_MUCH))


async def test_a_claim_whose_way_back_is_unknown(system: Application) -> None:
    order = await system.sell(an_order())
    body = order.refund_claim(return_shipping={"option_id": "so_nobody"})
    why = "Shipping Option with id: so_nobody was not found"
    await is_refused(system, Refused(order, body, 404, why))


# ---------------------------------------------------------------------------------- inventory


@pytest.mark.parametrize("kind", ["refund", "replace"])
async def test_a_replacement_that_is_not_in_stock(system: Application, kind: str) -> None:
    wanted, plenty = Variant(stocked=1), Variant(stocked=9)
    order = await system.sell(an_order(Line(2)))
    await system.stock(wanted, plenty)
    items = [plenty.times(), wanted.times(2)]
    body = order.refund_claim(2, type=kind, additional_items=items)
    why = f"Variant with id: {wanted.id} does not have the required inventory"
    await is_refused(system, Refused(order, body, 400, why, stock=(wanted, plenty)))


@pytest.mark.parametrize("kind", ["refund", "replace"])
async def test_a_replacement_that_nobody_sells(system: Application, kind: str) -> None:
    plenty = Variant(stocked=9)
    order = await system.sell(an_order())
    await system.stock(plenty)
    items = [plenty.times(), {"variant_id": "variant_nobody", "quantity": 1}]
    body = order.refund_claim(type=kind, additional_items=items)
    why = "Unable to generate the line items, some variant has not been found: variant_nobody"
    await is_refused(system, Refused(order, body, 400, why, stock=(plenty,)))


async def test_a_replacement_without_a_price(system: Application) -> None:
    priceless = Variant(stocked=9, price=None)
    order = await system.sell(an_order())
    await system.stock(priceless)
    body = order.replace_claim(priceless)
    why = 'Cannot generate line item for variant "Thing" without a price'
    await is_refused(system, Refused(order, body, 400, why, stock=(priceless,)))


async def test_when_two_refuse_the_caller_reads_what_medusa_would_have_met_first(
    system: Application,
) -> None:
    wanted = Variant(stocked=0)
    order = await system.sell(an_order())
    await system.stock(wanted)
    short = f"Variant with id: {wanted.id} does not have the required inventory"
    body = order.replace_claim(wanted, claim_items=[order.line.claimed(2)])
    await is_refused(system, Refused(order, body, 400, short, stock=(wanted,)))
    gone = await system.sell(an_order(status="canceled"))
    body = gone.replace_claim(wanted)
    why = "Cannot create a claim on a canceled item."
    await is_refused(system, Refused(gone, body, 400, why, stock=(wanted,)))


# ---------------------------------------------------------------------------------- the provider


@pytest.mark.parametrize("comes_back", [False, True])
@pytest.mark.parametrize("with_gift", [False, True])
async def test_a_refund_that_the_provider_declines(
    system: Application, with_gift: bool, comes_back: bool
) -> None:
    gift = Variant(stocked=3)
    order = await system.sell(an_order(provider="fake"))
    await system.stock(gift)
    body = order.refund_claim(refund_amount=900 + IS_DECLINED)
    body |= {"additional_items": [gift.times()]} if with_gift else {}
    body |= {"return_shipping": {}} if comes_back else {}
    await is_refused(system, Refused(order, body, 400, DECLINED, stock=(gift,)))
    # Nothing is held: the same units and the whole money are there for a claim that works.
    (made,) = (await system.post(order.claims, order.refund_claim())).order["claims"]
    assert made["refund_amount"] == 1200
    assert await system.provider_refunds(order) == [1200]
    await system.verify()


async def test_a_refund_by_hand_that_the_provider_declines(system: Application) -> None:
    order = await system.sell(an_order(provider="fake"))
    body = {"amount": 900 + IS_DECLINED, "reason": "other"}
    await is_refused(system, Refused(order, body, 400, DECLINED, path=order.refund))


@pytest.mark.parametrize("with_gift", [False, True])
async def test_of_a_split_refund_what_one_provider_declined_is_not_claimed_as_paid(
    system: Application, with_gift: bool
) -> None:
    gift = Variant(stocked=3)
    order = await system.sell(
        an_order(payments=(1000 + IS_DECLINED, 1198), provider=("fake", "fake"))
    )
    await system.stock(gift)
    body = order.refund_claim(return_shipping={})
    body |= {"additional_items": [gift.times()]} if with_gift else {}
    shown = (await system.post(order.claims, body)).order
    assert await system.provider_refunds(order) == [198]
    ledger = await system.ledger(order.id)
    assert (ledger["refunded"], ledger["refund_pending"]) == (198, 0)
    (made,), (return_,) = shown["claims"], shown["returns"]
    assert made["payment_status"] == "refunded"
    assert made["refund_amount"] == return_["refund_amount"] == 198
    assert sum(part["amount"] for part in made["explanation"]) == 198
    await system.verify()


async def test_goods_are_a_fact_even_when_their_refund_is_declined(system: Application) -> None:
    order = await system.sell(an_order(Line(price=1002, rates=()), provider="fake"))
    (return_,) = (await system.post(order.returns, {"items": [order.line.units()]})).order[
        "returns"
    ]
    path = f"/admin/returns/{return_['id']}/receive"
    answer = await system.post(path, {"items": [order.line.units()]})
    assert answer.status == 200
    assert answer.json["return"]["status"] == "requires_action"
    assert await system.level(order.line.variant.id) == Level(1001, 0)
    shown = await system.order(order.id)
    assert shown["items"][0]["returned_quantity"] == 1
    assert shown["refunded_total"] == 0
    assert shown["fulfillment_status"] == "requires_action"
    assert await system.provider_refunds(order) == []
    await system.verify()


# ---------------------------------------------------------------------------------- nobody knows

Act = Callable[[Application, Order, int], Awaitable[Answer]]


async def by_claim(system: Application, order: Order, amount: int) -> Answer:
    return await system.post(order.claims, order.refund_claim(refund_amount=amount))


async def by_claim_with_gift(system: Application, order: Order, amount: int) -> Answer:
    gift = Variant(stocked=1)
    await system.stock(gift)
    body = order.refund_claim(refund_amount=amount, additional_items=[gift.times()])
    return await system.post(order.claims, body)


async def by_receipt(system: Application, order: Order, amount: int) -> Answer:
    body = {"items": [order.line.units()], "refund": amount, "receive_now": True}
    return await system.post(order.returns, body)


async def by_hand(system: Application, order: Order, amount: int) -> Answer:
    return await system.post(order.refund, {"amount": amount, "reason": "other"})


@pytest.mark.parametrize("lost", [LOSES_ITS_ANSWER, IS_LOST_ON_THE_WAY])
@pytest.mark.parametrize("act", [by_claim, by_claim_with_gift, by_receipt, by_hand])
async def test_a_refund_whose_first_answer_is_lost_is_asked_for_by_its_key_and_never_doubled(
    system: Application, act: Act, lost: int
) -> None:
    amount = 1100 + lost
    order = await system.sell(an_order(provider="fake"))
    answer = await act(system, order, amount)
    assert [refund["amount"] for refund in answer.order["refunds"]] == [amount]
    await system.rest()
    assert await system.provider_refunds(order) == [amount]
    ledger = await system.ledger(order.id)
    assert (ledger["refunded"], ledger["refund_pending"]) == (amount, 0)
    (attempt,) = ledger["attempts"]
    assert attempt["tries"] == 2
    assert attempt["state"] == "posted"
    await system.verify()


@pytest.mark.parametrize("with_gift", [False, True])
async def test_both_halves_of_a_split_refund_may_be_lost_and_are_found(
    system: Application, with_gift: bool
) -> None:
    halves = (1000 + LOSES_ITS_ANSWER, 100 + IS_LOST_ON_THE_WAY)
    gift = Variant(stocked=1)
    order = await system.sell(an_order(payments=(halves[0], 1000), provider="fake"))
    await system.stock(gift)
    body = order.refund_claim(refund_amount=sum(halves))
    body |= {"additional_items": [gift.times()]} if with_gift else {}
    (made,) = (await system.post(order.claims, body)).order["claims"]
    assert made["refund_amount"] == sum(halves)
    assert sorted(await system.provider_refunds(order)) == sorted(halves)
    await system.verify()


async def test_who_stops_waiting_finds_the_result_under_the_same_key(
    open_system: OpenSystem, sqlite_url_factory: DatabaseUrl
) -> None:
    databases = {name: await sqlite_url_factory(name) for name in PROCESSES}
    system = await open_system("embedded", databases=databases, wait_bound_s=0.05)
    order = await system.sell(an_order(Line(3), provider="fake"))
    calls = {
        order.claims: order.refund_claim(refund_amount=500 + LOSES_ITS_ANSWER),
        order.refund: {"amount": 400 + LOSES_ITS_ANSWER, "reason": "other"},
    }
    for path, body in calls.items():
        key = fresh_key()
        first = await system.post(path, body, key)
        assert first.status == 503
        assert first.headers["idempotency-key"] == key
        assert int(first.headers["retry-after"]) > 0
        found = await eventually(partial(_answered, system, path, body, key))
        assert (await system.post(path, body, key)).body == found.body
    assert sorted(await system.provider_refunds(order)) == [408, 508]
    shown = await system.order(order.id)
    assert len(shown["claims"]) == 1
    assert shown["refunded_total"] == 408 + 508
    await system.verify()


async def _answered(
    system: Application, path: str, body: dict[str, Any], key: str
) -> Answer | None:
    answer = await system.post(path, body, key)
    return answer if answer.status == 200 else None


# ---------------------------------------------------------------------------------- returns


async def test_a_receipt_of_which_only_a_part_could_be_paid_waits_for_a_person(
    system: Application,
) -> None:
    order = await system.sell(an_order(payments=(1000 + IS_DECLINED, 198), provider="fake"))
    requested = await system.post(order.returns, {"items": [order.line.units()]})
    (return_,) = requested.order["returns"]
    path = f"/admin/returns/{return_['id']}/receive"
    answer = await system.post(path, {"items": [order.line.units()]})
    assert answer.json["return"]["status"] == "requires_action"
    assert await system.provider_refunds(order) == [198]
    assert (await system.ledger(order.id))["refunded"] == 198
    await system.verify()


async def refused_return(
    system: Application, order: Order, body: dict[str, Any], status: int, message: str
) -> None:
    await is_refused(system, Refused(order, body, status, message, path=order.returns))


async def test_a_return_on_an_unknown_order(system: Application) -> None:
    order = await system.sell(an_order())
    body = {"items": [order.line.units()]}
    path = "/admin/orders/order_nobody/return"
    why = "Order with id order_nobody was not found"
    await is_refused(system, Refused(order, body, 404, why, path=path))


async def test_a_return_on_a_canceled_order(system: Application) -> None:
    order = await system.sell(an_order(status="canceled"))
    body = {"items": [order.line.units()]}
    await refused_return(system, order, body, 400, "Cannot create a return for a canceled item.")


async def test_a_return_of_an_unknown_and_of_a_foreign_line(system: Application) -> None:
    order, other = an_order(), an_order()
    await system.sell(order, other)
    unknown = {"items": [order.line.units(), {"item_id": "item_nobody", "quantity": 1}]}
    await refused_return(system, order, unknown, 404, "Line item with item_nobody was not found")
    foreign = {"items": [order.line.units(), other.line.units()]}
    await refused_return(system, order, foreign, 400, "Return contains invalid line item")


@pytest.mark.parametrize("now", [False, True])
async def test_a_return_of_more_than_was_bought(system: Application, now: bool) -> None:
    order = await system.sell(an_order(Line(2)))
    body = {"items": [order.line.units(3)], "receive_now": now}
    why = "Cannot return more items than have been purchased"
    await refused_return(system, order, body, 400, why)


async def test_a_return_for_more_than_was_paid(system: Application) -> None:
    order = await system.sell(an_order())
    body = {"items": [order.line.units()], "refund": 1201}
    await refused_return(system, order, body, 400, "Cannot refund more than the original payment")


async def test_a_return_whose_way_is_unknown(system: Application) -> None:
    order = await system.sell(an_order())
    body = {"items": [order.line.units()], "return_shipping": {"option_id": "so_nobody"}}
    why = "Shipping Option with id: so_nobody was not found"
    await refused_return(system, order, body, 404, why)


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_refused_receipt_leaves_a_return_that_can_be_received_elsewhere(
    system: Application, at_once: bool
) -> None:
    order = await system.sell(an_order())
    nowhere = {"items": [order.line.units()], "location_id": "sloc_nobody"}
    path, body, key = order.returns, nowhere | {"receive_now": True}, fresh_key()
    if not at_once:
        requested = await system.post(order.returns, {"items": [order.line.units()]})
        path = f"/admin/returns/{requested.order['returns'][0]['id']}/receive"
        body = nowhere
    first = await system.post(path, body, key)
    assert first.status == 404
    assert first.message.endswith(" and location sloc_nobody not found")
    assert (await system.post(path, body, key)).body == first.body
    await system.verify()
    assert (await system.ledger(order.id))["refunded"] == 0
    (return_,) = (await system.order(order.id))["returns"]
    assert return_["status"] == "requested"
    parcel = {"items": [order.line.units()], "location_id": LOCATION}
    received = await system.post(f"/admin/returns/{return_['id']}/receive", parcel)
    assert received.json["return"]["status"] == "received"
    assert (await system.ledger(order.id))["refunded"] == 1200
    await system.verify()
