"""How money goes back: the ledger of one order, changed under its lock.

A refund belongs to a cause (a claim, a receipt, a decision by hand) and there is one per cause.
``manual`` payments are settled in our own books, at once. Any other provider is asked by the
worker, outside of transactions: here its share is a pending transfer and an attempt. What becomes
store credit is settled in our own books too; it uses up what the payments had left to refund.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chassis import audit
from chassis.db import Row, Tx
from chassis.inbox import Retry
from chassis.outbox import put
from chassis.values import derived_id
from contracts.base import Event
from contracts.orders import OrderRefunded, OrderUpdated
from services.orders import crediting, domain, store, store_money
from services.orders.domain import PAYMENT, STORE_CREDIT, Money, Payment, PaymentShare
from services.orders.providers import MANUAL

WORKER = "orders.refunds"


@dataclass
class OpenOrder:
    """A locked order and what this transaction is going to change on its row."""

    row: Row
    posted: int = 0
    pending: int = 0
    taken: int = 0
    # What payments that the order did not have before add to it.
    added: int = 0
    status: str = ""
    fulfillment_status: str = ""
    # What Medusa stores; what is shown also counts refunds.
    base_payment_status: str = ""
    events: list[Event] = field(default_factory=list)
    records: list[audit.Entry] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The order's id."""
        return str(self.row["id"])

    @property
    def money(self) -> Money:
        """The order's money with the changes so far."""
        row = self.row
        return Money(
            paid=row["paid"] + self.added,
            captured=row["captured"] + self.taken,
            refunded=row["refunded"] + self.posted,
            refund_pending=row["refund_pending"] + self.pending,
        )

    @property
    def payment_status(self) -> str:
        """Medusa's payment status with the changes so far."""
        return domain.payment_status(stored=self.base_payment_status, money=self.money)

    @property
    def no_notification(self) -> bool:
        """Whether this order's people do not want mail."""
        return bool(self.row["no_notification"])

    @property
    def is_changed(self) -> bool:
        """Whether anything is to be written on the row."""
        row = self.row
        before = (row["status"], row["fulfillment_status"], row["payment_status"])
        after = (self.status, self.fulfillment_status, self.base_payment_status)
        return bool(self.posted or self.pending or self.taken or self.events) or before != after


@dataclass(frozen=True)
class Cause:
    """Why money goes back. ``kind`` is claim, receipt, exchange or manual; ``payment_id`` is named
    where it is one payment's and not the order's. ``to`` is payment or, for a claim or a receipt,
    store_credit."""

    kind: str
    id: str
    reason: str
    note: str | None = None
    no_notification: bool = False
    payment_id: str | None = None
    to: str = PAYMENT

    @property
    def refund_id(self) -> str:
        """The refund's id: a function of the cause, so a repeat finds the first."""
        return derived_id("ref", self.kind, self.id)


async def open_order(tx: Tx, order_id: str) -> OpenOrder | None:
    """Lock an order, or None when there is no such order."""
    row = await store.lock_order(tx, order_id=order_id)
    if row is None:
        return None
    return OpenOrder(
        row,
        status=row["status"],
        fulfillment_status=row["fulfillment_status"],
        base_payment_status=row["payment_status"],
    )


async def known_order(tx: Tx, order_id: str) -> OpenOrder:
    """Lock an order. Raises ``order_unknown``."""
    order = await open_order(tx, order_id)
    if order is None:
        raise domain.order_unknown(order_id=order_id)
    return order


async def close_order(tx: Tx, order: OpenOrder, now: datetime) -> None:
    """Write what changed on the order's row, its events with their versions, its records."""
    await audit.record_all(tx, order.records)
    if not order.is_changed:
        return
    saved = await store.save_order(
        tx,
        order_id=order.id,
        posted=order.posted,
        pending=order.pending,
        taken=order.taken,
        added=order.added,
        events=len(order.events),
        status=order.status,
        payment_status=order.payment_status,
        fulfillment_status=order.fulfillment_status,
        now=now,
    )
    if not saved:
        raise Retry(f"the money of order {order.id} changed meanwhile")
    for version, event in enumerate(order.events, order.row["version"] + 1):
        await put(tx, event, about=f"order/{order.id}", version=version)


async def payments_of(tx: Tx, order: OpenOrder) -> list[Payment]:
    """The captured payments of an order with what is left of each."""
    rows = await store_money.captured_payments(tx, order_id=order.id)
    return [Payment(row["id"], row["provider_id"], row["left_amount"]) for row in rows]


def settled_in_books(shares: Sequence[PaymentShare], *, to: str = PAYMENT) -> bool:
    """Whether no provider has to be asked: our own books are all there is."""
    return to == STORE_CREDIT or all(share.provider_id == MANUAL for share in shares)


