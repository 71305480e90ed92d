"""Who says and who hears each message, read from the messages themselves.

The key tells the owner: a command is obeyed by its first word, an event is said by it. The
docstring tells the other side ("Said by claims when ...; heard by orders."), or that an event is
"for outside only". tests/contracts compares both with the code of the services.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from contracts import MESSAGES, Command, Event

Model = type[Command] | type[Event]
SCHEMAS = Path(__file__).parent / "schemas"

_SAID = re.compile(r"\bsaid by (\w+)", re.IGNORECASE)
_HEARD = re.compile(r"\bheard by (\w+(?:(?:, | and )(?!which\b|the\b)\w+)*)", re.IGNORECASE)
_OUTSIDE = re.compile(r"\bfor outside only\b", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """One message of the published language.

    ``kind`` is command or event; ``heard_by`` is empty for an event that is for outside only.
    """

    key: str
    kind: str
    model: Model
    said_by: str
    heard_by: tuple[str, ...]
    outside_only: bool
    description: str

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return f"reclamo.{self.key}"

    @property
    def name(self) -> str:
        """The class name, as in the code."""
        return self.model.__name__

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        return self.description.split(". ")[0].rstrip(".") + "."

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues of services that take it: commands and replies have one per service."""
        purpose = "commands" if self.kind == "command" else "saga"
        return tuple(f"{service}.{purpose}.v1" for service in self.heard_by)

    @property
    def names(self) -> tuple[str, ...]:
        """Medusa's names of an event, and ours in its style: what ``data.name`` may be. Empty for
        commands and replies, which the outside does not hear."""
        field = self.model.model_fields.get("name")
        if self.kind == "command" or field is None:
            return ()
        return (str(field.default), *getattr(self.model, "other_names", ()))


def entry_of(key: str, model: Model) -> Entry:
    """Read one message. Raises ValueError when its docstring does not say who says and hears it."""
    description = " ".join((model.__doc__ or "").split())
    said, heard = _SAID.search(description), _HEARD.search(description)
    outside_only = _OUTSIDE.search(description) is not None
    if said is None or (heard is None) != outside_only:
        raise ValueError(
            f"{model.__name__}: the docstring says neither `Said by ...; heard by ...` "
            "nor `Said by ...; for outside only`"
        )
    return Entry(
        key=key,
        kind="command" if issubclass(model, Command) else "event",
        model=model,
        said_by=said.group(1),
        heard_by=tuple(re.split(r", | and ", heard.group(1))) if heard else (),
        outside_only=outside_only,
        description=description,
    )


@cache
def entries() -> tuple[Entry, ...]:
    """Every message, in the order the modules list them."""
    return tuple(entry_of(key, model) for key, model in MESSAGES.items())


def public_events() -> tuple[Entry, ...]:
    """The events that carry a name: what webhooks and consumers outside may hear."""
    return tuple(entry for entry in entries() if entry.names)


def schema_path(key: str) -> Path:
    """Where the golden schema of a message lies."""
    return SCHEMAS / f"{key}.json"


def events_page_rows() -> list[dict[str, Any]]:
    """The rows of the catalogue page: plain data with schema and example, ready for a template."""
    return [
        {
            "key": entry.key,
            "type": entry.type,
            "kind": entry.kind,
            "name": entry.name,
            "said_by": entry.said_by,
            "heard_by": list(entry.heard_by),
            "outside_only": entry.outside_only,
            "names": list(entry.names),
            "queues": list(entry.queues),
            "summary": entry.summary,
            "description": entry.description,
            "example": dict(entry.model.example),
            "schema": _golden(entry.key),
        }
        for entry in entries()
    ]


@cache
def _golden(key: str) -> Mapping[str, Any]:
    schema: dict[str, Any] = json.loads(schema_path(key).read_text())
    return schema
