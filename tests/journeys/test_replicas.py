"""Two processes of everything, gateways included: they share the work, and killing or stopping one
loses nothing, doubles nothing, and stands in nobody's way for long."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from chassis import clock
from chassis.testing import eventually
from deploy.assembly import PROCESSES, SERVICES
from deploy.local import Process
from tests.journeys.conftest import needs_engines
from tests.journeys.crash_kit import (
    PATIENCE_S,
    Errand,
    Load,
    Shop,
    audit,
)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # One system serves the whole file.
    pytest.mark.xdist_group("replicas"),
    pytest.mark.timeout(300),
]

ORDERS = 800
CALLS_BEFORE, CALLS_ALONE, CALLS_AFTER = 4, 12, 8
# A stopped process is found out by its silence: the relay's hold ends after 15 s, the broker's
# heartbeats after 30 s, a transaction after 30 s. Then somebody else has to do the work as well.
FOUND_OUT_WITHIN_S = 90.0


class Replicas(Shop):
    """A shop with two of everything, whose clients take the gateways in turn."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.system.replicas = 2
        self._turns = itertools.count()
        self.crowd = 1
        self._pause_s = 0.0

    @property
    def gateways(self) -> list[str]:
        return self.system.urls("gateway")

    async def _post(self, path: str, body: dict[str, object], key: str) -> tuple[int, bytes]:
        """To the gateways in turn. A crowd sends it several times at once: then the worst answer
        counts, and good ones must be the same."""
        gateways = [self.gateways[next(self._turns) % 2] for _ in range(self.crowd)]
        told = await asyncio.gather(*(self.post_to(each, path, body, key) for each in gateways))
        good = {answer for status, answer in told if status == 200}
        assert len(good) <= 1, f"{key} is answered in {len(good)} ways: {good}"
        return max(told, key=lambda each: each[0])

    async def post_to(
        self, gateway: str, path: str, body: dict[str, object], key: str
    ) -> tuple[int, bytes]:
        """One try at one gateway: status and bytes."""
        assert self._session is not None
        async with self._session.post(
            gateway + path, json=body, headers={"Idempotency-Key": key}
        ) as answer:
            return answer.status, await answer.read()

    async def run(self, errand: Errand) -> None:
        """An errand, and a rest after it while everybody only waits."""
        await super().run(errand)
        await asyncio.sleep(self._pause_s)

    @contextmanager
    def leisure(self) -> Iterator[None]:
        """Inside, clients take their time: what is waited for takes long."""
        self._pause_s = 1.0
        try:
            yield
        finally:
            self._pause_s = 0.0

    async def ask(self, method: str, url: str, body: dict[str, object] | None = None) -> Any:
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
            await eventually(lambda: self._lives(process.url), within_s=PATIENCE_S, every_s=0.05)
        return clock.now()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Replicas]:
    """One running system for all tests of the file."""
    needs_engines()
    folder = tempfile.mkdtemp(prefix="reclamo-replicas-")
    # PostgreSQL may have to run as another user, who must be able to walk through.
    os.chmod(folder, 0o711)
    running = Replicas(Path(folder))
    try:
        await running.open(orders=ORDERS)
        yield running
    finally:
        await running.close()
        shutil.rmtree(folder, ignore_errors=True)


async def _all_is_well(shop: Replicas, load: Load, since: datetime) -> None:
    """At rest, every answer stands at both gateways, and the books hold what was asked."""
    await shop.rest(since)
    lost = await shop.healed_late(since)
    assert not lost, "\n".join(lost[:20])
    # An odd number of calls, or the second time each would meet the same gateway.
    for _ in range(2):
        await shop.same_answers(load)
        next(shop._turns)
    wrong = audit(shop.errands, await shop.books())
    assert not wrong, "\n".join(wrong[:20])


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


@pytest.mark.parametrize("service", SERVICES)
async def test_when_the_one_that_sends_is_killed_the_other_goes_on_alone(
    shop: Replicas, service: str
) -> None:
    victim = await shop.holder(service)
    (survivor,) = (each for each in shop.processes(service) if each is not victim)
    async with shop.load() as load:
        await load.answered(CALLS_BEFORE)
        async with shop.without(victim):
            await load.answered(load.calls_answered + CALLS_ALONE)
            assert await shop.holders(service) == [survivor]
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


@pytest.mark.parametrize("service", ["claims", "orders"])
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
    made = await shop.ask("POST", f"{one}/admin/tokens", {"name": "short", "role": "agent"})
    secret, token_id = made["secret"], made["token"]["id"]
    for gateway in (one, other):
        assert await shop.knows(gateway, secret)
    await shop.ask("DELETE", f"{one}/admin/tokens/{token_id}")
    assert not await shop.knows(one, secret)

    async def refused() -> bool:
        return not await shop.knows(other, secret)

    await eventually(refused, within_s=30)
