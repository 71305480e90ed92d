"""Two principals on every route that names an object, derived from the routes.

Ana and Ben have one of everything. Nobody reads or changes the other's, whatever the path says; a
child that is named under the other's parent is not found; and whoever may not, learns by the answer
not even whether the object exists. A new route with an object in its path fails here until it has a
line in ``CASES``: the body with which its owner would succeed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import pytest_asyncio

from chassis.testing import eventually
from deploy.assembly import STORES
from gateway import access
from tests.claims.test_pictures import png
from tests.gateway.builders import Door, Json, a_shop, an_order
from tests.gateway.test_access import STAFF, _routes

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # One town for all; the last test is the only one that changes it.
    pytest.mark.xdist_group("two-principals"),
]
Route = tuple[str, str]
Objects = dict[str, str]

_ORDER = "/admin/orders/{order_id}"
_CLAIM = f"{_ORDER}/claims/{{claim_id}}"
_SWAP = f"{_ORDER}/swaps/{{swap_id}}"
_LEVEL = "/admin/inventory-items/{item_id}/location-levels"
_HOOK = "/admin/webhooks/{webhook_id}"
_INQUIRY = "/admin/inquiries/{inquiry_id}"
_REPORTED = "/store/claims/{inquiry_id}"
_DELIVERY = f"{_HOOK}/deliveries/{{delivery_id}}"


def _claim(own: Objects) -> Json:
    item = {"item_id": own["line_id"], "quantity": 1, "reason": "wrong_item"}
    return {"type": "refund", "claim_items": [item]}


def _swap(own: Objects) -> Json:
    goods = [{"variant_id": "variant_mug", "quantity": 1}]
    return {"return_items": _line(own)["items"], "additional_items": goods}


def _line(own: Objects) -> Json:
    return {"items": [{"item_id": own["line_id"], "quantity": 1}]}


def _report(own: Objects) -> Json:
    item = {"item_id": own["line_id"], "quantity": 1, "reason": "other"}
    return {"claim_items": [item]}


def _package(own: Objects) -> Json:
    return {"items": [{"item_id": own["open_line_id"], "quantity": 1}]}


def _refund(own: Objects) -> Json:
    return {"amount": 1, "reason": "other"}


# By the route, its body; the last ones end the object, in an order in which each still finds it.
CASES: dict[Route, Any] = {
    ("GET", "/admin/users/{user_id}"): None,
    ("POST", "/admin/users/{user_id}"): {"role": "admin"},
    ("GET", _ORDER): None,
    ("GET", f"{_ORDER}/ledger"): None,
    ("GET", f"{_ORDER}/claimable"): None,
    ("GET", f"{_ORDER}/reservations"): None,
    ("POST", _ORDER): {"email": "new@shop.example"},
    ("POST", f"{_ORDER}/shipping-methods"): {"option_id": "so_1", "price": 0},
    ("POST", f"{_ORDER}/capture"): {},
    ("POST", f"{_ORDER}/refund"): _refund,
    ("POST", f"{_ORDER}/claims"): _claim,
    ("POST", f"{_ORDER}/claims/preview"): _claim,
    ("POST", f"{_ORDER}/return"): _line,
    ("POST", f"{_ORDER}/fulfillment"): _package,
    ("POST", f"{_ORDER}/fulfillments/{{fulfillment_id}}/cancel"): {},
    ("POST", f"{_ORDER}/shipment"): lambda own: {"fulfillment_id": own["fulfillment_id"]},
    ("POST", _CLAIM): {"metadata": {"seen": 1}},
    ("POST", f"{_CLAIM}/fulfillments"): {},
    ("POST", f"{_CLAIM}/fulfillments/{{fulfillment_id}}/cancel"): {},
    ("POST", f"{_CLAIM}/shipments"): lambda own: {"fulfillment_id": own["claim_fulfillment_id"]},
    ("POST", f"{_ORDER}/swaps"): _swap,
    ("POST", f"{_SWAP}/process-payment"): {},
    ("POST", f"{_SWAP}/fulfillments"): {},
    ("POST", f"{_SWAP}/fulfillments/{{fulfillment_id}}/cancel"): {},
    ("POST", f"{_SWAP}/shipments"): lambda own: {"fulfillment_id": own["swap_fulfillment_id"]},
    ("GET", "/admin/swaps/{swap_id}"): None,
    ("GET", "/admin/exchanges/{exchange_id}"): None,
    ("GET", "/admin/payments/{payment_id}"): None,
    ("POST", "/admin/payments/{payment_id}/capture"): {},
    ("POST", "/admin/payments/{payment_id}/refund"): _refund,
    ("GET", "/admin/customers/{customer_id}"): None,
    ("POST", "/admin/customers/{customer_id}"): {"phone": "1"},
    ("GET", "/admin/customers/{customer_id}/store-credits"): None,
    ("POST", "/admin/customers/{customer_id}/store-credits"): {"amount": 1, "currency_code": "eur"},
    ("GET", "/admin/claims/{claim_id}"): None,
    ("POST", "/admin/claims/{claim_id}/assign"): {"user_id": None},
    ("POST", "/admin/claims/{claim_id}/refund"): {},
    ("POST", "/admin/claims/{claim_id}/convert/preview"): {"type": "refund"},
    ("POST", "/admin/claims/{claim_id}/convert"): {"type": "refund"},
    ("POST", "/admin/claims/{claim_id}/order"): lambda own: {
        "items": [{"variant_id": own["variant_id"], "quantity": 1}]
    },
    ("GET", "/admin/claims/{claim_id}/evidence"): None,
    ("POST", "/admin/claims/{claim_id}/evidence"): png(),
    ("GET", "/admin/evidence/{evidence_id}"): None,
    ("POST", f"{_ORDER}/inquiries"): _report,
    ("GET", _INQUIRY): None,
    ("POST", f"{_INQUIRY}/review"): {},
    ("POST", f"{_INQUIRY}/messages"): {"text": "other"},
    ("POST", f"{_INQUIRY}/evidence"): png(),
    ("GET", _REPORTED): None,
    ("POST", f"{_REPORTED}/messages"): {"text": "other"},
    ("POST", f"{_REPORTED}/evidence"): png(),
    ("GET", f"{_REPORTED}/evidence/{{evidence_id}}"): None,
    ("DELETE", f"{_REPORTED}/evidence/{{evidence_id}}"): {},
    ("DELETE", "/admin/evidence/{evidence_id}"): {},
    ("POST", f"{_REPORTED}/cancel"): {},
    ("POST", f"{_INQUIRY}/reject"): {"reason": "other"},
    ("POST", f"{_INQUIRY}/approve"): {"type": "refund"},
    ("POST", f"{_INQUIRY}/cancel"): {},
    ("GET", "/admin/returns/{return_id}"): None,
    ("POST", "/admin/returns/{return_id}/receive"): _line,
    ("POST", "/admin/returns/{return_id}/receipts"): _line,
    ("POST", "/admin/returns/{return_id}/settle"): {},
    ("GET", "/admin/credit-memos/{memo_id}"): None,
    ("GET", "/admin/return-reasons/{reason_id}"): None,
    ("POST", "/admin/return-reasons/{reason_id}"): {"label": "Other"},
    ("GET", "/store/return-reasons/{reason_id}"): None,
    ("GET", "/admin/variants/{variant_id}"): None,
    ("GET", "/admin/variants/{variant_id}/inventory"): None,
    ("GET", "/admin/inventory-items/{item_id}"): None,
    ("POST", "/admin/inventory-items/{item_id}"): {"title": "Other"},
    ("GET", _LEVEL): None,
    ("POST", _LEVEL): lambda own: {"location_id": own["second_location_id"], "stocked_quantity": 1},
    ("POST", f"{_LEVEL}/{{location_id}}"): {"stocked_quantity": 9},
    ("GET", "/admin/stock-locations/{location_id}"): None,
    ("POST", "/admin/stock-locations/{location_id}"): {"name": "Other"},
    ("GET", "/admin/reservations/{reservation_id}"): None,
    ("POST", "/admin/reservations/{reservation_id}"): {"description": "other"},
    ("GET", "/admin/notes/{note_id}"): None,
    ("POST", "/admin/notes/{note_id}"): {"value": "other"},
    ("GET", "/admin/batch-jobs/{job_id}"): None,
    ("POST", "/admin/batch-jobs/{job_id}/confirm"): {},
    ("GET", "/admin/batch-jobs/{job_id}/file"): None,
    ("GET", _HOOK): None,
    ("POST", _HOOK): {"description": "other"},
    ("POST", f"{_HOOK}/rotate-secret"): {},
    ("POST", f"{_HOOK}/test"): {},
    ("GET", f"{_HOOK}/deliveries"): None,
    ("GET", _DELIVERY): None,
    ("POST", f"{_DELIVERY}/resend"): {},
    ("GET", "/admin/sagas/{saga_id}"): None,
    ("POST", "/admin/sagas/{saga_id}/resume"): {},
    ("POST", "/admin/sagas/{saga_id}/compensate"): {"reason": "other"},
    ("GET", "/store/orders/{order_id}"): None,
    ("POST", "/admin/claims/{claim_id}/close"): {},
    ("POST", f"{_CLAIM}/cancel"): {},
    ("POST", f"{_SWAP}/cancel"): {},
    ("POST", "/admin/returns/{return_id}/close"): {},
    ("POST", "/admin/returns/{return_id}/cancel"): {},
    ("POST", f"{_ORDER}/complete"): {},
    ("POST", f"{_ORDER}/archive"): {},
    ("POST", f"{_ORDER}/cancel"): {},
    ("POST", "/admin/batch-jobs/{job_id}/cancel"): {},
    ("DELETE", "/admin/reservations/{reservation_id}"): {},
    ("DELETE", "/admin/notes/{note_id}"): {},
    ("DELETE", "/admin/return-reasons/{reason_id}"): {},
    ("DELETE", f"{_LEVEL}/{{location_id}}"): {},
    ("DELETE", "/admin/inventory-items/{item_id}"): {},
    ("DELETE", "/admin/stock-locations/{location_id}"): {},
    ("DELETE", _HOOK): {},
    ("DELETE", "/admin/tokens/{token_id}"): {},
    ("DELETE", "/admin/users/{user_id}"): {},
    # Of these nothing exists while all is well: the operators' own tests make some.
    ("GET", "/admin/dead-letters/{letter_id}"): None,
    ("POST", "/admin/dead-letters/{letter_id}/replay"): {},
    ("POST", "/admin/dead-letters/{letter_id}/discard"): {"reason": "other"},
    ("POST", "/admin/outbox/{message_id}/unblock"): {},
    ("POST", "/admin/findings/{finding_id}/repair"): {},
    ("POST", "/admin/findings/{finding_id}/dismiss"): {"note": "other"},
    ("GET", "/store/orders/cart/{cart_id}"): None,
}
NOTHING_THERE = ("letter_id", "message_id", "finding_id", "cart_id")
# Public as a list of reasons is; and what every customer may ask of the own is asked of it below.
EVERYBODYS = {("GET", "/store/return-reasons/{reason_id}")}


def _named(template: str) -> list[str]:
    return re.findall(r"{(\w+)}", template)


def _path(template: str, objects: Objects) -> str:
    return re.sub(r"{(\w+)}", lambda match: objects[match.group(1)], template)


def _body(route: Route, own: Objects) -> Any:
    case = CASES[route]
    return case(own) if callable(case) else case


async def _call(door: Door, route: Route, path: str, body: Any) -> tuple[int, str]:
    given: Json = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = await door.client.request(route[0], path, **given)
    return answer.status_code, answer.text


# ---- what Ana and Ben have ----------------------------------------------------------------------


def _open_order(name: str) -> Json:
    """Two mugs that nobody has packed yet."""
    order = an_order(name, id=f"order_{name}_open", status="pending", payment_status="captured")
    mug = {**order["items"][0], "id": f"item_{name}_open", "fulfilled_quantity": 0}
    item = {**mug, "shipped_quantity": 0, "delivered_at": None, "quantity": 4}
    payment = {**order["payments"][0], "id": f"pay_{name}_open"}
    method = {**order["shipping_methods"][0], "id": f"sm_{name}_open"}
    return {
        **order,
        "items": [item],
        "payments": [payment],
        "shipping_methods": [method],
        "fulfillment_status": "not_fulfilled",
    }


async def _ok(door: Door, method: str, path: str, body: Any = None) -> Json:
    answer = await door.client.request(method, path, json=body)
    assert answer.status_code in (200, 201), f"{method} {path}: {answer.text}"
    found: Json = answer.json()
    return found


async def _have(shop: Door, name: str) -> tuple[Objects, Door]:
    """One of everything, and the administrator whose batch job it is."""
    login = {"email": f"{name}.admin@shop.example", "password": f"a long password of {name}"}
    user = (await _ok(shop, "POST", "/admin/users", {**login, "role": "admin"}))["user"]
    access_token = (await _ok(shop.as_(), "POST", "/admin/auth/token", login))["access_token"]
    admin = shop.as_(authorization=f"Bearer {access_token}")
    token = (await _ok(admin, "POST", "/admin/tokens", {"name": name, "role": "agent"}))["token"]
    order, open_order = f"/admin/orders/order_{name}", f"/admin/orders/order_{name}_open"
    own = {
        "user_id": user["id"],
        "token_id": token["id"],
        "order_id": f"order_{name}",
        "line_id": f"item_{name}_mug",
        "open_line_id": f"item_{name}_open",
        "payment_id": f"pay_{name}",
        "customer_id": f"cus_{name}",
        "variant_id": "variant_mug",
    }
    replace = {**_claim(own), "type": "replace"}
    mugs = [{"variant_id": "variant_mug", "quantity": 1}]
    claimed = await _ok(admin, "POST", f"{order}/claims", {**replace, "additional_items": mugs})
    own["claim_id"] = claimed["order"]["claims"][0]["id"]
    own["claim_item_id"] = claimed["order"]["claims"][0]["claim_items"][0]["id"]
    way = {"shipping_methods": [{"option_id": "so_1", "price": 0}]}
    claimed = await _ok(
        admin, "POST", f"{order}/claims", {**replace, **way, "additional_items": mugs}
    )
    own["packed_claim_id"] = claimed["order"]["claims"][1]["id"]
    packing = f"{order}/claims/{own['packed_claim_id']}/fulfillments"
    packed = await _ok(admin, "POST", packing, {})
    own["claim_fulfillment_id"] = packed["order"]["claims"][1]["fulfillments"][0]["id"]
    saga = (await _ok(admin, "GET", f"/admin/claims/{own['claim_id']}"))["claim"]["timeline"]
    own["saga_id"] = saga[0]["saga_id"] if saga else "saga_x"
    lamp = {"return_items": [{"item_id": f"item_{name}_lamp", "quantity": 1}]}
    swapped = await _ok(admin, "POST", f"{order}/swaps", {**lamp, "additional_items": mugs})
    own["swap_id"] = own["exchange_id"] = swapped["order"]["swaps"][0]["id"]
    packed = await _ok(admin, "POST", f"{order}/swaps/{own['swap_id']}/fulfillments", {})
    own["swap_fulfillment_id"] = packed["order"]["swaps"][0]["fulfillments"][0]["id"]
    await _ok(admin, "POST", f"{order}/refund", _refund(own))

    async def numbered() -> list[Json]:
        memos = f"/admin/credit-memos?order_id={own['order_id']}"
        found: list[Json] = (await _ok(admin, "GET", memos))["credit_memos"]
        assert len(found) == 2  # of the exchange, and of the refund by hand
        return found

    own["memo_id"] = (await eventually(numbered))[0]["id"]
    returned = await _ok(admin, "POST", f"{order}/return", _line(own))
    own["return_id"] = returned["order"]["returns"][-1]["id"]
    packed = await _ok(admin, "POST", f"{open_order}/fulfillment", _package(own))
    own["fulfillment_id"] = packed["order"]["fulfillments"][0]["id"]
    place = {"name": f"of {name}", "address": {"address_1": "Here", "country_code": "si"}}
    for place_id in ("location_id", "second_location_id"):
        made = await _ok(admin, "POST", "/admin/stock-locations", place)
        own[place_id] = made["stock_location"]["id"]
    variant = {**a_shop()["variants"][0], "id": f"variant_{name}", "sku": name}
    level = {"variant_id": variant["id"], "location_id": own["location_id"]}
    await shop.load({"variants": [variant], "inventory_levels": [{**level, "stocked_quantity": 5}]})
    items = await _ok(admin, "GET", f"/admin/inventory-items?variant_id={variant['id']}")
    own["item_id"] = items["inventory_items"][0]["id"]
    held = {"location_id": own["location_id"], "inventory_item_id": own["item_id"], "quantity": 1}
    held |= {"line_item_id": own["open_line_id"]}
    reservation = await _ok(admin, "POST", "/admin/reservations", held)
    own["reservation_id"] = reservation["reservation"]["id"]
    customer = await shop.customer(name)
    report = {"order_id": own["order_id"], **_report(own)}
    told = await _ok(customer, "POST", "/store/claims", report)
    own["inquiry_id"] = told["claim"]["id"]
    evidence = ("POST", f"/store/claims/{own['inquiry_id']}/evidence")
    for evidence_id in ("evidence_id", "second_evidence_id"):
        status, text = await _call(customer, evidence, evidence[1], png())
        assert status == 200, text
        own[evidence_id] = json.loads(text)["evidence"]["id"]
    note = {"resource_id": own["order_id"], "resource_type": "order", "value": f"of {name}"}
    own["note_id"] = (await _ok(admin, "POST", "/admin/notes", note))["note"]["id"]
    reason = {"value": f"of_{name}", "label": name}
    made = await _ok(admin, "POST", "/admin/return-reasons", reason)
    own["reason_id"] = made["return_reason"]["id"]
    job = {"type": "order-export", "context": {}, "dry_run": True}
    own["job_id"] = (await _ok(admin, "POST", "/admin/batch-jobs", job))["batch_job"]["id"]
    hook = {"url": f"http://127.0.0.1:9/{name}", "events": ["claim.closed"]}
    made = await _ok(admin, "POST", "/admin/webhooks", hook)
    own["webhook_id"] = made["webhook"]["id"]
    await _ok(admin, "POST", f"/admin/webhooks/{own['webhook_id']}/test", {})
    told = await _ok(admin, "GET", f"/admin/webhooks/{own['webhook_id']}/deliveries")
    own["delivery_id"] = told["deliveries"][0]["id"]
    own |= dict.fromkeys(NOTHING_THERE, "nothing_x")
    return own, admin


@dataclass(frozen=True)
class Town:
    """The shop as its administrator, what the two have, and the admins whose jobs they are."""

    shop: Door
    ana: Objects
    ben: Objects
    admin: Door
    other: Door

    async def owner(self, route: Route, own: Objects) -> Door:
        """Who may do this with these objects: the customer, whose job it is, or the shop."""
        if route[1].startswith("/store/"):
            return await self.shop.customer(own["customer_id"].removeprefix("cus_"))
        if "job_id" in _named(route[1]):
            return self.admin if own is self.ana else self.other
        return self.shop


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(shared_door: Door) -> Town:
    """The small shop with an order each that is still to be packed, at rest."""
    document = a_shop()
    document["variants"][0]["allow_backorder"] = True
    document["orders"] += [_open_order("ana"), _open_order("ben")]
    await shared_door.load(document)
    ana, admin = await _have(shared_door, "ana")
    ben, other = await _have(shared_door, "ben")
    # A fulfillment is a child of the order that is still open.
    for own, name in ((ana, "ana"), (ben, "ben")):
        own["open_order_id"] = f"order_{name}_open"

    async def counted() -> bool:
        jobs = [
            (await _ok(who, "GET", f"/admin/batch-jobs/{own['job_id']}"))["batch_job"]["status"]
            for own, who in ((ana, admin), (ben, other))
        ]
        return set(jobs) == {"pre_processed"}

    await eventually(counted)
    return Town(shared_door, ana, ben, admin, other)


# What loops write by themselves, and that somebody asked.
_PASSED_OVER = {"inbox", "outbox", "audit_seals", "idempotency_keys"}
_OF_THE_GATEWAY = {
    "users": "id, email, role, password_hash",
    "customer_logins": "customer_id, email, password_hash",
    "api_tokens": "id, role, user_id, revoked_at",
    "webhooks": "id, url, events, description",
    "batch_jobs": "id, status, created_by",
}


async def _books(shop: Door) -> Json:
    """Every row of every service, and who may sign in, is told, and has a job."""
    found: Json = {}
    for name, service in shop.embedded.services.items():
        async with service.database.reading() as tx:
            for table in STORES[name].METADATA.tables:
                if table not in _PASSED_OVER:
                    rows = await tx.fetch(f"SELECT * FROM {table}")
                    found[f"{name}.{table}"] = sorted(map(repr, rows))
    async with shop.embedded.gateway.database.reading() as tx:
        for table, columns in _OF_THE_GATEWAY.items():
            rows = await tx.fetch(f"SELECT {columns} FROM {table}")
            found[f"gateway.{table}"] = sorted(map(repr, rows))
    return found


# ---- who meets whose ----------------------------------------------------------------------------


async def test_every_route_with_an_object_has_a_case(town: Town) -> None:
    routes = {row for row in _routes(town.shop.app) if row[1].startswith(("/admin", "/store"))}
    assert routes == set(access.TABLE)
    assert {route for route in routes if _named(route[1])} == set(CASES)


async def test_who_may_not_learns_not_even_whether_the_object_exists(town: Town) -> None:
    shop, own = town.shop, town.ana
    nowhere = dict.fromkeys(own, "nothing_x")
    people = {role: await shop.with_role(role) for role in STAFF}
    people |= {"customer": await shop.customer("ben"), "nobody": shop.as_()}
    before = await _books(shop)
    wrong = []
    for route, allowed in access.TABLE.items():
        if route not in CASES or route in EVERYBODYS:
            continue
        for role, somebody in people.items():
            outsider = role in ("customer", "nobody")
            if role in allowed or (allowed is access.PUBLIC and not outsider):
                continue  # the staff sees orders by the storefront too
            body = _body(route, own)
            real = await _call(somebody, route, _path(route[1], own), body)
            none = await _call(somebody, route, _path(route[1], nowhere), body)
            told = real[1].replace(own["order_id"], "nothing_x")
            fits = real[0] in ((401, 404) if outsider else (403,))
            if not fits or (real[0], told) != none:
                wrong.append((*route, role, real, none))
    assert wrong == []
    assert await _books(shop) == before


async def test_a_child_is_not_found_under_anothers_parent(town: Town) -> None:
    """D19, M26."""
    before = await _books(town.shop)
    wrong = []
    for route in CASES:
        names = _named(route[1])
        both = (town.ana, town.ben), (town.ben, town.ana)
        for border, (mine, theirs) in product(range(1, len(names)), both):
            children = {name: _at_home(route, theirs)[name] for name in names[border:]}
            path = _path(route[1], _at_home(route, mine) | children)
            owner = await town.owner(route, mine)
            status, text = await _call(owner, route, path, _body(route, theirs))
            if status != 404 or '"type":"not_found"' not in text:
                wrong.append((*route, path, status, text))
    assert wrong == []
    assert await _books(town.shop) == before


def _at_home(route: Route, own: Objects) -> Objects:
    """The order, claim or swap of the path is the one that the fulfillment belongs to."""
    if route[1].startswith(f"{_SWAP}/"):
        return {**own, "fulfillment_id": own["swap_fulfillment_id"]}
    if route[1].startswith("/admin/evidence/"):
        return {**own, "evidence_id": own["second_evidence_id"]}
    if route[1].startswith(f"{_CLAIM}/"):
        if route[1].endswith(("/shipments", "/fulfillments", "{fulfillment_id}/cancel")):
            of_claim = {"fulfillment_id": own["claim_fulfillment_id"]}
            return {**own, "claim_id": own["packed_claim_id"], **of_claim}
        return dict(own)
    if "{fulfillment_id}" in route[1] or route[1].endswith(("/fulfillment", "/shipment")):
        return {**own, "order_id": own["open_order_id"]}
    return dict(own)


# A body that names the other's child under the own parent: 404, or Medusa's 400 for a line.
def _named_in_bodies(mine: Objects, theirs: Objects) -> list[tuple[str, Json, int]]:
    order = f"/admin/orders/{mine['order_id']}"
    open_order = f"/admin/orders/{mine['open_order_id']}"
    item = {"id": theirs["claim_item_id"], "images": [], "tags": []}
    part = {"item_id": theirs["line_id"], "amount": 1}
    return [
        (f"{order}/refund", {**_refund(mine), "items": [part]}, 404),
        (f"{order}/claims", _claim(theirs), 404),
        (f"{order}/swaps", _swap(theirs), 400),
        (f"{order}/claims/preview", _claim(theirs), 404),
        (f"{order}/claims/{mine['claim_id']}", {"claim_items": [item]}, 404),
        (f"{order}/return", _line(theirs), 400),
        (f"/admin/returns/{mine['return_id']}/receive", _line(theirs), 400),
        (f"{open_order}/fulfillment", _package(theirs), 400),
        (f"{open_order}/shipment", {"fulfillment_id": theirs["fulfillment_id"]}, 404),
    ]


async def _seen(shop: Door) -> list[Any]:
    """What anybody sees: a refused claim or return is kept, and never shown."""
    orders = [
        await shop.order(f"order_{name}{kind}") for name in ("ana", "ben") for kind in ("", "_open")
    ]
    lists = ("claims", "returns", "reservations", "inventory-items")
    pages = [(await shop.get(f"/admin/{each}")).json() for each in lists]
    return [_timeless(each) for each in (*orders, *pages)]


def _timeless(shown: Any) -> Any:
    """Without the times of changes: an attempt that is refused may leave its own."""
    if isinstance(shown, dict):
        return {name: _timeless(each) for name, each in shown.items() if name != "updated_at"}
    return [_timeless(each) for each in shown] if isinstance(shown, list) else shown


async def test_a_child_in_a_body_is_not_found_under_anothers_parent(town: Town) -> None:
    """D19, D30."""
    before = await _seen(town.shop)
    for mine, theirs in ((town.ana, town.ben), (town.ben, town.ana)):
        for path, body, status in _named_in_bodies(mine, theirs):
            answer = await town.shop.post(path, body)
            assert answer.status_code == status, f"{path}: {answer.text}"
            told = answer.json()
            assert told.keys() == {"type", "message"}
            assert theirs["order_id"] not in told["message"]
    assert await _seen(town.shop) == before


async def test_a_customer_meets_nothing_but_the_own(town: Town) -> None:
    ana, ben = await town.shop.customer("ana"), await town.shop.customer("ben")
    nowhere = dict.fromkeys(town.ana, "nothing_x")
    before = await _books(town.shop)
    met = []
    for route in CASES:
        if not route[1].startswith("/store/") or route in EVERYBODYS:
            continue
        body = _body(route, town.ana)
        theirs = await _call(ben, route, _path(route[1], town.ana), body)
        none = await _call(ben, route, _path(route[1], nowhere), body)
        told = theirs[1]
        for name in _named(route[1]):
            told = told.replace(town.ana[name], "nothing_x")
        assert (theirs[0], told) == (404, none[1]), route
        if route[0] == "GET" and not set(_named(route[1])) & set(NOTHING_THERE):
            met.append((await _call(ana, route, _path(route[1], town.ana), body))[0])
    assert set(met) == {200}
    assert await _books(town.shop) == before


async def test_a_job_is_its_makers_alone(town: Town) -> None:
    before = await _books(town.shop)
    for route in CASES:
        if "job_id" in _named(route[1]):
            path = _path(route[1], town.ana)
            status, text = await _call(town.other, route, path, _body(route, town.ana))
            assert status == 400, text
            assert "does not belong to the logged in user" in text
    assert await _books(town.shop) == before


async def test_every_case_is_real_its_owner_finds_the_object(town: Town) -> None:
    """Else the refusals above would prove nothing: no 404, and no body that makes no sense."""
    wrong = []
    for route in CASES:
        if set(_named(route[1])) & set(NOTHING_THERE):
            continue
        somebody = await town.owner(route, town.ana)
        path = _path(route[1], _at_home(route, town.ana))
        status, text = await _call(somebody, route, path, _body(route, town.ana))
        found = status in (200, 201, 204) or (status == 400 and '"not_allowed"' in text)
        if not found:
            wrong.append((*route, status, text))
    assert wrong == []
