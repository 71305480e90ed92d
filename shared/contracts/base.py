"""What every message of the published language has in common."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A piece of a message: frozen, and tolerant of fields a newer writer added."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Part):
    """A command or an event. ``key`` is its routing key and, behind ``reclamo.``, its type."""

    key: ClassVar[str]
    example: ClassVar[dict[str, Any]]


class Command(Message):
    """Asks one owner to do something; the owner answers with one event of its own."""


class Event(Message):
    """States what has happened. Replies are events too, one class per business outcome."""


class Rejection(Event):
    """A reply that says no: ``code`` for programs, ``kind`` for the status, ``message`` for people.

    ``kind`` is one of the kinds of ``chassis.errors``: not_found, invalid, not_allowed,
    conflict, forbidden.
    """

    code: str
    kind: str
    message: str


class LineQuantity(Part):
    """So many units of one order line. ``quantity`` is at least 1."""

    line_id: str
    quantity: int


class ReturnShipping(Part):
    """The way goods are to come back: a shipping option, and its price in minor units if given."""

    option_id: str | None = None
    price: int | None = None


class ShippingQuote(Part):
    """A return shipping as orders priced it. ``price`` and ``tax_amount`` are minor units."""

    option_id: str | None = None
    name: str | None = None
    price: int = 0
    tax_amount: int = 0
    tax_lines: list[dict[str, Any]] = []
    data: dict[str, Any] = {}


class RefundLine(Part):
    """One named part of an amount. ``amount`` is signed minor units; ``rule`` says why it is there.

    ``part`` is one of goods, discount, tax, shipping, cap, given, exchange, difference.
    """

    line_id: str | None = None
    part: str
    quantity: int | None = None
    amount: int
    rule: str


class LineSnapshot(Part):
    """An order line as it was when the hold was placed; prices are minor units."""

    line_id: str
    variant_id: str | None = None
    title: str
    quantity: int
    unit_price: int
    fulfilled_quantity: int
    shipped_quantity: int
    returned_quantity: int
    delivered_at: str | None = None


class TaxRate(Part):
    """The tax that replacement lines of an order carry. ``rate`` is percent."""

    rate: float
    code: str | None = None
    name: str


class ReplacementLine(Part):
    """An additional item as inventory knows it: what it is called and what it costs."""

    line_id: str
    variant_id: str
    title: str
    description: str | None = None
    sku: str | None = None
    unit_price: int
    quantity: int
    location_id: str | None = None
