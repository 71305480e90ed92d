"""Statements about money: captures, refunds and their attempts, transfers, store credit.

All of them run under the lock of the order, which ``store`` takes, except those that look for work
that is due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from chassis.db import Row, Tx
from services.orders import store
from services.orders.store import (
    captures,
    refund_attempts,
    refunds,
    store_credit_entries,
    store_credits,
    transfers,
)


async def captured_payments(tx: Tx, *, order_id: str) -> list[Row]:
    """Captured payments in their order: id, provider_id, left_amount."""
    return await tx.fetch(
        "SELECT id, provider_id, amount - amount_refunded - refund_pending AS left_amount"
        " FROM payments WHERE order_id = :order_id AND captured_at IS NOT NULL ORDER BY position",
        order_id=order_id,
    )


async def payments_of(tx: Tx, *, order_id: str) -> list[Row]:
    """All payments of an order in their order; lock the order before."""
    return await tx.fetch(
        "SELECT id, provider_id, amount, amount_refunded, refund_pending, currency_code,"
        " captured_at, canceled_at FROM payments WHERE order_id = :order_id ORDER BY position",
        order_id=order_id,
    )


async def order_of_payment(tx: Tx, *, payment_id: str) -> str | None:
    """The order that a payment belongs to, or None for an unknown payment."""
    found = await tx.fetch_value("SELECT order_id FROM payments WHERE id = :id", id=payment_id)
    return None if found is None else str(found)


async def set_captured(tx: Tx, *, payment_id: str, now: datetime) -> bool:
    """The money of a payment is taken; False when it was before, or was canceled."""
    touched = await tx.execute(
        "UPDATE payments SET captured_at = :now"
        " WHERE id = :id AND captured_at IS NULL AND canceled_at IS NULL",
        id=payment_id,
        now=now,
    )
    return touched == 1


async def cancel_payments(tx: Tx, *, order_id: str, now: datetime) -> int:
    """Payments that were never captured never will be; how many."""
    return await tx.execute(
        "UPDATE payments SET canceled_at = :now"
        " WHERE order_id = :id AND captured_at IS NULL AND canceled_at IS NULL",
        id=order_id,
        now=now,
    )


async def open_captures(tx: Tx, *, order_id: str) -> list[Row]:
    """Captures of an order that no provider has answered; lock the order before."""
    return await tx.fetch(
        "SELECT id, payment_id FROM captures WHERE order_id = :id"
        " AND state NOT IN ('posted', 'declined')",
        id=order_id,
    )


async def captures_so_far(tx: Tx, *, payment_id: str) -> int:
    """How often a payment was to be captured; lock the order before."""
    return int(
        await tx.fetch_value("SELECT COUNT(*) FROM captures WHERE payment_id = :id", id=payment_id)
    )


async def add_capture(tx: Tx, *, row: Mapping[str, Any]) -> None:
    """Write a capture; its number is unique among those of its payment."""
    await tx.insert(captures, [row])


async def take_due_captures(
    tx: Tx, *, now: datetime, lease_until: datetime, limit: int
) -> list[Row]:
    """Mark due captures as sent and return them as they were before, as ``take_due_attempts``."""
    rows = await tx.fetch(
        "SELECT * FROM captures WHERE next_at <= :now"
        " ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED",
        now=now,
        limit=limit,
    )
    for row in rows:
        await tx.execute(
            "UPDATE captures SET state = 'sent', tries = tries + 1, next_at = :lease_until,"
            " updated_at = :now WHERE id = :id",
            id=row["id"],
            lease_until=lease_until,
            now=now,
        )
    return rows


async def make_sent_captures_due(tx: Tx, *, now: datetime) -> int:
    """Do not wait for the lease of captures that are on their way; how many there were."""
    return await tx.execute(
        "UPDATE captures SET next_at = :now WHERE state = 'sent' AND next_at > :now", now=now
    )


async def settle_capture(
    tx: Tx,
    *,
    capture_id: str,
    state: str,
    provider_ref: str | None,
    error: str | None,
    next_at: datetime | None,
    now: datetime,
) -> bool:
    """Record what a try brought; False when the capture was decided before."""
    touched = await tx.execute(
        "UPDATE captures SET state = :state, provider_ref = :provider_ref, last_error = :error,"
        " next_at = :next_at, updated_at = :now"
        " WHERE id = :id AND state IN ('sent', 'unknown')",
        id=capture_id,
        state=state,
        provider_ref=provider_ref,
        error=error,
        next_at=next_at,
        now=now,
    )
    return touched == 1


async def refund_of(tx: Tx, *, cause_kind: str, cause_id: str) -> Row | None:
    """The one refund of a cause, or None; read it after the order is locked."""
    return await tx.fetch_one(
        "SELECT * FROM refunds WHERE cause_kind = :kind AND cause_id = :id",
        kind=cause_kind,
        id=cause_id,
    )


async def refund(tx: Tx, *, refund_id: str) -> Row | None:
    """A refund by its id, or None."""
    return await tx.fetch_one("SELECT * FROM refunds WHERE id = :id", id=refund_id)


async def add_refund(tx: Tx, *, row: Mapping[str, Any]) -> None:
    """Write a refund; the cause is unique, so a second one fails."""
    await tx.insert(refunds, [row])


async def set_refund(
    tx: Tx,
    *,
    refund_id: str,
    state: str,
    amount: int,
    decline: Mapping[str, Any] | None,
    reply_to: Mapping[str, Any] | None,
    settled_at: datetime | None,
) -> None:
    """Move a refund on."""
    await tx.execute(
        "UPDATE refunds SET state = :state, amount = :amount, decline = :decline,"
        " reply_to = :reply_to, settled_at = :settled_at WHERE id = :id",
        id=refund_id,
        state=state,
        amount=amount,
        decline=decline,
        reply_to=reply_to,
        settled_at=settled_at,
    )


async def set_destination(tx: Tx, *, refund_id: str, destination: str) -> None:
    """A refund that was not made goes elsewhere."""
    await tx.execute(
        "UPDATE refunds SET destination = :destination WHERE id = :id AND state = 'declined'",
        id=refund_id,
        destination=destination,
    )


async def add_transfers(tx: Tx, *, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append to the money ledger."""
    await tx.insert(transfers, rows)


