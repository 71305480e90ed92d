"""What must agree between two services, compared over plain rows. Pure.

`reclamo verify` reads the rows from the databases, a running gateway asks the services for them;
both compare here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chassis.topology import Topology

Row = dict[str, Any]
_DEAD = ("canceled", "refused")
_LIVE_RETURNS = ("requested", "receiving", "requires_action", "received", "canceling", "closing")


@dataclass
class Picture:
    """What the services say of what they share, read at about the same time."""

    claims: dict[str, Row]
    claimed: dict[tuple[str, str], int]
    remedies: dict[str, Row]
    remedied: dict[tuple[str, str], int]
    refunds: dict[tuple[str, str], Row]
    order_receipts: dict[str, Row]
    returns: dict[str, Row]
    receipts: list[Row]
    receipt_lines: list[Row]
    reservations: dict[str, Row]
    stock_receipts: dict[str, Row]
    fulfillments: dict[str, Row] = field(default_factory=dict)
    stock_uses: dict[str, Row] = field(default_factory=dict)
    parcels: dict[str, Row] = field(default_factory=dict)
    canceled_orders: set[str] = field(default_factory=set)
    released_orders: set[str] = field(default_factory=set)
    exchanges: dict[str, Row] = field(default_factory=dict)


def picture(rows: Mapping[str, list[Row]]) -> Picture:
    """From the lists that the services' ``invariants.rows`` give, put together."""
    return Picture(
        claims={row["id"]: row for row in rows["claims"]},
        claimed={(row["claim_id"], row["line_id"]): row["quantity"] for row in rows["claimed"]},
        remedies={row["id"]: row for row in rows["remedies"]},
        remedied={(row["remedy_id"], row["line_id"]): row["quantity"] for row in rows["remedied"]},
        refunds={(row["cause_kind"], row["cause_id"]): row for row in rows["refunds"]},
        order_receipts={row["id"]: row for row in rows["order_receipts"]},
        returns={row["id"]: row for row in rows["returns"]},
        receipts=rows["receipts"],
        receipt_lines=rows["receipt_lines"],
        reservations={row["remedy_id"]: row for row in rows["reservations"]},
        stock_receipts={row["receipt_id"]: row for row in rows["stock_receipts"]},
        fulfillments={
            row["id"]: row for row in (*rows["fulfillments"], *rows["claim_fulfillments"])
        },
        stock_uses={row["fulfillment_id"]: row for row in rows["stock_uses"]},
        parcels={row["fulfillment_id"]: row for row in rows["parcels"]},
        canceled_orders={row["order_id"] for row in rows["canceled_orders"]},
        released_orders={row["order_id"] for row in rows["released_orders"]},
        exchanges={row["id"]: row for row in rows["exchanges"]},
    )


def _row(invariant: str, about: str, message: str) -> Row:
    return {"invariant": invariant, "id": about, "message": message}


def compare(picture: Picture) -> list[Row]:
    """Everything in which two services disagree: [{invariant, id, message}]."""
    found = [
        *_claims_and_remedies(picture),
        *_returns_and_remedies(picture),
        *_claims_and_refunds(picture),
        *_exchanges_and_money(picture),
        *_receipts_and_refunds(picture),
        *_claims_and_stock(picture),
        *_receipts_and_stock(picture),
        *_claims_and_returns(picture),
        *_fulfillments_and_stock(picture),
        *_replacements_and_units(picture),
        *_orders_and_stock(picture),
    ]
    return [_row(*each) for each in found]


Disagreements = Iterable[tuple[str, str, str]]


def _is_exchange(claim: Row) -> bool:
    """Claims keeps exchanges among its claims."""
    return bool(claim["type"] == "exchange")


def _is_live(claim: Row) -> bool:
    """Agreed to, and not taken back."""
    return claim["status"] in ("open", "canceling")


def _is_held(remedy: Row | None) -> bool:
    """Orders holds units for it, or has settled it."""
    return remedy is not None and remedy["state"] in ("held", "settled")


def _is_reserved(stock: Row | None) -> bool:
    """Inventory agreed to hold stock, and was not told to release it."""
    return stock is not None and stock["state"] == "held" and not stock["rejected"]


