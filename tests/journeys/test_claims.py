"""Claims and returns from the first call to the last, in both ways to run the application."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journeys.shop import LOCATION, RETURN_OPTION, Line, Order, Variant, an_order
from tests.journeys.system import Answer, Application, Level, fresh_key

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # One installation of each kind serves them all.
    pytest.mark.xdist_group("journeys"),
]

MORE_THAN_FULFILLED = "Cannot claim more of an item than has been fulfilled."
# The return option costs 3.50 plus 20 % tax.
RETURN_COST = 420


async def claim(system: Application, order: Order, body: dict[str, Any]) -> dict[str, Any]:
    """Open a claim; the newest claim of the order."""
    claims: list[dict[str, Any]] = (await system.post(order.claims, body)).order["claims"]
    parts = [part["amount"] for part in claims[-1]["explanation"]]
    assert sum(parts) == (claims[-1]["refund_amount"] or 0), "the explanation adds up"
    return claims[-1]


async def request_return(
    system: Application, order: Order, quantity: int = 1, **more: Any
) -> dict[str, Any]:
    """Request a return of units of the order's first line; the newest return of the order."""
    body = {"items": [order.lines[0].units(quantity)], **more}
    returns: list[dict[str, Any]] = (await system.post(order.returns, body)).order["returns"]
    return returns[-1]


async def receive(
    system: Application, return_: dict[str, Any], line: Line, quantity: int = 1, **more: Any
) -> dict[str, Any]:
    """Book a parcel; the return after it."""
    body = {"items": [line.units(quantity)], **more}
    answer = await system.post(f"/admin/returns/{return_['id']}/receive", body)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json["return"]
    return found


async def cancel_claim(system: Application, order: Order, claim_: dict[str, Any]) -> Answer:
    return await system.post(f"{order.claims}/{claim_['id']}/cancel")


def line_of(order: dict[str, Any], line: Line) -> dict[str, Any]:
    (found,) = [item for item in order["items"] if item["id"] == line.id]
    return dict(found)


async def refunded(system: Application, order: Order) -> int:
    """What went back, in the order, in its refunds and in its ledger: they agree."""
    shown = await system.order(order.id)
    ledger = await system.ledger(order.id)
    total = sum(refund["amount"] for refund in shown["refunds"])
    assert shown["refunded_total"] == total == ledger["refunded"]
    assert ledger["refund_pending"] == 0
    return int(total)


# ---------------------------------------------------------------------------------- claims


async def test_a_refund_claim_pays_exactly_once(system: Application) -> None:
    order = await system.sell(an_order())
    answer = await system.post(order.claims, order.refund_claim())
    (made,) = answer.order["claims"]
    assert made["type"] == "refund"
    assert made["payment_status"] == "refunded"
    assert made["refund_amount"] == order.paid == 1200
    assert [refund["amount"] for refund in answer.order["refunds"]] == [1200]
    assert answer.order["payment_status"] == "refunded"
    assert await refunded(system, order) == 1200
    await system.verify()


@pytest.mark.parametrize("provider", ["manual", "fake"])
async def test_a_refund_claim_with_a_given_amount_pays_that(
    system: Application, provider: str
) -> None:
    order = await system.sell(an_order(provider=provider))
    made = await claim(system, order, order.refund_claim(refund_amount=500))
    assert made["refund_amount"] == 500
    assert await refunded(system, order) == 500
    assert await system.provider_refunds(order) == ([500] if provider == "fake" else [])
    assert (await system.order(order.id))["payment_status"] == "partially_refunded"
    await system.verify()


async def test_an_amount_of_nothing_is_no_refund(system: Application) -> None:
    order = await system.sell(an_order())
    made = await claim(system, order, order.refund_claim(refund_amount=0))
    assert made["refund_amount"] == 0
    assert made["payment_status"] == "not_refunded"
    assert await refunded(system, order) == 0
    await system.verify()


