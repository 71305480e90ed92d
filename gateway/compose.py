"""Answers made of several services' reads, above all the whole order."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
# Relations that orders alone cannot show.
_OF_OTHERS = frozenset({"items", "claims", "returns", "swaps", "returnable_items"})
_REFUNDABLE = (
    *("items.refundable", "swaps.additional_items.refundable"),
    "claims.additional_items.refundable",
)
# Ours, not Medusa's: in no GET of its shapes, because callers compare whole objects.
_OWN_LINE = frozenset(
    {"ordered_quantity", "remedied_quantity", "delivered_at", "extra", "sku", "location_id"}
)
_OWN_VARIANT = frozenset({"tax_rate", "categories", "final_sale"})
_OWN_CLAIM = frozenset(
    {
        *("status", "recovery_point", "explanation", "return_id", "currency_code", "timeline"),
        *("is_open", "closed_at", "closed_by", "assigned_to", "return_status", "inquiry_id"),
        "refund_to",
    }
)
_OWN_SWAP = frozenset(
    {
        *("status", "recovery_point", "explanation", "return_id", "currency_code"),
        *("refund_amount", "return_status", "return_items", "timeline"),
    }
)
_SWAP_PARTS = frozenset({"additional_items", "shipping_methods", "fulfillments"})


async def order(parts: Gate, *, who: Principal, order_id: str) -> Json:
    """An order whole: with claims, returns, and the variants of its lines. Read at the same time.

    Raises the owner's NotFound; for a customer a foreign order is not found.
    """
    answer = await parts.orders.get(f"/orders/{segment(order_id)}", who=who)
    found: Json = answer["order"]
    # Orders holds the remedies: where it has none there is nothing to ask claims and returns for.
    kinds = answer["remedy_kinds"]
    (claims, swaps, returns), variants = await asyncio.gather(
        _what_came_of(parts, who, order_id, kinds), _variants(parts, who, found["items"])
    )
    unknown = [line for line in _sent_out(claims, swaps) if line["variant_id"] not in variants]
    variants |= await _variants(parts, who, unknown)
    await _join(parts, who, [found], claims, swaps, returns, variants)
    return found


def _sent_out(claims: list[Json], swaps: list[Json]) -> list[Json]:
    return [line for each in (*claims, *swaps) for line in each["additional_items"]]


async def _what_came_of(
    parts: Gate, who: Principal, order_id: str, kinds: list[str]
) -> tuple[list[Json], list[Json], list[Json]]:
    """Claims, swaps and returns of an order. A customer sees returns alone."""
    path = f"/orders/{segment(order_id)}"
    staff = not who.is_customer

    async def found(plural: str, there: bool) -> list[Json]:
        if not there:
            return []
        rows: list[Json] = (await parts.claims.get(f"{path}/{plural}", who=who))[plural]
        return rows

    claims, swaps = await asyncio.gather(
        found("claims", staff and "claim" in kinds),
        found("exchanges", staff and "exchange" in kinds),
    )
    goods_come_back = any(claim["return_id"] for claim in claims) or who.is_customer
    if not kinds or (kinds == ["claim"] and not goods_come_back):
        return claims, swaps, []
    of_returns = await parts.returns.get(f"{path}/returns", who=who)
    return claims, swaps, of_returns["returns"]


async def orders(parts: Gate, *, who: Principal, found: list[Json], wanted: Asked) -> None:
    """Add claims, returns and variants to a page of orders, where they are asked for."""
    ids = [each["id"] for each in found]
    if not ids or not (wanted.relations | set(wanted.parts)) & _OF_OTHERS:
        for each in found:
            each |= {"claims": [], "returns": [], "swaps": []}
            del each["replacements"]
        return
    params = {"order_id": ids, "limit": 1000}
    of_claims, of_swaps, of_returns = await asyncio.gather(
        parts.claims.get("/claims", who=who, params=params),
        parts.claims.get("/exchanges", who=who, params=params),
        parts.returns.get("/returns", who=who, params=params),
    )
    claims, swaps, returns = of_claims["claims"], of_swaps["exchanges"], of_returns["returns"]
    lines = [line for each in found for line in each["items"]]
    variants = await _variants(parts, who, [*lines, *_sent_out(claims, swaps)])
    await _join(parts, who, found, claims, swaps, returns, variants)


async def _join(
    parts: Gate,
    who: Principal,
    found: list[Json],
    claims: list[Json],
    swaps: list[Json],
    returns: list[Json],
    variants: Mapping[str, Json],
) -> None:
    lines = [line for each in found for line in each["items"]]
    extra = _sent_out(claims, swaps)
    for line in (*lines, *extra):
        line["variant"] = variants.get(line["variant_id"])
    _count_replacements([known for each in found for known in each.pop("replacements")], extra)
    await _name_options(
        parts, who, [each for one in (*claims, *swaps) for each in one["shipping_methods"]]
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
        each["swaps"] = [swap for swap in swaps if swap["order_id"] == each["id"]]
        for swap in each["swaps"]:
            _complete_swap(swap, each, returns)


def _complete_swap(swap: Json, order: Json, returns: list[Json]) -> None:
    """A swap with what others know of it: its return, its payment, where it goes."""
    its = [each for each in returns if each["swap_id"] == swap["id"]]
    paid = [each for each in order["payments"] if each["swap_id"] == swap["id"]]
    swap["return_order"] = its[0] if its else None
    swap["payment"] = paid[0] if paid else None
    for name in ("shipping_address", "shipping_address_id"):
        swap[name] = order[name]


async def swaps(parts: Gate, *, who: Principal, found: list[Json]) -> list[Json]:
    """Swaps in Medusa's shape, with their orders in a few words."""
    if not found:
        return []
    ids = sorted({each["order_id"] for each in found})
    page = await parts.orders.get("/orders", who=who, params={"id": ids, "limit": len(ids)})
    of_swaps = {"swap_id": [each["id"] for each in found], "limit": len(found)}
    of_returns = await parts.returns.get("/returns", who=who, params=of_swaps)
    variants = await _variants(parts, who, _sent_out([], found))
    await _join(parts, who, page["orders"], [], found, of_returns["returns"], variants)
    by_id = {order["id"]: order for order in page["orders"]}
    return [
        _medusas_swap(each)
        | {"order": {name: by_id[each["order_id"]][name] for name in DEFAULT_FIELDS}}
        for each in found
    ]


