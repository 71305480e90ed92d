"""The checks find what must never be, and find nothing where all is well."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.db import CheckFailed
from services.claims import invariants
from tests.claims.builders import World, a_replacement
from tests.claims.test_operations import open_claim


async def findings(world: World) -> list[tuple[str, str]]:
    async with world.database.reading() as tx:
        return [(one["invariant"], one["id"]) for one in await invariants.findings(tx)]


async def change(world: World, sql: str, **params: Any) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(sql, **params)


@pytest.mark.parametrize(
    ("broken", "invariant"),
    [
        ("payment_status = 'refunded'", "I12"),
        ("status = 'canceled', payment_status = 'refunded'", "I12"),
        ("version = version + 1", "I10"),
    ],
)
async def test_an_impossible_claim_is_found(world: World, broken: str, invariant: str) -> None:
    healthy = await open_claim(world, key="1")
    sick = await open_claim(world, a_replacement(), key="2")
    await world.pump()
    assert await findings(world) == []
    await change(world, f"UPDATE claims SET {broken} WHERE id = :id", id=sick.claim_id)
    found = await findings(world)
    assert (invariant, sick.claim_id) in found
    assert healthy.claim_id not in {id_ for _, id_ in found}


async def test_a_refund_that_is_shown_as_made_of_nothing_is_found(world: World) -> None:
    claim = await open_claim(world)
    await world.pump()
    await change(world, "UPDATE claims SET refund_amount = 0")
    assert await findings(world) == [("I12", claim.claim_id)]


async def test_a_lost_event_is_found(world: World) -> None:
    claim = await open_claim(world)
    await world.pump()
    await change(world, "DELETE FROM outbox WHERE aggregateversion = 2")
    assert await findings(world) == [("I10", claim.claim_id)]


async def test_others_are_told_what_a_claim_wants(world: World) -> None:
    refund = await open_claim(world, key="1")
    replace = await open_claim(world, a_replacement(), key="2")
    await world.pump()
    async with world.database.reading() as tx:
        known = {row["id"]: row for row in await invariants.claims(tx)}
        units = await invariants.claimed_units(tx)
    assert bool(known[refund.claim_id]["wants_stock"]) is False
    assert bool(known[replace.claim_id]["wants_stock"]) is True
    assert known[refund.claim_id]["refund_amount"] == 1000
    assert {(row["claim_id"], row["line_id"], int(row["quantity"])) for row in units} == {
        (refund.claim_id, "item_1", 1),
        (replace.claim_id, "item_1", 1),
    }


@pytest.mark.parametrize(
    "broken",
    [
        "UPDATE claims SET status = 'lost'",
        "UPDATE claims SET type = 'swap'",
        "UPDATE claims SET refund_amount = -1",
        "UPDATE claim_items SET quantity = 0",
        "UPDATE additional_items SET quantity = 0",
    ],
)
async def test_the_tables_are_the_last_net(world: World, broken: str) -> None:
    await open_claim(world, a_replacement())
    with pytest.raises(CheckFailed):
        await change(world, broken)
