"""The HTTP door, called as the gateway calls it, on each database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from chassis import auth
from chassis.bus_local import LocalBus
from chassis.db import Database
from chassis.loops import Loop
from chassis.topology import Topology
from services.orders import app, consumers, paying
from services.orders.settings import Settings
from services.orders.worker import RefundWorker
from tests.orders.builders import (
    CAPTURED,
    Desk,
    a_claim,
    a_receipt,
    a_return,
    a_shop,
    an_item,
    an_order,
    lines,
)

KEY = auth.private_key("a secret of the tests, long enough", "internal")
ADMIN = auth.Principal("user_1", "admin")
AGENT = auth.Principal("user_2", "agent")
WAREHOUSE = auth.Principal("user_3", "warehouse")
ANA = auth.Principal("cus_ana", "customer", "cus_ana")
BEN = auth.Principal("cus_ben", "customer", "cus_ben")
GUEST = auth.Principal("guest", "guest")


@dataclass
class Door:
    """The HTTP application of orders."""

    http: httpx2.AsyncClient
    desk: Desk

    async def call(
        self, method: str, path: str, json: Any = None, *, who: auth.Principal = ADMIN, **more: Any
    ) -> httpx2.Response:
        """A call of the gateway on behalf of somebody."""
        token = auth.Issuer(KEY).mint(who, "orders")
        headers = {"authorization": f"Bearer {token}", **more.pop("headers", {})}
        return await self.http.request(method, path, json=json, headers=headers, **more)

    async def get(self, path: str, *, who: auth.Principal = ADMIN, **params: Any) -> Any:
        """The JSON of what is there."""
        answer = await self.call("GET", path, who=who, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def load(self, *orders: Any, **changes: Any) -> Any:
        """Import a shop with these orders."""
        answer = await self.call("POST", "/import", a_shop(*orders, **changes))
        assert answer.status_code == 200, answer.text
        assert answer.json()["refusals"] == []
        return answer.json()


@pytest.fixture
async def door(database: Database, tmp_path: Path) -> AsyncIterator[Door]:
    """The application without its background work."""
    bus = LocalBus(Topology.of(consumers.SUBSCRIPTIONS))
    settings = Settings(data_dir=tmp_path, wait_bound_s=5)
    service = app.build(settings, database, bus, auth.Verifier(KEY.public_key(), "orders"))
    transport = httpx2.ASGITransport(app=service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://orders") as http:
        yield Door(http, Desk(database))


class TestOneOrder:
    async def test_has_medusas_fields_and_totals(self, door: Door) -> None:
        method = {
            "id": "sm_01",
            "shipping_option_id": "so_back",
            "price": 1000,
            "tax_lines": [{"rate": 12.5, "name": "default"}],
        }
        item = an_item(adjustments=[{"amount": 200, "discount_id": "disc_01"}])
        await door.load(
            an_order(
                item,
                captured=5000,
                customer_id="cus_ana",
                sales_channel_id="sc_01",
                shipping_methods=[method],
                shipping_address={"first_name": "Ana"},
                discounts=[{"id": "disc_01", "code": "TEN"}],
                fulfillments=[
                    {
                        "id": "ful_01",
                        "items": [{"item_id": "item_01", "quantity": 2}],
                        "tracking_numbers": ["T1"],
                        "shipped_at": CAPTURED,
                    }
                ],
            )
        )
        order = (await door.get("/orders/order_01"))["order"]
        totals = {name: order[name] for name in order if name.endswith(("total", "amount"))}
        assert totals == {
            "subtotal": 2000,
            "discount_total": 200,
            "item_tax_total": 360,
            "shipping_total": 1000,
            "shipping_tax_total": 125,
            "tax_total": 485,
            "total": 3285,
            "gift_card_total": 0,
            "gift_card_tax_total": 0,
            "paid_total": 5000,
            "refunded_total": 0,
            "refundable_amount": 5000,
        }
        line = order["items"][0]
        assert (line["subtotal"], line["discount_total"], line["tax_total"]) == (2000, 200, 360)
        assert (line["total"], line["original_total"], line["refundable"]) == (2160, 2400, 2160)
        assert order["customer"]["email"] == "ana@reclamo.example"
        assert order["region"]["tax_rate"] == 12.5
        assert order["sales_channel"]["name"] == "Web"
        assert order["shipping_methods"][0]["shipping_option"]["name"] == "Parcel back"
        assert order["fulfillments"][0]["tracking_links"][0]["tracking_number"] == "T1"
        assert order["shipping_address"]["first_name"] == "Ana"
        assert order["created_at"] == "2026-01-05T12:00:00Z"

    async def test_shows_what_came_back_and_what_was_refunded(self, door: Door) -> None:
        await door.load(an_order(captured=2400))
        await door.desk.say(a_return(lines=lines(item_01=2)))
        await door.desk.say(a_receipt())
        order = (await door.get("/orders/order_01"))["order"]
        line = order["items"][0]
        assert (line["quantity"], line["returned_quantity"], line["refundable"]) == (1, 1, 1200)
        assert (line["total"], line["remedied_quantity"]) == (2400, 1)
        assert (order["refunded_total"], order["refundable_amount"]) == (1200, 1200)
        assert order["refunds"][0]["metadata"] == {
            "cause_kind": "receipt",
            "cause_id": "rcpt_01",
        }
        assert (order["refunds"][0]["reason"], order["refunds"][0]["amount"]) == ("return", 1200)
        assert order["payment_status"] == "partially_refunded"
        assert order["fulfillment_status"] == "partially_returned"

    async def test_of_somebody_else_answers_like_one_that_does_not_exist(self, door: Door) -> None:
        await door.load(an_order(customer_id="cus_ana"))
        for path in ("/orders/order_01", "/orders/order_01/facts"):
            assert (await door.call("GET", path, who=ANA)).status_code == 200
            for who in (BEN, GUEST):
                foreign = await door.call("GET", path, who=who)
                missing = await door.call("GET", path.replace("order_01", "order_99"), who=who)
                assert foreign.status_code == missing.status_code == 404
                assert foreign.json()["detail"] == "Order with id order_01 was not found"
                assert foreign.json().keys() == missing.json().keys()

    async def test_gives_its_facts(self, door: Door) -> None:
        await door.load(an_order(sales_channel_id="sc_01", customer_id="cus_ana", display_id=3))
        assert await door.get("/orders/order_01/facts") == {
            "id": "order_01",
            "display_id": 3,
            "region_id": "reg_01",
            "sales_channel_id": "sc_01",
            "currency_code": "gbp",
            "customer_id": "cus_ana",
            "email": "ana@reclamo.example",
            "status": "pending",
            "no_notification": None,
        }

    async def test_needs_a_token(self, door: Door) -> None:
        assert (await door.http.get("/orders/order_01")).status_code == 401


class TestTheList:
    @pytest.fixture
    async def shop(self, door: Door) -> Door:
        """Three orders: Ana's two and one of a guest."""
        await door.load(
            an_order(an_item(id="i1"), id="o1", customer_id="cus_ana", display_id=101),
            an_order(
                an_item(id="i2"),
                id="o2",
                customer_id="cus_ana",
                display_id=102,
                payments=[],
                created_at="2026-02-01T00:00:00Z",
                payment_status="awaiting",
            ),
            an_order(
                an_item(id="i3"),
                id="o3",
                email="guest_100%@reclamo.example",
                display_id=103,
                payments=[],
                created_at="2026-03-01T00:00:00Z",
                shipping_address={"first_name": "Lebron"},
                tax_rate=5,
            ),
        )
        return door

    async def ids(self, door: Door, **params: Any) -> list[str]:
        page = await door.get("/orders", **params)
        assert page["count"] >= len(page["orders"])
        return [order["id"] for order in page["orders"]]

    @pytest.mark.parametrize(
        ("params", "ids"),
        [
            ({}, ["o3", "o2", "o1"]),
            ({"order": "created_at"}, ["o1", "o2", "o3"]),
            ({"order": "-display_id"}, ["o3", "o2", "o1"]),
            ({"limit": 1, "offset": 1}, ["o2"]),
            ({"limit": 0}, []),
            ({"id": ["o1", "o3"]}, ["o3", "o1"]),
            ({"payment_status": "awaiting"}, ["o2"]),
            ({"payment_status": ["awaiting", "captured"]}, ["o3", "o2", "o1"]),
            ({"display_id": 103}, ["o3"]),
            ({"customer_id": "cus_ana"}, ["o2", "o1"]),
            ({"email": "ana@reclamo.example"}, ["o2", "o1"]),
            ({"currency_code": "eur"}, []),
            ({"tax_rate": 5}, ["o3"]),
            ({"cart_id": "c"}, []),
            ({"created_at_gt": "2026-02-01T00:00:00Z"}, ["o3"]),
            ({"created_at_gte": "2026-02-01T00:00:00Z"}, ["o3", "o2"]),
            ({"created_at_lt": "2026-02-01"}, ["o1"]),
            ({"canceled_at_gt": "2020-01-01"}, []),
            ({"q": "LEBRON"}, ["o3"]),
            ({"q": "102"}, ["o2"]),
            ({"q": "ana@"}, ["o2", "o1"]),
            ({"q": "Ana"}, ["o2", "o1"]),
            ({"q": "_100%@"}, ["o3"]),
            ({"q": "1_0"}, []),
        ],
    )
    async def test_finds(self, shop: Door, params: dict[str, Any], ids: list[str]) -> None:
        assert await self.ids(shop, **params) == ids

    async def test_counts_all_and_shows_whole_orders(self, shop: Door) -> None:
        page = await shop.get("/orders", limit=1)
        assert (page["count"], page["limit"], page["offset"]) == (3, 1, 0)
        assert page["orders"][0] == (await shop.get("/orders/o3"))["order"]

    async def test_shows_a_customer_only_their_own(self, shop: Door) -> None:
        page = await shop.get("/orders", who=ANA)
        assert ([order["id"] for order in page["orders"]], page["count"]) == (["o2", "o1"], 2)
        assert (await shop.get("/orders", who=BEN))["count"] == 0
        assert (await shop.get("/orders", who=ANA, customer_id="cus_ben"))["count"] == 0

    async def test_refuses_a_status_that_is_none(self, shop: Door) -> None:
        answer = await shop.call("GET", "/orders", params={"status": "test"})
        assert answer.json()["kind"] == "invalid"
        assert answer.json()["detail"] == (
            "each value in status must be one of the following values: "
            "pending, completed, archived, canceled, requires_action"
        )


