"""The rules of a return, sentence by sentence. Pure: no database, no clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis.errors import Refusal
from services.returns import arriving, domain
from services.returns.domain import Action, Arrival, Facts, Item, Line, Return, State

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def a_return(*lines: Line, **given_fields: Any) -> Return:
    """A requested return of two mugs and one pot, unless told otherwise."""
    fields: dict[str, Any] = {"state": State.REQUESTED, "status": State.REQUESTED}
    own = lines or (
        Line("item_mug", 2, variant_id="variant_mug", unit_price=1000),
        Line("item_pot", 1, unit_price=3000),
    )
    return Return("ret_1", "order_1", own, **{**fields, **given_fields})


def a_fact(line_id: str = "item_mug", *, delivered_days_ago: float | None = 3) -> Facts:
    delivered = None
    if delivered_days_ago is not None:
        delivered = (NOW - timedelta(days=delivered_days_ago)).isoformat()
    return Facts(line_id, "variant_mug", "Red mug", 1000, delivered)


# What a caller reads when a return does not allow what was asked.
EXPECTED = """
given           | when      | then
opening         | agree     | requested
opening         | refuse    | refused
opening         | receive   | not_found Return with id: ret_1 was not found
opening         | put_back  | impossible
opening         | complete  | impossible
opening         | keep_open | impossible
opening         | cancel    | not_found Return with id: ret_1 was not found
opening         | release   | impossible
opening         | close     | not_found Return with id: ret_1 was not found
requested       | agree     | requested
requested       | refuse    | impossible
requested       | receive   | receiving
requested       | put_back  | impossible
requested       | complete  | impossible
requested       | keep_open | impossible
requested       | cancel    | canceling
requested       | release   | impossible
requested       | close     | not_allowed Return ret_1 has not been received: cancel it instead
receiving       | agree     | impossible
receiving       | refuse    | impossible
receiving       | receive   | conflict Return with id ret_1 is being changed
receiving       | put_back  | requested
receiving       | complete  | received
receiving       | keep_open | requires_action
receiving       | cancel    | conflict Return with id ret_1 is being changed
receiving       | release   | impossible
receiving       | close     | conflict Return with id ret_1 is being changed
requires_action | agree     | impossible
requires_action | refuse    | impossible
requires_action | receive   | receiving
requires_action | put_back  | impossible
requires_action | complete  | impossible
requires_action | keep_open | impossible
requires_action | cancel    | not_allowed Can't cancel a return which has been returned
requires_action | release   | impossible
requires_action | close     | closing
received        | agree     | impossible
received        | refuse    | impossible
received        | receive   | not_allowed Return with id ret_1 has already been received
received        | put_back  | impossible
received        | complete  | impossible
received        | keep_open | impossible
received        | cancel    | not_allowed Can't cancel a return which has been returned
received        | release   | impossible
received        | close     | received
canceling       | agree     | impossible
canceling       | refuse    | impossible
canceling       | receive   | conflict Return with id ret_1 is being changed
canceling       | put_back  | impossible
canceling       | complete  | impossible
canceling       | keep_open | impossible
canceling       | cancel    | canceling
canceling       | release   | canceled
canceling       | close     | conflict Return with id ret_1 is being changed
canceled        | agree     | impossible
canceled        | refuse    | impossible
canceled        | receive   | not_allowed Cannot receive a canceled return
canceled        | put_back  | impossible
canceled        | complete  | impossible
canceled        | keep_open | impossible
canceled        | cancel    | canceled
canceled        | release   | canceled
canceled        | close     | not_allowed Cannot close a canceled return
refused         | agree     | impossible
refused         | refuse    | refused
refused         | receive   | not_found Return with id: ret_1 was not found
refused         | put_back  | impossible
refused         | complete  | impossible
refused         | keep_open | impossible
refused         | cancel    | not_found Return with id: ret_1 was not found
refused         | release   | impossible
refused         | close     | not_found Return with id: ret_1 was not found
closing         | agree     | impossible
closing         | refuse    | impossible
closing         | receive   | conflict Return with id ret_1 is being changed
closing         | put_back  | impossible
closing         | complete  | received
closing         | keep_open | impossible
closing         | cancel    | conflict Return with id ret_1 is being changed
closing         | release   | impossible
closing         | close     | closing
"""
ROWS = [
    tuple(cell.strip() for cell in line.split("|")) for line in EXPECTED.strip().splitlines()[1:]
]
HIDDEN = (State.OPENING, State.REFUSED)


def _outcome(state: State, action: Action) -> str:
    status = None if state in HIDDEN else State.REQUESTED
    if state in domain.PUBLIC:
        status = state
    try:
        return domain.move(a_return(state=state, status=status), action=action).state
    except domain.Impossible:
        return "impossible"
    except Refusal as refusal:
        return f"{refusal.kind} {refusal.message}"


class TestTransitions:
    @pytest.mark.parametrize(("state", "action", "then"), ROWS)
    def test_a_state_and_an_action_have_one_outcome(
        self, state: str, action: str, then: str
    ) -> None:
        assert _outcome(State(state), Action(action)) == then

    def test_every_pair_of_state_and_action_is_tested(self) -> None:
        assert {(row[0], row[1]) for row in ROWS} == {(s, a) for s in State for a in Action}

    def test_every_state_can_be_reached_and_every_saga_state_can_be_left(self) -> None:
        reached = {State.OPENING}
        for _ in State:
            for state in tuple(reached):
                cells = (domain.TRANSITIONS[state, action] for action in Action)
                reached |= {State(cell) for cell in cells if cell in tuple(State)}
        assert reached == set(State)
        for state in (State.OPENING, State.RECEIVING, State.CANCELING, State.CLOSING):
            assert any(domain.TRANSITIONS[state, action] in tuple(State) for action in Action)

    @pytest.mark.parametrize(
        "wrong",
        [
            domain._TABLE.replace("| requested | refused |", "| requsted | refused |"),
            domain._TABLE.replace("!busy ", "!lazy "),
            domain._TABLE.replace("agree ", "nod   "),
            "\n".join(domain._TABLE.split("\n")[:-2]) + "\n",
        ],
        ids=["unknown state", "unknown refusal", "unknown action", "missing row"],
    )
    def test_a_wrong_table_does_not_load(self, wrong: str) -> None:
        assert wrong != domain._TABLE
        with pytest.raises((ValueError, KeyError)):
            domain._parsed(wrong)

    def test_a_saga_state_shows_the_status_the_return_had(self) -> None:
        partly = a_return(state=State.REQUIRES_ACTION, status=State.REQUIRES_ACTION)
        receiving = domain.move(partly, action=Action.RECEIVE)
        assert (receiving.state, receiving.status) == (State.RECEIVING, State.REQUIRES_ACTION)
        back = domain.move(receiving, action=Action.PUT_BACK)
        assert (back.state, back.status) == (State.REQUIRES_ACTION, State.REQUIRES_ACTION)

    @pytest.mark.parametrize(
        ("state", "actions"),
        [
            (State.REQUESTED, ["receive", "cancel"]),
            (State.REQUIRES_ACTION, ["receive", "close"]),
            (State.CLOSING, []),
            (State.RECEIVING, []),
            (State.RECEIVED, []),
            (State.CANCELED, []),
        ],
    )
    def test_a_page_is_told_what_may_be_done_next(self, state: State, actions: list[str]) -> None:
        assert domain.allowed_actions(state=state) == actions
        owing = ["settle" if action == "close" else action for action in actions]
        assert domain.allowed_actions(state=state, owed_amount=1) == owing


class TestRequest:
    def test_a_doubled_item_is_one_line_with_the_sum(self) -> None:
        asked = domain.request(
            return_id="ret_1",
            order_id="order_1",
            items=[Item("a", 1, None, "dent"), Item("b", 1), Item("a", 2, "rr_1", "scratch")],
        )
        assert asked.lines == (
            Line("a", 3, reason_id="rr_1", note="dent"),
            Line("b", 1),
        )
        assert (asked.state, asked.status) == (State.OPENING, None)

    def test_a_return_without_items_is_refused(self) -> None:
        with pytest.raises(domain.NothingToReturn) as caught:
            domain.request(return_id="ret_1", order_id="order_1", items=[])
        assert (caught.value.kind, caught.value.message) == (
            "invalid",
            "items should not be empty",
        )

    @pytest.mark.parametrize("quantity", [0, -1])
    def test_less_than_one_unit_is_refused(self, quantity: int) -> None:
        with pytest.raises(domain.QuantityTooSmall) as caught:
            domain.merged(items=[Item("a", 2), Item("a", quantity)])
        assert caught.value.message == "quantity must not be less than 1"

    def test_more_units_than_a_line_can_count_are_refused(self) -> None:
        most = domain.QUANTITY_MAX
        assert domain.merged(items=[Item("a", most)])[0].quantity == most
        with pytest.raises(domain.QuantityTooLarge):
            domain.merged(items=[Item("a", most), Item("a", 1)])

    @pytest.mark.parametrize(
        ("asked", "at_request", "at_receipt"),
        [(None, None, None), (-1, 0, 0), (0, None, 0), (500, 500, 500)],
    )
    def test_a_negative_refund_counts_as_0_and_0_counts_at_the_receipt_only(
        self, asked: int | None, at_request: int | None, at_receipt: int | None
    ) -> None:
        assert domain.requested_refund(refund=asked) == at_request
        assert domain.received_refund(refund=asked) == at_receipt

    @pytest.mark.parametrize(("given_refund", "shown"), [(None, -75), (900, 900), (-5, 0)])
    def test_the_refund_to_expect_is_the_computed_one_unless_one_was_given(
        self, given_refund: int | None, shown: int
    ) -> None:
        asked = domain.request(
            return_id="ret_1",
            order_id="order_1",
            items=[Item("item_mug", 1)],
            refund=given_refund,
        )
        agreed = domain.agree(asked, amount=-75, facts=[a_fact()], no_notification=False, now=NOW)
        assert agreed.refund_amount == shown
        assert (agreed.state, agreed.status, agreed.requested_at) == (
            State.REQUESTED,
            State.REQUESTED,
            NOW,
        )
        assert agreed.lines[0].variant_id == "variant_mug"
        assert agreed.lines[0].unit_price == 1000

    @pytest.mark.parametrize(
        ("own", "of_order", "result"),
        [(None, True, True), (None, False, False), (False, True, False), (True, False, True)],
    )
    def test_the_wish_for_silence_is_inherited_unless_stated(
        self, own: bool | None, of_order: bool, result: bool
    ) -> None:
        asked = a_return(state=State.OPENING, status=None, no_notification=own)
        agreed = domain.agree(asked, amount=0, facts=[], no_notification=of_order, now=NOW)
        assert agreed.no_notification is result

    def test_a_return_number_is_short_and_always_the_same(self) -> None:
        number = domain.return_number(return_id="ret_1")
        assert number == domain.return_number(return_id="ret_1")
        assert number != domain.return_number(return_id="ret_2")
        assert len(number) == 13
        assert number.startswith("R-")


class TestPolicy:
    """Each case switches on exactly one policy."""

    @pytest.mark.parametrize(
        ("days", "code"),
        [
            (None, "not_delivered"),
            (0, None),
            (30, None),
            (30.00001, "return_window_closed"),
            (400, "return_window_closed"),
        ],
    )
    def test_a_line_can_be_returned_for_30_days_from_its_delivery(
        self, days: float | None, code: str | None
    ) -> None:
        found = domain.policy_findings(facts=[a_fact(delivered_days_ago=days)], now=NOW)
        assert [refusal.code for refusal in found] == ([code] if code else [])

    def test_the_window_names_its_last_day(self) -> None:
        (found,) = domain.policy_findings(facts=[a_fact(delivered_days_ago=31)], now=NOW)
        assert found.message == "Line item with item_mug could be returned until 2026-11-19"

    def test_every_line_is_looked_at(self) -> None:
        facts = [a_fact("a"), a_fact("b", delivered_days_ago=None), a_fact("c")]
        found = domain.policy_findings(facts=facts, now=NOW)
        assert [refusal.facts["line_id"] for refusal in found] == ["b"]


class TestReceipt:
    def test_a_receipt_counts_its_lines_from_1_and_knows_their_variants(self) -> None:
        receiving, lines = arriving.start_receipt(
            a_return(),
            receipt_id="rcpt_1",
            items=[Item("item_pot", 1), Item("item_mug", 1), Item("item_mug", 1)],
        )
        assert lines == (
            Arrival(1, "item_pot", None, 1),
            Arrival(2, "item_mug", "variant_mug", 2),
        )
        assert (receiving.state, receiving.receipt_id) == (State.RECEIVING, "rcpt_1")

    def test_a_line_that_was_not_requested_has_no_variant_yet_and_is_not_announced(self) -> None:
        items = [Item("item_other", 3), Item("item_mug", 1)]
        _, lines = arriving.start_receipt(a_return(), receipt_id="r", items=items)
        assert [(line.line_id, line.variant_id) for line in lines] == [
            ("item_other", None),
            ("item_mug", "variant_mug"),
        ]
        assert arriving.unannounced(a_return(), lines=lines) == {"item_other": 3}

    @pytest.mark.parametrize(
        ("received", "comes", "beyond"),
        [(0, 2, 0), (0, 3, 1), (1, 1, 0), (1, 2, 1), (2, 1, 1), (3, 1, 1)],
    )
    def test_what_comes_beyond_what_is_still_announced_is_unannounced(
        self, received: int, comes: int, beyond: int
    ) -> None:
        partly = a_return(Line("item_mug", 2, received))
        _, lines = arriving.start_receipt(partly, receipt_id="r", items=[Item("item_mug", comes)])
        assert arriving.unannounced(partly, lines=lines) == ({"item_mug": beyond} if beyond else {})

    def test_what_was_not_announced_is_counted_and_keeps_the_return_open(self) -> None:
        items = [*arriving.all_missing(a_return()), Item("item_other", 2)]
        receiving, lines = arriving.start_receipt(a_return(), receipt_id="r", items=items)
        came = arriving.settle(
            receiving, lines=lines, refund_amount=9000, action_required=False, now=NOW
        )
        assert (came.status, came.everything_received) == (State.REQUIRES_ACTION, True)
        other = came.lines[-1]
        assert (other.line_id, other.requested_quantity, other.received_quantity) == (
            *("item_other", 0),
            2,
        )

    @pytest.mark.parametrize(("damaged", "fits"), [(0, True), (2, True), (3, False), (-1, False)])
    def test_no_more_is_damaged_than_came(self, damaged: int, fits: bool) -> None:
        items = [Item("item_mug", 2, damaged_quantity=damaged)]
        if fits:
            _, (line,) = arriving.start_receipt(a_return(), receipt_id="r", items=items)
            assert line.damaged_quantity == damaged
        else:
            with pytest.raises(domain.TooManyDamaged):
                arriving.start_receipt(a_return(), receipt_id="r", items=items)

    def test_nothing_received_changes_nothing(self) -> None:
        before = a_return()
        assert arriving.start_receipt(before, receipt_id="r", items=[]) == (before, ())

    def test_the_state_is_asked_before_the_lines(self) -> None:
        canceled = a_return(state=State.CANCELED, status=State.CANCELED)
        with pytest.raises(domain.ReceiptOfCanceled):
            arriving.start_receipt(canceled, receipt_id="r", items=[Item("item_other", 1)])
        with pytest.raises(domain.ReceiptOfCanceled):
            arriving.start_receipt(canceled, receipt_id="r", items=[])

    def test_a_full_receipt_ends_the_return_and_shows_what_was_paid(self) -> None:
        receiving, lines = arriving.start_receipt(
            a_return(refund_amount=5000), receipt_id="r", items=arriving.all_missing(a_return())
        )
        done = arriving.settle(
            receiving, lines=lines, refund_amount=4800, action_required=False, now=NOW
        )
        assert (done.state, done.status, done.receipt_id) == (
            State.RECEIVED,
            State.RECEIVED,
            None,
        )
        assert (done.refund_amount, done.refunded_amount, done.received_at) == (4800, 4800, NOW)
        assert done.everything_received

    def test_a_short_receipt_can_be_completed_by_a_second_one(self) -> None:
        first, lines = arriving.start_receipt(
            a_return(refund_amount=5000), receipt_id="r1", items=[Item("item_mug", 1)]
        )
        short = arriving.settle(
            first, lines=lines, refund_amount=1000, action_required=False, now=NOW
        )
        assert (short.status, short.refund_amount) == (State.REQUIRES_ACTION, 5000)
        second, lines = arriving.start_receipt(
            short, receipt_id="r2", items=arriving.all_missing(short)
        )
        done = arriving.settle(
            second, lines=lines, refund_amount=4000, action_required=False, now=NOW
        )
        assert (done.status, done.refund_amount) == (State.RECEIVED, 5000)

    def test_blocked_money_keeps_the_return_open(self) -> None:
        receiving, lines = arriving.start_receipt(
            a_return(refund_amount=5000), receipt_id="r", items=arriving.all_missing(a_return())
        )
        blocked = arriving.settle(
            receiving, lines=lines, refund_amount=0, action_required=True, now=NOW
        )
        assert (blocked.status, blocked.refund_amount) == (State.REQUIRES_ACTION, 5000)
        assert blocked.everything_received

    def test_the_return_of_a_claim_keeps_mirroring_the_claims_amount(self) -> None:
        of_claim = a_return(claim_id="claim_1", refund_amount=2400)
        receiving, lines = arriving.start_receipt(
            of_claim, receipt_id="r", items=arriving.all_missing(of_claim)
        )
        quiet = arriving.settle(
            receiving, lines=lines, refund_amount=0, action_required=False, now=NOW
        )
        paid = arriving.settle(
            receiving, lines=lines, refund_amount=100, action_required=False, now=NOW
        )
        assert (quiet.refund_amount, paid.refund_amount) == (2400, 100)


class TestOwedMoney:
    OPEN = {"state": State.REQUIRES_ACTION, "status": State.REQUIRES_ACTION}

    @pytest.mark.parametrize(
        ("owed", "refund", "error"),
        [
            (0, None, domain.NothingOwed),
            (500, None, None),
            (500, 0, None),
            (500, 500, None),
            (500, 501, domain.MoreThanOwed),
        ],
    )
    def test_what_is_owed_is_settled_or_less(
        self, owed: int, refund: int | None, error: type[Refusal] | None
    ) -> None:
        owing = a_return(owed_amount=owed, **self.OPEN)
        if error is None:
            settling = arriving.start_settlement(owing, receipt_id="r", refund=refund)
            assert (settling.state, settling.receipt_id) == (State.RECEIVING, "r")
        else:
            with pytest.raises(error):
                arriving.start_settlement(owing, receipt_id="r", refund=refund)

    def test_a_settlement_brings_no_goods(self) -> None:
        line = Line("item_mug", 2, 2)
        owing = a_return(line, owed_amount=500, **self.OPEN)
        settling = arriving.start_settlement(owing, receipt_id="r", refund=None)
        done = arriving.settle(
            settling, lines=(), refund_amount=500, action_required=False, now=NOW
        )
        assert (done.status, done.refund_amount, done.received_at) == (State.RECEIVED, 500, None)

    def test_a_return_that_owes_is_not_closed(self) -> None:
        with pytest.raises(domain.StillOwed) as caught:
            arriving.start_close(a_return(owed_amount=500, **self.OPEN))
        assert caught.value.facts["owed_amount"] == 500


class TestClose:
    def test_a_short_return_is_received_with_what_came(self) -> None:
        short = a_return(
            Line("item_mug", 2, 1),
            state=State.REQUIRES_ACTION,
            status=State.REQUIRES_ACTION,
            refund_amount=5000,
            refunded_amount=1000,
        )
        closing = arriving.start_close(short)
        assert (closing.state, closing.status) == (State.CLOSING, State.REQUIRES_ACTION)
        closed = arriving.finish_close(closing, now=NOW)
        assert (closed.state, closed.refund_amount, closed.closed_at) == (
            *(State.RECEIVED, 1000),
            NOW,
        )
        assert arriving.start_close(closed) == closed
        assert arriving.finish_close(closed, now=NOW) == closed


class TestCancel:
    def test_a_requested_return_waits_for_its_units_to_be_released(self) -> None:
        canceling = domain.start_cancel(a_return())
        assert (canceling.state, canceling.status) == (State.CANCELING, State.REQUESTED)
        canceled = domain.finish_cancel(canceling, now=NOW)
        assert (canceled.state, canceled.status, canceled.canceled_at) == (
            State.CANCELED,
            State.CANCELED,
            NOW,
        )

    def test_canceling_twice_changes_nothing_more(self) -> None:
        canceled = domain.finish_cancel(domain.start_cancel(a_return()), now=NOW)
        assert domain.start_cancel(canceled) == canceled
        assert domain.finish_cancel(canceled, now=NOW + timedelta(days=1)) == canceled


class TestReasons:
    def test_a_child_cannot_be_a_parent(self) -> None:
        domain.may_be_parent(domain.Reason("rr_1", "size", "Size"))
        child = domain.Reason("rr_2", "big", "Too big", parent_return_reason_id="rr_1")
        with pytest.raises(domain.ReasonNestedTwice) as caught:
            domain.may_be_parent(child)
        assert caught.value.message == "Doubly nested return reasons is not supported"
