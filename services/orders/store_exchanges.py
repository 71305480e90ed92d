"""Statements of exchanges: their difference, its parts, and the payment that settled it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.db import Row, Tx
from services.orders.store import exchanges, payments


async def exchange(tx: Tx, *, exchange_id: str) -> Row | None:
    """The difference of an exchange, or None while nobody has settled it; lock the order before."""
    return await tx.fetch_one("SELECT * FROM exchanges WHERE id = :id", id=exchange_id)


async def add_exchange(tx: Tx, *, row: Mapping[str, Any]) -> None:
    """Write what the difference of an exchange is. Raises DuplicateRow for a second one."""
    await tx.insert(exchanges, [row])


async def set_paid(tx: Tx, *, exchange_id: str, payment_id: str) -> None:
    """The difference came, as this payment."""
    await tx.execute(
        "UPDATE exchanges SET payment_id = :payment_id WHERE id = :id",
        payment_id=payment_id,
        id=exchange_id,
    )


async def set_explanation(
    tx: Tx, *, exchange_id: str, explanation: Sequence[Mapping[str, Any]]
) -> None:
    """What the refund of an exchange is made of, where that is not its difference."""
    await tx.execute(
        "UPDATE exchanges SET explanation = :explanation WHERE id = :id",
        explanation=list(explanation),
        id=exchange_id,
    )


async def add_payment(tx: Tx, *, row: Mapping[str, Any]) -> None:
    """Write one more payment behind those that the order has; lock the order before."""
    last = await tx.fetch_value(
        "SELECT COALESCE(MAX(position), -1) FROM payments WHERE order_id = :id", id=row["order_id"]
    )
    await tx.insert(payments, [{**row, "position": int(last) + 1}])
