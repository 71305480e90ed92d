"""A tiny service for the tests of outbox and inbox: boxes are packed, and said to be packed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import sqlalchemy as sa
from pydantic import BaseModel

from chassis import context, db, outbox
from chassis.audit import audit_table
from chassis.db import Database, Row, Tx
from chassis.idempotency import idempotency_table
from chassis.inbox import inbox_table
from chassis.messaging import Delivery, Envelope, Parcel, PublishFailed, Subscription, Unroutable
from chassis.outbox import outbox_table
from chassis.saga_log import saga_table

SCHEMA = db.metadata()
outbox_table(SCHEMA)
inbox_table(SCHEMA)
saga_table(SCHEMA)
idempotency_table(SCHEMA)
audit_table(SCHEMA)
BOXES = sa.Table(
    "boxes",
    SCHEMA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("packed", sa.Integer, nullable=False, default=0),
    sa.CheckConstraint("packed < 100", name="packed"),
)


class PackBox(BaseModel):
    """A command."""

    key: ClassVar[str] = "shop.box.pack"
    box: str
    note: str = ""


class BoxPacked(BaseModel):
    """An event."""

    key: ClassVar[str] = "shop.box.packed.v1"
    box: str


async def pack(tx: Tx, box: str) -> None:
    """Once more in this box."""
    await tx.insert(BOXES, [{"id": box}], ignore_conflicts=True)
    await tx.execute("UPDATE boxes SET packed = packed + 1 WHERE id = :id", id=box)


async def packed(database: Database) -> dict[str, int]:
    """How often each box was packed."""
    async with database.reading() as tx:
        rows = await tx.fetch("SELECT id, packed FROM boxes ORDER BY id")
    return {row["id"]: row["packed"] for row in rows}


async def rows(database: Database, table: str) -> list[Row]:
    """All rows of outbox or inbox, in the order of writing."""
    order = "seq" if table == "outbox" else "received_at, message_id"
    async with database.reading() as tx:
        return await tx.fetch(f"SELECT * FROM {table} ORDER BY {order}")


async def say(database: Database, *boxes: str, command: bool = False) -> list[str]:
    """Pack boxes and tell of each, in one transaction per box."""
    said = []
    for box in boxes:
        async with database.transaction() as tx:
            await pack(tx, box)
            message = PackBox(box=box) if command else BoxPacked(box=box)
            said.append(await outbox.put(tx, message, about=f"box/{box}"))
    return said


def a_delivery(message: BaseModel, *, id_: str = "m1", **more: Any) -> Delivery:
    """A message as a bus hands it over; ``more`` are fields of the envelope or the delivery."""
    about = {name: more.pop(name) for name in list(more) if name in Envelope.__dataclass_fields__}
    envelope = Envelope(
        **{
            "id": id_,
            "source": "/reclamo/shop",
            "type": f"reclamo.{message.key}",  # type: ignore[attr-defined]
            "subject": "box/1",
            "time": "2026-11-20T12:00:00.000+00:00",
            "data": message.model_dump(),
            **about,
        }
    )
    return Delivery(queue="shop.commands.v1", body=envelope.to_bytes(), **more)


@dataclass
class Packer:
    """A handler that packs, after doing wrong as often as it is told to."""

    troubles: list[BaseException] = field(default_factory=list)
    pause: Callable[[], Awaitable[None]] | None = None
    seen: list[context.Context] = field(default_factory=list)
    reply: bool = False

    async def __call__(self, tx: Tx, message: PackBox) -> None:
        self.seen.append(context.current())
        await pack(tx, message.box)
        if self.pause:
            await self.pause()
        if self.reply:
            await outbox.put(tx, BoxPacked(box=message.box), about=f"box/{message.box}")
        if self.troubles:
            raise self.troubles.pop(0)

    @property
    def subscription(self) -> Subscription:
        return Subscription("shop.commands.v1", {PackBox: self})


@dataclass
class RecordingBus:
    """A bus that remembers: ``fails`` and ``nowhere`` name ids or boxes that do not get through."""

    ready: bool = True
    fails: set[str] = field(default_factory=set)
    nowhere: set[str] = field(default_factory=set)
    defects: set[str] = field(default_factory=set)
    sent: list[Parcel] = field(default_factory=list)
    in_flight: list[str] = field(default_factory=list)
    crowd: set[str] = field(default_factory=set)
    together: int = 0
    then: Callable[[Parcel], Awaitable[None]] | None = None

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def subscribe(self, subscription: Subscription, deliver: Any) -> None: ...

    async def publish(self, parcel: Parcel) -> None:
        if parcel.partition_key in self.in_flight:
            self.crowd.add(parcel.partition_key)
        self.in_flight.append(parcel.partition_key)
        self.together = max(self.together, len(self.in_flight))
        try:
            await asyncio.sleep(0)
            names = {parcel.id, parcel.partition_key}
            if names & self.nowhere:
                raise Unroutable(f"no queue takes {parcel.routing_key}")
            if names & self.fails:
                raise PublishFailed("not confirmed")
            if names & self.defects:
                raise RuntimeError("a defect of the bus")
            self.sent.append(parcel)
            if self.then:
                await self.then(parcel)
        finally:
            self.in_flight.remove(parcel.partition_key)

    @property
    def ids(self) -> list[str]:
        return [parcel.id for parcel in self.sent]

    def of(self, box: str) -> list[str]:
        """Ids of one aggregate, in the order they went out."""
        return [parcel.id for parcel in self.sent if parcel.partition_key == f"box/{box}"]
