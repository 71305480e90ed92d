"""What the journeys sell: variants, order lines and orders, each with ids of its own.

Amounts are cents. A line knows what was paid for it, counted here from the definition and not by
the code under test: (unit price x units - discount) plus each tax on that, rounded half up.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from chassis import clock

Json = dict[str, Any]

LOCATION = "sloc_journey"
REGION = "reg_journey"
CHANNEL = "sc_journey"
RETURN_OPTION = "so_journey_return"
RETURN_PRICE = 350
_numbers = itertools.count(1)
_BOUGHT_AT = clock.now().isoformat()


def _number() -> int:
    return next(_numbers)


@dataclass(frozen=True)
class Variant:
    """Something to sell; ``stocked=None``: it is not kept in stock."""

    stocked: int | None = 1000
    price: int | None = 1000
    allow_backorder: bool = False
    id: str = field(default_factory=lambda: f"variant_journey_{_number()}")

    @property
    def record(self) -> Json:
        """As an import has it."""
        prices = [] if self.price is None else [{"currency_code": "eur", "amount": self.price}]
        return {
            "id": self.id,
            "title": "Thing",
            "product_title": "Thing",
            "sku": self.id.upper(),
            "manage_inventory": self.stocked is not None,
            "allow_backorder": self.allow_backorder,
            "prices": prices,
        }

    @property
    def level(self) -> Json | None:
        """Its stock at the one warehouse."""
        if self.stocked is None:
            return None
        return {
            "variant_id": self.id,
            "location_id": LOCATION,
            "stocked_quantity": self.stocked,
        }

    def times(self, quantity: int = 1) -> Json:
        """As an additional item of a claim."""
        return {"variant_id": self.id, "quantity": quantity}


@dataclass(frozen=True)
class Line:
    """Units of a variant that were sold together."""

    quantity: int = 1
    price: int = 1000
    discount: int = 0
    rates: tuple[float, ...] = (20,)
    shipped: int | None = None
    fulfilled: int | None = None
    variant: Variant | None = field(default_factory=Variant)
    id: str = field(default_factory=lambda: f"item_journey_{_number()}")

    @property
    def paid(self) -> int:
        """What the customer paid for all units."""
        net = self.price * self.quantity - self.discount
        return net + sum(int((net * rate + 50) // 100) for rate in self.rates)

    @property
    def record(self) -> Json:
        """As an import has it."""
        shipped = self.quantity if self.shipped is None else self.shipped
        fulfilled = max(self.quantity if self.fulfilled is None else self.fulfilled, shipped)
        adjustment = {"amount": self.discount, "discount_id": "disc_journey", "description": "OFF"}
        return {
            "id": self.id,
            "variant_id": self.variant.id if self.variant else None,
            "title": "Thing",
            "unit_price": self.price,
            "quantity": self.quantity,
            "fulfilled_quantity": fulfilled,
            "shipped_quantity": shipped,
            "returned_quantity": 0,
            "delivered_at": _BOUGHT_AT,
            "tax_lines": [
                {"rate": rate, "code": f"VAT{rate:g}", "name": f"VAT {rate:g} %"}
                for rate in self.rates
            ],
            "adjustments": [adjustment] if self.discount else [],
        }

    def units(self, quantity: int = 1, **more: Any) -> Json:
        """As an item of a return."""
        return {"item_id": self.id, "quantity": quantity, **more}

    def claimed(self, quantity: int = 1, reason: str = "wrong_item") -> Json:
        """As an item of a claim."""
        return {"item_id": self.id, "quantity": quantity, "reason": reason}


@dataclass(frozen=True)
class Order:
    """A paid order. ``payments`` are captured amounts, by default one for everything."""

    lines: tuple[Line, ...]
    payments: tuple[int, ...] | None = None
    providers: tuple[str, ...] = ("manual",)
    status: str = "completed"
    id: str = field(default_factory=lambda: f"order_journey_{_number()}")

    @property
    def paid(self) -> int:
        """What all lines cost together."""
        return sum(line.paid for line in self.lines)

    @property
    def line(self) -> Line:
        """The only line."""
        (line,) = self.lines
        return line

    @property
    def record(self) -> Json:
        """As an import has it."""
        amounts = (self.paid,) if self.payments is None else self.payments
        providers = itertools.cycle(self.providers)
        return {
            "id": self.id,
            "display_id": int(self.id.rsplit("_", 1)[1]),
            "email": "journey@reclamo.example",
            "customer_id": "cus_journey",
            "region_id": REGION,
            "currency_code": "eur",
            "tax_rate": None,
            "status": self.status,
            "payment_status": "captured",
            "fulfillment_status": "shipped",
            "sales_channel_id": CHANNEL,
            "created_at": _BOUGHT_AT,
            "items": [line.record for line in self.lines],
            "shipping_methods": [],
            "payments": [
                {
                    "id": f"pay_{self.id}_{number}",
                    "amount": amount,
                    "provider_id": next(providers),
                    "captured_at": _BOUGHT_AT,
                }
                for number, amount in enumerate(amounts, 1)
            ],
            "fulfillments": [],
            "discounts": [],
        }

    @property
    def claims(self) -> str:
        """Where claims are opened."""
        return f"/admin/orders/{self.id}/claims"

    @property
    def returns(self) -> str:
        """Where returns are requested."""
        return f"/admin/orders/{self.id}/return"

    @property
    def refund(self) -> str:
        """Where money is refunded by hand."""
        return f"/admin/orders/{self.id}/refund"

    def refund_claim(self, quantity: int = 1, **more: Any) -> Json:
        """A claim of its first line that asks for the money back."""
        return {"type": "refund", "claim_items": [self.lines[0].claimed(quantity)], **more}

    def replace_claim(self, variant: Variant, quantity: int = 1, **more: Any) -> Json:
        """A claim of its first line that asks for something else."""
        return {
            "type": "replace",
            "claim_items": [self.lines[0].claimed(quantity)],
            "additional_items": [variant.times(quantity)],
            **more,
        }


def an_order(
    *lines: Line,
    payments: tuple[int, ...] | None = None,
    provider: str | tuple[str, ...] = "manual",
    **more: Any,
) -> Order:
    """An order of these lines (one unit of 10.00 plus 20 % unless given)."""
    providers = (provider,) if isinstance(provider, str) else provider
    return Order(lines or (Line(),), payments=payments, providers=providers, **more)


def with_return(*, option: str | None = None) -> Json:
    """The goods come back: without an option nobody pays for the way."""
    return {"return_shipping": {"option_id": option} if option else {}}


def reference_data() -> Json:
    """What orders need around them."""
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
                "amount": RETURN_PRICE,
                "is_return": True,
            }
        ],
        "customers": [
            {
                "id": "cus_journey",
                "email": "journey@reclamo.example",
                "first_name": "Jo",
                "last_name": "Journey",
            }
        ],
    }
