"""The language of orders: commands it obeys, replies and events it says."""

from __future__ import annotations

from typing import Any, ClassVar

from contracts.base import (
    Command,
    Event,
    LineQuantity,
    LineSnapshot,
    Part,
    RefundLine,
    Rejection,
    ReturnShipping,
    ShippingQuote,
    TaxRate,
)

_LINE = {"line_id": "item_01", "quantity": 1}
_SNAPSHOT = {
    "line_id": "item_01",
    "variant_id": "variant_01",
    "title": "Red mug",
    "quantity": 2,
    "unit_price": 1000,
    "fulfilled_quantity": 2,
    "shipped_quantity": 2,
    "returned_quantity": 0,
    "delivered_at": "2026-11-01T10:00:00+00:00",
}
_GOODS = {
    "line_id": "item_01",
    "part": "goods",
    "quantity": 1,
    "amount": 1000,
    "rule": "1 x 1000",
}


class PlaceClaimHold(Command):
    """Said by claims when a claim or an exchange is opened; heard by orders.

    Holds the units (and, for a refund, the money). ``execute_refund`` asks orders to go on with
    the refund at once, because nobody else can refuse this claim. ``refund_to`` is payment, or
    store_credit: the account of the order's customer. ``type`` is refund, replace or exchange; an
    exchange charges ``return_shipping``, and the ways to send its goods: ``shipping``.
    """

    key: ClassVar[str] = "orders.claim-hold.place"
    example: ClassVar[dict[str, Any]] = {
        "claim_id": "claim_01",
        "order_id": "order_01",
        "type": "refund",
        "lines": [_LINE],
        "refund_amount": None,
        "execute_refund": True,
        "return_shipping": None,
        "refund_to": "payment",
        "shipping": [],
    }
    claim_id: str
    order_id: str
    type: str
    lines: list[LineQuantity]
    refund_amount: int | None = None
    execute_refund: bool = False
    return_shipping: ReturnShipping | None = None
    refund_to: str = "payment"
    shipping: list[ReturnShipping] = []


class BookedRefund(Part):
    """A refund booked with the hold: ``amount`` in minor units, 0 without a ``refund_id``."""

    refund_id: str | None = None
    amount: int


class ClaimHoldPlaced(Event):
    """Said by orders when the units and the money of a claim are held; heard by claims.

    ``amount`` is what the refund will be (minor units, 0 for a replace claim), ``explanation``
    its parts; for an exchange, what its customer is credited. ``tax`` is what replacement lines
    carry; ``includes_tax``: prices of the region contain it. ``refund`` is given where the hold was
    to go on with the refund and no provider had to be asked: then no ClaimRefundSucceeded follows.
    """

    key: ClassVar[str] = "orders.claim-hold.placed.v1"
    example: ClassVar[dict[str, Any]] = {
        "claim_id": "claim_01",
        "order_id": "order_01",
        "currency_code": "gbp",
        "amount": 1000,
        "explanation": [_GOODS],
        "lines": [_SNAPSHOT],
        "tax": {"rate": 20.0, "code": None, "name": "default"},
        "includes_tax": False,
        "return_shipping": None,
        "no_notification": False,
        "refund": None,
    }
    claim_id: str
    order_id: str
    currency_code: str
    amount: int
    explanation: list[RefundLine] = []
    lines: list[LineSnapshot] = []
    tax: TaxRate | None = None
    includes_tax: bool = False
    return_shipping: ShippingQuote | None = None
    no_notification: bool = False
    refund: BookedRefund | None = None


class ClaimHoldRejected(Rejection):
    """Said by orders when a claim cannot be held; nothing was changed; heard by claims."""

    key: ClassVar[str] = "orders.claim-hold.rejected.v1"
    example: ClassVar[dict[str, Any]] = {
        "claim_id": "claim_01",
        "code": "quantity_exceeds_fulfilled",
        "kind": "not_allowed",
        "message": "Cannot claim more of an item than has been fulfilled.",
    }
    claim_id: str


