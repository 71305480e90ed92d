"""Notes in orders: written, changed, removed, and said without their text; on both databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis.db import Database
from chassis.errors import KeyReused, NotFound
from chassis.idempotency import Caller
from services.orders import operations, queries

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NOTE = {"resource_type": "order", "resource_id": "order_01", "value": "calls back at five"}


async def _add(database: Database, **more: Any) -> str:
    given = {**NOTE, "caller": Caller("usr_1"), "now": NOW, **more}
    async with database.transaction() as tx:
        return await operations.add_note(tx, **given)


async def _said(database: Database) -> list[tuple[str, int, dict[str, Any]]]:
    async with database.reading() as tx:
        rows = await tx.fetch("SELECT aggregateversion, payload FROM outbox ORDER BY seq")
    events = [(row["aggregateversion"], json.loads(row["payload"])) for row in rows]
    return [(event["data"]["name"], version, event["data"]) for version, event in events]


async def _page(database: Database, **more: Any) -> tuple[list[str], int]:
    async with database.reading() as tx:
        given = {"resource_id": None, "limit": 50, "offset": 0, **more}
        notes, count = await queries.list_notes(tx, **given)
    return [note["value"] for note in notes], count


async def test_a_note_is_written_changed_and_removed_and_each_is_said_once(
    database: Database,
) -> None:
    note_id = await _add(database)
    async with database.transaction() as tx:
        await operations.change_note(tx, note_id=note_id, value="called", now=NOW)
    async with database.reading() as tx:
        note = await queries.note_by_id(tx, note_id=note_id)
    assert (note["value"], note["author_id"], note["metadata"]) == ("called", "usr_1", {})
    async with database.transaction() as tx:
        await operations.remove_note(tx, note_id=note_id)
    about = {"id": note_id, "resource_type": "order", "resource_id": "order_01"}
    assert await _said(database) == [
        (name, version, {"name": name, **about})
        for version, name in enumerate(("note.created", "note.updated", "note.deleted"), 1)
    ]


async def test_what_a_note_says_is_neither_in_an_event_nor_in_the_audit_trail(
    database: Database,
) -> None:
    note_id = await _add(database, value="Ana Novak, 041 555 123")
    async with database.transaction() as tx:
        await operations.change_note(tx, note_id=note_id, value="Ana is happy", now=NOW)
    async with database.reading() as tx:
        rows = [*await tx.fetch("SELECT * FROM outbox"), *await tx.fetch("SELECT * FROM audit")]
    assert len(rows) == 4
    assert "Ana" not in str(rows)


@pytest.mark.parametrize("what", ["change_note", "remove_note"])
async def test_a_note_that_is_not_there_is_refused_in_medusas_words(
    database: Database, what: str
) -> None:
    more = {"value": "x", "now": NOW} if what == "change_note" else {}
    with pytest.raises(NotFound, match=r"^Note with id: note_x was not found\.$"):
        async with database.transaction() as tx:
            await getattr(operations, what)(tx, note_id="note_x", **more)
    assert await _said(database) == []


async def test_a_page_is_of_one_thing_newest_first(database: Database) -> None:
    for minute, text in enumerate(("one", "two", "three")):
        await _add(database, value=text, now=NOW + timedelta(minutes=minute))
    await _add(database, resource_id="claim_1", resource_type="claim", value="other")
    assert await _page(database, resource_id="order_01") == (["three", "two", "one"], 3)
    assert await _page(database, resource_id="order_01", limit=1, offset=1) == (["two"], 3)
    assert (await _page(database))[1] == 4


async def test_the_same_key_means_the_same_note_of_the_same_person(database: Database) -> None:
    first = await _add(database, caller=Caller("usr_1", "k", "a"))
    assert await _add(database, caller=Caller("usr_1", "k", "a")) == first
    assert await _add(database, caller=Caller("usr_2", "k", "a")) != first
    with pytest.raises(KeyReused):
        await _add(database, caller=Caller("usr_1", "k", "b"))
    assert (await _page(database))[1] == 2
