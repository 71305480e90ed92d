"""How goods are packed, sent and unpacked: fulfillments of one order, changed under its lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chassis import audit, saga_log
from chassis.db import Row, Tx
from chassis.inbox import Retry
from chassis.values import derived_id
from contracts.base import LineQuantity
from contracts.orders import (
    OrderFulfillmentCanceled,
    OrderFulfillmentCreated,
    OrderShipmentCreated,
)
from services.orders import fulfillments, saga, store_goods
from services.orders.fulfillments import Line
from services.orders.paying import OpenOrder


def cancel_saga_id(fulfillment_id: str) -> str:
    """The one saga that unpacks a fulfillment."""
    return derived_id("osaga", "fulfillment_cancel", fulfillment_id)


async def pack(
    tx: Tx,
    order: OpenOrder,
    *,
    fulfillment_id: str,
    items: Sequence[tuple[str, int]],
    location_id: str | None,
    no_notification: bool | None,
    metadata: Mapping[str, Any] | None,
    now: datetime,
) -> bool:
    """Begin a fulfillment, and ask inventory for its goods if they are taken from a location.

    Whether it is complete already. Raises in Medusa's words.
    """
    lines = await store_goods.packed_lines(tx, order_id=order.id)
    units = fulfillments.decide_units(
        lines,
        order_status=order.row["status"],
        has_shipping_method=await store_goods.has_shipping_method(tx, order_id=order.id),
        asked=items,
    )
    named = [(id_, lines[id_].variant_id, lines[id_].title, n) for id_, n in units.items()]
    asks = location_id is not None and any(variant for _, variant, _, _ in named)
    row = {
        "id": fulfillment_id,
        "order_id": order.id,
        "items": [{"item_id": line_id, "quantity": count} for line_id, count in units.items()],
        "location_id": location_id,
        "tracking_numbers": [],
        "shipped_at": None,
        "state": "pending" if asks else "live",
        "made_here": True,
        "uses_stock": asks,
        "no_notification": no_notification,
        "metadata": metadata,
        "created_at": now,
    }
    await store_goods.add_fulfillment(tx, row=row)
    _note(order, row, "fulfillment.asked" if asks else "fulfillment.created", None)
    if asks:
        await saga_log.begin(
            tx,
            saga.FULFILLMENT,
            saga_id=fulfillment_id,
            subject_id=fulfillment_id,
            facts=saga.fulfillment_facts(
                fulfillment_id=fulfillment_id,
                order_id=order.id,
                location_id=location_id,
                lines=named,
            ),
            now=now,
        )
        return False
    await _count_packed(tx, order, row, lines, units)
    return True


async def packed(tx: Tx, order: OpenOrder, row: Row) -> None:
    """Inventory has taken the goods: the fulfillment is there."""
    changed = await store_goods.set_fulfillment(
        tx, fulfillment_id=row["id"], before="pending", changes={"state": "live"}
    )
    if not changed:
        return
    lines = await store_goods.packed_lines(tx, order_id=order.id)
    await _count_packed(tx, order, row, lines, dict(store_goods.packed(row=row).units))
    _note(order, {**row, "state": "live"}, "fulfillment.created", "pending")


async def _count_packed(
    tx: Tx, order: OpenOrder, row: Row, lines: Mapping[str, Line], units: dict[str, int]
) -> None:
    if not await store_goods.move_packed(tx, quantities=units, column="fulfilled_quantity"):
        raise Retry(f"the units of order {order.id} changed meanwhile")
    order.fulfillment_status = fulfillments.fulfilled_status(lines.values(), units=units)
    order.events.append(
        OrderFulfillmentCreated(
            id=order.id,
            fulfillment_id=row["id"],
            no_notification=_silent(order, row["no_notification"]),
            location_id=row["location_id"],
            items=_items(row),
            fulfillment_status=order.fulfillment_status,
        )
    )


async def refused(tx: Tx, order: OpenOrder, row: Row, no: Mapping[str, Any]) -> None:
    """There are no such goods: nothing was packed, and nobody sees the fulfillment."""
    refusal = {name: no[name] for name in ("code", "kind", "message")}
    changed = await store_goods.set_fulfillment(
        tx,
        fulfillment_id=row["id"],
        before="pending",
        changes={"state": "refused", "refusal": refusal},
    )
    if changed:
        after = {**row, "state": "refused"}
        _note(order, after, "fulfillment.refused", "pending", note=no["message"])


async def unpack(tx: Tx, order: OpenOrder, row: Row, now: datetime) -> bool:
    """Begin to cancel a fulfillment; whether it is complete already. Its units are free now.

    Raises in Medusa's words.
    """
    found = store_goods.packed(row=row)
    if found.state in ("canceling", "canceled"):
        return found.state == "canceled"
    if found.state == "pending":
        raise fulfillments.under_way()
    lines = await store_goods.packed_lines(tx, order_id=order.id)
    units = fulfillments.decide_cancel(found, lines=lines)
    if not await store_goods.move_packed(
        tx, quantities=units, column="fulfilled_quantity", sign=-1
    ):
        raise Retry(f"the units of order {order.id} changed meanwhile")
    if not found.uses_stock:
        return await _canceled(tx, order, row, now)
    await store_goods.set_fulfillment(
        tx, fulfillment_id=row["id"], before="live", changes={"state": "canceling"}
    )
    _note(order, {**row, "state": "canceling"}, "fulfillment.cancel_asked", "live")
    await saga_log.begin(
        tx,
        saga.FULFILLMENT_CANCEL,
        saga_id=cancel_saga_id(row["id"]),
        subject_id=row["id"],
        facts={"fulfillment_id": row["id"], "order_id": order.id},
        now=now,
    )
    return False


async def unpacked(tx: Tx, order: OpenOrder, row: Row, now: datetime) -> None:
    """The goods are back in stock: the fulfillment is canceled."""
    if row["state"] == "canceling":
        await _canceled(tx, order, row, now)


async def _canceled(tx: Tx, order: OpenOrder, row: Row, now: datetime) -> bool:
    await store_goods.set_fulfillment(
        tx,
        fulfillment_id=row["id"],
        before=row["state"],
        changes={"state": "canceled", "canceled_at": now},
    )
    order.fulfillment_status = "canceled"
    order.events.append(
        OrderFulfillmentCanceled(
            id=order.id,
            fulfillment_id=row["id"],
            no_notification=_silent(order, row["no_notification"]),
            location_id=row["location_id"],
            items=_items(row),
            fulfillment_status=order.fulfillment_status,
        )
    )
    _note(order, {**row, "state": "canceled"}, "fulfillment.canceled", row["state"])
    return True


async def ship(
    tx: Tx,
    order: OpenOrder,
    row: Row | None,
    *,
    tracking_numbers: Sequence[str],
    no_notification: bool | None,
    now: datetime,
) -> None:
    """Packed goods are on their way. Raises in Medusa's words."""
    lines = await store_goods.packed_lines(tx, order_id=order.id)
    found = None if row is None else store_goods.packed(row=row)
    units = fulfillments.decide_shipment(found, order_status=order.row["status"], lines=lines)
    assert row is not None  # decided above
    if row["state"] == "pending":
        raise fulfillments.under_way()
    if not await store_goods.move_packed(tx, quantities=units, column="shipped_quantity"):
        raise Retry(f"the units of order {order.id} changed meanwhile")
    changes: Row = {"shipped_at": now, "tracking_numbers": list(tracking_numbers)}
    await store_goods.set_fulfillment(tx, fulfillment_id=row["id"], before="live", changes=changes)
    order.fulfillment_status = fulfillments.shipped_status(lines.values(), units=units)
    order.events.append(
        OrderShipmentCreated(
            id=order.id,
            fulfillment_id=row["id"],
            no_notification=_silent(
                order, row["no_notification"] if no_notification is None else no_notification
            ),
            tracking_numbers=list(tracking_numbers),
            items=_items(row),
            fulfillment_status=order.fulfillment_status,
        )
    )
    _note(order, row, "fulfillment.shipped", None, tracking_numbers=list(tracking_numbers))


def _items(row: Row) -> list[LineQuantity]:
    return [
        LineQuantity(line_id=item["item_id"], quantity=item["quantity"])
        for item in row["items"] or ()
    ]


def _silent(order: OpenOrder, asked: bool | None) -> bool:
    return order.no_notification if asked is None else asked


def _note(
    order: OpenOrder,
    row: Row,
    action: str,
    before: str | None,
    *,
    note: str | None = None,
    **more: Any,
) -> None:
    after = {
        "order_id": order.id,
        "state": row["state"],
        "units": dict(store_goods.packed(row=row).units),
        "location_id": row["location_id"],
        **more,
    }
    about = f"fulfillment/{row['id']}"
    state = None if before is None else {"state": before}
    order.records.append(audit.Entry(action, about, state, after, note))
