"""Claims as they are asked for, and the other services as far as a claim sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from chassis.db import Database, Row
from chassis.inbox import Inbox
from chassis.messaging import Delivery, Envelope
from contracts import MESSAGES
from contracts.inventory import (
    PlaceReservation,
    ReleaseReservation,
    ReservationPlaced,
    ReservationRejected,
    ReservationReleased,
)
from contracts.orders import (
    ClaimHoldPlaced,
    ClaimHoldRejected,
    ClaimHoldReleased,
    ClaimRefundDeclined,
    ClaimRefundSucceeded,
    ExecuteClaimRefund,
    PlaceClaimHold,
    ReleaseClaimHold,
)
from contracts.returns import (
    CheckClaimReturn,
    ClaimReturnChecked,
    ClaimReturnOpened,
    OpenClaimReturn,
)
from services.claims.consumers import SUBSCRIPTIONS

ORDER = {"region_id": "reg_1", "sales_channel_id": "sc_1", "currency_code": "gbp"}
SNAPSHOT = {
    "line_id": "item_1",
    "variant_id": "variant_1",
    "title": "Red mug",
    "quantity": 2,
    "unit_price": 1000,
    "fulfilled_quantity": 2,
    "shipped_quantity": 2,
    "returned_quantity": 0,
}
GOODS = {"line_id": "item_1", "part": "goods", "quantity": 1, "amount": 1000, "rule": "1 x 1000"}
TAX = {"rate": 20.0, "code": None, "name": "default"}


def a_request(**changes: Any) -> dict[str, Any]:
    """The body of ``POST /claims``: a refund of one mug unless told otherwise."""
    return {
        "order_id": "order_1",
        "type": "refund",
        "claim_items": [{"item_id": "item_1", "quantity": 1, "reason": "missing_item"}],
        "order": ORDER,
        **changes,
    }


def a_replacement(**changes: Any) -> dict[str, Any]:
    """One mug for another."""
    return a_request(
        **{
            "type": "replace",
            "additional_items": [{"variant_id": "variant_1", "quantity": 1}],
            **changes,
        }
    )


@dataclass
class Others:
    """Orders, inventory and returns: they obey, or refuse what ``refuses`` says, or are silent."""

    refuses: dict[type[BaseModel], dict[str, Any]] = field(default_factory=dict)
    silent: set[type[BaseModel]] = field(default_factory=set)
    amount: int = 1000
    order_is_silent: bool = False
    return_status: str | None = "canceled"
    pivot_passed: bool = False

    def answer(self, command: BaseModel) -> list[BaseModel]:
        """What comes back, in the order it is said."""
        if type(command) in self.silent:
            return []
        no = {"kind": "not_allowed", **self.refuses.get(type(command), {})}
        match command:
            case PlaceClaimHold(claim_id=claim_id):
                if type(command) in self.refuses:
                    return [ClaimHoldRejected(claim_id=claim_id, **no)]
                placed = ClaimHoldPlaced(
                    claim_id=claim_id,
                    order_id=command.order_id,
                    currency_code="gbp",
                    amount=self.amount if command.type == "refund" else 0,
                    explanation=[GOODS],
                    lines=[SNAPSHOT],
                    tax=TAX,
                    no_notification=self.order_is_silent,
                )
                return [placed, *(self._refund(claim_id) if command.execute_refund else [])]
            case ExecuteClaimRefund(claim_id=claim_id):
                return self._refund(claim_id)
            case ReleaseClaimHold(claim_id=claim_id):
                return [ClaimHoldReleased(claim_id=claim_id, pivot_passed=self.pivot_passed)]
            case PlaceReservation(remedy_id=remedy_id):
                if type(command) in self.refuses:
                    return [ReservationRejected(remedy_id=remedy_id, **no)]
                lines = [
                    {
                        "line_id": line.line_id,
                        "variant_id": line.variant_id,
                        "quantity": line.quantity,
                        "title": f"Title of {line.variant_id}",
                        "description": "300 ml",
                        "sku": "MUG",
                        "unit_price": 700,
                        "location_id": "sloc_1",
                    }
                    for line in command.lines
                ]
                return [ReservationPlaced(remedy_id=remedy_id, lines=lines)]
            case ReleaseReservation(remedy_id=remedy_id):
                return [ReservationReleased(remedy_id=remedy_id)]
            case OpenClaimReturn(claim_id=claim_id, return_id=return_id):
                return [ClaimReturnOpened(claim_id=claim_id, return_id=return_id)]
            case CheckClaimReturn(claim_id=claim_id):
                return [ClaimReturnChecked(claim_id=claim_id, status=self.return_status)]
        raise AssertionError(f"nobody obeys {command!r}")

    def _refund(self, claim_id: str) -> list[BaseModel]:
        if ExecuteClaimRefund in self.silent:
            return []
        if ExecuteClaimRefund in self.refuses:
            no = {"kind": "not_allowed", **self.refuses[ExecuteClaimRefund]}
            return [ClaimRefundDeclined(claim_id=claim_id, **no)]
        refund_id = "ref_1" if self.amount else None
        return [ClaimRefundSucceeded(claim_id=claim_id, refund_id=refund_id, amount=self.amount)]


@dataclass
class World:
    """The claims service on a database: its message door, and the others behind it."""

    database: Database
    others: Others = field(default_factory=Others)
    answered: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        (subscription,) = SUBSCRIPTIONS
        self.inbox = Inbox("claims", self.database, subscription)

    async def rows(self, sql: str, **params: Any) -> list[Row]:
        """What a statement finds."""
        async with self.database.reading() as tx:
            return await tx.fetch(sql, **params)

    async def claim(self, claim_id: str) -> Row:
        """The row of a claim."""
        (row,) = await self.rows("SELECT * FROM claims WHERE id = :id", id=claim_id)
        return row

    async def said(self) -> list[Envelope]:
        """Everything in the outbox, in the order of writing."""
        found = await self.rows("SELECT payload FROM outbox ORDER BY seq")
        return [Envelope.from_bytes(row["payload"].encode()) for row in found]

    async def keys(self) -> list[str]:
        """The routing keys of everything said."""
        return [envelope.key for envelope in await self.said()]

    async def events(self, claim_id: str) -> list[tuple[str, int | None]]:
        """Names and versions of a claim's events."""
        return [
            (envelope.data["name"], envelope.sequence)
            for envelope in await self.said()
            if envelope.key.startswith("claims.claim.") and envelope.data["id"] == claim_id
        ]

    async def replies(self) -> list[Delivery]:
        """The answers to every command that was not answered yet."""
        found = []
        for command in await self.said():
            if command.id not in self.answered and not command.key.startswith("claims."):
                self.answered.add(command.id)
                found += self.answers(command)
        return found

    def answers(self, command: Envelope) -> list[Delivery]:
        """What the others answer to one command."""
        model = MESSAGES[command.key]
        replies = self.others.answer(command.message(model))
        return [self.a_reply(command, reply) for reply in replies]

    def a_reply(self, command: Envelope, reply: BaseModel, **changes: Any) -> Delivery:
        """A reply as the bus hands it over."""
        key: str = reply.key  # type: ignore[attr-defined]
        envelope = Envelope(
            **{
                "id": f"{command.id}/{key}",
                "source": f"/reclamo/{key.split('.')[0]}",
                "type": f"reclamo.{key}",
                "subject": f"order/{command.data.get('order_id')}",
                "time": command.time,
                "data": reply.model_dump(mode="json"),
                "saga_id": command.saga_id,
                "causation_id": command.id,
                "correlation_id": command.correlation_id,
                **changes,
            }
        )
        return Delivery(queue="claims.saga.v1", body=envelope.to_bytes())

    async def hear(self, deliveries: Iterable[Delivery]) -> None:
        """Deliver, one after the other; a handler that fails is a failure of the test."""
        for delivery in deliveries:
            await self.inbox.deliver(delivery)
        assert not await self.rows("SELECT error FROM inbox WHERE state <> 'done'")

    async def pump(self) -> None:
        """Let everybody answer until nobody asks any more."""
        while deliveries := await self.replies():
            await self.hear(deliveries)
