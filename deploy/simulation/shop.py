"""What the simulated shop sells: few units of few things, so that clients compete for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

LINES = 3
UNITS = (1, 3, 6)
NET, GROSS = 1000, 1200
STOCKED = (0, 1, 2, 4, 1000, 1000, 1000)
# What a unit of them costs, net: they are all of one price but a cheaper and a dearer one. For the
# cheaper one 108 are given back, which the provider answers as in ``clients.AMOUNTS``.
NETS = (NET, NET, NET, NET, NET, 910, 1500)
CHEAPER, DEARER = 6, 7
# Which of the variants the lines are, and which replace goods, as often as they stand here.
BOUGHT = (1, 4, 5)
WANTED = (1, 2, 3, 4, 5, 5, 5)
REGION, CHANNEL, LOCATION = "reg_sim", "sc_sim", "sloc_sim"
# Lines that were bought begin so; those of replacements do not.
LINE = "item_sim_"
CUSTOMER, CURRENCY = "cus_sim", "eur"
RETURN_OPTION, SENDING_OPTION = "so_sim_return", "so_sim_send"
_SOLD_AT = "2025-12-28T10:00:00+00:00"
_PAID = GROSS * sum(UNITS)


@dataclass(frozen=True)
class Sold:
    """How an order is when the shop opens: units sent per line, and payments (provider, cents,
    whether captured)."""

    sent: tuple[int, ...]
    payments: tuple[tuple[str, int, bool], ...]


_SHIPPED = tuple(
    Sold(UNITS, payments)
    for payments in (
        (("fake", _PAID, True),),
        (("fake", 2 * GROSS, True), ("manual", _PAID - 2 * GROSS, True)),
        (("manual", _PAID, True),),
    )
)
# Some are to be packed, and of some the money is to be taken; amounts as in ``clients.AMOUNTS``.
_SOLD = (
    *(_SHIPPED * 3)[:8],
    Sold((0, 0, 0), (("manual", _PAID, True),)),
    Sold((0, 0, 0), (("fake", 2408, False), ("fake", _PAID - 2408, False))),
    Sold((0, 1, 3), (("fake", 2402, False), ("manual", _PAID - 2402, True))),
    Sold(UNITS, (("fake", 2409, False), ("manual", _PAID - 2409, False))),
)
ORDERS = len(_SOLD)


def order_id(number: int) -> str:
    """The id of an order, from 1 to ORDERS."""
    return f"order_sim_{number}"


def line_id(order: int, line: int) -> str:
    """The id of one of its lines, from 1 to LINES."""
    return f"{LINE}{order}_{line}"


def all_sent(lines: Iterable[str]) -> bool:
    """Whether all units of these lines were sent before the shop opened."""
    sent = {
        line_id(number, line): units == UNITS[line - 1]
        for number, sold in enumerate(_SOLD, 1)
        for line, units in enumerate(sold.sent, 1)
    }
    return all(sent[line] for line in lines)


def variant_id(number: int) -> str:
    """The id of a variant, from 1 to as many as STOCKED has."""
    return f"variant_sim_{number}"


def price(variant: str) -> int:
    """What a unit of a variant costs, gross."""
    return gross({variant_id(number): net for number, net in enumerate(NETS, 1)}[variant])


def gross(net: int) -> int:
    """An amount with the tax, rounded half up."""
    return net + (net * 20 + 50) // 100


def payments() -> dict[str, tuple[str, bool]]:
    """Every payment: (its order, whether it is captured when the shop opens)."""
    return {
        f"pay_sim_{number}_{position}": (order_id(number), captured)
        for number, sold in enumerate(_SOLD, 1)
        for position, (_, _, captured) in enumerate(sold.payments, 1)
    }


def _order(number: int) -> Json:
    sold = _SOLD[number - 1]
    items = [
        {
            "id": line_id(number, line),
            "variant_id": variant_id(BOUGHT[line - 1]),
            "title": "Thing",
            "unit_price": NET,
            "quantity": units,
            "fulfilled_quantity": sent,
            "shipped_quantity": sent,
            "returned_quantity": 0,
            "delivered_at": _SOLD_AT if sent else None,
            "tax_lines": [{"rate": 20, "code": "VAT20", "name": "VAT 20 %"}],
            "adjustments": [],
        }
        for line, (units, sent) in enumerate(zip(UNITS, sold.sent, strict=True), 1)
    ]
    is_captured = all(captured for _, _, captured in sold.payments)
    how_sent = "partially_shipped" if any(sold.sent) else "not_fulfilled"
    return {
        "id": order_id(number),
        "display_id": number,
        "email": "sim@reclamo.example",
        "customer_id": CUSTOMER,
        "region_id": REGION,
        "currency_code": CURRENCY,
        "tax_rate": None,
        "status": "completed",
        "payment_status": "captured" if is_captured else "awaiting",
        "fulfillment_status": "shipped" if sold.sent == UNITS else how_sent,
        "sales_channel_id": CHANNEL,
        "created_at": _SOLD_AT,
        "items": items,
        "shipping_methods": [
            {"id": f"sm_sim_{number}", "shipping_option_id": SENDING_OPTION, "price": 0}
        ],
        "payments": [
            {
                "id": f"pay_sim_{number}_{position}",
                "amount": amount,
                "provider_id": provider,
                "captured_at": _SOLD_AT if captured else None,
            }
            for position, (provider, amount, captured) in enumerate(sold.payments, 1)
        ],
        "fulfillments": [],
        "discounts": [],
    }


def document() -> Json:
    """All of it, as an import reads it."""
    return {
        "regions": [
            {
                "id": REGION,
                "name": "Test",
                "currency_code": CURRENCY,
                "tax_rate": 20,
                "tax_code": "VAT20",
                "countries": ["si"],
            }
        ],
        "stock_locations": [{"id": LOCATION, "name": "Warehouse"}],
        "sales_channels": [{"id": CHANNEL, "name": "Shop", "stock_location_ids": [LOCATION]}],
        "shipping_options": [
            {
                "id": RETURN_OPTION,
                "name": "Return parcel",
                "region_id": REGION,
                "amount": 350,
                "is_return": True,
            },
            {
                "id": SENDING_OPTION,
                "name": "Parcel",
                "region_id": REGION,
                "amount": 0,
                "is_return": False,
            },
        ],
        "customers": [
            {
                "id": CUSTOMER,
                "email": "sim@reclamo.example",
                "first_name": "Sim",
                "last_name": "Ulation",
            }
        ],
        "variants": [
            {
                "id": variant_id(number),
                "title": "Thing",
                "product_title": "Thing",
                "sku": f"SIM-{number}",
                "manage_inventory": True,
                "allow_backorder": False,
                "prices": [{"currency_code": CURRENCY, "amount": net}],
            }
            for number, net in enumerate(NETS, 1)
        ],
        "inventory_levels": [
            {"variant_id": variant_id(number), "location_id": LOCATION, "stocked_quantity": stocked}
            for number, stocked in enumerate(STOCKED, 1)
        ],
        "orders": [_order(number) for number in range(1, ORDERS + 1)],
    }
