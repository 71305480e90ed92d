"""How replacement goods are packed, sent and unpacked: fulfillments of one claim, changed under its
lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from chassis import audit, outbox, saga_log
from chassis.db import Tx
from chassis.inbox import Retry
from chassis.sagas import Saga
from chassis.values import new_id
from contracts.base import LineQuantity
from contracts.claims import (
    ClaimFulfillmentCanceled,
    ClaimFulfillmentCreated,
    ClaimShipmentCreated,
    SwapFulfillmentCanceled,
    SwapFulfillmentCreated,
    SwapShipmentCreated,
)
from services.claims import domain, fulfillment_saga, fulfillments, store
from services.claims.domain import Claim
from services.claims.fulfillments import Fulfillment

_Event = (
    type[ClaimFulfillmentCreated | SwapFulfillmentCreated]
    | type[ClaimFulfillmentCanceled | SwapFulfillmentCanceled]
    | type[ClaimShipmentCreated | SwapShipmentCreated]
)
# What is said of a claim's goods -> of an exchange's.
_OF_EXCHANGES: dict[_Event, _Event] = {
    ClaimFulfillmentCreated: SwapFulfillmentCreated,
    ClaimFulfillmentCanceled: SwapFulfillmentCanceled,
    ClaimShipmentCreated: SwapShipmentCreated,
}


async def pack(
    tx: Tx,
    claim: Claim,
    *,
    request_id: str,
    location_id: str | None,
    no_notification: bool | None,
    metadata: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    """Begin the fulfillments of all that the claim still owes. Raises in Medusa's words."""
    written = await store.written(tx, claim_id=claim.id)
    parcels = fulfillments.decide_parcels(
        claim=claim,
        fulfillments=await store.fulfillments_of(tx, claim_id=claim.id),
        has_shipping_method=bool(written["shipping_methods"]),
        location_id=location_id,
    )
    for parcel in parcels:
        fulfillment = Fulfillment(
            id=new_id("ful"),
            claim_id=claim.id,
            state="pending",
            line_ids=tuple(item.line_id for item in parcel.lines),
            location_id=parcel.location_id,
            uses_stock=parcel.location_id is not None,
            no_notification=no_notification,
        )
        await store.add_fulfillment(
            tx,
            fulfillment=fulfillment,
            quantities={item.line_id: item.quantity for item in parcel.lines},
            request_id=request_id,
            metadata=metadata,
            now=now,
        )
        await _note(tx, fulfillment, "asked", None)
        await saga_log.begin(
            tx,
            fulfillment_saga.FULFILLMENT,
            saga_id=fulfillment.id,
            subject_id=fulfillment.id,
            facts=fulfillment_saga.packing_facts(claim=claim, fulfillment=fulfillment),
            now=now,
        )


async def unpack(
    tx: Tx, claim: Claim, fulfillment: Fulfillment, *, saga_id: str, now: datetime
) -> str | None:
    """Begin to cancel a fulfillment; the saga to wait for, None when it is canceled already.

    Raises in Medusa's words.
    """
    if not fulfillments.decide_cancel(fulfillment=fulfillment):
        return await store.running_unpacking(tx, fulfillment_id=fulfillment.id)
    await _move(tx, fulfillment, "canceling")
    await _note(tx, fulfillment, "cancel_asked", "canceling")
    await saga_log.begin(
        tx,
        fulfillment_saga.FULFILLMENT_CANCEL,
        saga_id=saga_id,
        subject_id=fulfillment.id,
        facts=fulfillment_saga.parcel_facts(
            claim=claim, fulfillment=fulfillment, request_id=saga_id
        ),
        now=now,
    )
    return saga_id


async def ship(
    tx: Tx,
    claim: Claim,
    fulfillment: Fulfillment | None,
    *,
    saga_id: str,
    tracking_numbers: Sequence[str],
    now: datetime,
) -> None:
    """Packed goods are on their way, and orders is told, which cannot refuse. Raises in Medusa's
    words."""
    fulfillments.decide_shipment(claim=claim, fulfillment=fulfillment)
    assert fulfillment is not None  # decided above
    changes = {"shipped_at": now, "tracking_numbers": list(tracking_numbers)}
    await store.set_fulfillment(tx, fulfillment=fulfillment, changes=changes)
    claim = await _count(tx, claim, fulfillment, "shipped_quantity", packed=True)
    status = fulfillments.shipped_status(items=claim.additional_items)
    more: dict[str, Any] = {"tracking_numbers": list(tracking_numbers)}
    await _say(tx, claim, fulfillment, ClaimShipmentCreated, status, now, **more)
    await _note(tx, fulfillment, "shipped", None, **more)
    await saga_log.begin(
        tx,
        fulfillment_saga.SHIPMENT,
        saga_id=saga_id,
        subject_id=fulfillment.id,
        facts=fulfillment_saga.parcel_facts(claim=claim, fulfillment=fulfillment),
        now=now,
    )


