"""A file is there whole or not at all, and what nobody speaks of is found."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from chassis import clock
from chassis.errors import Unavailable
from chassis.files import SHARDS, LocalFiles, new_key


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path / "kept")


async def stale(files: LocalFiles, **ago: float) -> list[str]:
    before = clock.now() - timedelta(**ago)
    return [key for shard in range(SHARDS) for key in await files.stale(shard, before=before)]


async def test_what_was_written_is_read_until_it_is_removed(files: LocalFiles) -> None:
    key = new_key()
    assert await files.read(key) is None
    await files.write(key, b"a photo")
    assert await files.read(key) == b"a photo"
    await files.remove(key)
    await files.remove(key)
    assert await files.read(key) is None


def found(folder: Path, key: str) -> Path:
    """Where the file of a key lies."""
    return next(folder.rglob(key))


async def test_only_its_owner_may_read_it(files: LocalFiles, tmp_path: Path) -> None:
    key = new_key()
    await files.write(key, b"x")
    assert found(tmp_path, key).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("key", ["", "../secret", "A" * 32, "0" * 31, "0" * 32 + "/x"])
async def test_a_key_that_is_none_leads_nowhere(files: LocalFiles, key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        await files.read(key)


async def test_old_files_are_found_and_young_ones_left_alone(
    files: LocalFiles, tmp_path: Path
) -> None:
    old, young = new_key(), new_key()
    for key in (old, young):
        await files.write(key, b"x")
    os.utime(found(tmp_path, old), (0, 0))
    assert await stale(files, hours=1) == [old]


async def test_what_was_only_begun_goes_by_itself(files: LocalFiles, tmp_path: Path) -> None:
    key = new_key()
    await files.write(key, b"x")
    begun = found(tmp_path, key).with_suffix(".part")
    begun.write_bytes(b"half")
    os.utime(begun, (0, 0))
    assert await stale(files, hours=1) == []
    assert not begun.exists()


async def test_a_store_that_cannot_be_used_is_passing_trouble(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="store of files"):
        await LocalFiles(tmp_path / "kept").write(new_key(), b"x")
