"""What can be done to an order: hold and release units, refund, settle returned goods.

Every operation locks the order first and decides on what it then reads. A command whose business
id was seen before gets the same answer again and changes nothing, whatever its message id. A
refusal is an answer too: it is remembered, so that a repeat cannot be accepted behind the back of
a saga that has already turned around.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from chassis import idempotency
from chassis.db import Row, Tx
from chassis.errors import Refusal
from chassis.inbox import Retry
from chassis.outbox import put, reply_address
from chassis.values import new_id
from contracts.base import LineQuantity, LineSnapshot, RefundLine, ReturnShipping, ShippingQuote
from contracts.base import TaxRate as Tax
from contracts.orders import (
    ClaimHoldPlaced,
    ClaimHoldRejected,
    ClaimHoldReleased,
    ClaimRefundDeclined,
    ClaimRefundSucceeded,
    ExecuteClaimRefund,
    OrderItemsReturned,
    PlaceClaimHold,
    PlaceReturnHold,
    ReleaseClaimHold,
    ReleaseReturnHold,
    ReturnHoldPlaced,
    ReturnHoldRejected,
    ReturnHoldReleased,
    ReturnReceiptSettled,
    SettleReturnReceipt,
)
from services.orders import domain, paying, refunds, remedies, store
from services.orders.domain import PaymentShare
from services.orders.paying import Cause, OpenOrder
from services.orders.refunds import Part
from services.orders.remedies import Arrival, HeldLine, Hold, Line

# A provider that has not answered after 30 s is asked again: its time limit is 10 s.
ATTEMPT_LEASE_S = 30
ATTEMPT_PAUSES_S = (1, 2, 5, 15, 60, 300, 900)
ATTEMPTS_AT_ONCE = 8


# ---------------------------------------------------------------------------------- claims


async def place_claim_hold(tx: Tx, *, command: PlaceClaimHold, now: datetime) -> None:
    """Hold the units and the money of a claim, and go on with the refund if asked.

    Answers ClaimHoldPlaced (then ClaimRefundSucceeded or ClaimRefundDeclined), or
    ClaimHoldRejected with nothing held.
    """
    order = await paying.open_order(tx, command.order_id)
    about = f"claim/{command.claim_id}"
    try:
        if order is None:
            raise domain.order_unknown(order_id=command.order_id)
        quote, hold, lines, shares = await _decide_claim(tx, order, command)
    except Refusal as no:
        if await _remember_refusal(tx, "claim", command.claim_id, command.order_id, no, now):
            await put(tx, _claim_rejected(command.claim_id, no), about=about)
        else:
            await _repeat_claim_hold(tx, command)
        return
    placed = ClaimHoldPlaced(
        claim_id=command.claim_id,
        order_id=order.id,
        currency_code=order.row["currency_code"],
        amount=hold.amount,
        explanation=_explained(hold.explanation),
        lines=_snapshots(lines, hold),
        tax=_replacement_tax(order),
        return_shipping=quote,
        no_notification=order.no_notification,
    )
    settled = command.execute_refund and not shares
    if not await _add_remedy(
        tx, "claim", command.claim_id, order, hold, placed, "settled" if settled else "held", now
    ):
        await _repeat_claim_hold(tx, command)
        return
    await _hold_units(tx, hold, limit="fulfilled_quantity")
    await put(tx, placed, about=about)
    state = None
    if shares:
        state = await paying.begin_refund(
            tx,
            order,
            Cause("claim", command.claim_id, "claim", no_notification=order.no_notification),
            shares,
            hold=not command.execute_refund,
            reply_to=reply_address(),
            now=now,
        )
    if command.execute_refund and state in (None, "posted"):
        await put(tx, _claim_refunded(command.claim_id, hold.amount), about=about)
    if state == "posted":
        await store.set_remedy_state(tx, remedy_id=command.claim_id, state="settled", now=now)
    await paying.close_order(tx, order, now)


async def _decide_claim(
    tx: Tx, order: OpenOrder, command: PlaceClaimHold
) -> tuple[ShippingQuote | None, Hold, dict[str, Line], list[PaymentShare]]:
    quantities = _quantities(command.lines)
    lines = await _lines(tx, order, quantities)
    remedies.check_claim(order_status=order.row["status"], lines=lines, quantities=quantities)
    quote, _ = await _quote(tx, order, command.return_shipping)
    hold = remedies.decide_claim(
        lines=lines,
        quantities=quantities,
        claim_type=command.type,
        refund_amount=command.refund_amount,
        money=order.money,
    )
    shares = []
    if hold.amount:
        payments = await paying.payments_of(tx, order)
        shares = domain.split(amount=hold.amount, payments=payments)
    return quote, hold, lines, shares


def _claim_rejected(claim_id: str, no: Refusal) -> ClaimHoldRejected:
    return ClaimHoldRejected(claim_id=claim_id, code=no.code, kind=no.kind, message=no.message)


def _claim_refunded(claim_id: str, amount: int) -> ClaimRefundSucceeded:
    refund_id = Cause("claim", claim_id, "claim").refund_id if amount else None
    return ClaimRefundSucceeded(claim_id=claim_id, refund_id=refund_id, amount=amount)


async def _repeat_claim_hold(tx: Tx, command: PlaceClaimHold) -> None:
    """The claim was here before: say again what was said, or that it was released since."""
    remedy = await _known_remedy(tx, command.claim_id)
    refund = await store.refund_of(tx, cause_kind="claim", cause_id=command.claim_id)
    about = f"claim/{command.claim_id}"
    if remedy["refusal"] is not None:
        await put(
            tx, ClaimHoldRejected(claim_id=command.claim_id, **remedy["refusal"]), about=about
        )
        return
    declined = refund is not None and refund["state"] == "declined"
    if remedy["answer"] is None or (remedy["state"] == "released" and not declined):
        await put(tx, _claim_rejected(command.claim_id, remedies.superseded()), about=about)
        return
    await put(tx, ClaimHoldPlaced(**remedy["answer"]), about=about)
    if command.execute_refund:
        await _tell_claim_refund(tx, command.claim_id, refund, reply_to=None)


async def _tell_claim_refund(
    tx: Tx, claim_id: str, refund: Row | None, *, reply_to: Mapping[str, Any] | None
) -> None:
    """Say what became of a claim's refund; nothing while nobody knows."""
    about = f"claim/{claim_id}"
    address = dict(reply_to) if reply_to else None
    if refund is None:
        await put(tx, _claim_refunded(claim_id, 0), about=about, reply_to=address)
    elif refund["state"] == "posted":
        done = _claim_refunded(claim_id, refund["amount"])
        await put(tx, done, about=about, reply_to=address)
    elif refund["state"] == "declined":
        no = ClaimRefundDeclined(claim_id=claim_id, **refund["decline"])
        await put(tx, no, about=about, reply_to=address)
    elif refund["state"] == "voided":
        no = ClaimRefundDeclined(
            claim_id=claim_id,
            code="superseded",
            kind="conflict",
            message="The hold was released before the refund was asked for",
        )
        await put(tx, no, about=about, reply_to=address)