async def follow(tx: Tx, moved: Saga, now: datetime) -> None:
    """A saga of a fulfillment moved on: bring the fulfillment and its claim up to it."""
    claim = await store.load(tx, claim_id=moved.facts["claim_id"])
    fulfillment = await store.fulfillment(tx, fulfillment_id=moved.subject_id)
    if claim is None or fulfillment is None:
        raise Retry(f"fulfillment {moved.subject_id} cannot be seen yet")
    if moved.kind == fulfillment_saga.FULFILLMENT.kind:
        if moved.direction == "finished" and fulfillment.state == "pending":
            await _packed(tx, claim, fulfillment, now)
        elif moved.direction in ("back", "undone") and fulfillment.state == "pending":
            await _refused(tx, claim, fulfillment, next(iter(moved.refusals.values())), now)
        request_id = await store.request_of(tx, fulfillment_id=fulfillment.id)
        tx.wake(request_id)
    elif (
        moved.kind == fulfillment_saga.FULFILLMENT_CANCEL.kind and fulfillment.state == "canceling"
    ):
        if moved.direction == "finished":
            await _unpacked(tx, claim, fulfillment, now)
        elif moved.direction == "undone":
            await _move(tx, fulfillment, "live")
            await _note(tx, fulfillment, "not_canceled", "live")
    if moved.over:
        tx.wake(moved.id)


async def _packed(tx: Tx, claim: Claim, fulfillment: Fulfillment, now: datetime) -> None:
    await _move(tx, fulfillment, "live")
    claim = await _count(tx, claim, fulfillment, "fulfilled_quantity", packed=True)
    status = await _settled_status(tx, claim)
    await _say(tx, claim, fulfillment, ClaimFulfillmentCreated, status, now)
    await _note(tx, fulfillment, "created", "live")


async def _refused(
    tx: Tx, claim: Claim, fulfillment: Fulfillment, no: Mapping[str, Any], now: datetime
) -> None:
    """There are no such goods: nothing was packed, and nobody sees the fulfillment."""
    refusal = {name: no[name] for name in ("code", "kind", "message")}
    await _move(tx, fulfillment, "refused", refusal=refusal)
    await _note(tx, fulfillment, "refused", "refused", note=no["message"])
    status = await _settled_status(tx, claim)
    if status != claim.fulfillment_status:
        await store.save(tx, claim=replace(claim, fulfillment_status=status), now=now)


async def _settled_status(tx: Tx, claim: Claim) -> str:
    """While other parcels are being packed the claim's status waits for them."""
    others = await store.fulfillments_of(tx, claim_id=claim.id)
    if any(each.state == "pending" for each in others):
        return claim.fulfillment_status
    return fulfillments.packed_status(items=claim.additional_items, before=claim.fulfillment_status)


async def _unpacked(tx: Tx, claim: Claim, fulfillment: Fulfillment, now: datetime) -> None:
    await _move(tx, fulfillment, "canceled", canceled_at=now)
    claim = await _count(tx, claim, fulfillment, "fulfilled_quantity", packed=False)
    await _say(tx, claim, fulfillment, ClaimFulfillmentCanceled, "canceled", now)
    await _note(tx, fulfillment, "canceled", "canceled")


async def _move(tx: Tx, fulfillment: Fulfillment, state: str, **more: Any) -> None:
    await store.set_fulfillment(tx, fulfillment=fulfillment, changes={"state": state, **more})


async def _count(
    tx: Tx, claim: Claim, fulfillment: Fulfillment, column: str, *, packed: bool
) -> Claim:
    """All units of the fulfillment's lines count, or none."""
    await store.count_sent(tx, line_ids=fulfillment.line_ids, column=column, all_units=packed)
    items = []
    for item in claim.additional_items:
        counted: dict[str, Any] = {column: item.quantity if packed else 0}
        mine = item.line_id in fulfillment.line_ids
        items.append(replace(item, **counted) if mine else item)
    return replace(claim, additional_items=tuple(items))


async def _say(
    tx: Tx,
    claim: Claim,
    fulfillment: Fulfillment,
    event: _Event,
    status: str,
    now: datetime,
    **more: Any,
) -> None:
    """Save the claim with its new status and tell of it. As in Medusa the claim's own wish for mail
    counts, whatever the request said."""
    claim = replace(claim, fulfillment_status=status, version=claim.version + 1)
    said = (_OF_EXCHANGES[event] if claim.is_exchange else event)(
        id=claim.id,
        fulfillment_id=fulfillment.id,
        no_notification=bool(claim.no_notification),
        order_id=claim.order_id,
        location_id=fulfillment.location_id,
        items=[
            LineQuantity(line_id=line_id, quantity=units)
            for line_id, units in _units(claim, fulfillment.line_ids)
        ],
        fulfillment_status=status,
        **more,
    )
    await outbox.put(tx, said, about=domain.about(claim=claim), version=claim.version)
    await store.save(tx, claim=claim, now=now)


def _units(claim: Claim, line_ids: Iterable[str]) -> list[tuple[str, int]]:
    named = set(line_ids)
    return [
        (item.line_id, item.quantity) for item in claim.additional_items if item.line_id in named
    ]


async def _note(
    tx: Tx,
    fulfillment: Fulfillment,
    what: str,
    state: str | None,
    *,
    note: str | None = None,
    **more: Any,
) -> None:
    """``state``: the one it has now, where that changed."""
    after = {
        "claim_id": fulfillment.claim_id,
        "state": state or fulfillment.state,
        "lines": list(fulfillment.line_ids),
        "location_id": fulfillment.location_id,
        **more,
    }
    await audit.record(
        tx,
        action=f"fulfillment.{what}",
        about=f"fulfillment/{fulfillment.id}",
        before={"state": fulfillment.state} if state else None,
        after=after,
        note=note,
    )
