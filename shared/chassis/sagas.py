"""Sagas as tables: what to ask, what the answers mean, how to undo. Pure.

A saga runs stage by stage; the steps of a stage cannot refuse each other's work and go out
together. When all have answered it moves on, or turns back and undoes every step that was ever
asked. Every command's id is a function of saga, step and direction, so a repeat is recognised; a
reply counts only if it answers the command its step waits for (the step guard).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel

from chassis.values import command_id

Facts = Mapping[str, Any]
RESEND_AFTER_S = (30, 60, 120, 300, 900)
DEADLINE_S = 15 * 60
_STOOD = "pivot passed, forward again"


def _never(_: Any) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One ask.

    ``do`` builds the command from the facts; None means that the answer comes from the command of
    the step ``asked_by``. ``done`` and ``refused`` are the reply classes; ``undo`` and ``undone``
    the reversal. ``stands`` tells of an ``undone`` reply that nothing was undone because the step
    can no longer be reversed: the saga goes forward again. ``refuses`` may find a refusal
    {code, kind, message} in a ``done`` reply. After a ``pivot`` is asked there is no
    deadline; one that is ``asked_by`` another step counts as asked once that step is done, and
    ``brought`` may find its answer in that step's ``done`` reply already.
    A step that may stand shares its stage only with steps it asks for.
    """

    name: str
    do: Callable[[Facts], BaseModel | None]
    done: type[BaseModel]
    refused: type[BaseModel] | None = None
    undo: Callable[[Facts], BaseModel] | None = None
    undone: type[BaseModel] | None = None
    stands: Callable[[Any], bool | None] = _never
    refuses: Callable[[Any], dict[str, Any] | None] = _never
    asked_by: str | None = None
    brought: Callable[[Any], dict[str, Any] | None] = _never
    pivot: bool = False


@dataclass(frozen=True)
class SagaTable:
    """The steps of one kind of saga, and ``plan``: which stages these facts call for."""

    kind: str
    steps: tuple[Step, ...]
    plan: Callable[[Facts], tuple[tuple[str, ...], ...]]

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    def hears(self) -> dict[type[BaseModel], tuple[Step, str]]:
        """Reply class -> (step, role); the role is done, refused or undone."""
        return {
            reply: (step, role)
            for step in self.steps
            for reply, role in (
                (step.done, "done"),
                (step.refused, "refused"),
                (step.undone, "undone"),
            )
            if reply is not None
        }


@dataclass(frozen=True)
class Ask:
    """A command to send; ``message_id`` is the same for every repeat."""

    message: BaseModel
    message_id: str


@dataclass(frozen=True)
class Saga:
    """Where a saga stands. ``marks``: step -> asked, done, refused, dropped, undoing, undone.

    ``direction``: forward, back, finished (all done), undone (all taken back).
    """

    id: str
    kind: str
    subject_id: str
    plan: tuple[tuple[str, ...], ...]
    facts: dict[str, Any]
    stage: int = 0
    direction: str = "forward"
    marks: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = 0
    tries: int = 0
    next_at: datetime | None = None
    deadline_at: datetime | None = None
    history: tuple[dict[str, Any], ...] = ()

    @property
    def over(self) -> bool:
        """Nothing more will happen."""
        return self.direction in ("finished", "undone")

    @property
    def can_turn_back(self) -> bool:
        """Everything can still be undone: no pivot was asked, which is what ends a deadline."""
        return self.direction == "forward" and self.deadline_at is not None

    @property
    def waits_for(self) -> list[str]:
        """The steps whose answers are awaited."""
        mark = "asked" if self.direction == "forward" else "undoing"
        return [step for step, found in self.marks.items() if found == mark]

    def did(self, step: str) -> bool:
        """The step was done (it may have been undone since)."""
        return step in self.facts


def begin(
    table: SagaTable, *, saga_id: str, subject_id: str, facts: dict[str, Any], now: datetime
) -> tuple[Saga, list[Ask]]:
    """A new saga and its first commands."""
    saga = Saga(
        id=saga_id,
        kind=table.kind,
        subject_id=subject_id,
        plan=tuple(tuple(stage) for stage in table.plan(facts)),
        facts=facts,
        deadline_at=now + timedelta(seconds=DEADLINE_S),
    )
    return _enter(table, saga, now)


