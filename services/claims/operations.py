"""What can be done to claims. Each runs in the caller's transaction and never commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from chassis import audit, idempotency, outbox, saga_log
from chassis.db import Tx
from chassis.errors import NotFound
from chassis.idempotency import Caller
from chassis.sagas import Saga
from chassis.values import new_id
from contracts.inventory import PlaceReservation
from contracts.orders import PlaceClaimHold, RetryClaimRefund
from services.claims import (
    conversion_saga,
    converting,
    domain,
    exchange_saga,
    exchanges,
    fulfilling,
    fulfillment_saga,
    fulfillments,
    inquiries,
    saga,
    saying,
    store,
)
from services.claims.domain import AdditionalItem, Change, Claim, ClaimItem, ClaimNotFound

# The sagas of goods that are sent out.
_GOODS = frozenset(table.kind for table in fulfillment_saga.TABLES)


@dataclass(frozen=True)
class Plan:
    """What a claim would ask the others for: units and money of orders, stock of inventory."""

    hold: PlaceClaimHold
    reservation: PlaceReservation | None
    events: tuple[str, ...]


@dataclass(frozen=True)
class Accepted:
    """What was taken on: the claim, and the saga that works on it."""

    claim_id: str
    saga_id: str


async def open_claim(tx: Tx, *, request: dict[str, Any], caller: Caller, now: datetime) -> Accepted:
    """Accept a claim: key, claim, saga and first commands, all or nothing.

    ``request`` is the body of ``schemas.OpenClaim``. A key seen before answers with its claim.
    Raises Invalid when the request makes no sense, KeyReused when the key meant another request.
    """
    claim_id = new_id("claim")
    held = await idempotency.take_key(tx, caller, subject_id=claim_id)
    if held is not None:
        return Accepted(held, held)
    await take_on(
        tx,
        claim_id=claim_id,
        request=request | {"idempotency_key": caller.key},
        principal=caller.principal,
        now=now,
    )
    return Accepted(claim_id, claim_id)


async def take_on(
    tx: Tx, *, claim_id: str, request: dict[str, Any], principal: str, now: datetime
) -> None:
    """Begin the claim of that id: claim, saga and first commands. ``request``: what ``open_claim``
    takes, and ``inquiry_id`` if it answers one. Raises Invalid as ``open_claim``."""
    claim, facts = _drawn_up(claim_id, request)
    await store.add(tx, claim=claim, request=request, created_by=principal, now=now)
    await saga_log.begin(
        tx, saga.CREATION, saga_id=claim_id, subject_id=claim_id, facts=facts, now=now
    )
    await audit.record(
        tx,
        action="claim.opened",
        about=f"claim/{claim_id}",
        after={
            "order_id": claim.order_id,
            "type": claim.type,
            "units": dict(domain.claimed_units(items=claim.items)),
            "refund_amount": claim.refund_amount,
        },
    )


def plan_claim(*, request: dict[str, Any]) -> Plan:
    """What opening this claim would begin with. Raises as ``open_claim``, and changes nothing."""
    claim, facts = _drawn_up(new_id("claim"), request)
    hold, reservation = saga.first_asks(facts)
    names = [
        saying.EVENTS[each].model_fields["name"].default for each in domain.expected(claim=claim)
    ]
    return Plan(hold, reservation, tuple(names))


def _drawn_up(claim_id: str, request: dict[str, Any]) -> tuple[Claim, dict[str, Any]]:
    claim = domain.open_claim(
        claim_id=claim_id,
        order_id=request["order_id"],
        type_=request["type"],
        items=[_item(item) for item in request["claim_items"]],
        additional_items=_additional(request),
        refund_amount=request["refund_amount"],
        return_id=new_id("ret") if request["return_shipping"] is not None else None,
        no_notification=request["no_notification"],
        refund_to=request["refund_to"],
    )
    facts = saga.creation_facts(
        claim=claim,
        order=request["order"],
        return_shipping=request["return_shipping"],
        location_id=request["return_location_id"],
    )
    if request.get("inquiry_id"):
        facts["inquiry_id"] = request["inquiry_id"]
    return claim, facts


def _item(item: dict[str, Any]) -> ClaimItem:
    return ClaimItem(
        id=new_id("citm"),
        line_id=item["item_id"],
        quantity=item["quantity"],
        reason=item["reason"] or "",
        note=item["note"],
        tags=tuple(dict.fromkeys(domain.clean_tag(tag) for tag in item["tags"])),
        images=tuple(dict.fromkeys(item["images"])),
    )


async def cancel_claim(
    tx: Tx,
    *,
    claim_id: str,
    order_id: str | None,
    caller: Caller,
    now: datetime,
    exchange: bool = False,
) -> Accepted | None:
    """Begin to cancel a claim, or an exchange; None when it is canceled already, which is no error.

    Raises ClaimNotFound (also under another order's id), RefundAlreadyMade, ClaimBusy, and as
    ``fulfillments.check_claim_cancel``; of exchanges in their words.
    """
    saga_id = new_id("csaga")
    held = await idempotency.take_key(tx, caller, subject_id=saga_id)
    if held is not None:
        running = await saga_log.load(tx, held)
        return Accepted(claim_id, held) if running else None
    claim = await _loaded(tx, claim_id, exchange)
    if claim is None or claim.status == "refused" or order_id not in (None, claim.order_id):
        raise _not_found(claim_id, order_id, exchange)
    if claim.status == "canceled":
        return None
    claim = exchanges.cancel(claim=claim) if exchange else domain.cancel(claim=claim)
    sent = await store.fulfillments_of(tx, claim_id=claim_id) if claim.additional_items else []
    fulfillments.check_claim_cancel(fulfillments=sent, word=domain.word(claim=claim))
    await store.save(tx, claim=claim, now=now)
    await saga_log.begin(
        tx,
        saga.EXCHANGE_CANCEL if exchange else saga.CANCEL,
        saga_id=saga_id,
        subject_id=claim_id,
        facts=saga.cancel_facts(claim=claim, request_id=saga_id),
        now=now,
    )
    about = domain.about(claim=claim)
    await audit.record(tx, action=f"{about.partition('/')[0]}.cancel_asked", about=about)
    return Accepted(claim_id, saga_id)


async def continue_claim(tx: Tx, *, reply: BaseModel, now: datetime) -> None:
    """A participant answered: move the saga on, and the claim with it. Stale answers do nothing."""
    moved = await saga_log.advance(tx, saga.SAGAS, reply, now=now)
    if moved is not None:
        await _follow(tx, moved, now)


async def release_again(tx: Tx, *, subject_id: str) -> bool:
    """Ask once more that all is freed that a dead claim or fulfillment holds; False unless it is
    dead.

    The commands are new ones, because those of the saga were handled; who holds nothing says so.
    """
    sent = await store.fulfillment(tx, fulfillment_id=subject_id)
    claim = await store.load(tx, claim_id=subject_id if sent is None else sent.claim_id)
    if claim is None:
        return False
    if sent is not None:
        if sent.state not in ("canceled", "refused"):
            return False
        facts = fulfillment_saga.parcel_facts(
            claim=claim, fulfillment=sent, request_id=new_id("csaga")
        )
        for command in fulfillment_saga.releases(facts=facts):
            await outbox.put(tx, command, about=f"fulfillment/{subject_id}")
        return True
    if claim.status not in ("canceled", "refused"):
        return False
    for freeing in saga.releases(claim=claim):
        await outbox.put(tx, freeing, about=domain.about(claim=claim))
    return True


async def expire_saga(tx: Tx, *, saga_id: str, now: datetime) -> None:
    """A saga's timer came due: ask again, or give up before the pivot."""
    moved = await saga_log.expire(tx, saga.SAGAS, saga_id, now=now)
    if moved is not None:
        await _follow(tx, moved, now)


async def give_up(tx: Tx, *, saga_id: str, reason: str, now: datetime) -> None:
    """An operator turns a saga back, and the claim with it.

    Raises NotFound; NotAllowed where nothing can be turned back (any more).
    """
    moved = await saga_log.give_up(tx, saga.SAGAS, saga_id, reason=reason, now=now)
    await _follow(tx, moved, now)


# ---- goods that are sent out ------------------------------------------------------------------


async def create_fulfillment(
    tx: Tx,
    *,
    claim_id: str,
    order_id: str | None,
    location_id: str | None,
    no_notification: bool | None,
    metadata: dict[str, Any] | None,
    caller: Caller,
    now: datetime,
    exchange: bool = False,
) -> Accepted:
    """Pack all that a claim, or an exchange, still owes; its goods are taken out of stock, where
    they are reserved or at ``location_id``.

    Raises ClaimNotFound, and in Medusa's words; what inventory refuses is told to who waits.
    """
    request_id = new_id("cpack")
    earlier = await idempotency.take_key(tx, caller, subject_id=request_id)
    if earlier is None:
        claim = await visible(tx, claim_id=claim_id, order_id=order_id, exchange=exchange)
        await fulfilling.pack(
            tx,
            claim,
            request_id=request_id,
            location_id=location_id,
            no_notification=no_notification,
            metadata=metadata,
            now=now,
        )
    return Accepted(claim_id, earlier or request_id)


async def cancel_fulfillment(
    tx: Tx,
    *,
    claim_id: str,
    order_id: str | None,
    fulfillment_id: str,
    caller: Caller,
    now: datetime,
    exchange: bool = False,
) -> Accepted | None:
    """Unpack goods of a claim, or of an exchange, and put them back, reserved as before; None for
    what is canceled already, which is no error.

    Raises in Medusa's words; a fulfillment of another claim, and a claim of another order, are not
    found. Units that have been claimed or returned meanwhile are told to who waits.
    """
    saga_id = new_id("csaga")
    earlier = await idempotency.take_key(tx, caller, subject_id=saga_id)
    if earlier is not None:
        # None was begun where it had been canceled before.
        return Accepted(claim_id, earlier) if await saga_log.load(tx, earlier) else None
    claim = await _loaded(tx, claim_id, exchange)
    sent = await store.fulfillment(tx, fulfillment_id=fulfillment_id)
    if sent is None or sent.claim_id != claim_id or sent.state == "refused":
        raise fulfillments.unknown(
            fulfillment_id=fulfillment_id, claim_id=claim_id, word="swap" if exchange else "claim"
        )
    if claim is None or order_id not in (None, claim.order_id):
        raise _not_found(claim_id, order_id, exchange)
    running = await fulfilling.unpack(tx, claim, sent, saga_id=saga_id, now=now)
    return Accepted(claim_id, running) if running else None


async def create_shipment(
    tx: Tx,
    *,
    claim_id: str,
    order_id: str | None,
    fulfillment_id: str,
    tracking_numbers: Sequence[str],
    caller: Caller,
    now: datetime,
    exchange: bool = False,
) -> Accepted:
    """Packed goods of a claim, or of an exchange, are on their way. Raises ClaimNotFound, and in
    Medusa's words."""
    saga_id = new_id("csaga")
    earlier = await idempotency.take_key(tx, caller, subject_id=saga_id)
    if earlier is None:
        claim = await visible(tx, claim_id=claim_id, order_id=order_id, exchange=exchange)
        sent = await store.fulfillment(tx, fulfillment_id=fulfillment_id)
        mine = sent is not None and sent.claim_id == claim_id and sent.state != "refused"
        await fulfilling.ship(
            tx,
            claim,
            sent if mine else None,
            saga_id=saga_id,
            tracking_numbers=tracking_numbers,
            now=now,
        )
    return Accepted(claim_id, earlier or saga_id)


# ---- what a claim gives, changed ---------------------------------------------------------------


async def retry_refund(
    tx: Tx,
    *,
    claim_id: str,
    refund_amount: int | None,
    refund_to: str | None,
    caller: Caller,
    now: datetime,
) -> Accepted:
    """Refund a claim whose money did not go out: ``refund_amount`` minor units, or what its units
    are worth by now; to ``refund_to``, or where it was to go.

    Raises ClaimNotFound, and as ``conversions.check_retry``; what orders or a provider refuses is
    told to who waits.
    """
    saga_id = new_id("csaga")
    earlier = await idempotency.take_key(tx, caller, subject_id=saga_id)
    if earlier is None:
        claim = await visible(tx, claim_id=claim_id, order_id=None)
        await converting.retry(
            tx,
            claim,
            saga_id=saga_id,
            refund_amount=refund_amount,
            refund_to=refund_to,
            now=now,
        )
        await audit.record(tx, action="claim.refund_asked", about=f"claim/{claim_id}")
    return Accepted(claim_id, earlier or saga_id)


async def convert_claim(
    tx: Tx, *, claim_id: str, request: dict[str, Any], caller: Caller, now: datetime
) -> Accepted | None:
    """Make a claim one of the other type while nothing is paid and nothing sent; None where nobody
    has to be asked, and it is done.

    ``request`` is the body of ``schemas.ConvertClaim``. Raises ClaimNotFound, and as
    ``conversions.check_conversion``; what the others refuse is told to who waits.
    """
    saga_id = new_id("csaga")
    earlier = await idempotency.take_key(tx, caller, subject_id=saga_id)
    if earlier is not None:
        return Accepted(claim_id, earlier) if await saga_log.load(tx, earlier) else None
    claim = await visible(tx, claim_id=claim_id, order_id=None)
    change = await converting.convert(
        tx,
        claim,
        saga_id=saga_id,
        to=request["type"],
        refund_amount=request["refund_amount"],
        refund_to=request["refund_to"],
        additional_items=_additional(request),
        shipping_methods=request["shipping_methods"],
        order=request["order"],
        now=now,
    )
    if change is not None:
        await saying.say(tx, claim, change, now)
        return None
    await audit.record(
        tx,
        action="claim.conversion_asked",
        about=f"claim/{claim_id}",
        after={"type": request["type"]},
    )
    return Accepted(claim_id, saga_id)


async def plan_conversion(
    tx: Tx, *, claim_id: str, request: dict[str, Any]
) -> tuple[RetryClaimRefund | None, PlaceReservation | None]:
    """What a conversion would ask of orders or of inventory. Raises as ``convert_claim``, and
    changes nothing."""
    claim = await visible(tx, claim_id=claim_id, order_id=None)
    items = _additional(request)
    to, refund_amount, refund_to = request["type"], request["refund_amount"], request["refund_to"]
    await converting.check(
        tx,
        claim,
        to=to,
        refund_amount=refund_amount,
        refund_to=refund_to,
        additional_items=items,
    )
    if to == "refund":
        facts = conversion_saga.refund_facts(
            claim=claim,
            request_id=new_id("csaga"),
            refund_amount=refund_amount,
            refund_to=refund_to,
            converts=True,
        )
        return conversion_saga.retry(facts=facts), None
    if claim.additional_items:
        return None, None
    facts = converting.replace_facts(claim, new_id("csaga"), items, request["order"], None)
    return None, conversion_saga.reserve(facts=facts)


def _additional(request: dict[str, Any]) -> list[AdditionalItem]:
    return [AdditionalItem(line_id=new_id("item"), **item) for item in request["additional_items"]]


async def visible(tx: Tx, *, claim_id: str, order_id: str | None, exchange: bool = False) -> Claim:
    """A claim, or an exchange, that everybody agreed to, locked. Raises ClaimNotFound or
    SwapNotFound, also under another order's id."""
    claim = await _loaded(tx, claim_id, exchange)
    hidden = claim is None or claim.recovery_point == "started" or claim.status == "refused"
    if claim is None or hidden or order_id not in (None, claim.order_id):
        raise _not_found(claim_id, order_id, exchange)
    return claim


async def _loaded(tx: Tx, claim_id: str, exchange: bool) -> Claim | None:
    claim = await store.load(tx, claim_id=claim_id)
    return claim if claim is not None and claim.is_exchange is exchange else None


def _not_found(claim_id: str, order_id: str | None, exchange: bool) -> NotFound:
    if exchange:
        return exchanges.SwapNotFound(swap_id=claim_id, order_id=order_id)
    return ClaimNotFound(claim_id=claim_id, order_id=order_id)


# ---- what people write and decide, where no other service has to agree -----------------------


async def update_claim(
    tx: Tx, *, claim_id: str, order_id: str | None, given: dict[str, Any], now: datetime
) -> None:
    """Change texts, tags and images of items, shipping methods, metadata, no_notification.

    ``given`` is the body of ``schemas.UpdateClaim``; what is None stays. Raises ClaimNotFound,
    NotFound for an unknown item, image or tag, and as ``domain.check_workable``.
    """
    before = await _workable(tx, claim_id, order_id)
    edited = {item.id: item for item in before.items}
    for change in given["claim_items"] or []:
        if change["id"] not in edited:
            raise NotFound(
                "claim_item_unknown", f"Claim item with id: {change['id']} was not found."
            )
        edited[change["id"]] = domain.edit_item(item=edited[change["id"]], given=change)
    claim = replace(before, items=tuple(edited[item.id] for item in before.items))
    if given["no_notification"] is not None:
        claim = replace(claim, no_notification=given["no_notification"])
    was = await store.written(tx, claim_id=claim_id)
    written = {
        "shipping_methods": (
            was["shipping_methods"]
            if given["shipping_methods"] is None
            else given["shipping_methods"]
        ),
        "metadata": domain.merged(old=was["metadata"], given=given["metadata"]),
    }
    if (claim, written) == (before, was):
        return
    await store.write(tx, claim=claim, written=written)
    wrote = audit.changes(_texts(before) | was, _texts(claim) | written)
    await saying.say(tx, before, Change(claim, ("updated",)), now, wrote)


def _texts(claim: Claim) -> dict[str, Any]:
    return {
        "no_notification": claim.no_notification,
        "items": [asdict(item) for item in claim.items],
    }


async def assign_claim(
    tx: Tx, *, claim_id: str, order_id: str | None, user_id: str | None, now: datetime
) -> None:
    """Give a claim to somebody, or to nobody. Raises as ``update_claim``."""
    claim = await _workable(tx, claim_id, order_id)
    if claim.assigned_to != user_id:
        change = Change(replace(claim, assigned_to=user_id), ("assigned",))
        await saying.say(tx, claim, change, now)


async def close_claim(
    tx: Tx, *, claim_id: str, order_id: str | None, caller: Caller, now: datetime
) -> None:
    """Say that the work on a claim is over, once under a key. Raises ClaimNotFound, KeyReused, and
    as ``domain.close``."""
    if await idempotency.take_key(tx, caller, subject_id=claim_id) is None:
        claim = await _workable(tx, claim_id, order_id)
        await saying.say(tx, claim, domain.close(claim=claim, by=caller.principal, now=now), now)


async def _workable(tx: Tx, claim_id: str, order_id: str | None) -> Claim:
    claim = await visible(tx, claim_id=claim_id, order_id=order_id)
    domain.check_workable(claim=claim)
    return claim


async def return_moved(tx: Tx, *, claim_id: str, status: str, now: datetime) -> None:
    """Returns told what became of the return of a claim or an exchange. Raises ClaimNotFound."""
    claim = await store.load(tx, claim_id=claim_id)
    if claim is None:
        raise ClaimNotFound(claim_id=claim_id, order_id=None)
    moved = domain.return_moved(claim=claim, status=status)
    if moved == claim:
        return
    if claim.is_exchange and status == "received":
        await saying.say(tx, claim, Change(moved, ("received",)), now)
        return
    await store.save(tx, claim=moved, now=now)


# ---- what follows ------------------------------------------------------------------------------


async def _follow(tx: Tx, moved: Saga, now: datetime) -> None:
    if moved.kind in _GOODS:
        await fulfilling.follow(tx, moved, now)
        return
    claim = await store.load(tx, claim_id=moved.subject_id)
    assert claim is not None, moved.subject_id
    if moved.kind in converting.KINDS:
        settled = await converting.settle(tx, claim, moved)
        if settled is not None:
            await saying.say(tx, claim, settled, now)
            tx.wake(moved.id)
        return
    if moved.kind == exchange_saga.PAYMENT.kind:
        if moved.over:
            settled = exchanges.processed(claim=claim, settled=moved.facts.get("process"), now=now)
            await saying.say(tx, claim, settled, now)
            tx.wake(moved.id)
        return
    if moved.kind == saga.CREATION.kind:
        progress = saga.progress(moved)
        if claim.is_exchange:
            change = exchanges.follow(claim=claim, progress=progress, facts=moved.facts, now=now)
        else:
            change = domain.follow(claim=claim, progress=progress)
        if change.claim.status == "open" and claim.status == "opening":
            await _freeze_lines(tx, claim, moved.facts)
    elif moved.direction == "finished" and claim.is_exchange:
        change = exchanges.canceled(claim=claim, released=moved.facts["release"], now=now)
    elif moved.direction == "finished":
        change = domain.canceled(claim=claim, now=now)
    elif moved.direction == "undone":
        change = domain.not_canceled(claim=claim)
    else:
        return
    await saying.say(tx, claim, change, now)
    # Only what is over for good counts: a saga that turned back may still turn forward again.
    if moved.over and moved.kind == saga.CREATION.kind and moved.facts.get("inquiry_id"):
        await inquiries.claim_decided(
            tx,
            inquiry_id=moved.facts["inquiry_id"],
            claim_id=claim.id,
            refusal=change.claim.refusal,
            now=now,
        )
    if moved.over or change.claim.refusal:
        tx.wake(moved.id)


async def _freeze_lines(tx: Tx, claim: Claim, facts: dict[str, Any]) -> None:
    await store.name_claimed_variants(tx, claim_id=claim.id, lines=facts["hold"]["lines"])
    if claim.additional_items:
        await store.price_additional_items(
            tx,
            lines=facts["reserve"]["lines"],
            tax=facts["hold"]["tax"],
            includes_tax=facts["hold"].get("includes_tax", False),
        )
