"""Customers are corrected; on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chassis import clock
from chassis.db import Database
from chassis.errors import NotFound
from services.orders import operations, queries
from tests.orders.builders import load

DAN = {"id": "cus_dan", "email": "dan@shop.example", "first_name": "Dan", "phone": "041 555"}


async def _load(database: Database) -> None:
    await load(database, {"customers": [DAN]})


async def _correct(database: Database, **changes: str | None) -> None:
    async with database.transaction() as tx:
        await operations.update_customer(
            tx, customer_id="cus_dan", changes=changes, now=clock.now() + timedelta(minutes=1)
        )


async def _trail(database: Database) -> list[str]:
    async with database.reading() as tx:
        rows = await tx.fetch(
            "SELECT about, before, after FROM audit WHERE action = 'customer.updated' ORDER BY seq"
        )
    return [str(dict(row)) for row in rows]


async def test_a_correction_changes_what_it_names_and_what_is_searched(database: Database) -> None:
    await _load(database)
    await _correct(database, last_name="Day", phone=None)
    async with database.reading() as tx:
        customer = await queries.customer_by_id(tx, customer_id="cus_dan", own_id=None)
        pages = [
            (await queries.list_customers(tx, q=q, email=None, limit=9, offset=0))[1]
            for q in ("day", "041", "dan@")
        ]
    assert customer["updated_at"] > customer["created_at"]
    assert {name: customer[name] for name in ("email", "first_name", "last_name", "phone")} == {
        "email": "dan@shop.example",
        "first_name": "Dan",
        "last_name": "Day",
        "phone": None,
    }
    assert pages == [1, 0, 1]


async def test_the_trail_tells_which_and_not_what(database: Database) -> None:
    await _load(database)
    await _correct(database, last_name="Day", email="other@shop.example")
    (told,) = await _trail(database)
    assert "customer/cus_dan" in told
    assert "last_name" in told
    assert "Day" not in told
    assert "other@" not in told


async def test_a_correction_of_nothing_leaves_no_trace(database: Database) -> None:
    await _load(database)
    await _correct(database, first_name="Dan", email=None)
    assert await _trail(database) == []
    async with database.reading() as tx:
        customer = await queries.customer_by_id(tx, customer_id="cus_dan", own_id=None)
    assert customer["updated_at"] == customer["created_at"]


async def test_a_customer_who_is_not_there_is_not_corrected(database: Database) -> None:
    with pytest.raises(NotFound):
        await _correct(database, phone="1")
