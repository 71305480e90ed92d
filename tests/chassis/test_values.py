"""Ids and exact arithmetic."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.values import (
    allocate,
    command_id,
    derived_id,
    jitter,
    new_id,
    random_token,
    round_half_up,
    uuid7,
)


class TestIds:
    def test_new_ids_are_all_different_and_of_one_length(self) -> None:
        made = {new_id("claim") for _ in range(5000)}
        assert len(made) == 5000
        assert {len(id_) for id_ in made} == {len("claim_") + 26}
        assert all(id_.startswith("claim_") and id_.isascii() for id_ in made)

    def test_later_ids_sort_behind_earlier_ones(self) -> None:
        """To the millisecond: that is what pages ordered by id rely on."""

        def milliseconds(id_: str) -> int:
            alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
            number = 0
            for letter in id_.removeprefix("x_"):
                number = number * 32 + alphabet.index(letter)
            return number >> 80

        before = int(datetime.now(UTC).timestamp() * 1000)
        made = [new_id("x") for _ in range(100)]
        after = int(datetime.now(UTC).timestamp() * 1000)
        assert all(before <= milliseconds(id_) <= after for id_ in made)
        assert [milliseconds(id_) for id_ in sorted(made)] == sorted(map(milliseconds, made))

    def test_a_derived_id_belongs_to_its_parts(self) -> None:
        assert derived_id("ret", "claim_1", "x") == derived_id("ret", "claim_1", "x")
        others = {
            derived_id("ret", "claim_1", "x"),
            derived_id("ret", "claim_1", "y"),
            derived_id("ret", "claim_1x"),
            derived_id("item", "claim_1", "x"),
            derived_id("ret", "x", "claim_1"),
        }
        assert len(others) == 5

    def test_a_command_id_is_a_function_of_saga_step_and_direction(self) -> None:
        assert command_id("s", "hold", "do") == command_id("s", "hold", "do")
        assert uuid.UUID(command_id("s", "hold", "do")).version == 5
        ids = {command_id(s, p, d) for s in "ab" for p in ("h", "r") for d in ("do", "undo")}
        assert len(ids) == 8

    def test_uuid7_is_one(self) -> None:
        made = [uuid.UUID(uuid7()) for _ in range(1000)]
        assert {(u.version, u.variant) for u in made} == {(7, uuid.RFC_4122)}
        assert len(set(made)) == 1000
        assert [u.int >> 80 for u in made] == sorted(u.int >> 80 for u in made)

    def test_a_random_token_is_hex_of_its_size(self) -> None:
        assert len(random_token()) == 64
        assert len(bytes.fromhex(random_token(16))) == 16

    @given(st.floats(0.001, 1e6), st.floats(0, 0.9))
    def test_jitter_stays_within_its_share(self, value: float, share: float) -> None:
        assert value * (1 - share) * 0.999 <= jitter(value, share) <= value * (1 + share) * 1.001


class TestRoundHalfUp:
    @pytest.mark.parametrize(
        ("numerator", "denominator", "rounded"),
        [
            (5, 10, 1),
            (4, 10, 0),
            (15, 10, 2),
            (25, 10, 3),
            (-5, 10, 0),
            (-6, 10, -1),
            (-15, 10, -1),
            (0, 7, 0),
            (7, 1, 7),
            (10**30 + 1, 2, (10**30 + 2) // 2),
        ],
    )
    def test_halves_go_up_as_in_javascript(
        self, numerator: int, denominator: int, rounded: int
    ) -> None:
        assert round_half_up(numerator, denominator) == rounded

    @given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
    def test_it_is_the_nearest_integer(self, numerator: int, denominator: int) -> None:
        exact = Fraction(numerator, denominator)
        assert -Fraction(1, 2) < round_half_up(numerator, denominator) - exact <= Fraction(1, 2)


class TestAllocate:
    @pytest.mark.parametrize(
        ("total", "weights", "parts"),
        [
            (100, [1, 1, 1], [34, 33, 33]),
            (1, [1, 1], [1, 0]),
            (10, [0, 3, 0], [0, 10, 0]),
            (7, [0, 0], [7, 0]),
            (0, [5, 5], [0, 0]),
            (5, [], []),
            (-100, [1, 1, 1], [-33, -33, -34]),
        ],
    )
    def test_parts_are_in_proportion(
        self, total: int, weights: list[int], parts: list[int]
    ) -> None:
        assert allocate(total, weights) == parts

    @given(
        st.integers(-(10**9), 10**9),
        st.lists(st.integers(0, 10**9), min_size=1, max_size=30),
    )
    def test_parts_add_up_and_each_is_within_one_of_its_share(
        self, total: int, weights: list[int]
    ) -> None:
        parts = allocate(total, weights)
        assert sum(parts) == total
        if sum(weights):
            for part, weight in zip(parts, weights, strict=True):
                assert abs(part - Fraction(total * weight, sum(weights))) < 1
