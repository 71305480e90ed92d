"""Reading requests the way the stock client writes them: bracket queries, ``{}``, slashes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis.errors import Invalid
from chassis.strict_json import parse_json

PAIRS_MAX = 500
DEPTH_MAX = 3
OFFSET_MAX = 2**31 - 1
_DIGITS_MAX = 10  # int() of thousands of digits raises, and nothing here counts that far


def query(request: Request) -> dict[str, Any]:
    """The query as ``qs`` means it: ``a[]=1``, ``a[0]=1&a[1]=2``, ``a[gt]=1``, ``a[]=1,2``.

    A repeated name is a list. Raises Invalid for a query that is too large or too deep.
    """
    raw = request.url.query
    pairs = [pair for pair in raw.split("&") if pair]
    if len(pairs) > PAIRS_MAX:
        raise Invalid("invalid_data", f"the query has more than {PAIRS_MAX} parameters")
    found: dict[str, Any] = {}
    for pair in pairs:
        if "%00" in pair:
            raise Invalid("invalid_data", "the query contains the character NUL")
        name, _, value = pair.partition("=")
        _put(found, _path(unquote_plus(name)), unquote_plus(value))
    return {name: _settle(value) for name, value in found.items()}


def _path(name: str) -> list[str]:
    head, *rest = name.split("[")
    if len(rest) > DEPTH_MAX:
        raise Invalid("invalid_data", f"the parameter {head} is nested too deep")
    return [head, *(part.removesuffix("]") for part in rest)]


def _put(into: dict[str, Any], path: list[str], value: str) -> None:
    head, *rest = path
    if not rest:
        known = into.get(head)
        if known is None:
            into[head] = value
        elif isinstance(known, str):
            into[head] = [known, value]
        elif isinstance(known, list):
            known.append(value)
        else:
            raise Invalid("invalid_data", f"the parameter {head} is both a value and an object")
        return
    if rest[0] == "":
        rest[0] = str(len(into.get(head) or ()))
    inner = into.setdefault(head, {})
    if not isinstance(inner, dict):
        raise Invalid("invalid_data", f"the parameter {head} is both a value and an object")
    _put(inner, rest, value)


def _settle(value: Any) -> Any:
    """Objects with the keys 0, 1, 2 are lists; a single element of a list is split on commas."""
    if not isinstance(value, dict):
        return value
    settled = {name: _settle(each) for name, each in value.items()}
    if not all(_is_count(name) for name in settled):
        return settled
    values = [settled[name] for name in sorted(settled, key=int)]
    if len(values) == 1 and isinstance(values[0], str):
        return values[0].split(",")
    return values


def text(given: Mapping[str, Any], name: str) -> str | None:
    """A parameter that is one text; raises Invalid for a list or an object."""
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value
    raise Invalid("invalid_data", f"{name} must be a string")


def texts(given: Mapping[str, Any], name: str) -> list[str] | None:
    """A parameter that is a text or a list of them; raises Invalid for anything else."""
    value = given.get(name)
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in values):
        raise Invalid("invalid_data", f"each value in {name} must be a string")
    return values


def choices(given: Mapping[str, Any], name: str, values: Collection[str]) -> list[str] | None:
    """A parameter that is one or several of these; raises Invalid that names them."""
    found = texts(given, name)
    if found is not None and not set(found) <= set(values):
        told = ", ".join(values)
        raise Invalid("invalid_data", f"{name} must be one of the following values: {told}")
    return found


def days(given: Mapping[str, Any], name: str) -> dict[str, str]:
    """``name[gte]`` and ``name[lt]`` as services read them: {created_from, created_before}."""
    dates = given.get(name, {})
    if not isinstance(dates, dict):
        raise Invalid("invalid_data", f"{name} must be an object")
    reject_unknown(dates, {"gte", "lt"})
    bounds = (("gte", "created_from"), ("lt", "created_before"))
    return {told: date(dates[sign]).isoformat() for sign, told in bounds if sign in dates}


def reject_unknown(given: Collection[str], allowed: Collection[str]) -> None:
    """Raises Invalid, in Medusa's words, for names that are not allowed."""
    unknown = [f"property {name[:100]} should not exist" for name in given if name not in allowed]
    if unknown:
        raise Invalid("invalid_data", ", ".join(unknown))


def paging(given: dict[str, Any], *, default: int, most: int) -> tuple[int, int]:
    """limit (capped, and the answer says so) and offset; raises Invalid for what is no number."""
    limit = _count(given, "limit", default)
    return min(limit, most), _count(given, "offset", 0)


def _count(given: dict[str, Any], name: str, default: int) -> int:
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or not _is_count(value) or int(value) > OFFSET_MAX:
        raise Invalid(
            "invalid_data", f"{name} must be a number conforming to the specified constraints"
        )
    return int(value)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def date(value: Any) -> datetime:
    """A parseable date or unix seconds, in UTC; raises Invalid."""
    try:
        if not isinstance(value, str):
            raise ValueError
        if value.lstrip("-").isdecimal():
            return datetime.fromtimestamp(int(value), UTC)
        found = datetime.fromisoformat(value)
        # Near the first and the last year another zone is another era: astimezone overflows.
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise Invalid("invalid_data", f"{str(value)[:100]} is not a date") from None


async def body(request: Request) -> dict[str, Any]:
    """The JSON object of a request; nothing at all is ``{}``.

    Raises UnreadableJson, Invalid; a body over the limit is refused before (413).
    """
    raw = await request.body()
    if not raw.strip():
        return {}
    found = parse_json(raw)
    if not isinstance(found, dict):
        raise Invalid("invalid_data", "the body must be an object")
    return found


class TrailingSlash:
    """Pure ASGI: ``/admin/returns/`` is ``/admin/returns``, without a redirect."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Cut the slash off."""
        if scope["type"] == "http" and len(scope["path"]) > 1 and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)
