"""Replacements are packed, sent, unpacked, claimed and returned over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from deploy.verify import verify
from tests.gateway import medusa
from tests.gateway.builders import Door

Json = dict[str, Any]
HERE, THERE = medusa.LOCATION, "sloc_there"
ITEM = {"item_id": "test-item", "quantity": 1, "reason": "wrong_item"}
METHOD = {"option_id": "test-option", "price": 0}


def a_document(*, there: int = 0, **more: Any) -> Json:
    """Two pieces of 1000 at 20 %, paid and sent; a second variant, and a second place."""
    document = medusa.claims_document()
    document["stock_locations"].append({"id": THERE, "name": "There"})
    document["sales_channels"][0]["stock_location_ids"].append(THERE)
    for variant in ("test-variant", "variant-2"):
        document["inventory_levels"].append(
            {"variant_id": variant, "location_id": THERE, "stocked_quantity": there}
        )
    return document | more


async def claimed(door: Door, *variants: str, **more: Any) -> Json:
    """A replace claim for one piece; its order."""
    body = {
        "type": "replace",
        "claim_items": [ITEM],
        "additional_items": [
            {"variant_id": each, "quantity": 1} for each in variants or ("variant-2",)
        ],
        "shipping_methods": [METHOD],
        **more,
    }
    return the_order(await door.post("/admin/orders/test-order/claims", body))


async def act(door: Door, claim_id: str, path: str, body: Any = None, **more: Any) -> Any:
    order_id = more.pop("order_id", "test-order")
    return await door.post(f"/admin/orders/{order_id}/claims/{claim_id}/{path}", body, **more)


async def pack(door: Door, claim_id: str, **body: Any) -> Any:
    return await act(door, claim_id, "fulfillments", body)


async def unpack(door: Door, claim_id: str, fulfillment_id: str, **more: Any) -> Any:
    return await act(door, claim_id, f"fulfillments/{fulfillment_id}/cancel", **more)


async def ship(door: Door, claim_id: str, fulfillment_id: str, **more: Any) -> Any:
    body = {"fulfillment_id": fulfillment_id, **more}
    return await act(door, claim_id, "shipments", body)


async def levels(door: Door, variant: str = "variant-2") -> dict[str, tuple[int, int]]:
    """Location -> (stocked, reserved)."""
    answer = await door.get(f"/admin/inventory-items/iitem_{variant}/location-levels")
    return {
        level["location_id"]: (level["stocked_quantity"], level["reserved_quantity"])
        for level in answer.json()["inventory_item"]["location_levels"]
    }


async def events(door: Door, claim_id: str) -> list[tuple[str, int]]:
    """Names and versions of what was told of a claim."""
    async with door.embedded.services["claims"].database.reading() as tx:
        rows = await tx.fetch(
            "SELECT payload FROM outbox WHERE aggregatetype = 'claim' AND aggregateid = :id"
            " AND aggregateversion IS NOT NULL ORDER BY aggregateversion",
            id=claim_id,
        )
    said = [json.loads(row["payload"]) for row in rows]
    return [(each["data"]["name"], each["data"].get("fulfillment_id")) for each in said]


async def sound(door: Door) -> None:
    report = await verify(door.embedded.settings, look_again_after_s=0.1)
    assert report.findings == []


def the_order(answer: Any) -> Json:
    assert answer.status_code == 200, answer.text
    order: Json = answer.json()["order"]
    return order


def the_claim(answer: Any) -> Json:
    (claim,) = the_order(answer)["claims"]
    return claim


def refused(answer: Any) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["type"], body["message"]


def no(message: str) -> tuple[int, str, str]:
    return 400, "not_allowed", message


def unknown(message: str) -> tuple[int, str, str]:
    return 404, "not_found", message


# ---- Medusa's cases -----------------------------------------------------------------------------


async def test_all_that_a_claim_owes_is_packed_out_of_what_it_had_reserved(door: Door) -> None:
    """M06, M40; and M43."""
    await door.load(a_document())
    before = await claimed(door)
    (claim,) = before["claims"]
    assert (await levels(door))[HERE] == (10, 1)
    order = the_order(await pack(door, claim["id"]))
    (claim,) = order["claims"]
    assert claim["fulfillment_status"] == "fulfilled"
    (line,) = claim["additional_items"]
    assert (line["fulfilled_quantity"], line["shipped_quantity"]) == (1, 0)
    (fulfillment,) = claim["fulfillments"]
    assert fulfillment["claim_order_id"] == claim["id"]
    assert fulfillment["location_id"] == HERE
    assert [(item["item_id"], item["quantity"]) for item in fulfillment["items"]] == [
        (line["id"], 1)
    ]
    assert (await levels(door))[HERE] == (9, 0)
    # The order's own state and lines are as they were.
    assert order["fulfillment_status"] == before["fulfillment_status"]
    assert [each["id"] for each in order["items"]] == ["test-item"]
    assert order["fulfillments"] == []
    assert refused(await pack(door, claim["id"])) == no("The claim has already been fulfilled.")
    assert ("claim.fulfillment_created", fulfillment["id"]) in await events(door, claim["id"])
    await sound(door)


async def test_a_claim_that_does_not_say_how_is_not_packed(door: Door) -> None:
    """M41."""
    await door.load(a_document())
    (claim,) = (await claimed(door, shipping_methods=[]))["claims"]
    message = "Cannot fulfill a claim without a shipping method."
    assert refused(await pack(door, claim["id"])) == no(message)


async def test_a_canceled_claim_is_neither_packed_nor_sent(door: Door) -> None:
    """M42, M48."""
    await door.load(a_document())
    (claim,) = (await claimed(door))["claims"]
    packed = the_claim(await pack(door, claim["id"]))
    fulfillment_id = packed["fulfillments"][0]["id"]
    the_order(await unpack(door, claim["id"], fulfillment_id))
    the_order(await act(door, claim["id"], "cancel"))
    assert refused(await pack(door, claim["id"])) == no("Canceled claim cannot be fulfilled")
    assert refused(await ship(door, claim["id"], fulfillment_id)) == no(
        "Canceled claim cannot be fulfilled as shipped"
    )


async def test_a_refund_sends_nothing(door: Door) -> None:
    """M44."""
    await door.load(a_document())
    (claim,) = (await claimed(door, type="refund"))["claims"]
    message = 'Claims with the type "refund" can not be fulfilled.'
    assert refused(await pack(door, claim["id"])) == no(message)


async def test_what_is_unpacked_is_in_stock_and_reserved_again(door: Door) -> None:
    """M45, D13; then packed again, and the claim can be canceled only in between (M50)."""
    await door.load(a_document())
    (claim,) = (await claimed(door))["claims"]
    packed = the_claim(await pack(door, claim["id"]))
    live = "All fulfillments must be canceled before the claim can be canceled"
    assert refused(await act(door, claim["id"], "cancel")) == no(live)
    fulfillment_id = packed["fulfillments"][0]["id"]
    unpacked = the_claim(await unpack(door, claim["id"], fulfillment_id))
    assert unpacked["fulfillment_status"] == "canceled"
    assert unpacked["additional_items"][0]["fulfilled_quantity"] == 0
    assert unpacked["fulfillments"][0]["canceled_at"] is not None
    assert (await levels(door))[HERE] == (10, 1)
    # Once more changes nothing.
    the_order(await unpack(door, claim["id"], fulfillment_id))
    assert refused(await ship(door, claim["id"], fulfillment_id)) == no(
        "Fulfillment has been canceled"
    )
    again = the_claim(await pack(door, claim["id"]))
    assert (again["fulfillment_status"], len(again["fulfillments"])) == ("fulfilled", 2)
    assert (await levels(door))[HERE] == (9, 0)
    await sound(door)
    second = again["fulfillments"][1]["id"]
    the_order(await unpack(door, claim["id"], second))
    order = the_order(await act(door, claim["id"], "cancel"))
    assert order["claims"][0]["fulfillment_status"] == "canceled"
    assert (await levels(door))[HERE] == (10, 0)
    await sound(door)


async def test_goods_are_sent_with_their_numbers(door: Door) -> None:
    """M47."""
    await door.load(a_document())
    (claim,) = (await claimed(door, no_notification=True))["claims"]
    fulfillment_id = the_claim(await pack(door, claim["id"]))["fulfillments"][0]["id"]
    sent = the_claim(await ship(door, claim["id"], fulfillment_id, tracking_numbers=["A1", "A2"]))
    assert sent["fulfillment_status"] == "shipped"
    assert sent["additional_items"][0]["shipped_quantity"] == 1
    shown = sent["fulfillments"][0]
    assert shown["shipped_at"] is not None
    assert [link["tracking_number"] for link in shown["tracking_links"]] == ["A1", "A2"]
    assert (await events(door, claim["id"]))[-1] == ("claim.shipment_created", fulfillment_id)
    assert refused(await unpack(door, claim["id"], fulfillment_id)) == no(
        "The fulfillment has already been shipped. Shipped fulfillments cannot be canceled"
    )
    await sound(door)


async def test_nothing_is_found_under_another_claim_or_order(door: Door) -> None:
    """M26, M27, M28, D19."""
    document = a_document()
    document["orders"].append(medusa.an_order("else", medusa.an_item("else-item", 1000), paid=1000))
    await door.load(document)
    (claim,) = (await claimed(door))["claims"]
    other = (await claimed(door))["claims"][-1]
    fulfillment_id = the_order(await pack(door, claim["id"]))["claims"][0]["fulfillments"][0]["id"]
    of_claim = f"no fulfillment was found with the id: {fulfillment_id} related to claim: "
    assert refused(await unpack(door, other["id"], fulfillment_id)) == unknown(
        of_claim + other["id"]
    )
    of_order = f"no claim was found with the id: {claim['id']} related to order: else"
    answer = await unpack(door, claim["id"], fulfillment_id, order_id="else")
    assert refused(answer) == unknown(of_order)
    assert refused(await act(door, claim["id"], "cancel", order_id="else")) == unknown(of_order)
    assert refused(await act(door, claim["id"], "fulfillments", order_id="else")) == unknown(
        of_order
    )
    body = {"fulfillment_id": fulfillment_id}
    answer = await act(door, claim["id"], "shipments", body, order_id="else")
    assert refused(answer) == unknown(of_order)
    answer = await ship(door, other["id"], fulfillment_id)
    assert refused(answer) == unknown("Could not find fulfillment")
    answer = await act(door, claim["id"], "shipments", {})
    assert answer.json()["message"] == (
        "fulfillment_id should not be empty, fulfillment_id must be a string"
    )


async def test_a_replacement_comes_back_and_is_worth_what_it_replaced(door: Door) -> None:
    """M74; Medusa would refund the 8000 that it costs, not the 7200 that were paid."""
    await door.load(medusa.orders_document())
    body = {
        "type": "replace",
        "claim_items": [ITEM],
        "additional_items": [{"variant_id": "test-variant-2", "quantity": 1}],
        "shipping_methods": [{"id": "test-method"}],
    }
    order = the_order(await door.post("/admin/orders/test-order/claims", body))
    (claim,) = order["claims"]
    (line,) = claim["additional_items"]
    returned = {
        "items": [{"item_id": line["id"], "quantity": 1}],
        "return_shipping": {"option_id": "test-option", "price": 0},
    }
    assert refused(await door.post("/admin/orders/test-order/return", returned)) == unknown(
        f"Line item with {line['id']} was not found"
    )
    the_order(await pack(door, claim["id"]))
    order = the_order(await door.post("/admin/orders/test-order/return", returned))
    (back,) = order["returns"]
    assert back["refund_amount"] == 7200
    answer = await door.post(
        f"/admin/returns/{back['id']}/receive", {"items": [{"item_id": line["id"], "quantity": 1}]}
    )
    assert answer.json()["return"]["status"] == "received", answer.text
    order = await door.order("test-order")
    assert order["refunded_total"] == 7200
    (line,) = order["claims"][0]["additional_items"]
    assert (line["returned_quantity"], line["quantity"], line["refundable"]) == (1, 0, 0)
    assert (await levels(door, "test-variant-2"))[HERE] == (1, 0)
    await sound(door)


# ---- our own ------------------------------------------------------------------------------------


async def test_a_replacement_is_claimed_like_what_was_bought(door: Door) -> None:
    """M38: refunded at what was paid for it, replaced again, and never twice."""
    await door.load(a_document())
    (claim,) = (await claimed(door, "test-variant", "variant-2"))["claims"]
    lines = [line["id"] for line in claim["additional_items"]]
    packed = the_claim(await pack(door, claim["id"]))
    fulfillment_id = packed["fulfillments"][0]["id"]
    the_order(await ship(door, claim["id"], fulfillment_id))
    wanted = {"type": "refund", "claim_items": [{**ITEM, "item_id": lines[0]}]}
    order = the_order(await door.post("/admin/orders/test-order/claims", wanted))
    # One piece was paid with 1200; two of the same price replaced it.
    assert [each["refund_amount"] for each in order["claims"]] == [None, 600]
    assert order["refunded_total"] == 600
    answer = await door.post("/admin/orders/test-order/claims", wanted)
    assert refused(answer) == no("Cannot claim more of an item than has been fulfilled.")
    order = await claimed(door, claim_items=[{**ITEM, "item_id": lines[1]}])
    third = order["claims"][2]
    assert third["claim_items"][0]["item"]["id"] == lines[1]
    the_order(await pack(door, third["id"]))
    rows = (await door.get("/admin/orders/test-order/claimable")).json()["lines"]
    free = {row["item_id"]: row["claimable_quantity"] for row in rows}
    newest = third["additional_items"][0]["id"]
    assert free == {"test-item": 1, lines[0]: 0, lines[1]: 0, newest: 1}
    back = {"items": [{"item_id": newest, "quantity": 1}]}
    order = the_order(await door.post("/admin/orders/test-order/return", back))
    assert order["returns"][0]["refund_amount"] == 600
    await sound(door)


async def test_what_was_claimed_again_stays_packed(door: Door) -> None:
    await door.load(a_document())
    (claim,) = (await claimed(door))["claims"]
    packed = the_claim(await pack(door, claim["id"]))
    fulfillment_id = packed["fulfillments"][0]["id"]
    line = packed["additional_items"][0]["id"]
    second = (await claimed(door, claim_items=[{**ITEM, "item_id": line}]))["claims"][1]
    message = (
        "Items of the fulfillment have been claimed or returned:"
        " cancel the claim or the return first"
    )
    assert refused(await unpack(door, claim["id"], fulfillment_id)) == no(message)
    order = await door.order("test-order")
    assert order["claims"][0]["fulfillment_status"] == "fulfilled"
    assert (await levels(door))[HERE] == (9, 1)
    the_order(await act(door, second["id"], "cancel"))
    order = the_order(await unpack(door, claim["id"], fulfillment_id))
    assert order["claims"][0]["fulfillment_status"] == "canceled"
    await sound(door)


async def test_what_lies_at_two_places_leaves_in_two_parcels(door: Door) -> None:
    document = a_document(there=1)
    for level in document["inventory_levels"]:
        of_second = level["variant_id"] == "variant-2"
        level["stocked_quantity"] = int(of_second == (level["location_id"] == THERE))
    await door.load(document)
    (claim,) = (await claimed(door, "test-variant", "variant-2"))["claims"]
    packed = the_claim(await pack(door, claim["id"]))
    assert packed["fulfillment_status"] == "fulfilled"
    places = {each["location_id"]: each["id"] for each in packed["fulfillments"]}
    assert set(places) == {HERE, THERE}
    sent = the_claim(await ship(door, claim["id"], places[HERE]))
    assert sent["fulfillment_status"] == "partially_shipped"
    sent = the_claim(await ship(door, claim["id"], places[THERE]))
    assert sent["fulfillment_status"] == "shipped"
    await sound(door)


async def test_a_parcel_without_goods_asks_for_somebody(door: Door) -> None:
    document = a_document(there=1)
    for level in document["inventory_levels"]:
        of_second = level["variant_id"] == "variant-2"
        level["stocked_quantity"] = int(of_second == (level["location_id"] == THERE))
    await door.load(document)
    (claim,) = (await claimed(door, "test-variant", "variant-2"))["claims"]
    # Somebody ended the reservation there and counted nothing.
    rows = (await door.get("/admin/reservations", params={"location_id": THERE})).json()
    await door.delete(f"/admin/reservations/{rows['reservations'][0]['id']}")
    path = f"/admin/inventory-items/iitem_variant-2/location-levels/{THERE}"
    assert (await door.post(path, {"stocked_quantity": 0})).status_code == 200
    half = the_claim(await pack(door, claim["id"]))
    assert half["fulfillment_status"] == "requires_action"
    assert [each["location_id"] for each in half["fulfillments"]] == [HERE]
    assert refused(await pack(door, claim["id"])) == no("Insufficient stock for item: test product")
    assert (await door.post(path, {"stocked_quantity": 1})).status_code == 200
    whole = the_claim(await pack(door, claim["id"]))
    assert whole["fulfillment_status"] == "fulfilled"
    assert len(whole["fulfillments"]) == 2
    await sound(door)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("sloc_nowhere", "Inventory item for test product not found at location"),
        (THERE, "Insufficient stock for item: test product"),
    ],
)
async def test_a_named_place_has_to_have_the_goods(door: Door, location: str, message: str) -> None:
    await door.load(a_document())
    (claim,) = (await claimed(door))["claims"]
    assert refused(await pack(door, claim["id"], location_id=location)) == no(message)
    order = await door.order("test-order")
    assert order["claims"][0]["fulfillment_status"] == "not_fulfilled"
    assert order["claims"][0]["fulfillments"] == []
    assert (await levels(door))[HERE] == (10, 1)
    await sound(door)


async def test_goods_that_are_not_counted_are_packed_too(door: Door) -> None:
    document = a_document()
    document["variants"].append(medusa.a_variant("card", 0, manage_inventory=False))
    await door.load(document)
    (claim,) = (await claimed(door, "card"))["claims"]
    packed = the_claim(await pack(door, claim["id"], metadata={"box": "small"}))
    (fulfillment,) = packed["fulfillments"]
    assert (fulfillment["location_id"], fulfillment["metadata"]) == (None, {"box": "small"})
    the_order(await ship(door, claim["id"], fulfillment["id"]))
    line = packed["additional_items"][0]["id"]
    wanted = {"type": "refund", "claim_items": [{**ITEM, "item_id": line}]}
    order = the_order(await door.post("/admin/orders/test-order/claims", wanted))
    assert order["refunded_total"] == 1200
    await sound(door)


async def test_a_repeat_under_the_same_key_changes_nothing(door: Door) -> None:
    await door.load(a_document())
    (claim,) = (await claimed(door))["claims"]
    first, second = await asyncio.gather(
        *(act(door, claim["id"], "fulfillments", {}, key="pack-1") for _ in range(2))
    )
    assert (first.status_code, first.content) == (200, second.content)
    (fulfillment,) = the_claim(first)["fulfillments"]
    body = {"fulfillment_id": fulfillment["id"], "tracking_numbers": ["A1"]}
    sent = [await act(door, claim["id"], "shipments", body, key="ship-1") for _ in range(2)]
    assert sent[0].content == sent[1].content
    assert (await levels(door))[HERE] == (9, 0)
    await sound(door)


SINS = {
    "claims": [
        ("additional_items SET shipped_quantity", "0", "1", {"I5"}),
        ("claim_fulfillments SET shipped_at", "NULL", "created_at", {"I5", "I16"}),
    ],
    "orders": [
        ("order_lines SET shipped_quantity", "0", "1", {"I16"}),
        ("order_lines SET worth", "1201", "1200", {"I3"}),
        ("parcels SET state", "'withdrawn'", "'shipped'", {"I16"}),
    ],
}


async def test_books_of_a_replacement_that_do_not_agree_are_found(door: Door) -> None:
    await door.load(a_document())
    (claim,) = (await claimed(door))["claims"]
    packed = the_claim(await pack(door, claim["id"]))
    the_order(await ship(door, claim["id"], packed["fulfillments"][0]["id"]))
    await sound(door)
    of_claims = {"order_lines": " WHERE claim_id IS NOT NULL"}
    for service, sins in SINS.items():
        database = door.embedded.services[service].database
        for what, wrong, right, invariants in sins:
            where = of_claims.get(what.split()[0], "")
            async with database.transaction() as tx:
                await tx.execute(f"UPDATE {what} = {wrong}{where}")
            report = await verify(door.embedded.settings, look_again_after_s=0)
            assert {finding.invariant for finding in report.findings} == invariants, what
            async with database.transaction() as tx:
                await tx.execute(f"UPDATE {what} = {right}{where}")
    await sound(door)


async def test_an_order_waits_for_its_claims_to_be_canceled(door: Door) -> None:
    """A claim that sent something out cannot be canceled, so its order cannot either."""
    await door.load(a_document())
    (claim,) = (await claimed(door))["claims"]
    the_order(await pack(door, claim["id"]))
    answer = await door.post("/admin/orders/test-order/cancel")
    assert refused(answer) == no("All claims must be canceled before canceling an order")