def _paid(picture: Picture, cause_kind: str, cause_id: str) -> int:
    """What orders really refunded for a cause."""
    refund = picture.refunds.get((cause_kind, cause_id))
    return int(refund["amount"]) if refund and refund["state"] == "posted" else 0


def _claims_and_remedies(picture: Picture) -> Disagreements:
    """I13, I16: a live claim holds its units at orders, a dead one nothing, and the reverse."""
    for id_, claim in picture.claims.items():
        remedy = picture.remedies.get(id_)
        live = _is_held(remedy)
        if claim["status"] == "open" and not live:
            yield "I16", id_, "the claim is open, but orders holds nothing for it"
        if claim["status"] in _DEAD and live:
            yield "I13", id_, f"the claim is {claim['status']}, but orders still holds its units"
        if remedy and remedy["order_id"] != claim["order_id"]:
            yield "I8", id_, f"claimed on {claim['order_id']}, but held on {remedy['order_id']}"
        if remedy and (remedy["kind"] == "exchange") != _is_exchange(claim):
            yield "I16", id_, f"it is of type {claim['type']}, but orders holds a {remedy['kind']}"
    for id_, remedy in picture.remedies.items():
        if remedy["kind"] != "return" and _is_held(remedy) and id_ not in picture.claims:
            yield "I16", id_, "orders holds units for a claim that nobody knows"
    for (id_, line), units in picture.claimed.items():
        held = picture.remedied.get((id_, line), 0)
        live = _is_live(picture.claims[id_]) and _is_held(picture.remedies.get(id_))
        if live and held != units:
            yield "I16", id_, f"{units} units of {line} are claimed, {held} are held"


def _returns_and_remedies(picture: Picture) -> Disagreements:
    """I16 for returns of their own; those of a claim live under the claim's remedy."""
    for id_, each in picture.returns.items():
        if each["claim_id"]:
            continue
        remedy = picture.remedies.get(id_)
        live = _is_held(remedy)
        if each["state"] in _LIVE_RETURNS and each["state"] != "canceling" and not live:
            yield "I16", id_, "the return is live, but orders holds nothing for it"
        if each["state"] in _DEAD and live:
            yield "I13", id_, f"the return is {each['state']}, but orders still holds its units"
        if remedy and remedy["order_id"] != each["order_id"]:
            yield "I8", id_, f"returned from {each['order_id']}, but held on {remedy['order_id']}"
    # What came without having been held has a remedy under its receipt's id.
    parcels = picture.order_receipts.keys() | {row["receipt_id"] for row in picture.receipts}
    for id_, remedy in picture.remedies.items():
        known = id_ in picture.returns or id_ in parcels
        if remedy["kind"] == "return" and _is_held(remedy) and not known:
            yield "I16", id_, "orders holds units for a return that nobody knows"


def _claims_and_refunds(picture: Picture) -> Disagreements:
    """I2: a claim is refunded exactly when orders paid it, and with the same amount."""
    for id_, claim in picture.claims.items():
        if _is_exchange(claim):
            continue
        paid = _paid(picture, "claim", id_)
        if claim["payment_status"] == "refunded" and paid != claim["refund_amount"]:
            yield "I2", id_, f"refunded {claim['refund_amount']} says claims, {paid} says orders"
        if claim["payment_status"] != "refunded" and paid:
            yield "I2", id_, f"orders refunded {paid}, claims does not know"
        if claim["status"] in _DEAD and paid:
            yield "I12", id_, f"the claim is {claim['status']}, but {paid} was refunded"
    for kind, id_ in picture.refunds:
        if kind == "claim" and id_ not in picture.claims and _paid(picture, kind, id_):
            yield "I2", id_, "orders refunded for a claim that nobody knows"