class ReleaseClaimHold(Command):
    """Said by claims to give the units and the money of a claim back; heard by orders.

    Works in any state: an unknown claim leaves a tombstone, so that a late hold is refused. That
    store credit was spent is not looked at again for the same ``request_id``.
    """

    key: ClassVar[str] = "orders.claim-hold.release"
    example: ClassVar[dict[str, Any]] = {
        "claim_id": "claim_01",
        "order_id": "order_01",
        "request_id": "csaga_01",
    }
    claim_id: str
    order_id: str
    request_id: str | None = None


class ClaimHoldReleased(Event):
    """Said by orders when nothing of a claim is held any more; heard by claims.

    ``pivot_passed`` means the opposite: a refund is on its way or done, nothing was released.
    ``paid_back_amount`` is minor units: the difference of an exchange that had been paid.
    """

    key: ClassVar[str] = "orders.claim-hold.released.v1"
    example: ClassVar[dict[str, Any]] = {
        "claim_id": "claim_01",
        "pivot_passed": False,
        "paid_back_amount": 0,
    }
    claim_id: str
    pivot_passed: bool = False
    paid_back_amount: int = 0


class ExecuteClaimRefund(Command):
    """Said by claims when everybody agreed and the money may go; heard by orders. The pivot."""

    key: ClassVar[str] = "orders.claim-refund.execute"
    example: ClassVar[dict[str, Any]] = {"claim_id": "claim_01", "order_id": "order_01"}
    claim_id: str
    order_id: str


class RetryClaimRefund(Command):
    """Said by claims when the money of a claim that holds units did not go out, or was not meant
    to, and shall go now; heard by orders.

    ``refund_amount`` is minor units; null means what the claimed units are worth by now. Where the
    provider declines, the claim keeps its units. There is one refund per claim, whoever asks; what
    was decided for a ``request_id`` is not decided again. ``refund_to`` as in PlaceClaimHold: what
    a provider declined may become store credit.
    """

    key: ClassVar[str] = "orders.claim-refund.retry"
    example: ClassVar[dict[str, Any]] = {
        "claim_id": "claim_01",
        "order_id": "order_01",
        "request_id": "csaga_01",
        "refund_amount": None,
        "refund_to": "payment",
    }
    claim_id: str
    order_id: str
    request_id: str
    refund_amount: int | None = None
    refund_to: str = "payment"


class ClaimRefundSucceeded(Event):
    """Said by orders when a claim's money went out; heard by claims.

    ``amount`` is minor units; 0 means that there was nothing to refund and ``refund_id`` is null.
    ``explanation`` has the parts of an amount that was decided after the hold.
    """

    key: ClassVar[str] = "orders.claim-refund.succeeded.v1"
    example: ClassVar[dict[str, Any]] = {
        "claim_id": "claim_01",
        "refund_id": "ref_01",
        "amount": 1000,
        "explanation": [],
    }
    claim_id: str
    refund_id: str | None = None
    amount: int
    explanation: list[RefundLine] = []


class ClaimRefundDeclined(Rejection):
    """Said by orders when the payment provider definitely declined: the money is free again, and
    the units of a claim that was being opened; heard by claims."""

    key: ClassVar[str] = "orders.claim-refund.declined.v1"
    example: ClassVar[dict[str, Any]] = {
        "claim_id": "claim_01",
        "code": "refund_declined",
        "kind": "not_allowed",
        "message": "The payment provider declined the refund: card closed",
    }
    claim_id: str


class SentReplacement(Part):
    """A line of a claim that is sent out instead of what was claimed. ``unit_price`` is minor units
    without tax: it weighs the lines against each other, and is not what a refund is worth."""

    line_id: str
    variant_id: str
    title: str
    description: str | None = None
    unit_price: int
    quantity: int


_PARCEL = {"fulfillment_id": "ful_01", "claim_id": "claim_01"}
_SENT = {
    "line_id": "item_02",
    "variant_id": "variant_01",
    "title": "Red mug",
    "description": "300 ml",
    "unit_price": 1000,
    "quantity": 1,
}


class SettleExchange(Command):
    """Said by claims when the units of an exchange are held and its goods reserved; heard by
    orders, which finds the difference, and gives it back where it is the customer's. The pivot.

    ``lines`` are what goes out; orders adds the region's tax.
    """

    key: ClassVar[str] = "orders.exchange.settle"
    example: ClassVar[dict[str, Any]] = {
        "exchange_id": "swap_01",
        "order_id": "order_01",
        "lines": [_SENT],
    }
    exchange_id: str
    order_id: str
    lines: list[SentReplacement]


