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


MESSAGES: tuple[type[Command] | type[Event], ...] = (
    ClaimCreated,
    ClaimRefunded,
    ClaimConfirmed,
    ClaimRefused,
    ClaimCanceled,
)
