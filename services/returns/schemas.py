"""Requests over HTTP. Quantities are units, amounts minor units; unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.returns.domain import ITEMS_MAX, QUANTITY_MAX

AMOUNT_MAX = 10**15

# PostgreSQL cannot keep the character NUL in a text.
Id = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]
Amount = Annotated[int, Field(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
Quantity = Annotated[int, Field(le=QUANTITY_MAX)]
Destination = Literal["payment", "store_credit"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RequestItem(_Body):
    """Units of an order line that are to come back, and why."""

    item_id: Id
    quantity: Quantity
    reason_id: Id | None = None
    note: Text | None = None


class Shipping(_Body):
    """The way back: a shipping option, and its price where a clerk sets one."""

    option_id: Id | None = None
    price: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] | None = None


class RequestReturn(_Body):
    """Ask for a return. ``storefront`` says that a customer or guest asks: then the return policy
    binds them, unless the shop only lets it advise. ``customer_id`` is the owner of the order."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={
            "example": {
                "order_id": "order_01",
                "items": [{"item_id": "item_01", "quantity": 1, "note": "too small"}],
                "return_shipping": {"option_id": "so_01"},
            }
        },
    )

    order_id: Id
    items: Annotated[list[RequestItem], Field(max_length=ITEMS_MAX)]
    return_shipping: Shipping | None = None
    refund: Amount | None = None
    refund_to: Destination | None = None
    receive_now: bool = False
    location_id: Id | None = None
    no_notification: bool | None = None
    storefront: bool = False
    customer_id: Id | None = None
    metadata: dict[str, Any] | None = None

    def shipping(self) -> dict[str, Any] | None:
        """The way back as plain data."""
        return None if self.return_shipping is None else self.return_shipping.model_dump()


class ReceiveItem(_Body):
    """Units that arrived; ``damaged_quantity`` of them do not go into stock."""

    item_id: Id
    quantity: Quantity
    damaged_quantity: Quantity = 0


class ReceiveReturn(_Body):
    """Book a parcel. Without ``refund`` the return's amount applies, for what came; without
    ``refund_to`` it goes where the request said."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"example": {"items": [{"item_id": "item_01", "quantity": 1}]}},
    )

    items: Annotated[list[ReceiveItem], Field(max_length=ITEMS_MAX)]
    refund: Amount | None = None
    refund_to: Destination | None = None
    location_id: Id | None = None
    note: Text | None = None


class SettleReturn(_Body):
    """Pay what receipts left owed, or ``refund`` instead of it: 0 waives it."""

    refund: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] | None = None
    refund_to: Destination | None = None


class CreateReason(_Body):
    """A new return reason; with a parent it is one of its children."""

    value: Label
    label: Label
    description: Text | None = None
    parent_return_reason_id: Id | None = None
    metadata: dict[str, Any] | None = None


class UpdateReason(_Body):
    """What of a reason can change; what is left out stays as it is."""

    value: Label | None = None
    label: Label | None = None
    description: Text | None = None
    metadata: dict[str, Any] | None = None

    def changes(self) -> dict[str, Any]:
        """The given fields; value and label cannot be emptied."""
        given = self.model_dump(exclude_unset=True)
        return {
            name: value
            for name, value in given.items()
            if value is not None or name not in ("value", "label")
        }
