"""How what a claim gives is changed: its refund is retried, or it becomes one of the other type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from chassis import saga_log
from chassis.db import Tx
from chassis.sagas import Saga
from chassis.values import derived_id
from services.claims import conversion_saga, conversions, store
from services.claims.domain import AdditionalItem, Change, Claim

KINDS = frozenset(table.kind for table in conversion_saga.TABLES)


async def retry(
    tx: Tx,
    claim: Claim,
    *,
    saga_id: str,
    refund_amount: int | None,
    refund_to: str | None,
    now: datetime,
) -> None:
    """Begin to refund a claim that was not. Raises as ``conversions.check_retry``."""
    conversions.check_retry(claim=claim)
    facts = conversion_saga.refund_facts(
        claim=claim,
        request_id=saga_id,
        refund_amount=refund_amount,
        refund_to=refund_to,
        converts=False,
    )
    await _begin_refund(tx, claim, saga_id, facts, now)


async def convert(
    tx: Tx,
    claim: Claim,
    *,
    saga_id: str,
    to: str,
    refund_amount: int | None,
    refund_to: str | None,
    additional_items: Sequence[AdditionalItem],
    shipping_methods: list[dict[str, Any]] | None,
    order: dict[str, Any] | None,
    now: datetime,
) -> Change | None:
    """Begin to make a claim one of the other type; the change, if nobody has to be asked.

    Raises as ``conversions.check_conversion``.
    """
    await check(
        tx,
        claim,
        to=to,
        refund_amount=refund_amount,
        refund_to=refund_to,
        additional_items=additional_items,
    )
    if to == "refund":
        facts = conversion_saga.refund_facts(
            claim=claim,
            request_id=saga_id,
            refund_amount=refund_amount,
            refund_to=refund_to,
            converts=True,
        )
        await _begin_refund(tx, claim, saga_id, facts, now)
        return None
    if claim.additional_items:  # they are reserved already
        if shipping_methods is not None:
            await store.set_shipping_methods(tx, claim_id=claim.id, methods=shipping_methods)
        return conversions.replaced(claim=claim, stock_id=claim.stock_id)
    facts = replace_facts(claim, saga_id, additional_items, order, shipping_methods)
    await store.save(tx, claim=replace(claim, busy_with="conversion"), now=now)
    await saga_log.begin(
        tx, conversion_saga.TO_REPLACE, saga_id=saga_id, subject_id=claim.id, facts=facts, now=now
    )
    return None


async def check(
    tx: Tx,
    claim: Claim,
    *,
    to: str,
    refund_amount: int | None,
    refund_to: str | None,
    additional_items: Sequence[AdditionalItem],
) -> None:
    """Whether a claim may be converted. Raises as ``conversions.check_conversion``."""
    conversions.check_conversion(
        claim=claim,
        to=to,
        additional_items=additional_items,
        refund_amount=refund_amount,
        refund_to=refund_to,
        fulfillments=await store.fulfillments_of(tx, claim_id=claim.id),
    )


def replace_facts(
    claim: Claim,
    saga_id: str,
    items: Sequence[AdditionalItem],
    order: dict[str, Any] | None,
    shipping_methods: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    """The facts of a conversion to goods; the reservation is named after this attempt."""
    return conversion_saga.replace_facts(
        claim=claim,
        items=items,
        order=order or {},
        stock_id=derived_id("claim", claim.id, saga_id),
        shipping_methods=shipping_methods,
    )


async def _begin_refund(
    tx: Tx, claim: Claim, saga_id: str, facts: dict[str, Any], now: datetime
) -> None:
    busy_with = "conversion" if facts["converts"] else "refund"
    await store.save(tx, claim=replace(claim, busy_with=busy_with), now=now)
    await saga_log.begin(
        tx, conversion_saga.REFUND, saga_id=saga_id, subject_id=claim.id, facts=facts, now=now
    )


async def settle(tx: Tx, claim: Claim, moved: Saga) -> Change | None:
    """What becomes of a claim by what its saga knows; None while that is open."""
    facts = moved.facts
    if moved.direction == "undone":
        return conversions.kept(claim=claim)
    if moved.direction != "finished":
        return None
    if moved.kind == conversion_saga.REFUND.kind:
        if facts["converts"]:
            await store.drop_additional_items(tx, claim_id=claim.id)
        return conversions.refunded(
            claim=claim,
            amount=facts["refund"]["amount"],
            explanation=facts["refund"]["explanation"],
            converts=facts["converts"],
            refund_to=facts["refund_to"],
        )
    items = [
        AdditionalItem(line_id=line, variant_id=variant, quantity=units)
        for line, variant, units in facts["wanted"]
    ]
    await store.add_additional_items(tx, claim_id=claim.id, items=items)
    creation = await saga_log.load(tx, claim.id)
    tax = creation.facts["hold"]["tax"] if creation is not None else None
    await store.price_additional_items(tx, lines=facts["reserve"]["lines"], tax=tax)
    if facts["shipping_methods"] is not None:
        await store.set_shipping_methods(tx, claim_id=claim.id, methods=facts["shipping_methods"])
    return conversions.replaced(claim=claim, stock_id=facts["stock_id"])
