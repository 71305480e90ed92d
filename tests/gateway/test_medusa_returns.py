"""Medusa's own cases of returns and return reasons, over HTTP; a docstring names the case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway import medusa
from tests.gateway.builders import Door
from tests.gateway.conftest import OpenGateway

ONE = [{"item_id": "test-item", "quantity": 1}]


@pytest.fixture
async def medusas_shop(monkeypatch: pytest.MonkeyPatch, open_gateway: OpenGateway) -> Door:
    """A shop that asks nobody who he is and has no policy of its own, as Medusa."""
    monkeypatch.setenv("RECLAMO_STORE_POLICY", "advise")
    return await open_gateway(store_returns="open")


async def _requested(door: Door, order_id: str = "test-order", **body: Any) -> dict[str, Any]:
    """The order after a return was asked for."""
    answer = await door.post(f"/admin/orders/{order_id}/return", {"items": ONE, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["order"]
    return found


async def _received(door: Door, return_id: str, **body: Any) -> dict[str, Any]:
    answer = await door.post(f"/admin/returns/{return_id}/receive", {"items": ONE, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["return"]
    return found


async def _stock(door: Door, variant_id: str = "test-variant") -> int:
    page = (await door.get("/admin/variants", params={"id": variant_id})).json()
    (variant,) = page["variants"]
    return int(variant["inventory_quantity"])


# ---- what is refunded ---------------------------------------------------------------------------


@pytest.mark.parametrize("includes_tax", [False, True])
@pytest.mark.parametrize(("old_taxes", "amount"), [(True, 1125), (False, 1200)])
async def test_a_return_refunds_price_and_tax_in_either_tax_system(
    door: Door, old_taxes: bool, amount: int, includes_tax: bool
) -> None:
    """M56, M57, M64, M65; the order is neither paid nor fulfilled."""
    await door.load(
        medusa.returns_document(old_taxes=old_taxes, shipped=False, includes_tax=includes_tax)
    )
    order = await _requested(door, items=[{**ONE[0], "note": "Returned too early"}])
    (returned,) = order["returns"]
    assert returned["refund_amount"] == amount
    (item,) = returned["items"]
    assert (item["item_id"], item["quantity"], item["note"]) == (
        "test-item",
        1,
        "Returned too early",
    )


@pytest.mark.parametrize(
    ("option", "amount"), [("return-option", 75), ("return-option-inclusive", 200)]
)
async def test_the_label_is_taken_off_the_refund_with_its_tax(
    medusas_shop: Door, option: str, amount: int
) -> None:
    """M59, M66: 1200 less 1000 at 12.5 %, or less 1000 with the tax in it."""
    door = medusas_shop
    await door.load(medusa.returns_document(old_taxes=False))
    body = {"order_id": "test-order", "items": ONE, "return_shipping": {"option_id": option}}
    answer = await door.as_().post("/store/returns", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["return"]["refund_amount"] == amount
    clerk = await _requested(door, return_shipping={"option_id": option})
    assert [one["refund_amount"] for one in clerk["returns"]] == [amount, amount]


async def test_a_given_price_of_the_label_replaces_the_options(door: Door) -> None:
    await door.load(medusa.returns_document(old_taxes=False))
    shipping = {"option_id": "return-option", "price": 0}
    order = await _requested(door, return_shipping=shipping)
    (returned,) = order["returns"]
    assert returned["refund_amount"] == 1200
    method = returned["shipping_method"]
    assert (method["price"], method["shipping_option_id"]) == (0, "return-option")
    assert method["shipping_option"]["id"] == "return-option"


async def test_a_label_dearer_than_the_goods_is_stored_as_it_is(door: Door) -> None:
    await door.load(medusa.returns_document(old_taxes=False))
    shipping = {"option_id": "return-option", "price": 2000}
    order = await _requested(door, return_shipping=shipping)
    assert order["returns"][0]["refund_amount"] == 1200 - 2250


@pytest.mark.parametrize(("given", "stored"), [(-1, 0), (0, 1200), (500, 500), (None, 1200)])
async def test_what_a_given_refund_means_at_the_request(
    door: Door, given: int | None, stored: int
) -> None:
    """M87: a negative amount counts as 0, and 0 counts as not given."""
    await door.load(medusa.claims_document())
    order = await _requested(door, refund=given)
    assert order["returns"][0]["refund_amount"] == stored


async def test_a_discount_lowers_the_refund_and_reason_and_note_are_kept(door: Door) -> None:
    """M67."""
    document = medusa.orders_document()
    document["return_reasons"] = [{"id": "rr_1", "value": "wrong_size", "label": "Wrong size"}]
    await door.load(document)
    item = {**ONE[0], "reason_id": "rr_1", "note": "TOO SMALL"}
    order = await _requested(door, items=[item])
    (returned,) = order["returns"]
    assert returned["refund_amount"] == 7200
    (line,) = returned["items"]
    assert (line["reason_id"], line["note"]) == ("rr_1", "TOO SMALL")
    assert line["reason"]["value"] == "wrong_size"


# ---- stock --------------------------------------------------------------------------------------


@pytest.mark.parametrize("counted", [True, False])
async def test_receiving_at_once_puts_counted_goods_back(door: Door, counted: bool) -> None:
    """M69, M70: what is not counted stays at what it was."""
    document = medusa.orders_document()
    if not counted:
        document["variants"][0]["manage_inventory"] = False
        del document["inventory_levels"][0]
    await door.load(document)
    before = await _stock(door)
    order = await _requested(door, receive_now=True, location_id=medusa.LOCATION)
    assert [one["status"] for one in order["returns"]] == ["received"]
    assert await _stock(door) - before == (1 if counted else 0)
    if counted:
        assert await _stock(door) == 2


async def test_many_pieces_come_back_in_two_parcels_of_an_unpaid_order(door: Door) -> None:
    """M71: nothing was captured, so goods are booked and no money moves (D18)."""
    document = medusa.orders_document()
    order = medusa.an_order(
        "order-many", medusa.an_item("test-item-many", 8000, 4), tax_rate=0, paid=10_000
    )
    del order["payments"][0]["captured_at"]
    document["orders"].append(order)
    await door.load(document)
    for quantity, total in ((2, 2), (1, 3)):
        items = [{"item_id": "test-item-many", "quantity": quantity}]
        order = await _requested(door, "order-many", items=items, receive_now=True)
        assert order["items"][0]["returned_quantity"] == total
        assert order["items"][0]["quantity"] == 4 - total
    assert order["refunds"] == []
    assert {one["status"] for one in order["returns"]} == {"requires_action"}


async def test_a_return_that_was_asked_for_before_the_money_came_is_paid_from_it(
    door: Door,
) -> None:
    """M72: return, capture, receive."""
    document = medusa.orders_document()
    order = medusa.an_order("order-72", medusa.an_item("item-72", 8000), tax_rate=0, paid=10_000)
    del order["payments"][0]["captured_at"]
    document["orders"].append(order)
    await door.load(document)
    items = [{"item_id": "item-72", "quantity": 1}]
    (requested,) = (await _requested(door, "order-72", items=items))["returns"]
    assert (await door.post("/admin/orders/order-72/capture")).status_code == 200
    returned = await _received(door, requested["id"], items=items)
    assert (returned["status"], returned["refund_amount"]) == ("received", 8000)
    shown = await door.order("order-72")
    assert (shown["refunded_total"], shown["payment_status"]) == (8000, "partially_refunded")


@pytest.mark.parametrize("pieces", [(3,), (1, 1, 1), (2, 1)])
async def test_pieces_of_a_discounted_line_add_up_to_what_was_paid(
    door: Door, pieces: tuple[int, ...]
) -> None:
    """D20: 3 x 1000 less 100 is 2900, in one go or piece by piece; D22: and all is refunded."""
    document = medusa.claims_document()
    item = medusa.an_item("test-item", 1000, 3, adjustments=[{"amount": 100}])
    document["orders"] = [medusa.an_order("test-order", item, paid=2900)]
    await door.load(document)
    for quantity in pieces:
        items = [{"item_id": "test-item", "quantity": quantity}]
        order = await _requested(door, items=items, receive_now=True)
    assert (order["refunded_total"], order["payment_status"]) == (2900, "refunded")
    assert order["fulfillment_status"] == "returned"
    assert sum(one["refund_amount"] for one in order["returns"]) == 2900


async def test_everything_comes_back(door: Door) -> None:
    """M82, M90: ten pieces, all received, put back and refunded."""
    document = medusa.a_base(medusa.a_variant("test-variant", 10))
    item = medusa.an_item("test-item", 10, 10)
    document["orders"] = [medusa.an_order("test-order", item, paid=100, tax_rate=0)]
    await door.load(document)
    items = [{"item_id": "test-item", "quantity": 10}]
    (requested,) = (await _requested(door, items=items))["returns"]
    returned = await _received(door, requested["id"], items=items, location_id=medusa.LOCATION)
    assert returned["status"] == "received"
    (line,) = returned["items"]
    assert (line["requested_quantity"], line["received_quantity"], line["is_requested"]) == (
        10,
        10,
        True,
    )
    assert await _stock(door) == 20
    order = await door.order("test-order")
    assert order["items"][0]["returned_quantity"] == 10
    assert order["fulfillment_status"] == "returned"
    assert [(row["amount"], row["reason"]) for row in order["refunds"]] == [(100, "return")]


async def test_a_canceled_return_is_not_received_and_a_received_one_not_canceled(
    door: Door,
) -> None:
    """M84, M85, and a second receipt."""
    await door.load(medusa.claims_document())
    (first,) = (await _requested(door))["returns"]
    assert (await door.post(f"/admin/returns/{first['id']}/cancel")).status_code == 200
    answer = await door.post(f"/admin/returns/{first['id']}/receive", {"items": ONE})
    assert (answer.status_code, answer.json()) == (
        400,
        {"type": "not_allowed", "message": "Cannot receive a canceled return"},
    )
    second = next(
        one for one in (await _requested(door))["returns"] if one["status"] == "requested"
    )
    await _received(door, second["id"])
    answer = await door.post(f"/admin/returns/{second['id']}/cancel")
    assert (answer.status_code, answer.json()) == (
        400,
        {"type": "not_allowed", "message": "Can't cancel a return which has been returned"},
    )
    answer = await door.post(f"/admin/returns/{second['id']}/receive", {"items": ONE})
    message = f"Return with id {second['id']} has already been received"
    assert (answer.status_code, answer.json()["message"]) == (400, message)


@pytest.mark.parametrize(
    ("given", "paid"), [(None, 1200), (95, 95), (0, 0), (-5, 0)], ids=["stored", "95", "0", "-5"]
)
async def test_the_refund_given_at_the_receipt_is_honored(
    door: Door, given: int | None, paid: int
) -> None:
    """M89, M91: without one the stored amount applies; here 0 means 0."""
    await door.load(medusa.claims_document())
    (requested,) = (await _requested(door))["returns"]
    body = {} if given is None else {"refund": given}
    returned = await _received(door, requested["id"], **body)
    assert returned["status"] == "received"
    order = await door.order("test-order")
    assert order["refunded_total"] == paid
    assert order["fulfillment_status"] == "partially_returned"


@pytest.mark.parametrize(("given", "told"), [(False, False), (None, True)])
async def test_the_orders_wish_for_silence_is_inherited(
    door: Door, given: bool | None, told: bool
) -> None:
    """M88."""
    document = medusa.claims_document()
    document["orders"][0]["no_notification"] = True
    await door.load(document)
    order = await _requested(door, no_notification=given)
    assert order["returns"][0]["no_notification"] is told


async def test_a_canceled_order_takes_nothing_back(door: Door) -> None:
    """M92 needs the order's cancel, which refuses while a return is open; here it came so."""
    document = medusa.claims_document()
    document["orders"][0]["status"] = "canceled"
    await door.load(document)
    answer = await door.post("/admin/orders/test-order/return", {"items": ONE})
    message = "Cannot create a return for a canceled item."
    assert (answer.status_code, answer.json()) == (
        400,
        {"type": "invalid_data", "message": message},
    )


