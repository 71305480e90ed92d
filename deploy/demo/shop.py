"""A small invented shop in the import format: variants, customers and orders to try things on.

Prices are euro cents without tax; every line carries VAT of 22 %. Instants are relative to the
given time, so that a return window that starts with the delivery is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chassis.values import allocate, round_half_up

Record = dict[str, Any]

VAT = {"rate": 22, "code": "VAT22", "name": "VAT 22 %"}
# name: (title, price in cents, units in stock); None: not kept in stock at all
VARIANTS: dict[str, tuple[str, int, int | None]] = {
    "mug": ("Stoneware mug, blue", 1200, 40),
    "lamp": ("Desk lamp, brass", 4500, 12),
    "kettle": ("Kettle 1.7 l, steel", 3900, 8),
    "jacket": ("Rain jacket, size M", 8900, 1),
    "headphones": ("Wireless headphones", 12900, 0),
    "atlas": ("Atlas of rivers", 3200, 15),
    "plates": ("Dinner plates, set of four", 2400, 20),
    "glass": ("Water glass", 650, 60),
    "scarf": ("Wool scarf, green", 2900, 9),
    "bag": ("Travel bag, canvas", 5900, 6),
    "wrapping": ("Gift wrapping", 300, None),
}
SHIPPING_PRICE = 490


@dataclass(frozen=True)
class Sale:
    """One order: what was sold, who paid how, and how far it has come."""

    number: int
    lines: tuple[tuple[str, int], ...]
    days_ago: int
    customer: str = "ana"
    providers: tuple[str, ...] = ("manual",)
    discount_percent: int = 0
    shipped: bool = True


SALES = (
    Sale(1001, (("mug", 4), ("wrapping", 1)), days_ago=9),
    Sale(1002, (("lamp", 2),), days_ago=8),
    Sale(1003, (("kettle", 1), ("mug", 2)), days_ago=8),
    Sale(1004, (("jacket", 2),), days_ago=7),
    Sale(1005, (("headphones", 1),), days_ago=7, customer="ben"),
    Sale(1006, (("atlas", 3),), days_ago=6),
    Sale(1007, (("plates", 2), ("glass", 6)), days_ago=6),
    Sale(1008, (("glass", 6),), days_ago=5, customer="ben"),
    Sale(1009, (("scarf", 2),), days_ago=5),
    Sale(1010, (("bag", 1), ("scarf", 1)), days_ago=4, providers=("fake",), discount_percent=10),
    Sale(1011, (("bag", 1), ("atlas", 1)), days_ago=1, shipped=False),
    Sale(1012, (("lamp", 1), ("plates", 3)), days_ago=3, providers=("manual", "fake")),
)


def order_id(number: int) -> str:
    """The id of a demo order."""
    return f"order_demo_{number}"


def line_id(number: int, variant: str) -> str:
    """The id of a demo order's line."""
    return f"item_demo_{number}_{variant}"


def variant_id(name: str) -> str:
    """The id of a demo variant."""
    return f"variant_demo_{name}"


def document(*, now: datetime, password: str | None = None) -> Record:
    """The shop as one import document; with a password its customers can sign in."""
    login = {"password": password} if password else {}
    return {
        **_reference(),
        "variants": [_variant(name) for name in VARIANTS],
        "inventory_levels": [
            {
                "variant_id": variant_id(name),
                "location_id": "sloc_demo",
                "stocked_quantity": stocked,
            }
            for name, (_title, _price, stocked) in VARIANTS.items()
            if stocked is not None
        ],
        "customers": [
            {"id": f"cus_demo_{name}", **_person(name), **login} for name in ("ana", "ben")
        ],
        "orders": [_order(sale, now) for sale in SALES],
    }


def _reference() -> Record:
    option = {"region_id": "reg_demo", "is_return": False}
    reason = {"parent_return_reason_id": "rr_demo_size"}
    return {
        "regions": [
            {
                "id": "reg_demo",
                "name": "Slovenia and Luxembourg",
                "currency_code": "eur",
                "tax_rate": VAT["rate"],
                "tax_code": VAT["code"],
                "countries": ["lu", "si"],
            }
        ],
        "stock_locations": [{"id": "sloc_demo", "name": "Ljubljana warehouse"}],
        "sales_channels": [
            {"id": "sc_demo", "name": "Demo shop", "stock_location_ids": ["sloc_demo"]}
        ],
        "shipping_options": [
            {**option, "id": "so_demo_parcel", "name": "Parcel", "amount": SHIPPING_PRICE},
            {
                **option,
                "id": "so_demo_return",
                "name": "Return parcel",
                "amount": 350,
                "is_return": True,
            },
        ],
        "return_reasons": [
            {"id": "rr_demo_size", "value": "demo_size", "label": "Size does not fit"},
            {"id": "rr_demo_small", "value": "demo_too_small", "label": "Too small", **reason},
            {"id": "rr_demo_large", "value": "demo_too_large", "label": "Too large", **reason},
            {"id": "rr_demo_changed", "value": "demo_changed_mind", "label": "Changed my mind"},
        ],
    }


