"""What the simulated shop sells: few units of few things, so that clients compete for them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

ORDERS = 8
LINES = 3
UNITS = (1, 2, 4)
NET, GROSS = 1000, 1200
STOCKED = (0, 1, 2, 4, 1000)
REGION, CHANNEL, LOCATION = "reg_sim", "sc_sim", "sloc_sim"
RETURN_OPTION = "so_sim_return"
_SOLD_AT = "2025-12-28T10:00:00+00:00"
_PROVIDERS = (("manual",), ("fake",), ("fake", "manual"))


def order_id(number: int) -> str:
    """The id of an order, from 1 to ORDERS."""
    return f"order_sim_{number}"


def line_id(order: int, line: int) -> str:
    """The id of one of its lines, from 1 to LINES."""
    return f"item_sim_{order}_{line}"


def variant_id(number: int) -> str:
    """The id of a variant, from 1 to as many as STOCKED has."""
    return f"variant_sim_{number}"


def paid() -> int:
    """What was paid for an order, in cents."""
    return GROSS * sum(UNITS)


def _order(number: int) -> Json:
    items = [
        {
            "id": line_id(number, line),
            "variant_id": variant_id(line),
            "title": "Thing",
            "unit_price": NET,
            "quantity": units,
            "fulfilled_quantity": units,
            "shipped_quantity": units,
            "returned_quantity": 0,
            "delivered_at": _SOLD_AT,
            "tax_lines": [{"rate": 20, "code": "VAT20", "name": "VAT 20 %"}],
            "adjustments": [],
        }
        for line, units in enumerate(UNITS, 1)
    ]
    providers = _PROVIDERS[number % len(_PROVIDERS)]
    first = paid() if len(providers) == 1 else 2 * GROSS
    amounts = (first, paid() - first)[: len(providers)]
    return {
        "id": order_id(number),
        "display_id": number,
        "email": "sim@reclamo.example",
        "customer_id": "cus_sim",
        "region_id": REGION,
        "currency_code": "eur",
        "tax_rate": None,
        "status": "completed",
        "payment_status": "captured",
        "fulfillment_status": "shipped",
        "sales_channel_id": CHANNEL,
        "created_at": _SOLD_AT,
        "items": items,
        "shipping_methods": [],
        "payments": [
            {
                "id": f"pay_sim_{number}_{position}",
                "amount": amount,
                "provider_id": provider,
                "captured_at": _SOLD_AT,
            }
            for position, (provider, amount) in enumerate(zip(providers, amounts, strict=True), 1)
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
                "currency_code": "eur",
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
            }
        ],
        "customers": [
            {
                "id": "cus_sim",
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
                "prices": [{"currency_code": "eur", "amount": NET}],
            }
            for number in range(1, len(STOCKED) + 1)
        ],
        "inventory_levels": [
            {"variant_id": variant_id(number), "location_id": LOCATION, "stocked_quantity": stocked}
            for number, stocked in enumerate(STOCKED, 1)
        ],
        "orders": [_order(number) for number in range(1, ORDERS + 1)],
    }
