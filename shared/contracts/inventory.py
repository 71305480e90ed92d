"""The language of inventory: commands it obeys, replies it says, and events for outside."""

from __future__ import annotations

from typing import Any, ClassVar

from contracts.base import Command, Event, Part, Rejection, ReplacementLine


class WantedLine(Part):
    """So many units of a variant for one replacement line."""

    line_id: str
    variant_id: str
    quantity: int


class ReceivedLine(Part):
    """So many units that arrived for one line of a receipt; ``line_no`` counts from 1."""

    line_no: int
    line_id: str
    variant_id: str | None = None
    quantity: int


class SentLine(Part):
    """So many units of an order line that leave in a fulfillment; ``line_no`` counts from 1.

    ``title`` is what the refusals call the line.
    """

    line_no: int
    line_id: str
    variant_id: str | None = None
    title: str
    quantity: int


class ShortLine(Part):
    """A variant of which too little is there."""

    variant_id: str
    requested: int
    available: int


class PlaceReservation(Command):
    """Said by claims when additional items are to be sent out; heard by inventory.

    All lines or none. ``location_id`` wins over the locations of the sales channel.
    """

    key: ClassVar[str] = "inventory.reservation.place"
    example: ClassVar[dict[str, Any]] = {
        "remedy_id": "claim_01",
        "sales_channel_id": "sc_01",
        "location_id": None,
        "region_id": "reg_01",
        "currency_code": "gbp",
        "lines": [{"line_id": "item_02", "variant_id": "variant_01", "quantity": 1}],
    }
    remedy_id: str
    sales_channel_id: str | None = None
    location_id: str | None = None
    region_id: str | None = None
    currency_code: str
    lines: list[WantedLine]


class ReservationPlaced(Event):
    """Said by inventory when all lines are reserved, with name and price of each; heard by claims.

    ``unit_price`` is minor units of the asked currency.
    """

    key: ClassVar[str] = "inventory.reservation.placed.v1"
    example: ClassVar[dict[str, Any]] = {
        "remedy_id": "claim_01",
        "lines": [
            {
                "line_id": "item_02",
                "variant_id": "variant_01",
                "title": "Red mug",
                "description": "300 ml",
                "sku": "MUG-R",
                "unit_price": 1000,
                "quantity": 1,
                "location_id": "sloc_01",
            }
        ],
    }
    remedy_id: str
    lines: list[ReplacementLine]


class ReservationRejected(Rejection):
    """Said by inventory when a line cannot be reserved; nothing is reserved; heard by claims."""

    key: ClassVar[str] = "inventory.reservation.rejected.v1"
    example: ClassVar[dict[str, Any]] = {
        "remedy_id": "claim_01",
        "code": "insufficient_stock",
        "kind": "not_allowed",
        "message": "Variant with id: variant_01 does not have the required inventory",
        "short": [{"variant_id": "variant_01", "requested": 2, "available": 1}],
    }
    remedy_id: str
    short: list[ShortLine] = []


class ReleaseReservation(Command):
    """Said by claims to free what a claim reserved; heard by inventory.

    Works in any state: an unknown claim leaves a tombstone, so that a late reservation is refused.
    """

    key: ClassVar[str] = "inventory.reservation.release"
    example: ClassVar[dict[str, Any]] = {"remedy_id": "claim_01"}
    remedy_id: str


class ReservationReleased(Event):
    """Said by inventory when nothing is reserved for a claim any more; heard by claims."""

    key: ClassVar[str] = "inventory.reservation.released.v1"
    example: ClassVar[dict[str, Any]] = {"remedy_id": "claim_01"}
    remedy_id: str


class ReceiveReceiptStock(Command):
    """Said by returns when goods arrived that may be sold again; heard by inventory.

    Without ``location_id`` each item goes to the first location that stocks it. Variants whose
    stock is not managed are passed over.
    """

    key: ClassVar[str] = "inventory.receipt-stock.receive"
    example: ClassVar[dict[str, Any]] = {
        "receipt_id": "rcpt_01",
        "return_id": "ret_01",
        "location_id": None,
        "lines": [{"line_no": 1, "line_id": "item_01", "variant_id": "variant_01", "quantity": 1}],
    }
    receipt_id: str
    return_id: str
    location_id: str | None = None
    lines: list[ReceivedLine]


class ReceiptStockReceived(Event):
    """Said by inventory when the stock movements of a receipt are booked; heard by returns.

    ``unstocked`` are variants whose stock is managed and that no location stocks: they were passed
    over, since no location was named.
    """

    key: ClassVar[str] = "inventory.receipt-stock.received.v1"
    example: ClassVar[dict[str, Any]] = {
        "receipt_id": "rcpt_01",
        "return_id": "ret_01",
        "unstocked": [],
    }
    receipt_id: str
    return_id: str
    unstocked: list[str] = []


