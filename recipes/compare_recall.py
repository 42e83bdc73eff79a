"""Compare memories on a task that cannot be done without one: recall what the first step showed.

    python recipes/compare_recall.py                    # five controllers, about four minutes on one core
    python recipes/compare_recall.py --frames 30000     # quicker
    python recipes/compare_recall.py --help             # every setting

Everything goes to runs/compare_recall/: results.md and results.csv (the table), and a run folder per controller.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torchrl.envs import EnvBase, TransformedEnv

from tamiyo_trl import cli
from tamiyo_trl.envs.recall import RecallConfig, RecallEnv
from tamiyo_trl.errors import ConfigError, RunFolderError
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import Frames, Memory, make_actor_critic
from tamiyo_trl.training import TrainConfig, train
from tamiyo_trl.transforms import HiddenStateReset

LATE = 10  # the last updates, over which a controller's return is averaged
LEARNED = 0.95  # share of the optimum that counts as learned


@dataclass(frozen=True)
class Args:
    """Compare memories on RecallEnv.

    Attributes:
        out: Folder of the results; must be new or empty.
        frames: Environment steps each controller learns from; rounded down to whole batches.
        n_envs: Environments side by side.
        steps: Steps of every environment per update.
        hidden_size: Units of each memory (and of the network without one).
        window: Observations the `frames` controller sees; below the delay, never cue and question at once.
        reset_every: Steps after which the `lstm, reset` controller's hidden state is put back.
        seed: Root of every random stream.
        threads: Intra-op threads; more than 1 is slower for networks this small.
        task: The task's shape.
        ppo: The learner's settings.
    """

    out: Path = Path("runs/compare_recall")
    frames: int = 150_000
    n_envs: int = 64
    steps: int = 24
    hidden_size: int = 64
    window: int = 4
    reset_every: int = 3
    seed: int = 0
    threads: int = 1
    task: RecallConfig = field(default_factory=RecallConfig)
    ppo: PPOConfig = field(default_factory=lambda: PPOConfig(slice_len=24, lr=3e-3, entropy_coeff=0.02))

    def __post_init__(self) -> None:
        for name in ("frames", "n_envs", "steps", "reset_every", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1: {getattr(self, name)}")
        if self.frames < self.batch:
            raise ConfigError(f"frames must hold one batch of {self.batch}: {self.frames}")
        if not 2 <= self.window <= self.task.delay:
            raise ConfigError(f"window must lie in 2..{self.task.delay}, shorter than the delay: {self.window}")
        if self.reset_every > self.task.delay:
            raise ConfigError(f"reset_every must not exceed the delay of {self.task.delay}: {self.reset_every}")

    @property
    def batch(self) -> int:
        """Frames per update."""
        return self.n_envs * self.steps

    @property
    def total(self) -> int:
        """Frames per controller, in whole batches."""
        return self.frames // self.batch * self.batch


@dataclass(frozen=True)
class Contender:
    """One controller: its folder, its name in the table, its memory, and what is put around its environment."""

    folder: str
    name: str
    memory: str | Memory
    wrap: Callable[[EnvBase], EnvBase] = lambda env: env


@dataclass(frozen=True)
class Result:
    """What one controller reached.

    Attributes:
        controller: its name.
        late_return: mean episode return over the last updates.
        learned_at: frames after which the running mean return first reached 95% of the optimum, or None.
        parameters: trained numbers.
        frames_per_second: collecting and learning together.
    """

    controller: str
    late_return: float
    learned_at: int | None
    parameters: int
    frames_per_second: float


def contenders(args: Args) -> list[Contender]:
    """Return the controllers, those with memory first."""

    def reset(env: EnvBase) -> EnvBase:
        return TransformedEnv(env, HiddenStateReset(every=args.reset_every), auto_unwrap=False)

    return [
        Contender("lstm", "lstm", "lstm"),
        Contender("gru", "gru", "gru"),
        Contender("frames", f"frames ({args.window})", Frames(frames=args.window)),
        Contender("mlp", "mlp", "mlp"),
        Contender("lstm_reset", f"lstm, reset every {args.reset_every}", "lstm", reset),
    ]


def compete(contender: Contender, args: Args, show: Callable[[dict[str, float]], None]) -> Result:
    """Train one controller, showing the metrics of every update, and return what it reached."""
    env = RecallEnv(args.task, n_envs=args.n_envs, seed=args.seed)
    actor_critic = make_actor_critic(
        env, contender.memory, hidden_size=args.hidden_size, encoder_size=args.hidden_size, seed=args.seed
    )
    wrapped = contender.wrap(TransformedEnv(env, actor_critic.transforms()))
    learner = PPOLearner(actor_critic, args.ppo, seed=args.seed, total_frames=args.total)
    config = TrainConfig(total_frames=args.total, frames_per_batch=args.batch, seed=args.seed)
    returns: list[float] = []
    learned_at, seconds = None, 0.0
    for metrics in train(wrapped, actor_critic, learner, config, directory=args.out / contender.folder):
        show(metrics)
        seconds += metrics["time/collect"] + metrics["time/update"]
        if metrics["episode/count"]:
            returns.append(metrics["episode/return"])
        if learned_at is None and len(returns) >= LATE and mean(returns[-LATE:]) >= LEARNED * env.optimum:
            learned_at = int(metrics["train/frames"])
    parameters = sum(parameter.numel() for parameter in actor_critic.parameters())
    return Result(contender.name, mean(returns[-LATE:]), learned_at, parameters, args.total / seconds)


def mean(values: Sequence[float]) -> float:
    """Return the mean, NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")


