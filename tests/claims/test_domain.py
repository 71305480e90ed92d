"""What may happen to a claim: complete tables, and the words of the refusals in their order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Invalid, Refusal
from services.claims import domain
from services.claims.domain import (
    LINES_MAX,
    REASONS,
    AdditionalItem,
    Claim,
    ClaimBusy,
    ClaimItem,
    ClaimNotFound,
    Progress,
    RefundAlreadyMade,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NO = {"code": "units_taken", "kind": "not_allowed", "message": "No."}
ITEM = ClaimItem(id="citm_1", line_id="item_1", quantity=1, reason="other")
SPARE = AdditionalItem(line_id="item_2", variant_id="variant_1", quantity=1)


def a_claim(status: str, recovery_point: str, payment_status: str, **more: Any) -> Claim:
    return Claim(
        id="claim_1",
        order_id="order_1",
        type="refund",
        items=(ITEM,),
        status=status,
        recovery_point=recovery_point,
        payment_status=payment_status,
        refusal=NO if status == "refused" else None,
        **more,
    )


GIVEN = {
    "opening": a_claim("opening", "started", "not_refunded"),
    "created": a_claim("open", "claim_created", "not_refunded"),
    "paid": a_claim("open", "refund_handled", "refunded"),
    "nothing to pay": a_claim("open", "refund_handled", "not_refunded"),
    "finished": a_claim("open", "finished", "not_refunded"),
    "finished paid": a_claim("open", "finished", "refunded"),
    "canceling": a_claim("canceling", "finished", "not_refunded"),
    "canceled": a_claim("canceled", "finished", "not_refunded"),
    "refused": a_claim("refused", "started", "not_refunded"),
    "taken back": a_claim("refused", "claim_created", "not_refunded"),
}
_HELD: dict[str, Any] = {"held": True, "amount": 900, "currency_code": "gbp"}
WHEN = {
    "nothing": Progress(),
    "held": Progress(**_HELD),
    "nothing due": Progress(**_HELD, refund_handled=True),
    "refunded": Progress(**_HELD, refund_handled=True, refunded=True),
    "all done": Progress(**_HELD, refund_handled=True, refunded=True, finished=True),
    "refused": Progress(refusal=NO),
}
# A saga whose refund succeeded has no step left that could refuse, and a finished one is over.
NEVER = {
    (given_, "refused")
    for given_ in ("paid", "nothing to pay", "finished", "finished paid", "canceling", "canceled")
}
FOLLOWING = """
given          | when        | status   | recovery point | payment      | happened
opening        | nothing     | opening  | started        | not_refunded |
opening        | held        | open     | claim_created  | not_refunded | created
opening        | nothing due | open     | refund_handled | not_refunded | created
opening        | refunded    | open     | refund_handled | refunded     | created refunded
opening        | all done    | open     | finished       | refunded     | created refunded confirmed
opening        | refused     | refused  | started        | not_refunded |
created        | nothing     | open     | claim_created  | not_refunded |
created        | held        | open     | claim_created  | not_refunded |
created        | nothing due | open     | refund_handled | not_refunded |
created        | refunded    | open     | refund_handled | refunded     | refunded
created        | all done    | open     | finished       | refunded     | refunded confirmed
created        | refused     | refused  | claim_created  | not_refunded | refused
paid           | nothing     | open     | refund_handled | refunded     |
paid           | held        | open     | refund_handled | refunded     |
paid           | nothing due | open     | refund_handled | refunded     |
paid           | refunded    | open     | refund_handled | refunded     |
paid           | all done    | open     | finished       | refunded     | confirmed
nothing to pay | nothing     | open     | refund_handled | not_refunded |
nothing to pay | held        | open     | refund_handled | not_refunded |
nothing to pay | nothing due | open     | refund_handled | not_refunded |
nothing to pay | refunded    | open     | refund_handled | refunded     | refunded
nothing to pay | all done    | open     | finished       | refunded     | refunded confirmed
finished       | nothing     | open     | finished       | not_refunded |
finished       | held        | open     | finished       | not_refunded |
finished       | nothing due | open     | finished       | not_refunded |
finished       | refunded    | open     | finished       | refunded     | refunded
finished       | all done    | open     | finished       | refunded     | refunded
finished paid  | nothing     | open     | finished       | refunded     |
finished paid  | held        | open     | finished       | refunded     |
finished paid  | nothing due | open     | finished       | refunded     |
finished paid  | refunded    | open     | finished       | refunded     |
finished paid  | all done    | open     | finished       | refunded     |
canceling      | nothing     | canceling| finished       | not_refunded |
canceling      | held        | canceling| finished       | not_refunded |
canceling      | nothing due | canceling| finished       | not_refunded |
canceling      | refunded    | canceling| finished       | not_refunded |
canceling      | all done    | canceling| finished       | not_refunded |
canceled       | nothing     | canceled | finished       | not_refunded |
canceled       | held        | canceled | finished       | not_refunded |
canceled       | nothing due | canceled | finished       | not_refunded |
canceled       | refunded    | canceled | finished       | not_refunded |
canceled       | all done    | canceled | finished       | not_refunded |
refused        | nothing     | opening  | started        | not_refunded |
refused        | held        | open     | claim_created  | not_refunded | created
refused        | nothing due | open     | refund_handled | not_refunded | created
refused        | refunded    | open     | refund_handled | refunded     | created refunded
refused        | all done    | open     | finished       | refunded     | created refunded confirmed
refused        | refused     | refused  | started        | not_refunded |
taken back     | nothing     | opening  | claim_created  | not_refunded |
taken back     | held        | open     | claim_created  | not_refunded |
taken back     | nothing due | open     | refund_handled | not_refunded |
taken back     | refunded    | open     | refund_handled | refunded     | refunded
taken back     | all done    | open     | finished       | refunded     | refunded confirmed
taken back     | refused     | refused  | claim_created  | not_refunded |
"""
CANCELING = """
given          | then
opening        | refuse claim_busy
created        | refuse claim_busy
paid           | refuse claim_already_refunded
nothing to pay | refuse claim_busy
finished       | canceling
finished paid  | refuse claim_already_refunded
canceling      | refuse claim_busy
canceled       | refuse claim_busy
refused        | refuse claim_busy
taken back     | refuse claim_busy
"""


def table(text: str) -> list[tuple[str, ...]]:
    lines = [line for line in text.splitlines()[2:] if line]
    return [tuple(cell.strip() for cell in line.split("|")) for line in lines]


class TestFollow:
    def test_the_table_is_complete(self) -> None:
        rows = [(row[0], row[1]) for row in table(FOLLOWING)]
        assert len(rows) == len(set(rows))
        assert set(rows) | NEVER == {(given_, when) for given_ in GIVEN for when in WHEN}
        assert not set(rows) & NEVER

    @pytest.mark.parametrize(
        ("given_", "when", "status", "point", "payment", "happened"), table(FOLLOWING)
    )
    def test_given_when_then(
        self, given_: str, when: str, status: str, point: str, payment: str, happened: str
    ) -> None:
        change = domain.follow(claim=GIVEN[given_], progress=WHEN[when])
        claim = change.claim
        assert (claim.status, claim.recovery_point, claim.payment_status) == (
            status,
            point,
            payment,
        )
        assert " ".join(change.happened) == happened
        assert claim.refusal == (NO if status == "refused" else None)

    @pytest.mark.parametrize("given_", GIVEN)
    @pytest.mark.parametrize("when", WHEN)
    def test_the_same_news_twice_changes_nothing_more(self, given_: str, when: str) -> None:
        once = domain.follow(claim=GIVEN[given_], progress=WHEN[when])
        again = domain.follow(claim=once.claim, progress=WHEN[when])
        if once.claim.status != "opening" or when == "refused":
            assert (again.claim, again.happened) == (once.claim, ())

    @given(st.lists(st.sampled_from([*WHEN]), max_size=8), st.sampled_from([*GIVEN]))
    def test_a_recovery_point_never_moves_back(self, news: list[str], given_: str) -> None:
        claim = GIVEN[given_]
        points = [claim.recovery_point]
        for when in news:
            claim = domain.follow(claim=claim, progress=WHEN[when]).claim
            points.append(claim.recovery_point)
        assert points == sorted(points, key=domain.RECOVERY_POINTS.index)

    def test_the_hold_settles_amount_currency_explanation_and_silence(self) -> None:
        progress = Progress(
            held=True,
            amount=900,
            currency_code="gbp",
            explanation=({"part": "goods"},),
            no_notification=True,
        )
        claim = domain.follow(claim=GIVEN["opening"], progress=progress).claim
        assert (claim.refund_amount, claim.currency_code) == (900, "gbp")
        assert claim.explanation == ({"part": "goods"},)
        assert claim.no_notification is True

    @pytest.mark.parametrize("asked", [True, False])
    def test_silence_that_was_asked_for_is_not_overruled_by_the_order(self, asked: bool) -> None:
        claim = replace(GIVEN["opening"], no_notification=asked)
        progress = Progress(held=True, no_notification=not asked)
        assert domain.follow(claim=claim, progress=progress).claim.no_notification is asked

    def test_what_a_provider_did_not_give_is_taken_off_once_and_explained(self) -> None:
        progress = replace(WHEN["refunded"], declined=300, explanation=({"part": "goods"},))
        change = domain.follow(claim=GIVEN["opening"], progress=progress)
        assert (change.claim.payment_status, change.claim.refund_amount) == ("refunded", 600)
        goods, cap = change.claim.explanation
        assert (goods["part"], cap["part"], cap["amount"]) == ("goods", "cap", -300)
        again = domain.follow(claim=change.claim, progress=replace(progress, finished=True))
        assert again.claim.refund_amount == 600
        assert again.claim.explanation == change.claim.explanation

    def test_a_replacement_has_no_amount_and_its_payment_stays_not_applicable(self) -> None:
        claim = replace(GIVEN["opening"], type="replace", payment_status="na")
        progress = Progress(held=True, refund_handled=True, finished=True)
        change = domain.follow(claim=claim, progress=progress)
        assert (change.claim.refund_amount, change.claim.payment_status) == (None, "na")
        assert change.happened == ("created", "confirmed")


class TestCancel:
    def test_the_table_is_complete(self) -> None:
        assert [row[0] for row in table(CANCELING)] == [*GIVEN]

    @pytest.mark.parametrize(("given_", "then"), table(CANCELING))
    def test_given_then(self, given_: str, then: str) -> None:
        try:
            outcome = domain.cancel(claim=GIVEN[given_]).status
        except Refusal as refusal:
            outcome = f"refuse {refusal.code}"
        assert outcome == then

    def test_released_it_is_canceled_with_its_fulfillment(self) -> None:
        change = domain.canceled(claim=GIVEN["canceling"], now=NOW)
        assert (change.claim.status, change.claim.fulfillment_status) == ("canceled", "canceled")
        assert (change.claim.canceled_at, change.happened) == (NOW, ("canceled",))

    def test_refused_it_is_open_as_before_and_nothing_happened(self) -> None:
        change = domain.not_canceled(claim=GIVEN["canceling"])
        assert (change.claim, change.happened) == (GIVEN["finished"], ())


class TestRefusals:
    @pytest.mark.parametrize(
        ("refusal", "kind", "message"),
        [
            (RefundAlreadyMade(), "not_allowed", "Claim with a refund cannot be canceled"),
            (
                ClaimBusy(),
                "conflict",
                "The claim is being worked on. Try again in a moment.",
            ),
            (
                ClaimNotFound(claim_id="c", order_id="o"),
                "not_found",
                "no claim was found with the id: c related to order: o",
            ),
            (ClaimNotFound(claim_id="c", order_id=None), "not_found", "Claim with c was not found"),
        ],
    )
    def test_they_speak_in_the_words_that_clients_know(
        self, refusal: Refusal, kind: str, message: str
    ) -> None:
        assert (refusal.kind, refusal.message) == (kind, message)


def opened(**changes: Any) -> Claim:
    return domain.open_claim(
        **{
            "claim_id": "claim_1",
            "order_id": "order_1",
            "type_": "refund",
            "items": [ITEM],
            "additional_items": [],
            "refund_amount": None,
            "return_id": None,
            "no_notification": None,
            **changes,
        }
    )


BAD_REASON = replace(ITEM, reason="broken")


class TestOpen:
    def test_a_claim_begins_hidden_and_unpaid(self) -> None:
        claim = opened(refund_amount=5, return_id="ret_1", no_notification=True)
        assert (claim.status, claim.recovery_point, claim.version) == ("opening", "started", 0)
        assert (claim.payment_status, claim.fulfillment_status) == (
            "not_refunded",
            "not_fulfilled",
        )
        assert (claim.refund_amount, claim.return_id, claim.no_notification) == (5, "ret_1", True)

    def test_a_replacement_has_nothing_to_pay(self) -> None:
        assert opened(type_="replace", additional_items=[SPARE]).payment_status == "na"

    def test_what_is_wrong_is_told_in_the_order_of_medusa_one_at_a_time(self) -> None:
        request: dict[str, Any] = {
            "type_": "exchange",
            "items": [],
            "additional_items": [],
            "refund_amount": -1,
        }
        mended = [
            ({"type_": "replace"}, 'Claim type must be one of "refund" or "replace".'),
            (
                {"additional_items": [replace(SPARE, quantity=0)]},
                'Claims with type "replace" must have at least one additional item.',
            ),
            ({"items": [BAD_REASON]}, "Claims must have at least one claim item."),
            (
                {"type_": "refund"},
                'Claim has type "replace" but must be type "refund" to have a refund_amount.',
            ),
            (
                {"items": [ITEM] * (LINES_MAX + 1)},
                'Claim Item reason must be one of "missing_item", "wrong_item",'
                ' "production_failure" or "other".',
            ),
            ({"items": [ITEM]}, "A claim has at most 100 lines."),
            ({"additional_items": [SPARE]}, "quantity must not be less than 1"),
            ({"refund_amount": 0}, "refund_amount must not be less than 0"),
        ]
        for mend, told in mended:
            with pytest.raises(Invalid) as refused:
                opened(**request)
            assert refused.value.message == told
            request |= mend
        assert opened(**request).refund_amount == 0

    @pytest.mark.parametrize("reason", REASONS)
    def test_the_four_reasons_are_taken(self, reason: str) -> None:
        assert opened(items=[replace(ITEM, reason=reason)])

    @pytest.mark.parametrize("reason", ["", "Other", "OTHER", "other ", "return"])
    def test_any_other_reason_is_not(self, reason: str) -> None:
        with pytest.raises(Invalid, match="reason must be one of"):
            opened(items=[ITEM, replace(ITEM, reason=reason)])

    @pytest.mark.parametrize("quantity", [0, -1])
    def test_fewer_than_one_unit_is_refused_on_both_sides(self, quantity: int) -> None:
        for changes in (
            {"items": [ITEM, replace(ITEM, quantity=quantity)]},
            {"additional_items": [SPARE, replace(SPARE, quantity=quantity)]},
        ):
            with pytest.raises(Invalid, match="quantity must not be less than 1"):
                opened(**changes)

    @pytest.mark.parametrize("lines", [LINES_MAX, LINES_MAX + 1])
    def test_a_hundred_lines_are_the_limit_on_both_sides(self, lines: int) -> None:
        for changes in ({"items": [ITEM] * lines}, {"additional_items": [SPARE] * lines}):
            if lines <= LINES_MAX:
                assert opened(**changes)
            else:
                with pytest.raises(Invalid, match="at most 100 lines"):
                    opened(**changes)


class TestClaimedUnits:
    @given(
        st.lists(
            st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 5)), min_size=1, max_size=12
        )
    )
    def test_a_line_that_occurs_twice_counts_once_with_the_sum(
        self, claimed: list[tuple[str, int]]
    ) -> None:
        items = [replace(ITEM, line_id=line, quantity=units) for line, units in claimed]
        units = domain.claimed_units(items=items)
        assert [line for line, _ in units] == sorted({line for line, _ in claimed})
        assert sum(count for _, count in units) == sum(count for _, count in claimed)


class TestLineTotals:
    @pytest.mark.parametrize(
        ("unit_price", "quantity", "rates", "tax"),
        [
            (1000, 2, [], 0),
            (1000, 2, [20.0], 400),
            (5, 1, [10.0], 1),
            (4, 1, [10.0], 0),
            (25, 1, [10.0, 10.0], 6),
            (999, 3, [12.5], 375),
            (10, 1, [0.1], 0),
            (1000, 1, [8.875], 89),
            (0, 5, [20.0], 0),
        ],
    )
    def test_each_tax_is_rounded_half_up_by_itself(
        self, unit_price: int, quantity: int, rates: list[float], tax: int
    ) -> None:
        totals = domain.line_totals(unit_price=unit_price, quantity=quantity, rates=rates)
        assert totals["subtotal"] == unit_price * quantity
        assert totals["tax_total"] == totals["original_tax_total"] == tax
        assert totals["total"] == totals["original_total"] == unit_price * quantity + tax
        assert totals["discount_total"] == 0
