"""The slice of ``make crash`` that every run of the suite has: every failpoint once, in turn killed
once, twice in a row, with duplicates under way and with timers that come due; random kills of
everything; a storm of duplicates. The whole of it is ``make crash CRASH=full``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from tests.crash import matrix, rounds, storm
from tests.crash.matrix import Matrix, Scenario
from tests.crash.nursery import Nursery
from tests.crash.points import points
from tests.crash.rounds import Rounds
from tests.crash.shop import Shop, end_abandoned
from tests.crash.storm import Storms
from tests.journeys.conftest import needs_engines

pytestmark = pytest.mark.timeout(900)
# Most of a scenario is waiting for somebody to come back: several may share a machine.
PARTS = 3
OpenShop = Callable[..., AbstractAsyncContextManager[Shop]]
SEED = 20261128


@pytest.fixture
async def open_shop() -> AsyncIterator[OpenShop]:
    """``async with open_shop(orders=100) as shop``: an installation that may be killed."""
    needs_engines()
    end_abandoned()
    nursery = Nursery()
    await nursery.ready()

    @asynccontextmanager
    async def opened(*, orders: int) -> AsyncIterator[Shop]:
        shop = Shop(nursery, orders=orders)
        try:
            await shop.open()
            yield shop
        finally:
            await shop.close()

    yield opened
    nursery.close()


@pytest.mark.parametrize(
    "part", [pytest.param(n, marks=pytest.mark.xdist_group(f"crash-{n}")) for n in range(PARTS)]
)
async def test_nothing_is_lost_or_doubled_wherever_a_process_dies(
    open_shop: OpenShop, part: int
) -> None:
    """Every ``PARTS``th of the points; all of them together pass every one."""
    done, names = Matrix(), [point.name for point in points()][part::PARTS]

    def wanted(whole: list[Scenario]) -> list[Scenario]:
        return [each for each in matrix.slice_of(whole) if each.point.name in names]

    await matrix.run(open_shop, wanted=wanted, matrix=done, tell=print)
    assert done.report()["violations"] == []
    assert sorted(result.scenario.point.name for result in done.results) == sorted(names)


@pytest.mark.xdist_group("crash-rounds")
async def test_nothing_is_lost_or_doubled_when_anything_dies_at_any_moment(
    open_shop: OpenShop,
) -> None:
    done = Rounds()
    await rounds.run(
        open_shop,
        services=30,
        brokers=1,
        postgres=2,
        sagas=150,
        seed=SEED,
        rounds=done,
        tell=print,
    )
    assert done.report()["violations"] == []
    assert done.kills("rabbit", "postgres") == 3


@pytest.mark.parametrize("store", storm.STORES)
async def test_a_storm_of_duplicates_changes_nothing(store: str) -> None:
    if store == "postgres":
        needs_engines()
    done = Storms()
    await storm.run(
        store=store,
        with_inbox=3000,
        without_inbox=600,
        seed=SEED,
        storms=done,
        tell=print,
        errands=60,
    )
    assert done.report()["violations"] == []
    assert [each.deliveries for each in done.storms] == [3000, 600]
