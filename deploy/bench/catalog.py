"""What is measured: the kinds of work, and the floors and goals they are held against. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


class BenchFailed(Exception):
    """The benchmark could not be carried out; the text says why, and what to do."""


MODES = ("embedded", "distributed")
CLIENTS = (1, 8, 32)


@dataclass(frozen=True)
class Bar:
    """The floor that is owed and the goal that is argued about; per second, or milliseconds."""

    floor: float
    goal: float


@dataclass(frozen=True)
class Work:
    """A kind of work: one unit is ``calls`` requests. ``rate`` (units per second at 8 clients and
    more) and ``p50`` (ms at one client) are bars by mode."""

    name: str
    title: str
    calls: int = 1
    writes: bool = True
    rate: dict[str, Bar] = field(default_factory=dict)
    p50: dict[str, Bar] = field(default_factory=dict)


WORKS = {
    work.name: work
    for work in (
        Work(
            "refund",
            "refund claim",
            rate={"embedded": Bar(60, 150), "distributed": Bar(25, 60)},
            p50={"embedded": Bar(30, 10), "distributed": Bar(45, 20)},
        ),
        Work("refund-return", "refund claim with return"),
        Work(
            "replace",
            "replace claim",
            rate={"embedded": Bar(50, 120), "distributed": Bar(20, 50)},
        ),
        Work(
            "return",
            "return request + receive",
            calls=2,
            rate={"embedded": Bar(30, 80), "distributed": Bar(15, 35)},
        ),
        Work("fulfillment", "order fulfillment + shipment", calls=2),
        Work("sent", "replace claim + pack + send", calls=3),
        Work("convert", "replace claim + convert to refund", calls=2),
        Work("exchange", "exchange"),
        Work("inquiry", "report + review + approve", calls=3),
        Work(
            "order",
            "order detail",
            writes=False,
            rate={"embedded": Bar(150, 500), "distributed": Bar(80, 300)},
        ),
        Work("orders", "order list, 15 a page", writes=False),
    )
}
# What has to be there afterwards, no more and no less.
MADE_BY = {
    # Exchanges are kept among the claims.
    "claims": ("refund", "refund-return", "replace", "sent", "convert", "exchange", "inquiry"),
    "returns": ("return", "refund-return", "exchange"),
}
# Beside the kinds of work, what ``--only`` knows.
CEILINGS, IDLE = "ceilings", "idle"
SECTIONS = (*WORKS, CEILINGS, IDLE)
IDLE_MAX_PERCENT = 2.0
HISTORY_MAX_GROWTH = 1.10


def bar_of(work: str, mode: str, clients: int) -> tuple[str, Bar] | None:
    """Which figure of a cell is held against a bar: ("per_second" or "p50", the bar)."""
    found = WORKS[work]
    if clients == 1 and mode in found.p50:
        return "p50", found.p50[mode]
    if clients >= 8 and mode in found.rate:
        return "per_second", found.rate[mode]
    return None