def a_refund(**changes: Any) -> dict[str, Any]:
    return {"amount": 500, "reason": "other", **changes}


class TestRefundByHand:
    async def test_is_out_when_the_answer_comes(self, door: Door) -> None:
        payments = [
            {"id": f"pay_{n}", "amount": n, "provider_id": "manual", "captured_at": CAPTURED}
            for n in (300, 700)
        ]
        await door.load(an_order(payments=payments))
        answer = await door.call(
            "POST", "/orders/order_01/refunds", a_refund(note="scratched"), who=AGENT
        )
        assert answer.status_code == 200
        refund = answer.json()["refund"]
        assert (refund["amount"], refund["note"], refund["reason"]) == (500, "scratched", "other")
        order = (await door.get("/orders/order_01"))["order"]
        assert (order["payment_status"], order["refundable_amount"]) == ("partially_refunded", 500)
        assert [payment["amount_refunded"] for payment in order["payments"]] == [300, 200]
        ledger = (await door.get("/orders/order_01/ledger"))["ledger"]
        assert (ledger["captured"], ledger["refunded"], ledger["refundable"]) == (1000, 500, 500)
        assert [row["kind"] for row in ledger["transfers"]] == ["capture"] * 2 + ["refund"] * 2

    @pytest.mark.parametrize(
        ("order", "refund", "kind", "message"),
        [
            (an_order(), a_refund(amount=0), "invalid", "amount must not be less than 1"),
            (
                an_order(status="canceled"),
                a_refund(),
                "not_allowed",
                "A canceled order cannot be refunded",
            ),
            (
                an_order(captured=499),
                a_refund(),
                "not_allowed",
                "Cannot refund more than the original order amount",
            ),
            (
                an_order(payments=[{"amount": 900, "provider_id": "manual"}]),
                a_refund(),
                "not_allowed",
                "Refund amount is greater that the refundable amount",
            ),
            (
                an_order(),
                a_refund(reason="greed"),
                "invalid",
                "reason must be one of the following values: discount, return, swap, claim, other",
            ),
        ],
    )
    async def test_is_refused_in_medusas_words(
        self, door: Door, order: Any, refund: Any, kind: str, message: str
    ) -> None:
        await door.load(order)
        answer = await door.call("POST", "/orders/order_01/refunds", refund)
        assert (answer.json()["kind"], answer.json()["detail"]) == (kind, message)
        assert (await door.desk.order())["refunded"] == 0

    async def test_with_the_same_key_is_the_same_refund(self, door: Door) -> None:
        await door.load(an_order())
        headers = {"idempotency-key": "k1", "reclamo-fingerprint": "f1"}
        first = await door.call("POST", "/orders/order_01/refunds", a_refund(), headers=headers)
        again = await door.call("POST", "/orders/order_01/refunds", a_refund(), headers=headers)
        assert first.json() == again.json()
        assert (await door.desk.order())["refunded"] == 500
        headers["reclamo-fingerprint"] = "f2"
        other = await door.call("POST", "/orders/order_01/refunds", a_refund(), headers=headers)
        assert (other.status_code, other.json()["kind"]) == (422, "key_reused")

    async def test_waits_for_a_provider_and_tells_its_no(
        self, door: Door, database: Database, worker: RefundWorker
    ) -> None:
        paid = {"id": "p", "amount": 9000, "provider_id": "fake", "captured_at": CAPTURED}
        await door.load(an_order(payments=[paid]))
        loop = Loop("refunds", worker.step, idle_s=1.0)
        database.listen(paying.WORKER, loop.wake)
        running = asyncio.create_task(loop.run())
        try:
            good = await door.call("POST", "/orders/order_01/refunds", a_refund())
            bad = await door.call("POST", "/orders/order_01/refunds", a_refund(amount=502))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert good.json()["refund"]["amount"] == 500
        assert bad.json()["settled"] is True
        assert bad.json()["detail"] == "The payment provider declined the refund: card closed"
        assert (await door.desk.order())["refunded"] == 500

    async def test_belongs_to_those_who_handle_money(self, door: Door) -> None:
        await door.load(an_order(customer_id="cus_ana"))
        for who in (ANA, GUEST, WAREHOUSE):
            answer = await door.call("POST", "/orders/order_01/refunds", a_refund(), who=who)
            assert answer.status_code == 403


