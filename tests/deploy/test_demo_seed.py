"""The demo data fits the import format and leaves one thing in every interesting state."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from deploy.demo import shop
from deploy.demo_seed import SeedRefused, seed
from deploy.gateway_client import Gateway
from tests.deploy.stand_in import StandIn, a_gateway

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


async def seed_once(gateway: StandIn, password: str | None = None) -> None:
    async with Gateway(gateway.url, gateway.token) as call:
        await seed(call, password=password)


async def test_the_seed_leaves_a_claim_or_return_in_every_interesting_state() -> None:
    async with a_gateway() as gateway:
        await seed_once(gateway)
        claims = {
            number: [(c["type"], c["payment_status"], bool(c["canceled_at"])) for c in found]
            for number in range(1001, 1013)
            if (found := gateway.claims[shop.order_id(number)])
        }
        assert claims == {
            1001: [("refund", "refunded", False)],
            1002: [("refund", "refunded", False)],
            1003: [("replace", "na", False)],
            1004: [("replace", "na", True)],
        }
        returns = {
            number: [row["status"] for row in found]
            for number in range(1001, 1013)
            if (found := gateway.returns[shop.order_id(number)])
        }
        assert returns == {
            1002: ["requested"],
            1006: ["requested"],
            1007: ["received"],
            1008: ["requires_action"],
            1009: ["canceled"],
        }
        assert gateway.reserved[shop.variant_id("kettle")] == 1
        assert gateway.reserved[shop.variant_id("jacket")] == 0
        assert [len(found) for found in gateway.swaps.values() if found] == [1]
        assert gateway.reserved[shop.variant_id("lamp")] == 1
        assert [row["amount"] for row in gateway.refunds[shop.order_id(1010)]] == [500]
        assert len(gateway.lists["orders"]) == 120 + len(shop.SALES)


async def test_a_second_seed_only_looks() -> None:
    async with a_gateway() as gateway:
        await seed_once(gateway)
        gateway.calls.clear()
        await seed_once(gateway)
        assert dict(gateway.calls) == {f"GET {shop.order_id(1010)}": 1}


async def test_an_interrupted_seed_is_finished_by_the_next() -> None:
    async with a_gateway() as gateway:
        await seed_once(gateway)
        gateway.refunds[shop.order_id(1010)].clear()
        del gateway.keys["demo-1010-refund"]
        claims = sum(map(len, gateway.claims.values()))
        await seed_once(gateway)
        assert sum(map(len, gateway.claims.values())) == claims
        assert [row["amount"] for row in gateway.refunds[shop.order_id(1010)]] == [500]


async def test_a_password_makes_the_logins() -> None:
    async with a_gateway() as gateway:
        await seed_once(gateway, password="a-demo-password")
        assert gateway.calls["POST users"] == 3
        ana = gateway.lists["customers"]["cus_demo_ana"]
        assert (ana["email"], ana["password"]) == ("ana@reclamo.example", "a-demo-password")


async def test_refused_demo_data_is_an_error_that_names_the_place() -> None:
    async with a_gateway(refused_ids={shop.order_id(1002)}) as gateway:
        with pytest.raises(SeedRefused, match=r"orders\[1\]: Not this one"):
            await seed_once(gateway)


class TestShop:
    def test_every_order_is_paid_exactly(self) -> None:
        for order in shop.document(now=NOW)["orders"]:
            paid = sum(payment["amount"] for payment in order["payments"])
            net = sum(
                item["unit_price"] * item["quantity"]
                - sum(part["amount"] for part in item["adjustments"])
                for item in order["items"]
            )
            net += sum(method["price"] for method in order["shipping_methods"])
            assert abs(paid - net * 1.22) <= len(order["items"]) + 1

    def test_what_was_delivered_was_delivered_a_few_days_ago(self) -> None:
        for order in shop.document(now=NOW)["orders"]:
            for item in order["items"]:
                if "delivered_at" in item:
                    age = NOW - datetime.fromisoformat(item["delivered_at"])
                    assert 0 <= age.days <= 10

    def test_there_is_one_jacket_and_no_headphones(self) -> None:
        levels = {
            level["variant_id"]: level["stocked_quantity"]
            for level in shop.document(now=NOW)["inventory_levels"]
        }
        assert levels[shop.variant_id("jacket")] == 1
        assert levels[shop.variant_id("headphones")] == 0
        assert shop.variant_id("wrapping") not in levels
