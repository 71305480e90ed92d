"""How goods that arrived are booked and paid: one receipt, under the lock of its order.

Nothing here refuses. What cannot be paid or placed is told in the answer, and a person decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from chassis import audit
from chassis.db import Row, Tx
from chassis.errors import Refusal
from chassis.inbox import Retry
from chassis.outbox import put, reply_address
from contracts.orders import (
    CheckReturnReceipt,
    OrderItemsReturned,
    ReturnReceiptChecked,
    ReturnReceiptRejected,
    ReturnReceiptSettled,
    SettleReturnReceipt,
)
from services.orders import domain, holding, paying, remedies, store_units
from services.orders.paying import Cause, OpenOrder
from services.orders.refunds import Part
from services.orders.remedies import Arrival, HeldLine, Line


@dataclass(frozen=True)
class _Booking:
    """A receipt as it will be booked. ``beside`` are units that get a remedy of their own, under
    the receipt's id. ``why`` is (code, message) where money or goods stay open, ``owed`` what is
    then still to be paid.
    """

    remedy_id: str
    held: dict[str, HeldLine]
    now_held: dict[str, HeldLine]
    beside: dict[str, HeldLine]
    arrivals: list[Arrival]
    lines: dict[str, Line]
    amount: int
    explanation: list[Part]
    why: tuple[str, str] | None
    to: str = domain.PAYMENT
    owed: int = 0
    owed_explanation: tuple[Part, ...] = ()


async def check(
    tx: Tx, command: CheckReturnReceipt
) -> ReturnReceiptChecked | ReturnReceiptRejected:
    """What the unannounced units of a parcel are, or why they cannot be of the order."""
    ids = {"receipt_id": command.receipt_id, "return_id": command.return_id}
    try:
        order = await paying.known_order(tx, command.order_id)
        quantities = holding.quantities_of(command.lines)
        lines = await holding.lines_of(tx, order, quantities)
        missing = quantities.keys() - lines.keys()
        foreign = await store_units.lines_elsewhere(tx, line_ids=missing) if missing else []
        remedies.check_units(lines=lines, foreign=foreign, quantities=quantities)
    except Refusal as no:
        return ReturnReceiptRejected(**ids, code=no.code, kind=no.kind, message=no.message)
    return ReturnReceiptChecked(**ids, lines=holding.snapshots(lines, quantities))


async def settle(tx: Tx, order: OpenOrder, command: SettleReturnReceipt, now: datetime) -> None:
    """Book a receipt that is new here, start its refund, and answer once the money is decided."""
    remedy = await store_units.remedy(tx, remedy_id=command.claim_id or command.return_id)
    if command.settle_owed:
        booking = await _decide_owed(tx, order, remedy, command)
    else:
        booking = await _decide_receipt(tx, order, remedy, command)
    await _book_receipt(tx, order, remedy, booking, command.receipt_id, now)
    state = await _refund_receipt(tx, order, command, booking, now)
    answer = answer_of(
        command,
        amount=booking.amount,
        explanation=booking.explanation,
        why=booking.why,
        owed=booking.owed,
    )
    await store_units.add_receipt(
        tx,
        row={
            "id": command.receipt_id,
            "order_id": order.id,
            "return_id": command.return_id,
            "remedy_id": booking.remedy_id,
            "state": "refunding" if state == "pending" else "settled",
            "arrivals": [_arrival_row(arrival) for arrival in booking.arrivals],
            "answer": answer.model_dump(mode="json"),
            "owed_amount": booking.owed,
            "owed_explanation": [asdict(part) for part in booking.owed_explanation],
            "created_at": now,
        },
    )
    order.records.append(
        audit.Entry(
            "receipt.booked",
            f"return/{command.return_id}",
            None,
            {
                "order_id": order.id,
                "receipt_id": command.receipt_id,
                "refund_amount": booking.amount,
                "units": {
                    arrival.line_id: arrival.announced + arrival.unannounced + arrival.unbooked
                    for arrival in booking.arrivals
                },
            },
            booking.why[1] if booking.why else None,
        )
    )
    if booking.arrivals or command.settle_owed:
        await _set_returned_status(tx, order, action_required=booking.why is not None)
    if state != "pending":
        if booking.arrivals or command.settle_owed:
            _say_returned(order, answer)
        await put(tx, answer, about=f"return/{command.return_id}")


async def _decide_receipt(
    tx: Tx, order: OpenOrder, remedy: Row | None, command: SettleReturnReceipt
) -> _Booking:
    quantities = holding.received_quantities(command.lines)
    live = remedy is not None and remedy["state"] != "released"
    held = (
        store_units.held_lines(rows=await store_units.remedy_lines_of(tx, remedy_id=remedy["id"]))
        if remedy is not None and live
        else {}
    )
    lines = await holding.lines_of(tx, order, {**quantities, **dict.fromkeys(held, 0)})
    arrivals = remedies.arrive(quantities=quantities, held=held, lines=lines)
    # What a claim did not claim is no unit of the claim, though it came in its parcel; nor is what
    # was not exchanged a unit of the exchange.
    strangers = arrivals if remedy is not None and remedy["kind"] != "return" and live else []
    beside = remedies.after(held={}, arrivals=[replace(each, announced=0) for each in strangers])
    now_held = remedies.after(
        held=held,
        arrivals=[replace(each, unannounced=0, extra=None) for each in strangers] or arrivals,
    )
    why = None
    if not live:
        why = ("hold_released", f"Return {command.return_id} holds nothing: nothing is refunded")
        amount, parts = 0, []
    elif remedy is not None and command.claim_id is None and command.refund is None:
        terms = {"given": remedy["given_amount"], "shipping_cost": remedy["shipping_cost"]}
        amount = remedies.due(held=now_held, **terms) - remedies.due(held=held, **terms)
        parts = remedies.explain_receipt(before=held, now=now_held, lines=lines, **terms)
    else:
        amount, parts = _given_at_receipt(order, command)
    to = _destination(remedy, command)
    why = why or _blocked(order, amount, to)
    owed, owed_parts = 0, []
    if why is not None:
        owed, owed_parts, amount, parts = amount, parts, 0, []
    else:
        why = _unbooked(arrivals)
    return _Booking(
        remedy_id=remedy["id"] if remedy is not None and live else command.receipt_id,
        held=held,
        now_held=now_held,
        beside=beside,
        arrivals=arrivals,
        lines=lines,
        amount=amount,
        explanation=parts,
        why=why,
        to=to,
        owed=owed,
        owed_explanation=tuple(owed_parts),
    )


async def _decide_owed(
    tx: Tx, order: OpenOrder, remedy: Row | None, command: SettleReturnReceipt
) -> _Booking:
    """Pay what receipts of the return left owed, or less where somebody decided so."""
    rows = await store_units.take_owed(tx, return_id=command.return_id)
    parts = [Part(**part) for row in rows for part in row["explanation"] or ()]
    amount = sum(row["amount"] for row in rows)
    if command.refund is not None and command.refund < amount:
        less = max(0, command.refund) - amount
        parts.append(Part(None, "waived", None, less, f"{command.refund} paid instead of {amount}"))
        amount += less
    to = _destination(remedy, command)
    why = _blocked(order, amount, to)
    if not amount:
        parts = []
    booking = _Booking(
        remedy_id=command.claim_id or command.return_id,
        held={},
        now_held={},
        beside={},
        arrivals=[],
        lines={},
        amount=amount,
        explanation=parts,
        why=None,
        to=to,
    )
    if why is None:
        return booking
    return replace(
        booking,
        amount=0,
        explanation=[],
        why=why,
        owed=amount,
        owed_explanation=tuple(parts),
    )


def _destination(remedy: Row | None, command: SettleReturnReceipt) -> str:
    """Where the money goes: as told now, else as the return was requested."""
    asked: Row = (remedy and remedy["answer"]) or {}
    return str(command.refund_to or asked.get("refund_to") or domain.PAYMENT)


def _blocked(order: OpenOrder, amount: int, to: str) -> tuple[str, str] | None:
    """Why so much cannot be paid now, if it cannot."""
    try:
        if amount:
            domain.check_destination(refund_to=to, customer_id=order.row["customer_id"])
    except Refusal as no:
        return no.code, no.message
    if amount and order.row["status"] == "canceled":
        return "order_canceled", "A canceled order cannot be registered as received"
    if amount > order.money.refundable:
        return "amount_exceeds_refundable", "Refund amount is greater that the refundable amount"
    return None


def _given_at_receipt(order: OpenOrder, command: SettleReturnReceipt) -> tuple[int, list[Part]]:
    """An amount named at the receipt. For a claim's return it is capped by what is left; and
    unless it is named, such a return pays nothing: its money went with the claim."""
    given = max(0, command.refund or 0)
    if not given:
        return 0, []
    parts = [Part(None, "given", None, given, "as given at the receipt")]
    over = given - order.money.refundable
    if command.claim_id is not None and over > 0:
        parts.append(Part(None, "cap", None, -over, "no more than is left refundable"))
        given -= over
    return given, parts


def _unbooked(arrivals: Sequence[Arrival]) -> tuple[str, str] | None:
    lost = [f"{arrival.unbooked} of {arrival.line_id}" for arrival in arrivals if arrival.unbooked]
    if not lost:
        return None
    return "units_unbooked", f"No free units of this order for: {', '.join(lost)}"


async def _book_receipt(
    tx: Tx,
    order: OpenOrder,
    remedy: Row | None,
    booking: _Booking,
    receipt_id: str,
    now: datetime,
) -> None:
    """Move the units, and write the remedy's lines as they are now."""
    booked = [arrival for arrival in booking.arrivals if arrival.announced or arrival.unannounced]
    if not booked:
        return
    rows = [
        (
            arrival.line_id,
            arrival.announced,
            arrival.unannounced,
            _worth(booking, arrival.line_id),
        )
        for arrival in booked
    ]
    holding.wait_until_settled(
        booking.lines, [arrival.line_id for arrival in booked if arrival.unannounced]
    )
    if not await store_units.book_arrivals(tx, rows=rows):
        raise Retry(f"the units of order {order.id} changed meanwhile")
    await _add_beside(tx, order, booking, receipt_id, now)
    if remedy is None or booking.remedy_id != remedy["id"]:
        await _add_settled(tx, order, booking.remedy_id, now)
    elif remedy["kind"] == "return" and not any(line.open for line in booking.now_held.values()):
        await store_units.set_remedy_state(tx, remedy_id=remedy["id"], state="settled", now=now)
    await store_units.replace_remedy_lines(
        tx,
        remedy_id=booking.remedy_id,
        line_ids=[arrival.line_id for arrival in booked],
        rows=[
            holding.remedy_line(booking.remedy_id, booking.now_held[arrival.line_id])
            for arrival in booked
            if arrival.line_id in booking.now_held
        ],
    )


