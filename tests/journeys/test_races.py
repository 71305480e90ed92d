"""Many hands at once: on one key, on one unit, on the last stock, on one purse."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from chassis.testing import eventually
from tests.journeys.shop import LOCATION, Line, Order, Variant, an_order
from tests.journeys.system import Answer, Application, Level, fresh_key, together

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # One installation of each kind serves them all.
    pytest.mark.xdist_group("journeys"),
]

MORE_THAN_FULFILLED = "Cannot claim more of an item than has been fulfilled."
MORE_THAN_PURCHASED = "Cannot return more items than have been purchased"
# Who meets another one at work is told to come again with the same key.
BUSY = 409


def counted(answers: list[Answer]) -> Counter[Any]:
    """How often each outcome: 200, or (status, message)."""
    return Counter(
        answer.status if answer.status == 200 else (answer.status, answer.message)
        for answer in answers
    )


async def until_answered(system: Application, path: str, body: dict[str, Any]) -> Answer:
    """As a client does: again with the same key while somebody else is at work."""
    key = fresh_key()
    while True:
        answer = await system.post(path, body, key)
        if answer.status != BUSY:
            return answer


# ---------------------------------------------------------------------------------- one key


@pytest.mark.parametrize("provider", ["manual", "fake"])
async def test_a_hundred_clients_with_one_key_make_one_claim_and_read_the_same_bytes(
    system: Application, provider: str
) -> None:
    order = await system.sell(an_order(Line(200), provider=provider))
    key = fresh_key()
    body = order.refund_claim(return_shipping={})
    answers = await together(*(system.post(order.claims, body, key) for _ in range(100)))
    assert counted(answers) == {200: 100}
    assert len({answer.body for answer in answers}) == 1
    shown = await system.order(order.id)
    assert len(shown["claims"]) == len(shown["returns"]) == len(shown["refunds"]) == 1
    other = await system.post(order.claims, order.refund_claim(2), key)
    assert other.status == 422
    elsewhere = await system.post(order.refund, {"amount": 1, "reason": "other"}, key)
    assert elsewhere.status == 422
    again = await system.post(order.claims, body, key)
    assert again.body == answers[0].body
    assert (await system.ledger(order.id))["refunded"] == 1200
    await system.verify()


async def test_a_hundred_clients_with_one_key_make_one_replacement(system: Application) -> None:
    order = await system.sell(an_order(Line(200)))
    other = Variant(stocked=200)
    await system.stock(other)
    key = fresh_key()
    body = order.replace_claim(other)
    answers = await together(*(system.post(order.claims, body, key) for _ in range(100)))
    assert counted(answers) == {200: 100}
    assert len({answer.body for answer in answers}) == 1
    assert await system.level(other.id) == Level(200, 1)
    await system.verify()


async def test_a_hundred_clients_with_one_key_read_one_refusal(system: Application) -> None:
    order = await system.sell(an_order())
    key = fresh_key()
    body = order.refund_claim(2)
    answers = await together(*(system.post(order.claims, body, key) for _ in range(100)))
    assert counted(answers) == {(400, MORE_THAN_FULFILLED): 100}
    assert len({answer.body for answer in answers}) == 1
    await system.verify()


@pytest.mark.parametrize("provider", ["manual", "fake"])
async def test_one_key_makes_one_refund_by_hand_one_return_and_one_receipt(
    system: Application, provider: str
) -> None:
    order = await system.sell(an_order(Line(50), provider=provider))
    calls = {
        order.refund: {"amount": 500, "reason": "discount"},
        order.returns: {"items": [order.line.units(3)]},
    }
    for path, body in calls.items():
        key = fresh_key()
        answers = await together(*(system.post(path, body, key) for _ in range(30)))
        assert counted(answers) == {200: 30}
        assert len({answer.body for answer in answers}) == 1
    (return_,) = (await system.order(order.id))["returns"]
    path, key = f"/admin/returns/{return_['id']}/receive", fresh_key()
    parcel = {"items": [order.line.units(1)]}
    answers = await together(*(system.post(path, parcel, key) for _ in range(30)))
    assert counted(answers) == {200: 30}
    assert len({answer.body for answer in answers}) == 1
    assert (await system.ledger(order.id))["refunded"] == 500 + 1200
    await system.verify()


async def test_two_bodies_under_one_key_at_once_make_one_claim(system: Application) -> None:
    order = await system.sell(an_order(Line(100)))
    key = fresh_key()
    bodies = [order.refund_claim(1 + number % 2) for number in range(40)]
    answers = await together(*(system.post(order.claims, body, key) for body in bodies))
    by_body = [{answer.status for answer in answers[number::2]} for number in (0, 1)]
    assert by_body in ([{200}, {422}], [{422}, {200}])
    assert len((await system.order(order.id))["claims"]) == 1
    await system.verify()


# ---------------------------------------------------------------------------------- last stock


async def test_fifty_claims_for_ten_units_reserve_exactly_ten(system: Application) -> None:
    wanted = Variant(stocked=10)
    orders = [an_order() for _ in range(50)]
    await system.sell(*orders)
    await system.stock(wanted)
    answers = await together(
        *(system.post(order.claims, order.replace_claim(wanted)) for order in orders)
    )
    short = f"Variant with id: {wanted.id} does not have the required inventory"
    assert counted(answers) == {200: 10, (400, short): 40}
    assert await system.level(wanted.id) == Level(10, 10)
    for order, answer in zip(orders, answers, strict=True):
        shown = await system.order(order.id)
        assert len(shown["claims"]) == (answer.status == 200)
        assert shown["items"][0]["returned_quantity"] == 0
    await system.verify()


async def test_claims_that_want_two_variants_in_both_orders_do_not_block_each_other(
    system: Application,
) -> None:
    left, right = Variant(stocked=6), Variant(stocked=4)
    orders = [an_order() for _ in range(20)]
    await system.sell(*orders)
    await system.stock(left, right)
    pairs = [[left.times(), right.times()], [right.times(), left.times()]]
    bodies = [
        order.replace_claim(left, additional_items=pairs[number % 2])
        for number, order in enumerate(orders)
    ]
    answers = await together(
        *(system.post(order.claims, body) for order, body in zip(orders, bodies, strict=True))
    )
    outcomes = counted(answers)
    assert outcomes.pop(200) == 4
    assert {status for status, _ in outcomes} == {400}
    assert await system.level(left.id) == Level(6, 4)
    assert await system.level(right.id) == Level(4, 4)
    await system.verify()


async def test_stock_that_a_canceled_claim_gives_back_is_there_for_the_next(
    system: Application,
) -> None:
    wanted = Variant(stocked=5)
    first = [an_order() for _ in range(5)]
    second = [an_order() for _ in range(5)]
    await system.sell(*first, *second)
    await system.stock(wanted)
    made = await together(*(system.post(each.claims, each.replace_claim(wanted)) for each in first))
    assert counted(made) == {200: 5}
    cancels = [
        system.post(f"{order.claims}/{answer.order['claims'][0]['id']}/cancel")
        for order, answer in zip(first, made, strict=True)
    ]
    claims = [system.post(order.claims, order.replace_claim(wanted)) for order in second]
    answers = await together(*cancels, *claims)
    assert counted(answers[:5]) == {200: 5}
    got = sum(answer.status == 200 for answer in answers[5:])
    assert {answer.status for answer in answers[5:]} <= {200, 400}
    assert await system.level(wanted.id) == Level(5, got)
    await system.verify()


# ---------------------------------------------------------------------------------- one unit


async def test_of_ten_claims_on_one_unit_one_succeeds(system: Application) -> None:
    order = await system.sell(an_order())
    answers = await together(*(system.post(order.claims, order.refund_claim()) for _ in range(10)))
    assert counted(answers) == {200: 1, (400, MORE_THAN_FULFILLED): 9}
    shown = await system.order(order.id)
    assert len(shown["claims"]) == len(shown["refunds"]) == 1
    await system.verify()


async def test_of_ten_replacements_of_one_unit_one_keeps_stock(system: Application) -> None:
    order = await system.sell(an_order())
    other = Variant(stocked=10)
    await system.stock(other)
    answers = await together(
        *(system.post(order.claims, order.replace_claim(other)) for _ in range(10))
    )
    assert counted(answers) == {200: 1, (400, MORE_THAN_FULFILLED): 9}
    await system.rest()
    assert await system.level(other.id) == Level(10, 1)
    await system.verify()


@pytest.mark.parametrize("units", [1, 3])
async def test_a_unit_that_is_claimed_and_returned_at_once_has_one_remedy(
    system: Application, units: int
) -> None:
    order = await system.sell(an_order(Line(units)))
    claims = [system.post(order.claims, order.refund_claim()) for _ in range(5)]
    body = {"items": [order.line.units()]}
    returns = [system.post(order.returns, body) for _ in range(5)]
    answers = await together(*(call for pair in zip(claims, returns, strict=True) for call in pair))
    claimed, returned = counted(answers[::2]), counted(answers[1::2])
    assert claimed[200] + returned[200] == units
    assert set(claimed) <= {200, (400, MORE_THAN_FULFILLED)}
    assert set(returned) <= {200, (400, MORE_THAN_PURCHASED)}
    (line,) = (await system.order(order.id))["items"]
    assert line["id"] == order.line.id
    ledger = await system.ledger(order.id)
    assert ledger["refunded"] == 1200 * claimed[200]
    await system.verify()


async def test_claims_on_different_lines_of_an_order_do_not_disturb_each_other(
    system: Application,
) -> None:
    order = await system.sell(an_order(*(Line() for _ in range(10))))
    bodies = [{"type": "refund", "claim_items": [line.claimed()]} for line in order.lines]
    answers = await together(*(system.post(order.claims, body) for body in bodies))
    assert counted(answers) == {200: 10}
    shown = await system.order(order.id)
    assert len(shown["claims"]) == 10
    assert shown["refunded_total"] == order.paid
    await system.verify()


# ---------------------------------------------------------------------------------- one purse


@pytest.mark.parametrize("provider", ["manual", "fake"])
async def test_refunds_by_many_hands_never_exceed_what_was_captured(
    system: Application, provider: str
) -> None:
    order = await system.sell(an_order(provider=provider))
    body = {"amount": 500, "reason": "discount"}
    answers = await together(*(system.post(order.refund, body) for _ in range(10)))
    too_much = "Cannot refund more than the original order amount"
    assert counted(answers) == {200: 2, (400, too_much): 8}
    ledger = await system.ledger(order.id)
    assert (ledger["refunded"], ledger["refund_pending"]) == (1000, 0)
    assert await system.provider_refunds(order) == ([500, 500] if provider == "fake" else [])
    await system.verify()


async def test_claims_and_hands_share_one_purse(system: Application) -> None:
    order = await system.sell(an_order(Line(10), payments=(3000,)))
    claims = [system.post(order.claims, order.refund_claim()) for _ in range(5)]
    hands = [system.post(order.refund, {"amount": 700, "reason": "other"}) for _ in range(5)]
    answers = await together(*(call for pair in zip(claims, hands, strict=True) for call in pair))
    claimed, by_hand = counted(answers[::2]), counted(answers[1::2])
    too_much = (400, "Refund amount is greater that the refundable amount")
    assert set(claimed) <= {200, too_much}
    paid = 1200 * claimed[200] + 700 * by_hand[200]
    assert 3000 - 1200 < paid <= 3000
    assert (await system.ledger(order.id))["refunded"] == paid
    assert len((await system.order(order.id))["claims"]) == claimed[200]
    await system.verify()


async def test_money_that_is_on_its_way_is_promised_to_nobody_else(system: Application) -> None:
    order = await system.sell(an_order(Line(2), provider="fake"))
    # The first answer of this amount is lost, so it is on its way for about a second.
    slow = [system.post(order.refund, {"amount": 1108, "reason": "other"}) for _ in range(3)]
    quick = [system.post(order.claims, order.refund_claim()) for _ in range(2)]
    answers = await together(*slow, *quick)
    by_hand, claimed = counted(answers[:3]), counted(answers[3:])
    paid = 1108 * by_hand[200] + 1200 * claimed[200]
    assert 2400 - 1108 < paid <= order.paid == 2400
    assert {answer.status for answer in answers} <= {200, 400}
    await system.rest()
    assert sum(await system.provider_refunds(order)) == paid
    assert (await system.ledger(order.id))["refunded"] == paid
    await system.verify()


async def test_a_claim_whose_refund_is_on_its_way_cannot_be_canceled(system: Application) -> None:
    order = await system.sell(an_order(provider="fake"))
    refund = asyncio.create_task(system.post(order.claims, order.refund_claim(refund_amount=1108)))
    on_its_way = await eventually(lambda: _claims_of(system, order))
    path = f"{order.claims}/{on_its_way[0]['id']}/cancel"
    meanwhile = await system.post(path)
    assert meanwhile.status == BUSY
    afterwards = await until_answered(system, path, {})
    assert afterwards.message == "Claim with a refund cannot be canceled"
    assert (await refund).order["claims"][0]["refund_amount"] == 1108
    assert await system.provider_refunds(order) == [1108]
    await system.verify()


async def _claims_of(system: Application, order: Order) -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = (await system.order(order.id))["claims"]
    return claims


async def test_a_level_that_is_counted_while_claims_reserve_stays_above_them(
    system: Application,
) -> None:
    wanted = Variant(stocked=5)
    orders = [an_order() for _ in range(12)]
    await system.sell(*orders)
    await system.stock(wanted)
    found = await system.get(f"/admin/inventory-items?variant_id={wanted.id}")
    item = found.json["inventory_items"][0]["id"]
    path = f"/admin/inventory-items/{item}/location-levels/{LOCATION}"
    claims = [system.post(order.claims, order.replace_claim(wanted)) for order in orders]
    counts = [until_answered(system, path, {"stocked_quantity": n}) for n in (8, 3, 6, 0, 9, 4)]
    answers = await together(*claims, *counts)
    assert {answer.status for answer in answers} <= {200, 400}
    level = await system.level(wanted.id)
    assert level.reserved == sum(answer.status == 200 for answer in answers[:12])
    assert level.reserved <= level.stocked
    await system.verify()


async def test_orders_that_are_loaded_again_while_claims_run_lose_nothing(
    system: Application,
) -> None:
    order = await system.sell(an_order(Line(5)))
    claims = [system.post(order.claims, order.refund_claim()) for _ in range(5)]
    imports = [system.post("/admin/import", {"orders": [order.record]}) for _ in range(5)]
    answers = await together(*(call for pair in zip(claims, imports, strict=True) for call in pair))
    assert counted(answers[::2]) == {200: 5}
    assert {answer.status for answer in answers[1::2]} <= {200, BUSY}
    assert (await system.ledger(order.id))["refunded"] == order.paid
    await system.verify()


# ---------------------------------------------------------------------------------- one return


async def a_return(system: Application, quantity: int) -> tuple[Order, str]:
    """An order of so many units, and the address of the return of all of them."""
    order = await system.sell(an_order(Line(quantity)))
    answer = await system.post(order.returns, {"items": [order.line.units(quantity)]})
    return order, f"/admin/returns/{answer.order['returns'][0]['id']}"


async def test_a_return_that_is_received_and_canceled_at_once_ends_one_way(
    system: Application,
) -> None:
    order, path = await a_return(system, 1)
    receipt = until_answered(system, f"{path}/receive", {"items": [order.line.units()]})
    received, canceled = await together(receipt, until_answered(system, f"{path}/cancel", {}))
    shown = await system.order(order.id)
    if received.status == 200:
        assert canceled.message == "Can't cancel a return which has been returned"
        assert shown["returns"][0]["status"] == "received"
        assert shown["refunded_total"] == 1200
    else:
        assert received.message == "Cannot receive a canceled return"
        assert canceled.status == 200
        assert shown["returns"][0]["status"] == "canceled"
        assert shown["refunded_total"] == 0
    await system.verify()


async def test_ten_parcels_at_once_bring_each_unit_once(system: Application) -> None:
    order, path = await a_return(system, 6)
    parcel = {"items": [order.line.units()]}
    answers = await together(
        *(until_answered(system, f"{path}/receive", parcel) for _ in range(10))
    )
    assert sum(answer.status == 200 for answer in answers) == 6
    assert {answer.status for answer in answers} == {200, 400}
    shown = await system.order(order.id)
    assert shown["returns"][0]["status"] == "received"
    assert shown["items"][0]["returned_quantity"] == 6
    assert shown["refunded_total"] == order.paid
    assert await system.level(order.line.variant.id) == Level(1006, 0)
    await system.verify()


async def test_a_claim_that_is_canceled_by_many_is_canceled_once(system: Application) -> None:
    order = await system.sell(an_order())
    other = Variant(stocked=3)
    await system.stock(other)
    (made,) = (await system.post(order.claims, order.replace_claim(other))).order["claims"]
    path = f"{order.claims}/{made['id']}/cancel"
    answers = await together(*(until_answered(system, path, {}) for _ in range(10)))
    assert counted(answers) == {200: 10}
    assert await system.level(other.id) == Level(3, 0)
    said = await system.rows(
        "claims",
        "SELECT id FROM outbox WHERE aggregateid = :id AND routing_key LIKE '%canceled%'",
        id=made["id"],
    )
    assert len(said) == 1
    await system.verify()


async def test_a_claim_canceled_while_its_return_arrives_stays_whole(system: Application) -> None:
    order = await system.sell(an_order())
    other = Variant(stocked=3)
    await system.stock(other)
    body = order.replace_claim(other, return_shipping={})
    made = (await system.post(order.claims, body)).order
    return_ = f"/admin/returns/{made['returns'][0]['id']}"
    receipt = until_answered(system, f"{return_}/receive", {"items": [order.line.units()]})
    cancel = until_answered(system, f"{order.claims}/{made['claims'][0]['id']}/cancel", {})
    received, canceled = await together(receipt, cancel)
    assert received.status == 200
    assert canceled.message == "Return must be canceled before the claim can be canceled"
    assert await system.level(other.id) == Level(3, 1)
    await system.verify()


async def test_a_claim_and_its_return_canceled_at_once_leave_nothing_half(
    system: Application,
) -> None:
    order = await system.sell(an_order())
    other = Variant(stocked=3)
    await system.stock(other)
    body = order.replace_claim(other, return_shipping={})
    made = (await system.post(order.claims, body)).order
    of_claim = until_answered(system, f"{order.claims}/{made['claims'][0]['id']}/cancel", {})
    of_return = until_answered(system, f"/admin/returns/{made['returns'][0]['id']}/cancel", {})
    claim, return_ = await together(of_claim, of_return)
    assert return_.status == 200
    if claim.status != 200:
        assert claim.message == "Return must be canceled before the claim can be canceled"
    assert await system.level(other.id) == Level(3, 0 if claim.status == 200 else 1)
    await system.verify()