def train_all(args: Args, console: Console) -> list[Result]:
    """Train every controller, showing progress; return the results."""
    results = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[seen]}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        for contender in contenders(args):
            bar = progress.add_task(f"{contender.name:22}", total=args.total, seen="")

            def show(metrics: dict[str, float], bar: TaskID = bar) -> None:
                seen = f"return {metrics['episode/return']:.2f}"
                progress.update(bar, completed=metrics["train/frames"], seen=seen)

            results.append(compete(contender, args, show))
    return results


def rows(results: Sequence[Result]) -> list[list[str]]:
    """Return the table's cells, the head first."""
    head = ["controller", "return", f"frames to {LEARNED:.0%} of the optimum", "parameters", "frames/s"]
    body = [
        [
            result.controller,
            f"{result.late_return:.3f}",
            "never" if result.learned_at is None else f"{result.learned_at:,}",
            f"{result.parameters:,}",
            f"{result.frames_per_second:,.0f}",
        ]
        for result in results
    ]
    return [head, *body]


def write(args: Args, results: Sequence[Result]) -> str:
    """Write results.csv and results.md; return the Markdown."""
    with open(args.out / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [item.name for item in dataclasses.fields(Result)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(result) for result in results)
    env = RecallEnv(args.task, n_envs=1)
    head, *body = rows(results)
    lines = [head, ["---"] * len(head), *body]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    last = args.task.delay + args.task.jitter
    text = (
        f"# Recall after {args.task.delay} to {last} steps\n\n{text}\n\n"
        f"Return: mean over the last {LATE} updates of {args.total:,} frames, seed {args.seed}; "
        f"optimum {env.optimum:.2f}, best without memory {env.chance:.2f}.\n"
    )
    (args.out / "results.md").write_text(text, encoding="utf-8")
    return text


def run(args: Args, argv: list[str]) -> None:
    """Train every controller and write the table."""
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise RunFolderError(f"{args.out} is not an empty folder: choose another --out")
    console = Console()
    console.print(Markdown(write(args, train_all(args, console))))
    console.print(f"written to {args.out}/results.md and results.csv")


main = partial(cli.main, Args, run, __doc__)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
