"""What an export shows: columns of orders, claims and returns, and cells that are only text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: Any) -> str | int | float:
    """A value as a cell. Text that a spreadsheet would take for a formula gets a quote before it;
    numbers are ours and stay numbers."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) or text[:1] == "\n" else text


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV (RFC 4180)."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([cell(each) for each in row] for row in rows)
    return out.getvalue()


@dataclass(frozen=True)
class Sheet:
    """One kind of export: where its rows come from, which filters it takes, its columns.

    ``filters``: name -> whether it takes several values. ``plural`` names the list in the answer.
    """

    service: str
    plural: str
    label: str
    filters: dict[str, bool]
    columns: tuple[tuple[str, Callable[[Json], Any]], ...]
    dates: tuple[str, ...] = ()

    @property
    def header(self) -> tuple[str, ...]:
        """The first line."""
        return tuple(name for name, _ in self.columns)

    def row(self, record: Json) -> list[Any]:
        """One line."""
        return [pick(record) for _, pick in self.columns]


def _of(*path: str) -> Callable[[Json], Any]:
    def pick(record: Json) -> Any:
        found: Any = record
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    return pick


def _units(name: str, quantity: str) -> Callable[[Json], Any]:
    return lambda record: sum(item[quantity] or 0 for item in record[name])


def _reasons(record: Json) -> str:
    found = (item["reason"] for item in record["claim_items"] if item["reason"])
    return ", ".join(dict.fromkeys(found))


SHEETS: dict[str, Sheet] = {
    "order-export": Sheet(
        service="orders",
        plural="orders",
        label="Order",
        filters={
            **dict.fromkeys(("status", "fulfillment_status", "payment_status"), True),
            **dict.fromkeys(("region_id", "currency_code", "sales_channel_id"), True),
            "customer_id": True,
        },
        dates=("created_at", "updated_at", "canceled_at"),
        # Medusa's columns, in its order.
        columns=(
            ("Order_ID", _of("id")),
            ("Display_ID", _of("display_id")),
            ("Order status", _of("status")),
            ("Date", _of("created_at")),
            ("Customer First name", _of("shipping_address", "first_name")),
            ("Customer Last name", _of("shipping_address", "last_name")),
            ("Customer Email", _of("email")),
            ("Customer ID", _of("customer_id")),
            ("Shipping Address 1", _of("shipping_address", "address_1")),
            ("Shipping Address 2", _of("shipping_address", "address_2")),
            ("Shipping Country Code", _of("shipping_address", "country_code")),
            ("Shipping City", _of("shipping_address", "city")),
            ("Shipping Postal Code", _of("shipping_address", "postal_code")),
            ("Shipping Region ID", _of("region_id")),
            ("Fulfillment Status", _of("fulfillment_status")),
            ("Payment Status", _of("payment_status")),
            ("Subtotal", _of("subtotal")),
            ("Shipping Total", _of("shipping_total")),
            ("Discount Total", _of("discount_total")),
            ("Gift Card Total", _of("gift_card_total")),
            ("Refunded Total", _of("refunded_total")),
            ("Tax Total", _of("tax_total")),
            ("Total", _of("total")),
            ("Currency Code", _of("currency_code")),
        ),
    ),
    "claim-export": Sheet(
        service="claims",
        plural="claims",
        label="Claim",
        filters={
            "order_id": True,
            **dict.fromkeys(("type", "status", "payment_status"), False),
        },
        columns=(
            ("Claim_ID", _of("id")),
            ("Order_ID", _of("order_id")),
            ("Type", _of("type")),
            ("Status", _of("status")),
            ("Date", _of("created_at")),
            ("Payment Status", _of("payment_status")),
            ("Fulfillment Status", _of("fulfillment_status")),
            ("Refund Amount", _of("refund_amount")),
            ("Currency Code", _of("currency_code")),
            ("Units", _units("claim_items", "quantity")),
            ("Reasons", _reasons),
            ("Return_ID", _of("return_id")),
            ("Canceled", _of("canceled_at")),
        ),
    ),
    "return-export": Sheet(
        service="returns",
        plural="returns",
        label="Return",
        filters={"order_id": True, "status": True},
        columns=(
            ("Return_ID", _of("id")),
            ("Order_ID", _of("order_id")),
            ("Claim_ID", _of("claim_order_id")),
            ("Status", _of("status")),
            ("Date", _of("created_at")),
            ("Refund Amount", _of("refund_amount")),
            ("Requested Units", _units("items", "requested_quantity")),
            ("Received Units", _units("items", "received_quantity")),
            ("Received", _of("received_at")),
        ),
    ),
}
