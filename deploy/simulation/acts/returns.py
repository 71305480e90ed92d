"""Returns: requested, received whole or short, with what nobody announced and what is broken;
settled, closed, canceled. And what must have come of it."""

from __future__ import annotations

from deploy.simulation import shop
from deploy.simulation.acts.lines import bought, counted, extra, given_back, likely, units
from deploy.simulation.books import Books
from deploy.simulation.clients import AMOUNTS, Call, Client, History, Json
from services.returns.operations import first_receipt_id


async def request(client: Client) -> None:
    """Announce units, and rarely receive them at once."""
    chance = client.chance
    order = client.some_order()
    body: Json = {
        "items": units(client, bought(client, order)),
        "receive_now": chance.random() < 0.4,
    }
    if chance.random() < 0.3:
        body["refund"] = chance.choice(AMOUNTS)
    if chance.random() < 0.3:
        body["return_shipping"] = {"option_id": shop.RETURN_OPTION}
    if chance.random() < 0.15:
        body["refund_to"] = "store_credit"
    path = f"/admin/orders/{shop.order_id(order)}/return"
    await client.ask("return", path, body, takes="return")


async def receive(client: Client) -> None:
    """A parcel of what was announced, often not all of it."""
    one = likely(client, (await client.order())["returns"], _is_open)
    if one is not None:
        await arrive(client, one)


async def arrive(client: Client, one: Json) -> None:
    """Some of what a return announced comes."""
    items = [
        {
            "item_id": item["item_id"],
            "quantity": client.chance.randint(1, max(1, item["requested_quantity"])),
        }
        for item in one["items"]
        if client.chance.random() < 0.8
    ]
    body: Json = {"items": items}
    if client.chance.random() < 0.3:
        body["refund"] = client.chance.choice(AMOUNTS)
    path = f"/admin/returns/{one['id']}/receive"
    await client.ask("receive", path, body, takes="receipt", about=one["id"])


async def parcel(client: Client) -> None:
    """Whatever lines of the order lie in it, some of it broken."""
    order = await client.order()
    one = likely(client, order["returns"], _is_open)
    if one is None:
        return
    chance = client.chance
    announced = [item["item_id"] for item in one["items"]]
    lines = [line["id"] for line in (*order["items"], *extra(order))]
    inside = {line for line in announced if chance.random() < 0.7}
    inside |= {line for line in lines if chance.random() < 0.2}
    items = units(client, sorted(inside))
    for item in items:
        item["damaged_quantity"] = chance.randint(0, item["quantity"])
    if items:
        path = f"/admin/returns/{one['id']}/receipts"
        await client.ask("parcel", path, {"items": items}, takes="receipt", about=one["id"])


async def end(client: Client) -> None:
    """Settle what a return owes, or close it: most likely one that needs somebody's eye."""
    returns = (await client.order())["returns"]
    one = likely(client, returns, lambda each: bool(each["status"] == "requires_action"))
    if one is None:
        return
    chance = client.chance
    path = f"/admin/returns/{one['id']}"
    owes = (await client.look(path))["owed_amount"] > 0
    if owes != (chance.random() < 0.2):
        body: Json = dict(chance.choice([{}, {}, {"refund": 108}, {"refund": 0}]))
        if chance.random() < 0.3:
            body["refund_to"] = "store_credit"
        await client.ask("settle", f"{path}/settle", body, takes="settled", about=one["id"])
        return
    await client.ask("close return", f"{path}/close", {}, takes="closed return", about=one["id"])


async def cancel(client: Client) -> None:
    """Call a return off."""
    returns = (await client.order())["returns"]
    one = likely(client, returns, lambda each: bool(each["status"] == "requested"))
    if one is not None:
        await call_off(client, one)


async def call_off(client: Client, one: Json) -> None:
    """Cancel this return."""
    path = f"/admin/returns/{one['id']}/cancel"
    await client.ask("cancel return", path, {}, takes="canceled return", about=one["id"])


def _is_open(one: Json) -> bool:
    return one["status"] in ("requested", "requires_action")


