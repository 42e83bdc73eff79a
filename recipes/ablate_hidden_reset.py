"""When does a trained controller need its memory? Its hidden state is reset or exchanged at every step of the episode.

    python recipes/ablate_hidden_reset.py                              # every finished lstm run of the A/B
    python recipes/ablate_hidden_reset.py --arms lstm-minimal --seeds 2
    python recipes/ablate_hidden_reset.py --budget smoke --seeds 1     # toy hosts

Reads the A/B's trained controllers from <work> (recipes/ab_mlp_vs_lstm.py leaves them there) and evaluates each against
itself untouched, on the same held-out hosts. One results file per disturbance in <results>/<arm>/seed_<n>/: a stopped
ablation goes on where it was. The table and the picture go to <results>.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markdown import Markdown

from tamiyo_trl import cli
from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.errors import ConfigError, RunFolderError
from tamiyo_trl.evaluation import Episode
from tamiyo_trl.evaluation.ablation import Intervention, interventions
from tamiyo_trl.files import write_json
from tamiyo_trl.studies.budgets import BUDGETS, run_of
from tamiyo_trl.studies.examination import Examinee
from tamiyo_trl.studies.report.ablation import Ablations, ablations_picture, ablations_table
from tamiyo_trl.studies.run import Run, trained

console = Console()

UNTOUCHED = "untouched"


@dataclass(frozen=True)
class Args:
    """Disturb the hidden state of trained controllers.

    Attributes:
        budget: Which A/B they come from: smoke, small or full.
        arms: Arms with a memory.
        seeds: Training seeds 0 to seeds - 1.
        hosts: Held-out hosts for each disturbance.
        reset_at: Steps of a single reset.
        reset_every: Periods of repeated resets.
        swap_at: Steps of a single exchange between hosts.
        work: Folder of the trained controllers; "" is runs/evidence/<budget>.
        results: Folder of the results; "" is docs/results/evidence/ablation for the full budget, else
            <work>/ablation.
    """

    budget: Literal["smoke", "small", "full"] = "full"
    arms: tuple[str, ...] = ("lstm-minimal", "lstm-summary")
    seeds: int = 5
    hosts: int = 32
    reset_at: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20)
    reset_every: tuple[int, ...] = (1, 2, 3, 5, 8, 12)
    swap_at: tuple[int, ...] = (4, 8, 12, 16)
    work: str = ""
    results: str = ""

    def __post_init__(self) -> None:
        at_once = BUDGETS[self.budget].exam.n_envs
        if self.hosts < 1 or self.hosts % at_once or self.seeds < 1:
            raise ConfigError(
                f"seeds must be positive and hosts a multiple of {at_once}, got {self.seeds}, {self.hosts}"
            )
        interventions(self.reset_at, self.reset_every, self.swap_at)

    @property
    def work_folder(self) -> Path:
        """Folder of the trained controllers."""
        return Path(self.work or f"runs/evidence/{self.budget}")

    @property
    def results_folder(self) -> Path:
        """Folder of the results."""
        kept = Path("docs/results/evidence/ablation") if self.budget == "full" else self.work_folder / "ablation"
        return Path(self.results) if self.results else kept


def run(args: Args, argv: list[str]) -> None:
    """Measure what is not measured yet, and report."""
    found = runs(args)
    measure(args, found)
    report(args, found, shlex.join(["python", "recipes/ablate_hidden_reset.py", *argv]))


def runs(args: Args) -> dict[str, Run]:
    """Return the finished trainings, by arm/seed_n.

    Raises:
        RunFolderError: there is none.
    """
    found = {}
    for arm in args.arms:
        for seed in range(args.seeds):
            name = f"{arm}/seed_{seed}"
            run = run_of(BUDGETS[args.budget], arm, seed, args.results_folder / name, args.work_folder / name, "")
            if run.updates_done >= run.updates:
                found[name] = run
    if not found:
        raise RunFolderError(f"no finished training of {', '.join(args.arms)} in {args.work_folder}")
    return found


def measure(args: Args, found: dict[str, Run]) -> None:
    """Measure what is not measured yet."""
    chosen: list[Intervention | None] = [None, *interventions(args.reset_at, args.reset_every, args.swap_at)]
    work = [(name, item) for name in found for item in chosen]
    with cli.progress_display(console, "disturbances") as show:
        for number, (name, item) in enumerate(work):
            show(number, len(work), f"{name}, {item.name if item else UNTOUCHED}")
            path = result_path(found[name], item)
            if not path.exists():
                write_json(path, accuracies(found[name], item, args.hosts))
        show(len(work), len(work), "")


def result_path(run: Run, item: Intervention | None) -> Path:
    """Return the results file of a disturbance."""
    return run.results / f"{(item.name if item else UNTOUCHED).replace(' ', '-')}.json"


def accuracies(run: Run, item: Intervention | None, hosts: int) -> dict[str, float]:
    """Return the final accuracy of every host, by its seed."""
    actor_critic = trained(run, GrowthEnv(run.plan.env, 1, run.exam.seed))
    if not actor_critic.state_keys:
        raise ConfigError(f"{run.plan.memory} has no hidden state to disturb")
    examinee = Examinee(run, actor_critic, lambda: None)
    if item is None:
        steps, _ = examinee.play(hosts)
    else:
        steps, _ = examinee.play(hosts, item.transforms(actor_critic), item.policy(actor_critic))
    episodes = [Episode.read(episode) for episode in steps]
    return {str(episode.seed): round(episode.final_accuracy, 6) for episode in episodes}


def report(args: Args, found: dict[str, Run], command: str) -> None:
    """Write the table and the picture of all that is measured."""
    chosen = interventions(args.reset_at, args.reset_every, args.swap_at)
    arms: dict[str, list[Ablations]] = {}
    for name, run in found.items():
        untouched = json.loads(result_path(run, None).read_text())
        disturbed = {item: json.loads(result_path(run, item).read_text()) for item in chosen}
        arms.setdefault(name.partition("/")[0], []).append(Ablations.of(untouched, disturbed))
    ablations_picture(arms, args.results_folder / "ablation.png")
    seeds = ", ".join(f"{arm}: {len(each)}" for arm, each in arms.items())
    page = f"""# The hidden state, disturbed

{ablations_table(arms)}

Change of final test accuracy in points: each trained controller against itself untouched on the same {args.hosts}
held-out hosts, then over training seeds ({seeds}): mean with 95% percentile bootstrap interval, mean over standard
deviation (d), and in how many seeds it rose.

![Change of final accuracy by the step of a single reset](ablation.png)

Made by `{command}`.
"""
    (args.results_folder / "README.md").write_text(page)
    console.print(Markdown(page))


main = partial(cli.main, Args, run, __doc__, stopped="stopped; the same command goes on from here")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
