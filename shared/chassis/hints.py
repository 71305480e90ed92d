"""Wakes between the processes of one service: LISTEN and NOTIFY of PostgreSQL.

A hint only: who waits also looks by itself, so that a lost hint costs time and nothing else. It is
said after the commit, on a connection of its own: within the business transaction NOTIFY would make
commits wait for each other. A process that is alone says nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

from chassis import clock
from chassis.observability import WAKES
from chassis.values import jitter

log = structlog.get_logger(__name__)

CHANNEL = "reclamo_wakes"
LOOK_S = 5.0
AGAIN_S = 1.0
_STATEMENT_S = 5.0
_CONNECTION = {
    "application_name": "reclamo wakes",
    # A hint that a crash loses needs no flush to disk.
    "synchronous_commit": "off",
}
_COMPANY = (
    "SELECT count(*) > 1 FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = $1"
)
# PostgreSQL takes 8,000 bytes at once.
_KEYS_AT_ONCE = 50


class Hints:
    """One process's ear and mouth. ``wake`` wakes who waits here for a key."""

    def __init__(
        self, url: str, *, wake: Callable[[str], bool], wake_all: Callable[[], None]
    ) -> None:
        self._url = url
        self._wake = wake
        self._wake_all = wake_all
        self._service = ""
        self._me = 0
        self._has_company = False
        self._unsaid: dict[str, None] = {}
        self._stir = asyncio.Event()

    def tell(self, key: str) -> None:
        """Say it to the others soon, many keys at once; nothing when there are none."""
        if self._has_company:
            self._unsaid[key] = None
            self._stir.set()

    async def run(self, service: str) -> None:
        """Until cancelled; connects again after trouble."""
        self._service = service
        while True:
            try:
                await self._converse()
            except Exception as error:
                log.warning("wakes_not_shared", error=repr(error))
            finally:
                self._has_company = False
                self._unsaid.clear()
            await asyncio.sleep(jitter(AGAIN_S, 0.5))

    async def _converse(self) -> None:
        connection = await asyncpg.connect(
            self._url, timeout=5, command_timeout=_STATEMENT_S, server_settings=_CONNECTION
        )
        try:
            connection.add_termination_listener(lambda _: self._stir.set())
            self._me = connection.get_server_pid()
            await connection.add_listener(CHANNEL, self._hear)
            # Hello: whoever was alone until now is so no longer.
            await self._say(connection, "")
            self._wake_all()
            look_at = 0.0
            while not connection.is_closed():
                if clock.monotonic_s() >= look_at:
                    self._has_company = await connection.fetchval(
                        _COMPANY, _CONNECTION["application_name"]
                    )
                    look_at = clock.monotonic_s() + LOOK_S
                await self._stirred()
                while self._unsaid:
                    keys = list(self._unsaid)[:_KEYS_AT_ONCE]
                    for key in keys:
                        del self._unsaid[key]
                    await self._say(connection, "\n".join(keys))
                    WAKES.labels(self._service, "told").inc(len(keys))
        finally:
            connection.terminate()

    async def _stirred(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._stir.wait()
        except TimeoutError:
            pass
        self._stir.clear()

    async def _say(self, connection: asyncpg.Connection, text: str) -> None:
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, text)

    def _hear(self, _: Any, speaker: int, __: str, text: str) -> None:
        if speaker == self._me:
            return
        self._has_company = True
        for key in filter(None, text.split("\n")):
            WAKES.labels(self._service, "heard").inc()
            self._wake(key)
