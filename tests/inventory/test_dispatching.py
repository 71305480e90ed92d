"""Goods that leave with fulfillments, and come back: once, twice, and in the wrong order."""

from __future__ import annotations

from typing import Any

import pytest

from tests.inventory.builders import (
    Warehouse,
    consume,
    place,
    release,
    release_order,
    restore,
)

A, B = "sloc_a", "sloc_b"


def refusal(reply: dict[str, Any]) -> tuple[str, str, str]:
    return reply["said"], reply["code"], reply["message"]


class TestConsume:
    async def test_takes_goods_out_of_stock_with_one_movement_per_line(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {A: 5}, "cup": {A: 2}})
        reply = await warehouse.ask(consume(("mug", 2), ("cup", 1)))
        assert reply["said"] == "fulfillment-stock.consumed"
        assert (reply["fulfillment_id"], reply["order_id"]) == ("ful_1", "order_1")
        assert await warehouse.levels() == {("mug", A): (3, 0), ("cup", A): (1, 0)}
        moved = [each for each in await warehouse.movements() if each[0] == "fulfillment"]
        assert moved == [("fulfillment", A, -2), ("fulfillment", A, -1)]

    async def test_too_little_of_one_line_takes_nothing_of_any(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {A: 5}, "cup": {A: 1}})
        reply = await warehouse.ask(consume(("mug", 2), ("cup", 2)))
        assert refusal(reply) == (
            "fulfillment-stock.rejected",
            "insufficient_stock",
            "Insufficient stock for item: A cup",
        )
        assert await warehouse.levels() == {("mug", A): (5, 0), ("cup", A): (1, 0)}

    async def test_a_location_that_does_not_stock_a_line_is_named_by_the_line(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {B: 5}, "cup": {A: 1}})
        reply = await warehouse.ask(consume(("mug", 1)))
        assert refusal(reply) == (
            "fulfillment-stock.rejected",
            "item_not_at_location",
            "Inventory item for A mug not found at location",
        )

    async def test_what_is_not_counted_is_passed_over(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {A: 5}}, ebook={"manage_inventory": False})
        reply = await warehouse.ask(consume(("ebook", 9), (None, 1), ("nobody", 1)))
        assert reply["said"] == "fulfillment-stock.consumed"
        assert await warehouse.levels() == {("mug", A): (5, 0)}

    async def test_what_others_have_reserved_is_not_taken(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {A: 3}})
        await warehouse.ask(place(("mug", 2)))
        reply = await warehouse.ask(consume(("cup", 1), ("mug", 2)))
        assert reply["message"] == "Insufficient stock for item: A mug"
        assert (await warehouse.ask(consume(("cup", 1), ("mug", 1), fulfillment="ful_2")))[
            "said"
        ] == "fulfillment-stock.consumed"
        assert await warehouse.levels() == {("mug", A): (2, 2)}

    async def test_the_last_units_go_to_the_line_that_has_reserved_them(
        self, warehouse: Warehouse
    ) -> None:
        """M121: all of the stock is reserved, by this line."""
        await warehouse.stock({"mug": {A: 2}})
        await warehouse.reserve("line_1", "mug", A, 2)
        assert (await warehouse.ask(consume(("mug", 2))))["said"] == "fulfillment-stock.consumed"
        assert await warehouse.levels() == {("mug", A): (0, 0)}
        assert await warehouse.held() == []

    async def test_a_reservation_elsewhere_is_used_up_too(self, warehouse: Warehouse) -> None:
        """M118: moved to B, fulfilled at A."""
        await warehouse.stock({"mug": {A: 100, B: 1}})
        await warehouse.reserve("line_1", "mug", B, 1)
        await warehouse.ask(consume(("mug", 1)))
        assert await warehouse.levels() == {("mug", A): (99, 0), ("mug", B): (1, 0)}

    async def test_the_place_of_the_goods_goes_first_and_the_rest_stays_reserved(
        self, warehouse: Warehouse
    ) -> None:
        """M123: reservations of 1 at A and 2 at B, fulfill 2 at A."""
        await warehouse.stock({"mug": {A: 9, B: 9}})
        await warehouse.reserve("line_1", "mug", A, 1)
        await warehouse.reserve("line_1", "mug", B, 2)
        await warehouse.ask(consume(("mug", 2)))
        assert await warehouse.held() == [("line_1", B, 1)]
        assert await warehouse.levels() == {("mug", A): (7, 0), ("mug", B): (9, 1)}

    async def test_a_replacement_of_a_claim_uses_what_the_claim_reserved(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {A: 1}})
        await warehouse.ask(place(("mug", 1)))
        assert (await warehouse.ask(consume(("mug", 1))))["said"] == "fulfillment-stock.consumed"
        assert await warehouse.levels() == {("mug", A): (0, 0)}
        await warehouse.ask(release())
        assert await warehouse.levels() == {("mug", A): (0, 0)}

    async def test_backorders_may_be_sent_only_from_what_is_there(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {A: 1}}, mug={"allow_backorder": True})
        await warehouse.ask(place(("mug", 3)))
        reply = await warehouse.ask(consume(("cup", 1), ("mug", 2)))
        assert reply["message"] == "Insufficient stock for item: A mug"
        reply = await warehouse.ask(consume(("cup", 1), ("mug", 1), fulfillment="ful_2"))
        assert reply["said"] == "fulfillment-stock.consumed"
        assert await warehouse.levels() == {("mug", A): (0, 3)}

    async def test_a_repeat_gets_the_same_answer_and_takes_nothing_more(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {A: 5}})
        await warehouse.send(consume(("mug", 2)), "m1")
        await warehouse.send(consume(("mug", 2)), "m1")
        again = await warehouse.ask(consume(("mug", 2)), "m2")
        assert again["said"] == "fulfillment-stock.consumed"
        assert await warehouse.levels() == {("mug", A): (3, 0)}
        refused = [
            await warehouse.ask(consume(("mug", 9), fulfillment="ful_2"), f"n{n}") for n in "12"
        ]
        await warehouse.stock({"mug": {A: 90}})
        refused.append(await warehouse.ask(consume(("mug", 9), fulfillment="ful_2")))
        assert len({refusal(reply) for reply in refused}) == 1


