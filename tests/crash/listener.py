"""Somebody outside who is told of every event by webhook, and remembers what."""

from __future__ import annotations

from aiohttp import web

from chassis.engines import free_port


class Listener:
    """A server on loopback that takes every webhook. ``heard``: message id -> how often it came."""

    def __init__(self) -> None:
        self.heard: dict[str, int] = {}
        self.url = f"http://127.0.0.1:{free_port()}/events"
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_post("/events", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        host, _, port = self.url.removeprefix("http://").partition("/")[0].partition(":")
        await web.TCPSite(self._runner, host, int(port)).start()

    async def stop(self) -> None:
        """Go."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        await request.read()
        name = request.headers["webhook-id"]
        self.heard[name] = self.heard.get(name, 0) + 1
        return web.Response(status=204)