async def swaps_of_returns(parts: Gate, *, who: Principal, found: list[Json]) -> None:
    """``swap`` of returns: the exchange that each belongs to, or null."""
    ids = [each["id"] for each in found if each["swap_id"]]
    known: dict[str, Json] = {}
    if ids and not who.is_customer:
        params = {"return_id": ids, "limit": len(ids)}
        page = await parts.claims.get("/exchanges", who=who, params=params)
        known = {swap["id"]: swap for swap in page["exchanges"]}
    for each in found:
        swap = known.get(each["swap_id"] or "")
        each["swap"] = swap and _without(_medusas_swap(swap), _SWAP_PARTS)


def _count_replacements(known: list[Json], extra: list[Json]) -> None:
    """Claims knows what was sent of an additional item, orders what came of its units since, and
    what they are worth."""
    by_line = {line["id"]: line for line in extra}
    for each in known:
        line = by_line.get(each["item_id"])
        if line is not None:
            line["quantity"] -= each["returned_quantity"]
            for name in ("returned_quantity", "remedied_quantity", "refundable"):
                line[name] = each[name]


async def _variants(parts: Gate, who: Principal, lines: Iterable[Json]) -> dict[str, Json]:
    """The variants of lines. An order can be read without them: they come as null if inventory
    is away, and what it costs to wait for that is bounded."""
    wanted = sorted({line["variant_id"] for line in lines if line["variant_id"]})
    if not wanted:
        return {}
    pieces = [wanted[at : at + VARIANTS_AT_ONCE] for at in range(0, len(wanted), VARIANTS_AT_ONCE)]
    try:
        pages = await asyncio.gather(
            *(
                parts.inventory.get(
                    "/variants",
                    who=who,
                    # One more than there can be: then the page need not be counted.
                    params={"id": piece, "limit": len(piece) + 1},
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


@dataclass(frozen=True)
class Asked:
    """What a GET of orders shows: plain fields, whole relations, and parts of others by path."""

    fields: tuple[str, ...]
    relations: frozenset[str]
    parts: Mapping[str, tuple[tuple[str, ...], ...]]
    tags: bool = False


def preview(given: Json, plan: Json, placed: Json, lines: list[Json]) -> Json:
    """What a claim would do, from the answers of who would have to agree."""
    shipping = placed["return_shipping"]
    wants_return = given.get("return_shipping") is not None
    return {
        "type": given["type"],
        "currency_code": placed["currency_code"],
        "refund_amount": placed["amount"] if given["type"] == "refund" else None,
        "explanation": placed["explanation"],
        "claim_items": [
            {"item_id": line["line_id"], "quantity": line["quantity"]}
            for line in plan["hold"]["lines"]
        ],
        "additional_items": [{**line, "tax_lines": [placed["tax"]]} for line in lines],
        "return": {"shipping_method": shipping} if wants_return else None,
        "no_notification": (
            placed["no_notification"]
            if given.get("no_notification") is None
            else given["no_notification"]
        ),
        "events": plan["events"],
    }


def asked(
    *,
    fields: str | None,
    expand: str | None,
    defaults: Sequence[str] = (*DEFAULT_FIELDS, *_REFUNDABLE),
    relations: Sequence[str] = RELATIONS,
) -> Asked:
    """Read the two parameters as Medusa v1 does.

    ``fields`` replaces the default fields (``+x,-y`` changes them) and leaves the relations;
    ``expand`` replaces the default relations. ``items.refundable`` and its like are default fields:
    they are shown where their relation is not.
    """
    names = _names(fields, defaults)
    paths = [] if expand is None else [path for path in expand.split(",") if path]
    heads = set(relations) if expand is None else {path.partition(".")[0] for path in paths}
    heads |= {name for name in names if name in RELATIONS}
    parts: dict[str, list[tuple[str, ...]]] = {}
    for name in names:
        head, *rest = name.split(".")
        if rest and head in RELATIONS and head not in heads:
            parts.setdefault(head, []).append(tuple(rest))
    return Asked(
        fields=tuple(dict.fromkeys(("id", *(n for n in names if n not in RELATIONS), *TOTALS))),
        relations=frozenset(heads),
        parts={head: tuple(each) for head, each in parts.items()},
        tags="claims.claim_items.tags" in (*paths, *names),
    )


def _names(fields: str | None, defaults: Sequence[str]) -> list[str]:
    if fields is None:
        return list(defaults)
    names = [name for name in fields.split(",") if name]
    if not names or any(name[0] not in "+-*" for name in names):
        return [name.lstrip("+-*") for name in names]
    removed = {name[1:] for name in names if name[0] == "-"}
    added = [name[1:] for name in names if name[0] == "+"]
    return [name for name in (*defaults, *added) if name not in removed]


def view(whole: Json, *, wanted: Asked) -> Json:
    """What a GET shows of an order: the asked fields and relations, always id and the totals."""
    shown = {name: whole[name] for name in wanted.fields if name in whole}
    for name in sorted(wanted.relations):
        if name == "returnable_items":
            shown[name] = [_without(line, _OWN_LINE) for line in _returnable(whole)]
        elif name in RELATIONS:
            shown[name] = _relation(name, whole[name], tags=wanted.tags)
    if whole.get("claim_id"):
        shown["claim_id"] = whole["claim_id"]  # ours, and of no order that Medusa knows
    for name, paths in wanted.parts.items():
        shown[name] = _picked(_relation(name, whole[name], tags=False), paths)
    return shown


def _picked(value: Any, paths: Iterable[tuple[str, ...]]) -> Any:
    """Only these paths of a record, or of each record of a list."""
    if isinstance(value, list):
        return [_picked(each, paths) for each in value]
    if not isinstance(value, dict):
        return value
    below: dict[str, list[tuple[str, ...]]] = {}
    for head, *rest in paths:
        if head in value:
            below.setdefault(head, []).append(tuple(rest))
    return {
        head: value[head] if () in rests else _picked(value[head], rests)
        for head, rests in below.items()
    }


def _returnable(whole: Json) -> list[Json]:
    extra = _sent_out(whole["claims"], whole["swaps"])
    return [
        line
        for line in (*whole["items"], *extra)
        if line["returned_quantity"] < line["shipped_quantity"]
    ]


def _relation(name: str, value: Any, *, tags: bool) -> Any:
    """A relation without what is ours."""
    if name == "items":
        return [_without(line, _OWN_LINE) for line in value]
    if name == "claims":
        return [_medusas_claim(claim, tags=tags) for claim in value]
    if name == "swaps":
        return [_medusas_swap(swap) for swap in value]
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


def _medusas_swap(swap: Json) -> Json:
    """A swap as a GET shows it."""
    return _without(swap, _OWN_SWAP) | {
        "additional_items": [_without(line, _OWN_LINE) for line in swap["additional_items"]]
    }


def _without(record: Json, names: frozenset[str]) -> Json:
    return {key: value for key, value in record.items() if key not in names}


async def lines(parts: Gate, *, who: Principal, ids: Collection[str]) -> dict[str, Json]:
    """Line items by id, of orders, claims and swaps, each with its whole ``order``. What is unknown
    is left out. At most 200 ids.
    """
    if not ids:
        return {}
    wanted = sorted(ids)
    page = await parts.orders.get("/orders", who=who, params={"line_id": wanted, "limit": 200})
    found = {
        line["id"]: line | {"order": order}
        for order in page["orders"]
        for line in order["items"]
        if line["id"] in ids
    }
    rest = [line_id for line_id in wanted if line_id not in found]
    if not rest:
        return found
    claims = await senders(parts, who=who, line_ids=rest)
    if not claims:
        return found
    order_ids = sorted({claim["order_id"] for claim in claims})
    page = await parts.orders.get("/orders", who=who, params={"id": order_ids, "limit": 200})
    orders_by_id = {order["id"]: order for order in page["orders"]}
    return found | {
        line["id"]: line | {"order": orders_by_id.get(claim["order_id"])}
        for claim in claims
        for line in claim["additional_items"]
        if line["id"] in ids
    }


async def senders(parts: Gate, *, who: Principal, line_ids: list[str]) -> list[Json]:
    """The claims and the exchanges that send these lines out. At most 200 ids."""
    params = {"line_id": line_ids, "limit": 200}
    of_claims, of_swaps = await asyncio.gather(
        parts.claims.get("/claims", who=who, params=params),
        parts.claims.get("/exchanges", who=who, params=params),
    )
    return [*of_claims["claims"], *of_swaps["exchanges"]]


def shown_line(line: Json) -> Json:
    """A line from ``lines`` as a GET shows it, with the plain fields of its order."""
    order = line["order"]
    shown = _without(line, _OWN_LINE)
    return shown | {"order": order and {name: order[name] for name in DEFAULT_FIELDS}}
