"""What every change of a return does: join its key, lock it, tell the outside, leave a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chassis import audit, idempotency, outbox
from chassis.db import Tx
from contracts.returns import ClaimReturnMoved, ReturnCanceled, ReturnReceived, ReturnRequested
from services.returns import domain, store
from services.returns.domain import Return, State


@dataclass(frozen=True)
class Caller(idempotency.Caller):
    """Who asks, with what a customer may and may not."""

    customer_id: str | None = None
    is_customer: bool = False


async def known(tx: Tx, return_id: str) -> Return:
    """The return, locked. Raises ReturnNotFound."""
    return_ = await store.return_for_update(tx, return_id)
    if return_ is None:
        raise domain.ReturnNotFound(return_id)
    return return_


async def say(
    tx: Tx, return_: Return, event: type[ReturnRequested | ReturnReceived | ReturnCanceled]
) -> Return:
    """Tell the outside what became of the return, and the claim it is of; the return with its next
    version."""
    told = replace(return_, version=return_.version + 1)
    message = event(
        id=told.order_id,
        return_id=told.id,
        claim_id=None if told.of_exchange else told.claim_id,
        swap_id=told.claim_id if told.of_exchange else None,
        status=str(told.status),
        refund_amount=told.refund_amount,
        no_notification=bool(told.no_notification),
    )
    await outbox.put(tx, message, about=f"return/{told.id}", version=told.version)
    if told.claim_id and event is not ReturnRequested:
        moved = ClaimReturnMoved(claim_id=told.claim_id, status=message.status)
        await outbox.put(tx, moved, about=f"return/{told.id}")
    return told


async def note_down(
    tx: Tx,
    action: str,
    return_id: str,
    *,
    before: State | None = None,
    after: Mapping[str, Any] | None = None,
    note: str | None = None,
) -> None:
    """Leave a record of a change in the audit trail."""
    was = None if before is None else {"state": str(before)}
    about = f"return/{return_id}"
    await audit.record(tx, action=action, about=about, before=was, after=after, note=note)
