"""Medusa's own cases of claims, over HTTP; a test's docstring names the case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway import medusa
from tests.gateway.builders import Door

ITEM = {"item_id": "test-item", "quantity": 1, "reason": "wrong_item"}
REPLACEMENT = [{"variant_id": "test-variant", "quantity": 1}]


async def _claim(door: Door, order_id: str = "test-order", **body: Any) -> Any:
    given = {"type": "refund", "claim_items": [ITEM], **body}
    return await door.post(f"/admin/orders/{order_id}/claims", given)


async def _claimed(door: Door, order_id: str = "test-order", **body: Any) -> dict[str, Any]:
    answer = await _claim(door, order_id, **body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["order"]
    return found


async def _is_untouched(door: Door, order_id: str = "test-order") -> None:
    order = await door.order(order_id)
    assert (order["claims"], order["returns"], order["refunds"]) == ([], [], [])
    assert (await door.get("/admin/reservations")).json()["count"] == 0


# ---- as created over HTTP -----------------------------------------------------------------------


async def test_a_replacement_with_a_shipping_option_of_no_price(door: Door) -> None:
    """M06."""
    await door.load(medusa.claims_document())
    order = await _claimed(
        door,
        type="replace",
        claim_items=[{**ITEM, "quantity": 1, "tags": ["fluff"], "images": ["https://test.com"]}],
        additional_items=[{"variant_id": "variant-2", "quantity": 1}],
        shipping_methods=[{"option_id": "test-option", "price": 0}],
    )
    (claim,) = order["claims"]
    (method,) = claim["shipping_methods"]
    assert (method["shipping_option_id"], method["price"]) == ("test-option", 0)
    assert (claim["type"], claim["payment_status"], claim["refund_amount"]) == (
        "replace",
        "na",
        None,
    )
    assert claim["fulfillment_status"] == "not_fulfilled"
    (line,) = claim["additional_items"]
    assert (line["variant_id"], line["unit_price"]) == ("variant-2", 1000)
    assert [tax["rate"] for tax in line["tax_lines"]] == [12.5]
    assert [image["url"] for image in claim["claim_items"][0]["images"]] == ["https://test.com"]


async def test_a_refund_claim_may_send_something_too(door: Door) -> None:
    """M09."""
    await door.load(medusa.orders_document())
    item = {"item_id": "test-item-1", "quantity": 1, "reason": "wrong_item", "tags": ["fluff"]}
    order = await _claimed(
        door,
        "discount-order",
        claim_items=[{**item, "images": ["https://test.com"]}],
        additional_items=REPLACEMENT,
    )
    (claim,) = order["claims"]
    assert claim["type"] == "refund"
    assert [line["variant_id"] for line in claim["additional_items"]] == ["test-variant"]
    # Fulfilled and not shipped: the computed refund is 0, so nothing is refunded (D7).
    assert (claim["refund_amount"], claim["payment_status"]) == (0, "not_refunded")
    assert order["refunds"] == []


async def test_an_order_is_claimed_again(door: Door) -> None:
    """M10: the earlier claim is made here, where Medusa's fixture has it."""
    await door.load(medusa.claimed_document())
    item = {"item_id": "test-item-co-3", "quantity": 1, "reason": "production_failure"}
    await _claimed(door, "order-with-claim", claim_items=[item])
    other = {"item_id": "test-item-co-2", "quantity": 1, "reason": "wrong_item"}
    order = await _claimed(
        door,
        "order-with-claim",
        type="replace",
        claim_items=[other],
        additional_items=REPLACEMENT,
    )
    assert [claim["type"] for claim in order["claims"]] == ["refund", "replace"]
    assert [claim["claim_items"][0]["item"]["id"] for claim in order["claims"]] == [
        "test-item-co-3",
        "test-item-co-2",
    ]


async def test_a_replacement_asks_for_the_goods_back(door: Door) -> None:
    """M12."""
    await door.load(medusa.orders_document())
    order = await _claimed(
        door,
        type="replace",
        additional_items=REPLACEMENT,
        return_shipping={"option_id": "test-return-option", "price": 0},
    )
    (claim,) = order["claims"]
    method = claim["return_order"]["shipping_method"]
    assert (method["price"], method["shipping_option_id"]) == (0, "test-return-option")


