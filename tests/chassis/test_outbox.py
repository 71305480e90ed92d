"""The outbox and its relay, on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from chassis import clock, context, failpoints, outbox
from chassis.bus_local import LocalBus
from chassis.db import Database, DuplicateRow
from chassis.inbox import Inbox
from chassis.messaging import COMMANDS, EVENTS, Bus, Envelope
from chassis.outbox import UNROUTABLE_TRIES_MAX, Relay
from chassis.testing import DatabaseUrl, MakeDatabase, eventually
from chassis.topology import Topology
from tests.chassis.shop import (
    SCHEMA,
    BoxPacked,
    PackBox,
    Packer,
    RecordingBus,
    pack,
    packed,
    rows,
    say,
)


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return (await make_database(SCHEMA)).serve("shop", SCHEMA)


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


@asynccontextmanager
async def relaying(database: Database, bus: Bus) -> AsyncIterator[Relay]:
    relay = Relay("shop", database, bus)
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        await asyncio.wait([task])


async def all_sent(database: Database) -> bool:
    return all(row["sent_at"] for row in await rows(database, "outbox"))


class TestPut:
    async def test_the_change_and_its_message_stand_together_or_not_at_all(
        self, database: Database
    ) -> None:
        with pytest.raises(KeyError):  # noqa: PT012
            async with database.transaction() as tx:
                await pack(tx, "1")
                await outbox.put(tx, BoxPacked(box="1"), about="box/1", version=1)
                raise KeyError
        assert (await rows(database, "outbox"), await packed(database)) == ([], {})
        await say(database, "1")
        assert (len(await rows(database, "outbox")), await packed(database)) == (1, {"1": 1})

    async def test_the_row_is_an_envelope_with_everything_in_it(self, database: Database) -> None:
        context.begin(
            context.Context(
                correlation_id="corr",
                causation_id="cause",
                saga_id="saga_1",
                actor_kind="admin",
                actor_id="usr_1",
            )
        )
        async with database.transaction() as tx:
            said = await outbox.put(tx, BoxPacked(box="ü"), about="box/1", version=3)
        (row,) = await rows(database, "outbox")
        assert (row["id"], row["exchange"], row["routing_key"]) == (said, EVENTS, BoxPacked.key)
        assert (row["aggregatetype"], row["aggregateid"], row["aggregateversion"]) == (
            "box",
            "1",
            3,
        )
        envelope = Envelope.from_bytes(row["payload"].encode())
        assert (envelope.source, envelope.subject) == ("/reclamo/shop", "box/1")
        assert (envelope.type, envelope.sequence) == (f"reclamo.{BoxPacked.key}", 3)
        assert (envelope.correlation_id, envelope.causation_id) == ("corr", "cause")
        assert (envelope.saga_id, envelope.actor_id) == ("saga_1", "usr_1")
        assert envelope.message(BoxPacked) == BoxPacked(box="ü")
        event = json.loads(row["payload"])
        assert event["partitionkey"] == event["subject"]

    async def test_a_command_goes_to_the_exchange_of_commands(self, database: Database) -> None:
        await say(database, "1", command=True)
        (row,) = await rows(database, "outbox")
        assert (row["exchange"], row["routing_key"]) == (COMMANDS, "shop.box.pack")

    async def test_a_reply_later_goes_where_the_question_came_from(
        self, database: Database
    ) -> None:
        context.begin(context.Context(correlation_id="c1", causation_id="question", saga_id="s1"))
        address = outbox.reply_address()
        context.begin(context.Context(correlation_id="other", causation_id="other"))
        async with database.transaction() as tx:
            await outbox.put(tx, BoxPacked(box="1"), about="box/1", reply_to=address)
        (row,) = await rows(database, "outbox")
        envelope = Envelope.from_bytes(row["payload"].encode())
        assert (envelope.correlation_id, envelope.causation_id, envelope.saga_id) == (
            "c1",
            "question",
            "s1",
        )

    async def test_one_version_of_an_aggregate_is_told_once(self, database: Database) -> None:
        async with database.transaction() as tx:
            await outbox.put(tx, BoxPacked(box="1"), about="box/1", version=1)
        with pytest.raises(DuplicateRow):
            async with database.transaction() as tx:
                await outbox.put(tx, BoxPacked(box="1"), about="box/1", version=1)

    async def test_an_id_that_is_there_already_is_sent_again_instead(
        self, database: Database
    ) -> None:
        bus = RecordingBus()
        async with relaying(database, bus):
            for _ in range(3):
                async with database.transaction() as tx:
                    await outbox.put(tx, PackBox(box="1"), about="box/1", message_id="m1")
                await eventually(lambda: all_sent(database))
        assert bus.ids == ["m1", "m1", "m1"]
        assert len(await rows(database, "outbox")) == 1

    async def test_a_message_too_large_for_the_bus_is_refused_while_it_can_be_helped(
        self, database: Database
    ) -> None:
        with pytest.raises(ValueError, match=r"shop\.box\.pack would be \d+ bytes"):
            async with database.transaction() as tx:
                await outbox.put(tx, PackBox(box="1", note="x" * 262_144), about="box/1")


class TestRelay:
    async def test_it_sends_what_is_committed_and_wakes_at_once(self, database: Database) -> None:
        bus = RecordingBus()
        async with relaying(database, bus):
            said = await say(database, "1", "2", "3")
            await eventually(lambda: all_sent(database))
        assert bus.ids == said

    async def test_it_sends_what_was_written_before_it_started(self, database: Database) -> None:
        said = await say(database, *(str(n) for n in range(250)))
        bus = RecordingBus()
        async with relaying(database, bus):
            await eventually(lambda: all_sent(database))
        assert sorted(bus.ids) == sorted(said)

    async def test_an_aggregate_is_in_order_and_never_twice_on_its_way(
        self, database: Database
    ) -> None:
        said = await say(database, *["a", "b", "c"] * 20)
        bus = RecordingBus()
        async with relaying(database, bus):
            await eventually(lambda: all_sent(database))
        assert bus.crowd == set()
        assert bus.together == 3
        for index, box in enumerate("abc"):
            assert bus.of(box) == said[index::3]

    async def test_a_failed_publish_is_repeated_under_its_id_and_not_overtaken(
        self, database: Database
    ) -> None:
        said = await say(database, "a", "a", "a", "b")
        bus = RecordingBus(fails={said[1]})
        async with relaying(database, bus):
            await eventually(lambda: said[3] in bus.ids)
            await eventually(lambda: said[0] in bus.ids)
            assert bus.of("a") == said[:1]
            bus.fails.clear()
            await eventually(lambda: all_sent(database))
        assert bus.of("a") == said[:3]

    async def test_a_defect_of_the_bus_costs_only_the_message_it_met(
        self, database: Database
    ) -> None:
        said = await say(database, "a", "b", "c")
        bus = RecordingBus(defects={said[0]})
        async with relaying(database, bus):
            await eventually(lambda: {said[1], said[2]} <= set(bus.ids))
            bus.defects.clear()
            await eventually(lambda: all_sent(database))
        assert sorted(bus.ids) == sorted(said)

    async def test_a_crash_between_publish_and_mark_sends_it_again(
        self, database: Database
    ) -> None:
        said = await say(database, "1")
        failpoints.arm("shop.relay.r3@1:raise")
        bus = RecordingBus()
        async with relaying(database, bus):
            await eventually(lambda: all_sent(database))
        assert bus.ids == said * 2

    async def test_a_crash_before_publish_loses_nothing(self, database: Database) -> None:
        said = await say(database, "1", "2")
        failpoints.arm("shop.relay.r1@1:raise")
        bus = RecordingBus()
        async with relaying(database, bus):
            await eventually(lambda: all_sent(database))
        assert sorted(bus.ids) == sorted(said)

    async def test_while_the_bus_is_away_the_outbox_keeps(self, database: Database) -> None:
        bus = RecordingBus(ready=False)
        async with relaying(database, bus):
            said = await say(database, "1")
            assert bus.ids == []
            bus.ready = True
            await eventually(lambda: all_sent(database))
        assert bus.ids == said

    async def test_an_unroutable_command_is_blocked_in_the_end_and_the_others_go_on(
        self, database: Database
    ) -> None:
        stuck, behind, other = await say(database, "a", "a", "b", command=True)
        async with database.transaction() as tx:
            await tx.execute(
                "UPDATE outbox SET attempts = :tries WHERE id = :id",
                tries=UNROUTABLE_TRIES_MAX - 2,
                id=stuck,
            )
        bus = RecordingBus(nowhere={stuck})

        async def blocked() -> bool:
            (row, *_) = await rows(database, "outbox")
            return row["blocked_at"] is not None

        async with relaying(database, bus):
            await eventually(lambda: other in bus.ids)
            await eventually(blocked)
            (row, *_) = await rows(database, "outbox")
            assert row["attempts"] == UNROUTABLE_TRIES_MAX
            assert "no queue takes shop.box.pack" in row["last_error"]
            later = await say(database, "c", command=True)
            await eventually(lambda: later[0] in bus.ids)
            assert behind not in bus.ids, "what follows a blocked message must not overtake it"
            bus.nowhere.clear()
            async with database.transaction() as tx:
                await tx.execute("UPDATE outbox SET blocked_at = NULL, attempts = 0")
                tx.wake("outbox")
            await eventually(lambda: all_sent(database))
        assert bus.of("a") == [stuck, behind]

    async def test_a_resend_goes_out_again_under_the_same_id(self, database: Database) -> None:
        bus = RecordingBus()
        async with relaying(database, bus):
            said = await say(database, "1", "2")
            await eventually(lambda: all_sent(database))
            async with database.transaction() as tx:
                assert await outbox.resend(tx, [said[0], "never written"]) == 1
            await eventually(lambda: len(bus.sent) == 3)
        assert bus.of("1") == [said[0], said[0]]

    async def test_a_canceled_relay_loses_nothing(self, database: Database) -> None:
        said = await say(database, *(str(n) for n in range(30)))
        bus = RecordingBus()

        async def slowly(_: object) -> None:
            await asyncio.sleep(0)

        bus.then = slowly
        for steps in range(1, 40):
            async with relaying(database, bus):
                for _ in range(steps):
                    await asyncio.sleep(0)
        async with relaying(database, bus):
            await eventually(lambda: all_sent(database))
        assert set(bus.ids) == set(said)


class TestSeveralProcesses:
    async def test_rows_that_commit_out_of_the_order_of_their_numbers_are_not_lost(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        """A relay that remembers the last number it saw would lose the first of these two."""
        from chassis import db

        database = db.connect(await postgres_url_factory(SCHEMA)).serve("shop", SCHEMA)
        await database.open()
        bus = RecordingBus()
        async with relaying(database, bus):
            async with database.transaction() as early:
                # With an id of its own it takes its number now, not at the end.
                first = await outbox.put(
                    early, BoxPacked(box="1"), about="box/1", message_id="early"
                )
                (second,) = await say(database, "2")
                await eventually(lambda: bus.ids == [second])
            await eventually(lambda: bus.ids == [second, first])
        numbers = [row["id"] for row in await rows(database, "outbox")]
        assert numbers == [first, second]
        await database.close()

    async def test_only_one_relay_sends_and_another_takes_over(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        from chassis import db

        url = await postgres_url_factory(SCHEMA)
        one, other = (db.connect(url).serve("shop", SCHEMA) for _ in range(2))
        await one.open()
        await other.open()
        buses = [RecordingBus(), RecordingBus()]
        async with relaying(other, buses[1]):
            async with relaying(one, buses[0]):
                said = await say(one, *["a", "b"] * 20)
                await eventually(lambda: all_sent(one))
                assert sorted(buses[0].ids + buses[1].ids) == sorted(said)
                assert [] in (buses[0].ids, buses[1].ids)
            more = await say(one, "a")
            await eventually(lambda: all_sent(one))
        assert (buses[0].ids + buses[1].ids).count(more[0]) == 1
        await one.close()
        await other.close()

    async def test_a_relay_without_a_broker_leaves_the_outbox_to_one_that_has_one(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        from chassis import db

        url = await postgres_url_factory(SCHEMA)
        one, other = (db.connect(url).serve("shop", SCHEMA) for _ in range(2))
        await one.open()
        await other.open()
        buses = [RecordingBus(), RecordingBus()]
        async with relaying(one, buses[0]):
            await say(one, "a")
            await eventually(lambda: all_sent(one))
            async with relaying(other, buses[1]):
                buses[0].ready = False
                said = await say(one, "a")
                await eventually(lambda: buses[1].ids == said)
        await one.close()
        await other.close()

    async def test_a_relay_that_was_stopped_until_it_lost_its_hold_begins_no_other_message(
        self, postgres_url_factory: DatabaseUrl, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from chassis import db

        url = await postgres_url_factory(SCHEMA)
        one, other = (db.connect(url).serve("shop", SCHEMA) for _ in range(2))
        await one.open()
        await other.open()
        said = await say(one, "a", "a", "a")
        stopped, heir = RecordingBus(), RecordingBus()
        stopped_s, now = 0.0, clock.monotonic_s
        monkeypatch.setattr(clock, "monotonic_s", lambda: now() + stopped_s)

        async def stop(_: object) -> None:
            nonlocal stopped_s
            stopped_s = db.HOLD_S
            async with other.transaction() as tx:
                await tx.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                    " AND database = (SELECT oid FROM pg_database"
                    " WHERE datname = current_database())"
                )
            await eventually(lambda: heir.ids == said)

        stopped.then = stop
        async with relaying(one, stopped):
            await eventually(lambda: stopped.in_flight or stopped.ids)
            async with relaying(other, heir):
                await eventually(lambda: all_sent(other))
                await eventually(lambda: not stopped.in_flight)
                (late,) = await say(one, "a")
                await eventually(lambda: late in stopped.ids + heir.ids)
        assert stopped.ids == said[:1]
        assert heir.ids == [*said, late]
        await one.close()
        await other.close()

    async def test_a_relay_whose_connection_is_killed_goes_on_with_another(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        from chassis import db

        database = db.connect(await postgres_url_factory(SCHEMA)).serve("shop", SCHEMA)
        await database.open()
        bus = RecordingBus()
        async with relaying(database, bus):
            await say(database, "1")
            await eventually(lambda: all_sent(database))
            async with database.transaction() as tx:
                await tx.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            said = await say(database, "2")
            await eventually(lambda: all_sent(database))
        assert said[0] in bus.ids
        await database.close()


class TestToTheInbox:
    async def test_whatever_is_lost_or_repeated_on_the_way_everything_arrives_once(
        self, database: Database
    ) -> None:
        packer = Packer()
        faults = "dup:0.3,drop_before_commit:0.2,drop_after_commit:0.3,reorder:4,seed=3"
        bus = LocalBus(Topology.of([packer.subscription]), faults)
        inbox = Inbox("shop", database, packer.subscription)
        await bus.subscribe(packer.subscription, inbox.deliver)
        await bus.start()
        async with database.transaction() as tx:
            for number in range(40):
                box = str(number % 8)
                await outbox.put(tx, PackBox(box=box), about=f"box/{box}")
        async with relaying(database, bus):
            await eventually(lambda: all_sent(database), 30)
        assert await packed(database) == {str(box): 5 for box in range(8)}
        await bus.stop()

    async def test_a_crash_between_publish_and_mark_is_dropped_by_the_receiver(
        self, database: Database
    ) -> None:
        packer = Packer()
        bus = LocalBus(Topology.of([packer.subscription]))
        await bus.subscribe(
            packer.subscription, Inbox("shop", database, packer.subscription).deliver
        )
        await bus.start()
        failpoints.arm("shop.relay.r3@1:raise")
        async with database.transaction() as tx:
            await outbox.put(tx, PackBox(box="1"), about="box/1")
        async with relaying(database, bus):
            await eventually(lambda: all_sent(database))
        assert await packed(database) == {"1": 1}
        assert len(packer.seen) == 1
        await bus.stop()
