"""What a body may look like, and Medusa's words for a body that does not.

A Shape is a tree of small declarations. ``check`` walks a value along it and either gives the
cleaned object or raises one Invalid that names everything wrong at once, in the wording of the
validator behind Medusa v1: clients compare these messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chassis.errors import Invalid

INTEGER_MAX = 2**53 - 1  # beyond it JavaScript, and so most clients, cannot count
TEXT_MAX = 10_000
MESSAGES_MAX = 200
_SHOWN_MAX = 100
_EMAIL = re.compile(r"[^@\s\"(),:;<>\[\\\]]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_][\w-]{1,62}")
_NUMERIC = re.compile(r"\s*[+-]?\d{1,20}(?:\.\d{0,20})?\s*", re.ASCII)

Schema = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One property. Optional unless ``required``; null passes for absent.

    ``say_empty=False``: a missing value is told by its type only, as Medusa does here and there.
    ``default``: what an absent property becomes.
    """

    required: bool = False
    say_empty: bool = True
    default: Any = None

    def told(self, name: str, value: Any) -> list[str]:
        """Every message about a value that is there, without ``each value in``."""
        raise NotImplementedError

    def cleaned(self, value: Any) -> Any:
        """The value as handlers use it; only called when nothing was told."""
        return value

    def schema(self) -> Schema:
        """The JSON Schema of a value that is there."""
        raise NotImplementedError

    def problems(self, name: str, value: Any) -> list[str]:
        """Every message about this property, present or not."""
        if value is None and not self.required:
            return []
        tell = self.required and self.say_empty and self.is_empty(value)
        said = [f"{name} should not be empty"] if tell else []
        return said + self.told(name, value)

    def is_empty(self, value: Any) -> bool:
        """Whether a value that is needed counts as missing."""
        return value is None or value == ""


@dataclass(frozen=True, kw_only=True)
class Text(Field):
    """A string of at most ``most`` characters. ``trimmed``: white space around it is cut off."""

    most: int = TEXT_MAX
    trimmed: bool = False

    def told(self, name: str, value: Any) -> list[str]:
        """Not a string, or too long."""
        if not isinstance(value, str):
            return [f"{name} must be a string"]
        if len(value) > self.most:
            return [f"{name} must be shorter than or equal to {self.most} characters"]
        return []

    def schema(self) -> Schema:
        """``string``."""
        return {"type": "string", "maxLength": self.most}

    def cleaned(self, value: Any) -> Any:
        """The text."""
        return value.strip() if self.trimmed else value

    def is_empty(self, value: Any) -> bool:
        """Nothing, or only what is cut off."""
        return super().is_empty(self.cleaned(value) if isinstance(value, str) else value)


@dataclass(frozen=True, kw_only=True)
class Email(Text):
    """An e-mail address."""

    most: int = 254

    def told(self, name: str, value: Any) -> list[str]:
        """Not an address."""
        if isinstance(value, str) and len(value) <= self.most and _EMAIL.fullmatch(value):
            return []
        return [f"{name} must be an email"]

    def schema(self) -> Schema:
        """``string`` of format email."""
        return {"type": "string", "format": "email", "maxLength": self.most}


@dataclass(frozen=True, kw_only=True)
class Number(Field):
    """A whole number within bounds, told as Medusa tells numbers.

    ``integer`` chooses between the two wordings. Fractions are refused under both, because
    quantities are units and money is minor units. ``coerced``: a numeric string counts.
    """

    least: int = -INTEGER_MAX
    most: int = INTEGER_MAX
    integer: bool = False
    coerced: bool = False

    def told(self, name: str, value: Any) -> list[str]:
        """Not a number, a fraction, out of bounds."""
        number = self._number(value)
        if number is None:
            wanted = "an integer number" if self.integer else _CONFORMING
            return [f"{name} must be {wanted}"]
        if number != number // 1:
            return [f"{name} must be an integer number"]
        if number < self.least:
            return [f"{name} must not be less than {self.least}"]
        if number > self.most:
            return [f"{name} must not be greater than {self.most}"]
        return []

    def cleaned(self, value: Any) -> Any:
        """An int."""
        return int(self._number(value) or 0)

    def schema(self) -> Schema:
        """``integer`` with its bounds."""
        bounds: Schema = {"maximum": self.most}
        if self.least > -INTEGER_MAX:
            bounds["minimum"] = self.least
        return {"type": ["integer", "string"] if self.coerced else "integer", **bounds}

    def _number(self, value: Any) -> int | float | None:
        if self.coerced and isinstance(value, str) and _NUMERIC.fullmatch(value):
            whole, _, rest = value.strip().partition(".")
            return float(value) if rest.strip("0") else int(whole)
        # True is an int in Python, in JSON it is not.
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None


_CONFORMING = "a number conforming to the specified constraints"


@dataclass(frozen=True, kw_only=True)
class Integer(Number):
    """A whole number, told as ``must be an integer number``."""

    integer: bool = True


