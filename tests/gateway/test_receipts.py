"""What really came: short, more, damaged, not payable yet; and how a return comes to its end."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.verify import verify
from tests.gateway import medusa
from tests.gateway.builders import Door

Json = dict[str, Any]
OTHER_PLACE = "sloc_other"


def a_document(*, captured: bool = True, second: bool = False) -> Json:
    """F1 with four pieces (1200 each with tax), and a second line of two (500 each)."""
    document = medusa.a_base(
        medusa.a_variant("test-variant", 1000), medusa.a_variant("variant-2", 500), tax_rate=0
    )
    items = [medusa.an_item("test-item", 1000, 4, tax_lines=[medusa.VAT])]
    if second:
        items.append(medusa.an_item("other-item", 500, 2, variant_id="variant-2"))
    order = medusa.an_order("test-order", *items, paid=5800 if second else 4800)
    if not captured:
        del order["payments"][0]["captured_at"]
    document["orders"] = [order]
    return document


def units(quantity: int, item_id: str = "test-item", **more: Any) -> Json:
    return {"item_id": item_id, "quantity": quantity, **more}


async def _requested(door: Door, *items: Json, **body: Any) -> str:
    answer = await door.post("/admin/orders/test-order/return", {"items": list(items), **body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["order"]["returns"][-1]["id"])


async def _done(door: Door, return_id: str, act: str, body: Json | None = None) -> Json:
    """What an act of our own answers: the return as its own page shows it."""
    answer = await door.post(f"/admin/returns/{return_id}/{act}", body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert found == (await door.get(f"/admin/returns/{return_id}")).json()
    return found


async def _refused(
    door: Door, return_id: str, act: str, body: Json | None = None
) -> tuple[Any, ...]:
    """Status, type and message of an act that changes nothing."""
    before = (await door.get(f"/admin/returns/{return_id}")).json()["return"]
    answer = await door.post(f"/admin/returns/{return_id}/{act}", body)
    after = (await door.get(f"/admin/returns/{return_id}")).json()["return"]
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"updated_at"}
    found = answer.json()
    return answer.status_code, found["type"], found["message"]


async def _stock(door: Door, variant_id: str = "test-variant") -> int:
    page = (await door.get("/admin/variants", params={"id": variant_id})).json()
    (variant,) = page["variants"]
    return int(variant["inventory_quantity"])


async def _books_agree(door: Door) -> None:
    report = await verify(door.embedded.settings, look_again_after_s=0.1)
    assert report.findings == []


# ---- money that cannot be paid ------------------------------------------------------------------


async def test_what_cannot_be_paid_yet_is_paid_once_it_was_captured(door: Door) -> None:
    """D18: the goods are booked, 200, and the return waits until its money is settled."""
    await door.load(a_document(captured=False))
    return_id = await _requested(door, units(4))
    answer = await door.post(f"/admin/returns/{return_id}/receive", {"items": [units(4)]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["return"]["status"] == "requires_action"
    assert await _stock(door) == 14
    order = await door.order("test-order")
    assert order["items"][0]["returned_quantity"] == 4
    assert (order["refunds"], order["fulfillment_status"]) == ([], "requires_action")
    shown = (await door.get(f"/admin/returns/{return_id}")).json()
    assert (shown["owed_amount"], shown["allowed_actions"]) == (4800, ["receive", "settle"])
    message = "Refund amount is greater that the refundable amount"
    assert await _refused(door, return_id, "settle") == (400, "not_allowed", message)
    assert (await _refused(door, return_id, "close"))[0] == 400
    assert (await door.post("/admin/orders/test-order/capture")).status_code == 200
    settled = await _done(door, return_id, "settle")
    assert (settled["return"]["status"], settled["owed_amount"]) == ("received", 0)
    assert settled["return"]["refund_amount"] == 4800
    order = await door.order("test-order")
    assert [(row["amount"], row["reason"]) for row in order["refunds"]] == [(4800, "return")]
    assert (order["fulfillment_status"], order["payment_status"]) == ("returned", "refunded")
    message = f"Return with id {return_id} has already been received"
    assert await _refused(door, return_id, "settle") == (400, "not_allowed", message)
    await _books_agree(door)


@pytest.mark.parametrize(("given", "paid"), [(0, 0), (700, 700), (4800, 4800)])
async def test_somebody_may_settle_for_less(door: Door, given: int, paid: int) -> None:
    await door.load(a_document(captured=False))
    return_id = await _requested(door, units(4))
    await door.post(f"/admin/returns/{return_id}/receive", {"items": [units(4)]})
    await door.post("/admin/orders/test-order/capture")
    refused = await _refused(door, return_id, "settle", {"refund": 4801})
    assert refused == (400, "invalid_data", "refund must not be greater than 4800")
    settled = await _done(door, return_id, "settle", {"refund": given})
    assert (settled["return"]["status"], settled["refunded_amount"]) == ("received", paid)
    explained = settled["receipts"][-1]["explanation"]
    assert sum(part["amount"] for part in explained) == paid
    assert (await door.order("test-order"))["refunded_total"] == paid
    await _books_agree(door)


async def test_what_a_parcel_left_owed_stays_owed_when_the_rest_comes_without_money(
    door: Door,
) -> None:
    """Found by seed 207 of the simulation: the return was done, and nobody could settle it."""
    await door.load(a_document(captured=False))
    return_id = await _requested(door, units(2))
    first = await _done(door, return_id, "receipts", {"items": [units(1)]})
    assert first["owed_amount"] == 1200
    last = await _done(door, return_id, "receipts", {"items": [units(1)], "refund": 0})
    assert (last["return"]["status"], last["owed_amount"]) == ("requires_action", 1200)
    await _books_agree(door)
    settled = await _done(door, return_id, "settle", {"refund": 0})
    assert (settled["return"]["status"], settled["owed_amount"]) == ("received", 0)
    await _books_agree(door)


async def test_a_settlement_under_one_key_is_one_and_where_nothing_is_owed_none(
    door: Door,
) -> None:
    await door.load(a_document(captured=False))
    return_id = await _requested(door, units(4))
    assert (await _refused(door, return_id, "settle"))[0::2] == (
        400,
        f"Return with id {return_id} owes nothing",
    )
    await door.post(f"/admin/returns/{return_id}/receive", {"items": [units(4)]})
    await door.post("/admin/orders/test-order/capture")
    path = f"/admin/returns/{return_id}/settle"
    first = await door.post(path, key="settle-1")
    again = await door.post(path, key="settle-1")
    assert (first.status_code, again.content) == (200, first.content)
    assert len((await door.order("test-order"))["refunds"]) == 1


# ---- too little ---------------------------------------------------------------------------------


async def test_a_short_return_is_closed_and_what_did_not_come_is_free_again(door: Door) -> None:
    await door.load(a_document())
    return_id = await _requested(door, units(3))
    refused = await _refused(door, return_id, "close")
    message = f"Return {return_id} has not been received: cancel it instead"
    assert refused == (400, "not_allowed", message)
    short = await _done(door, return_id, "receipts", {"items": [units(1)]})
    assert (short["return"]["status"], short["allowed_actions"]) == (
        "requires_action",
        ["receive", "close"],
    )
    answer = await door.post("/admin/orders/test-order/return", {"items": [units(3)]})
    assert answer.status_code == 400
    closed = await _done(door, return_id, "close")
    assert (closed["return"]["status"], closed["return"]["refund_amount"]) == ("received", 1200)
    assert closed["closed_at"] is not None
    (line,) = closed["return"]["items"]
    assert (line["requested_quantity"], line["received_quantity"]) == (3, 1)
    assert await _done(door, return_id, "close") == closed
    assert (await door.order("test-order"))["refunded_total"] == 1200
    await _requested(door, units(3))
    await _books_agree(door)


async def test_the_short_return_of_a_claim_is_closed_and_its_units_stay_claimed(
    door: Door,
) -> None:
    await door.load(a_document())
    body = {
        "type": "refund",
        "claim_items": [{**units(3), "reason": "other"}],
        "return_shipping": {"price": 0},
    }
    order = (await door.post("/admin/orders/test-order/claims", body)).json()["order"]
    return_id = order["returns"][0]["id"]
    await _done(door, return_id, "receipts", {"items": [units(2)]})
    closed = await _done(door, return_id, "close")
    assert closed["return"]["status"] == "received"
    claimed = (await door.order("test-order"))["claims"][0]
    assert claimed["return_order"]["status"] == "received"
    answer = await door.post("/admin/orders/test-order/return", {"items": [units(2)]})
    assert answer.status_code == 400
    await _books_agree(door)


# ---- too much -----------------------------------------------------------------------------------


async def test_what_nobody_announced_is_booked_refunded_and_looked_at(door: Door) -> None:
    """M83: both are put back, and the extra line was not requested."""
    await door.load(a_document(second=True))
    return_id = await _requested(door, units(1))
    body = {"items": [units(1), units(2, "other-item")]}
    answer = await door.post(f"/admin/returns/{return_id}/receive", body)
    assert answer.status_code == 200, answer.text
    returned = answer.json()["return"]
    assert returned["status"] == "requires_action"
    lines = {
        line["item_id"]: (
            line["is_requested"],
            line["quantity"],
            line["requested_quantity"],
            line["received_quantity"],
        )
        for line in returned["items"]
    }
    assert lines == {"test-item": (True, 1, 1, 1), "other-item": (False, 2, 0, 2)}
    assert (await _stock(door), await _stock(door, "variant-2")) == (11, 12)
    order = await door.order("test-order")
    assert order["refunded_total"] == 1200 + 1000
    assert [item["returned_quantity"] for item in order["items"]] == [1, 2]
    closed = await _done(door, return_id, "close")
    assert closed["return"]["status"] == "received"
    assert closed["return"]["refund_amount"] == 2200
    await _books_agree(door)


async def test_more_of_a_line_takes_units_that_are_free(door: Door) -> None:
    await door.load(a_document())
    return_id = await _requested(door, units(2))
    shown = await _done(door, return_id, "receipts", {"items": [units(3)]})
    (line,) = shown["return"]["items"]
    assert (line["received_quantity"], line["is_requested"]) == (3, False)
    assert (shown["return"]["status"], shown["refunded_amount"]) == ("requires_action", 3600)
    answer = await door.post("/admin/orders/test-order/return", {"items": [units(2)]})
    assert answer.status_code == 400
    await _books_agree(door)


@pytest.mark.parametrize(
    ("item", "status", "kind", "message"),
    [
        (units(5), 400, "not_allowed", "Cannot return more items than have been purchased"),
        (units(1, "foreign-item"), 400, "invalid_data", "Return contains invalid line item"),
        (units(1, "item_x"), 404, "not_found", "Line item with item_x was not found"),
    ],
)
async def test_what_cannot_be_of_the_order_is_refused_and_books_nothing(
    door: Door, item: Json, status: int, kind: str, message: str
) -> None:
    document = a_document()
    foreign = medusa.an_item("foreign-item", 1000)
    document["orders"].append(medusa.an_order("other-order", foreign, paid=1000))
    await door.load(document)
    return_id = await _requested(door, units(1))
    for act in ("receive", "receipts"):
        refused = await _refused(door, return_id, act, {"items": [item]})
        assert refused == (status, kind, message)
    assert await _stock(door) == 10
    assert (await door.order("test-order"))["refunds"] == []
    await _books_agree(door)


async def test_more_than_was_claimed_gets_a_remedy_beside_the_claims(door: Door) -> None:
    """The claim paid for its own units; the extra one is somebody's decision."""
    await door.load(a_document(second=True))
    body = {
        "type": "refund",
        "claim_items": [{**units(1), "reason": "other"}],
        "return_shipping": {"price": 0},
    }
    order = (await door.post("/admin/orders/test-order/claims", body)).json()["order"]
    return_id = order["returns"][0]["id"]
    parcel = {"items": [units(2), units(1, "other-item")], "refund": 500}
    shown = await _done(door, return_id, "receipts", parcel)
    assert shown["return"]["status"] == "requires_action"
    order = await door.order("test-order")
    assert [item["returned_quantity"] for item in order["items"]] == [2, 1]
    assert order["refunded_total"] == 1200 + 500
    assert (await _done(door, return_id, "close"))["return"]["status"] == "received"
    await _books_agree(door)


