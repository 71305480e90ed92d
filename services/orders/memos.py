"""Credit memos: one numbered document per refund that went out. Pure.

Numbers count from 1 in each year, without a gap, in the order in which documents are issued.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.orders.refunds import Part


def number_of(*, year: int, sequence: int) -> str:
    """What is printed: ``CM-2026-000001``."""
    return f"CM-{year}-{sequence:06d}"


def parts_of(
    *, cause_kind: str, explained: Sequence[Part], amount: int, note: str | None, reason: str
) -> list[Part]:
    """The amount line by line; the parts add up to it.

    What was explained when the refund was decided may be more than what went out, where a provider
    declined its share of it.
    """
    if cause_kind == "manual":
        return [Part(None, "given", None, amount, note or f"refund by hand: {reason}")]
    rest = amount - sum(part.amount for part in explained)
    if not rest:
        return list(explained)
    rule = "declined by a payment provider"
    return [*explained, Part(None, "declined", None, rest, rule)]
