"""Dead letters, on both databases: found, mended, replayed through the same door, discarded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chassis import at_rest, clock, context, dead_letters, unsent
from chassis.db import Database, Row
from chassis.errors import NotAllowed, NotFound
from chassis.inbox import Inbox
from chassis.messaging import Delivery
from chassis.testing import MakeDatabase
from tests.chassis.shop import SCHEMA, BoxPacked, PackBox, Packer, a_delivery, packed, rows, say

QUEUE = "shop.commands.v1"
PACK = PackBox(box="1")


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    context.begin(context.Context(actor_kind="ops", actor_id="usr_ops"))
    return (await make_database(SCHEMA)).serve("shop", SCHEMA)


def an_inbox(database: Database, packer: Packer) -> Inbox:
    return Inbox("shop", database, packer.subscription)


async def listed(database: Database, **filters: Any) -> list[Row]:
    async with database.reading() as tx:
        found, count = await dead_letters.page(tx, limit=50, **filters)
    assert count == len(found)
    return found


async def show(database: Database, letter_id: str) -> Row:
    async with database.reading() as tx:
        return await dead_letters.by_id(tx, letter_id)


async def replay(database: Database, letter_id: str, data: dict[str, Any] | None = None) -> Row:
    async with database.transaction() as tx:
        return await dead_letters.replay(
            tx, letter_id, data=data, models={QUEUE: Packer().subscription.models}, now=clock.now()
        )


async def discard(database: Database, letter_id: str, reason: str = "a test") -> Row:
    async with database.transaction() as tx:
        return await dead_letters.discard(tx, letter_id, reason=reason, now=clock.now())


def misfit(id_: str = "m1") -> Delivery:
    event = json.loads(a_delivery(PACK, id_=id_).body) | {"data": {"box": 1}}
    return Delivery(queue=QUEUE, body=json.dumps(event).encode())


async def until_dead(database: Database, inbox: Inbox) -> None:
    for _ in range(3):
        async with database.transaction() as tx:
            await tx.execute("UPDATE inbox SET next_at = :now", now=clock.now())
        await inbox.retry_due()


class TestFinding:
    async def test_what_is_parked_or_dead_is_listed_with_its_reason(
        self, database: Database
    ) -> None:
        inbox = an_inbox(database, Packer(troubles=[ValueError("odd")]))
        await inbox.deliver(a_delivery(PACK, id_="good"))
        await inbox.deliver(a_delivery(PACK, id_="later"))
        await inbox.deliver(misfit("never"))
        found = {row["message_id"]: row for row in await listed(database)}
        assert {name: row["state"] for name, row in found.items()} == {
            "good": "parked",
            "never": "dead",
        }
        assert found["good"]["error"] == "ValueError: odd"
        assert "does not fit PackBox" in found["never"]["error"]
        assert found["never"]["id"] == f"{QUEUE}:never"
        assert [row["message_id"] for row in await listed(database, state="dead")] == ["never"]
        assert await listed(database, queue="other.commands.v1") == []
        assert len(await listed(database, type_=f"reclamo.{PackBox.key}")) == 2

    async def test_one_is_shown_with_its_envelope(self, database: Database) -> None:
        await an_inbox(database, Packer()).deliver(misfit())
        letter = await show(database, f"{QUEUE}:m1")
        assert letter["envelope"]["data"] == {"box": 1}
        assert letter["about"] == "box/1"

    async def test_one_that_is_no_json_is_shown_as_the_text_it_is(self, database: Database) -> None:
        await an_inbox(database, Packer()).deliver(Delivery(queue=QUEUE, body=b"rubbish"))
        (letter,) = await listed(database)
        assert (await show(database, letter["id"]))["envelope"] == "rubbish"

    async def test_what_is_not_there_is_not_found(self, database: Database) -> None:
        for letter_id in ("", "m1", f"{QUEUE}:m1", "a:b:c"):
            with pytest.raises(NotFound):
                await show(database, letter_id)


class TestMisfit:
    async def test_a_message_that_fits_no_handler_is_dead_under_its_own_id(
        self, database: Database
    ) -> None:
        inbox = an_inbox(database, Packer())
        await inbox.deliver(misfit("m1"))
        await inbox.deliver(a_delivery(BoxPacked(box="1"), id_="m2"))
        states = {row["message_id"]: row["state"] for row in await rows(database, "inbox")}
        assert states == {"m1": "dead", "m2": "dead"}

    async def test_one_from_a_forged_sender_takes_nobodys_id(self, database: Database) -> None:
        inbox = Inbox("shop", database, Packer().subscription, verify_sender=True)
        await inbox.deliver(Delivery(queue=QUEUE, body=misfit().body, user_id="other"))
        (row,) = await rows(database, "inbox")
        assert row["message_id"].startswith("unreadable-")


class TestReplay:
    async def test_a_dead_one_is_handled_once_its_trouble_is_over(self, database: Database) -> None:
        packer = Packer(troubles=[ValueError("a bug")] * 4)
        inbox = an_inbox(database, packer)
        await inbox.deliver(a_delivery(PACK))
        await until_dead(database, inbox)
        (letter,) = await listed(database)
        assert letter["state"] == "dead"
        replayed = await replay(database, letter["id"])
        assert (replayed["state"], replayed["attempts"], replayed["error"]) == ("parked", 0, None)
        await inbox.retry_due()
        assert await packed(database) == {"1": 1}
        assert (await show(database, letter["id"]))["state"] == "done"
        await inbox.deliver(a_delivery(PACK, redelivered=True))
        assert await packed(database) == {"1": 1}

    async def test_it_has_all_its_tries_again(self, database: Database) -> None:
        packer = Packer(troubles=[ValueError("a bug")] * 8)
        inbox = an_inbox(database, packer)
        await inbox.deliver(a_delivery(PACK))
        await until_dead(database, inbox)
        await replay(database, f"{QUEUE}:m1")
        await inbox.retry_due()
        letter = await show(database, f"{QUEUE}:m1")
        assert (letter["state"], letter["attempts"]) == ("parked", 1)

    async def test_a_parked_one_does_not_wait_for_its_time(self, database: Database) -> None:
        inbox = an_inbox(database, Packer(troubles=[ValueError("once")]))
        await inbox.deliver(a_delivery(PACK))
        await replay(database, f"{QUEUE}:m1")
        await inbox.retry_due()
        assert await packed(database) == {"1": 1}

    async def test_mended_data_is_handled_under_the_same_id(self, database: Database) -> None:
        inbox = an_inbox(database, Packer())
        await inbox.deliver(misfit())
        replayed = await replay(database, f"{QUEUE}:m1", {"box": "7"})
        assert replayed["envelope"]["data"] == {"box": "7"}
        assert replayed["envelope"]["id"] == "m1"
        await inbox.retry_due()
        assert await packed(database) == {"7": 1}
        await inbox.deliver(misfit())
        assert await packed(database) == {"7": 1}

    async def test_one_that_still_does_not_fit_is_refused_with_the_reason(
        self, database: Database
    ) -> None:
        await an_inbox(database, Packer()).deliver(misfit())
        for data in (None, {"box": 2}, {}):
            with pytest.raises(NotAllowed, match="does not fit PackBox"):
                await replay(database, f"{QUEUE}:m1", data)
        assert (await show(database, f"{QUEUE}:m1"))["envelope"]["data"] == {"box": 1}

    async def test_one_that_cannot_be_read_is_refused_and_the_way_out_is_named(
        self, database: Database
    ) -> None:
        await an_inbox(database, Packer()).deliver(Delivery(queue=QUEUE, body=b"rubbish"))
        (letter,) = await listed(database)
        for data in (None, {"box": "1"}):
            with pytest.raises(NotAllowed, match="discard it"):
                await replay(database, letter["id"], data)

    async def test_what_was_handled_is_not_handled_again(self, database: Database) -> None:
        await an_inbox(database, Packer()).deliver(a_delivery(PACK))
        with pytest.raises(NotAllowed, match="nothing to replay"):
            await replay(database, f"{QUEUE}:m1")

    async def test_one_that_was_suspected_of_killing_starts_with_a_clean_record(
        self, database: Database
    ) -> None:
        inbox = an_inbox(database, Packer())
        await inbox.deliver(misfit())
        async with database.transaction() as tx:
            await tx.execute(
                "UPDATE inbox SET state = 'dead', error = 'started 5 times without an end'"
            )
        await replay(database, f"{QUEUE}:m1", {"box": "1"})
        await inbox.retry_due()
        assert await packed(database) == {"1": 1}


class TestDiscard:
    async def test_it_is_never_handled_and_says_who_and_why(self, database: Database) -> None:
        inbox = an_inbox(database, Packer())
        await inbox.deliver(misfit())
        letter = await discard(database, f"{QUEUE}:m1", "a test of the sender")
        assert letter["state"] == "discarded"
        assert letter["error"].startswith("discarded by usr_ops: a test of the sender (was: data")
        assert await listed(database) == []
        await inbox.deliver(misfit())
        await inbox.deliver(a_delivery(PACK, id_="m1"))
        assert await inbox.retry_due() is False
        assert await packed(database) == {}

    async def test_at_rest_it_is_no_finding_and_counts_as_seen(self, database: Database) -> None:
        await an_inbox(database, Packer()).deliver(misfit())
        async with database.reading() as tx:
            assert [found["id"] for found in await at_rest.findings(tx)] == ["m1"]
        await discard(database, f"{QUEUE}:m1")
        async with database.reading() as tx:
            assert await at_rest.findings(tx) == []
            assert await at_rest.seen_of(tx, consumer=QUEUE, message_ids=["m1"]) == {"m1"}

    async def test_it_can_be_taken_back(self, database: Database) -> None:
        inbox = an_inbox(database, Packer())
        await inbox.deliver(misfit())
        await discard(database, f"{QUEUE}:m1")
        await replay(database, f"{QUEUE}:m1", {"box": "1"})
        await inbox.retry_due()
        assert await packed(database) == {"1": 1}

    async def test_a_parked_one_may_go_too(self, database: Database) -> None:
        inbox = an_inbox(database, Packer(troubles=[ValueError("once")]))
        await inbox.deliver(a_delivery(PACK))
        await discard(database, f"{QUEUE}:m1")
        assert await listed(database) == []

    async def test_what_was_handled_or_discarded_is_not_discarded(self, database: Database) -> None:
        inbox = an_inbox(database, Packer())
        await inbox.deliver(a_delivery(PACK, id_="done"))
        await inbox.deliver(misfit("gone"))
        await discard(database, f"{QUEUE}:gone")
        for name, state in (("done", "done"), ("gone", "discarded")):
            with pytest.raises(NotAllowed, match=f"is {state}"):
                await discard(database, f"{QUEUE}:{name}")


class TestAudit:
    async def test_every_change_says_who_did_what_and_why(self, database: Database) -> None:
        inbox = an_inbox(database, Packer())
        await inbox.deliver(misfit("a"))
        await inbox.deliver(misfit("b"))
        (unsent_one,) = await say(database, "1")
        await replay(database, f"{QUEUE}:a", {"box": "7"})
        await discard(database, f"{QUEUE}:b", "a repeat")
        async with database.transaction() as tx:
            await tx.execute("UPDATE outbox SET blocked_at = :now, attempts = 10", now=clock.now())
            await unsent.unblock(tx, unsent_one)
        async with database.reading() as tx:
            trail = await tx.fetch("SELECT * FROM audit ORDER BY seq")
        assert [(row["action"], row["about"], row["note"]) for row in trail] == [
            ("dead_letter.replayed", f"dead-letter/{QUEUE}:a", None),
            ("dead_letter.discarded", f"dead-letter/{QUEUE}:b", "a repeat"),
            ("message.unblocked", f"message/{unsent_one}", None),
        ]
        assert {(row["actor_kind"], row["actor_id"]) for row in trail} == {("ops", "usr_ops")}
        assert trail[0]["before"]["data"] == {"box": 1}
        assert trail[0]["after"] == {"state": "parked", "error": None, "data": {"box": "7"}}

    async def test_what_was_refused_leaves_no_record(self, database: Database) -> None:
        await an_inbox(database, Packer()).deliver(misfit())
        with pytest.raises(NotAllowed):
            await replay(database, f"{QUEUE}:m1")
        async with database.reading() as tx:
            assert await tx.fetch("SELECT * FROM audit") == []


class TestOutbox:
    async def test_the_lag_counts_what_waits_and_what_is_blocked(self, database: Database) -> None:
        one, two, three = await say(database, "1", "2", "3")
        async with database.transaction() as tx:
            await tx.execute(
                "UPDATE outbox SET sent_at = :now WHERE id = :id", id=one, now=clock.now()
            )
            await tx.execute(
                "UPDATE outbox SET blocked_at = :now, last_error = 'no queue', attempts = 10"
                " WHERE id = :id",
                id=two,
                now=clock.now(),
            )
        async with database.reading() as tx:
            lag = await unsent.lag(tx, now=clock.now())
            waiting, _ = await unsent.page(tx, state="unsent", limit=10)
            blocked, count = await unsent.page(tx, state="blocked", limit=10)
        assert (lag["unsent"], lag["blocked"], lag["service"]) == (1, 1, "shop")
        assert 0 <= lag["oldest_age_s"] < 60
        assert [row["id"] for row in waiting] == [three]
        assert [(row["id"], row["last_error"]) for row in blocked] == [(two, "no queue")]
        assert count == 1
        async with database.transaction() as tx:
            freed = await unsent.unblock(tx, two)
        assert (freed["blocked_at"], freed["attempts"]) == (None, 0)
        async with database.reading() as tx:
            assert (await unsent.lag(tx, now=clock.now()))["blocked"] == 0

    async def test_an_empty_one_lags_nothing(self, database: Database) -> None:
        async with database.reading() as tx:
            lag = await unsent.lag(tx, now=clock.now())
        assert lag == {"service": "shop", "unsent": 0, "blocked": 0, "oldest_age_s": 0.0}

    async def test_only_what_is_blocked_is_unblocked(self, database: Database) -> None:
        (one,) = await say(database, "1")
        async with database.transaction() as tx:
            with pytest.raises(NotAllowed, match="tried again every second"):
                await unsent.unblock(tx, one)
            with pytest.raises(NotFound):
                await unsent.unblock(tx, "nothing")