async def test_a_replacement_that_is_not_in_stock_creates_nothing(door: Door) -> None:
    """M21, D29."""
    await door.load(medusa.orders_document())
    answer = await _claim(
        door, type="replace", additional_items=[{"variant_id": "test-variant", "quantity": 2}]
    )
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "not_allowed",
        "message": "Variant with id: test-variant does not have the required inventory",
    }
    await _is_untouched(door)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"type": "something"},
            "type must be one of the following values: refund, replace",
        ),
        (
            {"claim_items": [{**ITEM, "reason": "should_throw_error"}]},
            "reason must be one of the following values: "
            "missing_item, wrong_item, production_failure, other",
        ),
    ],
)
async def test_the_validator_knows_types_and_reasons(
    door: Door, body: dict[str, Any], message: str
) -> None:
    """M24, M25: no order is needed for that, so none is looked for."""
    answer = await _claim(door, **body)
    assert answer.status_code == 400
    assert answer.json() == {"type": "invalid_data", "message": message}


async def test_a_claim_is_not_canceled_under_another_orders_id(door: Door) -> None:
    """M26."""
    await door.load(medusa.orders_document())
    order = await _claimed(door, type="replace", additional_items=REPLACEMENT)
    claim_id = order["claims"][0]["id"]
    answer = await door.post(f"/admin/orders/discount-order/claims/{claim_id}/cancel")
    assert answer.status_code == 404
    message = f"no claim was found with the id: {claim_id} related to order: discount-order"
    assert answer.json() == {"type": "not_found", "message": message}
    unknown = await door.post(f"/admin/orders/order_x/claims/{claim_id}/cancel")
    assert unknown.status_code == 404


# ---- rules of the claim service -----------------------------------------------------------------


def _shipped(**more: Any) -> dict[str, Any]:
    """One shipped piece of 8000 and one that waits, as in Medusa's own test of the service."""
    document = medusa.orders_document()
    order = medusa.an_order(
        "order_8000",
        medusa.an_item("item-shipped", 8000),
        medusa.an_item("item-second", 8000),
        medusa.an_item("item-waiting", 8000, shipped_quantity=0),
        paid=24_000,
        **more,
    )
    document["orders"] = [order]
    return document


def _of(*items: str) -> list[dict[str, Any]]:
    return [{"item_id": item, "quantity": 1, "reason": "wrong_item"} for item in items]


async def test_a_refund_claim_opens_one_return_and_reserves_what_it_sends(door: Door) -> None:
    """M29."""
    await door.load(_shipped(no_notification=True))
    order = await _claimed(
        door,
        "order_8000",
        claim_items=_of("item-shipped"),
        additional_items=REPLACEMENT,
        return_shipping={"option_id": "test-return-option", "price": 0},
    )
    (claim,), (returned,) = order["claims"], order["returns"]
    assert (returned["refund_amount"], returned["order_id"]) == (8000, "order_8000")
    assert (returned["claim_order_id"], returned["no_notification"]) == (claim["id"], True)
    assert returned["shipping_method"]["shipping_option_id"] == "test-return-option"
    assert claim["no_notification"] is True
    (reserved,) = (await door.get("/admin/reservations")).json()["reservations"]
    assert reserved["quantity"] == 1
    assert reserved["line_item_id"] == claim["additional_items"][0]["id"]


@pytest.mark.parametrize("absent", [{}, {"return_shipping": None}])
async def test_without_return_shipping_there_is_no_return(
    door: Door, absent: dict[str, Any]
) -> None:
    """M30."""
    await door.load(_shipped())
    order = await _claimed(door, "order_8000", claim_items=_of("item-shipped"), **absent)
    assert order["returns"] == []
    assert order["claims"][0]["return_order"] is None


