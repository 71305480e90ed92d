"""What can be done with returns: load, decide, save, and say so, in the caller's transaction.

The waiting doors are woken by the id they wait for: the return's for requests and cancellations,
the receipt's for receipts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from chassis import audit, idempotency, outbox, saga_log
from chassis.db import Tx
from chassis.errors import Forbidden, Invalid, Refusal
from chassis.sagas import Saga
from chassis.values import derived_id, new_id
from contracts.base import LineSnapshot
from contracts.inventory import ReceiptStockReceived, ReceiptStockRejected
from contracts.orders import (
    ReleaseReturnHold,
    ReturnHoldPlaced,
    ReturnHoldRejected,
    ReturnHoldReleased,
    ReturnReceiptChecked,
    ReturnReceiptRejected,
    ReturnReceiptSettled,
)
from contracts.returns import (
    CheckClaimReturn,
    ClaimReturnChecked,
    ClaimReturnOpened,
    OpenClaimReturn,
    ReturnCanceled,
    ReturnReceived,
    ReturnRequested,
)
from services.returns import arriving, domain, receipts, store
from services.returns.booking import Caller, known, note_down, say
from services.returns.domain import Facts, Item, Reason, Return, State
from services.returns.saga import RETURN_CANCEL, RETURN_CLOSE, RETURN_REQUEST, SAGAS

# ---- request ------------------------------------------------------------------------------------


async def request_return(
    tx: Tx,
    *,
    caller: Caller,
    order_id: str,
    items: Sequence[Item],
    return_shipping: Mapping[str, Any] | None = None,
    refund: int | None = None,
    refund_to: str | None = None,
    receive_now: bool = False,
    location_id: str | None = None,
    no_notification: bool | None = None,
    policy_binds: bool = False,
    customer_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    now: datetime,
) -> str:
    """Accept the request of a return and ask orders to hold its units; the id of the return.

    A repeat under the same key gives the id of the first. ``receive_now`` goes on to a receipt of
    everything as soon as the units are held. ``policy_binds``: the return policy may refuse.

    Raises the refusals of `domain.merged`, NothingToReturn, ReasonUnknown, ReasonIsCategory,
    KeyReused, and Forbidden for a customer who fixes a refund or receives goods.
    """
    fixed = (refund, refund_to, location_id)
    if caller.is_customer and (receive_now or any(each is not None for each in fixed)):
        raise Forbidden("forbidden", "A customer cannot fix a refund or receive goods.")
    return_id = new_id("ret")
    first = await idempotency.take_key(tx, caller, subject_id=return_id)
    if first is not None:
        return first
    return_ = domain.request(
        return_id=return_id,
        order_id=order_id,
        items=items,
        refund=refund,
        location_id=location_id,
        no_notification=no_notification,
        policy_binds=policy_binds,
        receive_now=receive_now,
    )
    await _check_reasons(tx, return_)
    await store.insert_return(
        tx,
        return_,
        number=domain.return_number(return_id=return_id),
        customer_id=caller.customer_id if caller.is_customer else customer_id,
        requested_by=caller.principal,
        idempotency_key=caller.key,
        metadata=metadata,
        now=now,
    )
    await saga_log.begin(
        tx,
        RETURN_REQUEST,
        saga_id=return_id,
        subject_id=return_id,
        facts={
            "return_id": return_id,
            "order_id": order_id,
            "lines": [
                {"line_id": line.line_id, "quantity": line.requested_quantity}
                for line in return_.lines
            ],
            "refund": return_.refund_given,
            "return_shipping": None if return_shipping is None else dict(return_shipping),
            "refund_to": refund_to,
        },
        now=now,
    )
    units = {line.line_id: line.requested_quantity for line in return_.lines}
    after = {"order_id": order_id, "units": units, "refund": return_.refund_given}
    await note_down(tx, "return.requested", return_id, after=after)
    return return_id


async def _check_reasons(tx: Tx, return_: Return) -> None:
    wanted = sorted({line.reason_id for line in return_.lines if line.reason_id})
    if not wanted:
        return
    known = await store.reasons_in_use(tx, wanted)
    for reason_id in wanted:
        if reason_id not in known:
            raise domain.ReasonUnknown(reason_id)
        if known[reason_id]:
            raise domain.ReasonIsCategory(reason_id)


async def continue_request(tx: Tx, *, reply: ReturnHoldPlaced, now: datetime) -> None:
    """Orders holds the units. The policy decides on the facts that came with the answer; when it
    binds and says no, the units are released while the caller already reads why."""
    saga = await saga_log.advance(tx, SAGAS, reply, now=now)
    if saga is None:
        return
    return_ = await known(tx, reply.return_id)
    facts = _facts(reply.lines)
    asked = {line.line_id for line in return_.lines}
    found = domain.policy_findings(facts=[fact for fact in facts if fact.line_id in asked], now=now)
    if found and return_.policy_binds:
        refusal = _told(found[0])
        await saga_log.turn_back(tx, RETURN_REQUEST, saga, by="policy", refusal=refusal, now=now)
        await _refuse_request(tx, return_, refusal, now)
        return
    await store.save_agreement(
        tx,
        return_id=return_.id,
        currency_code=reply.currency_code,
        explanation=[part.model_dump(mode="json") for part in reply.explanation],
        facts=facts,
        shipping=_quoted(reply),
        policy_findings=[_told(refusal) for refusal in found],
    )
    agreed = domain.agree(
        return_,
        amount=reply.amount,
        facts=facts,
        no_notification=reply.no_notification,
        now=now,
    )
    agreed = await say(tx, agreed, ReturnRequested)
    if agreed.receive_now:
        agreed = await receipts.start(
            tx,
            agreed,
            first_receipt_id(return_id=agreed.id),
            receipts.Parcel(arriving.all_missing(agreed), location_id=agreed.location_id),
            received_by=None,
            now=now,
        )
    await store.save_return(tx, agreed, now=now)
    after = {"state": str(agreed.state), "refund_amount": agreed.refund_amount}
    await note_down(tx, "return.agreed", agreed.id, before=return_.state, after=after)
    tx.wake(agreed.id)


async def refuse_request(tx: Tx, *, reply: ReturnHoldRejected, now: datetime) -> None:
    """Orders holds nothing, so there is no return."""
    saga = await saga_log.advance(tx, SAGAS, reply, now=now)
    if saga is not None:
        refusal = {"code": reply.code, "kind": reply.kind, "message": reply.message}
        await _refuse_request(tx, await known(tx, reply.return_id), refusal, now)


async def _refuse_request(
    tx: Tx, return_: Return, refusal: Mapping[str, Any], now: datetime
) -> None:
    await store.save_return(tx, domain.move(return_, action=domain.Action.REFUSE), now=now)
    await store.save_refusal(tx, return_id=return_.id, refusal=refusal)
    after = {"state": str(State.REFUSED), "code": refusal["code"]}
    await note_down(
        tx,
        "return.refused",
        return_.id,
        before=return_.state,
        after=after,
        note=refusal["message"],
    )
    tx.wake(return_.id)


def first_receipt_id(*, return_id: str) -> str:
    """The receipt of a return that is received at once."""
    return derived_id("rcpt", return_id)


def _facts(lines: Iterable[LineSnapshot]) -> list[Facts]:
    return [
        Facts(line.line_id, line.variant_id, line.title, line.unit_price, line.delivered_at)
        for line in lines
    ]


def _quoted(reply: ReturnHoldPlaced | OpenClaimReturn) -> dict[str, Any] | None:
    quote = reply.return_shipping if isinstance(reply, ReturnHoldPlaced) else reply.shipping
    return None if quote is None else quote.model_dump(mode="json")


def _told(refusal: Refusal) -> dict[str, Any]:
    return {
        "code": refusal.code,
        "kind": refusal.kind,
        "message": refusal.message,
        **refusal.facts,
    }


# ---- the return of a claim ----------------------------------------------------------------------


async def open_claim_return(tx: Tx, *, command: OpenClaimReturn, now: datetime) -> None:
    """The goods of a claim come back. The units live under the claim's remedy, so nobody is asked;
    a claim has one return, and a repeat answers the same again."""
    there = await store.return_of_claim(tx, command.claim_id)
    return_id = there["id"] if there else command.return_id
    if there is None:
        await _insert_claim_return(tx, command, now)
    reply = ClaimReturnOpened(claim_id=command.claim_id, return_id=return_id)
    await outbox.put(tx, reply, about=f"claim/{command.claim_id}")


async def _insert_claim_return(tx: Tx, command: OpenClaimReturn, now: datetime) -> None:
    facts = _facts(command.lines)
    return_ = domain.open_for_claim(
        return_id=command.return_id,
        claim_id=command.claim_id,
        order_id=command.order_id,
        items=[
            Item(item.line_id, item.quantity, reason_id=item.reason_id, note=item.note)
            for item in command.items
        ],
        facts=facts,
        refund_amount=command.refund_amount,
        location_id=command.location_id,
        no_notification=command.no_notification,
        now=now,
        of_exchange=command.exchange,
    )
    return_ = await say(tx, return_, ReturnRequested)
    await store.insert_return(
        tx,
        return_,
        number=domain.return_number(return_id=return_.id),
        customer_id=None,
        requested_by=None,
        idempotency_key=None,
        metadata=None,
        now=now,
    )
    await store.save_agreement(
        tx,
        return_id=return_.id,
        currency_code=None,
        explanation=[],
        facts=facts,
        shipping=_quoted(command),
        policy_findings=[],
    )
    after = {
        "state": str(return_.state),
        "order_id": command.order_id,
        "claim_id": command.claim_id,
        "units": {line.line_id: line.requested_quantity for line in return_.lines},
    }
    await note_down(tx, "return.opened", return_.id, after=after)


async def check_claim_return(tx: Tx, *, command: CheckClaimReturn) -> None:
    """Tell claims how the return of a claim stands."""
    there = await store.return_of_claim(tx, command.claim_id) or {}
    reply = ClaimReturnChecked(
        claim_id=command.claim_id, return_id=there.get("id"), status=there.get("status")
    )
    await outbox.put(tx, reply, about=f"claim/{command.claim_id}")


# ---- receipt ------------------------------------------------------------------------------------


async def receive_return(
    tx: Tx,
    *,
    caller: Caller,
    return_id: str,
    items: Sequence[Item],
    refund: int | None = None,
    refund_to: str | None = None,
    location_id: str | None = None,
    note: str | None = None,
    now: datetime,
) -> str:
    """Goods of a return arrived: book stock, then units and money; the id of the receipt.

    Without any units nothing is booked. Raises ReturnNotFound, ReturnBusy (another receipt is
    under way), AlreadyReceived, ReceiptOfCanceled, TooManyDamaged, KeyReused.
    """
    parcel = receipts.Parcel(
        items, location_id=location_id, refund=refund, refund_to=refund_to, note=note
    )
    return await receipts.receive(tx, caller, return_id, parcel, now)


async def settle_owed(
    tx: Tx,
    *,
    caller: Caller,
    return_id: str,
    refund: int | None,
    refund_to: str | None = None,
    now: datetime,
) -> str:
    """Pay what receipts could not, or ``refund`` instead of it (0: nothing), where it was to go or
    to ``refund_to``; the id of the receipt that does. Raises as ``receive_return``, NothingOwed,
    MoreThanOwed."""
    return await receipts.settle_owed(tx, caller, return_id, refund, refund_to, now)


async def continue_receipt(
    tx: Tx, *, reply: ReturnReceiptChecked | ReceiptStockReceived, now: datetime
) -> None:
    """What was not announced is of the order, or the stock is booked: the next step follows."""
    await receipts.go_on(tx, reply, now)


async def refuse_receipt(
    tx: Tx, *, reply: ReturnReceiptRejected | ReceiptStockRejected, now: datetime
) -> None:
    """The parcel cannot be booked: the return is as it was, and can be received otherwise."""
    await receipts.refuse(tx, reply, now)


async def settle_receipt(tx: Tx, *, reply: ReturnReceiptSettled, now: datetime) -> None:
    """Units and money of a receipt are booked: the return is received, or needs somebody's eye."""
    await receipts.settle(tx, reply, now)


