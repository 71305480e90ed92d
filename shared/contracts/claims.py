"""The language of claims: the events it says."""

from __future__ import annotations

from typing import Any, ClassVar

from contracts.base import Command, Event, LineQuantity

_EXAMPLE: dict[str, Any] = {
    "id": "claim_01",
    "no_notification": False,
    "order_id": "order_01",
    "type": "refund",
    "status": "open",
    "payment_status": "not_refunded",
    "refund_amount": 1000,
    "items": [{"line_id": "item_01", "quantity": 1}],
}


class _ClaimState(Event):
    """What every event of a claim tells: its public state after the change."""

    name: str
    id: str
    no_notification: bool = False
    order_id: str
    type: str
    status: str
    payment_status: str
    refund_amount: int | None = None
    items: list[LineQuantity] = []


class ClaimCreated(_ClaimState):
    """Said by claims when a claim's units, money and stock are held; for outside only."""

    key: ClassVar[str] = "claims.claim.created.v1"
    example: ClassVar[dict[str, Any]] = {"name": "claim.created", **_EXAMPLE}
    name: str = "claim.created"


class _ClaimItemState(Event):
    """What every event of a claim item tells; its texts and images are asked for."""

    name: str
    id: str
    claim_id: str
    line_id: str
    quantity: int
    reason: str


_ITEM: dict[str, Any] = {
    "id": "citm_01",
    "claim_id": "claim_01",
    "line_id": "item_01",
    "quantity": 1,
    "reason": "wrong_item",
}


class ClaimItemCreated(_ClaimItemState):
    """Said by claims for each item of a claim that was created; for outside only."""

    key: ClassVar[str] = "claims.claim-item.created.v1"
    example: ClassVar[dict[str, Any]] = {"name": "claim_item.created", **_ITEM}
    name: str = "claim_item.created"


class ClaimItemUpdated(_ClaimItemState):
    """Said by claims for each item that somebody changed, with the version of its claim;
    for outside only."""

    key: ClassVar[str] = "claims.claim-item.updated.v1"
    example: ClassVar[dict[str, Any]] = {"name": "claim_item.updated", **_ITEM}
    name: str = "claim_item.updated"


class ClaimRefunded(_ClaimState):
    """Said by claims when the money of a claim went out; for outside only."""

    key: ClassVar[str] = "claims.claim.refunded.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "claim.refund_processed",
        **_EXAMPLE,
        "payment_status": "refunded",
    }
    name: str = "claim.refund_processed"


class ClaimConfirmed(_ClaimState):
    """Said by claims when every step of a claim's creation is done; for outside only."""

    key: ClassVar[str] = "claims.claim.confirmed.v1"
    example: ClassVar[dict[str, Any]] = {"name": "claim.confirmed", **_EXAMPLE}
    name: str = "claim.confirmed"


class ClaimRefused(_ClaimState):
    """Said by claims when a created claim was taken back, because its refund was declined;
    for outside only."""

    key: ClassVar[str] = "claims.claim.refused.v1"
    example: ClassVar[dict[str, Any]] = {"name": "claim.refused", **_EXAMPLE, "status": "refused"}
    name: str = "claim.refused"


class ClaimCanceled(_ClaimState):
    """Said by claims when a claim was canceled and holds nothing any more; for outside only."""

    key: ClassVar[str] = "claims.claim.canceled.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "claim.canceled",
        **_EXAMPLE,
        "status": "canceled",
    }
    name: str = "claim.canceled"


class ClaimUpdated(_ClaimState):
    """Said by claims when somebody changed what is written on a claim; for outside only."""

    key: ClassVar[str] = "claims.claim.updated.v1"
    example: ClassVar[dict[str, Any]] = {"name": "claim.updated", **_EXAMPLE}
    name: str = "claim.updated"


class ClaimAssigned(_ClaimState):
    """Said by claims when a claim was given to somebody, or to nobody; for outside only."""

    key: ClassVar[str] = "claims.claim.assigned.v1"
    example: ClassVar[dict[str, Any]] = {"name": "claim.assigned", **_EXAMPLE}
    name: str = "claim.assigned"


class ClaimClosed(_ClaimState):
    """Said by claims when the work on a claim is over; for outside only."""

    key: ClassVar[str] = "claims.claim.closed.v1"
    example: ClassVar[dict[str, Any]] = {"name": "claim.closed", **_EXAMPLE}
    name: str = "claim.closed"


class ClaimConverted(_ClaimState):
    """Said by claims when a claim became one of the other type; for outside only."""

    key: ClassVar[str] = "claims.claim.converted.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "claim.converted",
        **_EXAMPLE,
        "type": "replace",
        "payment_status": "na",
        "refund_amount": None,
    }
    name: str = "claim.converted"


class _ClaimGoodsState(Event):
    """What an event of the goods that a claim sends out tells; ``fulfillment_status`` is the
    claim's."""

    name: str
    id: str
    fulfillment_id: str
    no_notification: bool = False
    order_id: str
    location_id: str | None = None
    items: list[LineQuantity] = []
    fulfillment_status: str