class ReceiptStockRejected(Rejection):
    """Said by inventory when a location does not stock an item; nothing is booked;
    heard by returns."""

    key: ClassVar[str] = "inventory.receipt-stock.rejected.v1"
    example: ClassVar[dict[str, Any]] = {
        "receipt_id": "rcpt_01",
        "return_id": "ret_01",
        "code": "level_not_found",
        "kind": "not_found",
        "message": "Inventory level for inventory item iitem_01 and location sloc_01 not found",
    }
    receipt_id: str
    return_id: str


class ConsumeFulfillmentStock(Command):
    """Said by orders (and for its replacement lines by claims) when goods are packed at a location;
    heard by inventory.

    All lines or none. What the lines have reserved goes first. Variants whose stock is not
    managed are passed over.
    """

    key: ClassVar[str] = "inventory.fulfillment-stock.consume"
    example: ClassVar[dict[str, Any]] = {
        "fulfillment_id": "ful_01",
        "order_id": "order_01",
        "location_id": "sloc_01",
        "lines": [
            {
                "line_no": 1,
                "line_id": "item_01",
                "variant_id": "variant_01",
                "title": "Red mug",
                "quantity": 1,
            }
        ],
    }
    fulfillment_id: str
    order_id: str
    location_id: str
    lines: list[SentLine]


class FulfillmentStockConsumed(Event):
    """Said by inventory when the goods of a fulfillment are out of stock;
    heard by orders and claims."""

    key: ClassVar[str] = "inventory.fulfillment-stock.consumed.v1"
    example: ClassVar[dict[str, Any]] = {"fulfillment_id": "ful_01", "order_id": "order_01"}
    fulfillment_id: str
    order_id: str


class FulfillmentStockRejected(Rejection):
    """Said by inventory when a location has too little for a fulfillment; nothing was taken;
    heard by orders and claims."""

    key: ClassVar[str] = "inventory.fulfillment-stock.rejected.v1"
    example: ClassVar[dict[str, Any]] = {
        "fulfillment_id": "ful_01",
        "order_id": "order_01",
        "code": "insufficient_stock",
        "kind": "not_allowed",
        "message": "Insufficient stock for item: Red mug",
    }
    fulfillment_id: str
    order_id: str


class RestoreFulfillmentStock(Command):
    """Said by orders (and for its own by claims) to put the goods of a fulfillment back;
    heard by inventory.

    What the fulfillment had used of reservations is held again. Works in any state: an unknown
    fulfillment leaves a tombstone, so that a late consumption is refused.
    """

    key: ClassVar[str] = "inventory.fulfillment-stock.restore"
    example: ClassVar[dict[str, Any]] = {"fulfillment_id": "ful_01", "order_id": "order_01"}
    fulfillment_id: str
    order_id: str


class FulfillmentStockRestored(Event):
    """Said by inventory when nothing is out of stock for a fulfillment any more;
    heard by orders and claims."""

    key: ClassVar[str] = "inventory.fulfillment-stock.restored.v1"
    example: ClassVar[dict[str, Any]] = {"fulfillment_id": "ful_01", "order_id": "order_01"}
    fulfillment_id: str
    order_id: str


class ReleaseOrderReservation(Command):
    """Said by orders to free what is reserved for the lines of a canceled order;
    heard by inventory.

    Works in any state. The lines are remembered: nothing is held for them again.
    """

    key: ClassVar[str] = "inventory.order-reservation.release"
    example: ClassVar[dict[str, Any]] = {"order_id": "order_01", "line_ids": ["item_01"]}
    order_id: str
    line_ids: list[str]


class OrderReservationReleased(Event):
    """Said by inventory when nothing is reserved for an order any more; heard by orders."""

    key: ClassVar[str] = "inventory.order-reservation.released.v1"
    example: ClassVar[dict[str, Any]] = {"order_id": "order_01"}
    order_id: str


# What changed, for whoever listens outside. ``name`` and the ids are Medusa's, the rest is ours.


class _ReservationItemState(Event):
    """What an event of one reservation tells: how it stands after the change."""

    line_item_id: str | None = None
    inventory_item_id: str
    location_id: str
    quantity: int


_RESERVATION: dict[str, Any] = {
    "line_item_id": "item_01",
    "inventory_item_id": "iitem_01",
    "location_id": "sloc_01",
    "quantity": 2,
}


