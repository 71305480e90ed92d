"""A client's key: its first use wins, whatever comes after finds what that made."""

from __future__ import annotations

import asyncio

import pytest

from chassis import db
from chassis.db import Database, Transient
from chassis.errors import KeyReused
from chassis.idempotency import Caller, take_key
from chassis.testing import DatabaseUrl, MakeDatabase
from tests.chassis.shop import SCHEMA


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return (await make_database(SCHEMA)).serve("shop", SCHEMA)


async def claim(
    database: Database,
    subject: str,
    *,
    key: str = "k",
    principal: str = "usr_1",
    fingerprint: str = "f",
) -> str | None:
    async with database.transaction() as tx:
        return await take_key(tx, Caller(principal, key, fingerprint), subject_id=subject)


async def test_the_first_use_is_ours_and_a_repeat_finds_it(database: Database) -> None:
    assert await claim(database, "claim_1") is None
    assert await claim(database, "claim_2") == "claim_1"
    assert await claim(database, "claim_3") == "claim_1"


async def test_keys_and_principals_are_independent(database: Database) -> None:
    assert await claim(database, "claim_1") is None
    assert await claim(database, "claim_2", key="other") is None
    assert await claim(database, "claim_3", principal="usr_2", fingerprint="g") is None
    assert await claim(database, "x", principal="usr_2", fingerprint="g") == "claim_3"


async def test_a_key_that_comes_with_another_request_is_refused(database: Database) -> None:
    await claim(database, "claim_1")
    with pytest.raises(KeyReused, match="was used for another request"):
        await claim(database, "claim_2", fingerprint="g")
    assert await claim(database, "claim_3") == "claim_1"


async def test_a_request_that_failed_leaves_its_key_unused(database: Database) -> None:
    with pytest.raises(KeyError):  # noqa: PT012
        async with database.transaction() as tx:
            await take_key(tx, Caller("usr_1", "k", "f"), subject_id="claim_1")
            raise KeyError
    assert await claim(database, "claim_2", fingerprint="g") is None


async def test_of_twenty_at_once_one_wins_and_all_others_see_its_subject(
    database: Database, database_url: DatabaseUrl
) -> None:
    databases = [database]
    if database.dialect == "postgresql":  # two processes, ten connections each
        databases.append(db.connect(database.url).serve("shop", SCHEMA))
        await databases[1].open()

    async def attempt(number: int) -> tuple[str, str | None]:
        mine = f"claim_{number}"
        while True:
            try:
                return mine, await claim(databases[number % len(databases)], mine)
            except Transient:
                continue

    outcomes = await asyncio.gather(*(attempt(number) for number in range(20)))
    (winner,) = [mine for mine, held in outcomes if held is None]
    assert {held for _, held in outcomes if held is not None} == {winner}
    for other in databases[1:]:
        await other.close()


async def test_while_the_first_is_still_open_the_second_is_told_to_come_again(
    postgres_url_factory: DatabaseUrl,
) -> None:
    database = db.connect(await postgres_url_factory(SCHEMA)).serve("shop", SCHEMA)
    await database.open()
    async with database.transaction() as first:
        await take_key(first, Caller("u", "k", "f"), subject_id="claim_1")
        with pytest.raises(Transient):  # noqa: PT012
            async with database.transaction() as tx:
                await tx.execute("SET LOCAL lock_timeout = '20ms'")
                await take_key(tx, Caller("u", "k", "f"), subject_id="claim_2")
    assert await claim(database, "claim_3", principal="u") == "claim_1"
    await database.close()
