"""The AsyncAPI description: whole, every reference resolved, the AMQP bindings as they run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from chassis.messaging import COMMANDS, EVENTS
from contracts import MESSAGES, asyncapi, catalogue

DOCUMENT = asyncapi.document("amqp://someone:hidden@broker.example:5672/")

# The parts of the AsyncAPI 3.0 schema that this document uses, closed: a key that the
# specification does not know is a fault. Extensions would begin with x-.
_REF = {"type": "object", "required": ["$ref"], "properties": {"$ref": {"type": "string"}}}
_TAGS = {"type": "array", "items": {"type": "object", "required": ["name"]}}


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_AMQP_NAMED = {
    "name": {"type": "string", "maxLength": 255},
    "durable": {"type": "boolean"},
    "autoDelete": {"type": "boolean"},
    "vhost": _TEXT,
}
_CHANNEL_BINDING = {
    "oneOf": [
        _closed(
            ["is", "exchange", "bindingVersion"],
            **{"is": {"const": "routingKey"}},
            exchange=_closed(
                ["name", "type"],
                type={"enum": ["topic", "direct", "fanout", "default", "headers"]},
                **_AMQP_NAMED,
            ),
            bindingVersion={"const": "0.3.0"},
        ),
        _closed(
            ["is", "queue", "bindingVersion"],
            **{"is": {"const": "queue"}},
            queue=_closed(["name"], exclusive={"type": "boolean"}, **_AMQP_NAMED),
            bindingVersion={"const": "0.3.0"},
        ),
    ]
}
_OPERATION_BINDING = _closed(
    ["bindingVersion"],
    deliveryMode={"enum": [1, 2]},
    ack={"type": "boolean"},
    bindingVersion={"const": "0.3.0"},
)
_SHAPE = _closed(
    ["asyncapi", "info"],
    asyncapi={"const": "3.0.0"},
    id={"type": "string", "format": "uri"},
    info=_closed(
        ["title", "version"],
        title=_TEXT,
        version=_TEXT,
        description=_TEXT,
        license=_closed(["name"], name=_TEXT, url=_TEXT),
        tags=_TAGS,
    ),
    defaultContentType=_TEXT,
    servers={
        "type": "object",
        "additionalProperties": _closed(
            ["host", "protocol"],
            host=_TEXT,
            protocol=_TEXT,
            protocolVersion=_TEXT,
            pathname=_TEXT,
            description=_TEXT,
        ),
    },
    channels={
        "type": "object",
        "additionalProperties": _closed(
            ["address", "messages"],
            address=_TEXT,
            description=_TEXT,
            messages={"type": "object", "additionalProperties": _REF},
            tags=_TAGS,
            bindings=_closed(["amqp"], amqp=_CHANNEL_BINDING),
        ),
    },
    operations={
        "type": "object",
        "additionalProperties": _closed(
            ["action", "channel"],
            action={"enum": ["send", "receive"]},
            channel=_REF,
            summary=_TEXT,
            tags=_TAGS,
            bindings=_closed(["amqp"], amqp=_OPERATION_BINDING),
            messages={"type": "array", "items": _REF, "minItems": 1},
        ),
    },
    components=_closed(
        [],
        schemas={"type": "object"},
        messages={
            "type": "object",
            "additionalProperties": _closed(
                ["payload"],
                name=_TEXT,
                title=_TEXT,
                summary=_TEXT,
                description=_TEXT,
                contentType=_TEXT,
                correlationId=_closed(["location"], location=_TEXT, description=_TEXT),
                bindings=_closed(
                    ["amqp"],
                    amqp=_closed([], messageType=_TEXT, bindingVersion={"const": "0.3.0"}),
                ),
                payload={"type": "object"},
                examples={"type": "array", "items": _closed([], name=_TEXT, payload={})},
            ),
        },
    ),
)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _resolve(reference: str) -> Any:
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def test_the_document_has_the_shape_of_asyncapi_3() -> None:
    jsonschema.Draft202012Validator(_SHAPE).validate(DOCUMENT)


def test_a_key_that_asyncapi_does_not_know_is_found() -> None:
    with pytest.raises(jsonschema.ValidationError, match="publish"):
        jsonschema.Draft202012Validator(_SHAPE).validate({**DOCUMENT, "publish": {}})


def test_every_reference_points_at_something() -> None:
    references = set(_references(DOCUMENT))
    assert len(references) > len(MESSAGES)
    for reference in references:
        assert _resolve(reference) is not None


def test_an_operation_names_messages_of_its_own_channel_only() -> None:
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        assert all(
            message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"]
        )


def test_every_message_is_sent_on_its_routing_key_and_exchange() -> None:
    for key, model in MESSAGES.items():
        binding = DOCUMENT["channels"][key]["bindings"]["amqp"]
        expected = EVENTS if re.search(r"\.v\d+$", key) else COMMANDS
        assert (binding["is"], binding["exchange"]["name"]) == ("routingKey", expected)
        assert DOCUMENT["operations"][f"send.{key}"]["action"] == "send"
        assert model.__name__ in DOCUMENT["components"]["messages"]


def test_every_queue_lists_exactly_what_it_takes() -> None:
    taken: dict[str, set[str]] = {}
    for entry in catalogue.entries():
        for queue in entry.queues:
            taken.setdefault(queue, set()).add(entry.name)
    shown = {
        name: set(channel["messages"])
        for name, channel in DOCUMENT["channels"].items()
        if channel["bindings"]["amqp"]["is"] == "queue"
    }
    assert shown == taken


def test_every_example_is_a_whole_envelope_that_fits_its_schema() -> None:
    for message in DOCUMENT["components"]["messages"].values():
        whole = {**message["payload"], "components": DOCUMENT["components"]}
        jsonschema.validate(message["examples"][0]["payload"], whole)


def test_no_password_of_the_server_is_told() -> None:
    assert "hidden" not in json.dumps(DOCUMENT)
    assert DOCUMENT["servers"]["broker"]["host"] == "broker.example:5672"
