"""What may be packed, sent, unpacked and converted: the desk, from both sides of each border."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.errors import Refusal
from services.claims import conversions, fulfillments
from services.claims.domain import AdditionalItem, Claim, ClaimItem
from services.claims.fulfillments import Fulfillment

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def an_item(name: str, place: str | None = "here", **changes: Any) -> AdditionalItem:
    return AdditionalItem(
        **{"line_id": name, "variant_id": "v_1", "quantity": 2, "location_id": place, **changes}
    )


def a_claim(*items: AdditionalItem, **changes: Any) -> Claim:
    return Claim(
        **{
            "id": "claim_1",
            "order_id": "order_1",
            "type": "replace",
            "items": (ClaimItem(id="citm_1", line_id="item_1", quantity=1, reason="other"),),
            "additional_items": items or (an_item("a"),),
            "status": "open",
            "payment_status": "na",
            "recovery_point": "finished",
            **changes,
        }
    )


def sent(state: str = "live", **changes: Any) -> Fulfillment:
    known = {"id": "ful_1", "claim_id": "claim_1", "line_ids": ("a",)}
    return Fulfillment(**{**known, "state": state, **changes})


def code_of(work: Any, **given: Any) -> str | None:
    try:
        work(**given)
    except Refusal as no:
        return no.code
    return None


def packing(claim: Claim, earlier: tuple[Fulfillment, ...] = (), **given: Any) -> Any:
    return fulfillments.decide_parcels(
        **{
            "claim": claim,
            "fulfillments": earlier,
            "has_shipping_method": True,
            "location_id": None,
            **given,
        }
    )


DONE = an_item("a", fulfilled_quantity=2)


@pytest.mark.parametrize(
    ("claim", "earlier", "method", "code"),
    [
        (a_claim(), (), True, None),
        (a_claim(fulfillment_status="canceled"), (sent("canceled"),), True, None),
        (a_claim(DONE, an_item("b"), fulfillment_status="requires_action"), (sent(),), True, None),
        (a_claim(status="canceled", type="refund"), (), False, "claim_canceled"),
        (a_claim(status="canceling"), (), True, "claim_busy"),
        (a_claim(busy_with="conversion"), (), True, "claim_busy"),
        (a_claim(), (sent("pending"),), True, "fulfillment_under_way"),
        (a_claim(DONE), (sent("canceling"),), True, "fulfillment_under_way"),
        (a_claim(DONE, fulfillment_status="fulfilled"), (sent(),), False, "claim_fulfilled"),
        (a_claim(DONE, fulfillment_status="shipped"), (sent(),), True, "claim_fulfilled"),
        (a_claim(DONE, fulfillment_status="canceled"), (sent(),), True, "claim_fulfilled"),
        (a_claim(type="refund"), (), False, "claim_of_refund"),
        (a_claim(type="refund", additional_items=()), (), True, "claim_of_refund"),
        (a_claim(), (), False, "no_shipping_method"),
    ],
)
def test_packing_refuses_in_medusas_order(
    claim: Claim, earlier: tuple[Fulfillment, ...], method: bool, code: str | None
) -> None:
    given = {"claim": claim, "earlier": earlier, "has_shipping_method": method}
    assert code_of(packing, **given) == code


def test_what_is_owed_leaves_from_where_it_is_reserved() -> None:
    claim = a_claim(DONE, an_item("b", "there"), an_item("c", None), an_item("d"))
    told = [(p.location_id, [item.line_id for item in p.lines]) for p in packing(claim)]
    assert told == [(None, ["c"]), ("here", ["d"]), ("there", ["b"])]
    (parcel,) = packing(claim, location_id="shop")
    assert (parcel.location_id, len(parcel.lines)) == ("shop", 3)


@pytest.mark.parametrize(
    ("given", "packed", "then"),
    [
        ("not_fulfilled", (2, 2), "fulfilled"),
        ("not_fulfilled", (2, 0), "requires_action"),
        ("requires_action", (2, 2), "fulfilled"),
        ("canceled", (0, 0), "canceled"),
        ("not_fulfilled", (0, 0), "not_fulfilled"),
    ],
)
def test_the_status_of_a_claim_that_packs(given: str, packed: tuple[int, int], then: str) -> None:
    items = [an_item(name, fulfilled_quantity=n) for name, n in zip("ab", packed, strict=True)]
    assert fulfillments.packed_status(items=items, before=given) == then


@pytest.mark.parametrize(("shipped", "then"), [((2, 2), "shipped"), ((2, 0), "partially_shipped")])
def test_the_status_of_a_claim_that_sends(shipped: tuple[int, int], then: str) -> None:
    items = [an_item(name, shipped_quantity=n) for name, n in zip("ab", shipped, strict=True)]
    assert fulfillments.shipped_status(items=items) == then


@pytest.mark.parametrize(
    ("found", "begins", "code"),
    [
        (sent(), True, None),
        (sent("canceling"), False, None),
        (sent("canceled"), False, None),
        (sent("pending"), None, "fulfillment_under_way"),
        (sent(is_shipped=True), None, "fulfillment_shipped"),
    ],
)
def test_unpacking(found: Fulfillment, begins: bool | None, code: str | None) -> None:
    assert code_of(fulfillments.decide_cancel, fulfillment=found) == code
    if code is None:
        assert fulfillments.decide_cancel(fulfillment=found) is begins


@pytest.mark.parametrize(
    ("claim", "found", "code"),
    [
        (a_claim(), sent(), None),
        (a_claim(status="canceled"), None, "claim_canceled"),
        (a_claim(), None, "fulfillment_unknown"),
        (a_claim(), sent("canceled"), "fulfillment_canceled"),
        (a_claim(), sent("canceling"), "fulfillment_under_way"),
        (a_claim(), sent("pending"), "fulfillment_under_way"),
        (a_claim(), sent(is_shipped=True), "fulfillment_shipped"),
    ],
)
def test_sending(claim: Claim, found: Fulfillment | None, code: str | None) -> None:
    assert code_of(fulfillments.decide_shipment, claim=claim, fulfillment=found) == code


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("live", "fulfillments_not_canceled"),
        ("pending", "fulfillment_under_way"),
        ("canceling", "fulfillment_under_way"),
        ("refused", None),
        ("canceled", None),
    ],
)
def test_a_claim_is_canceled_only_without_goods(state: str, code: str | None) -> None:
    assert code_of(fulfillments.check_claim_cancel, fulfillments=[sent(state)]) == code


# ---- conversions --------------------------------------------------------------------------------

MONEY = {"type": "refund", "payment_status": "not_refunded", "additional_items": ()}
BOTH = {**MONEY, "additional_items": (an_item("a"),)}


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        (a_claim(**MONEY), None),
        (a_claim(**MONEY, status="canceled"), "claim_canceled"),
        (a_claim(**MONEY, closed_at=NOW), "claim_closed"),
        (a_claim(), "claim_of_replacement"),
        (a_claim(**{**MONEY, "payment_status": "refunded"}), "claim_already_refunded"),
        (a_claim(**MONEY, busy_with="refund"), "claim_busy"),
        (a_claim(**MONEY, recovery_point="claim_created"), "claim_busy"),
    ],
)
def test_a_refund_is_retried_where_none_went_out(claim: Claim, code: str | None) -> None:
    assert code_of(conversions.check_retry, claim=claim) == code


@pytest.mark.parametrize(
    ("claim", "to", "items", "amount", "state", "code"),
    [
        (a_claim(**MONEY), "replace", [an_item("n")], None, None, None),
        (
            a_claim(**BOTH),
            "replace",
            [],
            None,
            None,
            None,
        ),
        (a_claim(), "refund", [], 5, None, None),
        (a_claim(), "refund", [], None, "canceled", None),
        (a_claim(), "replace", [], None, None, "claim_type_same"),
        (a_claim(**MONEY), "replace", [], None, None, "additional_items_missing"),
        (a_claim(**MONEY), "replace", [an_item("n")], 1, None, "refund_amount_on_replace"),
        (a_claim(), "refund", [an_item("n")], None, None, "additional_items_unwanted"),
        (a_claim(), "refund", [], None, "live", "fulfillments_not_canceled"),
        (a_claim(), "refund", [], None, "pending", "fulfillment_under_way"),
        (a_claim(status="canceled"), "refund", [], None, None, "claim_canceled"),
        (a_claim(closed_at=NOW), "refund", [], None, None, "claim_closed"),
        (a_claim(busy_with="refund"), "refund", [], None, None, "claim_busy"),
        (
            a_claim(**{**MONEY, "payment_status": "refunded"}),
            *("replace", [an_item("n")], None, None, "claim_already_refunded"),
        ),
    ],
)
def test_a_claim_is_converted_while_nothing_is_paid_and_nothing_sent(
    claim: Claim,
    to: str,
    items: list[AdditionalItem],
    amount: int | None,
    state: str | None,
    code: str | None,
) -> None:
    given = {
        "claim": claim,
        "to": to,
        "additional_items": items,
        "refund_amount": amount,
        "fulfillments": [sent(state)] if state else [],
    }
    assert code_of(conversions.check_conversion, **given) == code


def test_what_becomes_of_a_converted_claim() -> None:
    busy = a_claim(busy_with="conversion", fulfillment_status="canceled", stock_id="claim_x")
    part = {"amount": 5}
    paid = conversions.refunded(
        claim=busy, amount=5, explanation=[part], converts=True, refund_to="store_credit"
    )
    assert paid.happened == ("converted", "refunded")
    less = conversions.refunded(
        claim=busy, amount=3, explanation=[part], converts=True, refund_to="payment"
    )
    assert [each["amount"] for each in less.claim.explanation] == [5, -2]
    assert (paid.claim.type, paid.claim.payment_status) == ("refund", "refunded")
    assert paid.claim.refund_to == "store_credit"
    assert (paid.claim.additional_items, paid.claim.stock_id) == ((), None)
    assert paid.claim.busy_with is None
    assert paid.claim.fulfillment_status == "not_fulfilled"
    unpaid = conversions.refunded(
        claim=busy, amount=0, explanation=[], converts=False, refund_to="payment"
    )
    assert (unpaid.happened, unpaid.claim.payment_status) == ((), "not_refunded")
    credited = a_claim(**MONEY, refund_amount=0, refund_to="store_credit")
    goods = conversions.replaced(claim=credited, stock_id="claim_y")
    assert goods.claim.refund_to == "payment"
    assert (goods.claim.type, goods.claim.payment_status) == ("replace", "na")
    assert (goods.claim.refund_amount, goods.claim.stock_id) == (None, "claim_y")
    assert conversions.kept(claim=busy).claim == replace(busy, busy_with=None)
