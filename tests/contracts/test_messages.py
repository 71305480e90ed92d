"""Every message: its example, its golden schema, its sample kept for ever, and its two sides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from contracts import MESSAGES, Command, catalogue, schemas

SAMPLES = Path(__file__).parent / "samples"
MODELS = pytest.mark.parametrize("model", MESSAGES.values(), ids=list(MESSAGES))

# Messages carry ids; who a person is stays with its owner.
_PERSONAL = {"email", "phone", "first_name", "last_name", "address", "password", "shipping_address"}


@MODELS
class TestMessage:
    """Each message on its own."""

    def test_the_example_comes_back_as_it_went(self, model: catalogue.Model) -> None:
        message = model.model_validate(model.example)
        wire = json.loads(message.model_dump_json())
        assert model.model_validate(wire) == message

    def test_the_example_shows_every_field_and_no_other(self, model: catalogue.Model) -> None:
        assert set(model.example) == set(model.model_fields)

    def test_the_example_fits_the_published_schema(self, model: catalogue.Model) -> None:
        schema = json.loads(catalogue.schema_path(model.key).read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(model.example, schema)

    def test_the_published_schema_is_current(self, model: catalogue.Model) -> None:
        path = catalogue.schema_path(model.key)
        assert path.exists(), f"no schema for {model.key}: run `python -m contracts.schemas`"
        breaks = schemas.compare(json.loads(path.read_text()), schemas.schema_of(model))
        assert not breaks, (
            f"old readers cannot read this; say {model.key} as a new version:\n" + "\n".join(breaks)
        )
        assert path.read_text() == schemas.rendered(model), (
            "only optional fields were added: run `python -m contracts.schemas`"
        )

    def test_the_sample_kept_for_ever_is_still_understood(self, model: catalogue.Model) -> None:
        path = SAMPLES / f"{model.key}.json"
        assert path.exists(), f"keep a sample: write the example of {model.key} to {path.name}"
        sample = json.loads(path.read_text())
        message = model.model_validate(sample)
        assert json.loads(message.model_dump_json(exclude_unset=True)) == sample

    def test_a_field_from_the_future_is_passed_over(self, model: catalogue.Model) -> None:
        newer = {**model.example, "added_next_year": {"deep": [1]}}
        assert model.model_validate(newer) == model.model_validate(model.example)

    def test_the_key_says_whose_it_is_and_what_kind(self, model: catalogue.Model) -> None:
        owner = model.__module__.rsplit(".", 1)[-1]
        verb = r"[a-z-]+" if issubclass(model, Command) else r"[a-z-]+\.v[1-9]"
        assert re.fullmatch(rf"{owner}\.[a-z-]+\.{verb}", model.key)

    def test_money_is_whole_minor_units(self, model: catalogue.Model) -> None:
        for name, schema in _all_fields(schemas.schema_of(model)):
            if re.search(r"(^|_)(amount|price|total)$", name):
                kinds = {part.get("type") for part in schema.get("anyOf", [schema])}
                assert kinds <= {"integer", "null"}, f"{name} is {kinds}"

    def test_it_names_nobody(self, model: catalogue.Model) -> None:
        names = {name for name, _ in _all_fields(schemas.schema_of(model))}
        assert not names & _PERSONAL


def _all_fields(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    parts = [schema, *schema.get("$defs", {}).values()]
    return [field for part in parts for field in part.get("properties", {}).items()]


def test_no_schema_and_no_sample_is_left_without_its_message() -> None:
    """A sample stays as long as its version is read; a message that goes takes both along."""
    assert {path.stem for path in catalogue.SCHEMAS.glob("*.json")} == set(MESSAGES)
    assert {path.stem for path in SAMPLES.glob("*.json")} == set(MESSAGES)


def test_every_key_is_said_by_one_class() -> None:
    assert len({model.__name__ for model in MESSAGES.values()}) == len(MESSAGES)
