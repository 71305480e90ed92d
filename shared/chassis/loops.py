"""Background work that is owned, woken, and survives trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from chassis.errors import Unavailable

log = structlog.get_logger(__name__)


class Loop:
    """Calls ``step`` again and again: at once while it says True, else when woken or idle is over.

    A failing step is logged and tried again, with a growing pause of at most 5 seconds.
    """

    def __init__(self, name: str, step: Callable[[], Awaitable[bool]], *, idle_s: float) -> None:
        self.name = name
        self._step = step
        self._idle_s = idle_s
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be work."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            self._woken.clear()
            try:
                more = await self._step()
                failures = 0
            except Exception as error:
                failures += 1
                level = log.warning if isinstance(error, Unavailable) else log.exception
                level("loop_failed", loop=self.name, error=str(error), failures=failures)
                await asyncio.sleep(min(0.1 * 2 ** min(failures, 6), 5))
                continue
            if more:
                await asyncio.sleep(0)
                continue
            try:
                async with asyncio.timeout(self._idle_s):
                    await self._woken.wait()
            except TimeoutError:
                pass
