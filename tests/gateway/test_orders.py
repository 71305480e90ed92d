"""Orders: what a GET shows, filters, refunds by hand, the ledger."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from gateway import compose
from tests.gateway.builders import Door

RELATIONS = {
    *("billing_address", "shipping_address", "customer", "region", "sales_channel", "discounts"),
    *("gift_cards", "gift_card_transactions", "payments", "refunds", "items", "shipping_methods"),
    *("fulfillments", "claims", "returns", "swaps"),
}


async def test_an_order_shows_default_fields_relations_and_totals_and_nothing_of_ours(
    shop: Door,
) -> None:
    order = await shop.order()
    assert set(order) == {*compose.DEFAULT_FIELDS, *compose.TOTALS, *RELATIONS}
    assert order["total"] == 4 * 1200 + 5000 + 500
    assert order["tax_total"] == 800
    assert order["paid_total"] == order["refundable_amount"] == 10_300
    assert order["customer"]["email"] == "ana@shop.example"
    assert order["region"]["id"] == "reg_1"
    assert order["items"][0]["variant"]["id"] == "variant_mug"
    assert not {"remedied_quantity", "ordered_quantity", "delivered_at"} & set(order["items"][0])


@pytest.mark.parametrize(
    ("query", "own"),
    [
        ("fields=id,status", {"id", "status", *RELATIONS}),
        ("fields=id,status&expand=", {"id", "status"}),
        ("fields=id,items.title&expand=region", {"id", "region", "items"}),
        ("fields=status&expand=refunds", {"id", "status", "refunds"}),
        ("fields=id&expand=returnable_items", {"id", "returnable_items"}),
    ],
)
async def test_fields_and_expand_replace_the_defaults_but_never_the_totals(
    shop: Door, query: str, own: set[str]
) -> None:
    answer = await shop.get(f"/admin/orders/order_ana?{query}")
    assert set(answer.json()["order"]) == own | set(compose.TOTALS)


async def test_expand_alone_keeps_the_default_fields_and_the_refundable_of_lines(
    shop: Door,
) -> None:
    answer = await shop.get("/admin/orders/order_ana?expand=returnable_items")
    order = answer.json()["order"]
    assert set(order) == {
        *compose.DEFAULT_FIELDS,
        *compose.TOTALS,
        *("returnable_items", "items", "claims", "swaps"),
    }
    assert order["items"] == [{"refundable": 4800}, {"refundable": 5000}]
    assert [line["id"] for line in order["returnable_items"]] == ["item_ana_mug", "item_ana_lamp"]


async def test_fields_with_signs_change_the_defaults(shop: Door) -> None:
    order = (await shop.get("/admin/orders/order_ana?fields=-status,%2Bexternal_id")).json()[
        "order"
    ]
    assert "status" not in order
    assert "external_id" in order
    assert "email" in order


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", {"order_ana", "order_ben"}),
        ("?email=ana@shop.example", {"order_ana"}),
        ("?customer_id=cus_ben", {"order_ben"}),
        ("?customer_id[]=cus_ben&customer_id[]=cus_ana", {"order_ana", "order_ben"}),
        ("?id[]=order_ana,order_ben", {"order_ana", "order_ben"}),
        ("?q=BEN@", {"order_ben"}),
        ("?q=100%25", set()),
        ("?q=_", {"order_ana", "order_ben"}),
        ("?status[]=completed", {"order_ana", "order_ben"}),
        ("?status%5B0%5D=pending&status%5B1%5D=canceled", set()),
        ("?payment_status[]=captured&fulfillment_status[]=shipped", {"order_ana", "order_ben"}),
        ("?created_at[gt]=1970-01-01T00%3A00%3A00.000Z", {"order_ana", "order_ben"}),
        ("?created_at[gt]=0", {"order_ana", "order_ben"}),
        ("?created_at[lt]=10", set()),
        ("?created_at[lt]=2020-01-01", set()),
    ],
)
async def test_a_filter_finds_what_it_says(shop: Door, query: str, ids: set[str]) -> None:
    answer = await shop.get(f"/admin/orders{query}")
    assert answer.status_code == 200, answer.text
    page = answer.json()
    found = {order["id"] for order in page["orders"]}
    if query == "?q=_":  # a sign of LIKE is a sign like any other
        assert found <= ids
    else:
        assert found == ids
    assert (page["count"], page["offset"], page["limit"]) == (len(found), 0, 50)


async def test_a_status_that_is_none_is_refused_in_medusas_words(shop: Door) -> None:
    answer = await shop.get("/admin/orders?status[]=test")
    assert answer.status_code == 400
    message = (
        "each value in status must be one of the following values: "
        "pending, completed, archived, canceled, requires_action"
    )
    assert answer.json() == {"type": "invalid_data", "message": message}
    scalar = await shop.get("/admin/orders?status=pending")
    assert scalar.status_code == 400


async def test_a_page_has_its_place_in_the_list(shop: Door) -> None:
    one = (await shop.get("/admin/orders?limit=1&order=created_at")).json()
    two = (await shop.get("/admin/orders?limit=1&offset=1&order=created_at")).json()
    assert (one["count"], two["count"], two["offset"]) == (2, 2, 1)
    assert {one["orders"][0]["id"], two["orders"][0]["id"]} == {"order_ana", "order_ben"}
    assert (await shop.get("/admin/orders?limit=0")).json()["orders"] == []
    wrong = await shop.get("/admin/orders?order=password_hash")
    assert wrong.status_code == 400


async def test_an_sql_injection_is_a_text_like_any_other(shop: Door) -> None:
    for text in ("' OR 1=1 --", "'; DROP TABLE orders; --", "\\", "%", "x' UNION SELECT 1", "🦊"):
        for name in ("q", "email", "customer_id", "order"):
            answer = await shop.get("/admin/orders", params={name: text})
            assert answer.status_code in (200, 400), (name, text)
            if answer.status_code == 200:
                assert answer.json()["orders"] == []
    assert (await shop.get("/admin/orders")).json()["count"] == 2


async def test_a_list_shows_the_claims_and_returns_of_each_order(shop: Door) -> None:
    await shop.claim(return_shipping={})
    page = (await shop.get("/admin/orders/")).json()["orders"]
    counts = {order["id"]: (len(order["claims"]), len(order["returns"])) for order in page}
    assert counts == {"order_ana": (1, 1), "order_ben": (0, 0)}


# ---- money --------------------------------------------------------------------------------------


async def test_a_refund_by_hand_moves_money_and_status(shop: Door) -> None:
    body = {"amount": 300, "reason": "discount", "note": "late"}
    order = (await shop.post("/admin/orders/order_ana/refund", body)).json()["order"]
    assert order["payment_status"] == "partially_refunded"
    assert order["refundable_amount"] == 10_000
    assert [(row["amount"], row["reason"], row["note"]) for row in order["refunds"]] == [
        (300, "discount", "late")
    ]
    rest = {"amount": 10_000, "reason": "other"}
    order = (await shop.post("/admin/orders/order_ana/refund", rest)).json()["order"]
    assert (order["payment_status"], order["refundable_amount"]) == ("refunded", 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {},
            "amount should not be empty, amount must be an integer number, "
            "reason should not be empty, reason must be a string",
        ),
        (
            {"amount": 1, "reason": "because"},
            "reason must be one of the following values: discount, return, swap, claim, other",
        ),
        (
            {"amount": 10_301, "reason": "other"},
            "Cannot refund more than the original order amount",
        ),
    ],
)
async def test_a_refund_is_refused_in_medusas_words(
    shop: Door, body: dict[str, object], message: str
) -> None:
    answer = await shop.post("/admin/orders/order_ana/refund", body)
    assert answer.status_code == 400
    assert set(answer.json()["message"].split(", ")) == set(message.split(", "))
    assert (await shop.order())["refunds"] == []


async def test_the_ledger_names_the_cause_of_every_transfer(shop: Door) -> None:
    await shop.claim()
    await shop.post("/admin/orders/order_ana/refund", {"amount": 100, "reason": "other"})
    ledger = (await shop.get("/admin/orders/order_ana/ledger")).json()
    causes = [(row["amount"], row["cause_kind"]) for row in ledger["transfers"]]
    assert sorted((abs(amount), kind) for amount, kind in causes if kind) == [
        (100, "manual"),
        (1200, "claim"),
    ]
    assert (ledger["captured"], ledger["refunded"]) == (10_300, 1300)


async def test_an_id_of_unusual_signs_is_an_id_and_never_a_path(shop: Door) -> None:
    odd = "a=b c;d&é+"
    customer = {"id": odd, "email": "odd@shop.example"}
    loaded = await shop.post("/admin/import", {"customers": [customer]})
    assert loaded.json()["refusals"] == []
    found = await shop.get(f"/admin/customers/{quote(odd, safe='')}")
    assert found.status_code == 200, found.text
    assert found.json()["customer"]["id"] == odd
    for sneaky in ("%2e%2e", "..%3Flimit=1", "x%3F", "%2e%2e%2forders", "order_ana%23", "%00"):
        answer = await shop.get(f"/admin/orders/{sneaky}")
        assert answer.status_code in (400, 404), (sneaky, answer.text)
