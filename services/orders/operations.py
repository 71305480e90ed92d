"""What can be done to an order: hold and release units, refund, settle returned goods.

Every operation locks the order first and decides on what it then reads. A command whose business
id was seen before gets the same answer again and changes nothing, whatever its message id. A
refusal is an answer too: it is remembered, so that a repeat cannot be accepted behind the back of
a saga that has already turned around.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel

from chassis import audit, idempotency, saga_log
from chassis.db import Row, Tx
from chassis.errors import Refusal
from chassis.inbox import Retry
from chassis.outbox import put, reply_address
from chassis.sagas import Saga
from chassis.values import new_id
from contracts.base import ShippingQuote
from contracts.orders import (
    BookedRefund,
    CheckReturnReceipt,
    ClaimHoldPlaced,
    ClaimHoldRejected,
    ClaimHoldReleased,
    ClaimRefundDeclined,
    ClaimRefundSucceeded,
    ExecuteClaimRefund,
    NoteCreated,
    NoteDeleted,
    NoteUpdated,
    PlaceClaimHold,
    PlaceReturnHold,
    ProcessExchange,
    RecordReplacement,
    ReleaseClaimHold,
    ReleaseReturnHold,
    ReplacementRecorded,
    ReplacementShipped,
    ReplacementWithdrawalRejected,
    ReplacementWithdrawn,
    RetryClaimRefund,
    ReturnHoldPlaced,
    ReturnHoldRejected,
    ReturnHoldReleased,
    ReturnReceiptSettled,
    SettleExchange,
    SettleReturnReceipt,
    ShipReplacement,
    WithdrawReplacement,
)
from services.orders import (
    capturing,
    changing,
    crediting,
    domain,
    exchanges,
    fulfilling,
    fulfillments,
    goodwill,
    holding,
    importing,
    issuing,
    paying,
    receiving,
    remedies,
    replacing,
    retrying,
    saga,
    settling,
    store,
    store_goods,
    store_imports,
    store_money,
    store_units,
)
from services.orders.domain import PaymentShare
from services.orders.paying import Cause, OpenOrder
from services.orders.remedies import Hold, Line

# A provider that has not answered after 30 s is asked again: its time limit is 10 s.
ATTEMPT_LEASE_S = 30
# Never longer: a provider that answers again must not wait for us. Eight at once bound the calls.
ATTEMPT_PAUSES_S = (1, 2, 5, 15, 30)
ATTEMPTS_AT_ONCE = 8


@dataclass(frozen=True)
class Caller:
    """Who asks over HTTP, and the idempotency key of the attempt, if it has one."""

    principal: str
    key: str | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class Accepted:
    """What was taken on, and what to wait for; ``done``: nothing is left to wait for."""

    id: str
    wait_for: str
    done: bool


# ---------------------------------------------------------------------------------- claims


async def place_claim_hold(tx: Tx, *, command: PlaceClaimHold, now: datetime) -> None:
    """Hold the units and the money of a claim, and go on with the refund if asked.

    Answers ClaimHoldPlaced (with the refund, or then ClaimRefundSucceeded or ClaimRefundDeclined),
    or ClaimHoldRejected with nothing held.
    """
    if command.type == settling.KIND:
        await _place_exchange_hold(tx, command, now)
        return
    order = await paying.open_order(tx, command.order_id)
    about = f"claim/{command.claim_id}"
    try:
        if order is None:
            raise domain.order_unknown(order_id=command.order_id)
        quote, hold, lines, shares = await _decide_claim(tx, order, command)
    except Refusal as no:
        if await holding.remember_refusal(tx, "claim", command.claim_id, command.order_id, no, now):
            await put(tx, _claim_rejected(command.claim_id, no), about=about)
        else:
            await _repeat_claim_hold(tx, command)
        return
    # With no provider to ask, the refund is settled below, in this transaction.
    settled = command.execute_refund and paying.settled_in_books(shares, to=command.refund_to)
    placed = _claim_placed(command, order, quote, hold, lines)
    if settled:
        refund = _booked(command.claim_id, hold.amount)
        placed = placed.model_copy(update={"refund": refund})
    state = "settled" if settled else "held"
    if not await holding.add_remedy(tx, "claim", command.claim_id, order, hold, placed, state, now):
        await _repeat_claim_hold(tx, command)
        return
    await holding.hold_units(tx, hold, limit="fulfilled_quantity")
    await put(tx, placed, about=about)
    if shares:
        await paying.begin_refund(
            tx,
            order,
            Cause(
                "claim",
                command.claim_id,
                "claim",
                no_notification=order.no_notification,
                to=command.refund_to,
            ),
            shares,
            hold=not command.execute_refund,
            reply_to=reply_address(),
            now=now,
        )
    await paying.close_order(tx, order, now)


async def _place_exchange_hold(tx: Tx, command: PlaceClaimHold, now: datetime) -> None:
    """Hold the units of an exchange, and say what the customer is credited for them. No money is
    held: whether any moves is known once the goods that go out are priced."""
    id_, kind = command.claim_id, settling.KIND
    order = await paying.open_order(tx, command.order_id)
    try:
        if order is None:
            raise domain.order_unknown(order_id=command.order_id)
        quantities = holding.quantities_of(command.lines)
        lines = await holding.lines_of(tx, order, quantities)
        missing = quantities.keys() - lines.keys()
        exchanges.check(
            payment_status=order.row["payment_status"],
            fulfillment_status=order.row["fulfillment_status"],
            lines=lines,
            foreign=await store_units.lines_elsewhere(tx, line_ids=missing) if missing else [],
            quantities=quantities,
        )
        quote, cost = await holding.quote_of(tx, order, command.return_shipping)
        for each in command.shipping:
            cost += (await holding.quote_of(tx, order, each))[1]
        hold = exchanges.decide_hold(
            lines=lines, quantities=quantities, shipping_cost=cost, money=order.money
        )
    except Refusal as no:
        if await holding.remember_refusal(tx, kind, id_, command.order_id, no, now):
            await put(tx, _claim_rejected(id_, no), about=f"{kind}/{id_}")
        else:
            await _repeat_claim_hold(tx, command)
        return
    placed = _claim_placed(command, order, quote, hold, lines)
    if not await holding.add_remedy(
        tx, kind, id_, order, hold, placed, "held", now, shipping_cost=cost
    ):
        await _repeat_claim_hold(tx, command)
        return
    await holding.hold_units(tx, hold, limit="fulfilled_quantity")
    await put(tx, placed, about=f"{kind}/{id_}")
    await paying.close_order(tx, order, now)


async def settle_exchange(tx: Tx, *, command: SettleExchange, now: datetime) -> None:
    """Settle the difference of an exchange. Answers ExchangeSettled as soon as its fate is known,
    or ExchangeRejected."""
    order = await paying.open_order(tx, command.order_id)
    await settling.settle(tx, order, command, now)
    if order is not None:
        await paying.close_order(tx, order, now)


async def process_exchange(tx: Tx, *, command: ProcessExchange, now: datetime) -> None:
    """Book the difference of an exchange that came, or ask again for a refund of it that was
    declined. Answers as ``settle_exchange``."""
    order = await paying.open_order(tx, command.order_id)
    await settling.process(tx, order, command, now)
    if order is not None:
        await paying.close_order(tx, order, now)


async def preview_claim(tx: Tx, *, command: PlaceClaimHold) -> ClaimHoldPlaced:
    """What ``place_claim_hold`` would answer, decided by the same code under the same lock; nothing
    is held. Raises the refusal it would remember."""
    order = await paying.open_order(tx, command.order_id)
    if order is None:
        raise domain.order_unknown(order_id=command.order_id)
    quote, hold, lines, _ = await _decide_claim(tx, order, command)
    return _claim_placed(command, order, quote, hold, lines)


def _claim_placed(
    command: PlaceClaimHold,
    order: OpenOrder,
    quote: ShippingQuote | None,
    hold: Hold,
    lines: dict[str, Line],
) -> ClaimHoldPlaced:
    return ClaimHoldPlaced(
        claim_id=command.claim_id,
        order_id=order.id,
        currency_code=order.row["currency_code"],
        amount=hold.amount,
        explanation=holding.explained(hold.explanation),
        lines=holding.snapshots(lines, hold.shares),
        tax=holding.replacement_tax(order),
        includes_tax=bool(order.row["region_includes_tax"]),
        return_shipping=quote,
        no_notification=order.no_notification,
    )


async def _decide_claim(
    tx: Tx, order: OpenOrder, command: PlaceClaimHold
) -> tuple[ShippingQuote | None, Hold, dict[str, Line], list[PaymentShare]]:
    quantities = holding.quantities_of(command.lines)
    lines = await holding.lines_of(tx, order, quantities)
    remedies.check_claim(order_status=order.row["status"], lines=lines, quantities=quantities)
    customer_id = order.row["customer_id"]
    domain.check_destination(refund_to=command.refund_to, customer_id=customer_id)
    quote, _ = await holding.quote_of(tx, order, command.return_shipping)
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


def _booked(claim_id: str, amount: int) -> BookedRefund:
    refund_id = Cause("claim", claim_id, "claim").refund_id if amount else None
    return BookedRefund(refund_id=refund_id, amount=amount)


def _claim_refunded(
    claim_id: str, amount: int, explanation: Sequence[Any] = ()
) -> ClaimRefundSucceeded:
    booked = _booked(claim_id, amount)
    return ClaimRefundSucceeded(
        claim_id=claim_id, explanation=list(explanation), **booked.model_dump()
    )


async def _repeat_claim_hold(tx: Tx, command: PlaceClaimHold) -> None:
    """The claim was here before: say again what was said, or that it was released since."""
    remedy = await holding.known_remedy(tx, command.claim_id)
    refund = await store_money.refund_of(tx, cause_kind="claim", cause_id=command.claim_id)
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
    placed = ClaimHoldPlaced(**remedy["answer"])
    await put(tx, placed, about=about)
    if command.execute_refund and placed.refund is None:
        await _tell_claim_refund(tx, command.claim_id, refund, reply_to=None)


async def _tell_claim_refund(
    tx: Tx,
    claim_id: str,
    refund: Row | None,
    *,
    reply_to: Mapping[str, Any] | None,
    remedy: Row | None = None,
) -> None:
    """Say what became of a claim's refund; nothing while nobody knows. ``remedy`` is given where
    its amount was decided after the hold."""
    about = f"claim/{claim_id}"
    address = dict(reply_to) if reply_to else None
    parts = (remedy["answer"] or {}).get("explanation", []) if remedy else []
    if refund is None:
        await put(tx, _claim_refunded(claim_id, 0, parts), about=about, reply_to=address)
    elif refund["state"] == "posted":
        done = _claim_refunded(claim_id, refund["amount"], parts)
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
    """Give the units and the money of a claim back, unless its refund is on its way or done. One
    that became store credit is taken back, unless that is spent; the difference that was paid for
    an exchange is paid back.

    An unknown claim leaves a tombstone. Answers ClaimHoldReleased.
    """
    order = await paying.open_order(tx, command.order_id)
    remedy = await holding.remedy_or_tombstone(tx, "claim", command.claim_id, command.order_id, now)
    passed, paid_back = False, 0
    if order is not None and remedy is not None and remedy["state"] != "released":
        kind = remedy["kind"]
        refund = await store_money.refund_of(tx, cause_kind=kind, cause_id=command.claim_id)
        passed = refund is not None and refund["state"] in ("pending", "posted")
        if refund is not None and passed and refund["destination"] == domain.STORE_CREDIT:
            passed = await _credit_stays(tx, order, remedy, refund, command.request_id, now)
        if not passed:
            if refund is not None and refund["state"] == "held":
                await paying.void_refund(tx, order, refund, now=now)
            if kind == settling.KIND:
                paid_back = await settling.pay_back(tx, order, command.claim_id, now)
            await holding.release_units(tx, order, kind, command.claim_id, now)
            await paying.close_order(tx, order, now)
    elif remedy is not None and remedy["kind"] == settling.KIND:
        paid_back = await settling.paid_back(tx, command.claim_id)
    released = ClaimHoldReleased(
        claim_id=command.claim_id, pivot_passed=passed, paid_back_amount=paid_back
    )
    await put(tx, released, about=f"claim/{command.claim_id}")


async def _credit_stays(
    tx: Tx, order: OpenOrder, remedy: Row, refund: Row, request_id: str | None, now: datetime
) -> bool:
    """Whether a claim's store credit is spent, else it is taken back. A repeat that comes late must
    not take it from a claim that was told that it stays."""
    if request_id in (remedy["retries"] or {}):
        return True
    if await paying.take_credit_back(tx, order, refund, now=now):
        return False
    if request_id is not None:
        no = {"kind": "not_allowed", "code": "store_credit_spent", "message": "It is spent"}
        await store_units.remember_retry(tx, remedy=remedy, request_id=request_id, refusal=no)
    return True


async def execute_claim_refund(tx: Tx, *, command: ExecuteClaimRefund, now: datetime) -> None:
    """Let the held money of a claim go: the pivot. Answers when its fate is known."""
    order = await paying.open_order(tx, command.order_id)
    remedy = await store_units.remedy(tx, remedy_id=command.claim_id)
    refund = await store_money.refund_of(tx, cause_kind="claim", cause_id=command.claim_id)
    if order is None or remedy is None or (refund is None and remedy["state"] == "released"):
        why = remedies.hold_unknown(claim_id=command.claim_id)
        await put(
            tx,
            ClaimRefundDeclined(
                claim_id=command.claim_id, code=why.code, kind=why.kind, message=why.message
            ),
            about=f"claim/{command.claim_id}",
        )
        return
    if refund is not None and refund["state"] == "held":
        await paying.execute_refund(tx, order, refund, reply_to=reply_address(), now=now)
        refund = await store_money.refund(tx, refund_id=refund["id"])
    if refund is None or refund["state"] == "posted":
        await store_units.set_remedy_state(tx, remedy_id=command.claim_id, state="settled", now=now)
    await _tell_claim_refund(tx, command.claim_id, refund, reply_to=None)
    await paying.close_order(tx, order, now)


async def retry_claim_refund(tx: Tx, *, command: RetryClaimRefund, now: datetime) -> None:
    """Refund a claim whose money did not go out when it was opened. Answers when its fate is known.

    There is one refund per claim: one that went out is told again, one that its provider declined
    is asked for again under the same key. A refusal changes nothing; the claim keeps its units.
    """
    claim_id = command.claim_id
    order = await paying.open_order(tx, command.order_id)
    try:
        if order is None:
            raise remedies.hold_unknown(claim_id=claim_id)
        refund = await retrying.begin_once(tx, order, command, now)
    except Refusal as no:
        declined = ClaimRefundDeclined(
            claim_id=claim_id, code=no.code, kind=no.kind, message=no.message
        )
        await put(tx, declined, about=f"claim/{claim_id}")
        return
    remedy = await store_units.remedy(tx, remedy_id=claim_id)
    await _tell_claim_refund(tx, claim_id, refund, reply_to=None, remedy=remedy)
    await paying.close_order(tx, order, now)


async def preview_claim_refund(tx: Tx, *, command: RetryClaimRefund) -> ClaimRefundSucceeded:
    """What ``retry_claim_refund`` would refund, decided by the same code under the same lock.

    Raises the refusal it would answer.
    """
    order = await _order(tx, command.order_id)
    hold, _ = await retrying.decide(tx, order, command)
    return ClaimRefundSucceeded(
        claim_id=command.claim_id,
        amount=hold.amount,
        explanation=holding.explained(hold.explanation),
    )


# ---------------------------------------------------------------------------------- replacements


async def record_replacement(tx: Tx, *, command: RecordReplacement, now: datetime) -> None:
    """Goods that a claim sends out are packed: their units can be claimed and returned.

    Answers ReplacementRecorded; a fulfillment that was here before changes nothing.
    """
    order = await _known_order(tx, command.order_id)
    await replacing.record(tx, order, command, now)
    await paying.close_order(tx, order, now)
    recorded = ReplacementRecorded(fulfillment_id=command.fulfillment_id, claim_id=command.claim_id)
    await put(tx, recorded, about=f"fulfillment/{command.fulfillment_id}")


async def ship_replacement(tx: Tx, *, command: ShipReplacement, now: datetime) -> None:
    """Goods that a claim sends out are on their way. Answers ReplacementShipped."""
    id_, claim_id = command.fulfillment_id, command.claim_id
    order = await _known_order(tx, command.order_id)
    await replacing.ship(tx, order, fulfillment_id=id_, claim_id=claim_id)
    await paying.close_order(tx, order, now)
    shipped = ReplacementShipped(fulfillment_id=id_, claim_id=claim_id)
    await put(tx, shipped, about=f"fulfillment/{id_}")


async def withdraw_replacement(tx: Tx, *, command: WithdrawReplacement, now: datetime) -> None:
    """Goods that a claim sends out are to be unpacked. Answers ReplacementWithdrawn, or
    ReplacementWithdrawalRejected where a unit of them has a remedy or came back."""
    id_, claim_id = command.fulfillment_id, command.claim_id
    order = await _known_order(tx, command.order_id)
    answer: ReplacementWithdrawn | ReplacementWithdrawalRejected
    try:
        await replacing.withdraw(tx, order, command, now)
        answer = ReplacementWithdrawn(fulfillment_id=id_, claim_id=claim_id)
    except Refusal as no:
        answer = ReplacementWithdrawalRejected(
            fulfillment_id=id_, claim_id=claim_id, code=no.code, kind=no.kind, message=no.message
        )
    await paying.close_order(tx, order, now)
    await put(tx, answer, about=f"fulfillment/{id_}")


async def _known_order(tx: Tx, order_id: str) -> OpenOrder:
    """The order of a claim that it has agreed to: it is there."""
    order = await paying.open_order(tx, order_id)
    if order is None:
        raise LookupError(f"a claim sends goods out for order {order_id}, which nobody knows")
    return order


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
        if await holding.remember_refusal(
            tx, "return", command.return_id, command.order_id, no, now
        ):
            await put(tx, _return_rejected(command.return_id, no), about=about)
        else:
            await _repeat_return_hold(tx, command)
        return
    placed = ReturnHoldPlaced(
        return_id=command.return_id,
        order_id=order.id,
        currency_code=order.row["currency_code"],
        amount=hold.amount,
        explanation=holding.explained(hold.explanation),
        lines=holding.snapshots(lines, hold.shares),
        return_shipping=quote,
        no_notification=order.no_notification,
        refund_to=command.refund_to,
    )
    if not await holding.add_remedy(
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
    await holding.hold_units(tx, hold, limit="quantity")
    await put(tx, placed, about=about)
    await paying.close_order(tx, order, now)


async def _decide_return(
    tx: Tx, order: OpenOrder, command: PlaceReturnHold
) -> tuple[ShippingQuote | None, int, Hold, dict[str, Line]]:
    quantities = holding.quantities_of(command.lines)
    lines = await holding.lines_of(tx, order, quantities)
    missing = quantities.keys() - lines.keys()
    foreign = await store_units.lines_elsewhere(tx, line_ids=missing) if missing else []
    remedies.check_return(
        order_status=order.row["status"], lines=lines, foreign=foreign, quantities=quantities
    )
    customer_id = order.row["customer_id"]
    domain.check_destination(refund_to=command.refund_to, customer_id=customer_id)
    quote, cost = await holding.quote_of(tx, order, command.return_shipping)
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
    remedy = await holding.known_remedy(tx, command.return_id)
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
    remedy = await holding.remedy_or_tombstone(
        tx, "return", command.return_id, command.order_id, now
    )
    if order is not None and remedy is not None and remedy["state"] != "released":
        await holding.release_units(tx, order, "return", command.return_id, now)
        await paying.close_order(tx, order, now)
    released = ReturnHoldReleased(return_id=command.return_id)
    await put(tx, released, about=f"return/{command.return_id}")


# ---------------------------------------------------------------------------------- receipts


async def check_return_receipt(tx: Tx, *, command: CheckReturnReceipt) -> None:
    """Say whether units that nobody announced can be of the order. Nothing is held: what follows is
    their booking, which never refuses. Answers ReturnReceiptChecked or ReturnReceiptRejected."""
    await put(tx, await receiving.check(tx, command), about=f"return/{command.return_id}")


async def settle_return_receipt(tx: Tx, *, command: SettleReturnReceipt, now: datetime) -> None:
    """Book goods that arrived, and refund them. Never refuses: goods are a fact.

    Answers ReturnReceiptSettled, with ``action_required`` where the money did not go out.
    """
    order = await paying.open_order(tx, command.order_id)
    known = await store_units.receipt(tx, receipt_id=command.receipt_id)
    about = f"return/{command.return_id}"
    if known is not None:
        if known["state"] == "settled":
            await put(tx, ReturnReceiptSettled(**known["answer"]), about=about)
        return
    if order is None:
        no = domain.order_unknown(order_id=command.order_id)
        answer = receiving.answer_of(command, why=(no.code, no.message))
        await put(tx, answer, about=about)
        return
    await receiving.settle(tx, order, command, now)
    await paying.close_order(tx, order, now)


# ---------------------------------------------------------------------------------- refunds


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
    principal: str,
    key: str | None,
    fingerprint: str,
    now: datetime,
) -> str:
    """Refund by hand; the refund's id, also for a key that was here before.

    ``items`` are (line id, minor units) whose price this gives back, while their units stay with
    the customer. Raises in Medusa's words, and as ``goodwill.decide``.
    With another provider than ``manual`` the refund settles later.
    """
    domain.check_reason(reason=reason)
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
    if await _seen(tx, caller, entry_id) is not None:
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
        await _tell_claim_refund(tx, claim_id, told, reply_to=reply_to, remedy=later)
    elif refund["cause_kind"] == settling.KIND:
        await settling.tell(tx, refund["cause_id"], reply_to=refund["reply_to"])
    elif refund["cause_kind"] == "receipt":
        await receiving.tell_refund(tx, order, refund, amount, why)
    elif amount < refund["amount"]:
        await goodwill.settle(tx, refund_id=refund["id"], amount=amount)


# ---------------------------------------------------------------------------------- fulfillments


async def create_fulfillment(
    tx: Tx,
    *,
    order_id: str,
    items: Sequence[tuple[str, int]],
    location_id: str | None,
    no_notification: bool | None,
    metadata: Mapping[str, Any] | None,
    caller: Caller,
    now: datetime,
) -> Accepted:
    """Pack units of lines; with a location their goods are taken out of its stock.

    Raises in Medusa's words; what inventory refuses is told to who waits.
    """
    fulfillment_id = new_id("ful")
    earlier = await _seen(tx, caller, fulfillment_id)
    if earlier is not None:
        return Accepted(earlier, earlier, done=False)
    order = await _order(tx, order_id)
    done = await fulfilling.pack(
        tx,
        order,
        fulfillment_id=fulfillment_id,
        items=items,
        location_id=location_id,
        no_notification=no_notification,
        metadata=metadata,
        now=now,
    )
    await paying.close_order(tx, order, now)
    return Accepted(fulfillment_id, fulfillment_id, done=done)


async def cancel_fulfillment(
    tx: Tx, *, order_id: str, fulfillment_id: str, caller: Caller, now: datetime
) -> Accepted:
    """Unpack a fulfillment and put its goods back; one that is canceled already is left alone.

    Raises in Medusa's words; a fulfillment of another order is not found.
    """
    wait_for = fulfilling.cancel_saga_id(fulfillment_id)
    if await _seen(tx, caller, fulfillment_id) is not None:
        return Accepted(fulfillment_id, wait_for, done=False)
    order = await _order(tx, order_id)
    row = await _fulfillment(tx, order, fulfillment_id)
    if row is None:
        raise fulfillments.unknown(fulfillment_id=fulfillment_id, order_id=order_id)
    done = await fulfilling.unpack(tx, order, row, now)
    await paying.close_order(tx, order, now)
    return Accepted(fulfillment_id, wait_for, done=done)


async def create_shipment(
    tx: Tx,
    *,
    order_id: str,
    fulfillment_id: str,
    tracking_numbers: Sequence[str],
    no_notification: bool | None,
    caller: Caller,
    now: datetime,
) -> None:
    """A fulfillment is on its way. Raises in Medusa's words."""
    if await _seen(tx, caller, fulfillment_id) is not None:
        return
    order = await _order(tx, order_id)
    await fulfilling.ship(
        tx,
        order,
        await _fulfillment(tx, order, fulfillment_id),
        tracking_numbers=tracking_numbers,
        no_notification=no_notification,
        now=now,
    )
    await paying.close_order(tx, order, now)