async def _add_settled(tx: Tx, order: OpenOrder, remedy_id: str, now: datetime) -> None:
    """A remedy for units that came without having been held."""
    row = {
        "id": remedy_id,
        "kind": "return",
        "order_id": order.id,
        "state": "settled",
        "created_at": now,
        "updated_at": now,
    }
    await store_units.add_remedy(tx, row=row)


async def _add_beside(
    tx: Tx, order: OpenOrder, booking: _Booking, receipt_id: str, now: datetime
) -> None:
    if booking.beside:
        await _add_settled(tx, order, receipt_id, now)
        rows = [holding.remedy_line(receipt_id, line) for line in booking.beside.values()]
        await store_units.add_remedy_lines(tx, rows=rows)


def _worth(booking: _Booking, line_id: str) -> int:
    """What the units of this receipt were worth when they were bought."""
    before, now = booking.held, booking.now_held
    worth = remedies.received_worth(held=_only(now, line_id))
    worth += remedies.received_worth(held=_only(booking.beside, line_id))
    return worth - remedies.received_worth(held=_only(before, line_id))


def _only(held: dict[str, HeldLine], line_id: str) -> dict[str, HeldLine]:
    return {line_id: held[line_id]} if line_id in held else {}


async def _refund_receipt(
    tx: Tx, order: OpenOrder, command: SettleReturnReceipt, booking: _Booking, now: datetime
) -> str | None:
    if not booking.amount:
        return None
    payments = await paying.payments_of(tx, order)
    return await paying.begin_refund(
        tx,
        order,
        Cause(
            "receipt",
            command.receipt_id,
            "return",
            no_notification=order.no_notification,
            to=booking.to,
        ),
        domain.split(amount=booking.amount, payments=payments),
        hold=False,
        reply_to=reply_address(),
        now=now,
    )