class ProcessExchange(Command):
    """Said by claims when the difference of an exchange came, or a refund of it that was declined
    is to be asked for again; heard by orders. What was decided for a ``request_id`` is not decided
    again.
    """

    key: ClassVar[str] = "orders.exchange.process"
    example: ClassVar[dict[str, Any]] = {
        "exchange_id": "swap_01",
        "order_id": "order_01",
        "request_id": "csaga_01",
    }
    exchange_id: str
    order_id: str
    request_id: str


class ExchangeSettled(Event):
    """Said by orders when the difference of an exchange is known, and again when it came or went
    out; heard by claims.

    ``difference_due`` is minor units: what the customer owes, or below 0 gets back.
    ``payment_status`` is awaiting, captured, confirmed, difference_refunded, partially_refunded or
    requires_action; ``message`` says why a provider declined. The parts of ``explanation`` add up
    to minus the difference.
    """

    key: ClassVar[str] = "orders.exchange.settled.v1"
    example: ClassVar[dict[str, Any]] = {
        "exchange_id": "swap_01",
        "difference_due": -200,
        "payment_status": "difference_refunded",
        "payment_id": None,
        "refund_id": "ref_01",
        "refund_amount": 200,
        "explanation": [_GOODS],
        "message": None,
    }
    exchange_id: str
    difference_due: int
    payment_status: str
    payment_id: str | None = None
    refund_id: str | None = None
    refund_amount: int = 0
    explanation: list[RefundLine] = []
    message: str | None = None


class ExchangeRejected(Rejection):
    """Said by orders when the difference of an exchange cannot be settled, or a provider declined
    once more to give it back; nothing was changed; heard by claims."""

    key: ClassVar[str] = "orders.exchange.rejected.v1"
    example: ClassVar[dict[str, Any]] = {
        "exchange_id": "swap_01",
        "code": "amount_exceeds_refundable",
        "kind": "not_allowed",
        "message": "Refund amount is greater that the refundable amount",
    }
    exchange_id: str


class RecordReplacement(Command):
    """Said by claims when replacement goods are packed; heard by orders.

    From then on the units of the lines in ``packed`` can be claimed and returned like others.
    ``lines`` are all that the claim sends out: what was paid for the claimed units is shared
    among them.
    """

    key: ClassVar[str] = "orders.replacement.record"
    example: ClassVar[dict[str, Any]] = {
        **_PARCEL,
        "order_id": "order_01",
        "lines": [_SENT],
        "packed": ["item_02"],
    }
    fulfillment_id: str
    claim_id: str
    order_id: str
    lines: list[SentReplacement]
    packed: list[str]


class ReplacementRecorded(Event):
    """Said by orders when the units of packed replacement goods are in its books;
    heard by claims."""

    key: ClassVar[str] = "orders.replacement.recorded.v1"
    example: ClassVar[dict[str, Any]] = _PARCEL
    fulfillment_id: str
    claim_id: str


class ShipReplacement(Command):
    """Said by claims when replacement goods are on their way; heard by orders."""

    key: ClassVar[str] = "orders.replacement.ship"
    example: ClassVar[dict[str, Any]] = {**_PARCEL, "order_id": "order_01"}
    fulfillment_id: str
    claim_id: str
    order_id: str


class ReplacementShipped(Event):
    """Said by orders when the units of replacement goods count as shipped; heard by claims."""

    key: ClassVar[str] = "orders.replacement.shipped.v1"
    example: ClassVar[dict[str, Any]] = _PARCEL
    fulfillment_id: str
    claim_id: str


class WithdrawReplacement(Command):
    """Said by claims when replacement goods are to be unpacked; heard by orders.

    Goods that nobody packed leave a tombstone, so that they are not recorded later. What was
    rejected once stays so for the same ``request_id``.
    """

    key: ClassVar[str] = "orders.replacement.withdraw"
    example: ClassVar[dict[str, Any]] = {
        **_PARCEL,
        "order_id": "order_01",
        "request_id": "csaga_01",
    }
    fulfillment_id: str
    claim_id: str
    order_id: str
    request_id: str