async def _fulfillment(tx: Tx, order: OpenOrder, fulfillment_id: str) -> Row | None:
    """A fulfillment of this order that may be seen."""
    row = await store_goods.fulfillment(tx, fulfillment_id=fulfillment_id)
    mine = row is not None and row["order_id"] == order.id and row["state"] != "refused"
    return row if mine else None


# ---------------------------------------------------------------------------------- the order


async def complete_order(tx: Tx, *, order_id: str, caller: Caller, now: datetime) -> None:
    """Declare an order completed. Raises for a canceled one."""
    if await _seen(tx, caller, order_id) is None:
        order = await _order(tx, order_id)
        changing.complete(order)
        await paying.close_order(tx, order, now)


async def archive_order(tx: Tx, *, order_id: str, caller: Caller, now: datetime) -> None:
    """Put a completed order away. Raises for any other."""
    if await _seen(tx, caller, order_id) is None:
        order = await _order(tx, order_id)
        changing.archive(order)
        await paying.close_order(tx, order, now)


async def cancel_order(tx: Tx, *, order_id: str, caller: Caller, now: datetime) -> Accepted:
    """Cancel an order with its payments; its reservations are released. Raises in Medusa's words.

    One that is canceled already is left alone.
    """
    wait_for = changing.cancel_saga_id(order_id)
    if await _seen(tx, caller, order_id) is not None:
        return Accepted(order_id, wait_for, done=False)
    order = await _order(tx, order_id)
    done = await changing.cancel(tx, order, now)
    await paying.close_order(tx, order, now)
    return Accepted(order_id, wait_for, done=done)


