"""The import format: every malformed record is refused with its path, in Medusa's words."""

from __future__ import annotations

from typing import Any

import pytest

from services.inventory.schemas import ImportBody

LEVEL = {"variant_id": "mug", "location_id": "sloc_a", "stocked_quantity": 1}
VARIANT = {"id": "mug", "title": "Mug"}


def refused(kind: str, record: Any) -> tuple[str, str, str]:
    """(path, code, message) of the only refusal."""
    document, outcome = ImportBody.model_validate({kind: [record]}).checked()
    assert getattr(document, kind) == []
    (only,) = outcome.refusals
    return only["path"], only["code"], only["message"]


@pytest.mark.parametrize(
    ("kind", "record", "path", "message"),
    [
        ("variants", {**VARIANT, "size": 1}, ".size", "property size should not exist"),
        ("variants", {"id": "mug"}, ".title", "title should not be empty"),
        ("variants", {**VARIANT, "title": " "}, ".title", "title should not be empty"),
        ("variants", {**VARIANT, "title": 5}, ".title", "title must be a string"),
        ("variants", {**VARIANT, "prices": {}}, ".prices", "prices must be an array"),
        (
            "variants",
            {**VARIANT, "manage_inventory": "yes"},
            ".manage_inventory",
            "manage_inventory must be a boolean value",
        ),
        (
            "variants",
            {**VARIANT, "prices": [{"currency_code": "gbp", "amount": -1}]},
            ".prices[0].amount",
            "amount must not be less than 0",
        ),
        (
            "variants",
            {**VARIANT, "prices": [{"currency_code": "gbp", "amount": 1.5}]},
            ".prices[0].amount",
            "amount must be an integer number",
        ),
        ("variants", {**VARIANT, "metadata": []}, ".metadata", "metadata must be an object"),
        ("variants", "mug", "", "record must be an object"),
        ("variants", {**VARIANT, "title": "a\0b"}, "", "record must not contain the character NUL"),
        (
            "inventory_levels",
            {**LEVEL, "stocked_quantity": -1},
            ".stocked_quantity",
            "stocked_quantity must not be less than 0",
        ),
        (
            "inventory_levels",
            {**LEVEL, "stocked_quantity": 10**9 + 1},
            ".stocked_quantity",
            "stocked_quantity must not be greater than 1000000000",
        ),
        (
            "inventory_levels",
            {**LEVEL, "stocked_quantity": "1"},
            ".stocked_quantity",
            "stocked_quantity must be an integer number",
        ),
        (
            "inventory_levels",
            {**LEVEL, "stocked_quantity": True},
            ".stocked_quantity",
            "stocked_quantity must be an integer number",
        ),
        (
            "sales_channels",
            {"id": "sc", "stock_location_ids": "a"},
            ".stock_location_ids",
            "stock_location_ids must be an array",
        ),
        ("stock_locations", {"id": "a"}, ".name", "name should not be empty"),
    ],
)
def test_a_malformed_record_is_refused_with_its_path(
    kind: str, record: Any, path: str, message: str
) -> None:
    code = "unknown_key" if "should not exist" in message else "malformed"
    assert refused(kind, record) == (f"{kind}[0]{path}", code, message)


def test_what_is_left_out_takes_its_default() -> None:
    document, outcome = ImportBody.model_validate({"variants": [VARIANT]}).checked()
    assert outcome.refusals == []
    record = document.variants[0][1]
    assert (record["manage_inventory"], record["allow_backorder"]) == (True, False)
    assert record["prices"] == []


def test_currencies_are_stored_in_small_letters() -> None:
    price = {"currency_code": "GBP", "amount": 0}
    document, _ = ImportBody.model_validate(
        {"variants": [{**VARIANT, "prices": [price]}]}
    ).checked()
    assert document.variants[0][1]["prices"][0]["currency_code"] == "gbp"
