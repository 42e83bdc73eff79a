"""A whole study: which of its runs are left to do, how far they are, and the processes that do them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tamiyo_trl.studies.examination import EXAM_STAGES, examine
from tamiyo_trl.studies.jobs import Failure, Job, obey_parent, run_jobs
from tamiyo_trl.studies.run import Run, train_run

Show = Callable[[int, int, str], None]


def done(run: Run, stages: int) -> int:
    """Return how many updates and examination stages of a run are done."""
    return run.updates_done + sum((run.results / name).exists() for name in EXAM_STAGES[:stages])


def perform(run: Run, examined: bool) -> None:
    """Do what is left of one run, in this process, obeying the parent that started it."""
    check = obey_parent()
    train_run(run, lambda metrics: check())
    if examined:
        examine(run, check)


def conduct(
    runs: Mapping[str, Run],
    command: Sequence[str],
    log: Callable[[str], Path],
    *,
    at_once: int,
    examined: bool,
    first: Sequence[str] = (),
    show: Show,
) -> list[Failure]:
    """Do what is left of all runs, each in a process of its own; return those that failed.

    A process is `command` followed by the run's name; `first` names further jobs of the same command that come before
    the runs; `log` says where a job's output goes. `show` is told what is done, of how much, and what is running.
    """
    stages = len(EXAM_STAGES) if examined else 0
    total = sum(run.updates + stages for run in runs.values())
    names = [*first, *(name for name, run in runs.items() if done(run, stages) < run.updates + stages)]
    jobs = [Job(name, (*command, name), log(name)) for name in names]

    def tick(running: list[Job]) -> None:
        progress = {name: done(run, stages) for name, run in runs.items()}
        shown = ", ".join(f"{job.name} {progress.get(job.name, '')}".strip() for job in running)
        show(sum(progress.values()), total, shown)

    failures = run_jobs(jobs, at_once, tick)
    tick([])
    return failures
