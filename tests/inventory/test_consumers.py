"""Messages in, rows and replies out: once, twice, and in the wrong order, on each database."""

from __future__ import annotations

from typing import Any

import pytest

from services.inventory import domain
from tests.inventory.builders import Warehouse, place, receive, release

SUPERSEDED = {"code": "superseded", "kind": "conflict"}


def refusal(reply: dict[str, Any]) -> tuple[str, str, str, str]:
    return reply["said"], reply["kind"], reply["code"], reply["message"]


class TestPlaceReservation:
    async def test_reserves_all_lines_and_says_name_price_and_place(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}, "cup": {"sloc_a": 2}})
        reply = await warehouse.ask(place(("mug", 2), ("cup", 1)))
        assert reply["said"] == "reservation.placed"
        assert reply["remedy_id"] == "claim_1"
        assert reply["lines"][0] == {
            "line_id": "line_1",
            "variant_id": "mug",
            "title": "Mug",
            "description": "mug, red",
            "sku": "sku-mug",
            "unit_price": 1000,
            "quantity": 2,
            "location_id": "sloc_a",
        }
        assert await warehouse.levels() == {("mug", "sloc_a"): (5, 2), ("cup", "sloc_a"): (2, 1)}
        assert await warehouse.held() == [("line_1", "sloc_a", 2), ("line_2", "sloc_a", 1)]

    async def test_too_little_of_one_variant_reserves_nothing_of_any(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}, "cup": {"sloc_a": 1}})
        reply = await warehouse.ask(place(("mug", 2), ("cup", 2)))
        assert refusal(reply) == (
            "reservation.rejected",
            "not_allowed",
            "insufficient_stock",
            "Variant with id: cup does not have the required inventory",
        )
        assert reply["short"] == [{"variant_id": "cup", "requested": 2, "available": 1}]
        assert await warehouse.levels() == {("mug", "sloc_a"): (5, 0), ("cup", "sloc_a"): (1, 0)}
        assert await warehouse.held() == []

    async def test_lines_of_one_variant_are_added_up(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 3}})
        reply = await warehouse.ask(place(("mug", 2), ("mug", 2)))
        assert reply["short"] == [{"variant_id": "mug", "requested": 4, "available": 3}]
        assert (await warehouse.ask(place(("mug", 2), ("mug", 1), remedy="claim_2")))[
            "said"
        ] == "reservation.placed"
        assert await warehouse.levels() == {("mug", "sloc_a"): (3, 3)}

    async def test_the_last_unit_may_be_reserved_and_not_one_more(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 1}})
        first = await warehouse.ask(place(("mug", 1)))
        second = await warehouse.ask(place(("mug", 1), remedy="claim_2"))
        assert (first["said"], second["said"]) == ("reservation.placed", "reservation.rejected")

    async def test_unknown_variants_are_refused_by_name(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 1}})
        reply = await warehouse.ask(place(("mug", 1), ("nobody", 1)))
        assert refusal(reply) == (
            "reservation.rejected",
            "invalid",
            "variant_not_found",
            "Unable to generate the line items, some variant has not been found: nobody",
        )

    async def test_a_variant_without_a_price_in_the_currency_is_refused(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 1}})
        reply = await warehouse.ask(place(("mug", 1), currency_code="usd"))
        assert refusal(reply) == (
            "reservation.rejected",
            "invalid",
            "variant_without_price",
            'Cannot generate line item for variant "mug, red" without a price',
        )

    async def test_a_variant_whose_stock_is_not_managed_needs_none(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({}, card={"manage_inventory": False})
        reply = await warehouse.ask(place(("card", 9)))
        assert reply["lines"][0]["unit_price"] == 1000
        assert reply["lines"][0]["location_id"] is None
        assert await warehouse.held() == []

    async def test_with_backorders_available_may_go_below_zero(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 1}}, mug={"allow_backorder": True})
        reply = await warehouse.ask(place(("mug", 4)))
        assert reply["said"] == "reservation.placed"
        assert await warehouse.levels() == {("mug", "sloc_a"): (1, 4)}

    async def test_a_given_location_wins_over_the_sales_channels(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5, "sloc_b": 5}}, channels={"sc": ["sloc_a"]})
        command = place(("mug", 1), sales_channel_id="sc", location_id="sloc_b")
        assert (await warehouse.ask(command))["lines"][0]["location_id"] == "sloc_b"

    async def test_a_sales_channel_is_served_by_its_locations_only(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5, "sloc_b": 1}}, channels={"sc": ["sloc_b"]})
        first = await warehouse.ask(place(("mug", 1), sales_channel_id="sc"))
        second = await warehouse.ask(place(("mug", 1), sales_channel_id="sc", remedy="claim_2"))
        assert first["lines"][0]["location_id"] == "sloc_b"
        assert second["code"] == "insufficient_stock"

    async def test_a_sales_channel_without_locations_is_served_by_any(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 0, "sloc_b": 1}}, channels={"other": ["sloc_a"]})
        reply = await warehouse.ask(place(("mug", 1), sales_channel_id="sc"))
        assert reply["lines"][0]["location_id"] == "sloc_b"

    async def test_locations_without_the_item_are_refused_in_medusas_words(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock(
            {"mug": {"sloc_a": 5}, "cup": {"sloc_b": 1}}, channels={"sc": ["sloc_b"]}
        )
        given = await warehouse.ask(place(("mug", 1), location_id="sloc_b"))
        assert refusal(given) == (
            "reservation.rejected",
            "not_found",
            "item_not_stocked",
            "Item iitem_mug is not stocked at location sloc_b",
        )
        mapped = await warehouse.ask(place(("mug", 1), remedy="claim_2", sales_channel_id="sc"))
        assert refusal(mapped)[1:] == (
            "invalid",
            "no_stocked_location",
            domain.NO_STOCKED_LOCATION,
        )

    async def test_without_any_stock_location_one_must_be_provided(
        self, warehouse: Warehouse
    ) -> None:
        document = {
            "variants": [
                {"id": "mug", "title": "m", "prices": [{"currency_code": "gbp", "amount": 1}]}
            ]
        }
        await warehouse.load(document)
        reply = await warehouse.ask(place(("mug", 1)))
        assert refusal(reply)[1:] == ("invalid", "no_stock_location", domain.NO_LOCATION)

    async def test_the_price_of_the_region_is_taken(self, warehouse: Warehouse) -> None:
        prices = [
            {"currency_code": "gbp", "amount": 1000},
            {"currency_code": "gbp", "amount": 1200, "region_id": "reg_uk"},
        ]
        await warehouse.stock({"mug": {"sloc_a": 5}}, mug={"prices": prices})
        reply = await warehouse.ask(place(("mug", 1), region_id="reg_uk"))
        assert reply["lines"][0]["unit_price"] == 1200

    async def test_no_line_is_nothing_to_reserve(self, warehouse: Warehouse) -> None:
        assert (await warehouse.ask(place()))["lines"] == []


class TestRepeats:
    async def test_the_same_message_twice_is_answered_once(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        message_id = await warehouse.send(place(("mug", 2)))
        await warehouse.send(place(("mug", 2)), message_id)
        assert len(await warehouse.replies()) == 1
        assert await warehouse.levels() == {("mug", "sloc_a"): (5, 2)}

    async def test_the_same_remedy_in_another_message_gets_the_same_answer_and_reserves_once(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        first = await warehouse.ask(place(("mug", 2)))
        await warehouse.stock({"mug": {"sloc_a": 5}}, mug={"title": "renamed", "prices": []})
        second = await warehouse.ask(place(("mug", 2)))
        assert {**first, "cause": None} == {**second, "cause": None}
        assert await warehouse.levels() == {("mug", "sloc_a"): (5, 2)}

    async def test_a_rejected_remedy_stays_rejected_for_the_same_reason(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 1}})
        first = await warehouse.ask(place(("mug", 2)))
        await warehouse.stock({"mug": {"sloc_a": 9}})
        second = await warehouse.ask(place(("mug", 2)))
        assert {**first, "cause": None} == {**second, "cause": None}
        assert await warehouse.levels() == {("mug", "sloc_a"): (9, 0)}

    async def test_a_release_gives_the_units_back_once(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}, "cup": {"sloc_a": 1}})
        await warehouse.ask(place(("mug", 2), ("cup", 1)))
        await warehouse.ask(place(("mug", 1), remedy="claim_2"))
        for _ in range(2):
            reply = await warehouse.ask(release())
            assert (reply["said"], reply["remedy_id"]) == ("reservation.released", "claim_1")
        assert await warehouse.levels() == {("mug", "sloc_a"): (5, 1), ("cup", "sloc_a"): (1, 0)}

    async def test_a_reservation_that_comes_after_its_release_is_superseded(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        assert (await warehouse.ask(release()))["said"] == "reservation.released"
        for _ in range(2):
            reply = await warehouse.ask(place(("mug", 2)))
            assert SUPERSEDED.items() <= reply.items()
        assert await warehouse.levels() == {("mug", "sloc_a"): (5, 0)}

    async def test_a_released_reservation_is_not_revived(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        await warehouse.ask(place(("mug", 2)))
        await warehouse.ask(release())
        assert SUPERSEDED.items() <= (await warehouse.ask(place(("mug", 2)))).items()
        assert await warehouse.levels() == {("mug", "sloc_a"): (5, 0)}

    async def test_releasing_a_rejected_remedy_is_answered_and_changes_nothing(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 1}})
        await warehouse.ask(place(("mug", 2)))
        assert (await warehouse.ask(release()))["said"] == "reservation.released"
        assert await warehouse.levels() == {("mug", "sloc_a"): (1, 0)}


class TestReceiveReceiptStock:
    async def test_each_line_is_one_movement_and_raises_the_level(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5, "sloc_b": 1}})
        reply = await warehouse.ask(receive(("mug", 2), ("mug", 1), location="sloc_b"))
        assert (reply["said"], reply["receipt_id"], reply["return_id"]) == (
            "receipt-stock.received",
            "rcpt_1",
            "ret_1",
        )
        assert await warehouse.levels() == {("mug", "sloc_a"): (5, 0), ("mug", "sloc_b"): (4, 0)}
        moves = [move for move in await warehouse.movements() if move[0] == "receipt"]
        assert moves == [("receipt", "sloc_b", 2), ("receipt", "sloc_b", 1)]

    async def test_without_a_location_the_first_level_takes_the_goods(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_b": 5, "sloc_a": 1}})
        await warehouse.ask(receive(("mug", 2)))
        assert await warehouse.levels() == {("mug", "sloc_a"): (3, 0), ("mug", "sloc_b"): (5, 0)}

    async def test_what_is_not_counted_is_passed_over(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}, "cup": {}}, card={"manage_inventory": False})
        lines = (("card", 1), ("cup", 1), ("nobody", 1), (None, 1), ("mug", 1))
        assert (await warehouse.ask(receive(*lines)))["said"] == "receipt-stock.received"
        assert await warehouse.levels() == {("mug", "sloc_a"): (6, 0)}

    async def test_a_location_that_does_not_stock_one_item_books_nothing_of_any(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}, "cup": {"sloc_b": 5}})
        for _ in range(2):
            reply = await warehouse.ask(receive(("mug", 1), ("cup", 1), location="sloc_a"))
            assert refusal(reply) == (
                "receipt-stock.rejected",
                "not_found",
                "level_not_found",
                "Inventory level for inventory item iitem_cup and location sloc_a not found",
            )
        assert await warehouse.levels() == {("mug", "sloc_a"): (5, 0), ("cup", "sloc_b"): (5, 0)}

    @pytest.mark.parametrize("same_message", [True, False])
    async def test_a_receipt_that_is_told_twice_is_booked_once(
        self, warehouse: Warehouse, same_message: bool
    ) -> None:
        await warehouse.stock({"mug": {"sloc_a": 5}})
        message_id = await warehouse.send(receive(("mug", 2)))
        await warehouse.send(receive(("mug", 2)), message_id if same_message else None)
        assert await warehouse.levels() == {("mug", "sloc_a"): (7, 0)}
        assert len(await warehouse.replies()) == (1 if same_message else 2)
        assert {reply["said"] for reply in await warehouse.replies()} == {"receipt-stock.received"}

    async def test_received_units_can_be_reserved_again(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {"sloc_a": 0}})
        assert (await warehouse.ask(place(("mug", 1))))["said"] == "reservation.rejected"
        await warehouse.ask(receive(("mug", 1)))
        reply = await warehouse.ask(place(("mug", 1), remedy="claim_2"))
        assert reply["said"] == "reservation.placed"


async def test_a_reply_names_the_message_it_answers(warehouse: Warehouse) -> None:
    await warehouse.stock({"mug": {"sloc_a": 5}})
    message_id = await warehouse.send(place(("mug", 1)))
    assert [reply["cause"] for reply in await warehouse.replies()] == [message_id]
