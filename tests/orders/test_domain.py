"""An order's money, pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Refusal
from services.orders import domain
from services.orders.domain import Money, Payment


def some_money(**changes: int) -> Money:
    return Money(**{"paid": 1000, "captured": 1000, "refunded": 0, "refund_pending": 0, **changes})


class TestARefundByHand:
    # status | amount | money | refused with
    TABLE = (
        ("pending", 1000, some_money(), None),
        ("pending", 1001, some_money(), "amount_exceeds_order"),
        ("pending", 0, some_money(), "amount_below_one"),
        ("canceled", 1, some_money(), "order_canceled"),
        ("pending", 500, some_money(captured=500), None),
        ("pending", 501, some_money(captured=500), "amount_exceeds_refundable"),
        ("pending", 700, some_money(refunded=200, refund_pending=100), None),
        ("pending", 701, some_money(refunded=200, refund_pending=100), "amount_exceeds_order"),
    )

    @pytest.mark.parametrize(("status", "amount", "money", "code"), TABLE)
    def test_stops_at_what_is_left(
        self, status: str, amount: int, money: Money, code: str | None
    ) -> None:
        if code is None:
            domain.decide_refund(order_status=status, amount=amount, money=money)
            return
        with pytest.raises(Refusal) as refused:
            domain.decide_refund(order_status=status, amount=amount, money=money)
        assert refused.value.code == code


class TestASplit:
    def test_fills_the_payments_in_turn(self) -> None:
        payments = [
            Payment("a", "manual", 1000),
            Payment("b", "fake", 0),
            Payment("c", "fake", 900),
        ]
        shares = domain.split(amount=1500, payments=payments)
        assert [(share.payment_id, share.amount) for share in shares] == [("a", 1000), ("c", 500)]

    @given(left=st.lists(st.integers(0, 900), max_size=5), amount=st.integers(1, 3000))
    def test_is_exact_or_refused(self, left: list[int], amount: int) -> None:
        payments = [Payment(str(n), "manual", each) for n, each in enumerate(left)]
        if amount > sum(left):
            with pytest.raises(Refusal):
                domain.split(amount=amount, payments=payments)
            return
        shares = domain.split(amount=amount, payments=payments)
        assert sum(share.amount for share in shares) == amount
        assert all(0 < share.amount <= left[int(share.payment_id)] for share in shares)


@pytest.mark.parametrize(
    ("stored", "refunded", "status"),
    [
        ("captured", 0, "captured"),
        ("awaiting", 0, "awaiting"),
        ("captured", 1, "partially_refunded"),
        ("captured", 999, "partially_refunded"),
        ("partially_refunded", 1000, "refunded"),
        ("canceled", 10, "canceled"),
    ],
)
def test_payment_status_follows_the_ledger(stored: str, refunded: int, status: str) -> None:
    assert domain.payment_status(stored=stored, money=some_money(refunded=refunded)) == status


@pytest.mark.parametrize(
    ("returned", "blocked", "status"),
    [
        (1, False, "partially_returned"),
        (4, False, "returned"),
        (4, True, "requires_action"),
    ],
)
def test_fulfillment_status_after_a_receipt(returned: int, blocked: bool, status: str) -> None:
    assert domain.returned_status(ordered=4, returned=returned, action_required=blocked) == status