def advance(
    table: SagaTable, saga: Saga, *, reply: BaseModel, answers: str | None, now: datetime
) -> tuple[Saga, list[Ask]]:
    """Apply a reply. A stale one changes the history only."""
    step, role = table.hears()[type(reply)]
    mark = saga.marks.get(step.name)
    awaits = "undoing" if role == "undone" else "asked"
    expected = _undo_id(saga, step.name) if role == "undone" else _do_id(saga, step)
    data = reply.model_dump(mode="json")
    if role == "done" and mark == "undoing" and answers == expected:
        # Too late to count, but not to know: if the step turns out to stand, nobody says it again.
        saga = replace(saga, facts={**saga.facts, step.name: data, **_brought(table, step, reply)})
        return _note(saga, now, step.name, "done, but it is being undone"), []
    # A step without an undo is still awaited when the saga has ended without it.
    if saga.over or mark != awaits or answers != expected:
        return _note(saga, now, step.name, f"ignored stale {role}"), []
    objection = step.refuses(reply) if role == "done" else None
    if objection:
        role, data = "refused", objection
    if role == "done":
        brought = _brought(table, step, reply)
        saga = replace(saga, facts={**saga.facts, step.name: data, **brought})
        if any(other.pivot and other.asked_by == step.name for other in _asked(table, saga)):
            saga = replace(saga, deadline_at=None)
        for name in (step.name, *brought):
            saga = _mark(saga, now, name, "done")
        return _settle(table, saga, now)
    if role == "refused":
        saga = replace(saga, refusals={**saga.refusals, step.name: data})
        saga = _mark(saga, now, step.name, "refused", detail=data.get("code"))
        for other in _asked(table, saga):
            if other.asked_by == step.name:
                saga = _mark(saga, now, other.name, "dropped")
        return _settle(table, saga, now)
    if step.stands(reply):
        return _forward_again(table, saga, step, now)
    return _settle(table, _mark(saga, now, step.name, "undone"), now)


def turn_back(
    table: SagaTable, saga: Saga, *, by: str, refusal: dict[str, Any], now: datetime
) -> tuple[Saga, list[Ask]]:
    """Undo every step that was ever asked, acknowledged or not; ``refusal`` says why."""
    saga = replace(
        saga,
        direction="back",
        refusals={**saga.refusals, by: refusal},
        deadline_at=None,
        tries=0,
    )
    saga = _note(saga, now, by, "turned back", detail=refusal.get("code"))
    asks = []
    for step in reversed(table.steps):
        if step.undo and saga.marks.get(step.name) in ("asked", "done"):
            asks.append(Ask(step.undo(saga.facts), _undo_id(saga, step.name)))
            saga = _mark(saga, now, step.name, "undoing")
    return _timed(_end_if_undone(saga, now), now), asks


def expire(table: SagaTable, saga: Saga, *, now: datetime) -> tuple[Saga, list[str]] | None:
    """A timer came due: the ids of the commands to send again, or None when it is time to give up.

    Giving up is only possible before the pivot; the caller then turns the saga back.
    """
    if saga.direction == "forward" and saga.deadline_at and now >= saga.deadline_at:
        return None
    return ask_again(table, saga, by="timer", tries=saga.tries + 1, now=now)


def ask_again(
    table: SagaTable, saga: Saga, *, by: str, tries: int, now: datetime
) -> tuple[Saga, list[str]]:
    """The ids of the commands whose answers are awaited, to be sent once more.

    ``tries`` is how often that happened now: it makes the next pause.
    """
    if saga.direction == "forward":
        waiting = [_do_id(saga, step) for step in _asked(table, saga)]
    else:
        waiting = [_undo_id(saga, name) for name, mark in saga.marks.items() if mark == "undoing"]
    saga = replace(saga, tries=tries, version=saga.version + 1)
    saga = _note(saga, now, by, f"asked again ({saga.tries})" if tries else "asked again")
    return _timed(saga, now), list(dict.fromkeys(waiting))


