"""Store credit: what the shop owes a customer for later orders, per currency.

An account is the sum of its entries and never below 0. It changes under its own lock, after that of
the order where an order is the reason.
"""

from __future__ import annotations

from datetime import datetime

from chassis import audit
from chassis.db import Tx
from chassis.outbox import put
from chassis.values import derived_id
from contracts.orders import StoreCreditChanged
from services.orders import store_money


async def grant(
    tx: Tx,
    *,
    customer_id: str,
    currency_code: str,
    amount: int,
    order_id: str,
    claim_id: str | None,
    refund_id: str,
    now: datetime,
) -> None:
    """The refund of a claim or of a receipt becomes credit."""
    await book(
        tx,
        entry_id=derived_id("sce", refund_id, "granted"),
        kind="granted",
        customer_id=customer_id,
        currency_code=currency_code,
        amount=amount,
        order_id=order_id,
        claim_id=claim_id,
        refund_id=refund_id,
        now=now,
    )


async def take_back(
    tx: Tx, *, currency_code: str, order_id: str, refund_id: str, now: datetime
) -> bool:
    """Take the credit of a refund back; False where too much of the account is spent."""
    granted = await store_money.store_credit_grant(tx, refund_id=refund_id)
    if granted is None:
        raise LookupError(f"refund {refund_id} gave no store credit")
    return await book(
        tx,
        entry_id=derived_id("sce", refund_id, "reversed"),
        kind="reversed",
        customer_id=granted["customer_id"],
        currency_code=currency_code,
        amount=-granted["amount"],
        order_id=order_id,
        claim_id=granted["claim_id"],
        refund_id=refund_id,
        now=now,
    )


async def book(
    tx: Tx,
    *,
    entry_id: str,
    kind: str,
    customer_id: str,
    currency_code: str,
    amount: int,
    now: datetime,
    order_id: str | None = None,
    claim_id: str | None = None,
    refund_id: str | None = None,
    note: str | None = None,
    created_by: str | None = None,
) -> bool:
    """Append an entry and say so; False where less is left than is to be taken."""
    told = {
        "id": entry_id,
        "customer_id": customer_id,
        "currency_code": currency_code,
        "amount": amount,
        "kind": kind,
        "order_id": order_id,
        "claim_id": claim_id,
    }
    more = {"refund_id": refund_id, "note": note, "created_by": created_by, "created_at": now}
    booked = await store_money.book_store_credit(tx, entry={**told, **more})
    if booked is None:
        return False
    about = f"store-credit/{customer_id}:{currency_code}"
    changed = StoreCreditChanged(**told, balance=booked["balance"])
    await put(tx, changed, about=about, version=booked["number"])
    after = {"amount": amount, "balance": booked["balance"], "entry_id": entry_id}
    await audit.record(
        tx, action=f"store_credit.{kind}", about=f"customer/{customer_id}", after=after, note=note
    )
    return True
