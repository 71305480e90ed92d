"""The rules of a return: pure functions of a frozen `Return` and the facts of the moment.

A return has an inner ``state`` and a public ``status``. The states that end in "ing" are semantic
locks: a saga holds the return, and the public keeps seeing the status it had. A return whose units
were never held has no status and is on no public read.
Quantities are units of an order line, amounts are integer minor units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from chassis.errors import Conflict, Duplicate, Invalid, NotAllowed, NotFound, Refusal
from chassis.values import derived_id

RETURN_WINDOW_DAYS = 30
QUANTITY_MAX = 2_147_483_647
ITEMS_MAX = 1000


class State(StrEnum):
    """Where a return stands."""

    OPENING = "opening"
    REQUESTED = "requested"
    RECEIVING = "receiving"
    REQUIRES_ACTION = "requires_action"
    RECEIVED = "received"
    CANCELING = "canceling"
    CANCELED = "canceled"
    REFUSED = "refused"
    CLOSING = "closing"


class Action(StrEnum):
    """What can happen to a return."""

    AGREE = "agree"
    REFUSE = "refuse"
    RECEIVE = "receive"
    PUT_BACK = "put_back"
    COMPLETE = "complete"
    KEEP_OPEN = "keep_open"
    CANCEL = "cancel"
    RELEASE = "release"
    CLOSE = "close"


PUBLIC = (State.REQUESTED, State.REQUIRES_ACTION, State.RECEIVED, State.CANCELED)
"""The states that are also public statuses; while a saga works the last one of them is shown."""

# A cell is the next state, or:  =  nothing changes   <  back to the public status it had
#   !code  refused with that fact   -  nobody asks this in that state: a fault of ours
_TABLE = """
state           | agree     | refuse  | receive           | put_back | complete | keep_open       | cancel       | release  | close
opening         | requested | refused | !not_found        | -        | -        | -               | !not_found   | -        | !not_found
requested       | =         | -       | receiving         | -        | -        | -               | canceling    | -        | !not_received
receiving       | -         | -       | !busy             | <        | received | requires_action | !busy        | -        | !busy
requires_action | -         | -       | receiving         | -        | -        | -               | !received    | -        | closing
received        | -         | -       | !already_received | -        | -        | -               | !received    | -        | =
canceling       | -         | -       | !busy             | -        | -        | -               | =            | canceled | !busy
canceled        | -         | -       | !canceled         | -        | -        | -               | =            | =        | !close_canceled
refused         | -         | =       | !not_found        | -        | -        | -               | !not_found   | -        | !not_found
closing         | -         | -       | !busy             | -        | received | -               | !busy        | -        | =
"""  # noqa: E501  the table is read as a table, one row a line


def _parsed(table: str) -> dict[tuple[State, Action], str]:
    """The cells by state and action; raises ValueError for a missing, doubled or unknown one."""
    header, *rows = ([cell.strip() for cell in line.split("|")] for line in table.split("\n")[1:-1])
    if header[1:] != [action.value for action in Action]:
        raise ValueError("the columns are not the actions")
    cells = {
        (State(row[0]), Action(name)): cell
        for row in rows
        for name, cell in zip(header[1:], row[1:], strict=True)
    }
    if len(rows) != len(State) or len(cells) != len(State) * len(Action):
        raise ValueError("the table does not have one row for each state")
    for cell in cells.values():
        if cell in ("=", "<", "-"):
            continue
        if cell.startswith("!"):
            _REFUSALS[cell[1:]]
        else:
            State(cell)
    return cells


@dataclass(frozen=True)
class Item:
    """What somebody asks to send back, or what came: units of one order line.

    ``damaged_quantity`` of what came cannot be sold again.
    """

    line_id: str
    quantity: int
    reason_id: str | None = None
    note: str | None = None
    damaged_quantity: int = 0


@dataclass(frozen=True)
class Facts:
    """What orders said about a line when its units were held; ``unit_price`` in minor units."""

    line_id: str
    variant_id: str | None = None
    title: str | None = None
    unit_price: int = 0
    delivered_at: str | None = None


@dataclass(frozen=True)
class Line:
    """One line of a return. ``received_quantity`` counts every parcel that has come so far, also
    units that nobody announced; a line that came unannounced has a ``requested_quantity`` of 0."""

    line_id: str
    requested_quantity: int
    received_quantity: int = 0
    reason_id: str | None = None
    note: str | None = None
    variant_id: str | None = None
    title: str | None = None
    unit_price: int = 0
    delivered_at: str | None = None

    @property
    def missing_quantity(self) -> int:
        """Units that are announced and have not come."""
        return max(0, self.requested_quantity - self.received_quantity)


@dataclass(frozen=True)
class Arrival:
    """Units of one line in one parcel; ``line_no`` counts from 1 within the receipt.

    ``damaged_quantity`` of them are received, but do not go into stock.
    """

    line_no: int
    line_id: str
    variant_id: str | None
    quantity: int
    damaged_quantity: int = 0


@dataclass(frozen=True)
class Return:
    """The agreed sending-back of units.

    ``refund_given`` is what the caller fixed, None when it is computed; ``refund_amount`` is what
    the public sees; ``refunded_amount`` is what receipts have paid, ``owed_amount`` what they could
    not. ``receipt_id`` names the receipt in flight. ``version`` counts the events said so far.
    """

    id: str
    order_id: str
    lines: tuple[Line, ...]
    state: State = State.OPENING
    status: State | None = None
    claim_id: str | None = None
    of_exchange: bool = False
    refund_given: int | None = None
    refund_amount: int | None = None
    refunded_amount: int = 0
    owed_amount: int = 0
    location_id: str | None = None
    no_notification: bool | None = None
    policy_binds: bool = False
    receive_now: bool = False
    receipt_id: str | None = None
    version: int = 0
    requested_at: datetime | None = None
    received_at: datetime | None = None
    canceled_at: datetime | None = None
    closed_at: datetime | None = None

    @property
    def anything_received(self) -> bool:
        """Whether a unit of this return has come."""
        return any(line.received_quantity for line in self.lines)

    @property
    def everything_received(self) -> bool:
        """Whether every announced unit has come."""
        return all(line.missing_quantity == 0 for line in self.lines)

    @property
    def came_as_announced(self) -> bool:
        """Whether every announced unit has come, and nothing else."""
        return all(line.received_quantity == line.requested_quantity for line in self.lines)


# ---- refusals -----------------------------------------------------------------------------------


class ReturnNotFound(NotFound):
    """There is no such return, or none this caller may see."""

    def __init__(self, return_id: str) -> None:
        super().__init__("return_not_found", f"Return with id: {return_id} was not found")


class ReturnBusy(Conflict):
    """Another receipt or a cancellation of this return is under way."""

    def __init__(self, return_id: str) -> None:
        super().__init__("return_busy", f"Return with id {return_id} is being changed")


class AlreadyReceived(NotAllowed):
    """Everything announced has come."""

    def __init__(self, return_id: str) -> None:
        message = f"Return with id {return_id} has already been received"
        super().__init__("return_already_received", message)


class ReceiptOfCanceled(NotAllowed):
    """A canceled return takes no goods."""

    def __init__(self, _return_id: str) -> None:
        super().__init__("return_canceled", "Cannot receive a canceled return")


class CancelOfReceived(NotAllowed):
    """What has come cannot be called off."""

    def __init__(self, _return_id: str) -> None:
        message = "Can't cancel a return which has been returned"
        super().__init__("return_received", message)


class CloseOfUnreceived(NotAllowed):
    """Where nothing has come there is nothing to close."""

    def __init__(self, return_id: str) -> None:
        message = f"Return {return_id} has not been received: cancel it instead"
        super().__init__("return_not_received", message)


class CloseOfCanceled(NotAllowed):
    """A canceled return is over already."""

    def __init__(self, _return_id: str) -> None:
        super().__init__("return_canceled", "Cannot close a canceled return")


class StillOwed(NotAllowed):
    """Somebody decides first what becomes of money that could not be paid."""

    def __init__(self, return_: Return) -> None:
        message = (
            f"Return with id {return_.id} still owes {return_.owed_amount}:"
            " settle it first, with a refund of 0 if nothing is to be paid"
        )
        super().__init__("refund_owed", message, owed_amount=return_.owed_amount)


class NothingOwed(NotAllowed):
    """There is no money left to settle."""

    def __init__(self, return_id: str) -> None:
        super().__init__("nothing_owed", f"Return with id {return_id} owes nothing")


class MoreThanOwed(Invalid):
    """A settlement pays what is owed, or less."""

    def __init__(self, return_: Return) -> None:
        message = f"refund must not be greater than {return_.owed_amount}"
        super().__init__("refund_exceeds_owed", message, owed_amount=return_.owed_amount)


class TooManyDamaged(Invalid):
    """More damaged units than came."""

    def __init__(self, line_id: str) -> None:
        message = "damaged_quantity must not be greater than quantity"
        super().__init__("damaged_exceeds_received", message, line_id=line_id)


class QuantityTooSmall(Invalid):
    """Less than one unit."""

    def __init__(self) -> None:
        super().__init__("quantity_too_small", "quantity must not be less than 1")


class QuantityTooLarge(Invalid):
    """More units than any order line can have."""

    def __init__(self) -> None:
        message = f"quantity must not be greater than {QUANTITY_MAX}"
        super().__init__("quantity_too_large", message)


class NothingToReturn(Invalid):
    """A return without items."""

    def __init__(self) -> None:
        super().__init__("items_empty", "items should not be empty")


class ReasonIsCategory(Invalid):
    """A reason that only groups others."""

    def __init__(self, reason_id: str) -> None:
        message = "Cannot apply return reason category"
        super().__init__("reason_is_category", message, reason_id=reason_id)


class ReasonUnknown(NotFound):
    """A reason that does not exist (any more), in Medusa's words for a broken foreign key."""

    def __init__(self, reason_id: str) -> None:
        message = f"Return_reason with reason_id {reason_id} does not exist."
        super().__init__("reason_unknown", message)


