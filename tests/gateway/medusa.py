"""The orders that Medusa's own tests start from, in the import format.

Names and figures are those of Medusa v1's integration tests, so that a case can be compared with
its original. Stock is counted at one location, where a variant starts with 10 pieces.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
CREATED = "2024-01-01T00:00:00.000Z"
LOCATION = "sloc_test"


def a_variant(variant_id: str, price: int, **more: Any) -> Json:
    """A variant that is counted."""
    return {
        "id": variant_id,
        "title": variant_id,
        "product_title": "test product",
        "sku": f"sku-{variant_id}",
        "manage_inventory": True,
        "allow_backorder": False,
        "prices": [{"currency_code": "usd", "amount": price}],
        **more,
    }


def a_base(*variants: Json, stock: int = 10, tax_rate: float = 0) -> Json:
    """Region, location, channel and variants."""
    return {
        "regions": [
            {
                "id": "test-region",
                "name": "Test Region",
                "currency_code": "usd",
                "tax_rate": tax_rate,
                "countries": ["us"],
            }
        ],
        "stock_locations": [{"id": LOCATION, "name": "Here"}],
        "sales_channels": [{"id": "test-channel", "name": "Web", "stock_location_ids": [LOCATION]}],
        "variants": list(variants),
        "inventory_levels": [
            {"variant_id": each["id"], "location_id": LOCATION, "stocked_quantity": stock}
            for each in variants
            if each["manage_inventory"]
        ],
        "shipping_options": [],
        "return_reasons": [],
        "orders": [],
    }


def an_option(option_id: str, amount: int, *, is_return: bool = True, **more: Any) -> Json:
    """A way to send, or to send back."""
    return {
        "id": option_id,
        "name": option_id,
        "region_id": "test-region",
        "amount": amount,
        "is_return": is_return,
        **more,
    }


def an_item(item_id: str, price: int, quantity: int = 1, **more: Any) -> Json:
    """A line of ``test-variant``, all of it fulfilled and shipped."""
    return {
        "id": item_id,
        "variant_id": "test-variant",
        "title": "Line Item",
        "description": "Line Item Desc",
        "thumbnail": "https://test.js/1234",
        "unit_price": price,
        "quantity": quantity,
        "fulfilled_quantity": quantity,
        "shipped_quantity": quantity,
        "returned_quantity": 0,
        "tax_lines": [],
        "adjustments": [],
        **more,
    }


def an_order(order_id: str, *items: Json, paid: int = 0, **more: Any) -> Json:
    """An order of these lines; ``paid`` is captured."""
    payments = [
        {
            "id": f"pay_{order_id}",
            "amount": paid,
            "provider_id": "manual",
            "captured_at": CREATED,
        }
    ]
    return {
        "id": order_id,
        "email": "test@email.com",
        "region_id": "test-region",
        "currency_code": "usd",
        "tax_rate": None,
        "status": "pending",
        "payment_status": "captured" if paid else "awaiting",
        "fulfillment_status": "fulfilled" if paid else "not_fulfilled",
        "sales_channel_id": "test-channel",
        "created_at": CREATED,
        "items": list(items),
        "payments": payments if paid else [],
        **more,
    }


VAT = {"rate": 20, "code": "default", "name": "default"}


def claims_document() -> Json:
    """F1: an order of two pieces at 1000 and 20 %, fulfilled and captured."""
    document = a_base(a_variant("test-variant", 1000), a_variant("variant-2", 1000), tax_rate=12.5)
    item = an_item("test-item", 1000, 2, tax_lines=[VAT])
    document["orders"] = [an_order("test-order", item, paid=2400)]
    document["shipping_options"] = [
        an_option("test-option", 0, is_return=False),
        an_option("test-return-option", 1000),
    ]
    return document


def returns_document(*, old_taxes: bool, shipped: bool = True, includes_tax: bool = False) -> Json:
    """F2: the same goods under either tax system; not paid, not fulfilled as an order."""
    document = a_base(a_variant("test-variant", 1000), tax_rate=12.5)
    price = 1000
    if includes_tax:
        price = 1125 if old_taxes else 1200
    count = 2 if shipped else 0
    item = an_item(
        "test-item",
        price,
        2,
        tax_lines=[] if old_taxes else [VAT],
        includes_tax=includes_tax,
        fulfilled_quantity=count,
        shipped_quantity=count,
    )
    document["orders"] = [an_order("test-order", item, tax_rate=12.5 if old_taxes else None)]
    document["shipping_options"] = [
        an_option("return-option", 1000),
        an_option("return-option-inclusive", 1000, includes_tax=True),
    ]
    return document


LEBRON = {"first_name": "lebron", "country_code": "us"}


def orders_document() -> Json:
    """F3 without the claims, swaps and returns that an import cannot express."""
    document = a_base(a_variant("test-variant", 8000), a_variant("test-variant-2", 8000), stock=1)
    document["customers"] = [
        {
            "id": "test-customer",
            "email": "test@email.com",
            "first_name": "Michael",
            "last_name": "Jordan",
            "phone": "12353245",
        }
    ]
    discount = {
        "id": "test-discount",
        "code": "TEST134",
        "rule": {"type": "percentage", "value": 10, "allocation": "total"},
    }
    cut = [{"amount": 800, "discount_id": "test-discount", "description": "TEST134"}]
    document["orders"] = [
        an_order(
            "test-order",
            an_item("test-item", 8000, adjustments=cut, shipped_quantity=0),
            paid=10_000,
            tax_rate=0,
            customer_id="test-customer",
            billing_address=LEBRON,
            shipping_address=LEBRON,
            discounts=[discount],
            shipping_methods=[
                {
                    "id": "test-method",
                    "shipping_option_id": "test-option",
                    "price": 1000,
                    "data": {},
                }
            ],
        ),
        an_order(
            "discount-order",
            an_item("test-item-1", 8000, shipped_quantity=0),
            paid=10_000,
            tax_rate=0,
            email="test-customer@email.com",
            shipping_address=LEBRON,
        ),
    ]
    document["shipping_options"] = [
        an_option("test-option", 1000, is_return=False),
        an_option("test-return-option", 1000),
    ]
    return document


def claimed_document() -> Json:
    """F4: an order with a line of one and a line of four."""
    document = orders_document()
    document["orders"].append(
        an_order(
            "order-with-claim",
            an_item("test-item-co-2", 8000, variant_id="test-variant-2"),
            an_item("test-item-co-3", 8000, 4),
            paid=50_000,
            tax_rate=0,
        )
    )
    return document


def store_document(**more: Any) -> Json:
    """F5: one piece of 8000, untaxed, and a reason with a child."""
    document = a_base(a_variant("test-variant", 8000))
    item = an_item("test-item", 8000, shipped_quantity=0, delivered_at=None, **more)
    document["orders"] = [an_order("order_test", item, paid=8000, tax_rate=0)]
    document["shipping_options"] = [an_option("test-option", 1000)]
    document["return_reasons"] = [
        {"id": "rr_size", "value": "wrong_size", "label": "Wrong size"},
        {
            "id": "rr_big",
            "value": "too_big",
            "label": "Too big",
            "parent_return_reason_id": "rr_size",
        },
    ]
    return document


def paid_document() -> Json:
    """F6: one piece of 1000, paid in two parts."""
    document = a_base(a_variant("test-variant", 1000))
    order = an_order("order_test", an_item("test-item", 1000), paid=1000)
    order["payments"] = [
        {"id": f"pay_{amount}", "amount": amount, "provider_id": "manual", "captured_at": CREATED}
        for amount in (300, 700)
    ]
    document["orders"] = [order]
    return document