async def test_goods_of_a_refunded_claim_come_back_without_a_second_refund(
    system: Application,
) -> None:
    order = await system.sell(an_order(Line(2)))
    made = await claim(system, order, order.refund_claim(2, return_shipping={}))
    (return_,) = (await system.order(order.id))["returns"]
    assert return_["claim_order_id"] == made["id"]
    assert return_["refund_amount"] == made["refund_amount"] == 2400
    before = await system.level(order.line.variant.id)
    received = await receive(system, return_, order.line, 2)
    assert received["status"] == "received"
    assert received["refund_amount"] == 2400
    shown = await system.order(order.id)
    assert line_of(shown, order.line)["returned_quantity"] == 2
    assert shown["fulfillment_status"] == "returned"
    assert await system.level(order.line.variant.id) == Level(before.stocked + 2, 0)
    assert await refunded(system, order) == 2400
    await system.verify()


async def test_a_refund_named_at_the_receipt_of_a_claim_is_capped_by_what_is_left(
    system: Application,
) -> None:
    order = await system.sell(an_order())
    await claim(system, order, order.refund_claim(refund_amount=1000, return_shipping={}))
    (return_,) = (await system.order(order.id))["returns"]
    received = await receive(system, return_, order.line, refund=900)
    assert received["status"] == "received"
    assert await refunded(system, order) == order.paid == 1200
    await system.verify()


async def test_a_replace_claim_reserves_and_refunds_nothing(system: Application) -> None:
    order = await system.sell(an_order(Line(2)))
    other = Variant(stocked=5, price=1500)
    await system.stock(other)
    made = await claim(system, order, order.replace_claim(other, 2))
    assert made["payment_status"] == "na"
    assert made["refund_amount"] is None
    (sent,) = made["additional_items"]
    assert (sent["variant_id"], sent["quantity"], sent["unit_price"]) == (other.id, 2, 1500)
    assert [tax["rate"] for tax in sent["tax_lines"]] == [20]
    assert await system.level(other.id) == Level(5, 2)
    assert await refunded(system, order) == 0
    await system.verify()


async def test_goods_of_a_replaced_claim_come_back_without_any_refund(
    system: Application,
) -> None:
    order = await system.sell(an_order())
    other = Variant(stocked=1)
    await system.stock(other)
    await claim(system, order, order.replace_claim(other, return_shipping={}))
    (return_,) = (await system.order(order.id))["returns"]
    assert return_["refund_amount"] == 0
    received = await receive(system, return_, order.line)
    assert received["status"] == "received"
    assert await refunded(system, order) == 0
    assert await system.level(other.id) == Level(1, 1)
    await system.verify()


@pytest.mark.parametrize("provider", ["manual", "fake"])
@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_refund_claim_may_send_something_too(
    system: Application, provider: str, comes_back: bool
) -> None:
    order = await system.sell(an_order(provider=provider))
    gift = Variant(stocked=3)
    await system.stock(gift)
    extra = {"return_shipping": {}} if comes_back else {}
    body = order.refund_claim(additional_items=[gift.times()], **extra)
    made = await claim(system, order, body)
    assert made["payment_status"] == "refunded"
    assert made["refund_amount"] == 1200
    assert len((await system.order(order.id))["returns"]) == comes_back
    assert await system.level(gift.id) == Level(3, 1)
    assert await refunded(system, order) == 1200
    assert await system.provider_refunds(order) == ([1200] if provider == "fake" else [])
    await system.verify()


async def test_what_is_not_kept_in_stock_can_replace_without_a_reservation(
    system: Application,
) -> None:
    order = await system.sell(an_order())
    service = Variant(stocked=None)
    await system.stock(service)
    made = await claim(system, order, order.replace_claim(service))
    assert made["status"] == "open"
    await system.verify()


async def test_a_backorder_may_be_promised_beyond_the_stock(system: Application) -> None:
    order = await system.sell(an_order())
    later = Variant(stocked=0, allow_backorder=True)
    await system.stock(later)
    await claim(system, order, order.replace_claim(later))
    assert await system.level(later.id) == Level(0, 1)
    await system.verify()


async def test_canceling_a_claim_releases_stock_and_units(system: Application) -> None:
    order = await system.sell(an_order())
    other = Variant(stocked=1)
    await system.stock(other)
    made = await claim(system, order, order.replace_claim(other))
    assert await system.level(other.id) == Level(1, 1)
    answer = await cancel_claim(system, order, made)
    (canceled,) = answer.order["claims"]
    assert canceled["status"] == "canceled"
    assert canceled["canceled_at"] is not None
    assert await system.level(other.id) == Level(1, 0)
    assert line_of(answer.order, order.line)["remedied_quantity"] == 0
    again = await claim(system, order, order.replace_claim(other))
    assert again["id"] != made["id"]
    assert await system.level(other.id) == Level(1, 1)
    await system.verify()


