"""The invented world: its clock, its dice, its log, and the one process that lives in it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette

from chassis import auth, sources
from deploy.embedded import Embedded
from deploy.secrets_file import Secrets
from deploy.simulation.loop import LIFE, SimulatedLoop
from gateway.clients import InProcessTransport, Reply, Upstream
from gateway.gate import Gate
from gateway.settings import GatewaySettings

T = TypeVar("T")

SECRETS = Secrets(
    secret_key="simulation-" + "0123456789abcdef" * 3,
    admin_token="rk_" + "0011223344556677" * 3,
    demo_password="unused",
)
WAIT_BOUND_S = 10.0
_BEGAN_NS = 1_767_268_800 * 10**9  # 2026-01-01T12:00:00Z


class Gone(Exception):
    """The process died, or is not there: whoever was connected has no answer."""


class World:
    """Time, chance and the record of what happened. All of it follows from the seed."""

    def __init__(self, seed: str) -> None:
        # Only what asyncio itself asks of a loop is there.
        self.loop = SimulatedLoop(sources.chance(f"{seed}/order"))  # type: ignore[abstract]
        self.clock_is_ahead_s = 0.0
        self._seed = seed
        self._chance = sources.chance(f"{seed}/values")
        self.lines: list[str] = []

    def chance(self, of: str) -> Any:
        """A generator of its own for one part of the world."""
        return sources.chance(f"{self._seed}/{of}")

    def say(self, *what: object) -> None:
        """Write down that something happened."""
        self.lines.append(f"{self.loop.time():.6f} {' '.join(map(str, what))}")

    @property
    def digest(self) -> str:
        """What tells one course of events from another."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    # As chassis.sources has it.

    def now_ns(self) -> int:
        """The wall clock, which faults may set."""
        return _BEGAN_NS + int((self.loop.time() + self.clock_is_ahead_s) * 10**9)

    def monotonic_s(self) -> float:
        """The loop's time."""
        return self.loop.time()

    def randbytes(self, size: int) -> bytes:
        """Of the seed."""
        found: bytes = self._chance.randbytes(size)
        return found

    def uniform(self, least: float, most: float) -> float:
        """Of the seed."""
        found: float = self._chance.uniform(least, most)
        return found


class WarmApps:
    """FastAPI works a route out at its first request, which costs more than everything else here.
    It keeps nothing of a life but ``state``: so the first life's applications serve all lives."""

    def __init__(self) -> None:
        self._first: dict[str, Starlette] = {}

    def take_over(self, life: Embedded) -> Starlette:
        """The applications, made those of this life; the gateway's is given back."""
        fresh = {name: service.app for name, service in life.services.items()}
        fresh["gateway"] = life.gateway.app
        for name, app in fresh.items():
            self._first.setdefault(name, app).state = app.state
        gate: Gate = life.gateway.app.state.gate
        issuer = auth.Issuer(auth.private_key(SECRETS.secret_key, "internal"))
        for name in life.services:
            transport = InProcessTransport(self._first[name])
            gate.upstreams[name] = Upstream(name, transport, issuer, wait_bound_s=WAIT_BOUND_S)
        return self._first["gateway"]


class Process:
    """The embedded installation on a folder of SQLite files: one life after the other."""

    def __init__(self, world: World, folder: Path, apps: WarmApps, *, bus_faults: str = "") -> None:
        self._apps = apps
        self._world = world
        self._loop = world.loop
        self.settings = GatewaySettings(
            data_dir=folder,
            databases={},
            wait_bound_s=WAIT_BOUND_S,
            bus_local_faults=bus_faults,
            failpoint="",
        )
        self._outside = copy_context()
        self._inside = self._outside
        self._life = 0
        self._embedded: Embedded | None = None
        self._transport: InProcessTransport | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._chance = world.chance("process")
        self.up = asyncio.Event()

    @property
    def now(self) -> Embedded:
        """The installation that lives."""
        assert self._embedded is not None, "it never started"
        return self._embedded

    async def boot(self) -> None:
        """Begin a life; returns when it serves, or has ended already."""
        self._life += 1
        self._inside = self._outside.copy()
        self._inside.run(LIFE.set, self._life)
        self._embedded = self._inside.run(Embedded, self.settings, SECRETS)
        try:
            await self.live(self._embedded.start())
        except Gone:
            return
        self._transport = InProcessTransport(self._apps.take_over(self._embedded))
        self._world.say("serves, life", self._life)
        self.up.set()

    async def live(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work inside the process. Raises Gone when it dies meanwhile, or has died."""
        if self._life in self._loop.ended:
            work.close()
            raise Gone("no such process")
        task = self._loop.create_task(work, context=self._inside.copy())
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(done)

        def finished(_: asyncio.Task[T]) -> None:
            if not done.done():
                done.set_result(None)

        task.add_done_callback(finished, context=self._outside)
        try:
            await done
        except asyncio.CancelledError:
            task.cancel()  # the client hangs up
            raise
        finally:
            self._waiting.remove(done)
        return task.result()

    async def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None,
        *,
        customer: str = "",
    ) -> Reply:
        """One request to the gateway, of the shop or of a customer. Raises Gone."""
        if not self.up.is_set() or self._transport is None:
            raise Gone("connection refused")
        if customer:
            headers = {"authorization": f"Bearer {self._token_of(customer)}", **headers}
        else:
            headers = {"x-medusa-access-token": SECRETS.admin_token, **headers}
        return await self.live(self._transport.send(method, path, headers, body))

    def _token_of(self, customer: str) -> str:
        """What signing in gives, without the password: to hash one costs more than a claim."""
        gate: Gate = self.now.gateway.app.state.gate
        return gate.identity.access_token(customer, customer_id=customer)

    def kill(self) -> None:
        """SIGKILL: from here on nothing of this life runs. It is started again."""
        if LIFE.get() not in (0, self._life) or self._life in self._loop.ended:
            return
        self._world.say("killed, life", self._life)
        self.up.clear()
        self._loop.end_life(self._life)
        for done in self._waiting:
            if not done.done():
                done.set_exception(Gone("connection reset"))
        self._loop.create_task(self._rise(self._life), context=self._outside.copy())

    async def _rise(self, dead: int) -> None:
        await self._bury(dead)
        await asyncio.sleep(self._chance.uniform(0.05, 1.5))
        await self.boot()

    async def _bury(self, dead: int) -> None:
        """What the operating system does: locks and files of the dead process are released."""
        self._loop.bury(dead)
        for service in self.now.services.values():
            await service.database.close()
        await self.now.gateway.database.close()

    async def restart(self) -> None:
        """SIGTERM and a new start."""
        self._world.say("stops, life", self._life)
        self.up.clear()
        try:
            await self.live(self.now.stop())
        except Gone:
            return
        for done in self._waiting:
            if not done.done():
                done.set_exception(Gone("connection closed"))
        self._loop.end_life(self._life)
        await self._bury(self._life)
        await self.boot()

    async def stop(self) -> None:
        """The end, in order."""
        await self.up.wait()
        self.up.clear()
        await self.live(self.now.stop())
        self._loop.end_life(self._life)
        self._loop.bury(self._life)
