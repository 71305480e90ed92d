"""What claims ask of an order: units and money held, refunds, exchanges settled, goods sent out.

A command whose business id was seen before gets the same answer again and changes nothing, whatever
its message id. A refusal is an answer too: it is remembered, so that a repeat cannot be accepted
behind the back of a saga that has already turned around.
"""

from __future__ import annotations

from datetime import datetime

from chassis.db import Row, Tx
from chassis.errors import Refusal
from chassis.outbox import put, reply_address
from contracts.base import ShippingQuote
from contracts.orders import (
    ClaimHoldPlaced,
    ClaimHoldRejected,
    ClaimHoldReleased,
    ClaimRefundDeclined,
    ClaimRefundSucceeded,
    ExecuteClaimRefund,
    PlaceClaimHold,
    ProcessExchange,
    RecordReplacement,
    ReleaseClaimHold,
    ReplacementRecorded,
    ReplacementShipped,
    ReplacementWithdrawalRejected,
    ReplacementWithdrawn,
    RetryClaimRefund,
    SettleExchange,
    ShipReplacement,
    WithdrawReplacement,
)
from services.orders import (
    answering,
    domain,
    exchanges,
    holding,
    paying,
    remedies,
    replacing,
    retrying,
    settling,
    store_money,
    store_units,
)
from services.orders.domain import PaymentShare
from services.orders.paying import Cause, OpenOrder
from services.orders.remedies import Hold, Line


async def place_claim_hold(tx: Tx, *, command: PlaceClaimHold, now: datetime) -> None:
    """Hold the units and the money of a claim, and go on with the refund if asked.

    Answers ClaimHoldPlaced (with the refund, or then ClaimRefundSucceeded or ClaimRefundDeclined),
    or ClaimHoldRejected with nothing held.
    """
    if command.type == settling.KIND:
        await _place_exchange_hold(tx, command, now)
        return
    about = f"claim/{command.claim_id}"
    try:
        order = await paying.known_order(tx, command.order_id)
        quote, hold, lines, shares = await _decide_claim(tx, order, command)
    except Refusal as no:
        if await holding.remember_refusal(tx, "claim", command.claim_id, command.order_id, no, now):
            await put(tx, answering.rejected(command.claim_id, no), about=about)
        else:
            await _repeat_claim_hold(tx, command)
        return
    # With no provider to ask, the refund is settled below, in this transaction.
    settled = command.execute_refund and paying.settled_in_books(shares, to=command.refund_to)
    placed = answering.placed(command, order, quote, hold, lines)
    if settled:
        refund = answering.booked(command.claim_id, hold.amount)
        placed = placed.model_copy(update={"refund": refund})
    state = "settled" if settled else "held"
    if not await holding.add_remedy(tx, "claim", command.claim_id, order, hold, placed, state, now):
        await _repeat_claim_hold(tx, command)
        return
    await holding.hold_units(tx, lines, hold, limit="fulfilled_quantity")
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
    try:
        order = await paying.known_order(tx, command.order_id)
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
            await put(tx, answering.rejected(id_, no), about=f"{kind}/{id_}")
        else:
            await _repeat_claim_hold(tx, command)
        return
    placed = answering.placed(command, order, quote, hold, lines)
    if not await holding.add_remedy(
        tx, kind, id_, order, hold, placed, "held", now, shipping_cost=cost
    ):
        await _repeat_claim_hold(tx, command)
        return
    await holding.hold_units(tx, lines, hold, limit="fulfilled_quantity")
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
    order = await paying.known_order(tx, command.order_id)
    quote, hold, lines, _ = await _decide_claim(tx, order, command)
    return answering.placed(command, order, quote, hold, lines)


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
        await put(tx, answering.rejected(command.claim_id, remedies.superseded()), about=about)
        return
    placed = ClaimHoldPlaced(**remedy["answer"])
    await put(tx, placed, about=about)
    if command.execute_refund and placed.refund is None:
        await answering.tell_refund(tx, command.claim_id, refund, reply_to=None)


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
    await answering.tell_refund(tx, command.claim_id, refund, reply_to=None)
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
    await answering.tell_refund(tx, claim_id, refund, reply_to=None, remedy=remedy)
    await paying.close_order(tx, order, now)


async def preview_claim_refund(tx: Tx, *, command: RetryClaimRefund) -> ClaimRefundSucceeded:
    """What ``retry_claim_refund`` would refund, decided by the same code under the same lock.

    Raises the refusal it would answer.
    """
    order = await paying.known_order(tx, command.order_id)
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
    order = await _agreed_order(tx, command.order_id)
    await replacing.record(tx, order, command, now)
    await paying.close_order(tx, order, now)
    recorded = ReplacementRecorded(fulfillment_id=command.fulfillment_id, claim_id=command.claim_id)
    await put(tx, recorded, about=f"fulfillment/{command.fulfillment_id}")


async def ship_replacement(tx: Tx, *, command: ShipReplacement, now: datetime) -> None:
    """Goods that a claim sends out are on their way. Answers ReplacementShipped."""
    id_, claim_id = command.fulfillment_id, command.claim_id
    order = await _agreed_order(tx, command.order_id)
    await replacing.ship(tx, order, fulfillment_id=id_, claim_id=claim_id)
    await paying.close_order(tx, order, now)
    shipped = ReplacementShipped(fulfillment_id=id_, claim_id=claim_id)
    await put(tx, shipped, about=f"fulfillment/{id_}")


async def withdraw_replacement(tx: Tx, *, command: WithdrawReplacement, now: datetime) -> None:
    """Goods that a claim sends out are to be unpacked. Answers ReplacementWithdrawn, or
    ReplacementWithdrawalRejected where a unit of them has a remedy or came back."""
    id_, claim_id = command.fulfillment_id, command.claim_id
    order = await _agreed_order(tx, command.order_id)
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


async def _agreed_order(tx: Tx, order_id: str) -> OpenOrder:
    """The order of a claim that it has agreed to: it is there."""
    order = await paying.open_order(tx, order_id)
    if order is None:
        raise LookupError(f"a claim sends goods out for order {order_id}, which nobody knows")
    return order
