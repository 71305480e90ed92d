"""Claims: opened, changed in what they give, closed, canceled. And what must have come of it."""

from __future__ import annotations

from collections.abc import Callable

from chassis.db import Row
from deploy.simulation import shop
from deploy.simulation.acts.lines import bought, claimed, extra, given_back, likely
from deploy.simulation.books import Books
from deploy.simulation.clients import AMOUNTS, Call, Client, History, Json


async def open_one(client: Client) -> None:
    """Claim units of an order, for money or for goods."""
    path, body = await some_claim(client)
    await client.ask("claim", path, body, takes="claim")


async def some_claim(client: Client) -> tuple[str, Json]:
    """Path and body of a claim, rarely of what an earlier claim has sent out."""
    chance = client.chance
    number = client.some_order()
    body: Json = {
        "type": chance.choice(["refund", "refund", "replace"]),
        "claim_items": claimed(client, bought(client, number)),
    }
    if chance.random() < 0.1:
        order = (await client.look(f"/admin/orders/{shop.order_id(number)}"))["order"]
        sent = [line["id"] for line in extra(order) if line["fulfilled_quantity"]]
        if sent:
            body["claim_items"] = claimed(client, [chance.choice(sent)])
    is_refund = body["type"] == "refund"
    if not is_refund or chance.random() < 0.25:
        body |= goods(client)
    if chance.random() < 0.4:
        body["return_shipping"] = {}
    if is_refund and chance.random() < 0.5:
        body["refund_amount"] = chance.choice(AMOUNTS)
    if is_refund and chance.random() < 0.2:
        body["refund_to"] = "store_credit"
    return f"/admin/orders/{shop.order_id(number)}/claims", body


def goods(client: Client) -> Json:
    """What a claim sends out, mostly with a way to send it."""
    variant = shop.variant_id(client.chance.choice(shop.WANTED))
    found: Json = {
        "additional_items": [{"variant_id": variant, "quantity": client.chance.randint(1, 2)}]
    }
    if client.chance.random() < 0.8:
        found["shipping_methods"] = [{"option_id": shop.SENDING_OPTION}]
    return found


async def convert(client: Client) -> None:
    """Goods instead of money, money instead of goods."""
    claim = await _some(client, lambda claim: claim["payment_status"] in ("na", "not_refunded"))
    if claim is None:
        return
    chance = client.chance
    body: Json = {"type": "replace" if claim["type"] == "refund" else "refund"}
    if body["type"] == "replace" and not claim["additional_items"]:
        body |= goods(client)
    if body["type"] == "refund":
        body |= _money(client)
    elif chance.random() < 0.3:
        body["shipping_methods"] = [{"option_id": shop.SENDING_OPTION}]
    path = f"/admin/claims/{claim['id']}/convert"
    await client.ask("convert", path, body, takes="conversion", about=claim["id"])


async def retry(client: Client) -> None:
    """Ask for money that did not go out."""
    claim = await _some(client, lambda claim: claim["payment_status"] == "not_refunded")
    if claim is not None:
        path = f"/admin/claims/{claim['id']}/refund"
        await client.ask("retry", path, _money(client), takes="retry", about=claim["id"])


def _money(client: Client) -> Json:
    found: Json = {}
    if client.chance.random() < 0.4:
        found["refund_amount"] = client.chance.choice(AMOUNTS)
    if client.chance.random() < 0.25:
        found["refund_to"] = "store_credit"
    return found


async def close(client: Client) -> None:
    """Nobody has to look at it any more."""
    claim = await _some(client)
    if claim is not None:
        path = f"/admin/claims/{claim['id']}/close"
        await client.ask("close claim", path, {}, takes="closed claim", about=claim["id"])


async def cancel(client: Client) -> None:
    """Call a claim off."""
    claim = await _some(client)
    if claim is not None:
        path = f"/admin/orders/{claim['order_id']}/claims/{claim['id']}/cancel"
        await client.ask("cancel claim", path, {}, takes="canceled claim", about=claim["id"])


