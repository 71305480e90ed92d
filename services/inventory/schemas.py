"""Requests over HTTP, and the import format. Quantities are units, amounts minor units.

Import records are checked one by one, so that a bad one is refused with its path and the others
are loaded; messages are worded as Medusa words them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from services.inventory.domain import UNITS_MAX, Record
from services.inventory.planning import Document, Outcome

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Quantity = Annotated[int, Field(ge=0, le=UNITS_MAX)]
Amount = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[float | None, Field(allow_inf_nan=False)]
# A time without an offset would mean another instant on every machine.
Instant = AwareDatetime


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_has_nul(part) for part in value)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, given: Any) -> Any:
        """PostgreSQL cannot store this character, in no text and in no JSON."""
        if _has_nul(given):
            raise PydanticCustomError("nul", "must not contain the character NUL")
        return given


# Calls


class CreateLevel(_Body):
    """Let a location stock an item."""

    location_id: Id
    stocked_quantity: Quantity
    incoming_quantity: Quantity = 0


class UpdateLevel(_Body):
    """What was counted and what is expected; a figure left out stays as it is."""

    stocked_quantity: Quantity | None = None
    incoming_quantity: Quantity | None = None


class UpdateInventoryItem(_Body):
    """What can be said about an item. Sizes and weight in the units of the shop."""

    sku: Text | None = None
    title: Text | None = None
    description: Text | None = None
    thumbnail: Text | None = None
    origin_country: Text | None = None
    hs_code: Text | None = None
    mid_code: Text | None = None
    material: Text | None = None
    weight: float | None = None
    length: float | None = None
    height: float | None = None
    width: float | None = None
    requires_shipping: bool | None = None
    metadata: dict[str, Any] | None = None

    def described(self) -> dict[str, Any]:
        """The columns to set: what was given, but for a null where something must be."""
        given = self.model_dump(exclude_unset=True, exclude={"variant_id"})
        if given.get("requires_shipping") is None:
            given.pop("requires_shipping", None)
        return given


class CreateInventoryItem(UpdateInventoryItem):
    """Start to count a variant."""

    variant_id: str | None = None


class Address(_Body):
    """Where a stock location is."""

    address_1: Text
    country_code: Text
    address_2: Text | None = None
    company: Text | None = None
    city: Text | None = None
    phone: Text | None = None
    postal_code: Text | None = None
    province: Text | None = None
    metadata: dict[str, Any] | None = None


class CreateStockLocation(_Body):
    """Open a stock location."""

    name: Name
    address: Address | None = None
    address_id: Id | None = None
    metadata: dict[str, Any] | None = None


class UpdateStockLocation(_Body):
    """Change a stock location; what is left out stays as it is."""

    name: Name | None = None
    address: Address | None = None
    address_id: Id | None = None
    metadata: dict[str, Any] | None = None


Units = Annotated[int, Field(ge=1, le=UNITS_MAX)]


class CreateReservation(_Body):
    """Promise units. ``line_unfulfilled``: how many units of the line are still to be sent, as its
    owner says now; needed with ``line_item_id``."""

    inventory_item_id: Id
    location_id: Id
    quantity: Units
    line_item_id: Id | None = None
    line_unfulfilled: Quantity | None = None
    description: Text | None = None
    metadata: dict[str, Any] | None = None


class UpdateReservation(_Body):
    """Change a reservation; what is left out stays. ``line_unfulfilled`` as above, for more units
    of a line."""

    quantity: Units | None = None
    location_id: Id | None = None
    line_unfulfilled: Quantity | None = None
    description: Text | None = None
    metadata: dict[str, Any] | None = None

    def changes(self) -> dict[str, Any]:
        """The columns to set: a quantity and a location cannot be taken away, a text can."""
        given = self.model_dump(exclude_unset=True, exclude={"line_unfulfilled"})
        kept = ("quantity", "location_id")
        return {name: each for name, each in given.items() if each is not None or name not in kept}


class RecheckReservation(_Body):
    """Look again whether a line needs the units that were just promised for it."""

    quantity: Units
    line_unfulfilled: Quantity


# Lists


class Paging(BaseModel):
    """Which part of a list. ``order`` is a field, with ``-`` before it for downwards.

    ``expand`` names relations to add; ``fields`` is taken and has no effect.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=0, le=1000)] = 20
    offset: Annotated[int, Field(ge=0, le=10**9)] = 0
    order: str = "-created_at"
    expand: str = ""
    fields: str | None = None

    def expands(self, relation: str) -> bool:
        """Whether a relation was asked for."""
        return relation in self.expand.split(",")


