"""All controllers on the same held-out hosts: those that do not learn, and one trained controller per kind of memory.

    python recipes/compare_memories.py --budget smoke    # toy hosts
    python recipes/compare_memories.py --budget full     # trains gru and frames; mlp and lstm are taken from the A/B

Trained mlp and lstm controllers are read from the A/B's results (recipes/ab_mlp_vs_lstm.py); gru and frames are trained
and examined here in the same way. The best fixed schedule is searched on hosts of its own. Stop it anywhere: the same
command goes on. The table goes to <results>/README.md.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markdown import Markdown

from tamiyo_trl import cli
from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.files import write_json
from tamiyo_trl.studies.budgets import BUDGETS, Budget, run_of
from tamiyo_trl.studies.conduct import conduct, obey_parent, perform, unfolded
from tamiyo_trl.studies.references import load_effects, make_reference, measure_references, plan_of, play_reference
from tamiyo_trl.studies.report.controllers import (
    ControllerRow,
    SearchHosts,
    best_schedule,
    controller_row,
    controllers_table,
    schedule_verdict,
    search_schedules,
)
from tamiyo_trl.studies.results import Study
from tamiyo_trl.studies.run import Run
from tamiyo_trl.studies.tables import Tables, fold_references, reference_key

console = Console()

REFERENCES = "references"
EFFECTS = Path(__file__).parents[1] / "docs/results/effects/mixed-digits-8"  # what the oracle knows
ORDER = ("mlp-minimal", "mlp-summary", "frames-minimal", "gru-minimal", "lstm-minimal", "lstm-summary")

# Fixed schedules that are tried: what the map of effects finds good for some deficit, alone and one after another.
CANDIDATES = (
    *("wide@0", "conv_heavy@0", "norm@0", "conv_heavy@2", "wide@2"),
    *("wide@0 conv_heavy@2", "conv_heavy@2 wide@0", "conv_heavy@0 norm@2", "norm@0 conv_heavy@2", "wide@0 norm@2"),
    *("wide@0 conv_heavy@2 norm@1", "conv_heavy@2 wide@0 norm@1", "wide@0 wide@2 wide@1", "norm@0 conv_heavy@2 wide@1"),
)
STARTS = (0, 3)


@dataclass(frozen=True)
class Args:
    """Compare controllers on the same held-out hosts.

    Attributes:
        budget: smoke (toy hosts), small or full: as in the A/B.
        arms: Arms to train here, a memory and an observation set each.
        seeds: Training seeds of each of them, 0 to seeds - 1.
        at_once: Runs at once; one for each core.
        ab: Results of the A/B; "" is docs/results/evidence/ab for the full budget, else runs/evidence/<budget>/results.
        results: Folder of the tables and the page; "" is <work>/results.
        work: Folder of checkpoints; "" is runs/evidence/memories-<budget>.
        only: Do one run in this process: arm/seed_n, or references.
    """

    budget: Literal["smoke", "small", "full"] = "full"
    arms: tuple[str, ...] = ("gru-minimal", "frames-minimal")
    seeds: int = 5
    at_once: int = 2
    ab: str = ""
    results: str = ""
    work: str = ""
    only: str = ""

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.at_once < 1:
            raise ConfigError(f"seeds and at_once must be positive, got {self.seeds} and {self.at_once}")

    @property
    def spent(self) -> Budget:
        """The budget."""
        return BUDGETS[self.budget]

    @property
    def work_folder(self) -> Path:
        """Folder of checkpoints."""
        return Path(self.work or f"runs/evidence/memories-{self.budget}")

    @property
    def results_folder(self) -> Path:
        """Folder of the tables and the page."""
        return Path(self.results) if self.results else self.work_folder / "results"

    @property
    def ab_folder(self) -> Path:
        """Folder of the A/B's results."""
        kept = "docs/results/evidence/ab" if self.budget == "full" else f"runs/evidence/{self.budget}/results"
        return Path(self.ab or kept)


def runs(args: Args, command: str = "") -> dict[str, Run]:
    """Return the runs that are trained here, by name, seed by seed."""
    found = {}
    for seed in range(args.seeds):
        for arm in args.arms:
            name = f"{arm}/seed_{seed}"
            found[name] = run_of(args.spent, arm, seed, args.work_folder / name, args.work_folder / name, command)
    return found


def run(args: Args, argv: list[str]) -> int:
    """Do what is left of the study, or of one of its runs, and report."""
    command = " ".join(["python recipes/compare_memories.py", *(argv[:-2] if args.only else argv)])
    every = runs(args, command)
    if args.only:
        return do_one(args, every)
    return do_all(args, argv, every, command)


