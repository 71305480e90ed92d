"""Money back for units that the customer keeps, and that stay open to other remedies.

A refund by hand may name lines: it is then part of what was paid for their free units, which are
worth that much less from now on, each alike. So all that is refunded of a unit by what it is worth
never exceeds what was paid for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chassis import audit
from chassis.db import Tx
from chassis.errors import Invalid, NotAllowed
from chassis.values import allocate
from services.orders import holding, refunds, remedies, store_units
from services.orders.paying import OpenOrder
from services.orders.refunds import Share
from services.orders.remedies import Line


def decide(
    *, lines: Mapping[str, Line], amounts: Mapping[str, int], amount: int
) -> dict[str, Share]:
    """What is given back of each line. ``amounts`` are minor units by line, ``amount`` their sum.

    Raises when a line is not there, has no free unit, or less is left of what was paid for those.
    """
    if sum(amounts.values()) != amount:
        raise Invalid("amounts_differ", "amount must be the sum of the amounts of the items")
    shares = {}
    for line_id, given in amounts.items():
        line = lines.get(line_id)
        if line is None:
            raise remedies.line_unknown(line_id=line_id)
        remaining = refunds.minus(share=line.priced.paid, taken=line.taken)
        left = remaining.amount if line.free else 0
        if given > left:
            raise NotAllowed(
                "amount_exceeds_line",
                f"Only {left} is left of what was paid for the free units of {line_id}",
                line_id=line_id,
            )
        shares[line_id] = refunds.given_back(remaining=remaining, amount=given)
    return shares


def summed(*, items: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Amounts by line; a line named twice counts once, summed. Raises for an amount below 1."""
    amounts: dict[str, int] = {}
    for line_id, amount in items:
        if amount < 1:
            raise Invalid("amount_below_one", "amount must not be less than 1")
        amounts[line_id] = amounts.get(line_id, 0) + amount
    return amounts


async def shares_of(
    tx: Tx, order: OpenOrder, *, items: Sequence[tuple[str, int]], amount: int
) -> dict[str, Share]:
    """What a refund of ``amount`` gives back of these lines. Raises as ``decide``."""
    amounts = summed(items=items)
    lines = await holding.lines_of(tx, order, amounts)
    return decide(lines=lines, amounts=amounts, amount=amount)


async def give(tx: Tx, order: OpenOrder, *, refund_id: str, shares: Mapping[str, Share]) -> None:
    """Lower what the lines are worth, while their refund is on its way and after."""
    await store_units.add_goodwill(tx, refund_id=refund_id, shares=shares)
    after = {"refund_id": refund_id, "items": {key: each.amount for key, each in shares.items()}}
    order.records.append(audit.Entry("goodwill.given", f"order/{order.id}", None, after))


async def settle(tx: Tx, *, refund_id: str, amount: int) -> None:
    """Only ``amount`` of the refund went out: the lines that it named, if any, are worth the rest
    again."""
    rows = await store_units.goodwill_of(tx, refund_id=refund_id)
    if not rows:
        return
    before = {row["line_id"]: store_units.goodwill_share(row=row) for row in rows}
    parts = allocate(amount, [share.amount for share in before.values()])
    now = {
        line_id: refunds.given_back(remaining=share, amount=part)
        for (line_id, share), part in zip(before.items(), parts, strict=True)
    }
    await store_units.lower_goodwill(tx, refund_id=refund_id, before=before, now=now)
