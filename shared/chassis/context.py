"""What goes along with the work without being passed: who asked, and what caused it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Context:
    """The thread through logs, messages and answers. All ids are opaque text.

    ``causation_id`` is the message in hand, ``answers`` the message that it replies to.
    """

    correlation_id: str = ""
    causation_id: str | None = None
    saga_id: str | None = None
    answers: str | None = None
    actor_kind: str | None = None
    actor_id: str | None = None


_NOTHING = Context()
_current: ContextVar[Context] = ContextVar("reclamo_context", default=_NOTHING)


def current() -> Context:
    """The context of the running task."""
    return _current.get()


def enter(**changes: Any) -> Context:
    """Change the context of the running task (each request and message runs in its own)."""
    changed = replace(_current.get(), **changes)
    _current.set(changed)
    return changed


def begin(context: Context) -> None:
    """Start afresh with this context."""
    _current.set(context)
