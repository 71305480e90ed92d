"""Orders as tests want them, and the desk that hands messages to the service."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from chassis import clock
from chassis.db import Database, Row
from chassis.idempotency import Caller
from chassis.inbox import Inbox
from chassis.messaging import Delivery, Envelope
from chassis.values import uuid7
from contracts.base import Command, Event, LineQuantity, ReturnShipping
from contracts.orders import (
    ExecuteClaimRefund,
    PlaceClaimHold,
    PlaceReturnHold,
    ReleaseClaimHold,
    ReleaseReturnHold,
    SettleReturnReceipt,
)
from services.orders import consumers, operations

LONG_AGO = datetime(2026, 1, 5, 12, tzinfo=UTC)
CAPTURED = "2026-01-05T12:00:00Z"


def an_item(**changes: Any) -> Row:
    """Two red mugs of 1000 at 20 % tax, shipped."""
    return {
        "id": "item_01",
        "variant_id": "variant_01",
        "title": "Red mug",
        "unit_price": 1000,
        "quantity": 2,
        "fulfilled_quantity": 2,
        "shipped_quantity": 2,
        "tax_lines": [{"rate": 20, "name": "default"}],
        **changes,
    }


def an_order(*items: Row, captured: int | None = None, **changes: Any) -> Row:
    """A paid order; without items it has the two mugs. ``captured`` defaults to 100 000."""
    amount = 100_000 if captured is None else captured
    paid = {"id": "pay_01", "amount": amount, "provider_id": "manual", "captured_at": CAPTURED}
    return {
        "id": "order_01",
        "email": "ana@reclamo.example",
        "region_id": "reg_01",
        "currency_code": "gbp",
        "tax_rate": None,
        "payment_status": "captured",
        "fulfillment_status": "shipped",
        "created_at": CAPTURED,
        "items": list(items) or [an_item()],
        "payments": [paid],
        **changes,
    }


def a_shop(*orders: Row, **changes: Any) -> Row:
    """A document with a region of 12.5 % tax, a channel, return options, a customer, orders."""
    return {
        "regions": [{"id": "reg_01", "name": "Here", "currency_code": "gbp", "tax_rate": 12.5}],
        "sales_channels": [{"id": "sc_01", "name": "Web"}],
        "shipping_options": [
            {
                "id": "so_back",
                "name": "Parcel back",
                "region_id": "reg_01",
                "amount": 1000,
                "is_return": True,
            },
            {
                "id": "so_gross",
                "name": "Parcel back, with tax",
                "region_id": "reg_01",
                "amount": 1000,
                "is_return": True,
                "includes_tax": True,
            },
        ],
        "customers": [{"id": "cus_ana", "email": "ana@reclamo.example", "first_name": "Ana"}],
        "orders": list(orders),
        **changes,
    }


async def load(database: Database, document: Row, **providers: Any) -> Row:
    """Import a document; the answer."""
    async with database.transaction() as tx:
        return await operations.import_document(
            tx, lists=document, providers={"manual", "fake"}, now=LONG_AGO
        )


@dataclass
class Desk:
    """Hands commands to the service as its queue would, and reads what it says."""

    database: Database
    seen: int = 0
    sent: list[bytes] = field(default_factory=list)

    async def say(
        self, command: Command, *, message_id: str | None = None, waits: Sequence[str] = ()
    ) -> list[Row]:
        """Deliver a command; what was said since: [{key, version, causation, **data}]. ``waits``
        as in ``deliver``."""
        envelope = Envelope(
            id=message_id or uuid7(),
            source="/reclamo/claims",
            type=f"reclamo.{command.key}",
            subject="claim/test",
            time=clock.now().isoformat(),
            data=command.model_dump(mode="json"),
            correlation_id="test",
            saga_id="saga_01",
        )
        self.sent.append(envelope.to_bytes())
        return await self.deliver(self.sent[-1], waits=waits)

    @property
    def inbox(self) -> Inbox:
        """Where commands to orders come in."""
        return Inbox("orders", self.database, consumers.SUBSCRIPTIONS[0])

    async def waiting(self) -> list[str]:
        """Why messages could not be handled."""
        return [
            row["error"] for row in await self.rows("SELECT error FROM inbox WHERE state <> 'done'")
        ]

    async def deliver(self, body: bytes, *, waits: Sequence[str] = ()) -> list[Row]:
        """Deliver bytes; a message that could not be handled fails the test, unless it ``waits``
        for this."""
        await self.inbox.deliver(Delivery(queue="orders.commands.v1", body=body))
        assert await self.waiting() == list(waits)
        return await self.heard()

    async def answer(self, reply: Event, *, to: Row) -> list[Row]:
        """Deliver inventory's reply to a command that was heard; what was said since."""
        envelope = Envelope(
            id=uuid7(),
            source="/reclamo/inventory",
            type=f"reclamo.{reply.key}",
            subject="fulfillment/test",
            time=clock.now().isoformat(),
            data=reply.model_dump(mode="json"),
            correlation_id="test",
            causation_id=to["id"],
            saga_id=to["saga"],
        )
        inbox = Inbox("orders", self.database, consumers.SUBSCRIPTIONS[1])
        await inbox.deliver(Delivery(queue="orders.saga.v1", body=envelope.to_bytes()))
        assert await self.rows("SELECT type, error FROM inbox WHERE state <> 'done'") == []
        return await self.heard()

    async def do(self, work: Callable[..., Awaitable[Any]], **given: Any) -> Any:
        """Call an operation as its door does, by nobody in particular unless told."""
        given = {"caller": Caller("usr_1"), "now": clock.now(), **given}
        async with self.database.transaction() as tx:
            return await work(tx, **given)

    async def heard(self) -> list[Row]:
        """What the service said since the last look."""
        rows = await self.rows(
            "SELECT seq, id, routing_key, aggregateversion, payload FROM outbox"
            " WHERE seq > :seen ORDER BY seq",
            seen=self.seen,
        )
        said = []
        for row in rows:
            event = json.loads(row["payload"])
            said.append(
                {
                    "id": row["id"],
                    "key": row["routing_key"],
                    "version": row["aggregateversion"],
                    "causation": event.get("causationid"),
                    "saga": event.get("sagaid"),
                    "data": event["data"],
                }
            )
            self.seen = row["seq"]
        return said

    async def rows(self, sql: str, **params: Any) -> list[Row]:
        """Look into the database."""
        async with self.database.reading() as tx:
            return await tx.fetch(sql, **params)

    async def order(self, order_id: str = "order_01") -> Row:
        """The order's row."""
        return (await self.rows("SELECT * FROM orders WHERE id = :id", id=order_id))[0]

    async def line(self, line_id: str = "item_01") -> Row:
        """A line's row."""
        return (await self.rows("SELECT * FROM order_lines WHERE id = :id", id=line_id))[0]

    async def everything(self) -> dict[str, list[Row]]:
        """All business rows, to see whether something changed them."""
        tables = (
            "orders order_lines payments remedies remedy_lines receipts refunds transfers"
            " refund_attempts goodwill_lines fulfillments captures sagas"
        )
        return {
            name: await self.rows(f"SELECT * FROM {name} ORDER BY 1, 2") for name in tables.split()
        }