_GOODS: dict[str, Any] = {
    "id": "claim_01",
    "fulfillment_id": "ful_01",
    "no_notification": False,
    "order_id": "order_01",
    "location_id": "sloc_01",
    "items": [{"line_id": "item_02", "quantity": 1}],
}


class ClaimFulfillmentCreated(_ClaimGoodsState):
    """Said by claims when replacement goods are packed; for outside only."""

    key: ClassVar[str] = "claims.claim.fulfillment-created.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "claim.fulfillment_created",
        **_GOODS,
        "fulfillment_status": "fulfilled",
    }
    name: str = "claim.fulfillment_created"


class ClaimFulfillmentCanceled(_ClaimGoodsState):
    """Said by claims when replacement goods were unpacked; for outside only."""

    key: ClassVar[str] = "claims.claim.fulfillment-canceled.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "claim.fulfillment_canceled",
        **_GOODS,
        "fulfillment_status": "canceled",
    }
    name: str = "claim.fulfillment_canceled"


class ClaimShipmentCreated(_ClaimGoodsState):
    """Said by claims when replacement goods are on their way; for outside only."""

    key: ClassVar[str] = "claims.claim.shipment-created.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "claim.shipment_created",
        **_GOODS,
        "fulfillment_status": "shipped",
        "tracking_numbers": ["T-1"],
    }
    name: str = "claim.shipment_created"
    tracking_numbers: list[str] = []


# ---- exchanges, which Medusa calls swaps


class _SwapState(Event):
    """What every event of an exchange tells: its public state after the change. ``difference_due``
    is minor units: what the customer owes, or below 0 gets back; ``items`` are what comes back."""

    name: str
    id: str
    no_notification: bool = False
    order_id: str
    status: str
    payment_status: str
    fulfillment_status: str
    difference_due: int
    items: list[LineQuantity] = []


_SWAP: dict[str, Any] = {
    "id": "swap_01",
    "no_notification": False,
    "order_id": "order_01",
    "status": "open",
    "payment_status": "awaiting",
    "fulfillment_status": "not_fulfilled",
    "difference_due": 500,
    "items": [{"line_id": "item_01", "quantity": 1}],
}


class SwapCreated(_SwapState):
    """Said by claims when the units of an exchange are held, its goods reserved, and the difference
    is known; for outside only."""

    key: ClassVar[str] = "claims.swap.created.v1"
    example: ClassVar[dict[str, Any]] = {"name": "swap.created", **_SWAP}
    name: str = "swap.created"


class SwapReceived(_SwapState):
    """Said by claims when all that an exchange gives back has come; for outside only."""

    key: ClassVar[str] = "claims.swap.received.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "swap.received",
        **_SWAP,
        "payment_status": "captured",
    }
    name: str = "swap.received"


class SwapPaymentCaptured(_SwapState):
    """Said by claims when the customer paid the difference of an exchange; for outside only."""

    key: ClassVar[str] = "claims.swap.payment-captured.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "swap.payment_captured",
        **_SWAP,
        "payment_status": "captured",
    }
    name: str = "swap.payment_captured"


class SwapPaymentCompleted(_SwapState):
    """Said by claims when nothing of the difference of an exchange is left to be settled;
    for outside only."""

    key: ClassVar[str] = "claims.swap.payment-completed.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "swap.payment_completed",
        **_SWAP,
        "payment_status": "confirmed",
        "difference_due": 0,
    }
    name: str = "swap.payment_completed"


class SwapRefundProcessed(_SwapState):
    """Said by claims when the difference of an exchange went back to the customer;
    for outside only."""

    key: ClassVar[str] = "claims.swap.refund-processed.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "swap.refund_processed",
        **_SWAP,
        "payment_status": "difference_refunded",
        "difference_due": -500,
    }
    name: str = "swap.refund_processed"


class SwapRefundFailed(_SwapState):
    """Said by claims when a payment provider definitely did not give back the difference of an
    exchange; for outside only."""

    key: ClassVar[str] = "claims.swap.refund-failed.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "swap.process_refund_failed",
        **_SWAP,
        "payment_status": "requires_action",
        "difference_due": -500,
    }
    name: str = "swap.process_refund_failed"


class SwapCanceled(_SwapState):
    """Said by claims when an exchange was canceled and holds nothing any more; for outside only."""

    key: ClassVar[str] = "claims.swap.canceled.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "swap.canceled",
        **_SWAP,
        "status": "canceled",
        "payment_status": "canceled",
        "fulfillment_status": "canceled",
    }
    name: str = "swap.canceled"


_SWAPPED: dict[str, Any] = {**_GOODS, "id": "swap_01"}


class SwapFulfillmentCreated(_ClaimGoodsState):
    """Said by claims when goods of an exchange are packed; for outside only."""

    key: ClassVar[str] = "claims.swap.fulfillment-created.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "swap.fulfillment_created",
        **_SWAPPED,
        "fulfillment_status": "fulfilled",
    }
    name: str = "swap.fulfillment_created"


class SwapFulfillmentCanceled(_ClaimGoodsState):
    """Said by claims when goods of an exchange were unpacked; for outside only."""

    key: ClassVar[str] = "claims.swap.fulfillment-canceled.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "swap.fulfillment_canceled",
        **_SWAPPED,
        "fulfillment_status": "canceled",
    }
    name: str = "swap.fulfillment_canceled"


