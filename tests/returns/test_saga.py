"""The tables of steps, played against the other side: refused at each step, everything twice,
late, out of order, unanswered. Pure: a whole saga takes microseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from chassis import sagas
from chassis.sagas import Ask, Saga, SagaTable
from contracts.inventory import ReceiveReceiptStock
from contracts.orders import (
    ReturnHoldRejected,
    ReturnReceiptSettled,
    SettleReturnReceipt,
)
from services.returns.saga import (
    RETURN_CANCEL,
    RETURN_CLOSE,
    RETURN_RECEIPT,
    RETURN_REQUEST,
    SAGAS,
)
from tests.returns.others import NO, Others

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

REQUEST: dict[str, Any] = {
    "return_id": "ret_1",
    "order_id": "order_1",
    "lines": [{"line_id": "item_mug", "quantity": 2}],
    "refund": None,
    "return_shipping": {"option_id": "so_1", "price": 500},
}
RECEIPT: dict[str, Any] = {
    "receipt_id": "rcpt_1",
    "return_id": "ret_1",
    "claim_id": None,
    "order_id": "order_1",
    "location_id": "sloc_1",
    "refund": 700,
    "settle_owed": False,
    "unannounced": {},
    "lines": [
        {
            "line_no": 1,
            "line_id": "item_mug",
            "variant_id": "variant_mug",
            "quantity": 2,
            "damaged_quantity": 0,
        },
        {
            "line_no": 2,
            "line_id": "item_fee",
            "variant_id": None,
            "quantity": 1,
            "damaged_quantity": 0,
        },
    ],
}
UNSTOCKED = {**RECEIPT, "lines": RECEIPT["lines"][1:]}
STRANGE = {
    **RECEIPT,
    "unannounced": {"item_pot": 3},
    "lines": [
        *RECEIPT["lines"],
        {
            "line_no": 3,
            "line_id": "item_pot",
            "variant_id": None,
            "quantity": 3,
            "damaged_quantity": 2,
        },
    ],
}
OWED = {**RECEIPT, "lines": [], "settle_owed": True}
CANCEL = {"return_id": "ret_1", "order_id": "order_1"}

PLAYS: dict[str, tuple[SagaTable, dict[str, Any]]] = {
    "request": (RETURN_REQUEST, REQUEST),
    "receipt": (RETURN_RECEIPT, RECEIPT),
    "receipt without stock": (RETURN_RECEIPT, UNSTOCKED),
    "receipt of more": (RETURN_RECEIPT, STRANGE),
    "settlement": (RETURN_RECEIPT, OWED),
    "cancel": (RETURN_CANCEL, CANCEL),
    "close": (RETURN_CLOSE, CANCEL),
}
STEPS = [
    (name, step) for name, (table, facts) in PLAYS.items() for s in table.plan(facts) for step in s
]
REFUSABLE = [(name, step) for name, step in STEPS if PLAYS[name][0].step(step).refused is not None]
UNDOABLE = [(name, step) for name, step in STEPS if PLAYS[name][0].step(step).undo is not None]


def begin(name: str) -> tuple[SagaTable, Saga, list[Ask]]:
    table, facts = PLAYS[name]
    return table, *sagas.begin(table, saga_id="saga_1", subject_id="ret_1", facts=facts, now=NOW)


def play(
    table: SagaTable,
    saga: Saga,
    asks: Iterable[Ask],
    others: Others,
    *,
    times: Callable[[BaseModel], int] = lambda message: 1,
) -> tuple[Saga, list[Ask]]:
    """Answer everything that is asked until nothing is; ``times`` says how often a command is
    handled and its reply delivered. Returns the saga and every command that was sent."""
    queue, sent = list(asks), []
    while queue:
        ask = queue.pop(0)
        sent.append(ask)
        for _ in range(times(ask.message)):
            reply = others.answer(ask.message)
            saga, more = sagas.advance(table, saga, reply=reply, answers=ask.message_id, now=NOW)
            queue += more
    return saga, sent


class TestForward:
    @pytest.mark.parametrize(
        ("name", "commands"),
        [
            ("request", ["orders.return-hold.place"]),
            ("receipt", ["inventory.receipt-stock.receive", "orders.return-receipt.settle"]),
            ("receipt without stock", ["orders.return-receipt.settle"]),
            (
                "receipt of more",
                [
                    "orders.return-receipt.check",
                    "inventory.receipt-stock.receive",
                    "orders.return-receipt.settle",
                ],
            ),
            ("settlement", ["orders.return-receipt.settle"]),
            ("cancel", ["orders.return-hold.release"]),
            ("close", ["orders.return-hold.release"]),
        ],
    )
    def test_a_saga_asks_its_steps_in_order_and_finishes(
        self, name: str, commands: list[str]
    ) -> None:
        saga, sent = play(*begin(name), Others())
        assert [ask.message.key for ask in sent] == commands  # type: ignore[attr-defined]
        assert saga.direction == "finished"
        assert (saga.next_at, saga.deadline_at) == (None, None)

    def test_the_commands_carry_what_was_agreed(self) -> None:
        _, sent = play(*begin("receipt"), Others())
        stock, settle = (ask.message for ask in sent)
        assert isinstance(stock, ReceiveReceiptStock)
        assert [line.line_no for line in stock.lines] == [1]
        assert stock.location_id == "sloc_1"
        assert isinstance(settle, SettleReturnReceipt)
        assert [(line.line_id, line.quantity) for line in settle.lines] == [
            ("item_mug", 2),
            ("item_fee", 1),
        ]
        assert settle.refund == 700

    def test_what_orders_told_of_a_strange_line_and_only_sound_goods_go_into_stock(self) -> None:
        _, sent = play(*begin("receipt of more"), Others())
        stock = sent[1].message
        assert isinstance(stock, ReceiveReceiptStock)
        assert [(line.line_no, line.variant_id, line.quantity) for line in stock.lines] == [
            (1, "variant_mug", 2),
            (3, "variant_pot", 1),
        ]

    def test_stock_comes_before_money_because_money_cannot_be_taken_back(self) -> None:
        others = Others(refuse={ReceiveReceiptStock})
        saga, _ = play(*begin("receipt"), others)
        assert saga.direction == "undone"
        assert others.paid == {}


class TestRefusals:
    @pytest.mark.parametrize(("name", "step"), REFUSABLE)
    def test_a_refusal_at_any_step_leaves_a_clean_slate(self, name: str, step: str) -> None:
        table, saga, asks = begin(name)
        command = table.step(step).do(saga.facts)
        others = Others(refuse={type(command)})
        saga, _ = play(table, saga, asks, others)
        assert saga.direction == "undone"
        assert others.clean
        assert saga.refusals[step]["message"] == NO["message"]

    def test_every_step_that_can_refuse_is_refused_here(self) -> None:
        assert {step for _, step in REFUSABLE} == {"hold", "check", "stock"}
        assert {name for name, _ in STEPS} == set(PLAYS)
        assert {table.kind for table, _ in PLAYS.values()} == set(SAGAS)

    def test_the_settlement_of_a_receipt_is_the_pivot_and_cannot_refuse(self) -> None:
        settle = RETURN_RECEIPT.step("settle")
        assert settle.pivot
        assert (settle.refused, settle.undo) == (None, None)


class TestRepeats:
    @pytest.mark.parametrize("name", PLAYS)
    @pytest.mark.parametrize("repeats", [2, 3])
    def test_every_command_and_every_reply_may_come_again(self, name: str, repeats: int) -> None:
        once, again = Others(), Others()
        saga_once, sent_once = play(*begin(name), once)
        saga_again, sent_again = play(*begin(name), again, times=lambda _: repeats)
        assert sent_again == sent_once
        assert once == again
        assert (saga_again.direction, saga_again.marks, saga_again.facts) == (
            saga_once.direction,
            saga_once.marks,
            saga_once.facts,
        )

    @pytest.mark.parametrize(("name", "step"), STEPS)
    def test_one_reply_twice_changes_only_the_history(self, name: str, step: str) -> None:
        table, saga, asks = begin(name)
        others = Others()
        while asks:
            (ask,) = asks
            reply = others.answer(ask.message)
            saga, asks = sagas.advance(table, saga, reply=reply, answers=ask.message_id, now=NOW)
            if saga.marks.get(step) == "done":
                repeated, more = sagas.advance(
                    table, saga, reply=reply, answers=ask.message_id, now=NOW
                )
                assert more == []
                assert repeated.version == saga.version
                assert repeated.history[-1]["what"] == "ignored stale done"
                return
        raise AssertionError(f"{step} was never done")

    @pytest.mark.parametrize(("name", "step"), UNDOABLE)
    def test_every_undo_may_come_again(self, name: str, step: str) -> None:
        table, saga, asks = begin(name)
        others = Others()
        saga, _ = play(table, saga, asks, others)
        saga, undos = sagas.turn_back(
            table, saga, by="policy", refusal={"code": "return_window_closed"}, now=NOW
        )
        saga, sent = play(table, saga, undos, others, times=lambda _: 2)
        assert len(sent) == len(undos) == 1
        assert saga.direction == "undone"
        assert others.clean


class TestLateAndOutOfOrder:
    def test_a_hold_that_is_placed_after_its_undo_was_sent_changes_nothing(self) -> None:
        table, saga, (hold,) = begin("request")
        others = Others()
        late = others.answer(hold.message)
        saga, undos = sagas.turn_back(table, saga, by="timer", refusal={}, now=NOW)
        saga, more = sagas.advance(table, saga, reply=late, answers=hold.message_id, now=NOW)
        assert more == []
        assert saga.direction == "back"
        saga, _ = play(table, saga, undos, others)
        assert saga.direction == "undone"
        assert others.clean

    def test_a_hold_that_arrives_after_its_release_finds_the_tombstone(self) -> None:
        table, saga, (hold,) = begin("request")
        others = Others()
        saga, undos = sagas.turn_back(table, saga, by="timer", refusal={}, now=NOW)
        saga, _ = play(table, saga, undos, others)
        late = others.answer(hold.message)
        assert isinstance(late, ReturnHoldRejected)
        after, more = sagas.advance(table, saga, reply=late, answers=hold.message_id, now=NOW)
        assert (after.direction, more) == ("undone", [])
        assert others.clean

    @pytest.mark.parametrize("name", PLAYS)
    def test_a_reply_to_another_command_is_ignored(self, name: str) -> None:
        table, saga, (ask,) = begin(name)
        reply = Others().answer(ask.message)
        for answers in ("another command", None):
            after, more = sagas.advance(table, saga, reply=reply, answers=answers, now=NOW)
            assert (after.direction, after.version, more) == ("forward", saga.version, [])

    def test_a_settlement_before_its_stock_is_ignored(self) -> None:
        table, saga, _ = begin("receipt")
        early = ReturnReceiptSettled(receipt_id="rcpt_1", return_id="ret_1")
        after, more = sagas.advance(table, saga, reply=early, answers="x", now=NOW)
        assert (after.marks, more) == (saga.marks, [])


class TestTimers:
    @pytest.mark.parametrize("name", PLAYS)
    def test_an_unanswered_ask_is_sent_again_under_the_same_id(self, name: str) -> None:
        table, saga, (ask,) = begin(name)
        assert saga.next_at == NOW + timedelta(seconds=30)
        again = sagas.expire(table, saga, now=saga.next_at)
        assert again is not None
        saga, message_ids = again
        assert message_ids == [ask.message_id]

    def test_a_hold_that_is_not_answered_in_15_minutes_is_given_up(self) -> None:
        table, saga, _ = begin("request")
        last = NOW + timedelta(minutes=15)
        assert sagas.expire(table, saga, now=last - timedelta(seconds=1)) is not None
        assert sagas.expire(table, saga, now=last) is None

    @pytest.mark.parametrize("name", ["receipt", "receipt without stock", "cancel"])
    def test_goods_and_releases_are_facts_and_never_given_up(self, name: str) -> None:
        table, saga, (ask,) = begin(name)
        for days in range(1, 30):
            again = sagas.expire(table, saga, now=NOW + timedelta(days=days))
            assert again is not None
            saga, message_ids = again
            assert message_ids == [ask.message_id]

    def test_an_unanswered_undo_is_asked_for_ever(self) -> None:
        table, saga, _ = begin("request")
        saga, (undo,) = sagas.turn_back(table, saga, by="timer", refusal={}, now=NOW)
        for days in range(1, 30):
            again = sagas.expire(table, saga, now=NOW + timedelta(days=days))
            assert again is not None
            saga, message_ids = again
            assert message_ids == [undo.message_id]
