"""What exchanges ask besides what claims ask, as tables. Pure.

creation, after hold and reserve
settle (pivot)     SettleExchange     -    ExchangeSettled | ExchangeRejected

exchange_payment
process (pivot)    ProcessExchange    -    ExchangeSettled | ExchangeRejected

A pivot although it may be refused: once asked, only orders knows whether money moved.
"""

from __future__ import annotations

from typing import Any

from chassis.sagas import Facts, SagaTable, Step
from contracts.orders import (
    ExchangeRejected,
    ExchangeSettled,
    ProcessExchange,
    SentReplacement,
    SettleExchange,
)
from services.claims.domain import Claim


def _settle(facts: Facts) -> SettleExchange:
    return SettleExchange(
        exchange_id=facts["claim_id"],
        order_id=facts["order_id"],
        lines=[
            SentReplacement(
                line_id=line["line_id"],
                variant_id=line["variant_id"],
                title=line["title"],
                description=line["description"],
                unit_price=line["unit_price"],
                quantity=line["quantity"],
            )
            for line in facts["reserve"]["lines"]
        ],
    )


SETTLE = Step(name="settle", do=_settle, done=ExchangeSettled, refused=ExchangeRejected, pivot=True)


def payment_facts(*, claim: Claim, request_id: str) -> dict[str, Any]:
    """What processing a difference needs, JSON-able. ``request_id`` names the attempt."""
    return {"request_id": request_id, "claim_id": claim.id, "order_id": claim.order_id}


PAYMENT = SagaTable(
    kind="exchange_payment",
    plan=lambda facts: (("process",),),
    steps=(
        Step(
            name="process",
            do=lambda facts: ProcessExchange(
                exchange_id=facts["claim_id"],
                order_id=facts["order_id"],
                request_id=facts["request_id"],
            ),
            done=ExchangeSettled,
            refused=ExchangeRejected,
            pivot=True,
        ),
    ),
)

TABLES = (PAYMENT,)