def _brought(table: SagaTable, step: Step, reply: BaseModel) -> dict[str, dict[str, Any]]:
    """The answers of other steps that this step's reply carries along."""
    answers = {
        other.name: other.brought(reply) for other in table.steps if other.asked_by == step.name
    }
    return {name: answer for name, answer in answers.items() if answer is not None}


def _asked(table: SagaTable, saga: Saga) -> list[Step]:
    """The steps whose answer is awaited."""
    return [step for step in table.steps if saga.marks.get(step.name) == "asked"]


def _do_id(saga: Saga, step: Step) -> str:
    """The id of the command that this step's answers come from."""
    asker = step.asked_by if step.asked_by and step.do(saga.facts) is None else step.name
    return command_id(saga.id, asker, "do")


def _undo_id(saga: Saga, step: str) -> str:
    """The id of the undo. After one that changed nothing the next is a command of its own, or its
    receiver would take it for a repeat and stay silent."""
    stood = sum(entry["step"] == step and entry["what"] == _STOOD for entry in saga.history)
    return command_id(saga.id, step, f"undo{stood + 1}" if stood else "undo")


def _enter(table: SagaTable, saga: Saga, now: datetime) -> tuple[Saga, list[Ask]]:
    """Ask the steps of the present stage; beyond the last one the saga is finished."""
    if saga.stage >= len(saga.plan):
        saga = replace(saga, direction="finished", deadline_at=None)
        return _timed(_note(saga, now, "saga", "finished"), now), []
    asks = []
    for name in saga.plan[saga.stage]:
        step = table.step(name)
        message = step.do(saga.facts)
        if message is not None:
            asks.append(Ask(message, command_id(saga.id, name, "do")))
            if step.pivot:
                saga = replace(saga, deadline_at=None)
        saga = _mark(saga, now, name, "asked")
    return _timed(replace(saga, tries=0), now), asks


def _settle(table: SagaTable, saga: Saga, now: datetime) -> tuple[Saga, list[Ask]]:
    """Look whether the stage is complete, or the way back is."""
    if saga.direction == "back":
        return _timed(_end_if_undone(saga, now), now), []
    marks = [saga.marks[name] for name in saga.plan[saga.stage]]
    if "asked" in marks:
        return _timed(saga, now), []
    if "refused" in marks:
        by = next(iter(saga.refusals))
        return turn_back(table, saga, by=by, refusal=saga.refusals[by], now=now)
    return _enter(table, replace(saga, stage=saga.stage + 1), now)


def _forward_again(
    table: SagaTable, saga: Saga, step: Step, now: datetime
) -> tuple[Saga, list[Ask]]:
    """The step can no longer be undone: wait for its answers again, without a deadline."""
    saga = replace(saga, direction="forward", refusals={}, deadline_at=None, tries=0)
    saga = _mark(saga, now, step.name, "done" if saga.did(step.name) else "asked")
    for other in table.steps:
        if other.asked_by == step.name and other.name in saga.marks:
            saga = _mark(saga, now, other.name, "done" if saga.did(other.name) else "asked")
    return _settle(table, _note(saga, now, step.name, _STOOD), now)


def _end_if_undone(saga: Saga, now: datetime) -> Saga:
    if "undoing" in saga.marks.values():
        return saga
    return _note(replace(saga, direction="undone"), now, "saga", "undone")


def _mark(saga: Saga, now: datetime, step: str, mark: str, detail: str | None = None) -> Saga:
    saga = replace(saga, marks={**saga.marks, step: mark}, version=saga.version + 1)
    return _note(saga, now, step, mark, detail)


def _note(saga: Saga, now: datetime, step: str, what: str, detail: str | None = None) -> Saga:
    entry = {"at": now.isoformat(), "step": step, "what": what}
    if detail:
        entry["detail"] = detail
    return replace(saga, history=(*saga.history, entry))


def _timed(saga: Saga, now: datetime) -> Saga:
    """When to look again, if nobody answers."""
    if saga.over:
        return replace(saga, next_at=None)
    pause_s = RESEND_AFTER_S[min(saga.tries, len(RESEND_AFTER_S) - 1)]
    due = now + timedelta(seconds=pause_s)
    return replace(saga, next_at=min(due, saga.deadline_at) if saga.deadline_at else due)
