"""A service's HTTP handlers, declared by their signature and resolved once, when registered.

What a handler takes is said by its parameters:

- a name of the path: the text in its place
- ``Annotated[T, Given(find)]``: whatever ``find(request)`` finds (database, principal, settings);
  ``Request`` is the request itself
- a pydantic model (or ``dict``): on GET the query, else the JSON body
- anything else: a query parameter of its own, checked by its annotation

Every route needs the gateway's internal token. Resolving a handler anew at each call, as FastAPI
does, costs three times the rest of an internal call, and a claim makes five (DECISIONS.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from chassis.auth import Principal, principal
from chassis.strict_json import parse_json

BODY_MAX_BYTES = 1024 * 1024

Handler = Callable[..., Awaitable[Response]]


@dataclass(frozen=True)
class Given:
    """Marks a parameter that is found in the request, not sent as a value of its own."""

    find: Callable[[Request], Any]


def _who(request: Request) -> Principal:
    who: Principal = request.state.who
    return who


Who = Annotated[Principal, Given(_who)]


class WrongRequest(Exception):
    """Parameters or body do not fit; ``errors``: [{path, message}]."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{error['path']}: {error['message']}" for error in errors))
        self.errors = errors


class BodyTooLarge(Exception):
    """More bytes than the route takes, whatever the request says of its length."""


class Router:
    """The routes of one ``api.py``."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Register a reading handler."""
        return self._route("GET", path, 0)

    def post(
        self, path: str, *, max_body_size: int = BODY_MAX_BYTES
    ) -> Callable[[Handler], Handler]:
        """Register a changing handler; ``max_body_size`` in bytes."""
        return self._route("POST", path, max_body_size)

    def delete(self, path: str) -> Callable[[Handler], Handler]:
        """Register a removing handler."""
        return self._route("DELETE", path, 0)

    def _route(self, method: str, path: str, body_max: int) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            endpoint = _Endpoint(handler, path, body_max)
            self.routes.append(Route(path, endpoint, methods=[method], include_in_schema=False))
            return handler

        return register


class _Endpoint:
    """A handler with its parameters sorted out: an ASGI application."""

    def __init__(self, handler: Handler, path: str, body_max: int) -> None:
        self._handler = handler
        self.path = path
        self._body_max = body_max
        self._in_path: list[str] = []
        self._given: list[tuple[str, Callable[[Request], Any]]] = []
        self._body: tuple[str, TypeAdapter[Any]] | None = None
        self._query: tuple[str | None, type[BaseModel]] | None = None
        fields: dict[str, Any] = {}
        hints = get_type_hints(handler, include_extras=True)
        for name, parameter in inspect.signature(handler).parameters.items():
            hint = hints[name]
            kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
            given = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Given)]
            if given:
                self._given.append((name, given[0].find))
            elif hint is Request:
                self._given.append((name, lambda request: request))
            elif f"{{{name}}}" in path:
                self._in_path.append(name)
            elif get_origin(kind) is dict or (_is_model(kind) and body_max):
                self._body = (name, TypeAdapter(hint))
            elif _is_model(kind):
                self._query = (name, kind)
            else:
                default = ... if parameter.default is inspect.Parameter.empty else parameter.default
                fields[name] = (hint, default)
        if fields:
            self._query = (None, create_model("Query", **fields))
        self._lists = frozenset(
            name
            for name, field in (self._query[1].model_fields if self._query else {}).items()
            if _takes_a_list(field.annotation)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Resolve, call, answer. Metrics find the route's template in the scope."""
        scope["route"] = self
        request = Request(scope, receive)
        request.state.who = principal(request)
        values: dict[str, Any] = {name: request.path_params[name] for name in self._in_path}
        for name, find in self._given:
            values[name] = find(request)
        if self._query:
            values |= self._asked(request)
        if self._body:
            values[self._body[0]] = await self._sent(request)
        response = await self._handler(**values)
        await response(scope, receive, send)

    def _asked(self, request: Request) -> dict[str, Any]:
        assert self._query
        name, model = self._query
        query = request.query_params
        sent = {key: query.getlist(key) if key in self._lists else query[key] for key in query}
        try:
            found = model.model_validate(sent)
        except ValidationError as error:
            raise WrongRequest(_errors("query", error)) from None
        return {name: found} if name else {key: getattr(found, key) for key in model.model_fields}

    async def _sent(self, request: Request) -> Any:
        assert self._body
        body = await raw_body(request, self._body_max)
        if not body:
            raise WrongRequest([{"path": "body", "message": "Field required"}])
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise WrongRequest([{"path": "body", "message": "Send application/json"}])
        try:
            return self._body[1].validate_python(parse_json(body))
        except ValidationError as error:
            raise WrongRequest(_errors("body", error)) from None


async def raw_body(request: Request, most: int) -> bytes:
    """The body as it was sent, for a handler that takes no JSON. Raises BodyTooLarge."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise BodyTooLarge
        pieces.append(piece)
    return b"".join(pieces)


def _is_model(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def _takes_a_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(
        get_origin(part) is list for part in get_args(annotation)
    )


def _errors(where: str, error: ValidationError) -> list[dict[str, str]]:
    return [
        {
            "path": ".".join((where, *(str(part) for part in item["loc"]))),
            "message": item["msg"],
        }
        for item in error.errors()
    ]
