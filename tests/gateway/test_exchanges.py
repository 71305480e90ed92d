"""Exchanges (Medusa's swaps) over HTTP: goods back, other goods out, the difference either way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from chassis.testing import eventually
from deploy.verify import verify
from tests.gateway import medusa
from tests.gateway.builders import Door
from tests.gateway.conftest import OpenGateway

Json = dict[str, Any]
HERE = medusa.LOCATION
BACK = "/admin/orders/test-order/swaps"


def a_document(
    *, tax_rate: float = 20, gross_prices: bool = False, provider: str = "manual", **item: Any
) -> Json:
    """Two pieces of 1000 at 20 %, paid with 2400 and sent; goods of 400, 1000 and 1500."""
    document = medusa.a_base(
        medusa.a_variant("test-variant", 1000),
        medusa.a_variant("cheap", 400),
        medusa.a_variant("same", 1000),
        medusa.a_variant("dear", 1500),
        medusa.a_variant("gone", 1000),
        tax_rate=tax_rate,
    )
    document["regions"][0]["includes_tax"] = gross_prices
    document["inventory_levels"][-1]["stocked_quantity"] = 0
    line = medusa.an_item("test-item", 1000, 2, **{"tax_lines": [medusa.VAT], **item})
    order = medusa.an_order("test-order", line, paid=2400)
    order["payments"][0]["provider_id"] = provider
    document["orders"] = [order]
    document["shipping_options"] = [
        medusa.an_option("to-us", 100),
        medusa.an_option("to-them", 50, is_return=False),
    ]
    document["return_reasons"] = [
        {"id": "rr_size", "value": "size", "label": "Size"},
        {
            "id": "rr_big",
            "value": "big",
            "label": "Too big",
            "parent_return_reason_id": "rr_size",
        },
    ]
    return document


def a_swap(*variants: str, item: str = "test-item", quantity: int = 1, **more: Any) -> Json:
    return {
        "return_items": [{"item_id": item, "quantity": quantity}],
        "additional_items": [{"variant_id": each, "quantity": 1} for each in variants],
        **more,
    }


def the_order(answer: Any) -> Json:
    assert answer.status_code == 200, answer.text
    order: Json = answer.json()["order"]
    return order


def the_swap(answer: Any) -> Json:
    return the_order(answer)["swaps"][-1]


def refused(answer: Any) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["type"], body["message"]


def no(message: str) -> tuple[int, str, str]:
    return 400, "not_allowed", message


def invalid(message: str) -> tuple[int, str, str]:
    return 400, "invalid_data", message


def unknown(message: str) -> tuple[int, str, str]:
    return 404, "not_found", message


async def swap(door: Door, *variants: str, **more: Any) -> Json:
    return the_swap(await door.post(BACK, a_swap(*variants, **more)))


async def act(door: Door, swap_id: str, path: str, body: Any = None, **more: Any) -> Any:
    order_id = more.pop("order_id", "test-order")
    return await door.post(f"/admin/orders/{order_id}/swaps/{swap_id}/{path}", body, **more)


async def levels(door: Door, variant: str) -> tuple[int, int]:
    """(stocked, reserved)."""
    answer = await door.get(f"/admin/inventory-items/iitem_{variant}/location-levels")
    (level,) = answer.json()["inventory_item"]["location_levels"]
    return level["stocked_quantity"], level["reserved_quantity"]


async def said(door: Door, swap_id: str) -> list[str]:
    """Names of what was told of an exchange, in the order of versions."""
    async with door.embedded.services["claims"].database.reading() as tx:
        rows = await tx.fetch(
            "SELECT payload FROM outbox WHERE aggregatetype = 'exchange' AND aggregateid = :id"
            " AND aggregateversion IS NOT NULL ORDER BY aggregateversion",
            id=swap_id,
        )
    return [json.loads(row["payload"])["data"]["name"] for row in rows]


async def sound(door: Door) -> None:
    report = await verify(door.embedded.settings, look_again_after_s=0.1)
    assert report.findings == []


async def untouched(door: Door) -> None:
    """Nothing is held of a refused exchange."""
    order = await door.order("test-order")
    assert (order["swaps"], order["returns"], order["refunds"]) == ([], [], [])
    assert order["items"][0]["quantity"] == 2
    rows = (await door.get("/admin/orders/test-order/claimable")).json()["lines"]
    assert [row["claimable_quantity"] for row in rows] == [2]

    async def nothing_reserved() -> bool:
        # A refusal is told while what was reserved is being released.
        variants = ("same", "cheap", "dear")
        return [(await levels(door, each))[1] for each in variants] == [0, 0, 0]

    await eventually(nothing_reserved)
    await sound(door)


# ---- the difference -----------------------------------------------------------------------------


async def test_a_cheaper_thing_gives_the_difference_back(door: Door) -> None:
    await door.load(a_document())
    order = the_order(await door.post(BACK, a_swap("cheap")))
    (found,) = order["swaps"]
    # One piece was paid with 1200, the other thing costs 480.
    assert found["difference_due"] == -720
    assert (found["payment_status"], found["fulfillment_status"]) == (
        "difference_refunded",
        "not_fulfilled",
    )
    assert found["confirmed_at"] is not None
    assert found["cart_id"] is None
    assert found["return_order"]["status"] == "requested"
    assert found["return_order"]["swap_id"] == found["id"]
    assert found["return_order"]["claim_order_id"] is None
    (line,) = found["additional_items"]
    assert (line["swap_id"], line["claim_order_id"], line["variant_id"]) == (
        found["id"],
        None,
        "cheap",
    )
    assert (line["subtotal"], line["tax_total"], line["total"]) == (400, 80, 480)
    (refund,) = order["refunds"]
    assert (refund["amount"], refund["reason"]) == (720, "swap")
    assert (order["refunded_total"], order["payment_status"]) == (720, "partially_refunded")
    assert (order["claims"], len(order["returns"])) == ([], 1)
    assert await levels(door, "cheap") == (10, 1)
    assert await said(door, found["id"]) == [
        "swap.created",
        "swap.refund_processed",
        "swap.payment_completed",
    ]
    assert sum(part["amount"] for part in found["explanation"]) == 720
    await sound(door)


async def test_the_same_price_moves_no_money(door: Door) -> None:
    await door.load(a_document())
    order = the_order(await door.post(BACK, a_swap("same")))
    (found,) = order["swaps"]
    assert (found["difference_due"], found["payment_status"]) == (0, "confirmed")
    assert found["payment"] is None
    assert (order["refunds"], order["payment_status"]) == ([], "captured")
    assert await said(door, found["id"]) == ["swap.created", "swap.payment_completed"]
    # There is nothing to be processed, which is no error.
    again = the_swap(await act(door, found["id"], "process-payment"))
    assert again["payment_status"] == "confirmed"
    assert await said(door, found["id"]) == ["swap.created", "swap.payment_completed"]
    await sound(door)


async def test_a_dearer_thing_waits_for_the_difference(door: Door) -> None:
    await door.load(a_document())
    found = await swap(door, "dear")
    assert (found["difference_due"], found["payment_status"]) == (600, "awaiting")
    assert found["confirmed_at"] is None
    message = "The difference of 600 has not been paid: process the payment of the swap first"
    assert refused(await act(door, found["id"], "fulfillments", {})) == no(message)
    order = the_order(await act(door, found["id"], "process-payment"))
    (found,) = order["swaps"]
    assert found["payment_status"] == "captured"
    assert found["confirmed_at"] is not None
    assert (order["paid_total"], order["refundable_amount"]) == (3000, 3000)
    assert order["payment_status"] == "captured"
    paid = found["payment"]
    assert (paid["amount"], paid["provider_id"], paid["swap_id"]) == (600, "manual", found["id"])
    assert [each["id"] for each in order["payments"]] == ["pay_test-order", paid["id"]]
    one = (await door.get(f"/admin/payments/{paid['id']}")).json()["payment"]
    assert one["swap_id"] == found["id"]
    # Once more, and with another key, it is paid once.
    order = the_order(await act(door, found["id"], "process-payment", key="again"))
    assert order["paid_total"] == 3000
    assert await said(door, found["id"]) == [
        "swap.created",
        "swap.payment_captured",
        "swap.payment_completed",
    ]
    await sound(door)


async def test_two_who_pay_at_once_pay_once(door: Door) -> None:
    await door.load(a_document())
    found = await swap(door, "dear")
    told = await asyncio.gather(
        *(act(door, found["id"], "process-payment", key=f"k{number}") for number in range(4))
    )
    assert {each.status_code for each in told} <= {200, 409}
    assert 200 in {each.status_code for each in told}
    assert (await door.order("test-order"))["paid_total"] == 3000
    await sound(door)


@pytest.mark.parametrize(
    ("item", "variant", "difference"),
    [
        # 10 % off two pieces: 900 net, 1080 with the tax; the other thing costs 480.
        ({"adjustments": [{"amount": 200, "description": "TEN"}]}, "cheap", 480 - 1080),
        # Sold with the tax in the price: 1000 were paid for one.
        ({"includes_tax": True}, "cheap", 480 - 1000),
        ({"includes_tax": True}, "same", 1200 - 1000),
        # An odd discount: the first piece carries the larger share, 849 net, 1019 with the tax.
        ({"adjustments": [{"amount": 301, "description": "ODD"}]}, "same", 1200 - 1019),
        # Two taxes, each rounded by itself: 1000 + 200 + 55.
        ({"tax_lines": [medusa.VAT, {**medusa.VAT, "rate": 5.5}]}, "same", 1200 - 1255),
    ],
)
async def test_what_comes_back_is_worth_what_was_really_paid(
    door: Door, item: Json, variant: str, difference: int
) -> None:
    await door.load(a_document(**item))
    found = await swap(door, variant)
    assert found["difference_due"] == difference
    assert -sum(part["amount"] for part in found["explanation"]) == difference
    await sound(door)


async def test_prices_of_a_region_with_taxes_in_them_are_taken_as_they_are(door: Door) -> None:
    await door.load(a_document(gross_prices=True))
    found = await swap(door, "dear")
    # 1500 contain 250 of tax.
    assert found["difference_due"] == 1500 - 1200
    (line,) = found["additional_items"]
    assert line["includes_tax"]
    assert (line["subtotal"], line["tax_total"], line["total"]) == (1250, 250, 1500)
    await sound(door)


async def test_shipping_is_charged_both_ways_when_it_is_asked_for(door: Door) -> None:
    """The return at 100 and 20 % tax, the way out at 30 and 20 %."""
    await door.load(a_document())
    found = await swap(
        door,
        "same",
        return_shipping={"option_id": "to-us"},
        custom_shipping_options=[{"option_id": "to-them", "price": 30}],
    )
    assert found["difference_due"] == 120 + 36
    assert found["return_order"]["shipping_method"]["price"] == 100
    (method,) = found["shipping_methods"]
    assert (method["price"], method["swap_id"]) == (30, found["id"])
    assert method["shipping_option"]["id"] == "to-them"
    two = [{"option_id": "to-them", "price": 1}, {"option_id": "to-us", "price": 2}]
    answer = await door.post(BACK, a_swap("same", custom_shipping_options=two))
    message = (
        "A swap has no cart to choose a shipping option in: give one of custom_shipping_options"
    )
    assert refused(answer) == invalid(message)
    await sound(door)


async def test_a_declined_refund_stands_and_is_asked_for_again(
    open_gateway: OpenGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider declines what ends in 02, for good; a refund by hand is the way out."""
    monkeypatch.setenv("RECLAMO_FAKE_PROVIDER_FILE", str(tmp_path / "fake.sqlite"))
    door = await open_gateway()
    document = a_document(provider="fake")
    document["variants"].append(medusa.a_variant("odd", 915))  # 1098 with the tax
    document["inventory_levels"].append(
        {"variant_id": "odd", "location_id": HERE, "stocked_quantity": 1}
    )
    await door.load(document)
    found = await swap(door, "odd")
    assert (found["difference_due"], found["payment_status"]) == (-102, "requires_action")
    assert found["confirmed_at"] is None
    order = await door.order("test-order")
    assert (order["refunds"], order["refunded_total"]) == ([], 0)
    message = "The payment provider declined the refund: card closed"
    assert refused(await act(door, found["id"], "process-payment")) == no(message)
    assert (await door.order("test-order"))["swaps"][0]["payment_status"] == "requires_action"
    assert await said(door, found["id"]) == [
        "swap.created",
        "swap.process_refund_failed",
        "swap.process_refund_failed",
    ]
    # The shop owes the customer, not the other way round: it may send.
    packed = the_swap(await act(door, found["id"], "fulfillments", {}))
    assert packed["fulfillment_status"] == "fulfilled"
    await sound(door)