class TestTheRest:
    async def test_customers_see_themselves_and_the_shop_sees_all(self, door: Door) -> None:
        await door.load()
        assert (await door.get("/customers/cus_ana", who=ANA))["customer"]["first_name"] == "Ana"
        foreign = await door.call("GET", "/customers/cus_ana", who=BEN)
        assert foreign.status_code == 404
        assert (await door.call("GET", "/customers", who=ANA)).status_code == 403
        assert (await door.get("/customers", q="RECLAMO"))["count"] == 1
        assert (await door.get("/customers", email="ANA@reclamo.example"))["count"] == 1
        assert (await door.get("/customers", q="ben"))["count"] == 0

    async def test_shipping_options_and_regions_are_listed(self, door: Door) -> None:
        await door.load()
        options = await door.get("/shipping-options", is_return=True)
        assert len(options["shipping_options"]) == 2
        assert (await door.get("/shipping-options", region_id="x"))["shipping_options"] == []
        assert [row["id"] for row in (await door.get("/regions"))["regions"]] == ["reg_01"]

    async def test_only_an_administrator_loads_and_exports(self, door: Door) -> None:
        assert (await door.call("POST", "/import", {}, who=AGENT)).status_code == 403
        assert (await door.call("GET", "/export", who=AGENT)).status_code == 403
        assert (await door.get("/export"))["next"] is None
        wrong = await door.call("POST", "/import", {"pizzas": []})
        assert wrong.json()["kind"] == "invalid"
        assert (await door.call("GET", "/export", params={"cursor": "x"})).status_code == 422

    async def test_a_claim_shows_in_the_ledger(self, door: Door) -> None:
        await door.load(an_order())
        await door.desk.say(a_claim())
        ledger = (await door.get("/orders/order_01/ledger", who=AGENT))["ledger"]
        assert ledger["remedies"][0]["lines"] == [
            {"line_id": "item_01", "quantity": 1, "received_quantity": 0}
        ]
        assert ledger["refunds"][0]["cause_id"] == "claim_01"