async def release_claim_hold(tx: Tx, *, command: ReleaseClaimHold, now: datetime) -> None:
    """Give the units and the money of a claim back, unless its refund is on its way or done.

    An unknown claim leaves a tombstone. Answers ClaimHoldReleased.
    """
    order = await paying.open_order(tx, command.order_id)
    remedy = await _remedy_or_tombstone(tx, "claim", command.claim_id, command.order_id, now)
    passed = False
    if order is not None and remedy is not None and remedy["state"] != "released":
        refund = await store.refund_of(tx, cause_kind="claim", cause_id=command.claim_id)
        passed = refund is not None and refund["state"] in ("pending", "posted")
        if not passed:
            if refund is not None and refund["state"] == "held":
                await paying.void_refund(tx, order, refund, now=now)
            await _release_units(tx, command.claim_id, now)
            await paying.close_order(tx, order, now)
    released = ClaimHoldReleased(claim_id=command.claim_id, pivot_passed=passed)
    await put(tx, released, about=f"claim/{command.claim_id}")


async def execute_claim_refund(tx: Tx, *, command: ExecuteClaimRefund, now: datetime) -> None:
    """Let the held money of a claim go: the pivot. Answers when its fate is known."""
    order = await paying.open_order(tx, command.order_id)
    remedy = await store.remedy(tx, remedy_id=command.claim_id)
    refund = await store.refund_of(tx, cause_kind="claim", cause_id=command.claim_id)
    if order is None or remedy is None or (refund is None and remedy["state"] == "released"):
        no = ClaimRefundDeclined(
            claim_id=command.claim_id,
            code="hold_unknown",
            kind="not_found",
            message=f"Claim {command.claim_id} holds nothing",
        )
        await put(tx, no, about=f"claim/{command.claim_id}")
        return
    if refund is not None and refund["state"] == "held":
        await paying.execute_refund(tx, order, refund, reply_to=reply_address(), now=now)
        await paying.close_order(tx, order, now)
        refund = await store.refund(tx, refund_id=refund["id"])
    if refund is None or refund["state"] == "posted":
        await store.set_remedy_state(tx, remedy_id=command.claim_id, state="settled", now=now)
    await _tell_claim_refund(tx, command.claim_id, refund, reply_to=None)


