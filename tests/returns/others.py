"""Orders and inventory, as far as returns sees them: a stand-in that obeys every command, however
often it comes, and leaves a tombstone when an undo comes first."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel

from contracts.base import LineQuantity, LineSnapshot, ShippingQuote
from contracts.inventory import ReceiptStockReceived, ReceiptStockRejected, ReceiveReceiptStock
from contracts.orders import (
    CheckReturnReceipt,
    PlaceReturnHold,
    ReleaseReturnHold,
    ReturnHoldPlaced,
    ReturnHoldRejected,
    ReturnHoldReleased,
    ReturnReceiptChecked,
    ReturnReceiptRejected,
    ReturnReceiptSettled,
    SettleReturnReceipt,
)

NO: dict[str, Any] = {
    "code": "no",
    "kind": "not_allowed",
    "message": "Cannot return more items than have been purchased",
}
UNIT_PRICE = 1000


@dataclass
class Others:
    """``refuse`` names the commands that are refused. Lines called ``*_fee`` have no variant; a
    settled receipt pays what it was told, else 1000 per unit or its share of what the request gave,
    but nothing when ``blocked``: then it is owed."""

    refuse: set[type[BaseModel]] = field(default_factory=set)
    delivered_at: datetime | None = None
    blocked: bool = False
    no_notification: bool = False
    given: dict[str, tuple[int, int]] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)
    stock: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    paid: dict[str, int] = field(default_factory=dict)
    owed: dict[str, int] = field(default_factory=dict)

    def answer(self, command: BaseModel) -> BaseModel:
        """The reply to a command of returns."""
        refused = type(command) in self.refuse
        match command:
            case PlaceReturnHold():
                if refused or self.holds.get(command.return_id) == "released":
                    return ReturnHoldRejected(return_id=command.return_id, **NO)
                self.holds[command.return_id] = "held"
                return self._placed(command)
            case ReleaseReturnHold():
                self.holds[command.return_id] = "released"
                return ReturnHoldReleased(return_id=command.return_id)
            case CheckReturnReceipt():
                ids = {"receipt_id": command.receipt_id, "return_id": command.return_id}
                if refused:
                    return ReturnReceiptRejected(**ids, **NO)
                return ReturnReceiptChecked(**ids, lines=[_snapshot(x) for x in command.lines])
            case ReceiveReceiptStock():
                ids = {"receipt_id": command.receipt_id, "return_id": command.return_id}
                if refused:
                    return ReceiptStockRejected(**ids, **{**NO, "kind": "not_found"})
                self.stock[command.receipt_id] = [
                    (str(line.variant_id), line.quantity) for line in command.lines
                ]
                return ReceiptStockReceived(**ids)
            case SettleReturnReceipt():
                return self._settled(command)
        raise AssertionError(f"nobody obeys {command!r}")

    def _placed(self, command: PlaceReturnHold) -> ReturnHoldPlaced:
        quote = None
        if command.return_shipping is not None:
            quote = ShippingQuote(
                option_id=command.return_shipping.option_id, name="Parcel", price=125
            )
        units = sum(line.quantity for line in command.lines)
        if command.refund is not None:
            self.given[command.return_id] = (command.refund, units)
        return ReturnHoldPlaced(
            return_id=command.return_id,
            order_id=command.order_id,
            currency_code="gbp",
            amount=UNIT_PRICE * units - (quote.price if quote else 0),
            lines=[_snapshot(line, self.delivered_at) for line in command.lines],
            return_shipping=quote,
            no_notification=self.no_notification,
        )

    def _settled(self, command: SettleReturnReceipt) -> ReturnReceiptSettled:
        came = sum(line.quantity for line in command.lines)
        given, units = self.given.get(command.return_id, (0, 0))
        worth = given * came // units if units else UNIT_PRICE * came
        if command.claim_id is not None:
            worth = 0
        if command.settle_owed:
            worth = self.owed.pop(command.return_id, 0)
        amount = worth if command.refund is None else command.refund
        ids = {"receipt_id": command.receipt_id, "return_id": command.return_id}
        if self.blocked:
            self.paid[command.receipt_id] = 0
            self.owed[command.return_id] = self.owed.get(command.return_id, 0) + amount
            no = {"code": "no", "message": "No money."}
            return ReturnReceiptSettled(**ids, action_required=True, owed_amount=amount, **no)
        self.paid[command.receipt_id] = amount
        return ReturnReceiptSettled(
            **ids, refund_id=f"ref_{command.receipt_id}", refund_amount=amount
        )

    @property
    def clean(self) -> bool:
        """Nothing is held, in stock or paid."""
        return "held" not in self.holds.values() and not self.stock and not self.paid


def _snapshot(line: LineQuantity, delivered_at: datetime | None = None) -> LineSnapshot:
    return LineSnapshot(
        line_id=line.line_id,
        variant_id=variant_of(line.line_id),
        title=line.line_id,
        quantity=10,
        unit_price=UNIT_PRICE,
        fulfilled_quantity=10,
        shipped_quantity=10,
        returned_quantity=0,
        delivered_at=delivered_at and delivered_at.isoformat(),
    )


def variant_of(line_id: str) -> str | None:
    """The variant of a line, None for a fee."""
    return None if line_id.endswith("_fee") else line_id.replace("item_", "variant_")


def recently(now: datetime) -> datetime:
    """A delivery the policy has nothing against."""
    return now - timedelta(days=3)
