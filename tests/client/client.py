"""The published npm client, run by Node beside the test: ``await client("admin.orders.list")``."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.client.methods import MAP, fits

Json = dict[str, Any]
HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json", "driver.js")
INSTALL = ("ci", "--ignore-scripts", "--legacy-peer-deps", "--prefer-offline", "--no-audit")
INSTALL_WITHIN_S = 100
# Lines carry whole lists of orders.
LINE_MAX_BYTES = 2**24


class NodeMissing(Exception):
    """Node, npm, or a registry that npm can reach is missing; the text says which."""


def install(folder: Path) -> Path:
    """The client as the lock says, in a folder. Raises NodeMissing.

    npm takes the registry from its own configuration; what it fetches must have the hashes of the
    lock. The client names Medusa's server as its peer: it is left out.
    """
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            raise NodeMissing(f"{name} is not installed (Debian: apt-get install nodejs npm)")
    for name in FILES:
        shutil.copy(HERE / name, folder)
    try:
        subprocess.run(
            ["npm", *INSTALL],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        raise NodeMissing(f"npm ci did not end within {INSTALL_WITHIN_S} s") from None
    except subprocess.CalledProcessError as error:
        raise NodeMissing(f"npm ci failed: {error.stderr[-500:]}") from None
    return folder


@dataclass(frozen=True)
class Told:
    """What the client gave back, or raised: ``refused`` is the text of its error."""

    verb: str
    path: str
    query: str
    status: int | None
    data: Any
    headers: Json
    refused: str | None

    @property
    def done(self) -> Json:
        """The answer of a call that succeeded."""
        assert self.refused is None, f"{self.verb} {self.path}: {self.status} {self.data}"
        assert self.status in (200, 201)
        found: Json = self.data
        return found

    def __getitem__(self, name: str) -> Any:
        return self.done[name]


@dataclass
class Node:
    """A running driver; any number of calls at the same time."""

    process: Process
    _waiting: dict[int, asyncio.Future[Json]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def call(self, options: Json, method: str, *args: Any) -> Told:
        """One method of a client with these options."""
        answer = await self._answer(options, method, args)
        told = Told(
            **answer["asked"],
            status=answer["status"],
            data=answer["data"],
            headers=answer.get("headers") or {},
            refused=answer.get("refused"),
        )
        asked = f"{told.verb} {told.path}"
        assert method.startswith("admin.custom.") or fits(asked, MAP[method]), asked
        return told

    async def methods(self, options: Json, resource: str) -> set[str]:
        """The names of all methods of a resource."""
        answer = await self._answer(options, f"{resource}.*", ())
        return {f"{resource}.{name}" for name in answer["methods"]}

    async def _answer(self, options: Json, method: str, args: tuple[Any, ...]) -> Json:
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": number, "options": options, "method": method, "args": args})
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()
        answer = await waiting
        assert "broken" not in answer, f"{method}: {answer['broken']}"
        return answer

    async def listen(self) -> None:
        """Hand every answer to whoever waits for it, until the process ends."""
        assert self.process.stdout is not None
        try:
            async for line in self.process.stdout:
                answer = json.loads(line)
                self._waiting.pop(answer["id"]).set_result(answer)
        finally:
            for waiting in self._waiting.values():
                waiting.set_exception(AssertionError("the driver ended"))


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Node]:
    """The driver of an installed client, ended with its block."""
    process = await asyncio.create_subprocess_exec(
        "node", "driver.js", cwd=folder, stdin=PIPE, stdout=PIPE, limit=LINE_MAX_BYTES
    )
    node = Node(process)
    listening = asyncio.create_task(node.listen())
    try:
        yield node
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
        with suppress(asyncio.CancelledError):
            listening.cancel()
            await listening


@dataclass(frozen=True)
class Client:
    """A client somewhere, as somebody: ``(await client("admin.orders.list", {}))["orders"]``."""

    node: Node
    url: str
    options: Json

    async def __call__(self, method: str, *args: Any) -> Told:
        return await self.node.call({"baseUrl": self.url, **self.options}, method, *args)

    async def methods(self, resource: str) -> set[str]:
        """The names of all methods of a resource, as ``admin.orders.list``."""
        return await self.node.methods(self.options, resource)

    def at(self, url: str) -> Client:
        """The same client with another address."""
        return Client(self.node, url, self.options)

    def with_(self, **options: Any) -> Client:
        """A client with other options of its constructor."""
        return Client(self.node, self.url, options)
