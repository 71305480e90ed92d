"""The JSON Schema of every message, generated, and what a change of one may do.

    python -m contracts.schemas             write the schemas that are new or only gained fields
    python -m contracts.schemas --check     change nothing; exit code 1 if a schema is not current
    python -m contracts.schemas --accept-breaking    also write what old readers cannot read

Inside a version a message only gains optional fields. Anything else is a new message with the
next version in its key, said beside the old one for a release.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contracts import MESSAGES
from contracts.catalogue import SCHEMAS, Model, schema_path

Schema = Mapping[str, Any]

# Words of a schema that tell about a value without changing which values there are.
_PROSE = frozenset({"title", "description", "default", "examples", "$id", "$schema", "$defs"})
_HANDLED = frozenset({"properties", "required", "enum"})


def schema_of(model: Model) -> dict[str, Any]:
    """The schema of a message's ``data``, with its example."""
    schema = model.model_json_schema()
    description = " ".join((model.__doc__ or "").split())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:reclamo:schema:{model.key}",
        **schema,
        "description": description,
        "examples": [model.example],
    }


def rendered(model: Model) -> str:
    """The schema as the file holds it."""
    return json.dumps(schema_of(model), indent=2, ensure_ascii=False) + "\n"


def compare(old: Schema, new: Schema) -> list[str]:
    """What a reader of the old schema would trip over; empty for added optional fields only.

    Each line names the place and the fault: removed, retyped, newly required, no longer required.
    """
    return list(_differences(old, new, old.get("$defs", {}), new.get("$defs", {}), "data"))


def _differences(
    old: Any, new: Any, old_defs: Schema, new_defs: Schema, place: str
) -> Iterator[str]:
    old, new = _resolved(old, old_defs), _resolved(new, new_defs)
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if old != new:
            yield f"{place}: retyped, {_short(old)} became {_short(new)}"
        return
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in before:
        if name not in after:
            yield f"{place}.{name}: removed"
        else:
            yield from _differences(
                before[name], after[name], old_defs, new_defs, f"{place}.{name}"
            )
    required_before, required_after = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(required_after - required_before):
        yield f"{place}.{name}: newly required, old writers do not send it"
    for name in sorted((required_before - required_after) & set(after)):
        yield f"{place}.{name}: no longer required, old readers count on it"
    missing = [value for value in old.get("enum", ()) if value not in new.get("enum", ())]
    if missing or ("enum" in new and "enum" not in old):
        yield f"{place}: values taken away, {_short(missing or new['enum'])}"
    for word in sorted((set(old) | set(new)) - _PROSE - _HANDLED):
        yield from _word(word, old, new, old_defs, new_defs, place)


def _word(
    word: str, old: Schema, new: Schema, old_defs: Schema, new_defs: Schema, place: str
) -> Iterator[str]:
    if word not in old or word not in new:
        yield f"{place}: retyped, `{word}` was {'added' if word in new else 'removed'}"
        return
    one, other = old[word], new[word]
    if isinstance(one, Sequence) and not isinstance(one, str) and isinstance(other, Sequence):
        if len(one) != len(other):
            yield f"{place}: retyped, {_short(one)} became {_short(other)}"
            return
        for left, right in zip(one, other, strict=True):
            yield from _differences(left, right, old_defs, new_defs, place)
    elif isinstance(one, Mapping) and isinstance(other, Mapping):
        deeper = f"{place}[]" if word == "items" else place
        yield from _differences(one, other, old_defs, new_defs, deeper)
    elif one != other:
        yield f"{place}: retyped, {word} {_short(one)} became {_short(other)}"


def _resolved(schema: Any, defs: Schema) -> Any:
    """Follow a reference, so that a part may be renamed or moved without a change of meaning."""
    while isinstance(schema, Mapping) and "$ref" in schema:
        schema = defs[str(schema["$ref"]).rsplit("/", 1)[-1]]
    return schema


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the golden schemas; words go to stderr. Exit code 1: not all is right."""
    parser = argparse.ArgumentParser(prog="python -m contracts.schemas")
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--accept-breaking", action="store_true", help="before a release only")
    options = parser.parse_args(arguments)
    failed = False
    for key, model in MESSAGES.items():
        path, text = schema_path(key), rendered(model)
        if path.exists() and path.read_text() == text:
            continue
        breaks = compare(json.loads(path.read_text()), schema_of(model)) if path.exists() else []
        for line in breaks:
            sys.stderr.write(f"{key}: {line}\n")
        if options.check or (breaks and not options.accept_breaking):
            failed = True
            sys.stderr.write(
                f"{key}: {'not current' if not breaks else 'say it as a new version'}\n"
            )
        else:
            SCHEMAS.mkdir(exist_ok=True)
            path.write_text(text)
            sys.stderr.write(f"{key}: written\n")
    for path in sorted(SCHEMAS.glob("*.json")):
        if path.stem not in MESSAGES:
            failed = True
            sys.stderr.write(f"{path.stem}: has a schema but no message; delete {path.name}\n")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
