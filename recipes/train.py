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
from typing import Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.markdown import Markdown
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase, TransformedEnv

from tamiyo_trl.cli import progress_bar, show_training
from tamiyo_trl.envs import GrowthConfig, make_growth_env
from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.errors import ConfigError, RunFolderError, TamiyoError
from tamiyo_trl.evaluation import Episode, compare, evaluate
from tamiyo_trl.evaluation.baselines import BASELINES, kept, make_baseline
from tamiyo_trl.evaluation.comparison import Row
from tamiyo_trl.evaluation.episode_log import write_episodes
from tamiyo_trl.evaluation.plots import learning_curve, timeline
from tamiyo_trl.evaluation.report import RunFacts, run_report
from tamiyo_trl.objectives import PPOConfig
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.studies.references import watching
from tamiyo_trl.training import has_run
from tamiyo_trl.training.experiment import ControllerSettings, RunConfig, make_controller, training
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
        memory: The controller's memory: lstm, gru, mlp (none) or frames (a window of observations).
        hidden_size: Units of the memory.
        encoder_size: Units of the encoder before it.
        episodes: Training episodes in all; one batch is one episode of every env.
        n_envs: Hosts trained at once.
        processes: Processes the hosts are shared out over; one for each core is fastest.
        seed: Root of every random stream of the training.
        eval_episodes: Held-out hosts that every controller meets after training.
        eval_seed: Root seed of the held-out hosts; must differ from `seed`.
        checkpoint_every: Updates between checkpoints.
        tensorboard: Also write TensorBoard events (pip install "tamiyo-trl[tensorboard]").
        threads: Intra-op threads of each process; more than 1 is slower for hosts this small.
        env: What is simulated.
        cull_logit: Initial logit of CULL; below 0, seeds live long enough at first for their worth to show.
        lr: Learning rate of the controller.
        lr_end: Learning rate at the end of training, reached linearly.
        entropy_coeff: Weight of the entropy bonus (nats).
        entropy_end: Weight of the entropy bonus at the end of training, reached linearly.
        ppo: The learner's other settings.
    """

    name: str
    runs: Path = Path("runs")
    resume: bool = False
    memory: Literal["lstm", "gru", "mlp", "frames"] = "lstm"
    hidden_size: int = 128
    encoder_size: int = 256
    episodes: int = 2000
    n_envs: int = 16
    processes: int = 1
    seed: int = 0
    eval_episodes: int = 64
    eval_seed: int = 1_000_003
    checkpoint_every: int = 5
    tensorboard: bool = False
    threads: int = 1
    env: GrowthConfig = field(default_factory=GrowthConfig)
    cull_logit: float = ControllerSettings.cull_logit
    lr: float = ControllerSettings.lr
    lr_end: float = ControllerSettings.lr_end
    entropy_coeff: float = ControllerSettings.entropy_coeff
    entropy_end: float = ControllerSettings.entropy_end
    ppo: PPOConfig = ControllerSettings.ppo

    def __post_init__(self) -> None:
        for name in ("episodes", "eval_episodes"):
            if getattr(self, name) < 1 or getattr(self, name) % self.n_envs:
                raise ConfigError(
                    f"{name} must be a positive multiple of n_envs={self.n_envs}, got {getattr(self, name)}"
                )
        if self.processes < 1 or self.n_envs % self.processes:
            raise ConfigError(f"n_envs must be a multiple of processes: {self.n_envs} is not of {self.processes}")
        if self.seed == self.eval_seed:
            raise ConfigError(
                f"eval_seed must differ from seed, both are {self.seed}: held-out hosts are never trained on"
            )
        if not self.name or Path(self.name).name != self.name:
            raise ConfigError(f"name must be a plain folder name, got {self.name!r}")

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return self.runs / self.name

    @property
    def plan(self) -> RunConfig:
        """What decides what the run learns."""
        controller = ControllerSettings(
            hidden_size=self.hidden_size,
            encoder_size=self.encoder_size,
            cull_logit=self.cull_logit,
            lr=self.lr,
            lr_end=self.lr_end,
            entropy_coeff=self.entropy_coeff,
            entropy_end=self.entropy_end,
            ppo=self.ppo,
        )
        return RunConfig(
            memory=self.memory,
            seed=self.seed,
            episodes=self.episodes,
            n_envs=self.n_envs,
            env=self.env,
            controller=controller,
            checkpoint_every=self.checkpoint_every,
        )


def main(argv: list[str]) -> int:
    """Run the recipe; return the exit status."""
    try:
        args, argv = read_arguments(argv)
        torch.set_num_threads(args.threads)
        return run(args, argv)
    except TamiyoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def read_arguments(argv: list[str]) -> tuple[Args, list[str]]:
    """Return the settings and the command line that gave them; a resumed run's are read from its folder."""
    args = parse(argv)
    if not args.resume:
        return args, argv
    path = args.folder / "config.json"
    if not path.exists():
        raise RunFolderError(f"{args.folder} holds no run to resume")
    saved = json.loads(path.read_text())["arguments"]
    return parse([*saved, *argv]), saved


