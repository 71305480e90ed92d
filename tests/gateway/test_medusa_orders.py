"""Medusa's own cases of orders, refunds and stock, over HTTP; a docstring names the case."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import compose
from tests.gateway import medusa
from tests.gateway.builders import Door

ENUMS = {
    "status": "pending, completed, archived, canceled, requires_action",
    "fulfillment_status": (
        "not_fulfilled, partially_fulfilled, fulfilled, partially_shipped, shipped,"
        " partially_returned, returned, canceled, requires_action"
    ),
    "payment_status": (
        "not_paid, awaiting, captured, partially_refunded, refunded, canceled, requires_action"
    ),
}


async def _ids(door: Door, query: str) -> list[str]:
    answer = await door.get(f"/admin/orders?{query}")
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["count"] == len(page["orders"])
    return sorted(order["id"] for order in page["orders"])


# ---- money --------------------------------------------------------------------------------------


async def test_half_of_the_money_goes_back(door: Door) -> None:
    """M97, M98: the refund fills the payments in their order and is one row without a payment."""
    await door.load(medusa.paid_document())
    body = {"amount": 500, "reason": "other"}
    order = (await door.post("/admin/orders/order_test/refund", body)).json()["order"]
    assert order["payment_status"] == "partially_refunded"
    assert order["refundable_amount"] == 500
    assert [(row["amount"], row["reason"], row["payment_id"]) for row in order["refunds"]] == [
        (500, "other", None)
    ]
    assert [payment["amount_refunded"] for payment in order["payments"]] == [300, 200]


async def test_a_refund_walks_over_the_payments(door: Door) -> None:
    """M98: 1500 over 1000 and 1000, the third payment is refunded already and is not touched."""
    document = medusa.paid_document()
    document["orders"][0]["items"][0]["unit_price"] = 3000
    document["orders"][0]["payments"] = [
        {
            "id": f"pay_{number}",
            "amount": 1000,
            "amount_refunded": done,
            "provider_id": "manual",
            "captured_at": medusa.CREATED,
        }
        for number, done in enumerate((0, 0, 1000))
    ]
    await door.load(document)
    body = {"amount": 1500, "reason": "other"}
    order = (await door.post("/admin/orders/order_test/refund", body)).json()["order"]
    assert [payment["amount_refunded"] for payment in order["payments"]] == [1000, 500, 1000]


@pytest.mark.parametrize(
    ("change", "amount", "message"),
    [
        ({}, 1001, "Cannot refund more than the original order amount"),
        ({"status": "canceled"}, 1, "A canceled order cannot be refunded"),
        ({"payments": []}, 1, "Cannot refund more than the original order amount"),
    ],
)
async def test_a_refund_is_refused_in_medusas_words(
    door: Door, change: dict[str, Any], amount: int, message: str
) -> None:
    """M99."""
    document = medusa.paid_document()
    document["orders"][0] |= change
    await door.load(document)
    body = {"amount": amount, "reason": "other"}
    answer = await door.post("/admin/orders/order_test/refund", body)
    assert (answer.status_code, answer.json()) == (
        400,
        {"type": "not_allowed", "message": message},
    )


async def test_money_that_was_not_captured_is_not_refunded(door: Door) -> None:
    document = medusa.paid_document()
    del document["orders"][0]["payments"][1]["captured_at"]
    await door.load(document)
    assert (await door.order("order_test"))["refundable_amount"] == 300
    body = {"amount": 301, "reason": "other"}
    answer = await door.post("/admin/orders/order_test/refund", body)
    assert answer.json() == {
        "type": "not_allowed",
        "message": "Refund amount is greater that the refundable amount",
    }


# ---- the list -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ENUMS))
async def test_a_status_that_is_none_is_told_with_all_known_ones(door: Door, name: str) -> None:
    """M100."""
    answer = await door.get(f"/admin/orders?{name}[]=test")
    assert answer.status_code == 400
    message = f"each value in {name} must be one of the following values: {ENUMS[name]}"
    assert answer.json() == {"type": "invalid_data", "message": message}


async def test_two_statuses_together(door: Door) -> None:
    """M102."""
    document = medusa.orders_document()
    document["orders"].append(
        medusa.an_order("another-order", medusa.an_item("another-item", 1), tax_rate=0)
    )
    await door.load(document)
    query = "fulfillment_status%5B%5D=fulfilled&payment_status%5B%5D=captured"
    assert await _ids(door, query) == ["discount-order", "test-order"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("test@email.com", ["test-order"]),
        ("TEST@email", ["test-order"]),
        ("123532", ["test-order"]),
        ("michael", ["test-order"]),
        ("Jordan", ["test-order"]),
        ("lebron", ["discount-order", "test-order"]),
        ("nobody", []),
        ("%25", []),
    ],
)
async def test_the_search_looks_where_medusa_looks(door: Door, text: str, ids: list[str]) -> None:
    """M103: e-mail, the customer's phone and names, the first name it was shipped to."""
    await door.load(medusa.orders_document())
    assert await _ids(door, f"q={text}") == ids


