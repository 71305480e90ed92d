"""Exchanges: units given back for cheaper, equal or dearer goods; the difference paid, the goods
sent, the units received, and all of it called off. And what must have come of it.

Sending and canceling are judged with those of claims, receipts with those of returns.
"""

from __future__ import annotations

from collections.abc import Callable

from chassis.db import Row
from deploy.simulation import shop
from deploy.simulation.acts import goods, returns
from deploy.simulation.acts.lines import bought, counted, extra, given_back, likely, units
from deploy.simulation.books import Books
from deploy.simulation.clients import Call, Client, History, Json

_CAPTURED = ("captured", "partially_refunded", "refunded")
_UNPAID = ("awaiting", "requires_action")
_REFUNDED = ("difference_refunded", "partially_refunded")
# Net; with the tax on top some differences end as ``clients.AMOUNTS`` do.
_SHIPPING = (5, 76, 77, 82, 350)


async def open_one(client: Client) -> None:
    """Give units back for other goods, rarely units of what was sent out before."""
    chance = client.chance
    number = client.some_order()
    order = (await client.look(f"/admin/orders/{shop.order_id(number)}"))["order"]
    if order["payment_status"] not in _CAPTURED and chance.random() < 0.8:
        return
    back = bought(client, number)
    sent = [line["id"] for line in extra(order) if line["fulfilled_quantity"]]
    if sent and chance.random() < 0.2:
        back = [chance.choice(sent)]
    wanted = chance.choice((chance.choice(shop.WANTED), shop.CHEAPER, shop.DEARER))
    body: Json = {
        "return_items": units(client, back),
        "additional_items": [
            {"variant_id": shop.variant_id(wanted), "quantity": chance.randint(1, 2)}
        ],
    }
    if chance.random() < 0.3:
        price = chance.choice(_SHIPPING)
        body["return_shipping"] = {"option_id": shop.RETURN_OPTION, "price": price}
    if chance.random() < 0.15:
        price = chance.choice(_SHIPPING)
        body["custom_shipping_options"] = [{"option_id": shop.SENDING_OPTION, "price": price}]
    path = f"/admin/orders/{order['id']}/swaps"
    await client.ask("exchange", path, body, takes="exchange")


async def pay(client: Client) -> None:
    """The difference came, or a provider is asked for it once more."""
    path, one = await _some(client, lambda each: each["payment_status"] in _UNPAID)
    if one is not None:
        path = f"{path}/process-payment"
        await client.ask("pay exchange", path, {}, takes="difference paid", about=one["id"])


async def send(client: Client) -> None:
    """Pack what it owes, send what is packed, unpack it."""
    path, one = await _some(client, _may_be_sent)
    if one is None:
        return
    packed = [each["id"] for each in _packed(one)]
    if packed:
        await goods.send_or_unpack(client, path, client.chance.choice(packed), "claim ")
    else:
        await goods.pack_all(client, path)


async def receive(client: Client) -> None:
    """A parcel of what is given back."""
    _, one = await _some(client, lambda each: _back(each) in ("requested", "requires_action"))
    if one is not None and one["return_order"] is not None:
        await returns.arrive(client, one["return_order"])


async def cancel(client: Client) -> None:
    """Call one off, mostly with all that has to be called off before."""
    path, one = await _some(client, _may_be_canceled)
    if one is None:
        return
    about = one["id"]
    if client.chance.random() < 0.8:
        for each in _packed(one):
            unpack = f"{path}/fulfillments/{each['id']}/cancel"
            await client.ask("unpack claim ", unpack, {}, takes="claim unpacked", about=each["id"])
        if _back(one) == "requested":
            await returns.call_off(client, one["return_order"])
    await client.ask("cancel exchange", f"{path}/cancel", {}, takes="canceled claim", about=about)


async def _some(client: Client, good: Callable[[Json], bool]) -> tuple[str, Json | None]:
    found = (await client.look("/admin/swaps?limit=100"))["swaps"]

    def is_good(one: Json) -> bool:
        return one["canceled_at"] is None and good(one)

    one = likely(client, found, is_good)
    return f"/admin/orders/{one['order_id']}/swaps/{one['id']}" if one else "", one


def _packed(one: Json) -> list[Json]:
    return [each for each in one["fulfillments"] if each["canceled_at"] is None]


def _back(one: Json) -> str | None:
    status: str | None = one["return_order"] and one["return_order"]["status"]
    return status


def _is_sent(one: Json) -> bool:
    return any(each["shipped_at"] for each in _packed(one))


def _may_be_sent(one: Json) -> bool:
    return one["payment_status"] != "awaiting" and not _is_sent(one)


def _may_be_canceled(one: Json) -> bool:
    return (
        one["payment_status"] not in _REFUNDED
        and _back(one) in ("requested", "canceled")
        and not _is_sent(one)
    )


# ---- what must have come of it ------------------------------------------------------------------


