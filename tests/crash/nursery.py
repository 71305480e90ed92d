"""Starts services in a tenth of the time: one process has imported them all and forks.

Most of a service's start is Python reading its own code. A thousand kills would spend an hour on
that and prove nothing by it. What is forked runs the same ``__main__`` as ``python -m``, is a
process of its own with its own sockets, and dies by SIGKILL like any other.

    python -m tests.crash.nursery      requests as JSON lines on stdin, events on stdout
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue
from typing import Any

from chassis.testing import eventually
from deploy.local import Local, Process

_PR_SET_PDEATHSIG = 1


# ------------------------------------------------------------------ in the nursery itself


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _tell(**event: Any) -> None:
    os.write(1, (json.dumps(event) + "\n").encode())


def _reap(*_: object) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _tell(ended=pid, code=os.waitstatus_to_exitcode(status))


def _become(request: dict[str, Any]) -> None:
    """In the child: what ``python -m module arguments`` would do from here on."""
    _die_with_parent()
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for target, source in ((0, nothing), (1, out), (2, out)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    code = 1
    try:
        runpy.run_module(request["module"], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Read everything once, then fork on demand until stdin ends.

    An argument names a function of tests.planted.process_bugs: a bug that all children have.
    """
    _die_with_parent()
    for name in ("chassis.bus_rabbit", "chassis.db_postgres", "deploy.assembly", "gateway.app"):
        importlib.import_module(name)
    if sys.argv[1:]:
        getattr(importlib.import_module("tests.planted.process_bugs"), sys.argv[1])()

    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, _reap)
    _tell(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        # A child that ends at once must not be told of before its birth is.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            _become(request)
        _tell(born=pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


# ------------------------------------------------------------------ at the one who asks it


class Child:
    """A forked process, with the part of Popen that ``Process`` uses. ``returncode`` is None while
    it lives, and minus the signal that killed it."""

    def __init__(self, pid: int, changed: threading.Condition) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._changed = changed

    def poll(self) -> int | None:
        """As Popen's."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """To this process, if it lives."""
        if self.returncode is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout_s: float | None = None) -> int:
        """Until it has ended; raises TimeoutExpired as Popen does."""
        with self._changed:
            done = self._changed.wait_for(lambda: self.poll() is not None, timeout_s)
        if not done:
            raise subprocess.TimeoutExpired(str(self.pid), timeout_s or 0.0)
        return self.returncode or 0


class Nursery:
    """The forking process, seen from outside. ``bug``: its children have this planted bug."""

    def __init__(self, bug: str = "") -> None:
        # By pid, and only while they live: the system gives the pid of a dead one to another.
        self._living: dict[int, Child] = {}
        self._changed = threading.Condition()
        self._born: Queue[Child] = Queue()
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery", *filter(None, [bug])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Of the process that forks."""
        return self._process.pid

    async def ready(self) -> None:
        """Until it has imported everything."""
        await eventually(self._ready.is_set, within_s=300)

    def start(
        self, module: str, arguments: list[str], environment: dict[str, str], log: Path
    ) -> Child:
        """``python -m module arguments`` with this environment."""
        request = {
            "module": module,
            "arguments": arguments,
            "environment": environment,
            "log": str(log),
        }
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(request) + "\n").encode())
        self._process.stdin.flush()
        return self._born.get(timeout=10)

    def close(self) -> None:
        """End it, and with it whatever still lives."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._listener.join(10)
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if "born" in event:
                child = Child(event["born"], self._changed)
                self._living[child.pid] = child
                self._born.put(child)
            elif "ended" in event:
                with self._changed:
                    self._living.pop(event["ended"]).returncode = event["code"]
                    self._changed.notify_all()
            else:
                self._ready.set()
        # It is gone, and its children go with it: nobody is left to tell of them.
        with self._changed:
            for child in self._living.values():
                child.returncode = -signal.SIGKILL
            self._changed.notify_all()


class Forked(Process):
    """A service whose starts are forks of the nursery."""

    nursery: Nursery

    def start(self) -> None:
        """Start, unless it runs."""
        if self.running and self.running.poll() is None:
            return
        # [python, -m, module, arguments...]
        self.running = self.nursery.start(
            self.command[2], self.command[3:], self.environment, self.log_file
        )
        self.starts += 1


class ForkedLocal(Local):
    """The distributed mode with services out of a nursery."""

    nursery: Nursery

    def _plan_processes(self) -> None:
        super()._plan_processes()
        for name, process in self.processes.items():
            forked = Forked(
                name=process.name,
                service=process.service,
                command=process.command,
                environment=process.environment,
                url=process.url,
                log_file=process.log_file,
            )
            forked.nursery = self.nursery
            self.processes[name] = forked


if __name__ == "__main__":
    main()