def _person(name: str) -> Record:
    return {
        "email": f"{name}@reclamo.example",
        "first_name": name.capitalize(),
        "last_name": {"ana": "Novak", "ben": "Weber"}[name],
    }


def _variant(name: str) -> Record:
    title, price, stocked = VARIANTS[name]
    return {
        "id": variant_id(name),
        "title": title,
        "product_title": title.split(",")[0],
        "sku": f"DEMO-{name.upper()}",
        "manage_inventory": stocked is not None,
        "allow_backorder": False,
        "prices": [{"currency_code": "eur", "amount": price}],
    }


def _address(name: str) -> Record:
    person = _person(name)
    where = {
        "ana": ("Trubarjeva cesta 5", "Ljubljana", "1000", "si"),
        "ben": ("12 rue Notre-Dame", "Luxembourg", "2240", "lu"),
    }[name]
    street, city, postal_code, country = where
    return {
        "first_name": person["first_name"],
        "last_name": person["last_name"],
        "address_1": street,
        "city": city,
        "postal_code": postal_code,
        "country_code": country,
    }


def _order(sale: Sale, now: datetime) -> Record:
    bought_at = (now - timedelta(days=sale.days_ago)).isoformat()
    delivered_at = (now - timedelta(days=sale.days_ago - 1)).isoformat()
    items = [_item(sale, name, quantity, delivered_at) for name, quantity in sale.lines]
    total = sum(_gross(item) for item in items) + _with_vat(SHIPPING_PRICE)
    shares = allocate(total, [1] * len(sale.providers))
    tail = str(sale.number)
    return {
        "id": order_id(sale.number),
        "display_id": sale.number,
        "email": _person(sale.customer)["email"],
        "customer_id": f"cus_demo_{sale.customer}",
        "region_id": "reg_demo",
        "currency_code": "eur",
        "tax_rate": None,
        "status": "completed" if sale.shipped else "pending",
        "payment_status": "captured",
        "fulfillment_status": "shipped" if sale.shipped else "not_fulfilled",
        "sales_channel_id": "sc_demo",
        "created_at": bought_at,
        "shipping_address": _address(sale.customer),
        "billing_address": _address(sale.customer),
        "items": items,
        "shipping_methods": [
            {
                "id": f"sm_demo_{tail}",
                "shipping_option_id": "so_demo_parcel",
                "price": SHIPPING_PRICE,
                "tax_lines": [VAT],
            }
        ],
        "payments": [
            {
                "id": f"pay_demo_{tail}_{provider}",
                "amount": share,
                "provider_id": provider,
                "captured_at": bought_at,
            }
            for provider, share in zip(sale.providers, shares, strict=True)
        ],
        "fulfillments": _fulfillments(sale, items, bought_at),
        "discounts": _discounts(sale),
    }


def _item(sale: Sale, name: str, quantity: int, delivered_at: str) -> Record:
    title, price, _stocked = VARIANTS[name]
    discount = round_half_up(price * quantity * sale.discount_percent, 100)
    out = quantity if sale.shipped else 0
    return {
        "id": line_id(sale.number, name),
        "variant_id": variant_id(name),
        "title": title,
        "unit_price": price,
        "quantity": quantity,
        "fulfilled_quantity": out,
        "shipped_quantity": out,
        "returned_quantity": 0,
        **({"delivered_at": delivered_at} if sale.shipped else {}),
        "tax_lines": [VAT],
        "adjustments": [
            {"amount": discount, "discount_id": "disc_demo_spring", "description": "SPRING10"}
        ]
        if discount
        else [],
    }


def _discounts(sale: Sale) -> list[Record]:
    if not sale.discount_percent:
        return []
    rule = {"type": "percentage", "value": sale.discount_percent, "allocation": "total"}
    return [{"id": "disc_demo_spring", "code": "SPRING10", "rule": rule}]


def _fulfillments(sale: Sale, items: Sequence[Record], shipped_at: str) -> list[Record]:
    if not sale.shipped:
        return []
    return [
        {
            "id": f"ful_demo_{sale.number}",
            "items": [{"item_id": item["id"], "quantity": item["quantity"]} for item in items],
            "location_id": "sloc_demo",
            "tracking_numbers": [f"SI{sale.number}000"],
            "shipped_at": shipped_at,
        }
    ]


def _gross(item: Record) -> int:
    discount = sum(adjustment["amount"] for adjustment in item["adjustments"])
    return _with_vat(item["unit_price"] * item["quantity"] - discount)


def _with_vat(net: int) -> int:
    rate: Any = VAT["rate"]
    return net + round_half_up(net * int(rate), 100)
