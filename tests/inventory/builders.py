"""Builders of the inventory tests: documents, commands, and the service without its process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from chassis import clock, db
from chassis.inbox import Inbox
from chassis.messaging import Delivery, Envelope
from chassis.values import new_id, uuid7
from contracts.inventory import (
    ConsumeFulfillmentStock,
    PlaceReservation,
    ReceiveReceiptStock,
    ReleaseOrderReservation,
    ReleaseReservation,
    RestoreFulfillmentStock,
)
from services.inventory import invariants, operations_levels, schemas, store_reservations
from services.inventory.consumers import SUBSCRIPTIONS

QUEUE = SUBSCRIPTIONS[0]


def a_document(
    stock: dict[str, dict[str, int]],
    *,
    channels: dict[str, list[str]] | None = None,
    **variants: dict[str, Any],
) -> dict[str, Any]:
    """Import lists: ``{variant: {location: units}}``; keyword arguments change a variant."""
    names = dict.fromkeys([*stock, *variants])
    locations = sorted({place for places in stock.values() for place in places} | {"sloc_a"})
    return {
        "stock_locations": [{"id": place, "name": place} for place in locations],
        "sales_channels": [
            {"id": channel, "stock_location_ids": places}
            for channel, places in (channels or {}).items()
        ],
        "variants": [
            {
                "id": name,
                "title": f"{name}, red",
                "product_title": name.capitalize(),
                "sku": f"sku-{name}",
                "prices": [{"currency_code": "gbp", "amount": 1000}],
            }
            | variants.get(name, {})
            for name in names
        ],
        "inventory_levels": [
            {"variant_id": name, "location_id": place, "stocked_quantity": units}
            for name, places in stock.items()
            for place, units in places.items()
        ],
    }


@dataclass
class Warehouse:
    """The inventory service without its process: database and message door."""

    database: db.Database

    async def load(self, document: dict[str, Any]) -> dict[str, Any]:
        """Import a document; the answer of the call."""
        body = schemas.ImportBody.model_validate(document)
        records, malformed = body.checked()
        async with self.database.transaction() as tx:
            outcome = await operations_levels.import_document(tx, document=records, now=clock.now())
        outcome.refusals[:0] = malformed.refusals
        return outcome.as_answer()

    async def stock(self, stock: dict[str, dict[str, int]], **more: Any) -> None:
        """Import so many units of each variant at each location; nothing may be refused."""
        answer = await self.load(a_document(stock, **more))
        assert answer["refusals"] == []

    async def send(self, message: BaseModel, message_id: str | None = None) -> str:
        """Deliver a command as the bus does; returns its message id."""
        key: str = message.key  # type: ignore[attr-defined]
        envelope = Envelope(
            id=message_id or uuid7(),
            source="/reclamo/claims",
            type=f"reclamo.{key}",
            subject="claim/claim_1",
            time=clock.now().isoformat(),
            data=message.model_dump(mode="json"),
        )
        inbox = Inbox("inventory", self.database, QUEUE)
        await inbox.deliver(Delivery(queue=QUEUE.queue, body=envelope.to_bytes()))
        return envelope.id

    async def replies(self) -> list[dict[str, Any]]:
        """Every reply said so far: its last two words, what caused it, and its data."""
        return [
            {
                "said": each["type"].removeprefix("reclamo.inventory.").removesuffix(".v1"),
                "cause": each.get("causationid"),
                **each["data"],
            }
            for each in await self._said()
            if "name" not in each["data"]
        ]

    async def events(self) -> list[dict[str, Any]]:
        """Every event for outside so far: its data, which begins with Medusa's name."""
        return [each["data"] for each in await self._said() if "name" in each["data"]]

    async def _said(self) -> list[dict[str, Any]]:
        async with self.database.reading() as tx:
            rows = await tx.fetch("SELECT payload FROM outbox ORDER BY seq")
        return [json.loads(row["payload"]) for row in rows]

    async def ask(self, message: BaseModel, message_id: str | None = None) -> dict[str, Any]:
        """Deliver a command and give the reply to it."""
        cause = await self.send(message, message_id)
        answers = [reply for reply in await self.replies() if reply["cause"] == cause]
        assert len(answers) == 1, await self.parked()
        return answers[0]

    async def parked(self) -> list[dict[str, Any]]:
        """What the door could not handle."""
        async with self.database.reading() as tx:
            return await tx.fetch("SELECT state, error FROM inbox WHERE state <> 'done'")

    async def levels(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(variant, location) -> (on hand, reserved)."""
        async with self.database.reading() as tx:
            rows = await tx.fetch(
                "SELECT i.variant_id, l.location_id, l.on_hand, l.reserved FROM levels l"
                " JOIN inventory_items i ON i.id = l.item_id"
            )
        return {
            (row["variant_id"], row["location_id"]): (row["on_hand"], row["reserved"])
            for row in rows
        }

    async def reserve(self, line: str, variant: str, location: str, units: int) -> None:
        """Units promised to a line of an order."""
        row = {
            "id": new_id("resitem"),
            "line_id": line,
            "item_id": f"iitem_{variant}",
            "location_id": location,
            "quantity": units,
        }
        async with self.database.transaction() as tx:
            await store_reservations.add_reservations(tx, [row], now=clock.now())

    async def held(self) -> list[tuple[str, str, int]]:
        """(line, location, units) of what is held."""
        async with self.database.reading() as tx:
            rows = await tx.fetch(
                "SELECT line_id, location_id, quantity FROM reservations"
                " WHERE state = 'held' ORDER BY line_id"
            )
        return [(row["line_id"], row["location_id"], row["quantity"]) for row in rows]

    async def movements(self) -> list[tuple[str, str, int]]:
        """(cause, location, units) of every movement, oldest first."""
        async with self.database.reading() as tx:
            rows = await tx.fetch(
                "SELECT cause_kind, location_id, quantity FROM movements ORDER BY id"
            )
        return [(row["cause_kind"], row["location_id"], row["quantity"]) for row in rows]

    async def findings(self) -> list[dict[str, Any]]:
        """What the invariants object to."""
        async with self.database.reading() as tx:
            return await invariants.findings(tx)


def place(*lines: tuple[str, int], remedy: str = "claim_1", **more: Any) -> PlaceReservation:
    """Reserve (variant, units) lines; line ids count from ``line_1``."""
    wanted = [
        {"line_id": f"line_{n}", "variant_id": variant, "quantity": quantity}
        for n, (variant, quantity) in enumerate(lines, start=1)
    ]
    return PlaceReservation.model_validate(
        {"remedy_id": remedy, "currency_code": "gbp", "lines": wanted} | more
    )


def release(remedy: str = "claim_1") -> ReleaseReservation:
    """Free what a remedy holds."""
    return ReleaseReservation(remedy_id=remedy)


def receive(
    *lines: tuple[str | None, int], receipt: str = "rcpt_1", location: str | None = None
) -> ReceiveReceiptStock:
    """(variant, units) lines arrived."""
    return ReceiveReceiptStock.model_validate(
        {
            "receipt_id": receipt,
            "return_id": "ret_1",
            "location_id": location,
            "lines": [
                {"line_no": n, "line_id": f"line_{n}", "variant_id": variant, "quantity": units}
                for n, (variant, units) in enumerate(lines, start=1)
            ],
        }
    )


def consume(
    *lines: tuple[str | None, int], fulfillment: str = "ful_1", location: str = "sloc_a"
) -> ConsumeFulfillmentStock:
    """(variant, units) lines leave; line ids count from ``line_1``."""
    return ConsumeFulfillmentStock.model_validate(
        {
            "fulfillment_id": fulfillment,
            "order_id": "order_1",
            "location_id": location,
            "lines": [
                {
                    "line_no": n,
                    "line_id": f"line_{n}",
                    "variant_id": variant,
                    "title": f"A {variant}",
                    "quantity": units,
                }
                for n, (variant, units) in enumerate(lines, start=1)
            ],
        }
    )


def restore(fulfillment: str = "ful_1") -> RestoreFulfillmentStock:
    """They come back."""
    return RestoreFulfillmentStock(fulfillment_id=fulfillment, order_id="order_1")


def release_order(*lines: str) -> ReleaseOrderReservation:
    """The order of these lines is canceled."""
    return ReleaseOrderReservation(order_id="order_1", line_ids=list(lines))
