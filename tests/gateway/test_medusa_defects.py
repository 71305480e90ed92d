"""What the original gets wrong, each by its number: these would fail with its behavior; and cases
of its own tests that need orders of their own kind.

One shop serves them all, so each test brings its orders.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from deploy.verify import verify
from tests.gateway import medusa
from tests.gateway.builders import Door, Json

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("medusas-defects"),
]
VAT25 = {"rate": 25, "code": "vat", "name": "vat"}
_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(shared_door: Door) -> Door:
    """Region, places, options and two variants."""
    document = medusa.a_base(
        medusa.a_variant("test-variant", 8000), medusa.a_variant("test-variant-2", 8000), stock=1000
    )
    document["shipping_options"] = [
        medusa.an_option("test-option", 1000, is_return=False),
        medusa.an_option("test-return-option", 1000),
    ]
    await shared_door.load(document)
    return shared_door


async def _sold(shop: Door, *items: Json, **more: Any) -> str:
    """A paid order of these lines; its id."""
    order_id = f"order_{next(_numbers)}"
    paid = more.pop("paid", sum(item["unit_price"] * item["quantity"] for item in items))
    await shop.load({"orders": [medusa.an_order(order_id, *items, paid=paid, **more)]})
    return order_id


def _item(price: int = 1000, quantity: int = 1, **more: Any) -> Json:
    return medusa.an_item(f"item_{next(_numbers)}", price, quantity, **more)


def _units(item: Json, quantity: Any = 1, **more: Any) -> Json:
    return {"item_id": item["id"], "quantity": quantity, **more}


async def _post(shop: Door, path: str, body: Json | None = None) -> Json:
    answer = await shop.post(path, body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def _claim(shop: Door, order_id: str, *units: Json, **more: Any) -> Json:
    """The order after a claim."""
    items = [{"reason": "wrong_item", **each} for each in units]
    body = {"type": "refund", "claim_items": items, **more}
    found: Json = (await _post(shop, f"/admin/orders/{order_id}/claims", body))["order"]
    return found


async def _return(shop: Door, order_id: str, *units: Json, **more: Any) -> Json:
    """The newest return of the order."""
    body = {"items": list(units), **more}
    order = (await _post(shop, f"/admin/orders/{order_id}/return", body))["order"]
    found: Json = max(order["returns"], key=lambda each: (each["created_at"], each["id"]))
    return found


async def _receive(shop: Door, returned: Json, *units: Json, **more: Any) -> Json:
    path = f"/admin/returns/{returned['id']}/receive"
    found: Json = (await _post(shop, path, {"items": list(units), **more}))["return"]
    return found


async def _stock(shop: Door, variant_id: str = "test-variant") -> tuple[int, int]:
    """(stocked, reserved) over all places."""
    page = (await shop.get(f"/admin/inventory-items?variant_id={variant_id}")).json()
    (item,) = page["inventory_items"]
    return item["stocked_quantity"], item["reserved_quantity"]


def _refused(answer: Any) -> tuple[int, str, str]:
    told = answer.json()
    return answer.status_code, told["type"], told["message"]


async def _sound(shop: Door) -> None:
    report = await verify(shop.embedded.settings, look_again_after_s=0.1)
    assert report.findings == []


# ---- money --------------------------------------------------------------------------------------


async def test_a_discounted_line_is_claimed_for_what_was_paid(shop: Door) -> None:
    """D6: the original gives back 8000."""
    item = _item(8000, adjustments=[{"amount": 800, "description": "SALE"}])
    order_id = await _sold(shop, item, paid=7200)
    order = await _claim(shop, order_id, _units(item))
    assert (order["claims"][0]["refund_amount"], order["refunded_total"]) == (7200, 7200)


async def test_a_claim_is_refunded_once_however_often_it_is_asked_for(shop: Door) -> None:
    """D1, D9: the original makes a second claim and a second refund of every repeat."""
    item = _item(1000, 4)
    order_id = await _sold(shop, item)
    body = {"type": "refund", "claim_items": [{**_units(item), "reason": "other"}]}
    path = f"/admin/orders/{order_id}/claims"
    answers = [await shop.post(path, body, key=f"again-{order_id}") for _ in range(3)]
    assert {answer.content for answer in answers} == {answers[0].content}
    order = await shop.order(order_id)
    assert (len(order["claims"]), order["refunded_total"], len(order["refunds"])) == (1, 1000, 1)


@pytest.mark.parametrize("quantity", [0, -1, 1.5, "1"])
async def test_a_quantity_below_one_is_refused_everywhere(shop: Door, quantity: Any) -> None:
    """D11: the original gives back -1200 for -1, and takes a unit out of stock."""
    item = _item(1000, 2)
    order_id = await _sold(shop, item)
    returned = await _return(shop, order_id, _units(item))
    before = await shop.order(order_id), await _stock(shop)
    units = _units(item, quantity)
    claim = {"type": "refund", "claim_items": [{**units, "reason": "other"}]}
    out = {"variant_id": "test-variant", "quantity": quantity}
    calls = [
        (f"/admin/orders/{order_id}/claims", claim),
        (
            f"/admin/orders/{order_id}/claims",
            {
                "type": "replace",
                "claim_items": [{**_units(item), "reason": "other"}],
                "additional_items": [out],
            },
        ),
        (f"/admin/returns/{returned['id']}/receive", {"items": [units]}),
        (f"/admin/orders/{order_id}/fulfillment", {"items": [units]}),
    ]
    if quantity != "1":  # a return request reads a numeric text
        calls.append((f"/admin/orders/{order_id}/return", {"items": [units]}))
    for path, body in calls:
        status, type_, message = _refused(await shop.post(path, body))
        assert (status, type_) == (400, "invalid_data"), path
        assert message.startswith("quantity must "), path
    assert (await shop.order(order_id), await _stock(shop)) == before


async def test_a_claim_of_a_negative_amount_is_refused(shop: Door) -> None:
    """D11."""
    item = _item(1000, 2)
    order_id = await _sold(shop, item)
    claim = {"type": "refund", "claim_items": [{**_units(item), "reason": "other"}]}
    answer = await shop.post(f"/admin/orders/{order_id}/claims", {**claim, "refund_amount": -500})
    message = "refund_amount must not be less than 0"
    assert _refused(answer) == (400, "invalid_data", message)
    assert (await shop.order(order_id))["claims"] == []


async def test_units_of_a_discounted_line_add_up_to_what_was_paid(shop: Door) -> None:
    """D20: 3 x 1000 less 100 come back as 2900, and the first carries the larger share."""
    item = _item(1000, 3, adjustments=[{"amount": 100, "description": "SALE"}])
    one_by_one = await _sold(shop, item, paid=2900)
    amounts = []
    for _ in range(3):
        returned = await _return(shop, one_by_one, _units(item))
        amounts.append(returned["refund_amount"])
        await _receive(shop, returned, _units(item))
    assert (sum(amounts), amounts[0]) == (2900, 967)
    assert (await shop.order(one_by_one))["refunded_total"] == 2900
    whole = _item(1000, 3, adjustments=[{"amount": 100, "description": "SALE"}])
    at_once = await _sold(shop, whole, paid=2900)
    assert (await _return(shop, at_once, _units(whole, 3)))["refund_amount"] == 2900


async def test_goods_received_at_once_are_paid_and_counted(shop: Door) -> None:
    """D17: with the original they come into stock, and nothing else happens."""
    item = _item(1000, 2)
    order_id = await _sold(shop, item)
    stocked, reserved = await _stock(shop)
    place = {"receive_now": True, "location_id": medusa.LOCATION}
    returned = await _return(shop, order_id, _units(item), **place)
    assert (returned["status"], returned["received_at"] is not None) == ("received", True)
    order = await shop.order(order_id)
    assert [(row["amount"], row["reason"]) for row in order["refunds"]] == [(1000, "return")]
    assert (order["fulfillment_status"], order["payment_status"]) == (
        "partially_returned",
        "partially_refunded",
    )
    assert order["items"][0]["returned_quantity"] == 1
    assert await _stock(shop) == (stocked + 1, reserved)


async def test_only_captured_money_can_be_given_back(shop: Door) -> None:
    """D21: of three payments one is captured, one waits, one was canceled with the order."""
    item = _item(1000, 3)
    payments = [
        {"id": f"pay_{next(_numbers)}", "amount": 1000, "provider_id": "manual"} for _ in range(2)
    ]
    order_id = f"order_{next(_numbers)}"
    payments[1]["captured_at"] = medusa.CREATED
    order = medusa.an_order(order_id, item, paid=1, payments=payments)
    await shop.load({"orders": [order]})
    assert (await shop.order(order_id))["refundable_amount"] == 1000
    refund = f"/admin/orders/{order_id}/refund"
    too_much = await shop.post(refund, {"amount": 1001, "reason": "other"})
    message = "Refund amount is greater that the refundable amount"
    assert _refused(too_much) == (400, "not_allowed", message)
    order = (await _post(shop, refund, {"amount": 1000, "reason": "other"}))["order"]
    assert order["refundable_amount"] == 0
    given = {each["id"]: each["amount_refunded"] for each in order["payments"]}
    assert given == {payments[0]["id"]: 0, payments[1]["id"]: 1000}


async def test_every_refund_shows_in_the_payment_status(shop: Door) -> None:
    """D22: with the original it stays captured."""
    item = _item(1000, 2)
    order_id = await _sold(shop, item)
    order = await _claim(shop, order_id, _units(item))
    assert order["payment_status"] == "partially_refunded"
    returned = await _return(shop, order_id, _units(item))
    await _receive(shop, returned, _units(item))
    assert (await shop.order(order_id))["payment_status"] == "refunded"


@pytest.mark.parametrize(
    ("adjustments", "amount"),
    [
        ([], 1250),
        ([{"amount": 20, "discount_id": "disc_fixed", "description": "FIXED"}], 1225),
        ([{"amount": 100, "discount_id": "disc_10", "description": "TEN"}], 1125),
    ],
    ids=["plain", "fixed", "percentage"],
)
async def test_a_discounts_share_is_not_refunded(
    shop: Door, adjustments: list[Json], amount: int
) -> None:
    """M112: ten pieces of 100 at 25 %; a line of another order is no line of this one."""
    item = _item(100, 10, tax_lines=[VAT25], adjustments=adjustments)
    order_id = await _sold(shop, item, paid=amount)
    foreign = _item(100, 10)
    await _sold(shop, foreign)
    answer = await shop.post(f"/admin/orders/{order_id}/return", {"items": [_units(foreign)]})
    assert _refused(answer) == (400, "invalid_data", "Return contains invalid line item")
    assert (await _return(shop, order_id, _units(item, 10)))["refund_amount"] == amount


@pytest.mark.parametrize("path", ["refund", "payment"])
async def test_a_reason_that_is_none_is_told_so(shop: Door, path: str) -> None:
    """D28: the original answers 500."""
    item = _item()
    order_id = await _sold(shop, item)
    where = f"/admin/orders/{order_id}/refund"
    if path == "payment":
        where = f"/admin/payments/pay_{order_id}/refund"
    answer = await shop.post(where, {"amount": 10, "reason": "whim"})
    message = "reason must be one of the following values: discount, return, swap, claim, other"
    assert _refused(answer) == (400, "invalid_data", message)


# ---- stock --------------------------------------------------------------------------------------


async def test_a_replacement_holds_stock_for_its_line_and_a_refused_one_none(shop: Door) -> None:
    """D12: the line's id is on the reservation, a cancel releases it, nothing is oversold."""
    item = _item(1000, 3)
    order_id = await _sold(shop, item)
    stocked, reserved = await _stock(shop, "test-variant-2")
    out = {"type": "replace", "additional_items": [{"variant_id": "test-variant-2", "quantity": 2}]}
    order = await _claim(shop, order_id, _units(item), **out)
    (claim,) = order["claims"]
    line_id = claim["additional_items"][0]["id"]
    page = (await shop.get(f"/admin/reservations?line_item_id[]={line_id}")).json()
    assert [(each["quantity"], each["line_item_id"]) for each in page["reservations"]] == [
        (2, line_id)
    ]
    assert await _stock(shop, "test-variant-2") == (stocked, reserved + 2)
    too_many = {"variant_id": "test-variant-2", "quantity": stocked}
    claims = f"/admin/orders/{order_id}/claims"
    body = {"claim_items": [{**_units(item), "reason": "other"}], "additional_items": [too_many]}
    assert (await shop.post(claims, {"type": "replace", **body})).status_code == 400
    assert await _stock(shop, "test-variant-2") == (stocked, reserved + 2)
    await _post(shop, f"{claims}/{claim['id']}/cancel")
    assert await _stock(shop, "test-variant-2") == (stocked, reserved)
    await _sound(shop)


