"""The distributed mode, killed in every way while clients work: nothing is lost, nothing is
doubled, and a minute after everything answers again nothing is left undone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from chassis import clock, engines
from tests.journeys.crash_kit import Load, Shop, Spot, audit

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # One system serves the whole file.
    pytest.mark.xdist_group("crash"),
]

ORDERS = 700
# The failpoint is met under load: what came before it was handled, what comes with it is not.
PASSAGE = 3
CALLS_AFTER = 8


@dataclass(frozen=True)
class Kill:
    """Which process dies where; ``sentence`` tells it to people."""

    service: str
    point: str
    sentence: str


def _step(service: str, message: str, point: str, what: str) -> Kill:
    when = {"k1": "begins", "k3": "before the commit of", "k4": "after the commit of"}[point]
    return Kill(service, f"{service}.{message}.{point}", f"{service} dies {when} {what}")


KILLS = (
    _step("orders", "orders.claim-hold.place", "k3", "a claim hold"),
    _step("orders", "orders.claim-hold.place", "k4", "a claim hold"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[Shop]:
    try:
        engines.postgres_binaries()
        engines.rabbitmq_binary()
    except engines.EngineMissing as missing:
        if os.environ.get("REQUIRE_INFRA") == "1":
            pytest.fail(f"no real engine: {missing} (REQUIRE_INFRA=1)", pytrace=False)
        pytest.skip(f"no real engine: {missing}")
    folder = Path(tempfile.mkdtemp(prefix="reclamo-crash-"))
    # PostgreSQL may have to run as another user, who must be able to walk through.
    folder.chmod(0o711)
    running = Shop(folder)
    try:
        await running.open(orders=ORDERS)
        yield running
    finally:
        await running.close()
        os.system(f'mkdir -p /tmp/crashlogs; cp {folder}/*.log /tmp/crashlogs')
        shutil.rmtree(folder, ignore_errors=True)


async def _all_is_well(shop: Shop, load: Load, name: str) -> None:
    """At rest within a minute, every answer stands, and the books hold what was asked."""
    rest_after_s = await shop.rest()
    await shop.same_answers(load)
    wrong = audit(shop.errands, await shop.books())
    assert not wrong, "\n".join(wrong[:20])
    retries = sum(call.tries - 1 for call in load.calls)
    spot = Spot(name, len(load.calls), retries, shop.kills, rest_after_s)
    shop.spots.append(spot)
    print(spot)


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.sentence.replace(" ", "_"))
async def test_nothing_is_lost_or_doubled_when(shop: Shop, kill: Kill) -> None:
    begun = clock.monotonic_s()
    async with shop.load() as load:
        await load.answered(4)
        print(f"four {clock.monotonic_s() - begun:.1f}")
        await shop.arm(kill.service, f"{kill.point}@{PASSAGE}:kill")
        print(f"armed {clock.monotonic_s() - begun:.1f}")
        starts = shop.system.processes[kill.service].starts
        await shop.died(kill.service, starts)
        print(f"died {clock.monotonic_s() - begun:.1f}")
        await load.answered(load.calls_answered + CALLS_AFTER)
        print(f"more {clock.monotonic_s() - begun:.1f}")
    print(f"load {clock.monotonic_s() - begun:.1f}")
    await _all_is_well(shop, load, kill.sentence)
    print(f"all {clock.monotonic_s() - begun:.1f}")