async def test_a_refund_of_a_provider_goes_out_once(
    open_gateway: OpenGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first answer is lost for amounts that end in 08."""
    monkeypatch.setenv("RECLAMO_FAKE_PROVIDER_FILE", str(tmp_path / "fake.sqlite"))
    door = await open_gateway()
    document = a_document(provider="fake")
    document["variants"].append(medusa.a_variant("odd", 910))  # 1092 with the tax
    document["inventory_levels"].append(
        {"variant_id": "odd", "location_id": HERE, "stocked_quantity": 1}
    )
    await door.load(document)
    found = await swap(door, "odd")
    assert (found["difference_due"], found["payment_status"]) == (-108, "difference_refunded")
    assert (await door.order("test-order"))["refunded_total"] == 108
    await sound(door)


# ---- what is refused, and holds nothing ---------------------------------------------------------


async def test_only_what_was_paid_and_sent_is_exchanged(door: Door) -> None:
    document = a_document()
    fresh = medusa.an_item("fresh-item", 1000, fulfilled_quantity=0, shipped_quantity=0)
    document["orders"] += [
        medusa.an_order("unpaid", medusa.an_item("unpaid-item", 1000)),
        medusa.an_order("unsent", fresh, paid=1000, fulfillment_status="not_fulfilled"),
    ]
    await door.load(document)
    answer = await door.post("/admin/orders/unpaid/swaps", a_swap("same", item="unpaid-item"))
    assert refused(answer) == no("Cannot swap an order that has not been captured")
    answer = await door.post("/admin/orders/unsent/swaps", a_swap("same", item="fresh-item"))
    assert refused(answer) == no("Cannot swap an order that has not been fulfilled")
    answer = await door.post("/admin/orders/nobody/swaps", a_swap("same"))
    assert refused(answer) == unknown("Order with id nobody was not found")
    await untouched(door)


async def test_a_refused_exchange_says_why_and_holds_nothing(door: Door) -> None:
    document = a_document()
    document["variants"].append(medusa.a_variant("free", 0, prices=[]))
    other = medusa.an_item("else-item", 1000)
    document["orders"].append(medusa.an_order("else", other, paid=1000))
    await door.load(document)
    refusals = {
        "stock": (a_swap("gone"), no("Variant with id: gone does not have the required inventory")),
        "units": (
            a_swap("same", quantity=3),
            no("Cannot return more items than have been purchased"),
        ),
        "line": (a_swap("same", item="nothing"), unknown("Line item with nothing was not found")),
        "foreign": (
            a_swap("same", item="else-item"),
            invalid("Return contains invalid line item"),
        ),
        "price": (
            a_swap("free"),
            invalid('Cannot generate line item for variant "free" without a price'),
        ),
        "variant": (
            a_swap("nowhere"),
            invalid("Unable to generate the line items, some variant has not been found: nowhere"),
        ),
        "nothing out": (a_swap(), invalid("Swaps must have at least one additional item.")),
        "option": (
            a_swap("same", return_shipping={"option_id": "nope"}),
            unknown("Shipping Option with id: nope was not found"),
        ),
        "reason": (
            {
                **a_swap("same"),
                "return_items": [{"item_id": "test-item", "quantity": 1, "reason_id": "rr_size"}],
            },
            invalid("Cannot apply return reason category"),
        ),
    }
    for why, (body, told) in refusals.items():
        assert refused(await door.post(BACK, body)) == told, why
    answer = await door.post(BACK, {"return_items": [], "additional_items": []})
    assert refused(answer) == invalid("Swaps must have at least one return item.")
    answer = await door.post(BACK, {**a_swap("same"), "cart_id": "cart_1"})
    assert refused(answer) == invalid("property cart_id should not exist")
    await untouched(door)


async def test_a_unit_is_claimed_or_exchanged_but_not_both(door: Door) -> None:
    await door.load(a_document())
    await swap(door, "same")
    item = {"item_id": "test-item", "quantity": 2, "reason": "wrong_item"}
    claim = {"type": "refund", "claim_items": [item]}
    answer = await door.post("/admin/orders/test-order/claims", claim)
    assert refused(answer) == no("Cannot claim more of an item than has been fulfilled.")
    answer = await door.post(BACK, a_swap("same", quantity=2))
    assert refused(answer) == no("Cannot return more items than have been purchased")
    back = {"items": [{"item_id": "test-item", "quantity": 2}]}
    answer = await door.post("/admin/orders/test-order/return", back)
    assert refused(answer) == no("Cannot return more items than have been purchased")
    item["quantity"] = 1
    the_order(await door.post("/admin/orders/test-order/claims", claim))
    answer = await door.post(BACK, a_swap("same"))
    assert refused(answer) == no("Cannot return more items than have been purchased")
    await sound(door)


async def test_many_at_once_exchange_no_unit_twice(door: Door) -> None:
    await door.load(a_document())
    item = {"item_id": "test-item", "quantity": 1, "reason": "wrong_item"}
    claim = {"type": "refund", "claim_items": [item]}
    told = await asyncio.gather(
        *(door.post(BACK, a_swap("cheap")) for _ in range(3)),
        *(door.post("/admin/orders/test-order/claims", claim) for _ in range(3)),
    )
    assert sum(each.status_code == 200 for each in told) == 2
    order = await door.order("test-order")
    assert len(order["swaps"]) + len(order["claims"]) == 2
    assert order["refunded_total"] <= 2400
    await sound(door)


async def test_what_was_refunded_by_hand_is_not_credited_once_more(door: Door) -> None:
    """Of 2400 there are 1100 left: 100 of the piece's 1200 went back already."""
    await door.load(a_document())
    body = {"amount": 1300, "reason": "other"}
    the_order(await door.post("/admin/orders/test-order/refund", body))
    found = await swap(door, "dear")
    assert found["difference_due"] == 1800 - 1100
    assert -100 in [part["amount"] for part in found["explanation"] if part["part"] == "cap"]
    the_order(await door.post("/admin/orders/test-order/refund", {**body, "amount": 1100}))
    found = await swap(door, "same")
    assert found["difference_due"] == 1200
    await sound(door)


async def test_the_same_key_is_the_same_exchange(door: Door) -> None:
    await door.load(a_document())
    first = await door.post(BACK, a_swap("cheap"), key="swap-1")
    again = await door.post(BACK, a_swap("cheap"), key="swap-1")
    assert again.content == first.content
    other = await door.post(BACK, a_swap("same"), key="swap-1")
    assert other.status_code == 422
    assert len((await door.order("test-order"))["swaps"]) == 1
    await sound(door)


# ---- goods out and goods back -------------------------------------------------------------------


async def test_goods_are_packed_sent_and_come_back_in_their_turn(door: Door) -> None:
    """M75."""
    await door.load(a_document())
    found = await swap(door, "cheap")
    packed = the_swap(await act(door, found["id"], "fulfillments", {}))
    assert packed["fulfillment_status"] == "fulfilled"
    (fulfillment,) = packed["fulfillments"]
    assert (fulfillment["swap_id"], fulfillment["claim_order_id"]) == (found["id"], None)
    assert await levels(door, "cheap") == (9, 0)
    again = await act(door, found["id"], "fulfillments", {})
    assert refused(again) == no("The swap was already fulfilled")
    body = {"fulfillment_id": fulfillment["id"], "tracking_numbers": ["A1"]}
    order = the_order(await act(door, found["id"], "shipments", body))
    (sent,) = order["swaps"]
    assert sent["fulfillment_status"] == "shipped"
    assert order["fulfillment_status"] == "fulfilled"
    path = f"fulfillments/{fulfillment['id']}/cancel"
    assert refused(await act(door, found["id"], path)) == no(
        "The fulfillment has already been shipped. Shipped fulfillments cannot be canceled"
    )
    assert (await said(door, found["id"]))[3:] == [
        "swap.fulfillment_created",
        "swap.shipment_created",
    ]
    # What was given back arrives: its money was settled with the exchange.
    arrived = await door.post(
        f"/admin/returns/{sent['return_order']['id']}/receive",
        {"items": [{"item_id": "test-item", "quantity": 1}]},
    )
    received = arrived.json()["return"]
    assert (received["status"], received["swap_id"]) == ("received", found["id"])
    assert received["swap"]["id"] == found["id"]

    async def told() -> bool:
        return (await said(door, found["id"]))[-1] == "swap.received"

    assert await eventually(told)
    order = await door.order("test-order")
    assert order["refunded_total"] == 720
    assert order["fulfillment_status"] == "partially_returned"
    assert order["items"][0]["quantity"] == 1
    # The new thing may come back too: it is worth what it cost.
    (line,) = order["swaps"][0]["additional_items"]
    assert line["refundable"] == 480
    shown = await door.get("/admin/orders/test-order?expand=returnable_items")
    returnable = shown.json()["order"]["returnable_items"]
    assert [each["id"] for each in returnable] == ["test-item", line["id"]]
    back = {"items": [{"item_id": line["id"], "quantity": 1}]}
    order = the_order(await door.post("/admin/orders/test-order/return", back))
    assert order["returns"][-1]["refund_amount"] == 480
    await sound(door)


async def test_what_an_exchange_sent_is_claimed_and_exchanged_for_what_it_cost(door: Door) -> None:
    """M18. 1200 were paid, and 600 more: the dear thing is worth 1800."""
    await door.load(a_document())
    first = await swap(door, "dear")
    the_order(await act(door, first["id"], "process-payment"))
    packed = the_swap(await act(door, first["id"], "fulfillments", {}))
    line = packed["additional_items"][0]["id"]
    body = {"fulfillment_id": packed["fulfillments"][0]["id"]}
    the_order(await act(door, first["id"], "shipments", body))
    second = await swap(door, "cheap", item=line)
    assert second["difference_due"] == 480 - 1800
    order = await door.order("test-order")
    assert order["refunded_total"] == 1320
    packed = the_swap(await act(door, second["id"], "fulfillments", {}))
    line = packed["additional_items"][0]["id"]
    body = {"fulfillment_id": packed["fulfillments"][0]["id"]}
    the_order(await act(door, second["id"], "shipments", body))
    item = {"item_id": line, "quantity": 1, "reason": "wrong_item"}
    claim = {"type": "refund", "claim_items": [item]}
    order = the_order(await door.post("/admin/orders/test-order/claims", claim))
    assert order["claims"][0]["refund_amount"] == 480
    rows = (await door.get("/admin/orders/test-order/claimable")).json()["lines"]
    assert [row["swap_id"] for row in rows] == [None, first["id"], second["id"]]
    await sound(door)


async def test_a_short_parcel_of_an_exchange_waits_and_a_damaged_piece_is_no_stock(
    door: Door,
) -> None:
    await door.load(a_document())
    found = await swap(door, "same", "same", quantity=2)
    assert (found["difference_due"], found["payment_status"]) == (0, "confirmed")
    assert await levels(door, "same") == (10, 2)
    path = f"/admin/returns/{found['return_id']}"
    item = {"item_id": "test-item", "quantity": 1, "damaged_quantity": 1}
    answer = await door.post(f"{path}/receipts", {"items": [item]})
    assert answer.json()["return"]["status"] == "requires_action", answer.text
    assert await levels(door, "test-variant") == (10, 0)
    answer = await door.post(f"{path}/close")
    assert answer.json()["return"]["status"] == "received", answer.text
    order = await door.order("test-order")
    assert (order["refunded_total"], order["items"][0]["returned_quantity"]) == (0, 1)
    await sound(door)


async def test_what_was_not_exchanged_comes_beside_it(door: Door) -> None:
    """Its units get a remedy of their own, and no money: a person decides."""
    await door.load(a_document())
    found = await swap(door, "same")
    parcel = {"items": [{"item_id": "test-item", "quantity": 2}]}
    answer = await door.post(f"/admin/returns/{found['return_id']}/receive", parcel)
    assert answer.json()["return"]["status"] == "requires_action", answer.text
    order = await door.order("test-order")
    assert order["items"][0]["returned_quantity"] == 2
    await sound(door)


# ---- cancel -------------------------------------------------------------------------------------


async def test_an_exchange_is_canceled_in_medusas_order_of_refusals(door: Door) -> None:
    await door.load(a_document())
    cheaper = await swap(door, "cheap")
    assert refused(await act(door, cheaper["id"], "cancel")) == no(
        "Swap with a refund cannot be canceled"
    )
    found = await swap(door, "same")
    packed = the_swap(await act(door, found["id"], "fulfillments", {}))
    assert refused(await act(door, found["id"], "cancel")) == no(
        "All fulfillments must be canceled before the swap can be canceled"
    )
    path = f"fulfillments/{packed['fulfillments'][0]['id']}/cancel"
    unpacked = the_swap(await act(door, found["id"], path))
    assert unpacked["fulfillment_status"] == "canceled"
    assert await levels(door, "same") == (10, 1)
    assert refused(await act(door, found["id"], "cancel")) == no(
        "Return must be canceled before the swap can be canceled"
    )
    answer = await door.post(f"/admin/returns/{found['return_id']}/cancel")
    assert answer.status_code == 200, answer.text
    canceled = the_swap(await act(door, found["id"], "cancel"))
    assert canceled["canceled_at"] is not None
    assert (canceled["payment_status"], canceled["fulfillment_status"]) == ("canceled", "canceled")
    assert await levels(door, "same") == (10, 0)
    # Once more changes nothing, and its unit is free.
    the_order(await act(door, found["id"], "cancel"))
    assert (await said(door, found["id"]))[-1] == "swap.canceled"
    assert refused(await act(door, found["id"], "process-payment")) == no(
        "Canceled swap cannot be processed"
    )
    assert refused(await act(door, found["id"], "fulfillments", {})) == no(
        "Canceled swap cannot be fulfilled"
    )
    await swap(door, "same")
    await sound(door)


async def test_a_difference_that_was_paid_is_paid_back_once_by_the_cancel(door: Door) -> None:
    await door.load(a_document())
    found = await swap(door, "dear")
    the_order(await act(door, found["id"], "process-payment"))
    answer = await door.post(f"/admin/returns/{found['return_id']}/cancel")
    assert answer.status_code == 200, answer.text
    order = the_order(await act(door, found["id"], "cancel"))
    assert order["swaps"][0]["payment_status"] == "canceled"
    (refund,) = order["refunds"]
    assert (refund["amount"], refund["reason"]) == (600, "swap")
    assert [each["amount_refunded"] for each in order["payments"]] == [0, 600]
    assert (order["refunded_total"], order["refundable_amount"]) == (600, 2400)
    order = the_order(await act(door, found["id"], "cancel", key="again"))
    assert order["refunded_total"] == 600
    await sound(door)


async def test_no_more_is_paid_back_than_is_left_of_the_difference(door: Door) -> None:
    """Somebody refunded all of it by hand meanwhile."""
    await door.load(a_document())
    found = await swap(door, "dear")
    the_order(await act(door, found["id"], "process-payment"))
    body = {"amount": 2700, "reason": "other"}
    the_order(await door.post("/admin/orders/test-order/refund", body))
    await door.post(f"/admin/returns/{found['return_id']}/cancel")
    order = the_order(await act(door, found["id"], "cancel"))
    assert [each["amount"] for each in order["refunds"]] == [2700, 300]
    assert order["payment_status"] == "refunded"
    await sound(door)


async def test_an_order_with_an_exchange_is_not_canceled(door: Door) -> None:
    document = a_document()
    document["orders"][0]["fulfillments"] = []
    await door.load(document)
    found = await swap(door, "same")
    assert refused(await door.post("/admin/orders/test-order/cancel")) == no(
        "All swaps must be canceled before canceling an order"
    )
    await door.post(f"/admin/returns/{found['return_id']}/cancel")
    the_order(await act(door, found["id"], "cancel"))
    order = the_order(await door.post("/admin/orders/test-order/cancel"))
    assert order["status"] == "canceled"
    await sound(door)


# ---- reads --------------------------------------------------------------------------------------


async def test_swaps_are_listed_and_read_in_medusas_shape(door: Door) -> None:
    """M137."""
    await door.load(a_document())
    first, second = await swap(door, "same"), await swap(door, "dear")
    page = (await door.get("/admin/swaps")).json()
    assert [each["id"] for each in page["swaps"]] == [second["id"], first["id"]]
    assert (page["count"], page["offset"], page["limit"]) == (2, 0, 50)
    page = (await door.get("/admin/swaps?limit=1&offset=1")).json()
    assert [each["id"] for each in page["swaps"]] == [first["id"]]
    found = (await door.get(f"/admin/swaps/{second['id']}")).json()["swap"]
    assert set(found) == {
        *("id", "fulfillment_status", "payment_status", "order_id", "difference_due"),
        *("shipping_address_id", "cart_id", "confirmed_at", "canceled_at", "no_notification"),
        *("allow_backorder", "idempotency_key", "metadata", "created_at", "updated_at"),
        *("deleted_at", "additional_items", "return_order", "fulfillments", "payment"),
        *("shipping_address", "shipping_methods", "order"),
    }
    assert (found["difference_due"], found["order"]["id"]) == (600, "test-order")
    assert found["return_order"]["id"] == second["return_id"]
    assert found["additional_items"][0]["variant"]["id"] == "dear"
    assert found["allow_backorder"] is True
    assert refused(await door.get("/admin/swaps/swap_x")) == unknown("Swap was not found")
    assert refused(await door.get("/admin/swaps?order_id=1")) == invalid(
        "property order_id should not exist"
    )
    listed = (await door.get("/admin/returns")).json()["returns"]
    assert {each["swap"]["id"] for each in listed} == {first["id"], second["id"]}
    one = (await door.get(f"/admin/returns?swap_id={first['id']}")).json()["returns"]
    assert [each["swap_id"] for each in one] == [first["id"]]


async def test_what_a_difference_is_made_of_is_told_line_by_line(door: Door) -> None:
    await door.load(a_document(adjustments=[{"amount": 200, "description": "TEN"}]))
    found = await swap(door, "cheap", return_shipping={"option_id": "to-us"})
    whole = (await door.get(f"/admin/exchanges/{found['id']}")).json()["exchange"]
    parts = [(part["part"], part["amount"]) for part in whole["explanation"]]
    assert parts == [
        ("goods", 1000),
        ("discount", -100),
        ("tax", 180),
        ("shipping", -120),
        ("exchange", -480),
    ]
    assert whole["explanation"][-1]["rule"] == "1 x 400 test product, 20% tax"
    assert whole["return_items"] == [{"item_id": "test-item", "quantity": 1}]
    assert [each["kind"] for each in whole["timeline"]] == ["claim"]
    assert refused(await door.get("/admin/exchanges/swap_x")) == unknown("Swap was not found")


async def test_an_exchange_is_no_claim(door: Door) -> None:
    await door.load(a_document())
    found = await swap(door, "same")
    assert (await door.get("/admin/claims")).json()["claims"] == []
    for queue in ("needs_review", "waiting_for_return", "stuck"):
        assert (await door.get(f"/admin/claims?queue={queue}")).json()["claims"] == []
    not_found = unknown(f"Claim with {found['id']} was not found")
    for answer in (
        await door.get(f"/admin/claims/{found['id']}"),
        await door.post(f"/admin/claims/{found['id']}/close"),
        await door.post(f"/admin/claims/{found['id']}/refund", {}),
        await door.post(f"/admin/claims/{found['id']}/convert", {"type": "refund"}),
    ):
        assert refused(answer) == not_found
    of_order = f"no claim was found with the id: {found['id']} related to order: test-order"
    answer = await door.post(f"/admin/orders/test-order/claims/{found['id']}/cancel")
    assert refused(answer) == unknown(of_order)
    item = {"item_id": "test-item", "quantity": 1, "reason": "wrong_item"}
    claim = {"type": "refund", "claim_items": [item]}
    order = the_order(await door.post("/admin/orders/test-order/claims", claim))
    claim_id = order["claims"][0]["id"]
    no_swap = f"no swap was found with the id: {claim_id} related to order: test-order"
    for path in ("cancel", "process-payment", "fulfillments"):
        assert refused(await act(door, claim_id, path)) == unknown(no_swap)
    body = {"fulfillment_id": "ful_x"}
    assert refused(await act(door, claim_id, "shipments", body)) == unknown(no_swap)
    assert refused(await act(door, found["id"], "cancel", order_id="else")) == unknown(
        f"no swap was found with the id: {found['id']} related to order: else"
    )


async def test_the_goods_of_an_exchange_are_among_the_reservations_of_its_order(door: Door) -> None:
    await door.load(a_document())
    found = await swap(door, "same")
    page = (await door.get("/admin/orders/test-order/reservations?expand=line_item")).json()
    (one,) = page["reservations"]
    assert one["line_item_id"] == found["additional_items"][0]["id"]
    assert one["line_item"]["order"]["id"] == "test-order"
    answer = await door.post(f"/admin/reservations/{one['id']}", {"quantity": 2})
    assert answer.status_code == 400


async def test_the_memo_of_an_exchange_says_what_its_refund_is_made_of(door: Door) -> None:
    await door.load(a_document())
    await swap(door, "cheap")

    async def written() -> Json:
        found: list[Json] = (await door.get("/admin/credit-memos")).json()["credit_memos"]
        assert len(found) == 1
        return found[0]

    memo = await eventually(written)
    assert (memo["amount"], memo["cause_kind"], memo["reason"]) == (720, "exchange", "swap")
    assert sum(line["amount"] for line in memo["lines"]) == 720


async def test_asked_for_parts_only_those_are_answered(door: Door) -> None:
    """As in Medusa the creation takes ``expand`` and ``fields``."""
    await door.load(a_document())
    answer = await door.post(f"{BACK}?expand=returnable_items&fields=id", a_swap("same"))
    order = the_order(answer)
    assert "status" not in order
    assert [each["id"] for each in order["returnable_items"]] == ["test-item"]