async def test_canceling_a_claim_twice_changes_nothing_more(system: Application) -> None:
    order = await system.sell(an_order())
    other = Variant(stocked=1)
    await system.stock(other)
    made = await claim(system, order, order.replace_claim(other))
    first = await cancel_claim(system, order, made)
    second = await cancel_claim(system, order, made)
    assert second.order["claims"] == first.order["claims"]
    said = await system.rows(
        "claims",
        "SELECT id FROM outbox WHERE aggregateid = :id AND routing_key LIKE '%canceled%'",
        id=made["id"],
    )
    assert len(said) == 1
    await system.verify()


async def test_a_claim_whose_return_is_open_is_canceled_only_after_it(
    system: Application,
) -> None:
    order = await system.sell(an_order())
    other = Variant(stocked=1)
    await system.stock(other)
    made = await claim(system, order, order.replace_claim(other, return_shipping={}))
    refused = await cancel_claim(system, order, made)
    assert refused.status == 400
    assert refused.message == "Return must be canceled before the claim can be canceled"
    assert await system.level(other.id) == Level(1, 1)
    await system.verify()
    (return_,) = (await system.order(order.id))["returns"]
    canceled = (await system.post(f"/admin/returns/{return_['id']}/cancel")).order
    assert [each["status"] for each in canceled["returns"]] == ["canceled"]
    assert line_of(canceled, order.line)["remedied_quantity"] == 1, "the claim still holds it"
    await system.verify()
    (gone,) = (await cancel_claim(system, order, made)).order["claims"]
    assert gone["status"] == "canceled"
    assert await system.level(other.id) == Level(1, 0)
    await system.verify()


async def test_a_refunded_claim_cannot_be_canceled(system: Application) -> None:
    order = await system.sell(an_order())
    made = await claim(system, order, order.refund_claim())
    refused = await cancel_claim(system, order, made)
    assert refused.status == 400
    assert refused.message == "Claim with a refund cannot be canceled"
    assert (await system.order(order.id))["claims"][0]["canceled_at"] is None
    assert await refunded(system, order) == 1200
    await system.verify()


async def test_a_claim_is_found_under_its_own_order_only(system: Application) -> None:
    order, other = an_order(), an_order()
    await system.sell(order, other)
    made = await claim(system, order, order.refund_claim())
    refused = await cancel_claim(system, other, made)
    assert refused.status == 404
    expected = f"no claim was found with the id: {made['id']} related to order: {other.id}"
    assert refused.message == expected


async def test_a_client_that_does_not_wait_asks_later_with_its_key(system: Application) -> None:
    order = await system.sell(an_order())
    key, body = fresh_key(), order.refund_claim()
    accepted = await system.post(order.claims, body, key, prefer="respond-async")
    assert accepted.status == 202
    assert accepted.headers["location"] == f"/admin/orders/{order.id}"
    await system.rest()
    (made,) = (await system.post(order.claims, body, key)).order["claims"]
    assert made["payment_status"] == "refunded"
    assert await refunded(system, order) == 1200
    await system.verify()


@pytest.mark.parametrize("provider", ["manual", "fake"])
async def test_everything_that_happens_is_told_once(system: Application, provider: str) -> None:
    order = await system.sell(an_order(Line(2), provider=provider))
    other = Variant(stocked=1)
    await system.stock(other)
    refund = await claim(system, order, order.refund_claim(return_shipping={}))
    (back,) = (await system.order(order.id))["returns"]
    await receive(system, back, order.line)
    replace = await claim(system, order, order.replace_claim(other))
    await cancel_claim(system, order, replace)
    own = await request_return(system, order)
    await receive(system, own, order.line)
    gone = await system.post(order.returns, {"items": [order.line.units()]})
    assert gone.status == 400
    await system.rest()
    assert await said(system, refund["id"]) == [
        "claims.claim.created.v1",
        "claims.claim.refunded.v1",
        "claims.claim.confirmed.v1",
    ]
    assert await said(system, replace["id"]) == [
        "claims.claim.created.v1",
        "claims.claim.confirmed.v1",
        "claims.claim.canceled.v1",
    ]
    for return_ in (back, own):
        assert await said(system, return_["id"]) == [
            "returns.return.requested.v1",
            "returns.return.received.v1",
        ]
    told = await said(system, order.id)
    assert sorted(told) == [
        *["orders.order.items-returned.v1"] * 2,
        *["orders.order.refunded.v1"] * 2,
    ]
    await system.verify()