def _exchanges_and_money(picture: Picture) -> Disagreements:
    """I2, I9: the difference of an exchange is the same on both sides, and so is what of it came
    and what went back."""
    for id_, claim in picture.claims.items():
        if not _is_exchange(claim):
            continue
        back, told = _paid(picture, "exchange", id_), claim["refund_amount"] or 0
        if back != told:
            yield "I2", id_, f"{told} of the difference went back says claims, {back} says orders"
        settled = picture.exchanges.get(id_)
        if not _is_live(claim):
            continue
        if settled is None:
            yield "I9", id_, "the exchange is open, but orders has not settled its difference"
        elif settled["difference_due"] != claim["difference_due"]:
            due, other = claim["difference_due"], settled["difference_due"]
            yield "I9", id_, f"the difference is {due} says claims, {other} says orders"
        elif (claim["payment_status"] == "captured") != (settled["payment_id"] is not None):
            yield "I9", id_, "claims and orders disagree on whether the difference was paid"
    for kind, id_ in picture.refunds:
        if kind == "exchange" and id_ not in picture.claims and _paid(picture, kind, id_):
            yield "I2", id_, "orders refunded for an exchange that nobody knows"


def _receipts_and_refunds(picture: Picture) -> Disagreements:
    """I2, I16: what arrived is booked at orders, and paid as returns says."""
    known = {row["receipt_id"]: row for row in picture.receipts}
    for id_, row in known.items():
        paid = _paid(picture, "receipt", id_)
        if paid != (row["refund_amount"] or 0):
            yield "I2", id_, f"refunded {row['refund_amount']} says returns, {paid} says orders"
        booked = picture.order_receipts.get(id_)
        if booked is not None and booked["owed_amount"] != row["owed_amount"]:
            owed, other = row["owed_amount"], booked["owed_amount"]
            yield "I9", id_, f"{owed} is still owed says returns, {other} says orders"
        if booked is None or booked["state"] != "settled":
            yield "I16", id_, "the receipt is settled, but orders has not booked it"
    for kind, id_ in picture.refunds:
        if kind == "receipt" and id_ not in known and _paid(picture, kind, id_):
            yield "I2", id_, "orders refunded for a receipt that returns has not settled"
    for id_, booked in picture.order_receipts.items():
        if booked["state"] == "settled" and id_ not in known:
            yield "I16", id_, "orders booked a receipt that returns has not settled"


def _claims_and_stock(picture: Picture) -> Disagreements:
    """I4: a reservation is held exactly while its claim lives, or was released by hand."""
    for id_, claim in picture.claims.items():
        stock = picture.reservations.get(claim.get("stock_id", id_))
        held = _is_reserved(stock)
        if claim["status"] == "open" and claim["wants_stock"] and not held:
            yield "I4", id_, "the claim is open, but inventory holds nothing for it"
        if claim["status"] in _DEAD and held:
            yield "I4", id_, f"the claim is {claim['status']}, but its stock is still reserved"
        if claim["status"] == "open" and held and stock is not None:
            freed = stock["released_units"] - stock["manual_units"]
            if freed:
                yield "I4", id_, f"the claim is open, but {freed} of its units were released"
    known = {claim.get("stock_id", id_) for id_, claim in picture.claims.items()}
    for id_, stock in picture.reservations.items():
        if _is_reserved(stock) and id_ not in known:
            yield "I4", id_, "stock is reserved for a claim that nobody knows"


def _receipts_and_stock(picture: Picture) -> Disagreements:
    """I17: what arrived went into stock once."""
    came: Counter[str] = Counter()
    for row in picture.receipt_lines:
        sound = row["quantity"] - row["damaged_quantity"]
        came[row["receipt_id"]] += sound if row["variant_id"] else 0
    for id_, units in came.items():
        booked = picture.stock_receipts.get(id_)
        if units and (booked is None or booked["state"] != "booked"):
            yield "I17", id_, "the receipt is settled, but inventory has not booked it"
        elif booked and booked["moved_units"] > units:
            yield "I17", id_, f"{units} units came, {booked['moved_units']} went into stock"
    for id_, row in picture.stock_receipts.items():
        if row["moved_units"] and id_ not in came:
            yield "I17", id_, "stock moved for a receipt that is not settled"


