"""Does memory make a better Tamiyo? Paired training runs of memoryless and recurrent controllers on the same hosts.

    python recipes/ab_mlp_vs_lstm.py --budget smoke    # toy hosts, two minutes: shows that everything works
    python recipes/ab_mlp_vs_lstm.py --budget small    # three seeds of 480 episodes
    python recipes/ab_mlp_vs_lstm.py --budget full     # five seeds of 3,008 episodes: hours
    python recipes/ab_mlp_vs_lstm.py --tune            # the short runs on other seeds that chose the learner's settings

Arms are {mlp, lstm} x {minimal, summary}. Seed n meets the same hosts in every arm. Every run is a process of its own
and leaves small files in <results>/<arm>/seed_<n>/; checkpoints go to <work>. Stop it anywhere: the same command goes
on.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, TrainingConfig
from tamiyo_trl.errors import ConfigError, TamiyoError
from tamiyo_trl.evaluation.evidence import Study
from tamiyo_trl.evaluation.evidence_report import write_report
from tamiyo_trl.evaluation.examination import EXAM_STAGES, examine
from tamiyo_trl.evaluation.experiment import ControllerSettings, RunPlan
from tamiyo_trl.evaluation.jobs import Job, obey_parent, run_jobs
from tamiyo_trl.evaluation.references import load_effects, measure_references
from tamiyo_trl.evaluation.study import Exam, Run, train_run
from tamiyo_trl.evaluation.tuning import scores, tuning_table
from tamiyo_trl.objectives import PPOConfig

console = Console()

REFERENCES = "references"
EFFECTS = Path(__file__).parents[1] / "docs/results/effects/mixed-digits-8"  # what the oracle knows
ARMS = ("mlp-minimal", "lstm-minimal", "mlp-summary", "lstm-summary")

# The same for all arms; chosen by `python recipes/ab_mlp_vs_lstm.py --tune`: docs/results/evidence/tuning/README.md.
CHOSEN = ControllerSettings()

# What the tuning tries, each as one change of the settings it started from.
START = ControllerSettings()
VARIANTS: dict[str, ControllerSettings] = {
    "start": START,
    "lr-3e-3": dataclasses.replace(START, lr=3e-3, lr_end=3e-4),
    "epochs-10": dataclasses.replace(START, ppo=PPOConfig(epochs=10)),
    "slice-25": dataclasses.replace(START, ppo=PPOConfig(slice_len=25)),
    "cull-0": dataclasses.replace(START, cull_logit=0.0),
    "entropy-high": dataclasses.replace(START, entropy_coeff=0.06, entropy_end=0.006),
    "slice-16": dataclasses.replace(START, ppo=PPOConfig(slice_len=16)),
    "refresh": dataclasses.replace(START, ppo=PPOConfig(refresh="epoch")),
}
TUNING_ARMS = ("mlp-minimal", "lstm-minimal")
TUNING_EPISODES = 480
TUNING_SEEDS = (900, 901)

TOY = GrowthConfig(
    image_size=8,
    episode_steps=12,
    splits=SplitSizes(train=128, val=64, test=64),
    training=TrainingConfig(images_per_step=64, batch_size=32, decay_from=6),
)


@dataclass(frozen=True)
class Budget:
    """How much is spent.

    Attributes:
        episodes: Training episodes of each run.
        seeds: Training seeds of each arm.
        n_envs: Hosts trained at once.
        env: What is simulated, observation aside.
        controller: Sizes of the controller and how it is taught.
        exam: How trained controllers are examined.
    """

    episodes: int
    seeds: int
    n_envs: int
    env: GrowthConfig
    controller: ControllerSettings
    exam: Exam


BUDGETS = {
    "smoke": Budget(
        8,
        2,
        4,
        TOY,
        ControllerSettings(hidden_size=16, encoder_size=16, cull_logit=0.0, ppo=PPOConfig(slice_len=6, minibatches=2)),
        Exam(8, n_envs=8, sampled_episodes=8, disturbed_episodes=8, reset_at=(4,), reset_every=(1,), swap_at=(4,)),
    ),
    "small": Budget(480, 3, 16, GrowthConfig(image_size=8), CHOSEN, Exam(episodes=32, sampled_episodes=32)),
    "full": Budget(3008, 5, 16, GrowthConfig(image_size=8), CHOSEN, Exam()),
}


@dataclass(frozen=True)
class Args:
    """Train and examine memoryless and recurrent controllers on the same hosts.

    Attributes:
        budget: smoke (toy hosts), small or full.
        arms: Arms to run, a memory and an observation set each; none given runs all (tuning: those on `minimal`).
        seeds: Training seeds of each arm, 0 to seeds - 1; 0 takes the budget's number.
        at_once: Runs at once; one for each core.
        results: Folder of the small files that reports are made of; "" is docs/results/evidence/ab for the full budget,
            else runs/evidence/<budget>/results.
        work: Folder of checkpoints and full metrics; "" is runs/evidence/<budget>.
        stages: How far to go: train, or train and examine.
        only: Do one run in this process: arm/seed.
        tune: Run the short runs that choose the learner's settings instead.
    """

    budget: Literal["smoke", "small", "full"] = "full"
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
    def work_folder(self) -> Path:
        """Folder of checkpoints and full metrics."""
        return Path(self.work or f"runs/evidence/{'tuning' if self.tune else self.budget}")

    @property
    def results_folder(self) -> Path:
        """Folder of the files that are kept."""
        if self.results:
            return Path(self.results)
        if self.tune:
            return Path("docs/results/evidence/tuning")
        return Path("docs/results/evidence/ab") if self.budget == "full" else self.work_folder / "results"


def runs(args: Args, command: str = "") -> dict[str, Run]:
    """Return every run by its name, arm/seed_n (arm/setting/seed_n when tuning), in the order they are done."""
    budget = BUDGETS[args.budget]
    wanted: list[tuple[str, str, int, int, ControllerSettings]] = []
    if args.tune:
        for seed in TUNING_SEEDS:
            for setting, controller in VARIANTS.items():
                wanted += [(f"{arm}/{setting}", arm, seed, TUNING_EPISODES, controller) for arm in args.chosen_arms]
    else:
        for seed in range(args.seeds or budget.seeds):
            wanted += [(arm, arm, seed, budget.episodes, budget.controller) for arm in args.chosen_arms]
    found = {}
    for place, arm, seed, episodes, controller in wanted:
        memory, _, observation = arm.partition("-")
        env = dataclasses.replace(budget.env, observation=observation)
        plan = RunPlan(memory, seed, episodes, budget.n_envs, env, controller)
        name = f"{place}/seed_{seed}"
        found[name] = Run(plan, args.results_folder / name, args.work_folder / name, budget.exam, command)
    return found


def main(argv: list[str]) -> int:
    """Run the recipe; return the exit status."""
    try:
        args = tyro.cli(Args, args=argv, description=__doc__)
        torch.set_num_threads(1)
        command = " ".join(["python recipes/ab_mlp_vs_lstm.py", *(argv if not args.only else argv[:-2])])
        every = runs(args, command)
        if args.only:
            return perform(args, every)
        return conduct(args, argv, every)
    except KeyboardInterrupt:
        console.print("\nstopped and saved; the same command goes on from here")
        return 130
    except TamiyoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def perform(args: Args, every: dict[str, Run]) -> int:
    """Do one run in this process."""
    if args.only not in (*every, REFERENCES):
        raise ConfigError(f"only must be one of {', '.join((*every, REFERENCES))}; got {args.only!r}")

    check = obey_parent()
    if args.only == REFERENCES:
        budget = BUDGETS[args.budget]
        effects = load_effects(EFFECTS)
        measure_references(budget.env, budget.exam, effects, args.results_folder / REFERENCES, check)
        return 0
    train_run(every[args.only], lambda metrics: check())
    if args.stages == "all" and not args.tune:
        examine(every[args.only], check)
    return 0


def conduct(args: Args, argv: list[str], every: dict[str, Run]) -> int:
    """Do all runs, each in a process of its own, and show how far they are."""
    examined = args.stages == "all" and not args.tune
    stages = len(EXAM_STAGES) if examined else 0
    jobs = [
        Job(name, (sys.executable, __file__, *argv, "--only", name), run.work / "log.txt")
        for name, run in every.items()
        if done(run, stages) < run.updates + stages
    ]
    if not args.tune and not (args.results_folder / REFERENCES / "random-legal.csv").exists():
        command = (sys.executable, __file__, *argv, "--only", REFERENCES)
        jobs.insert(0, Job(REFERENCES, command, args.work_folder / REFERENCES / "log.txt"))
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[shown]}")]
    shown_at = 0.0
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, speed_estimate_period=1800
    ) as bar:
        total = sum(run.updates + stages for run in every.values())
        task = bar.add_task("updates and examinations", total=total, shown="")

        def tick(running: list[Job]) -> None:
            nonlocal shown_at
            completed = sum(done(run, stages) for run in every.values())
            names = ", ".join(
                f"{job.name} {done(every[job.name], stages)}" if job.name in every else job.name for job in running
            )
            bar.update(task, completed=completed, shown=names)
            if not console.is_terminal and time.monotonic() - shown_at > 60:
                shown_at = time.monotonic()
                bar.console.print(f"{completed} of {total}: {names}", soft_wrap=True)

        failures = run_jobs(jobs, args.at_once, tick)
    for failure in failures:
        print(f"error: {failure.job.name} ended with status {failure.status}:\n{failure.tail}", file=sys.stderr)
    if args.tune:
        report_tuning(args)
    elif examined:
        study = Study(args.results_folder, BUDGETS[args.budget].env)
        if study.arms:
            write_report(study, " ".join(["python recipes/ab_mlp_vs_lstm.py", *argv]))
            console.print(f"  {args.results_folder / 'report.md'}\n  {args.results_folder / 'report.html'}")
    return 1 if failures else 0


def report_tuning(args: Args) -> None:
    """Write what the short runs scored."""
    found = scores(args.results_folder, args.chosen_arms, list(VARIANTS), TUNING_SEEDS)
    page = f"""# Learner settings, tried on tuning seeds

Mean final test accuracy (%) of the last quarter of {TUNING_EPISODES} training episodes, sampled actions, all deficits
counting alike; in brackets the tuning seeds {", ".join(map(str, TUNING_SEEDS))} one by one. Each setting is one change
of `start`; all arms get the same settings and the same effort.

{tuning_table(found)}

Made by `python recipes/ab_mlp_vs_lstm.py --tune`.
"""
    (args.results_folder / "README.md").write_text(page)


def done(run: Run, stages: int) -> int:
    """Return how many updates and examination stages of a run are done."""
    return run.updates_done + sum((run.results / name).exists() for name in EXAM_STAGES[:stages])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
