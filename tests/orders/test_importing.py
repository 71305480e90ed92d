"""The import: idempotent, strict, whole or not at all; and the export that reads back in."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.db import Database, Row
from chassis.testing import MakeDatabase
from services.orders import invariants, queries, store
from tests.orders.builders import (
    CAPTURED,
    Desk,
    a_claim,
    a_return,
    a_shop,
    an_item,
    an_order,
    keys,
    lines,
    load,
)

FULL_ITEM = an_item(
    returned_quantity=1,
    delivered_at="2026-01-07T09:00:00+00:00",
    description="with a handle",
    thumbnail="mug.png",
    includes_tax=True,
    allow_discounts=False,
    is_giftcard=False,
    adjustments=[{"amount": 100, "discount_id": None, "description": "goodwill"}],
    metadata={"shelf": 4},
    uuid="0c1d",
    sku="MUG-R",
    bundle_id="bundle_01",
    product_options=[{"name": "engraving"}],
    measurement_unit={"unit": "piece"},
    packaging_unit="box",
    quantity_splittable=True,
    merchant_reference="m1",
    categories=["kitchen"],
    final_sale=False,
    serial_numbers=["s1", "s2"],
    weight=0.4,
)
FULL_ORDER = an_order(
    FULL_ITEM,
    display_id=7,
    customer_id="cus_ana",
    sales_channel_id="sc_01",
    no_notification=True,
    metadata={"note": "gift"},
    shipping_address={"first_name": "Ana", "country_code": "si", "metadata": {}},
    billing_address={"first_name": "Ana"},
    store="DE",
    customer_reference="ref",
    price_mode="GROSS_MODE",
    shipping_methods=[
        {
            "id": "sm_01",
            "shipping_option_id": "so_back",
            "price": 500,
            "data": {"way": "post"},
            "tax_lines": [{"rate": 12.5, "code": None, "name": "default"}],
        }
    ],
    payments=[
        {
            "id": "pay_01",
            "amount": 5000,
            "provider_id": "manual",
            "captured_at": CAPTURED,
            "amount_refunded": 1000,
        }
    ],
    fulfillments=[
        {
            "id": "ful_01",
            "items": [{"item_id": "item_01", "quantity": 2}],
            "location_id": "sloc_01",
            "tracking_numbers": ["T1"],
            "shipped_at": CAPTURED,
        }
    ],
    discounts=[{"id": "disc_01", "code": "TEN", "rule": {"type": "percentage", "value": 10}}],
)


def counts(answer: Row) -> tuple[int, int, int, int]:
    return tuple(answer[name] for name in ("created", "updated", "unchanged", "refused"))


class TestImport:
    async def test_creates_then_finds_unchanged_then_updates(self, database: Database) -> None:
        assert counts(await load(database, a_shop(FULL_ORDER))) == (6, 0, 0, 0)
        backwards = dict(reversed(FULL_ORDER.items()))
        assert counts(await load(database, a_shop(backwards))) == (0, 0, 6, 0)
        changed = {**FULL_ORDER, "email": "new@reclamo.example"}
        changed["payments"] = [{**FULL_ORDER["payments"][0], "amount_refunded": 0}]
        assert counts(await load(database, a_shop(changed))) == (0, 1, 5, 0)
        order = await Desk(database).order()
        assert (order["email"], order["refunded"], order["captured"]) == (
            "new@reclamo.example",
            0,
            5000,
        )
        async with database.reading() as tx:
            assert await invariants.findings(tx) == []

    async def test_opens_the_ledger_with_what_was_captured_and_refunded_before(
        self, database: Database
    ) -> None:
        await load(database, a_shop(FULL_ORDER))
        desk = Desk(database)
        order, line = await desk.order(), await desk.line()
        assert (order["captured"], order["refunded"]) == (5000, 1000)
        assert (line["returned_quantity"], line["returned_before"]) == (1, 1)
        found = await desk.rows("SELECT kind, amount FROM transfers ORDER BY seq")
        assert [(row["kind"], row["amount"]) for row in found] == [
            ("capture", 5000),
            ("refund_before", 1000),
        ]
        said = await desk.say(a_claim())
        assert keys(said)[0] == "claim-hold.placed"
        assert said[0]["data"]["amount"] + line["returned_amount"] == 1879
        said = await desk.say(a_return())
        assert keys(said) == ["return-hold.rejected"]

    async def test_finds_a_record_without_an_id_again(self, database: Database) -> None:
        order = an_order()
        del order["id"], order["items"][0]["id"], order["payments"][0]["id"]
        assert counts(await load(database, a_shop(order)))[0] == 6
        assert counts(await load(database, a_shop(order))) == (0, 0, 6, 0)

    async def test_numbers_orders_that_have_no_number(self, database: Database) -> None:
        orders = [
            an_order(an_item(id=f"i{n}"), id=f"order_{n}", payments=[], **given)
            for n, given in enumerate([{"display_id": 41}, {}, {}])
        ]
        await load(database, a_shop(orders[0]))
        await load(database, a_shop(*orders))
        rows = await Desk(database).rows("SELECT display_id FROM orders ORDER BY id")
        assert [row["display_id"] for row in rows] == [41, 42, 43]

    async def test_does_not_replace_an_order_that_has_remedies(self, database: Database) -> None:
        await load(database, a_shop(an_order()))
        desk = Desk(database)
        await desk.say(a_claim())
        before = await desk.everything()
        assert counts(await load(database, a_shop(an_order()))) == (0, 0, 6, 0)
        answer = await load(database, a_shop(an_order(email="new@reclamo.example")))
        assert counts(answer) == (0, 0, 5, 1)
        assert answer["refusals"][0]["code"] == "order_in_use"
        assert await desk.everything() == before

    @pytest.mark.parametrize(
        ("changes", "path", "code"),
        [
            ({"colour": "red"}, ".colour", "unknown_key"),
            ({"items": [an_item(colour="red")]}, ".items[0].colour", "unknown_key"),
            (
                {"items": [an_item(tax_lines=[{"rate": 1, "name": "x", "y": 1}])]},
                ".items[0].tax_lines[0].y",
                "unknown_key",
            ),
            ({"items": [an_item(unit_price="10")]}, ".items[0].unit_price", "invalid"),
            ({"items": [an_item(unit_price=10.5)]}, ".items[0].unit_price", "invalid"),
            ({"items": [an_item(unit_price=-1)]}, ".items[0].unit_price", "invalid"),
            ({"items": [an_item(unit_price=True)]}, ".items[0].unit_price", "invalid"),
            ({"items": [an_item(unit_price=10**16)]}, ".items[0].unit_price", "invalid"),
            ({"items": [an_item(quantity=0)]}, ".items[0].quantity", "invalid"),
            ({"items": []}, ".items", "invalid"),
            ({"items": "many"}, ".items", "invalid"),
            ({"email": None}, ".email", "invalid"),
            ({"email": "a\x00b"}, "", "invalid"),
            ({"status": "lost"}, ".status", "invalid"),
            ({"created_at": "yesterday"}, ".created_at", "invalid"),
            ({"currency_code": "pounds"}, ".currency_code", "invalid"),
            (
                {"items": [an_item(fulfilled_quantity=3)]},
                ".items[0].fulfilled_quantity",
                "quantity_inconsistent",
            ),
            (
                {"items": [an_item(fulfilled_quantity=1)]},
                ".items[0].shipped_quantity",
                "quantity_inconsistent",
            ),
            (
                {"items": [an_item(returned_quantity=3)]},
                ".items[0].returned_quantity",
                "quantity_inconsistent",
            ),
            ({"items": [an_item(), an_item()]}, ".items[1].id", "duplicate_id"),
            ({"region_id": "reg_99"}, ".region_id", "region_unknown"),
            ({"customer_id": "cus_99"}, ".customer_id", "customer_unknown"),
            ({"sales_channel_id": "sc_99"}, ".sales_channel_id", "sales_channel_unknown"),
            (
                {"payments": [{"amount": 1, "provider_id": "paypal"}]},
                ".payments[0].provider_id",
                "provider_unknown",
            ),
            (
                {"payments": [{"amount": 1, "provider_id": "manual", "amount_refunded": 1}]},
                ".payments[0].amount_refunded",
                "amount_inconsistent",
            ),
            (
                {
                    "payments": [
                        {
                            "amount": 1,
                            "provider_id": "manual",
                            "captured_at": CAPTURED,
                            "amount_refunded": 2,
                        }
                    ]
                },
                ".payments[0].amount_refunded",
                "amount_inconsistent",
            ),
            (
                {"fulfillments": [{"items": [{"item_id": "item_99", "quantity": 1}]}]},
                ".fulfillments[0].items[0].item_id",
                "line_unknown",
            ),
        ],
    )
    async def test_refuses_a_wrong_order_whole_and_loads_the_others(
        self, database: Database, changes: Row, path: str, code: str
    ) -> None:
        good = an_order(an_item(id="item_02"), id="order_02", payments=[])
        answer = await load(database, a_shop({**an_order(), **changes}, good))
        assert counts(answer) == (6, 0, 0, 1)
        refusal = answer["refusals"][0]
        assert (refusal["path"], refusal["code"]) == (f"orders[0]{path}", code)
        assert refusal["id"] == "order_01"
        assert refusal["message"]
        rows = await Desk(database).rows("SELECT order_id FROM order_lines")
        assert rows == [{"order_id": "order_02"}]

    async def test_refuses_lines_of_another_order(self, database: Database) -> None:
        await load(database, a_shop(an_order()))
        thief = an_order(id="order_02", payments=[])
        answer = await load(database, a_shop(thief))
        assert answer["refusals"][0]["path"] == "orders[0].items[0].id"
        twin = an_order(an_item(id="item_02"), id="order_03", payments=[])
        other = an_order(an_item(id="item_02"), id="order_04", payments=[])
        answer = await load(database, a_shop(twin, other))
        assert answer["refusals"][0]["path"] == "orders[1].items[0].id"

    async def test_refuses_what_is_no_record_and_what_stands_twice(
        self, database: Database
    ) -> None:
        region = a_shop()["regions"][0]
        document = a_shop(regions=["x", region, {**region, "name": "There"}])
        answer = await load(database, document)
        assert [(row["path"], row["code"]) for row in answer["refusals"]] == [
            ("regions[0]", "invalid"),
            ("regions[2]", "duplicate_id"),
        ]

    async def test_keeps_no_password(self, database: Database) -> None:
        customer = {"id": "cus_01", "email": "a@b.example", "password": "hunter22"}
        await load(database, {"customers": [customer]})
        again = {**customer, "password": "another"}
        assert counts(await load(database, {"customers": [again]})) == (0, 0, 1, 0)
        rows = await Desk(database).rows("SELECT * FROM customers")
        assert "hunter22" not in str(rows)


class TestExport:
    async def test_reads_back_in_elsewhere(
        self, database: Database, make_database: MakeDatabase
    ) -> None:
        await load(database, a_shop(FULL_ORDER, an_order(an_item(id="i2"), id="o2", payments=[])))
        document = await self.exported(database)
        elsewhere = (await make_database("orders")).serve("orders", store.METADATA)
        answer = await load(elsewhere, document)
        assert (answer["refusals"], answer["created"]) == ([], 7)
        assert await self.exported(elsewhere) == document
        order = await Desk(elsewhere).order()
        assert (order["captured"], order["refunded"], order["display_id"]) == (5000, 1000, 7)

    async def test_shows_orders_as_they_are_now(self, database: Database) -> None:
        await load(database, a_shop(an_order()))
        desk = Desk(database)
        await desk.say(a_claim(lines=lines(item_01=2)))
        order = (await self.exported(database))["orders"][0]
        assert order["payments"][0]["amount_refunded"] == 2400
        assert order["payment_status"] == "partially_refunded"

    async def exported(self, database: Database) -> Row:
        """The document, in pieces of one record."""
        document: dict[str, list[Any]] = {}
        cursor = None
        while True:
            async with database.reading() as tx:
                page = await queries.export_page(tx, cursor=cursor, limit=1)
            cursor = page.pop("next")
            for name, records in page.items():
                document.setdefault(name, []).extend(records)
            if cursor is None:
                return _as_json(document)


def _as_json(value: Any) -> Any:
    """As it would travel: times are text."""
    if isinstance(value, dict):
        return {name: _as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    return value.isoformat() if hasattr(value, "isoformat") else value
