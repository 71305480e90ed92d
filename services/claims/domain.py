"""What may happen to a claim. Pure: state and facts in, state and happenings out.

given     | when                 | then
opening   | held and reserved    | open (recovery point claim_created)
open      | refunded, return set | open (refund_handled, finished)
opening   | refused              | refused, never visible
open      | refund declined      | refused
open      | cancel               | canceling, a saga holds it
canceling | everything released  | canceled
canceling | a guard refused      | open
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from typing import Any

from chassis.errors import Conflict, Invalid, NotAllowed, NotFound
from chassis.values import derived_id, round_half_up

TYPES = ("refund", "replace")
# Kept as a claim is, because most of what happens to it is the same; told and shown as a swap.
EXCHANGE = "exchange"
# Where a refund goes: back over the payments, or to the customer's account with the shop.
PAYMENT, STORE_CREDIT = "payment", "store_credit"
REASONS = ("missing_item", "wrong_item", "production_failure", "other")
RECOVERY_POINTS = ("started", "claim_created", "refund_handled", "finished")
LINES_MAX = 100


class ClaimNotFound(NotFound):
    """There is no such claim on that order."""

    def __init__(self, *, claim_id: str, order_id: str | None) -> None:
        of_order = f"no claim was found with the id: {claim_id} related to order: {order_id}"
        message = of_order if order_id else f"Claim with {claim_id} was not found"
        super().__init__("claim_not_found", message)


class RefundAlreadyMade(NotAllowed):
    """Money went out: the claim can no longer be canceled."""

    def __init__(self) -> None:
        super().__init__("claim_already_refunded", "Claim with a refund cannot be canceled")


class ClaimClosed(NotAllowed):
    """Work on the claim is over."""

    def __init__(self) -> None:
        super().__init__("claim_closed", "Closed claim cannot be updated")


class ClaimBusy(Conflict):
    """A saga holds the claim."""

    def __init__(self) -> None:
        super().__init__("claim_busy", "The claim is being worked on. Try again in a moment.")


@dataclass(frozen=True, kw_only=True)
class ClaimItem:
    """So many units of an order line, and what is wrong with them."""

    id: str
    line_id: str
    quantity: int
    reason: str
    note: str | None = None
    tags: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None


def word(*, claim: Claim) -> str:
    """What Medusa calls it."""
    return "swap" if claim.is_exchange else "claim"


def about(*, claim: Claim) -> str:
    """Under which name its events and records go."""
    return f"{'exchange' if claim.is_exchange else 'claim'}/{claim.id}"


def image_id(*, item_id: str, url: str) -> str:
    """The id of an image: it stays when others of its item go."""
    return derived_id("cimg", item_id, url)


def tag_id(*, value: str) -> str:
    """The id of a tag: the same word has the same id on every claim."""
    return derived_id("ctag", value)


@dataclass(frozen=True, kw_only=True)
class AdditionalItem:
    """A line to be sent out. Name, price (minor units) and place are known once inventory has
    reserved it."""

    line_id: str
    variant_id: str
    quantity: int
    title: str | None = None
    description: str | None = None
    unit_price: int | None = None
    location_id: str | None = None
    fulfilled_quantity: int = 0
    shipped_quantity: int = 0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim. ``refund_amount`` is minor units: asked for at first, settled by the hold."""

    id: str
    order_id: str
    type: str
    items: tuple[ClaimItem, ...]
    additional_items: tuple[AdditionalItem, ...] = ()
    status: str = "opening"
    payment_status: str = "not_refunded"
    fulfillment_status: str = "not_fulfilled"
    recovery_point: str = "started"
    refund_amount: int | None = None
    currency_code: str | None = None
    return_id: str | None = None
    no_notification: bool | None = None
    explanation: tuple[dict[str, Any], ...] = ()
    refusal: dict[str, Any] | None = None
    canceled_at: datetime | None = None
    version: int = 0
    assigned_to: str | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    return_status: str | None = None
    # What a saga of a claim that is open does with it: refund, conversion.
    busy_with: str | None = None
    # The name under which inventory holds its goods, where that is not the claim's own.
    stock_id: str | None = None
    refund_to: str = PAYMENT
    # Of an exchange: what its customer owes (below 0: gets back), and when that was settled.
    difference_due: int | None = None
    confirmed_at: datetime | None = None

    @property
    def is_exchange(self) -> bool:
        """Units given back for other goods (Medusa's swap), and no claim."""
        return self.type == EXCHANGE

    @property
    def is_open(self) -> bool:
        """Somebody may still have to work on it. What is closed stays so."""
        return self.closed_at is None and self.status != "canceled"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the creation saga knows so far, in the claim's own terms. ``amount`` was held;
    ``declined`` is what of it payment providers did not give, in minor units."""

    held: bool = False
    amount: int = 0
    currency_code: str | None = None
    explanation: tuple[dict[str, Any], ...] = ()
    no_notification: bool = False
    refund_handled: bool = False
    refunded: bool = False
    declined: int = 0
    finished: bool = False
    refusal: dict[str, Any] | None = None


@dataclass(frozen=True)
class Change:
    """A new state and what happened on the way: created, refunded, confirmed, refused, canceled,
    updated, assigned, closed, converted; of exchanges as ``exchanges`` says."""

    claim: Claim
    happened: tuple[str, ...] = field(default=())


def open_claim(
    *,
    claim_id: str,
    order_id: str,
    type_: str,
    items: Iterable[ClaimItem],
    additional_items: Iterable[AdditionalItem],
    refund_amount: int | None,
    return_id: str | None,
    no_notification: bool | None,
    refund_to: str | None = None,
) -> Claim:
    """A claim as asked for, before anybody agreed.

    Raises Invalid in the order and the words of Medusa's claim service (v1.20, services/claim.ts).
    """
    items, additional_items = tuple(items), tuple(additional_items)
    if type_ not in TYPES:
        raise Invalid("claim_type_unknown", 'Claim type must be one of "refund" or "replace".')
    if type_ == "replace" and not additional_items:
        raise additional_items_missing()
    if not items:
        raise Invalid("claim_items_missing", "Claims must have at least one claim item.")
    if type_ == "replace" and refund_amount is not None:
        raise refund_amount_on_replace()
    if type_ == "replace" and refund_to is not None:
        raise refund_to_on_replace()
    for item in items:
        if item.reason not in REASONS:
            raise Invalid(
                "claim_reason_unknown",
                'Claim Item reason must be one of "missing_item", "wrong_item",'
                ' "production_failure" or "other".',
            )
    check_bounds(items=items, additional_items=additional_items, refund_amount=refund_amount)
    return Claim(
        id=claim_id,
        order_id=order_id,
        type=type_,
        items=items,
        additional_items=additional_items,
        payment_status="na" if type_ == "replace" else "not_refunded",
        refund_amount=refund_amount,
        return_id=return_id,
        no_notification=no_notification,
        refund_to=refund_to or PAYMENT,
    )


def additional_items_missing() -> Invalid:
    """A replacement of nothing."""
    return Invalid(
        "additional_items_missing",
        'Claims with type "replace" must have at least one additional item.',
    )


def refund_amount_on_replace() -> Invalid:
    """Money for a claim that sends goods."""
    return Invalid(
        "refund_amount_on_replace",
        'Claim has type "replace" but must be type "refund" to have a refund_amount.',
    )


def refund_to_on_replace() -> Invalid:
    """A place for money of a claim that sends goods."""
    return Invalid(
        "refund_to_on_replace",
        'Claim has type "replace" but must be type "refund" to have a refund_to.',
    )


def check_bounds(
    *,
    items: tuple[ClaimItem, ...],
    additional_items: tuple[AdditionalItem, ...],
    refund_amount: int | None = None,
) -> None:
    """The last net under the gateway's validation. Raises Invalid."""
    if len(items) > LINES_MAX or len(additional_items) > LINES_MAX:
        raise Invalid("too_many_lines", f"A claim has at most {LINES_MAX} lines.")
    quantities = [item.quantity for item in items] + [item.quantity for item in additional_items]
    if min(quantities) < 1:
        raise Invalid("quantity_below_one", "quantity must not be less than 1")
    if refund_amount is not None and refund_amount < 0:
        raise Invalid("refund_amount_negative", "refund_amount must not be less than 0")