class TestRestore:
    async def test_puts_goods_back_and_holds_again_what_was_reserved(
        self, warehouse: Warehouse
    ) -> None:
        """M119 from three reserved (D13)."""
        await warehouse.stock({"mug": {A: 100}})
        await warehouse.reserve("line_1", "mug", A, 3)
        await warehouse.ask(consume(("mug", 2)))
        assert await warehouse.levels() == {("mug", A): (98, 1)}
        reply = await warehouse.ask(restore())
        assert reply["said"] == "fulfillment-stock.restored"
        assert await warehouse.levels() == {("mug", A): (100, 3)}
        assert await warehouse.held() == [("line_1", A, 3)]
        await warehouse.ask(consume(("mug", 2), fulfillment="ful_2"))
        assert await warehouse.levels() == {("mug", A): (98, 1)}
        assert await warehouse.held() == [("line_1", A, 1)]

    async def test_reserves_nothing_that_was_not_reserved_before(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {A: 100}})
        await warehouse.ask(consume(("mug", 2)))
        await warehouse.ask(restore())
        assert await warehouse.levels() == {("mug", A): (100, 0)}

    async def test_a_reservation_used_up_elsewhere_comes_back_there(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {A: 9, B: 9}})
        await warehouse.reserve("line_1", "mug", B, 2)
        await warehouse.ask(consume(("mug", 2)))
        await warehouse.ask(restore())
        assert await warehouse.levels() == {("mug", A): (9, 0), ("mug", B): (9, 2)}

    async def test_twice_puts_back_once(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {A: 5}})
        await warehouse.ask(consume(("mug", 2)))
        for message in ("m1", "m1", "m2"):
            await warehouse.send(restore(), message)
        assert await warehouse.levels() == {("mug", A): (5, 0)}
        said = [each["said"] for each in await warehouse.replies()]
        assert said.count("fulfillment-stock.restored") == 2

    async def test_before_its_fulfillment_leaves_a_tombstone(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {A: 5}})
        assert (await warehouse.ask(restore()))["said"] == "fulfillment-stock.restored"
        late = await warehouse.ask(consume(("mug", 2)))
        assert (late["said"], late["code"]) == ("fulfillment-stock.rejected", "superseded")
        assert await warehouse.levels() == {("mug", A): (5, 0)}

    async def test_what_came_back_is_not_taken_by_a_late_repeat(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {A: 5}})
        await warehouse.ask(consume(("mug", 2)))
        await warehouse.ask(restore())
        late = await warehouse.ask(consume(("mug", 2)))
        assert late["code"] == "superseded"
        assert await warehouse.levels() == {("mug", A): (5, 0)}

    async def test_of_a_refused_fulfillment_changes_nothing(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {A: 1}})
        await warehouse.ask(consume(("mug", 2)))
        assert (await warehouse.ask(restore()))["said"] == "fulfillment-stock.restored"
        assert await warehouse.levels() == {("mug", A): (1, 0)}

    async def test_of_a_canceled_claim_holds_nothing_again(self, warehouse: Warehouse) -> None:
        await warehouse.stock({"mug": {A: 1}})
        await warehouse.ask(place(("mug", 1)))
        await warehouse.ask(consume(("mug", 1)))
        await warehouse.ask(release())
        await warehouse.ask(restore())
        assert await warehouse.levels() == {("mug", A): (1, 0)}
        assert await warehouse.held() == []