async def update_order(
    tx: Tx, *, order_id: str, changes: Mapping[str, Any], caller: Caller, now: datetime
) -> None:
    """Correct an order's email, addresses, customer or wish for mail. Raises in Medusa's words."""
    if await _seen(tx, caller, order_id) is None:
        order = await _order(tx, order_id)
        await changing.correct(tx, order, changes, now)
        await paying.close_order(tx, order, now)


async def add_shipping_method(
    tx: Tx,
    *,
    order_id: str,
    option_id: str,
    price: int,
    data: Mapping[str, Any] | None,
    caller: Caller,
    now: datetime,
) -> None:
    """One more way to send an order. Raises for a canceled order and an unknown option."""
    if await _seen(tx, caller, order_id) is None:
        order = await _order(tx, order_id)
        await changing.add_shipping_method(tx, order, option_id=option_id, price=price, data=data)
        await paying.close_order(tx, order, now)


async def _order(tx: Tx, order_id: str) -> OpenOrder:
    order = await paying.open_order(tx, order_id)
    if order is None:
        raise domain.order_unknown(order_id=order_id)
    return order


async def _seen(tx: Tx, caller: Caller, subject_id: str) -> str | None:
    """What this attempt was about when it was here before. Raises KeyReused."""
    if caller.key is None:
        return None
    return await idempotency.claim_key(
        tx,
        principal=caller.principal,
        key=caller.key,
        fingerprint=caller.fingerprint,
        subject_id=subject_id,
    )


