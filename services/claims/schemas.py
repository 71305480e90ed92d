"""HTTP requests of claims. The gateway has already spoken in its surface's words."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_UNITS_MAX = 2**53


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Item(_Strict):
    """A claimed line: how many units, what is wrong."""

    item_id: str
    quantity: int = Field(ge=1, le=_UNITS_MAX)
    reason: str | None = None
    note: str | None = None
    tags: list[str] = []
    images: list[str] = []


class AdditionalItem(_Strict):
    """A variant to be sent out."""

    variant_id: str
    quantity: int = Field(ge=1, le=_UNITS_MAX)


class ReturnShipping(_Strict):
    """How goods come back; its presence alone, even empty, asks for a return."""

    option_id: str | None = None
    price: int | None = Field(None, ge=0, le=_UNITS_MAX)


class ShippingMethod(_Strict):
    """How replacements go out."""

    id: str | None = None
    option_id: str | None = None
    price: int | None = Field(None, ge=0, le=_UNITS_MAX)
    data: dict[str, Any] | None = None


class OrderFacts(_Strict):
    """Where the order was sold, so that inventory can be asked while orders is."""

    region_id: str | None = None
    sales_channel_id: str | None = None
    currency_code: str


class OpenClaim(_Strict):
    """The body of ``POST /claims``; amounts are minor units."""

    order_id: str
    type: str
    claim_items: list[Item] = Field(max_length=100)
    return_shipping: ReturnShipping | None = None
    additional_items: list[AdditionalItem] = Field([], max_length=100)
    shipping_methods: list[ShippingMethod] = []
    refund_amount: int | None = Field(None, ge=0, le=_UNITS_MAX)
    refund_to: Literal["payment", "store_credit"] | None = None
    shipping_address: dict[str, Any] | None = None
    no_notification: bool | None = None
    return_location_id: str | None = None
    metadata: dict[str, Any] | None = None
    order: OrderFacts | None = None


class ReturnItem(_Strict):
    """Units that are given back in an exchange."""

    item_id: str
    quantity: int = Field(ge=1, le=_UNITS_MAX)
    reason_id: str | None = None
    note: str | None = None


class OpenExchange(_Strict):
    """The body of ``POST /exchanges``; amounts are minor units."""

    order_id: str
    return_items: list[ReturnItem] = Field(max_length=100)
    return_shipping: ReturnShipping | None = None
    additional_items: list[AdditionalItem] = Field([], max_length=100)
    shipping_methods: list[ShippingMethod] = Field([], max_length=100)
    no_notification: bool | None = None
    return_location_id: str | None = None
    allow_backorder: bool = True
    order: OrderFacts


class OfOrder(_Strict):
    """The body of what is done to an exchange: the order the caller believes it belongs to."""

    order_id: str | None = None


class Kept(_Strict):
    """An image or a tag that an item shall have: by its id, or by what it is."""

    id: str | None = None
    url: str | None = None
    value: str | None = None


class ChangedItem(_Strict):
    """What is written on an item; images and tags are all that stay."""

    id: str
    note: str | None = None
    reason: str | None = None
    images: list[Kept] = Field(max_length=100)
    tags: list[Kept] = Field(max_length=100)
    metadata: dict[str, Any] | None = None


class UpdateClaim(_Strict):
    """The body of ``POST /claims/{id}``; what is left out stays."""

    order_id: str | None = None
    claim_items: list[ChangedItem] | None = Field(None, max_length=100)
    shipping_methods: list[ShippingMethod] | None = Field(None, max_length=100)
    no_notification: bool | None = None
    metadata: dict[str, Any] | None = None


class AssignClaim(_Strict):
    """The body of ``POST /claims/{id}/assign``; nobody takes it off everybody."""

    order_id: str | None = None
    user_id: str | None = None


class CloseClaim(_Strict):
    """The body of ``POST /claims/{id}/close``."""

    order_id: str | None = None


class CancelClaim(_Strict):
    """The body of ``POST /claims/{id}/cancel``: the order the caller believes it belongs to."""

    order_id: str | None = None


class CreateFulfillment(_Strict):
    """The body of ``POST /claims/{id}/fulfillments``: all that the claim still owes is packed."""

    order_id: str | None = None
    location_id: str | None = None
    no_notification: bool | None = None
    metadata: dict[str, Any] | None = None


class CancelFulfillment(_Strict):
    """The body of ``POST /claims/{id}/fulfillments/{fulfillment_id}/cancel``."""

    order_id: str | None = None


class CreateShipment(_Strict):
    """The body of ``POST /claims/{id}/shipments``."""

    order_id: str | None = None
    fulfillment_id: str
    tracking_numbers: list[str] = Field([], max_length=1000)


class RetryRefund(_Strict):
    """The body of ``POST /claims/{id}/refund``; without an amount, what the units are worth."""

    refund_amount: int | None = Field(None, ge=0, le=_UNITS_MAX)
    refund_to: Literal["payment", "store_credit"] | None = None


class ConvertClaim(_Strict):
    """The body of ``POST /claims/{id}/convert`` and of its preview."""

    type: Literal["refund", "replace"]
    additional_items: list[AdditionalItem] = Field([], max_length=100)
    shipping_methods: list[ShippingMethod] | None = Field(None, max_length=100)
    refund_amount: int | None = Field(None, ge=0, le=_UNITS_MAX)
    refund_to: Literal["payment", "store_credit"] | None = None
    order: OrderFacts | None = None


class ReportedItem(_Strict):
    """A line that something is wrong with: how many units, and what."""

    item_id: str = Field(max_length=255)
    quantity: int = Field(ge=1, le=_UNITS_MAX)
    reason: str = Field(max_length=100)
    note: str | None = Field(None, max_length=2000)


class OpenInquiry(_Strict):
    """The body of ``POST /inquiries``; ``claimable`` is what orders says may be claimed of each
    line of the order."""

    order_id: str
    customer_id: str | None = None
    claim_items: list[ReportedItem] = Field(max_length=100)
    message: str | None = Field(None, max_length=4000)
    claimable: dict[str, int]


class ApproveInquiry(OpenClaim):
    """The body of ``POST /inquiries/{id}/approve``: a claim, by default of what was reported."""

    order_id: str = ""
    claim_items: list[Item] = Field([], max_length=100)


class Reason(_Strict):
    """Why: the customer reads it."""

    reason: str = Field(min_length=1, max_length=2000)


class Message(_Strict):
    """What one side writes to the other."""

    text: str = Field(min_length=1, max_length=4000)
