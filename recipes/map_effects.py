"""Measure what every (blueprint, site) is worth under every hidden deficit, against never growing, on the same hosts.

    python recipes/map_effects.py                              # 16x16 digits: about 20 minutes of one core
    python recipes/map_effects.py --env.image-size 8           # a third of that
    python recipes/map_effects.py --arms norm@0 wide@1         # some choices only
    python recipes/map_effects.py --help                       # every setting

Everything goes to docs/results/effects/<family>-<task>-<size>/: effects.csv (a row per deficit, choice and host),
effects.png and README.md. A stopped map goes on where it was when it is called again, and a map grows by more hosts or
choices.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markdown import Markdown
from tensordict.nn import TensorDictModuleBase

from tamiyo_trl import cli
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.errors import ConfigError, RunFolderError
from tamiyo_trl.evaluation import evaluate
from tamiyo_trl.files import write_json
from tamiyo_trl.policies import FixedSchedule, NeverGrow
from tamiyo_trl.policies.baselines import Planting
from tamiyo_trl.studies.effects.file import COLUMNS, nothing, read_measured, write_measured
from tamiyo_trl.studies.effects.map import NEVER, Acceptance, Effects, acceptance
from tamiyo_trl.studies.effects.picture import effects_map
from tamiyo_trl.studies.effects.tables import best_table, cull_table, effects_table, quality_table
from tamiyo_trl.studies.run import agree

console = Console()


@dataclass(frozen=True)
class Args:
    """Map the effects of growing one seed.

    Attributes:
        out: Folder of the results; "" is docs/results/effects/<family>-<task>-<size>.
        hosts: Hosts each choice meets; the same ones for all of them.
        seed: Root seed of the hosts.
        plant_at: Step the seed is planted at; it is kept as soon as it may be.
        arms: Choices to measure, as blueprint@site; none given measures every one.
        deficits: Deficits to measure; none given measures all of the family.
        threads: Intra-op threads; more than 1 is slower for hosts this small.
        env: What is simulated.
    """

    out: str = ""
    hosts: int = 8
    seed: int = 2_000_003
    plant_at: int = 3
    arms: tuple[str, ...] = ()
    deficits: tuple[str, ...] = ()
    threads: int = 1
    env: GrowthConfig = field(default_factory=GrowthConfig)

    def __post_init__(self) -> None:
        if self.hosts < 2:
            raise ConfigError(f"hosts must be at least 2, got {self.hosts}")
        last = self.env.episode_steps - self.env.lifecycle.life_steps
        if not self.env.lifecycle.germinate_from <= self.plant_at <= last:
            raise ConfigError(
                f"plant_at must leave a seed its life: {self.env.lifecycle.germinate_from}..{last}, got {self.plant_at}"
            )
        known = [f"{kind}@{site}" for kind in self.env.blueprints for site in range(len(self.env.sites))]
        for name in self.arms:
            if name not in known:
                raise ConfigError(f"arms must be of {', '.join(known)}; got {name!r}")
        for name in self.deficits:
            make_family(self.env.family, self.env.image_size, self.env.task).only(name)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        place = f"{self.env.family}-{self.env.task}-{self.env.image_size}".replace(":", "-").replace(" ", "-")
        return Path(self.out) if self.out else Path("docs/results/effects") / place

    @property
    def chosen_arms(self) -> tuple[str, ...]:
        """Every choice to measure, never-grow first."""
        every = [f"{kind}@{site}" for kind in self.env.blueprints for site in range(len(self.env.sites))]
        return (NEVER, *(self.arms or every))

    @property
    def chosen_deficits(self) -> tuple[str, ...]:
        """Every deficit to measure."""
        family = make_family(self.env.family, self.env.image_size, self.env.task)
        return self.deficits or tuple(deficit.name for deficit in family.deficits)


def run(args: Args, argv: list[str]) -> None:
    """Measure what is not measured yet, and report."""
    prepare(args)
    measure(args)
    report(args, argv)


# ---- measuring -------------------------------------------------------------------------------------------------------


def settings(args: Args) -> dict:
    """Return everything that decides a measured value, as plain values."""
    family = make_family(args.env.family, args.env.image_size, args.env.task)
    decisive = {"seed": args.seed, "plant_at": args.plant_at, "env": args.env, "family": family}
    plain = {name: dataclasses.asdict(v) if dataclasses.is_dataclass(v) else v for name, v in decisive.items()}  # type: ignore[arg-type]  # instances
    return json.loads(json.dumps(plain))


def prepare(args: Args) -> None:
    """Claim the folder for these settings.

    Raises:
        RunFolderError: it holds a map of other settings.
    """
    path = args.folder / "settings.json"
    if path.exists():
        if not agree(json.loads(path.read_text()), settings(args)):
            raise RunFolderError(f"{args.folder} holds a map with other settings; choose another --out or remove it")
        return
    write_json(path, settings(args))


def measure(args: Args) -> None:
    """Measure what is not measured yet, deficit by deficit, choice by choice."""
    work = [(deficit, arm) for deficit in args.chosen_deficits for arm in args.chosen_arms]
    measured = read_measured(args.folder)
    with cli.progress_bar(console) as progress:
        task = progress.add_task("episodes", total=len(work) * args.hosts, shown="")
        for deficit, arm in work:
            progress.update(task, shown=f"{deficit}, {arm}")
            done = measured.get((deficit, arm), nothing())
            missing = args.hosts - len(done["final_accuracy"])
            if missing > 0:
                fresh = episodes(args, deficit, arm, first=args.hosts - missing, count=missing)
                measured = read_measured(args.folder)  # another process may have measured other choices meanwhile
                measured[deficit, arm] = {name: done[name] + fresh[name] for name in COLUMNS}
                write_measured(args.folder, measured)
            progress.advance(task, args.hosts)


def episodes(args: Args, deficit: str, arm: str, first: int, count: int) -> dict[str, list]:
    """Return what this choice makes of hosts `first` to `first + count - 1`."""
    # Nobody looks at the validation images here, so a handful will do; they change nothing of the training.
    splits = dataclasses.replace(args.env.splits, val=min(16, args.env.splits.val))
    base = args.env.family.partition(":")[0]
    config = dataclasses.replace(args.env, family=f"{base}:{deficit}", splits=splits)
    env = GrowthEnv(config, n_envs=count, seed=args.seed, first_env=first)
    family = env.world.episodes.family
    played = evaluate(env, controller(args, config, arm), count)
    qualities = [family.seed_quality(episode.seed, 0) for episode in played]
    return {
        "host_seed": [episode.seed for episode in played],
        "final_accuracy": [round(episode.final_accuracy, 6) for episode in played],
        "added_parameters": [int(episode.added_parameters) for episode in played],
        "dead_share": [quality.dead_share for quality in qualities],
        "lr_scale": [round(quality.lr_scale, 4) for quality in qualities],
        "host_parameters": [env.world.fleet.host_parameters] * count,
    }


def controller(args: Args, config: GrowthConfig, arm: str) -> TensorDictModuleBase:
    """Return the controller that makes this choice for every host."""
    if arm == NEVER:
        return NeverGrow()
    kind, _, site = arm.partition("@")
    planting = Planting(args.plant_at, int(site), config.blueprints.index(kind))
    return FixedSchedule(config, config.episode_steps, [planting])


# ---- reporting -------------------------------------------------------------------------------------------------------


def collect(args: Args) -> Effects:
    """Return the map that lies in the folder: all hosts that every wanted choice was measured on."""
    found = read_measured(args.folder)
    net = np.full((len(args.chosen_deficits), len(args.chosen_arms), args.hosts), np.nan)
    for d, deficit in enumerate(args.chosen_deficits):
        for a, arm in enumerate(args.chosen_arms):
            columns = found.get((deficit, arm), nothing())
            accuracy, added, host = (
                np.array(columns[name][: args.hosts], dtype=float)
                for name in ("final_accuracy", "added_parameters", "host_parameters")
            )
            net[d, a] = accuracy - args.env.rewards.rent * np.log1p(added / host)
    return Effects(args.chosen_deficits, args.chosen_arms, net)


def report(args: Args, argv: list[str]) -> None:
    """Write the heat map and the page, and show the page."""
    effects = collect(args)
    title = (
        f"{args.env.task} {args.env.image_size}x{args.env.image_size}, {args.env.family} hosts: net gain of one "
        f"kept seed over never growing, mean of {effects.hosts} hosts each"
    )
    effects_map(effects, title, args.folder / "effects.png")
    page = describe(args, argv, effects, acceptance(effects))
    (args.folder / "README.md").write_text(page)
    console.print(Markdown(page))
    console.print(f"  {args.folder / 'README.md'}", soft_wrap=True)


def describe(args: Args, argv: list[str], effects: Effects, checks: Acceptance) -> str:
    """Return the page of a map."""
    failed = sum(not holds for _, _, holds in checks.claims)
    verdict = "accepted" if checks.accepted else f"{len(checks.claims) - failed} of {len(checks.claims)} claims hold"
    claims = [f"| {what} | {value} | {'yes' if holds else 'NO'} |" for what, value, holds in checks.claims]
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "torchrl", "tensordict"))
    command = shlex.join(["python", "recipes/map_effects.py", *argv])
    first = read_measured(args.folder)[args.chosen_deficits[0], NEVER]
    qualities = quality_table(effects, first["dead_share"][: args.hosts], first["lr_scale"][: args.hosts])
    size = f"{args.env.image_size}x{args.env.image_size}"
    sections = [
        f"# Effects: {args.env.family} hosts on {args.env.task} at {size}: {verdict}",
        f"One seed planted at step {args.plant_at} and kept, on {effects.hosts} hosts for each choice and deficit, the "
        "same hosts for all. Values are committed test accuracies net of the rent "
        f"({args.env.rewards.rent} log(1 + added / host parameters)). Square brackets: 95% percentile bootstrap "
        "intervals of differences paired by host.",
        "![net gains](effects.png)",
        "## Best choice of each deficit",
        best_table(effects),
        f"Best constant choice: {effects.arms[effects.constant]}.",
        "## Is there something to decide?",
        "| claim | measured | holds |\n|---|---|---|\n" + "\n".join(claims),
        "Every choice is made by means over hosts. Made by the hosts that score it, it flatters the best; each host "
        "left out of the choice that it scores, it is made from fewer hosts and does them less than justice.",
        "## Kept seeds by their hidden quality",
        qualities,
        "## Kept seeds that were better culled",
        "Share of kept seeds that cost their host anything / more than 2 points, the three sites together. Chance "
        "alone makes half of those lose that do nothing.",
        cull_table(effects),
        "## Net gain over never-grow, points",
        effects_table(effects),
        f"Made by `{command}` on a CPU, {args.threads} thread; {versions}; root seed {args.seed}.",
    ]
    return "\n\n".join(sections) + "\n"


main = partial(cli.main, Args, run, __doc__, stopped="stopped; the same command goes on from here")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
