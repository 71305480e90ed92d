"""Sagas in the database: rows, commands in the outbox, timers, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from chassis import context, db, saga_log
from chassis.db import Database, Tx
from chassis.errors import NotAllowed, NotFound
from chassis.inbox import Inbox
from chassis.messaging import Delivery, Envelope, Subscription
from chassis.sagas import DEADLINE_S, Saga, SagaTable, Step
from chassis.testing import DatabaseUrl, MakeDatabase
from tests.chassis.shop import SCHEMA, rows
from tests.sagas_kit import NO, NOW


class FillBox(BaseModel):
    key: ClassVar[str] = "shop.box.fill"
    box: str


class BoxFilled(BaseModel):
    key: ClassVar[str] = "shop.box.filled.v1"
    box: str


class BoxRefused(BaseModel):
    key: ClassVar[str] = "shop.box.refused.v1"
    code: str = "no"
    kind: str = "not_allowed"
    message: str = "No."


class EmptyBox(BaseModel):
    key: ClassVar[str] = "shop.box.empty"


class BoxEmptied(BaseModel):
    key: ClassVar[str] = "shop.box.emptied.v1"


class SealBox(BaseModel):
    key: ClassVar[str] = "shop.box.seal"


class BoxSealed(BaseModel):
    key: ClassVar[str] = "shop.box.sealed.v1"


PARCEL = SagaTable(
    kind="parcel",
    plan=lambda _: (("fill",), ("seal",)),
    steps=(
        Step(
            name="fill",
            do=lambda facts: FillBox(box=facts["box"]),
            done=BoxFilled,
            refused=BoxRefused,
            undo=lambda _: EmptyBox(),
            undone=BoxEmptied,
        ),
        Step(name="seal", do=lambda _: SealBox(), done=BoxSealed, pivot=True),
    ),
)
TABLES = {PARCEL.kind: PARCEL}


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    return (await make_database(SCHEMA)).serve("shop", SCHEMA)


async def begin(database: Database, saga_id: str = "saga_1", now: datetime = NOW) -> Saga:
    context.begin(context.Context(correlation_id="corr", actor_kind="agent", actor_id="usr_1"))
    async with database.transaction() as tx:
        saga = await saga_log.begin(
            tx, PARCEL, saga_id=saga_id, subject_id="box_1", facts={"box": "1"}, now=now
        )
    context.begin(context.Context())
    return saga


async def load(database: Database, saga_id: str = "saga_1") -> Saga:
    async with database.reading() as tx:
        saga = await saga_log.load(tx, saga_id)
    assert saga is not None
    return saga


async def said(database: Database) -> list[Envelope]:
    return [Envelope.from_bytes(row["payload"].encode()) for row in await rows(database, "outbox")]


def an_inbox(database: Database, moved: list[Saga | None]) -> Inbox:
    async def on_reply(tx: Tx, message: BaseModel) -> None:
        moved.append(await saga_log.advance(tx, TABLES, message, now=NOW))

    replies = (BoxFilled, BoxRefused, BoxEmptied, BoxSealed)
    return Inbox("shop", database, Subscription("shop.saga.v1", dict.fromkeys(replies, on_reply)))


def a_reply(asked: Envelope, message: BaseModel, **changes: Any) -> Delivery:
    envelope = Envelope(
        **{
            "id": f"reply to {asked.id} by {message.key}",  # type: ignore[attr-defined]
            "source": "/reclamo/other",
            "type": f"reclamo.{message.key}",  # type: ignore[attr-defined]
            "subject": "box/1",
            "time": "2026-11-20T12:00:00.000+00:00",
            "data": message.model_dump(),
            "saga_id": asked.saga_id,
            "causation_id": asked.id,
            "correlation_id": asked.correlation_id,
            **changes,
        }
    )
    return Delivery(queue="shop.saga.v1", body=envelope.to_bytes())


class TestBegin:
    async def test_the_saga_and_its_first_command_stand_together(self, database: Database) -> None:
        saga = await begin(database)
        assert await load(database) == saga
        (asked,) = await said(database)
        assert (asked.key, asked.data) == ("shop.box.fill", {"box": "1"})
        assert (asked.saga_id, asked.subject) == ("saga_1", "parcel/box_1")
        assert (asked.correlation_id, asked.actor_id) == ("corr", "usr_1")

    async def test_rolled_back_neither_is_there(self, database: Database) -> None:
        with pytest.raises(KeyError):  # noqa: PT012
            async with database.transaction() as tx:
                await saga_log.begin(
                    tx, PARCEL, saga_id="s", subject_id="b", facts={"box": "1"}, now=NOW
                )
                raise KeyError
        assert (await rows(database, "outbox"), await rows_of_sagas(database)) == ([], [])


async def rows_of_sagas(database: Database) -> list[db.Row]:
    async with database.reading() as tx:
        return await tx.fetch("SELECT id, direction, next_at FROM sagas ORDER BY id")


class TestAdvance:
    async def test_replies_carry_it_to_its_end(self, database: Database) -> None:
        await begin(database)
        moved: list[Saga | None] = []
        inbox = an_inbox(database, moved)
        (fill,) = await said(database)
        await inbox.deliver(a_reply(fill, BoxFilled(box="1")))
        _, seal = await said(database)
        assert (seal.key, seal.causation_id) == (
            "shop.box.seal",
            f"reply to {fill.id} by {BoxFilled.key}",
        )
        await inbox.deliver(a_reply(seal, BoxSealed()))
        saga = await load(database)
        assert (saga.direction, saga.next_at, saga.facts["fill"]) == (
            "finished",
            None,
            {"box": "1"},
        )
        assert [one and one.direction for one in moved] == ["forward", "finished"]

    async def test_a_refusal_turns_it_back(self, database: Database) -> None:
        await begin(database)
        inbox = an_inbox(database, [])
        (fill,) = await said(database)
        await inbox.deliver(a_reply(fill, BoxRefused()))
        saga = await load(database)
        assert (saga.direction, saga.refusals) == ("undone", {"fill": NO})

    async def test_repeats_and_strangers_move_nothing(self, database: Database) -> None:
        await begin(database)
        moved: list[Saga | None] = []
        inbox = an_inbox(database, moved)
        (fill,) = await said(database)
        await inbox.deliver(a_reply(fill, BoxFilled(box="1")))
        before = await load(database)
        for changes in (
            {"id": "same reply, another id"},
            {"id": "a", "causation_id": "another command"},
            {"id": "b", "causation_id": None},
            {"id": "c", "saga_id": "another saga"},
            {"id": "d", "saga_id": None},
        ):
            await inbox.deliver(a_reply(fill, BoxFilled(box="2"), **changes))
        assert moved[1:] == [None] * 5
        after = await load(database)
        assert (after.version, after.facts, after.marks) == (
            before.version,
            before.facts,
            before.marks,
        )
        assert len(await said(database)) == 2

    async def test_two_replies_at_once_are_taken_one_after_the_other(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        import asyncio

        database = db.connect(await postgres_url_factory(SCHEMA)).serve("shop", SCHEMA)
        await database.open()
        await begin(database)
        moved: list[Saga | None] = []
        inbox = an_inbox(database, moved)
        (fill,) = await said(database)
        await asyncio.gather(
            *(inbox.deliver(a_reply(fill, BoxFilled(box="1"), id=f"m{n}")) for n in range(8))
        )
        assert len([one for one in moved if one]) == 1
        assert len(await said(database)) == 2
        await database.close()


@asynccontextmanager
async def expiring(database: Database, now: datetime) -> AsyncIterator[Saga | None]:
    async with database.transaction() as tx:
        yield await saga_log.expire(tx, TABLES, "saga_1", now=now)


class TestTimers:
    async def test_before_its_time_nothing_happens(self, database: Database) -> None:
        await begin(database)
        async with expiring(database, NOW + timedelta(seconds=29)) as moved:
            assert moved is None
        assert (await load(database)).tries == 0

    async def test_due_it_sends_the_same_row_again(self, database: Database) -> None:
        await begin(database)
        async with database.transaction() as tx:
            await tx.execute("UPDATE outbox SET sent_at = :now", now=NOW)
        async with expiring(database, NOW + timedelta(seconds=30)) as moved:
            assert moved is not None
        (row,) = await rows(database, "outbox")
        assert row["sent_at"] is None
        assert (await load(database)).next_at == NOW + timedelta(seconds=90)

    async def test_at_its_deadline_it_turns_back_and_keeps_its_thread(
        self, database: Database
    ) -> None:
        await begin(database)
        async with expiring(database, NOW + timedelta(seconds=DEADLINE_S)) as moved:
            assert moved is not None
            assert moved.direction == "back"
        fill, empty = await said(database)
        assert (empty.key, empty.saga_id) == ("shop.box.empty", "saga_1")
        assert (empty.correlation_id, empty.actor_id) == ("corr", "usr_1")
        await an_inbox(database, []).deliver(a_reply(empty, BoxEmptied()))
        saga = await load(database)
        assert (saga.direction, saga.refusals["timer"]["code"]) == ("undone", "timeout")
        await an_inbox(database, []).deliver(a_reply(fill, BoxFilled(box="1")))
        assert (await load(database)).direction == "undone"

    async def test_a_saga_that_is_over_or_unknown_has_nothing_to_do(
        self, database: Database
    ) -> None:
        async with expiring(database, NOW) as moved:
            assert moved is None
        await begin(database)
        (fill,) = await said(database)
        await an_inbox(database, []).deliver(a_reply(fill, BoxRefused()))
        async with expiring(database, NOW + timedelta(days=30)) as moved:
            assert moved is None

    async def test_every_due_saga_is_woken_and_a_broken_one_does_not_stop_the_others(
        self, database: Database
    ) -> None:
        long_ago = NOW - timedelta(days=365)
        for number in range(5):
            await begin(database, f"saga_{number}", long_ago + timedelta(seconds=number))
        await begin(database, "not due", db.clock.now() + timedelta(hours=1))
        woken: list[str] = []

        async def expire_one(tx: Tx, saga_id: str, now: datetime) -> None:
            woken.append(saga_id)
            if saga_id == "saga_0":
                raise ZeroDivisionError
            await saga_log.expire(tx, TABLES, saga_id, now=now)

        assert await saga_log.wake_due(database, expire_one) is False
        assert woken == [f"saga_{number}" for number in range(5)]
        due = {row["id"] for row in await rows_of_sagas(database) if row["next_at"] < NOW}
        assert due == {"saga_0"}

    async def test_several_replicas_wake_a_due_saga_once(
        self, postgres_url_factory: DatabaseUrl
    ) -> None:
        import asyncio

        url = await postgres_url_factory(SCHEMA)
        replicas = [db.connect(url).serve("shop", SCHEMA) for _ in range(3)]
        for database in replicas:
            await database.open()
        a_minute_ago = db.clock.now() - timedelta(minutes=1)
        for number in range(10):
            await begin(replicas[0], f"saga_{number}", a_minute_ago)
        woken: list[str] = []

        async def expire_one(tx: Tx, saga_id: str, now: datetime) -> None:
            if await saga_log.expire(tx, TABLES, saga_id, now=now) is not None:
                woken.append(saga_id)

        await asyncio.gather(*(saga_log.wake_due(each, expire_one) for each in replicas))
        assert sorted(woken) == [f"saga_{number}" for number in range(10)]
        for database in replicas:
            await database.close()


class TestByHand:
    async def resume(self, database: Database) -> Saga:
        async with database.transaction() as tx:
            return await saga_log.resume(tx, TABLES, "saga_1", now=NOW + timedelta(seconds=5))

    async def give_up(self, database: Database) -> Saga:
        async with database.transaction() as tx:
            return await saga_log.give_up(
                tx, TABLES, "saga_1", reason="a test", now=NOW + timedelta(seconds=5)
            )

    async def filled(self, database: Database) -> None:
        inbox = an_inbox(database, [])
        (fill, *_) = await said(database)
        await inbox.deliver(a_reply(fill, BoxFilled(box="1")))

    async def test_resumed_the_same_command_goes_out_again_and_the_timer_starts_afresh(
        self, database: Database
    ) -> None:
        await begin(database)
        async with database.transaction() as tx:
            await tx.execute("UPDATE outbox SET sent_at = created_at")
            await tx.execute("UPDATE sagas SET tries = 4")
        saga = await self.resume(database)
        (row,) = await rows(database, "outbox")
        assert row["sent_at"] is None
        assert (saga.tries, saga.waits_for) == (0, ["fill"])
        assert saga.next_at == NOW + timedelta(seconds=35)
        assert saga.history[-1]["what"] == "asked again"

    async def test_resumed_past_its_deadline_it_is_asked_not_given_up(
        self, database: Database
    ) -> None:
        await begin(database)
        async with database.transaction() as tx:
            saga = await saga_log.resume(
                tx, TABLES, "saga_1", now=NOW + timedelta(seconds=DEADLINE_S + 60)
            )
        assert saga.direction == "forward"

    async def test_given_up_everything_asked_is_undone_in_the_operators_name(
        self, database: Database
    ) -> None:
        await begin(database)
        context.begin(context.Context(correlation_id="c2", actor_kind="ops", actor_id="usr_ops"))
        saga = await self.give_up(database)
        assert (saga.direction, saga.waits_for) == ("back", ["fill"])
        assert saga.refusals["operator"]["reason"] == "a test"
        undo = (await said(database))[-1]
        assert (undo.key, undo.actor_id, undo.correlation_id) == (
            "shop.box.empty",
            "usr_ops",
            "corr",
        )

    async def test_a_way_back_can_be_resumed_but_not_taken_twice(self, database: Database) -> None:
        await begin(database)
        await self.give_up(database)
        with pytest.raises(NotAllowed, match="goes back already"):
            await self.give_up(database)
        assert (await self.resume(database)).waits_for == ["fill"]

    async def test_past_the_pivot_it_is_not_given_up(self, database: Database) -> None:
        await begin(database)
        await self.filled(database)
        with pytest.raises(NotAllowed, match="only goes forward"):
            await self.give_up(database)
        assert (await load(database)).direction == "forward"

    async def test_one_that_is_over_or_unknown_is_left_alone(self, database: Database) -> None:
        await begin(database)
        inbox = an_inbox(database, [])
        (fill,) = await said(database)
        await inbox.deliver(a_reply(fill, BoxRefused()))
        for act in (self.resume, self.give_up):
            with pytest.raises(NotAllowed, match="The saga is undone"):
                await act(database)
        async with database.transaction() as tx:
            with pytest.raises(NotFound):
                await saga_log.resume(tx, TABLES, "saga_2", now=NOW)

    async def test_the_list_is_of_what_is_under_way_the_oldest_first(
        self, database: Database
    ) -> None:
        await begin(database, "young", NOW + timedelta(seconds=60))
        await begin(database, "old")
        await begin(database, "over")
        async with database.transaction() as tx:
            await tx.execute(
                "UPDATE sagas SET direction = 'undone', next_at = NULL WHERE id = :id", id="over"
            )
        now = NOW + timedelta(seconds=90)

        async def ids(**filters: Any) -> list[str]:
            async with database.reading() as tx:
                found, count = await saga_log.page(tx, limit=10, now=now, **filters)
            assert count == len(found)
            return [row["id"] for row in found]

        assert await ids() == ["old", "young"]
        assert await ids(older_than_s=60) == ["old"]
        assert await ids(kind="parcel", direction="forward") == ["old", "young"]
        assert await ids(direction="back") == []
        async with database.reading() as tx:
            shown = await saga_log.show(tx, "old", now=now)
        assert (shown["age_s"], shown["waits_for"], shown["service"]) == (90, ["fill"], "shop")
        assert [entry["what"] for entry in shown["history"]] == ["asked"]