class NotDelivered(NotAllowed):
    """The policy counts from the delivery, and there was none."""

    def __init__(self, line_id: str) -> None:
        message = f"Line item with {line_id} has not been delivered yet"
        super().__init__("not_delivered", message, line_id=line_id)


class ReturnWindowClosed(NotAllowed):
    """The days in which the line could be returned are over."""

    def __init__(self, line_id: str, closed_at: datetime) -> None:
        super().__init__(
            "return_window_closed",
            f"Line item with {line_id} could be returned until {closed_at:%Y-%m-%d}",
            line_id=line_id,
            closed_at=closed_at.isoformat(),
        )


_REFUSALS: dict[str, Callable[[str], Refusal]] = {
    "not_found": ReturnNotFound,
    "busy": ReturnBusy,
    "already_received": AlreadyReceived,
    "canceled": ReceiptOfCanceled,
    "received": CancelOfReceived,
    "not_received": CloseOfUnreceived,
    "close_canceled": CloseOfCanceled,
}
TRANSITIONS: Mapping[tuple[State, Action], str] = _parsed(_TABLE)


class Impossible(RuntimeError):
    """A move nobody can ask for: a fault of ours, so the message is kept for an operator."""


# ---- moves --------------------------------------------------------------------------------------


def move(return_: Return, *, action: Action) -> Return:
    """The return in its next state. Raises the refusal of the table, or Impossible."""
    cell = TRANSITIONS[return_.state, action]
    if cell == "=":
        return return_
    if cell == "-":
        raise Impossible(f"{action} of return {return_.id} in state {return_.state}")
    if cell.startswith("!"):
        raise _REFUSALS[cell[1:]](return_.id)
    if cell == "<":
        if return_.status is None:
            raise Impossible(f"return {return_.id} has no status to go back to")
        return replace(return_, state=return_.status)
    state = State(cell)
    return replace(return_, state=state, status=state if state in PUBLIC else return_.status)


