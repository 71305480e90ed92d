"""What is done to exchanges and not to claims. Each runs in the caller's transaction.

Packing, sending, unpacking and canceling are those of claims: see ``operations``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from chassis import audit, idempotency, saga_log
from chassis.db import Tx
from chassis.idempotency import Caller
from chassis.values import new_id
from services.claims import domain, exchange_saga, exchanges, operations, saga, store
from services.claims.domain import AdditionalItem, ClaimItem
from services.claims.operations import Accepted


async def open_exchange(
    tx: Tx, *, request: dict[str, Any], caller: Caller, now: datetime
) -> Accepted:
    """Accept an exchange: key, exchange, saga and first commands, all or nothing.

    ``request`` is the body of ``schemas.OpenExchange``. A key seen before answers with its
    exchange. Raises Invalid when the request makes no sense, KeyReused.
    """
    exchange_id = new_id("swap")
    earlier = await idempotency.take_key(tx, caller, subject_id=exchange_id)
    if earlier is not None:
        return Accepted(earlier, earlier)
    claim = exchanges.open_exchange(
        exchange_id=exchange_id,
        order_id=request["order_id"],
        items=[
            ClaimItem(
                id=new_id("citm"),
                line_id=item["item_id"],
                quantity=item["quantity"],
                # Of what comes back in an exchange it is a return that asks why.
                reason=item["reason_id"] or "",
                note=item["note"],
            )
            for item in request["return_items"]
        ],
        additional_items=[
            AdditionalItem(line_id=new_id("item"), **item) for item in request["additional_items"]
        ],
        return_id=new_id("ret"),
        no_notification=request["no_notification"],
    )
    facts = saga.creation_facts(
        claim=claim,
        order=request["order"],
        return_shipping=request["return_shipping"],
        location_id=request["return_location_id"],
        shipping=request["shipping_methods"],
    )
    kept = request | {"idempotency_key": caller.key}
    await store.add(tx, claim=claim, request=kept, created_by=caller.principal, now=now)
    await saga_log.begin(
        tx, saga.CREATION, saga_id=claim.id, subject_id=claim.id, facts=facts, now=now
    )
    await audit.record(
        tx,
        action="exchange.opened",
        about=domain.about(claim=claim),
        after={
            "order_id": claim.order_id,
            "units": dict(domain.claimed_units(items=claim.items)),
            "goods": {item.variant_id: item.quantity for item in claim.additional_items},
        },
    )
    return Accepted(claim.id, claim.id)


async def process_payment(
    tx: Tx, *, exchange_id: str, order_id: str | None, caller: Caller, now: datetime
) -> Accepted | None:
    """The difference of an exchange was paid, or what a provider declined of it is asked for again;
    None where nothing is left to be settled, which is no error.

    Raises SwapNotFound, and as ``exchanges.check_process``; what a provider or orders refuses is
    told to who waits.
    """
    saga_id = new_id("csaga")
    earlier = await idempotency.take_key(tx, caller, subject_id=saga_id)
    if earlier is not None:
        # None was begun where nothing was left.
        return Accepted(exchange_id, earlier) if await saga_log.load(tx, earlier) else None
    claim = await operations.visible(tx, claim_id=exchange_id, order_id=order_id, exchange=True)
    exchanges.check_process(claim=claim)
    if exchanges.is_settled(claim=claim):
        return None
    await store.save(tx, claim=replace(claim, busy_with="payment"), now=now)
    await saga_log.begin(
        tx,
        exchange_saga.PAYMENT,
        saga_id=saga_id,
        subject_id=claim.id,
        facts=exchange_saga.payment_facts(claim=claim, request_id=saga_id),
        now=now,
    )
    await audit.record(tx, action="exchange.payment_asked", about=domain.about(claim=claim))
    return Accepted(exchange_id, saga_id)