@dataclass(frozen=True, kw_only=True)
class Boolean(Field):
    """``true`` or ``false``."""

    def told(self, name: str, value: Any) -> list[str]:
        """Not a boolean."""
        return [] if isinstance(value, bool) else [f"{name} must be a boolean value"]

    def schema(self) -> Schema:
        """``boolean``."""
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Object(Field):
    """An object of any content, like metadata."""

    def told(self, name: str, value: Any) -> list[str]:
        """Not an object."""
        return [] if isinstance(value, dict) else [f"{name} must be an object"]

    def schema(self) -> Schema:
        """``object``."""
        return {"type": "object"}


@dataclass(frozen=True)
class OneOf(Field):
    """One of the named values. ``is_string``: Medusa knows no values there, only a string."""

    values: tuple[str, ...]
    is_string: bool = field(default=False, kw_only=True)

    def told(self, name: str, value: Any) -> list[str]:
        """None of them."""
        if isinstance(value, str) and value in self.values:
            return []
        if self.is_string and not isinstance(value, str):
            return [f"{name} must be a string"]
        return [f"{name} must be one of the following values: {', '.join(self.values)}"]

    def schema(self) -> Schema:
        """``string`` with its values."""
        return {"type": "string", "enum": list(self.values)}


@dataclass(frozen=True)
class Shape:
    """An object with exactly these properties."""

    fields: Mapping[str, Field] = field(default_factory=dict)

    def told(self, value: Mapping[str, Any]) -> list[str]:
        """Every message about an object: unknown properties first, then field by field."""
        said = [
            f"property {name[:_SHOWN_MAX]} should not exist"
            for name in value
            if name not in self.fields
        ]
        for name, each in self.fields.items():
            said += each.problems(name, value.get(name))
        return said

    def cleaned(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Every property of the shape, in its order; what was absent has its default."""
        return {
            name: each.default if value.get(name) is None else each.cleaned(value[name])
            for name, each in self.fields.items()
        }


@dataclass(frozen=True)
class Nested(Field):
    """An object of a shape. ``is_object``: Medusa checks twice there, so it tells twice."""

    shape: Shape
    is_object: bool = field(default=False, kw_only=True)

    def told(self, name: str, value: Any) -> list[str]:
        """Not an object, or what the shape says of it."""
        if isinstance(value, dict):
            return self.shape.told(value)
        said = [f"{name} must be an object"] if self.is_object or isinstance(value, list) else []
        if not isinstance(value, list):
            said += [] if value is None else [_not_nested(name)]
        return said

    def cleaned(self, value: Any) -> Any:
        """The shape's object."""
        return self.shape.cleaned(value)

    def schema(self) -> Schema:
        """The shape's schema."""
        return json_schema(self.shape)


@dataclass(frozen=True)
class ListOf(Field):
    """An array of at most ``most`` shapes or values."""

    of: Shape | Field
    most: int = field(default=1000, kw_only=True)

    def told(self, name: str, value: Any) -> list[str]:
        """Not an array, too many, or what is wrong with its elements."""
        if not isinstance(value, list):
            return [f"{name} must be an array", *self._told_scalar(name, value)]
        if len(value) > self.most:
            return [f"{name} must contain no more than {self.most} elements"]
        said: list[str] = []
        for each in value:
            if not isinstance(self.of, Shape):
                said += [f"each value in {text}" for text in self.of.told(name, each)]
            elif isinstance(each, dict):
                said += self.of.told(each)
            else:
                said.append(f"each value in {_not_nested(name)}")
        # One message per rule for plain values, however many of them break it.
        return said if isinstance(self.of, Shape) else list(dict.fromkeys(said))

    def _told_scalar(self, name: str, value: Any) -> list[str]:
        """Rules for elements are tried on a value that is no array too."""
        if value is None or isinstance(value, dict):
            return []
        if isinstance(self.of, Shape):
            return [f"each value in {_not_nested(name)}"]
        return [f"each value in {text}" for text in self.of.told(name, value)]

    def cleaned(self, value: Any) -> Any:
        """A list of cleaned elements."""
        return [self.of.cleaned(each) for each in value]

    def schema(self) -> Schema:
        """``array``."""
        items = json_schema(self.of) if isinstance(self.of, Shape) else self.of.schema()
        return {"type": "array", "items": items, "maxItems": self.most}


def _not_nested(name: str) -> str:
    return f"nested property {name} must be either object or array"


def check(shape: Shape, value: Any) -> dict[str, Any]:
    """The cleaned object: every property of the shape, absent ones with their default.

    Raises Invalid ``invalid_data`` with all messages, joined by a comma.
    """
    said = shape.told(value) if isinstance(value, dict) else ["the body must be an object"]
    if said:
        raise Invalid("invalid_data", ", ".join(said[:MESSAGES_MAX]))
    return shape.cleaned(value)


def json_schema(shape: Shape) -> Schema:
    """A shape as JSON Schema 2020-12; optional properties may be null."""
    properties = {}
    for name, each in shape.fields.items():
        schema = each.schema()
        if not each.required:
            types = schema["type"]
            schema["type"] = [*(types if isinstance(types, list) else [types]), "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
        if each.default is not None:
            schema["default"] = each.default
        properties[name] = schema
    required = [name for name, each in shape.fields.items() if each.required]
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }
