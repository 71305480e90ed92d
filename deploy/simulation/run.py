"""One seed after the other: build a world, let clients and accidents loose, and look at the end."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from chassis import sources
from deploy.assembly import PROCESSES
from deploy.simulation import shop
from deploy.simulation.acts import ACTS
from deploy.simulation.books import Look, as_lines
from deploy.simulation.clients import CLIENTS, Client, History
from deploy.simulation.judging import audit
from deploy.simulation.weather import Weather, bus_faults
from deploy.simulation.world import Process, WarmApps, World
from deploy.verify import Finding, verify

# Back-off of sagas reaches 15 minutes.
REST_S_MAX = 1800.0
REPEATED = 4


@dataclass
class Outcome:
    """What came of one seed."""

    seed: int
    wrong: list[str]
    digest: str
    sagas: int
    calls: int
    tries: int
    faults: dict[str, int]
    virtual_s: float
    rest_s: float
    steps: int
    lines: list[str] = field(repr=False, default_factory=list)


class Simulation:
    """A folder with a shop as it is when it opens; each seed gets a copy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened = folder / "opened"
        self._apps = WarmApps()

    def prepare(self) -> None:
        """Migrate the databases and load the shop, once."""
        world = World("shop")
        self._opened.mkdir()
        with sources.replaced(world):
            world.loop.run(_open(Process(world, self._opened, self._apps)))

    def run(self, seed: int, *, rest_s_max: float = REST_S_MAX) -> Outcome:
        """Let the seed happen. ``rest_s_max``: when to give up waiting for rest, virtual."""
        folder = self._folder / "now"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in PROCESSES:
            shutil.copyfile(self._opened / f"{name}.db", folder / f"{name}.db")
        world = World(str(seed))
        with sources.replaced(world):
            return world.loop.run(_happen(seed, world, folder, self._apps, rest_s_max))


async def _open(process: Process) -> None:
    await process.boot()
    body = json.dumps(shop.document()).encode()
    headers = {"content-type": "application/json", "idempotency-key": "open"}
    reply = await process.ask("POST", "/admin/import", headers, body)
    assert reply.status == 200, reply.body
    assert not reply.json()["refusals"], reply.body
    await process.stop()


def _is_about_age(found: Finding) -> bool:
    return "was inserted later" in found.message or "has no link" in found.message


async def _happen(
    seed: int, world: World, folder: Path, apps: WarmApps, rest_s_max: float
) -> Outcome:
    process = Process(world, folder, apps, bus_faults=bus_faults(world))
    weather = Weather(world, process)
    history = History()
    wrong: list[str] = []
    chance = world.chance("run")
    orders = chance.sample(range(1, shop.ORDERS + 1), chance.randint(2, 4))
    clients = [Client(n, world, process, history, orders) for n in range(CLIENTS)]
    with weather.over():
        await process.boot()
        await asyncio.gather(weather.blow(), *(client.run(ACTS) for client in clients))
        await process.up.wait()
        calm_at = world.loop.time()
        async with Look(process.settings) as look:
            under_way = await look.under_way()
            while under_way and world.loop.time() < calm_at + rest_s_max:
                await asyncio.sleep(1.0)
                under_way = await look.under_way()
            rest_s = world.loop.time() - calm_at
            answered = [call for call in history.calls if call.status == 200]
            for call in chance.sample(answered, min(REPEATED, len(answered))):
                await clients[0].repeat(call)
            books = await look.books()
        report = await verify(process.settings, at_rest=True)
        await process.stop()
    wrong += [
        f"{found.invariant} {found.id} {found.message}"
        for found in report.findings
        # Where a clock was set back, records look older than those before them, and the audit chain
        # is right to ask about that.
        if not (weather.clock_was_set_back and _is_about_age(found))
    ]
    wrong += audit(history, books)
    world.lines += as_lines(books)
    return Outcome(
        seed=seed,
        wrong=wrong,
        digest=world.digest,
        sagas=len(books.claims) + len(books.returns) + len(books.receipts),
        calls=len(history.calls),
        tries=sum(call.tries for call in history.calls),
        faults=dict(weather.struck),
        virtual_s=world.loop.time(),
        rest_s=rest_s,
        steps=world.loop.steps,
        lines=world.lines,
    )