def answer_of(
    command: SettleReturnReceipt,
    *,
    amount: int = 0,
    explanation: Sequence[Part] = (),
    why: tuple[str, str] | None = None,
    owed: int = 0,
) -> ReturnReceiptSettled:
    """The answer to a receipt; ``why`` is (code, message) where something stays to be done."""
    return ReturnReceiptSettled(
        receipt_id=command.receipt_id,
        return_id=command.return_id,
        refund_id=Cause("receipt", command.receipt_id, "return").refund_id if amount else None,
        refund_amount=amount,
        explanation=holding.explained(explanation),
        action_required=why is not None,
        owed_amount=owed,
        code=why[0] if why else None,
        message=why[1] if why else None,
    )


def _arrival_row(arrival: Arrival) -> Row:
    row = asdict(arrival)
    del row["extra"]
    return row


async def _set_returned_status(tx: Tx, order: OpenOrder, *, action_required: bool) -> None:
    ordered, returned = await store_units.unit_counts(tx, order_id=order.id)
    order.fulfillment_status = domain.returned_status(
        ordered=ordered, returned=returned, action_required=action_required
    )


def _say_returned(order: OpenOrder, answer: ReturnReceiptSettled) -> None:
    blocked = answer.action_required
    order.events.append(
        OrderItemsReturned(
            name="order.return_action_required" if blocked else "order.items_returned",
            id=order.id,
            return_id=answer.return_id,
            no_notification=order.no_notification,
            fulfillment_status=order.fulfillment_status,
        )
    )


