"""Answers made of several services' reads, above all the whole order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

from chassis.auth import Principal
from chassis.errors import Unavailable
from gateway.clients import segment
from gateway.gate import Gate

log = structlog.get_logger(__name__)

Json = dict[str, Any]

# Ids travel in the query: this many keep it well below what servers take.
VARIANTS_AT_ONCE = 200
VARIANTS_TIMEOUT_S = 2.0

DEFAULT_FIELDS = (
    *("id", "status", "fulfillment_status", "payment_status", "display_id", "cart_id"),
    *("draft_order_id", "customer_id", "email", "region_id", "currency_code", "tax_rate"),
    *("canceled_at", "created_at", "updated_at", "metadata", "no_notification"),
    "sales_channel_id",
)
TOTALS = (
    *("shipping_total", "discount_total", "tax_total", "refunded_total", "total", "subtotal"),
    *("paid_total", "refundable_amount", "gift_card_total", "gift_card_tax_total"),
    *("item_tax_total", "shipping_tax_total"),
)
RELATIONS = (
    *("billing_address", "shipping_address", "customer", "region", "sales_channel", "discounts"),
    *("gift_cards", "gift_card_transactions", "payments", "refunds", "items", "shipping_methods"),
    *("fulfillments", "claims", "returns", "swaps"),
)
# Ours, not Medusa's: in no GET of its shapes, because callers compare whole objects.
_OWN_LINE = frozenset(
    {"ordered_quantity", "remedied_quantity", "delivered_at", "extra", "sku", "location_id"}
)
_OWN_VARIANT = frozenset({"tax_rate", "categories", "final_sale"})
_OWN_CLAIM = frozenset(
    {"status", "recovery_point", "explanation", "return_id", "currency_code", "timeline"}
)


async def order(parts: Gate, *, who: Principal, order_id: str) -> Json:
    """An order whole: with claims, returns, and the variants of its lines. Read at the same time.

    Raises the owner's NotFound; for a customer a foreign order is not found.
    """
    reading = parts.orders.get(f"/orders/{segment(order_id)}", who=who)
    if who.is_customer:
        found: Json = (await reading)["order"]
        claims: list[Json] = []
        of_returns = await parts.returns.get(f"/orders/{segment(order_id)}/returns", who=who)
        returns = of_returns["returns"]
    else:
        answer, of_claims, of_returns = await asyncio.gather(
            reading,
            parts.claims.get(f"/orders/{segment(order_id)}/claims", who=who),
            parts.returns.get(f"/orders/{segment(order_id)}/returns", who=who),
        )
        found, claims, returns = answer["order"], of_claims["claims"], of_returns["returns"]
    await _join(parts, who, [found], claims, returns)
    return found


async def orders(parts: Gate, *, who: Principal, found: list[Json]) -> None:
    """Add claims, returns and variants to a page of orders."""
    ids = [each["id"] for each in found]
    if not ids:
        return
    params = {"order_id": ids, "limit": 1000}
    claims, returns = await asyncio.gather(
        parts.claims.get("/claims", who=who, params=params),
        parts.returns.get("/returns", who=who, params=params),
    )
    await _join(parts, who, found, claims["claims"], returns["returns"])


async def _join(
    parts: Gate, who: Principal, found: list[Json], claims: list[Json], returns: list[Json]
) -> None:
    lines = [line for each in found for line in each["items"]]
    extra = [line for claim in claims for line in claim["additional_items"]]
    variants = await _variants(parts, who, [*lines, *extra])
    for line in (*lines, *extra):
        line["variant"] = variants.get(line["variant_id"])
    await _name_options(
        parts, who, [each for claim in claims for each in claim["shipping_methods"]]
    )
    by_line = {line["id"]: line for line in (*lines, *extra)}
    by_claim = {each["claim_order_id"]: each for each in returns if each["claim_order_id"]}
    for claim in claims:
        for item in claim["claim_items"]:
            item["item"] = by_line.get(item["item_id"])
        claim["return_order"] = by_claim.get(claim["id"])
    for each in found:
        each["claims"] = [claim for claim in claims if claim["order_id"] == each["id"]]
        for claim in each["claims"]:
            if claim["shipping_address"] is None:
                for name in ("shipping_address", "shipping_address_id"):
                    claim[name] = each[name]
        each["returns"] = [one for one in returns if one["order_id"] == each["id"]]
        each["swaps"] = []


async def _variants(parts: Gate, who: Principal, lines: Iterable[Json]) -> dict[str, Json]:
    """The variants of lines. An order can be read without them: they come as null if inventory
    is away, and what it costs to wait for that is bounded."""
    wanted = sorted({line["variant_id"] for line in lines if line["variant_id"]})
    pieces = [wanted[at : at + VARIANTS_AT_ONCE] for at in range(0, len(wanted), VARIANTS_AT_ONCE)]
    try:
        pages = await asyncio.gather(
            *(
                parts.inventory.get(
                    "/variants",
                    who=who,
                    params={"id": piece, "limit": len(piece)},
                    timeout_s=VARIANTS_TIMEOUT_S,
                )
                for piece in pieces
            )
        )
    except Unavailable as error:
        log.warning("order_without_variants", error=error.message)
        return {}
    found = [variant for page in pages for variant in page["variants"]]
    return {variant["id"]: _without(variant, _OWN_VARIANT) for variant in found}


async def _name_options(parts: Gate, who: Principal, methods: list[Json]) -> None:
    """Claims know the ids of shipping options, orders knows the options."""
    if not methods:
        return
    answer = await parts.orders.get("/shipping-options", who=who)
    options = {option["id"]: option for option in answer["shipping_options"]}
    for method in methods:
        method["shipping_option"] = options.get(method["shipping_option_id"])


def view(whole: Json, *, fields: str | None, expand: str | None) -> Json:
    """What a GET shows of an order: the asked fields and relations, always id and the totals.

    ``fields`` replaces the default fields (``+x,-y`` changes them); ``expand`` replaces the default
    relations. With ``expand`` alone Medusa still shows ``items: [{refundable}]``, ``claims`` and
    ``swaps``, because ``items.refundable`` and its like are default fields.
    """
    chosen = _fields(fields)
    heads = {path.split(".")[0] for path in (expand or "").split(",") if path}
    if expand is None:
        heads = set(RELATIONS) if fields is None else {name for name in chosen if name in RELATIONS}
    shown = {name: whole.get(name) for name in ("id", *chosen, *TOTALS) if name in whole}
    tags = "claims.claim_items.tags" in (expand or "").split(",")
    for name in heads:
        if name == "returnable_items":
            shown[name] = [_without(line, _OWN_LINE) for line in _returnable(whole)]
        elif name == "claims":
            shown[name] = [_medusas_claim(claim, tags=tags) for claim in whole[name]]
        elif name in RELATIONS:
            shown[name] = _medusa_only(name, whole[name])
    if expand is not None and fields is None:
        for name, lines in _refundables(whole).items():
            shown.setdefault(name, lines)
    return shown


def _refundables(whole: Json) -> Json:
    """What the default fields ``items.refundable`` and its like show, whatever is expanded."""

    def of(lines: list[Json]) -> list[Json]:
        return [{"refundable": line["refundable"]} for line in lines]

    return {
        "items": of(whole["items"]),
        "claims": [
            {"additional_items": of(claim["additional_items"])} for claim in whole["claims"]
        ],
        "swaps": [],
    }


def _fields(given: str | None) -> list[str]:
    if given is None:
        return list(DEFAULT_FIELDS)
    names = [name for name in given.split(",") if name]
    if not any(name[0] in "+-" for name in names):
        return names
    removed = {name[1:] for name in names if name[0] == "-"}
    added = [name.lstrip("+") for name in names if name[0] != "-"]
    return [name for name in (*DEFAULT_FIELDS, *added) if name not in removed]


def _returnable(whole: Json) -> list[Json]:
    extra = [line for claim in whole["claims"] for line in claim["additional_items"]]
    return [
        line
        for line in (*whole["items"], *extra)
        if line["returned_quantity"] < line["shipped_quantity"]
    ]


def _medusa_only(name: str, value: Any) -> Any:
    if name == "items":
        return [_without(line, _OWN_LINE) for line in value]
    if name == "refunds":  # the ledger tells what a refund was for
        return [{**refund, "metadata": None} for refund in value]
    return value


def _medusas_claim(claim: Json, *, tags: bool) -> Json:
    """A claim as a GET shows it: tags of its items only for who asks for them."""
    hidden = frozenset() if tags else frozenset({"tags"})
    return _without(claim, _OWN_CLAIM) | {
        "additional_items": [_without(line, _OWN_LINE) for line in claim["additional_items"]],
        "claim_items": [
            _without(item, hidden)
            | {"item": _without(item["item"], _OWN_LINE) if item["item"] else None}
            for item in claim["claim_items"]
        ],
    }


def _without(record: Json, names: frozenset[str]) -> Json:
    return {key: value for key, value in record.items() if key not in names}
