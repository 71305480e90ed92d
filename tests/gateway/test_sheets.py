"""Cells of an export: whatever people write, no spreadsheet takes it for a formula."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sheets

_STARTS = ("=", "+", "-", "@", "\t", "\r")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+44 20", "'+44 20"),
        ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("  =1+1", "'  =1+1"),
        ("a=1", "a=1"),
        ("Ana", "Ana"),
        ("", ""),
        (None, ""),
        (-1200, -1200),
        (0, 0),
        (True, "True"),
    ],
)
def test_text_that_begins_like_a_formula_gets_a_quote_and_numbers_stay_numbers(
    value: object, shown: object
) -> None:
    assert sheets.cell(value) == shown


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")), min_size=1
        ),
        min_size=1,
    )
)
def test_whatever_is_written_comes_back_cell_by_cell_and_none_is_a_formula(
    rows: list[list[str]],
) -> None:
    text = sheets.lines(rows)
    read = list(csv.reader(io.StringIO(text, newline="")))
    for row, cells in zip(rows, read, strict=True):
        for value, seen in zip(row, cells, strict=True):
            assert seen in (value, f"'{value}")
            assert not seen.startswith(_STARTS)


def test_every_sheet_reads_a_record_that_has_nothing_but_its_lists() -> None:
    empty = {"items": [], "claim_items": []}
    for sheet in sheets.SHEETS.values():
        assert len(sheet.row(empty)) == len(sheet.header)
