"""How the difference of an exchange is settled: the money of one order, changed under its lock.

An exchange has one refund, whose key follows from it: what is given back of a negative difference,
or, when it is canceled, the positive one that was paid. Nobody here can charge a customer, so a
positive difference is awaited until somebody says that it came: then it is a payment of the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from chassis import audit
from chassis.db import Row, Tx
from chassis.errors import Refusal, refusal
from chassis.outbox import put, reply_address
from chassis.values import derived_id
from contracts.orders import ExchangeRejected, ExchangeSettled, ProcessExchange, SettleExchange
from services.orders import (
    capturing,
    domain,
    exchanges,
    holding,
    paying,
    store_exchanges,
    store_money,
    store_units,
)
from services.orders.domain import PaymentShare
from services.orders.exchanges import Wanted
from services.orders.paying import Cause, OpenOrder
from services.orders.providers import MANUAL
from services.orders.refunds import Part, Tax

KIND = "exchange"
REASON = "swap"


def cause_of(order: OpenOrder, exchange_id: str) -> Cause:
    """Why an exchange's money goes back."""
    return Cause(KIND, exchange_id, REASON, no_notification=order.no_notification)


async def settle(tx: Tx, order: OpenOrder | None, command: SettleExchange, now: datetime) -> None:
    """Find the difference, and give it back where it is the customer's; once per exchange.

    Answers ExchangeSettled as soon as that is known, or ExchangeRejected with nothing changed.
    """
    if await store_exchanges.exchange(tx, exchange_id=command.exchange_id) is None:
        try:
            await _settle(tx, order, command, now)
        except Refusal as no:
            await reject(tx, command.exchange_id, no)
            return
    await tell(tx, command.exchange_id, reply_to=None)


async def _settle(tx: Tx, order: OpenOrder | None, command: SettleExchange, now: datetime) -> None:
    remedy = await store_units.remedy(tx, remedy_id=command.exchange_id)
    if order is None or remedy is None or remedy["state"] == "released":
        raise exchanges.hold_unknown(exchange_id=command.exchange_id)
    region = holding.replacement_tax(order)
    bill = exchanges.bill(
        credited=[Part(**part) for part in (remedy["answer"] or {}).get("explanation", ())],
        wanted=[
            Wanted(line.line_id, line.title, line.unit_price, line.quantity)
            for line in command.lines
        ],
        tax=Tax(rate=region.rate, name=region.name),
        includes_tax=bool(order.row["region_includes_tax"]),
    )
    shares = await _shares(tx, order, -bill.difference_due)
    await store_exchanges.add_exchange(
        tx,
        row={
            "id": command.exchange_id,
            "order_id": order.id,
            "difference_due": bill.difference_due,
            "lines": [
                {"line_id": line_id, "amount": amount} for line_id, amount in bill.amounts.items()
            ],
            "explanation": [asdict(part) for part in bill.explanation],
            "created_at": now,
        },
    )
    await store_units.set_remedy_state(tx, remedy_id=command.exchange_id, state="settled", now=now)
    _note(order, command.exchange_id, "settled", difference_due=bill.difference_due)
    if shares:
        await paying.begin_refund(
            tx,
            order,
            cause_of(order, command.exchange_id),
            shares,
            hold=False,
            reply_to=reply_address(),
            now=now,
        )


async def _shares(tx: Tx, order: OpenOrder, amount: int) -> list[PaymentShare]:
    """How an amount goes back over the payments. Raises when the money does not suffice."""
    if amount <= 0:
        return []
    domain.check_refundable(amount=amount, money=order.money)
    return domain.split(amount=amount, payments=await paying.payments_of(tx, order))


async def process(tx: Tx, order: OpenOrder | None, command: ProcessExchange, now: datetime) -> None:
    """The awaited difference came, or what a provider declined is asked for again. What is settled
    is told again, and nothing moves twice. Answers as ``settle``."""
    exchange = await store_exchanges.exchange(tx, exchange_id=command.exchange_id)
    remedy = await store_units.remedy(tx, remedy_id=command.exchange_id)
    try:
        if order is None or exchange is None or remedy is None or remedy["state"] == "released":
            raise exchanges.hold_unknown(exchange_id=command.exchange_id)
        await _process(tx, order, exchange, remedy, command.request_id, now)
    except Refusal as no:
        await reject(tx, command.exchange_id, no)
        return
    await tell(tx, command.exchange_id, reply_to=None)


async def _process(
    tx: Tx, order: OpenOrder, exchange: Row, remedy: Row, request_id: str, now: datetime
) -> None:
    """Once per request: a repeat that comes late must not ask a provider again that has said no to
    this one."""
    decided = remedy["retries"] or {}
    if request_id in decided:
        if decided[request_id] is not None:
            raise refusal(**decided[request_id])
        return
    no: dict[str, Any] | None = None
    try:
        await _move(tx, order, exchange, now)
    except Refusal as why:
        no = {"kind": why.kind, "code": why.code, "message": why.message}
        raise
    finally:
        await store_units.remember_retry(tx, remedy=remedy, request_id=request_id, refusal=no)


