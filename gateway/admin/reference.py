"""What orders need around them: the shop itself, its regions, its ways to send."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from chassis.http import json_response
from gateway import wire
from gateway.gate import Parts, Who

router = APIRouter()

# By these names a page of Medusa's asks whether stock is counted per location.
_MODULES = ("inventoryService", "stockLocationService")


@router.get("/admin/store")
async def get_store(request: Request, parts: Parts, who: Who) -> Response:
    """The shop as Medusa's pages want to know it: {store}. Currencies are those of the regions,
    the first region and the first channel count as the defaults."""
    wire.reject_unknown(wire.query(request), {"expand", "fields"})
    regions, channels = await asyncio.gather(
        parts.orders.get("/regions", who=who), parts.orders.get("/sales-channels", who=who)
    )
    currencies = list(dict.fromkeys(region["currency_code"] for region in regions["regions"]))
    channel = next(iter(channels["sales_channels"]), None)
    store = {
        "id": "store",
        "name": "Reclamo",
        "default_currency_code": currencies[0] if currencies else None,
        "currencies": [{"code": code} for code in currencies],
        "default_sales_channel_id": channel["id"] if channel else None,
        "default_sales_channel": channel,
        "feature_flags": [],
        "modules": [{"module": name, "resolution": "reclamo"} for name in _MODULES],
    }
    return json_response({"store": store})


@router.get("/admin/regions")
async def list_regions(parts: Parts, who: Who) -> Response:
    """Every region: {regions, count, offset, limit}."""
    regions = (await parts.orders.get("/regions", who=who))["regions"]
    return _whole_list("regions", regions)


@router.get("/admin/shipping-options")
async def list_shipping_options(request: Request, parts: Parts, who: Who) -> Response:
    """Shipping options, of a region or a direction if asked: {shipping_options, count, ...}."""
    query = wire.query(request)
    wire.reject_unknown(query, {"region_id", "is_return", "expand", "fields"})
    params = {name: wire.text(query, name) for name in ("region_id", "is_return")}
    options = await parts.orders.get("/shipping-options", who=who, params=params)
    return _whole_list("shipping_options", options["shipping_options"])


def _whole_list(name: str, records: list[Any]) -> Response:
    count = len(records)
    return json_response({name: records, "count": count, "offset": 0, "limit": count})