# ---------------------------------------------------------------------------------- returns


async def place_return_hold(tx: Tx, *, command: PlaceReturnHold, now: datetime) -> None:
    """Hold the units of a return, and say what its refund will be. Holds no money.

    Answers ReturnHoldPlaced, or ReturnHoldRejected with nothing held.
    """
    order = await paying.open_order(tx, command.order_id)
    about = f"return/{command.return_id}"
    try:
        if order is None:
            raise domain.order_unknown(order_id=command.order_id)
        quote, cost, hold, lines = await _decide_return(tx, order, command)
    except Refusal as no:
        if await _remember_refusal(tx, "return", command.return_id, command.order_id, no, now):
            await put(tx, _return_rejected(command.return_id, no), about=about)
        else:
            await _repeat_return_hold(tx, command)
        return
    placed = ReturnHoldPlaced(
        return_id=command.return_id,
        order_id=order.id,
        currency_code=order.row["currency_code"],
        amount=hold.amount,
        explanation=_explained(hold.explanation),
        lines=_snapshots(lines, hold),
        return_shipping=quote,
        no_notification=order.no_notification,
    )
    if not await _add_remedy(
        tx,
        "return",
        command.return_id,
        order,
        hold,
        placed,
        "held",
        now,
        given_amount=None if command.refund is None else max(0, command.refund),
        shipping_cost=cost,
    ):
        await _repeat_return_hold(tx, command)
        return
    await _hold_units(tx, hold, limit="quantity")
    await put(tx, placed, about=about)


async def _decide_return(
    tx: Tx, order: OpenOrder, command: PlaceReturnHold
) -> tuple[ShippingQuote | None, int, Hold, dict[str, Line]]:
    quantities = _quantities(command.lines)
    lines = await _lines(tx, order, quantities)
    missing = quantities.keys() - lines.keys()
    foreign = await store.lines_elsewhere(tx, line_ids=missing) if missing else []
    remedies.check_return(
        order_status=order.row["status"], lines=lines, foreign=foreign, quantities=quantities
    )
    quote, cost = await _quote(tx, order, command.return_shipping)
    hold = remedies.decide_return(
        lines=lines,
        quantities=quantities,
        refund=command.refund,
        shipping_cost=cost,
        money=order.money,
    )
    return quote, cost, hold, lines


def _return_rejected(return_id: str, no: Refusal) -> ReturnHoldRejected:
    return ReturnHoldRejected(return_id=return_id, code=no.code, kind=no.kind, message=no.message)


async def _repeat_return_hold(tx: Tx, command: PlaceReturnHold) -> None:
    remedy = await _known_remedy(tx, command.return_id)
    about = f"return/{command.return_id}"
    if remedy["refusal"] is not None:
        no = ReturnHoldRejected(return_id=command.return_id, **remedy["refusal"])
        await put(tx, no, about=about)
    elif remedy["answer"] is None or remedy["state"] == "released":
        await put(tx, _return_rejected(command.return_id, remedies.superseded()), about=about)
    else:
        await put(tx, ReturnHoldPlaced(**remedy["answer"]), about=about)


