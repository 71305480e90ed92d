"""Who says and hears what: the docstrings against the keys, and against the services' code."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest

from contracts import MESSAGES, catalogue
from contracts.base import Event

SERVICES = ("orders", "claims", "returns", "inventory")
ROOT = Path(__file__).resolve().parents[2]
ENTRIES = pytest.mark.parametrize("entry", catalogue.entries(), ids=lambda entry: entry.key)


@cache
def _subscriptions(service: str) -> dict[str, set[str]]:
    """Queue -> keys, from the table at the foot of the service's consumers.py."""
    module = importlib.import_module(f"services.{service}.consumers")
    return {
        subscription.queue: {model.key for model in subscription.handlers}
        for subscription in module.SUBSCRIPTIONS
    }


@cache
def _made_by(service: str) -> frozenset[str]:
    """Names of the message classes that a service makes somewhere in its code."""
    names = {model.__name__ for model in MESSAGES.values()}
    return frozenset(
        name
        for path in (ROOT / "services" / service).glob("*.py")
        if path.name != "consumers.py"
        for name in _made_in(ast.parse(path.read_text()))
        if name in names
    )


def _made_in(tree: ast.Module) -> Iterator[str]:
    """Names of classes that are called, handed on to be called, or looked up in a table."""
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.Call):
            parts = [node.func, *node.args]
        elif isinstance(node, ast.Dict):
            parts = node.values
        for part in parts:
            if isinstance(part, ast.Name):
                yield part.id
            elif isinstance(part, ast.Attribute):
                yield part.attr


@ENTRIES
class TestEntry:
    """Each message of the catalogue."""

    def test_an_event_is_said_by_its_owner_and_a_command_obeyed_by_its_owner(
        self, entry: catalogue.Entry
    ) -> None:
        owner = entry.key.split(".")[0]
        if entry.kind == "event":
            assert entry.said_by == owner
        else:
            assert entry.heard_by == (owner,)
            assert entry.said_by != owner
        assert {entry.said_by, *entry.heard_by} <= set(SERVICES)

    def test_the_service_that_says_it_makes_it(self, entry: catalogue.Entry) -> None:
        assert entry.name in _made_by(entry.said_by), (
            f"{entry.said_by} never makes {entry.name}: delete the message, or say it"
        )

    def test_every_service_that_hears_it_subscribes_to_it(self, entry: catalogue.Entry) -> None:
        for service, queue in zip(entry.heard_by, entry.queues, strict=True):
            assert entry.key in _subscriptions(service).get(queue, set()), (
                f"{service} does not take {entry.name} from {queue}"
            )

    def test_no_other_service_subscribes_to_it(self, entry: catalogue.Entry) -> None:
        listeners = {
            service
            for service in SERVICES
            if any(entry.key in keys for keys in _subscriptions(service).values())
        }
        assert listeners == set(entry.heard_by), f"say in the docstring who hears {entry.name}"


def test_a_row_of_the_events_page_is_complete() -> None:
    rows = catalogue.events_page_rows()
    assert [row["key"] for row in rows] == list(MESSAGES)
    placed = next(row for row in rows if row["key"] == "orders.claim-hold.placed.v1")
    assert placed["type"] == "reclamo.orders.claim-hold.placed.v1"
    assert (placed["said_by"], placed["heard_by"]) == ("orders", ["claims"])
    assert placed["schema"]["properties"]["amount"]["type"] == "integer"
    assert placed["example"]["amount"] == 1000


@pytest.mark.parametrize(
    "docstring",
    [
        None,
        "A thing happened.",
        "Said by orders when a thing happened.",
        "Heard by claims.",
        "Said by orders; heard by claims; for outside only.",
    ],
)
def test_a_message_that_does_not_tell_its_two_sides_is_refused(docstring: str | None) -> None:
    class Orphan(Event):
        key: ClassVar[str] = "orders.thing.said.v1"
        example: ClassVar[dict[str, Any]] = {}

    Orphan.__doc__ = docstring
    with pytest.raises(ValueError, match="Orphan"):
        catalogue.entry_of(Orphan.key, Orphan)


def test_several_hearers_are_told_apart() -> None:
    class Wide(Event):
        """Said by orders when a thing happened; heard by claims and returns."""

        key: ClassVar[str] = "orders.thing.said.v1"
        example: ClassVar[dict[str, Any]] = {}

    entry = catalogue.entry_of(Wide.key, Wide)
    assert entry.heard_by == ("claims", "returns")
    assert entry.queues == ("claims.saga.v1", "returns.saga.v1")
