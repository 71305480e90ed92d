"""Linked orders: a new order that follows from a claim and goes to the same customer.

Everything about customer, place and tax is that of the claimed order; only its lines are new.
Nothing of it is paid or packed: that is done as with any other order.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chassis import audit, idempotency
from chassis.db import Row, Tx
from chassis.errors import Invalid, NotAllowed
from chassis.idempotency import Caller
from chassis.values import new_id
from contracts.orders import OrderPlaced
from services.orders import domain, importing, paying, store

_COPIED = (
    *("email", "customer_id", "region_id", "sales_channel_id", "currency_code", "tax_rate"),
    *("no_notification", "shipping_address", "billing_address"),
)


async def open_linked_order(
    tx: Tx,
    *,
    request: dict[str, Any],
    caller: Caller,
    now: datetime,
) -> str:
    """Open an order that follows from a claim; its id, also for a known key.

    ``request`` is the body of ``schemas.OpenLinkedOrder``; the caller knows that the claim is one
    of that order. Raises NotFound, NotAllowed for an order that was canceled, Invalid, KeyReused.
    """
    order_id = new_id("order")
    held = await idempotency.take_key(tx, caller, subject_id=order_id)
    if held is not None:
        return held
    claimed = await store.customer_and_place(tx, order_id=request["of_order_id"])
    if claimed is None:
        raise domain.order_unknown(order_id=request["of_order_id"])
    if claimed["status"] == "canceled":
        raise NotAllowed("order_canceled", "No order can follow from a canceled one")
    record = {
        "id": order_id,
        **{name: claimed[name] for name in _COPIED},
        "items": [
            item | {"includes_tax": bool(claimed["includes_tax"])} for item in request["items"]
        ],
        "claim_id": request["claim_id"],
    }
    outcome = await importing.load(tx, {"orders": [record]}, providers=(), now=now)
    if outcome.refusals:
        first = outcome.refusals[0]
        path = first["path"].removeprefix("orders[0]").removeprefix(".")
        raise Invalid(first["code"], f"{path}: {first['message']}")
    order = await paying.open_order(tx, order_id)
    assert order is not None, order_id
    order.events.append(
        OrderPlaced(
            id=order_id,
            no_notification=order.no_notification,
            status=order.status,
            fulfillment_status=order.fulfillment_status,
            payment_status=order.payment_status,
            claim_id=request["claim_id"],
        )
    )
    after: Row = {"claim_id": request["claim_id"], "of_order_id": request["of_order_id"]}
    order.records.append(audit.Entry("order.placed", f"order/{order_id}", None, after))
    await paying.close_order(tx, order, now)
    return order_id
