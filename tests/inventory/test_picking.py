"""From where units are taken: both sides of every border, without a database."""

from __future__ import annotations

import pytest

from chassis.errors import NotAllowed
from services.inventory.domain import Level, Movement
from services.inventory.picking import Held, Sent, given_back, pick


def a_line(quantity: int, *, number: int = 1, item: str | None = "mug") -> Sent:
    return Sent(number, f"line_{number}", f"Line {number}", quantity, item)


def a_level(on_hand: int, reserved: int = 0, *, at: str = "a", backorder: bool = False) -> Level:
    return Level("mug", at, on_hand, reserved, allow_backorder=backorder)


def held(name: str, units: int, *, at: str = "a", line: str = "line_1") -> Held:
    return Held(name, line, "mug", at, units)


def test_the_last_free_unit_may_go_and_not_one_more() -> None:
    levels = [a_level(5, 3)]
    picked = pick([a_line(2)], location_id="a", levels=levels, held=[])
    assert picked.movements == (Movement(1, "mug", "a", -2),)
    with pytest.raises(NotAllowed, match="Insufficient stock for item: Line 1"):
        pick([a_line(3)], location_id="a", levels=levels, held=[])


def test_lines_of_one_item_share_its_stock() -> None:
    lines = [a_line(2), a_line(2, number=2)]
    assert len(pick(lines, location_id="a", levels=[a_level(4)], held=[]).movements) == 2
    with pytest.raises(NotAllowed, match="Line 2"):
        pick(lines, location_id="a", levels=[a_level(3)], held=[])


def test_a_reservation_of_one_line_is_no_stock_for_another() -> None:
    lines = [a_line(1), a_line(1, number=2)]
    with pytest.raises(NotAllowed, match="Line 2"):
        pick(lines, location_id="a", levels=[a_level(2, 2)], held=[held("r", 2)])


@pytest.mark.parametrize(
    ("reservations", "takes"),
    [
        ([held("new", 3), held("exact", 2)], (("exact", 2),)),
        ([held("new", 3), held("old", 1)], (("new", 2),)),
        ([held("far", 2, at="b"), held("here", 1)], (("here", 1), ("far", 1))),
        ([held("far", 9, at="b")], (("far", 2),)),
        ([held("else", 9, line="line_9")], ()),
    ],
)
def test_reservations_go_in_medusas_order(
    reservations: list[Held], takes: tuple[tuple[str, int], ...]
) -> None:
    levels = [a_level(20, 10), a_level(20, 10, at="b")]
    picked = pick([a_line(2)], location_id="a", levels=levels, held=reservations)
    assert picked.takes == takes


def test_what_is_reserved_elsewhere_makes_no_room_here() -> None:
    levels = [a_level(2, 2), a_level(2, 2, at="b")]
    with pytest.raises(NotAllowed, match="Insufficient"):
        pick([a_line(1)], location_id="a", levels=levels, held=[held("far", 2, at="b")])


def test_a_backorder_needs_the_goods_but_not_that_nobody_waits_for_them() -> None:
    levels = [a_level(1, 5, backorder=True)]
    assert pick([a_line(1)], location_id="a", levels=levels, held=[]).movements
    with pytest.raises(NotAllowed, match="Insufficient"):
        pick([a_line(2)], location_id="a", levels=levels, held=[])


def test_lines_without_stock_need_no_level() -> None:
    assert pick([a_line(9, item=None)], location_id="a", levels=[], held=[]).movements == ()


def test_what_has_no_level_any_more_gets_nothing_back() -> None:
    moves = [Movement(1, "mug", "a", -2), Movement(2, "mug", "gone", -1)]
    assert given_back(moves, levels={("mug", "a"): a_level(0)}) == [Movement(1, "mug", "a", 2)]