def keys(said: list[Row]) -> list[str]:
    """The routing keys without their first and last word: ``claim-hold.placed``."""
    return [row["key"].split(".", 1)[1].rsplit(".", 1)[0] for row in said]


def lines(**quantities: int) -> list[LineQuantity]:
    """``lines(item_01=2)``."""
    return [LineQuantity(line_id=name, quantity=count) for name, count in quantities.items()]


def a_claim(claim_id: str = "claim_01", **changes: Any) -> PlaceClaimHold:
    """A refund claim for one mug, paid at once."""
    given: Row = {
        "claim_id": claim_id,
        "order_id": "order_01",
        "type": "refund",
        "lines": lines(item_01=1),
        "execute_refund": True,
        **changes,
    }
    return PlaceClaimHold(**given)


def a_return(return_id: str = "ret_01", **changes: Any) -> PlaceReturnHold:
    """A return of one mug."""
    given: Row = {
        "return_id": return_id,
        "order_id": "order_01",
        "lines": lines(item_01=1),
        **changes,
    }
    return PlaceReturnHold(**given)


def a_receipt(receipt_id: str = "rcpt_01", **changes: Any) -> SettleReturnReceipt:
    """One mug of the return arrives."""
    given: Row = {
        "receipt_id": receipt_id,
        "return_id": "ret_01",
        "order_id": "order_01",
        "lines": lines(item_01=1),
        **changes,
    }
    return SettleReturnReceipt(**given)


def a_release(claim_id: str = "claim_01") -> ReleaseClaimHold:
    """The claim is taken back."""
    return ReleaseClaimHold(claim_id=claim_id, order_id="order_01")


def an_execution(claim_id: str = "claim_01") -> ExecuteClaimRefund:
    """The claim's money may go."""
    return ExecuteClaimRefund(claim_id=claim_id, order_id="order_01")


def a_return_release(return_id: str = "ret_01") -> ReleaseReturnHold:
    """The return is taken back."""
    return ReleaseReturnHold(return_id=return_id, order_id="order_01")


def by(option_id: str, price: int | None = None) -> ReturnShipping:
    """A way back."""
    return ReturnShipping(option_id=option_id, price=price)
