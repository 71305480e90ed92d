"""What comes in over HTTP: the import document of orders, filters of the list, a refund by hand.

Import records are strict: an unknown key is refused with its path, a number is a number. Money is
integer minor units, rates are percent, times are ISO 8601 (without a zone: UTC).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.orders.domain import (
    FULFILLMENT_STATUSES,
    PAYMENT_STATUSES,
    STATUSES,
)

_UNITS_MAX = 10_000_000
_MONEY_MAX = 10**15


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _one_of(values: Collection[str]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in values:
            raise ValueError(f"must be one of the following values: {', '.join(values)}")
        return value

    return check


Status = Annotated[str, AfterValidator(_one_of(STATUSES))]
PaymentStatus = Annotated[str, AfterValidator(_one_of(PAYMENT_STATUSES))]
FulfillmentStatus = Annotated[str, AfterValidator(_one_of(FULFILLMENT_STATUSES))]
Id = Annotated[str, Field(min_length=1, max_length=255)]
Words = Annotated[str, Field(max_length=20_000)]
Units = Annotated[int, Field(ge=0, le=_UNITS_MAX)]
Money = Annotated[int, Field(ge=0, le=_MONEY_MAX)]
Rate = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Stamp = Annotated[datetime, Field(strict=False), AfterValidator(_in_utc)]
Currency = Annotated[str, Field(pattern="^[A-Za-z]{3}$"), AfterValidator(str.lower)]
Object = dict[str, Any]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class ImportRegion(_Record):
    """Where is sold: currency, tax, countries."""

    id: Id | None = None
    name: Words
    currency_code: Currency
    tax_rate: Rate
    tax_code: Words | None = None
    countries: list[Words] | None = None
    includes_tax: bool | None = None


class ImportSalesChannel(_Record):
    """Through what is sold; its stock locations matter to inventory."""

    id: Id | None = None
    name: Words
    stock_location_ids: list[Id] | None = None


class ImportShippingOption(_Record):
    """A way to send, or to send back, and its price."""

    id: Id | None = None
    name: Words
    region_id: Id
    amount: Money
    is_return: bool
    includes_tax: bool | None = None
    data: Object | None = None


class ImportCustomer(_Record):
    """Who buys. A password is the gateway's business and not kept here."""

    id: Id | None = None
    email: Words
    first_name: Words | None = None
    last_name: Words | None = None
    phone: Words | None = None
    password: Words | None = None


class ImportAddress(_Record):
    """An address, every part optional."""

    id: Id | None = None
    first_name: Words | None = None
    last_name: Words | None = None
    phone: Words | None = None
    company: Words | None = None
    address_1: Words | None = None
    address_2: Words | None = None
    city: Words | None = None
    country_code: Words | None = None
    province: Words | None = None
    postal_code: Words | None = None
    metadata: Object | None = None


class ImportTaxLine(_Record):
    """One tax."""

    id: Id | None = None
    rate: Rate
    code: Words | None = None
    name: Words = "default"


class ImportAdjustment(_Record):
    """A piece of discount on a line, over all its units."""

    id: Id | None = None
    amount: Money
    discount_id: Id | None = None
    description: Words | None = None


class ImportItem(_Record):
    """An order line; quantities are taken as given."""

    id: Id | None = None
    variant_id: Id | None = None
    title: Words
    description: Words | None = None
    thumbnail: Words | None = None
    unit_price: Money
    quantity: Annotated[int, Field(ge=1, le=_UNITS_MAX)]
    fulfilled_quantity: Units | None = None
    shipped_quantity: Units | None = None
    returned_quantity: Units | None = None
    delivered_at: Stamp | None = None
    includes_tax: bool | None = None
    allow_discounts: bool | None = None
    is_giftcard: bool | None = None
    tax_lines: list[ImportTaxLine] | None = None
    adjustments: list[ImportAdjustment] | None = None
    metadata: Object | None = None
    uuid: Words | None = None
    sku: Words | None = None
    bundle_id: Words | None = None
    product_options: list[Any] | None = None
    measurement_unit: Any = None
    packaging_unit: Any = None
    quantity_splittable: bool | None = None
    merchant_reference: Words | None = None
    categories: list[Any] | None = None
    final_sale: bool | None = None
    serial_numbers: list[Words] | None = None
    weight: int | float | None = None


