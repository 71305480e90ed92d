"""What a document changes, and how it is written: many rows by one statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa

from chassis.db import Tx
from services.inventory import store
from services.inventory.domain import LevelKey, Movement, Record
from services.inventory.planning import Known

_KNOWN_VARIANT = (
    "id, title, product_title, sku, manage_inventory, allow_backorder, prices, tax_rate,"
    " metadata, categories, final_sale"
)


async def known(
    tx: Tx,
    *,
    location_ids: Iterable[str],
    channel_ids: Iterable[str],
    variant_ids: Iterable[str],
    item_ids: Iterable[str],
    skus: Iterable[str],
) -> Known:
    """What there is of the things a document names; levels are locked."""
    locations = await tx.fetch(
        "SELECT id, name, address_id, address, metadata FROM stock_locations WHERE id IN :ids",
        ids=sorted(set(location_ids)),
    )
    channels: dict[str, list[str]] = {}
    for row in await tx.fetch(
        "SELECT sales_channel_id, location_id FROM channel_locations"
        " WHERE sales_channel_id IN :ids",
        ids=sorted(set(channel_ids)),
    ):
        channels.setdefault(row["sales_channel_id"], []).append(row["location_id"])
    named = sorted(set(variant_ids))
    items = await tx.fetch(
        "SELECT id, variant_id, sku, title FROM inventory_items"
        " WHERE id IN :ids OR variant_id IN :variants OR sku IN :skus",
        ids=sorted(set(item_ids)),
        variants=named,
        skus=sorted(set(skus)),
    )
    found = await tx.fetch(
        f"SELECT {_KNOWN_VARIANT} FROM variants WHERE id IN :ids",
        ids=sorted({*named, *(item["variant_id"] for item in items)}),
    )
    stock = await tx.fetch(
        "SELECT item_id, location_id, on_hand, reserved, incoming, allow_backorder FROM levels"
        " WHERE item_id IN :items ORDER BY item_id, location_id FOR UPDATE",
        items=sorted(item["id"] for item in items),
    )
    return Known(
        locations={row["id"]: row for row in locations},
        channels={each: sorted(location_ids) for each, location_ids in channels.items()},
        variants={row["id"]: row for row in found},
        items={row["id"]: row for row in items},
        levels={(row["item_id"], row["location_id"]): row for row in stock},
    )


async def save_rows(
    tx: Tx,
    table: sa.Table,
    before: Mapping[str, Record],
    after: Mapping[str, Record],
    *,
    now: datetime,
) -> None:
    """Insert the rows that are new and update those that differ; equal rows cost nothing."""
    await tx.insert(
        table,
        [
            {**row, "created_at": now, "updated_at": now}
            for record_id, row in after.items()
            if record_id not in before
        ],
    )
    for record_id, row in sorted(after.items()):
        old = before.get(record_id)
        if old is not None and old != row:
            changes = {name: value for name, value in row.items() if value != old[name]}
            await store.update_row(tx, table, record_id, {**changes, "updated_at": now})


async def save_levels(
    tx: Tx,
    before: Mapping[LevelKey, Record],
    after: Mapping[LevelKey, Record],
    *,
    cause_id: str,
    now: datetime,
) -> None:
    """Insert and update levels as an import wants them, with a movement for each difference.

    Existing levels are locked. What is reserved is never written: only reservations change it.
    """
    fresh = [(key, row) for key, row in sorted(after.items()) if key not in before]
    await tx.insert(
        store.levels, [{**row, "created_at": now, "updated_at": now} for _, row in fresh]
    )
    for (item_id, location_id), row in sorted(after.items()):
        old = before.get((item_id, location_id))
        if old is not None and old != row:
            await tx.execute(
                "UPDATE levels SET on_hand = :on_hand, incoming = :incoming,"
                " allow_backorder = :backorder, updated_at = :now"
                " WHERE item_id = :item AND location_id = :location",
                on_hand=row["on_hand"],
                incoming=row["incoming"],
                backorder=row["allow_backorder"],
                now=now,
                item=item_id,
                location=location_id,
            )
    differences = [
        (key, row["on_hand"] - (before[key]["on_hand"] if key in before else 0))
        for key, row in sorted(after.items())
    ]
    moves = [(key, units) for key, units in differences if units]
    await store.record_movements(
        tx,
        [
            Movement(number, item_id, location_id, units)
            for number, ((item_id, location_id), units) in enumerate(moves, start=1)
        ],
        cause_kind="import",
        cause_id=cause_id,
        now=now,
    )
