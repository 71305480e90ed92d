"""The AsyncAPI 3.0 description of everything that goes over the broker, made from the messages.

A channel per routing key tells where a message is published, a channel per queue who takes it.
"""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Any
from urllib.parse import urlsplit

from pydantic.json_schema import models_json_schema

from chassis.messaging import CONTENT_TYPE, exchange_of
from contracts.catalogue import Entry, entries

_BINDING = "0.3.0"
_REFERENCE = "#/components/schemas/{model}"


def document(server_url: str) -> dict[str, Any]:
    """The whole description as JSON-able data; ``server_url`` is ``amqp://host[:port]/[vhost]``.

    A password in the URL is left out: the description is public.
    """
    messages = entries()
    queues = sorted({queue for entry in messages for queue in entry.queues})
    _, schemas = models_json_schema(
        [(entry.model, "validation") for entry in messages], ref_template=_REFERENCE
    )
    return {
        "asyncapi": "3.0.0",
        "id": "urn:reclamo:messages",
        "info": {
            "title": "Reclamo messages",
            "version": installed_version("reclamo"),
            "description": (
                "Commands and events of orders, claims, returns and inventory: CloudEvents 1.0 in "
                "structured JSON. Money is integer minor units; readers ignore unknown fields."
            ),
            "license": {"name": "MIT"},
            "tags": [{"name": name} for name in ("orders", "claims", "returns", "inventory")],
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"broker": _server(server_url)},
        "channels": {
            **{entry.key: _routing_key(entry) for entry in messages},
            **{queue: _queue(queue, messages) for queue in queues},
        },
        "operations": {
            **{f"send.{entry.key}": _send(entry) for entry in messages},
            **{f"receive.{queue}": _receive(queue, messages) for queue in queues},
        },
        "components": {
            "messages": {entry.name: _message(entry) for entry in messages},
            "schemas": {"CloudEvent": _CLOUD_EVENT, **schemas["$defs"]},
        },
    }


def _server(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    return {
        "host": f"{host}:{parts.port}" if parts.port else host,
        "protocol": "amqps" if parts.scheme == "amqps" else "amqp",
        "protocolVersion": "0.9.1",
        "pathname": parts.path or "/",
        "description": "RabbitMQ 3.10 or newer",
    }


def _routing_key(entry: Entry) -> dict[str, Any]:
    return {
        "address": entry.key,
        "description": entry.summary,
        "messages": {entry.name: {"$ref": f"#/components/messages/{entry.name}"}},
        "tags": [{"name": entry.key.split(".")[0]}],
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": exchange_of(entry.model),
                    "type": "topic",
                    "durable": True,
                    "autoDelete": False,
                    "vhost": "/",
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _taken_by(queue: str, messages: tuple[Entry, ...]) -> list[Entry]:
    return [entry for entry in messages if queue in entry.queues]


def _queue(queue: str, messages: tuple[Entry, ...]) -> dict[str, Any]:
    service, purpose = queue.split(".")[:2]
    what = "commands" if purpose == "commands" else "answers its sagas wait for"
    return {
        "address": queue,
        "description": f"Where {service} takes the {what} from.",
        "messages": {
            entry.name: {"$ref": f"#/components/messages/{entry.name}"}
            for entry in _taken_by(queue, messages)
        },
        "tags": [{"name": service}],
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {
                    "name": queue,
                    "durable": True,
                    "exclusive": False,
                    "autoDelete": False,
                    "vhost": "/",
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _pointer(key: str) -> str:
    """A channel's name inside a reference, escaped as RFC 6901 asks."""
    return key.replace("~", "~0").replace("/", "~1")


def _send(entry: Entry) -> dict[str, Any]:
    channel = f"#/channels/{_pointer(entry.key)}"
    return {
        "action": "send",
        "channel": {"$ref": channel},
        "summary": entry.summary,
        "tags": [{"name": entry.said_by}],
        "bindings": {"amqp": {"deliveryMode": 2, "bindingVersion": _BINDING}},
        "messages": [{"$ref": f"{channel}/messages/{entry.name}"}],
    }


def _receive(queue: str, messages: tuple[Entry, ...]) -> dict[str, Any]:
    channel = f"#/channels/{_pointer(queue)}"
    return {
        "action": "receive",
        "channel": {"$ref": channel},
        "summary": f"{queue.split('.')[0]} consumes {queue}.",
        "tags": [{"name": queue.split(".")[0]}],
        "bindings": {"amqp": {"ack": True, "bindingVersion": _BINDING}},
        "messages": [
            {"$ref": f"{channel}/messages/{entry.name}"} for entry in _taken_by(queue, messages)
        ],
    }


def _message(entry: Entry) -> dict[str, Any]:
    schema = _REFERENCE.format(model=entry.name)
    return {
        "name": entry.type,
        "title": entry.name,
        "summary": entry.summary,
        "description": entry.description,
        "contentType": CONTENT_TYPE,
        "correlationId": {
            "location": "$message.payload#/correlationid",
            "description": "The public call that everything followed from.",
        },
        "bindings": {"amqp": {"messageType": entry.type, "bindingVersion": _BINDING}},
        "payload": {
            "allOf": [
                {"$ref": _REFERENCE.format(model="CloudEvent")},
                {
                    "type": "object",
                    "properties": {"type": {"const": entry.type}, "data": {"$ref": schema}},
                },
            ]
        },
        "examples": [{"name": entry.name, "payload": _example(entry)}],
    }


def _example(entry: Entry) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "01920f3c-0000-7000-8000-000000000001",
        "source": f"/reclamo/{entry.said_by}",
        "type": entry.type,
        "subject": "claim/claim_01",
        "time": "2026-11-20T22:14:03.120Z",
        "datacontenttype": "application/json",
        "dataschema": f"urn:reclamo:schema:{entry.key}",
        "data": dict(entry.model.example),
    }


_CLOUD_EVENT: dict[str, Any] = {
    "title": "CloudEvent",
    "description": "The envelope of every message: a CloudEvent 1.0 in structured JSON.",
    "type": "object",
    "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {
            "type": "string",
            "description": "Unique per message; a repeat carries the same one.",
        },
        "source": {"type": "string", "description": "/reclamo/ and the service that says it."},
        "type": {"type": "string", "description": "reclamo. and the routing key."},
        "subject": {"type": "string", "description": "What it is about, e.g. claim/claim_01."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"type": "string"},
        "partitionkey": {
            "type": "string",
            "description": "Messages with the same key arrive in the order of their sequence.",
        },
        "sequence": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "The version of the subject after the event, decimal.",
        },
        "correlationid": {"type": "string", "description": "The public call it followed from."},
        "causationid": {"type": "string", "description": "The message it followed from."},
        "sagaid": {"type": "string"},
        "tenantid": {"type": "string"},
        "authtype": {"type": "string"},
        "authid": {"type": "string"},
        "data": {"type": "object"},
    },
}
