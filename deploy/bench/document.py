"""What the benchmark's shop holds, as import documents. Pure.

An order has two to four lines with taxes, an address, a shipping and a captured payment by the
provider ``manual``. Claims are about one unit of its first line, whose price is always the same;
one unit of its last line is still to be sent.
"""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]

VARIANTS = 100
STOCKED = 50_000_000
NET, GROSS = 1000, 1200
BOUGHT_AT = "2026-03-02T09:30:00+00:00"
RETURN_OPTION, SHIPPING_OPTION = "so_bench_return", "so_bench_out"
LOCATION = "sloc_bench"
_TITLES = ("Mug, blue", "Teapot with lid", "Tray of oak", "Set of six glasses", "Lantern, small")


def variant_id(number: int) -> str:
    """One of the shop's variants, in turn."""
    return f"variant_bench_{number % VARIANTS}"


def order_id(number: int) -> str:
    """The order of that number."""
    return f"order_bench_{number}"


def line_id(number: int, line: int = 0) -> str:
    """A line of it; the first is the one that is claimed."""
    return f"item_bench_{number}_{line}"


def waiting_line(number: int) -> str:
    """The line of it that has a unit to be sent."""
    return line_id(number, _lines_of(number) - 1)


def fulfillment_id(number: int) -> str:
    """What was sent of it."""
    return f"ful_bench_{number}"


def _lines_of(number: int) -> int:
    return 2 + number % 3


def shop() -> Record:
    """Everything that orders need, and stock in plenty."""
    option = {"region_id": "reg_bench", "amount": 0}
    numbers = range(VARIANTS)
    return {
        "regions": [
            {
                "id": "reg_bench",
                "name": "Bench",
                "currency_code": "eur",
                "tax_rate": 20,
                "tax_code": "VAT20",
                "countries": ["si"],
            }
        ],
        "stock_locations": [{"id": LOCATION, "name": "Warehouse"}],
        "sales_channels": [{"id": "sc_bench", "name": "Shop", "stock_location_ids": [LOCATION]}],
        "shipping_options": [
            {**option, "id": RETURN_OPTION, "name": "Return parcel", "is_return": True},
            {**option, "id": SHIPPING_OPTION, "name": "Parcel", "is_return": False},
        ],
        "variants": [
            {
                "id": variant_id(number),
                "title": f"Size {number % 5}",
                "product_title": _TITLES[number % len(_TITLES)],
                "sku": f"BENCH-{number:03}",
                "manage_inventory": True,
                "allow_backorder": False,
                "prices": [{"currency_code": "eur", "amount": NET}],
            }
            for number in numbers
        ],
        "inventory_levels": [
            {
                "variant_id": variant_id(number),
                "location_id": LOCATION,
                "stocked_quantity": STOCKED,
            }
            for number in numbers
        ],
        "customers": [
            {
                "id": f"cus_bench_{number}",
                "email": f"customer{number}@reclamo.example",
                "first_name": "Bea",
                "last_name": f"Bench {number}",
            }
            for number in range(VARIANTS)
        ],
    }


def order(number: int, *, lines: int | None = None) -> Record:
    """A paid order of two to four lines, all but a unit of it sent; with ``lines`` as many, and all
    of it."""
    items = [_item(number, line) for line in range(lines or _lines_of(number))]
    if lines is None:
        items[-1]["quantity"] += 1
    paid = sum(item["unit_price"] * item["quantity"] * 120 // 100 for item in items) + 480
    customer = number % VARIANTS
    address = {
        "first_name": "Bea",
        "last_name": f"Bench {customer}",
        "address_1": f"Long Street {number % 200}",
        "city": "Ljubljana",
        "postal_code": "1000",
        "country_code": "si",
    }
    return {
        "id": order_id(number),
        "display_id": number,
        "email": f"customer{customer}@reclamo.example",
        "customer_id": f"cus_bench_{customer}",
        "region_id": "reg_bench",
        "currency_code": "eur",
        "tax_rate": None,
        "status": "completed",
        "payment_status": "captured",
        "fulfillment_status": "shipped" if lines else "partially_shipped",
        "sales_channel_id": "sc_bench",
        "created_at": BOUGHT_AT,
        "shipping_address": address,
        "billing_address": address,
        "items": items,
        "shipping_methods": [
            {
                "id": f"sm_bench_{number}",
                "shipping_option_id": SHIPPING_OPTION,
                "price": 400,
                "tax_lines": [_VAT],
            }
        ],
        "payments": [
            {
                "id": f"pay_bench_{number}",
                "amount": paid,
                "provider_id": "manual",
                "captured_at": BOUGHT_AT,
            }
        ],
        "fulfillments": [
            {
                "id": fulfillment_id(number),
                "items": [
                    {"item_id": item["id"], "quantity": item["shipped_quantity"]} for item in items
                ],
                "location_id": LOCATION,
                "tracking_numbers": [f"SI{number:09}"],
                "shipped_at": BOUGHT_AT,
            }
        ],
        "discounts": [],
    }


_VAT = {"rate": 20, "code": "VAT20", "name": "VAT 20 %"}


def _item(number: int, line: int) -> Record:
    quantity = 1 + (number + line) % 3
    return {
        "id": line_id(number, line),
        "variant_id": variant_id(number + line),
        "title": _TITLES[(number + line) % len(_TITLES)],
        "description": f"Size {(number + line) % 5}",
        "unit_price": NET * (line + 1),
        "quantity": quantity,
        "fulfilled_quantity": quantity,
        "shipped_quantity": quantity,
        "returned_quantity": 0,
        "delivered_at": BOUGHT_AT,
        "tax_lines": [_VAT],
        "adjustments": [],
    }