def _fulfillments_and_stock(picture: Picture) -> Disagreements:
    """I4, I17: goods are out of stock exactly while their fulfillment lives."""
    for id_, each in picture.fulfillments.items():
        use = picture.stock_uses.get(id_)
        taken = use is not None and use["state"] == "consumed"
        if each["state"] == "live" and each["uses_stock"] and not taken:
            yield "I17", id_, "the fulfillment is live, but its goods were not taken out of stock"
        if each["state"] in ("refused", "canceled") and taken:
            yield "I17", id_, f"the fulfillment is {each['state']}, but its goods are not back"
        if use is not None and use["order_id"] != each["order_id"]:
            yield "I8", id_, f"packed for {each['order_id']}, but taken for {use['order_id']}"
    for id_, use in picture.stock_uses.items():
        if use["state"] == "consumed" and id_ not in picture.fulfillments:
            yield "I17", id_, "goods were taken out of stock for a fulfillment that nobody knows"


def _replacements_and_units(picture: Picture) -> Disagreements:
    """I16: orders knows the units of a claim's goods exactly while their fulfillment lives."""
    for id_, each in picture.fulfillments.items():
        if "claim_id" not in each:
            continue
        parcel = picture.parcels.get(id_)
        known = parcel is not None and parcel["state"] != "withdrawn"
        if each["state"] == "live" and not known:
            yield "I16", id_, "replacement goods are packed, but orders does not know their units"
        if each["state"] in ("refused", "canceled") and known:
            yield "I16", id_, f"the fulfillment is {each['state']}, but orders still has its units"
        shipped = parcel is not None and parcel["state"] == "shipped"
        if each["state"] == "live" and known and shipped != (each["shipped_at"] is not None):
            yield "I16", id_, "claims and orders disagree on whether replacement goods were sent"
        if parcel is not None and parcel["claim_id"] != each["claim_id"]:
            yield "I8", id_, f"packed for {each['claim_id']}, but known of {parcel['claim_id']}"
    for id_, parcel in picture.parcels.items():
        if parcel["state"] != "withdrawn" and id_ not in picture.fulfillments:
            yield "I16", id_, "orders has units of a fulfillment that nobody knows"


def _orders_and_stock(picture: Picture) -> Disagreements:
    """I4: the reservations of an order are released when it is canceled, and only then."""
    for id_ in sorted(picture.canceled_orders - picture.released_orders):
        yield "I4", id_, "the order is canceled, but its reservations were not released"
    for id_ in sorted(picture.released_orders - picture.canceled_orders):
        yield "I4", id_, "its reservations were released, but orders has not canceled it"


def _claims_and_returns(picture: Picture) -> Disagreements:
    """I8, I13: the return of a finished claim is there and dies with it, and knows its claim."""
    for id_, claim in picture.claims.items():
        if not claim["return_id"] or claim["recovery_point"] != "finished":
            continue
        its = picture.returns.get(claim["return_id"])
        if its is None or its["claim_id"] != id_:
            yield "I13", id_, f"its return {claim['return_id']} is not there"
        elif claim["status"] == "canceled" and its["state"] != "canceled":
            yield "I13", id_, f"the claim is canceled, its return {its['id']} is {its['state']}"
    for id_, each in picture.returns.items():
        if each["claim_id"] and each["claim_id"] not in picture.claims:
            yield "I8", id_, "the return belongs to a claim that nobody knows"


def lost(sent: list[Row], bound: Topology, seen: set[tuple[str, str]]) -> list[Row]:
    """I7: whoever is bound to a sent message has seen it. ``seen`` holds (queue, message id)."""
    return [
        _row("I7", row["id"], f"{row['routing_key']} was sent, but {queue} never saw it")
        for row in sent
        for queue in bound.queues_for(row["exchange"], row["routing_key"])
        if (queue, row["id"]) not in seen
    ]


def strange(seen: list[Row], written: set[str]) -> list[Row]:
    """I7: nobody saw a message that was never written. An unreadable one had no id to look for."""
    return [
        _row("I7", row["message_id"], f"{row['consumer']} saw a {row['type']} that nobody wrote")
        for row in seen
        if row["message_id"] not in written and not row["message_id"].startswith("unreadable-")
    ]