def claimed_units(*, items: Iterable[ClaimItem]) -> list[tuple[str, int]]:
    """Units per order line; a line that occurs twice counts once, with the sum (Medusa D10)."""
    units: dict[str, int] = {}
    for item in items:
        units[item.line_id] = units.get(item.line_id, 0) + item.quantity
    return sorted(units.items())


def line_totals(
    *, unit_price: int, quantity: int, rates: Iterable[float], includes_tax: bool = False
) -> dict[str, int]:
    """Medusa's figures of a line that is sent out: no discount, each tax rounded by itself.

    ``rates`` are percent; everything else is minor units. With ``includes_tax`` the price contains
    the taxes: they are taken out of each unit first.
    """
    parts = [Fraction(str(rate)) / 100 for rate in rates]
    if includes_tax:
        whole = sum(parts, Fraction())
        contained = Fraction(unit_price) * whole / (1 + whole)
        unit_price -= round_half_up(contained.numerator, contained.denominator)
    subtotal = unit_price * quantity
    tax = 0
    for part in parts:
        exact = part * subtotal
        tax += round_half_up(exact.numerator, exact.denominator)
    return {
        "subtotal": subtotal,
        "discount_total": 0,
        "tax_total": tax,
        "total": subtotal + tax,
        "original_total": subtotal + tax,
        "original_tax_total": tax,
    }