class ReplacementWithdrawn(Event):
    """Said by orders when the units of replacement goods are out of its books; heard by claims."""

    key: ClassVar[str] = "orders.replacement.withdrawn.v1"
    example: ClassVar[dict[str, Any]] = _PARCEL
    fulfillment_id: str
    claim_id: str


class ReplacementWithdrawalRejected(Rejection):
    """Said by orders when units of the goods have been claimed or returned; heard by claims."""

    key: ClassVar[str] = "orders.replacement.withdrawal-rejected.v1"
    example: ClassVar[dict[str, Any]] = {
        **_PARCEL,
        "code": "units_claimed",
        "kind": "not_allowed",
        "message": "Items of the fulfillment have been claimed or returned:"
        " cancel the claim or the return first",
    }
    fulfillment_id: str
    claim_id: str


class PlaceReturnHold(Command):
    """Said by returns when a return is requested; heard by orders. Holds units, never money.

    ``refund_to`` is payment, or store_credit: where the money of its receipts goes.
    """

    key: ClassVar[str] = "orders.return-hold.place"
    example: ClassVar[dict[str, Any]] = {
        "return_id": "ret_01",
        "order_id": "order_01",
        "lines": [_LINE],
        "refund": None,
        "return_shipping": None,
        "refund_to": "payment",
    }
    return_id: str
    order_id: str
    lines: list[LineQuantity]
    refund: int | None = None
    return_shipping: ReturnShipping | None = None
    refund_to: str = "payment"


class ReturnHoldPlaced(Event):
    """Said by orders when the units of a return are held; heard by returns.

    ``amount`` is the refund to expect (minor units; may be negative when the label is dearer
    than the goods), ``refund_to`` where it will go.
    """

    key: ClassVar[str] = "orders.return-hold.placed.v1"
    example: ClassVar[dict[str, Any]] = {
        "return_id": "ret_01",
        "order_id": "order_01",
        "currency_code": "gbp",
        "amount": 1000,
        "explanation": [_GOODS],
        "lines": [_SNAPSHOT],
        "return_shipping": None,
        "no_notification": False,
        "refund_to": "payment",
    }
    return_id: str
    order_id: str
    currency_code: str
    amount: int
    explanation: list[RefundLine] = []
    lines: list[LineSnapshot] = []
    return_shipping: ShippingQuote | None = None
    no_notification: bool = False
    refund_to: str = "payment"


class ReturnHoldRejected(Rejection):
    """Said by orders when a return cannot be held; nothing was changed; heard by returns."""

    key: ClassVar[str] = "orders.return-hold.rejected.v1"
    example: ClassVar[dict[str, Any]] = {
        "return_id": "ret_01",
        "code": "quantity_exceeds_purchased",
        "kind": "not_allowed",
        "message": "Cannot return more items than have been purchased",
    }
    return_id: str


class ReleaseReturnHold(Command):
    """Said by returns to give back the units of a return that did not come; heard by orders."""

    key: ClassVar[str] = "orders.return-hold.release"
    example: ClassVar[dict[str, Any]] = {"return_id": "ret_01", "order_id": "order_01"}
    return_id: str
    order_id: str


class ReturnHoldReleased(Event):
    """Said by orders when nothing of a return is held any more; heard by returns."""

    key: ClassVar[str] = "orders.return-hold.released.v1"
    example: ClassVar[dict[str, Any]] = {"return_id": "ret_01"}
    return_id: str


class CheckReturnReceipt(Command):
    """Said by returns when a parcel holds more than was announced; heard by orders, which says
    whether these further units can be of the order, and what they are. Nothing is held.
    """

    key: ClassVar[str] = "orders.return-receipt.check"
    example: ClassVar[dict[str, Any]] = {
        "receipt_id": "rcpt_01",
        "return_id": "ret_01",
        "order_id": "order_01",
        "lines": [_LINE],
    }
    receipt_id: str
    return_id: str
    order_id: str
    lines: list[LineQuantity]


