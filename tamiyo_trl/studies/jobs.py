"""Jobs: command lines run as processes of their own, a few at a time, stopped and reported together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PARENT = "TAMIYO_PARENT"  # environment variable: process number of who started the job
TAIL = 12  # lines of a failed job's log that are shown


@dataclass(frozen=True)
class Job:
    """One process.

    Attributes:
        name: What progress displays call it.
        command: Its command line.
        log: File that takes what it prints.
    """

    name: str
    command: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Failure:
    """A job that ended badly, with the end of what it printed."""

    job: Job
    status: int
    tail: str


def run_jobs(
    jobs: Sequence[Job], at_once: int, on_tick: Callable[[list[Job]], None] | None = None, every: float = 0.5
) -> list[Failure]:
    """Run all jobs, `at_once` at a time, each with one thread; return those that failed.

    `on_tick` is told which jobs are running, `every` seconds. On Ctrl-C every running job is asked to stop (see
    `obey_parent`) and waited for, so that it can save; then KeyboardInterrupt goes on.
    """
    waiting, failures = list(jobs), []
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running[id(job)] = (job, _start(job))
            time.sleep(every)
            for key, (job, process) in list(running.items()):
                status = process.poll()
                if status is not None:
                    del running[key]
                    if status:
                        failures.append(Failure(job, status, _tail(job.log)))
            if on_tick is not None:
                on_tick([job for job, _ in running.values()])
    except BaseException:
        _stop([process for _, process in running.values()])
        raise
    return failures


def _start(job: Job) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        return subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", PARENT: str(os.getpid())},
        )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])


def obey_parent() -> Callable[[], None]:
    """Return a function that raises KeyboardInterrupt once the parent asks to stop or is gone.

    A job calls it between two pieces of work, where stopping loses nothing. In a process that no `run_jobs` started it
    does nothing: there Ctrl-C works as usual.
    """
    parent = os.environ.get(PARENT)
    if parent is None:
        return lambda: None
    asked: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the parent, which passes it on
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))

    def check() -> None:
        if asked or os.getppid() != int(parent):
            raise KeyboardInterrupt

    return check
