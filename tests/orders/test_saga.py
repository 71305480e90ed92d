"""The sagas of an order, played against the other side made from their own tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.inventory import (
    ConsumeFulfillmentStock,
    ReleaseOrderReservation,
    RestoreFulfillmentStock,
)
from services.orders import saga
from tests import sagas_kit
from tests.sagas_kit import Others, Play

FULFILLMENT = saga.fulfillment_facts(
    fulfillment_id="ful_1",
    order_id="order_1",
    location_id="sloc_1",
    lines=[("item_1", "variant_1", "Red mug", 2), ("item_2", None, "A card", 1)],
)
PLAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "fulfillment": (saga.FULFILLMENT, FULFILLMENT),
    "unpacking": (saga.FULFILLMENT_CANCEL, {"fulfillment_id": "ful_1", "order_id": "order_1"}),
    "cancel": (saga.ORDER_CANCEL, {"order_id": "order_1", "line_ids": ["item_2", "item_1"]}),
}
EACH = pytest.mark.parametrize("name", PLAYS)


def test_every_step_of_every_table_is_played_here() -> None:
    played = {
        (table.kind, step.name)
        for table, facts in PLAYS.values()
        for step in sagas_kit.planned(table, facts)
    }
    assert played == {
        (table.kind, step.name) for table in saga.SAGAS.values() for step in table.steps
    }


def test_the_commands_say_what_was_packed() -> None:
    (consume,) = Play.begin(*PLAYS["fulfillment"]).commands
    assert isinstance(consume.message, ConsumeFulfillmentStock)
    assert [(line.line_no, line.line_id, line.quantity) for line in consume.message.lines] == [
        (1, "item_1", 2),
        (2, "item_2", 1),
    ]
    (restore,) = Play.begin(*PLAYS["unpacking"]).commands
    assert restore.message == RestoreFulfillmentStock(fulfillment_id="ful_1", order_id="order_1")
    (release,) = Play.begin(*PLAYS["cancel"]).commands
    assert release.message == ReleaseOrderReservation(
        order_id="order_1", line_ids=["item_1", "item_2"]
    )


@EACH
def test_all_agreed_finishes(name: str) -> None:
    play = Play.begin(*PLAYS[name]).run()
    assert play.saga.direction == "finished"
    sagas_kit.all_or_nothing(play)


@EACH
def test_repeats_change_nothing_more(name: str) -> None:
    sagas_kit.every_reply_twice_changes_nothing_more(*PLAYS[name])


@EACH
def test_a_refusal_leaves_a_clean_slate(name: str) -> None:
    sagas_kit.a_failure_at_each_step_leaves_a_clean_slate(*PLAYS[name])


@EACH
def test_undoing_twice_changes_nothing_more(name: str) -> None:
    sagas_kit.every_undo_twice_changes_nothing_more(*PLAYS[name])


@EACH
def test_silence_is_asked_again_and_given_up_only_before_the_pivot(name: str) -> None:
    sagas_kit.silence_at_each_step_is_asked_again_then_given_up_before_the_pivot(*PLAYS[name])


@pytest.mark.parametrize("name", ["unpacking", "cancel"])
def test_what_cannot_be_refused_cannot_be_turned_back(name: str) -> None:
    assert not Play.begin(*PLAYS[name]).saga.can_turn_back


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(0, 3))
def test_a_fulfillment_that_is_given_up_at_any_moment_is_whole_or_clean(
    picks: list[int], moment: int
) -> None:
    chosen = iter(picks)
    sagas_kit.giving_up_at_any_moment_ends_whole_or_clean(
        *PLAYS["fulfillment"],
        pick=lambda waiting: next(chosen, 0) % waiting,
        moment=moment,
    )


def test_a_late_answer_after_the_undo_is_not_taken_for_goods() -> None:
    table, facts = PLAYS["fulfillment"]
    play = Play.begin(table, facts, Others(table))
    (consume,) = play.commands
    play.turn_back()
    replies = play.others.answer(play.saga, consume)
    play.hear(replies[0], consume.message_id)
    play.commands.remove(consume)
    play.run()
    assert play.saga.direction == "undone"
    assert play.others.holding == set()
