"""The Online Retail file in the import format. Pure; money is integer pence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.batches import Listing, Record
from deploy.online_retail import SHIPPING, Book, Order

# Far above any quantity of one credit note, so that replacements of every line can be reserved.
STOCKED_QUANTITY = 1000
# The file's own country names; what is no country ("Unspecified") has no entry.
COUNTRIES = {
    "Australia": "au",
    "Austria": "at",
    "Bahrain": "bh",
    "Belgium": "be",
    "Brazil": "br",
    "Canada": "ca",
    "Channel Islands": "je",
    "Cyprus": "cy",
    "Czech Republic": "cz",
    "Denmark": "dk",
    "EIRE": "ie",
    "Finland": "fi",
    "France": "fr",
    "Germany": "de",
    "Greece": "gr",
    "Hong Kong": "hk",
    "Iceland": "is",
    "Israel": "il",
    "Italy": "it",
    "Japan": "jp",
    "Lebanon": "lb",
    "Lithuania": "lt",
    "Malta": "mt",
    "Netherlands": "nl",
    "Norway": "no",
    "Poland": "pl",
    "Portugal": "pt",
    "RSA": "za",
    "Saudi Arabia": "sa",
    "Singapore": "sg",
    "Spain": "es",
    "Sweden": "se",
    "Switzerland": "ch",
    "USA": "us",
    "United Arab Emirates": "ae",
    "United Kingdom": "gb",
}


def listings(book: Book) -> list[Listing]:
    """The book in the import format, lists in the order in which they must be loaded."""
    customers = sorted({order.customer for order in book.orders.values()})
    codes = sorted(book.titles)
    return [
        *(Listing(key, len(records), records) for key, records in _reference(book).items()),
        Listing("variants", len(codes), (_variant(book, code) for code in codes)),
        Listing("inventory_levels", len(codes), (_level(code) for code in codes)),
        Listing("customers", len(customers), (_customer(name) for name in customers)),
        Listing("orders", len(book.orders), _orders(book)),
    ]


def _reference(book: Book) -> dict[str, list[Record]]:
    found = {COUNTRIES.get(order.country) for order in book.orders.values()}
    option = {"region_id": "reg_uci", "amount": 0, "is_return": False}
    return {
        "regions": [
            {
                "id": "reg_uci",
                "name": "Online Retail",
                "currency_code": "gbp",
                "tax_rate": 0,
                "countries": sorted(country for country in found if country),
            }
        ],
        "stock_locations": [{"id": "sloc_uci", "name": "Online Retail warehouse"}],
        "sales_channels": [
            {"id": "sc_uci", "name": "Online Retail", "stock_location_ids": ["sloc_uci"]}
        ],
        "shipping_options": [
            *({**option, "id": _option_id(code), "name": name} for code, name in SHIPPING.items()),
            {**option, "id": "so_uci_return", "name": "Free return", "is_return": True},
        ],
        # Values are unique in an installation, which may have its own "damaged" already.
        "return_reasons": [
            {"id": "rr_uci_damaged", "value": "uci_damaged", "label": "Damaged"},
            {"id": "rr_uci_wrong", "value": "uci_wrong_item", "label": "Wrong item"},
            {"id": "rr_uci_unwanted", "value": "uci_no_longer_needed", "label": "No longer needed"},
        ],
    }


def _option_id(code: str) -> str:
    return f"so_uci_{code.lower()}"


def _variant(book: Book, code: str) -> Record:
    return {
        "id": f"uci_{code}",
        "title": book.titles[code],
        "product_title": book.titles[code],
        "sku": code,
        "manage_inventory": True,
        "allow_backorder": False,
        "prices": [{"currency_code": "gbp", "amount": book.prices[code]}],
    }


def _level(code: str) -> Record:
    return {
        "variant_id": f"uci_{code}",
        "location_id": "sloc_uci",
        "stocked_quantity": STOCKED_QUANTITY,
    }


def _customer(number: str) -> Record:
    return {
        "id": f"uci_customer_{number}",
        "email": f"customer-{number}@example.com",
        "first_name": "Customer",
        "last_name": number,
    }


def _orders(book: Book) -> Iterator[Record]:
    return (_order_record(order) for order in book.orders.values())


def _order_record(order: Order) -> Record:
    display_id = {"display_id": int(order.invoice)} if order.invoice.isdecimal() else {}
    country = COUNTRIES.get(order.country)
    address: dict[str, Any] = {"first_name": "Customer", "last_name": order.customer}
    if country:
        address["country_code"] = country
    return {
        "id": order.id,
        **display_id,
        "email": f"customer-{order.customer}@example.com",
        "customer_id": f"uci_customer_{order.customer}",
        "region_id": "reg_uci",
        "currency_code": "gbp",
        "tax_rate": None,
        "status": "completed",
        "payment_status": "captured",
        "fulfillment_status": "shipped",
        "sales_channel_id": "sc_uci",
        "created_at": order.created_at,
        "shipping_address": address,
        "items": [
            {
                "id": line.id,
                "variant_id": f"uci_{line.code}",
                "title": line.title,
                "unit_price": line.unit_price,
                "quantity": line.quantity,
                "fulfilled_quantity": line.quantity,
                "shipped_quantity": line.quantity,
                "returned_quantity": 0,
                "delivered_at": order.created_at,
            }
            for line in order.lines
        ],
        "shipping_methods": [
            {
                "id": f"{order.id}_s{number}",
                "shipping_option_id": _option_id(code),
                "price": price,
            }
            for number, (code, price) in enumerate(order.shipping, 1)
        ],
        "payments": [
            {
                "id": f"{order.id}_pay",
                "amount": order.total,
                "provider_id": "manual",
                "captured_at": order.created_at,
            }
        ],
        "fulfillments": [
            {
                "id": f"{order.id}_ful",
                "items": [{"item_id": line.id, "quantity": line.quantity} for line in order.lines],
                "location_id": "sloc_uci",
                "tracking_numbers": [],
                "shipped_at": order.created_at,
            }
        ],
    }
