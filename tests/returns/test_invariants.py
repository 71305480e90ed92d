"""The checks of `reclamo verify` find nothing in honest books, and each finds its sinner."""

from __future__ import annotations

from typing import Any

import pytest

from services.returns import invariants
from services.returns.domain import Item
from tests.returns.conftest import World
from tests.returns.test_consumers import live

SINS = {
    "a unit came without a receipt": (
        "UPDATE return_items SET received_quantity = 1 WHERE return_id = :open",
        "I5",
        "shows 1, came 0",
    ),
    "a unit of a receipt was not counted": (
        "UPDATE return_items SET received_quantity = 1 WHERE return_id = :done",
        "I5",
        "shows 1, came 2",
    ),
    "received without all units": (
        "UPDATE return_items SET received_quantity = 1 WHERE return_id = :done",
        "I5",
        "received, but not what was announced",
    ),
    "canceled with units": (
        "UPDATE returns SET state = 'canceled', status = 'canceled' WHERE id = :done",
        "I5",
        "canceled or refused, but units came",
    ),
    "a lock nobody holds": (
        "UPDATE returns SET state = 'canceling' WHERE id = :open",
        "I6",
        "in state canceling, but no saga is under way",
    ),
    "a receipt in flight without a receiving return": (
        "UPDATE receipts SET state = 'receiving' WHERE return_id = :done",
        "I6",
        "the receipt in flight is not the one the return names",
    ),
    "money no receipt paid": (
        "UPDATE returns SET refunded_amount = refunded_amount + 1 WHERE id = :done",
        "I9",
        "shows 2001 as refunded, its receipts paid 2000",
    ),
    "more money owed than a received return may": (
        "UPDATE receipts SET owed_amount = 1 WHERE return_id = :done",
        "I9",
        "received, but still owes 1",
    ),
    "a closing nobody works on": (
        "UPDATE returns SET state = 'closing' WHERE id = :open",
        "I6",
        "in state closing, but no saga is under way",
    ),
    "an event that was not said": (
        "UPDATE returns SET version = version + 1 WHERE id = :done",
        "I10",
        "version 3, but 2 events were said, the last is 2",
    ),
}


async def books(world: World) -> dict[str, str]:
    """An open return and a received one."""
    done = await world.requested()
    await world.receive(done)
    return {"open": await world.requested(Item("item_mug", 2)), "done": done}


async def test_honest_books_show_nothing(world: World) -> None:
    await live(world, world.pump)
    assert await world.findings() == []


@pytest.fixture
async def broken(world: World) -> Any:
    """Books that a test breaks and that are thrown away afterwards."""
    yield world
    async with world.database.transaction() as tx:
        for table in ("receipt_lines", "receipts", "return_items", "returns", "sagas"):
            await tx.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize("sin", SINS)
async def test_each_sin_is_found(broken: World, sin: str) -> None:
    ids = await books(broken)
    sql, invariant, message = SINS[sin]
    (wanted,) = [name for name in ids if f":{name}" in sql]
    async with broken.database.transaction() as tx:
        assert await tx.execute(sql, **{wanted: ids[wanted]}) == 1
    found = await broken.look(invariants.findings)
    assert [
        finding
        for finding in found
        if finding["invariant"] == invariant
        and finding["id"] == ids[wanted]
        and message in finding["message"]
    ]


async def test_the_rows_for_other_services_books_tell_what_is_held_and_what_came(
    world: World,
) -> None:
    ids = await books(world)
    await world.pump()
    returns = {row["id"]: row for row in await world.look(invariants.returns)}
    assert returns[ids["open"]]["state"] == "requested"
    assert returns[ids["done"]]["refunded_amount"] == 2000
    units = await world.look(invariants.returned_units)
    assert {
        (row["return_id"], row["requested_quantity"], row["received_quantity"]) for row in units
    } == {(ids["open"], 2, 0), (ids["done"], 2, 2)}
    (line,) = await world.look(invariants.receipts)
    assert (line["return_id"], line["variant_id"], line["quantity"]) == (
        ids["done"],
        "variant_mug",
        2,
    )
    (refund,) = await world.look(invariants.refunds)
    assert refund["refund_amount"] == 2000