class ImportShippingMethod(_Record):
    """How an order was sent, at what price."""

    id: Id | None = None
    shipping_option_id: Id | None = None
    price: Money
    data: Object | None = None
    tax_lines: list[ImportTaxLine] | None = None


class ImportPayment(_Record):
    """Money of an order; only captured money can be refunded."""

    id: Id | None = None
    amount: Money
    provider_id: Id
    captured_at: Stamp | None = None
    amount_refunded: Money | None = None


class ImportFulfilledItem(_Record):
    """Units of a line in a fulfillment."""

    item_id: Id
    quantity: Annotated[int, Field(ge=1, le=_UNITS_MAX)]


class ImportFulfillment(_Record):
    """Goods packed, and perhaps shipped."""

    id: Id | None = None
    items: list[ImportFulfilledItem]
    location_id: Id | None = None
    tracking_numbers: list[Words] | None = None
    shipped_at: Stamp | None = None
    canceled_at: Stamp | None = None


class ImportDiscountRule(_Record):
    """What a discount gives."""

    id: Id | None = None
    type: Words
    value: int | float
    allocation: Words | None = None


class ImportDiscount(_Record):
    """A discount that was used."""

    id: Id | None = None
    code: Words
    rule: ImportDiscountRule | None = None


class ImportOrder(_Record):
    """An order as it is to be from now on; statuses and quantities are taken as given."""

    id: Id | None = None
    display_id: Annotated[int, Field(ge=0, le=2**53)] | None = None
    email: Words
    customer_id: Id | None = None
    region_id: Id
    currency_code: Currency
    tax_rate: Rate | None = None
    status: Status = "pending"
    payment_status: PaymentStatus = "not_paid"
    fulfillment_status: FulfillmentStatus = "not_fulfilled"
    sales_channel_id: Id | None = None
    created_at: Stamp | None = None
    no_notification: bool | None = None
    metadata: Object | None = None
    shipping_address: ImportAddress | None = None
    billing_address: ImportAddress | None = None
    items: list[ImportItem]
    shipping_methods: list[ImportShippingMethod] | None = None
    payments: list[ImportPayment] | None = None
    fulfillments: list[ImportFulfillment] | None = None
    discounts: list[ImportDiscount] | None = None
    store: Words | None = None
    customer_reference: Words | None = None
    price_mode: Words | None = None
    claim_id: Id | None = None


ORDER_EXTRA = ("store", "customer_reference", "price_mode")
ITEM_EXTRA = (
    "uuid",
    "sku",
    "bundle_id",
    "product_options",
    "measurement_unit",
    "packaging_unit",
    "quantity_splittable",
    "merchant_reference",
    "categories",
    "final_sale",
    "serial_numbers",
    "weight",
)

# The lists of a document that orders owns, in the order in which they are loaded.
IMPORT_LISTS: dict[str, type[_Record]] = {
    "regions": ImportRegion,
    "sales_channels": ImportSalesChannel,
    "shipping_options": ImportShippingOption,
    "customers": ImportCustomer,
    "orders": ImportOrder,
}


class ImportDocument(BaseModel):
    """Lists of records; each is checked by itself, so that one bad record spoils no other."""

    model_config = ConfigDict(extra="forbid")

    regions: list[Any] | None = None
    sales_channels: list[Any] | None = None
    shipping_options: list[Any] | None = None
    customers: list[Any] | None = None
    orders: list[Any] | None = None

    def lists(self) -> dict[str, list[Any]]:
        """The lists that were given, in the order in which they are loaded."""
        return {name: getattr(self, name) or [] for name in IMPORT_LISTS}


class GoodwillItem(BaseModel):
    """What a refund gives back of the price of a line whose units the customer keeps."""

    model_config = ConfigDict(extra="forbid")

    item_id: Id
    amount: int


