"""How a parcel is booked: checked where it holds what nobody announced, then stock, units, money.

Also how money is settled that a parcel left owed: by a receipt without goods, on the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from chassis import idempotency, saga_log
from chassis.db import Tx
from chassis.values import new_id
from contracts.inventory import ReceiptStockReceived, ReceiptStockRejected
from contracts.orders import ReturnReceiptChecked, ReturnReceiptRejected, ReturnReceiptSettled
from contracts.returns import ReturnReceived
from services.returns import arriving, domain, store
from services.returns.booking import Caller, known, note_down, say
from services.returns.domain import Arrival, Item, Return
from services.returns.saga import RETURN_RECEIPT, SAGAS


@dataclass(frozen=True)
class Parcel:
    """What arrived, where, and what is to be paid for it: None counts it, 0 is honored. Where that
    goes: None is as it was requested."""

    items: Sequence[Item]
    location_id: str | None = None
    refund: int | None = None
    refund_to: str | None = None
    note: str | None = None


async def receive(tx: Tx, caller: Caller, return_id: str, parcel: Parcel, now: datetime) -> str:
    """Take a parcel on; the id of its receipt. A parcel of nothing has none and changes nothing."""
    receipt_id = new_id("rcpt")
    first = await idempotency.take_key(tx, caller, subject_id=receipt_id)
    if first is not None:
        return first
    return_ = await known(tx, return_id)
    after = await start(tx, return_, receipt_id, parcel, received_by=caller.principal, now=now)
    if after != return_:
        await store.save_return(tx, after, now=now)
        place = parcel.location_id or return_.location_id
        told = {"receipt_id": receipt_id, "state": str(after.state), "location_id": place}
        await note_down(tx, "return.arrived", return_id, before=return_.state, after=told)
    return receipt_id


async def start(
    tx: Tx,
    return_: Return,
    receipt_id: str,
    parcel: Parcel,
    *,
    received_by: str | None,
    now: datetime,
) -> Return:
    """The return with this parcel's receipt in flight; the caller saves it."""
    receiving, lines = arriving.start_receipt(return_, receipt_id=receipt_id, items=parcel.items)
    if not lines:
        return return_
    place = parcel.location_id or return_.location_id
    refund = domain.received_refund(refund=parcel.refund)
    await store.insert_receipt(
        tx,
        receipt_id=receipt_id,
        return_id=return_.id,
        lines=lines,
        location_id=place,
        refund_given=refund,
        received_by=received_by,
        note=parcel.note,
        now=now,
    )
    facts = {"location_id": place, "refund": refund, "refund_to": parcel.refund_to}
    await _begin(tx, return_, receipt_id, lines, facts, now)
    return receiving


async def settle_owed(
    tx: Tx,
    caller: Caller,
    return_id: str,
    refund: int | None,
    refund_to: str | None,
    now: datetime,
) -> str:
    """A receipt without goods that pays what others could not; its id."""
    receipt_id = new_id("rcpt")
    first = await idempotency.take_key(tx, caller, subject_id=receipt_id)
    if first is not None:
        return first
    return_ = await known(tx, return_id)
    after = arriving.start_settlement(return_, receipt_id=receipt_id, refund=refund)
    await store.insert_receipt(
        tx,
        receipt_id=receipt_id,
        return_id=return_id,
        lines=(),
        location_id=None,
        refund_given=refund,
        received_by=caller.principal,
        settles_owed=True,
        now=now,
    )
    facts = {"location_id": None, "refund": refund, "refund_to": refund_to, "settle_owed": True}
    await _begin(tx, return_, receipt_id, (), facts, now)
    await store.save_return(tx, after, now=now)
    told = {"receipt_id": receipt_id, "owed_amount": return_.owed_amount, "refund": refund}
    await note_down(tx, "return.settlement_asked", return_id, before=return_.state, after=told)
    return receipt_id


async def _begin(
    tx: Tx,
    return_: Return,
    receipt_id: str,
    lines: Sequence[Arrival],
    facts: dict[str, Any],
    now: datetime,
) -> None:
    await saga_log.begin(
        tx,
        RETURN_RECEIPT,
        saga_id=receipt_id,
        subject_id=return_.id,
        facts={
            "receipt_id": receipt_id,
            "return_id": return_.id,
            "claim_id": return_.claim_id,
            "order_id": return_.order_id,
            "lines": [asdict(line) for line in lines],
            "unannounced": arriving.unannounced(return_, lines=lines),
            **facts,
        },
        now=now,
    )


