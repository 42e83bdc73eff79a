"""The same hosts in one process and in two: environment steps per second of wall clock, by both of TorchRL's means.

`ParallelEnv` steps both processes together, `MultiSyncCollector` lets each collect a batch of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.collectors import Collector, MultiSyncCollector
from torchrl.envs import EnvBase

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthConfig, growth_env_makers, make_growth_env
from tamiyo_trl.policies.baselines import RandomLegal


@dataclass
class Processes:
    """The same envs with random legal actions in one process and in two that take turns.

    Attributes:
        means: TorchRL's class that shares them out.
        image_size: of the hosts.
        n_envs: in all.
        frames: environment steps of a turn, of all envs together.
        seconds: wall-clock seconds of every turn, by number of processes.
        difference: the largest difference between their validation accuracies; None where each process draws actions
            from a stream of its own.
    """

    means: str
    image_size: int
    n_envs: int
    frames: int
    seconds: dict[int, list[float]] = field(default_factory=lambda: {1: [], 2: []})
    difference: float | None = None

    @property
    def gain(self) -> float:
        """Return how many times the speed of one process two processes reach, the median over turns."""
        return median(one / two for one, two in zip(self.seconds[1], self.seconds[2]))


def measure_steps(image_size: int, steps: int, n_envs: int = 16) -> Processes:
    """Step a GrowthEnv and a ParallelEnv in turns."""
    found = Processes("ParallelEnv", image_size, n_envs, n_envs, difference=0.0)
    envs = {p: make_growth_env(GrowthConfig(image_size=image_size), n_envs, seed=0, processes=p) for p in (1, 2)}
    states = {p: env.reset() for p, env in envs.items()}
    policies = {p: RandomLegal(0) for p in envs}
    for step in range(steps):
        accuracies: list[Tensor] = []
        for p, env in envs.items():
            start = time.perf_counter()
            states[p] = _advance(env, policies[p](states[p]))
            if step > 0:  # the first one warms up
                found.seconds[p].append(time.perf_counter() - start)
            accuracies.append(states[p][keys.INFO, "val_accuracy"].flatten())
        found.difference = max(found.difference or 0.0, float((accuracies[0] - accuracies[1]).abs().max()))
    for env in envs.values():
        env.close(raise_if_closed=False)
    return found


@torch.no_grad()
def _advance(env: EnvBase, chosen: TensorDictBase) -> TensorDictBase:
    return env.step(chosen)["next"]


def measure_batches(image_size: int, batches: int, n_envs: int = 32) -> Processes:
    """Collect batches of whole episodes by a Collector and by a MultiSyncCollector in turns."""
    config = GrowthConfig(image_size=image_size)
    frames = n_envs * config.episode_steps
    found = Processes("MultiSyncCollector", image_size, n_envs, frames)
    every = {"frames_per_batch": frames, "total_frames": (batches + 1) * frames}
    makers = growth_env_makers(config, n_envs, seed=0, processes=2)
    collectors = {
        1: Collector(make_growth_env(config, n_envs, seed=0), RandomLegal(0), **every),
        2: MultiSyncCollector(makers, policy_factory=partial(RandomLegal, 0), cat_results=0, **every),
    }
    streams: dict[int, Iterator[TensorDictBase]] = {p: iter(collector) for p, collector in collectors.items()}
    for stream in streams.values():
        next(stream)  # warms up
    for _ in range(batches):
        for p, stream in streams.items():
            start = time.perf_counter()
            next(stream)
            found.seconds[p].append(time.perf_counter() - start)
    for collector in collectors.values():
        collector.shutdown()
    return found


def describe_processes(found: Processes) -> list[str]:
    """Return the lines of a report."""
    size = f"{found.n_envs} envs at {found.image_size}x{found.image_size}"
    lines = ["", f"## Two processes by {found.means}, {size}, one thread each", ""]
    lines += ["| processes | env steps per second of wall clock, best | median |", "|---|---|---|"]
    for p, seconds in found.seconds.items():
        lines.append(f"| {p} | {found.frames / min(seconds):.1f} | {found.frames / median(seconds):.1f} |")
    lines += ["", f"Two against one, median of turns: {found.gain:.2f} times."]
    if found.difference is not None:
        lines[-1] += f" Largest difference of a validation accuracy: {found.difference:.4f}."
    return lines
