"""How the money of an order is taken: its payments, changed under its lock.

``manual`` payments are captured in our own books, at once. Any other provider is asked by the
worker, outside of transactions: here that is a row in ``captures``, whose id is the provider's key.
A definite no ends that row; who wants it tried again begins the next one, with a key of its own.
"""

from __future__ import annotations

from datetime import datetime

from chassis import audit
from chassis.db import Row, Tx
from chassis.values import derived_id
from contracts.orders import OrderPaymentCaptured, OrderPaymentCaptureFailed
from services.orders import store_money
from services.orders.paying import OpenOrder
from services.orders.providers import MANUAL

WORKER = "orders.captures"


def wake_key(order_id: str) -> str:
    """What wakes whoever waits for the captures of an order."""
    return f"captures/{order_id}"


async def capture(tx: Tx, order: OpenOrder, *, payment_id: str | None, now: datetime) -> bool:
    """Take the money of one payment, or of all that can be; whether all of it is decided.

    What was captured or canceled before, and what is under way, is left alone. An order without
    payments is captured, as Medusa has it.
    """
    under_way = {
        row["payment_id"] for row in await store_money.open_captures(tx, order_id=order.id)
    }
    payments = await store_money.payments_of(tx, order_id=order.id)
    for payment in payments:
        wanted = payment_id in (None, payment["id"]) and payment["id"] not in under_way
        if not wanted or payment["captured_at"] or payment["canceled_at"]:
            continue
        if payment["provider_id"] == MANUAL:
            await _taken(tx, order, payment, now)
        else:
            await _ask(tx, order, payment, now)
            under_way.add(payment["id"])
    if not payments:
        await _settle_status(tx, order)
    return payment_id not in under_way if payment_id is not None else not under_way


async def _ask(tx: Tx, order: OpenOrder, payment: Row, now: datetime) -> None:
    number = await store_money.captures_so_far(tx, payment_id=payment["id"]) + 1
    row = {
        "id": f"cp_{payment['id']}" + (f"_{number}" if number > 1 else ""),
        "order_id": order.id,
        "payment_id": payment["id"],
        "number": number,
        "provider_id": payment["provider_id"],
        "amount": payment["amount"],
        "currency_code": payment["currency_code"],
        "state": "pending",
        "next_at": now,
        "created_at": now,
        "updated_at": now,
    }
    await store_money.add_capture(tx, row=row)
    tx.wake(WORKER)
    _note(order, payment, "payment.capture_asked")


async def _taken(tx: Tx, order: OpenOrder, payment: Row, now: datetime) -> None:
    """Book it, and tell of an order that is paid by that."""
    if await book(tx, order, payment, now):
        await _settle_status(tx, order)


async def book(tx: Tx, order: OpenOrder, payment: Row, now: datetime) -> bool:
    """The money of a payment came: the payment, the ledger, the order. False when it had before.

    ``payment``: id, provider_id, amount, currency_code.
    """
    if not await store_money.set_captured(tx, payment_id=payment["id"], now=now):
        return False
    if payment["amount"]:
        transfer = {
            "id": derived_id("tr", payment["id"], "capture"),
            "order_id": order.id,
            "kind": "capture",
            "debit_account": f"provider:{payment['provider_id']}",
            "credit_account": f"customer:{order.id}",
            "amount": payment["amount"],
            "currency_code": payment["currency_code"],
            "state": "posted",
            "payment_id": payment["id"],
            "created_at": now,
        }
        await store_money.add_transfers(tx, rows=[transfer])
    order.taken += payment["amount"]
    _note(order, payment, "payment.captured")
    return True


async def answered(
    tx: Tx, order: OpenOrder, capture: Row, *, posted: bool, message: str | None, now: datetime
) -> None:
    """The provider has said yes or no."""
    payments = {row["id"]: row for row in await store_money.payments_of(tx, order_id=order.id)}
    payment = payments[capture["payment_id"]]
    if posted:
        await _taken(tx, order, payment, now)
    else:
        order.base_payment_status = "requires_action"
        order.events.append(
            OrderPaymentCaptureFailed(
                id=order.id,
                payment_id=payment["id"],
                error=message or "no reason given",
                no_notification=order.no_notification,
                payment_status=order.payment_status,
            )
        )
        _note(order, payment, "payment.capture_declined", message)
    tx.wake(wake_key(order.id))


async def _settle_status(tx: Tx, order: OpenOrder) -> None:
    """``captured``, and an event, once no payment is left to take; until then as it was."""
    payments = await store_money.payments_of(tx, order_id=order.id)
    left = [row for row in payments if not row["captured_at"] and not row["canceled_at"]]
    if left or order.base_payment_status == "captured":
        return
    order.base_payment_status = "captured"
    order.events.append(
        OrderPaymentCaptured(
            id=order.id,
            no_notification=order.no_notification,
            amount=order.money.captured,
            currency_code=order.row["currency_code"],
            payment_status=order.payment_status,
        )
    )


def _note(order: OpenOrder, payment: Row, action: str, note: str | None = None) -> None:
    after = {"payment_id": payment["id"], "amount": payment["amount"]}
    order.records.append(audit.Entry(action, f"order/{order.id}", None, after, note))
