"""One table says who may call what; the code and the table are compared, route by route."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from gateway import access
from tests.gateway.builders import Door

STAFF = ("admin", "agent", "finance", "ops", "warehouse")
# What a role may not, must not depend on what the path names: the ids exist nowhere.
NOWHERE = {"order_id": "order_x", "claim_id": "claim_x", "return_id": "ret_x", "token_id": "t_x"}


def _routes(router: Any) -> Iterator[tuple[str, str]]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield from ((method, route.path) for method in route.methods)
        elif included := getattr(route, "original_router", None):
            yield from _routes(included)


def _named(template: str) -> str:
    return re.sub(r"{(\w+)}", lambda match: NOWHERE.get(match.group(1), "x_1"), template)


async def test_the_routes_in_code_are_the_routes_of_the_table_and_of_the_reference(
    door: Door,
) -> None:
    routes = {row for row in _routes(door.app) if row[1].startswith(("/admin", "/store"))}
    assert routes == set(access.TABLE)
    document = (await door.get("/openapi.json")).json()
    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert described == set(access.TABLE)


async def _call(door: Door, method: str, path: str) -> int:
    answer = await door.client.request(method, path, json={} if method != "GET" else None)
    return answer.status_code


async def test_every_role_meets_exactly_what_the_table_says(door: Door) -> None:
    people = {role: await door.with_role(role) for role in STAFF}
    wrong = []
    for (method, template), allowed in sorted(access.TABLE.items()):
        if template == "/admin/auth" and method == "DELETE":
            continue
        for role, somebody in people.items():
            status = await _call(somebody, method, _named(template))
            if allowed is access.PUBLIC:
                # Wrong credentials and a guest's 401 are the route's own answer.
                fits = status != 403
            else:
                fits = (status not in (401, 403)) if role in allowed else status == 403
            if not fits:
                wrong.append((method, template, role, status))
    assert wrong == []


async def test_nobody_and_a_customer_reach_only_the_storefront(shop: Door) -> None:
    ana, nobody = await shop.customer("ana"), shop.as_()
    wrong = []
    for (method, template), allowed in sorted(access.TABLE.items()):
        if allowed is access.PUBLIC:
            continue
        for name, somebody in (("ana", ana), ("nobody", nobody)):
            status = await _call(somebody, method, _named(template))
            if "customer" in allowed and name == "ana":
                fits = status not in (401, 403)
            else:
                fits = status == 401
            if not fits:
                wrong.append((method, template, name, status))
    assert wrong == []


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/admin/unknown"), ("PUT", "/admin/orders"), ("GET", "/store/x")]
)
def test_a_route_that_is_not_in_the_table_is_denied_to_everybody(method: str, path: str) -> None:
    for role in (*STAFF, "customer", "guest", None):
        assert not access.may(method, path, role)


async def test_a_route_that_was_forgotten_in_the_table_is_closed(door: Door) -> None:
    known = access.TABLE.pop(("GET", "/admin/orders"))
    try:
        assert (await door.get("/admin/orders")).status_code == 403
    finally:
        access.TABLE[("GET", "/admin/orders")] = known


async def test_what_services_say_to_each_other_is_not_routed(shop: Door) -> None:
    for path in ("/internal/orders", "/orders", "/claims", "/returns", "/variants", "/import"):
        assert (await shop.get(path)).status_code == 404
        assert (await shop.post(path)).status_code == 404
