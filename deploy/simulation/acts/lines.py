"""Lines of orders, as acts name them and judges count them."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.simulation import shop
from deploy.simulation.clients import Client, History, Json


def bought(client: Client, order: int) -> list[str]:
    """Some of the lines that were bought, one at least."""
    lines = [shop.line_id(order, line) for line in range(1, shop.LINES + 1)]
    return [line for line in lines if client.chance.random() < 0.5] or lines[-1:]


def extra(order: Json) -> list[Json]:
    """The lines that its claims send out."""
    return [line for claim in order["claims"] for line in claim["additional_items"]]


def units(client: Client, lines: Sequence[str]) -> list[Json]:
    """One or two of each."""
    return [{"item_id": line, "quantity": client.chance.randint(1, 2)} for line in lines]


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
