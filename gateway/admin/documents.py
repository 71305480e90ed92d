"""Import and export: one document for a whole installation, split among the services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from chassis.auth import Principal
from chassis.errors import Invalid, Refusal, refusal
from chassis.http import json_response
from chassis.values import derived_id
from gateway import answers, compose, wire
from gateway.gate import Gate, Parts, Who

router = APIRouter()

IMPORT_MAX_BYTES = 32 * 1024 * 1024
IMPORT_TIMEOUT_S = 60.0
_LISTS = {
    "orders": ("regions", "sales_channels", "shipping_options", "customers", "orders"),
    "inventory": ("stock_locations", "sales_channels", "variants", "inventory_levels"),
    "returns": ("return_reasons",),
}
_KNOWN = {name for names in _LISTS.values() for name in names}
_COUNTS = ("created", "updated", "unchanged", "refused")


@router.post("/admin/import", max_body_size=IMPORT_MAX_BYTES)
async def import_document(request: Request, parts: Parts, who: Who) -> Response:
    """Load a document: {created, updated, unchanged, refused, refusals}; 200 also with refusals."""
    document = await wire.body(request)
    wire.reject_unknown(document, _KNOWN)
    for name, records in document.items():
        if not isinstance(records, list):
            raise Invalid("invalid_data", f"{name} must be an array")
    return json_response(await _load(parts, who, document))


async def _load(parts: Gate, who: Principal, document: dict[str, list[Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {**dict.fromkeys(_COUNTS, 0), "refusals": []}
    passwords = _take_passwords(document)
    for service in ("inventory", "orders", "returns"):
        given = {name: document[name] for name in _LISTS[service] if document.get(name)}
        channels: list[Any] = []
        if service == "inventory":
            channels = [_locations_only(record) for record in given.pop("sales_channels", ())]
        if given:
            answer = await _send(parts, who, service, given)
            for name in _COUNTS:
                total[name] += answer[name]
            total["refusals"] += answer["refusals"]
        if channels:
            # Inventory only needs to know which locations a channel sells from (they are there by
            # now); orders counts it.
            answer = await _send(parts, who, "inventory", {"sales_channels": channels})
            total["refused"] += answer["refused"]
            total["refusals"] += answer["refusals"]
    refused = {row["path"].split(".")[0] for row in total["refusals"]}
    for path, record, password in passwords:
        if path not in refused:
            await _set_password(parts, path, record, password, total)
    return total


async def _send(
    parts: Gate, who: Principal, service: str, lists: dict[str, list[Any]]
) -> dict[str, Any]:
    answer: dict[str, Any] = await parts.upstreams[service].send(
        "POST", "/import", who=who, body=lists, timeout_s=IMPORT_TIMEOUT_S
    )
    return answer


def _locations_only(record: Any) -> Any:
    if not isinstance(record, dict):
        return record
    return {name: record[name] for name in ("id", "stock_location_ids") if name in record}


def _take_passwords(document: dict[str, list[Any]]) -> list[tuple[str, dict[str, Any], Any]]:
    """Credentials are the gateway's: they never travel to orders."""
    taken = []
    customers: list[Any] = []
    for index, record in enumerate(document.get("customers", ())):
        if isinstance(record, dict) and record.get("password") is not None:
            # The login must point at the customer; the same e-mail is the same customer.
            if record.get("id") is None:
                record["id"] = derived_id("cus", str(record.get("email")).lower())
            taken.append((f"customers[{index}]", record, record["password"]))
        customers.append(
            {name: value for name, value in record.items() if name != "password"}
            if isinstance(record, dict)
            else record
        )
    if customers:
        document["customers"] = customers
    return taken


async def _set_password(
    parts: Gate, path: str, record: dict[str, Any], password: Any, total: dict[str, Any]
) -> None:
    try:
        if not isinstance(password, str):
            raise Invalid("invalid_data", "password must be a string")
        await parts.identity.set_customer_password(
            customer_id=record["id"], email=record["email"], password=password
        )
    except Refusal as error:
        total["refused"] += 1
        total["refusals"].append(
            {
                "path": f"{path}.password",
                "id": record["id"],
                "code": error.code,
                "message": error.message,
            }
        )


@router.post("/admin/orders")
async def create_order(request: Request, parts: Parts, who: Who) -> Response:
    """Load one order in the import shape: {order}."""
    body = await wire.body(request)
    tried = answers.attempt(request, body)
    # A repeat under the same key must mean the same order.
    order = {"id": derived_id("order", who.id, tried.key), **body}

    async def work() -> Any:
        answer = await _send(parts, who, "orders", {"orders": [order]})
        if answer["refused"]:
            first = answer["refusals"][0]
            path = first["path"].removeprefix("orders[0]").removeprefix(".")
            message = f"{path}: {first['message']}" if path else first["message"]
            raise refusal("invalid", first["code"], message)
        return {"order": await compose.order(parts, who=who, order_id=order["id"])}

    return await answers.once(parts.database, who=who, tried=tried, work=work)


@router.get("/admin/export")
async def export(parts: Parts, who: Who) -> Response:
    """The whole installation as an import document, streamed."""
    return StreamingResponse(_document(parts, who), media_type="application/json")


async def _document(parts: Gate, who: Principal) -> AsyncIterator[bytes]:
    """Lists in the order in which an import needs them; a list may come in many pieces."""
    yield b"{"
    first_list = True
    for service in ("inventory", "returns", "orders"):
        current: str | None = None
        async for name, record in _records(parts, who, service):
            if (service, name) == ("inventory", "sales_channels"):
                continue  # orders exports them whole
            if name != current:
                yield b"" if current is None else b"]"
                yield (b"" if first_list else b",") + to_json(name) + b":["
                first_list, current = False, name
            else:
                yield b","
            yield to_json(record)
        if current is not None:
            yield b"]"
    yield b"}"


async def _records(
    parts: Gate, who: Principal, service: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    cursor: str | None = None
    while True:
        page = await parts.upstreams[service].get("/export", who=who, params={"cursor": cursor})
        for name in _LISTS[service]:
            for record in page.get(name, ()):
                yield name, record
        cursor = page.get("next")
        if cursor is None:
            return