async def release_return_hold(tx: Tx, *, command: ReleaseReturnHold, now: datetime) -> None:
    """Give back the units of a return that have not come. Answers ReturnHoldReleased."""
    order = await paying.open_order(tx, command.order_id)
    remedy = await _remedy_or_tombstone(tx, "return", command.return_id, command.order_id, now)
    if order is not None and remedy is not None and remedy["state"] != "released":
        await _release_units(tx, command.return_id, now)
    released = ReturnHoldReleased(return_id=command.return_id)
    await put(tx, released, about=f"return/{command.return_id}")


# ---------------------------------------------------------------------------------- receipts


@dataclass(frozen=True)
class _Booking:
    """A receipt as it will be booked. ``why`` is (code, message) where money or goods stay open."""

    remedy_id: str
    held: dict[str, HeldLine]
    now_held: dict[str, HeldLine]
    arrivals: list[Arrival]
    lines: dict[str, Line]
    amount: int
    explanation: list[Part]
    why: tuple[str, str] | None


async def settle_return_receipt(tx: Tx, *, command: SettleReturnReceipt, now: datetime) -> None:
    """Book goods that arrived, and refund them. Never refuses: goods are a fact.

    Answers ReturnReceiptSettled, with ``action_required`` where the money did not go out.
    """
    order = await paying.open_order(tx, command.order_id)
    known = await store.receipt(tx, receipt_id=command.receipt_id)
    about = f"return/{command.return_id}"
    if known is not None:
        if known["state"] == "settled":
            await put(tx, ReturnReceiptSettled(**known["answer"]), about=about)
        return
    if order is None:
        no = domain.order_unknown(order_id=command.order_id)
        await put(tx, _receipt_answer(command, why=(no.code, no.message)), about=about)
        return
    remedy = await store.remedy(tx, remedy_id=command.claim_id or command.return_id)
    booking = await _decide_receipt(tx, order, remedy, command)
    await _book_receipt(tx, order, remedy, booking, now)
    state = await _refund_receipt(tx, order, command, booking, now)
    answer = _receipt_answer(
        command, amount=booking.amount, explanation=booking.explanation, why=booking.why
    )
    await store.add_receipt(
        tx,
        row={
            "id": command.receipt_id,
            "order_id": order.id,
            "return_id": command.return_id,
            "remedy_id": booking.remedy_id,
            "state": "refunding" if state == "pending" else "settled",
            "arrivals": [_arrival_row(arrival) for arrival in booking.arrivals],
            "answer": answer.model_dump(mode="json"),
            "created_at": now,
        },
    )
    if booking.arrivals:
        await _set_returned_status(tx, order, action_required=booking.why is not None)
    if state != "pending":
        if booking.arrivals or booking.amount:
            _say_returned(order, answer)
        await put(tx, answer, about=about)
    await paying.close_order(tx, order, now)


async def _decide_receipt(
    tx: Tx, order: OpenOrder, remedy: Row | None, command: SettleReturnReceipt
) -> _Booking:
    quantities = _received(command.lines)
    live = remedy is not None and remedy["state"] != "released"
    held = (
        store.held_lines(rows=await store.remedy_lines_of(tx, remedy_id=remedy["id"]))
        if remedy is not None and live
        else {}
    )
    lines = await _lines(tx, order, {**quantities, **dict.fromkeys(held, 0)})
    arrivals = remedies.arrive(quantities=quantities, held=held, lines=lines)
    now_held = remedies.after(held=held, arrivals=arrivals)
    why = None
    if not live:
        why = ("hold_released", f"Return {command.return_id} holds nothing: nothing is refunded")
        amount, parts = 0, []
    elif remedy is not None and command.claim_id is None and command.refund is None:
        terms = {"given": remedy["given_amount"], "shipping_cost": remedy["shipping_cost"]}
        amount = remedies.due(held=now_held, **terms) - remedies.due(held=held, **terms)
        parts = remedies.explain_receipt(before=held, now=now_held, lines=lines, **terms)
    else:
        amount, parts = _given_at_receipt(order, command)
    if amount and order.row["status"] == "canceled":
        why = ("order_canceled", "A canceled order cannot be registered as received")
    elif amount > order.money.refundable:
        why = (
            "amount_exceeds_refundable",
            "Refund amount is greater that the refundable amount",
        )
    if why is not None:
        amount, parts = 0, []
    else:
        why = _unbooked(arrivals)
    return _Booking(
        remedy_id=remedy["id"] if remedy is not None and live else command.receipt_id,
        held=held,
        now_held=now_held,
        arrivals=arrivals,
        lines=lines,
        amount=amount,
        explanation=parts,
        why=why,
    )