class RefundOrder(BaseModel):
    """A refund by hand. ``amount`` is minor units, with ``items`` the sum of theirs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"amount": 500, "reason": "discount", "note": "scratched"}},
    )

    amount: int
    reason: str
    note: str | None = None
    no_notification: bool | None = None
    items: Annotated[list[GoodwillItem] | None, Field(max_length=1000)] = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RefundPayment(_Body):
    """A refund of one payment by hand. ``amount`` is minor units."""

    amount: int
    reason: str
    note: str | None = None


class AdjustStoreCredit(_Body):
    """Store credit given by hand, or spent: ``amount`` is signed minor units."""

    amount: Annotated[int, Field(ge=-_MONEY_MAX, le=_MONEY_MAX)]
    currency_code: Currency
    note: Words | None = None


class PackedItem(_Body):
    """Units of a line that are packed."""

    item_id: str
    quantity: Annotated[int, Field(le=_UNITS_MAX)]


class CreateFulfillment(_Body):
    """Goods to be packed; with a location they are taken out of its stock."""

    items: Annotated[list[PackedItem], Field(max_length=1000)]
    location_id: str | None = None
    no_notification: bool | None = None
    metadata: Object | None = None


class CreateShipment(_Body):
    """A fulfillment is on its way."""

    fulfillment_id: str
    tracking_numbers: Annotated[list[str], Field(max_length=1000)] = []
    no_notification: bool | None = None


class AddShippingMethod(_Body):
    """One more way to send an order. ``price`` is minor units."""

    option_id: str
    price: Money
    data: Object | None = None


class UpdateOrder(_Body):
    """Corrections; what is left out stays. The last five cannot be changed, and say so."""

    email: str | None = None
    billing_address: ImportAddress | None = None
    shipping_address: ImportAddress | None = None
    customer_id: str | None = None
    no_notification: bool | None = None
    items: list[Any] | None = None
    region: str | None = None
    discounts: list[Any] | None = None
    payment_method: Object | None = None
    shipping_method: list[Any] | None = None


class UpdateCustomer(BaseModel):
    """Corrections of a customer; what is left out stays, a null takes a name or a number away."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"last_name": "Novak", "phone": "+386 1 555 0100"}},
    )

    email: Id | None = None
    first_name: Words | None = None
    last_name: Words | None = None
    phone: Words | None = None


class LinkedItem(_Body):
    """A line of an order that follows from a claim; ``unit_price`` is minor units."""

    variant_id: Id
    title: Words
    description: Words | None = None
    sku: Words | None = None
    unit_price: Money
    quantity: Annotated[int, Field(ge=1, le=_UNITS_MAX)]


class OpenLinkedOrder(_Body):
    """An order that follows from a claim on ``of_order_id``."""

    claim_id: Id
    of_order_id: Id
    items: Annotated[list[LinkedItem], Field(min_length=1, max_length=100)]


class WriteNote(BaseModel):
    """A note about anything that has an id."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"resource_type": "order", "resource_id": "order_01", "value": "calls back"}
        },
    )

    resource_type: Id
    resource_id: Id
    value: Words


class ChangeNote(BaseModel):
    """Another text for a note."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"value": "called back"}}
    )

    value: Words


class OrderFilters(BaseModel):
    """The list's query parameters; several values of one parameter mean any of them."""

    model_config = ConfigDict(extra="forbid")

    q: str | None = None
    id: list[str] = []
    # Orders that have one of these lines.
    line_id: list[str] = []
    status: list[str] = []
    fulfillment_status: list[str] = []
    payment_status: list[str] = []
    display_id: list[Annotated[int, Field(ge=0, le=2**53)]] = []
    cart_id: str | None = None
    customer_id: list[str] = []
    email: list[str] = []
    region_id: list[str] = []
    currency_code: list[str] = []
    tax_rate: Annotated[float, Field(allow_inf_nan=False)] | None = None
    sales_channel_id: list[str] = []
    created_at_gt: Stamp | None = None
    created_at_gte: Stamp | None = None
    created_at_lt: Stamp | None = None
    created_at_lte: Stamp | None = None
    updated_at_gt: Stamp | None = None
    updated_at_gte: Stamp | None = None
    updated_at_lt: Stamp | None = None
    updated_at_lte: Stamp | None = None
    canceled_at_gt: Stamp | None = None
    canceled_at_gte: Stamp | None = None
    canceled_at_lt: Stamp | None = None
    canceled_at_lte: Stamp | None = None
    limit: Annotated[int, Field(ge=0, le=500)] = 50
    offset: Annotated[int, Field(ge=0)] = 0
    order: str = "-created_at"
    after: str | None = Field(None, description="only ids behind this one, in the order of ids")
