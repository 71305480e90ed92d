"""Two processes of everything, gateways included: they share the work, and killing or stopping one
loses nothing, doubles nothing, and stands in nobody's way for long."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from chassis import clock
from chassis.testing import eventually
from deploy.assembly import PROCESSES, SERVICES
from deploy.local import Process
from tests.crash import rounds
from tests.crash.clients import PATIENCE_S, Call, Errand
from tests.crash.nursery import Nursery
from tests.crash.shop import Shop, end_abandoned
from tests.journeys.conftest import needs_engines

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # One system serves the whole file.
    pytest.mark.xdist_group("replicas"),
    pytest.mark.timeout(300),
]

ORDERS = 800
SEED = 20261128
CALLS_BEFORE, CALLS_ALONE, CALLS_AFTER = 4, 12, 8
# A stopped process is found out by its silence: the relay's hold ends after 15 s, the broker's
# heartbeats after 30 s, a transaction after 30 s. Then somebody else has to do the work as well.
FOUND_OUT_WITHIN_S = 90.0


class Load(rounds.Load):
    """Clients at work whose answers are counted."""

    @property
    def calls_answered(self) -> int:
        """How many calls of this load have their answer."""
        return sum(asked.answer is not None for errand in self.errands for asked in errand.calls)

    async def answered(self, calls: int) -> None:
        """Until so many have; raises what a client met."""

        def probe() -> bool:
            self.look()
            return self.calls_answered >= calls

        await eventually(probe, within_s=PATIENCE_S)


class Replicas(Shop):
    """A shop with two of everything."""

    def __init__(self, nursery: Nursery, *, orders: int) -> None:
        super().__init__(nursery, orders=orders)
        self.system.replicas = 2
        self.crowd = 1
        self._chance = random.Random(SEED)
        self._pause_s = 0.0

    @property
    def gateways(self) -> list[str]:
        return self.system.urls("gateway")

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Load]:
        """Clients that work while inside and have all their answers at the end."""
        load = Load(self, self._chance)
        try:
            yield load
            await load.finish()
        finally:
            await load.leave()

    async def run(self, errand: Errand) -> None:
        """An errand, and a rest after it while everybody only waits."""
        await super().run(errand)
        await asyncio.sleep(self._pause_s)

    async def _try(self, errand: Errand, asked: Call) -> str:
        """A crowd asks several times at once: it has an answer when each of them has, the same."""
        one_try = super()._try
        crowd = [replace(asked) for _ in range(self.crowd)]
        troubles = await asyncio.gather(*(one_try(errand, each) for each in crowd))
        answers = {each.answer for each in crowd}
        good = answers - {None}
        assert len(good) <= 1, f"{asked.key} is answered in {len(good)} ways: {good}"
        if answers == good:
            asked.answer = good.pop()
        return "; ".join(filter(None, troubles))

    @contextmanager
    def leisure(self) -> Iterator[None]:
        """Inside, clients take their time: what is waited for takes long."""
        self._pause_s = 1.0
        try:
            yield
        finally:
            self._pause_s = 0.0

    async def same_answers(self, errands: list[Errand]) -> None:
        """Every call once more at one gateway, then at the other."""
        try:
            for gateway in self.gateways:
                self._turns = itertools.repeat(gateway)
                await super().same_answers(errands)
        finally:
            self._turns = itertools.cycle(self.gateways)

    async def request(self, method: str, url: str, body: dict[str, object] | None = None) -> Any:
        """A call that succeeds; its JSON."""
        assert self._session is not None
        async with self._session.request(method, url, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def knows(self, gateway: str, secret: str) -> bool:
        """Whether the gateway takes this API token."""
        assert self._session is not None
        headers = {"x-medusa-access-token": secret}
        async with self._session.get(f"{gateway}/admin/claims", headers=headers) as answer:
            assert answer.status in (200, 401), await answer.text()
            return answer.status == 200

    async def metric(self, process: Process, name: str, **labels: str) -> float:
        """The sum of a process's samples with these labels; 0 while it does not answer."""
        assert self._session is not None
        try:
            async with self._session.get(
                f"{process.url}/metrics", timeout=aiohttp.ClientTimeout(5)
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0.0
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def processes(self, service: str) -> list[Process]:
        """Both processes of a service."""
        return [each for each in self.system.processes.values() if each.service == service]

    async def holders(self, service: str) -> list[Process]:
        """Whoever of a service sends its messages."""
        return [
            each
            for each in self.processes(service)
            if await self.metric(each, "reclamo_relay_holds") == 1
        ]

    async def holder(self, service: str) -> Process:
        """The one process that sends a service's messages."""

        async def one() -> bool:
            return len(await self.holders(service)) == 1

        await eventually(one, within_s=30)
        return (await self.holders(service))[0]

    @asynccontextmanager
    async def without(self, process: Process) -> AsyncIterator[None]:
        """Inside, the process is dead by SIGKILL and nobody starts it again."""
        process.wanted = False
        process.signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait, 30)
        try:
            yield
        finally:
            process.start()
            process.wanted = True

    async def answers(self, process: Process) -> datetime:
        """Until it is there again; that moment."""
        with self.leisure():
            await eventually(lambda: self.lives(process.name), within_s=PATIENCE_S, every_s=0.05)
        return clock.now()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Replicas]:
    """One running system for all tests of the file."""
    needs_engines()
    end_abandoned()
    nursery = Nursery()
    try:
        await nursery.ready()
        running = Replicas(nursery, orders=ORDERS)
        try:
            await running.open()
            yield running
        finally:
            await running.close()
    finally:
        nursery.close()


