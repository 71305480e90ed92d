"""Calls that inventory answers: what is asked is checked here and passed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from chassis.auth import Principal
from chassis.errors import Invalid
from gateway import answers, bodies, wire
from gateway.answers import Try
from gateway.gate import Gate
from gateway.shapes import Shape, check

LIST_MOST = 200
_BOUNDS = ("lt", "lte", "gt", "gte")
# The stock client sends them along; what a list shows here is always whole.
_SHOWN = ("expand", "fields")


@dataclass(frozen=True)
class Filter:
    """What a list parameter may be: a value or several, or an object of these operators."""

    operators: tuple[str, ...] = ()
    is_number: bool = False
    is_date: bool = False

    def value(self, name: str, given: Any) -> str | None:
        """A checked value. Raises Invalid in Medusa's words."""
        if self.is_date:
            return wire.date(given).isoformat()
        text = wire.text({name: given}, name)
        if self.is_number and text is not None:
            _number(name, text)
        return text


VALUES = Filter()
NUMBER = Filter(_BOUNDS, is_number=True)
DATE = Filter(_BOUNDS, is_date=True)
TEXT = Filter((*_BOUNDS, "contains", "starts_with", "ends_with"))


def _number(name: str, text: str) -> None:
    try:
        usable = abs(float(text)) < 2**53
    except ValueError:
        usable = False
    if not usable:
        raise Invalid(
            "invalid_data", f"{name} must be a number conforming to the specified constraints"
        )


def flat(given: Mapping[str, Any], filters: Mapping[str, Filter]) -> dict[str, Any]:
    """``a[gt]=1`` as a service reads it: ``a_gt=1``; lists stay lists."""
    found: dict[str, Any] = {}
    for name, each in filters.items():
        value = given.get(name)
        if isinstance(value, dict):
            wire.reject_unknown(value, each.operators)
            for operator, bound in value.items():
                found[f"{name}_{operator}"] = each.value(operator, bound)
        elif value is not None and each.is_date:
            raise Invalid("invalid_data", f"{name} must be an object")
        elif value is not None:
            found[name] = wire.texts(given, name)
            if each.is_number:
                found[name] = [each.value(name, one) for one in found[name]]
    return found


def asked(
    request: Request, filters: Mapping[str, Filter], *, limit: int = 20
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The query of a list, and the parameters for the service. Raises Invalid for others."""
    given = wire.query(request)
    wire.reject_unknown(given, {*filters, *_SHOWN, "limit", "offset", "order"})
    most, offset = wire.paging(given, default=limit, most=LIST_MOST)
    params = flat(given, filters) | {"limit": most, "offset": offset}
    params |= {name: wire.text(given, name) for name in ("order", "expand")}
    return given, params


async def read(request: Request, parts: Gate, who: Principal, path: str, *passed: str) -> Any:
    """One thing. ``passed``: parameters that the service wants to know."""
    given = wire.query(request)
    wire.reject_unknown(given, {*_SHOWN, *passed})
    params = {name: wire.texts(given, name) for name in passed}
    return await parts.inventory.get(path, who=who, params=params)


async def change(
    request: Request, parts: Gate, who: Principal, path: str, shape: Shape | None
) -> Response:
    """Pass a checked body on; a key that the client sent is honored."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)

    async def work() -> Any:
        given = check(shape or bodies.EMPTY, body)
        wanted = {name: value for name, value in given.items() if name in body}
        return await parts.inventory.send(
            request.method,
            path,
            who=who,
            body=wanted if shape else None,
            headers=key_of(tried),
        )

    return await answers.once(parts.database, who=who, tried=tried, work=work)


def key_of(tried: Try) -> dict[str, str]:
    """The client's key for the service; one that we made up would mean nothing to anybody."""
    return tried.upstream_headers if tried.given else {}