async def test_the_search_finds_a_display_id(door: Door) -> None:
    document = medusa.orders_document()
    document["orders"][1]["display_id"] = 4711
    await door.load(document)
    assert await _ids(door, "q=4711") == ["discount-order"]
    assert await _ids(door, "display_id=4711") == ["discount-order"]


@pytest.mark.parametrize("at", ["1970-01-01T00%3A00%3A00.000Z", "1970-01-01", "10"])
async def test_the_time_of_creation_is_a_date_or_unix_seconds(door: Door, at: str) -> None:
    """M104."""
    await door.load(medusa.orders_document())
    assert len(await _ids(door, f"created_at%5Bgt%5D={at}")) == 2
    assert await _ids(door, f"created_at%5Blt%5D={at}") == []


# ---- what a GET shows ---------------------------------------------------------------------------


async def test_returnable_items_are_shown_on_demand(door: Door) -> None:
    """M106."""
    document = medusa.orders_document()
    document["orders"][0]["items"][0]["shipped_quantity"] = 1
    await door.load(document)
    alone = (await door.get("/admin/orders/test-order?expand=returnable_items")).json()["order"]
    assert set(alone) == {
        *compose.DEFAULT_FIELDS,
        *compose.TOTALS,
        *("returnable_items", "items", "claims", "swaps"),
    }
    assert alone["items"] == [{"refundable": 7200}]
    assert (alone["claims"], alone["swaps"]) == ([], [])
    assert [line["id"] for line in alone["returnable_items"]] == ["test-item"]
    path = "/admin/orders/test-order?expand=returnable_items&fields=id"
    few = (await door.get(path)).json()["order"]
    assert set(few) == {"id", "returnable_items", *compose.TOTALS}


async def test_returnable_items_are_asked_of_one_order_only(door: Door) -> None:
    await door.load(medusa.orders_document())
    answer = await door.get("/admin/orders?expand=returnable_items")
    assert answer.status_code == 400
    message = 'The field "returnable_items" is not supported by this end point. '
    assert answer.json() == {"type": "invalid_data", "message": message}


async def test_a_list_shows_what_it_is_asked_for_and_when(door: Door) -> None:
    await door.load(medusa.orders_document())
    page = (await door.get("/admin/orders?fields=id,email&expand=items")).json()
    for order in page["orders"]:
        assert set(order) == {"id", "email", "created_at", "items", *compose.TOTALS}


# ---- stock --------------------------------------------------------------------------------------


async def _item_id(door: Door) -> str:
    (item,) = (await door.get("/admin/inventory-items?sku=sku-test-variant")).json()[
        "inventory_items"
    ]
    return str(item["id"])


async def test_a_level_lives_from_creation_to_deletion(door: Door) -> None:
    """M126, M128."""
    document = medusa.paid_document()
    document["stock_locations"].append({"id": "sloc_2", "name": "There"})
    await door.load(document)
    item_id = await _item_id(door)
    levels = f"/admin/inventory-items/{item_id}/location-levels"
    body = {"location_id": "sloc_2", "stocked_quantity": 17, "incoming_quantity": 2}
    made = await door.post(levels, body)
    assert made.json()["inventory_item"]["id"] == item_id

    async def found() -> dict[str, Any] | None:
        item = (await door.get(f"/admin/inventory-items/{item_id}")).json()["inventory_item"]
        there = [row for row in item["location_levels"] if row["location_id"] == "sloc_2"]
        return there[0] if there else None

    level = await found()
    assert level is not None
    assert (level["stocked_quantity"], level["incoming_quantity"]) == (17, 2)
    assert (level["reserved_quantity"], level["available_quantity"]) == (0, 17)
    body = {"stocked_quantity": 21, "incoming_quantity": 0}
    assert (await door.post(f"{levels}/sloc_2", body)).status_code == 200
    level = await found()
    assert level is not None
    assert (level["stocked_quantity"], level["incoming_quantity"]) == (21, 0)
    assert (await door.delete(f"{levels}/sloc_2")).status_code == 200
    assert await found() is None


async def test_a_level_below_zero_is_refused(door: Door) -> None:
    """M127."""
    await door.load(medusa.paid_document())
    path = f"/admin/inventory-items/{await _item_id(door)}/location-levels/{medusa.LOCATION}"
    answer = await door.post(path, {"incoming_quantity": -1, "stocked_quantity": -1})
    assert (answer.status_code, answer.json()["type"]) == (400, "invalid_data")
    assert set(answer.json()["message"].split(", ")) == {
        "incoming_quantity must not be less than 0",
        "stocked_quantity must not be less than 0",
    }


