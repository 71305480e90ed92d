"""Envelopes, subscriptions and what a bus must do.

The envelope is a CloudEvent 1.0 in structured JSON: self-contained, so that outbox, inbox and
dead letters can store it as one value.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

COMMANDS = "reclamo.commands.v1"
EVENTS = "reclamo.events.v1"
DEAD_LETTERS = "reclamo.dlx.v1"
ENVELOPE_MAX_BYTES = 256 * 1024
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
_TEXTS = ("id", "source", "type", "subject", "time")
_OPTIONAL_TEXTS = ("correlationid", "causationid", "sagaid", "authtype", "authid")
_REQUIRED = (*_TEXTS, "data")
_SEQUENCE_DIGITS_MAX = 18


class Published(Protocol):
    """A message class of the published language, as far as the chassis looks at it."""

    key: ClassVar[str]


def exchange_of(message: type[Published] | Published) -> str:
    """Events end in a version, commands do not; each kind has its exchange."""
    return EVENTS if message.key.rsplit(".", 1)[-1].startswith("v") else COMMANDS


class Malformed(Exception):
    """Bytes that are not an envelope; ``reason`` says what is wrong."""


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _storable(text: str) -> bool:
    """PostgreSQL takes neither NUL nor half a character."""
    return not _UNSTORABLE.search(text)


@dataclass(frozen=True)
class Envelope:
    """One message on its way. ``sequence`` is the aggregate's version for events, else None."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    data: dict[str, Any]
    sequence: int | None = None
    correlation_id: str = ""
    causation_id: str | None = None
    saga_id: str | None = None
    actor_kind: str | None = None
    actor_id: str | None = None

    @property
    def key(self) -> str:
        """The routing key: the type without the product's name."""
        return self.type.removeprefix("reclamo.")

    def to_bytes(self) -> bytes:
        """The CloudEvent as JSON bytes."""
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time,
            "datacontenttype": "application/json",
            "dataschema": f"urn:reclamo:schema:{self.key}",
            "partitionkey": self.subject,
            "tenantid": "default",
        }
        optional = {
            "sequence": None if self.sequence is None else str(self.sequence),
            "correlationid": self.correlation_id or None,
            "causationid": self.causation_id,
            "sagaid": self.saga_id,
            "authtype": self.actor_kind,
            "authid": self.actor_id,
        }
        event.update({name: value for name, value in optional.items() if value is not None})
        event["data"] = self.data
        return to_json(event)

    @classmethod
    def from_bytes(cls, body: bytes) -> Envelope:
        """Parse a CloudEvent; raises Malformed with the reason."""
        if len(body) > ENVELOPE_MAX_BYTES:
            raise Malformed(f"{len(body)} bytes are more than {ENVELOPE_MAX_BYTES}")
        try:
            event = from_json(body)
        except ValueError as error:
            raise Malformed(f"not JSON: {error}") from None
        if not isinstance(event, dict):
            raise Malformed("not a JSON object")
        missing = [name for name in _REQUIRED if name not in event]
        if missing or event.get("specversion") != "1.0":
            raise Malformed(f"not a CloudEvent 1.0, missing: {', '.join(missing) or 'specversion'}")
        texts = [event[name] for name in _TEXTS]
        texts += [event[name] for name in _OPTIONAL_TEXTS if event.get(name) is not None]
        if not all(isinstance(text, str) and _storable(text) for text in texts):
            raise Malformed("an attribute that must be text is not")
        if not isinstance(event["data"], dict):
            raise Malformed("data is not an object")
        sequence = event.get("sequence")
        if sequence is not None and not (
            isinstance(sequence, str)
            and sequence.isdecimal()
            and len(sequence) <= _SEQUENCE_DIGITS_MAX
        ):
            raise Malformed("sequence is not a decimal number")
        return cls(
            **{name: event[name] for name in _TEXTS},
            data=event["data"],
            sequence=int(sequence) if sequence is not None else None,
            correlation_id=event.get("correlationid") or "",
            causation_id=event.get("causationid"),
            saga_id=event.get("sagaid"),
            actor_kind=event.get("authtype"),
            actor_id=event.get("authid"),
        )

    def message(self, model: builtins.type[BaseModel]) -> BaseModel:
        """The typed message; raises Malformed when the data does not fit the schema."""
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            raise Malformed(f"data does not fit {model.__name__}: {error.errors()[0]}") from None


@dataclass(frozen=True)
class Parcel:
    """What a bus carries: the envelope's bytes and where they go.

    ``partition_key`` names the aggregate; at most one parcel of it is unconfirmed at a time.
    """

    id: str
    exchange: str
    routing_key: str
    partition_key: str
    body: bytes
    source: str = ""


@dataclass(frozen=True)
class Delivery:
    """What a bus hands to a consumer. ``count`` is how often the broker tried before (0 = first).

    ``dead`` says that the broker gave it up (it comes from a dead-letter queue).
    ``user_id`` is the sender as the broker validated it, None in the in-process bus.
    """

    queue: str
    body: bytes
    redelivered: bool = False
    count: int = 0
    dead: bool = False
    user_id: str | None = None


Deliver = Callable[[Delivery], Awaitable[None]]
"""Handle one delivery. Returning means acknowledged; raising means: nothing was recorded, give it
back to the queue."""


@dataclass(frozen=True)
class Subscription:
    """A queue and the handler of each message class it takes.

    A handler gets the message; with ``envelopes`` the Envelope instead, checked to hold it, which
    also tells when, by whom and in which order it was said. ``on_demand``: a broker need not
    deliver before somebody asks by ``Bus.hear``, so that it costs nothing while nobody wants it.
    """

    queue: str
    handlers: Mapping[Any, Callable[..., Awaitable[None]]] = field(default_factory=dict)
    envelopes: bool = False
    on_demand: bool = False

    @property
    def bindings(self) -> tuple[tuple[str, str], ...]:
        """(exchange, routing key) pairs, exact: a message nobody handles is not delivered."""
        return tuple(sorted((exchange_of(model), model.key) for model in self.handlers))

    @property
    def models(self) -> dict[str, Any]:
        """Routing key -> message class."""
        return {model.key: model for model in self.handlers}


class Unroutable(Exception):
    """A command reached no queue: its receiver has never been declared."""


class PublishFailed(Exception):
    """Not confirmed: the parcel may or may not have arrived, send it again."""


class Bus(Protocol):
    """Both carriers keep this contract (tests/chassis/test_bus_contract.py)."""

    async def start(self) -> None:
        """Begin to connect; returns at once, ``ready`` tells when it stands."""

    async def subscribe(self, subscription: Subscription, deliver: Deliver) -> None:
        """Deliver what the queue gets; call before ``start``."""

    async def hear(self, queue: str) -> None:
        """Let a queue that is on demand get its messages from now on, and for good.

        Before ``start``: as soon as there is a connection. Raises Unavailable while there is none.
        """

    async def publish(self, parcel: Parcel) -> None:
        """Return when the parcel is safe (queues confirmed, or every consumer committed).

        Raises Unroutable for a command without a queue, PublishFailed for anything unknown.
        """

    async def stop(self) -> None:
        """Stop consuming, let started handlers finish, close."""

    @property
    def ready(self) -> bool:
        """Connected, topology seen, consumers registered."""