# ---------------------------------------------------------------------------------- sagas


async def continue_saga(tx: Tx, *, reply: BaseModel, now: datetime) -> None:
    """Inventory answered: move the saga on, and its subject with it. Stale answers do nothing."""
    moved = await saga_log.advance(tx, saga.SAGAS, reply, now=now)
    if moved is not None:
        await _follow(tx, moved, now)


async def expire_saga(tx: Tx, *, saga_id: str, now: datetime) -> None:
    """A saga's timer came due: ask again, or give a fulfillment up."""
    moved = await saga_log.expire(tx, saga.SAGAS, saga_id, now=now)
    if moved is not None:
        await _follow(tx, moved, now)


async def give_up(tx: Tx, *, saga_id: str, reason: str, now: datetime) -> None:
    """An operator turns a saga back, and the fulfillment with it.

    Raises NotFound; NotAllowed where nothing can be turned back (any more).
    """
    moved = await saga_log.give_up(tx, saga.SAGAS, saga_id, reason=reason, now=now)
    await _follow(tx, moved, now)


async def release_again(tx: Tx, *, subject_id: str) -> bool:
    """Ask once more that all is freed that a dead fulfillment or a canceled order holds; False
    unless it is dead. Who holds nothing says so."""
    row = await store_goods.fulfillment(tx, fulfillment_id=subject_id)
    if row is not None and row["state"] in ("canceled", "refused"):
        facts = {"fulfillment_id": subject_id, "order_id": row["order_id"]}
        command = saga.restore_command(facts=facts)
        await put(tx, command, about=f"fulfillment/{subject_id}")
        return True
    order = await paying.open_order(tx, subject_id)
    if order is None or order.row["status"] != "canceled":
        return False
    lines = await store_goods.packed_lines(tx, order_id=subject_id)
    release = saga.release_command(order_id=subject_id, line_ids=lines)
    await put(tx, release, about=f"order/{subject_id}")
    return True


