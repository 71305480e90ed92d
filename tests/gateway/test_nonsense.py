"""Nonsense on every route: answered in the surface's shape, without a view of the inside."""

from __future__ import annotations

import json
import random
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway import access
from tests.gateway.builders import Door, a_claim, a_shop

ROUNDS = 12
IMPORTS = 60
# What would show the inside: traces, statements, files, names of libraries.
INSIDE = re.compile(
    r"Traceback|File \"|SELECT |INSERT |UPDATE |sqlite|asyncpg|psycopg|sqlalchemy|starlette|fastapi"
    r"|pydantic|\.py\b|errors\.pydantic|site-packages|0x[0-9a-f]{8}",
    re.IGNORECASE,
)
KNOWN = {
    "order_id": "order_ana",
    "return_id": "ret_x",
    "reason_id": "rr_1",
    "location_id": "sloc_1",
    "customer_id": "cus_ana",
    "variant_id": "variant_mug",
}
WORDS = (
    *("type", "claim_items", "items", "quantity", "item_id", "refund", "amount", "reason", "note"),
    *("email", "password", "role", "name", "value", "label", "order_id", "orders", "customers"),
    *("variants", "metadata", "limit", "offset", "q", "order", "fields", "expand", "status"),
    *("stocked_quantity", "location_id", "created_at", "return_shipping", "address", "id"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, 2**53, 2**63 - 1, -(2**62), 1e300, "", "x", "refund"),
    *("item_ana_mug", "order_ana", "' OR 1=1 --", "%", "\\", "🦊", "a" * 300, "2024-13-45", "NaN"),
    *("0", "1", "-5", "null", "[object Object]", [], {}, [[]], [None], [{}], {"gt": {}}),
)


def _value(chance: random.Random, depth: int = 0) -> Any:
    roll = chance.random()
    if depth < 3 and roll < 0.2:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(3))]
    if depth < 3 and roll < 0.45:
        return _object(chance, depth + 1)
    return chance.choice(VALUES)


def _object(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    names = chance.sample(WORDS, chance.randrange(6))
    return {name: _value(chance, depth) for name in names}


def _query(chance: random.Random) -> str:
    def name() -> str:
        return chance.choice(WORDS) + chance.choice(("", "[]", "[0]", "[gt]", "[a][b]", "[", "]"))

    pairs = []
    for _ in range(chance.randrange(4)):
        value = chance.choice(VALUES)
        text = value if isinstance(value, str) else json.dumps(value)
        pairs.append((name(), text))
    return urlencode(pairs)


def _fits_the_surface(status: int, content_type: str, text: str) -> bool:
    if status < 400:
        return True
    if status == 401:
        return text == "Unauthorized"
    if not content_type.startswith("application/json"):
        return False
    body = json.loads(text)
    return set(body) in ({"type", "message"}, {"code", "type", "message"})


async def _tell_nonsense(door: Door, method: str, template: str) -> None:
    chance = random.Random(f"{method} {template}")
    for _ in range(ROUNDS):
        named = {**KNOWN, **({} if chance.random() < 0.7 else dict.fromkeys(KNOWN, "x'\"<>"))}
        path = re.sub(r"{(\w+)}", lambda match, at=named: at.get(match.group(1), "x_1"), template)
        body = _object(chance)
        if template.endswith("/claims") and chance.random() < 0.5:
            body = a_claim(**{name: value for name, value in body.items() if name != "type"})
        url = f"{path}?{_query(chance)}" if chance.random() < 0.6 else path
        given = None if method == "GET" else body
        answer = await door.client.request(method, url, json=given)
        seen = (method, url, given, answer.status_code, answer.text[:500])
        assert answer.status_code < 500, seen
        content_type = answer.headers.get("content-type", "")
        assert _fits_the_surface(answer.status_code, content_type, answer.text), seen
        if answer.status_code >= 400:
            assert not INSIDE.search(answer.text), seen
        assert answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("surface", ["/admin", "/store"])
async def test_nonsense_is_answered_in_the_shape_of_the_surface(shop: Door, surface: str) -> None:
    somebody = shop if surface == "/admin" else await shop.customer("ana")
    for method, template in sorted(access.TABLE):
        if template.startswith(surface) and (method, template) != ("DELETE", "/admin/auth"):
            await _tell_nonsense(somebody, method, template)


def _spoil(chance: random.Random, document: Any) -> None:
    """Change one thing somewhere in the document."""
    here, path = document, 0
    while True:
        names = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not names:
            return
        name = chance.choice(names)
        inner = here[name]
        if isinstance(inner, dict | list) and chance.random() < 0.8 and path < 8:
            here, path = inner, path + 1
            continue
        if chance.random() < 0.15 and isinstance(here, dict):
            del here[name]
        else:
            here[name] = chance.choice(VALUES)
        return


async def test_a_spoiled_document_is_refused_where_it_is_spoiled(door: Door) -> None:
    chance = random.Random("documents")
    for _ in range(IMPORTS):
        document = a_shop()
        for _ in range(chance.randrange(1, 4)):
            _spoil(chance, document)
        answer = await door.post("/admin/import", document)
        assert answer.status_code in (200, 400), (document, answer.text)
        if answer.status_code == 200:
            found = answer.json()
            assert found["refused"] == len(found["refusals"])
            for row in found["refusals"]:
                assert set(row) == {"path", "id", "code", "message"}, row
                assert not INSIDE.search(json.dumps(row["message"])), row
    # Whatever came in, what was not spoiled is there and works.
    assert (await door.post("/admin/import", a_shop())).json()["refusals"] == []
    for path in ("orders", "inventory-items", "returns", "claims", "customers", "export"):
        assert (await door.get(f"/admin/{path}")).status_code == 200, path
