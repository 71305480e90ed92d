"""Inquiries: reported by the customer or for one, taken into review, approved, rejected, taken
back. And what must have come of it."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.simulation import shop
from deploy.simulation.acts.claims import goods
from deploy.simulation.acts.lines import bought, claimed, likely
from deploy.simulation.books import Books
from deploy.simulation.clients import Call, Client, History, Json


async def report(client: Client) -> None:
    """The customer says what is wrong, or calls the shop."""
    number = client.some_order()
    order = shop.order_id(number)
    body: Json = {"claim_items": claimed(client, bought(client, number))}
    if client.chance.random() < 0.4:
        body["message"] = "It is blue."
    if client.chance.random() < 0.3:
        await client.ask("report", f"/admin/orders/{order}/inquiries", body, takes="inquiry")
        return
    body["order_id"] = order
    customer = shop.CUSTOMER
    await client.ask("report", "/store/claims", body, takes="inquiry", customer=customer)


async def decide(client: Client) -> None:
    """Somebody does the next thing to an inquiry; most likely to one that waits for it."""
    found = (await client.look("/admin/inquiries?limit=100"))["inquiries"]
    one = likely(client, found, lambda each: each["status"] in ("pending", "in_review"))
    if one is None:
        return
    chance = client.chance
    path, about = f"/admin/inquiries/{one['id']}", one["id"]
    if one["status"] == "pending":
        act = chance.choice(["review", "review", "review", "cancel"])
    else:
        act = chance.choice(["approve", "approve", "approve", "reject"])
    if act == "cancel":
        path, who = f"/store/claims/{about}/cancel", shop.CUSTOMER
        await client.ask("cancel inquiry", path, {}, takes=act, about=about, customer=who)
    elif act == "approve":
        body: Json = {"type": chance.choice(["refund", "replace"])}
        body |= goods(client) if body["type"] == "replace" else {}
        await client.ask(act, f"{path}/{act}", body, takes="approval", about=about)
    else:
        body = {"reason": "It was blue."} if act == "reject" else {}
        await client.ask(act, f"{path}/{act}", body, takes=act, about=about)


# ---- what must have come of it ------------------------------------------------------------------


def reported(call: Call, books: Books, history: History) -> list[str]:
    """An inquiry that was confirmed is there, and only such a one."""
    there = books.subjects["claims"].get(call.key) in books.inquiries
    if there == (call.status == 200):
        return []
    return [f"answered {call.status}, but the inquiry is {'' if there else 'not '}there"]


def decided(books: Books, history: History) -> list[str]:
    """An inquiry is where those who were told have brought it: each of them once."""
    wrong = []
    asked = set(books.subjects["claims"].values())
    wrong += [f"nobody reported {id_}" for id_ in books.inquiries.keys() - asked]
    for id_, inquiry in books.inquiries.items():
        status = inquiry["status"]
        told = {act: history.told(act, about=id_) for act in ("review", "approval", "reject")}
        due = {
            "review": status in ("in_review", "approved", "rejected"),
            "approval": status == "approved",
            "reject": status == "rejected",
        }
        taken_back = history.told("cancel", about=id_) > 0
        if told != due or taken_back != (status == "canceled"):
            wrong.append(f"inquiry {id_} is {status}, but {told}, taken back: {taken_back}")
        claims = _claims(history.of("approval", about=id_), books)
        if status == "approved" and claims != [inquiry["claim_id"]]:
            wrong.append(f"inquiry {id_} is claim {inquiry['claim_id']}, but {claims} was told")
    return wrong


def _claims(calls: Sequence[Call], books: Books) -> list[str]:
    return [books.subjects["claims"][call.key] for call in calls if call.status == 200]


JUDGES = {"inquiry": reported}
SWEEPS = (decided,)