async def test_all_reservations_of_a_line_are_released_however_many(shop: Door) -> None:
    """D23: the original deletes all and takes at most ten off their levels."""
    item = _item(1000, 12, fulfilled_quantity=0, shipped_quantity=0)
    order_id = await _sold(shop, item, fulfillment_status="not_fulfilled")
    places = []
    for number in range(12):
        made = await _post(shop, "/admin/stock-locations", {"name": f"{order_id} {number}"})
        places.append(made["stock_location"]["id"])
    level = {"variant_id": "test-variant", "stocked_quantity": 1}
    await shop.load({"inventory_levels": [{**level, "location_id": place} for place in places]})
    page = (await shop.get("/admin/inventory-items?variant_id=test-variant")).json()
    what = {"inventory_item_id": page["inventory_items"][0]["id"], "line_item_id": item["id"]}
    before = await _stock(shop)
    for place in places:
        await _post(shop, "/admin/reservations", {**what, "location_id": place, "quantity": 1})
    assert await _stock(shop) == (before[0], before[1] + 12)
    await _post(shop, f"/admin/orders/{order_id}/cancel")
    assert await _stock(shop) == before
    held = (await shop.get(f"/admin/reservations?line_item_id[]={item['id']}")).json()
    assert held["count"] == 0


async def test_parcels_that_arrive_at_once_lose_no_unit(shop: Door) -> None:
    """D24: the original reads, adds and saves, and so forgets what came meanwhile."""
    items = [_item(1000, 1) for _ in range(8)]
    order_id = await _sold(shop, *items)
    returns = [await _return(shop, order_id, _units(item)) for item in items]
    stocked, reserved = await _stock(shop)
    await asyncio.gather(
        *(
            _receive(shop, each, _units(item), location_id=medusa.LOCATION)
            for each, item in zip(returns, items, strict=True)
        )
    )
    assert await _stock(shop) == (stocked + 8, reserved)


