"""Where files are kept that somebody will fetch: a small port, and the gateway's own database
behind it.

A file is written piece by piece, each in the transaction that also says how far the writer has
come: after a crash there is neither half a piece nor one too many, and every replica of the
gateway has the file. An adapter for a store of objects would keep this contract.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from chassis.db import Database, Tx
from gateway import store


class Files(Protocol):
    """What whoever writes and reads files needs."""

    async def append(self, tx: Tx, key: str, number: int, text: str, *, now: datetime) -> None:
        """Write the piece of that number, counted from 1, as part of the transaction."""

    def read(self, key: str, pieces: int) -> AsyncIterator[bytes]:
        """The file of so many pieces; less if it was removed."""

    async def there(self, tx: Tx, key: str) -> bool:
        """Whether there is anything of a file."""

    async def remove(self, tx: Tx, key: str) -> None:
        """Remove a file, however much of it there is."""

    async def forget(self, tx: Tx, *, before: datetime) -> None:
        """Remove some of the files that were written before then."""


class DatabaseFiles:
    """Files as rows of the gateway's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, tx: Tx, key: str, number: int, text: str, *, now: datetime) -> None:
        """One row."""
        await store.add_piece(tx, file=key, number=number, text=text, now=now)

    async def read(self, key: str, pieces: int) -> AsyncIterator[bytes]:
        """Row by row: no more than one piece is in memory."""
        for number in range(1, pieces + 1):
            async with self._database.glance() as tx:
                text = await store.piece(tx, file=key, number=number)
            if text is None:
                return
            yield text.encode()

    async def there(self, tx: Tx, key: str) -> bool:
        """Its first row."""
        return await store.piece(tx, file=key, number=1) is not None

    async def remove(self, tx: Tx, key: str) -> None:
        """Its rows."""
        await store.remove_pieces(tx, file=key)

    async def forget(self, tx: Tx, *, before: datetime) -> None:
        """Their rows, some at a time."""
        await store.remove_old_pieces(tx, before=before)