class TestForStock:
    """What inventory does not know of lines and channels."""

    async def test_units_are_unsent_until_a_fulfillment_has_them(self, door: Door) -> None:
        partly = an_item(id="item_02", quantity=5, fulfilled_quantity=2, shipped_quantity=1)
        await door.load(
            an_order(an_item(), partly),
            an_order(
                an_item(id="item_03", fulfilled_quantity=0, shipped_quantity=0),
                id="order_02",
                status="canceled",
                payments=[],
            ),
        )

        async def unsent(line_id: str) -> tuple[str, int]:
            found = await door.get(f"/order-lines/{line_id}/unsent", who=WAREHOUSE)
            return found["order_id"], found["units"]

        assert await unsent("item_01") == ("order_01", 0)
        assert await unsent("item_02") == ("order_01", 3)
        assert await unsent("item_03") == ("order_02", 0)
        missing = await door.call("GET", "/order-lines/item_x/unsent")
        assert (missing.status_code, missing.json()["detail"]) == (
            404,
            "Line item with item_x was not found",
        )
        assert (await door.call("GET", "/order-lines/item_01/unsent", who=ANA)).status_code == 403

    async def test_orders_are_found_by_their_lines(self, door: Door) -> None:
        await door.load(an_order(), an_order(an_item(id="item_02"), id="order_02", payments=[]))
        page = await door.get("/orders", line_id=["item_02", "item_x"])
        assert [order["id"] for order in page["orders"]] == ["order_02"]

    async def test_sales_channels_are_named(self, door: Door) -> None:
        await door.load()
        (channel,) = (await door.get("/sales-channels"))["sales_channels"]
        assert (channel["id"], channel["name"], channel["is_disabled"]) == ("sc_01", "Web", False)
        assert (await door.get("/sales-channels", id="sc_x"))["sales_channels"] == []
        assert (await door.call("GET", "/sales-channels", who=ANA)).status_code == 403
