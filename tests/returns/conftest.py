"""One returns service on a migrated database, with a stand-in for orders and inventory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from chassis import at_rest
from chassis.db import Database, Row
from chassis.inbox import Inbox
from chassis.messaging import Delivery, Envelope
from chassis.testing import MakeDatabase
from chassis.values import uuid7
from contracts import MESSAGES
from services.returns import consumers, invariants, operations, queries, store
from services.returns.booking import Caller
from services.returns.domain import Item
from services.returns.operations import first_receipt_id
from tests.returns.others import Others

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CLERK = Caller("usr_clerk")


@dataclass
class World:
    """The service's database and message door; ``pump`` lets the others answer."""

    database: Database
    others: Others = field(default_factory=Others)

    def __post_init__(self) -> None:
        self._doors = {
            model.key: (subscription.queue, Inbox("returns", self.database, subscription))
            for subscription in consumers.SUBSCRIPTIONS
            for model in subscription.handlers
        }

    # -- doors

    async def request(self, *items: Item, caller: Caller = CLERK, **fields: Any) -> str:
        """Request a return of the order ``order_1`` (two mugs unless told otherwise)."""
        async with self.database.transaction() as tx:
            return await operations.request_return(
                tx,
                caller=caller,
                order_id=fields.pop("order_id", "order_1"),
                items=items or (Item("item_mug", 2),),
                now=fields.pop("now", NOW),
                **fields,
            )

    async def receive(
        self, return_id: str, *items: Item, caller: Caller = CLERK, **fields: Any
    ) -> str:
        """A parcel arrives (everything of two mugs unless told otherwise)."""
        async with self.database.transaction() as tx:
            return await operations.receive_return(
                tx,
                caller=caller,
                return_id=return_id,
                items=fields.pop("items", items or (Item("item_mug", 2),)),
                now=NOW,
                **fields,
            )

    async def cancel(self, return_id: str) -> None:
        async with self.database.transaction() as tx:
            await operations.cancel_return(tx, return_id=return_id, now=NOW)

    async def do(self, operation: Callable[..., Awaitable[Any]], **fields: Any) -> Any:
        """Any other operation, in a transaction of its own."""
        async with self.database.transaction() as tx:
            return await operation(tx, **fields)

    async def requested(self, *items: Item, **fields: Any) -> str:
        """A return that orders has agreed to."""
        return_id = await self.request(*items, **fields)
        await self.pump()
        return return_id

    # -- messages

    async def tell(self, message: BaseModel, **attributes: Any) -> Envelope:
        """Deliver a message to the service; the same envelope can be delivered again."""
        key: str = message.key  # type: ignore[attr-defined]
        envelope = Envelope(
            id=attributes.pop("id", uuid7()),
            source="/reclamo/tests",
            type=f"reclamo.{key}",
            subject="test/1",
            time=NOW.isoformat(),
            data=message.model_dump(mode="json"),
            **attributes,
        )
        await self.deliver(envelope)
        return envelope

    async def deliver(self, envelope: Envelope) -> None:
        """Hand an envelope to the queue that takes it."""
        queue, door = self._doors[envelope.key]
        await door.deliver(Delivery(queue, envelope.to_bytes()))

    async def unsent(self) -> list[Envelope]:
        """Take what the outbox would send now, in order."""
        async with self.database.transaction() as tx:
            rows = await tx.fetch(
                "SELECT seq, payload FROM outbox WHERE sent_at IS NULL ORDER BY seq"
            )
            await tx.execute(
                "UPDATE outbox SET sent_at = :now WHERE seq IN :seqs",
                now=NOW,
                seqs=[row["seq"] for row in rows],
            )
        return [Envelope.from_bytes(row["payload"].encode()) for row in rows]

    async def answer(self, command: Envelope, *, times: int = 1) -> Envelope:
        """Let the others obey a command ``times`` times, and deliver each reply as often."""
        message = command.message(MESSAGES[command.key])
        for _ in range(times):
            reply = self.others.answer(message)
            attributes = {"causation_id": command.id, "saga_id": command.saga_id}
            envelope = await self.tell(reply, **attributes)
            for _ in range(times - 1):
                await self.deliver(envelope)
        return envelope

    async def pump(self, *, times: int = 1) -> list[str]:
        """Let everything be sent and answered until it is quiet; the keys of what was sent."""
        sent = []
        while batch := await self.unsent():
            for envelope in batch:
                sent.append(envelope.key)
                if not envelope.key.startswith("returns."):
                    await self.answer(envelope, times=times)
        return sent

    # -- looks

    async def look(self, query: Callable[..., Awaitable[Any]], **fields: Any) -> Any:
        """A query in a reading of its own."""
        async with self.database.reading() as tx:
            return await query(tx, **fields)

    async def shown(self, return_id: str) -> dict[str, Any]:
        """The return as the public sees it, and what the shop sees beside it."""
        found = await self.look(queries.return_by_id, return_id=return_id, inside=True)
        return {**found, **found["return"], "inside": found}

    async def outcome(self, return_id: str) -> Any:
        """What the caller who requested the return reads; None while it is open."""
        return await self.look(
            queries.outcome_of_request,
            return_id=return_id,
            receipt_id=first_receipt_id(return_id=return_id),
        )

    async def rows(self, sql: str, **params: Any) -> list[Row]:
        async with self.database.reading() as tx:
            return await tx.fetch(sql, **params)

    async def events(self, return_id: str) -> list[tuple[int, str, str]]:
        """(version, name, status) of what the outside is told of a return."""
        rows = await self.rows(
            "SELECT aggregateversion, payload FROM outbox WHERE aggregatetype = 'return'"
            " AND aggregateid = :return_id AND aggregateversion IS NOT NULL ORDER BY seq",
            return_id=return_id,
        )
        told = [(row["aggregateversion"], json.loads(row["payload"])["data"]) for row in rows]
        return [(version, data["name"], data["status"]) for version, data in told]

    async def findings(self) -> list[Row]:
        """Broken invariants, and what is not at rest."""
        return await self.look(invariants.findings) + await self.look(at_rest.findings)


@pytest.fixture
async def world(make_database: MakeDatabase) -> AsyncIterator[World]:
    """A service on SQLite, and again on PostgreSQL. Afterwards every invariant holds and every
    message was handled, whatever the test did."""
    database = await make_database("returns")
    database.serve("returns", store.METADATA)
    world = World(database)
    yield world
    await world.pump()
    assert await world.findings() == []
