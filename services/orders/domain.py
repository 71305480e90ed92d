"""Orders and their money: statuses, what may be refunded, and over which payments it goes.

The unit side of an order is in ``remedies``, the arithmetic of its lines in ``refunds``. All pure.
Money is integer minor units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.errors import Failed, Invalid, NotAllowed, NotFound, Refusal

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
CAUSES = {"claim": "claim", "receipt": "return", "exchange": "swap", "manual": "other"}


# Where a claim's refund goes: over the payments it came from, or to the customer's account.
PAYMENT, STORE_CREDIT = "payment", "store_credit"


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


def order_canceled(*, what: str) -> Refusal:
    """A canceled order stays as it is; ``what`` it cannot be: completed, updated."""
    return NotAllowed("order_canceled", f"A canceled order cannot be {what}")


def check_archive(*, order_status: str) -> None:
    """Only what is completed may be put away."""
    if order_status != "completed":
        raise NotAllowed("order_unprocessed", "Can't archive an unprocessed order")


def check_capture(*, order_status: str) -> None:
    """Nobody takes money for a canceled order."""
    if order_status == "canceled":
        raise NotAllowed("order_canceled", "A canceled order cannot capture payment")


# What was agreed with the buyer. It comes with the order, and is changed by claims and returns.
_AGREED = ("items", "payment_method", "region", "discounts", "shipping_method")


def check_update(
    *,
    order_status: str,
    fulfillment_status: str,
    payment_status: str,
    asked: Mapping[str, Any],
) -> None:
    """Whether these properties may be changed; raises in Medusa's order."""
    if order_status == "canceled":
        raise order_canceled(what="updated")
    agreed = [name for name in _AGREED if asked.get(name) is not None]
    fresh = (order_status, fulfillment_status, payment_status)
    if agreed and fresh != ("pending", "not_fulfilled", "awaiting"):
        raise NotAllowed(
            "order_processed",
            "Can't update shipping, billing, items and payment method when order is processed",
        )
    if agreed:
        raise NotAllowed(
            "order_agreed", f"{agreed[0]} of an order cannot be changed here: load the order anew"
        )


def check_country(*, country: str | None, countries: Iterable[str] | None) -> None:
    """An order is sent within its region; a region without countries is everywhere."""
    known = {each.lower() for each in countries or ()}
    if country and known and country.lower() not in known:
        raise Invalid("country_outside", "Shipping country must be in the order region")


def customer_unknown(*, customer_id: str) -> Refusal:
    """There is no such customer, or not for this caller."""
    return NotFound("customer_unknown", f"Customer with id: {customer_id} was not found")


def check_destination(*, refund_to: str, customer_id: str | None) -> None:
    """Only somebody whom the shop knows has store credit."""
    if refund_to == STORE_CREDIT and customer_id is None:
        raise NotAllowed(
            "customer_missing", "Store credit is given to customers: the order has none"
        )


def check_adjustment(*, amount: int) -> None:
    """An adjustment changes something."""
    if not amount:
        raise Invalid("amount_zero", "amount must not be 0")


def store_credit_spent(*, left: int) -> Refusal:
    """Nobody spends more than there is."""
    return NotAllowed("store_credit_spent", f"Only {left} is left of the store credit", left=left)


def shipping_not_added() -> Refusal:
    """A canceled order is not sent."""
    return NotAllowed("order_canceled", "A shipping method cannot be added to a canceled order")


def payment_unknown(*, payment_id: str) -> Refusal:
    """There is no such payment."""
    return NotFound("payment_unknown", f"Payment with id {payment_id} was not found")


def capture_failed(*, payment_id: str) -> Refusal:
    """The provider did not give the money."""
    return Failed("capture_failed", f"Failed to capture Payment {payment_id}")


def refund_failed(*, payment_id: str) -> Refusal:
    """The provider did not take the money back."""
    return Failed("refund_failed", f"Failed to refund Payment {payment_id}")


def decide_payment_refund(*, payment_id: str, is_captured: bool, left: int, amount: int) -> None:
    """Whether this much of one payment may go back by hand; raises in Medusa's words."""
    if amount < 1:
        raise Invalid("amount_below_one", "amount must not be less than 1")
    if not is_captured:
        raise NotAllowed("payment_not_captured", f"Payment {payment_id} is not captured")
    if amount > left:
        raise NotAllowed(
            "amount_exceeds_payment", f"Only {left} can be refunded from Payment {payment_id}"
        )


def corrected_customer(*, known: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """{email, first_name, last_name, phone} after a correction: an e-mail cannot be taken away."""
    given = {name: value for name, value in changes.items() if name in known}
    if given.get("email") is None:
        given.pop("email", None)
    return {**known, **given}


def search_text(*, words: Iterable[Any]) -> str:
    """What a search looks through: one word per line, in lower case."""
    return "\n".join(str(word).lower() for word in words if word is not None)


def check_reason(*, reason: str) -> None:
    """A refund by hand names one of Medusa's reasons."""
    if reason not in REFUND_REASONS:
        values = ", ".join(REFUND_REASONS)
        raise Invalid("reason_unknown", f"reason must be one of the following values: {values}")


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


def check_left(*, shares: Sequence[PaymentShare], payments: Sequence[Payment]) -> None:
    """Whether every payment has left what is to go back through it; raises in Medusa's words."""
    left = {payment.payment_id: payment.left for payment in payments}
    for share in shares:
        decide_payment_refund(
            payment_id=share.payment_id,
            is_captured=share.payment_id in left,
            left=left.get(share.payment_id, 0),
            amount=share.amount,
        )


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


def memo_unknown(*, memo_id: str) -> NotFound:
    """There is no such credit memo."""
    return NotFound("credit_memo_unknown", f"Credit memo with id {memo_id} was not found")


def note_unknown(*, note_id: str) -> NotFound:
    """No such note, in Medusa's words."""
    return NotFound("note_unknown", f"Note with id: {note_id} was not found.")
