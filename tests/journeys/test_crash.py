"""The distributed mode, killed in every way while clients work: nothing is lost, nothing is
doubled, and a minute after everything answers again nothing is left undone."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.assembly import PROCESSES
from tests.journeys.conftest import needs_engines
from tests.journeys.crash_kit import CLIENTS, Load, Outcome, Shop, audit

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # One system serves the whole file.
    pytest.mark.xdist_group("crash"),
]

ORDERS = 800
CALLS_BEFORE, CALLS_AFTER = 4, 6
# The failpoint is met under load: what came before it was handled, what comes with it is not.
PASSAGE = 3


@dataclass(frozen=True)
class Kill:
    """Which process dies where; ``sentence`` tells it to people."""

    service: str
    point: str
    sentence: str


def _step(service: str, point: str, message: str, what: str) -> Kill:
    when = {"k3": "before the commit of", "k4": "after the commit of"}[point]
    return Kill(service, f"{service}.{message}.{point}", f"{service} dies {when} {what}")


def _relay(service: str, point: str) -> Kill:
    when = {"r1": "before it sends a message", "r3": "before it marks a message as sent"}[point]
    return Kill(service, f"{service}.relay.{point}", f"{service} dies {when}")


def _refund(point: str, when: str) -> Kill:
    return Kill("orders", f"orders.refund.{point}", f"orders dies {when}")


KILLS = (
    _step("orders", "k3", "orders.claim-hold.place", "a claim hold"),
    _step("orders", "k4", "orders.claim-hold.place", "a claim hold"),
    _step("orders", "k4", "orders.return-hold.place", "a return hold"),
    _step("orders", "k3", "orders.claim-refund.execute", "a claim refund"),
    _step("orders", "k3", "orders.return-receipt.settle", "settling a receipt"),
    _step("orders", "k4", "orders.return-receipt.settle", "settling a receipt"),
    _refund("p1", "before it asks the payment provider"),
    _refund("p2", "before it writes down what the provider said"),
    _refund("p3", "after it wrote down what the provider said"),
    _step("orders", "k4", "accept", "a refund by hand"),
    _relay("orders", "r3"),
    _step("inventory", "k3", "inventory.reservation.place", "a reservation"),
    _step("inventory", "k4", "inventory.reservation.place", "a reservation"),
    _step("inventory", "k4", "inventory.receipt-stock.receive", "taking goods into stock"),
    _relay("inventory", "r3"),
    _step("returns", "k3", "returns.claim-return.open", "opening the return of a claim"),
    _step("returns", "k4", "returns.claim-return.open", "opening the return of a claim"),
    _step("returns", "k3", "orders.return-hold.placed.v1", "a reply to its saga"),
    _step("returns", "k4", "orders.return-receipt.settled.v1", "the end of a receipt"),
    _step("returns", "k3", "accept", "what a client asked"),
    _step("returns", "k4", "accept", "what a client asked"),
    _relay("returns", "r1"),
    _step("claims", "k3", "orders.claim-hold.placed.v1", "a reply to its saga"),
    _step("claims", "k4", "orders.claim-hold.placed.v1", "a reply to its saga"),
    _step("claims", "k4", "returns.claim-return.opened.v1", "the end of a claim"),
    _step("claims", "k3", "accept", "a claim"),
    _step("claims", "k4", "accept", "a claim"),
    _relay("claims", "r1"),
    _relay("claims", "r3"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """One running system for all tests of the file, and a report of what they did to it."""
    needs_engines()
    folder = tempfile.mkdtemp(prefix="reclamo-crash-")
    # PostgreSQL may have to run as another user, who must be able to walk through.
    os.chmod(folder, 0o711)
    running = Shop(Path(folder))
    try:
        await running.open(orders=ORDERS)
        yield running
    finally:
        await running.close()
        _report(request.config, running)
        shutil.rmtree(folder, ignore_errors=True)


def _report(config: pytest.Config, shop: Shop) -> None:
    outcomes = shop.outcomes
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if terminal is None or capture is None or not outcomes:
        return
    lines = [f"  {outcome}" for outcome in outcomes]
    lines.append(
        f"{sum(each.kills for each in outcomes)} kills,"
        f" {sum(each.calls for each in outcomes)} calls,"
        f" {sum(each.retries for each in outcomes)} retries;"
        f" at rest after {max(each.rest_after_s for each in outcomes):.1f} s at most"
    )
    with capture.global_and_fixture_disabled():
        for line in ["", *lines]:
            terminal.write_line(line)


async def _all_is_well(shop: Shop, load: Load, what: str, *, kills: int, since: datetime) -> None:
    """At rest within a minute, every answer stands, and the books hold what was asked."""
    rest_after_s = await shop.rest(since)
    lost = await shop.healed_late(since)
    assert not lost, "\n".join(lost[:20])
    await shop.same_answers(load)
    wrong = audit(shop.errands, await shop.books())
    assert not wrong, "\n".join(wrong[:20])
    retries = sum(call.tries - 1 for call in load.calls)
    shop.outcomes.append(Outcome(what, kills, len(load.calls), retries, rest_after_s))


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.sentence.replace(" ", "_"))
async def test_nothing_is_lost_or_doubled_when(shop: Shop, kill: Kill) -> None:
    async with shop.load() as load:
        await load.answered(CALLS_BEFORE)
        starts = await shop.arm(kill.service, f"{kill.point}@{PASSAGE}:kill")
        since = await shop.reborn(kill.service, starts)
        await load.answered(load.calls_answered + CALLS_AFTER)
    await _all_is_well(shop, load, kill.sentence, kills=1, since=since)


@pytest.mark.parametrize("service", PROCESSES)
async def test_nothing_is_lost_or_doubled_when_at_any_moment_one_dies(
    shop: Shop, service: str
) -> None:
    async with shop.load() as load:
        # No moment is special: this many answers, and a bit of the next.
        await load.answered(CALLS_BEFORE + random.randrange(CLIENTS))
        await asyncio.sleep(random.uniform(0, 0.1))
        since = await shop.kill(service)
        await load.answered(load.calls_answered + CALLS_AFTER)
    await _all_is_well(shop, load, f"{service} dies at any moment", kills=1, since=since)


async def test_nothing_is_lost_or_doubled_when_all_processes_die_at_once(shop: Shop) -> None:
    async with shop.load() as load:
        await load.answered(CALLS_BEFORE)
        since = await shop.kill(*PROCESSES)
        await load.answered(load.calls_answered + CALLS_AFTER)
    await _all_is_well(shop, load, "all processes die", kills=len(PROCESSES), since=since)


@pytest.mark.parametrize("engine", ["rabbit", "postgres"])
async def test_nothing_is_lost_or_doubled_when_the_engine_dies(shop: Shop, engine: str) -> None:
    async with shop.load() as load:
        await load.answered(CALLS_BEFORE)
        since = await shop.kill_engine(getattr(shop.system, engine))
        await load.answered(load.calls_answered + CALLS_AFTER)
    await _all_is_well(shop, load, f"{engine} dies", kills=1, since=since)
