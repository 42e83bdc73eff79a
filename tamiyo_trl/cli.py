"""What every recipe does on a terminal: its main, and the progress of long work."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tamiyo_trl.errors import TamiyoError

LINE_EVERY = 60.0  # seconds
STOPPED = 130  # exit status, as shells give it for Ctrl-C
Args = TypeVar("Args")


def main(
    settings: type[Args],
    run: Callable[[Args, list[str]], int | None],
    doc: str | None,
    argv: Sequence[str],
    *,
    stopped: str = "stopped",
) -> int:
    """Run a recipe on a command line and return the exit status: what `run` returns, by default 0.

    `run` is given the settings, read from `argv`, and `argv`. torch uses `settings.threads` threads, 1 without such a
    field. An error of this library is one line on stderr and status 2; Ctrl-C or SIGTERM is `stopped` and status 130.
    """
    try:
        with terminated_like_interrupted():
            args = parse(settings, doc, argv)
            torch.set_num_threads(getattr(args, "threads", 1))
            return run(args, list(argv)) or 0
    except TamiyoError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{stopped}\n")
        return STOPPED


def parse(settings: type[Args], doc: str | None, argv: Sequence[str]) -> Args:
    """Return the settings that a command line gives; tyro explains what is wrong with a bad one and exits."""
    return tyro.cli(settings, args=argv, description=doc, config=(tyro.conf.AvoidSubcommands,))


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Inside, SIGTERM, which batch systems send, does what Ctrl-C does; a handler of the program's own stays."""
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
