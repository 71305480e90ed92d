"""Cuts an import document into requests of a bounded size. Pure.

The answer to one request speaks of places in that request (``orders[3].items[0]``); a batch knows
where its records stand in the whole, so that a refusal is reported with its place in the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

# A record may point at records of the lists before its own, never of those after it.
ORDER_OF_LISTS = (
    "regions",
    "stock_locations",
    "sales_channels",
    "shipping_options",
    "return_reasons",
    "variants",
    "inventory_levels",
    "customers",
    "orders",
)
# An order carries its lines, everything else is small: 100 orders and 1,000 others make a request
# that is answered within a second. The bytes stay under a body limit of 1 MiB.
RECORDS_MAX = 1000
ORDERS_MAX = 100
BODY_BYTES_MAX = 900 * 1024


class DocumentUnreadable(ValueError):
    """The file is not an import document."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of an import document: its key, how many records, and the records."""

    key: str
    count: int
    records: Iterable[Record]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive records of one list, each already JSON text; ``offset`` is the first's."""

    key: str
    offset: int
    records: tuple[str, ...]

    def body(self) -> bytes:
        """The request's body."""
        return f"{{{json.dumps(self.key)}:[{','.join(self.records)}]}}".encode()

    def halves(self) -> tuple[Batch, Batch]:
        """The same records in two batches, for a server that finds this one too large."""
        middle = len(self.records) // 2
        return (
            Batch(self.key, self.offset, self.records[:middle]),
            Batch(self.key, self.offset + middle, self.records[middle:]),
        )

    def place_in_file(self, path: str) -> str:
        """``orders[3].items[0]`` of this batch as a place in the whole list."""

        def moved(found: re.Match[str]) -> str:
            return f"{self.key}[{int(found[1]) + self.offset}]"

        return re.sub(rf"^{re.escape(self.key)}\[(\d+)\]", moved, path)


def listings(document: object) -> list[Listing]:
    """The lists of an import document in the order in which they must be loaded.

    Raises DocumentUnreadable, before anything is sent.
    """
    if not isinstance(document, Mapping):
        raise DocumentUnreadable("An import document is a JSON object of lists")
    for key, records in document.items():
        if key not in ORDER_OF_LISTS:
            raise DocumentUnreadable(f"Unknown list {key}; known are {', '.join(ORDER_OF_LISTS)}")
        if not isinstance(records, list):
            raise DocumentUnreadable(f"{key} must be a list")
    known = [key for key in ORDER_OF_LISTS if key in document]
    return [Listing(key, len(document[key]), document[key]) for key in known]


def batches(listing: Listing, *, bytes_max: int = BODY_BYTES_MAX) -> Iterator[Batch]:
    """Cut one list; a single record larger than the bound travels alone."""
    records_max = ORDERS_MAX if listing.key == "orders" else RECORDS_MAX
    taken: list[str] = []
    size_bytes = offset = 0
    for record in listing.records:
        text = json.dumps(record, separators=(",", ":"))
        if taken and (len(taken) == records_max or size_bytes + len(text) > bytes_max):
            yield Batch(listing.key, offset, tuple(taken))
            offset += len(taken)
            taken, size_bytes = [], 0
        taken.append(text)
        size_bytes += len(text) + 1
    if taken:
        yield Batch(listing.key, offset, tuple(taken))
