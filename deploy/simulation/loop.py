"""An event loop whose time is invented and whose order is drawn: nothing waits, all is repeatable.

When nothing is ready, time jumps to the next timer. What is ready runs in an order that the seed
draws. Work for threads runs in the loop. Everything belongs to a *life* (of a process): when one
ends, as by SIGKILL, nothing of it ever runs again, and the rest of the world goes on.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from asyncio import events
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

STEP_S = 10e-6
THREAD_S_MAX = 0.004
NO_LIFE = 0
LIFE: ContextVar[int] = ContextVar("reclamo_life", default=NO_LIFE)


class Stuck(Exception):
    """Everybody waits for something that will never happen."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Only what asyncio's tasks, futures, locks and timeouts ask of a loop: there is no network."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._now = 0.0
        self._ready: list[tuple[int, asyncio.Handle]] = []
        self._timers: list[tuple[float, int, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self.ended: set[int] = set()
        self._tasks: dict[int, list[asyncio.Task[Any]]] = {}
        self.steps = 0
        # How long work for threads may take, at most: a slow disk.
        self.thread_s_max = THREAD_S_MAX
        self.troubles: list[str] = []

    # ------------------------------------------------------------------ running

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until ``main`` is done. Raises Stuck when it never will be."""
        events._set_running_loop(self)
        try:
            task = self.create_task(main)
            while not task.done():
                self._step()
            return task.result()
        finally:
            events._set_running_loop(None)

    def _step(self) -> None:
        self._now += STEP_S
        while True:
            while self._timers and self._timers[0][0] <= self._now:
                _, _, life, timer = heapq.heappop(self._timers)
                self._ready.append((life, timer))
            if self._ready:
                break
            if not self._timers:
                raise Stuck("nothing is ready and no timer is set")
            self._now = max(self._now, self._timers[0][0])
        ready = self._ready
        index = int(self._chance.random() * len(ready))
        ready[index], ready[-1] = ready[-1], ready[index]
        life, handle = ready.pop()
        self.steps += 1
        if not handle.cancelled() and life not in self.ended:
            handle._run()

    def end_life(self, life: int) -> None:
        """Nothing of it runs again. Its coroutines stay until ``bury``."""
        self.ended.add(life)
        self._ready = [entry for entry in self._ready if entry[0] != life]
        self._timers = [entry for entry in self._timers if entry[2] != life]
        heapq.heapify(self._timers)

    def bury(self, life: int) -> None:
        """Close the coroutines of an ended life. What they do on the way (a rollback) is what
        the operating system and the database do for a killed process."""
        grave = copy_context()
        grave.run(LIFE.set, life)
        for task in reversed(self._tasks.pop(life, [])):
            if not task.done():
                task._log_destroy_pending = False
                coroutine = task.get_coro()
                for _ in range(8):  # one that awaits while it closes has to be told again
                    with suppress(BaseException):
                        grave.run(coroutine.close)
                        break

    # ------------------------------------------------------------------ what asyncio asks of a loop

    def time(self) -> float:
        """Invented seconds since the beginning."""
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run it at the next opportunity, among others that are ready."""
        handle = asyncio.Handle(callback, args, self, context)
        life = LIFE.get() if context is None else context.get(LIFE, NO_LIFE)
        if life not in self.ended:
            self._ready.append((life, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it after so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it at that time."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        life = LIFE.get() if context is None else context.get(LIFE, NO_LIFE)
        if life not in self.ended:
            heapq.heappush(self._timers, (when, next(self._numbers), life, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """A task of this loop, and of the life whose context it gets."""
        life = LIFE.get() if context is None else context.get(LIFE, NO_LIFE)
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        if life != NO_LIFE:
            tasks = self._tasks.setdefault(life, [])
            tasks.append(task)
            if len(tasks) > 256 and len(tasks) % 256 == 0:
                self._tasks[life] = [each for each in tasks if not each.done()]
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Do it in the loop, now or a moment later; what came of it is known a moment later.

        A life may end in between: then it was done or it was not, and nobody learned which.
        """
        future: asyncio.Future[T] = self.create_future()
        took_s = self._chance.random() * self.thread_s_max
        if self._chance.random() < 0.5:
            self.call_later(took_s, _do, future, func, args)
        else:
            outcome: asyncio.Future[T] = self.create_future()
            _do(outcome, func, args)
            self.call_later(took_s, _tell, future, outcome)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Trouble that nobody waited for is written down."""
        self.troubles.append(f"{context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Whoever asks is run by it."""
        return True

    def is_closed(self) -> bool:
        """It holds nothing that would have to be closed."""
        return False


def _do(future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:
        future.set_exception(error)


def _tell(future: asyncio.Future[T], outcome: asyncio.Future[T]) -> None:
    if future.cancelled():
        outcome.exception()
    elif error := outcome.exception():
        future.set_exception(error)
    else:
        future.set_result(outcome.result())
