"""What may happen to an inquiry, as a whole table, and what may be reported."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.errors import Invalid, NotAllowed, NotFound, Refusal
from services.claims import inquiry as desk
from services.claims.inquiry import By, Inquiry, InquiryBusy, InquiryItem, WrongState

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CLERK = By("shop", "usr_1")
REFUSAL = {"code": "units_taken", "kind": "not_allowed", "message": "taken"}
MUG = InquiryItem(line_id="item_1", quantity=1, reason="other")


def an_inquiry(status: str = "pending", **more: Any) -> Inquiry:
    born = Inquiry(id="inq_1", order_id="order_1", customer_id="cus_1", items=(MUG,))
    claim_id = "claim_1" if status in ("approving", "approved") else None
    return replace(born, status=status, claim_id=claim_id, **more)


def do(what: str, inquiry: Inquiry) -> Inquiry:
    if what == "review":
        return desk.take_into_review(inquiry=inquiry, by=CLERK, now=NOW)
    if what == "cancel":
        return desk.cancel(inquiry=inquiry, by=CLERK, now=NOW)
    if what == "reject":
        return desk.reject(inquiry=inquiry, reason="worn", by=CLERK, now=NOW)
    if what == "approve":
        return desk.approve(inquiry=inquiry, claim_id="claim_1", by=CLERK, now=NOW)
    refusal = REFUSAL if what == "refuse" else None
    return desk.decided(inquiry=inquiry, claim_id="claim_1", refusal=refusal, now=NOW)


TABLE = """
given     | review    | cancel   | approve   | reject   | confirm  | refuse
pending   | in_review | canceled | no        | no       | -        | -
in_review | no        | no       | approving | rejected | -        | -
approving | busy      | busy     | busy      | busy     | approved | in_review
approved  | no        | no       | no        | no       | -        | -
rejected  | no        | no       | no        | no       | -        | -
canceled  | no        | no       | no        | no       | -        | -
"""
_HEAD, *_ROWS = [[cell.strip() for cell in row.split("|")] for row in TABLE.strip().splitlines()]
CASES = [
    (row[0], what, then) for row in _ROWS for what, then in zip(_HEAD[1:], row[1:], strict=True)
]


@pytest.mark.parametrize(("given", "what", "then"), CASES)
def test_every_state_meets_every_act_as_the_table_says(given: str, what: str, then: str) -> None:
    inquiry = an_inquiry(given)
    if then == "no":
        with pytest.raises(WrongState):
            do(what, inquiry)
    elif then == "busy":
        with pytest.raises(InquiryBusy):
            do(what, inquiry)
    elif then == "-":
        assert do(what, inquiry) == inquiry
    else:
        moved = do(what, inquiry)
        assert moved.status == then
        assert [entry["status"] for entry in moved.history] == [then]


def test_the_table_has_every_state() -> None:
    assert tuple(row[0] for row in _ROWS) == desk.STATES


def test_a_refused_approval_keeps_the_reason_until_the_next() -> None:
    back = do("refuse", an_inquiry("approving", attempts=1))
    assert (back.claim_id, back.refusal) == (None, REFUSAL)
    again = do("approve", back)
    assert (again.claim_id, again.refusal, again.attempts) == ("claim_1", None, 2)


def test_what_is_told_of_the_claim_of_an_earlier_attempt_changes_nothing() -> None:
    inquiry = an_inquiry("approving")
    assert desk.decided(inquiry=inquiry, claim_id="claim_0", refusal=None, now=NOW) == inquiry


def report(*items: InquiryItem, **more: Any) -> Inquiry:
    given: dict[str, Any] = {
        "inquiry_id": "inq_1",
        "order_id": "order_1",
        "customer_id": None,
        "items": items,
        "claimable": {"item_1": 2, "item_2": 0},
        "asked_for": {},
        "by": CLERK,
        "now": NOW,
        **more,
    }
    return desk.report(**given)


def test_all_that_is_free_can_be_reported_and_not_one_more() -> None:
    assert report(MUG, MUG).status == "pending"
    with pytest.raises(NotAllowed, match="3 of item_1"):
        report(MUG, replace(MUG, quantity=2))
    assert report(MUG, asked_for={"item_1": 1}).status == "pending"
    with pytest.raises(NotAllowed, match="0 of its units"):
        report(MUG, asked_for={"item_1": 2})


@pytest.mark.parametrize(
    ("items", "refusal"),
    [
        ((), Invalid),
        ((replace(MUG, reason="cold"),), Invalid),
        ((replace(MUG, quantity=0),), Invalid),
        ((replace(MUG, line_id="item_9"),), NotFound),
        ((replace(MUG, line_id="item_2"),), NotAllowed),
        ((MUG,) * 101, Invalid),
    ],
)
def test_what_makes_no_sense_is_refused(
    items: tuple[InquiryItem, ...], refusal: type[Refusal]
) -> None:
    with pytest.raises(refusal):
        report(*items)


@pytest.mark.parametrize(
    ("status", "messages", "fits"),
    [("pending", 0, True), ("approved", 99, True), ("canceled", 0, False), ("pending", 100, False)],
)
def test_both_sides_write_until_it_is_canceled_or_full(
    status: str, messages: int, fits: bool
) -> None:
    if fits:
        desk.check_may_be_written(inquiry=an_inquiry(status), messages=messages)
    else:
        with pytest.raises(NotAllowed):
            desk.check_may_be_written(inquiry=an_inquiry(status), messages=messages)


@pytest.mark.parametrize("status", desk.STATES)
def test_files_come_and_go_only_while_nothing_is_decided(status: str) -> None:
    if status in ("pending", "in_review", "approving"):
        desk.check_takes_evidence(inquiry=an_inquiry(status))
    else:
        with pytest.raises(NotAllowed):
            desk.check_takes_evidence(inquiry=an_inquiry(status))
