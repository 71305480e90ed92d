"""What moves money without a claim or a return: refunds, captures and store credit by hand.

Also what payment providers answer, whatever the money is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from chassis import idempotency
from chassis.db import Row, Tx
from chassis.idempotency import Caller
from chassis.values import new_id
from services.orders import (
    answering,
    capturing,
    crediting,
    domain,
    goodwill,
    holding,
    issuing,
    paying,
    receiving,
    settling,
    store_imports,
    store_money,
    store_units,
)
from services.orders.domain import PaymentShare
from services.orders.operations import Accepted
from services.orders.paying import Cause, OpenOrder

# A provider that has not answered after 30 s is asked again: its time limit is 10 s.
ATTEMPT_LEASE_S = 30
# Never longer: a provider that answers again must not wait for us. Eight at once bound the calls.
ATTEMPT_PAUSES_S = (1, 2, 5, 15, 30)
ATTEMPTS_AT_ONCE = 8


async def issue_memos(tx: Tx, *, now: datetime) -> int:
    """Give refunds that went out their credit memos, some at once; how many there were."""
    return await issuing.issue(tx, now)


async def refund_order(
    tx: Tx,
    *,
    order_id: str,
    amount: int,
    reason: str,
    note: str | None,
    no_notification: bool | None,
    items: Sequence[tuple[str, int]] = (),
    caller: Caller,
    now: datetime,
) -> str:
    """Refund by hand; the refund's id, also for a key that was here before.

    ``items`` are (line id, minor units) whose price this gives back, while their units stay with
    the customer. Raises in Medusa's words, and as ``goodwill.decide``.
    With another provider than ``manual`` the refund settles later.
    """
    domain.check_reason(reason=reason)
    cause = Cause("manual", new_id("cause"), reason, note, no_notification=bool(no_notification))
    earlier = await idempotency.take_key(tx, caller, subject_id=cause.refund_id)
    if earlier is not None:
        return earlier
    order = await paying.known_order(tx, order_id)
    domain.decide_refund(order_status=order.row["status"], amount=amount, money=order.money)
    shares = domain.split(amount=amount, payments=await paying.payments_of(tx, order))
    if items:
        given = await goodwill.shares_of(tx, order, items=items, amount=amount)
        await goodwill.give(tx, order, refund_id=cause.refund_id, shares=given)
    await paying.begin_refund(tx, order, cause, shares, hold=False, reply_to=None, now=now)
    await paying.close_order(tx, order, now)
    tx.wake(cause.refund_id)
    return cause.refund_id


async def adjust_store_credit(
    tx: Tx,
    *,
    customer_id: str,
    currency_code: str,
    amount: int,
    note: str | None,
    caller: Caller,
    now: datetime,
) -> None:
    """Give a customer store credit by hand, or book what was spent: ``amount`` is signed minor
    units. Raises for nobody, for nothing, and when less is left."""
    domain.check_adjustment(amount=amount)
    entry_id = new_id("sce")
    if await idempotency.take_key(tx, caller, subject_id=entry_id) is not None:
        return
    if not await store_imports.existing(tx, table="customers", ids=[customer_id]):
        raise domain.customer_unknown(customer_id=customer_id)
    booked = await crediting.book(
        tx,
        entry_id=entry_id,
        kind="adjusted",
        customer_id=customer_id,
        currency_code=currency_code,
        amount=amount,
        note=note,
        created_by=caller.principal,
        now=now,
    )
    if not booked:
        left = await store_money.store_credit_left(
            tx, customer_id=customer_id, currency_code=currency_code
        )
        raise domain.store_credit_spent(left=left)


async def take_attempts(tx: Tx, *, now: datetime, left_behind: bool = False) -> list[Row]:
    """Due attempts, marked as sent; their rows tell how they stood before.

    A crash from here on finds them due again, with the same key. ``left_behind``: also those that
    are marked as sent, because nobody waits for them any more.
    """
    if left_behind:
        await store_money.make_sent_attempts_due(tx, now=now)
    return await store_money.take_due_attempts(
        tx,
        now=now,
        lease_until=now + timedelta(seconds=ATTEMPT_LEASE_S),
        limit=ATTEMPTS_AT_ONCE,
    )


async def record_unknown(tx: Tx, *, attempt: Row, error: str, now: datetime) -> None:
    """No answer: neither paid nor failed. The attempt is asked again later, for ever."""
    pause_s = ATTEMPT_PAUSES_S[min(attempt["tries"], len(ATTEMPT_PAUSES_S) - 1)]
    await store_money.settle_attempt(
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
    refund = await store_money.refund(tx, refund_id=attempt["refund_id"])
    first = await store_money.settle_attempt(
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
    attempts = await store_money.attempts_of(tx, refund_id=refund["id"])
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
        claim_id, reply_to = refund["cause_id"], refund["reply_to"]
        remedy = await store_units.remedy(tx, remedy_id=claim_id)
        # Of a claim that was agreed to before, and keeps its units whatever is answered.
        later = remedy if remedy is not None and remedy["state"] == "settled" else None
        if why is None:
            await store_units.set_remedy_state(tx, remedy_id=claim_id, state="settled", now=now)
        elif later is None:
            await holding.release_units(tx, order, "claim", claim_id, now)
        told = await store_money.refund(tx, refund_id=refund["id"])
        await answering.tell_refund(tx, claim_id, told, reply_to=reply_to, remedy=later)
    elif refund["cause_kind"] == settling.KIND:
        await settling.tell(tx, refund["cause_id"], reply_to=refund["reply_to"])
    elif refund["cause_kind"] == "receipt":
        await receiving.tell_refund(tx, order, refund, amount, why)
    elif amount < refund["amount"]:
        await goodwill.settle(tx, refund_id=refund["id"], amount=amount)


# ---------------------------------------------------------------------------------- payments


async def capture_order(tx: Tx, *, order_id: str, caller: Caller, now: datetime) -> Accepted:
    """Take the money of all payments of an order. Raises for a canceled one.

    A provider's no is no error: the order's payment status then tells of it.
    """
    wait_for = capturing.wake_key(order_id)
    if await idempotency.take_key(tx, caller, subject_id=order_id) is not None:
        return Accepted(order_id, wait_for, done=False)
    order = await paying.known_order(tx, order_id)
    domain.check_capture(order_status=order.row["status"])
    done = await capturing.capture(tx, order, payment_id=None, now=now)
    await paying.close_order(tx, order, now)
    return Accepted(order_id, wait_for, done=done)


async def capture_payment(tx: Tx, *, payment_id: str, caller: Caller, now: datetime) -> Accepted:
    """Take the money of one payment; one that is captured already is left alone.

    Raises for an unknown payment and a canceled order.
    """
    order_id = await store_money.order_of_payment(tx, payment_id=payment_id)
    if order_id is None:
        raise domain.payment_unknown(payment_id=payment_id)
    wait_for = capturing.wake_key(order_id)
    if await idempotency.take_key(tx, caller, subject_id=payment_id) is not None:
        return Accepted(payment_id, wait_for, done=False)
    order = await paying.known_order(tx, order_id)
    domain.check_capture(order_status=order.row["status"])
    await capturing.capture(tx, order, payment_id=payment_id, now=now)
    await paying.close_order(tx, order, now)
    return Accepted(payment_id, wait_for, done=False)


async def refund_payment(
    tx: Tx,
    *,
    payment_id: str,
    amount: int,
    reason: str,
    note: str | None,
    caller: Caller,
    now: datetime,
) -> str:
    """Refund one payment by hand; the refund's id, also for a key that was here before.

    Works for a canceled order too: money that was captured must have a way back. Raises in Medusa's
    words.
    """
    domain.check_reason(reason=reason)
    order_id = await store_money.order_of_payment(tx, payment_id=payment_id)
    if order_id is None:
        raise domain.payment_unknown(payment_id=payment_id)
    cause = Cause("manual", new_id("cause"), reason, note, payment_id=payment_id)
    earlier = await idempotency.take_key(tx, caller, subject_id=cause.refund_id)
    if earlier is not None:
        return earlier
    order = await paying.known_order(tx, order_id)
    payments = {row["id"]: row for row in await store_money.payments_of(tx, order_id=order_id)}
    payment = payments[payment_id]
    left = payment["amount"] - payment["amount_refunded"] - payment["refund_pending"]
    domain.decide_payment_refund(
        payment_id=payment_id,
        is_captured=payment["captured_at"] is not None,
        left=left,
        amount=amount,
    )
    shares = [PaymentShare(payment_id, payment["provider_id"], amount)]
    await paying.begin_refund(tx, order, cause, shares, hold=False, reply_to=None, now=now)
    await paying.close_order(tx, order, now)
    tx.wake(cause.refund_id)
    return cause.refund_id


async def take_captures(tx: Tx, *, now: datetime, left_behind: bool = False) -> list[Row]:
    """Due captures, marked as sent, as ``take_attempts``."""
    if left_behind:
        await store_money.make_sent_captures_due(tx, now=now)
    return await store_money.take_due_captures(
        tx,
        now=now,
        lease_until=now + timedelta(seconds=ATTEMPT_LEASE_S),
        limit=ATTEMPTS_AT_ONCE,
    )


async def record_capture_unknown(tx: Tx, *, capture: Row, error: str, now: datetime) -> None:
    """No answer: neither taken nor refused. The capture is asked again later, for ever."""
    pause_s = ATTEMPT_PAUSES_S[min(capture["tries"], len(ATTEMPT_PAUSES_S) - 1)]
    await store_money.settle_capture(
        tx,
        capture_id=capture["id"],
        state="unknown",
        provider_ref=None,
        error=error,
        next_at=now + timedelta(seconds=pause_s),
        now=now,
    )


async def record_capture(
    tx: Tx,
    *,
    capture: Row,
    posted: bool,
    provider_ref: str | None,
    message: str | None,
    now: datetime,
) -> None:
    """A provider answered: book it."""
    order = await paying.known_order(tx, capture["order_id"])
    first = await store_money.settle_capture(
        tx,
        capture_id=capture["id"],
        state="posted" if posted else "declined",
        provider_ref=provider_ref,
        error=None if posted else message,
        next_at=None,
        now=now,
    )
    if first:
        await capturing.answered(tx, order, capture, posted=posted, message=message, now=now)
        await paying.close_order(tx, order, now)