# ---- close --------------------------------------------------------------------------------------


async def close_return(tx: Tx, *, return_id: str, now: datetime) -> None:
    """What is missing will not come, what was not announced is accepted: the return is received.
    Again is no change. Raises ReturnNotFound, ReturnBusy, CloseOfUnreceived, StillOwed."""
    return_ = await known(tx, return_id)
    after = arriving.start_close(return_)
    if after.state is return_.state:
        return
    await store.save_return(tx, after, now=now)
    told = {"state": str(after.state)}
    await note_down(tx, "return.close_asked", return_id, before=return_.state, after=told)
    if after.claim_id is not None or after.everything_received:
        await _finish_close(tx, after, now)
        return
    await saga_log.begin(
        tx,
        RETURN_CLOSE,
        saga_id=derived_id("rclo", return_id),
        subject_id=return_id,
        facts={"return_id": return_id, "order_id": return_.order_id},
        now=now,
    )


async def _finish_close(tx: Tx, return_: Return, now: datetime) -> None:
    closed = await say(tx, arriving.finish_close(return_, now=now), ReturnReceived)
    await store.save_return(tx, closed, now=now)
    missing = {line.line_id: line.missing_quantity for line in closed.lines}
    after = {
        "state": str(closed.state),
        "missing": {line_id: units for line_id, units in missing.items() if units},
    }
    await note_down(tx, "return.closed", closed.id, before=return_.state, after=after)
    tx.wake(closed.id)


