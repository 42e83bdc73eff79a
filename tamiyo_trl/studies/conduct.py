"""A whole study: which of its runs are left to do, how far they are, and the processes that do them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tamiyo_trl.studies.examination import EXAM_STAGES, examine
from tamiyo_trl.studies.jobs import Failure, Job, obey_parent, run_jobs
from tamiyo_trl.studies.run import CURVE, Run, check_settings, train_run
from tamiyo_trl.studies.tables import RunKey, Tables

Show = Callable[[int, int, str], None]


def done(run: Run, stages: int) -> int:
    """Return how many updates and examination stages of a run are done."""
    return run.updates_done + sum((run.results / name).exists() for name in EXAM_STAGES[:stages])


def is_finished(run: Run, stages: int) -> bool:
    """Return whether nothing of a run is left to do, so that all its files are there."""
    needed = ("run.json", "training.json", CURVE, *EXAM_STAGES[:stages])
    return all((run.results / name).exists() for name in needed)


def unfolded(runs: Mapping[str, Run], tables: Tables) -> list[str]:
    """Return the names of the runs that the tables do not hold.

    Raises:
        RunFolderError: a run that they hold was of other settings.
    """
    left = []
    for name, run in runs.items():
        known = tables.runs.get(RunKey.named(name))
        if known is None:
            left.append(name)
        else:
            check_settings(run, known, tables.folder / name)
    return left


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
    tables: Tables | None,
    first: Sequence[str] = (),
    show: Show,
) -> list[Failure]:
    """Do what is left of all runs, each in a process of its own; return those that failed.

    A run is folded into `tables` as soon as it is finished, and runs that are there are not done again; without tables
    runs leave their own files alone.

    A process is `command` followed by the run's name; `first` names further jobs of the same command that come before
    the runs; `log` says where a job's output goes. `show` is told what is done, of how much, and what is running.

    Raises:
        RunFolderError: a run in the tables was of other settings.
    """
    stages = len(EXAM_STAGES) if examined else 0
    total = sum(run.updates + stages for run in runs.values())
    folded = set() if tables is None else set(runs) - set(unfolded(runs, tables))

    def count(name: str) -> int:
        run = runs[name]
        return run.updates + stages if name in folded else done(run, stages)

    def fold() -> None:
        ready = [name for name in runs if name not in folded and is_finished(runs[name], stages)]
        if tables is not None and ready:
            tables.fold({name: runs[name].results for name in ready})
            folded.update(ready)

    names = [*first, *(name for name, run in runs.items() if count(name) < run.updates + stages)]
    jobs = [Job(name, (*command, name), log(name)) for name in names]

    def tick(running: list[Job]) -> None:
        fold()
        progress = {name: count(name) for name in runs}
        shown = ", ".join(f"{job.name} {progress.get(job.name, '')}".strip() for job in running)
        show(sum(progress.values()), total, shown)

    failures = run_jobs(jobs, at_once, tick)
    tick([])
    return failures