def allowed_actions(*, state: State, owed_amount: int = 0) -> list[str]:
    """What a clerk may do next: the buttons of a page."""
    asked = {Action.RECEIVE: "receive", Action.CANCEL: "cancel", Action.CLOSE: "close"}
    allowed = [
        name
        for action, name in asked.items()
        if TRANSITIONS[state, action] not in ("=", "-") and TRANSITIONS[state, action][0] != "!"
    ]
    if owed_amount and "close" in allowed:
        allowed[allowed.index("close")] = "settle"
    return allowed


# ---- request ------------------------------------------------------------------------------------


def merged(*, items: Iterable[Item]) -> tuple[Item, ...]:
    """One item per line, in the order of first appearance: quantities add up, the first reason and
    the first note stay. Raises QuantityTooSmall, QuantityTooLarge, TooManyDamaged."""
    by_line: dict[str, Item] = {}
    for item in items:
        if item.quantity < 1:
            raise QuantityTooSmall
        if not 0 <= item.damaged_quantity <= item.quantity:
            raise TooManyDamaged(item.line_id)
        before = by_line.get(item.line_id)
        if before is not None:
            item = Item(
                item.line_id,
                before.quantity + item.quantity,
                before.reason_id or item.reason_id,
                before.note or item.note,
                before.damaged_quantity + item.damaged_quantity,
            )
        if item.quantity > QUANTITY_MAX:
            raise QuantityTooLarge
        by_line[item.line_id] = item
    return tuple(by_line.values())