async def go_on(tx: Tx, reply: ReturnReceiptChecked | ReceiptStockReceived, now: datetime) -> None:
    """A step of a receipt is done: the next one follows."""
    saga = await saga_log.advance(tx, SAGAS, reply, now=now)
    if saga is not None and isinstance(reply, ReturnReceiptChecked):
        variants = {line.line_id: line.variant_id for line in reply.lines}
        await store.name_variants(tx, receipt_id=reply.receipt_id, variants=variants)


async def refuse(
    tx: Tx, reply: ReturnReceiptRejected | ReceiptStockRejected, now: datetime
) -> None:
    """Nothing of the parcel is booked: the return is as it was."""
    saga = await saga_log.advance(tx, SAGAS, reply, now=now)
    if saga is None:
        return
    busy = await known(tx, reply.return_id)
    return_ = arriving.put_back(busy)
    refusal = {"code": reply.code, "kind": reply.kind, "message": reply.message}
    await store.refuse_receipt(tx, receipt_id=reply.receipt_id, refusal=refusal, now=now)
    await store.save_return(tx, return_, now=now)
    after = {"state": str(return_.state), "receipt_id": reply.receipt_id, "code": reply.code}
    await note_down(
        tx,
        "return.receipt_refused",
        return_.id,
        before=busy.state,
        after=after,
        note=reply.message,
    )
    _wake(tx, return_id=return_.id, receipt_id=reply.receipt_id)


async def settle(tx: Tx, reply: ReturnReceiptSettled, now: datetime) -> None:
    """Units and money of a receipt are booked: count what came, and see whether that was all."""
    saga = await saga_log.advance(tx, SAGAS, reply, now=now)
    if saga is None:
        return
    return_ = await known(tx, reply.return_id)
    lines = await store.receipt_arrivals(tx, reply.receipt_id)
    if saga.facts.get("unannounced"):
        await store.add_strangers(tx, return_id=return_.id, receipt_id=reply.receipt_id)
    counted = await store.count_arrivals(tx, return_id=return_.id, receipt_id=reply.receipt_id)
    if counted != len(lines):
        raise domain.Impossible(f"receipt {reply.receipt_id} does not fit its return")
    if saga.facts.get("settle_owed"):
        await store.forget_owed(tx, return_id=return_.id)
    blocked = {"code": reply.code, "kind": "not_allowed", "message": reply.message}
    await store.settle_receipt(
        tx,
        receipt_id=reply.receipt_id,
        refund_id=reply.refund_id,
        refund_amount=reply.refund_amount,
        explanation=[part.model_dump(mode="json") for part in reply.explanation],
        action_required=reply.action_required,
        owed_amount=reply.owed_amount,
        warnings=_warnings(saga.facts),
        refusal=blocked if reply.action_required else None,
        now=now,
    )
    settled = arriving.settle(
        return_,
        lines=lines,
        refund_amount=reply.refund_amount,
        action_required=reply.action_required or _owes(return_, saga.facts),
        now=now,
    )
    settled = await say(tx, settled, ReturnReceived)
    await store.save_return(tx, settled, now=now)
    after = {
        "state": str(settled.state),
        "receipt_id": reply.receipt_id,
        "refunded_amount": settled.refunded_amount,
    }
    if reply.owed_amount:
        after["owed_amount"] = reply.owed_amount
    await note_down(
        tx,
        f"return.{settled.state}",
        return_.id,
        before=return_.state,
        after=after,
        note=reply.message,
    )
    _wake(tx, return_id=return_.id, receipt_id=reply.receipt_id)


def _owes(return_: Return, facts: dict[str, Any]) -> bool:
    """Whether earlier receipts left money owed, which this one did not come to settle."""
    return return_.owed_amount > 0 and not facts.get("settle_owed")


def _warnings(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """What the people at the door should know: goods that went into no stock."""
    return [
        {
            "code": "not_stocked",
            "message": f"No location stocks variant {variant_id}: its stock was not raised."
            " Make an inventory level, or name a location that has one",
        }
        for variant_id in facts.get("stock", {}).get("unstocked", ())
    ]


def _wake(tx: Tx, *, return_id: str, receipt_id: str) -> None:
    """Also the return: who asked to receive it at once waits for that."""
    tx.wake(receipt_id)
    tx.wake(return_id)
