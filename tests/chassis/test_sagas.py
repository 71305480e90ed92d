"""The runner of sagas, on a small made-up table: a trip is booked, paid, and its tickets sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from chassis import sagas
from chassis.sagas import DEADLINE_S, RESEND_AFTER_S, SagaTable, Step
from tests import sagas_kit
from tests.sagas_kit import NO, NOW, Others, Play, without_history


class _Said(BaseModel):
    example: ClassVar[dict[str, Any]] = {}


class BookRoom(_Said): ...


class RoomBooked(_Said):
    example: ClassVar[dict[str, Any]] = {"number": 7}
    number: int


class RoomRefused(_Said):
    example: ClassVar[dict[str, Any]] = NO
    code: str
    kind: str
    message: str


class FreeRoom(_Said): ...


class RoomFreed(_Said):
    example: ClassVar[dict[str, Any]] = {"paid_already": False}
    paid_already: bool


class BookSeat(_Said): ...


class SeatBooked(_Said): ...


class SeatRefused(RoomRefused): ...


class FreeSeat(_Said): ...


class SeatFreed(_Said): ...


class TakeMoney(_Said): ...


class MoneyTaken(_Said): ...


class MoneyRefused(RoomRefused): ...


class SendTickets(_Said):
    room: int = 0


class TicketsSent(_Said):
    example: ClassVar[dict[str, Any]] = {"objection": None}
    objection: str | None = None


TRIP = SagaTable(
    kind="trip",
    plan=lambda facts: facts["plan"],
    steps=(
        Step(
            name="room",
            do=lambda _: BookRoom(),
            done=RoomBooked,
            refused=RoomRefused,
            undo=lambda _: FreeRoom(),
            undone=RoomFreed,
            stands=lambda reply: reply.paid_already,
        ),
        Step(
            name="seat",
            do=lambda _: BookSeat(),
            done=SeatBooked,
            refused=SeatRefused,
            undo=lambda _: FreeSeat(),
            undone=SeatFreed,
        ),
        Step(
            name="money",
            do=lambda facts: None if facts.get("room_pays") else TakeMoney(),
            asked_by="room",
            done=MoneyTaken,
            refused=MoneyRefused,
            pivot=True,
        ),
        Step(
            name="tickets",
            do=lambda facts: SendTickets(room=facts["room"]["number"]),
            done=TicketsSent,
            refuses=lambda reply: NO if reply.objection else None,
            pivot=True,
        ),
    ),
)
APART = {"plan": (("room", "seat"), ("money",), ("tickets",))}
MERGED = {"plan": (("room", "money"), ("tickets",)), "room_pays": True}
STANDING = {"room": RoomFreed(paid_already=True)}
PLANS = pytest.mark.parametrize("facts", [APART, MERGED], ids=["apart", "merged"])


def asked(play: Play) -> list[str]:
    return [type(ask.message).__name__ for ask in play.commands]


class TestForward:
    def test_the_steps_of_a_stage_go_out_together_and_the_next_waits_for_all(self) -> None:
        play = Play.begin(TRIP, APART)
        room, seat = play.commands
        assert asked(play) == ["BookRoom", "BookSeat"]
        play.commands.clear()
        assert play.hear(SeatBooked(), seat.message_id) == []
        assert [type(a.message) for a in play.hear(RoomBooked(number=7), room.message_id)] == [
            TakeMoney
        ]

    def test_a_step_sees_what_earlier_replies_said(self) -> None:
        play = Play.begin(TRIP, APART, Others(TRIP, says={RoomBooked: RoomBooked(number=31)}))
        play.run()
        assert play.saga.direction == "finished"
        assert play.saga.facts["room"] == {"number": 31}
        assert TRIP.step("tickets").do(play.saga.facts) == SendTickets(room=31)

    def test_an_empty_plan_is_finished_at_once(self) -> None:
        play = Play.begin(TRIP, {"plan": ()})
        assert (play.saga.direction, play.commands, play.saga.next_at) == ("finished", [], None)

    def test_a_step_asked_by_another_sends_no_command_and_hears_its_answer(self) -> None:
        play = Play.begin(TRIP, MERGED)
        (room,) = play.commands
        assert play.saga.marks == {"room": "asked", "money": "asked"}
        play.hear(MoneyTaken(), room.message_id)
        play.hear(RoomBooked(number=7), room.message_id)
        assert play.saga.marks == {"room": "done", "money": "done", "tickets": "asked"}

    def test_ids_of_commands_are_a_function_of_saga_step_and_direction(self) -> None:
        plays = [Play.begin(TRIP, APART).run() for _ in range(2)]
        assert plays[0].sent == plays[1].sent
        assert len(set(plays[0].sent)) == 4


class TestRefusals:
    def test_a_refused_stage_waits_for_its_other_answers_before_it_turns_back(self) -> None:
        play = Play.begin(TRIP, APART)
        room, seat = play.commands
        play.commands.clear()
        assert play.hear(sagas_kit.example(SeatRefused), seat.message_id) == []
        assert play.saga.direction == "forward"
        play.hear(RoomBooked(number=7), room.message_id)
        assert play.saga.direction == "back"
        assert asked(play) == ["FreeRoom"]

    def test_both_refused_keeps_both_reasons_and_has_nothing_to_undo(self) -> None:
        play = Play.begin(TRIP, APART, Others(TRIP, frozenset({"room", "seat"}))).run()
        assert play.saga.direction == "undone"
        assert set(play.saga.refusals) == {"room", "seat"}
        assert len(play.sent) == 2

    def test_steps_are_undone_in_reverse_order(self) -> None:
        play = Play.begin(TRIP, APART, Others(TRIP, frozenset({"money"})))
        sent_back: list[str] = []
        play.run(each=lambda reply, _: sent_back.append(type(reply).__name__))
        assert sent_back[-2:] == ["SeatFreed", "RoomFreed"]
        assert play.others.holding == set()

    def test_giving_up_undoes_every_step_ever_asked_answered_or_not(self) -> None:
        play = Play.begin(TRIP, APART)
        _, seat = play.commands
        play.commands.clear()
        play.hear(SeatBooked(), seat.message_id)
        play.turn_back()
        assert asked(play) == ["FreeSeat", "FreeRoom"]
        assert play.saga.marks == {"room": "undoing", "seat": "undoing"}

    def test_a_refused_asker_drops_the_steps_it_would_have_asked_for(self) -> None:
        play = Play.begin(TRIP, MERGED, Others(TRIP, frozenset({"room"}))).run()
        assert play.saga.direction == "undone"
        assert play.saga.marks == {"room": "refused", "money": "dropped"}

    def test_an_objection_in_a_done_reply_is_a_refusal(self) -> None:
        says = {TicketsSent: TicketsSent(objection="no ink")}
        play = Play.begin(TRIP, APART, Others(TRIP, says=says)).run()
        assert play.saga.refusals == {"tickets": NO}
        assert play.saga.direction == "undone"
        assert "tickets" not in play.saga.facts

    def test_the_way_back_is_over_only_when_every_undo_is_acknowledged(self) -> None:
        play = Play.begin(TRIP, APART).turn_back()
        seat, room = (ask.message_id for ask in play.commands[2:])
        play.hear(SeatFreed(), seat)
        assert play.saga.direction == "back"
        play.hear(RoomFreed(paid_already=False), room)
        assert play.saga.direction == "undone"


class TestStaleReplies:
    @pytest.mark.parametrize("answers", ["another command", None])
    def test_a_reply_to_another_command_is_noted_and_nothing_else(self, answers: str) -> None:
        play = Play.begin(TRIP, APART)
        before = play.saga
        assert play.hear(RoomBooked(number=7), answers) == []
        assert without_history(play.saga) == without_history(before)
        assert play.saga.version == before.version
        assert play.saga.history[-1]["what"] == "ignored stale done"

    def test_a_reply_of_a_step_that_was_never_asked_is_ignored(self) -> None:
        play = Play.begin(TRIP, APART)
        before = play.saga
        for reply in (TicketsSent(), MoneyTaken(), SeatFreed(), sagas_kit.example(MoneyRefused)):
            assert play.hear(reply, play.commands[0].message_id) == []
        assert without_history(play.saga) == without_history(before)

    def test_the_answer_to_do_does_not_answer_the_undo(self) -> None:
        play = Play.begin(TRIP, APART)
        room, _ = play.commands
        play.turn_back()
        play.hear(RoomFreed(paid_already=False), room.message_id)
        assert play.saga.marks["room"] == "undoing"

    def test_a_late_refusal_after_the_undo_was_sent_changes_nothing(self) -> None:
        play = Play.begin(TRIP, APART)
        room, _ = play.commands
        play.turn_back()
        before = play.saga
        assert play.hear(sagas_kit.example(RoomRefused), room.message_id) == []
        assert without_history(play.saga) == without_history(before)

    def test_a_late_done_after_the_undo_was_sent_does_not_stop_the_way_back(self) -> None:
        play = Play.begin(TRIP, APART)
        room, _ = play.commands
        play.turn_back()
        assert play.hear(RoomBooked(number=7), room.message_id) == []
        assert play.saga.marks["room"] == "undoing"
        play.run()
        assert play.saga.direction == "undone"
        assert play.others.holding == set()

    def test_a_late_answer_of_what_has_no_undo_does_not_wake_a_saga_that_was_given_up(self) -> None:
        look = Step(name="look", do=lambda _: BookSeat(), done=SeatBooked)
        table = SagaTable("pay", (look, TRIP.step("money")), lambda _: (("look",), ("money",)))
        play = Play.begin(table, {}).turn_back()
        assert play.saga.direction == "undone"
        before = play.saga
        assert play.hear(SeatBooked(), play.sent[0]) == []
        assert without_history(play.saga) == without_history(before)
        assert play.saga.history[-1]["what"] == "ignored stale done"

    def test_a_late_done_after_the_end_is_ignored(self) -> None:
        play = Play.begin(TRIP, APART)
        room, _ = play.commands
        play.turn_back().run()
        before = play.saga
        assert play.hear(RoomBooked(number=7), room.message_id) == []
        assert without_history(play.saga) == without_history(before)


class TestAStepThatStands:
    """The room was paid for while the saga gave up on it: nothing can be taken back."""

    def given_up(self) -> tuple[Play, str, str]:
        play = Play.begin(TRIP, MERGED)
        (room,) = play.commands
        play.commands.clear()
        play.turn_back()
        (free,) = play.commands
        play.commands.clear()
        return play, room.message_id, free.message_id

    def test_it_goes_forward_again_without_a_deadline_and_without_the_refusal(self) -> None:
        play, _, free = self.given_up()
        play.hear(RoomFreed(paid_already=True), free)
        assert play.saga.direction == "forward"
        assert play.saga.marks == {"room": "asked", "money": "asked"}
        assert (play.saga.deadline_at, play.saga.refusals) == (None, {})

    @pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1)])
    def test_it_finishes_whatever_comes_first(self, order: tuple[int, ...]) -> None:
        """What arrives while the undo is on its way is never said again: a repeat of the command
        is a duplicate for its receiver."""
        play, room, free = self.given_up()
        arriving = [
            (RoomBooked(number=7), room),
            (MoneyTaken(), room),
            (RoomFreed(paid_already=True), free),
        ]
        for index in order:
            play.hear(*arriving[index])
        assert play.saga.marks == {"room": "done", "money": "done", "tickets": "asked"}
        play.run()
        assert play.saga.direction == "finished"

    def test_refused_after_all_it_turns_back_with_another_undo(self) -> None:
        """The first undo's id is in the receiver's inbox: a repeat of it would stay unanswered."""
        play, room, free = self.given_up()
        play.hear(RoomFreed(paid_already=True), free)
        play.hear(RoomBooked(number=7), room)
        play.hear(sagas_kit.example(MoneyRefused), room)
        (again,) = play.commands
        assert isinstance(again.message, FreeRoom)
        assert again.message_id != free
        play.hear(RoomFreed(paid_already=False), free)
        assert play.saga.direction == "back"
        assert play.let_time_pass() == [again.message_id]
        play.hear(RoomFreed(paid_already=False), again.message_id)
        assert play.saga.direction == "undone"


class TestTimers:
    def test_unanswered_commands_are_asked_again_under_the_same_ids_ever_more_rarely(self) -> None:
        play = Play.begin(TRIP, APART, Others(TRIP, silent=frozenset({"room", "seat"}))).run()
        first = set(play.sent)
        pauses = []
        while True:
            before = play.now
            ids = play.let_time_pass()
            pauses.append((play.now - before).total_seconds())
            if ids is None:
                break
            assert set(ids) == first
        assert pauses == [30, 60, 120, 300, 390]
        assert play.now == NOW + timedelta(seconds=DEADLINE_S)
        assert play.saga.direction == "back"

    def test_only_what_is_unanswered_is_asked_again(self) -> None:
        play = Play.begin(TRIP, APART, Others(TRIP, silent=frozenset({"room"}))).run()
        assert play.let_time_pass() == [play.sent[0]]

    def test_one_command_that_two_steps_wait_for_is_asked_again_once(self) -> None:
        play = Play.begin(TRIP, MERGED)
        assert play.let_time_pass() == play.sent

    def test_before_the_pivot_the_deadline_gives_up(self) -> None:
        play = Play.begin(TRIP, APART)
        last = NOW + timedelta(seconds=DEADLINE_S)
        assert sagas.expire(TRIP, play.saga, now=last - timedelta(seconds=1)) is not None
        assert sagas.expire(TRIP, play.saga, now=last) is None

    def test_after_the_pivot_was_asked_there_is_no_deadline(self) -> None:
        play = Play.begin(TRIP, APART, Others(TRIP, silent=frozenset({"money"}))).run()
        assert play.saga.deadline_at is None
        for _ in range(50):
            assert play.let_time_pass() == [play.sent[2]]
        assert play.saga.next_at == play.now + timedelta(seconds=RESEND_AFTER_S[-1])

    def test_a_merged_pivot_counts_as_asked_once_its_asker_is_done(self) -> None:
        play = Play.begin(TRIP, MERGED, Others(TRIP, silent=frozenset({"money"})))
        assert play.saga.deadline_at is not None
        play.run()
        assert play.saga.deadline_at is None
        for _ in range(50):
            assert play.let_time_pass() == [play.sent[0]]

    def test_an_unanswered_undo_is_asked_for_ever(self) -> None:
        play = Play.begin(TRIP, MERGED).turn_back()
        undo = play.sent[-1]
        for _ in range(50):
            assert play.let_time_pass() == [undo]

    def test_a_saga_that_is_over_has_no_timer(self) -> None:
        for refusing in ([], ["seat"]):
            play = Play.begin(TRIP, APART, Others(TRIP, frozenset(refusing))).run()
            assert (play.saga.next_at, play.saga.deadline_at) == (None, None)

    def test_progress_starts_the_pauses_anew(self) -> None:
        play = Play.begin(TRIP, APART)
        play.let_time_pass()
        play.let_time_pass()
        play.run()
        assert play.saga.over
        assert play.saga.tries == 0


class TestWhatEveryTableMustSurvive:
    @PLANS
    def test_every_reply_twice_changes_nothing_more(self, facts: dict[str, Any]) -> None:
        sagas_kit.every_reply_twice_changes_nothing_more(TRIP, facts)

    @PLANS
    def test_a_failure_at_each_step_leaves_a_clean_slate(self, facts: dict[str, Any]) -> None:
        sagas_kit.a_failure_at_each_step_leaves_a_clean_slate(TRIP, facts)

    @PLANS
    def test_every_undo_twice_changes_nothing_more(self, facts: dict[str, Any]) -> None:
        sagas_kit.every_undo_twice_changes_nothing_more(TRIP, facts, STANDING)

    @PLANS
    def test_silence_at_each_step(self, facts: dict[str, Any]) -> None:
        sagas_kit.silence_at_each_step_is_asked_again_then_given_up_before_the_pivot(
            TRIP, facts, STANDING
        )

    @PLANS
    @given(data=st.data(), times=st.integers(1, 3))
    def test_any_order_comes_to_the_same_end(
        self, facts: dict[str, Any], data: st.DataObject, times: int
    ) -> None:
        refusing = data.draw(st.sets(st.sampled_from(sagas_kit.refusable(TRIP, facts)), max_size=2))
        sagas_kit.any_order_comes_to_the_same_end(
            TRIP,
            facts,
            pick=lambda waiting: data.draw(st.integers(0, waiting - 1)),
            refusing=refusing,
            times=times,
        )

    @PLANS
    @given(data=st.data(), moment=st.integers(0, 6))
    def test_giving_up_at_any_moment_ends_whole_or_clean(
        self, facts: dict[str, Any], data: st.DataObject, moment: int
    ) -> None:
        sagas_kit.giving_up_at_any_moment_ends_whole_or_clean(
            TRIP,
            facts,
            pick=lambda waiting: data.draw(st.integers(0, waiting - 1)),
            moment=moment,
            standing=STANDING,
        )