def request(
    *,
    return_id: str,
    order_id: str,
    items: Iterable[Item],
    refund: int | None = None,
    location_id: str | None = None,
    no_notification: bool | None = None,
    policy_binds: bool = False,
    receive_now: bool = False,
) -> Return:
    """A return that waits for its units. Raises NothingToReturn, QuantityTooSmall."""
    lines = tuple(
        Line(item.line_id, item.quantity, reason_id=item.reason_id, note=item.note)
        for item in merged(items=items)
    )
    if not lines:
        raise NothingToReturn
    return Return(
        id=return_id,
        order_id=order_id,
        lines=lines,
        refund_given=requested_refund(refund=refund),
        location_id=location_id,
        no_notification=no_notification,
        policy_binds=policy_binds,
        receive_now=receive_now,
    )


def requested_refund(*, refund: int | None) -> int | None:
    """The amount a request fixes: a negative one counts as 0, and 0 as "not given" (Medusa)."""
    if refund is None or refund == 0:
        return None
    return max(0, refund)


def received_refund(*, refund: int | None) -> int | None:
    """The amount a receipt fixes: a negative one counts as 0, and 0 is honored (Medusa). Without
    one orders counts it: what came of the request's amount, or its worth."""
    return None if refund is None else max(0, refund)


def agree(
    return_: Return,
    *,
    amount: int,
    facts: Iterable[Facts],
    no_notification: bool,
    now: datetime,
) -> Return:
    """Orders holds the units. ``amount`` is the refund to expect, which a given one replaces;
    ``no_notification`` is the order's wish, which the request's own one replaces."""
    known = {fact.line_id: fact for fact in facts}
    agreed = move(_with_facts(return_, known), action=Action.AGREE)
    own = return_.no_notification
    given = return_.refund_given
    return replace(
        agreed,
        refund_amount=amount if given is None else given,
        no_notification=no_notification if own is None else own,
        requested_at=now,
    )


def open_for_claim(
    *,
    return_id: str,
    claim_id: str,
    order_id: str,
    items: Iterable[Item],
    facts: Iterable[Facts],
    refund_amount: int,
    location_id: str | None,
    no_notification: bool,
    now: datetime,
    of_exchange: bool = False,
) -> Return:
    """A return whose units a claim or an exchange holds already: nobody has to be asked, so it is
    agreed."""
    asked = request(return_id=return_id, order_id=order_id, items=items, location_id=location_id)
    return agree(
        replace(asked, claim_id=claim_id, of_exchange=of_exchange),
        amount=refund_amount,
        facts=facts,
        no_notification=no_notification,
        now=now,
    )


def _with_facts(return_: Return, known: Mapping[str, Facts]) -> Return:
    lines = (
        replace(
            line,
            variant_id=known[line.line_id].variant_id,
            title=known[line.line_id].title,
            unit_price=known[line.line_id].unit_price,
            delivered_at=known[line.line_id].delivered_at,
        )
        if line.line_id in known
        else line
        for line in return_.lines
    )
    return replace(return_, lines=tuple(lines))