# ---- damaged, and places ------------------------------------------------------------------------


async def test_damaged_goods_are_received_and_refunded_but_not_put_back(door: Door) -> None:
    """Received 2, damaged 1, stock +1."""
    await door.load(a_document())
    return_id = await _requested(door, units(2))
    parcel = {"items": [units(2, damaged_quantity=1)], "note": "one box is wet"}
    shown = await _done(door, return_id, "receipts", parcel)
    assert (shown["return"]["status"], shown["refunded_amount"]) == ("received", 2400)
    (receipt,) = shown["receipts"]
    assert receipt["note"] == "one box is wet"
    assert [(line["quantity"], line["damaged_quantity"]) for line in receipt["lines"]] == [(2, 1)]
    assert await _stock(door) == 11
    await _books_agree(door)


async def test_all_damaged_touches_no_stock_and_more_damaged_than_came_is_nonsense(
    door: Door,
) -> None:
    await door.load(a_document())
    return_id = await _requested(door, units(2))
    nonsense = {"items": [units(1, damaged_quantity=2)]}
    refused = await _refused(door, return_id, "receipts", nonsense)
    message = "damaged_quantity must not be greater than quantity"
    assert refused == (400, "invalid_data", message)
    shown = await _done(door, return_id, "receipts", {"items": [units(2, damaged_quantity=2)]})
    assert shown["return"]["status"] == "received"
    assert await _stock(door) == 10
    await _books_agree(door)


