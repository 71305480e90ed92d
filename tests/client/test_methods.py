"""Every method of the map, called through the published client: what it gives back.

They name each method as a text, which ``test_lock.py`` counts.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from chassis.testing import eventually
from tests.client.client import Client, Told
from tests.client.methods import MAP, NOT_SERVED, RESOURCES
from tests.journeys.shop import CHANNEL, LOCATION, REGION, RETURN_OPTION, Line, Order, Variant
from tests.journeys.shop import an_order as sold
from tests.journeys.system import Embedded

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # One installation and one Node serve them all.
    pytest.mark.xdist_group("client"),
]
Json = dict[str, Any]

CUSTOMER = {"email": "cleo@shop.example", "password": "correct horse battery"}
_numbers = count(1)


def _packable(quantity: int = 2) -> Order:
    """Nothing is sent yet."""
    line = Line(quantity=quantity, rates=(), fulfilled=0, shipped=0)
    return sold(line, status="pending")


async def _sell(shop: Embedded, order: Order, **more: Any) -> Order:
    """Load an order with these fields beside its own."""
    await shop.sell(order)
    if more:
        await shop.load({"orders": [{**order.record, **more}]})
    return order


def _sendable(order: Order) -> Json:
    method = {"id": f"sm_{order.id}", "shipping_option_id": RETURN_OPTION, "price": 0}
    return {
        "shipping_methods": [{**method, "tax_lines": []}],
        "fulfillment_status": "not_fulfilled",
    }


def _refused(told: Told, status: int, type_: str, message: str) -> None:
    """The client raises its axios error, with our body as it is."""
    assert (told.status, told.data) == (status, {"type": type_, "message": message})
    assert told.refused == f"Request failed with status code {status}"


def _ids(rows: list[Json]) -> set[str]:
    return {row["id"] for row in rows}


# ---- orders -------------------------------------------------------------------------------------


async def test_orders_are_found_with_the_queries_of_the_client(
    shop: Embedded, client: Client
) -> None:
    first, second = await _sell(shop, sold()), await _sell(shop, sold())
    both = {"id": [first.id, second.id]}
    page = await client("admin.orders.list", {**both, "status": ["completed", "pending"]})
    assert _ids(page["orders"]) == {first.id, second.id}
    assert (page["count"], page["offset"], page["limit"]) == (2, 0, 50)
    dated = {**both, "created_at": {"gt": "1970-01-01T00:00:00.000Z"}, "limit": 1, "order": "id"}
    page = await client("admin.orders.list", {**dated, "fields": "id,email", "expand": "items"})
    (order,) = page["orders"]
    assert (order["id"], page["count"]) == (min(first.id, second.id), 2)
    assert {"id", "email", "created_at", "items", "total"} <= order.keys()
    assert not {"status", "claims", "payments"} & order.keys()
    assert (await client("admin.orders.list", {**both, "created_at": {"lt": 1}}))["orders"] == []
    assert (await client("admin.orders.list"))["count"] >= 2
    values = "pending, completed, archived, canceled, requires_action"
    _refused(
        await client("admin.orders.list", {"status": ["test"]}),
        *(400, "invalid_data"),
        f"each value in status must be one of the following values: {values}",
    )


async def test_an_order_is_read_whole_and_in_parts(shop: Embedded, client: Client) -> None:
    order = await _sell(shop, sold())
    whole = (await client("admin.orders.retrieve", order.id))["order"]
    assert (whole["id"], whole["status"]) == (order.id, "completed")
    assert _ids(whole["items"]) == {order.line.id}
    assert (whole["claims"], whole["returns"], whole["swaps"]) == ([], [], [])
    part = (await client("admin.orders.retrieve", order.id, {"fields": "id,status"}))["order"]
    assert part["status"] == "completed"
    assert "email" not in part
    with_lines = {"expand": "returnable_items", "fields": "id"}
    asked = (await client("admin.orders.retrieve", order.id, with_lines))["order"]
    assert _ids(asked["returnable_items"]) == {order.line.id}
    unknown = await client("admin.orders.retrieve", "order_x")
    _refused(unknown, 404, "not_found", "Order with id order_x was not found")


async def test_an_order_is_corrected_completed_and_put_away(shop: Embedded, client: Client) -> None:
    order = await _sell(shop, sold(status="pending"))
    changes = {"email": "new@shop.example", "shipping_address": {"city": "Koper"}}
    changed = (await client("admin.orders.update", order.id, changes))["order"]
    assert (changed["email"], changed["shipping_address"]["city"]) == ("new@shop.example", "Koper")
    unknown = await client("admin.orders.update", order.id, {"metadata": {}})
    _refused(unknown, 400, "invalid_data", "property metadata should not exist")
    method = {"option_id": RETURN_OPTION, "price": 125}
    added = (await client("admin.orders.addShippingMethod", order.id, method))["order"]
    assert [each["price"] for each in added["shipping_methods"]] == [125]
    early = await client("admin.orders.archive", order.id)
    _refused(early, 400, "not_allowed", "Can't archive an unprocessed order")
    assert (await client("admin.orders.complete", order.id))["order"]["status"] == "completed"
    assert (await client("admin.orders.archive", order.id))["order"]["status"] == "archived"


async def test_goods_are_packed_unpacked_and_sent(shop: Embedded, client: Client) -> None:
    order = _packable()
    await _sell(shop, order, **_sendable(order))
    units = {"items": [{"item_id": order.line.id, "quantity": 1}], "location_id": LOCATION}
    packed = (await client("admin.orders.createFulfillment", order.id, units))["order"]
    assert packed["fulfillment_status"] == "partially_fulfilled"
    (fulfillment,) = packed["fulfillments"]
    undone = await client("admin.orders.cancelFulfillment", order.id, fulfillment["id"])
    assert undone["order"]["fulfillment_status"] == "canceled"
    all_ = {"items": [{"item_id": order.line.id, "quantity": 2}], "location_id": LOCATION}
    packed = (await client("admin.orders.createFulfillment", order.id, all_))["order"]
    assert packed["fulfillment_status"] == "fulfilled"
    (live,) = [each for each in packed["fulfillments"] if each["canceled_at"] is None]
    parcel = {"fulfillment_id": live["id"], "tracking_numbers": ["T-1", "T-2"]}
    sent = (await client("admin.orders.createShipment", order.id, parcel))["order"]
    assert sent["fulfillment_status"] == "shipped"
    (shipped,) = [each for each in sent["fulfillments"] if each["id"] == live["id"]]
    assert {link["tracking_number"] for link in shipped["tracking_links"]} == {"T-1", "T-2"}
    late = await client("admin.orders.cancelFulfillment", order.id, live["id"])
    message = "The fulfillment has already been shipped. Shipped fulfillments cannot be canceled"
    _refused(late, 400, "not_allowed", message)
    foreign = await client("admin.orders.createShipment", order.id, {"fulfillment_id": "ful_x"})
    _refused(foreign, 404, "not_found", "Could not find fulfillment")


async def test_an_order_is_paid_refunded_and_another_canceled(
    shop: Embedded, client: Client
) -> None:
    order = _packable()
    payment = {**order.record["payments"][0], "captured_at": None}
    await _sell(shop, order, payments=[payment], payment_status="awaiting")
    early = await client("admin.orders.refundPayment", order.id, {"amount": 5, "reason": "other"})
    message = "Refund amount is greater that the refundable amount"
    _refused(early, 400, "not_allowed", message)
    paid = (await client("admin.orders.capturePayment", order.id))["order"]
    assert (paid["payment_status"], paid["refundable_amount"]) == ("captured", order.paid)
    body = {"amount": 500, "reason": "discount", "note": "late"}
    refunded = (await client("admin.orders.refundPayment", order.id, body))["order"]
    assert (refunded["payment_status"], refunded["refunded_total"]) == ("partially_refunded", 500)
    _refused(
        await client("admin.orders.cancel", order.id),
        *(400, "not_allowed"),
        "Order with refund(s) cannot be canceled",
    )
    other = await _sell(shop, _packable())
    assert (await client("admin.orders.cancel", other.id))["order"]["status"] == "canceled"


async def test_single_payments(shop: Embedded, client: Client) -> None:
    order = _packable()
    payment = {**order.record["payments"][0], "captured_at": None}
    await _sell(shop, order, payments=[payment], payment_status="awaiting")
    id_ = payment["id"]
    found = (await client("admin.payments.retrieve", id_))["payment"]
    assert (found["amount"], found["captured_at"]) == (order.paid, None)
    body = {"amount": 100, "reason": "other"}
    early = await client("admin.payments.refundPayment", id_, body)
    _refused(early, 400, "not_allowed", f"Payment {id_} is not captured")
    captured = (await client("admin.payments.capturePayment", id_))["payment"]
    assert captured["captured_at"] is not None
    refund = (await client("admin.payments.refundPayment", id_, body))["refund"]
    assert (refund["amount"], refund["reason"], refund["payment_id"]) == (100, "other", id_)
    unknown = await client("admin.payments.retrieve", "pay_x")
    _refused(unknown, 404, "not_found", "Payment with id pay_x was not found")


# ---- claims and returns -------------------------------------------------------------------------


async def test_a_claim_is_made_corrected_and_stays_when_money_went_out(
    shop: Embedded, client: Client
) -> None:
    order = await _sell(shop, sold(Line(quantity=3)))
    item = {**order.line.claimed(), "tags": ["Torn"], "images": ["https://img.example/1.png"]}
    body = {"type": "refund", "claim_items": [item], "metadata": {"a": 1}}
    made = (await client("admin.orders.createClaim", order.id, body))["order"]
    (claim,) = made["claims"]
    assert (claim["payment_status"], claim["refund_amount"]) == ("refunded", 1200)
    assert [refund["reason"] for refund in made["refunds"]] == ["claim"]
    line = {"id": claim["claim_items"][0]["id"], "note": "seen", "images": [], "tags": []}
    update = {"claim_items": [line], "metadata": {"b": 2}}
    told = (await client("admin.orders.updateClaim", order.id, claim["id"], update))["order"]
    (changed,) = told["claims"]
    assert (changed["claim_items"][0]["note"], changed["claim_items"][0]["images"]) == ("seen", [])
    assert changed["metadata"] == {"a": 1, "b": 2}
    _refused(
        await client("admin.orders.cancelClaim", order.id, claim["id"]),
        *(400, "not_allowed"),
        "Claim with a refund cannot be canceled",
    )


async def test_a_replacement_is_promised_packed_unpacked_and_sent(
    shop: Embedded, client: Client
) -> None:
    order, variant = await _sell(shop, sold(Line(quantity=3))), Variant(stocked=5)
    await shop.stock(variant)
    methods = [{"option_id": RETURN_OPTION, "price": 0}]
    body = order.replace_claim(variant, shipping_methods=methods)
    made = (await client("admin.orders.createClaim", order.id, body))["order"]
    (claim,) = made["claims"]
    assert (await shop.level(variant.id)).reserved == 1
    packed = (await client("admin.orders.fulfillClaim", order.id, claim["id"], {}))["order"]
    parcel = packed["claims"][0]["fulfillments"][0]["id"]
    assert (await shop.level(variant.id)).reserved == 0
    free = await client("admin.orders.cancelClaimFulfillment", order.id, claim["id"], parcel)
    assert free["order"]["claims"][0]["fulfillment_status"] == "canceled"
    numbers = {"fulfillment_id": parcel, "tracking_numbers": ["A1"]}
    _refused(
        await client("admin.orders.createClaimShipment", order.id, claim["id"], numbers),
        *(400, "not_allowed"),
        "Fulfillment has been canceled",
    )
    again = (await client("admin.orders.fulfillClaim", order.id, claim["id"], {}))["order"]
    parcel = again["claims"][0]["fulfillments"][1]["id"]
    body = {**numbers, "fulfillment_id": parcel}
    sent = (await client("admin.orders.createClaimShipment", order.id, claim["id"], body))["order"]
    assert sent["claims"][0]["fulfillment_status"] == "shipped"
    assert sent["claims"][0]["fulfillments"][1]["tracking_numbers"] == ["A1"]


async def test_a_replacement_is_promised_no_more_once_its_claim_is_canceled(
    shop: Embedded, client: Client
) -> None:
    order, variant = await _sell(shop, sold(Line(quantity=3))), Variant(stocked=5)
    await shop.stock(variant)
    made = await client("admin.orders.createClaim", order.id, order.replace_claim(variant))
    (claim,) = made["order"]["claims"]
    assert (await shop.level(variant.id)).reserved == 1
    canceled = await client("admin.orders.cancelClaim", order.id, claim["id"])
    assert canceled["order"]["claims"][0]["canceled_at"] is not None
    assert (await shop.level(variant.id)).reserved == 0


async def test_goods_are_exchanged_and_the_difference_is_paid(
    shop: Embedded, client: Client
) -> None:
    order, variant = await _sell(shop, sold(Line(quantity=3))), Variant(stocked=5)
    await shop.stock(variant)
    goods = [{"variant_id": variant.id, "quantity": 2}]
    body = {"return_items": [order.line.units()], "additional_items": goods}
    made = (await client("admin.orders.createSwap", order.id, body))["order"]
    (swap,) = made["swaps"]
    assert (swap["payment_status"], swap["cart_id"]) == ("awaiting", None)
    assert swap["difference_due"] > 0
    early = await client("admin.orders.fulfillSwap", order.id, swap["id"], {})
    assert (early.status, early.data["type"]) == (400, "not_allowed")
    paid = (await client("admin.orders.processSwapPayment", order.id, swap["id"]))["order"]
    assert paid["swaps"][0]["payment"]["amount"] == swap["difference_due"]
    packed = (await client("admin.orders.fulfillSwap", order.id, swap["id"], {}))["order"]
    parcel = packed["swaps"][0]["fulfillments"][0]["id"]
    free = await client("admin.orders.cancelSwapFulfillment", order.id, swap["id"], parcel)
    assert free["order"]["swaps"][0]["fulfillment_status"] == "canceled"
    again = (await client("admin.orders.fulfillSwap", order.id, swap["id"], {}))["order"]
    parcel = again["swaps"][0]["fulfillments"][1]["id"]
    numbers = {"fulfillment_id": parcel, "tracking_numbers": ["S1"]}
    sent = await client("admin.orders.createSwapShipment", order.id, swap["id"], numbers)
    assert sent["order"]["swaps"][0]["fulfillment_status"] == "shipped"
    _refused(
        await client("admin.orders.cancelSwap", order.id, swap["id"]),
        *(400, "not_allowed"),
        "All fulfillments must be canceled before the swap can be canceled",
    )
    page = await client("admin.swaps.list", {"limit": 1})
    assert ([each["id"] for each in page["swaps"]], page["limit"]) == ([swap["id"]], 1)
    found = (await client("admin.swaps.retrieve", swap["id"]))["swap"]
    assert (found["order"]["id"], found["payment_status"]) == (order.id, "captured")
    unknown = await client("admin.swaps.retrieve", "swap_x")
    _refused(unknown, 404, "not_found", "Swap was not found")


async def test_goods_come_back(shop: Embedded, client: Client) -> None:
    order = await _sell(shop, sold(Line(quantity=3)))
    body = {"items": [order.line.units()], "return_shipping": {"option_id": RETURN_OPTION}}
    asked = (await client("admin.orders.requestReturn", order.id, body))["order"]
    (first,) = asked["returns"]
    assert (first["status"], first["refund_amount"]) == ("requested", 1200 - 420)
    plain = await client("admin.returns.list")
    assert (plain["count"] >= 1, plain["limit"], plain["offset"]) == (True, 50, 0)
    (newest,) = (await client("admin.returns.list", {"limit": 1}))["returns"]
    assert (newest["id"], newest["order"]["id"], newest["swap"]) == (first["id"], order.id, None)
    items = {"items": [order.line.units()]}
    received = (await client("admin.returns.receive", first["id"], items))["return"]
    assert (received["status"], received["swap"]) == ("received", None)
    _refused(
        await client("admin.returns.cancel", first["id"]),
        *(400, "not_allowed"),
        "Can't cancel a return which has been returned",
    )
    again = (await client("admin.orders.requestReturn", order.id, items))["order"]
    open_ = next(each for each in again["returns"] if each["status"] == "requested")
    canceled = (await client("admin.returns.cancel", open_["id"]))["order"]
    assert {each["status"] for each in canceled["returns"]} == {"received", "canceled"}
    assert canceled["refunded_total"] == 1200 - 420


async def test_reasons_are_kept_and_shown_to_customers(client: Client) -> None:
    value = f"too_small_{next(_numbers)}"
    body = {"value": value, "label": "Too small"}
    reason = (await client("admin.returnReasons.create", body))["return_reason"]
    child = {"value": f"{value}_arms", "label": "Arms", "parent_return_reason_id": reason["id"]}
    nested = (await client("admin.returnReasons.create", child))["return_reason"]
    update = {"label": "Much too small", "description": "d"}
    changed = (await client("admin.returnReasons.update", reason["id"], update))["return_reason"]
    assert (changed["value"], changed["label"]) == (value, "Much too small")
    found = (await client("admin.returnReasons.retrieve", reason["id"]))["return_reason"]
    assert _ids(found["return_reason_children"]) == {nested["id"]}
    listed = (await client("admin.returnReasons.list"))["return_reasons"]
    assert reason["id"] in _ids(listed)
    assert nested["id"] not in _ids(listed)
    assert reason["id"] in _ids((await client("returnReasons.list"))["return_reasons"])
    shown = (await client("returnReasons.retrieve", nested["id"]))["return_reason"]
    assert shown["label"] == "Arms"
    gone = {"id": reason["id"], "object": "return_reason", "deleted": True}
    assert (await client("admin.returnReasons.delete", reason["id"])).done == gone
    for each in (reason, nested):
        missing = await client("admin.returnReasons.retrieve", each["id"])
        message = f"Return Reason with id: {each['id']} was not found."
        _refused(missing, 404, "not_found", message)


# ---- the storefront -----------------------------------------------------------------------------


async def test_a_customer_sees_an_order_and_sends_something_back(
    shop: Embedded, client: Client
) -> None:
    await shop.load({"customers": [{"id": "cus_cleo", **CUSTOMER}]})
    order = sold(Line(quantity=2))
    await _sell(shop, order, customer_id="cus_cleo", email=CUSTOMER["email"])
    nobody = client.with_(maxRetries=0)
    unknown = await nobody("orders.retrieve", order.id)
    assert (unknown.status, unknown.data) == (401, "Unauthorized")
    token = (await nobody("auth.getToken", CUSTOMER))["access_token"]
    cleo = client.with_(maxRetries=0, customHeaders={"Authorization": f"Bearer {token}"})
    seen = (await cleo("orders.retrieve", order.id))["order"]
    assert (seen["id"], _ids(seen["items"])) == (order.id, {order.line.id})
    proof = {"display_id": order.record["display_id"], "email": CUSTOMER["email"]}
    looked_up = (await nobody("orders.lookupOrder", proof))["order"]
    assert looked_up["id"] == order.id
    wrong = await nobody("orders.lookupOrder", {**proof, "email": "other@shop.example"})
    assert (wrong.status, wrong.data) == (404, "Not Found")
    assert (await cleo("orders.retrieveByCartId", "cart_x")).status == 404
    body = {"order_id": order.id, "items": [order.line.units()]}
    asked = await cleo("returns.create", {**body, "return_shipping": {"option_id": RETURN_OPTION}})
    assert (asked["return"]["status"], asked["return"]["refund_amount"]) == ("requested", 780)
    foreign = await _sell(shop, sold())
    other = {"order_id": foreign.id, "items": [foreign.line.units()]}
    refused = await cleo("returns.create", other)
    message = f"Order with id {foreign.id} was not found"
    _refused(refused, 404, "not_found", message)


# ---- stock --------------------------------------------------------------------------------------


async def test_stock_is_counted_per_place(shop: Embedded, client: Client) -> None:
    variant = Variant(stocked=None)
    await shop.stock(variant)
    await shop.load({"variants": [{**variant.record, "manage_inventory": True}]})
    (item,) = (await client("admin.inventoryItems.list", {"variant_id": variant.id}))[
        "inventory_items"
    ]
    assert (await client("admin.inventoryItems.delete", item["id"])).done == {
        "id": item["id"],
        "object": "inventory_item",
        "deleted": True,
    }
    made = {"variant_id": variant.id, "sku": f"SKU-{variant.id}", "weight": 300}
    item = (await client("admin.inventoryItems.create", made))["inventory_item"]
    id_ = item["id"]
    changed = await client("admin.inventoryItems.update", id_, {"hs_code": "6912.00"}, {})
    assert changed["inventory_item"]["hs_code"] == "6912.00"
    by_code = {"hs_code": {"starts_with": "6912"}, "weight": {"gte": 300, "lt": 301}}
    assert _ids((await client("admin.inventoryItems.list", by_code))["inventory_items"]) == {id_}
    page = await client("admin.inventoryItems.list")
    assert (page["limit"], page["offset"]) == (20, 0)
    place = {"name": f"Attic {id_}", "address": {"address_1": "Up", "country_code": "si"}}
    attic = (await client("admin.stockLocations.create", place))["stock_location"]["id"]
    counted = {"location_id": attic, "stocked_quantity": 9, "incoming_quantity": 1}
    levelled = await client("admin.inventoryItems.createLocationLevel", id_, counted)
    assert levelled["inventory_item"]["stocked_quantity"] == 9
    recount = {"stocked_quantity": 7}
    await client("admin.inventoryItems.updateLocationLevel", id_, attic, recount)
    levels = (await client("admin.inventoryItems.listLocationLevels", id_))["inventory_item"]
    (level,) = levels["location_levels"]
    figures = ("stocked_quantity", "incoming_quantity", "reserved_quantity", "available_quantity")
    assert [level[name] for name in figures] == [7, 1, 0, 7]
    found = (await client("admin.inventoryItems.retrieve", id_))["inventory_item"]
    assert (found["stocked_quantity"], len(found["location_levels"])) == (7, 1)
    gone = await client("admin.inventoryItems.deleteLocationLevel", id_, attic)
    assert gone["inventory_item"]["location_levels"] == []


async def test_places_are_kept(client: Client) -> None:
    name = f"Cellar {next(_numbers)}"
    made = {"name": f" {name} ", "address": {"address_1": "Down", "country_code": "si"}}
    place = (await client("admin.stockLocations.create", made))["stock_location"]
    assert place["name"] == name
    update = {"name": f"{name} 2", "metadata": {"damp": True}}
    changed = (await client("admin.stockLocations.update", place["id"], update))["stock_location"]
    assert changed["name"] == f"{name} 2"
    found = (await client("admin.stockLocations.retrieve", place["id"]))["stock_location"]
    assert found["metadata"] == {"damp": True}
    listed = await client("admin.stockLocations.list", {"name": f"{name} 2", "expand": "address"})
    (shown,) = listed["stock_locations"]
    assert shown["address"]["address_1"] == "Down"
    gone = {"id": place["id"], "object": "stock_location", "deleted": True}
    assert (await client("admin.stockLocations.delete", place["id"])).done == gone
    missing = await client("admin.stockLocations.retrieve", place["id"])
    message = f"StockLocation with id {place['id']} was not found"
    _refused(missing, 404, "not_found", message)


async def test_units_are_promised(shop: Embedded, client: Client) -> None:
    order = _packable(quantity=4)
    await _sell(shop, order)
    assert order.line.variant is not None
    items = await client("admin.inventoryItems.list", {"variant_id": order.line.variant.id})
    item = items["inventory_items"][0]["id"]
    body = {"location_id": LOCATION, "inventory_item_id": item, "quantity": 2}
    described = {**body, "line_item_id": order.line.id, "description": f"first of {order.id}"}
    made = (await client("admin.reservations.create", described))["reservation"]
    id_ = made["id"]
    update = {"quantity": 3, "description": f"second of {order.id}"}
    changed = (await client("admin.reservations.update", id_, update))["reservation"]
    assert (changed["quantity"], changed["description"]) == (3, f"second of {order.id}")
    mine = {"inventory_item_id": [item]}
    for query, hit in (
        ({"quantity": {"gt": 2}}, True),
        ({"quantity": {"gt": 3}}, False),
        ({"description": {"contains": "cond of"}}, True),
        ({"description": {"starts_with": "second"}}, True),
        ({"description": {"ends_with": "second"}}, False),
        ({"line_item_id": [order.line.id], "created_at": {"gte": "2020-01-01"}}, True),
    ):
        page = await client("admin.reservations.list", {**mine, **query})
        assert page["count"] == (1 if hit else 0), query
    wide = {**mine, "expand": "line_item,inventory_item"}
    (joined,) = (await client("admin.reservations.list", wide))["reservations"]
    assert joined["line_item"]["order"]["id"] == order.id
    assert joined["inventory_item"]["id"] == item
    too_many = await client("admin.reservations.update", id_, {"quantity": 5})
    message = "The reservation quantity cannot be greater than the unfulfilled line item quantity"
    _refused(too_many, 400, "invalid_data", message)
    assert (await client("admin.reservations.retrieve", id_))["reservation"]["quantity"] == 3
    of_order = await client("admin.custom.get", f"orders/{order.id}/reservations")
    assert _ids(of_order["reservations"]) == {id_}
    gone = {"id": id_, "object": "reservation", "deleted": True}
    assert (await client("admin.reservations.delete", id_)).done == gone
    missing = await client("admin.reservations.retrieve", id_)
    _refused(missing, 404, "not_found", f"Reservation with id {id_} not found")


async def test_variants_tell_what_there_is(shop: Embedded, client: Client) -> None:
    variant = Variant(stocked=6)
    await shop.stock(variant)
    (listed,) = (await client("admin.variants.list", {"q": variant.record["sku"]}))["variants"]
    assert (listed["id"], listed["inventory_quantity"]) == (variant.id, 6)
    found = (await client("admin.variants.retrieve", variant.id))["variant"]
    assert found == listed
    missing = await client("admin.variants.retrieve", "variant_x")
    _refused(missing, 404, "not_found", "Variant with id: variant_x was not found")
    stock = (await client("admin.variants.getInventory", variant.id))["variant"]
    (channel,) = stock["sales_channel_availability"]
    assert (channel["channel_id"], channel["available_quantity"]) == (CHANNEL, 6)


# ---- notes, exports, people ---------------------------------------------------------------------


async def test_notes_are_written(shop: Embedded, client: Client) -> None:
    order = await _sell(shop, sold())
    body = {"resource_id": order.id, "resource_type": "order", "value": "called"}
    note = (await client("admin.notes.create", body))["note"]
    assert note["author_id"] == "admin_user"
    assert (await client("admin.notes.update", note["id"], {"value": "called twice"}))["note"]
    found = (await client("admin.notes.retrieve", note["id"]))["note"]
    assert (found["value"], found["author"]["id"]) == ("called twice", "admin_user")
    page = await client("admin.notes.list", {"resource_id": order.id})
    assert (_ids(page["notes"]), page["count"], page["limit"]) == ({note["id"]}, 1, 50)
    assert (await client("admin.notes.list"))["count"] >= 1
    gone = {"id": note["id"], "object": "note", "deleted": True}
    assert (await client("admin.notes.delete", note["id"])).done == gone
    missing = await client("admin.notes.retrieve", note["id"])
    _refused(missing, 404, "not_found", f"Note with id: {note['id']} was not found.")


async def test_orders_are_exported(shop: Embedded, client: Client) -> None:
    await _sell(shop, sold())
    wanted = {"type": "order-export", "context": {}, "dry_run": True}

    async def job_once(status: str, id_: str) -> Json | None:
        job: Json = (await client("admin.batchJobs.retrieve", id_))["batch_job"]
        return job if job["status"] == status else None

    made = await client("admin.batchJobs.create", wanted)
    job = made["batch_job"]
    assert (made.status, job["status"], job["created_by"]) == (201, "created", "admin_user")
    await eventually(lambda: job_once("pre_processed", job["id"]))
    # The client writes null as a text.
    waiting = await client("admin.batchJobs.list", {"completed_at": None, "type": ["order-export"]})
    assert waiting.query.startswith("?completed_at=null")
    assert job["id"] in _ids(waiting["batch_jobs"])
    await client("admin.batchJobs.confirm", job["id"])
    done = await eventually(lambda: job_once("completed", job["id"]))
    assert done["result"]["count"] >= 1
    late = await client("admin.batchJobs.cancel", job["id"])
    _refused(late, 400, "not_allowed", "Cannot cancel completed batch job")


async def test_who_asks_and_what_the_pages_of_medusa_ask(shop: Embedded, client: Client) -> None:
    email, password = f"desk{next(_numbers)}@shop.example", "a long password of a desk"
    login = {"email": email, "password": password}
    await client("admin.custom.post", "/users", {**login, "role": "agent"})
    nobody = client.with_(maxRetries=0)
    wrong = await nobody("admin.auth.getToken", {**login, "password": "a wrong password it is"})
    assert (wrong.status, wrong.data) == (401, "Unauthorized")
    token = (await nobody("admin.auth.getToken", login))["access_token"]
    assert (await nobody("admin.auth.createSession", login))["user"]["email"] == email
    desk = client.with_(maxRetries=0, customHeaders={"Authorization": f"Bearer {token}"})
    assert (await desk("admin.auth.getSession"))["user"]["email"] == email
    assert (await client("admin.auth.deleteSession")).status == 200
    assert (await nobody("admin.orders.list")).data == "Unauthorized"

    (region,) = [r for r in (await desk("admin.regions.list"))["regions"] if r["id"] == REGION]
    assert region["currency_code"] == "eur"
    way = {"region_id": REGION, "is_return": True}
    assert RETURN_OPTION in _ids(
        (await desk("admin.shippingOptions.list", way))["shipping_options"]
    )
    store = (await desk("admin.store.retrieve"))["store"]
    assert store["default_currency_code"] == "eur"
    assert {each["module"] for each in store["modules"]} == {
        "inventoryService",
        "stockLocationService",
    }


async def test_customers_are_found_and_corrected(shop: Embedded, client: Client) -> None:
    id_ = f"cus_dan_{next(_numbers)}"
    email = f"{id_}@shop.example"
    await shop.load({"customers": [{"id": id_, "email": email, "first_name": "Dan"}]})
    assert _ids((await client("admin.customers.list", {"q": id_}))["customers"]) == {id_}
    change = {"last_name": "Day", "phone": "+386 1", "email": f"new.{email}"}
    changed = (await client("admin.customers.update", id_, change))["customer"]
    assert changed == (await client("admin.customers.retrieve", id_))["customer"]
    told = {name: changed[name] for name in (*change, "first_name")}
    assert told == {**change, "first_name": "Dan"}
    assert _ids((await client("admin.customers.list", {"q": "new.cus_dan"}))["customers"]) >= {id_}
    missing = await client("admin.customers.update", "cus_x", {"phone": "1"})
    _refused(missing, 404, "not_found", "Customer with id: cus_x was not found")


async def test_what_is_ours_is_reached_by_the_clients_way_out(
    shop: Embedded, client: Client
) -> None:
    order = await _sell(shop, sold())
    preview = await client(
        "admin.custom.post", f"/orders/{order.id}/claims/preview", order.refund_claim()
    )
    assert preview["preview"]["refund_amount"] == 1200
    claims = await client("admin.custom.get", "/admin/claims", {"order_id": order.id})
    assert claims["count"] == 0
    gone = await client("admin.custom.delete", "/notes/note_x")
    _refused(gone, 404, "not_found", "Note with id: note_x was not found.")


# ---- the map ------------------------------------------------------------------------------------


async def test_what_is_not_served_is_not_found(client: Client) -> None:
    for method in NOT_SERVED:
        told = await client(method, "a_x", "b_x", "c_x")
        assert told.status == 404, method
        assert told.data["type"] == "not_found"


async def test_every_method_of_the_client_is_in_the_map(client: Client) -> None:
    known = {name for resource in RESOURCES for name in await client.methods(resource)}
    assert known == {name for name in MAP if name.rpartition(".")[0] in RESOURCES}
