"""What may happen to an inquiry: a problem that was reported and not decided. Pure.

given     | when            | then
pending   | review          | in_review
pending   | cancel          | canceled
in_review | approve         | approving, the creation of its claim holds it
in_review | reject          | rejected
approving | claim confirmed | approved
approving | claim refused   | in_review, with the reason

Everything else is refused. To whoever reported it, an approving inquiry is still in review.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from chassis.errors import Conflict, Invalid, NotAllowed, NotFound
from services.claims.domain import LINES_MAX, REASONS

STATES = ("pending", "in_review", "approving", "approved", "rejected", "canceled")
# Whoever reported a unit and was not answered yet has said it once.
UNDECIDED = ("pending", "in_review", "approving")
MESSAGES_MAX = 100
EVIDENCE_MAX = 10
_NEXT = {
    ("pending", "review"): "in_review",
    ("pending", "cancel"): "canceled",
    ("in_review", "approve"): "approving",
    ("in_review", "reject"): "rejected",
    ("approving", "confirm"): "approved",
    ("approving", "refuse"): "in_review",
}
_DONE = {
    "review": "taken into review",
    "cancel": "canceled",
    "approve": "approved",
    "reject": "rejected",
}


class InquiryNotFound(NotFound):
    """There is no such inquiry, or not for this caller."""

    def __init__(self, *, inquiry_id: str) -> None:
        super().__init__("inquiry_not_found", f"Inquiry with id: {inquiry_id} was not found")


class InquiryBusy(Conflict):
    """Its claim is being made."""

    def __init__(self) -> None:
        super().__init__("inquiry_busy", "The inquiry is being approved. Try again in a moment.")


class WrongState(NotAllowed):
    """The inquiry is not where this could be done to it."""

    def __init__(self, *, status: str, action: str) -> None:
        needed = next(before for before, what in _NEXT if what == action)
        super().__init__(
            "inquiry_state",
            f"An inquiry that is {shown_status(status=status)} cannot be {_DONE[action]}: only one"
            f" that is {needed} can",
        )


class TooManyInquiries(NotAllowed):
    """The customer reported a lot today."""

    def __init__(self, *, most: int) -> None:
        super().__init__(
            "too_many_inquiries",
            f"At most {most} problems can be reported in a day. Try again tomorrow.",
        )


@dataclass(frozen=True, kw_only=True)
class InquiryItem:
    """So many units of an order line, and what is wrong with them."""

    line_id: str
    quantity: int
    reason: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """An inquiry. ``history`` tells every state it had: {status, at, by, reason}; ``refusal`` is
    why the claim of its last approval was not made, ``attempts`` how many approvals there were.
    """

    id: str
    order_id: str
    customer_id: str | None
    items: tuple[InquiryItem, ...]
    status: str = "pending"
    claim_id: str | None = None
    attempts: int = 0
    reason: str | None = None
    refusal: dict[str, Any] | None = None
    assigned_to: str | None = None
    history: tuple[dict[str, Any], ...] = ()
    version: int = 0


@dataclass(frozen=True)
class By:
    """Who does something: a customer or somebody of the shop; the system has no id."""

    kind: str
    id: str | None = None


def shown_status(*, status: str) -> str:
    """The status as the customer sees it."""
    return "in_review" if status == "approving" else status


def report(
    *,
    inquiry_id: str,
    order_id: str,
    customer_id: str | None,
    items: Iterable[InquiryItem],
    claimable: Mapping[str, int],
    asked_for: Mapping[str, int],
    by: By,
    now: datetime,
) -> Inquiry:
    """A new inquiry. ``claimable`` is units without a live remedy per line of the order,
    ``asked_for`` what other undecided inquiries report of them.

    Raises Invalid, NotFound for a line that the order does not have, NotAllowed for units that
    were not sent, or have a remedy, or are reported already.
    """
    items = tuple(items)
    if not items:
        raise Invalid("claim_items_missing", "claim_items should not be empty")
    if len(items) > LINES_MAX:
        raise Invalid("too_many_lines", f"An inquiry has at most {LINES_MAX} lines.")
    units: dict[str, int] = {}
    for item in items:
        if item.reason not in REASONS:
            told = ", ".join(REASONS)
            raise Invalid("claim_reason_unknown", f"reason must be one of: {told}")
        if item.quantity < 1:
            raise Invalid("quantity_below_one", "quantity must not be less than 1")
        units[item.line_id] = units.get(item.line_id, 0) + item.quantity
    for line_id, quantity in units.items():
        if line_id not in claimable:
            raise NotFound("line_unknown", f"Line item with id: {line_id} was not found")
        left = claimable[line_id] - asked_for.get(line_id, 0)
        if quantity > left:
            raise NotAllowed(
                "units_taken",
                f"{quantity} of {line_id} cannot be reported: {max(left, 0)} of its units were"
                " sent and are in no other inquiry, claim or return",
            )
    born = Inquiry(id=inquiry_id, order_id=order_id, customer_id=customer_id, items=items)
    return _told(born, by, now)


def _moved(
    inquiry: Inquiry, action: str, by: By, now: datetime, *, reason: str | None = None
) -> Inquiry:
    status = _NEXT.get((inquiry.status, action))
    if status is None:
        if inquiry.status == "approving":
            raise InquiryBusy
        raise WrongState(status=inquiry.status, action=action)
    return _told(replace(inquiry, status=status), by, now, reason)


def _told(inquiry: Inquiry, by: By, now: datetime, reason: str | None = None) -> Inquiry:
    entry = {
        "status": inquiry.status,
        "at": now.isoformat(),
        "by": by.kind,
        "by_id": by.id,
        "reason": reason,
    }
    return replace(inquiry, history=(*inquiry.history, entry))


def take_into_review(*, inquiry: Inquiry, by: By, now: datetime) -> Inquiry:
    """Somebody works on it now. Raises WrongState, InquiryBusy."""
    return replace(_moved(inquiry, "review", by, now), assigned_to=by.id)


def cancel(*, inquiry: Inquiry, by: By, now: datetime) -> Inquiry:
    """Whoever reported it, or the shop, takes it back. Raises WrongState, InquiryBusy."""
    return _moved(inquiry, "cancel", by, now)


def reject(*, inquiry: Inquiry, reason: str, by: By, now: datetime) -> Inquiry:
    """The shop says no, and why: the customer reads it. Raises WrongState, InquiryBusy."""
    return replace(_moved(inquiry, "reject", by, now, reason=reason), reason=reason)


def approve(*, inquiry: Inquiry, claim_id: str, by: By, now: datetime) -> Inquiry:
    """It shall become that claim. Raises WrongState, InquiryBusy."""
    moved = _moved(inquiry, "approve", by, now)
    return replace(moved, claim_id=claim_id, attempts=inquiry.attempts + 1, refusal=None)


def decided(
    *, inquiry: Inquiry, claim_id: str, refusal: dict[str, Any] | None, now: datetime
) -> Inquiry:
    """The claim is there, or was refused: {code, kind, message}. What is told of a claim that this
    inquiry does not wait for changes nothing."""
    if inquiry.status != "approving" or inquiry.claim_id != claim_id:
        return inquiry
    if refusal is None:
        return _moved(inquiry, "confirm", By("system"), now)
    back = _moved(inquiry, "refuse", By("system"), now, reason=refusal["message"])
    return replace(back, claim_id=None, refusal=refusal)


def check_may_be_written(*, inquiry: Inquiry, messages: int) -> None:
    """Whether customer and shop may still write to each other. Raises NotAllowed."""
    if inquiry.status == "canceled":
        raise NotAllowed("inquiry_state", "A canceled inquiry takes no messages")
    if messages >= MESSAGES_MAX:
        raise NotAllowed("too_many_messages", f"An inquiry has at most {MESSAGES_MAX} messages")


def check_takes_evidence(*, inquiry: Inquiry) -> None:
    """Whether files may be added and removed: not once it was decided. Raises NotAllowed."""
    if inquiry.status not in UNDECIDED:
        raise NotAllowed(
            "inquiry_decided", f"The evidence of an inquiry that is {inquiry.status} stays as it is"
        )


def units(*, items: Iterable[InquiryItem]) -> list[tuple[str, int]]:
    """Units per order line, summed."""
    found: dict[str, int] = {}
    for item in items:
        found[item.line_id] = found.get(item.line_id, 0) + item.quantity
    return sorted(found.items())