def do_one(args: Args, every: dict[str, Run]) -> int:
    """Do one run, or measure the references, in this process."""
    if args.only not in (*every, REFERENCES):
        raise ConfigError(f"only must be one of {', '.join((*every, REFERENCES))}; got {args.only!r}")
    if args.only == REFERENCES:
        measure(args)
    else:
        perform(every[args.only], examined=True)
    return 0


def measure(args: Args) -> None:
    """Measure the controllers that do not learn; the best fixed schedule is searched first."""
    config, exam, folder = args.spent.run.env, args.spent.exam, args.work_folder / REFERENCES
    check = obey_parent()
    measure_references(config, exam, load_effects(EFFECTS), folder, check)
    play_reference("heuristic", make_reference("heuristic", config, exam.seed, {}), config, exam, folder, check)
    choices, start = best_schedule(search(args, config))
    plans = {"fixed schedule": [plan_of(choices, config, start)]}
    schedule = make_reference("fixed schedule", config, exam.seed, plans)
    play_reference("fixed schedule", schedule, config, exam, folder, check)


def search(args: Args, config: GrowthConfig) -> dict[str, float]:
    """Return what every candidate schedule earns on the searching hosts, kept in a file."""
    path = args.results_folder / "schedules.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    toy = args.budget == "smoke"
    candidates, starts = (CANDIDATES[:2], (3,)) if toy else (CANDIDATES, STARTS)
    hosts = SearchHosts(4) if toy else SearchHosts()
    return search_schedules(candidates, starts, config, hosts, known, lambda found: write_json(path, dict(found)))


def do_all(args: Args, argv: list[str], every: dict[str, Run], command: str) -> int:
    """Do all runs, each in a process of its own, and write the table."""
    tables = Tables(args.results_folder)
    measured = reference_key("fixed schedule") in tables.runs
    if measured and not unfolded(every, tables):
        console.print(f"all {len(every)} runs are finished; to run them anew choose another --results and --work")
    with cli.progress_display(console, "updates and examinations") as show:
        failures = conduct(
            every,
            (sys.executable, __file__, *argv, "--only"),
            lambda name: args.work_folder / name / "log.txt",
            at_once=args.at_once,
            examined=True,
            tables=tables,
            first=() if measured else (REFERENCES,),
            show=show,
        )
    for failure in failures:
        print(f"error: {failure.job.name} ended with status {failure.status}:\n{failure.tail}", file=sys.stderr)
    if not measured and REFERENCES not in {failure.job.name for failure in failures}:
        fold_references(tables, args.work_folder / REFERENCES)
    if not failures:
        page = describe(args, command)
        (args.results_folder / "README.md").write_text(page)
        console.print(Markdown(page))
        console.print(f"  {args.results_folder / 'README.md'}", soft_wrap=True)
    return 1 if failures else 0


def rows(args: Args) -> list[ControllerRow]:
    """Return a row per controller: those that do not learn first."""
    config = args.spent.run.env
    here, there = Study(args.results_folder, config), Study(args.ab_folder, config)
    never, schedule = here.reference("never-grow"), here.reference("fixed schedule")
    names = ("never-grow", "random-legal", "fixed schedule", "heuristic", "oracle")
    found = [controller_row(name, [here.reference(name)], never, schedule, learned=False) for name in names]
    arms = there.arms | here.arms
    for arm in (*ORDER, *(arm for arm in arms if arm not in ORDER)):
        if arm in arms:
            memory, _, seen = arm.partition("-")
            episodes = [run.held_out for run in arms[arm]]
            found.append(controller_row(f"{memory} on `{seen}`", episodes, never, schedule, learned=True))
    return found


def describe(args: Args, command: str) -> str:
    """Return the page of the comparison."""
    found = rows(args)
    oracle = next(row.gain.mean for row in found if row.name == "oracle")
    choices, start = best_schedule(json.loads((args.results_folder / "schedules.json").read_text()))
    config = args.spent.run.env
    return f"""# Controllers on {found[0].final_accuracy.n} held-out hosts

- {schedule_verdict(found)}

{controllers_table(found, oracle)}

{config.task} at {config.image_size}x{config.image_size}, family {config.family}. Square brackets: 95% percentile
bootstrap intervals over the held-out hosts, the same for every controller and seen by no training; of trained
controllers each host's value is the mean over training seeds, and `sd over seeds` is how much their means differ.
Trained for {args.spent.run.episodes:,} episodes, acting by sampled actions. The fixed schedule is the best of
{len(CANDIDATES)} tried from {len(STARTS)} starting steps on other hosts: {choices} from step {start}. The oracle knows
the hidden deficit and plants the one seed that the map of effects found best for it.

Made by `{command}`.
"""


main = partial(cli.main, Args, run, __doc__, stopped="stopped and saved; the same command goes on from here")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
