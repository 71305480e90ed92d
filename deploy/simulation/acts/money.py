"""Money by hand: refunds, parts of prices, store credit that is spent, payments that are taken. And
what must have come of it."""

from __future__ import annotations

from deploy.simulation import shop
from deploy.simulation.acts.lines import bought
from deploy.simulation.books import Books
from deploy.simulation.clients import AMOUNTS, Call, Client, History, Json

CREDIT = f"/admin/customers/{shop.CUSTOMER}/store-credits"


async def refund(client: Client) -> None:
    """Refund some of an order."""
    await _refund(client, of_lines=False)


async def goodwill(client: Client) -> None:
    """Give a part of the price of some lines back."""
    await _refund(client, of_lines=True)


async def _refund(client: Client, *, of_lines: bool) -> None:
    chance = client.chance
    number = client.some_order()
    body: Json = {"amount": chance.choice(AMOUNTS[1:]), "reason": "other"}
    if of_lines:
        lines = bought(client, number)
        body["items"] = [
            {"item_id": line, "amount": chance.choice(AMOUNTS[1:])}
            for line in lines[: chance.randint(1, 2)]
        ]
        body["amount"] = sum(item["amount"] for item in body["items"])
    path = f"/admin/orders/{shop.order_id(number)}/refund"
    await client.ask("refund", path, body, takes="refund")


async def spend(client: Client) -> None:
    """The customer buys something with store credit, or is given some."""
    amount = client.chance.choice((-1200, -500, -108, -1, 300))
    body: Json = {"amount": amount, "currency_code": shop.CURRENCY}
    await client.ask("credit", CREDIT, body, takes="credit")


async def capture(client: Client) -> None:
    """Take the money of an order, or of one of its payments."""
    order = await client.order()
    if client.chance.random() < 0.5:
        path, about = f"/admin/orders/{order['id']}/capture", order["id"]
    else:
        about = client.chance.choice(order["payments"])["id"]
        path = f"/admin/payments/{about}/capture"
    failing = b"Failed to capture"
    await client.ask("capture", path, {}, takes="captured", about=about, failing=failing)


# ---- what must have come of it ------------------------------------------------------------------


def refunded(call: Call, books: Books, history: History) -> list[str]:
    """A refund that was confirmed is posted, and only such a one."""
    row = books.refunds.get(books.subjects["orders"].get(call.key, ""))
    if call.status != 200:
        posted = row is not None and row["state"] == "posted"
        return [f"answered {call.status}, but the refund is posted"] if posted else []
    if row is None or row["state"] != "posted":
        return [f"answered 200, but the refund is {row and row['state']}"]
    amount = call.body["amount"]
    if row["amount"] != amount and not 0 < row["amount"] < amount:
        return [f"{amount} should be refunded, {row['amount']} was"]
    return []


def credited(call: Call, books: Books, history: History) -> list[str]:
    """An entry that was confirmed is in the account, and only such a one."""
    entry = books.credits.get(books.subjects["orders"].get(call.key, ""))
    booked = entry and entry["amount"]
    if booked == (call.body["amount"] if call.status == 200 else None):
        return []
    return [f"answered {call.status}, but {booked} is in the account"]


def captured(call: Call, books: Books, history: History) -> list[str]:
    """A payment that somebody was told of is taken."""
    payment = books.payments.get(call.about)
    if payment is None or call.status != 200 or payment["captured_at"] is not None:
        return []  # of an order each payment is decided, which may be the provider's no
    return [f"answered 200, but {call.about} is not captured"]


def asked_for(books: Books, history: History) -> list[str]:
    """No entry, refund or capture that nobody wanted."""
    made = set(books.subjects["orders"].values())
    wrong = [
        f"nobody asked for store credit {id_}"
        for id_, entry in books.credits.items()
        if entry["kind"] == "adjusted" and id_ not in made
    ]
    wrong += [
        f"nobody asked for refund {id_}"
        for id_, row in books.refunds.items()
        if row["cause_kind"] == "manual" and id_ not in made
    ]
    for id_, (order, before) in shop.payments().items():
        wanted = history.of("captured", about=id_) or history.of("captured", about=order)
        if books.payments[id_]["captured_at"] is not None and not before and not wanted:
            wrong.append(f"nobody asked to capture {id_}")
    return wrong


JUDGES = {"refund": refunded, "credit": credited, "captured": captured}
SWEEPS = (asked_for,)