async def pending_transfers(tx: Tx, *, refund_id: str) -> list[Row]:
    """The pending transfers of a refund that nothing has resolved yet."""
    return await tx.fetch(
        "SELECT t.* FROM transfers t WHERE t.refund_id = :id AND t.state = 'pending'"
        " AND NOT EXISTS (SELECT 1 FROM transfers s WHERE s.pending_id = t.id)"
        " ORDER BY t.seq",
        id=refund_id,
    )


async def posted_transfers(tx: Tx, *, refund_id: str) -> list[Row]:
    """The transfers by which a refund went out."""
    return await tx.fetch(
        "SELECT * FROM transfers WHERE refund_id = :id AND state = 'posted' AND kind = 'refund'"
        " ORDER BY seq",
        id=refund_id,
    )


async def book_store_credit(tx: Tx, *, entry: Mapping[str, Any]) -> Row | None:
    """Append an entry to a customer's account, which is locked from here on: {number, balance}, or
    None where less is left than is to be taken."""
    account = {name: entry[name] for name in ("customer_id", "currency_code")}
    row = {**account, "updated_at": entry["created_at"]}
    await tx.insert(store_credits, [row], ignore_conflicts=True)
    touched = await tx.execute(
        "UPDATE store_credits SET balance = balance + :amount, version = version + 1,"
        " updated_at = :now WHERE customer_id = :customer_id AND currency_code = :currency_code"
        " AND balance + :amount >= 0",
        amount=entry["amount"],
        now=entry["created_at"],
        **account,
    )
    if not touched:
        return None
    booked = await tx.fetch_one(
        "SELECT version AS number, balance FROM store_credits"
        " WHERE customer_id = :customer_id AND currency_code = :currency_code",
        **account,
    )
    assert booked is not None, account
    await tx.insert(store_credit_entries, [{**entry, **booked}])
    return booked


async def store_credit_grant(tx: Tx, *, refund_id: str) -> Row | None:
    """The entry by which a refund became store credit."""
    return await tx.fetch_one(
        "SELECT customer_id, claim_id, amount FROM store_credit_entries"
        " WHERE refund_id = :id AND kind = 'granted'",
        id=refund_id,
    )


