"""How a claim is refunded that was not when it was opened, under the lock of its order.

The goods were not sent then, or a provider declined, or something was to be sent instead. What the
claimed units were paid with was frozen by the hold; whether they are worth a refund is looked at
anew.
"""

from __future__ import annotations

from datetime import datetime

from chassis.db import Row, Tx
from chassis.errors import Refusal, refusal
from chassis.outbox import reply_address
from contracts.orders import RetryClaimRefund
from services.orders import domain, holding, paying, remedies, store_money, store_units
from services.orders.domain import PaymentShare
from services.orders.paying import Cause, OpenOrder
from services.orders.remedies import Hold


async def decide(
    tx: Tx, order: OpenOrder, command: RetryClaimRefund
) -> tuple[Hold, list[PaymentShare]]:
    """What would be refunded, and over which payments. Raises when the claim holds nothing, or the
    money does not suffice."""
    remedy = await store_units.remedy(tx, remedy_id=command.claim_id)
    if remedy is None or remedy["state"] == "released":
        raise remedies.hold_unknown(claim_id=command.claim_id)
    customer_id = order.row["customer_id"]
    domain.check_destination(refund_to=command.refund_to, customer_id=customer_id)
    rows = await store_units.remedy_lines_of(tx, remedy_id=command.claim_id)
    held = store_units.held_lines(rows=rows)
    hold = remedies.decide_refund(
        lines=await holding.lines_of(tx, order, dict.fromkeys(held, 0)),
        shares={line_id: line.share for line_id, line in held.items()},
        refund_amount=command.refund_amount,
        money=order.money,
    )
    payments = await paying.payments_of(tx, order) if hold.amount else []
    return hold, domain.split(amount=hold.amount, payments=payments)


async def begin_once(
    tx: Tx, order: OpenOrder, command: RetryClaimRefund, now: datetime
) -> Row | None:
    """As ``begin``, once per request: what was decided for it before is told again, also where it
    would be decided otherwise by now."""
    remedy = await store_units.remedy(tx, remedy_id=command.claim_id)
    if remedy is None or remedy["state"] == "released":
        raise remedies.hold_unknown(claim_id=command.claim_id)
    decided = remedy["retries"] or {}
    if command.request_id in decided:
        if decided[command.request_id] is not None:
            raise refusal(**decided[command.request_id])
        return await store_money.refund_of(tx, cause_kind="claim", cause_id=command.claim_id)
    try:
        refund = await begin(tx, order, command, now)
    except Refusal as why:
        no = {"kind": why.kind, "code": why.code, "message": why.message}
        await store_units.remember_retry(
            tx, remedy=remedy, request_id=command.request_id, refusal=no
        )
        raise
    await store_units.remember_retry(tx, remedy=remedy, request_id=command.request_id, refusal=None)
    return refund


async def begin(tx: Tx, order: OpenOrder, command: RetryClaimRefund, now: datetime) -> Row | None:
    """Start the claim's one refund; ask again for one that was declined, or give store credit for
    it. The refund as it stands now, None where there is nothing to refund. Raises as ``decide``,
    with nothing changed."""
    refund = await store_money.refund_of(tx, cause_kind="claim", cause_id=command.claim_id)
    if refund is None:
        hold, shares = await decide(tx, order, command)
        await store_units.decide_remedy(
            tx,
            remedy_id=command.claim_id,
            amount=hold.amount,
            explanation=[part.model_dump() for part in holding.explained(hold.explanation)],
            now=now,
        )
        if shares:
            cause = Cause(
                "claim",
                command.claim_id,
                "claim",
                no_notification=order.no_notification,
                to=command.refund_to,
            )
            await paying.begin_refund(
                tx, order, cause, shares, hold=False, reply_to=reply_address(), now=now
            )
    elif refund["state"] == "declined":
        domain.check_refundable(amount=refund["amount"], money=order.money)
        if command.refund_to == domain.STORE_CREDIT:
            customer_id = order.row["customer_id"]
            domain.check_destination(refund_to=command.refund_to, customer_id=customer_id)
            payments = await paying.payments_of(tx, order)
            shares = domain.split(amount=refund["amount"], payments=payments)
            await paying.give_credit_instead(tx, order, refund, shares, now=now)
            return await store_money.refund_of(tx, cause_kind="claim", cause_id=command.claim_id)
        await paying.ask_again(tx, order, refund, reply_to=reply_address(), now=now)
    return await store_money.refund_of(tx, cause_kind="claim", cause_id=command.claim_id)
