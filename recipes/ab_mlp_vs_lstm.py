"""Does memory make a better Tamiyo? Paired training runs of memoryless and recurrent controllers on the same hosts.

    python recipes/ab_mlp_vs_lstm.py --budget smoke    # toy hosts, two minutes: shows that everything works
    python recipes/ab_mlp_vs_lstm.py --budget small    # three seeds of 512 episodes
    python recipes/ab_mlp_vs_lstm.py --budget full     # five seeds of 3,008 episodes: hours
    python recipes/ab_mlp_vs_lstm.py --budget long --arms mlp-summary lstm-summary  # two seeds of 6,016: still rising?
    python recipes/ab_mlp_vs_lstm.py --tune            # the short runs on other seeds that chose the learner's settings

Arms are {mlp, lstm} x {minimal, summary}. Seed n meets the same hosts in every arm. Every run is a process of its own
in <work>/<arm>/seed_<n>/; finished runs are folded into the tables of <results>, which the report is made of. Stop it
anywhere: the same command goes on. What is committed is made with --results docs/results/evidence/<study>.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console

from tamiyo_trl import cli
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.studies.budgets import BUDGETS, START, TUNING_SEEDS, VARIANTS, Budget, run_of
from tamiyo_trl.studies.conduct import conduct, obey_parent, perform, unfolded
from tamiyo_trl.studies.references import load_effects, measure_references
from tamiyo_trl.studies.report.page import write_report
from tamiyo_trl.studies.report.tuning import scores, tuning_table
from tamiyo_trl.studies.results import Study
from tamiyo_trl.studies.run import Run
from tamiyo_trl.studies.tables import Tables, fold_references, reference_key

console = Console()

REFERENCES = "references"
EFFECTS = Path(__file__).parents[1] / "docs/results/effects/mixed-digits-8"  # what the oracle knows
TUNING_RESULTS = Path(__file__).parents[1] / "docs/results/evidence/tuning"
ARMS = ("mlp-minimal", "lstm-minimal", "mlp-summary", "lstm-summary")

TUNING_ARMS = ("mlp-minimal", "lstm-minimal")


@dataclass(frozen=True)
class Args:
    """Train and examine memoryless and recurrent controllers on the same hosts.

    Attributes:
        budget: smoke (toy hosts), small, full or long.
        arms: Arms to run, a memory and an observation set each; none given runs all (tuning: those on `minimal`).
        seeds: Training seeds of each arm, 0 to seeds - 1; 0 takes the budget's number.
        at_once: Runs at once; one for each core.
        results: Folder of the tables and the report; "" is <work>/results.
        work: Folder of the runs and their checkpoints; "" is runs/evidence/<budget>, or runs/evidence/tuning.
        stages: How far to go: train, or train and examine.
        only: Do one run in this process: arm/seed.
        tune: Run the short runs that choose the learner's settings instead.
    """

    budget: Literal["smoke", "small", "full", "long"] = "full"
    arms: tuple[str, ...] = ()
    seeds: int = 0
    at_once: int = 2
    results: str = ""
    work: str = ""
    stages: Literal["train", "all"] = "all"
    only: str = ""
    tune: bool = False

    def __post_init__(self) -> None:
        for arm in self.arms:
            if arm not in ARMS:
                raise ConfigError(f"arms must be of {', '.join(ARMS)}; got {arm!r}")
        if self.at_once < 1 or self.seeds < 0:
            raise ConfigError(f"at_once must be positive and seeds not negative, got {self.at_once} and {self.seeds}")

    @property
    def chosen_arms(self) -> tuple[str, ...]:
        """The arms to run."""
        return self.arms or (TUNING_ARMS if self.tune else ARMS)

    @property
    def examined(self) -> bool:
        """Whether trained controllers are examined."""
        return self.stages == "all" and not self.tune

    @property
    def work_folder(self) -> Path:
        """Folder of checkpoints and full metrics."""
        return Path(self.work or f"runs/evidence/{'tuning' if self.tune else self.budget}")

    @property
    def results_folder(self) -> Path:
        """Folder of the tables and the report."""
        return Path(self.results) if self.results else self.work_folder / "results"

    @property
    def folds(self) -> bool:
        """Whether a finished run is complete, so that it can go into the tables."""
        return self.examined or self.tune


def runs(args: Args, command: str = "") -> dict[str, Run]:
    """Return every run by its name, arm/seed_n (arm/setting/seed_n when tuning), in the order they are done."""
    budget = BUDGETS[args.budget]
    wanted: list[tuple[str, str, int, Budget]] = []
    if args.tune:
        for seed in TUNING_SEEDS:
            for setting, variant in VARIANTS.items():
                short = dataclasses.replace(BUDGETS["full"], run=variant)
                wanted += [(f"{arm}/{setting}", arm, seed, short) for arm in args.chosen_arms]
    else:
        for seed in range(args.seeds or budget.seeds):
            wanted += [(arm, arm, seed, budget) for arm in args.chosen_arms]
    found = {}
    for place, arm, seed, spent in wanted:
        name = f"{place}/seed_{seed}"
        found[name] = run_of(spent, arm, seed, args.work_folder / name, args.work_folder / name, command)
    return found


def run(args: Args, argv: list[str]) -> int:
    """Do what is left of the study, or of one of its runs, and report."""
    command = " ".join(["python recipes/ab_mlp_vs_lstm.py", *(argv[:-2] if args.only else argv)])
    every = runs(args, command)
    if args.only:
        return do_one(args, every)
    return do_all(args, argv, every, command)


def do_one(args: Args, every: dict[str, Run]) -> int:
    """Do one run, or measure the references, in this process."""
    if args.only not in (*every, REFERENCES):
        raise ConfigError(f"only must be one of {', '.join((*every, REFERENCES))}; got {args.only!r}")
    if args.only == REFERENCES:
        budget = BUDGETS[args.budget]
        folder = args.work_folder / REFERENCES
        measure_references(budget.run.env, budget.exam, load_effects(EFFECTS), folder, obey_parent())
    else:
        perform(every[args.only], args.examined)
    return 0


def do_all(args: Args, argv: list[str], every: dict[str, Run], command: str) -> int:
    """Do all runs, each in a process of its own, show how far they are, and report."""
    tables = Tables(args.results_folder)
    measured = args.tune or reference_key("random-legal") in tables.runs
    if args.folds and measured and not unfolded(every, tables):
        console.print(f"all {len(every)} runs are finished; to run them anew choose another --results and --work")
    with cli.progress_display(console, "updates and examinations") as show:
        failures = conduct(
            every,
            (sys.executable, __file__, *argv, "--only"),
            lambda name: args.work_folder / name / "log.txt",
            at_once=args.at_once,
            examined=args.examined,
            tables=tables if args.folds else None,
            first=() if measured else (REFERENCES,),
            show=show,
        )
    for failure in failures:
        print(f"error: {failure.job.name} ended with status {failure.status}:\n{failure.tail}", file=sys.stderr)
    if not measured and REFERENCES not in {failure.job.name for failure in failures}:
        fold_references(tables, args.work_folder / REFERENCES)
    if args.tune:
        report_tuning(args)
    elif args.examined:
        study = Study(args.results_folder, BUDGETS[args.budget].run.env)
        if study.arms:
            write_report(study, command, tried())
            console.print(f"  {args.results_folder / 'report.md'}\n  {args.results_folder / 'report.html'}")
    return 1 if failures else 0


def tried(folder: Path = TUNING_RESULTS, arms: Sequence[str] = TUNING_ARMS) -> str:
    """Return the table of learner settings that were tried; empty where none was."""
    found = scores(folder, arms, list(VARIANTS), TUNING_SEEDS)
    return tuning_table(found) if any(found.values()) else ""


def report_tuning(args: Args) -> None:
    """Write what the short runs scored."""
    page = f"""# Learner settings, tried on tuning seeds

Mean final test accuracy (%) of the last quarter of {START.episodes} training episodes, sampled actions, all deficits
counting alike; in brackets the tuning seeds {", ".join(map(str, TUNING_SEEDS))} one by one. Each setting is one change
of `start`; all arms get the same settings and the same effort.

{tried(args.results_folder, args.chosen_arms)}

Made by `python recipes/ab_mlp_vs_lstm.py --tune`.
"""
    (args.results_folder / "README.md").write_text(page)


main = partial(cli.main, Args, run, __doc__, stopped="stopped and saved; the same command goes on from here")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
