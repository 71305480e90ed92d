"""Loads files into a running gateway: lists in their order, batches side by side, every refusal
named. Repeating an import is safe: every record is an upsert by its id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from deploy import batches, online_retail, online_retail_document
from deploy.batches import Batch, Listing
from deploy.gateway_client import PATIENCE_S, Gateway, GatewayRefused
from deploy.progress import Advance, bar

Format = Literal["reclamo", "online-retail"]

# The services write one transaction at a time per database in embedded mode; two more requests
# keep the pipe full while one is written.
IN_FLIGHT = 3
PAYLOAD_TOO_LARGE = 413


class FileUnreadable(Exception):
    """A file that is not what its format says; the message names file and reason."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One record or row that was not loaded: where it stands, its id, and why not."""

    file: str
    path: str
    id: str | None
    code: str
    message: str


@dataclass(slots=True)
class Summary:
    """What an import did. ``skipped`` counts rows of an Online Retail file that are no order lines
    by definition; they are not refusals."""

    files: list[str] = field(default_factory=list)
    records: dict[str, int] = field(default_factory=dict)
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every record was loaded."""
        return self.refused == 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


async def import_files(
    url: str,
    token: str | None,
    files: Sequence[Path],
    format: Format = "reclamo",
    progress: bool = True,
    *,
    in_flight: int = IN_FLIGHT,
    patience_s: float = PATIENCE_S,
) -> Summary:
    """Load files through ``POST /admin/import``, one file after the other.

    Raises FileUnreadable before anything of that file is sent, GatewayUnreachable, and
    GatewayRefused if the caller may not import.
    """
    summary = Summary()
    started = asyncio.get_running_loop().time()
    async with Gateway(url, token, in_flight=in_flight, patience_s=patience_s) as gateway:
        for file in files:
            listings = await asyncio.to_thread(_read, file, format, summary)
            total = sum(listing.count for listing in listings)
            summary.files.append(str(file))
            with bar(f"Importing {file.name}", total, shown=progress) as advance:
                for listing in listings:
                    done = summary.records.get(listing.key, 0)
                    summary.records[listing.key] = done + listing.count
                    sender = _Sender(gateway, file.name, summary, advance)
                    await sender.send(listing, in_flight)
    summary.seconds = asyncio.get_running_loop().time() - started
    return summary


def _read(file: Path, format: Format, summary: Summary) -> list[Listing]:
    try:
        if format == "online-retail":
            return _read_online_retail(file, summary)
        return batches.listings(json.loads(file.read_bytes()))
    except (OSError, ValueError) as reason:
        raise FileUnreadable(f"{file}: {reason}") from reason


def _read_online_retail(file: Path, summary: Summary) -> list[Listing]:
    book = online_retail.read(file)
    for bad in book.bad_rows:
        summary.refused += 1
        place = f"row {bad.row}"
        summary.refusals.append(
            Refusal(file.name, place, bad.invoice, "unreadable_row", bad.reason)
        )
    counts = {**book.skipped, "invoices with services only": book.services_only}
    for reason, count in counts.items():
        summary.skipped[reason] = summary.skipped.get(reason, 0) + count
    return online_retail_document.listings(book)


class _Sender:
    """Sends the batches of one list, some at a time, and adds the answers up."""

    def __init__(self, gateway: Gateway, file: str, summary: Summary, advance: Advance) -> None:
        self._gateway = gateway
        self._file = file
        self._summary = summary
        self._advance = advance

    async def send(self, listing: Listing, in_flight: int) -> None:
        """Send a whole list; returns when every batch is answered."""
        source = batches.batches(listing)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(self._worker(source))
        except ExceptionGroup as errors:
            # The first failure canceled the other workers; it is the one to tell.
            raise errors.exceptions[0] from None

    async def _worker(self, source: Iterator[Batch]) -> None:
        for batch in source:
            await self._send(batch)
            self._advance(len(batch.records))

    async def _send(self, batch: Batch) -> None:
        try:
            answer = await self._gateway.post_text("/admin/import", batch.body())
        except GatewayRefused as refused:
            if refused.status == PAYLOAD_TOO_LARGE and len(batch.records) > 1:
                for half in batch.halves():
                    await self._send(half)
                return
            if refused.status in (401, 403, 404):
                raise
            # Anything else is about this batch: the others may still be loaded.
            self._refuse_all(batch, refused)
            return
        self._summary.created += int(answer.get("created", 0))
        self._summary.updated += int(answer.get("updated", 0))
        self._summary.unchanged += int(answer.get("unchanged", 0))
        self._summary.refused += int(answer.get("refused", 0))
        for refusal in answer.get("refusals", ()):
            self._summary.refusals.append(
                Refusal(
                    self._file,
                    batch.place_in_file(str(refusal.get("path", ""))),
                    refusal.get("id"),
                    str(refusal.get("code", "refused")),
                    str(refusal.get("message", "")),
                )
            )

    def _refuse_all(self, batch: Batch, refused: GatewayRefused) -> None:
        self._summary.refused += len(batch.records)
        for place, text in enumerate(batch.records, batch.offset):
            record = json.loads(text)
            self._summary.refusals.append(
                Refusal(
                    self._file,
                    f"{batch.key}[{place}]",
                    record.get("id") if isinstance(record, dict) else None,
                    refused.kind,
                    refused.message,
                )
            )
