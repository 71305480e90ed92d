"""What the shop of the crash runs sells: one variant in plenty, one that is gone, many orders."""

from __future__ import annotations

from typing import Any

from chassis import clock
from tests.crash.kinds import (
    BOUGHT,
    EMPTY_PLACE,
    GROSS,
    MORE,
    NET,
    NONE_LEFT,
    ODD,
    ODD_NET,
    OLD_FULFILLMENT,
    PLACE,
    PLENTY,
    RETURN_OPTION,
    UNITS,
)

LINES = 4
_VAT = {"rate": 20, "code": "VAT20", "name": "VAT 20 %"}
_DELIVERED_AT = clock.now().isoformat()


def _variant(name: str, amount: int = NET) -> dict[str, Any]:
    return {
        "id": name,
        "title": "Thing",
        "product_title": "Thing",
        "sku": name.upper(),
        "manage_inventory": True,
        "allow_backorder": False,
        "prices": [{"currency_code": "eur", "amount": amount}],
    }


def reference_data() -> dict[str, Any]:
    """An import of what orders need: a region, a shipping option, one variant in plenty."""
    option = {"region_id": "reg_crash", "amount": 0}
    return {
        "regions": [
            {
                "id": "reg_crash",
                "name": "Test",
                "currency_code": "eur",
                "tax_rate": 20,
                "tax_code": "VAT20",
                "countries": ["si"],
            }
        ],
        "stock_locations": [
            {"id": PLACE, "name": "Warehouse"},
            {"id": EMPTY_PLACE, "name": "Empty"},
        ],
        "sales_channels": [{"id": "sc_crash", "name": "Shop", "stock_location_ids": [PLACE]}],
        "shipping_options": [{**option, "id": RETURN_OPTION, "name": "Return", "is_return": True}],
        "variants": [
            *(_variant(name) for name in (PLENTY, MORE, NONE_LEFT)),
            _variant(ODD, ODD_NET),
        ],
        "inventory_levels": [
            {
                "variant_id": variant,
                "location_id": PLACE,
                "stocked_quantity": stocked,
            }
            for variant, stocked in (
                *((PLENTY, 1_000_000), (MORE, 1_000_000), (ODD, 1_000_000)),
                (NONE_LEFT, 0),
            )
        ],
        "customers": [
            {
                "id": "cus_crash",
                "email": "crash@reclamo.example",
                "first_name": "Cy",
                "last_name": "Crash",
            }
        ],
    }


def order(number: int) -> dict[str, Any]:
    """Four lines; every other order was paid by the fake provider. A line has units to spare, so
    that a doubled claim would show and not be refused."""
    items = [
        {
            "id": f"item_crash_{number}_{line}",
            "variant_id": PLENTY,
            "title": "Thing",
            "unit_price": NET,
            "quantity": BOUGHT,
            "fulfilled_quantity": UNITS,
            "shipped_quantity": UNITS,
            "returned_quantity": 0,
            "delivered_at": _DELIVERED_AT,
            "tax_lines": [_VAT],
            "adjustments": [],
        }
        for line in range(1, LINES + 1)
    ]
    return {
        "id": f"order_crash_{number}",
        "display_id": number,
        "email": "crash@reclamo.example",
        "customer_id": "cus_crash",
        "region_id": "reg_crash",
        "currency_code": "eur",
        "tax_rate": None,
        "status": "completed",
        "payment_status": "captured",
        "fulfillment_status": "shipped",
        "sales_channel_id": "sc_crash",
        "created_at": _DELIVERED_AT,
        "items": items,
        "shipping_methods": [{"id": f"sm_crash_{number}", "price": 0}],
        "payments": [
            {
                "id": f"pay_crash_{number}",
                "amount": GROSS * UNITS * LINES,
                "provider_id": ("manual", "fake")[number % 2],
                "captured_at": _DELIVERED_AT,
            }
        ],
        "fulfillments": [
            {
                "id": f"{OLD_FULFILLMENT}_{number}",
                "items": [{"item_id": item["id"], "quantity": UNITS} for item in items],
                "location_id": PLACE,
                "shipped_at": _DELIVERED_AT,
            }
        ],
        "discounts": [],
    }


def lone_order(number: int) -> dict[str, Any]:
    """One line that nobody has paid or packed; its payment waits at the fake provider."""
    known = order(number)
    item = known["items"][0] | {
        "id": f"item_lone_{number}",
        "quantity": UNITS,
        "fulfilled_quantity": 0,
        "shipped_quantity": 0,
        "delivered_at": None,
    }
    payment = {"id": f"pay_lone_{number}", "amount": GROSS * UNITS, "provider_id": "fake"}
    return known | {
        "id": f"order_lone_{number}",
        "display_id": None,
        "status": "pending",
        "payment_status": "awaiting",
        "fulfillment_status": "not_fulfilled",
        "items": [item],
        "shipping_methods": [{"id": f"sm_lone_{number}", "price": 0}],
        "payments": [payment],
        "fulfillments": [],
    }