async def test_nothing_received_is_no_receipt(door: Door) -> None:
    """D14."""
    await door.load(medusa.claims_document())
    (requested,) = (await _requested(door))["returns"]
    returned = await _received(door, requested["id"], items=[])
    assert (returned["status"], returned["received_at"]) == ("requested", None)
    order = await door.order("test-order")
    assert (order["refunds"], order["items"][0]["returned_quantity"]) == ([], 0)


async def test_a_second_delivery_completes_a_short_one(door: Door) -> None:
    """D15."""
    await door.load(medusa.claims_document())
    two = [{"item_id": "test-item", "quantity": 2}]
    (requested,) = (await _requested(door, items=two))["returns"]
    assert (await _received(door, requested["id"]))["status"] == "requires_action"
    assert (await door.order("test-order"))["refunded_total"] == 1200
    assert (await _received(door, requested["id"]))["status"] == "received"
    assert (await door.order("test-order"))["refunded_total"] == 2400


async def test_units_on_their_way_are_not_announced_twice(door: Door) -> None:
    """D16."""
    await door.load(medusa.claims_document())
    await _requested(door, items=[{"item_id": "test-item", "quantity": 2}])
    answer = await door.post("/admin/orders/test-order/return", {"items": ONE})
    message = "Cannot return more items than have been purchased"
    assert (answer.status_code, answer.json()) == (
        400,
        {"type": "not_allowed", "message": message},
    )