async def _all_is_well(shop: Replicas, load: Load, since: datetime) -> None:
    """At rest, every answer stands at both gateways, and the books hold what was asked."""
    await shop.all_is_well(since, errands=load.errands)
    lost = await shop.asked_again_late(since)
    assert not lost, "\n".join(lost[:20])


async def test_both_do_the_work_and_one_of_each_sends(shop: Replicas) -> None:
    async def counts(name: str, **labels: str) -> dict[str, float]:
        found = {}
        for process in shop.system.processes.values():
            found[process.name] = await shop.metric(process, name, **labels)
        return found

    holders = {service: await shop.holder(service) for service in SERVICES}
    sent_before = await counts("reclamo_messages_total", direction="sent")
    async with shop.load() as load:
        await load.answered(60)
    await _all_is_well(shop, load, clock.now())
    sent = await counts("reclamo_messages_total", direction="sent")
    handled = await counts("reclamo_messages_total", direction="handled")
    asked = await counts("reclamo_http_request_seconds_count", method="POST")
    for service in SERVICES:
        for process in shop.processes(service):
            sends = sent[process.name] > sent_before[process.name]
            assert sends == (process is holders[service]), f"{sent_before} {sent}"
            assert handled[process.name] > 0, handled
    for service in ("claims", "returns", "gateway"):
        for process in shop.processes(service):
            assert asked[process.name] > 0, asked
    # What the standby wrote was sent at a hint of it, not at the holder's next look.
    told = await counts("reclamo_wakes_total", way="told")
    heard = await counts("reclamo_wakes_total", way="heard")
    for service, holder in holders.items():
        (standby,) = (each for each in shop.processes(service) if each is not holder)
        assert told[standby.name] > 0, told
        assert heard[holder.name] > 0, heard


async def test_a_key_at_both_gateways_at_the_same_moment_is_one_request(shop: Replicas) -> None:
    shop.crowd = 4
    try:
        async with shop.load() as load:
            await load.answered(40)
    finally:
        shop.crowd = 1
    await _all_is_well(shop, load, clock.now())


@pytest.mark.parametrize("service", ["claims", "inventory"])
async def test_when_the_one_that_sends_is_killed_the_other_goes_on_alone(
    shop: Replicas, service: str
) -> None:
    victim = await shop.holder(service)
    (survivor,) = (each for each in shop.processes(service) if each is not victim)
    async with shop.load() as load:
        await load.answered(CALLS_BEFORE)
        async with shop.without(victim):
            await load.answered(load.calls_answered + CALLS_ALONE)
            assert await shop.holder(service) is survivor
        since = await shop.answers(victim)
        await load.answered(load.calls_answered + CALLS_AFTER)
    await _all_is_well(shop, load, since)


async def test_when_a_gateway_is_killed_the_other_serves(shop: Replicas) -> None:
    victim = shop.processes("gateway")[0]
    async with shop.load() as load:
        await load.answered(CALLS_BEFORE)
        async with shop.without(victim):
            await load.answered(load.calls_answered + CALLS_ALONE)
        since = await shop.answers(victim)
        await load.answered(load.calls_answered + CALLS_AFTER)
    await _all_is_well(shop, load, since)


async def test_when_all_that_stand_by_are_killed_at_once_the_others_go_on(shop: Replicas) -> None:
    holders = [await shop.holder(service) for service in SERVICES]
    victims = [
        next(each for each in shop.processes(service) if each not in holders)
        for service in PROCESSES
    ]
    async with shop.load() as load:
        await load.answered(CALLS_BEFORE)
        async with AsyncExitStack() as dead:
            for victim in victims:
                await dead.enter_async_context(shop.without(victim))
            await load.answered(load.calls_answered + CALLS_ALONE)
        since = max([await shop.answers(victim) for victim in victims])
        await load.answered(load.calls_answered + CALLS_AFTER)
    await _all_is_well(shop, load, since)


@pytest.mark.parametrize("service", ["claims"])
async def test_one_that_stops_without_ending_does_not_stop_the_others(
    shop: Replicas, service: str
) -> None:
    """It keeps its connections, its lock and its unacknowledged messages, and does nothing."""
    stopped = await shop.holder(service)
    (other,) = (each for each in shop.processes(service) if each is not stopped)
    async with shop.load() as load:
        await load.answered(CALLS_BEFORE)
        stopped.signal(signal.SIGSTOP)
        try:

            async def taken_over() -> bool:
                return await shop.metric(other, "reclamo_relay_holds") == 1

            with shop.leisure():
                await eventually(taken_over, within_s=FOUND_OUT_WITHIN_S)
            await load.answered(load.calls_answered + CALLS_ALONE)
        finally:
            stopped.signal(signal.SIGCONT)
        since = await shop.answers(stopped)
        await load.answered(load.calls_answered + CALLS_AFTER)
    await _all_is_well(shop, load, since)
    assert await shop.holder(service) is other


async def test_a_token_revoked_at_one_gateway_is_soon_refused_at_the_other(
    shop: Replicas,
) -> None:
    one, other = shop.gateways
    made = await shop.request("POST", f"{one}/admin/tokens", {"name": "short", "role": "agent"})
    secret, token_id = made["secret"], made["token"]["id"]
    for gateway in (one, other):
        assert await shop.knows(gateway, secret)
    await shop.request("DELETE", f"{one}/admin/tokens/{token_id}")
    assert not await shop.knows(one, secret)

    async def refused() -> bool:
        return not await shop.knows(other, secret)

    await eventually(refused, within_s=30)
