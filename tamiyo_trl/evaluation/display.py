"""Progress of long studies on a terminal: a bar with the time left, or a line a minute where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY = 60.0  # seconds


@contextmanager
def progress_display(console: Console, what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function that shows how much is done, of how much, and what is running.

    The time left is estimated over the last half hour, so that runs of unequal speed do not make it jump.
    """
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[shown]}")]
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=console, speed_estimate_period=1800) as progress:
        task = progress.add_task(what, total=None, shown="")
        last = -LINE_EVERY

        def show(done: int, total: int, running: str) -> None:
            nonlocal last
            progress.update(task, completed=done, total=total, shown=running)
            if not console.is_terminal and time.monotonic() - last >= LINE_EVERY:
                last = time.monotonic()
                progress.console.print(f"{done} of {total}: {running}", soft_wrap=True)

        yield show
