"""The only reader of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chassis import sources

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The present instant, aware, in UTC."""
    return _EPOCH + timedelta(microseconds=sources.current().now_ns() // 1000)


def monotonic_s() -> float:
    """Seconds that only grow; for measuring, never for storing."""
    return sources.current().monotonic_s()
