"""The invented loop: time jumps, order is drawn, a life that ended never runs again."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

import pytest

from chassis.sources import chance
from deploy.simulation.loop import LIFE, SimulatedLoop, Stuck


def _loop(seed: str = "1") -> SimulatedLoop:
    return SimulatedLoop(chance(seed))  # type: ignore[abstract]


def test_an_hour_passes_without_waiting() -> None:
    loop = _loop()

    async def sleep() -> float:
        await asyncio.sleep(3600)
        return loop.time()

    assert 3600 <= loop.run(sleep()) < 3601


def _finish_order(seed: str) -> list[int]:
    async def race() -> list[int]:
        done: list[int] = []

        async def runner(number: int) -> None:
            await asyncio.sleep(0)
            done.append(number)

        await asyncio.gather(*(runner(number) for number in range(8)))
        return done

    return _loop(seed).run(race())


def test_the_seed_draws_the_order_of_what_is_ready() -> None:
    orders = {tuple(_finish_order(str(seed))) for seed in range(20)}
    assert len(orders) > 15
    assert _finish_order("7") == _finish_order("7")


def test_a_lock_is_held_by_one_in_any_order() -> None:
    async def crowd() -> int:
        lock, inside, most = asyncio.Lock(), 0, 0

        async def enter() -> None:
            nonlocal inside, most
            async with lock:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.01)
                inside -= 1

        await asyncio.gather(*(enter() for _ in range(20)))
        return most

    assert _loop().run(crowd()) == 1


def test_a_timeout_is_kept_in_invented_time() -> None:
    async def impatient() -> None:
        async with asyncio.timeout(5):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        _loop().run(impatient())


def test_work_for_threads_is_done_in_the_loop() -> None:
    async def ask() -> list[str]:
        return [await asyncio.to_thread(str, number) for number in range(3)]

    assert _loop().run(ask()) == ["0", "1", "2"]


def test_a_life_that_ended_never_runs_again_and_gives_back_what_it_held() -> None:
    loop = _loop()
    told: list[str] = []

    async def lives() -> None:
        try:
            while True:
                told.append("alive")
                await asyncio.sleep(1)
        finally:
            told.append("buried")

    async def world() -> None:
        context = copy_context()
        context.run(LIFE.set, 1)
        loop.create_task(lives(), context=context)
        await asyncio.sleep(2.5)
        loop.end_life(1)
        before = list(told)
        await asyncio.sleep(10)
        assert told == before
        loop.bury(1)

    loop.run(world())
    assert told[-1] == "buried"


def test_waiting_for_what_never_happens_is_said() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        _loop().run(wait())
