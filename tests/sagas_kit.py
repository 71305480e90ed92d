"""The other side of a saga, made from its own table, and what every table must survive.

Three questions after Omicron (every reply twice, a failure at each step, every undo twice), and
three of our own: silence at each step, any order of arrival, an undo that overtakes its command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from chassis import sagas
from chassis.sagas import Ask, Saga, SagaTable, Step

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NO = {"code": "no", "kind": "not_allowed", "message": "No."}
TIMEOUT = {"code": "timeout", "kind": "not_allowed", "message": "Nobody answered."}
TURNS_MAX = 500


def example(message: type[BaseModel]) -> BaseModel:
    """A message as its class shows it."""
    return message.model_validate(message.example)  # type: ignore[attr-defined]


@dataclass
class Others:
    """Every participant of one saga: obeys, refuses, stays silent, and obeys a repeat by state.

    ``states`` tells per step: done, refused, released, or declined: a refused ``asked_by`` step
    gives back what its asker holds, as a declined refund does. An undo that comes first leaves
    ``released``, which a late command then finds. ``standing`` is what a step answers to its undo
    once the step it asked for is done: nothing was undone.
    """

    table: SagaTable
    refusing: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    says: Mapping[type[BaseModel], BaseModel] = field(default_factory=dict)
    standing: Mapping[str, BaseModel] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    handled: list[str] = field(default_factory=list)

    def answer(self, saga: Saga, ask: Ask) -> list[BaseModel]:
        """What comes back for one command, in the order it is said."""
        step, undoing = self._meant(saga, ask.message)
        self.handled.append(ask.message_id)
        if step.name in self.silent:
            return []
        if undoing:
            assert step.undone is not None
            merged = [other.name for other in self.table.steps if other.asked_by == step.name]
            if step.name in self.standing and self.holding & set(merged):
                return [self.standing[step.name]]
            self.states[step.name] = "released"
            return [self._says(step.undone)]
        replies = self._do(step)
        if self.states[step.name] in ("done", "declined"):
            for other in self.table.steps:
                planned = any(other.name in stage for stage in saga.plan)
                if other.asked_by == step.name and planned and other.do(saga.facts) is None:
                    replies += self._do(other)
        return replies

    def _do(self, step: Step) -> list[BaseModel]:
        if step.name in self.silent:
            return []
        known = self.states.get(step.name)
        if step.name in self.refusing or known in ("released", "refused"):
            assert step.refused is not None, f"{step.name} cannot refuse, or was undone before"
            if known is None or step.name in self.refusing:
                self.states[step.name] = "refused"
                if step.asked_by:
                    self.states[step.asked_by] = "declined"
            return [self._says(step.refused)]
        if known == "declined":
            return [self._says(step.done)]
        self.states[step.name] = "done"
        return [self._says(step.done)]

    def _meant(self, saga: Saga, command: BaseModel) -> tuple[Step, bool]:
        for step in self.table.steps:
            if step.undo is not None and type(step.undo(saga.facts)) is type(command):
                return step, True
        for step in self.table.steps:
            if step.name in saga.marks and type(step.do(saga.facts)) is type(command):
                return step, False
        raise AssertionError(f"nobody obeys {command!r}")

    def _says(self, reply: type[BaseModel]) -> BaseModel:
        return self.says.get(reply) or example(reply)

    @property
    def holding(self) -> set[str]:
        """Steps that are done and were not taken back."""
        return {name for name, state in self.states.items() if state == "done"}


@dataclass
class Play:
    """A saga, the others, and what is on its way between them."""

    table: SagaTable
    others: Others
    saga: Saga
    commands: list[Ask]
    now: datetime = NOW
    sent: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, table: SagaTable, facts: dict[str, Any], others: Others | None = None) -> Play:
        """A saga that has just asked for the first time."""
        saga, asks = sagas.begin(
            table, saga_id="saga_1", subject_id="subject_1", facts=dict(facts), now=NOW
        )
        play = cls(table, others or Others(table), saga, [])
        play._ask(asks)
        return play

    def _ask(self, asks: Iterable[Ask]) -> None:
        for ask in asks:
            assert ask.message_id not in self.sent, f"{ask.message} got an id that was used"
            self.sent.append(ask.message_id)
            self.commands.append(ask)

    def hear(self, reply: BaseModel, answers: str | None) -> list[Ask]:
        """Let the saga have one reply."""
        self.saga, asks = sagas.advance(
            self.table, self.saga, reply=reply, answers=answers, now=self.now
        )
        self._ask(asks)
        return asks

    def run(
        self,
        *,
        times: int = 1,
        pick: Callable[[int], int] = lambda _: 0,
        each: Callable[[BaseModel, str], None] | None = None,
    ) -> Play:
        """Until nothing is on its way. ``times`` handles and delivers each so often, ``pick``
        chooses which of so many comes next, ``each`` sees every delivery."""
        replies: list[tuple[BaseModel, str]] = []
        for _ in range(TURNS_MAX):
            waiting = len(self.commands) + len(replies)
            if not waiting:
                return self
            chosen = pick(waiting)
            if chosen < len(self.commands):
                ask = self.commands.pop(chosen)
                for _ in range(times):
                    replies += [
                        (reply, ask.message_id) for reply in self.others.answer(self.saga, ask)
                    ]
                continue
            reply, answers = replies.pop(chosen - len(self.commands))
            for _ in range(times):
                self.hear(reply, answers)
                if each:
                    each(reply, answers)
        raise AssertionError(f"no end after {TURNS_MAX} deliveries: {self.saga.history[-5:]}")

    def turn_back(self) -> Play:
        """As a deadline does."""
        self.saga, asks = sagas.turn_back(
            self.table, self.saga, by="timer", refusal=TIMEOUT, now=self.now
        )
        self._ask(asks)
        return self

    def let_time_pass(self) -> list[str] | None:
        """Until the next timer: the ids that are asked again, None when it gave up."""
        assert self.saga.next_at is not None, "nothing is awaited"
        self.now = max(self.now, self.saga.next_at)
        again = sagas.expire(self.table, self.saga, now=self.now)
        if again is None:
            self.turn_back()
            return None
        self.saga, ids = again
        return ids

    @property
    def end(self) -> tuple[object, ...]:
        """What must not depend on repeats: everything but the history and its count."""
        saga = self.saga
        return saga.direction, saga.marks, saga.facts, saga.refusals, saga.stage


def planned(table: SagaTable, facts: dict[str, Any]) -> list[Step]:
    """The steps that these facts call for."""
    return [table.step(name) for stage in table.plan(facts) for name in stage]


def refusable(table: SagaTable, facts: dict[str, Any]) -> list[str]:
    """The planned steps that may be refused."""
    return [step.name for step in planned(table, facts) if step.refused]


def _worlds(
    table: SagaTable, facts: dict[str, Any], standing: Mapping[str, BaseModel] | None
) -> Callable[..., Others]:
    def make(*refusing: str, silent: Iterable[str] = ()) -> Others:
        return Others(table, frozenset(refusing), frozenset(silent), standing=standing or {})

    return make


def all_or_nothing(play: Play) -> None:
    """Finished means that every step holds, undone that none does."""
    assert play.saga.over, play.saga
    everything = {step.name for step in planned(play.table, play.saga.facts)}
    expected = everything if play.saga.direction == "finished" else set()
    assert play.others.holding == expected, (play.saga, play.others.states)


def every_reply_twice_changes_nothing_more(table: SagaTable, facts: dict[str, Any]) -> None:
    """Repeats of commands and replies: the same end, and no command but the first ones."""
    others = _worlds(table, facts, None)
    for refusing in [(), *((name,) for name in refusable(table, facts))]:
        once = Play.begin(table, facts, others(*refusing)).run()
        assert once.saga.over, once.saga
        for times in (2, 3):
            again = Play.begin(table, facts, others(*refusing)).run(times=times)
            assert again.end == once.end
            assert sorted(again.sent) == sorted(once.sent)
            assert again.others.states == once.others.states


def a_failure_at_each_step_leaves_a_clean_slate(table: SagaTable, facts: dict[str, Any]) -> None:
    """Whoever refuses: the saga ends undone, and nobody holds anything for it."""
    others = _worlds(table, facts, None)
    for name in refusable(table, facts):
        play = Play.begin(table, facts, others(name)).run()
        assert play.saga.direction == "undone", (name, play.saga)
        assert name in play.saga.refusals
        all_or_nothing(play)


def every_undo_twice_changes_nothing_more(
    table: SagaTable, facts: dict[str, Any], standing: Mapping[str, BaseModel] | None = None
) -> None:
    """Undo commands and their replies repeated; also when the undo comes before its command."""
    if not any(step.undo for step in planned(table, facts)):
        return
    others = _worlds(table, facts, standing)
    for pick in (lambda _: 0, lambda waiting: waiting - 1):
        once = Play.begin(table, facts, others()).turn_back().run(pick=pick)
        all_or_nothing(once)
        again = Play.begin(table, facts, others()).turn_back().run(pick=pick, times=2)
        all_or_nothing(again)
        assert again.end == once.end
        assert sorted(again.sent) == sorted(once.sent)


def silence_at_each_step_is_asked_again_then_given_up_before_the_pivot(
    table: SagaTable, facts: dict[str, Any], standing: Mapping[str, BaseModel] | None = None
) -> None:
    """Nobody answers a step: the same ids again; undone before the pivot, asked for ever after."""
    others = _worlds(table, facts, standing)
    for step in planned(table, facts):
        play = Play.begin(table, facts, others(silent=[step.name])).run()
        assert not play.saga.over
        ids: list[str] | None = []
        for _ in range(40):
            ids = play.let_time_pass()
            if ids is None:
                break
            assert ids, "nothing was asked again"
            assert set(ids) <= set(play.sent)
        play.others.silent = frozenset()
        if ids is None:
            all_or_nothing(play.run())
        else:
            assert (play.saga.direction, play.saga.deadline_at) == ("forward", None)


def any_order_comes_to_the_same_end(
    table: SagaTable,
    facts: dict[str, Any],
    *,
    pick: Callable[[int], int],
    refusing: Iterable[str] = (),
    times: int = 1,
) -> None:
    """Commands and replies overtake each other as ``pick`` wants."""
    others = _worlds(table, facts, None)
    straight = Play.begin(table, facts, others(*refusing)).run()
    mixed = Play.begin(table, facts, others(*refusing)).run(pick=pick, times=times)
    assert mixed.end == straight.end
    assert mixed.others.states == straight.others.states
    all_or_nothing(mixed)


def giving_up_at_any_moment_ends_whole_or_clean(
    table: SagaTable,
    facts: dict[str, Any],
    *,
    pick: Callable[[int], int],
    moment: int,
    standing: Mapping[str, BaseModel] | None = None,
) -> None:
    """The deadline comes between any two deliveries, everything overtakes everything."""
    play = Play.begin(table, facts, _worlds(table, facts, standing)())
    heard = 0

    def late(reply: BaseModel, answers: str) -> None:
        nonlocal heard
        heard += 1
        if heard == moment and play.saga.direction == "forward" and play.saga.deadline_at:
            play.turn_back()

    if moment == 0:
        play.turn_back()
    all_or_nothing(play.run(pick=pick, each=late))


def without_history(saga: Saga) -> Saga:
    """For comparing what stale replies must not touch."""
    return replace(saga, history=(), version=0)