def _given_at_receipt(order: OpenOrder, command: SettleReturnReceipt) -> tuple[int, list[Part]]:
    """An amount named at the receipt. For a claim's return it is capped by what is left; and
    unless it is named, such a return pays nothing: its money went with the claim."""
    given = max(0, command.refund or 0)
    if not given:
        return 0, []
    parts = [Part(None, "given", None, given, "as given at the receipt")]
    over = given - order.money.refundable
    if command.claim_id is not None and over > 0:
        parts.append(Part(None, "cap", None, -over, "no more than is left refundable"))
        given -= over
    return given, parts


def _unbooked(arrivals: Sequence[Arrival]) -> tuple[str, str] | None:
    lost = [f"{arrival.unbooked} of {arrival.line_id}" for arrival in arrivals if arrival.unbooked]
    if not lost:
        return None
    return "units_unbooked", f"No free units of this order for: {', '.join(lost)}"


async def _book_receipt(
    tx: Tx, order: OpenOrder, remedy: Row | None, booking: _Booking, now: datetime
) -> None:
    """Move the units, and write the remedy's lines as they are now."""
    booked = [arrival for arrival in booking.arrivals if arrival.announced or arrival.unannounced]
    if not booked:
        return
    rows = [
        (
            arrival.line_id,
            arrival.announced,
            arrival.unannounced,
            _worth(booking, arrival.line_id),
        )
        for arrival in booked
    ]
    if not await store.book_arrivals(tx, rows=rows):
        raise Retry(f"the units of order {order.id} changed meanwhile")
    if remedy is None or booking.remedy_id != remedy["id"]:
        await store.add_remedy(
            tx,
            row={
                "id": booking.remedy_id,
                "kind": "return",
                "order_id": order.id,
                "state": "settled",
                "created_at": now,
                "updated_at": now,
            },
        )
    elif remedy["kind"] == "return" and not any(line.open for line in booking.now_held.values()):
        await store.set_remedy_state(tx, remedy_id=remedy["id"], state="settled", now=now)
    await store.replace_remedy_lines(
        tx,
        remedy_id=booking.remedy_id,
        line_ids=[arrival.line_id for arrival in booked],
        rows=[
            _remedy_line(booking.remedy_id, booking.now_held[arrival.line_id]) for arrival in booked
        ],
    )


def _worth(booking: _Booking, line_id: str) -> int:
    """What the units of this receipt were worth when they were bought."""
    before = booking.held.get(line_id)
    now = booking.now_held[line_id]
    worth = refunds.first_units(share=now.share, quantity=now.received).amount
    if before is not None:
        worth -= refunds.first_units(share=before.share, quantity=before.received).amount
    return worth


def _remedy_line(remedy_id: str, line: HeldLine) -> Row:
    return store.remedy_line_row(
        remedy_id=remedy_id, line_id=line.line_id, share=line.share, received=line.received
    )


async def _refund_receipt(
    tx: Tx, order: OpenOrder, command: SettleReturnReceipt, booking: _Booking, now: datetime
) -> str | None:
    if not booking.amount:
        return None
    payments = await paying.payments_of(tx, order)
    return await paying.begin_refund(
        tx,
        order,
        Cause("receipt", command.receipt_id, "return", no_notification=order.no_notification),
        domain.split(amount=booking.amount, payments=payments),
        hold=False,
        reply_to=reply_address(),
        now=now,
    )


def _receipt_answer(
    command: SettleReturnReceipt,
    *,
    amount: int = 0,
    explanation: Sequence[Part] = (),
    why: tuple[str, str] | None = None,
) -> ReturnReceiptSettled:
    return ReturnReceiptSettled(
        receipt_id=command.receipt_id,
        return_id=command.return_id,
        refund_id=Cause("receipt", command.receipt_id, "return").refund_id if amount else None,
        refund_amount=amount,
        explanation=_explained(explanation),
        action_required=why is not None,
        code=why[0] if why else None,
        message=why[1] if why else None,
    )


def _arrival_row(arrival: Arrival) -> Row:
    row = asdict(arrival)
    del row["extra"]
    return row