@pytest.mark.parametrize("shipping", [{}, {"price": 0}])
async def test_the_mere_presence_of_return_shipping_asks_for_the_goods(
    door: Door, shipping: dict[str, Any]
) -> None:
    await door.load(_shipped())
    order = await _claimed(
        door, "order_8000", claim_items=_of("item-shipped"), return_shipping=shipping
    )
    assert [one["refund_amount"] for one in order["returns"]] == [8000]
    assert order["claims"][0]["return_order"]["id"] == order["returns"][0]["id"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"type": "replace"},
            'Claims with type "replace" must have at least one additional item.',
        ),
        (
            {"type": "replace", "additional_items": []},
            'Claims with type "replace" must have at least one additional item.',
        ),
        ({"claim_items": []}, "Claims must have at least one claim item."),
        (
            {"type": "replace", "claim_items": [], "refund_amount": 1},
            'Claims with type "replace" must have at least one additional item.',
        ),
        (
            {
                "type": "replace",
                "claim_items": [],
                "refund_amount": 1,
                "additional_items": REPLACEMENT,
            },
            "Claims must have at least one claim item.",
        ),
        (
            {"type": "replace", "refund_amount": 0, "additional_items": REPLACEMENT},
            'Claim has type "replace" but must be type "refund" to have a refund_amount.',
        ),
        (
            {"claim_items": [{"item_id": "test-item", "quantity": 1}]},
            'Claim Item reason must be one of "missing_item", "wrong_item",'
            ' "production_failure" or "other".',
        ),
    ],
)
async def test_a_claim_is_refused_in_medusas_order_and_words(
    door: Door, body: dict[str, Any], message: str
) -> None:
    """M31, M32, M33, M55; and an order that is not there is told first."""
    await door.load(medusa.claims_document())
    answer = await _claim(door, **body)
    assert answer.status_code == 400
    assert answer.json() == {"type": "invalid_data", "message": message}
    await _is_untouched(door)
    nowhere = await _claim(door, "order_x", **body)
    assert nowhere.status_code == 404
    assert nowhere.json()["message"] == "Order with id order_x was not found"


@pytest.mark.parametrize(("given", "told"), [(False, False), (None, True)])
async def test_the_orders_wish_for_silence_is_inherited(
    door: Door, given: bool | None, told: bool
) -> None:
    """M34."""
    await door.load(_shipped(no_notification=True))
    order = await _claimed(
        door, "order_8000", claim_items=_of("item-shipped"), no_notification=given
    )
    assert order["claims"][0]["no_notification"] is told


@pytest.mark.parametrize(
    ("items", "amount"),
    [
        (["item-shipped"], 8000),
        (["item-shipped", "item-second"], 16_000),
        (["item-shipped", "item-waiting"], 8000),
        (["item-waiting"], 0),
    ],
)
async def test_only_shipped_goods_count_in_the_computed_refund(
    door: Door, items: list[str], amount: int
) -> None:
    """M35, M36, M37, D7."""
    await door.load(_shipped())
    order = await _claimed(door, "order_8000", claim_items=_of(*items))
    (claim,) = order["claims"]
    assert claim["refund_amount"] == amount
    assert claim["payment_status"] == ("refunded" if amount else "not_refunded")
    assert order["refunded_total"] == amount
    assert [(row["amount"], row["reason"]) for row in order["refunds"]] == (
        [(amount, "claim")] if amount else []
    )


async def test_a_line_that_is_not_there_is_refused_and_never_counted_as_nothing(
    door: Door,
) -> None:
    """M39."""
    await door.load(_shipped())
    answer = await _claim(door, "order_8000", claim_items=_of("item-shipped", "item-nowhere"))
    assert answer.status_code == 404
    message = "Line item with item-nowhere was not found"
    assert answer.json() == {"type": "not_found", "message": message}
    await _is_untouched(door, "order_8000")


async def test_a_claim_with_a_refund_stays(door: Door) -> None:
    """M52; a claim without any money moved can be canceled, again and again (D8, D27)."""
    await door.load(_shipped())
    order = await _claimed(door, "order_8000", claim_items=_of("item-shipped"))
    paid = f"/admin/orders/order_8000/claims/{order['claims'][0]['id']}/cancel"
    refused = await door.post(paid)
    message = "Claim with a refund cannot be canceled"
    assert (refused.status_code, refused.json()) == (
        400,
        {"type": "not_allowed", "message": message},
    )
    order = await _claimed(door, "order_8000", claim_items=_of("item-waiting"))
    free = f"/admin/orders/order_8000/claims/{order['claims'][1]['id']}/cancel"
    first = (await door.post(free)).json()["order"]["claims"][1]
    assert (first["fulfillment_status"], first["payment_status"]) == ("canceled", "not_refunded")
    assert first["canceled_at"] is not None
    again = (await door.post(free)).json()["order"]["claims"][1]
    assert again == first


