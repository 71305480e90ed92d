"""The few pages there are: what this is, the event catalogue, the API reference. No JavaScript."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException

from chassis.http import json_response
from contracts import asyncapi, catalogue

_HERE = Path(__file__).parent
_STATIC = {"reclamo.css": "text/css"}
_URLS = (
    ("/docs", "API reference"),
    ("/openapi.json", "the API as OpenAPI 3.1"),
    ("/events", "every command and event, with schema and example"),
    ("/asyncapi.json", "the messages as AsyncAPI 3.0"),
    ("/livez", "is the process alive"),
    ("/readyz", "can it work"),
    ("/metrics", "figures for Prometheus, to near networks only"),
    ("/version", "which version runs"),
)
_LOGINS = (
    ("admin@reclamo.example", "administrator"),
    ("agent@reclamo.example", "back-office clerk"),
    ("warehouse@reclamo.example", "warehouse clerk"),
    ("ana@reclamo.example", "customer"),
)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _prose(text: str) -> Markup:
    """A docstring for a page: escaped, with its double backquotes as code."""
    return Markup(re.sub(r"``(.+?)``", r"<code>\1</code>", str(escape(text))))


def _fields(schema: Mapping[str, Any], within: str = "") -> Iterator[dict[str, Any]]:
    """A body's schema as rows of a table: {name, what, required}, outer before inner."""
    for name, each in schema.get("properties", {}).items():
        path = f"{within}{name}"
        types = [each["type"]] if isinstance(each["type"], str) else list(each["type"])
        yield {
            "name": path,
            "what": ", ".join([" or ".join(t for t in types if t != "null"), *_limits(each)]),
            "required": name in schema.get("required", ()),
        }
        yield from _fields(each, f"{path}.")
        yield from _fields(each.get("items", {}), f"{path}[].")


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in schema:
        yield "one of " + ", ".join(str(value) for value in schema["enum"] if value is not None)
    if "minimum" in schema:
        yield f"at least {schema['minimum']}"
    if "maxItems" in schema:
        yield f"at most {schema['maxItems']} elements"
    if "maxLength" in schema:
        yield f"at most {schema['maxLength']} characters"
    if "default" in schema:
        yield f"{json.dumps(schema['default'])} if absent"


def _operations(document: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The operations of an OpenAPI document by the first two parts of their paths."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            row = {
                "id": operation["operationId"],
                "method": method.upper(),
                "path": path,
                "description": operation.get("description") or operation.get("summary", ""),
                "roles": operation.get("x-roles"),
                "parameters": operation.get("parameters", []),
                "fields": list(_fields(content.get("application/json", {}).get("schema", {}))),
            }
            groups.setdefault("/".join(path.split("/")[:3]), []).append(row)
    return groups


def _messages() -> dict[str, list[dict[str, Any]]]:
    """The catalogue by the context that a message belongs to."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in catalogue.events_page_rows():
        groups.setdefault(row["key"].partition(".")[0], []).append(row)
    return groups


def _templates(show_docs: bool) -> Environment:
    templates = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(pretty=_pretty, prose=_prose)
    templates.globals["show_docs"] = show_docs
    return templates


def router(
    *,
    services: Callable[[], Awaitable[dict[str, str]]],
    embedded: bool,
    demo_password: str | None,
    openapi: Callable[[], dict[str, Any]],
    show_docs: bool,
) -> APIRouter:
    """The pages. ``services`` tells each service's state, ``openapi`` the API's description."""
    templates = _templates(show_docs)
    pages = APIRouter(include_in_schema=False)

    def page(name: str, **data: Any) -> Response:
        text = templates.get_template(f"{name}.html").render(here=name, **data)
        return Response(text, media_type="text/html")

    @pages.get("/")
    async def start() -> Response:
        urls = [row for row in _URLS if show_docs or row[0] not in ("/docs", "/openapi.json")]
        return page(
            "start",
            urls=urls,
            services=await services(),
            logins=_LOGINS if embedded else (),
            password=demo_password,
        )

    @pages.get("/events")
    async def events() -> Response:
        return page("events", groups=_messages())

    @pages.get("/asyncapi.json")
    async def the_asyncapi() -> Response:
        return json_response(asyncapi.document("amqp://localhost/"))

    @pages.get("/openapi.json")
    async def the_openapi() -> Response:
        if not show_docs:
            raise HTTPException(404)
        return json_response(openapi())

    @pages.get("/docs")
    async def docs() -> Response:
        if not show_docs:
            raise HTTPException(404)
        document = openapi()
        return page("docs", info=document["info"], groups=_operations(document))

    @pages.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in _STATIC:
            raise HTTPException(404)
        headers = {"Cache-Control": "public, max-age=3600"}
        return FileResponse(_HERE / "static" / name, media_type=_STATIC[name], headers=headers)

    return pages
