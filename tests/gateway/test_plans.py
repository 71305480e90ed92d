"""However much a shop has ever done, nobody who names one thing waits for a whole table to be read.

Every route with an object in its path is called, and SQLite is asked how it finds the rows of each
statement, those of the loops behind the requests included. Lists may count, and verify reads all.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from chassis import db_sqlite
from chassis.db_sqlite import SqliteTx
from chassis.testing import eventually
from tests.gateway.builders import a_shop
from tests.gateway.conftest import OpenGateway
from tests.gateway.test_two_principals import CASES, _body, _call, _have, _open_order, _path

# Indexes that hold only what is still to be done.
WORK = {"ix_outbox_unsent", "ix_outbox_blocked", "ix_inbox_open", "ix_refunds_memo_due"}
# What people set up one by one.
SMALL = {"alembic_version", "api_tokens", "return_reasons", "sessions", "users", "webhooks"}
SMALL |= {"channel_locations", "regions", "sales_channels", "shipping_options", "stock_locations"}
# Pages of lists and their count; and a place is not closed every day.
ALLOWED = ("LIMIT :limit OFFSET :offset", "SELECT COUNT(*) FROM orders o", "WHERE location_id = :")


class Plans:
    """How the statements that were made find their rows, of which table each."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], list[str]] = {}

    def note(self, tx: SqliteTx, sql: str, params: dict[str, Any]) -> None:
        """Ask for the plan of a statement that is made for the first time."""
        key = (tx.database.service, sql)
        if key not in self.of:
            explain = f"EXPLAIN QUERY PLAN {db_sqlite._translate(sql)}"
            self.of[key] = [row["detail"] for row in tx._connection.execute(explain, params)]

    def whole_tables(self) -> list[tuple[str, str, str]]:
        """(service, table, statement) of those that read all of a table that grows."""
        return [
            (service, table, " ".join(sql.split()))
            for (service, sql), plan in self.of.items()
            for table in (_read_whole(sql, step) for step in plan)
            if table and table not in SMALL and not any(part in sql for part in ALLOWED)
        ]


def _read_whole(sql: str, step: str) -> str | None:
    """The table that a step of a plan reads whole, if it does."""
    scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?$", step)
    if not scan or scan[2] in WORK or (scan[2] and sql.rstrip().endswith("LIMIT 1")):
        return None
    name = scan[1]
    alias = re.search(rf"(?:FROM|JOIN)\s+(\w+)\s+(?:AS\s+)?{name}\b", sql)
    named = re.search(rf"(?:FROM|JOIN|UPDATE|INTO)\s+{name}\b", sql)
    # Neither: what a part of the statement has found, whose own steps are in the plan.
    return alias[1] if alias else name if named else None


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Plans:
    """From here on; what runs aside may read all there is."""
    noted = Plans()
    for name in ("fetch", "execute"):
        original = getattr(SqliteTx, name)

        async def made(self: SqliteTx, sql: str, *, original: Any = original, **params: Any) -> Any:
            noted.note(self, sql, params)
            return await original(self, sql, **params)

        monkeypatch.setattr(SqliteTx, name, made)
    return noted


async def test_who_names_a_thing_waits_for_no_whole_table(
    open_gateway: OpenGateway, plans: Plans
) -> None:
    shop = await open_gateway(webhook_targets="any")
    document = a_shop()
    document["variants"][0]["allow_backorder"] = True
    document["orders"] += [_open_order("ana")]
    await shop.load(document)
    own, admin = await _have(shop, "ana")
    customer = await shop.customer("ana")
    for route in CASES:
        who = customer if route[1].startswith("/store/") else admin
        await _call(who, route, _path(route[1], own), _body(route, own))

    async def sealed() -> bool:
        return any("audit_seals" in sql for _, sql in plans.of)

    await eventually(sealed)
    assert len(plans.of) > 300
    assert plans.whole_tables() == []


async def test_a_statement_without_an_index_is_caught(
    open_gateway: OpenGateway, plans: Plans
) -> None:
    shop = await open_gateway()
    async with shop.embedded.services["orders"].database.reading() as tx:
        await tx.fetch(
            "SELECT a.note FROM audit a WHERE a.seq > :seen OR a.note = :note", seen=1, note=""
        )
        await tx.fetch("SELECT id FROM refunds WHERE reason = :reason", reason="claim")
    found = {table for service, table, _ in plans.whole_tables() if service == "orders"}
    assert found == {"audit", "refunds"}