async def _set_returned_status(tx: Tx, order: OpenOrder, *, action_required: bool) -> None:
    ordered, returned = await store.unit_counts(tx, order_id=order.id)
    order.fulfillment_status = domain.returned_status(
        ordered=ordered, returned=returned, action_required=action_required
    )


def _say_returned(order: OpenOrder, answer: ReturnReceiptSettled) -> None:
    blocked = answer.action_required
    order.events.append(
        OrderItemsReturned(
            name="order.return_action_required" if blocked else "order.items_returned",
            id=order.id,
            return_id=answer.return_id,
            no_notification=order.no_notification,
            fulfillment_status=order.fulfillment_status,
        )
    )


# ---------------------------------------------------------------------------------- refunds


async def refund_order(
    tx: Tx,
    *,
    order_id: str,
    amount: int,
    reason: str,
    note: str | None,
    no_notification: bool | None,
    principal: str,
    key: str | None,
    fingerprint: str,
    now: datetime,
) -> str:
    """Refund by hand; the refund's id, also for a key that was here before.

    Raises in Medusa's words. With another provider than ``manual`` the refund settles later.
    """
    cause = Cause("manual", new_id("cause"), reason, note, no_notification=bool(no_notification))
    if key is not None:
        earlier = await idempotency.claim_key(
            tx, principal=principal, key=key, fingerprint=fingerprint, subject_id=cause.refund_id
        )
        if earlier is not None:
            return earlier
    order = await paying.open_order(tx, order_id)
    if order is None:
        raise domain.order_unknown(order_id=order_id)
    domain.decide_refund(order_status=order.row["status"], amount=amount, money=order.money)
    shares = domain.split(amount=amount, payments=await paying.payments_of(tx, order))
    await paying.begin_refund(tx, order, cause, shares, hold=False, reply_to=None, now=now)
    await paying.close_order(tx, order, now)
    tx.wake(cause.refund_id)
    return cause.refund_id


async def take_attempts(tx: Tx, *, now: datetime) -> list[Row]:
    """Due attempts, marked as sent; their rows tell how they stood before.

    A crash from here on finds them due again, with the same key.
    """
    return await store.take_due_attempts(
        tx,
        now=now,
        lease_until=now + timedelta(seconds=ATTEMPT_LEASE_S),
        limit=ATTEMPTS_AT_ONCE,
    )


async def record_unknown(tx: Tx, *, attempt: Row, error: str, now: datetime) -> None:
    """No answer: neither paid nor failed. The attempt is asked again later, for ever."""
    pause_s = ATTEMPT_PAUSES_S[min(attempt["tries"], len(ATTEMPT_PAUSES_S) - 1)]
    await store.settle_attempt(
        tx,
        refund_id=attempt["refund_id"],
        payment_id=attempt["payment_id"],
        state="unknown",
        provider_ref=None,
        error=error,
        next_at=now + timedelta(seconds=pause_s),
        now=now,
    )


async def record_answer(
    tx: Tx,
    *,
    attempt: Row,
    posted: bool,
    provider_ref: str | None,
    message: str | None,
    now: datetime,
) -> None:
    """A provider answered: book it, and tell the cause when every provider of it has answered."""
    order = await paying.open_order(tx, attempt["order_id"])
    refund = await store.refund(tx, refund_id=attempt["refund_id"])
    first = await store.settle_attempt(
        tx,
        refund_id=attempt["refund_id"],
        payment_id=attempt["payment_id"],
        state="posted" if posted else "declined",
        provider_ref=provider_ref,
        error=None if posted else message,
        next_at=None,
        now=now,
    )
    if order is None or refund is None or not first:
        return
    await paying.settle_share(
        tx,
        order,
        refund_id=refund["id"],
        payment_id=attempt["payment_id"],
        posted=posted,
        now=now,
    )
    attempts = await store.attempts_of(tx, refund_id=refund["id"])
    if all(other["state"] in ("posted", "declined") for other in attempts):
        amount, why = await paying.finish_refund(tx, order, refund, attempts, now=now)
        await _tell_cause(tx, order, refund, amount, why, now)
    await paying.close_order(tx, order, now)