class Dated(Paging):
    """A list that is also filtered by when its things were made or changed."""

    created_at_lt: Instant | None = None
    created_at_lte: Instant | None = None
    created_at_gt: Instant | None = None
    created_at_gte: Instant | None = None
    updated_at_lt: Instant | None = None
    updated_at_lte: Instant | None = None
    updated_at_gt: Instant | None = None
    updated_at_gte: Instant | None = None


class InventoryItemFilters(Paging):
    """A list parameter may be repeated; any of its values fits."""

    q: str | None = None
    id: list[str] | None = None
    variant_id: list[str] | None = None
    location_id: list[str] | None = None
    sku: list[str] | None = None
    origin_country: list[str] | None = None
    mid_code: list[str] | None = None
    material: list[str] | None = None
    hs_code: list[str] | None = None
    hs_code_lt: str | None = None
    hs_code_lte: str | None = None
    hs_code_gt: str | None = None
    hs_code_gte: str | None = None
    hs_code_contains: str | None = None
    hs_code_starts_with: str | None = None
    hs_code_ends_with: str | None = None
    weight: Size = None
    weight_lt: Size = None
    weight_lte: Size = None
    weight_gt: Size = None
    weight_gte: Size = None
    length: Size = None
    length_lt: Size = None
    length_lte: Size = None
    length_gt: Size = None
    length_gte: Size = None
    height: Size = None
    height_lt: Size = None
    height_lte: Size = None
    height_gt: Size = None
    height_gte: Size = None
    width: Size = None
    width_lt: Size = None
    width_lte: Size = None
    width_gt: Size = None
    width_gte: Size = None
    requires_shipping: bool | None = None


class VariantFilters(Dated):
    """``ids`` is one text with commas, or repeated; ``id`` is the same under Medusa's name.

    With ``currency_code`` each variant says what one unit costs in it, in ``region_id`` if given.
    """

    q: str | None = None
    ids: list[str] | None = None
    id: list[str] | None = None
    sku: list[str] | None = None
    title: list[str] | None = None
    manage_inventory: bool | None = None
    allow_backorder: bool | None = None
    inventory_quantity: int | None = None
    inventory_quantity_lt: int | None = None
    inventory_quantity_lte: int | None = None
    inventory_quantity_gt: int | None = None
    inventory_quantity_gte: int | None = None
    region_id: str | None = None
    currency_code: str | None = None
    order: str = "id"
    # All variants of a page of large orders, by their ids.
    limit: Annotated[int, Field(ge=0, le=10_000)] = 20

    @property
    def wanted(self) -> list[str] | None:
        """All ids asked for, None when none were."""
        if self.ids is None and self.id is None:
            return None
        return [one for text in (*(self.ids or ()), *(self.id or ())) for one in text.split(",")]


class StockLocationFilters(Dated):
    """A list parameter may be repeated; any of its values fits."""

    q: str | None = None
    id: list[str] | None = None
    name: list[str] | None = None
    address_id: list[str] | None = None
    sales_channel_id: list[str] | None = None


