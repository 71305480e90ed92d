"""A progress bar for people, on stderr, so that stdout stays data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Advance = Callable[[int], None]


@contextmanager
def bar(label: str, total: int, *, shown: bool) -> Iterator[Advance]:
    """A bar of ``total`` steps while the block runs; call the yielded function with each advance.

    On a pipe nothing is animated; with ``shown=False`` nothing is written at all.
    """
    console = Console(stderr=True, quiet=not shown)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not shown) as progress:
        task = progress.add_task(label, total=total)
        yield lambda steps: progress.advance(task, steps)
