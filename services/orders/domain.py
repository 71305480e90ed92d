"""Orders and their money: statuses, what may be refunded, and over which payments it goes.

The unit side of an order is in ``remedies``, the arithmetic of its lines in ``refunds``. All pure.
Money is integer minor units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.errors import Invalid, NotAllowed, NotFound, Refusal

STATUSES = ("pending", "completed", "archived", "canceled", "requires_action")
FULFILLMENT_STATUSES = (
    "not_fulfilled",
    "partially_fulfilled",
    "fulfilled",
    "partially_shipped",
    "shipped",
    "partially_returned",
    "returned",
    "canceled",
    "requires_action",
)
PAYMENT_STATUSES = (
    "not_paid",
    "awaiting",
    "captured",
    "partially_refunded",
    "refunded",
    "canceled",
    "requires_action",
)
REFUND_REASONS = ("discount", "return", "swap", "claim", "other")
# Why a refund came to be, and the reason Medusa shows for it; a manual one names its own.
CAUSES = {"claim": "claim", "receipt": "return", "manual": "other"}


@dataclass(frozen=True, slots=True)
class Money:
    """An order's money in minor units. ``paid`` counts all payments, ``captured`` taken money."""

    paid: int
    captured: int
    refunded: int
    refund_pending: int

    @property
    def refundable(self) -> int:
        """What may still go back."""
        return self.captured - self.refunded - self.refund_pending


@dataclass(frozen=True, slots=True)
class Payment:
    """A captured payment and what is left of it."""

    payment_id: str
    provider_id: str
    left: int


@dataclass(frozen=True, slots=True)
class PaymentShare:
    """The part of a refund that goes through one payment."""

    payment_id: str
    provider_id: str
    amount: int


def order_unknown(*, order_id: str) -> Refusal:
    """There is no such order, or not for this caller."""
    return NotFound("order_unknown", f"Order with id {order_id} was not found")


def decide_refund(*, order_status: str, amount: int, money: Money) -> None:
    """Whether somebody may refund this much by hand; raises in Medusa's order."""
    if amount < 1:
        raise Invalid("amount_below_one", "amount must not be less than 1")
    if order_status == "canceled":
        raise NotAllowed("order_canceled", "A canceled order cannot be refunded")
    if amount > money.paid - money.refunded - money.refund_pending:
        raise NotAllowed(
            "amount_exceeds_order", "Cannot refund more than the original order amount"
        )
    check_refundable(amount=amount, money=money)


def check_refundable(*, amount: int, money: Money) -> None:
    """Captured money is all there is to give back."""
    if amount > money.refundable:
        raise NotAllowed(
            "amount_exceeds_refundable",
            "Refund amount is greater that the refundable amount",
            refundable=money.refundable,
        )


def split(*, amount: int, payments: Sequence[Payment]) -> list[PaymentShare]:
    """An amount over captured payments: each is filled in turn. Raises when they do not suffice."""
    shares = []
    left = amount
    for payment in payments:
        part = min(left, payment.left)
        if part > 0:
            shares.append(PaymentShare(payment.payment_id, payment.provider_id, part))
            left -= part
    if left:
        raise NotAllowed(
            "amount_exceeds_refundable", "Refund amount is greater that the refundable amount"
        )
    return shares


def payment_status(*, stored: str, money: Money) -> str:
    """Medusa's payment_status; refunds of any cause count (D22)."""
    if not money.refunded or stored == "canceled":
        return stored
    return "refunded" if money.refunded >= money.captured else "partially_refunded"


def returned_status(*, ordered: int, returned: int, action_required: bool) -> str:
    """Medusa's fulfillment_status after a receipt, from unit counts over the whole order."""
    if action_required:
        return "requires_action"
    return "returned" if returned >= ordered else "partially_returned"


def note_unknown(*, note_id: str) -> NotFound:
    """No such note, in Medusa's words."""
    return NotFound("note_unknown", f"Note with id: {note_id} was not found.")