async def test_medusas_own_receipt_knows_no_damage(door: Door) -> None:
    await door.load(a_document())
    return_id = await _requested(door, units(1))
    body = {"items": [units(1, damaged_quantity=1)]}
    refused = await _refused(door, return_id, "receive", body)
    assert refused == (400, "invalid_data", "property damaged_quantity should not exist")


async def test_goods_that_no_place_stocks_are_warned_of(door: Door) -> None:
    document = a_document()
    document["inventory_levels"] = []
    document["stock_locations"].append({"id": OTHER_PLACE, "name": "There"})
    await door.load(document)
    return_id = await _requested(door, units(1))
    status, kind, message = await _refused(
        door, return_id, "receive", {"items": [units(1)], "location_id": OTHER_PLACE}
    )
    assert (status, kind) == (404, "not_found")
    assert message.startswith("Inventory level for inventory item")
    shown = await _done(door, return_id, "receipts", {"items": [units(1)]})
    assert shown["return"]["status"] == "received"
    (warning,) = shown["receipts"][-1]["warnings"]
    assert warning["code"] == "not_stocked"
    assert "test-variant" in warning["message"]


# ---- no money at all, and the list --------------------------------------------------------------


async def test_goods_are_received_without_any_refund(door: Door) -> None:
    """Medusa #4052: the replacement was sent, now the parcel came back."""
    await door.load(a_document())
    return_id = await _requested(door, units(2))
    shown = await _done(door, return_id, "receipts", {"items": [units(2)], "refund": 0})
    assert (shown["return"]["status"], shown["return"]["refund_amount"]) == ("received", 0)
    assert shown["owed_amount"] == 0
    assert (await door.order("test-order"))["refunds"] == []
    await _books_agree(door)


