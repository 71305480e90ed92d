"""Statements about goods that leave: fulfillments of an order, and replacement lines while they
are packed. All of them run under the lock of the order, which ``store`` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.db import Row, Tx
from services.orders import store
from services.orders.fulfillments import Fulfillment
from services.orders.fulfillments import Line as PackedLine
from services.orders.store import OWN, fulfillments, order_lines, parcels


async def packed_lines(tx: Tx, *, order_id: str) -> dict[str, PackedLine]:
    """Every line that was bought, in units, by id; lock the order before."""
    rows = await tx.fetch(
        "SELECT l.id, l.variant_id, l.title, l.quantity, l.fulfilled_quantity, l.shipped_quantity,"
        " l.returned_quantity, COALESCE(c.units, 0) AS claimed FROM order_lines l LEFT JOIN"
        " (SELECT rl.line_id, SUM(rl.quantity - rl.received_quantity) AS units"
        " FROM remedy_lines rl JOIN remedies r ON r.id = rl.remedy_id"
        " WHERE r.order_id = :order_id AND r.kind <> 'return' GROUP BY rl.line_id) c"
        f" ON c.line_id = l.id WHERE l.order_id = :order_id AND l.{OWN} ORDER BY l.position",
        order_id=order_id,
    )
    pending: dict[str, int] = {}
    for row in await tx.fetch(
        "SELECT items FROM fulfillments WHERE order_id = :id AND state = 'pending'", id=order_id
    ):
        for item in row["items"] or ():
            pending[item["item_id"]] = pending.get(item["item_id"], 0) + item["quantity"]
    return {
        row["id"]: PackedLine(
            line_id=row["id"],
            variant_id=row["variant_id"],
            title=row["title"],
            quantity=row["quantity"],
            fulfilled=row["fulfilled_quantity"],
            shipped=row["shipped_quantity"],
            returned=row["returned_quantity"],
            claimed=int(row["claimed"]),
            pending=pending.get(row["id"], 0),
        )
        for row in rows
    }


async def has_shipping_method(tx: Tx, *, order_id: str) -> bool:
    """Whether the order says how it is to be sent."""
    row = await tx.fetch_one("SELECT shipping_methods FROM orders WHERE id = :id", id=order_id)
    return bool(row and row["shipping_methods"])


async def fulfillment(tx: Tx, *, fulfillment_id: str) -> Row | None:
    """A fulfillment's row, whatever its state; lock the order before a decision on it."""
    return await tx.fetch_one("SELECT * FROM fulfillments WHERE id = :id", id=fulfillment_id)


async def fulfillment_states(tx: Tx, *, order_id: str) -> list[str]:
    """The states of all fulfillments of an order; lock the order before."""
    rows = await tx.fetch("SELECT state FROM fulfillments WHERE order_id = :id", id=order_id)
    return [row["state"] for row in rows]


async def add_fulfillment(tx: Tx, *, row: Mapping[str, Any]) -> None:
    """Write a fulfillment behind those that the order has."""
    last = await tx.fetch_value(
        "SELECT COALESCE(MAX(position), -1) FROM fulfillments WHERE order_id = :id",
        id=row["order_id"],
    )
    await tx.insert(fulfillments, [{**row, "position": int(last) + 1}])


async def set_fulfillment(
    tx: Tx, *, fulfillment_id: str, before: str, changes: Mapping[str, Any]
) -> bool:
    """Change a fulfillment that is in the state ``before``; False when it is not."""
    sets = ", ".join(f"{name} = :{name}" for name in sorted(changes))
    touched = await tx.execute(
        f"UPDATE fulfillments SET {sets} WHERE id = :fulfillment_id AND state = :before",
        fulfillment_id=fulfillment_id,
        before=before,
        **changes,
    )
    return touched == 1