async def test_an_open_return_is_canceled_before_its_claim(door: Door) -> None:
    """M51."""
    await door.load(_shipped())
    order = await _claimed(
        door, "order_8000", claim_items=_of("item-shipped"), refund_amount=0, return_shipping={}
    )
    cancel = f"/admin/orders/order_8000/claims/{order['claims'][0]['id']}/cancel"
    refused = await door.post(cancel)
    message = "Return must be canceled before the claim can be canceled"
    assert (refused.status_code, refused.json()["message"]) == (400, message)
    canceled = await door.post(f"/admin/returns/{order['returns'][0]['id']}/cancel")
    assert canceled.json()["order"]["returns"][0]["status"] == "canceled"
    assert (await door.post(cancel)).status_code == 200


async def test_tags_are_trimmed_and_small(door: Door) -> None:
    """M53; they are shown only to who asks for them."""
    await door.load(_shipped())
    item = {**_of("item-shipped")[0], "tags": ["  FLUFF ", "fluff", "Tag 2"]}
    order = await _claimed(door, "order_8000", claim_items=[item])
    assert [tag["value"] for tag in order["claims"][0]["claim_items"][0]["tags"]] == [
        "fluff",
        "tag 2",
    ]
    plain = await door.order("order_8000")
    assert "tags" not in plain["claims"][0]["claim_items"][0]
    path = "/admin/orders/order_8000?expand=claims.claim_items.tags"
    asked = (await door.get(path)).json()["order"]
    assert [tag["value"] for tag in asked["claims"][0]["claim_items"][0]["tags"]] == [
        "fluff",
        "tag 2",
    ]


async def test_no_more_is_claimed_than_was_fulfilled(door: Door) -> None:
    """M54; two rows of one line count together (D10)."""
    await door.load(medusa.claims_document())
    message = "Cannot claim more of an item than has been fulfilled."
    for items in ([{**ITEM, "quantity": 3}], [{**ITEM, "quantity": 2}, ITEM]):
        answer = await _claim(door, claim_items=items)
        assert answer.status_code == 400
        assert answer.json() == {"type": "not_allowed", "message": message}
    await _is_untouched(door)
    assert (await _claimed(door, claim_items=[ITEM, ITEM]))["refunded_total"] == 2400


async def test_a_line_without_a_variant_cannot_be_claimed(door: Door) -> None:
    document = medusa.claims_document()
    document["orders"][0]["items"][0]["variant_id"] = None
    await door.load(document)
    answer = await _claim(door)
    assert answer.json() == {
        "type": "not_allowed",
        "message": "Cannot claim a custom line item",
    }


async def test_a_canceled_order_is_not_claimed(door: Door) -> None:
    document = medusa.claims_document()
    document["orders"][0]["status"] = "canceled"
    await door.load(document)
    answer = await _claim(door)
    message = "Cannot create a claim on a canceled item."
    assert answer.json() == {"type": "invalid_data", "message": message}


@pytest.mark.parametrize(
    ("variant", "type_", "message"),
    [
        (
            "nowhere",
            "invalid_data",
            "Unable to generate the line items, some variant has not been found: nowhere",
        ),
        (
            "no-price",
            "invalid_data",
            'Cannot generate line item for variant "no-price" without a price',
        ),
    ],
)
async def test_a_replacement_needs_a_variant_with_a_price(
    door: Door, variant: str, type_: str, message: str
) -> None:
    document = medusa.claims_document()
    document["variants"].append(medusa.a_variant("no-price", 1, prices=[]))
    await door.load(document)
    answer = await _claim(
        door, type="replace", additional_items=[{"variant_id": variant, "quantity": 1}]
    )
    assert answer.json() == {"type": type_, "message": message}
    await _is_untouched(door)


