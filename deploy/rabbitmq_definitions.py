"""The broker's definitions file: users, permissions, exchanges, queues and bindings.

Everything follows from the subscriptions of the services and from the catalogue of messages, so
no broker permission is wider than what is said and heard: a service publishes only what it says,
reads only its own queues, and declares nothing; the gateway may bind its own queue to the events
that have a name, once somebody wants them. A consumer outside of Reclamo has a user that reads one
queue of its own, with every event that has a name, and can do nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any

from chassis.messaging import COMMANDS, DEAD_LETTERS, EVENTS, Subscription
from chassis.topology import (
    Topology,
    dead_letter_arguments,
    dead_letter_queue,
    queue_arguments,
)
from contracts import catalogue

VHOST = "/"
DEPLOYER = "deployer"
OUTSIDE = "outside"
OUTSIDE_QUEUE = "outside.events.v1"
# Full, it forgets its oldest: who does not read must never keep our services from sending.
OUTSIDE_ARGUMENTS: dict[str, str | int] = {
    "x-queue-type": "quorum",
    "x-overflow": "drop-head",
    "x-max-length-bytes": 64 * 1024 * 1024,
    "x-message-ttl": 7 * 24 * 3600 * 1000,
    "x-delivery-limit": 1_000_000_000,
}
NOTHING = "^$"
_HASHING = "rabbit_password_hashing_sha256"


def definitions(
    subscriptions: Iterable[Subscription], *, passwords: Mapping[str, str]
) -> dict[str, Any]:
    """The file's content; the same input gives the same bytes.

    ``passwords`` maps each broker user to its password: one per service, ``deployer``, the only
    one that may declare and bind whatever it likes, and, if its queue is wanted, ``outside``.
    """
    topology = Topology.of(subscriptions)
    services = sorted(user for user in passwords if user != DEPLOYER)
    outside = [OUTSIDE_QUEUE] if OUTSIDE in passwords else []
    return {
        "vhosts": [{"name": VHOST}],
        "users": [_user(name, passwords[name]) for name in sorted(passwords)],
        "permissions": [_permission(name, topology) for name in sorted(passwords)],
        "topic_permissions": [
            {"user": name, "vhost": VHOST, "exchange": exchange, "write": write, "read": read}
            for name in services
            for exchange, write, read in (
                (COMMANDS, _commands_of(name), NOTHING),
                (EVENTS, _events_of(name), _heard_by(name, topology)),
            )
        ],
        "exchanges": [
            _exchange(COMMANDS, "topic"),
            _exchange(EVENTS, "topic"),
            _exchange(DEAD_LETTERS, "direct"),
        ],
        "queues": [
            _queue(name, arguments)
            for queue in topology.queues
            for name, arguments in (
                (queue, queue_arguments(queue)),
                (dead_letter_queue(queue), dead_letter_arguments()),
            )
        ]
        + [_queue(queue, OUTSIDE_ARGUMENTS) for queue in outside],
        "bindings": [
            *(_binding(exchange, queue, key) for queue, exchange, key in topology.bindings),
            *(_binding(DEAD_LETTERS, dead_letter_queue(queue), queue) for queue in topology.queues),
            *(
                _binding(EVENTS, queue, entry.key)
                for queue in outside
                for entry in catalogue.public_events()
            ),
        ],
    }


def password_hash(user: str, password: str) -> str:
    """RabbitMQ's salted SHA-256, with a salt that the user and the password give.

    A salt must differ per user, not per run: the broker skips a file that did not change.
    """
    salt = hmac.digest(password.encode(), f"rabbitmq {user}".encode(), "sha256")[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _user(name: str, password: str) -> dict[str, Any]:
    return {
        "name": name,
        "password_hash": password_hash(name, password),
        "hashing_algorithm": _HASHING,
        "tags": "administrator" if name == DEPLOYER else "",
    }


def _permission(name: str, topology: Topology) -> dict[str, str]:
    if name == DEPLOYER:
        return {"user": name, "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}
    write = [r"^reclamo\.(commands|events)\.v1$"] if _says(name) else []
    read = [rf"^{name}\..*"]
    on_demand = {queue for queue, _, _ in topology.on_demand if queue.startswith(f"{name}.")}
    if on_demand:
        # To bind: "write" on the queue, which no message can be sent to by its name alone (that
        # would be the default exchange), and "read" on where its messages come from.
        write += [f"^{re.escape(queue)}$" for queue in sorted(on_demand)]
        read.append(f"^{re.escape(EVENTS)}$")
    return {
        "user": name,
        "vhost": VHOST,
        "configure": NOTHING,
        "write": "|".join(write) or NOTHING,
        "read": "|".join(read),
    }


def _heard_by(service: str, topology: Topology) -> str:
    """A pattern of the events that a service may bind a queue of its own to."""
    keys = {key for queue, _, key in topology.on_demand if queue.startswith(f"{service}.")}
    return f"^({'|'.join(map(re.escape, sorted(keys)))})$" if keys else NOTHING


def _commands_of(service: str) -> str:
    """A pattern of the routing keys of the commands that a service may send."""
    owners = {
        owner
        for entry in catalogue.entries()
        if entry.kind == "command" and entry.said_by == service
        for owner in entry.heard_by
    }
    return rf"^({'|'.join(sorted(owners))})\." if owners else NOTHING


def _events_of(service: str) -> str:
    return rf"^{service}\." if _says(service) else NOTHING


def _says(service: str) -> bool:
    return any(entry.said_by == service for entry in catalogue.entries())


def _exchange(name: str, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "vhost": VHOST,
        "type": kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _queue(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "vhost": VHOST,
        "durable": True,
        "auto_delete": False,
        "arguments": dict(arguments),
    }


def _binding(exchange: str, queue: str, key: str) -> dict[str, Any]:
    return {
        "source": exchange,
        "vhost": VHOST,
        "destination": queue,
        "destination_type": "queue",
        "routing_key": key,
        "arguments": {},
    }