async def move_packed(tx: Tx, *, quantities: Mapping[str, int], column: str, sign: int = 1) -> bool:
    """Add units to fulfilled_quantity or shipped_quantity; False when some line cannot."""
    bound = "quantity" if column == "fulfilled_quantity" else "fulfilled_quantity"
    least = "shipped_quantity" if column == "fulfilled_quantity" else "0"
    rows = sorted((line_id, sign * units) for line_id, units in quantities.items() if units)
    if not rows:
        return True
    touched = await store.change_rows(
        tx,
        "order_lines",
        ["units"],
        rows,
        f"{column} = {column} + d.units"
        f" WHERE {column} + d.units <= {bound} AND {column} + d.units >= {least}",
    )
    return touched == len(rows)


async def add_parcel(tx: Tx, *, row: Mapping[str, Any]) -> bool:
    """Remember a fulfillment of a claim; False when it is known."""
    return await tx.insert(parcels, [row], ignore_conflicts=True) == 1


async def add_replacement_lines(
    tx: Tx, *, order_id: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write lines that a claim sends out, behind those that the order has."""
    last = await tx.fetch_value(
        "SELECT COALESCE(MAX(position), -1) FROM order_lines WHERE order_id = :id", id=order_id
    )
    await tx.insert(
        order_lines,
        [{**row, "position": int(last) + number} for number, row in enumerate(rows, 1)],
    )


async def ship_replacement(tx: Tx, *, fulfillment_id: str) -> bool:
    """All units of the fulfillment's lines count as shipped; False when they did before."""
    touched = await tx.execute(
        "UPDATE parcels SET state = 'shipped' WHERE fulfillment_id = :id AND state = 'recorded'",
        id=fulfillment_id,
    )
    await tx.execute(
        "UPDATE order_lines SET shipped_quantity = fulfilled_quantity WHERE fulfillment_id = :id",
        id=fulfillment_id,
    )
    return touched == 1


async def rejected_withdrawals(tx: Tx, *, fulfillment_id: str) -> list[str]:
    """Requests to withdraw a fulfillment that were rejected; lock the order before."""
    found = await tx.fetch_one(
        "SELECT rejected FROM parcels WHERE fulfillment_id = :id", id=fulfillment_id
    )
    return list(found["rejected"] or ()) if found else []


async def reject_withdrawal(tx: Tx, *, fulfillment_id: str, requests: Sequence[str]) -> None:
    """Remember all requests to withdraw a fulfillment that were rejected."""
    await tx.execute(
        "UPDATE parcels SET rejected = :requests WHERE fulfillment_id = :id",
        requests=list(requests),
        id=fulfillment_id,
    )


async def replacement_units_in_use(tx: Tx, *, fulfillment_id: str) -> int:
    """Units of the fulfillment's lines that have a remedy or came back, and lines of which money
    was given back; lock the order before."""
    return int(
        await tx.fetch_value(
            "SELECT COALESCE(SUM(returned_quantity + remedied_quantity"
            " + CASE WHEN goodwill_amount > 0 THEN 1 ELSE 0 END), 0) FROM order_lines"
            " WHERE fulfillment_id = :id",
            id=fulfillment_id,
        )
    )


async def withdraw_replacement(tx: Tx, *, fulfillment_id: str) -> bool:
    """The fulfillment's lines are lines no more; False when they were not before."""
    touched = await tx.execute(
        "UPDATE parcels SET state = 'withdrawn' WHERE fulfillment_id = :id"
        " AND state <> 'withdrawn'",
        id=fulfillment_id,
    )
    await tx.execute("DELETE FROM order_lines WHERE fulfillment_id = :id", id=fulfillment_id)
    return touched == 1


def packed(*, row: Row) -> Fulfillment:
    """A row of ``fulfillments`` as decisions see it."""
    units: dict[str, int] = {}
    for item in row["items"] or ():
        units[item["item_id"]] = units.get(item["item_id"], 0) + item["quantity"]
    return Fulfillment(
        id=row["id"],
        state=row["state"],
        units=units,
        uses_stock=bool(row["uses_stock"]),
        is_shipped=row["shipped_at"] is not None,
    )