class SwapShipmentCreated(_ClaimGoodsState):
    """Said by claims when goods of an exchange are on their way; for outside only."""

    key: ClassVar[str] = "claims.swap.shipment-created.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "swap.shipment_created",
        **_SWAPPED,
        "fulfillment_status": "shipped",
        "tracking_numbers": ["T-1"],
    }
    name: str = "swap.shipment_created"
    tracking_numbers: list[str] = []


# ---- inquiries and evidence

_INQUIRY: dict[str, Any] = {
    "id": "inq_01",
    "order_id": "order_01",
    "customer_id": "cus_01",
    "status": "pending",
    "claim_id": None,
    "items": [{"line_id": "item_01", "quantity": 1}],
}


class _InquiryState(Event):
    """What every event of an inquiry tells: its public state after the change."""

    name: str
    id: str
    order_id: str
    customer_id: str | None = None
    status: str
    claim_id: str | None = None
    items: list[LineQuantity] = []


class InquiryCreated(_InquiryState):
    """Said by claims when a problem with an order was reported; for outside only."""

    key: ClassVar[str] = "claims.inquiry.created.v1"
    example: ClassVar[dict[str, Any]] = {"name": "inquiry.created", **_INQUIRY}
    name: str = "inquiry.created"


class InquiryReviewStarted(_InquiryState):
    """Said by claims when somebody took an inquiry into review; for outside only."""

    key: ClassVar[str] = "claims.inquiry.review-started.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "inquiry.review_started",
        **_INQUIRY,
        "status": "in_review",
    }
    name: str = "inquiry.review_started"


class InquiryApproved(_InquiryState):
    """Said by claims when the claim that an inquiry became is there; for outside only."""

    key: ClassVar[str] = "claims.inquiry.approved.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "inquiry.approved",
        **_INQUIRY,
        "status": "approved",
        "claim_id": "claim_01",
    }
    name: str = "inquiry.approved"


class InquiryRejected(_InquiryState):
    """Said by claims when the shop said no to an inquiry; for outside only."""

    key: ClassVar[str] = "claims.inquiry.rejected.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "inquiry.rejected",
        **_INQUIRY,
        "status": "rejected",
    }
    name: str = "inquiry.rejected"


class InquiryCanceled(_InquiryState):
    """Said by claims when an inquiry was taken back before anybody looked; for outside only."""

    key: ClassVar[str] = "claims.inquiry.canceled.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "inquiry.canceled",
        **_INQUIRY,
        "status": "canceled",
    }
    name: str = "inquiry.canceled"


class InquiryMessageAdded(_InquiryState):
    """Said by claims when customer or shop wrote to the other in an inquiry; for outside only.

    Its text is asked for.
    """

    key: ClassVar[str] = "claims.inquiry.message-added.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "inquiry.message_added",
        **_INQUIRY,
        "by": "customer",
    }
    name: str = "inquiry.message_added"
    by: str


class _EvidenceState(Event):
    """What every event of a piece of evidence tells; the file is asked for."""

    name: str
    id: str
    order_id: str
    inquiry_id: str | None = None
    claim_id: str | None = None
    content_type: str


_FILE: dict[str, Any] = {
    "id": "evid_01",
    "order_id": "order_01",
    "inquiry_id": "inq_01",
    "claim_id": None,
    "content_type": "image/jpeg",
}


class EvidenceAdded(_EvidenceState):
    """Said by claims when a file was added to an inquiry or a claim; for outside only."""

    key: ClassVar[str] = "claims.evidence.added.v1"
    example: ClassVar[dict[str, Any]] = {"name": "evidence.added", **_FILE}
    name: str = "evidence.added"


class EvidenceRemoved(_EvidenceState):
    """Said by claims when a file was removed again; for outside only."""

    key: ClassVar[str] = "claims.evidence.removed.v1"
    example: ClassVar[dict[str, Any]] = {"name": "evidence.removed", **_FILE}
    name: str = "evidence.removed"


MESSAGES: tuple[type[Command] | type[Event], ...] = (
    ClaimCreated,
    ClaimItemCreated,
    ClaimItemUpdated,
    ClaimRefunded,
    ClaimConfirmed,
    ClaimRefused,
    ClaimCanceled,
    ClaimUpdated,
    ClaimAssigned,
    ClaimClosed,
    ClaimConverted,
    ClaimFulfillmentCreated,
    ClaimFulfillmentCanceled,
    ClaimShipmentCreated,
    SwapCreated,
    SwapReceived,
    SwapPaymentCaptured,
    SwapPaymentCompleted,
    SwapRefundProcessed,
    SwapRefundFailed,
    SwapCanceled,
    SwapFulfillmentCreated,
    SwapFulfillmentCanceled,
    SwapShipmentCreated,
    InquiryCreated,
    InquiryReviewStarted,
    InquiryApproved,
    InquiryRejected,
    InquiryCanceled,
    InquiryMessageAdded,
    EvidenceAdded,
    EvidenceRemoved,
)
