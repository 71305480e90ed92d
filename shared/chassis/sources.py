"""Where time and chance come from: one object, replaceable as a whole.

A simulation puts its own in place (``replaced``), and everything that clock.py and values.py give
follows from its seed. Nothing else in the product reads a clock or draws a number.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Sources(Protocol):
    """What a world has to offer."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, by the wall clock: it may jump."""

    def monotonic_s(self) -> float:
        """Seconds that only grow."""

    def randbytes(self, size: int) -> bytes:
        """Unguessable bytes."""

    def uniform(self, least: float, most: float) -> float:
        """A number in between."""


class _System:
    """The machine's own."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def randbytes(self, size: int) -> bytes:
        return os.urandom(size)

    def uniform(self, least: float, most: float) -> float:
        return random.uniform(least, most)


_current: Sources = _System()


def current() -> Sources:
    """The world this process lives in."""
    return _current


@contextmanager
def replaced(sources: Sources) -> Iterator[None]:
    """Another world, for as long as this lasts; for the whole process, so never while it serves."""
    global _current
    before, _current = _current, sources
    try:
        yield
    finally:
        _current = before


def chance(seed: str) -> random.Random:
    """A generator whose numbers follow from the text, on every machine the same."""
    return random.Random(seed)
