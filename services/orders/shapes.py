"""Orders, payments and refunds in Medusa's shapes, and orders as an import document has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from chassis.db import Row
from services.orders import refunds, store_units
from services.orders.refunds import PricedLine


def order(
    row: Row, lines: list[Row], payments: list[Row], fulfillments: list[Row], refunds: list[Row]
) -> Row:
    """A whole order as Medusa shows it, with what claims and returns have to know beside it."""
    sent_out = [line for line in lines if line["claim_id"] is not None]
    lines = [line for line in lines if line["claim_id"] is None]
    priced = [store_units.priced(row=line, order_tax_rate=row["tax_rate"]) for line in lines]
    return {
        "id": row["id"],
        "object": "order",
        "status": row["status"],
        "fulfillment_status": row["fulfillment_status"],
        "payment_status": row["payment_status"],
        "display_id": row["display_id"],
        "cart_id": None,
        "draft_order_id": None,
        "customer_id": row["customer_id"],
        "email": row["email"],
        "billing_address_id": _address_id(row, "billing_address"),
        "shipping_address_id": _address_id(row, "shipping_address"),
        "region_id": row["region_id"],
        "currency_code": row["currency_code"],
        "tax_rate": row["tax_rate"],
        "canceled_at": row["canceled_at"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "metadata": row["metadata"],
        "no_notification": row["no_notification"],
        "idempotency_key": None,
        "external_id": None,
        "claim_id": row["claim_id"],
        "sales_channel_id": row["sales_channel_id"],
        **_totals(row, priced),
        "billing_address": _address(row, "billing_address"),
        "shipping_address": _address(row, "shipping_address"),
        "customer": _order_customer(row),
        "region": _region(row),
        "sales_channel": _channel(row),
        "discounts": [_discount(discount) for discount in row["discounts"] or ()],
        "gift_cards": [],
        "gift_card_transactions": [],
        "items": [_item(line, whole) for line, whole in zip(lines, priced, strict=True)],
        "shipping_methods": [
            _shipping_method(row, method) for method in row["shipping_methods"] or ()
        ],
        "payments": [payment(each) for each in payments],
        "refunds": [refund(each) for each in refunds if each["state"] == "posted"],
        "fulfillments": [_fulfillment(fulfillment) for fulfillment in fulfillments],
        "extra": row["extra"],
        "version": row["version"],
        # What orders knows of lines that claims sent out; claims shows them.
        "replacements": [_replacement(line) for line in sent_out],
    }


def _replacement(line: Row) -> Row:
    return {
        "item_id": line["id"],
        "returned_quantity": line["returned_quantity"],
        "remedied_quantity": line["remedied_quantity"],
        "refundable": line["worth"] - line["returned_amount"] - line["goodwill_amount"],
    }


def _totals(row: Row, priced: Iterable[PricedLine]) -> Row:
    rates = [
        (
            method,
            [row["tax_rate"]]
            if row["tax_rate"] is not None
            else [tax["rate"] for tax in method["tax_lines"] or ()],
        )
        for method in row["shipping_methods"] or ()
    ]
    totals = refunds.order_totals(
        lines=priced,
        shipping=[
            refunds.shipping_cost(
                price=method["price"], rates=each, includes_tax=method["includes_tax"]
            )
            for method, each in rates
        ],
    )
    return {
        **asdict(totals),
        "gift_card_total": 0,
        "gift_card_tax_total": 0,
        "paid_total": row["paid"],
        "refunded_total": row["refunded"],
        "refundable_amount": row["captured"] - row["refunded"] - row["refund_pending"],
    }


def _address_id(row: Row, name: str) -> str | None:
    address = row[name]
    if address is None:
        return None
    return address.get("id") or f"addr_{row['id']}_{name.removesuffix('_address')}"


def _address(row: Row, name: str) -> Row | None:
    return {**row[name], "id": _address_id(row, name)} if row[name] is not None else None


def _order_customer(row: Row) -> Row | None:
    if row["customer_id"] is None:
        return None
    return {
        "id": row["customer_id"],
        "email": row["customer_email"],
        "first_name": row["customer_first_name"],
        "last_name": row["customer_last_name"],
        "phone": row["customer_phone"],
        "has_account": False,
        "created_at": row["customer_created_at"],
    }


def _region(row: Row) -> Row:
    return {
        "id": row["region_id"],
        "name": row["region_name"],
        "currency_code": row["region_currency_code"],
        "tax_rate": row["region_tax_rate"],
        "tax_code": row["region_tax_code"],
        "includes_tax": row["region_includes_tax"],
        "countries": [{"iso_2": code} for code in row["region_countries"] or ()],
    }


def _channel(row: Row) -> Row | None:
    if row["sales_channel_id"] is None:
        return None
    return {"id": row["sales_channel_id"], "name": row["channel_name"], "is_disabled": False}


def _discount(discount: Row) -> Row:
    return {**discount, "is_dynamic": False, "is_disabled": False}


def _item(line: Row, whole: PricedLine) -> Row:
    """A line item. ``quantity`` is net of what came back; the totals are of the full quantity."""
    returned = line["returned_quantity"]
    return {
        "id": line["id"],
        "order_id": line["order_id"],
        "claim_order_id": None,
        "swap_id": None,
        "cart_id": None,
        "variant_id": line["variant_id"],
        "title": line["title"],
        "description": line["description"],
        "thumbnail": line["thumbnail"],
        "is_return": False,
        "is_giftcard": line["is_giftcard"],
        "should_merge": True,
        "allow_discounts": line["allow_discounts"],
        "has_shipping": None,
        "unit_price": line["unit_price"],
        "quantity": line["quantity"] - returned,
        "fulfilled_quantity": line["fulfilled_quantity"],
        "shipped_quantity": line["shipped_quantity"],
        "returned_quantity": returned,
        "metadata": line["metadata"],
        "original_item_id": None,
        "order_edit_id": None,
        "includes_tax": line["includes_tax"],
        "tax_lines": _numbered("litl", "item_id", line["id"], line["tax_lines"]),
        "adjustments": _numbered("lia", "item_id", line["id"], line["adjustments"]),
        **asdict(refunds.line_totals(line=whole)),
        "refundable": whole.paid.amount - line["returned_amount"] - line["goodwill_amount"],
        "ordered_quantity": line["quantity"],
        "remedied_quantity": line["remedied_quantity"],
        "delivered_at": line["delivered_at"],
        "extra": line["extra"],
    }


def _numbered(prefix: str, parent: str, parent_id: str, parts: list[Row] | None) -> list[Row]:
    """Parts of a line or method that has no table of its own; a part without an id gets one."""
    return [
        {**part, "id": part.get("id") or f"{prefix}_{parent_id}_{number}", parent: parent_id}
        for number, part in enumerate(parts or (), 1)
    ]


def _shipping_method(row: Row, method: Row) -> Row:
    tax_lines = _numbered("smtl", "shipping_method_id", method["id"], method["tax_lines"])
    return {
        **method,
        "tax_lines": tax_lines,
        "data": method["data"] or {},
        "order_id": row["id"],
        "claim_order_id": None,
        "swap_id": None,
        "return_id": None,
        "cart_id": None,
    }


def payment(payment: Row) -> Row:
    """A payment; ``swap_id`` where it is the difference of an exchange."""
    return {
        "id": payment["id"],
        "amount": payment["amount"],
        "currency_code": payment["currency_code"],
        "amount_refunded": payment["amount_refunded"],
        "provider_id": payment["provider_id"],
        "data": {},
        "captured_at": payment["captured_at"],
        "canceled_at": payment["canceled_at"],
        "order_id": payment["order_id"],
        "swap_id": payment["swap_id"],
        "cart_id": None,
        "metadata": None,
        "created_at": payment["created_at"],
    }


def refund(refund: Row) -> Row:
    """A refund, with what it is for in its metadata."""
    return {
        "id": refund["id"],
        "order_id": refund["order_id"],
        "payment_id": refund["payment_id"],
        "amount": refund["amount"],
        "note": refund["note"],
        "reason": refund["reason"],
        "metadata": {"cause_kind": refund["cause_kind"], "cause_id": refund["cause_id"]},
        "idempotency_key": None,
        "created_at": refund["created_at"],
        "updated_at": refund["settled_at"] or refund["created_at"],
    }


def _fulfillment(fulfillment: Row) -> Row:
    numbers = fulfillment["tracking_numbers"] or []
    return {
        "id": fulfillment["id"],
        "order_id": fulfillment["order_id"],
        "claim_order_id": None,
        "swap_id": None,
        "provider_id": "manual",
        "location_id": fulfillment["location_id"],
        "items": [
            {**item, "fulfillment_id": fulfillment["id"]} for item in fulfillment["items"] or ()
        ],
        "tracking_links": [
            {
                "id": f"tlink_{fulfillment['id']}_{index}",
                "url": None,
                "tracking_number": number,
                "fulfillment_id": fulfillment["id"],
            }
            for index, number in enumerate(numbers)
        ],
        "tracking_numbers": numbers,
        "data": {},
        "shipped_at": fulfillment["shipped_at"],
        "canceled_at": fulfillment["canceled_at"],
        "no_notification": fulfillment["no_notification"],
        "metadata": fulfillment["metadata"],
        "idempotency_key": None,
        "created_at": fulfillment["created_at"],
    }


def remedies(rows: Iterable[Row]) -> list[Row]:
    """Remedies with their lines, from rows of the one joined to the other."""
    remedies: dict[str, Row] = {}
    for row in rows:
        head = only(row, "id kind state amount created_at")
        remedy = remedies.setdefault(row["id"], {**head, "lines": []})
        if row["line_id"] is not None:
            remedy["lines"].append(only(row, "line_id quantity received_quantity"))
    return list(remedies.values())


def exported(row: Row, lines: list[Row], payments: list[Row], fulfillments: list[Row]) -> Row:
    """An order as an import document has it."""
    return {
        **only(
            row,
            "id display_id email customer_id region_id currency_code tax_rate status"
            " payment_status fulfillment_status sales_channel_id created_at no_notification"
            " metadata shipping_address billing_address discounts",
        ),
        **(row["extra"] or {}),
        **({"claim_id": row["claim_id"]} if row["claim_id"] else {}),
        "items": [
            {
                **only(
                    line,
                    "id variant_id title description thumbnail unit_price quantity"
                    " fulfilled_quantity shipped_quantity returned_quantity delivered_at"
                    " includes_tax allow_discounts is_giftcard tax_lines adjustments metadata",
                ),
                **(line["extra"] or {}),
            }
            for line in lines
        ],
        "shipping_methods": [
            only(method, "id shipping_option_id price data tax_lines")
            for method in row["shipping_methods"] or ()
        ],
        "payments": [
            only(payment, "id amount provider_id captured_at amount_refunded")
            for payment in payments
        ],
        "fulfillments": [
            only(fulfillment, "id items location_id tracking_numbers shipped_at canceled_at")
            for fulfillment in fulfillments
        ],
    }


def only(row: Mapping[str, Any], names: str) -> Row:
    """Those columns of a row; ``names`` are separated by spaces."""
    return {name: row[name] for name in names.split()}