async def said(system: Application, id_: str) -> list[str]:
    """The events about something, in the order in which they were told."""
    service = {"claim": "claims", "ret": "returns", "order": "orders"}[id_.split("_")[0]]
    rows = await system.rows(
        service,
        "SELECT routing_key FROM outbox WHERE aggregateid = :id AND aggregateversion IS NOT NULL"
        " ORDER BY aggregateversion",
        id=id_,
    )
    return [row["routing_key"] for row in rows]


# ---------------------------------------------------------------------------------- returns


async def test_a_return_is_requested_received_and_refunded(system: Application) -> None:
    order = await system.sell(an_order(Line(2)))
    return_ = await request_return(system, order, 2)
    assert return_["status"] == "requested"
    assert return_["refund_amount"] == 2400
    assert await refunded(system, order) == 0
    before = await system.level(order.line.variant.id)
    received = await receive(system, return_, order.line, 2)
    assert received["status"] == "received"
    assert received["refund_amount"] == 2400
    assert await refunded(system, order) == 2400
    assert await system.level(order.line.variant.id) == Level(before.stocked + 2, 0)
    shown = await system.order(order.id)
    assert shown["fulfillment_status"] == "returned"
    assert line_of(shown, order.line)["returned_quantity"] == 2
    await system.verify()


async def test_a_return_may_be_received_at_once(system: Application) -> None:
    order = await system.sell(an_order())
    return_ = await request_return(system, order, receive_now=True)
    assert return_["status"] == "received"
    assert await refunded(system, order) == 1200
    await system.verify()


async def test_the_way_back_is_taken_off_once(system: Application) -> None:
    order = await system.sell(an_order(Line(2)))
    return_ = await request_return(system, order, 2, return_shipping={"option_id": RETURN_OPTION})
    assert return_["refund_amount"] == 2400 - RETURN_COST
    await receive(system, return_, order.line)
    assert await refunded(system, order) == 1200 - RETURN_COST
    await receive(system, return_, order.line)
    assert await refunded(system, order) == 2400 - RETURN_COST
    await system.verify()


async def test_a_second_parcel_brings_the_rest(system: Application) -> None:
    order = await system.sell(an_order(Line(5)))
    return_ = await request_return(system, order, 4)
    first = await receive(system, return_, order.line, 1)
    assert first["status"] == "requires_action"
    assert await refunded(system, order) == 1200
    second = await receive(system, return_, order.line, 3)
    assert second["status"] == "received"
    (item,) = second["items"]
    assert (item["requested_quantity"], item["received_quantity"]) == (4, 4)
    assert await refunded(system, order) == 4800
    shown = await system.order(order.id)
    assert shown["fulfillment_status"] == "partially_returned"
    assert line_of(shown, order.line)["returned_quantity"] == 4
    await system.verify()


async def test_a_parcel_may_bring_what_nobody_announced_and_never_more_than_was_bought(
    system: Application,
) -> None:
    order = await system.sell(an_order(Line(3)))
    return_ = await request_return(system, order, 2)
    path = f"/admin/returns/{return_['id']}/receive"
    refused = await system.post(path, {"items": [order.line.units(4)]})
    assert refused.status == 400
    assert "more" in refused.message
    assert await refunded(system, order) == 0
    booked = await system.post(path, {"items": [order.line.units(3)]})
    assert booked.status == 200
    assert booked.json["return"]["status"] == "requires_action"
    again = await system.post(path, {"items": [order.line.units(1)]})
    assert again.status == 400
    assert await refunded(system, order) == 3600
    await system.verify()