def expected(*, claim: Claim) -> tuple[str, ...]:
    """What will be said of a claim to which everybody agrees."""
    refunded = ("refunded",) if claim.type == "refund" else ()
    return ("created", *refunded, "confirmed")


def follow(*, claim: Claim, progress: Progress) -> Change:
    """Bring a claim up to what its creation saga knows. Recovery points never move back."""
    if progress.refusal is not None:
        return refuse(claim=claim, refusal=progress.refusal)
    happened: list[str] = []
    if claim.status == "refused":
        # The refund was on its way when the saga turned back, so the saga turned forward again.
        claim = replace(claim, status="opening", refusal=None)
    if progress.held and claim.status == "opening":
        if not _reached(claim, "claim_created"):
            happened.append("created")
        claim = replace(
            _at(claim, "claim_created"),
            status="open",
            currency_code=progress.currency_code,
            refund_amount=None if claim.type == "replace" else progress.amount,
            explanation=progress.explanation,
            no_notification=(
                progress.no_notification if claim.no_notification is None else claim.no_notification
            ),
        )
    if progress.refund_handled and claim.status == "open":
        if progress.refunded and claim.payment_status == "not_refunded":
            happened.append("refunded")
            claim = _paid(claim, progress.declined)
        claim = _at(claim, "refund_handled")
    if progress.finished and not _reached(claim, "finished"):
        happened.append("confirmed")
        claim = _at(claim, "finished")
    return Change(claim, tuple(happened))


def _paid(claim: Claim, declined: int) -> Claim:
    """The refund went out, or as much of it as the payment providers gave."""
    claim = replace(claim, payment_status="refunded")
    if not declined:
        return claim
    return replace(
        claim,
        refund_amount=(claim.refund_amount or 0) - declined,
        explanation=(*claim.explanation, declined_part(amount=declined)),
    )


def declined_part(*, amount: int) -> dict[str, Any]:
    """The part of an explanation that tells what providers did not give, in minor units."""
    rule = "declined by a payment provider"
    return {"line_id": None, "part": "cap", "quantity": None, "amount": -amount, "rule": rule}


def refuse(*, claim: Claim, refusal: dict[str, Any]) -> Change:
    """Somebody said no: the claim is not there for anybody; one that was is told to be gone."""
    if claim.status == "refused":
        return Change(claim)
    happened = ("refused",) if _reached(claim, "claim_created") else ()
    return Change(replace(claim, status="refused", refusal=refusal), happened)


def _reached(claim: Claim, point: str) -> bool:
    return RECOVERY_POINTS.index(claim.recovery_point) >= RECOVERY_POINTS.index(point)


def _at(claim: Claim, point: str) -> Claim:
    return claim if _reached(claim, point) else replace(claim, recovery_point=point)