# ---- cancel -------------------------------------------------------------------------------------


async def cancel_return(tx: Tx, *, return_id: str, now: datetime) -> None:
    """The goods will not come. Again is no change, and while the first is under way it joins.

    Raises ReturnNotFound, CancelOfReceived, ReturnBusy (a receipt is under way).
    """
    return_ = await known(tx, return_id)
    after = domain.start_cancel(return_)
    if after.state is return_.state:
        return
    if after.claim_id is not None:
        await _finish_cancel(tx, after, now)
        return
    await store.save_return(tx, after, now=now)
    await saga_log.begin(
        tx,
        RETURN_CANCEL,
        saga_id=derived_id("rcan", return_id),
        subject_id=return_id,
        facts={"return_id": return_id, "order_id": return_.order_id},
        now=now,
    )
    told = {"state": str(after.state)}
    await note_down(tx, "return.cancel_asked", return_id, before=return_.state, after=told)


async def _finish_cancel(tx: Tx, return_: Return, now: datetime) -> None:
    canceled = await say(tx, domain.finish_cancel(return_, now=now), ReturnCanceled)
    await store.save_return(tx, canceled, now=now)
    after = {"state": str(canceled.state)}
    await note_down(tx, "return.canceled", canceled.id, before=return_.state, after=after)
    tx.wake(canceled.id)