class ReturnReceiptChecked(Event):
    """Said by orders when unannounced units can be of the order; heard by returns."""

    key: ClassVar[str] = "orders.return-receipt.checked.v1"
    example: ClassVar[dict[str, Any]] = {
        "receipt_id": "rcpt_01",
        "return_id": "ret_01",
        "lines": [_SNAPSHOT],
    }
    receipt_id: str
    return_id: str
    lines: list[LineSnapshot]


class ReturnReceiptRejected(Rejection):
    """Said by orders when unannounced units cannot be of the order; heard by returns."""

    key: ClassVar[str] = "orders.return-receipt.rejected.v1"
    example: ClassVar[dict[str, Any]] = {
        "receipt_id": "rcpt_01",
        "return_id": "ret_01",
        "code": "line_foreign",
        "kind": "invalid",
        "message": "Return contains invalid line item",
    }
    receipt_id: str
    return_id: str


class SettleReturnReceipt(Command):
    """Said by returns when goods arrived; heard by orders, which never refuses: goods are a fact.

    ``claim_id`` is set for a return that a claim opened: its units live under the claim's remedy
    and its money was settled there. ``refund`` null means "what the received units are worth".
    With ``settle_owed`` nothing arrived: what earlier receipts of the return left owed is to be
    paid, or ``refund`` instead of it. ``refund_to`` null means "as the return was requested".
    """

    key: ClassVar[str] = "orders.return-receipt.settle"
    example: ClassVar[dict[str, Any]] = {
        "receipt_id": "rcpt_01",
        "return_id": "ret_01",
        "claim_id": None,
        "order_id": "order_01",
        "lines": [_LINE],
        "refund": None,
        "settle_owed": False,
        "refund_to": None,
    }
    receipt_id: str
    return_id: str
    claim_id: str | None = None
    order_id: str
    lines: list[LineQuantity]
    refund: int | None = None
    settle_owed: bool = False
    refund_to: str | None = None


class ReturnReceiptSettled(Event):
    """Said by orders when a receipt is booked and its money is out; heard by returns.

    ``action_required`` means that the goods are booked but the money is not: ``code`` and
    ``message`` say why, ``owed_amount`` how much is still to be paid.
    """

    key: ClassVar[str] = "orders.return-receipt.settled.v1"
    example: ClassVar[dict[str, Any]] = {
        "receipt_id": "rcpt_01",
        "return_id": "ret_01",
        "refund_id": "ref_01",
        "refund_amount": 1000,
        "explanation": [_GOODS],
        "action_required": False,
        "owed_amount": 0,
        "code": None,
        "message": None,
    }
    receipt_id: str
    return_id: str
    refund_id: str | None = None
    refund_amount: int = 0
    explanation: list[RefundLine] = []
    action_required: bool = False
    owed_amount: int = 0
    code: str | None = None
    message: str | None = None


class OrderRefunded(Event):
    """Said by orders when money of an order went back to its payer, for whatever cause;
    for outside only.

    ``cause_kind`` is claim, receipt, exchange or manual, ``cause_id`` its id; ``amount`` is minor
    units.
    """

    key: ClassVar[str] = "orders.order.refunded.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.refund_created",
        "id": "order_01",
        "refund_id": "ref_01",
        "no_notification": False,
        "amount": 1000,
        "currency_code": "gbp",
        "cause_kind": "claim",
        "cause_id": "claim_01",
        "payment_status": "partially_refunded",
    }
    name: str = "order.refund_created"
    id: str
    refund_id: str
    no_notification: bool = False
    amount: int
    currency_code: str
    cause_kind: str
    cause_id: str
    payment_status: str


class OrderItemsReturned(Event):
    """Said by orders when a receipt of returned goods was booked on an order; for outside only.

    ``name`` is Medusa's: ``order.items_returned``, or ``order.return_action_required`` when the
    money could not go out.
    """

    key: ClassVar[str] = "orders.order.items-returned.v1"
    other_names: ClassVar[tuple[str, ...]] = ("order.return_action_required",)
    example: ClassVar[dict[str, Any]] = {
        "name": "order.items_returned",
        "id": "order_01",
        "return_id": "ret_01",
        "no_notification": False,
        "fulfillment_status": "partially_returned",
    }
    name: str = "order.items_returned"
    id: str
    return_id: str
    no_notification: bool = False
    fulfillment_status: str