async def _some(client: Client, good: Callable[[Json], bool] = bool) -> Json | None:
    def is_good(claim: Json) -> bool:
        return claim["canceled_at"] is None and good(claim)

    return likely(client, (await client.order())["claims"], is_good)


# ---- what must have come of it ------------------------------------------------------------------


def opened(call: Call, books: Books, history: History) -> list[str]:
    """A claim that was confirmed is there, and its money went out as it was asked for."""
    claim = books.claims.get(books.subjects["claims"].get(call.key, ""))
    if call.status != 200:
        if claim is None or claim["status"] in ("refused", "canceled"):
            return []
        return [f"answered {call.status}, but its claim is {claim['status']}"]
    if claim is None:
        return ["answered 200, but there is no claim"]
    if claim["status"] not in ("open", "canceled") or claim["recovery_point"] not in (
        "finished",
        "canceled",
    ):
        return [f"answered 200, but it is {claim['status']}, {claim['recovery_point']}"]
    # What is changed afterwards is judged by ``given``, what was reported by ``inquiries``.
    changed = history.told("conversion", "retry", about=claim["id"])
    is_plain = call.body.get("type") == "refund" and call.body.get("claim_items")
    if changed or not is_plain or claim["status"] == "canceled":
        return []
    return _refund(call, claim, books, history)


def _refund(call: Call, claim: Row, books: Books, history: History) -> list[str]:
    asked = call.body.get("refund_amount")
    posted = _posted(claim["id"], books)
    if asked is None:
        lines = [item["item_id"] for item in call.body["claim_items"]]
        units = sum(item["quantity"] for item in call.body["claim_items"])
        asked = units * shop.GROSS
        if any(not line.startswith(shop.LINE) for line in lines):
            return []  # what was sent out is worth what it replaced
        # What was not sent yet is worth no refund.
        if given_back(lines, history) or not shop.all_sent(lines):
            return [] if posted <= asked else [f"worth {asked} at most, {posted} was refunded"]
    # Where one of two payments was declined, what the other took is the refund.
    if posted != asked and not (0 < posted < asked):
        return [f"{asked} should be refunded, {posted} was"]
    return []


def _posted(claim_id: str, books: Books) -> int:
    found = [row for row in books.refunds.values() if row["cause_id"] == claim_id]
    return sum(row["amount"] for row in found if row["state"] == "posted")


def retried(call: Call, books: Books, history: History) -> list[str]:
    """Money that somebody was told of went out, unless nothing was worth any."""
    claim = books.claims[call.about]
    if call.status != 200 or claim["status"] == "canceled" or claim["type"] != "refund":
        return []
    if claim["payment_status"] == "refunded" or not claim["refund_amount"]:
        return []
    return [f"answered 200, but {call.about} is {claim['payment_status']}"]


def given(books: Books, history: History) -> list[str]:
    """A claim gives what it was opened to give, turned by every conversion that was told; it is
    closed, or canceled, if and only if somebody was told so."""
    wrong = []
    first = {
        books.subjects["claims"].get(call.key): call.body["type"]
        for call in history.of("claim", "approval")
    }
    for id_, claim in books.claims.items():
        turns = history.told("conversion", about=id_)
        was = first.get(id_, claim["type"])
        if claim["status"] != "refused" and (was != claim["type"]) != turns % 2:
            wrong.append(f"claim {id_} was {was}, is {claim['type']} after {turns} turns")
        closings = history.told("closed claim", about=id_)
        if closings != (claim["closed_at"] is not None):
            wrong.append(f"claim {id_}: {closings} were told that they closed it")
        canceled = claim["status"] == "canceled"
        if canceled != (history.told("canceled claim", about=id_) > 0):
            wrong.append(f"claim {id_} is {claim['status']}: who was told that it is canceled?")
    return wrong


JUDGES = {"claim": opened, "approval": opened, "retry": retried}
SWEEPS = (given,)
