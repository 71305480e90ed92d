"""A line between client and shop that breaks where it is told to."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

REFUSE = "refuse"  # 503, and the shop never hears of it
LOSE = "lose"  # the shop has done it, and the answer is 503
DROP = "drop"  # the connection ends before the shop hears of it
CUT = "cut"  # the shop has done it, and the connection ends without an answer
LEAVE = "leave"  # the connection ends while the shop is still at it

_NOT_NOW = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
    b"content-length: 60\r\nconnection: close\r\n\r\n"
    b'{"type":"unexpected_state","message":"injected by the test"}'
)


class Line:
    """A proxy on loopback. ``plan[path]`` are the faults that the next requests meet, in order;
    ``keys[path]`` are the idempotency keys that came along; ``not_now[path]``: how often the shop
    itself, with nothing broken, answered 503."""

    def __init__(self, upstream: str) -> None:
        self.plan: dict[str, deque[str]] = defaultdict(deque)
        self.keys: dict[str, list[str]] = defaultdict(list)
        self.not_now: Counter[str] = Counter()
        where = urlsplit(upstream)
        self._upstream = (where.hostname, where.port)
        self._left: set[asyncio.Task[bytes]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection carries one request: who wants more opens another."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path, fields = _read(head)
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            self.keys[path].append(fields.get("idempotency-key", ""))
            fault = self.plan[path].popleft() if self.plan[path] else None
            answer = await self._meet(fault, _for_one(head) + body)
            if fault is None and answer.startswith(b"HTTP/1.1 503 "):
                self.not_now[path] += 1
            writer.write(answer)
            await writer.drain()
        finally:
            writer.close()

    async def _meet(self, fault: str | None, request: bytes) -> bytes:
        if fault == DROP:
            return b""
        if fault == REFUSE:
            return _NOT_NOW
        asking = asyncio.create_task(self._ask(request))
        if fault == LEAVE:
            self._left.add(asking)
            return b""
        answer = await asking
        return {LOSE: _NOT_NOW, CUT: b""}.get(fault or "", answer)

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()

    async def end(self) -> None:
        """Until the shop has answered what nobody waited for."""
        await asyncio.gather(*self._left)


def _read(head: bytes) -> tuple[str, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in rest if line)
    return first.split(" ")[1], {name.lower(): value.strip() for name, _, value in fields}


def _for_one(head: bytes) -> bytes:
    """The same head, for a connection that ends with the answer."""
    first, *rest = head.split(b"\r\n")
    kept = [line for line in rest if line and not line.lower().startswith(b"connection:")]
    return b"\r\n".join([first, *kept, b"connection: close", b"", b""])


@asynccontextmanager
async def line_to(upstream: str) -> AsyncIterator[tuple[Line, str]]:
    """(the line, its address), closed with the block."""
    line = Line(upstream)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield line, f"http://{host}:{port}"
        await line.end()
    finally:
        server.close()
        await server.wait_closed()
