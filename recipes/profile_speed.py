"""What memory costs: frames per second and CPU seconds per episode of an LSTM against an MLP controller.

    python recipes/profile_speed.py                 # a few minutes
    python recipes/profile_speed.py --updates 2     # a quick look

Both controllers are trained for a few updates on the same hosts, by turns, in one process with one thread. CPU time is
counted, so that other processes matter little. The table goes to <out>/README.md, every measurement to results.json.
"""

from __future__ import annotations

import platform
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markdown import Markdown
from tensordict import TensorDictBase

from tamiyo_trl import cli
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.files import write_json
from tamiyo_trl.objectives import PPOLearner
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.training.experiment import RunConfig, make_controller, training

console = Console()


@dataclass(frozen=True)
class Args:
    """Profile training with and without memory.

    Attributes:
        memories: Memories to compare; the last is what the others are compared with.
        updates: Updates measured of each, after one that is not.
        repeats: Times each is measured, by turns.
        n_envs: Hosts trained at once.
        seed: Root of the hosts and everything else.
        out: Folder of the results.
        env: What is simulated.
    """

    memories: tuple[str, ...] = ("lstm", "mlp")
    updates: int = 4
    repeats: int = 2
    n_envs: int = 16
    seed: int = 0
    out: Path = Path("docs/results/evidence/speed")
    env: GrowthConfig = field(default_factory=lambda: GrowthConfig(image_size=8, observation="minimal"))

    def __post_init__(self) -> None:
        if self.updates < 1 or self.repeats < 1 or len(self.memories) < 2:
            raise ConfigError("profiling needs an update, a repeat and two memories at least")


class TimedHosts(GrowthEnv):
    """GrowthEnv that counts the CPU seconds its own steps and resets take: training and evaluating hosts."""

    spent = 0.0

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        started = time.process_time()
        result = super()._step(tensordict)
        self.spent += time.process_time() - started
        return result

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        started = time.process_time()
        result = super()._reset(tensordict, **kwargs)
        self.spent += time.process_time() - started
        return result


class TimedUpdates:
    """Counts the CPU seconds a learner's updates take."""

    def __init__(self) -> None:
        self.spent = 0.0
        self._plain = PPOLearner.update

    def __enter__(self) -> TimedUpdates:
        def update(learner: PPOLearner, batch: TensorDictBase) -> dict[str, float]:
            started = time.process_time()
            metrics = self._plain(learner, batch)
            self.spent += time.process_time() - started
            return metrics

        PPOLearner.update = update  # type: ignore[method-assign, assignment]  # undone on exit
        return self

    def __exit__(self, *error: object) -> None:
        PPOLearner.update = self._plain  # type: ignore[method-assign]  # as it was


def run(args: Args, argv: list[str]) -> None:
    """Measure and report."""
    found = [measure(args, memory) for _ in range(args.repeats) for memory in args.memories]
    command = shlex.join(["python", "recipes/profile_speed.py", *argv])
    write_json(args.out / "results.json", {"command": command, "measured": found})
    page = describe(args, found, command)
    (args.out / "README.md").write_text(page)
    console.print(Markdown(page))


def measure(args: Args, memory: str) -> dict[str, float | str]:
    """Return CPU and wall seconds of some updates with this memory, and where they went."""
    plan = RunConfig(memory, args.seed, (args.updates + 1) * args.n_envs, args.n_envs, env=args.env)
    hosts = TimedHosts(args.env, args.n_envs, args.seed)
    actor_critic: ActorCritic = make_controller(plan, hosts)
    with tempfile.TemporaryDirectory() as folder, TimedUpdates() as updates:
        steps = training(plan, hosts, actor_critic, folder)
        next(steps)  # the first update pays for warming up
        hosts.spent = updates.spent = 0.0
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(args.updates):
            next(steps)
        wall, total = time.perf_counter() - started, time.process_time() - cpu
        host_seconds, update_seconds = hosts.spent, updates.spent
        steps.close()
    return {
        "memory": memory,
        "weights": sum(weights.numel() for weights in actor_critic.parameters()),
        "frames": args.updates * args.n_envs * args.env.episode_steps,
        "episodes": args.updates * args.n_envs,
        "cpu_seconds": total,
        "wall_seconds": wall,
        "host_seconds": host_seconds,
        "update_seconds": update_seconds,
        "policy_seconds": total - host_seconds - update_seconds,
    }


def describe(args: Args, found: list[dict[str, float | str]], command: str) -> str:
    """Return the page: a line per memory, and how they compare."""
    means = {
        memory: {
            name: float(np.mean([float(item[name]) for item in found if item["memory"] == memory]))
            for name in found[0]
            if name != "memory"
        }
        for memory in args.memories
    }
    lines = [
        "| memory | weights | frames / CPU s | CPU s / episode | hosts % | collection beside hosts % | update % "
        "| controller ms / frame |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for memory, mean in means.items():
        total = mean["cpu_seconds"]
        shares = [100 * mean[f"{part}_seconds"] / total for part in ("host", "policy", "update")]
        own_time = 1000 * (mean["policy_seconds"] + mean["update_seconds"]) / mean["frames"]
        lines.append(
            f"| {memory} | {mean['weights']:,.0f} | {mean['frames'] / total:.0f} | {total / mean['episodes']:.3f} | "
            + " | ".join(f"{part:.1f}" for part in shares)
            + f" | {own_time:.2f} |"
        )
    base = args.memories[-1]
    sentences = []
    for memory in args.memories[:-1]:
        per_episode = [means[name]["cpu_seconds"] / means[name]["episodes"] for name in (memory, base)]
        own = [means[name]["policy_seconds"] + means[name]["update_seconds"] for name in (memory, base)]
        sentences.append(
            f"Training with {memory} takes {per_episode[0] / per_episode[1]:.2f} times the CPU time of {base}; the "
            f"controller's own part of it takes {own[0] / own[1]:.2f} times."
        )
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchrl", "tensordict"))
    return (
        "\n\n".join(
            [
                "# What memory costs",
                " ".join(sentences),
                "\n".join(lines),
                f"{args.env.task} {args.env.image_size}x{args.env.image_size}, {args.n_envs} hosts at once, "
                f"{args.updates} updates of {args.n_envs} episodes after one that is not counted, {args.repeats} times "
                "by turns; CPU seconds of one process with one thread. Hosts: training and evaluating them; what they "
                "cost depends on what the controller plants, so compare the controllers' own part.",
                f"Made by `{command}` on {platform.machine()}; python {platform.python_version()}, {versions}.",
            ]
        )
        + "\n"
    )


main = partial(cli.main, Args, run, __doc__)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