async def test_a_closed_location_takes_its_levels_and_reservations_along(door: Door) -> None:
    """M129."""
    await door.load(medusa.claims_document())
    item = {"item_id": "test-item", "quantity": 1, "reason": "other"}
    body = {
        "type": "replace",
        "claim_items": [item],
        "additional_items": [{"variant_id": "variant-2", "quantity": 1}],
    }
    assert (await door.post("/admin/orders/test-order/claims", body)).status_code == 200
    assert (await door.get("/admin/reservations")).json()["count"] == 1
    item_id = await _item_id(door)
    gone = await door.delete(f"/admin/stock-locations/{medusa.LOCATION}")
    assert gone.json() == {"id": medusa.LOCATION, "object": "stock_location", "deleted": True}
    assert (await door.get("/admin/reservations")).json()["count"] == 0
    item = (await door.get(f"/admin/inventory-items/{item_id}")).json()["inventory_item"]
    assert item["location_levels"] == []
    assert (await door.get(f"/admin/stock-locations/{medusa.LOCATION}")).status_code == 404


async def test_a_reserved_level_is_not_removed(door: Door) -> None:
    await door.load(medusa.claims_document())
    item = {"item_id": "test-item", "quantity": 1, "reason": "other"}
    body = {
        "type": "replace",
        "claim_items": [item],
        "additional_items": [{"variant_id": "test-variant", "quantity": 1}],
    }
    assert (await door.post("/admin/orders/test-order/claims", body)).status_code == 200
    item_id = await _item_id(door)
    path = f"/admin/inventory-items/{item_id}/location-levels/{medusa.LOCATION}"
    answer = await door.delete(path)
    assert answer.status_code == 400
    message = (
        f"Cannot remove Inventory Level {item_id} at Location {medusa.LOCATION}"
        " because there are reserved items."
    )
    assert answer.json() == {"type": "not_allowed", "message": message}


@pytest.mark.parametrize("name", [" Shed ", "Shed"])
async def test_the_name_of_a_location_is_trimmed(door: Door, name: str) -> None:
    answer = await door.post("/admin/stock-locations", {"name": name})
    assert answer.json()["stock_location"]["name"] == "Shed"
    empty = await door.post("/admin/stock-locations", {"name": "  "})
    assert (empty.status_code, empty.json()) == (
        400,
        {"type": "invalid_data", "message": "name should not be empty"},
    )


# ---- lists --------------------------------------------------------------------------------------

LISTS = (
    *("orders", "claims", "returns", "customers", "variants", "inventory-items"),
    *("stock-locations", "reservations"),
)


async def test_a_page_of_nothing_still_counts(door: Door) -> None:
    await door.load(medusa.orders_document())
    for name in LISTS:
        page = (await door.get(f"/admin/{name}?limit=0")).json()
        (plural,) = set(page) - {"count", "offset", "limit"}
        assert (page[plural], page["limit"], page["offset"]) == ([], 0, 0)
        whole = (await door.get(f"/admin/{name}/")).json()
        assert whole["count"] == page["count"] == len(whole[plural])


SENSELESS = (
    *("display_id=x", "display_id=99999999999999999999", "tax_rate=a", "tax_rate=nan"),
    *("q[]=a", "q[a]=b", "email[a]=b", "expand[]=a", "order=password", "created_at=1"),
    *("created_at[gt]=x", "created_at[like]=1", "limit=x", "limit[]=1", "offset=-1"),
)


async def test_a_filter_that_makes_no_sense_is_refused_in_plain_words(door: Door) -> None:
    for query in SENSELESS:
        answer = await door.get(f"/admin/orders?{query}")
        assert answer.status_code == 400, query
        assert set(answer.json()) == {"type", "message"}
        assert answer.json()["type"] == "invalid_data"
        # The words of the libraries behind the services are not the contract's.
        assert "Input should" not in answer.text
        assert "query." not in answer.text


async def test_an_order_of_many_lines_is_shown_whole(door: Door) -> None:
    count = 700
    document = medusa.a_base(*(medusa.a_variant(f"variant_{n:04}", 100) for n in range(count)))
    lines = [
        medusa.an_item(f"line_{n:04}", 100, variant_id=f"variant_{n:04}") for n in range(count)
    ]
    document["orders"] = [medusa.an_order("order_long", *lines, paid=100 * count)]
    await door.load(document)
    order = await door.order("order_long")
    assert [line["variant"]["id"] for line in order["items"]] == [
        f"variant_{n:04}" for n in range(count)
    ]
    (listed,) = (await door.get("/admin/orders")).json()["orders"]
    assert len(listed["items"]) == count
    assert all(line["variant"] for line in listed["items"])
