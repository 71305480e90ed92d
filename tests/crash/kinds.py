"""What clients of the crash runs want done about one order line, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Sent of a line, and bought: the rest can be packed.
UNITS, BOUGHT = 3, 5
NET, GROSS = 1000, 1200
# The fake provider loses its first answer for amounts that end in 08, and declines those in 02.
LOST_ANSWER, DECLINED = 108, 102
PLENTY, MORE, NONE_LEFT = "variant_crash", "variant_crash_more", "variant_crash_none"
# Costs so much less than what comes back that the difference is declined.
ODD, ODD_NET = "variant_crash_odd", 915
RETURN_OPTION = "so_crash_return"
# A location where nothing is stocked, and the one where everything is.
EMPTY_PLACE, PLACE = "sloc_crash_empty", "sloc_crash"
# What the shop had packed before it came here.
OLD_FULFILLMENT = "ful_crash"


@dataclass(frozen=True)
class Kind:
    """``acts`` one after the other; a failpoint is armed for the last. The last one's answer is
    ``status``. At rest the line has a claim in state ``claim``, a return in state ``returned``, a
    fulfillment ``packed``, its claim one ``sent``, and its order got ``refund`` cents more back.
    ``alone``: it is about a whole order, unpaid and unpacked, that nobody else asks about; then
    ``order`` becomes of it.
    """

    name: str
    acts: tuple[str, ...]
    provider: str = ""
    status: int = 200
    claim: str | None = None
    payment: str = "na"
    returned: str | None = None
    refund: int = 0
    packed: str | None = None
    sent: str | None = None
    alone: bool = False
    order: str | None = None
    weight: int = 0


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "refund",
            ("claim refund",),
            provider="fake",
            claim="open",
            payment="refunded",
            refund=GROSS,
            weight=3,
        ),
        Kind(
            "refund by hand of money paid by hand",
            ("claim refund",),
            provider="manual",
            claim="open",
            payment="refunded",
            refund=GROSS,
            weight=2,
        ),
        Kind("replace", ("claim replace",), claim="open", weight=3),
        Kind(
            "refund with return",
            ("claim refund with return",),
            provider="fake",
            claim="open",
            payment="refunded",
            refund=GROSS,
            returned="requested",
            weight=2,
        ),
        Kind(
            "replace with return",
            ("claim replace by two with return",),
            claim="open",
            returned="requested",
            weight=2,
        ),
        Kind(
            "refund with replacement",
            ("claim refund with replacement",),
            provider="fake",
            claim="open",
            payment="refunded",
            refund=GROSS,
            weight=1,
        ),
        Kind(
            "refund, not waited for",
            ("claim refund async",),
            provider="manual",
            status=202,
            claim="open",
            payment="refunded",
            refund=GROSS,
            weight=1,
        ),
        Kind(
            "replacement, goods back",
            ("claim replace with return", "receive"),
            claim="open",
            returned="received",
            weight=1,
        ),
        Kind("return", ("return",), returned="requested", weight=1),
        Kind(
            "return and receive",
            ("return", "receive"),
            provider="fake",
            returned="received",
            refund=GROSS,
            weight=3,
        ),
        Kind(
            "return and receive more",
            ("return", "receive two"),
            provider="fake",
            returned="requires_action",
            refund=2 * GROSS,
            weight=1,
        ),
        Kind(
            "return closed",
            ("return two", "receive", "close return"),
            provider="manual",
            returned="received",
            refund=GROSS,
            weight=1,
        ),
        Kind("cancel", ("claim replace", "cancel claim"), claim="canceled", weight=1),
        Kind(
            "cancel with return",
            ("claim replace with return", "cancel return", "cancel claim"),
            claim="canceled",
            returned="canceled",
            weight=1,
        ),
        Kind("cancel return", ("return", "cancel return"), returned="canceled", weight=1),
        Kind("fulfillment", ("fulfill",), packed="live", weight=2),
        Kind("fulfillment, sent", ("fulfill", "ship"), packed="shipped", weight=1),
        Kind("fulfillment, unpacked", ("fulfill", "unpack"), packed="canceled", weight=1),
        Kind("replacement", ("claim replace", "pack"), claim="open", sent="live", weight=2),
        Kind(
            "replacement, sent",
            ("claim replace", "pack", "send"),
            claim="open",
            sent="shipped",
            weight=1,
        ),
        Kind(
            "replacement, unpacked",
            ("claim replace", "pack", "unpack claim"),
            claim="open",
            sent="canceled",
            weight=1,
        ),
        Kind(
            "refused: replacement comes back",
            ("claim replace", "pack", "return the new one", "unpack claim"),
            status=400,
            claim="open",
            sent="live",
        ),
        Kind(
            "refused: no goods to replace",
            ("claim replace", "pack elsewhere"),
            status=400,
            claim="open",
            sent="refused",
        ),
        Kind(
            "refund later",
            ("claim refund nothing", "refund claim"),
            provider="fake",
            claim="open",
            payment="refunded",
            refund=GROSS,
            weight=1,
        ),
        Kind(
            "money instead of goods",
            ("claim replace", "convert to refund"),
            provider="fake",
            claim="open",
            payment="refunded",
            refund=GROSS,
            weight=1,
        ),
        Kind(
            "goods instead of money",
            ("claim refund nothing", "convert to replace"),
            claim="open",
            weight=1,
        ),
        Kind(
            "exchange",
            ("swap",),
            claim="open",
            payment="confirmed",
            returned="requested",
            weight=2,
        ),
        Kind(
            "exchange, refunded",
            ("swap two with refund",),
            provider="fake",
            claim="open",
            payment="difference_refunded",
            returned="requested",
            refund=GROSS,
            weight=1,
        ),
        Kind(
            "exchange, paid",
            ("swap for more", "pay swap"),
            claim="open",
            payment="captured",
            returned="requested",
            weight=1,
        ),
        Kind(
            "exchange, goods back",
            ("swap", "receive"),
            claim="open",
            payment="confirmed",
            returned="received",
            weight=1,
        ),
        Kind(
            "exchange, sent",
            ("swap", "pack swap", "send swap"),
            claim="open",
            payment="confirmed",
            returned="requested",
            sent="shipped",
        ),
        Kind(
            "exchange, canceled",
            ("swap for more", "pay swap", "cancel return", "cancel swap"),
            provider="manual",
            claim="canceled",
            returned="canceled",
            refund=GROSS,
            weight=1,
        ),
        Kind(
            "exchange, declined",
            ("swap declined", "pay swap"),
            provider="fake",
            status=400,
            claim="open",
            payment="requires_action",
            returned="requested",
        ),
        Kind("order canceled", ("cancel order",), alone=True, order="canceled"),
        Kind("order captured", ("capture",), provider="fake", alone=True, order="captured"),
        Kind("refund by hand", ("refund",), provider="fake", refund=LOST_ANSWER, weight=1),
        Kind(
            "part of a price",
            ("refund of the line",),
            provider="fake",
            refund=LOST_ANSWER,
            weight=1,
        ),
        Kind(
            "store credit",
            ("claim refund as credit",),
            provider="manual",
            claim="open",
            payment="refunded",
            refund=GROSS,
            weight=1,
        ),
        Kind(
            "store credit taken back",
            ("claim refund as credit", "cancel claim"),
            provider="manual",
            claim="canceled",
        ),
        Kind(
            "refused: declined",
            ("claim refund declined",),
            provider="fake",
            status=400,
            claim="refused",
            weight=1,
        ),
        Kind(
            "inquiry approved",
            ("report", "review", "approve"),
            provider="fake",
            claim="open",
            payment="refunded",
            refund=GROSS,
            weight=1,
        ),
        Kind("export", ("export",), status=201),
        Kind("refused: no stock", ("claim replace by none",), status=400, claim="refused"),
        Kind("refused: units", ("claim replace too many",), status=400, claim="refused"),
        Kind("refused: return", ("return too many",), status=400, returned="refused"),
        Kind(
            "refused: parcel",
            ("return", "receive too many"),
            status=400,
            returned="requested",
        ),
        Kind(
            "refused: no such place",
            ("return", "receive elsewhere"),
            status=404,
            returned="requested",
        ),
        Kind("refused: no goods", ("fulfill elsewhere",), status=400, packed="refused"),
    )
}


def call(act: str, *, order_id: str, line_id: str, known: dict[str, str]) -> tuple[str, Any]:
    """Path and body of an act; ``known`` has the ids that ``learnt`` finds, once they are there."""
    order = f"/admin/orders/{order_id}"
    quantity = BOUGHT + 1 if act.endswith("too many") else 2 if act.endswith("two") else 1
    units = {"item_id": line_id, "quantity": quantity}
    if act.startswith("claim"):
        return f"{order}/claims", _claim(act.split()[1:], units)
    if act in _ABOUT_CLAIM:
        return _about_claim(act, order, known)
    if "swap" in act:
        return _swap(act, order, units, known)
    if act == "report":
        return f"{order}/inquiries", {"claim_items": [units | {"reason": "wrong_item"}]}
    if act in ("review", "approve"):
        said = {"type": "refund"} if act == "approve" else {}
        return f"/admin/inquiries/{known['inquiry_id']}/{act}", said
    if act.startswith("return"):
        if act == "return the new one":
            units["item_id"] = known["new_line_id"]
        return f"{order}/return", {"items": [units]}
    if act.startswith("receive"):
        body: dict[str, Any] = {"items": [units]}
        if act.endswith("elsewhere"):
            body["location_id"] = EMPTY_PLACE
        return f"/admin/returns/{known['return_id']}/receive", body
    if act.startswith("fulfill"):
        place = EMPTY_PLACE if act.endswith("elsewhere") else PLACE
        return f"{order}/fulfillment", {"items": [units], "location_id": place}
    if act == "ship":
        body = {"fulfillment_id": known["fulfillment_id"], "tracking_numbers": [f"T-{line_id}"]}
        return f"{order}/shipment", body
    if act == "unpack":
        return f"{order}/fulfillments/{known['fulfillment_id']}/cancel", {}
    if act in ("cancel order", "capture"):
        return f"{order}/{act.split()[0]}", {}
    if act == "cancel claim":
        return f"{order}/claims/{known['claim_id']}/cancel", {}
    if act in ("cancel return", "close return"):
        return f"/admin/returns/{known['return_id']}/{act.split()[0]}", {}
    if act == "export":
        return "/admin/batch-jobs", {"type": "order-export", "context": {}}
    assert act in ("refund", "refund of the line"), act
    body = {"amount": LOST_ANSWER, "reason": "discount"}
    if act != "refund":
        body["items"] = [{"item_id": line_id, "amount": LOST_ANSWER}]
    return f"{order}/refund", body


_ABOUT_CLAIM = (
    *("pack", "pack elsewhere", "send", "unpack claim"),
    *("refund claim", "convert to refund", "convert to replace"),
)


def _about_claim(act: str, order: str, known: dict[str, str]) -> tuple[str, Any]:
    mine, own = f"{order}/claims/{known['claim_id']}", f"/admin/claims/{known['claim_id']}"
    if act.startswith("pack"):
        return f"{mine}/fulfillments", {"location_id": EMPTY_PLACE} if " " in act else {}
    if act == "send":
        body = {"fulfillment_id": known["parcel_id"], "tracking_numbers": ["T-new"]}
        return f"{mine}/shipments", body
    if act == "unpack claim":
        return f"{mine}/fulfillments/{known['parcel_id']}/cancel", {}
    if act == "refund claim":
        return f"{own}/refund", {}
    if act == "convert to refund":
        return f"{own}/convert", {"type": "refund"}
    spare = [{"variant_id": PLENTY, "quantity": 1}]
    return f"{own}/convert", {"type": "replace", "additional_items": spare}


def _swap(
    act: str, order: str, units: dict[str, Any], known: dict[str, str]
) -> tuple[str, dict[str, Any]]:
    if act.startswith("swap"):
        more = PLENTY if act.endswith("more") else None
        variants = [ODD if act.endswith("declined") else MORE, *([more] if more else [])]
        units["quantity"] = 2 if "two" in act else 1
        goods = [{"variant_id": each, "quantity": 1} for each in variants]
        return f"{order}/swaps", {"return_items": [units], "additional_items": goods}
    own = f"{order}/swaps/{known['swap_id']}"
    if act == "pack swap":
        return f"{own}/fulfillments", {}
    if act == "send swap":
        body = {"fulfillment_id": known["parcel_id"], "tracking_numbers": ["T-swap"]}
        return f"{own}/shipments", body
    return f"{own}/{'cancel' if act == 'cancel swap' else 'process-payment'}", {}


def _claim(words: list[str], units: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"type": words[0], "claim_items": [units | {"reason": "wrong_item"}]}
    if words[0] == "replace" or "replacement" in words or "declined" in words:
        variants = [NONE_LEFT] if "none" in words else [PLENTY]
        if "two" in words:
            # In both orders: who locks in the order of asking meets another who does.
            variants = sorted((PLENTY, MORE), reverse=units["item_id"][-1] in "02468")
        body["additional_items"] = [{"variant_id": each, "quantity": 1} for each in variants]
        body["shipping_methods"] = [{"id": "sm_crash"}]
    if "return" in words:
        body["return_shipping"] = {"option_id": RETURN_OPTION, "price": 0}
    if "declined" in words:
        body["refund_amount"] = DECLINED
    if "credit" in words:
        body["refund_to"] = "store_credit"
    if "nothing" in words:
        body["refund_amount"] = 0
    return body


def learnt(answer: dict[str, Any], line_id: str) -> dict[str, str]:
    """The ids that the next act needs, out of an answer: {claim_id?, return_id?, fulfillment_id?,
    inquiry_id?, swap_id?, parcel_id? (what the claim or the exchange packed), new_line_id? (what it
    sends)}."""
    found = {}
    if inquiry := answer.get("inquiry"):
        found["inquiry_id"] = inquiry["id"]
        if inquiry["claim_id"]:
            found["claim_id"] = inquiry["claim_id"]
    order = answer.get("order") or {}
    for claim in order.get("claims", ()):
        if any(item["item_id"] == line_id for item in claim["claim_items"]):
            found["claim_id"] = claim["id"]
            for name, parts in (
                ("new_line_id", claim["additional_items"]),
                ("parcel_id", claim["fulfillments"]),
            ):
                found.update((name, part["id"]) for part in parts)
            if claim.get("return_order"):
                found["return_id"] = claim["return_order"]["id"]
    for swap in order.get("swaps", ()):
        if any(item["item_id"] == line_id for item in swap["return_items"]):
            found["swap_id"] = swap["id"]
            found.update(("parcel_id", part["id"]) for part in swap["fulfillments"])
    for each in order.get("returns", ()):
        if any(item["item_id"] == line_id for item in each["items"]):
            found["return_id"] = each["id"]
    for each in order.get("fulfillments", ()):
        mine = any(item["item_id"] == line_id for item in each["items"])
        if mine and not each["id"].startswith(OLD_FULFILLMENT):
            found["fulfillment_id"] = each["id"]
    return found
