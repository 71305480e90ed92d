"""The language of returns: commands it obeys, replies and events it says."""

from __future__ import annotations

from typing import Any, ClassVar

from contracts.base import Command, Event, LineSnapshot, Part, ShippingQuote


class ClaimReturnItem(Part):
    """A claimed line whose goods come back."""

    line_id: str
    quantity: int
    note: str | None = None
    reason_id: str | None = None


class OpenClaimReturn(Command):
    """Said by claims when the goods of a claim or an exchange come back; heard by returns, which
    cannot refuse.

    ``return_id`` is minted by claims, so that a repeat opens nothing new. ``refund_amount``
    mirrors the claim's (minor units); it is not paid again. ``exchange``: ``claim_id`` is an
    exchange's.
    """

    key: ClassVar[str] = "returns.claim-return.open"
    example: ClassVar[dict[str, Any]] = {
        "return_id": "ret_01",
        "claim_id": "claim_01",
        "order_id": "order_01",
        "items": [{"line_id": "item_01", "quantity": 1, "note": None, "reason_id": None}],
        "lines": [],
        "refund_amount": 1000,
        "shipping": {"option_id": "so_01", "name": "Parcel", "price": 0},
        "location_id": None,
        "no_notification": False,
        "exchange": False,
    }
    return_id: str
    claim_id: str
    order_id: str
    items: list[ClaimReturnItem]
    lines: list[LineSnapshot] = []
    refund_amount: int = 0
    shipping: ShippingQuote | None = None
    location_id: str | None = None
    no_notification: bool = False
    exchange: bool = False


class ClaimReturnOpened(Event):
    """Said by returns when the return of a claim stands; heard by claims."""

    key: ClassVar[str] = "returns.claim-return.opened.v1"
    example: ClassVar[dict[str, Any]] = {"claim_id": "claim_01", "return_id": "ret_01"}
    claim_id: str
    return_id: str


class CheckClaimReturn(Command):
    """Said by claims before a claim is canceled; heard by returns, the owner of the answer."""

    key: ClassVar[str] = "returns.claim-return.check"
    example: ClassVar[dict[str, Any]] = {"claim_id": "claim_01"}
    claim_id: str


class ClaimReturnChecked(Event):
    """Said by returns: the state of the return of a claim; heard by claims.

    ``status`` is null when the claim has none, else requested, received, requires_action
    or canceled.
    """

    key: ClassVar[str] = "returns.claim-return.checked.v1"
    example: ClassVar[dict[str, Any]] = {
        "claim_id": "claim_01",
        "return_id": "ret_01",
        "status": "canceled",
    }
    claim_id: str
    return_id: str | None = None
    status: str | None = None


class ClaimReturnMoved(Event):
    """Said by returns beside ``ReturnReceived`` and ``ReturnCanceled`` when the return is a claim's
    or an exchange's; heard by claims, which so hears nothing of all the others."""

    key: ClassVar[str] = "returns.claim-return.moved.v1"
    example: ClassVar[dict[str, Any]] = {"claim_id": "claim_01", "status": "received"}
    claim_id: str
    status: str


class _ReturnState(Event):
    """What every event of a return tells: its public state after the change."""

    name: str
    id: str
    return_id: str
    claim_id: str | None = None
    swap_id: str | None = None
    status: str
    refund_amount: int | None = None
    no_notification: bool = False


_EXAMPLE = {
    "id": "order_01",
    "return_id": "ret_01",
    "claim_id": None,
    "swap_id": None,
    "status": "requested",
    "refund_amount": 1000,
    "no_notification": False,
}


class ReturnRequested(_ReturnState):
    """Said by returns when a return is agreed; ``id`` is the order's; for outside only."""

    key: ClassVar[str] = "returns.return.requested.v1"
    example: ClassVar[dict[str, Any]] = {"name": "order.return_requested", **_EXAMPLE}
    name: str = "order.return_requested"


class ReturnReceived(_ReturnState):
    """Said by returns when a receipt is booked, its money settled later, or a short return closed;
    ``status`` tells whether anything is still to be done; for outside only."""

    key: ClassVar[str] = "returns.return.received.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "return.received",
        **_EXAMPLE,
        "status": "received",
    }
    name: str = "return.received"


class ReturnCanceled(_ReturnState):
    """Said by returns when a return is canceled and its units are free; for outside only."""

    key: ClassVar[str] = "returns.return.canceled.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "return.canceled",
        **_EXAMPLE,
        "status": "canceled",
    }
    name: str = "return.canceled"


MESSAGES: tuple[type[Command] | type[Event], ...] = (
    OpenClaimReturn,
    ClaimReturnOpened,
    CheckClaimReturn,
    ClaimReturnChecked,
    ClaimReturnMoved,
    ReturnRequested,
    ReturnReceived,
    ReturnCanceled,
)
