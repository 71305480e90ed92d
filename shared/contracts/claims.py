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


MESSAGES: tuple[type[Command] | type[Event], ...] = (
    ClaimCreated,
    ClaimRefunded,
    ClaimConfirmed,
    ClaimRefused,
    ClaimCanceled,
    ClaimUpdated,
    ClaimAssigned,
    ClaimClosed,
)