class ReservationItemCreated(_ReservationItemState):
    """Said by inventory when somebody reserved units; for outside only."""

    key: ClassVar[str] = "inventory.reservation-item.created.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "reservation-item.created",
        "ids": ["resitem_01"],
        **_RESERVATION,
    }
    name: str = "reservation-item.created"
    ids: list[str]


class ReservationItemUpdated(_ReservationItemState):
    """Said by inventory when somebody changed or moved a reservation; for outside only."""

    key: ClassVar[str] = "inventory.reservation-item.updated.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "reservation-item.updated",
        "id": "resitem_01",
        **_RESERVATION,
    }
    name: str = "reservation-item.updated"
    id: str


class ReservationItemDeleted(Event):
    """Said by inventory when somebody ended reservations, or closed the location where they were;
    for outside only."""

    key: ClassVar[str] = "inventory.reservation-item.deleted.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "reservation-item.deleted",
        "ids": ["resitem_01"],
        "line_item_id": "item_01",
        "location_id": None,
    }
    name: str = "reservation-item.deleted"
    ids: list[str]
    line_item_id: str | None = None
    location_id: str | None = None


class _InventoryLevelState(Event):
    """What an event of a level tells: its figures after the change, in units."""

    inventory_item_id: str
    location_id: str
    stocked_quantity: int
    reserved_quantity: int
    incoming_quantity: int


_LEVEL: dict[str, Any] = {
    "inventory_item_id": "iitem_01",
    "location_id": "sloc_01",
    "stocked_quantity": 10,
    "reserved_quantity": 2,
    "incoming_quantity": 0,
}


class InventoryLevelCreated(_InventoryLevelState):
    """Said by inventory when a location begins to stock an item; for outside only."""

    key: ClassVar[str] = "inventory.inventory-level.created.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "inventory-level.created",
        "ids": ["ilev_01"],
        **_LEVEL,
    }
    name: str = "inventory-level.created"
    ids: list[str]


class InventoryLevelUpdated(_InventoryLevelState):
    """Said by inventory when somebody counted a level; for outside only."""

    key: ClassVar[str] = "inventory.inventory-level.updated.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "inventory-level.updated",
        "id": "ilev_01",
        **_LEVEL,
    }
    name: str = "inventory-level.updated"
    id: str


class InventoryLevelDeleted(Event):
    """Said by inventory when locations no longer stock an item, or a location is closed; for
    outside only."""

    key: ClassVar[str] = "inventory.inventory-level.deleted.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "inventory-level.deleted",
        "ids": ["ilev_01"],
        "inventory_item_id": "iitem_01",
        "location_id": "sloc_01",
    }
    name: str = "inventory-level.deleted"
    ids: list[str]
    inventory_item_id: str | None = None
    location_id: str | None = None


class InventoryItemCreated(Event):
    """Said by inventory when a variant begins to be counted; for outside only."""

    key: ClassVar[str] = "inventory.inventory-item.created.v1"
    example: ClassVar[dict[str, Any]] = {
        "name": "inventory-item.created",
        "ids": ["iitem_01"],
        "variant_id": "variant_01",
    }
    name: str = "inventory-item.created"
    ids: list[str]
    variant_id: str


class InventoryItemUpdated(Event):
    """Said by inventory when somebody changed what is said about an item; for outside only."""

    key: ClassVar[str] = "inventory.inventory-item.updated.v1"
    example: ClassVar[dict[str, Any]] = {"name": "inventory-item.updated", "id": "iitem_01"}
    name: str = "inventory-item.updated"
    id: str


class InventoryItemDeleted(Event):
    """Said by inventory when a variant is no longer counted; for outside only."""

    key: ClassVar[str] = "inventory.inventory-item.deleted.v1"
    example: ClassVar[dict[str, Any]] = {"name": "inventory-item.deleted", "ids": ["iitem_01"]}
    name: str = "inventory-item.deleted"
    ids: list[str]


MESSAGES: tuple[type[Command] | type[Event], ...] = (
    PlaceReservation,
    ReservationPlaced,
    ReservationRejected,
    ReleaseReservation,
    ReservationReleased,
    ReceiveReceiptStock,
    ReceiptStockReceived,
    ReceiptStockRejected,
    ConsumeFulfillmentStock,
    FulfillmentStockConsumed,
    FulfillmentStockRejected,
    RestoreFulfillmentStock,
    FulfillmentStockRestored,
    ReleaseOrderReservation,
    OrderReservationReleased,
    ReservationItemCreated,
    ReservationItemUpdated,
    ReservationItemDeleted,
    InventoryLevelCreated,
    InventoryLevelUpdated,
    InventoryLevelDeleted,
    InventoryItemCreated,
    InventoryItemUpdated,
    InventoryItemDeleted,
)