async def tell_refund(tx: Tx, order: OpenOrder, refund: Row, amount: int, why: str | None) -> None:
    """The refund of a receipt is decided: answer, with what stays to be done."""
    receipt = await store_units.receipt(tx, receipt_id=refund["cause_id"])
    if receipt is None:
        raise LookupError(f"refund {refund['id']} is for an unknown receipt")
    answer = ReturnReceiptSettled(**receipt["answer"])
    owed = [part.model_dump() for part in answer.explanation] if why is not None else []
    if why is not None:
        blocked = {"action_required": True, "code": "refund_declined", "message": why}
        nothing: Row = {"refund_id": None, "refund_amount": 0, "explanation": []}
        money = {"owed_amount": answer.refund_amount}
        answer = answer.model_copy(update={**blocked, **nothing, **money})
        await _set_returned_status(tx, order, action_required=True)
    elif amount < answer.refund_amount:
        rest = answer.refund_amount - amount
        rule = "declined by a payment provider"
        owed = [asdict(Part(None, "declined", None, rest, rule))]
        kept = holding.explained([Part(None, "declined", None, -rest, rule)])
        answer = answer.model_copy(
            update={
                "refund_amount": amount,
                "explanation": [*answer.explanation, *kept],
                "action_required": True,
                "owed_amount": rest,
                "code": "refund_partly_declined",
                "message": f"Only {amount} of {answer.refund_amount} could be refunded",
            }
        )
        await _set_returned_status(tx, order, action_required=True)
    _say_returned(order, answer)
    await store_units.settle_receipt(
        tx,
        receipt_id=receipt["id"],
        answer=answer.model_dump(mode="json"),
        owed_amount=answer.owed_amount,
        owed_explanation=owed,
    )
    await put(
        tx, answer, about=f"return/{receipt['return_id']}", reply_to=dict(refund["reply_to"] or {})
    )