async def test_a_refund_needs_captured_money(door: Door) -> None:
    document = medusa.claims_document()
    document["orders"][0]["payments"] = []
    await door.load(document)
    answer = await _claim(door)
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "not_allowed",
        "message": "Refund amount is greater that the refundable amount",
    }
    await _is_untouched(door)


async def test_the_worked_examples_of_the_contract(door: Door) -> None:
    """3.4: 1000 at 20 % is 1200; at 12.5 % in the old system 1125; 8000 less 800 is 7200."""
    document = medusa.claims_document()
    cut = [{"amount": 800, "description": "SALE"}]
    document["orders"] += [
        medusa.an_order("order_old", medusa.an_item("item-old", 1000, 2), paid=2250, tax_rate=12.5),
        medusa.an_order("order_cut", medusa.an_item("item-cut", 8000, adjustments=cut), paid=7200),
    ]
    await door.load(document)
    for order_id, item, amount in (
        ("test-order", "test-item", 1200),
        ("order_old", "item-old", 1125),
        ("order_cut", "item-cut", 7200),
    ):
        order = await _claimed(door, order_id, claim_items=_of(item))
        assert order["claims"][0]["refund_amount"] == amount, order_id


async def test_a_shipping_method_without_a_price_costs_what_its_option_costs(door: Door) -> None:
    document = medusa.claims_document()
    document["shipping_options"][0]["amount"] = 700
    await door.load(document)
    methods = [{"option_id": "test-option"}, {"option_id": "test-option", "price": 0}]
    order = await _claimed(
        door, type="replace", additional_items=REPLACEMENT, shipping_methods=methods
    )
    assert [method["price"] for method in order["claims"][0]["shipping_methods"]] == [700, 0]
    unknown = await _claim(door, shipping_methods=[{"option_id": "nowhere"}])
    message = "Shipping Option with id: nowhere was not found"
    assert (unknown.status_code, unknown.json()) == (
        404,
        {"type": "not_found", "message": message},
    )


@pytest.mark.parametrize("shipping", [{}, {"return_shipping": {}}])
async def test_a_refund_of_nothing_is_a_claim_without_a_refund(
    door: Door, shipping: dict[str, Any]
) -> None:
    """0 is not the same as absent."""
    await door.load(medusa.claims_document())
    order = await _claimed(door, refund_amount=0, **shipping)
    (claim,) = order["claims"]
    assert (claim["refund_amount"], order["refunds"], order["refunded_total"]) == (0, [], 0)
    assert [one["refund_amount"] for one in order["returns"]] == ([0] if shipping else [])


@pytest.mark.parametrize(
    ("given", "status"), [(1, 200), (2400, 200), (2401, 400)], ids=["1", "all", "too much"]
)
async def test_a_given_refund_counts_up_to_what_was_captured(
    door: Door, given: int, status: int
) -> None:
    await door.load(medusa.claims_document())
    answer = await _claim(door, refund_amount=given)
    assert answer.status_code == status
    order = await door.order("test-order")
    assert order["refunded_total"] == (given if status == 200 else 0)
    assert len(order["claims"]) == (1 if status == 200 else 0)


async def test_a_claims_return_pays_again_only_what_is_asked_for_and_left(door: Door) -> None:
    """D4: 1200 went out with the claim; of 2400 another 1200 is left."""
    await door.load(medusa.claims_document())
    order = await _claimed(door, return_shipping={"price": 0})
    path = f"/admin/returns/{order['returns'][0]['id']}/receive"
    items = [{"item_id": "test-item", "quantity": 1}]
    answer = await door.post(path, {"items": items, "refund": 5000})
    assert answer.status_code == 200, answer.text
    assert (await door.order("test-order"))["refunded_total"] <= 2400


async def test_the_return_of_a_replacement_pays_nothing(door: Door) -> None:
    """D5."""
    await door.load(medusa.claims_document())
    order = await _claimed(
        door, type="replace", additional_items=REPLACEMENT, return_shipping={"price": 0}
    )
    (returned,) = order["returns"]
    items = [{"item_id": "test-item", "quantity": 1}]
    answer = await door.post(f"/admin/returns/{returned['id']}/receive", {"items": items})
    assert answer.json()["return"]["status"] == "received"
    assert (await door.order("test-order"))["refunds"] == []
