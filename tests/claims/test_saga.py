"""The sagas of a claim, played against the other side made from their own tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.base import ReturnShipping
from contracts.inventory import PlaceReservation, ReservationRejected
from contracts.orders import (
    BookedRefund,
    ClaimHoldPlaced,
    ClaimHoldRejected,
    ClaimHoldReleased,
    ClaimRefundDeclined,
    ClaimRefundSucceeded,
    ExecuteClaimRefund,
    PlaceClaimHold,
)
from contracts.returns import ClaimReturnChecked, OpenClaimReturn
from services.claims import conversion_saga, exchange_saga, fulfillment_saga, saga
from services.claims.domain import AdditionalItem, Claim, ClaimItem
from services.claims.fulfillments import Fulfillment
from tests import sagas_kit
from tests.sagas_kit import Others, Play, example

ORDER = {"region_id": "reg_1", "sales_channel_id": "sc_1", "currency_code": "gbp"}


def a_claim(**changes: Any) -> Claim:
    return Claim(
        **{
            "id": "claim_1",
            "order_id": "order_1",
            "type": "refund",
            "items": (
                ClaimItem(id="citm_1", line_id="item_b", quantity=1, reason="other", note="torn"),
                ClaimItem(id="citm_2", line_id="item_a", quantity=2, reason="other"),
                ClaimItem(id="citm_3", line_id="item_b", quantity=3, reason="wrong_item"),
            ),
            **changes,
        }
    )


SPARE = (AdditionalItem(line_id="item_new", variant_id="variant_1", quantity=2),)


def facts(*, goods_back: bool = False, **changes: Any) -> dict[str, Any]:
    return saga.creation_facts(
        claim=a_claim(return_id="ret_1" if goods_back else None, **changes),
        order=ORDER,
        return_shipping={"option_id": "so_1", "price": 500} if goods_back else None,
        location_id="sloc_1",
    )


CREATIONS = {
    "refund": facts(),
    "refund, goods back": facts(goods_back=True),
    "refund with additional items": facts(additional_items=SPARE),
    "refund with additional items, goods back": facts(additional_items=SPARE, goods_back=True),
    "replace": facts(type="replace", additional_items=SPARE),
    "replace, goods back": facts(type="replace", additional_items=SPARE, goods_back=True),
    "exchange": facts(type="exchange", additional_items=SPARE, goods_back=True),
}
CANCELS = {
    "cancel": saga.cancel_facts(claim=a_claim(), request_id="csaga_1"),
    "cancel, goods back": saga.cancel_facts(claim=a_claim(return_id="ret_1"), request_id="csaga_1"),
    "cancel with additional items": saga.cancel_facts(
        claim=a_claim(additional_items=SPARE), request_id="csaga_1"
    ),
    "cancel everything": saga.cancel_facts(
        claim=a_claim(additional_items=SPARE, return_id="ret_1"), request_id="csaga_1"
    ),
}
PLAYS = {name: (saga.CREATION, given_) for name, given_ in CREATIONS.items()} | {
    name: (saga.CANCEL, given_) for name, given_ in CANCELS.items()
}
EXCHANGE = a_claim(type="exchange", additional_items=SPARE, return_id="ret_1")
PLAYS |= {
    "exchange paid": (
        exchange_saga.PAYMENT,
        exchange_saga.payment_facts(claim=EXCHANGE, request_id="csaga_1"),
    ),
    "exchange canceled": (
        saga.EXCHANGE_CANCEL,
        saga.cancel_facts(claim=EXCHANGE, request_id="csaga_1"),
    ),
}

PARCEL = Fulfillment(
    id="ful_1",
    claim_id="claim_1",
    state="pending",
    line_ids=("item_new",),
    location_id="sloc_1",
    uses_stock=True,
)
UNCOUNTED = replace(PARCEL, location_id=None, uses_stock=False)
SENDING = a_claim(
    type="replace",
    additional_items=(*SPARE, AdditionalItem(line_id="item_x", variant_id="v_2", quantity=1)),
)
PLAYS |= {
    "pack": (
        fulfillment_saga.FULFILLMENT,
        fulfillment_saga.packing_facts(claim=SENDING, fulfillment=PARCEL),
    ),
    "pack what is not counted": (
        fulfillment_saga.FULFILLMENT,
        fulfillment_saga.packing_facts(claim=SENDING, fulfillment=UNCOUNTED),
    ),
    "unpack": (
        fulfillment_saga.FULFILLMENT_CANCEL,
        fulfillment_saga.parcel_facts(claim=SENDING, fulfillment=PARCEL),
    ),
    "unpack what is not counted": (
        fulfillment_saga.FULFILLMENT_CANCEL,
        fulfillment_saga.parcel_facts(claim=SENDING, fulfillment=UNCOUNTED),
    ),
    "send": (
        fulfillment_saga.SHIPMENT,
        fulfillment_saga.parcel_facts(claim=SENDING, fulfillment=PARCEL),
    ),
}
PLAYS |= {
    "refund later": (
        conversion_saga.REFUND,
        conversion_saga.refund_facts(
            claim=a_claim(), request_id="csaga_1", refund_amount=None, converts=False
        ),
    ),
    "money instead of goods": (
        conversion_saga.REFUND,
        conversion_saga.refund_facts(
            claim=SENDING, request_id="csaga_1", refund_amount=700, converts=True
        ),
    ),
    "goods instead of money": (
        conversion_saga.TO_REPLACE,
        conversion_saga.replace_facts(
            claim=a_claim(), items=SPARE, order=ORDER, stock_id="claim_2", shipping_methods=None
        ),
    ),
}
EACH = pytest.mark.parametrize("name", PLAYS)
STANDING = {"hold": ClaimHoldReleased(claim_id="claim_1", pivot_passed=True)}


class TestPlan:
    @pytest.mark.parametrize(
        ("name", "stages"),
        [
            ("refund", [["hold", "refund"]]),
            ("refund, goods back", [["hold", "refund"], ["return"]]),
            ("refund with additional items", [["hold", "reserve"], ["refund"]]),
            (
                "refund with additional items, goods back",
                [["hold", "reserve"], ["refund"], ["return"]],
            ),
            ("replace", [["hold", "reserve"]]),
            ("replace, goods back", [["hold", "reserve"], ["return"]]),
            ("cancel", [["release"]]),
            ("cancel, goods back", [["check"], ["release"]]),
            ("cancel with additional items", [["release"], ["free"]]),
            ("cancel everything", [["check"], ["release"], ["free"]]),
            ("pack", [["consume"], ["record"]]),
            ("pack what is not counted", [["record"]]),
            ("unpack", [["withdraw"], ["restore"]]),
            ("unpack what is not counted", [["withdraw"]]),
            ("send", [["ship"]]),
            ("refund later", [["refund"]]),
            ("money instead of goods", [["refund"], ["free"]]),
            ("goods instead of money", [["reserve"]]),
            ("exchange", [["hold", "reserve"], ["settle"], ["return"]]),
            ("exchange paid", [["process"]]),
            ("exchange canceled", [["check"], ["release"], ["free"]]),
        ],
    )
    def test_the_stages_follow_from_the_facts(self, name: str, stages: list[list[str]]) -> None:
        table, given_ = PLAYS[name]
        assert [list(stage) for stage in table.plan(given_)] == stages

    def test_every_step_of_every_table_is_played_here(self) -> None:
        played = {
            (table.kind, step.name)
            for table, given_ in PLAYS.values()
            for step in sagas_kit.planned(table, given_)
        }
        assert played == {
            (table.kind, step.name) for table in saga.SAGAS.values() for step in table.steps
        }

    @EACH
    def test_all_agreed_finishes(self, name: str) -> None:
        table, given_ = PLAYS[name]
        play = Play.begin(table, given_).run()
        assert play.saga.direction == "finished"
        sagas_kit.all_or_nothing(play)


class TestCommands:
    def test_the_hold_asks_for_units_per_line_once_each_and_in_order(self) -> None:
        hold = saga.CREATION.step("hold").do(CREATIONS["refund, goods back"])
        assert isinstance(hold, PlaceClaimHold)
        assert [(line.line_id, line.quantity) for line in hold.lines] == [
            ("item_a", 2),
            ("item_b", 4),
        ]
        assert hold.return_shipping == ReturnShipping(option_id="so_1", price=500)

    @pytest.mark.parametrize(
        ("name", "merged"),
        [
            ("refund", True),
            ("refund, goods back", True),
            ("refund with additional items", False),
            ("replace", False),
        ],
    )
    def test_the_hold_goes_on_with_the_refund_only_where_orders_alone_can_refuse(
        self, name: str, merged: bool
    ) -> None:
        hold = saga.CREATION.step("hold").do(CREATIONS[name])
        assert isinstance(hold, PlaceClaimHold)
        assert hold.execute_refund is merged
        execute = saga.CREATION.step("refund").do(CREATIONS[name])
        assert (execute is None) is merged

    def test_the_refund_is_a_command_of_its_own_after_the_reservation(self) -> None:
        refund = saga.CREATION.step("refund").do(CREATIONS["refund with additional items"])
        assert refund == ExecuteClaimRefund(claim_id="claim_1", order_id="order_1")

    def test_the_reservation_tells_where_the_order_was_sold(self) -> None:
        reserve = saga.CREATION.step("reserve").do(CREATIONS["replace"])
        assert isinstance(reserve, PlaceReservation)
        assert (reserve.region_id, reserve.sales_channel_id) == ("reg_1", "sc_1")
        assert reserve.currency_code == "gbp"
        assert [(w.line_id, w.variant_id, w.quantity) for w in reserve.lines] == [
            ("item_new", "variant_1", 2)
        ]

    def test_the_return_repeats_what_the_hold_froze(self) -> None:
        play = Play.begin(saga.CREATION, CREATIONS["refund, goods back"]).run()
        opened = saga.CREATION.step("return").do(play.saga.facts)
        assert isinstance(opened, OpenClaimReturn)
        held = example(ClaimHoldPlaced)
        assert isinstance(held, ClaimHoldPlaced)
        assert (opened.return_id, opened.claim_id) == ("ret_1", "claim_1")
        assert (opened.refund_amount, opened.lines) == (held.amount, held.lines)
        assert (opened.location_id, opened.shipping) == ("sloc_1", held.return_shipping)
        assert [(item.line_id, item.quantity, item.note) for item in opened.items] == [
            ("item_a", 2, None),
            ("item_b", 4, "torn"),
        ]

    @pytest.mark.parametrize(
        ("asked", "held", "told"),
        [(None, True, True), (None, False, False), (False, True, False), (True, False, True)],
    )
    def test_the_return_is_silent_if_the_claim_says_so_or_else_the_order(
        self, asked: bool | None, held: bool, told: bool
    ) -> None:
        says = {
            ClaimHoldPlaced: example(ClaimHoldPlaced).model_copy(update={"no_notification": held})
        }
        given_ = facts(goods_back=True, no_notification=asked)
        play = Play.begin(saga.CREATION, given_, Others(saga.CREATION, says=says)).run()
        opened = saga.CREATION.step("return").do(play.saga.facts)
        assert isinstance(opened, OpenClaimReturn)
        assert opened.no_notification is told


class TestEveryPlay:
    @EACH
    def test_every_reply_twice_changes_nothing_more(self, name: str) -> None:
        sagas_kit.every_reply_twice_changes_nothing_more(*PLAYS[name])

    @EACH
    def test_a_failure_at_each_step_leaves_a_clean_slate(self, name: str) -> None:
        sagas_kit.a_failure_at_each_step_leaves_a_clean_slate(*PLAYS[name])

    @EACH
    def test_every_undo_twice_changes_nothing_more(self, name: str) -> None:
        sagas_kit.every_undo_twice_changes_nothing_more(*PLAYS[name], STANDING)

    @EACH
    def test_silence_at_each_step(self, name: str) -> None:
        sagas_kit.silence_at_each_step_is_asked_again_then_given_up_before_the_pivot(
            *PLAYS[name], STANDING
        )

    @EACH
    @given(data=st.data(), times=st.integers(1, 2))
    def test_any_order_comes_to_the_same_end(
        self, name: str, data: st.DataObject, times: int
    ) -> None:
        table, given_ = PLAYS[name]
        may_refuse = sagas_kit.refusable(table, given_)
        refusing = data.draw(st.sets(st.sampled_from(may_refuse))) if may_refuse else ()
        sagas_kit.any_order_comes_to_the_same_end(
            table,
            given_,
            pick=lambda waiting: data.draw(st.integers(0, waiting - 1)),
            refusing=refusing,
            times=times,
        )

    @pytest.mark.parametrize("name", CREATIONS)
    @given(data=st.data(), moment=st.integers(0, 5))
    def test_giving_up_at_any_moment_ends_whole_or_clean(
        self, name: str, data: st.DataObject, moment: int
    ) -> None:
        sagas_kit.giving_up_at_any_moment_ends_whole_or_clean(
            *PLAYS[name],
            pick=lambda waiting: data.draw(st.integers(0, waiting - 1)),
            moment=moment,
            standing=STANDING,
        )


def _placed_and_booked() -> ClaimHoldPlaced:
    booked = BookedRefund(refund_id="ref_01", amount=1000)
    return example(ClaimHoldPlaced).model_copy(update={"refund": booked})


class TestTheRefundIsThePivot:
    def test_an_unanswered_refund_is_never_given_up(self) -> None:
        for name in ("refund", "refund with additional items"):
            others = Others(saga.CREATION, silent=frozenset({"refund"}))
            play = Play.begin(saga.CREATION, CREATIONS[name], others).run()
            for _ in range(60):
                assert play.let_time_pass() is not None
            assert saga.progress(play.saga).held
            assert saga.progress(play.saga).refusal is None

    def test_given_up_while_the_refund_was_on_its_way_goes_forward_again(self) -> None:
        play = Play.begin(saga.CREATION, CREATIONS["refund, goods back"])
        (hold,) = play.commands
        play.commands.clear()
        play.turn_back()
        (release,) = play.commands
        play.commands.clear()
        assert saga.progress(play.saga).refusal is None
        play.hear(example(ClaimHoldPlaced), hold.message_id)
        play.hear(STANDING["hold"], release.message_id)
        assert saga.progress(play.saga).held
        assert not saga.progress(play.saga).refund_handled
        play.hear(example(ClaimRefundSucceeded), hold.message_id)
        assert saga.progress(play.saga).refunded
        play.run()
        assert saga.progress(play.saga).finished

    def test_a_refund_that_came_with_the_hold_needs_no_answer_of_its_own(self) -> None:
        play = Play.begin(saga.CREATION, CREATIONS["refund"])
        (hold,) = play.commands
        play.hear(_placed_and_booked(), hold.message_id)
        progress = saga.progress(play.saga)
        assert (progress.held, progress.refunded, progress.finished) == (True, True, True)
        assert play.saga.next_at is None

    def test_given_up_after_a_refund_that_came_with_the_hold_goes_forward_again(self) -> None:
        play = Play.begin(saga.CREATION, CREATIONS["refund"])
        (hold,) = play.commands
        play.commands.clear()
        play.turn_back()
        (release,) = play.commands
        play.hear(_placed_and_booked(), hold.message_id)
        play.hear(STANDING["hold"], release.message_id)
        assert saga.progress(play.saga).refunded
        assert saga.progress(play.saga).finished

    def test_a_declined_refund_refuses_the_claim_in_the_words_of_the_decline(self) -> None:
        for name in ("refund", "refund with additional items, goods back"):
            others = Others(saga.CREATION, frozenset({"refund"}))
            play = Play.begin(saga.CREATION, CREATIONS[name], others).run()
            refusal = saga.progress(play.saga).refusal
            assert refusal is not None
            assert refusal["message"] == example(ClaimRefundDeclined).model_dump()["message"]


class TestProgress:
    def test_a_refund_of_nothing_is_handled_but_not_refunded(self) -> None:
        says = {ClaimRefundSucceeded: ClaimRefundSucceeded(claim_id="claim_1", amount=0)}
        others = Others(saga.CREATION, says=says)
        play = Play.begin(saga.CREATION, CREATIONS["refund"], others).run()
        progress = saga.progress(play.saga)
        assert (progress.refund_handled, progress.refunded, progress.finished) == (
            True,
            False,
            True,
        )

    def test_a_refund_smaller_than_what_was_held_tells_the_difference(self) -> None:
        for name in ("refund", "refund with additional items"):
            says = {
                ClaimRefundSucceeded: ClaimRefundSucceeded(
                    claim_id="claim_1", refund_id="ref_1", amount=700
                )
            }
            play = Play.begin(
                saga.CREATION, CREATIONS[name], Others(saga.CREATION, says=says)
            ).run()
            progress = saga.progress(play.saga)
            assert (progress.amount, progress.declined, progress.refunded) == (1000, 300, True)

    def test_a_claim_is_held_only_when_its_stock_is_reserved_as_well(self) -> None:
        others = Others(saga.CREATION, silent=frozenset({"reserve"}))
        play = Play.begin(saga.CREATION, CREATIONS["replace"], others).run()
        assert not saga.progress(play.saga).held
        others.silent = frozenset()
        play.let_time_pass()
        play.hear(example(saga.ReservationPlaced), play.sent[1])
        assert saga.progress(play.saga).held

    def test_a_hold_whose_neighbour_was_refused_is_not_held(self) -> None:
        play = Play.begin(saga.CREATION, CREATIONS["replace"])
        play.hear(example(ReservationRejected), play.sent[1])
        play.hear(example(ClaimHoldPlaced), play.sent[0])
        progress = saga.progress(play.saga)
        assert not progress.held
        assert progress.refusal is not None


def _no(code: str) -> dict[str, Any]:
    return {"claim_id": "c", "remedy_id": "c", "code": code, "kind": "not_allowed", "message": code}


class TestTheRefusalThatIsTold:
    @pytest.mark.parametrize(
        ("hold", "reserve", "told"),
        [
            ("order_unknown", "insufficient_stock", "order_unknown"),
            ("order_canceled", "variant_not_found", "order_canceled"),
            ("quantity_exceeds_fulfilled", "insufficient_stock", "insufficient_stock"),
            ("amount_exceeds_captured", "no_stocked_location", "no_stocked_location"),
            ("line_unknown", "item_not_stocked", "item_not_stocked"),
            ("units_taken", "something new", "something new"),
        ],
    )
    @pytest.mark.parametrize("hold_first", [True, False])
    def test_medusas_order_decides_and_not_the_arrival(
        self, hold: str, reserve: str, told: str, hold_first: bool
    ) -> None:
        play = Play.begin(saga.CREATION, CREATIONS["replace"])
        replies = [
            (ClaimHoldRejected(**_no(hold)), play.sent[0]),
            (ReservationRejected(**_no(reserve)), play.sent[1]),
        ]
        for reply, answers in replies if hold_first else replies[::-1]:
            play.hear(reply, answers)
        assert saga.refusal_to_tell(play.saga) == {
            "code": told,
            "kind": "not_allowed",
            "message": told,
        }

    def test_a_rule_that_said_no_is_told_rather_than_the_deadline_that_ended_the_wait(self) -> None:
        for code in ("insufficient_stock", "something_new"):
            play = Play.begin(saga.CREATION, CREATIONS["replace"])
            play.hear(ReservationRejected(**_no(code)), play.sent[1])
            play.turn_back()
            assert saga.refusal_to_tell(play.saga)["code"] == code


class TestCancel:
    @pytest.mark.parametrize(
        ("status", "end"),
        [
            (None, "finished"),
            ("canceled", "finished"),
            ("requested", "undone"),
            ("received", "undone"),
            ("requires_action", "undone"),
        ],
    )
    def test_the_return_must_be_canceled_first(self, status: str | None, end: str) -> None:
        says = {ClaimReturnChecked: ClaimReturnChecked(claim_id="claim_1", status=status)}
        others = Others(saga.CANCEL, says=says)
        play = Play.begin(saga.CANCEL, CANCELS["cancel everything"], others).run()
        assert play.saga.direction == end
        if end == "undone":
            assert len(play.sent) == 1
            told = saga.refusal_to_tell(play.saga)
            assert (told["code"], told["kind"]) == ("return_not_canceled", "not_allowed")

    def test_money_that_went_out_meanwhile_stops_it_before_the_stock_is_freed(self) -> None:
        says = {ClaimHoldReleased: STANDING["hold"]}
        others = Others(saga.CANCEL, says=says)
        play = Play.begin(saga.CANCEL, CANCELS["cancel everything"], others).run()
        assert play.saga.direction == "undone"
        assert "free" not in play.saga.marks
        assert saga.refusal_to_tell(play.saga) == {
            "code": "claim_already_refunded",
            "kind": "not_allowed",
            "message": "Claim with a refund cannot be canceled",
        }
