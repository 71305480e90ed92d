"""The rules of what arrives: parcels with what was announced, more or less, money that could not be
paid, and how a return ends that is not as it was announced. Pure, as `domain`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from services.returns.domain import (
    Action,
    Arrival,
    Item,
    Line,
    MoreThanOwed,
    NothingOwed,
    Return,
    State,
    StillOwed,
    merged,
    move,
)

# ---- receipt ------------------------------------------------------------------------------------


def arrivals(return_: Return, *, items: Iterable[Item]) -> tuple[Arrival, ...]:
    """The lines of a receipt. What is not on the return has no variant until orders has told it.
    Raises QuantityTooSmall, QuantityTooLarge, TooManyDamaged."""
    variants = {line.line_id: line.variant_id for line in return_.lines}
    return tuple(
        Arrival(
            number,
            item.line_id,
            variants.get(item.line_id),
            item.quantity,
            item.damaged_quantity,
        )
        for number, item in enumerate(merged(items=items), start=1)
    )


def unannounced(return_: Return, *, lines: Iterable[Arrival]) -> dict[str, int]:
    """Units of a parcel beyond what the return still announces, by line."""
    missing = {line.line_id: line.missing_quantity for line in return_.lines}
    beyond = {line.line_id: line.quantity - missing.get(line.line_id, 0) for line in lines}
    return {line_id: units for line_id, units in beyond.items() if units > 0}


def all_missing(return_: Return) -> tuple[Item, ...]:
    """What is still announced, as the items of a receipt."""
    return tuple(
        Item(line.line_id, line.missing_quantity) for line in return_.lines if line.missing_quantity
    )


def start_receipt(
    return_: Return, *, receipt_id: str, items: Iterable[Item]
) -> tuple[Return, tuple[Arrival, ...]]:
    """Goods are at the door. Without any units nothing changes and the receipt has no lines.

    The state is asked before the lines are looked at, as Medusa does.
    """
    receiving = move(return_, action=Action.RECEIVE)
    counted = arrivals(return_, items=items)
    if not counted:
        return return_, ()
    return replace(receiving, receipt_id=receipt_id), counted


def put_back(return_: Return) -> Return:
    """The receipt in flight was refused: the return is as it was before."""
    return replace(move(return_, action=Action.PUT_BACK), receipt_id=None)


def settle(
    return_: Return,
    *,
    lines: Iterable[Arrival],
    refund_amount: int,
    action_required: bool,
    now: datetime,
) -> Return:
    """The receipt in flight is booked. Goods that are short or were not announced, and blocked
    money, keep the return open."""
    came = {line.line_id: line for line in lines}
    last_came_at = now if came else return_.received_at
    strangers = came.keys() - {line.line_id for line in return_.lines}
    known = (
        *return_.lines,
        *(Line(id_, 0, variant_id=came[id_].variant_id) for id_ in came if id_ in strangers),
    )
    counted = tuple(
        replace(line, received_quantity=line.received_quantity + came[line.line_id].quantity)
        if line.line_id in came
        else line
        for line in known
    )
    booked = replace(
        return_,
        lines=counted,
        refunded_amount=return_.refunded_amount + refund_amount,
        receipt_id=None,
        received_at=last_came_at,
    )
    if action_required or not booked.came_as_announced:
        return move(booked, action=Action.KEEP_OPEN)
    return _completed(booked)


def _completed(return_: Return) -> Return:
    # The return of a claim mirrors the claim's amount unless money of its own went out.
    mirrored = return_.claim_id is not None and return_.refunded_amount == 0
    shown = return_.refund_amount if mirrored else return_.refunded_amount
    return replace(move(return_, action=Action.COMPLETE), refund_amount=shown)


def start_settlement(return_: Return, *, receipt_id: str, refund: int | None) -> Return:
    """Pay now what earlier receipts could not, or ``refund`` instead: a receipt without goods.
    Raises NothingOwed, MoreThanOwed."""
    receiving = move(return_, action=Action.RECEIVE)
    if not return_.owed_amount:
        raise NothingOwed(return_.id)
    if refund is not None and refund > return_.owed_amount:
        raise MoreThanOwed(return_)
    return replace(receiving, receipt_id=receipt_id)


# ---- close --------------------------------------------------------------------------------------


def start_close(return_: Return) -> Return:
    """What is missing will not come, what was not announced is accepted: somebody has looked.
    Raises StillOwed while money is."""
    closing = move(return_, action=Action.CLOSE)
    if closing.state is State.CLOSING and return_.owed_amount:
        raise StillOwed(return_)
    return closing


def finish_close(return_: Return, *, now: datetime) -> Return:
    """Nothing of the return is held any more."""
    if return_.state is State.RECEIVED:
        return return_
    return replace(_completed(return_), closed_at=now)