def cancel(*, claim: Claim) -> Claim:
    """Begin to cancel: a saga holds the claim until everything is released.

    Raises RefundAlreadyMade when money went out, ClaimBusy while a saga is at work. Store credit
    may be taken back: whether it is spent, orders knows.
    """
    if claim.payment_status == "refunded" and claim.refund_to != STORE_CREDIT:
        raise RefundAlreadyMade
    check_idle(claim=claim)
    return replace(claim, status="canceling")


def check_idle(*, claim: Claim) -> None:
    """Whether no saga is at work on a claim. Raises ClaimBusy."""
    if claim.status != "open" or claim.recovery_point != "finished" or claim.busy_with:
        raise ClaimBusy


def canceled(*, claim: Claim, now: datetime) -> Change:
    """Everything is released; store credit that was given is taken back."""
    claim = replace(
        claim,
        status="canceled",
        payment_status="na" if claim.payment_status == "na" else "not_refunded",
        fulfillment_status="canceled",
        canceled_at=now,
    )
    return Change(claim, ("canceled",))


def not_canceled(*, claim: Claim) -> Change:
    """Somebody refused: the claim stays as it was."""
    return Change(replace(claim, status="open"))


# ------------------------------------------------------------------ what people write and decide


def check_workable(*, claim: Claim) -> None:
    """Whether people may change what is written on a claim.

    Raises NotAllowed in Medusa's words for a canceled claim, ClaimClosed, ClaimBusy.
    """
    if claim.status == "canceled":
        raise NotAllowed("claim_canceled", "Canceled claim cannot be updated")
    if claim.closed_at is not None:
        raise ClaimClosed
    if claim.status == "canceling":
        raise ClaimBusy


def edit_item(*, item: ClaimItem, given: dict[str, Any]) -> ClaimItem:
    """An item with other texts. ``images`` [{id?, url?}] and ``tags`` [{id?, value?}] are all that
    stay: what is not listed goes. Raises NotFound for an id that the item does not have.
    """
    known_images = {image_id(item_id=item.id, url=url): url for url in item.images}
    known_tags = {tag_id(value=tag): tag for tag in item.tags}
    images = [
        _kept("image", image.get("id"), image.get("url"), known_images) for image in given["images"]
    ]
    tags = [
        _kept("tag", tag.get("id"), clean_tag(tag.get("value")), known_tags)
        for tag in given["tags"]
    ]
    return replace(
        item,
        images=tuple(dict.fromkeys(image for image in images if image)),
        tags=tuple(dict.fromkeys(tag for tag in tags if tag)),
        **{name: given[name] for name in ("note", "reason") if given.get(name) is not None},
        metadata=merged(old=item.metadata, given=given.get("metadata")),
    )


def clean_tag(value: str | None) -> str:
    """A tag as it is shared: trimmed, lower case."""
    return (value or "").strip().lower()


def _kept(what: str, id_: str | None, value: str | None, known: dict[str, str]) -> str | None:
    if id_ is None:
        return value
    # The same image or word may be told with its id and again with its value.
    if id_ not in known:
        raise NotFound(f"{what}_unknown", f"Claim {what} with id: {id_} was not found.")
    return known[id_]


def merged(*, old: dict[str, Any] | None, given: dict[str, Any] | None) -> dict[str, Any] | None:
    """Metadata with the given keys on top; an empty text takes a key away, as in Medusa."""
    if given is None:
        return old
    both = {**(old or {}), **given}
    return {key: value for key, value in both.items() if value != ""}


def close(*, claim: Claim, by: str, now: datetime) -> Change:
    """The work on a claim is over; that cannot be taken back. Money, units and stock stay as they
    are: a cancel is something else.

    Raises as ``check_workable``; ClaimBusy while a saga is at work.
    """
    check_workable(claim=claim)
    check_idle(claim=claim)
    return Change(replace(claim, closed_at=now, closed_by=by), ("closed",))


def return_moved(*, claim: Claim, status: str) -> Claim:
    """What became of the claim's return. The news may come late and in any order: received and
    canceled are final."""
    if claim.return_status in ("received", "canceled"):
        return claim
    return replace(claim, return_status=status)
