"""A net that never caught anything proves nothing: the state machine that claims, sends back,
receives and gives back finds what is planted into the desk of orders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from chassis.errors import Refusal
from chassis.values import round_half_up
from services.orders import goodwill, refunds, remedies
from services.orders.refunds import PricedLine, Share
from services.orders.remedies import HeldLine, Line
from tests.orders.test_any_remedies import AnyRemedies, AnyRemediesAndAmounts

Patch = pytest.MonkeyPatch
# Always the same, and without a search for the shortest story.
LOOK = settings(
    max_examples=400,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Bug:
    """One breakage of the desk, and the machine that must find it."""

    breakage: str
    plant: Callable[[Patch], None]
    machine: type[AnyRemedies] = AnyRemedies

    def __str__(self) -> str:
        return self.breakage


# ---- what units are worth ------------------------------------------------------------------------


def _worth(patch: Patch, kept: Callable[[Share], bool]) -> None:
    def worth(self: Line, *, quantity: int) -> Share:
        taken = [share for share in self.taken if kept(share)]
        remaining = refunds.minus(share=self.priced.paid, taken=taken)
        return refunds.share_of(line=self.priced, remaining=remaining, quantity=quantity)

    patch.setattr(Line, "worth", worth)


def worth_forgets_goodwill(patch: Patch) -> None:
    _worth(patch, lambda share: share.quantity > 0)


def worth_forgets_remedies(patch: Patch) -> None:
    _worth(patch, lambda share: share.quantity == 0)


def rounded_per_unit(patch: Patch) -> None:
    """Each unit is rounded by itself, whatever the others took."""

    def share_of(*, line: PricedLine, remaining: Share, quantity: int) -> Share:
        whole = line.paid
        return Share(
            quantity=quantity,
            goods=whole.goods // whole.quantity * quantity,
            discount=round_half_up(whole.discount, whole.quantity) * quantity,
            taxes=tuple(round_half_up(tax, whole.quantity) * quantity for tax in whole.taxes),
        )

    patch.setattr(refunds, "share_of", share_of)


def receipts_rounded_per_unit(patch: Patch) -> None:
    """What came of a share is its first unit, so many times."""
    original = refunds.first_units

    def first_units(*, share: Share, quantity: int) -> Share:
        one = original(share=share, quantity=1)
        return Share(
            quantity=quantity,
            goods=one.goods * quantity,
            discount=one.discount * quantity,
            taxes=tuple(tax * quantity for tax in one.taxes),
        )

    patch.setattr(refunds, "first_units", first_units)


def goodwill_without_tax(patch: Patch) -> None:
    """A part of a price is taken from the net price alone."""

    def given_back(*, remaining: Share, amount: int) -> Share:
        taxes = (0,) * len(remaining.taxes)
        return Share(quantity=0, goods=0, discount=-amount, taxes=taxes)

    patch.setattr(refunds, "given_back", given_back)


def goodwill_without_bound(patch: Patch) -> None:
    """A part of a price may be more than is left of it."""

    def decide(
        *, lines: Mapping[str, Line], amounts: Mapping[str, int], amount: int
    ) -> dict[str, Share]:
        shares = {}
        for line_id, given in amounts.items():
            line = lines[line_id]
            remaining = refunds.minus(share=line.priced.paid, taken=line.taken)
            shares[line_id] = refunds.given_back(remaining=remaining, amount=given)
        return shares

    patch.setattr(goodwill, "decide", decide)


# ---- which units are free ------------------------------------------------------------------------


def returned_units_are_free(patch: Patch) -> None:
    patch.setattr(Line, "free", property(lambda line: line.quantity - line.remedied_quantity))


def held_units_are_free(patch: Patch) -> None:
    patch.setattr(Line, "free", property(lambda line: line.quantity - line.returned_quantity))


def returned_units_are_claimed(patch: Patch) -> None:
    original = remedies._claimable

    def claimable(*, lines: Mapping[str, Line], line_id: str, quantity: int) -> None:
        forgotten = {id_: replace(line, returned_quantity=0) for id_, line in lines.items()}
        original(lines=forgotten, line_id=line_id, quantity=quantity)

    patch.setattr(remedies, "_claimable", claimable)


def release_keeps_what_is_open(patch: Patch) -> None:
    patch.setattr(remedies, "trimmed", lambda *, held: dict(held))


def release_forgets_what_came(patch: Patch) -> None:
    patch.setattr(remedies, "trimmed", lambda *, held: {})


# ---- money ---------------------------------------------------------------------------------------


def announced_units_are_paid(patch: Patch) -> None:
    original = remedies.due

    def due(*, held: Mapping[str, HeldLine], given: int | None, shipping_cost: int) -> int:
        whole = held
        if any(line.received for line in held.values()):
            whole = {
                name: replace(line, received=line.share.quantity) for name, line in held.items()
            }
        return original(held=whole, given=given, shipping_cost=shipping_cost)

    patch.setattr(remedies, "due", due)


def unannounced_units_are_not_paid(patch: Patch) -> None:
    original = remedies.after

    def after(*, held: Mapping[str, HeldLine], arrivals: Sequence[Any]) -> dict[str, HeldLine]:
        now = original(held=held, arrivals=arrivals)
        for each in arrivals:
            if each.extra is not None and each.line_id not in held:
                nothing = refunds.minus(share=each.extra, taken=_money_of(each.extra))
                now[each.line_id] = HeldLine(each.line_id, nothing, each.unannounced)
        return now

    patch.setattr(remedies, "after", after)


def _money_of(share: Share) -> Iterable[Share]:
    return (replace(share, quantity=0),)


def nobody_asks_whether_there_is_money(patch: Patch) -> None:
    patch.setattr(remedies, "check_refundable", lambda *, amount, money: None)


BUGS = (
    Bug("worth forgets goodwill", worth_forgets_goodwill),
    Bug("worth forgets remedies", worth_forgets_remedies),
    Bug("each unit is rounded by itself", rounded_per_unit),
    Bug("a receipt rounds each unit by itself", receipts_rounded_per_unit),
    Bug("goodwill takes no tax", goodwill_without_tax),
    Bug("goodwill beyond what was paid", goodwill_without_bound),
    Bug("a hold takes returned units", returned_units_are_free),
    Bug("a hold takes held units", held_units_are_free),
    Bug("a claim takes returned units", returned_units_are_claimed),
    Bug("a release keeps what is open", release_keeps_what_is_open),
    Bug("a release forgets what came", release_forgets_what_came),
    Bug("a receipt pays announced units", announced_units_are_paid),
    Bug("unannounced units are not paid", unannounced_units_are_not_paid),
    Bug(
        "nobody asks whether there is money",
        nobody_asks_whether_there_is_money,
        AnyRemediesAndAmounts,
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_caught(monkeypatch: Patch, bug: Bug) -> None:
    bug.plant(monkeypatch)
    # Whatever is the first to notice: a promise, or arithmetic that makes no sense any more.
    with pytest.raises((AssertionError, Refusal, ArithmeticError, ValueError)):
        run_state_machine_as_test(bug.machine, settings=LOOK)


@pytest.mark.parametrize("machine", [AnyRemedies, AnyRemediesAndAmounts])
def test_without_a_bug_the_same_look_finds_nothing(machine: type[AnyRemedies]) -> None:
    run_state_machine_as_test(machine, settings=LOOK)