class OrderFulfillmentCreated(Event):
    """Said by orders when goods of an order are packed; for outside only."""

    key: ClassVar[str] = "orders.order.fulfillment-created.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.fulfillment_created",
        "id": "order_01",
        "fulfillment_id": "ful_01",
        "no_notification": False,
        "location_id": "sloc_01",
        "items": [_LINE],
        "fulfillment_status": "fulfilled",
    }
    name: str = "order.fulfillment_created"
    id: str
    fulfillment_id: str
    no_notification: bool = False
    location_id: str | None = None
    items: list[LineQuantity]
    fulfillment_status: str


class OrderFulfillmentCanceled(Event):
    """Said by orders when packed goods of an order are unpacked; for outside only."""

    key: ClassVar[str] = "orders.order.fulfillment-canceled.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.fulfillment_canceled",
        "id": "order_01",
        "fulfillment_id": "ful_01",
        "no_notification": False,
        "location_id": "sloc_01",
        "items": [_LINE],
        "fulfillment_status": "canceled",
    }
    name: str = "order.fulfillment_canceled"
    id: str
    fulfillment_id: str
    no_notification: bool = False
    location_id: str | None = None
    items: list[LineQuantity]
    fulfillment_status: str


class OrderShipmentCreated(Event):
    """Said by orders when packed goods of an order are on their way; for outside only."""

    key: ClassVar[str] = "orders.order.shipment-created.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.shipment_created",
        "id": "order_01",
        "fulfillment_id": "ful_01",
        "no_notification": False,
        "tracking_numbers": ["1Z999"],
        "items": [_LINE],
        "fulfillment_status": "shipped",
    }
    name: str = "order.shipment_created"
    id: str
    fulfillment_id: str
    no_notification: bool = False
    tracking_numbers: list[str] = []
    items: list[LineQuantity]
    fulfillment_status: str


class OrderPaymentCaptured(Event):
    """Said by orders when all money of an order is taken; for outside only.

    ``amount`` is what was taken in all, in minor units.
    """

    key: ClassVar[str] = "orders.order.payment-captured.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.payment_captured",
        "id": "order_01",
        "no_notification": False,
        "amount": 1000,
        "currency_code": "gbp",
        "payment_status": "captured",
    }
    name: str = "order.payment_captured"
    id: str
    no_notification: bool = False
    amount: int
    currency_code: str
    payment_status: str


class OrderPaymentCaptureFailed(Event):
    """Said by orders when a payment provider definitely did not give the money of an order;
    for outside only."""

    key: ClassVar[str] = "orders.order.payment-capture-failed.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.payment_capture_failed",
        "id": "order_01",
        "payment_id": "pay_01",
        "error": "card closed",
        "no_notification": False,
        "payment_status": "requires_action",
    }
    name: str = "order.payment_capture_failed"
    id: str
    payment_id: str
    error: str
    no_notification: bool = False
    payment_status: str


class _OrderState(Event):
    """What an event about a whole order tells: its public state after the change."""

    name: str
    id: str
    no_notification: bool = False
    status: str
    fulfillment_status: str
    payment_status: str


class OrderPlaced(_OrderState):
    """Said by orders when an order was opened that follows from a claim; for outside only."""

    key: ClassVar[str] = "orders.order.placed.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.placed",
        "id": "order_02",
        "no_notification": False,
        "status": "pending",
        "fulfillment_status": "not_fulfilled",
        "payment_status": "not_paid",
        "claim_id": "claim_01",
    }
    name: str = "order.placed"
    claim_id: str | None = None


class OrderCompleted(_OrderState):
    """Said by orders when somebody declared an order completed; for outside only."""

    key: ClassVar[str] = "orders.order.completed.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.completed",
        "id": "order_01",
        "no_notification": False,
        "status": "completed",
        "fulfillment_status": "shipped",
        "payment_status": "captured",
    }
    name: str = "order.completed"


class OrderArchived(_OrderState):
    """Said by orders when somebody put a completed order away; for outside only."""

    key: ClassVar[str] = "orders.order.archived.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.archived",
        "id": "order_01",
        "no_notification": False,
        "status": "archived",
        "fulfillment_status": "shipped",
        "payment_status": "captured",
    }
    name: str = "order.archived"


