"""Each invariant is shown a sinner: books that were cooked behind the operations' back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chassis import clock, db
from chassis.testing import DatabaseUrl
from services.inventory import invariants, operations_levels, store
from tests.inventory.builders import Warehouse, place, receive, release


@pytest.fixture
async def books(database_url: DatabaseUrl) -> AsyncIterator[Warehouse]:
    """Five mugs, two of them held for claim_1, one of them from a receipt; in order so far."""
    database = db.connect(await database_url("inventory")).serve("inventory", store.METADATA)
    await database.open()
    warehouse = Warehouse(database)
    await warehouse.stock({"mug": {"sloc_a": 4, "sloc_b": 0}})
    await warehouse.ask(place(("mug", 2)))
    await warehouse.ask(receive(("mug", 1)))
    assert await warehouse.findings() == []
    yield warehouse
    await database.close()


async def cook(books: Warehouse, *statements: str) -> list[tuple[str, str, str]]:
    """Change the books, and give (invariant, id, message) of what is found."""
    async with books.database.transaction() as tx:
        for statement in statements:
            await tx.execute(statement)
    return [(each["invariant"], each["id"], each["message"]) for each in await books.findings()]


MUGS = "iitem_mug at sloc_a"
RESERVATION = (
    "INSERT INTO reservations (id, item_id, location_id, quantity, state, created_at, updated_at)"
    " SELECT 'r', item_id, 'sloc_c', 3, 'held', created_at, updated_at"
    " FROM levels WHERE location_id = 'sloc_a'"
)


def a_movement(cause: str, location: str) -> str:
    return (
        "INSERT INTO movements"
        " (cause_kind, cause_id, line_no, item_id, location_id, quantity, created_at)"
        f" SELECT '{cause}', 'cooked', 1, item_id, '{location}', 3, created_at"
        " FROM levels WHERE location_id = 'sloc_a'"
    )


@pytest.mark.parametrize(
    ("cooked", "found"),
    [
        (
            "UPDATE levels SET reserved = 1 WHERE location_id = 'sloc_a'",
            ("I1", MUGS, "reserved differs from the sum of what is held: reserved 1, held 2"),
        ),
        (RESERVATION, ("I1", "iitem_mug at sloc_c", "something is held where no level is: held 3")),
        (
            "UPDATE levels SET allow_backorder = TRUE WHERE location_id = 'sloc_a'",
            ("I1", MUGS, "the rule on backorders differs from the variant's"),
        ),
        (
            "UPDATE levels SET on_hand = 9 WHERE location_id = 'sloc_a'",
            (
                "I17",
                MUGS,
                "what is on hand differs from the sum of the movements: on_hand 9, moved 5",
            ),
        ),
        (
            a_movement("count", "sloc_c"),
            (
                "I17",
                "iitem_mug at sloc_c",
                "the movements of a level that is gone do not cancel out: moved 3",
            ),
        ),
        (
            "UPDATE receipts SET state = 'rejected'",
            ("I17", "rcpt_1", "stock moved for a receipt that was not booked"),
        ),
        (
            "UPDATE reservation_groups SET state = 'released'",
            ("I4", "claim_1", "something is still held for a remedy that was released"),
        ),
    ],
)
async def test_cooked_books_are_found(
    books: Warehouse, cooked: str, found: tuple[str, str, str]
) -> None:
    assert await cook(books, cooked) == [found]


async def test_oversold_stock_is_found_even_without_the_constraint(books: Warehouse) -> None:
    sqlite = books.database.dialect == "sqlite"
    free = (
        "PRAGMA ignore_check_constraints = ON"
        if sqlite
        else "ALTER TABLE levels DROP CONSTRAINT ck_levels_oversell"
    )
    found = await cook(books, free, "UPDATE levels SET reserved = 6 WHERE location_id = 'sloc_a'")
    assert ("I1", MUGS, "more is reserved than is on hand: on_hand 5, reserved 6") in found


async def test_a_line_that_is_promised_twice_at_a_place_is_found(books: Warehouse) -> None:
    twice = [
        "INSERT INTO reservations (id, line_id, item_id, location_id, quantity, state, created_at,"
        f" updated_at) SELECT '{name}', 'item_1', item_id, location_id, 1, 'held', created_at,"
        " updated_at FROM levels WHERE location_id = 'sloc_a'"
        for name in ("r_1", "r_2")
    ]
    counted = "UPDATE levels SET reserved = reserved + 2 WHERE location_id = 'sloc_a'"
    found = await cook(books, "DROP INDEX uq_reservations_of_line", *twice, counted)
    wrong = "a line has several reservations there: line_id item_1, reservations 2"
    assert found == [("I1", MUGS, wrong)]


async def test_the_rows_for_the_other_services_say_what_each_remedy_holds(
    books: Warehouse,
) -> None:
    await books.ask(place(("mug", 9), remedy="claim_2"))
    await books.ask(place(("mug", 1), remedy="claim_3", location_id="sloc_a"))
    await books.ask(release("claim_3"))
    await books.ask(release("claim_4"))
    async with books.database.reading() as tx:
        rows = {row.pop("remedy_id"): row for row in await invariants.remedies(tx)}

    def row(state: str, held: int, released: int, **more: Any) -> dict[str, Any]:
        figures = {"state": state, "held_units": held, "released_units": released}
        return {**figures, "manual_units": 0, "rejected": False, **more}

    assert rows == {
        "claim_1": row("held", 2, 0),
        "claim_2": row("released", 0, 0, rejected=True),
        "claim_3": row("released", 0, 1),
        "claim_4": row("released", 0, 0),
    }
    async with books.database.transaction() as tx:
        await operations_levels.delete_stock_location(tx, location_id="sloc_a", now=clock.now())
    async with books.database.reading() as tx:
        rows = {row.pop("remedy_id"): row for row in await invariants.remedies(tx)}
    assert rows["claim_1"] == row("held", 0, 2, manual_units=2)


async def test_the_rows_for_the_other_services_say_what_each_receipt_moved(
    books: Warehouse,
) -> None:
    await books.ask(receive(("mug", 1), receipt="rcpt_2", location="nowhere"))
    async with books.database.reading() as tx:
        rows = sorted(await invariants.receipts(tx), key=lambda row: str(row["receipt_id"]))
    assert rows == [
        {"receipt_id": "rcpt_1", "return_id": "ret_1", "state": "booked", "moved_units": 1},
        {"receipt_id": "rcpt_2", "return_id": "ret_1", "state": "rejected", "moved_units": 0},
    ]