async def _follow(tx: Tx, moved: Saga, now: datetime) -> None:
    if moved.kind == saga.ORDER_CANCEL.kind:
        if moved.over:
            tx.wake(moved.id)
        return
    order = await _order(tx, moved.facts["order_id"])
    row = await store_goods.fulfillment(tx, fulfillment_id=moved.subject_id)
    if row is None:
        raise Retry(f"fulfillment {moved.subject_id} cannot be seen yet")
    if moved.kind == saga.FULFILLMENT_CANCEL.kind:
        if moved.direction == "finished":
            await fulfilling.unpacked(tx, order, row, now)
    elif moved.direction == "finished":
        await fulfilling.packed(tx, order, row)
    elif moved.direction in ("back", "undone"):
        no = next(iter(moved.refusals.values()))
        await fulfilling.refused(tx, order, row, no)
    await paying.close_order(tx, order, now)
    tx.wake(moved.id)


# ---------------------------------------------------------------------------------- payments


async def capture_order(tx: Tx, *, order_id: str, caller: Caller, now: datetime) -> Accepted:
    """Take the money of all payments of an order. Raises for a canceled one.

    A provider's no is no error: the order's payment status then tells of it.
    """
    wait_for = capturing.wake_key(order_id)
    if await _seen(tx, caller, order_id) is not None:
        return Accepted(order_id, wait_for, done=False)
    order = await _order(tx, order_id)
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
    if await _seen(tx, caller, payment_id) is not None:
        return Accepted(payment_id, wait_for, done=False)
    order = await _order(tx, order_id)
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
    earlier = await _seen(tx, caller, cause.refund_id)
    if earlier is not None:
        return earlier
    order = await _order(tx, order_id)
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
    order = await _order(tx, capture["order_id"])
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


