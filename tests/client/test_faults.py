"""A line that breaks, and a client that tries again by itself: nothing is done twice.

The client has ``maxRetries: 3``: it gives each POST a key and sends it again after a 503 and after
a connection that ended without an answer. Each kind of call meets each kind of break.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.client.client import Client, Told
from tests.client.faults import CUT, DROP, LEAVE, LOSE, REFUSE, Line, line_to
from tests.journeys.shop import LOCATION, RETURN_OPTION, Order, Variant
from tests.journeys.shop import Line as Sold
from tests.journeys.shop import an_order as sold
from tests.journeys.system import SECRETS, Embedded

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("client"),
]
Json = dict[str, Any]

BREAKS = ([REFUSE], [LOSE], [CUT], [LEAVE], [DROP, CUT, LOSE])


@dataclass
class Errand:
    """One call of the client for an order of its own, and how its effects are counted."""

    order: Order
    method: str
    args: tuple[Any, ...]
    path: str
    done: Callable[[Json], int]
    refunded: int = 0
    told: list[Told] = field(default_factory=list)


def _claims(order: Json) -> int:
    return len(order["claims"])


def _refunds(order: Json) -> int:
    return len(order["refunds"])


def _returns(order: Json) -> int:
    return len(order["returns"])


def _packed(order: Json) -> int:
    return sum(line["fulfilled_quantity"] for line in order["items"])


def _replaced(order: Json) -> int:
    return sum(len(claim["fulfillments"]) for claim in order["claims"])


async def _refund_claim(shop: Embedded) -> Errand:
    order = await shop.sell(sold(Sold(quantity=3)))
    args = (order.id, order.refund_claim())
    return Errand(order, "admin.orders.createClaim", args, order.claims, _claims, 1200)


async def _replace_claim(shop: Embedded) -> Errand:
    order, variant = await shop.sell(sold(Sold(quantity=3))), Variant(stocked=9)
    await shop.stock(variant)
    body = order.replace_claim(variant, return_shipping={"price": 0})
    args = (order.id, body)
    return Errand(order, "admin.orders.createClaim", args, order.claims, _claims)


async def _refund(shop: Embedded) -> Errand:
    order = await shop.sell(sold(Sold(quantity=3), provider="fake"))
    args = (order.id, {"amount": 700, "reason": "discount"})
    return Errand(order, "admin.orders.refundPayment", args, order.refund, _refunds, 700)


async def _return(shop: Embedded) -> Errand:
    order = await shop.sell(sold(Sold(quantity=3)))
    body = {"items": [order.line.units()], "return_shipping": {"option_id": RETURN_OPTION}}
    args = (order.id, body)
    return Errand(order, "admin.orders.requestReturn", args, order.returns, _returns)


async def _receipt(shop: Embedded) -> Errand:
    order = await shop.sell(sold(Sold(quantity=3)))
    body = {"items": [order.line.units(2)]}
    asked = (await shop.post(order.returns, body)).order["returns"][0]
    path = f"/admin/returns/{asked['id']}/receive"
    args = (asked["id"], body)
    return Errand(order, "admin.returns.receive", args, path, _refunds, 2400)


async def _fulfillment(shop: Embedded) -> Errand:
    order = await shop.sell(sold(Sold(quantity=3, fulfilled=0, shipped=0), status="pending"))
    method = {"id": f"sm_{order.id}", "shipping_option_id": RETURN_OPTION, "price": 0}
    more = {"shipping_methods": [{**method, "tax_lines": []}]}
    await shop.load({"orders": [{**order.record, **more, "fulfillment_status": "not_fulfilled"}]})
    body = {"items": [order.line.units()], "location_id": LOCATION}
    path = f"/admin/orders/{order.id}/fulfillment"
    return Errand(order, "admin.orders.createFulfillment", (order.id, body), path, _packed)


async def _replacement(shop: Embedded) -> Errand:
    order, variant = await shop.sell(sold(Sold(quantity=3))), Variant(stocked=9)
    await shop.stock(variant)
    methods = [{"option_id": RETURN_OPTION, "price": 0}]
    body = order.replace_claim(variant, shipping_methods=methods)
    (claim,) = (await shop.post(order.claims, body)).order["claims"]
    path = f"{order.claims}/{claim['id']}/fulfillments"
    args = (order.id, claim["id"], {"location_id": LOCATION})
    return Errand(order, "admin.orders.fulfillClaim", args, path, _replaced)


KINDS: dict[str, Callable[[Embedded], Awaitable[Errand]]] = {
    "a claim for money": _refund_claim,
    "a claim for other goods that come against a return": _replace_claim,
    "a refund by hand": _refund,
    "a return": _return,
    "a receipt": _receipt,
    "a fulfillment": _fulfillment,
    "a fulfillment of a claim": _replacement,
}


async def _run(client: Client, line: Line, errand: Errand, breaks: list[str]) -> None:
    line.plan[errand.path].extend(breaks)
    errand.told.append(await client(errand.method, *errand.args))


async def test_a_client_that_tries_again_does_nothing_twice(shop: Embedded, client: Client) -> None:
    errands = [(await make(shop), breaks) for make in KINDS.values() for breaks in BREAKS]
    async with line_to(shop.url) as (line, url):
        patient = client.with_(apiKey=SECRETS.admin_token, maxRetries=3).at(url)
        await asyncio.gather(*(_run(patient, line, each, breaks) for each, breaks in errands))
    for errand, breaks in errands:
        (told,) = errand.told
        about = f"{errand.method} {breaks}"
        assert (told.refused, told.status) == (None, 200), f"{about}: {told}"
        keys = line.keys[errand.path]
        # What a slow shop could not do in time is asked again too, and nothing else is.
        assert len(keys) == len(breaks) + 1 + line.not_now[errand.path], about
        assert (len(set(keys)), bool(keys[0])) == (1, True), about
        order = await shop.order(errand.order.id)
        assert (errand.done(order), order["refunded_total"]) == (1, errand.refunded), about
        assert len(order["refunds"]) == bool(errand.refunded), about
        sent = await shop.provider_refunds(errand.order)
        assert sent == ([errand.refunded] if "fake" in errand.order.providers else []), about
    await shop.verify()


async def test_a_client_that_gives_up_finds_later_what_was_done_once(
    shop: Embedded, client: Client
) -> None:
    """Four breaks are one more than it is patient for; whoever asks again with the key is told."""
    errand = await _refund_claim(shop)
    async with line_to(shop.url) as (line, url):
        line.plan[errand.path].extend([LOSE, CUT, LOSE, LOSE])
        patient = client.with_(apiKey=SECRETS.admin_token, maxRetries=3).at(url)
        told = await patient(errand.method, *errand.args)
    assert (told.status, told.refused) == (503, "Request failed with status code 503")
    (key,) = set(line.keys[errand.path])
    again = await shop.post(errand.path, errand.args[1], key=key)
    assert (again.status, _claims(again.order)) == (200, 1)
    assert (await shop.order(errand.order.id))["refunded_total"] == errand.refunded
    await shop.verify()
