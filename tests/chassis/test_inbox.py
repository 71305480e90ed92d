"""The inbox, on both databases: once, whatever comes how often and in whatever state."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from chassis import context, db, failpoints
from chassis.db import Database, Transient
from chassis.errors import Refusal, Unavailable
from chassis.inbox import CRASHES_MAX, DEFECT_TRIES_MAX, TRIES_MAX, Inbox, Retry
from chassis.messaging import ENVELOPE_MAX_BYTES, Delivery, Envelope
from chassis.testing import DatabaseUrl, MakeDatabase, eventually
from tests.chassis.shop import (
    SCHEMA,
    BoxPacked,
    PackBox,
    Packer,
    a_delivery,
    packed,
    rows,
)


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return (await make_database(SCHEMA)).serve("shop", SCHEMA)


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


PACK = PackBox(box="1")


def an_inbox(database: Database, packer: Packer, **options: Any) -> Inbox:
    return Inbox("shop", database, packer.subscription, **options)


async def the_row(database: Database) -> db.Row:
    (row,) = await rows(database, "inbox")
    return row


async def make_due(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(
            "UPDATE inbox SET next_at = :past WHERE next_at IS NOT NULL",
            past=db.clock.now().replace(year=2020),
        )


async def again(database: Database, inbox: Inbox) -> db.Row:
    """One more try of what is parked."""
    await make_due(database)
    await inbox.retry_due()
    return await the_row(database)


class TestOnce:
    async def test_the_change_and_the_record_of_its_message_stand_together(
        self, database: Database
    ) -> None:
        await an_inbox(database, Packer(reply=True)).deliver(a_delivery(PACK))
        row = await the_row(database)
        assert (row["consumer"], row["message_id"]) == ("shop.commands.v1", "m1")
        assert (row["state"], row["envelope"], row["partitionkey"]) == ("done", None, "box/1")
        assert await packed(database) == {"1": 1}
        assert len(await rows(database, "outbox")) == 1

    async def test_a_repeat_changes_nothing(self, database: Database) -> None:
        inbox = an_inbox(database, Packer(reply=True))
        for count in range(4):
            await inbox.deliver(a_delivery(PACK, redelivered=count > 0))
        assert await packed(database) == {"1": 1}
        assert len(await rows(database, "outbox")) == 1

    async def test_duplicates_at_the_same_moment_are_handled_once(self, database: Database) -> None:
        packer = Packer(pause=lambda: asyncio.sleep(0.01))
        inbox = an_inbox(database, packer)
        await asyncio.gather(*(inbox.deliver(a_delivery(PACK)) for _ in range(8)))
        assert await packed(database) == {"1": 1}

    async def test_each_consumer_has_its_own_memory(self, database: Database) -> None:
        for queue in ("shop.commands.v1", "other.commands.v1"):
            packer = Packer()
            subscription = type(packer.subscription)(queue, {PackBox: packer})
            await Inbox("shop", database, subscription).deliver(a_delivery(PACK))
        assert await packed(database) == {"1": 2}

    async def test_the_handler_knows_who_asked_and_what_it_answers(
        self, database: Database
    ) -> None:
        packer = Packer(reply=True)
        await an_inbox(database, packer).deliver(
            a_delivery(
                PACK,
                correlation_id="corr",
                causation_id="asked",
                saga_id="saga_1",
                actor_kind="admin",
                actor_id="usr_1",
            )
        )
        assert packer.seen == [
            context.Context(
                correlation_id="corr",
                causation_id="m1",
                saga_id="saga_1",
                answers="asked",
                actor_kind="admin",
                actor_id="usr_1",
            )
        ]
        (row,) = await rows(database, "outbox")
        reply = Envelope.from_bytes(row["payload"].encode())
        assert (reply.causation_id, reply.saga_id, reply.correlation_id) == (
            "m1",
            "saga_1",
            "corr",
        )

    async def test_one_message_does_not_inherit_the_context_of_the_one_before(
        self, database: Database
    ) -> None:
        packer = Packer()
        inbox = an_inbox(database, packer)
        await inbox.deliver(a_delivery(PACK, saga_id="saga_1", actor_id="usr_1"))
        await inbox.deliver(a_delivery(PACK, id_="m2"))
        assert packer.seen[1] == context.Context(causation_id="m2")


class TestTrouble:
    @pytest.mark.parametrize("trouble", [Transient("deadlock"), Retry("not yet")])
    async def test_passing_trouble_is_tried_again_at_once(
        self, database: Database, trouble: Exception
    ) -> None:
        packer = Packer(troubles=[trouble, trouble])
        await an_inbox(database, packer).deliver(a_delivery(PACK))
        assert (await the_row(database))["state"] == "done"
        assert (len(packer.seen), await packed(database)) == (3, {"1": 1})

    async def test_trouble_that_lasts_parks_the_message_and_a_later_try_heals(
        self, database: Database
    ) -> None:
        packer = Packer(troubles=[Retry("not yet")] * 4)
        inbox = an_inbox(database, packer)
        await inbox.deliver(a_delivery(PACK))
        row = await the_row(database)
        assert (row["state"], row["error"], row["attempts"]) == ("parked", "not yet", 1)
        assert Envelope.from_bytes(row["envelope"].encode()).message(PackBox) == PACK
        assert await packed(database) == {}
        row = await again(database, inbox)
        assert (row["state"], row["error"], row["attempts"]) == ("parked", "not yet", 2)
        row = await again(database, inbox)
        assert (row["state"], row["error"], row["envelope"]) == ("done", None, None)
        assert await packed(database) == {"1": 1}

    async def test_a_parked_message_waits_for_its_time(self, database: Database) -> None:
        packer = Packer(troubles=[Retry("not yet")] * 3)
        inbox = an_inbox(database, packer)
        await inbox.deliver(a_delivery(PACK))
        assert await inbox.retry_due() is False
        assert len(packer.seen) == 3

    async def test_a_repeat_of_a_parked_message_is_not_handled_beside_it(
        self, database: Database
    ) -> None:
        packer = Packer(troubles=[ValueError("defect")])
        inbox = an_inbox(database, packer)
        await inbox.deliver(a_delivery(PACK))
        await inbox.deliver(a_delivery(PACK))
        assert (await the_row(database))["state"] == "parked"
        assert len(packer.seen) == 1

    async def test_pauses_grow_from_a_second_to_a_day_and_then_it_is_dead(
        self, database: Database
    ) -> None:
        packer = Packer(troubles=[Retry("never")] * 100)
        inbox = an_inbox(database, packer)
        await inbox.deliver(a_delivery(PACK))
        row = await the_row(database)
        pauses = []
        while row["state"] == "parked":
            pauses.append((row["next_at"] - db.clock.now()).total_seconds())
            row = await again(database, inbox)
        expected = [1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600]
        assert len(pauses) == len(expected) == TRIES_MAX - 1
        assert all(
            wanted * 0.8 - 5 < got <= wanted * 1.2
            for got, wanted in zip(pauses, expected, strict=True)
        )
        assert (row["state"], row["error"]) == ("dead", "never")
        assert len(packer.seen) == 3 + 10
        assert await packed(database) == {}

    async def test_a_defect_parks_at_once_and_is_soon_given_up(self, database: Database) -> None:
        packer = Packer(troubles=[KeyError("price")] * 100)
        inbox = an_inbox(database, packer)
        await inbox.deliver(a_delivery(PACK))
        assert (await the_row(database))["error"] == "KeyError: 'price'"
        for _ in range(DEFECT_TRIES_MAX - 1):
            row = await again(database, inbox)
        assert (row["state"], len(packer.seen)) == ("dead", DEFECT_TRIES_MAX)
        assert Envelope.from_bytes(row["envelope"].encode()).id == "m1"
        assert (await again(database, inbox))["state"] == "dead"
        assert len(packer.seen) == DEFECT_TRIES_MAX

    @pytest.mark.parametrize(
        "trouble",
        [
            Refusal("no", "A handler must answer instead."),
            db.CheckFailed("packed"),
            ValueError("a\x00b"),
        ],
        ids=["refusal", "check", "unstorable text"],
    )
    async def test_what_a_handler_lets_out_is_parked_with_its_words(
        self, database: Database, trouble: Exception
    ) -> None:
        await an_inbox(database, Packer(troubles=[trouble])).deliver(a_delivery(PACK))
        row = await the_row(database)
        assert row["state"] == "parked"
        assert type(trouble).__name__ in row["error"]

    async def test_a_broken_rule_of_the_tables_changes_nothing_and_is_parked(
        self, database: Database
    ) -> None:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO boxes (id, packed) VALUES ('1', 99)")
        await an_inbox(database, Packer(reply=True)).deliver(a_delivery(PACK))
        assert (await the_row(database))["state"] == "parked"
        assert await packed(database) == {"1": 99}
        assert await rows(database, "outbox") == []

    async def test_one_dead_message_does_not_hold_up_the_others(self, database: Database) -> None:
        packer = Packer(troubles=[ValueError("defect")])
        inbox = an_inbox(database, packer)
        await inbox.deliver(a_delivery(PACK))
        for number in range(2, 6):
            await inbox.deliver(a_delivery(PACK, id_=f"m{number}"))
        assert await packed(database) == {"1": 4}

    async def test_one_that_an_operator_parked_although_it_cannot_be_read_is_dead_again(
        self, database: Database
    ) -> None:
        inbox = an_inbox(database, Packer(troubles=[ValueError("once")]))
        await inbox.deliver(Delivery(queue="shop.commands.v1", body=b"nonsense"))
        async with database.transaction() as tx:
            await tx.execute(
                "UPDATE inbox SET state = 'parked', attempts = 9, next_at = :now",
                now=db.clock.now(),
            )
        await inbox.deliver(a_delivery(PACK))
        await make_due(database)
        await inbox.retry_due()
        assert await packed(database) == {"1": 1}
        assert {row["state"] for row in await rows(database, "inbox")} == {"dead", "done"}

    async def test_several_replicas_try_a_parked_message_once(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        url = await postgres_url_factory(SCHEMA)
        databases = [db.connect(url).serve("shop", SCHEMA) for _ in range(3)]
        packers = [Packer(pause=lambda: asyncio.sleep(0.01)) for _ in databases]
        packers[0].troubles = [ValueError("once")]
        inboxes = [
            an_inbox(database, packer) for database, packer in zip(databases, packers, strict=True)
        ]
        for database in databases:
            await database.open()
        await inboxes[0].deliver(a_delivery(PACK))
        await make_due(databases[0])
        await asyncio.gather(*(inbox.retry_due() for inbox in inboxes))
        assert await packed(databases[0]) == {"1": 1}
        assert (await the_row(databases[0]))["state"] == "done"
        for database in databases:
            await database.close()

    async def test_a_try_counts_once_however_many_replicas_saw_the_message_due(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        url = await postgres_url_factory(SCHEMA)
        databases = [db.connect(url).serve("shop", SCHEMA) for _ in range(3)]
        inboxes = []
        for database in databases:
            await database.open()
            inboxes.append(an_inbox(database, Packer(pause=lambda: asyncio.sleep(0.02))))
        refuses = an_inbox(databases[0], Packer(troubles=[ValueError("once")] * 10))
        for number in range(10):
            await refuses.deliver(a_delivery(PACK, id_=f"m{number}"))
        await make_due(databases[0])
        await asyncio.gather(*(inbox.retry_due() for inbox in inboxes))
        found = await rows(databases[0], "inbox")
        assert {(row["state"], row["attempts"]) for row in found} == {("done", 2)}
        for database in databases:
            await database.close()


class TestTheDatabaseIsAway:
    async def test_nothing_is_recorded_so_the_bus_keeps_the_message(self) -> None:
        away = db.connect("postgresql://u:p@127.0.0.1:1/nothing").serve("shop", SCHEMA)
        await away.open()
        inbox = an_inbox(away, Packer())
        for delivery in (
            a_delivery(PACK),
            a_delivery(PACK, dead=True),
            a_delivery(PACK, count=5),
            Delivery(queue="shop.commands.v1", body=b"nonsense"),
        ):
            with pytest.raises(Unavailable):
                await inbox.deliver(delivery)
        await away.close()

    async def test_gone_in_the_middle_of_a_handler_it_is_not_blamed_on_the_message(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        database = db.connect(await postgres_url_factory(SCHEMA)).serve("shop", SCHEMA)
        await database.open()
        packer = Packer()

        async def kill() -> None:
            packer.pause = None
            killer = db.connect(database.url)
            await killer.open()
            async with killer.transaction() as tx:
                await tx.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            await killer.close()

        packer.pause = kill
        inbox = an_inbox(database, packer)
        with pytest.raises(Unavailable):
            await inbox.deliver(a_delivery(PACK))

        async def delivered() -> bool:
            try:
                await inbox.deliver(a_delivery(PACK, redelivered=True))
            except Unavailable:
                return False
            return True

        await eventually(delivered)
        assert await packed(database) == {"1": 1}
        await database.close()


def _event(**changes: Any) -> bytes:
    event = json.loads(a_delivery(PACK).body)
    event.update(changes)
    return json.dumps({name: value for name, value in event.items() if value is not ...}).encode()


UNREADABLE = {
    "no JSON": b"\xff\x00 nonsense",
    "empty": b"",
    "a list": b"[]",
    "UTF-16": _event().decode().encode("utf-16"),
    "too deep": b'{"a":' * 100_000,
    "too large": b" " * (ENVELOPE_MAX_BYTES + 1),
    "no id": _event(id=...),
    "a number as id": _event(id=7),
    "NUL in the id": _event(id="a\x00b"),
    "half a character in the subject": _event(subject="\ud800"),
    "a number as saga": _event(sagaid=7),
    "another version": _event(specversion="0.3"),
    "data is a list": _event(data=[]),
    "sequence is no number": _event(sequence="one"),
    "sequence is endless": _event(sequence="9" * 5000),
    "data does not fit": _event(data={"box": 1}),
    "nobody handles it": _event(type=f"reclamo.{BoxPacked.key}"),
}


class TestUnreadable:
    @pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
    async def test_what_cannot_be_read_is_kept_dead_with_the_reason(
        self, database: Database, body: bytes
    ) -> None:
        packer = Packer()
        inbox = an_inbox(database, packer)
        for _ in range(2):
            await inbox.deliver(Delivery(queue="shop.commands.v1", body=body))
        row = await the_row(database)
        assert (row["state"], packer.seen) == ("dead", [])
        assert row["error"]
        if body.isascii() and b"\x00" not in body:
            assert row["envelope"] == body.decode()

    async def test_two_different_unreadable_messages_are_both_kept(
        self, database: Database
    ) -> None:
        inbox = an_inbox(database, Packer())
        for body in (b"one", b"two"):
            await inbox.deliver(Delivery(queue="shop.commands.v1", body=body))
        assert sorted(row["envelope"] for row in await rows(database, "inbox")) == ["one", "two"]

    async def test_unknown_fields_of_a_newer_sender_are_passed_over(
        self, database: Database
    ) -> None:
        body = _event(data={"box": "1", "colour": "red"}, somethingnew={"a": 1})
        await an_inbox(database, Packer()).deliver(Delivery(queue="shop.commands.v1", body=body))
        assert await packed(database) == {"1": 1}


class TestSender:
    async def test_a_forged_sender_is_kept_dead(self, database: Database) -> None:
        inbox = an_inbox(database, packer := Packer(), verify_sender=True)
        await inbox.deliver(a_delivery(PACK, user_id="returns"))
        row = await the_row(database)
        assert (row["state"], packer.seen) == ("dead", [])
        assert "claims to be from /reclamo/shop" in row["error"]

    async def test_a_message_without_a_sender_is_not_believed_either(
        self, database: Database
    ) -> None:
        inbox = an_inbox(database, packer := Packer(), verify_sender=True)
        await inbox.deliver(a_delivery(PACK, user_id=None))
        assert ((await the_row(database))["state"], packer.seen) == ("dead", [])

    async def test_the_sender_that_the_broker_vouches_for_is_believed(
        self, database: Database
    ) -> None:
        inbox = an_inbox(database, Packer(), verify_sender=True)
        await inbox.deliver(a_delivery(PACK, user_id="shop"))
        assert await packed(database) == {"1": 1}


class TestGivenUpByTheBroker:
    async def test_it_is_kept_dead_and_not_handled(self, database: Database) -> None:
        inbox = an_inbox(database, packer := Packer())
        await inbox.deliver(a_delivery(PACK, dead=True))
        row = await the_row(database)
        assert (row["state"], row["error"]) == ("dead", "given up by the broker")
        assert packer.seen == []

    async def test_one_that_was_done_meanwhile_stays_done(self, database: Database) -> None:
        inbox = an_inbox(database, Packer())
        await inbox.deliver(a_delivery(PACK))
        await inbox.deliver(a_delivery(PACK, dead=True))
        assert (await the_row(database))["state"] == "done"


class TestCrashLoop:
    """Each start is counted before it happens; the process dies in it."""

    async def crash(self, database: Database, inbox: Inbox, work: Any) -> db.Row:
        hung = asyncio.Event()

        async def hang() -> None:
            hung.set()
            await asyncio.Event().wait()

        self.packer.pause = hang
        task = asyncio.create_task(work)
        done, _ = await asyncio.wait(
            [task, asyncio.create_task(hung.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        if task not in done:
            task.cancel()
            await asyncio.wait([task])
        return await the_row(database)

    async def test_a_message_that_kills_its_process_each_time_ends_dead(
        self, database: Database
    ) -> None:
        self.packer = Packer()
        inbox = an_inbox(database, self.packer)
        row = await self.crash(database, inbox, inbox.deliver(a_delivery(PACK, count=3)))
        assert row["state"] == "parked"
        tries = 1
        while row["state"] == "parked" and tries < 50:
            await make_due(database)
            row = await self.crash(database, inbox, inbox.retry_due())
            tries += 1
        assert row["state"] == "dead"
        assert row["error"].startswith("crash_loop")
        assert len(self.packer.seen) == CRASHES_MAX
        assert await packed(database) == {}

    async def test_an_innocent_neighbour_of_a_crash_is_handled(self, database: Database) -> None:
        inbox = an_inbox(database, Packer())
        await inbox.deliver(a_delivery(PACK, count=3, redelivered=True))
        assert (await the_row(database))["state"] == "done"
        assert await packed(database) == {"1": 1}

    async def test_an_orderly_failure_between_crashes_starts_the_count_anew(
        self, database: Database
    ) -> None:
        self.packer = Packer()
        inbox = an_inbox(database, self.packer)
        await self.crash(database, inbox, inbox.deliver(a_delivery(PACK, count=3)))
        for failure in ([Retry("busy")], []):
            for _ in range(CRASHES_MAX - 2):
                await make_due(database)
                await self.crash(database, inbox, inbox.retry_due())
            self.packer.pause, self.packer.troubles = None, failure
            row = await again(database, inbox)
        assert (row["state"], row["error"]) == ("done", None)
        assert await packed(database) == {"1": 1}

    async def test_few_crashes_are_forgiven(self, database: Database) -> None:
        self.packer = Packer()
        inbox = an_inbox(database, self.packer)
        await self.crash(database, inbox, inbox.deliver(a_delivery(PACK, count=3)))
        await make_due(database)
        await self.crash(database, inbox, inbox.retry_due())
        self.packer.pause = None
        self.packer.troubles = [Retry("busy")]
        assert (await again(database, inbox))["error"] == "busy"
        assert (await again(database, inbox))["state"] == "done"
        assert await packed(database) == {"1": 1}


class TestCrashesOfTheProcess:
    @pytest.mark.parametrize("point", ["k1", "k3"])
    async def test_before_the_commit_nothing_is_left_and_the_redelivery_does_it(
        self, database: Database, point: str
    ) -> None:
        reached = asyncio.Event()

        async def hang(name: str) -> None:
            if name == f"shop.{PackBox.key}.{point}":
                failpoints.watch(None)
                reached.set()
                await asyncio.Event().wait()

        failpoints.watch(hang)
        inbox = an_inbox(database, packer := Packer(reply=True))
        task = asyncio.create_task(inbox.deliver(a_delivery(PACK)))
        await reached.wait()
        task.cancel()
        await asyncio.wait([task])
        assert (await packed(database), await rows(database, "inbox")) == ({}, [])
        await inbox.deliver(a_delivery(PACK, redelivered=True))
        assert await packed(database) == {"1": 1}
        assert len(await rows(database, "outbox")) == 1
        assert len(packer.seen) >= 1

    async def test_after_the_commit_the_redelivery_is_a_repeat(self, database: Database) -> None:
        reached = asyncio.Event()

        async def hang(name: str) -> None:
            if name == f"shop.{PackBox.key}.k4":
                failpoints.watch(None)
                reached.set()
                await asyncio.Event().wait()

        failpoints.watch(hang)
        inbox = an_inbox(database, Packer(reply=True))
        task = asyncio.create_task(inbox.deliver(a_delivery(PACK)))
        # Not until it is committed: a cancel in the middle of COMMIT would leave k4 to the next.
        await reached.wait()
        assert await packed(database) == {"1": 1}
        task.cancel()
        await asyncio.wait([task])
        await inbox.deliver(a_delivery(PACK, redelivered=True))
        assert await packed(database) == {"1": 1}
        assert len(await rows(database, "outbox")) == 1
