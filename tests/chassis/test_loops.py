"""Background work: at once while there is more, woken when there is, alive after trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.errors import Unavailable
from chassis.loops import Loop
from chassis.testing import eventually


class Work:
    """Steps to do; each call does one."""

    def __init__(self, left: int = 0, troubles: list[Exception] | None = None) -> None:
        self.left = left
        self.troubles = troubles or []
        self.calls = 0

    async def __call__(self) -> bool:
        self.calls += 1
        if self.troubles:
            raise self.troubles.pop(0)
        if self.left:
            self.left -= 1
        return self.left > 0


@asynccontextmanager
async def running(work: Work, idle_s: float) -> AsyncIterator[Loop]:
    loop = Loop("work", work, idle_s=idle_s)
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_what_there_is_to_do_is_done_at_once() -> None:
    work = Work(left=100)
    async with running(work, idle_s=3600):
        await eventually(lambda: work.left == 0)
    assert work.calls == 100


async def test_other_tasks_get_their_turn_meanwhile() -> None:
    work = Work(left=10**9)
    async with running(work, idle_s=3600):
        for _ in range(20):
            await asyncio.sleep(0)
        assert 0 < work.calls < 10**6


async def test_idle_it_waits_to_be_woken() -> None:
    work = Work()
    async with running(work, idle_s=3600) as loop:
        await eventually(lambda: work.calls == 1)
        for number in range(2, 5):
            loop.wake()
            await eventually(lambda number=number: work.calls == number)


async def test_a_wake_during_a_step_is_not_lost() -> None:
    work = Work()
    loops: list[Loop] = []
    original = work.__call__

    async def step() -> bool:
        if work.calls == 0:
            loops[0].wake()
        return await original()

    loops.append(Loop("work", step, idle_s=3600))
    task = asyncio.create_task(loops[0].run())
    await eventually(lambda: work.calls == 2)
    task.cancel()
    await asyncio.wait([task])


async def test_it_looks_by_itself_now_and_then() -> None:
    work = Work()
    async with running(work, idle_s=0.01):
        await eventually(lambda: work.calls >= 3)


async def test_it_survives_trouble_and_defects() -> None:
    work = Work(left=1, troubles=[Unavailable("away"), ZeroDivisionError()])
    async with running(work, idle_s=3600):
        await eventually(lambda: work.left == 0)
    assert work.calls == 3
