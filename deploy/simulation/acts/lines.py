"""Lines of orders, as acts name them and judges count them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy.simulation import shop
from deploy.simulation.clients import Client, History, Json


def likely(client: Client, found: Sequence[Json], good: Callable[[Json], bool]) -> Json | None:
    """One of what was found: mostly one of the good ones, and mostly none if there are none."""
    if client.chance.random() < 0.85:
        found = [each for each in found if good(each)]
    return client.chance.choice(found) if found else None


def bought(client: Client, order: int) -> list[str]:
    """Some of the lines that were bought, one at least."""
    lines = [shop.line_id(order, line) for line in range(1, shop.LINES + 1)]
    return [line for line in lines if client.chance.random() < 0.35] or lines[-1:]


def extra(order: Json) -> list[Json]:
    """The lines that its claims and exchanges send out."""
    senders = (*order["claims"], *order["swaps"])
    return [line for one in senders for line in one["additional_items"]]


def units(client: Client, lines: Sequence[str]) -> list[Json]:
    """One of each, or two."""
    return [{"item_id": line, "quantity": client.chance.choice((1, 1, 2))} for line in lines]


def claimed(client: Client, lines: Sequence[str]) -> list[Json]:
    """The same, with what is wrong with them."""
    return [{**item, "reason": "wrong_item"} for item in units(client, lines)]


def given_back(lines: Sequence[str], history: History) -> bool:
    """Whether anybody asked to give back a part of the price of any of these."""
    return any(
        item["item_id"] in lines
        for call in history.of("refund")
        for item in call.body.get("items", ())
    )


def counted(items: Sequence[Json], name: str = "quantity") -> dict[str, int]:
    """Units by line."""
    found: dict[str, int] = {}
    for item in items:
        found[item["item_id"]] = found.get(item["item_id"], 0) + item.get(name, 0)
    return found
