"""The few pages there are: what this is, the event catalogue, the API reference. No JavaScript."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
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


def router(
    *,
    services: Callable[[], Awaitable[dict[str, str]]],
    embedded: bool,
    demo_password: str | None,
    openapi: Callable[[], dict[str, Any]],
    show_docs: bool,
) -> APIRouter:
    """The pages. ``services`` tells each service's state, ``openapi`` the API's description."""
    templates = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["pretty"] = _pretty
    pages = APIRouter(include_in_schema=False)

    def page(name: str, **data: Any) -> Response:
        return Response(templates.get_template(name).render(**data), media_type="text/html")

    @pages.get("/")
    async def start() -> Response:
        urls = [row for row in _URLS if show_docs or row[0] not in ("/docs", "/openapi.json")]
        return page(
            "start.html",
            urls=urls,
            services=await services(),
            logins=_LOGINS if embedded else (),
            password=demo_password,
        )

    @pages.get("/events")
    async def events() -> Response:
        return page("events.html", rows=catalogue.events_page_rows())

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
        rows = [
            {"method": method.upper(), "path": path, **operation}
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        ]
        return page("docs.html", info=document["info"], rows=rows)

    @pages.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in _STATIC:
            raise HTTPException(404)
        headers = {"Cache-Control": "public, max-age=3600"}
        return FileResponse(_HERE / "static" / name, media_type=_STATIC[name], headers=headers)

    return pages
