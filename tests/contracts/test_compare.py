"""What a change of a message may do: the comparison, on changes good and bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import create_model

from contracts import catalogue, schemas
from contracts.base import Event, Part


class Line(Part):
    """A part."""

    line_id: str
    quantity: int


class Said(Event):
    """Said by orders; heard by claims."""

    key: ClassVar[str] = "orders.thing.said.v1"
    example: ClassVar[dict[str, Any]] = {"id": "a", "amount": 1, "note": None, "lines": []}
    id: str
    amount: int
    note: str | None = None
    lines: list[Line] = []


def _changed(**fields: Any) -> dict[str, Any]:
    """The schema of Said with fields added or replaced; ``...`` takes one out."""
    kept = {
        name: (field.annotation, field if not field.is_required() else ...)
        for name, field in Said.model_fields.items()
    }
    kept.update(fields)
    model = create_model("Said", __base__=Event, **{k: v for k, v in kept.items() if v is not ...})
    return model.model_json_schema()


OLD = Said.model_json_schema()


class NewLine(Part):
    """Line with one more optional field."""

    line_id: str
    quantity: int
    reason: str | None = None


class ShortLine(Part):
    """Line that lost a field."""

    line_id: str


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        _changed(added=(str | None, None)),
        _changed(added=(list[Line], [])),
        _changed(lines=(list[NewLine], [])),
        {**OLD, "title": "Renamed", "description": "Better told."},
    ],
    ids=["same", "optional field", "optional list", "optional field of a part", "prose"],
)
def test_a_gained_optional_field_breaks_nobody(new: dict[str, Any]) -> None:
    assert schemas.compare(OLD, new) == []


@pytest.mark.parametrize(
    ("new", "fault"),
    [
        (_changed(amount=...), "data.amount: removed"),
        (_changed(note=...), "data.note: removed"),
        (_changed(amount=(str, ...)), "data.amount: retyped"),
        (_changed(note=(str, "")), "data.note: retyped"),
        (_changed(amount=(int | None, ...)), "data.amount: retyped"),
        (_changed(added=(str, ...)), "data.added: newly required"),
        (_changed(lines=(list[Line], ...)), "data.lines: newly required"),
        (_changed(id=(str, "x")), "data.id: no longer required"),
        (_changed(lines=(list[ShortLine], [])), "data.lines[].quantity: removed"),
        (_changed(lines=(list[str], [])), "data.lines[]: retyped"),
        (_changed(lines=(dict[str, Line], {})), "data.lines: retyped"),
    ],
)
def test_a_change_that_old_readers_trip_over_is_named(new: dict[str, Any], fault: str) -> None:
    assert any(line.startswith(fault) for line in schemas.compare(OLD, new)), schemas.compare(
        OLD, new
    )


def test_a_value_may_be_added_to_an_enum_and_none_taken_away() -> None:
    two = {"properties": {"status": {"type": "string", "enum": ["open", "canceled"]}}}
    three = {"properties": {"status": {"type": "string", "enum": ["open", "canceled", "lost"]}}}
    assert schemas.compare(two, three) == []
    assert schemas.compare(three, two) == ['data.status: values taken away, ["lost"]']


def test_the_generator_refuses_to_write_a_breaking_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalogue, "SCHEMAS", tmp_path)
    monkeypatch.setattr(schemas, "SCHEMAS", tmp_path)
    monkeypatch.setattr(schemas, "MESSAGES", {Said.key: Said})
    assert schemas.main([]) == 0
    written = (tmp_path / f"{Said.key}.json").read_text()
    older = json.loads(written)
    older["properties"]["lost"] = {"type": "string"}
    (tmp_path / f"{Said.key}.json").write_text(json.dumps(older))
    assert schemas.main([]) == 1
    assert "lost: removed" in capsys.readouterr().err
    assert json.loads((tmp_path / f"{Said.key}.json").read_text()) == older
    assert schemas.main(["--accept-breaking"]) == 0
    assert (tmp_path / f"{Said.key}.json").read_text() == written
    assert schemas.main(["--check"]) == 0
