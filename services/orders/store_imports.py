"""Statements of the import: what is there already, and rows by the hundred."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from chassis.db import Row, Tx
from services.orders.store import METADATA


async def hashes(tx: Tx, *, table: str, ids: Collection[str]) -> dict[str, str]:
    """The content hash of each of these rows that exists."""
    rows = await tx.fetch(f"SELECT id, content_hash FROM {table} WHERE id IN :ids", ids=sorted(ids))
    return {row["id"]: row["content_hash"] for row in rows}


async def existing(tx: Tx, *, table: str, ids: Collection[str]) -> set[str]:
    """Which of these ids a table has."""
    if not ids:
        return set()
    rows = await tx.fetch(f"SELECT id FROM {table} WHERE id IN :ids", ids=sorted(ids))
    return {row["id"] for row in rows}


async def owners(tx: Tx, *, table: str, ids: Collection[str]) -> dict[str, str]:
    """The order that each of these rows belongs to."""
    if not ids:
        return {}
    rows = await tx.fetch(f"SELECT id, order_id FROM {table} WHERE id IN :ids", ids=list(ids))
    return {row["id"]: row["order_id"] for row in rows}


async def add_rows(tx: Tx, *, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert reference rows."""
    await tx.insert(METADATA.tables[table], rows)


async def update_row(tx: Tx, *, table: str, row: Mapping[str, Any]) -> None:
    """Write a reference row anew."""
    changes = ", ".join(f"{name} = :{name}" for name in row if name != "id")
    await tx.execute(f"UPDATE {table} SET {changes} WHERE id = :id", **row)


async def locked_orders(tx: Tx, *, ids: Sequence[str]) -> dict[str, Row]:
    """Those of these orders that exist, locked: content_hash, display_id."""
    rows = await tx.fetch(
        "SELECT id, content_hash, display_id FROM orders WHERE id IN :ids ORDER BY id FOR UPDATE",
        ids=list(ids),
    )
    return {row["id"]: row for row in rows}


async def orders_in_use(tx: Tx, *, ids: Sequence[str]) -> set[str]:
    """Those of these orders with which something was done here: whatever left a row or an event."""
    if not ids:
        return set()
    rows = await tx.fetch(
        "SELECT order_id FROM remedies WHERE order_id IN :ids"
        " UNION SELECT order_id FROM refunds WHERE order_id IN :ids"
        " UNION SELECT order_id FROM receipts WHERE order_id IN :ids"
        " UNION SELECT order_id FROM captures WHERE order_id IN :ids"
        " UNION SELECT order_id FROM fulfillments WHERE order_id IN :ids AND made_here = TRUE"
        " UNION SELECT id FROM orders WHERE id IN :ids AND version > 0",
        ids=list(ids),
    )
    return {row["order_id"] for row in rows}


async def forget_orders(tx: Tx, *, ids: Sequence[str]) -> None:
    """Remove orders that nothing was done with, to load them anew."""
    if not ids:
        return
    for table in ("order_lines", "payments", "fulfillments", "transfers"):
        await tx.execute(f"DELETE FROM {table} WHERE order_id IN :ids", ids=list(ids))
    await tx.execute("DELETE FROM orders WHERE id IN :ids", ids=list(ids))


async def last_display_id(tx: Tx) -> int:
    """The highest number an order has."""
    return int(await tx.fetch_value("SELECT COALESCE(MAX(display_id), 0) FROM orders"))


async def options_by_id(tx: Tx, *, ids: Collection[str]) -> dict[str, Row]:
    """Shipping options as they are shown with a shipping method."""
    if not ids:
        return {}
    rows = await tx.fetch(
        "SELECT id, name, region_id, amount, is_return, includes_tax, data"
        " FROM shipping_options WHERE id IN :ids",
        ids=sorted(ids),
    )
    return {row["id"]: row for row in rows}


async def add_orders(
    tx: Tx,
    *,
    orders: Sequence[Row],
    lines: Sequence[Row],
    payments: Sequence[Row],
    fulfillments: Sequence[Row],
    transfers: Sequence[Row],
) -> None:
    """Write whole orders, one statement per table."""
    tables = METADATA.tables
    await tx.insert(tables["orders"], orders)
    await tx.insert(tables["order_lines"], lines)
    await tx.insert(tables["payments"], payments)
    await tx.insert(tables["fulfillments"], fulfillments)
    await tx.insert(tables["transfers"], transfers)
