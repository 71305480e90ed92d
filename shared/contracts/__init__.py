"""The published language: every command and event the services exchange.

Commands belong to the service that obeys them, events to the service that says them.
"""

from contracts import claims, inventory, orders, returns
from contracts.base import Command, Event, Message, Rejection

MESSAGES: dict[str, type[Command] | type[Event]] = {
    message.key: message
    for module in (orders, claims, returns, inventory)
    for message in module.MESSAGES
}

__all__ = ["MESSAGES", "Command", "Event", "Message", "Rejection"]