def opened(call: Call, books: Books, history: History) -> list[str]:
    """An exchange that was confirmed is there, with the units, the goods and the difference that
    were asked for; one that was not is not."""
    row = books.claims.get(books.subjects["claims"].get(call.key, ""))
    status = row and row["status"]
    if call.status != 200:
        gone = status in (None, "refused", "canceled")
        return [] if gone else [f"answered {call.status}, but its exchange is {status}"]
    if row is None or status not in ("open", "canceled") or row["recovery_point"] != "finished":
        return [f"answered 200, but its exchange is {row}"]
    wrong = []
    back = counted(call.body["return_items"])
    announced = books.announced.get(row["return_id"])
    if announced is None or dict(+announced) != back:
        wrong.append(f"{back} should come back, {announced} is announced")
    out = sum(item["quantity"] for item in call.body["additional_items"])
    for parcel in books.claim_fulfillments.values():
        packed = sum(item["quantity"] for item in parcel["items"])
        if parcel["claim_id"] == row["id"] and packed != out:
            wrong.append(f"{out} should be sent, {packed} is in {parcel['id']}")
    return wrong + _difference(call, row, books, history)


def _difference(call: Call, row: Row, books: Books, history: History) -> list[str]:
    found = books.exchanges.get(row["id"])
    if found is None:
        return ["answered 200, but nobody has found its difference"]
    due = found["difference_due"]
    lines = [item["item_id"] for item in call.body["return_items"]]
    worth = sum(item["quantity"] for item in call.body["return_items"]) * shop.GROSS
    cost = sum(
        item["quantity"] * shop.price(item["variant_id"]) for item in call.body["additional_items"]
    )
    cost += sum(
        shop.gross(way["price"])
        for way in (
            *call.body.get("custom_shipping_options", ()),
            *([call.body["return_shipping"]] if "return_shipping" in call.body else ()),
        )
    )
    if any(not line.startswith(shop.LINE) for line in lines):
        return [] if due <= cost else [f"{due} is due for what costs {cost}"]
    # What went back otherwise is not credited once more. What is paid back by a cancel takes the
    # place of the explanation.
    parts = {part["part"]: part["amount"] for part in found["explanation"]}
    if given_back(lines, history) or "difference" in parts:
        is_right = cost - worth <= due <= cost
    else:
        is_right = due == cost - worth - parts.get("cap", 0)
    refunds = [each for each in books.refunds.values() if each["order_id"] == row["order_id"]]
    if not is_right or ("cap" in parts and not refunds):
        return [f"what is worth {worth} for what costs {cost}: {due} is due, {parts}"]
    return []


def settled(books: Books, history: History) -> list[str]:
    """A difference is paid if and only if somebody was told so, and once; what is the customer's is
    given back, and what was paid when the exchange is canceled, and nothing else."""
    wrong = []
    for id_, exchange in books.exchanges.items():
        claim, due = books.claims[id_], exchange["difference_due"]
        if claim["status"] not in ("open", "canceled") or claim["difference_due"] != due:
            wrong.append(f"{due} is due of exchange {id_}: {claim}")
        told = history.told("difference paid", about=id_)
        payment = books.differences.get(exchange["payment_id"] or "")
        if (payment is not None) != (due > 0 and told > 0):
            wrong.append(f"{told} were told that {due} is paid of {id_}, its payment is {payment}")
        given = sum(
            refund["amount"]
            for refund in books.refunds.values()
            if (refund["cause_id"], refund["state"]) == (id_, "posted")
        )
        if not _is_given(claim, due, payment, given):
            wrong.append(
                f"{due} was due of exchange {id_}, now {claim['status']} and"
                f" {claim['payment_status']}: {given} went back, paid: {payment}"
            )
    of = {exchange["payment_id"] for exchange in books.exchanges.values()}
    return wrong + [
        f"nobody owed payment {id_} of {payment['amount']}"
        for id_, payment in books.differences.items()
        if id_ not in of
    ]


def _is_given(claim: Row, due: int, payment: Row | None, given: int) -> bool:
    paid, status = payment["amount"] if payment is not None else 0, claim["payment_status"]
    if paid not in (0, due):
        return False
    if claim["status"] == "canceled":
        # Who was refunded by hand meanwhile, over this payment, got as much less.
        back = payment["amount_refunded"] if payment is not None else 0
        return bool(given <= paid == back)
    gone = {"difference_refunded": given == -due > 0, "partially_refunded": 0 < given < -due}
    stays = {"captured": due == paid > 0, "awaiting": due > paid, "confirmed": due == 0}
    stays["requires_action"] = due < 0
    return gone.get(status, given == 0 and stays.get(status, False))


def pay_nothing(books: Books, history: History) -> list[str]:
    """What is given back was paid for by the exchange: its return pays nothing, unless somebody
    named an amount."""
    named = {call.about for call in history.of("receipt", "settled") if "refund" in call.body}
    wrong = []
    for id_, row in books.returns.items():
        if row["claim_id"] not in books.exchanges or id_ in named:
            continue
        for receipt in books.receipts.values():
            money = receipt["refund_amount"], receipt["owed_amount"]
            if receipt["return_id"] == id_ and any(money):
                wrong.append(f"return {id_} of an exchange paid and owes {money}")
    return wrong


JUDGES = {"exchange": opened}
SWEEPS = (settled, pay_nothing)