# ---- the list -----------------------------------------------------------------------------------


async def test_the_list_counts_all_and_shows_a_page(door: Door) -> None:
    """M63."""
    document = medusa.claims_document()
    other = medusa.an_order("other-order", medusa.an_item("other-item", 1000, 2), paid=2000)
    document["orders"].append(other)
    await door.load(document)
    await _requested(door)
    await _requested(door, "other-order", items=[{"item_id": "other-item", "quantity": 1}])
    page = (await door.get("/admin/returns?limit=1")).json()
    assert (page["count"], page["limit"], page["offset"]) == (2, 1, 0)
    (newest,) = page["returns"]
    assert (newest["order_id"], newest["order"]["id"]) == ("other-order", "other-order")
    second = (await door.get("/admin/returns?limit=1&offset=1")).json()["returns"]
    assert [one["order_id"] for one in second] == ["test-order"]


# ---- the storefront -----------------------------------------------------------------------------


@pytest.fixture
async def storefront(medusas_shop: Door) -> Door:
    """F5 in such a shop."""
    await medusas_shop.load(medusa.store_document())
    return medusas_shop


async def test_anybody_returns_the_order_whose_id_he_knows(storefront: Door) -> None:
    """M76."""
    body = {"order_id": "order_test", "items": ONE}
    answer = await storefront.as_().post("/store/returns", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["return"]["refund_amount"] == 8000


async def test_a_leaf_reason_is_kept_and_a_category_refused(storefront: Door) -> None:
    """M78."""
    nobody = storefront.as_()
    item = {**ONE[0], "reason_id": "rr_size", "note": "TOO small"}
    category = await nobody.post("/store/returns", {"order_id": "order_test", "items": [item]})
    message = "Cannot apply return reason category"
    assert (category.status_code, category.json()) == (
        400,
        {"type": "invalid_data", "message": message},
    )
    unknown = await nobody.post(
        "/store/returns", {"order_id": "order_test", "items": [{**item, "reason_id": "rr_x"}]}
    )
    assert (unknown.status_code, unknown.json()) == (
        404,
        {"type": "not_found", "message": "Return_reason with reason_id rr_x does not exist."},
    )
    leaf = await nobody.post(
        "/store/returns", {"order_id": "order_test", "items": [{**item, "reason_id": "rr_big"}]}
    )
    (line,) = leaf.json()["return"]["items"]
    assert (line["reason_id"], line["note"]) == ("rr_big", "TOO small")


async def test_a_quantity_of_nothing_is_refused(storefront: Door) -> None:
    """M79."""
    items = [{"item_id": "test-item", "quantity": 0}]
    answer = await storefront.as_().post(
        "/store/returns", {"order_id": "order_test", "items": items}
    )
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "invalid_data",
        "message": "quantity must not be less than 1",
    }