async def test_the_list_is_narrowed_by_status_order_and_claim(door: Door) -> None:
    document = a_document()
    document["orders"].append(
        medusa.an_order("order-2", medusa.an_item("item-2", 1000, 2), paid=2000)
    )
    await door.load(document)
    first, second = await _requested(door, units(1)), await _requested(door, units(1))
    await _done(door, second, "receipts", {"items": [units(1)]})
    body = {
        "type": "refund",
        "claim_items": [{**units(1, "item-2"), "reason": "other"}],
        "return_shipping": {"price": 0},
    }
    claimed = (await door.post("/admin/orders/order-2/claims", body)).json()["order"]
    claim_id, third = claimed["claims"][0]["id"], claimed["returns"][0]["id"]

    async def ids(query: str) -> set[str]:
        page = (await door.get(f"/admin/returns?{query}")).json()
        found = {each["id"] for each in page["returns"]}
        assert page["count"] == len(found)
        return found

    assert await ids("status=received") == {second}
    assert await ids("status[]=received&status[]=requested") == {first, second, third}
    assert await ids("order_id=order-2") == {third}
    assert await ids(f"claim_order_id={claim_id}&status=requested") == {third}
    wrong = await door.get("/admin/returns?status=lost")
    assert wrong.status_code == 400
    assert wrong.json()["message"] == (
        "each value in status must be one of the following values:"
        " requested, received, requires_action, canceled"
    )