class OrderCanceled(_OrderState):
    """Said by orders when an order is canceled with all its parts; for outside only."""

    key: ClassVar[str] = "orders.order.canceled.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.canceled",
        "id": "order_01",
        "no_notification": False,
        "status": "canceled",
        "fulfillment_status": "canceled",
        "payment_status": "canceled",
    }
    name: str = "order.canceled"


class OrderUpdated(_OrderState):
    """Said by orders when somebody corrected an order; for outside only."""

    key: ClassVar[str] = "orders.order.updated.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "order.updated",
        "id": "order_01",
        "no_notification": False,
        "status": "pending",
        "fulfillment_status": "not_fulfilled",
        "payment_status": "awaiting",
    }
    name: str = "order.updated"


class StoreCreditChanged(Event):
    """Said by orders when a customer's store credit was given, taken back or corrected; for outside
    only.

    ``amount`` is signed and ``balance`` what is there now, both minor units. ``kind`` is granted
    (a claim was refunded so), reversed (that claim was canceled) or adjusted (by a person).
    """

    key: ClassVar[str] = "orders.store-credit.changed.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "store_credit.changed",
        "id": "sce_01",
        "customer_id": "cus_01",
        "currency_code": "gbp",
        "amount": 1000,
        "balance": 1500,
        "kind": "granted",
        "order_id": "order_01",
        "claim_id": "claim_01",
    }
    name: str = "store_credit.changed"
    id: str
    customer_id: str
    currency_code: str
    amount: int
    balance: int
    kind: str
    order_id: str | None = None
    claim_id: str | None = None


class _NoteState(Event):
    """What every event of a note tells: its id and what it is about, never its text."""

    name: str
    id: str
    resource_type: str
    resource_id: str


_NOTE = {"id": "note_01", "resource_type": "order", "resource_id": "order_01"}


class NoteCreated(_NoteState):
    """Said by orders when somebody wrote a note; for outside only."""

    key: ClassVar[str] = "orders.note.created.v1"
    example: ClassVar[dict[str, Any]] = {"name": "note.created", **_NOTE}
    name: str = "note.created"


class NoteUpdated(_NoteState):
    """Said by orders when the text of a note was changed; for outside only."""

    key: ClassVar[str] = "orders.note.updated.v1"
    example: ClassVar[dict[str, Any]] = {"name": "note.updated", **_NOTE}
    name: str = "note.updated"


class NoteDeleted(_NoteState):
    """Said by orders when a note was removed; for outside only."""

    key: ClassVar[str] = "orders.note.deleted.v1"
    example: ClassVar[dict[str, Any]] = {"name": "note.deleted", **_NOTE}
    name: str = "note.deleted"


MESSAGES: tuple[type[Command] | type[Event], ...] = (
    PlaceClaimHold,
    ClaimHoldPlaced,
    ClaimHoldRejected,
    ReleaseClaimHold,
    ClaimHoldReleased,
    ExecuteClaimRefund,
    RetryClaimRefund,
    ClaimRefundSucceeded,
    ClaimRefundDeclined,
    SettleExchange,
    ProcessExchange,
    ExchangeSettled,
    ExchangeRejected,
    RecordReplacement,
    ReplacementRecorded,
    ShipReplacement,
    ReplacementShipped,
    WithdrawReplacement,
    ReplacementWithdrawn,
    ReplacementWithdrawalRejected,
    PlaceReturnHold,
    ReturnHoldPlaced,
    ReturnHoldRejected,
    ReleaseReturnHold,
    ReturnHoldReleased,
    CheckReturnReceipt,
    ReturnReceiptChecked,
    ReturnReceiptRejected,
    SettleReturnReceipt,
    ReturnReceiptSettled,
    OrderRefunded,
    OrderItemsReturned,
    OrderFulfillmentCreated,
    OrderFulfillmentCanceled,
    OrderShipmentCreated,
    OrderPaymentCaptured,
    OrderPaymentCaptureFailed,
    OrderPlaced,
    OrderCompleted,
    OrderArchived,
    OrderCanceled,
    OrderUpdated,
    StoreCreditChanged,
    NoteCreated,
    NoteUpdated,
    NoteDeleted,
)
