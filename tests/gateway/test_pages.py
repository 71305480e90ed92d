"""The pages: whole without JavaScript, safe with any text, readable by everybody."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from chassis.http import json_response
from gateway import access, errors, pages
from tests.gateway.builders import Door

NASTY = "<img src=x onerror=alert(1)>"
PAGES = ("/", "/docs", "/events")


def an_app(
    *,
    states: dict[str, str] | None = None,
    embedded: bool = False,
    password: str | None = None,
    show_docs: bool = True,
) -> FastAPI:
    """An application with the pages and one route."""
    app = FastAPI(title="Reclamo", openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/admin/things/{thing_id}")
    async def get_thing(thing_id: str) -> Any:
        """One ``thing``, not <b>two</b>."""
        return json_response({})

    async def services() -> dict[str, str]:
        return states or {"orders": "ok"}

    app.include_router(
        pages.router(
            services=services,
            embedded=embedded,
            demo_password=password,
            openapi=app.openapi,
            show_docs=show_docs,
        )
    )
    errors.add_errors(app)
    app.add_middleware(errors.SecurityHeaders, origins=())
    return app


async def get(app: FastAPI, path: str) -> httpx2.Response:
    """One answer."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        return await client.get(path)


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, name: str) -> list[dict[str, str | None]]:
        """The attributes of every such element."""
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_has_what_readers_and_screen_readers_need(path: str) -> None:
    answer = await get(an_app(embedded=True, password="p"), path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text.startswith("<!doctype html>")
    page = Page(answer.text)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert "width=device-width" in str(page.all("meta"))
    assert page.all("a")[0] == {"class": "skip", "href": "#content"}
    assert [each["id"] for each in page.all("main")] == ["content"]
    assert len(re.findall(r'aria-current="page"', answer.text)) == 1
    title = re.search(r"<title>(.+?)</title>", answer.text)
    assert title
    assert "Reclamo" in title[1]
    ids = [each["id"] for _, each in page.tags if "id" in each]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_needs_no_script_no_inline_style_and_no_other_host(path: str) -> None:
    page = Page((await get(an_app(), path)).text)
    assert page.all("script") == page.all("style") == page.all("img") == []
    for _, attributes in page.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        for name in ("href", "src", "action"):
            assert (attributes.get(name) or "/").startswith(("/", "#", "data:,"))


@pytest.mark.parametrize("path", PAGES)
async def test_every_link_of_a_page_leads_somewhere(door: Door, path: str) -> None:
    page = Page((await door.as_().get(path)).text)
    ids = {each["id"] for _, each in page.tags if "id" in each}
    for link in {str(each["href"]) for each in (*page.all("a"), *page.all("link"))}:
        if link.startswith("#"):
            assert link[1:] in ids
        elif link != "data:,":
            assert (await door.as_().get(link)).status_code == 200, link


async def test_the_start_page_tells_the_state_of_each_service() -> None:
    states = {"orders": "ok", "claims": "degraded", "inventory": f"unreachable {NASTY}"}
    text = (await get(an_app(states=states), "/")).text
    assert 'class="state good">ok<' in text
    assert 'class="state warn">degraded<' in text
    assert 'class="state bad">unreachable &lt;img' in text
    assert NASTY not in text


async def test_demo_logins_are_shown_in_embedded_mode_only() -> None:
    embedded = (await get(an_app(embedded=True, password=NASTY), "/")).text
    assert "ana@reclamo.example" in embedded
    assert "&lt;img" in embedded
    assert NASTY not in embedded
    elsewhere = (await get(an_app(embedded=False, password="secret-word"), "/")).text
    assert "ana@reclamo.example" not in elsewhere
    assert "secret-word" not in elsewhere


async def test_the_start_page_with_its_password_is_kept_nowhere() -> None:
    answer = await get(an_app(embedded=True, password="p"), "/")
    assert answer.headers["cache-control"] == "no-store"


async def test_the_reference_can_be_switched_off() -> None:
    app = an_app(show_docs=False)
    for path in ("/docs", "/openapi.json"):
        assert (await get(app, path)).status_code == 404
    for path in ("/", "/events"):
        assert 'href="/docs"' not in (await get(app, path)).text


async def test_docstrings_are_shown_as_text_with_their_code_marked() -> None:
    text = (await get(an_app(), "/docs")).text
    assert "One <code>thing</code>, not &lt;b&gt;two&lt;/b&gt;." in text


async def test_the_reference_describes_every_route_of_the_access_table(door: Door) -> None:
    text = (await door.as_().get("/docs")).text
    shown = set(re.findall(r'<span class="tag \w+">(\w+)</span> <code>([^<]+)</code></h2>', text))
    assert shown == set(access.TABLE)
    assert "<code>claim_items[].quantity</code> <span" in text
    assert "integer, at least 1" in text


async def test_the_catalogue_shows_every_message_with_example_and_schema() -> None:
    text = (await get(an_app(), "/events")).text
    document = (await get(an_app(), "/asyncapi.json")).json()
    assert document["asyncapi"].startswith("3.")
    assert text.count("<summary>Example</summary>") == text.count("<section ") > 30
    assert "<code>execute_refund</code>" in text
    assert not re.search(r"<p>[^<]*``", text)


async def test_the_machine_readable_documents_are_json(door: Door) -> None:
    for path in ("/openapi.json", "/asyncapi.json"):
        answer = await door.as_().get(path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()


@pytest.mark.parametrize("name", ["..%2fpages.py", "base.html", "%2e%2e", "reclamo.css.bak"])
async def test_nothing_but_the_listed_files_is_served(name: str) -> None:
    assert (await get(an_app(), f"/static/{name}")).status_code == 404


async def test_the_style_sheet_is_served_and_may_be_kept() -> None:
    answer = await get(an_app(), "/static/reclamo.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert "prefers-color-scheme: dark" in answer.text
    assert ":focus-visible" in answer.text


# ---- contrast -----------------------------------------------------------------------------------


@pytest.fixture
async def palettes() -> list[dict[str, str]]:
    """The colors of the style sheet: light, then dark."""
    css = (await get(an_app(), "/static/reclamo.css")).text
    return [
        dict(re.findall(r"--(\w+): (#\w{6})", block))
        for block in re.findall(r":root \{(.+?)\}", css, re.DOTALL)
    ]


def luminance(color: str) -> float:
    """The relative luminance of WCAG."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


async def test_every_text_color_is_readable_on_every_ground(
    palettes: list[dict[str, str]],
) -> None:
    assert len(palettes) == 2
    for palette in palettes:
        for text in ("ink", "soft", "link", "good", "warn", "bad"):
            for ground in ("paper", "box"):
                assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