async def test_a_line_without_discounts_is_refunded_whole(medusas_shop: Door) -> None:
    """M80."""
    door = medusas_shop
    document = medusa.store_document(
        allow_discounts=False,
        adjustments=[{"amount": 800, "discount_id": "disc", "description": "TEN"}],
    )
    document["orders"][0]["discounts"] = [
        {
            "id": "disc",
            "code": "TEN",
            "rule": {"type": "percentage", "value": 10, "allocation": "total"},
        }
    ]
    await door.load(document)
    answer = await door.as_().post("/store/returns", {"order_id": "order_test", "items": ONE})
    assert answer.json()["return"]["refund_amount"] == 8000


# ---- reasons ------------------------------------------------------------------------------------

REASON = {
    *("id", "value", "label", "description", "parent_return_reason_id", "parent_return_reason"),
    *("return_reason_children", "created_at", "updated_at", "deleted_at"),
}


async def test_reasons_are_made_nested_changed_and_listed(door: Door) -> None:
    """M131."""
    body = {"label": "Too Big", "value": "too_big", "description": "Use this if the size was big"}
    made = (await door.post("/admin/return-reasons", body)).json()["return_reason"]
    assert {name: made[name] for name in body} == body
    assert made["id"].startswith("rr_")
    child = {"label": "Wrong size", "value": "wrong_size", "parent_return_reason_id": made["id"]}
    nested = (await door.post("/admin/return-reasons", child)).json()["return_reason"]
    assert nested["parent_return_reason"]["id"] == made["id"]
    changed = await door.post(
        f"/admin/return-reasons/{made['id']}", {"label": "Large", "description": "x"}
    )
    reason = changed.json()["return_reason"]
    assert (reason["label"], reason["value"], reason["description"]) == ("Large", "too_big", "x")
    (only,) = (await door.get("/admin/return-reasons")).json()["return_reasons"]
    assert only["id"] == made["id"]
    assert [each["id"] for each in only["return_reason_children"]] == [nested["id"]]
    shown = (await door.get(f"/admin/return-reasons/{made['id']}")).json()["return_reason"]
    for each in (made, nested, reason, only, shown):
        assert set(each) == REASON
    parent = await door.post(
        f"/admin/return-reasons/{nested['id']}", {"parent_return_reason_id": "x"}
    )
    assert parent.json()["message"] == "property parent_return_reason_id should not exist"


async def test_the_storefront_shows_the_same_reasons(storefront: Door) -> None:
    """M134."""
    nobody = storefront.as_()
    (size,) = (await nobody.get("/store/return-reasons")).json()["return_reasons"]
    assert (size["id"], set(size)) == ("rr_size", REASON)
    assert [each["value"] for each in size["return_reason_children"]] == ["too_big"]
    one = (await nobody.get("/store/return-reasons/rr_big")).json()["return_reason"]
    assert (one["value"], one["parent_return_reason_id"]) == ("too_big", "rr_size")


@pytest.mark.parametrize(
    "body",
    [
        {"items": []},
        {"items": ONE},
        {"items": [{**ONE[0], "reason_id": "rr_x"}]},
        {"items": ONE, "return_shipping": {"option_id": "nowhere"}},
    ],
)
async def test_an_order_that_is_not_there_is_told_first(door: Door, body: dict[str, Any]) -> None:
    answer = await door.post("/admin/orders/order_x/return", body)
    message = "Order with id order_x was not found"
    assert (answer.status_code, answer.json()) == (404, {"type": "not_found", "message": message})
