"""An import document is cut into requests that stay small and know their place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.batches import Batch, DocumentUnreadable, Listing, batches, listings


def records_of(batch: Batch) -> list[dict[str, Any]]:
    (records,) = json.loads(batch.body()).values()
    return list(records)


def test_the_lists_are_sent_in_the_order_in_which_they_point_at_each_other() -> None:
    document: dict[str, Any] = {"orders": [{"id": "o"}], "variants": [], "regions": []}
    assert [listing.key for listing in listings(document)] == ["regions", "variants", "orders"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "a JSON object of lists"),
        ({"order": []}, "Unknown list order; known are regions"),
        ({"orders": {}}, "orders must be a list"),
    ],
)
def test_what_is_no_import_document_is_refused(document: object, reason: str) -> None:
    with pytest.raises(DocumentUnreadable, match=reason):
        listings(document)


def test_the_batches_hold_every_record_once_and_in_order() -> None:
    records: list[dict[str, Any]] = [{"id": number, "text": "é" * 40} for number in range(250)]
    cut = list(batches(Listing("orders", len(records), records)))
    assert [len(batch.records) for batch in cut] == [100, 100, 50]
    assert [batch.offset for batch in cut] == [0, 100, 200]
    assert [record for batch in cut for record in records_of(batch)] == records


def test_a_body_stays_under_the_bound_unless_one_record_alone_is_larger() -> None:
    sizes = [10, 10, 300, 10, 90, 90]
    records: list[dict[str, Any]] = [{"t": "x" * size} for size in sizes]
    cut = list(batches(Listing("variants", len(records), records), bytes_max=200))
    assert [len(batch.records) for batch in cut] == [2, 1, 2, 1]
    assert all(len(batch.body()) < 220 for batch in cut if len(batch.records) > 1)


def test_a_place_in_the_answer_becomes_a_place_in_the_file() -> None:
    batch = Batch("orders", 200, ("{}",) * 4)
    assert batch.place_in_file("orders[3].items[0]") == "orders[203].items[0]"
    assert batch.halves()[1].place_in_file("orders[1]") == "orders[203]"
    assert batch.place_in_file("") == ""
