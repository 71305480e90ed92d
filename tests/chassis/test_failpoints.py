"""Points where a rehearsal may break the process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis import failpoints
from chassis.failpoints import Broken, arm, failpoint
from chassis.testing import eventually


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm("")


async def test_nothing_happens_at_a_point_that_is_not_armed() -> None:
    await failpoint("a")
    arm("b:raise")
    await failpoint("a")


async def test_an_armed_point_breaks_once() -> None:
    arm("a:raise")
    with pytest.raises(Broken, match="a"):
        await failpoint("a")
    for _ in range(5):
        await failpoint("a")


async def test_a_point_may_break_at_a_later_passage() -> None:
    arm("a@3:raise")
    await failpoint("a")
    await failpoint("a")
    with pytest.raises(Broken):
        await failpoint("a")


async def test_several_points_are_separate() -> None:
    arm("a@1:raise,b@2:raise")
    await failpoint("b")
    with pytest.raises(Broken):
        await failpoint("a")
    with pytest.raises(Broken):
        await failpoint("b")


async def test_arming_anew_forgets_what_was_armed() -> None:
    arm("a:raise")
    arm("b:raise")
    await failpoint("a")
    arm("")
    await failpoint("b")
    assert failpoints._armed == {}


async def test_a_hanging_point_hangs_until_canceled() -> None:
    arm("a:hang")
    task = asyncio.create_task(failpoint("a"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_a_sleeping_point_goes_on() -> None:
    arm("a:sleep")
    await failpoint("a")


@pytest.mark.parametrize("text", ["a", "a:kill", "a@1:kill"])
def test_killing_is_what_a_point_does_unless_told_otherwise(text: str) -> None:
    code = (
        "import asyncio, sys; from chassis import failpoints\n"
        "failpoints.arm(sys.argv[1]); asyncio.run(failpoints.failpoint('a')); print('alive')"
    )
    ended = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "")


async def test_a_file_arms_at_the_start_and_again_when_told(tmp_path: Path) -> None:
    file = tmp_path / "failpoints"
    failpoints.arm_from(file)
    await failpoint("a")
    file.write_text("a:raise\n")
    os.kill(os.getpid(), signal.SIGUSR1)
    await eventually(lambda: bool(failpoints._armed))
    with pytest.raises(Broken):
        await failpoint("a")
    file.unlink()
    os.kill(os.getpid(), signal.SIGUSR1)
    await eventually(lambda: not failpoints._armed)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)


async def test_a_watcher_is_told_every_passage_and_may_break_it() -> None:
    passed: list[str] = []

    async def watcher(name: str) -> None:
        passed.append(name)
        if name == "b":
            raise failpoints.Broken(name)

    failpoints.watch(watcher)
    try:
        await failpoints.failpoint("a")
        with pytest.raises(failpoints.Broken):
            await failpoints.failpoint("b")
    finally:
        failpoints.watch(None)
    await failpoints.failpoint("c")
    assert passed == ["a", "b"]
