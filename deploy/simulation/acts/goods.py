"""Goods of orders and of claims: packed, sent, unpacked. And what must have come of it."""

from __future__ import annotations

from deploy.simulation import shop
from deploy.simulation.acts.lines import counted, likely, units
from deploy.simulation.books import Books
from deploy.simulation.clients import Call, Client, History, Json


async def move(client: Client) -> None:
    """Pack what an order or a claim of it still owes, send what is packed, unpack it."""
    order = await client.order()
    path, owner, whose = f"/admin/orders/{order['id']}", order, ""
    claim = likely(client, order["claims"], _sends_out)
    if claim is not None and (client.chance.random() < 0.7 or not _owed(order)):
        path, owner, whose = f"{path}/claims/{claim['id']}", claim, "claim "
    packed = [each["id"] for each in owner["fulfillments"]]
    if not packed or client.chance.random() < 0.4:
        await (pack_all(client, path) if whose else _pack(client, path, owner))
        return
    await send_or_unpack(client, path, client.chance.choice(packed), whose)


async def send_or_unpack(client: Client, path: str, parcel: str, whose: str) -> None:
    """Send a parcel, or unpack it; ``whose``: as judges name it."""
    if client.chance.random() < 0.6:
        path = f"{path}/{'shipments' if whose else 'shipment'}"
        body: Json = {"fulfillment_id": parcel}
        await client.ask(f"ship {whose}", path, body, takes=f"{whose}shipped", about=parcel)
    else:
        path = f"{path}/fulfillments/{parcel}/cancel"
        await client.ask(f"unpack {whose}", path, {}, takes=f"{whose}unpacked", about=parcel)


async def pack_all(client: Client, path: str) -> None:
    """Pack all that a claim or an exchange still owes."""
    body: Json = {} if client.chance.random() < 0.8 else {"location_id": shop.LOCATION}
    await client.ask("pack claim", f"{path}/fulfillments", body, takes="claim packed")


async def _pack(client: Client, path: str, owner: Json) -> None:
    chance = client.chance
    owed = _owed(owner)
    if not owed and chance.random() < 0.9:
        return
    lines = [line["id"] for line in owed or owner["items"]]
    some = [line for line in lines if chance.random() < 0.5] or lines[-1:]
    body: Json = {"items": units(client, some)}
    if chance.random() < 0.8:
        body["location_id"] = shop.LOCATION
    await client.ask("pack", f"{path}/fulfillment", body, takes="packed")


def _owed(order: Json) -> list[Json]:
    return [line for line in order["items"] if line["fulfilled_quantity"] < line["quantity"]]


def _sends_out(claim: Json) -> bool:
    open_ = claim["type"] == "replace" and claim["canceled_at"] is None
    return open_ and bool(claim["shipping_methods"])


# ---- what must have come of it ------------------------------------------------------------------

_IS = ("live", "canceled")


def packed(call: Call, books: Books, history: History) -> list[str]:
    """A fulfillment that was confirmed has what was asked for; one that was not was never there."""
    row = books.fulfillments.get(books.subjects["orders"].get(call.key, ""))
    state = row and row["state"]
    if (call.status == 200) != (state in _IS):
        return [f"answered {call.status}, but its fulfillment is {state}"]
    if row is None or state not in _IS:
        return []
    asked, has = counted(call.body["items"]), counted(row["items"])
    return [] if asked == has else [f"{asked} should be packed, {has} is"]


def claim_packed(call: Call, books: Books, history: History) -> list[str]:
    """Of the parcels of a claim one at least is there, or all were refused."""
    request = books.subjects["claims"].get(call.key)
    rows = [row for row in books.claim_fulfillments.values() if row["request_id"] == request]
    states = [row["state"] for row in rows]
    if (call.status == 200) != any(state in _IS for state in states):
        return [f"answered {call.status}, but its fulfillments are {states}"]
    return []


def moved(books: Books, history: History) -> list[str]:
    """Each parcel was asked for, sent once and unpacked only where somebody was told so."""
    wrong = []
    asked = set(books.subjects["orders"].values())
    wrong += [f"nobody asked for fulfillment {id_}" for id_ in books.fulfillments.keys() - asked]
    asked = set(books.subjects["claims"].values())
    wrong += [
        f"nobody asked for fulfillment {id_}"
        for id_, row in books.claim_fulfillments.items()
        if row["request_id"] not in asked
    ]
    for whose, rows in (("", books.fulfillments), ("claim ", books.claim_fulfillments)):
        for id_, row in rows.items():
            sent = history.told(f"{whose}shipped", about=id_)
            if sent != (row["shipped_at"] is not None):
                wrong.append(f"{id_} was shipped at {row['shipped_at']}: {sent} were told so")
            unpacked = history.told(f"{whose}unpacked", about=id_)
            if (row["state"] == "canceled") != (unpacked > 0):
                wrong.append(f"{id_} is {row['state']}: {unpacked} were told that it is unpacked")
    return wrong


JUDGES = {"packed": packed, "claim packed": claim_packed}
SWEEPS = (moved,)