async def begin_refund(
    tx: Tx,
    order: OpenOrder,
    cause: Cause,
    shares: Sequence[PaymentShare],
    *,
    hold: bool,
    reply_to: Mapping[str, Any] | None,
    now: datetime,
) -> str:
    """Start the one refund of a cause; its state: posted, pending, or held (``hold``).

    Held money waits for ``execute_refund`` or ``void_refund``; pending money for the worker.
    """
    settled = settled_in_books(shares, to=cause.to)
    state = "held" if hold else "posted" if settled else "pending"
    amount = sum(share.amount for share in shares)
    waiting = state != "posted"
    row = _refund_row(order, cause, state, amount, now)
    await store_money.add_refund(
        tx, row=row | {"reply_to": reply_to if state == "pending" else None}
    )
    await store_money.add_transfers(
        tx,
        rows=[
            _transfer(order, cause, share, "pending" if waiting else "posted", now)
            for share in shares
        ],
    )
    await _move_payments(
        tx,
        [
            (share.payment_id, 0 if waiting else share.amount, share.amount if waiting else 0)
            for share in shares
        ],
    )
    if state == "pending":
        await _ask_providers(tx, order, cause.refund_id, cause.id, shares, now)
    _note_refund(order, cause.refund_id, f"{cause.kind}/{cause.id}", None, state, amount)
    if waiting:
        order.pending += amount
    else:
        order.posted += amount
        _say_refunded(order, cause.refund_id, amount, cause.kind, cause.id, cause.no_notification)
        if cause.to == STORE_CREDIT:
            account = str(order.row["customer_id"])
            claim_id = cause.id if cause.kind == "claim" else None
            await _give_credit(tx, order, cause.refund_id, claim_id, account, amount, now)
    return state


def _refund_row(order: OpenOrder, cause: Cause, state: str, amount: int, now: datetime) -> Row:
    return {
        "id": cause.refund_id,
        "order_id": order.id,
        "cause_kind": cause.kind,
        "cause_id": cause.id,
        "state": state,
        "amount": amount,
        "currency_code": order.row["currency_code"],
        "reason": cause.reason,
        "note": cause.note,
        "no_notification": cause.no_notification,
        "payment_id": cause.payment_id,
        "destination": cause.to,
        "created_at": now,
        "settled_at": now if state == "posted" else None,
    }


async def _give_credit(
    tx: Tx,
    order: OpenOrder,
    refund_id: str,
    claim_id: str | None,
    customer_id: str,
    amount: int,
    now: datetime,
) -> None:
    await crediting.grant(
        tx,
        customer_id=customer_id,
        currency_code=order.row["currency_code"],
        amount=amount,
        order_id=order.id,
        claim_id=claim_id,
        refund_id=refund_id,
        now=now,
    )


async def ask_again(
    tx: Tx, order: OpenOrder, refund: Row, *, reply_to: Mapping[str, Any] | None, now: datetime
) -> None:
    """Ask the providers once more for a refund that all of them declined, under the same keys.

    Raises where more was to go through a payment than it has left: a key stands for its amount.
    """
    attempts = await store_money.attempts_of(tx, refund_id=refund["id"])
    shares = [
        PaymentShare(row["payment_id"], row["provider_id"], row["amount"])
        for row in attempts
        if row["state"] == "declined"
    ]
    domain.check_left(shares=shares, payments=await payments_of(tx, order))
    await store_money.ask_attempts_again(tx, refund_id=refund["id"], now=now)
    number = str(await store_money.transfers_of(tx, refund_id=refund["id"]))
    cause = Cause(refund["cause_kind"], refund["cause_id"], refund["reason"])
    await store_money.add_transfers(
        tx, rows=[_transfer(order, cause, share, "pending", now, number) for share in shares]
    )
    await _move_payments(tx, [(share.payment_id, 0, share.amount) for share in shares])
    order.pending += sum(share.amount for share in shares)
    await _set_state(tx, order, refund, "pending", refund["amount"], reply_to=reply_to)
    tx.wake(WORKER)


async def give_credit_instead(
    tx: Tx, order: OpenOrder, refund: Row, shares: Sequence[PaymentShare], *, now: datetime
) -> None:
    """A refund that all providers declined becomes store credit; nobody is asked any more."""
    number = str(await store_money.transfers_of(tx, refund_id=refund["id"]))
    cause = Cause(refund["cause_kind"], refund["cause_id"], refund["reason"], to=STORE_CREDIT)
    await store_money.add_transfers(
        tx, rows=[_transfer(order, cause, share, "posted", now, number) for share in shares]
    )
    await _move_payments(tx, [(share.payment_id, share.amount, 0) for share in shares])
    order.posted += refund["amount"]
    await store_money.set_destination(tx, refund_id=refund["id"], destination=STORE_CREDIT)
    await _finish(tx, order, refund, refund["amount"], now)
    account = str(order.row["customer_id"])
    await _give_credit(tx, order, refund["id"], refund["cause_id"], account, refund["amount"], now)


