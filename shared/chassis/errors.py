"""Refusals: what the rules say no with.

Refusal
 |- NotFound     the thing is not there, or not for this caller
 |- Invalid      the request itself makes no sense
 |- NotAllowed   the request makes sense, the state of things forbids it
 |- Conflict     somebody else is at it right now; the same request may work later
 |- Forbidden    this caller may not
 |- KeyReused    an idempotency key came back with another request
 |- Duplicate    something else has this name already
 |- Failed       it was tried, and somebody outside said no for good
Unavailable      passing trouble: nothing was decided, try again

``chassis.http`` maps kinds to statuses, consumers map the same refusals to replies.
"""

from __future__ import annotations

from typing import Any, ClassVar


class Refusal(Exception):
    """A named no. ``code`` is for programs, ``message`` for people, ``facts`` is JSON-able."""

    kind: ClassVar[str] = "refused"

    def __init__(self, code: str, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.facts = facts


class NotFound(Refusal):
    """The thing is not there, or not for this caller: both look the same."""

    kind = "not_found"


class Invalid(Refusal):
    """The request itself makes no sense."""

    kind = "invalid"


class NotAllowed(Refusal):
    """The request makes sense, but the state of things forbids it."""

    kind = "not_allowed"


class Conflict(Refusal):
    """Somebody else is at it right now; the same request may work later."""

    kind = "conflict"


class Forbidden(Refusal):
    """This caller may not."""

    kind = "forbidden"


class KeyReused(Refusal):
    """An idempotency key came back with another request."""

    kind = "key_reused"


class Duplicate(Refusal):
    """Something else has this name, value or address already."""

    kind = "duplicate"


class Failed(Refusal):
    """It was tried, and somebody outside said no for good."""

    kind = "failed"


class Unavailable(Exception):
    """Passing trouble: nothing was decided. ``retry_after_s`` says when to try again."""

    def __init__(self, message: str, *, retry_after_s: int = 1, code: str = "unavailable") -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.code = code


_KINDS: dict[str, type[Refusal]] = {
    cls.kind: cls
    for cls in (NotFound, Invalid, NotAllowed, Conflict, Forbidden, KeyReused, Duplicate, Failed)
}


def refusal(kind: str, code: str, message: str, **facts: Any) -> Refusal:
    """Rebuild a refusal that travelled in a message or an answer; an unknown kind is NotAllowed."""
    return _KINDS.get(kind, NotAllowed)(code, message, **facts)
