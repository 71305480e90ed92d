"""The operator's lists as the gateway gives them: ``{<plural>, count, offset, limit, missing}``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from deploy.gateway_client import Gateway

Answer = dict[str, Any]
# A service that restarts is back within this.
PATIENCE_S = 10.0


class Source(Protocol):
    """The operator's lists. ``what`` is dead-letters, outbox or sagas."""

    async def page(self, what: str, *, limit: int, offset: int = 0, **filters: Any) -> Answer:
        """One page of a list; filters that are None do not count."""

    async def one(self, what: str, id_: str) -> Answer:
        """One thing: {dead_letter} or {saga}."""


class AtGateway:
    """The lists that the gateway gives."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def page(self, what: str, *, limit: int, offset: int = 0, **filters: Any) -> Answer:
        """GET the list."""
        given = {"limit": limit, "offset": offset, **filters}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        return await self._gateway.get(f"/admin/{what}?{query}")

    async def one(self, what: str, id_: str) -> Answer:
        """GET one."""
        return await self._gateway.get(f"/admin/{what}/{quote(id_, safe='')}")


@asynccontextmanager
async def at_gateway(url: str, token: str | None) -> AsyncIterator[AtGateway]:
    """The source at a URL."""
    async with Gateway(url, token, patience_s=PATIENCE_S) as gateway:
        yield AtGateway(gateway)
