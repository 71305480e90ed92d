"""How an order itself is changed: completed, archived, canceled, corrected, under its lock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chassis import audit, saga_log
from chassis.db import Tx
from chassis.values import derived_id, new_id
from contracts.orders import OrderArchived, OrderCanceled, OrderCompleted, OrderUpdated
from services.orders import (
    domain,
    fulfillments,
    remedies,
    saga,
    store,
    store_goods,
    store_imports,
    store_money,
    store_units,
)
from services.orders.paying import OpenOrder


def cancel_saga_id(order_id: str) -> str:
    """The one saga that cancels an order."""
    return derived_id("osaga", "order_cancel", order_id)


def complete(order: OpenOrder) -> None:
    """Declare it completed; one that is already is left alone. Raises for a canceled one."""
    if order.row["status"] == "canceled":
        raise domain.order_canceled(what="completed")
    if order.row["status"] != "completed":
        order.status = "completed"
        order.events.append(OrderCompleted(**_public(order)))
        _note(order, "order.completed")


def archive(order: OpenOrder) -> None:
    """Put it away. Raises unless it is completed."""
    domain.check_archive(order_status=order.row["status"])
    order.status = "archived"
    order.events.append(OrderArchived(**_public(order)))
    _note(order, "order.archived")


async def cancel(tx: Tx, order: OpenOrder, now: datetime) -> bool:
    """Cancel it with its payments, and have its reservations released; whether that is complete.

    It cannot be refused from here on. One that is canceled already is left alone. Raises in
    Medusa's order.
    """
    if order.row["status"] == "canceled":
        return await saga_log.load(tx, cancel_saga_id(order.id)) is None
    fulfillments.check_order_cancel(
        refunded=order.row["refunded"],
        refund_pending=order.row["refund_pending"],
        fulfillment_states=await store_goods.fulfillment_states(tx, order_id=order.id),
        live_remedies=await store_units.live_remedies(tx, order_id=order.id),
        captures_under_way=bool(await store_money.open_captures(tx, order_id=order.id)),
    )
    await store_money.cancel_payments(tx, order_id=order.id, now=now)
    order.status = order.fulfillment_status = order.base_payment_status = "canceled"
    order.events.append(OrderCanceled(**_public(order)))
    _note(order, "order.canceled")
    lines = await store_goods.packed_lines(tx, order_id=order.id)
    named = sorted(line_id for line_id, line in lines.items() if line.variant_id)
    if not named:
        return True
    await saga_log.begin(
        tx,
        saga.ORDER_CANCEL,
        saga_id=cancel_saga_id(order.id),
        subject_id=order.id,
        facts={"order_id": order.id, "line_ids": named},
        now=now,
    )
    return False


async def correct(tx: Tx, order: OpenOrder, changes: Mapping[str, Any], now: datetime) -> None:
    """Correct what people get wrong: email, addresses, customer, whether mail is wanted.

    An address is merged into the one that is there. Raises in Medusa's order.
    """
    domain.check_update(
        order_status=order.row["status"],
        fulfillment_status=order.row["fulfillment_status"],
        payment_status=order.row["payment_status"],
        asked=changes,
    )
    found = await store.details(tx, order_id=order.id)
    assert found is not None, order.id
    row: dict[str, Any] = {}
    for name in ("shipping_address", "billing_address"):
        if changes.get(name) is not None:
            given = {key: value for key, value in changes[name].items() if value is not None}
            row[name] = {**(found[name] or {}), **given}
    if "shipping_address" in row:
        domain.check_country(
            country=row["shipping_address"].get("country_code"), countries=found["countries"]
        )
    customer_id = changes.get("customer_id")
    if customer_id is not None:
        if not await store_imports.existing(tx, table="customers", ids=[customer_id]):
            raise domain.customer_unknown(customer_id=customer_id)
        row["customer_id"] = customer_id
    for name in ("email", "no_notification"):
        if changes.get(name) is not None:
            row[name] = changes[name]
    if not row:
        return
    first_name = (row.get("shipping_address", found["shipping_address"]) or {}).get("first_name")
    row["search"] = domain.search_text(
        words=[row.get("email", found["email"]), found["display_id"], first_name]
    )
    await store.correct(tx, order_id=order.id, changes={**row, "updated_at": now})
    if "no_notification" in row:
        order.row["no_notification"] = row["no_notification"]
    order.events.append(OrderUpdated(**_public(order)))
    # Which, and not what: an address is nobody's business but the order's.
    _note(order, "order.updated", changed=sorted(row.keys() - {"search"}))


async def add_shipping_method(
    tx: Tx, order: OpenOrder, *, option_id: str, price: int, data: Mapping[str, Any] | None
) -> None:
    """One more way to send the order, at this price, taxed as its region taxes.

    Raises for a canceled order and an unknown option.
    """
    if order.row["status"] == "canceled":
        raise domain.shipping_not_added()
    options = await store_imports.options_by_id(tx, ids=[option_id])
    if option_id not in options:
        raise remedies.shipping_option_unknown(option_id=option_id)
    option = options[option_id]
    rate, code = order.row["region_tax_rate"], order.row["region_tax_code"]
    method = {
        "id": new_id("sm"),
        "shipping_option_id": option_id,
        "price": price,
        "data": dict(data) if data is not None else option["data"] or {},
        "tax_lines": [{"rate": rate, "code": code, "name": "default"}] if rate else [],
        "includes_tax": bool(option["includes_tax"]),
        "shipping_option": option,
    }
    found = await store.details(tx, order_id=order.id)
    assert found is not None, order.id
    methods = [*(found["shipping_methods"] or ()), method]
    await store.correct(tx, order_id=order.id, changes={"shipping_methods": methods})
    order.events.append(OrderUpdated(**_public(order)))
    told = {"shipping_option_id": option_id, "price": price}
    _note(order, "order.shipping_method_added", **told)


def _public(order: OpenOrder) -> dict[str, Any]:
    return {
        "id": order.id,
        "no_notification": order.no_notification,
        "status": order.status,
        "fulfillment_status": order.fulfillment_status,
        "payment_status": order.payment_status,
    }


def _note(order: OpenOrder, action: str, **after: Any) -> None:
    before = {"status": order.row["status"]}
    told = {"status": order.status, **after}
    order.records.append(audit.Entry(action, f"order/{order.id}", before, told))