def return_number(*, return_id: str) -> str:
    """The reference printed on the slip (RMA): short, readable, always the same for one return."""
    tail = derived_id("rma", return_id)[-10:]
    return f"R-{tail[:5]}-{tail[5:]}"


# ---- policy -------------------------------------------------------------------------------------


def delivered(line: Facts, *, now: datetime) -> Refusal | None:
    """A line can be returned once it has been delivered."""
    del now
    return None if line.delivered_at else NotDelivered(line.line_id)


def within_return_window(line: Facts, *, now: datetime) -> Refusal | None:
    """A line can be returned for 30 days from its delivery, the last instant included."""
    if line.delivered_at is None:
        return None
    closes_at = datetime.fromisoformat(line.delivered_at) + timedelta(days=RETURN_WINDOW_DAYS)
    return ReturnWindowClosed(line.line_id, closes_at) if now > closes_at else None


POLICIES: tuple[Callable[..., Refusal | None], ...] = (delivered, within_return_window)


def policy_findings(*, facts: Iterable[Facts], now: datetime) -> list[Refusal]:
    """Everything the policy has against returning these lines: it binds a customer, and is advice
    to a clerk."""
    found = (policy(fact, now=now) for fact in facts for policy in POLICIES)
    return [refusal for refusal in found if refusal is not None]


# ---- cancel -------------------------------------------------------------------------------------


def start_cancel(return_: Return) -> Return:
    """The goods will not come. What a claim holds stays with the claim, so there is nothing to
    wait for; any other return waits until orders has released its units."""
    return move(return_, action=Action.CANCEL)


def finish_cancel(return_: Return, *, now: datetime) -> Return:
    """Nothing of the return is held any more."""
    if return_.state is State.CANCELED:
        return return_
    return replace(move(return_, action=Action.RELEASE), canceled_at=now)


# ---- return reasons -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Reason:
    """Why something comes back. A reason with children only groups them."""

    id: str
    value: str
    label: str
    description: str | None = None
    parent_return_reason_id: str | None = None
    metadata: dict[str, Any] | None = None


class ReasonNotFound(NotFound):
    """There is no such reason."""

    def __init__(self, reason_id: str) -> None:
        message = f"Return Reason with id: {reason_id} was not found."
        super().__init__("return_reason_not_found", message)


class ReasonNestedTwice(Invalid):
    """Reasons have one level of children."""

    def __init__(self) -> None:
        message = "Doubly nested return reasons is not supported"
        super().__init__("return_reason_nested_twice", message)


def may_be_parent(parent: Reason) -> None:
    """Raises ReasonNestedTwice when the reason is a child itself."""
    if parent.parent_return_reason_id is not None:
        raise ReasonNestedTwice


class ReasonValueTaken(Duplicate):
    """A living reason has this value."""

    def __init__(self, value: str) -> None:
        message = f"Return_reason with value {value} already exists."
        super().__init__("return_reason_value_taken", message)


_REASON_TEXTS = {
    "id": False,
    "value": True,
    "label": True,
    "description": False,
    "parent_return_reason_id": False,
}


def imported_reason(*, record: Any) -> Reason:
    """A reason out of an import document; without an id the value makes it, so that a repeat finds
    it. Raises Invalid, whose fact ``path`` says where within the record."""
    if not isinstance(record, dict):
        raise Invalid("not_an_object", "each return reason must be an object", path=[])
    for name in record:
        if name not in _REASON_TEXTS:
            raise Invalid("unknown_key", f"property {name} should not exist", path=[str(name)])
    for name, required in _REASON_TEXTS.items():
        text = record.get(name)
        if text is None and required:
            raise Invalid("missing", f"{name} should not be empty", path=[name])
        if text is not None and (not isinstance(text, str) or "\x00" in text):
            raise Invalid("not_text", f"{name} must be a string", path=[name])
        if text == "" and name != "description":
            raise Invalid("missing", f"{name} should not be empty", path=[name])
    own_id = record.get("id") or derived_id("rr", record["value"])
    return Reason(**{**record, "id": own_id})