async def continue_release(tx: Tx, *, reply: ReturnHoldReleased, now: datetime) -> None:
    """Orders holds nothing of the return any more: it is canceled or closed, or this is the way
    back of a refused request, which nobody waits for."""
    saga = await saga_log.advance(tx, SAGAS, reply, now=now)
    if saga is not None and saga.kind == RETURN_CANCEL.kind:
        await _finish_cancel(tx, await known(tx, reply.return_id), now)
    if saga is not None and saga.kind == RETURN_CLOSE.kind:
        await _finish_close(tx, await known(tx, reply.return_id), now)


async def release_again(tx: Tx, *, return_id: str) -> bool:
    """Ask once more that the units of a dead return are freed; False unless it is dead.

    The command is a new one, because that of the saga was handled.
    """
    return_ = await store.return_for_update(tx, return_id)
    dead = return_ is not None and return_.state in (State.CANCELED, State.REFUSED)
    if return_ is None or not dead or return_.claim_id is not None:
        return False
    command = ReleaseReturnHold(return_id=return_id, order_id=return_.order_id)
    await outbox.put(tx, command, about=f"return/{return_id}")
    return True


# ---- timers -------------------------------------------------------------------------------------


async def expire_saga(tx: Tx, *, saga_id: str, now: datetime) -> None:
    """A saga got no answer: ask again, or give the request up."""
    saga = await saga_log.expire(tx, SAGAS, saga_id, now=now)
    if saga is not None:
        await _follow_back(tx, saga, by="timer", now=now)


async def give_up(tx: Tx, *, saga_id: str, reason: str, now: datetime) -> None:
    """An operator turns a saga back, and the return with it.

    Raises NotFound; NotAllowed where nothing can be turned back (any more).
    """
    saga = await saga_log.give_up(tx, SAGAS, saga_id, reason=reason, now=now)
    await _follow_back(tx, saga, by=saga_log.OPERATOR, now=now)


async def _follow_back(tx: Tx, saga: Saga, *, by: str, now: datetime) -> None:
    """A request that was turned back is refused, for the reason that ``by`` gave."""
    if saga.kind != RETURN_REQUEST.kind or saga.direction == "forward":
        return
    return_ = await known(tx, saga.subject_id)
    if return_.state is State.OPENING:
        told = {name: saga.refusals[by][name] for name in ("code", "kind", "message")}
        await _refuse_request(tx, return_, told, now)


# ---- return reasons -----------------------------------------------------------------------------


async def create_reason(tx: Tx, *, caller: Caller, fields: Mapping[str, Any], now: datetime) -> str:
    """A new reason; its id. Raises ReasonNotFound (the parent), ReasonNestedTwice, ValueTaken."""
    reason = Reason(id=new_id("rr"), **fields)
    first = await idempotency.take_key(tx, caller, subject_id=reason.id)
    if first is not None:
        return first
    await _check_parent(tx, reason)
    await _check_value(tx, reason)
    await store.insert_reason(tx, reason, now=now)
    await _note_reason(tx, "reason.created", None, reason)
    return reason.id