def _transfer(
    order: OpenOrder,
    cause: Cause,
    share: PaymentShare,
    state: str,
    now: datetime,
    *again: str,
) -> Row:
    account = f"provider:{share.provider_id}"
    if cause.to == STORE_CREDIT:
        account = f"{STORE_CREDIT}:{order.row['customer_id']}"
    return {
        "id": derived_id("tr", cause.refund_id, share.payment_id, *again),
        "order_id": order.id,
        "kind": "refund",
        "debit_account": f"customer:{order.id}",
        "credit_account": account,
        "amount": share.amount,
        "currency_code": order.row["currency_code"],
        "state": state,
        "payment_id": share.payment_id,
        "refund_id": cause.refund_id,
        "created_at": now,
    }


def _resolution(pending: Row, state: str, now: datetime) -> Row:
    """The row that resolves a pending transfer: once only, since ``pending_id`` is unique."""
    resolved = {name: value for name, value in pending.items() if name != "seq"}
    return resolved | {
        "id": derived_id("tr", pending["id"], "resolved"),
        "state": state,
        "pending_id": pending["id"],
        "created_at": now,
    }


async def _move_payments(tx: Tx, rows: Sequence[tuple[str, int, int]]) -> None:
    if rows and not await store_money.move_payments(tx, rows=rows):
        raise Retry("a payment changed meanwhile")


async def _ask_providers(
    tx: Tx,
    order: OpenOrder,
    refund_id: str,
    cause_id: str,
    shares: Sequence[PaymentShare],
    now: datetime,
) -> None:
    """Write the attempts. A key gets a number only on a split, so the plain case stays readable."""
    await store_money.add_attempts(
        tx,
        rows=[
            {
                "refund_id": refund_id,
                "payment_id": share.payment_id,
                "position": position,
                "order_id": order.id,
                "provider_id": share.provider_id,
                "provider_key": f"rf_{refund_id}" + (f"_{position}" if len(shares) > 1 else ""),
                "cause_id": cause_id,
                "amount": share.amount,
                "currency_code": order.row["currency_code"],
                "state": "pending",
                "next_at": now,
                "created_at": now,
                "updated_at": now,
            }
            for position, share in enumerate(shares, 1)
        ],
    )
    tx.wake(WORKER)


def _say_refunded(
    order: OpenOrder,
    refund_id: str,
    amount: int,
    cause_kind: str,
    cause_id: str,
    no_notification: bool,
) -> None:
    order.events.append(
        OrderRefunded(
            id=order.id,
            refund_id=refund_id,
            no_notification=no_notification,
            amount=amount,
            currency_code=order.row["currency_code"],
            cause_kind=cause_kind,
            cause_id=cause_id,
            payment_status=order.payment_status,
        )
    )


async def execute_refund(
    tx: Tx, order: OpenOrder, refund: Row, *, reply_to: Mapping[str, Any] | None, now: datetime
) -> str:
    """Let held money go: posted at once in our own books, else pending with the providers."""
    pending = await store_money.pending_transfers(tx, refund_id=refund["id"])
    shares = [
        PaymentShare(
            row["payment_id"], row["credit_account"].removeprefix("provider:"), row["amount"]
        )
        for row in pending
    ]
    if not settled_in_books(shares, to=refund["destination"]):
        await _ask_providers(tx, order, refund["id"], refund["cause_id"], shares, now)
        await _set_state(tx, order, refund, "pending", refund["amount"], reply_to=reply_to)
        return "pending"
    await _resolve(tx, order, pending, "posted", now)
    await _finish(tx, order, refund, refund["amount"], now)
    if refund["destination"] == STORE_CREDIT:
        # Whose it is was written down with the hold.
        account = pending[0]["credit_account"].removeprefix(f"{STORE_CREDIT}:")
        amount = refund["amount"]
        await _give_credit(tx, order, refund["id"], refund["cause_id"], account, amount, now)
    return "posted"


async def void_refund(tx: Tx, order: OpenOrder, refund: Row, *, now: datetime) -> None:
    """Give held money free again: nobody was asked to send it."""
    pending = await store_money.pending_transfers(tx, refund_id=refund["id"])
    await _resolve(tx, order, pending, "voided", now)
    await _set_state(tx, order, refund, "voided", refund["amount"], settled_at=now)


