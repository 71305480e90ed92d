"""Every statement of the gateway, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from chassis import auth, migrations
from chassis.db import Database, DuplicateRow
from chassis.errors import NotFound
from chassis.testing import DatabaseUrl, MakeDatabase
from gateway import store
from gateway.identity import Identity
from tests.gateway.builders import PASSWORD, SECRET_KEY

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    """A migrated database of the gateway: SQLite, and again PostgreSQL."""
    database = await make_database("gateway")
    return database.serve("gateway", store.METADATA)


async def test_the_history_and_the_tables_agree(database_url: DatabaseUrl) -> None:
    assert migrations.head("gateway") >= "0002"
    url = await database_url("gateway")
    assert await asyncio.to_thread(migrations.differences, "gateway", url) == []


async def test_people_come_change_and_go(database: Database) -> None:
    people = Identity(database, SECRET_KEY)
    user = await people.add_user(email="A@shop.example", password=PASSWORD, role="agent")
    with pytest.raises(DuplicateRow):
        await people.add_user(email="a@SHOP.example", password=PASSWORD, role="admin")
    cookie = await people.open_session(user["id"])
    assert (await people.by_session(cookie)).principal.role == "agent"
    changed = await people.change_user(user["id"], role="finance", password=None)
    assert (changed["role"], changed["email"]) == ("finance", "a@shop.example")
    assert (await people.by_session(cookie)).principal.role == "finance"
    signed_in = await people.sign_in(email="a@shop.example", password=PASSWORD, address="127.0.0.1")
    assert signed_in["id"] == user["id"]
    await people.change_user(user["id"], role=None, password="another pass phrase")
    with pytest.raises(auth.Unauthorized):
        await people.by_session(cookie)
    await people.remove_user(user["id"])
    with pytest.raises(NotFound):
        await people.remove_user(user["id"])
    with pytest.raises(NotFound):
        await people.change_user(user["id"], role="admin", password=None)


async def test_customers_sign_in_and_keep_one_login(database: Database) -> None:
    people = Identity(database, SECRET_KEY)
    login = {"customer_id": "cus_1", "email": "C@shop.example", "password": PASSWORD}
    assert await people.set_customer_password(**login)
    assert not await people.set_customer_password(**login)
    assert await people.set_customer_password(**{**login, "password": "another pass phrase"})
    found = await people.sign_in_customer(
        email="c@shop.example", password="another pass phrase", address="127.0.0.1"
    )
    assert found == "cus_1"
    caller = await people.by_session(await people.open_session("cus_1", customer_id="cus_1"))
    assert caller.principal == auth.Principal("cus_1", "customer", "cus_1")


async def test_tokens_are_found_by_their_digest_until_they_are_revoked(database: Database) -> None:
    people = Identity(database, SECRET_KEY)
    row, secret = await people.make_token(name="reports", role="ops", user_id="usr_1")
    assert (await people.by_api_token(secret)).principal == auth.Principal("usr_1", "ops")
    async with database.transaction() as tx:
        assert [token["id"] for token in await store.tokens(tx)] == [row["id"]]
        assert await store.revoke_token(tx, token_id=row["id"], now=NOW)
        assert not await store.revoke_token(tx, token_id="apitoken_x", now=NOW)
    people.forget()
    with pytest.raises(auth.Unauthorized):
        await people.by_api_token(secret)


async def test_of_two_answers_under_one_key_the_first_stays(database: Database) -> None:
    row = {
        "principal": "usr_1",
        "key": "k",
        "fingerprint": "f",
        "status": 200,
        "body": '{"a":"é"}',
        "created_at": NOW,
    }
    async with database.transaction() as tx:
        assert await store.keep_answer(tx, row=row)
    async with database.transaction() as tx:
        assert not await store.keep_answer(tx, row={**row, "body": "{}"})
    async with database.reading() as tx:
        found = await store.answer(tx, principal="usr_1", key="k")
        nobody = await store.answer(tx, principal="usr_2", key="k")
    assert found == {"fingerprint": "f", "status": 200, "body": '{"a":"é"}'}
    assert nobody is None
