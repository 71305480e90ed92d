"""The checker of histories: it finds what was lost, doubled, or asked for by nobody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.crash.history import Books, History, audit, digest, events
from tests.crash.kinds import GROSS

OK = digest(200, b"{}")
NOTHING = Books([], [], [], [], [], [])
CLAIM = {
    "id": "claim_1",
    "status": "open",
    "payment_status": "refunded",
    "recovery_point": "finished",
    "refund_amount": GROSS,
}
REFUND = {"order_id": "order_1", "amount": GROSS, "state": "posted"}
REFUNDED = Books(
    claims=[CLAIM],
    claimed=[{"claim_id": "claim_1", "line_id": "item_1"}],
    returns=[],
    returned=[],
    refunds=[REFUND],
    provider=[{"amount": GROSS}],
)


def event(type_: str, f: str = "claim refund", kind: str = "refund", **more: Any) -> dict[str, Any]:
    """One line of a history about item_1."""
    value = {
        "kind": kind,
        "order_id": "order_1",
        "line_id": "item_1",
        "provider": "fake",
        "key": "k",
        **({"digest": OK} if type_ in ("ok", "fail") else {}),
        **more,
    }
    return {"process": 1, "type": type_, "f": f, "value": value, "time": 0}


ASKED = [event("invoke"), event("ok")]


def test_what_was_answered_and_is_in_the_books_is_well() -> None:
    assert audit(ASKED, REFUNDED) == []


def test_an_answer_without_effect_is_lost() -> None:
    wrong = audit(ASKED, NOTHING)
    assert "lost: refund on item_1 has no claim" in wrong
    assert f"lost: order_1: 0 refunded of {GROSS}" in wrong


def test_an_effect_that_came_twice_is_doubled() -> None:
    two = replace(
        REFUNDED,
        claims=[CLAIM, CLAIM | {"id": "claim_2"}],
        claimed=[*REFUNDED.claimed, {"claim_id": "claim_2", "line_id": "item_1"}],
        refunds=[REFUND, REFUND],
    )
    wrong = audit(ASKED, two)
    assert "doubled: refund on item_1 has 2 claims" in wrong
    assert f"doubled: order_1: {2 * GROSS} refunded of {GROSS}" in wrong


def test_what_the_provider_paid_is_counted_too() -> None:
    paid_twice = replace(REFUNDED, provider=[{"amount": GROSS}, {"amount": GROSS}])
    assert audit(ASKED, paid_twice) == [
        f"the provider paid {2 * GROSS}, expected [{GROSS}, {GROSS}]"
    ]


def test_an_effect_that_nobody_asked_for_is_unexpected() -> None:
    wrong = audit([], REFUNDED)
    assert "unexpected: nobody asked for a claim on item_1" in wrong


def test_an_unknown_outcome_may_have_happened_or_not() -> None:
    unknown = [event("invoke"), event("info")]
    assert audit(unknown, REFUNDED) == []
    assert audit(unknown, NOTHING) == []


def test_a_repeat_after_an_unknown_outcome_decides_it() -> None:
    again = [event("invoke"), event("info"), event("invoke"), event("ok")]
    assert audit(again, REFUNDED) == []
    assert audit(again, NOTHING) != []


def test_two_answers_of_one_key_must_be_the_same() -> None:
    other = [*ASKED, event("invoke"), event("ok", digest=digest(200, b"{ }"))]
    assert any("was answered" in text for text in audit(other, REFUNDED))


def test_a_refusal_where_none_is_due_is_found() -> None:
    refused = [event("invoke"), event("fail", digest=digest(400, b"{}"))]
    assert any(text.startswith("claim refund (refund)") for text in audit(refused, REFUNDED))


def test_an_answer_without_a_question_is_unexpected() -> None:
    assert any("nobody's k" in text for text in audit([event("ok")], REFUNDED))


def test_a_history_is_read_as_it_was_written_also_when_its_writer_died(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.add(1, "invoke", "claim refund", {"key": "k"})
    history.close()
    with history.file.open("a") as out:
        out.write('{"process": 2, "ty')
    assert [(e["process"], e["type"], e["f"]) for e in events(history.file)] == [
        (1, "invoke", "claim refund")
    ]


PACKED = {"id": "ful_1", "state": "live", "shipped_at": None, "items": [{"item_id": "item_1"}]}


def test_goods_that_were_packed_are_looked_for() -> None:
    asked = [event(type_, "fulfill", "fulfillment") for type_ in ("invoke", "ok")]
    well = replace(NOTHING, fulfillments=[PACKED])
    assert audit(asked, well) == []
    assert any("lost: fulfillment on item_1" in text for text in audit(asked, NOTHING))
    twice = replace(NOTHING, fulfillments=[PACKED, PACKED | {"id": "ful_2"}])
    assert "doubled: fulfillment on item_1 was packed 2 times" in audit(asked, twice)
    assert any("nobody asked for a fulfillment" in text for text in audit([], well))


def test_orders_that_were_captured_and_canceled_are_looked_for() -> None:
    asked = [event(type_, "capture", "order captured") for type_ in ("invoke", "ok")]
    capture = {"provider_key": "cp_1", "payment_id": "pay_1"}
    well = replace(NOTHING, captures=[capture], captured=[{"key": "cp_1"}])
    assert audit(asked, well) == []
    assert "lost: order_1 was not captured" in audit(asked, NOTHING)
    again = [capture, capture | {"provider_key": "cp_1_2"}]
    twice = replace(NOTHING, captures=again, captured=[{"key": "cp_1"}, {"key": "cp_1_2"}])
    assert "doubled: pay_1 was captured 2 times" in audit(asked, twice)
    other = replace(NOTHING, canceled=[{"order_id": "order_1"}])
    assert "unexpected: order_1 was canceled" in audit(asked, other)