class ReservationFilters(Dated):
    """A list parameter may be repeated; ``_lt``, ``_lte``, ``_gt``, ``_gte`` bound a field."""

    location_id: list[str] | None = None
    inventory_item_id: list[str] | None = None
    line_item_id: list[str] | None = None
    created_by: list[str] | None = None
    remedy_id: list[str] | None = None
    quantity: int | None = None
    quantity_lt: int | None = None
    quantity_lte: int | None = None
    quantity_gt: int | None = None
    quantity_gte: int | None = None
    description: str | None = None
    description_lt: str | None = None
    description_lte: str | None = None
    description_gt: str | None = None
    description_gte: str | None = None
    description_contains: str | None = None
    description_starts_with: str | None = None
    description_ends_with: str | None = None


# Import


class _Price(_Body):
    currency_code: Annotated[str, StringConstraints(to_lower=True, pattern="^[A-Za-z]{3}$")]
    amount: Amount
    region_id: Id | None = None


class _StockLocation(_Body):
    id: Id | None = None
    name: Name
    # An address is carried along as it is given; other systems know other fields.
    address: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class _SalesChannel(_Body):
    id: Id
    # Orders keeps the name; a document may name both in one record.
    name: Text | None = None
    stock_location_ids: list[Id] | None = None


class _Variant(_Body):
    id: Id | None = None
    title: Name
    product_title: Text | None = None
    sku: Text | None = None
    manage_inventory: bool = True
    allow_backorder: bool = False
    prices: list[_Price] = []
    tax_rate: float | None = None
    metadata: dict[str, Any] | None = None
    categories: list[str] | None = None
    final_sale: bool | None = None
    inventory_item_id: Id | None = None


class _InventoryLevel(_Body):
    inventory_item_id: Id | None = None
    variant_id: Id | None = None
    sku: Text | None = None
    location_id: Id
    stocked_quantity: Quantity
    incoming_quantity: Quantity | None = None


_RECORDS: dict[str, type[_Body]] = {
    "stock_locations": _StockLocation,
    "sales_channels": _SalesChannel,
    "variants": _Variant,
    "inventory_levels": _InventoryLevel,
}
_TYPES = {
    "string_type": "must be a string",
    "int_type": "must be an integer number",
    "int_from_float": "must be an integer number",
    "float_type": "must be a number conforming to the specified constraints",
    "bool_type": "must be a boolean value",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be an array",
    "missing": "should not be empty",
    "string_too_short": "should not be empty",
}


class ImportBody(BaseModel):
    """The part of an import document that inventory owns; every list is optional."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    stock_locations: list[Any] = []
    sales_channels: list[Any] = []
    variants: list[Any] = []
    inventory_levels: list[Any] = []

    def checked(self) -> tuple[Document, Outcome]:
        """The well-formed records with their paths, and the refusals of the others."""
        malformed = Outcome()
        good: dict[str, list[tuple[str, Record]]] = {}
        for kind, model in _RECORDS.items():
            good[kind] = []
            for index, raw in enumerate(getattr(self, kind)):
                path = f"{kind}[{index}]"
                try:
                    good[kind].append((path, model.model_validate(raw).model_dump()))
                except ValidationError as error:
                    malformed.refusals.append(_refused(path, raw, error.errors()[0]))
        return Document(**good), malformed


def _refused(path: str, raw: Any, error: ErrorDetails) -> Record:
    name = str(next((part for part in reversed(error["loc"]) if isinstance(part, str)), "record"))
    code = "malformed"
    if error["type"] == "extra_forbidden":
        code, message = "unknown_key", f"property {name} should not exist"
    elif error["type"] == "greater_than_equal":
        message = f"{name} must not be less than {error['ctx']['ge']}"
    elif error["type"] == "less_than_equal":
        message = f"{name} must not be greater than {error['ctx']['le']}"
    else:
        message = f"{name} {_TYPES.get(error['type'], error['msg'])}"
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    names = ("id", "inventory_item_id", "variant_id", "sku")
    found = [raw.get(each) for each in names] if isinstance(raw, dict) else []
    record_id = next((each for each in found if isinstance(each, str)), None)
    return {"path": path + where, "id": record_id, "code": code, "message": message}