async def test_a_receipt_may_be_without_a_refund(system: Application) -> None:
    order = await system.sell(an_order())
    return_ = await request_return(system, order)
    received = await receive(system, return_, order.line, refund=0)
    assert received["status"] == "received"
    assert await refunded(system, order) == 0
    await system.verify()


async def test_a_canceled_return_gives_its_units_back(system: Application) -> None:
    order = await system.sell(an_order())
    return_ = await request_return(system, order)
    body = {"items": [order.line.units()]}
    taken = await system.post(order.returns, body)
    assert taken.status == 400
    assert taken.message == "Cannot return more items than have been purchased"
    canceled = (await system.post(f"/admin/returns/{return_['id']}/cancel")).order
    assert [each["status"] for each in canceled["returns"]] == ["canceled"]
    assert line_of(canceled, order.line)["remedied_quantity"] == 0
    refused = await system.post(f"/admin/returns/{return_['id']}/receive", body)
    assert refused.message == "Cannot receive a canceled return"
    again = await request_return(system, order)
    assert again["status"] == "requested"
    await system.verify()


async def test_what_was_received_cannot_be_canceled(system: Application) -> None:
    order = await system.sell(an_order(Line(2)))
    return_ = await request_return(system, order, 2)
    await receive(system, return_, order.line)
    refused = await system.post(f"/admin/returns/{return_['id']}/cancel")
    assert refused.status == 400
    assert refused.message == "Can't cancel a return which has been returned"
    await system.verify()


async def test_a_receipt_at_a_place_without_the_item_changes_nothing(
    system: Application,
) -> None:
    order = await system.sell(an_order())
    await system.load({"stock_locations": [{"id": f"sloc_{order.id}", "name": "Elsewhere"}]})
    return_ = await request_return(system, order)
    path = f"/admin/returns/{return_['id']}/receive"
    elsewhere = {"items": [order.line.units()], "location_id": f"sloc_{order.id}"}
    refused = await system.post(path, elsewhere)
    assert refused.status == 404
    assert refused.message.startswith("Inventory level for inventory item ")
    assert refused.message.endswith(f" and location sloc_{order.id} not found")
    assert await refunded(system, order) == 0
    assert (await system.order(order.id))["returns"][0]["status"] == "requested"
    await system.verify()
    received = await receive(system, return_, order.line, location_id=LOCATION)
    assert received["status"] == "received"
    assert await refunded(system, order) == 1200
    await system.verify()


# ---------------------------------------------------------------------------------- money


@pytest.mark.parametrize("provider", ["manual", "fake"])
async def test_a_refund_by_hand_takes_what_is_left_and_no_more(
    system: Application, provider: str
) -> None:
    order = await system.sell(an_order(provider=provider))
    body = {"amount": 700, "reason": "discount", "note": "sorry"}
    shown = (await system.post(order.refund, body)).order
    assert [refund["amount"] for refund in shown["refunds"]] == [700]
    refused = await system.post(order.refund, body)
    assert refused.status == 400
    assert refused.message == "Cannot refund more than the original order amount"
    assert await refunded(system, order) == 700
    assert (await system.post(order.refund, body | {"amount": 500})).status == 200
    assert await refunded(system, order) == order.paid
    assert await system.provider_refunds(order) == ([700, 500] if provider == "fake" else [])
    await system.verify()


@pytest.mark.parametrize("providers", [("manual",), ("fake",), ("manual", "fake")])
async def test_a_refund_is_split_over_the_captured_payments(
    system: Application, providers: tuple[str, ...]
) -> None:
    order = await system.sell(an_order(Line(2), payments=(1000, 1400), provider=providers))
    await claim(system, order, order.refund_claim(1))
    ledger = await system.ledger(order.id)
    posted = [
        (transfer["payment_id"], transfer["amount"])
        for transfer in ledger["transfers"]
        if transfer["kind"] == "refund" and transfer["state"] == "posted"
    ]
    assert sorted(posted) == [(f"pay_{order.id}_1", 1000), (f"pay_{order.id}_2", 200)]
    of_provider = {("manual",): [], ("fake",): [200, 1000], ("manual", "fake"): [200]}[providers]
    assert sorted(await system.provider_refunds(order)) == of_provider
    assert await refunded(system, order) == 1200
    await system.verify()


