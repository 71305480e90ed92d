"""The tables: the history leads to them, and their constraints are the last net under the rules."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chassis import migrations
from chassis.db import CheckFailed, DuplicateRow
from services.returns import store
from services.returns.domain import Arrival, Line, Reason, Return
from tests.returns.conftest import NOW, World


async def test_the_migrations_lead_to_the_tables_of_the_code(database_url: Any) -> None:
    url = await database_url("returns")
    assert await asyncio.to_thread(migrations.differences, "returns", url) == []


async def insert(world: World, **changes: Any) -> None:
    """A bare requested return, past all rules."""
    fields: dict[str, Any] = {"id": "ret_1", "order_id": "order_1", "lines": (Line("item_mug", 2),)}
    async with world.database.transaction() as tx:
        await store.insert_return(
            tx,
            Return(**{**fields, **changes}),
            number="R-1",
            customer_id=None,
            requested_by=None,
            idempotency_key=None,
            metadata={"a": [1, None]},
            now=NOW,
        )


async def receipt(world: World, receipt_id: str, quantity: int = 1) -> None:
    """A receipt in flight, past all rules."""
    async with world.database.transaction() as tx:
        await store.insert_receipt(
            tx,
            receipt_id=receipt_id,
            return_id="ret_1",
            lines=[Arrival(1, "item_mug", None, quantity)],
            location_id=None,
            refund_given=None,
            received_by=None,
            now=NOW,
        )


class TestLastNet:
    @pytest.fixture
    async def world(self, world: World) -> Any:
        """These tests leave broken books behind, on purpose."""
        yield world
        async with world.database.transaction() as tx:
            for table in ("receipt_lines", "receipts", "return_items", "returns"):
                await tx.execute(f"DELETE FROM {table}")

    async def test_one_receipt_at_a_time(self, world: World) -> None:
        await insert(world)
        await receipt(world, "rcpt_1")
        with pytest.raises(DuplicateRow):
            await receipt(world, "rcpt_2")

    async def test_one_return_per_claim(self, world: World) -> None:
        await insert(world, claim_id="claim_1")
        with pytest.raises(DuplicateRow):
            await insert(world, id="ret_2", claim_id="claim_1")

    async def test_what_came_is_counted_and_can_only_become_more(self, world: World) -> None:
        await insert(world)
        await receipt(world, "rcpt_1", quantity=3)
        async with world.database.reading() as tx:
            assert await store.receipt_arrivals(tx, "rcpt_1") == (Arrival(1, "item_mug", None, 3),)
        await world.do(store.count_arrivals, return_id="ret_1", receipt_id="rcpt_1")
        (item,) = await world.rows("SELECT received_quantity FROM return_items")
        assert item["received_quantity"] == 3
        with pytest.raises(CheckFailed):
            async with world.database.transaction() as tx:
                await tx.execute("UPDATE return_items SET received_quantity = -1")

    async def test_a_public_state_is_also_the_status(self, world: World) -> None:
        with pytest.raises(CheckFailed):
            await insert(world, state="received", status="requested")
        with pytest.raises(CheckFailed):
            await insert(world, state="received", status=None)

    async def test_a_return_comes_back_as_it_was_saved(self, world: World) -> None:
        await insert(world, refund_given=-(2**40), no_notification=True)
        async with world.database.transaction() as tx:
            loaded = await store.return_for_update(tx, "ret_1")
            assert loaded is not None
            assert (loaded.refund_given, loaded.no_notification) == (-(2**40), True)
            assert (loaded.state, loaded.status) == ("opening", None)
            assert await store.return_for_update(tx, "ret_none") is None

    async def test_living_reasons_have_different_values(self, world: World) -> None:
        await world.do(store.insert_reason, reason=Reason("rr_1", "big", "Too big"), now=NOW)
        with pytest.raises(DuplicateRow):
            await world.do(store.insert_reason, reason=Reason("rr_2", "big", "Large"), now=NOW)
        await world.do(store.delete_reason, reason_id="rr_1", now=NOW)
        await world.do(store.insert_reason, reason=Reason("rr_2", "big", "Large"), now=NOW)