async def update_reason(
    tx: Tx, *, reason_id: str, changes: Mapping[str, Any], now: datetime
) -> str:
    """Change label, value, description or metadata; the id. Raises ReasonNotFound, ValueTaken."""
    reason = await store.reason_for_update(tx, reason_id)
    if reason is None:
        raise domain.ReasonNotFound(reason_id)
    changed = replace(reason, **changes)
    await _check_value(tx, changed)
    await store.save_reason(tx, changed, now=now)
    await _note_reason(tx, "reason.updated", reason, changed)
    return reason_id


async def delete_reason(tx: Tx, *, reason_id: str, now: datetime) -> None:
    """Take the reason and its children out of use. Raises ReasonNotFound."""
    reason = await store.reason_for_update(tx, reason_id)
    if reason is None:
        raise domain.ReasonNotFound(reason_id)
    await store.delete_reason(tx, reason_id=reason_id, now=now)
    await _note_reason(tx, "reason.deleted", reason, None)


async def _note_reason(tx: Tx, action: str, before: Reason | None, after: Reason | None) -> None:
    was, is_ = (None if each is None else asdict(each) for each in (before, after))
    about = f"return-reason/{(is_ or was or {})['id']}"
    if was is not None and is_ is not None:
        was, is_ = audit.changes(was, is_)
    await audit.record(tx, action=action, about=about, before=was, after=is_)


async def _check_parent(tx: Tx, reason: Reason) -> None:
    parent_id = reason.parent_return_reason_id
    if parent_id is None:
        return
    parent = await store.reason_for_update(tx, parent_id)
    if parent is None:
        raise domain.ReasonNotFound(parent_id)
    domain.may_be_parent(parent)
    if parent_id == reason.id or await store.has_children(tx, reason.id):
        raise domain.ReasonNestedTwice


async def _check_value(tx: Tx, reason: Reason) -> None:
    holder = await store.id_of_living_value(tx, reason.value)
    if holder is not None and holder != reason.id:
        raise domain.ReasonValueTaken(reason.value)


async def import_reasons(tx: Tx, *, records: Sequence[Any], now: datetime) -> dict[str, Any]:
    """Load reasons, each an upsert by its id (made from the value if there is none).

    Counts created, updated, unchanged, refused; ``refusals`` lists {path, id, code, message}. A
    refused record does not stop the others. Parents go before children, wherever they are listed.
    """
    counts = {"created": 0, "updated": 0, "unchanged": 0, "refused": 0}
    refusals: list[dict[str, Any]] = []
    numbered = sorted(enumerate(records), key=lambda pair: (_names_a_parent(pair[1]), pair[0]))
    for index, record in numbered:
        try:
            counts[await _import_reason(tx, domain.imported_reason(record=record), now)] += 1
        except Refusal as refusal:
            counts["refused"] += 1
            refusals.append(
                {
                    "path": ".".join([f"return_reasons[{index}]", *refusal.facts.get("path", [])]),
                    "id": record.get("id") if isinstance(record, dict) else None,
                    "code": refusal.code,
                    "message": refusal.message,
                }
            )
    if counts["created"] or counts["updated"]:
        about = "import/return_reasons"
        await audit.record(tx, action="document.imported", about=about, after=counts)
    return {**counts, "refusals": sorted(refusals, key=lambda found: str(found["path"]))}


def _names_a_parent(record: Any) -> bool:
    return isinstance(record, dict) and bool(record.get("parent_return_reason_id"))


async def _import_reason(tx: Tx, reason: Reason, now: datetime) -> str:
    await _check_parent(tx, reason)
    await _check_value(tx, reason)
    there = await store.any_reason(tx, reason.id)
    if there is None:
        await store.insert_reason(tx, reason, now=now)
        return "created"
    known, lives = there
    wanted = replace(reason, metadata=known.metadata)
    if lives and wanted == known:
        return "unchanged"
    await store.save_reason(tx, wanted, now=now)
    return "updated"


async def import_document(tx: Tx, *, document: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Load what of an import document belongs here. Raises Invalid for another key, or no list."""
    for key in document:
        if key != "return_reasons":
            raise Invalid("unknown_key", f"property {key} should not exist", path=[key])
    records = document.get("return_reasons", [])
    if not isinstance(records, list):
        raise Invalid("not_a_list", "return_reasons must be an array", path=["return_reasons"])
    return await import_reasons(tx, records=records, now=now)