async def _tell_cause(
    tx: Tx, order: OpenOrder, refund: Row, amount: int, why: str | None, now: datetime
) -> None:
    """The refund is decided: settle what it was for."""
    tx.wake(refund["id"])
    if refund["cause_kind"] == "claim":
        if why is None:
            await store.set_remedy_state(tx, remedy_id=refund["cause_id"], state="settled", now=now)
        else:
            await _release_units(tx, refund["cause_id"], now)
        told = await store.refund(tx, refund_id=refund["id"])
        await _tell_claim_refund(tx, refund["cause_id"], told, reply_to=refund["reply_to"])
    elif refund["cause_kind"] == "receipt":
        await _tell_receipt(tx, order, refund, amount, why)


async def _tell_receipt(
    tx: Tx, order: OpenOrder, refund: Row, amount: int, why: str | None
) -> None:
    receipt = await store.receipt(tx, receipt_id=refund["cause_id"])
    if receipt is None:
        raise LookupError(f"refund {refund['id']} is for an unknown receipt")
    answer = ReturnReceiptSettled(**receipt["answer"])
    if why is not None:
        blocked = {"action_required": True, "code": "refund_declined", "message": why}
        nothing: Row = {"refund_id": None, "refund_amount": 0, "explanation": []}
        answer = answer.model_copy(update={**blocked, **nothing})
        await _set_returned_status(tx, order, action_required=True)
    elif amount < answer.refund_amount:
        message = f"Only {amount} of {answer.refund_amount} could be refunded"
        answer = answer.model_copy(
            update={
                "refund_amount": amount,
                "action_required": True,
                "code": "refund_partly_declined",
                "message": message,
            }
        )
        await _set_returned_status(tx, order, action_required=True)
    _say_returned(order, answer)
    await store.settle_receipt(tx, receipt_id=receipt["id"], answer=answer.model_dump(mode="json"))
    await put(
        tx, answer, about=f"return/{receipt['return_id']}", reply_to=dict(refund["reply_to"] or {})
    )


# ---------------------------------------------------------------------------------- remedies


def _quantities(lines: Sequence[LineQuantity]) -> dict[str, int]:
    return remedies.summed(lines=[(line.line_id, line.quantity) for line in lines])


def _received(lines: Sequence[LineQuantity]) -> dict[str, int]:
    """As ``_quantities``, but nothing is refused: lines of nothing are passed over."""
    return remedies.summed(
        lines=[(line.line_id, line.quantity) for line in lines if line.quantity > 0]
    )


async def _lines(tx: Tx, order: OpenOrder, asked: Mapping[str, int]) -> dict[str, Line]:
    if not asked:
        return {}
    rows = await store.lines_with_remedies(tx, order_id=order.id, line_ids=sorted(asked))
    return store.lines(rows=rows, order_tax_rate=order.row["tax_rate"])


async def _hold_units(tx: Tx, hold: Hold, *, limit: str) -> None:
    quantities = {line_id: share.quantity for line_id, share in hold.shares.items()}
    if quantities and not await store.hold_units(tx, quantities=quantities, limit=limit):
        raise Retry("the units changed meanwhile")


async def _add_remedy(
    tx: Tx,
    kind: str,
    remedy_id: str,
    order: OpenOrder,
    hold: Hold,
    answer: ClaimHoldPlaced | ReturnHoldPlaced,
    state: str,
    now: datetime,
    *,
    given_amount: int | None = None,
    shipping_cost: int = 0,
) -> bool:
    """Write a hold; False when the business id is known: it is a repeat, or was released first."""
    added = await store.add_remedy(
        tx,
        row={
            "id": remedy_id,
            "kind": kind,
            "order_id": order.id,
            "state": state,
            "amount": hold.amount,
            "given_amount": given_amount,
            "shipping_cost": shipping_cost,
            "answer": answer.model_dump(mode="json"),
            "created_at": now,
            "updated_at": now,
        },
    )
    if added:
        await store.add_remedy_lines(
            tx,
            rows=[
                store.remedy_line_row(remedy_id=remedy_id, line_id=line_id, share=share)
                for line_id, share in hold.shares.items()
            ],
        )
    return added


async def _remember_refusal(
    tx: Tx, kind: str, remedy_id: str, order_id: str, no: Refusal, now: datetime
) -> bool:
    return await _add_released(
        tx,
        kind,
        remedy_id,
        order_id,
        {"code": no.code, "kind": no.kind, "message": no.message},
        now,
    )