async def take_credit_back(tx: Tx, order: OpenOrder, refund: Row, *, now: datetime) -> bool:
    """Undo a refund that became store credit; False where that credit is spent."""
    currency = order.row["currency_code"]
    if not await crediting.take_back(
        tx, currency_code=currency, order_id=order.id, refund_id=refund["id"], now=now
    ):
        return False
    posted = await store_money.posted_transfers(tx, refund_id=refund["id"])
    await store_money.add_transfers(tx, rows=[_reversal(row, now) for row in posted])
    await _move_payments(tx, [(row["payment_id"], -row["amount"], 0) for row in posted])
    order.posted -= refund["amount"]
    await _set_state(tx, order, refund, "voided", refund["amount"], settled_at=now)
    order.events.append(updated(order))
    return True


def updated(order: OpenOrder) -> OrderUpdated:
    """The event of an order whose money changed otherwise than by a refund."""
    return OrderUpdated(
        id=order.id,
        no_notification=order.no_notification,
        status=order.status,
        fulfillment_status=order.fulfillment_status,
        payment_status=order.payment_status,
    )


def _reversal(posted: Row, now: datetime) -> Row:
    back = {name: value for name, value in posted.items() if name not in ("seq", "pending_id")}
    return back | {
        "id": derived_id("tr", posted["id"], "reversed"),
        "kind": "reversal",
        "debit_account": posted["credit_account"],
        "credit_account": posted["debit_account"],
        "created_at": now,
    }


async def settle_share(
    tx: Tx, order: OpenOrder, *, refund_id: str, payment_id: str, posted: bool, now: datetime
) -> None:
    """Resolve the pending transfer of one payment by the provider's answer."""
    pending = [
        row
        for row in await store_money.pending_transfers(tx, refund_id=refund_id)
        if row["payment_id"] == payment_id
    ]
    await _resolve(tx, order, pending, "posted" if posted else "voided", now)


async def finish_refund(
    tx: Tx, order: OpenOrder, refund: Row, attempts: Sequence[Row], *, now: datetime
) -> tuple[int, str | None]:
    """All providers answered: (amount that went out, why not when none did).

    Where one payment of a split was declined, what the others took is the refund.
    """
    amount = sum(row["amount"] for row in attempts if row["state"] == "posted")
    if amount:
        await _finish(tx, order, refund, amount, now)
        return amount, None
    why = next((row["last_error"] for row in attempts if row["last_error"]), None)
    message = f"The payment provider declined the refund: {why or 'no reason given'}"
    decline = {"code": "refund_declined", "kind": "not_allowed", "message": message}
    await _set_state(
        tx, order, refund, "declined", refund["amount"], decline=decline, settled_at=now
    )
    return 0, message


async def _resolve(
    tx: Tx, order: OpenOrder, pending: Sequence[Row], state: str, now: datetime
) -> None:
    await store_money.add_transfers(tx, rows=[_resolution(row, state, now) for row in pending])
    posted = state == "posted"
    await _move_payments(
        tx,
        [(row["payment_id"], row["amount"] if posted else 0, -row["amount"]) for row in pending],
    )
    amount = sum(row["amount"] for row in pending)
    order.pending -= amount
    order.posted += amount if posted else 0


async def _finish(tx: Tx, order: OpenOrder, refund: Row, amount: int, now: datetime) -> None:
    await _set_state(tx, order, refund, "posted", amount, settled_at=now)
    _say_refunded(
        order,
        refund["id"],
        amount,
        refund["cause_kind"],
        refund["cause_id"],
        refund["no_notification"],
    )


async def _set_state(
    tx: Tx,
    order: OpenOrder,
    refund: Row,
    state: str,
    amount: int,
    *,
    decline: Mapping[str, Any] | None = None,
    reply_to: Mapping[str, Any] | None = None,
    settled_at: datetime | None = None,
) -> None:
    await store_money.set_refund(
        tx,
        refund_id=refund["id"],
        state=state,
        amount=amount,
        decline=decline,
        reply_to=reply_to or refund["reply_to"],
        settled_at=settled_at,
    )
    cause = f"{refund['cause_kind']}/{refund['cause_id']}"
    _note_refund(order, refund["id"], cause, refund["state"], state, amount, decline)


def _note_refund(
    order: OpenOrder,
    refund_id: str,
    cause: str,
    before: str | None,
    state: str,
    amount: int,
    decline: Mapping[str, Any] | None = None,
) -> None:
    order.records.append(
        audit.Entry(
            f"refund.{state}",
            f"order/{order.id}",
            None if before is None else {"state": before},
            {"state": state, "refund_id": refund_id, "cause": cause, "amount": amount},
            None if decline is None else decline["message"],
        )
    )
