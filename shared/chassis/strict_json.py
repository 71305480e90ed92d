"""Reading JSON from outside: what is not sound is refused with its reason, never guessed at."""

from __future__ import annotations

import json
from typing import Any

JSON_DEPTH_MAX = 32
JSON_INTEGER_MAX = 2**63 - 1


class UnreadableJson(ValueError):
    """A body that is not the JSON we accept; the text says why."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableJson("a key occurs twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise UnreadableJson(f"{name} is not a JSON number")


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > JSON_INTEGER_MAX:
        raise UnreadableJson("a number is too large")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if abs(value) > JSON_INTEGER_MAX:
        raise UnreadableJson("a number is too large")
    return value


def parse_json(body: bytes) -> Any:
    """Strict JSON: UTF-8, no duplicate keys, NaN or huge numbers, at most 32 levels deep.

    Raises UnreadableJson with the reason.
    """
    try:
        text = body.decode()
        if _depth_over(body):
            raise UnreadableJson(f"nested deeper than {JSON_DEPTH_MAX} levels")
        value = json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
        )
        if "\\u0000" in text and _holds_nul(value):
            raise UnreadableJson("the character NUL cannot be stored")
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnreadableJson:
        raise
    except UnicodeEncodeError:
        raise UnreadableJson("a lone surrogate is not text") from None
    except UnicodeDecodeError:
        raise UnreadableJson("not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableJson(f"not JSON: {error}") from None
    return value


def _holds_nul(value: Any) -> bool:
    """Whether any text in a parsed value contains NUL, which PostgreSQL cannot store."""
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_holds_nul(part) for part in value)
    return isinstance(value, str) and "\x00" in value


def _depth_over(body: bytes) -> bool:
    """Whether brackets nest too deep. Brackets in strings count too, hence only a first look."""
    if body.count(b"[") + body.count(b"{") <= JSON_DEPTH_MAX:
        return False
    depth, in_string, escaped = 0, False, False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > JSON_DEPTH_MAX:
                return True
        elif byte in b"]}":
            depth -= 1
    return False