class TestReleaseOrder:
    async def test_frees_what_its_lines_have_and_nothing_of_others(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {A: 9, B: 9}})
        await warehouse.reserve("line_1", "mug", A, 2)
        await warehouse.reserve("line_2", "mug", B, 1)
        await warehouse.reserve("line_3", "mug", A, 4)
        reply = await warehouse.ask(release_order("line_1", "line_2"))
        assert (reply["said"], reply["order_id"]) == ("order-reservation.released", "order_1")
        assert await warehouse.held() == [("line_3", A, 4)]
        assert await warehouse.levels() == {("mug", A): (9, 4), ("mug", B): (9, 0)}

    async def test_again_and_without_anything_reserved_answers_the_same(
        self, warehouse: Warehouse
    ) -> None:
        for message in ("m1", "m2"):
            reply = await warehouse.ask(release_order("line_1"), message)
            assert reply["said"] == "order-reservation.released"

    async def test_goods_that_come_back_later_are_not_reserved_again(
        self, warehouse: Warehouse
    ) -> None:
        await warehouse.stock({"mug": {A: 2}})
        await warehouse.reserve("line_1", "mug", A, 2)
        await warehouse.ask(consume(("mug", 2)))
        await warehouse.ask(release_order("line_1"))
        await warehouse.ask(restore())
        assert await warehouse.levels() == {("mug", A): (2, 0)}
        assert await warehouse.held() == []


@pytest.mark.parametrize(
    ("cooked", "invariant", "words"),
    [
        (
            "DELETE FROM stock_uses",
            "I17",
            "stock moved for a fulfillment that took nothing",
        ),
        (
            "UPDATE stock_uses SET state = 'restored', restored_at = created_at",
            "I17",
            "it was put back, but its goods were not",
        ),
        (
            "UPDATE stock_uses SET state = 'restored', restored_at = created_at",
            "I4",
            "reservations are used up for a fulfillment that has nothing",
        ),
        (
            "INSERT INTO released_lines SELECT 'line_2', 'order_1', created_at FROM stock_uses",
            "I4",
            "something is still held for a line of a canceled order",
        ),
    ],
)
async def test_cooked_books_are_found(
    warehouse: Warehouse, cooked: str, invariant: str, words: str
) -> None:
    await warehouse.stock({"mug": {A: 9}})
    for line in ("line_1", "line_2"):
        await warehouse.reserve(line, "mug", A, 1)
    await warehouse.ask(consume(("mug", 1)))
    before = {name: await _rows(warehouse, name) for name in ("stock_uses", "released_lines")}
    async with warehouse.database.transaction() as tx:
        await tx.execute(cooked)
    told = [(each["invariant"], each["message"]) for each in await warehouse.findings()]
    assert (invariant, words) in told
    async with warehouse.database.transaction() as tx:
        for name, rows in before.items():
            await tx.execute(f"DELETE FROM {name}")
            await tx.insert(tx.database.tables[name], rows)


async def _rows(warehouse: Warehouse, name: str) -> list[dict[str, Any]]:
    async with warehouse.database.reading() as tx:
        return await tx.fetch(f"SELECT * FROM {name}")