# ---------------------------------------------------------------------------------- notes


async def add_note(
    tx: Tx,
    *,
    resource_type: str,
    resource_id: str,
    value: str,
    author_id: str,
    key: str | None,
    fingerprint: str,
    now: datetime,
) -> str:
    """Write a note about anything that has an id; the note's id, also for a known key."""
    note_id = new_id("note")
    if key is not None:
        earlier = await idempotency.claim_key(
            tx, principal=author_id, key=key, fingerprint=fingerprint, subject_id=note_id
        )
        if earlier is not None:
            return earlier
    about = {"resource_type": resource_type, "resource_id": resource_id}
    row = {"id": note_id, **about, "value": value, "author_id": author_id, "version": 1}
    await store.add_note(tx, row={**row, "created_at": now, "updated_at": now})
    await put(tx, NoteCreated(id=note_id, **about), about=f"note/{note_id}", version=1)
    # Not its text: the trail is for ever, and people write names into notes.
    await audit.record(tx, action="note.created", about=f"note/{note_id}", after=about)
    return note_id


async def change_note(tx: Tx, *, note_id: str, value: str, now: datetime) -> str:
    """Another text; the note's id. Raises ``note_unknown``."""
    about, version = await _note(tx, note_id)
    await store.change_note(tx, note_id=note_id, value=value, now=now)
    await put(tx, NoteUpdated(id=note_id, **about), about=f"note/{note_id}", version=version)
    await audit.record(tx, action="note.updated", about=f"note/{note_id}", after=about)
    return note_id