async def store_credit_left(tx: Tx, *, customer_id: str, currency_code: str) -> int:
    """What a customer may spend in a currency, in minor units."""
    left = await tx.fetch_value(
        "SELECT balance FROM store_credits"
        " WHERE customer_id = :customer_id AND currency_code = :currency_code",
        customer_id=customer_id,
        currency_code=currency_code,
    )
    return int(left or 0)


async def move_payments(tx: Tx, *, rows: Sequence[tuple[str, int, int]]) -> bool:
    """Book (payment id, posted, pending) deltas on payments; False if one has too little."""
    touched = await store.change_rows(
        tx,
        "payments",
        ["posted", "pending"],
        sorted(rows),
        "amount_refunded = amount_refunded + d.posted,"
        " refund_pending = refund_pending + d.pending"
        " WHERE amount_refunded + d.posted + refund_pending + d.pending <= amount",
    )
    return touched == len(rows)


async def add_attempts(tx: Tx, *, rows: Iterable[Mapping[str, Any]]) -> None:
    """One attempt per payment share; the provider's key is unique for ever."""
    await tx.insert(refund_attempts, rows)


async def make_sent_attempts_due(tx: Tx, *, now: datetime) -> int:
    """Do not wait for the lease of attempts that are on their way; how many there were."""
    return await tx.execute(
        "UPDATE refund_attempts SET next_at = :now WHERE state = 'sent' AND next_at > :now", now=now
    )


async def take_due_attempts(
    tx: Tx, *, now: datetime, lease_until: datetime, limit: int
) -> list[Row]:
    """Mark due attempts as sent and return them as they were before.

    Who dies after this is not lost: at ``lease_until`` the attempt is due again.
    """
    rows = await tx.fetch(
        "SELECT * FROM refund_attempts WHERE next_at <= :now"
        " ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED",
        now=now,
        limit=limit,
    )
    for row in rows:
        await tx.execute(
            "UPDATE refund_attempts SET state = 'sent', tries = tries + 1,"
            " next_at = :lease_until, updated_at = :now"
            " WHERE refund_id = :refund_id AND payment_id = :payment_id",
            refund_id=row["refund_id"],
            payment_id=row["payment_id"],
            lease_until=lease_until,
            now=now,
        )
    return rows


async def settle_attempt(
    tx: Tx,
    *,
    refund_id: str,
    payment_id: str,
    state: str,
    provider_ref: str | None,
    error: str | None,
    next_at: datetime | None,
    now: datetime,
) -> bool:
    """Record what a try brought; False when the attempt was decided before."""
    touched = await tx.execute(
        "UPDATE refund_attempts SET state = :state, provider_ref = :provider_ref,"
        " last_error = :error, next_at = :next_at, updated_at = :now"
        " WHERE refund_id = :refund_id AND payment_id = :payment_id"
        " AND state IN ('sent', 'unknown')",
        refund_id=refund_id,
        payment_id=payment_id,
        state=state,
        provider_ref=provider_ref,
        error=error,
        next_at=next_at,
        now=now,
    )
    return touched == 1


async def attempts_of(tx: Tx, *, refund_id: str) -> list[Row]:
    """All attempts of a refund in the order of the split."""
    return await tx.fetch(
        "SELECT * FROM refund_attempts WHERE refund_id = :id ORDER BY position", id=refund_id
    )


async def ask_attempts_again(tx: Tx, *, refund_id: str, now: datetime) -> None:
    """Declined attempts of a refund are due once more, each under the key it has.

    Their tries are kept: so the provider is first asked what became of the key.
    """
    await tx.execute(
        "UPDATE refund_attempts SET state = 'pending', next_at = :now, created_at = :now,"
        " updated_at = :now"
        " WHERE refund_id = :id AND state = 'declined'",
        id=refund_id,
        now=now,
    )


async def transfers_of(tx: Tx, *, refund_id: str) -> int:
    """How many rows of the ledger tell of a refund."""
    sql = "SELECT COUNT(*) FROM transfers WHERE refund_id = :id"
    return int(await tx.fetch_value(sql, id=refund_id))
