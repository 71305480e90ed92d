"""Where files are kept that do not belong into a database: a small port, and a local folder.

A file is there whole or not at all: it is written under a name that nobody reads, brought to the
disk, and renamed. Its row is written after it and removed before it, so that no row ever lacks its
file; what a crash leaves is a file without a row, which ``stale`` finds. An adapter for a store of
objects would keep this contract.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from chassis.errors import Unavailable
from chassis.values import random_token

T = TypeVar("T")
_KEY = re.compile(r"[0-9a-f]{32}")
# Files lie in this many folders, by the first sign of their keys.
SHARDS = 16


def new_key() -> str:
    """A name that nobody can guess."""
    return random_token(16)


class Files(Protocol):
    """What whoever keeps and shows files needs."""

    async def write(self, key: str, content: bytes) -> None:
        """Keep a file under a new key; it is durable when this returns. Raises Unavailable."""

    async def read(self, key: str) -> bytes | None:
        """The file, or None. Raises Unavailable."""

    async def remove(self, key: str) -> None:
        """Forget a file; none there is no error. Raises Unavailable."""

    async def stale(self, shard: int, *, before: datetime) -> list[str]:
        """The keys of one part of the files (0 to ``SHARDS`` - 1) that were written before then."""


class LocalFiles:
    """Files in a folder of this machine, or one that all replicas have mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key of a file")
        return self._folder / key[0] / key

    async def write(self, key: str, content: bytes) -> None:
        """Written beside, brought to the disk, renamed, and the folder brought to the disk."""
        await _done(self._write, self._path(key), content)

    async def read(self, key: str) -> bytes | None:
        """All of it: files are small by the limit of their size."""
        path = self._path(key)

        def look() -> bytes | None:
            return path.read_bytes() if path.exists() else None

        return await _done(look)

    async def remove(self, key: str) -> None:
        """Unlinked; after a power failure it may be back, for ``stale`` to find."""
        path = self._path(key)
        await _done(lambda: path.unlink(missing_ok=True))

    async def stale(self, shard: int, *, before: datetime) -> list[str]:
        """By the time of their last change; a file that was only begun is one of them."""
        return await _done(self._stale, self._folder / f"{shard:x}", before)

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_suffix(".part")
        # Only its owner may read it, and nobody runs it.
        opened = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(opened, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
        for folder in (path.parent, self._folder):
            _sync(folder)

    def _stale(self, folder: Path, before: datetime) -> list[str]:
        found = []
        with suppress(FileNotFoundError):
            for entry in os.scandir(folder):
                changed = datetime.fromtimestamp(entry.stat().st_mtime, UTC)
                if changed >= before:
                    continue
                if entry.name.endswith(".part"):
                    # Nobody writes that long: whoever began it is gone.
                    Path(entry.path).unlink(missing_ok=True)
                elif _KEY.fullmatch(entry.name):
                    found.append(entry.name)
        return sorted(found)


async def _done(work: Callable[..., T], *given: Any) -> T:
    """Work on the disk, aside. Raises Unavailable for whatever the disk refuses."""
    try:
        return await asyncio.to_thread(work, *given)
    except OSError as error:
        raise Unavailable(f"the store of files cannot be used: {error.strerror}") from error


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
