"""Small values: sortable ids, deterministic ids, exact integer arithmetic."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from chassis import sources

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NAMESPACE = uuid.UUID("6f1f4a52-6a0e-5c0b-9f0d-5b9d6f0c2a11")


def _base32(number: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def _stamp_ms() -> int:
    return sources.current().now_ns() // 1_000_000


def _random_80_bits() -> int:
    return int.from_bytes(sources.current().randbytes(10), "big")


def new_id(prefix: str) -> str:
    """A fresh id, ``<prefix>_<26 characters>``, that sorts by the millisecond it was made in."""
    return f"{prefix}_{_base32((_stamp_ms() << 80) | _random_80_bits())}"


def derived_id(prefix: str, *parts: str) -> str:
    """The id that always belongs to these parts: a repeat finds what the first time made."""
    return f"{prefix}_{_base32(uuid.uuid5(_NAMESPACE, chr(31).join((prefix, *parts))).int)}"


def command_id(saga_id: str, step: str, direction: str) -> str:
    """The message id of a saga's command: a function of its cause, never of the attempt."""
    return str(uuid.uuid5(_NAMESPACE, chr(31).join((saga_id, step, direction))))


def uuid7() -> str:
    """A UUID of version 7 (RFC 9562): sorts by time."""
    random = _random_80_bits()
    number = (_stamp_ms() << 80) | (0x7 << 76) | ((random >> 64 & 0xFFF) << 64)
    number |= (0b10 << 62) | (random & ((1 << 62) - 1))
    return str(uuid.UUID(int=number))


def random_token(size_bytes: int = 32) -> str:
    """An unguessable text of ``size_bytes`` random bytes, in hex."""
    return sources.current().randbytes(size_bytes).hex()


def jitter(value: float, share: float) -> float:
    """``value`` give or take that share, so that a crowd does not come back all at once."""
    return value * sources.current().uniform(1 - share, 1 + share)


def round_half_up(numerator: int, denominator: int) -> int:
    """``numerator / denominator`` rounded to the nearest integer, halves up, as JavaScript does.

    The denominator is positive. Exact: no float is involved.
    """
    return (2 * numerator + denominator) // (2 * denominator)


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` in proportion to ``weights`` so that the parts add up to it exactly.

    Largest remainder; of equal remainders the earlier part wins. Without any weight the first
    part takes all.
    """
    whole = sum(weights)
    if not whole:
        return [total if not index else 0 for index, _ in enumerate(weights)]
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda index: (-(total * weights[index] % whole), index)
    )
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts
