"""Where the time goes in each Python process of a cell, by py-spy, if it is installed.

Per process a file of collapsed stacks (for speedscope or flamegraph.pl), and one summary: the
functions in which most samples ended, and those that were on the stack most often.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.bench.catalog import BenchFailed

SAMPLES_PER_S = 200
TOP = 25


def profiler() -> str:
    """The py-spy command. Raises BenchFailed where there is none."""
    found = shutil.which("py-spy") or shutil.which("py-spy", path=Path(sys.executable).parent)
    if found is None:
        raise BenchFailed("--profile needs py-spy: `.venv/bin/python -m pip install py-spy`")
    return found


@asynccontextmanager
async def recorded(
    folder: Path | None, processes: dict[str, int], warmup_s: float, seconds: float
) -> AsyncIterator[None]:
    """Record all processes from now on for warm-up and measured time, into a folder; None: do not.

    The recording costs CPU itself: figures of a profiled cell are no figures of a benchmark.
    """
    if folder is None:
        yield
        return
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    duration = str(math.ceil(warmup_s + seconds))
    recorders = [
        await asyncio.create_subprocess_exec(
            *(profiler(), "record", "--pid", str(pid), "--duration", duration),
            *("--rate", str(SAMPLES_PER_S), "--format", "raw", "--nonblocking"),
            *("--output", str(folder / f"{name}.collapsed")),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for name, pid in processes.items()
    ]
    try:
        yield
    finally:
        await asyncio.gather(*(recorder.wait() for recorder in recorders))
    await asyncio.to_thread(_summarize, folder, list(processes))


def _summarize(folder: Path, names: list[str]) -> None:
    files = {name: folder / f"{name}.collapsed" for name in names}
    texts = [
        f"== {name}\n{summary(file.read_text())}" for name, file in files.items() if file.exists()
    ]
    (folder / "top.txt").write_text("\n".join(texts))


def summary(collapsed: str) -> str:
    """The functions of collapsed stacks (``a;b;c 12`` a line) with most samples, own and total."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        # A frame is `function (file:line)`; the lines of a function count together.
        frames = [frame.rsplit(":", 1)[0] + ")" for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            total[frame] += int(count)
    samples = sum(own.values()) or 1
    lines = [f"{samples} samples"]
    for title, counts in (("own", own), ("total", total)):
        lines += [f"-- {title}"]
        lines += [f"{100 * n / samples:5.1f} %  {frame}" for frame, n in counts.most_common(TOP)]
    return "\n".join(lines) + "\n"