# ---- what must have come of it ------------------------------------------------------------------


def requested(call: Call, books: Books, history: History) -> list[str]:
    """A return that was confirmed is there; one that was not is no more."""
    row = books.returns.get(books.subjects["returns"].get(call.key, ""))
    if call.status == 200 and (row is None or row["state"] == "refused"):
        return [f"answered 200, but its return is {row and row['state']}"]
    if call.status == 200 or row is None or row["state"] in ("refused", "canceled"):
        return []
    # A return whose goods were to be received at once stands though that receipt was refused.
    stands = row["state"] in ("requested", "received", "requires_action")
    if call.body.get("receive_now") and stands:
        return []
    return [f"answered {call.status}, but its return is {row['state']}"]


def received(call: Call, books: Books, history: History) -> list[str]:
    """A receipt is booked if and only if its call was confirmed, with what was in the parcel."""
    items = call.body["items"]
    if not items:  # nothing came, so nothing is booked
        return []
    receipt = books.subjects["returns"].get(call.key, "")
    settled = receipt in books.receipts
    if (call.status == 200) != settled:
        return [f"answered {call.status}, but its receipt is {'' if settled else 'not '}settled"]
    came = books.came_with(receipt) if settled else None
    told = tuple(counted(items, name) for name in ("quantity", "damaged_quantity"))
    return [] if came in (None, told) else [f"{told} came, {came} was booked"]


def settled(call: Call, books: Books, history: History) -> list[str]:
    """Money that was owed is decided. Where it could not be paid either, that is told as a no, and
    owed by this receipt now."""
    receipt = books.receipts.get(books.subjects["returns"].get(call.key, ""))
    if call.status == 200 and receipt is None:
        return ["answered 200, but nothing is settled"]
    paid = receipt["refund_amount"] if receipt is not None else 0
    if call.status != 200 and paid and paid == call.body.get("refund"):
        return [f"answered {call.status}, but {paid} was paid"]
    return []


def worth(books: Books, history: History) -> list[str]:
    """What came is paid, and no more, where nobody named another amount. What nobody announced may
    have no free unit, and a price may be given back: then no more is paid than the goods cost."""
    named = {call.about for call in history.of("receipt", "settled") if "refund" in call.body}
    wrong = []
    for call in history.of("return"):
        row = books.returns.get(books.subjects["returns"].get(call.key, ""))
        plain = not {"refund", "return_shipping"} & call.body.keys()
        if not plain or row is None or row["id"] in named:
            continue
        came = books.returned[row["id"]]
        if any(not line.startswith(shop.LINE) for line in came):
            continue  # what a claim sent out is worth what it replaced
        price, paid = sum(came.values()) * shop.GROSS, row["refunded_amount"]
        announced = counted(call.body["items"])
        is_plain = not given_back(list(came), history) and all(
            quantity <= announced.get(line, 0) for line, quantity in came.items()
        )
        if paid > price or (row["status"] == "received" and is_plain and paid != price):
            wrong.append(f"return {row['id']}: goods worth {price} came, {paid} was refunded")
    return wrong


def ended(books: Books, history: History) -> list[str]:
    """A return is closed, or canceled, if and only if somebody was told so; nothing is booked that
    nobody told of."""
    wrong = []
    asked = set(books.subjects["returns"].values())
    asked |= {first_receipt_id(return_id=id_) for id_ in books.returns}
    wrong += [f"nobody asked for receipt {id_}" for id_ in books.receipts.keys() - asked]
    for id_, row in books.returns.items():
        closings = history.told("closed return", about=id_)
        if (row["closed_at"] is not None and not closings) or (
            closings and row["status"] != "received"
        ):
            wrong.append(f"return {id_} is {row['status']}: {closings} were told that it is closed")
        cancels = history.told("canceled return", about=id_)
        if (row["status"] == "canceled") != (cancels > 0):
            wrong.append(
                f"return {id_} is {row['status']}: {cancels} were told that it is canceled"
            )
    return wrong


JUDGES = {"return": requested, "receipt": received, "settled": settled}
SWEEPS = (worth, ended)
