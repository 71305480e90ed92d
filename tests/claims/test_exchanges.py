"""What may happen to an exchange: pure, and kept by the service."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.errors import Conflict, Invalid, NotAllowed
from services.claims import exchanges
from services.claims.domain import AdditionalItem, Claim, ClaimItem, Progress

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ITEM = ClaimItem(id="citm_1", line_id="item_1", quantity=1, reason="")
GOODS = AdditionalItem(line_id="item_2", variant_id="variant_2", quantity=1)


def an_exchange(**changes: Any) -> Claim:
    given: dict[str, Any] = {
        "exchange_id": "swap_1",
        "order_id": "order_1",
        "items": [ITEM],
        "additional_items": [GOODS],
        "return_id": "ret_1",
        "no_notification": None,
        **changes,
    }
    return exchanges.open_exchange(**given)


def settled(status: str, difference: int, refund: int = 0) -> dict[str, Any]:
    """What orders says, as the saga keeps it."""
    return {
        "payment_status": status,
        "difference_due": difference,
        "refund_amount": refund,
        "explanation": [{"amount": -difference}],
    }


def opened(status: str, difference: int, refund: int = 0) -> exchanges.Change:
    return exchanges.follow(
        claim=an_exchange(),
        progress=Progress(currency_code="eur", no_notification=True),
        facts={"settle": settled(status, difference, refund)},
        now=NOW,
    )


def an_open(status: str, difference: int) -> Claim:
    return replace(opened(status, difference).claim, recovery_point="finished")


class TestOpening:
    def test_it_gives_something_back_and_sends_something(self) -> None:
        with pytest.raises(Invalid, match="at least one return item"):
            an_exchange(items=[])
        with pytest.raises(Invalid, match="at least one additional item"):
            an_exchange(additional_items=[])
        with pytest.raises(Invalid, match="quantity must not be less than 1"):
            an_exchange(items=[replace(ITEM, quantity=0)])
        assert an_exchange().payment_status == "not_paid"

    def test_nobody_sees_it_before_its_difference_is_known(self) -> None:
        waiting = exchanges.follow(
            claim=an_exchange(), progress=Progress(held=True), facts={}, now=NOW
        )
        assert (waiting.claim.status, waiting.happened) == ("opening", ())

    @pytest.mark.parametrize(
        ("status", "difference", "refund", "happened"),
        [
            ("awaiting", 500, 0, ("created",)),
            ("confirmed", 0, 0, ("created", "payment_completed")),
            (
                "difference_refunded",
                -500,
                500,
                ("created", "refund_processed", "payment_completed"),
            ),
            (
                "partially_refunded",
                -500,
                200,
                ("created", "refund_processed", "payment_completed"),
            ),
            ("requires_action", -500, 0, ("created", "refund_failed")),
        ],
    )
    def test_it_is_told_with_what_became_of_the_difference(
        self, status: str, difference: int, refund: int, happened: tuple[str, ...]
    ) -> None:
        change = opened(status, difference, refund)
        claim = change.claim
        assert change.happened == happened
        assert (claim.status, claim.payment_status) == ("open", status)
        assert (claim.difference_due, claim.refund_amount) == (difference, refund or None)
        assert (claim.confirmed_at == NOW) is ("payment_completed" in happened)
        assert (claim.currency_code, claim.no_notification) == ("eur", True)

    def test_a_refusal_leaves_nothing_to_see(self) -> None:
        no = {"code": "x", "kind": "invalid", "message": "No"}
        change = exchanges.follow(
            claim=an_exchange(), progress=Progress(refusal=no), facts={}, now=NOW
        )
        assert (change.claim.status, change.claim.refusal, change.happened) == ("refused", no, ())

    def test_it_is_finished_when_its_return_is_open(self) -> None:
        claim = opened("awaiting", 500).claim
        done = exchanges.follow(
            claim=claim,
            progress=Progress(finished=True),
            facts={"settle": settled("awaiting", 500)},
            now=NOW,
        )
        assert (done.claim.recovery_point, done.happened) == ("finished", ())


class TestTheDifference:
    def test_what_is_settled_is_not_processed_again(self) -> None:
        for status, difference in (("confirmed", 0), ("difference_refunded", -5)):
            assert exchanges.is_settled(claim=an_open(status, difference))
        for status, difference in (("awaiting", 5), ("requires_action", -5)):
            assert not exchanges.is_settled(claim=an_open(status, difference))

    def test_what_was_paid_is_told_as_captured_and_completed(self) -> None:
        busy = replace(an_open("awaiting", 500), busy_with="payment")
        change = exchanges.processed(claim=busy, settled=settled("captured", 500), now=NOW)
        assert change.happened == ("payment_captured", "payment_completed")
        assert (change.claim.payment_status, change.claim.busy_with) == ("captured", None)
        assert change.claim.confirmed_at == NOW

    def test_a_second_no_of_a_provider_is_told_too(self) -> None:
        busy = replace(an_open("requires_action", -500), busy_with="payment")
        change = exchanges.processed(claim=busy, settled=None, now=NOW)
        assert change.happened == ("refund_failed",)
        assert change.claim.payment_status == "requires_action"

    def test_a_no_to_a_payment_changes_nothing(self) -> None:
        busy = replace(an_open("awaiting", 500), busy_with="payment")
        change = exchanges.processed(claim=busy, settled=None, now=NOW)
        assert (change.happened, change.claim) == ((), an_open("awaiting", 500))

    def test_it_is_processed_by_one_at_a_time(self) -> None:
        busy = replace(an_open("awaiting", 500), busy_with="payment")
        with pytest.raises(Conflict):
            exchanges.check_process(claim=busy)
        with pytest.raises(NotAllowed, match="Canceled swap cannot be processed"):
            exchanges.check_process(claim=replace(busy, status="canceled"))


class TestCancel:
    @pytest.mark.parametrize("status", ["difference_refunded", "partially_refunded"])
    def test_money_that_went_out_stops_it(self, status: str) -> None:
        with pytest.raises(NotAllowed, match="Swap with a refund cannot be canceled"):
            exchanges.cancel(claim=an_open(status, -5))

    @pytest.mark.parametrize("status", ["awaiting", "captured", "confirmed", "requires_action"])
    def test_nothing_else_does(self, status: str) -> None:
        canceling = exchanges.cancel(claim=an_open(status, 5))
        assert canceling.status == "canceling"
        change = exchanges.canceled(
            claim=canceling,
            released={"paid_back_amount": 5 if status == "captured" else 0},
            now=NOW,
        )
        assert change.happened == ("canceled",)
        assert (change.claim.payment_status, change.claim.canceled_at) == ("canceled", NOW)
        assert change.claim.refund_amount == (5 if status == "captured" else None)

    def test_not_while_somebody_works_on_it(self) -> None:
        with pytest.raises(Conflict):
            exchanges.cancel(claim=replace(an_open("awaiting", 5), busy_with="payment"))