async def _move(tx: Tx, order: OpenOrder, exchange: Row, now: datetime) -> None:
    if exchange["difference_due"] > 0 and exchange["payment_id"] is None:
        await _take(tx, order, exchange, now)
        return
    refund = await store_money.refund_of(tx, cause_kind=KIND, cause_id=exchange["id"])
    if exchange["difference_due"] < 0 and refund is not None and refund["state"] == "declined":
        domain.check_refundable(amount=refund["amount"], money=order.money)
        await paying.ask_again(tx, order, refund, reply_to=reply_address(), now=now)


async def _take(tx: Tx, order: OpenOrder, exchange: Row, now: datetime) -> None:
    """The difference is a payment of the order, which was taken somewhere else."""
    amount = exchange["difference_due"]
    payment = {
        "id": derived_id("pay", exchange["id"]),
        "order_id": order.id,
        "provider_id": MANUAL,
        "amount": amount,
        "currency_code": order.row["currency_code"],
        "created_at": now,
    }
    await store_exchanges.add_payment(tx, row=payment)
    await store_exchanges.set_paid(tx, exchange_id=exchange["id"], payment_id=payment["id"])
    order.added += amount
    await capturing.book(tx, order, payment, now)
    _note(order, exchange["id"], "paid", amount=amount, payment_id=payment["id"])
    order.events.append(paying.updated(order))


async def pay_back(tx: Tx, order: OpenOrder, exchange_id: str, now: datetime) -> int:
    """Give back a difference that was paid, for an exchange that is canceled; minor units.

    It goes over its own payment, in our own books, so it cannot be declined; and no more than that
    payment has left, where more of the order was refunded by hand.
    """
    exchange = await store_exchanges.exchange(tx, exchange_id=exchange_id)
    if exchange is None or exchange["payment_id"] is None:
        return 0
    payments = await paying.payments_of(tx, order)
    left = next((each.left for each in payments if each.payment_id == exchange["payment_id"]), 0)
    amount: int = min(left, exchange["difference_due"])
    if amount <= 0:
        return 0
    part = Part(None, "difference", None, amount, "the difference that was paid, paid back")
    await store_exchanges.set_explanation(tx, exchange_id=exchange_id, explanation=[asdict(part)])
    shares = [PaymentShare(exchange["payment_id"], MANUAL, amount)]
    cause = cause_of(order, exchange_id)
    await paying.begin_refund(tx, order, cause, shares, hold=False, reply_to=None, now=now)
    return amount


async def paid_back(tx: Tx, exchange_id: str) -> int:
    """What was paid back for an exchange whose units are free, in minor units: a repeat says it
    again."""
    refund = await store_money.refund_of(tx, cause_kind=KIND, cause_id=exchange_id)
    return int(refund["amount"]) if refund is not None and refund["state"] == "posted" else 0


async def tell(tx: Tx, exchange_id: str, *, reply_to: Mapping[str, Any] | None) -> None:
    """Say how the difference of an exchange stands; nothing while nobody knows."""
    exchange = await store_exchanges.exchange(tx, exchange_id=exchange_id)
    assert exchange is not None, exchange_id
    refund = await store_money.refund_of(tx, cause_kind=KIND, cause_id=exchange_id)
    gave = refund is not None and refund["state"] == "posted"
    refunded = refund["amount"] if refund is not None and gave else 0
    status = exchanges.payment_status(
        difference_due=exchange["difference_due"],
        is_paid=exchange["payment_id"] is not None,
        refund_state=refund["state"] if refund is not None else None,
        refunded=refunded,
    )
    if status is None:
        return
    remedy = await store_units.remedy(tx, remedy_id=exchange_id)
    if status == "requires_action" and refund is not None and remedy and remedy["retries"]:
        # Whoever asked for it once more reads why not.
        await reject(tx, exchange_id, refusal(**refund["decline"]), reply_to=reply_to)
        return
    settled = ExchangeSettled(
        exchange_id=exchange_id,
        difference_due=exchange["difference_due"],
        payment_status=status,
        payment_id=exchange["payment_id"],
        refund_id=refund["id"] if refund is not None and gave else None,
        refund_amount=refunded,
        explanation=list(exchange["explanation"]),
        message=(refund["decline"] or {}).get("message") if refund is not None else None,
    )
    address = dict(reply_to) if reply_to else None
    await put(tx, settled, about=f"exchange/{exchange_id}", reply_to=address)


async def reject(
    tx: Tx, exchange_id: str, no: Refusal, *, reply_to: Mapping[str, Any] | None = None
) -> None:
    """Say why not."""
    said = ExchangeRejected(exchange_id=exchange_id, code=no.code, kind=no.kind, message=no.message)
    address = dict(reply_to) if reply_to else None
    await put(tx, said, about=f"exchange/{exchange_id}", reply_to=address)


def _note(order: OpenOrder, exchange_id: str, what: str, **after: Any) -> None:
    told = {"order_id": order.id, **after}
    order.records.append(audit.Entry(f"exchange.{what}", f"exchange/{exchange_id}", None, told))
