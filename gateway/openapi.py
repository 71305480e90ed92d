"""The OpenAPI document: what FastAPI knows of the routes and our shapes of the bodies."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from contracts import catalogue
from gateway import access, bodies
from gateway.shapes import json_schema

_BODIES = {
    ("post", "/admin/orders/{order_id}/claims"): bodies.CREATE_CLAIM,
    ("post", "/admin/orders/{order_id}/claims/preview"): bodies.CREATE_CLAIM,
    ("post", "/admin/orders/{order_id}/claims/{claim_id}"): bodies.UPDATE_CLAIM,
    ("post", "/admin/claims/{claim_id}/assign"): bodies.ASSIGN_CLAIM,
    ("post", "/admin/orders/{order_id}/return"): bodies.REQUEST_RETURN,
    ("post", "/admin/orders/{order_id}/refund"): bodies.REFUND_ORDER,
    ("post", "/admin/orders/{order_id}"): bodies.UPDATE_ORDER,
    ("post", "/admin/orders/{order_id}/fulfillment"): bodies.CREATE_FULFILLMENT,
    ("post", "/admin/orders/{order_id}/shipment"): bodies.CREATE_SHIPMENT,
    ("post", "/admin/orders/{order_id}/shipping-methods"): bodies.ADD_SHIPPING_METHOD,
    ("post", "/admin/payments/{payment_id}/refund"): bodies.REFUND_PAYMENT,
    ("post", "/admin/returns/{return_id}/receive"): bodies.RECEIVE_RETURN,
    ("post", "/admin/returns/{return_id}/receipts"): bodies.ADD_RECEIPT,
    ("post", "/admin/returns/{return_id}/settle"): bodies.SETTLE_RETURN,
    ("post", "/store/returns"): bodies.STORE_RETURN,
    ("post", "/admin/customers/{customer_id}"): bodies.UPDATE_CUSTOMER,
    ("post", "/admin/users"): bodies.CREATE_USER,
    ("post", "/admin/users/{user_id}"): bodies.CHANGE_USER,
    ("post", "/admin/auth"): bodies.LOGIN,
    ("post", "/store/auth"): bodies.LOGIN,
    ("post", "/admin/auth/token"): bodies.LOGIN,
    ("post", "/store/auth/token"): bodies.LOGIN,
    ("post", "/admin/tokens"): bodies.CREATE_TOKEN,
    ("post", "/admin/findings/{finding_id}/dismiss"): bodies.DISMISS_FINDING,
    ("post", "/admin/return-reasons"): bodies.CREATE_REASON,
    ("post", "/admin/return-reasons/{reason_id}"): bodies.UPDATE_REASON,
    ("post", "/admin/stock-locations"): bodies.STOCK_LOCATION,
    ("post", "/admin/stock-locations/{location_id}"): bodies.CHANGE_LOCATION,
    ("post", "/admin/inventory-items"): bodies.CREATE_INVENTORY_ITEM,
    ("post", "/admin/inventory-items/{item_id}"): bodies.UPDATE_INVENTORY_ITEM,
    ("post", "/admin/inventory-items/{item_id}/location-levels"): bodies.CREATE_LEVEL,
    (
        "post",
        "/admin/inventory-items/{item_id}/location-levels/{location_id}",
    ): bodies.UPDATE_LEVEL,
    ("post", "/admin/reservations"): bodies.CREATE_RESERVATION,
    ("post", "/admin/reservations/{reservation_id}"): bodies.UPDATE_RESERVATION,
    ("post", "/admin/orders/{order_id}/claims/{claim_id}/fulfillments"): bodies.FULFILL_CLAIM,
    ("post", "/admin/orders/{order_id}/claims/{claim_id}/shipments"): bodies.SHIP_CLAIM,
    ("post", "/admin/orders/{order_id}/swaps"): bodies.CREATE_SWAP,
    ("post", "/admin/orders/{order_id}/swaps/{swap_id}/fulfillments"): bodies.FULFILL_CLAIM,
    ("post", "/admin/orders/{order_id}/swaps/{swap_id}/shipments"): bodies.SHIP_SWAP,
    ("post", "/admin/claims/{claim_id}/refund"): bodies.RETRY_CLAIM_REFUND,
    ("post", "/admin/claims/{claim_id}/convert"): bodies.CONVERT_CLAIM,
    ("post", "/admin/claims/{claim_id}/convert/preview"): bodies.CONVERT_CLAIM,
    ("post", "/admin/customers/{customer_id}/store-credits"): bodies.ADJUST_STORE_CREDIT,
    ("post", "/admin/notes"): bodies.WRITE_NOTE,
    ("post", "/admin/notes/{note_id}"): bodies.CHANGE_NOTE,
    ("post", "/admin/batch-jobs"): bodies.CREATE_JOB,
    ("post", "/admin/webhooks"): bodies.CREATE_WEBHOOK,
    ("post", "/admin/webhooks/{webhook_id}"): bodies.CHANGE_WEBHOOK,
    ("post", "/admin/claims/{claim_id}/order"): bodies.LINKED_ORDER,
    ("post", "/store/claims"): bodies.STORE_CLAIM,
    ("post", "/store/claims/{inquiry_id}/messages"): bodies.WRITE_MESSAGE,
    ("post", "/admin/orders/{order_id}/inquiries"): bodies.REPORT,
    ("post", "/admin/inquiries/{inquiry_id}/approve"): bodies.APPROVE_INQUIRY,
    ("post", "/admin/inquiries/{inquiry_id}/reject"): bodies.REJECT_INQUIRY,
    ("post", "/admin/inquiries/{inquiry_id}/messages"): bodies.WRITE_MESSAGE,
    ("post", "/admin/dead-letters/{letter_id}/replay"): bodies.REPLAY,
    ("post", "/admin/dead-letters/{letter_id}/discard"): bodies.REASON,
    ("post", "/admin/sagas/{saga_id}/compensate"): bodies.REASON,
}
_FILES = ("image/png", "image/jpeg", "image/webp", "application/pdf")
_ERROR = {
    "type": "object",
    "required": ["type", "message"],
    "properties": {
        "code": {"type": "string"},
        "type": {"type": "string"},
        "message": {"type": "string"},
    },
}


def describe(app: FastAPI) -> None:
    """Give the app an ``openapi()`` with bodies, roles, errors and ways to sign in."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = _ERROR
    components["securitySchemes"] = {
        "api_token": {"type": "apiKey", "in": "header", "name": "x-medusa-access-token"},
        "access_token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": "reclamo_session"},
    }
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            roles = access.TABLE.get((method.upper(), path), frozenset())
            if roles is not access.PUBLIC:
                operation["security"] = [{name: []} for name in components["securitySchemes"]]
                operation["x-roles"] = sorted(roles)
            shape = _BODIES.get((method, path))
            if shape is not None:
                operation["requestBody"] = {
                    "content": {"application/json": {"schema": json_schema(shape)}}
                }
            if method == "post" and path.endswith("/evidence"):
                binary = {"schema": {"type": "string", "format": "binary"}}
                operation["requestBody"] = {"content": dict.fromkeys(_FILES, binary)}
            operation["responses"].pop("422", None)
            operation["responses"]["4XX"] = {"description": "Refused", **error}
    document["webhooks"] = {
        name: _webhook(name, entry) for entry in catalogue.public_events() for name in entry.names
    }
    return document


def _webhook(name: str, entry: catalogue.Entry) -> dict[str, Any]:
    """What whoever asked for an event gets: Standard Webhooks 1.0."""
    text, stamp = {"type": "string"}, {"type": "string", "format": "date-time"}
    event = {
        "type": "object",
        "required": ["id", "type", "source", "subject", "version"],
        "properties": {
            **dict.fromkeys(("id", "source", "subject"), text),
            "type": {"const": entry.type},
            "version": {"type": ["integer", "null"]},
        },
    }
    payload = {
        "type": "object",
        "required": ["type", "timestamp", "data", "event"],
        "properties": {
            "type": {"const": name},
            "timestamp": stamp,
            "data": {"type": "object", "example": {**entry.model.example, "name": name}},
            "event": event,
        },
    }
    headers = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return {
        "post": {
            "summary": entry.summary,
            "parameters": [
                {"name": header, "in": "header", "required": True, "schema": text}
                for header in headers
            ],
            "requestBody": {"content": {"application/json": {"schema": payload}}},
            "responses": {"2XX": {"description": "Taken"}},
        }
    }
