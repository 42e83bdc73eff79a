"""Train a controller on real host training, compare it with baselines on held-out hosts, and write a report.

    python recipes/train.py --name first            # about 2,000 episodes on 16x16 digits
    python recipes/train.py --name first --resume   # go on after Ctrl-C
    python recipes/train.py --help                  # every setting

Everything goes to runs/<name>/: config.json, metrics.csv, timings.csv, checkpoints/, held_out/, report.md and pictures.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.markdown import Markdown
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase, TransformedEnv

from tamiyo_trl import cli
from tamiyo_trl.envs import GrowthEnv, growth_env_makers
from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.errors import ConfigError, RunFolderError
from tamiyo_trl.evaluation import Episode, compare, evaluate
from tamiyo_trl.evaluation.baselines import BASELINES, kept, make_baseline
from tamiyo_trl.evaluation.comparison import Row
from tamiyo_trl.evaluation.episode_log import write_episodes
from tamiyo_trl.evaluation.plots import learning_curve, timeline
from tamiyo_trl.evaluation.report import RunFacts, run_report
from tamiyo_trl.files import write_json
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.studies.references import watching
from tamiyo_trl.training import has_run
from tamiyo_trl.training.experiment import RunConfig, make_controller, training
from tamiyo_trl.training.folder_lock import FolderLock
from tamiyo_trl.training.table import read_metrics

console = Console()
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Args:
    """Train a controller on real host training, compare it with baselines, write a report.

    Attributes:
        name: Name of the run; its folder is <runs>/<name>.
        runs: Folder of all runs.
        resume: Go on with the run of this name; its settings are read from its folder.
        processes: Processes the hosts are shared out over; one for each core is fastest.
        eval_episodes: Held-out hosts that every controller meets after training.
        eval_seed: Root seed of the held-out hosts; must differ from `seed`.
        tensorboard: Also write TensorBoard events (pip install "tamiyo-trl[tensorboard]").
        threads: Intra-op threads of each process; more than 1 is slower for hosts this small.
        run: What decides what is learned.
    """

    name: str
    runs: Path = Path("runs")
    resume: bool = False
    processes: int = 1
    eval_episodes: int = 64
    eval_seed: int = 1_000_003
    tensorboard: bool = False
    threads: int = 1
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        n_envs, seed = self.run.n_envs, self.run.seed
        if n_envs < 1 or self.threads < 1:
            raise ConfigError(f"n_envs and threads must be at least 1, got {n_envs} and {self.threads}")
        if self.eval_episodes < 1 or self.eval_episodes % n_envs:
            raise ConfigError(f"eval_episodes must be a positive multiple of n_envs={n_envs}, got {self.eval_episodes}")
        if self.processes < 1 or n_envs % self.processes:
            raise ConfigError(f"n_envs must be a multiple of processes: {n_envs} is not of {self.processes}")
        if seed == self.eval_seed:
            raise ConfigError(f"eval_seed must differ from seed, both are {seed}: held-out hosts are never trained on")
        if not self.name or self.name == ".." or Path(self.name).name != self.name:
            raise ConfigError(f"name must be a plain folder name, got {self.name!r}")

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return self.runs / self.name


def settings_of_run(args: Args, argv: list[str]) -> tuple[Args, list[str]]:
    """Return the settings and the command line that gave them; a resumed run's are read from its folder."""
    if not args.resume:
        return args, argv
    path = args.folder / "config.json"
    if not path.exists():
        raise RunFolderError(f"{args.folder} holds no run to resume")
    try:
        saved = json.loads(path.read_text())["arguments"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunFolderError(f"{path} is damaged ({error}): the run cannot be resumed") from error
    args = cli.parse(Args, __doc__, [*saved, *argv])
    torch.set_num_threads(args.threads)
    return args, saved


def run(args: Args, argv: list[str]) -> int:
    """Train, evaluate and report."""
    started = time.perf_counter()
    args, argv = settings_of_run(args, argv)
    if not args.resume and has_run(args.folder):
        raise RunFolderError(
            f"{args.folder} already holds a run: add --resume to go on with it, or choose another --name"
        )
    env = GrowthEnv(args.run.env, args.run.n_envs, args.run.seed)
    actor_critic = make_controller(args.run, env)
    places = (
        env if args.processes == 1 else growth_env_makers(args.run.env, args.run.n_envs, args.run.seed, args.processes)
    )
    resume = args.resume and has_run(args.folder)  # a run that was stopped before it kept anything starts again
    updates = training(args.run, places, actor_critic, args.folder, resume=resume, tensorboard=args.tensorboard)
    write_config(args, argv)
    console.print(f"[bold]{args.folder}[/]: {args.run.episodes:,} episodes of {args.run.n_envs} hosts at once")
    try:
        with closing(updates):
            cli.show_training(updates, args.run.episodes, args.run.env.episode_steps, console)
        results = meet_held_out_hosts(args, env, actor_critic)
    except KeyboardInterrupt:
        command = f"python recipes/train.py --name {args.name} --runs {args.runs} --resume"
        console.print(f"\nstopped and saved; go on with: [bold]{command}[/]")
        return cli.STOPPED
    report(args, argv, results)
    console.print(f"done in {(time.perf_counter() - started) / 60:.1f} minutes")
    return 0


def write_config(args: Args, argv: list[str]) -> None:
    """Write every setting and the command line that gave it."""
    try:
        args.folder.mkdir(parents=True, exist_ok=True)
        with closing(FolderLock(args.folder)):
            write_json(args.folder / "config.json", {"arguments": argv, "settings": dataclasses.asdict(args)})
    except OSError as error:
        raise RunFolderError(f"cannot write to {args.folder}: {error.strerror}") from error


# ---- what is left when it has trained --------------------------------------------------------------------------------


def report(args: Args, argv: list[str], results: dict[str, list[Episode]]) -> None:
    """Write the report and show it."""
    rows = compare(results, reference="never-grow", random="random-legal")
    pictures = draw(args, results, rows)
    write_episodes(args.folder / "episodes.csv", results)
    page = run_report(args.name, rows, args.run.memory, facts(args, argv, results[args.run.memory]), pictures)
    (args.folder / "report.md").write_text(page)
    console.print(Markdown(page.split("\n## Learning")[0]))
    for name in ("report.md", *pictures.values(), "metrics.csv", "episodes.csv"):
        console.print(f"  {args.folder / name}", soft_wrap=True)


def meet_held_out_hosts(args: Args, env: GrowthEnv, actor_critic: ActorCritic) -> dict[str, list[Episode]]:
    """Return what the trained controller, the same before training, and every baseline make of the same held-out hosts.

    Controllers that have a results file already are read from it.
    """
    shown = args.run.env
    watched = watching(shown) if shown.observation == "minimal" else shown  # what baselines can read
    results: dict[str, list[Episode]] = {}
    with ExitStack() as stack:
        watched_env = env if watched is shown else GrowthEnv(watched, args.run.n_envs, args.eval_seed)
        contenders: dict[str, tuple[EnvBase, TensorDictModuleBase]] = {
            name: (TransformedEnv(env, learned.transforms()), learned.policy)
            for name, learned in ((args.run.memory, actor_critic), (UNTRAINED, make_controller(args.run, env)))
        }
        contenders |= {name: (watched_env, make_baseline(name, watched, args.eval_seed)) for name in BASELINES}
        progress = stack.enter_context(cli.progress_bar(console))
        task = progress.add_task("held-out hosts", total=args.eval_episodes * len(contenders), shown="")
        for name, (place, policy) in contenders.items():
            progress.update(task, shown=name)
            place.set_seed(args.eval_seed, static_seed=True)
            play = partial(evaluate, place, policy, args.eval_episodes, seed=args.eval_seed)
            path = args.folder / "held_out" / f"{name.replace(' ', '-')}.json"
            results[name] = kept(path, partial(play, on_episodes=partial(progress.advance, task)))
            progress.update(task, completed=args.eval_episodes * len(results))
    return results


def draw(args: Args, results: dict[str, list[Episode]], rows: list[Row]) -> dict[str, str]:
    """Draw the learning curve and three timelines; return their titles and file names."""
    references = {row.name: row.final_accuracy.mean for row in rows if row.name in BASELINES}
    learning_curve(read_metrics(args.folder / "metrics.csv"), args.folder / "learning_curve.png", references)
    learned, never = results[args.run.memory], results["never-grow"]
    gains = np.array([a.final_accuracy - b.final_accuracy for a, b in zip(learned, never, strict=True)])
    order = gains.argsort()
    picks = {"most gained": order[-1], "median": order[len(order) // 2], "least gained": order[0]}
    chosen = [
        (f"{what}: {100 * gains[index]:+.1f} points over never-grow", learned[index]) for what, index in picks.items()
    ]
    timeline(chosen, args.run.env.blueprints, args.folder / "timeline.png")
    return {"Learning curve": "learning_curve.png", "Three held-out episodes": "timeline.png"}


def facts(args: Args, argv: list[str], learned: list[Episode]) -> RunFacts:
    """Return what a reader needs to rerun this."""
    deficits = make_family(args.run.env.family, args.run.env.image_size, args.run.env.task).deficits
    timings = read_metrics(args.folder / "timings.csv")
    return RunFacts(
        command=shlex.join(["python", "recipes/train.py", *argv]),
        versions={"python": platform.python_version()} | {p: version(p) for p in ("torch", "torchrl", "tensordict")},
        device=f"{platform.machine()} CPU, {args.threads} thread a process, {os.cpu_count()} cores",
        train_episodes=args.run.episodes,
        train_minutes=float(timings["time/collect"].sum() + timings["time/update"].sum()) / 60,
        eval_seed=args.eval_seed,
        deficits={
            deficit.name: sum(episode.deficit == number for episode in learned)
            for number, deficit in enumerate(deficits)
        },
    )


main = partial(cli.main, Args, run, __doc__)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