async def remove_note(tx: Tx, *, note_id: str) -> None:
    """Forget a note and its text. Raises ``note_unknown``."""
    about, version = await _note(tx, note_id)
    await store.remove_note(tx, note_id=note_id)
    await put(tx, NoteDeleted(id=note_id, **about), about=f"note/{note_id}", version=version)
    await audit.record(tx, action="note.deleted", about=f"note/{note_id}", before=about)


async def _note(tx: Tx, note_id: str) -> tuple[dict[str, str], int]:
    """What a note is about, and the version that a change of it makes."""
    row = await store.lock_note(tx, note_id=note_id)
    if row is None:
        raise domain.note_unknown(note_id=note_id)
    about = {"resource_type": row["resource_type"], "resource_id": row["resource_id"]}
    return about, row["version"] + 1


# ---------------------------------------------------------------------------------- customers


async def update_customer(
    tx: Tx, *, customer_id: str, changes: Mapping[str, Any], now: datetime
) -> None:
    """Correct what is known of a customer; orders keep the e-mail that they were made with.

    Raises ``customer_unknown``.
    """
    row = await store.lock_customer(tx, customer_id=customer_id)
    if row is None:
        raise domain.customer_unknown(customer_id=customer_id)
    fresh = domain.corrected_customer(known=row, changes=changes)
    changed = sorted(name for name in row if row[name] != fresh[name])
    if changed:
        search = domain.search_text(words=fresh.values())
        row = {**fresh, "search": search}
        await store.change_customer(tx, customer_id=customer_id, row=row, now=now)
        # Which, and not what: a phone number is nobody's business but the customer's.
        told = {"changed": changed}
        about = f"customer/{customer_id}"
        await audit.record(tx, action="customer.updated", about=about, after=told)


# ---------------------------------------------------------------------------------- import


async def import_document(
    tx: Tx, *, lists: Mapping[str, Sequence[Any]], providers: Collection[str], now: datetime
) -> Row:
    """Load the lists of a document that orders owns: {created, updated, unchanged, refused,
    refusals}. A refused record stops no other."""
    outcome = await importing.load(tx, lists, providers=providers, now=now)
    answer = outcome.as_answer()
    if outcome.created or outcome.updated:
        counts = {name: count for name, count in answer.items() if name != "refusals"}
        await audit.record(tx, action="document.imported", about="import/orders", after=counts)
    return answer