# Three units for 9.99 less 1.00 with two taxes; seven for 0.01; tax in thousandths; a gift.
UNEVEN = (
    Line(3, price=333, discount=100, rates=(12.5, 7)),
    Line(7, price=1, rates=(20,)),
    Line(6, price=1999, discount=1000, rates=(8.875,)),
    Line(4, price=500, discount=2000, rates=(20,)),
    Line(5, price=101, discount=3, rates=(0,)),
    Line(9, price=1234, discount=1, rates=(5.5, 2.5)),
)


@pytest.mark.parametrize("sold", UNEVEN, ids=lambda line: f"{line.quantity}x{line.price}")
async def test_units_that_come_back_one_by_one_sum_to_what_was_paid(
    system: Application, sold: Line
) -> None:
    line = Line(sold.quantity, sold.price, sold.discount, sold.rates)
    order = await system.sell(an_order(line))
    for unit in range(line.quantity):
        if unit % 3 == 2:
            await request_return(system, order, receive_now=True)
        else:
            await claim(system, order, order.refund_claim())
    assert await refunded(system, order) == line.paid
    over = await system.post(order.claims, order.refund_claim())
    assert over.message == MORE_THAN_FULFILLED
    await system.verify()


async def test_all_units_at_once_are_worth_what_was_paid(system: Application) -> None:
    lines = [Line(each.quantity, each.price, each.discount, each.rates) for each in UNEVEN]
    order = await system.sell(an_order(*lines))
    items = [line.claimed(line.quantity) for line in lines]
    made = await claim(system, order, {"type": "refund", "claim_items": items})
    assert made["refund_amount"] == order.paid
    assert await refunded(system, order) == order.paid
    await system.verify()


async def test_a_canceled_remedy_gives_its_cents_to_the_next(system: Application) -> None:
    line = Line(3, price=333, discount=100, rates=(12.5, 7))
    order = await system.sell(an_order(line))
    for _ in range(3):
        return_ = await request_return(system, order)
        await system.post(f"/admin/returns/{return_['id']}/cancel")
    await claim(system, order, order.refund_claim(1))
    await request_return(system, order, 2, receive_now=True)
    assert await refunded(system, order) == line.paid
    await system.verify()


async def test_a_discount_is_not_paid_back(system: Application) -> None:
    order = await system.sell(an_order(Line(1, price=8000, discount=800, rates=())))
    made = await claim(system, order, order.refund_claim())
    assert made["refund_amount"] == 7200
    assert await refunded(system, order) == 7200
    await system.verify()


async def test_goods_that_were_never_sent_are_claimed_without_a_refund(
    system: Application,
) -> None:
    order = await system.sell(an_order(Line(2, shipped=0, fulfilled=2)))
    made = await claim(system, order, order.refund_claim(2))
    assert made["refund_amount"] == 0
    assert made["payment_status"] == "not_refunded"
    assert await refunded(system, order) == 0
    canceled = (await cancel_claim(system, order, made)).order
    assert canceled["claims"][0]["status"] == "canceled"
    await system.verify()


async def test_units_named_twice_in_one_claim_count_once(system: Application) -> None:
    order = await system.sell(an_order(Line(3)))
    twice = {"type": "refund", "claim_items": [order.line.claimed(), order.line.claimed()]}
    made = await claim(system, order, twice)
    assert made["refund_amount"] == 2400
    refused = await system.post(order.claims, twice)
    assert refused.status == 400
    assert refused.message == MORE_THAN_FULFILLED
    assert await refunded(system, order) == 2400
    last = await claim(system, order, order.refund_claim())
    assert last["refund_amount"] == 1200
    await system.verify()


async def test_a_unit_has_one_remedy_whatever_its_kind(system: Application) -> None:
    order = await system.sell(an_order(Line(2)))
    await request_return(system, order, 1)
    other = Variant(stocked=5)
    await system.stock(other)
    made = await claim(system, order, order.replace_claim(other, 1))
    assert (await system.post(order.claims, order.refund_claim())).message == MORE_THAN_FULFILLED
    refused = await system.post(order.returns, {"items": [order.line.units()]})
    assert refused.message == "Cannot return more items than have been purchased"
    await cancel_claim(system, order, made)
    await claim(system, order, order.refund_claim())
    assert await refunded(system, order) == 1200
    await system.verify()