def parse(argv: list[str]) -> Args:
    """Parse a command line; tyro explains what is wrong with a bad one and exits."""
    return tyro.cli(Args, args=argv, description=__doc__, config=(tyro.conf.AvoidSubcommands,))


def run(args: Args, argv: list[str]) -> int:
    """Train, evaluate and report."""
    if not args.resume and (has_run(args.folder) or (args.folder / "config.json").exists()):
        raise RunFolderError(
            f"{args.folder} already holds a run: add --resume to go on with it, or choose another --name"
        )
    plan = args.plan
    with closing(make_growth_env(args.env, args.n_envs, args.seed, args.processes)) as env:
        actor_critic = make_controller(plan, env)
        updates = training(plan, env, actor_critic, args.folder, resume=args.resume, tensorboard=args.tensorboard)
        write_config(args, argv)
        console.print(f"[bold]{args.folder}[/]: {args.episodes:,} episodes of {args.n_envs} hosts at once")
        try:
            show_training(updates, args.episodes, args.env.episode_steps, console)
            results = meet_held_out_hosts(args, env, actor_critic)
        except KeyboardInterrupt:
            command = f"python recipes/train.py --name {args.name} --runs {args.runs} --resume"
            console.print(f"\nstopped and saved; go on with: [bold]{command}[/]")
            return 130
    report(args, argv, results)
    return 0


def write_config(args: Args, argv: list[str]) -> None:
    """Write every setting and the command line that gave it."""
    args.folder.mkdir(parents=True, exist_ok=True)
    settings = {"arguments": argv, "settings": dataclasses.asdict(args)}
    (args.folder / "config.json").write_text(json.dumps(settings, indent=2, default=str) + "\n")


# ---- what is left when it has trained --------------------------------------------------------------------------------


def report(args: Args, argv: list[str], results: dict[str, list[Episode]]) -> None:
    """Write the report and show it."""
    rows = compare(results, reference="never-grow", random="random-legal")
    pictures = draw(args, results, rows)
    write_episodes(args.folder / "episodes.csv", results)
    page = run_report(args.name, rows, args.memory, facts(args, argv, results[args.memory]), pictures)
    (args.folder / "report.md").write_text(page)
    console.print(Markdown(page.split("\n## Learning")[0]))
    for name in ("report.md", *pictures.values(), "metrics.csv", "episodes.csv"):
        console.print(f"  {args.folder / name}", soft_wrap=True)


def meet_held_out_hosts(args: Args, env: EnvBase, actor_critic: ActorCritic) -> dict[str, list[Episode]]:
    """Return what the trained controller, the same before training, and every baseline make of the same held-out hosts.

    Controllers that have a results file already are read from it.
    """
    watched = watching(args.env) if args.env.observation == "minimal" else args.env  # what baselines can read
    results: dict[str, list[Episode]] = {}
    with ExitStack() as stack:
        watched_env = env
        if watched is not args.env:
            watched_env = stack.enter_context(
                closing(make_growth_env(watched, args.n_envs, args.eval_seed, args.processes))
            )
        contenders: dict[str, tuple[EnvBase, TensorDictModuleBase]] = {
            name: (TransformedEnv(env, learned.transforms()), learned.policy)
            for name, learned in ((args.memory, actor_critic), (UNTRAINED, make_controller(args.plan, env)))
        }
        contenders |= {name: (watched_env, make_baseline(name, watched, args.eval_seed)) for name in BASELINES}
        progress = stack.enter_context(progress_bar(console))
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
    learned, never = results[args.memory], results["never-grow"]
    gains = np.array([a.final_accuracy - b.final_accuracy for a, b in zip(learned, never, strict=True)])
    order = gains.argsort()
    picks = {"most gained": order[-1], "median": order[len(order) // 2], "least gained": order[0]}
    chosen = [
        (f"{what}: {100 * gains[index]:+.1f} points over never-grow", learned[index]) for what, index in picks.items()
    ]
    timeline(chosen, args.env.blueprints, args.folder / "timeline.png")
    return {"Learning curve": "learning_curve.png", "Three held-out episodes": "timeline.png"}


def facts(args: Args, argv: list[str], learned: list[Episode]) -> RunFacts:
    """Return what a reader needs to rerun this."""
    deficits = make_family(args.env.family, args.env.image_size, args.env.task).deficits
    timings = read_metrics(args.folder / "timings.csv")
    return RunFacts(
        command=shlex.join(["python", "recipes/train.py", *argv]),
        versions={"python": platform.python_version()} | {p: version(p) for p in ("torch", "torchrl", "tensordict")},
        device=f"{platform.machine()} CPU, {args.threads} thread a process, {os.cpu_count()} cores",
        train_episodes=args.episodes,
        train_minutes=float(timings["time/collect"].sum() + timings["time/update"].sum()) / 60,
        eval_seed=args.eval_seed,
        deficits={
            deficit.name: sum(episode.deficit == number for episode in learned)
            for number, deficit in enumerate(deficits)
        },
    )


if __name__ == "__main__":
    started = time.perf_counter()
    status = main(sys.argv[1:])
    if status == 0:
        console.print(f"done in {(time.perf_counter() - started) / 60:.1f} minutes")
    sys.exit(status)
