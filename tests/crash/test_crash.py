"""The slice of ``make crash`` that every run of the suite has: every step of every service killed
at one moment, in turn before and after its commit, once, twice in a row, with duplicates under way
and with timers that come due; random kills of everything; a storm of duplicates. Every failpoint in
every way is ``make crash CRASH=full``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from tests.crash import matrix, rounds, storm
from tests.crash.matrix import Matrix
from tests.crash.nursery import Nursery
from tests.crash.points import points
from tests.crash.rounds import Rounds
from tests.crash.shop import Shop, end_abandoned
from tests.crash.storm import Storms
from tests.journeys.conftest import needs_engines

pytestmark = pytest.mark.timeout(900)
OpenShop = Callable[..., AbstractAsyncContextManager[Shop]]
SEED = 20261128


@pytest.fixture
async def open_shop() -> AsyncIterator[OpenShop]:
    """``async with open_shop(orders=100) as shop``: an installation that may be killed."""
    needs_engines()
    end_abandoned()
    nursery = Nursery()
    await nursery.ready()
    # Alembic's context is one for the whole process: shops are opened one after the other.
    opening = asyncio.Lock()

    @asynccontextmanager
    async def opened(*, orders: int) -> AsyncIterator[Shop]:
        shop = Shop(nursery, orders=orders)
        try:
            async with opening:
                await shop.open()
            yield shop
        finally:
            await shop.close()

    yield opened
    nursery.close()


async def test_nothing_is_lost_or_doubled_wherever_a_process_dies(open_shop: OpenShop) -> None:
    done = Matrix()
    # Most of a scenario is waiting for somebody to come back: two may share a machine.
    await matrix.run(open_shop, wanted=matrix.slice_of, matrix=done, tell=print, lanes=2)
    assert done.report()["violations"] == []
    steps = sorted({point.step for point in points()})
    assert sorted(result.scenario.point.step for result in done.results) == steps


async def test_nothing_is_lost_or_doubled_when_anything_dies_at_any_moment(
    open_shop: OpenShop,
) -> None:
    done = Rounds()
    await rounds.run(
        open_shop,
        services=20,
        brokers=1,
        postgres=1,
        sagas=100,
        seed=SEED,
        rounds=done,
        tell=print,
    )
    assert done.report()["violations"] == []
    assert done.kills("rabbit", "postgres") == 2


@pytest.mark.parametrize("store", storm.STORES)
async def test_a_storm_of_duplicates_changes_nothing(store: str) -> None:
    if store == "postgres":
        needs_engines()
    done = Storms()
    await storm.run(
        store=store,
        with_inbox=2000,
        without_inbox=400,
        seed=SEED,
        storms=done,
        tell=print,
        errands=40,
    )
    assert done.report()["violations"] == []
    assert [each.deliveries for each in done.storms] == [2000, 400]