async def test_a_changed_reservation_is_shown(shop: Door) -> None:
    """D25: the original answers {}."""
    page = (await shop.get("/admin/inventory-items?variant_id=test-variant")).json()
    what = {"inventory_item_id": page["inventory_items"][0]["id"], "location_id": medusa.LOCATION}
    made = (await _post(shop, "/admin/reservations", {**what, "quantity": 1}))["reservation"]
    changed = await _post(shop, f"/admin/reservations/{made['id']}", {"quantity": 2})
    assert (changed["reservation"]["id"], changed["reservation"]["quantity"]) == (made["id"], 2)


# ---- claims -------------------------------------------------------------------------------------


async def test_a_replacement_with_a_way_of_its_own(shop: Door) -> None:
    """M22."""
    item = _item(8000)
    order_id = await _sold(shop, item, payments=[], fulfillment_status="fulfilled")
    method = {"option_id": "test-option", "price": 1000, "data": {"carrier": "foot"}}
    out = {"type": "replace", "additional_items": [{"variant_id": "test-variant", "quantity": 1}]}
    order = await _claim(shop, order_id, _units(item), **out, shipping_methods=[method])
    (claim,) = order["claims"]
    (shown,) = claim["shipping_methods"]
    assert (shown["price"], shown["shipping_option_id"], shown["data"]) == (
        *(1000, "test-option"),
        {"carrier": "foot"},
    )
    assert (claim["payment_status"], order["refunds"]) == ("na", [])


