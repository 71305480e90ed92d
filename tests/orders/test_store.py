"""The last net: what the rules let through, the database still refuses."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from alembic import command

from chassis import migrations
from chassis.db import CheckFailed, DuplicateRow
from chassis.testing import DatabaseUrl
from services.orders import store, store_money, store_units
from tests.orders.builders import LONG_AGO, a_claim, a_return, lines
from tests.orders.conftest import OpenShop


@pytest.mark.parametrize(
    "sin",
    [
        "UPDATE orders SET refunded = captured + 1",
        "UPDATE orders SET refund_pending = captured - refunded + 1",
        "UPDATE orders SET refund_pending = -1",
        "UPDATE payments SET amount_refunded = amount + 1",
        "UPDATE order_lines SET remedied_quantity = quantity + 1",
        "UPDATE order_lines SET remedied_quantity = -1",
        "UPDATE order_lines SET fulfilled_quantity = quantity + 1",
        "UPDATE order_lines SET shipped_quantity = fulfilled_quantity + 1",
        "UPDATE remedy_lines SET received_quantity = quantity + 1",
        "UPDATE remedies SET state = 'lost'",
        "UPDATE transfers SET amount = 0",
        "UPDATE transfers SET kind = 'gift'",
        "UPDATE refunds SET destination = 'pocket'",
    ],
)
async def test_a_broken_rule_meets_a_check(open_shop: OpenShop, sin: str) -> None:
    desk = await open_shop()
    await desk.say(a_claim())
    with pytest.raises(CheckFailed):
        async with desk.database.transaction() as tx:
            await tx.execute(sin)


async def test_a_pending_transfer_is_resolved_once(open_shop: OpenShop) -> None:
    desk = await open_shop()
    await desk.say(a_claim(execute_refund=False))
    pending = (await desk.rows("SELECT * FROM transfers WHERE state = 'pending'"))[0]
    row = {name: value for name, value in pending.items() if name != "seq"}
    row |= {"state": "posted", "pending_id": pending["id"]}
    async with desk.database.transaction() as tx:
        await store_money.add_transfers(tx, rows=[{**row, "id": "tr_1"}])
    with pytest.raises(DuplicateRow):
        async with desk.database.transaction() as tx:
            await store_money.add_transfers(tx, rows=[{**row, "id": "tr_2", "state": "voided"}])


async def test_a_cause_has_one_refund(open_shop: OpenShop) -> None:
    desk = await open_shop()
    await desk.say(a_claim())
    made = (await desk.rows("SELECT * FROM refunds"))[0]
    with pytest.raises(DuplicateRow):
        async with desk.database.transaction() as tx:
            await store_money.add_refund(tx, row={**made, "id": "ref_other"})


async def test_guarded_statements_change_all_their_rows_or_say_no(open_shop: OpenShop) -> None:
    desk = await open_shop()
    async with desk.database.transaction() as tx:
        assert await store_units.hold_units(tx, quantities={"item_01": 2}, limit="quantity")
        assert not await store_units.hold_units(tx, quantities={"item_01": 1}, limit="quantity")
        assert not await store_units.free_units(tx, quantities={"item_01": 3})
        assert await store_units.free_units(tx, quantities={"item_01": 2})
        assert not await store_units.book_arrivals(tx, rows=[("item_01", 1, 0, 0)])
        assert not await store_money.move_payments(tx, rows=[("pay_01", 100_001, 0)])
        assert not await store.save_order(
            tx,
            order_id="order_01",
            posted=100_001,
            pending=0,
            taken=0,
            added=0,
            events=0,
            status="pending",
            payment_status="refunded",
            fulfillment_status="shipped",
            now=LONG_AGO,
        )


async def test_a_return_holds_no_money(open_shop: OpenShop) -> None:
    desk = await open_shop()
    await desk.say(a_return(lines=lines(item_01=2)))
    assert await desk.rows("SELECT 1 AS one FROM transfers WHERE kind = 'refund'") == []


async def test_the_ledger_of_before_is_kept_and_knows_reversals(database_url: DatabaseUrl) -> None:
    url = await database_url("orders")
    row = (
        "INSERT INTO transfers (id, order_id, kind, debit_account, credit_account, amount,"
        " currency_code, state, payment_id, created_at) VALUES"
        " (:id, 'o', :kind, 'a', 'b', 5, 'eur', 'posted', 'p', CURRENT_TIMESTAMP)"
    )
    found: list[tuple[str, str]] = []

    def back_and_forth(connection: sa.Connection) -> None:
        config = migrations._config("orders", connection)
        command.downgrade(config, "0008")
        connection.execute(sa.text(row), {"id": "tr_1", "kind": "refund"})
        command.upgrade(config, "head")
        connection.execute(sa.text(row), {"id": "tr_2", "kind": "reversal"})
        rows = connection.execute(sa.text("SELECT id, kind FROM transfers ORDER BY seq"))
        found.extend((each[0], each[1]) for each in rows)

    await asyncio.to_thread(migrations._with_connection, url, back_and_forth)
    assert found == [("tr_1", "refund"), ("tr_2", "reversal")]
