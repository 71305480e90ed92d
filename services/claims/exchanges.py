"""What may happen to an exchange (Medusa's swap): units given back for other goods. Pure.

An exchange is kept as a claim is, with the type ``exchange``. Nobody sees it before its units are
held, its goods reserved and the difference of their prices is settled, as far as that can be done
here: what the customer owes is awaited. Its payment_status is what orders says of that difference.

given       | when                         | then
opening     | settled                      | open, with a payment_status
opening     | refused                      | refused, never visible
awaiting    | the difference was paid      | captured
requires_action | the refund went out      | difference_refunded, or partially_refunded
open        | cancel                       | canceling, a saga holds it
canceling   | everything released          | canceled; a difference that was paid is paid back
canceling   | a guard refused              | open

Happenings: created, received, payment_captured, payment_completed, refund_processed,
refund_failed, canceled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from chassis.errors import Invalid, NotAllowed, NotFound
from services.claims.domain import (
    EXCHANGE,
    AdditionalItem,
    Change,
    Claim,
    ClaimItem,
    Progress,
    check_bounds,
    check_idle,
    refuse,
)

_REFUNDED = ("difference_refunded", "partially_refunded")
# What is told when the difference comes to this status.
_TOLD: Mapping[str, tuple[str, ...]] = {
    "awaiting": (),
    "confirmed": ("payment_completed",),
    "captured": ("payment_captured", "payment_completed"),
    "difference_refunded": ("refund_processed", "payment_completed"),
    "partially_refunded": ("refund_processed", "payment_completed"),
    "requires_action": ("refund_failed",),
}


class SwapNotFound(NotFound):
    """There is no such exchange, or not on that order."""

    def __init__(self, *, swap_id: str, order_id: str | None) -> None:
        of_order = f"no swap was found with the id: {swap_id} related to order: {order_id}"
        super().__init__("swap_not_found", of_order if order_id else "Swap was not found")


class SwapRefunded(NotAllowed):
    """Money went out: the exchange can no longer be canceled."""

    def __init__(self) -> None:
        super().__init__("swap_already_refunded", "Swap with a refund cannot be canceled")


def open_exchange(
    *,
    exchange_id: str,
    order_id: str,
    items: Iterable[ClaimItem],
    additional_items: Iterable[AdditionalItem],
    return_id: str,
    no_notification: bool | None,
) -> Claim:
    """An exchange as asked for, before anybody agreed. Raises Invalid where it makes no sense."""
    items, additional_items = tuple(items), tuple(additional_items)
    if not items:
        raise Invalid("return_items_missing", "Swaps must have at least one return item.")
    if not additional_items:
        raise Invalid("additional_items_missing", "Swaps must have at least one additional item.")
    check_bounds(items=items, additional_items=additional_items)
    return Claim(
        id=exchange_id,
        order_id=order_id,
        type=EXCHANGE,
        items=items,
        additional_items=additional_items,
        payment_status="not_paid",
        return_id=return_id,
        no_notification=no_notification,
    )


def follow(*, claim: Claim, progress: Progress, facts: Mapping[str, Any], now: datetime) -> Change:
    """Bring an exchange up to what its creation saga knows; ``facts`` are that saga's."""
    if progress.refusal is not None:
        return refuse(claim=claim, refusal=progress.refusal)
    happened: tuple[str, ...] = ()
    settled = facts.get("settle")
    if settled is not None and claim.status == "opening":
        change = _settled(claim, settled, now)
        happened = ("created", *change.happened)
        claim = replace(
            change.claim,
            status="open",
            recovery_point="refund_handled",
            currency_code=progress.currency_code,
            no_notification=(
                progress.no_notification if claim.no_notification is None else claim.no_notification
            ),
        )
    if progress.finished:
        claim = replace(claim, recovery_point="finished")
    return Change(claim, happened)


def _settled(claim: Claim, settled: Mapping[str, Any], now: datetime) -> Change:
    """What orders said of the difference, in the exchange's terms."""
    status = settled["payment_status"]
    happened = _TOLD[status]
    claim = replace(
        claim,
        payment_status=status,
        difference_due=settled["difference_due"],
        refund_amount=settled["refund_amount"] or None,
        explanation=tuple(settled["explanation"]),
        confirmed_at=now if "payment_completed" in happened else None,
    )
    return Change(claim, happened)


def check_process(*, claim: Claim) -> None:
    """Whether the difference may be processed. Raises NotAllowed, ClaimBusy."""
    if claim.status == "canceled":
        raise NotAllowed("swap_canceled", "Canceled swap cannot be processed")
    check_idle(claim=claim)


def is_settled(*, claim: Claim) -> bool:
    """Nothing of the difference is left to be processed."""
    return claim.payment_status not in ("awaiting", "requires_action")


def processed(*, claim: Claim, settled: Mapping[str, Any] | None, now: datetime) -> Change:
    """What became of the difference; ``settled`` is None where orders or a provider refused."""
    claim = replace(claim, busy_with=None)
    if settled is None:
        return Change(claim, _TOLD["requires_action"] if claim.payment_status != "awaiting" else ())
    return _settled(claim, settled, now)


def cancel(*, claim: Claim) -> Claim:
    """Begin to cancel: a saga holds the exchange until everything is released.

    Raises SwapRefunded when money went out, ClaimBusy while a saga is at work.
    """
    if claim.payment_status in _REFUNDED:
        raise SwapRefunded
    check_idle(claim=claim)
    return replace(claim, status="canceling")


def canceled(*, claim: Claim, released: Mapping[str, Any], now: datetime) -> Change:
    """Everything is released; ``released`` tells what of the difference was paid back."""
    claim = replace(
        claim,
        status="canceled",
        payment_status="canceled",
        fulfillment_status="canceled",
        refund_amount=released.get("paid_back_amount") or None,
        canceled_at=now,
    )
    return Change(claim, ("canceled",))