async def test_goods_come_back_after_the_money_was_captured(shop: Door) -> None:
    """M72: requested before the capture, received and refunded after it."""
    item = _item(8000, adjustments=[{"amount": 800, "description": "TEST134"}])
    payment = {"id": f"pay_{next(_numbers)}", "amount": 10_000, "provider_id": "manual"}
    order_id = await _sold(shop, item, payments=[payment], payment_status="awaiting")
    returned = await _return(shop, order_id, _units(item))
    await _post(shop, f"/admin/orders/{order_id}/capture")
    received = await _receive(shop, returned, _units(item))
    assert received["status"] == "received"
    order = await shop.order(order_id)
    assert (order["fulfillment_status"], order["payment_status"], order["refunded_total"]) == (
        *("returned", "partially_refunded"),
        7200,
    )


async def test_whoever_hears_an_event_finds_what_it_names(shop: Door) -> None:
    """M138: an event says ids, and each id leads to all that a mail needs."""
    item = _item(8000, 2)
    order_id = await _sold(shop, item, shipping_address=medusa.LEBRON)
    shipping = {"return_shipping": {"option_id": "test-return-option"}}
    returned = await _return(shop, order_id, _units(item), **shipping)
    needed = "items,items.variant,returns,returns.items,returns.shipping_method,shipping_address"
    order = (await shop.get(f"/admin/orders/{order_id}?expand={needed}")).json()["order"]
    (found,) = [each for each in order["returns"] if each["id"] == returned["id"]]
    assert [line["item_id"] for line in found["items"]] == [item["id"]]
    assert found["shipping_method"]["shipping_option_id"] == "test-return-option"
    assert order["items"][0]["variant"]["product"]["title"] == "test product"
    assert order["shipping_address"]["first_name"] == "lebron"
    await _receive(shop, returned, _units(item))
    after = (await shop.get(f"/admin/orders/{order_id}?expand=refunds,returns")).json()["order"]
    assert [refund["reason"] for refund in after["refunds"]] == ["return"]
    alone = (await shop.get(f"/admin/returns/{returned['id']}")).json()["return"]
    assert (alone["status"], alone["order_id"]) == ("received", order_id)
