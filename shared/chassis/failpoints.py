"""Named points where a test or a rehearsal may break the process. Off, they cost a comparison.

``RECLAMO_FAILPOINT=orders.refund.p1@3:kill`` kills the process at the third passage; several are
separated by commas. Actions: kill, raise, hang, sleep (50 ms). A simulation watches all of them
(``watch``) and decides by itself what breaks.

``RECLAMO_FAILPOINT_FILE`` names a file with such text: read at the start, and again at each
SIGUSR1, so that a rehearsal arms a running process. Without it SIGUSR1 is not listened to.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

Watcher = Callable[[str], Awaitable[None]]
_armed: dict[str, list[object]] = {}
_watcher: Watcher | None = None


class Broken(Exception):
    """What the action ``raise`` raises."""


def arm(text: str) -> None:
    """Arm points from text: ``name[@nth][:action]``, comma separated; empty text disarms all."""
    _armed.clear()
    for part in filter(None, text.split(",")):
        where, _, action = part.partition(":")
        name, _, nth = where.partition("@")
        _armed[name.strip()] = [int(nth or 1), action or "kill"]


def watch(watcher: Watcher | None) -> None:
    """Have every passage told to ``watcher``, which may raise or never return; None ends it."""
    global _watcher
    _watcher = watcher


def arm_from(file: Path) -> None:
    """Arm what a file says, now and whenever SIGUSR1 comes; no file disarms. In a running loop."""

    def read() -> None:
        arm(file.read_text().strip() if file.exists() else "")

    read()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, read)


async def failpoint(name: str) -> None:
    """Pass by, unless this very point is armed and its turn has come."""
    if _watcher is not None:
        await _watcher(name)
    if not _armed:
        return
    entry = _armed.get(name)
    if entry is None:
        return
    left = int(str(entry[0])) - 1
    entry[0] = left
    if left != 0:
        return
    if entry[1] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif entry[1] == "raise":
        raise Broken(name)
    elif entry[1] == "hang":
        await asyncio.Event().wait()
    elif entry[1] == "sleep":
        await asyncio.sleep(0.05)