async def _add_released(
    tx: Tx, kind: str, remedy_id: str, order_id: str, refusal: Row | None, now: datetime
) -> bool:
    return await store.add_remedy(
        tx,
        row={
            "id": remedy_id,
            "kind": kind,
            "order_id": order_id,
            "state": "released",
            "refusal": refusal,
            "created_at": now,
            "updated_at": now,
        },
    )


async def _known_remedy(tx: Tx, remedy_id: str) -> Row:
    remedy = await store.remedy(tx, remedy_id=remedy_id)
    if remedy is None:
        raise Retry(f"remedy {remedy_id} was written a moment ago and cannot be seen yet")
    return remedy


async def _remedy_or_tombstone(
    tx: Tx, kind: str, remedy_id: str, order_id: str, now: datetime
) -> Row | None:
    """The remedy; where there is none, a tombstone now stands in its place."""
    remedy = await store.remedy(tx, remedy_id=remedy_id)
    if remedy is None and not await _add_released(tx, kind, remedy_id, order_id, None, now):
        raise Retry(f"remedy {remedy_id} was written a moment ago and cannot be seen yet")
    return remedy


async def _release_units(tx: Tx, remedy_id: str, now: datetime) -> None:
    """Give back what has not come; units that came stay returned, under a settled remedy."""
    held = store.held_lines(rows=await store.remedy_lines_of(tx, remedy_id=remedy_id))
    back = {line_id: line.open for line_id, line in held.items() if line.open}
    if not await store.free_units(tx, quantities=back):
        raise Retry(f"the units of remedy {remedy_id} changed meanwhile")
    kept = remedies.trimmed(held=held)
    await store.replace_remedy_lines(
        tx,
        remedy_id=remedy_id,
        line_ids=held,
        rows=[_remedy_line(remedy_id, line) for line in kept.values()],
    )
    state = "settled" if kept else "released"
    await store.set_remedy_state(tx, remedy_id=remedy_id, state=state, now=now)


async def _quote(
    tx: Tx, order: OpenOrder, asked: ReturnShipping | None
) -> tuple[ShippingQuote | None, int]:
    """The return shipping as orders prices it, and what it takes off a refund.

    Without an option there is no method, whatever price was named.
    """
    if asked is None or asked.option_id is None:
        return None, 0
    option = await store.shipping_option(tx, option_id=asked.option_id)
    if option is None:
        raise remedies.shipping_option_unknown(option_id=asked.option_id)
    price = option["amount"] if asked.price is None else max(0, asked.price)
    tax = _order_tax(order)
    on_top = 0
    if not option["includes_tax"]:
        on_top = refunds.tax_on(net=price, rate=tax.rate)
    quote = ShippingQuote(
        option_id=option["id"],
        name=option["name"],
        price=price,
        tax_amount=on_top,
        tax_lines=[tax.model_dump()],
        data=option["data"] or {},
    )
    return quote, price + on_top


def _order_tax(order: OpenOrder) -> Tax:
    """The tax on what is added to an order: its own rate in the old system, else its region's."""
    own = order.row["tax_rate"]
    rate = order.row["region_tax_rate"] if own is None else own
    return Tax(rate=rate or 0.0, code=order.row["region_tax_code"], name="default")


def _replacement_tax(order: OpenOrder) -> Tax:
    """Replacement lines carry the region's rate."""
    row = order.row
    return Tax(rate=row["region_tax_rate"] or 0.0, code=row["region_tax_code"], name="default")


def _explained(parts: Sequence[Part]) -> list[RefundLine]:
    return [RefundLine(**asdict(part)) for part in parts]


def _snapshots(lines: Mapping[str, Line], hold: Hold) -> list[LineSnapshot]:
    return [
        LineSnapshot(
            line_id=line.line_id,
            variant_id=line.variant_id,
            title=line.title,
            quantity=line.quantity,
            unit_price=line.unit_price,
            fulfilled_quantity=line.fulfilled_quantity,
            shipped_quantity=line.shipped_quantity,
            returned_quantity=line.returned_quantity,
            delivered_at=line.delivered_at,
        )
        for line in (lines[line_id] for line_id in hold.shares)
    ]
