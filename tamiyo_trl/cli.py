"""Progress of long work on a terminal: a bar with the time left, or a line now and then where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY = 60.0  # seconds


def progress_bar(console: Console, speed_estimate_period: float = 30.0) -> Progress:
    """Return the bar that long work is shown by; its tasks have a field `shown`, text beside the bar."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[shown]}")]
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, *times, console=console, speed_estimate_period=speed_estimate_period)


def show_training(updates: Iterator[dict[str, float]], episodes: int, episode_steps: int, console: Console) -> None:
    """Drive a training of so many episodes, showing its numbers as they come; without a terminal, about ten lines."""
    with progress_bar(console) as progress:
        task, lines = progress.add_task("episodes", total=episodes, shown=""), 0
        for metrics in updates:
            done = int(metrics["train/frames"]) // episode_steps
            shown = describe(metrics)
            progress.update(task, completed=done, shown=shown)
            if not console.is_terminal and 10 * done // episodes > lines:
                lines = 10 * done // episodes
                progress.console.print(f"episode {done}: {shown}", soft_wrap=True)


def describe(metrics: dict[str, float]) -> str:
    """Return one line of an update's main numbers."""
    parts = (
        ("return", "episode/return", ".2f"),
        ("accuracy", "growth/final_accuracy", ".3f"),
        ("entropy", "entropy/joint", ".2f"),
        ("kl", "ppo/kl", ".4f"),
        ("explained", "value/explained_variance", ".2f"),
        ("steps/s", "time/frames_per_second", ".0f"),
    )
    return "  ".join(f"{label} {metrics.get(key, float('nan')):{form}}" for label, key, form in parts)


@contextmanager
def progress_display(console: Console, what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function that shows how much is done, of how much, and what is running.

    The time left is estimated over the last half hour, so that runs of unequal speed do not make it jump.
    """
    with progress_bar(console, speed_estimate_period=1800) as progress:
        task = progress.add_task(what, total=None, shown="")
        last = -LINE_EVERY

        def show(done: int, total: int, running: str) -> None:
            nonlocal last
            progress.update(task, completed=done, total=total, shown=running)
            if not console.is_terminal and time.monotonic() - last >= LINE_EVERY:
                last = time.monotonic()
                progress.console.print(f"{done} of {total}: {running}", soft_wrap=True)

        yield show
