"""The same hosts in one process and in two: environment steps per second of wall clock, and whether numbers agree."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.envs import EnvBase

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthConfig, make_growth_env
from tamiyo_trl.policies.baselines import RandomLegal


@dataclass
class Processes:
    """Steps of 16 envs with random legal actions, the same in one process and in two that take turns.

    Attributes:
        image_size: of the hosts.
        seconds: wall-clock seconds of every step, by number of processes.
        difference: the largest difference between their validation accuracies.
    """

    image_size: int
    seconds: dict[int, list[float]] = field(default_factory=dict)
    difference: float = 0.0

    @property
    def gain(self) -> float:
        """Return how many times the steps of one process two processes take, the median over steps."""
        return median(one / two for one, two in zip(self.seconds[1], self.seconds[2]))


def measure_processes(image_size: int, steps: int, n_envs: int = 16) -> Processes:
    """Step both, in turns."""
    found = Processes(image_size, {1: [], 2: []})
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
        found.difference = max(found.difference, float((accuracies[0] - accuracies[1]).abs().max()))
    for env in envs.values():
        env.close(raise_if_closed=False)
    return found


@torch.no_grad()
def _advance(env: EnvBase, chosen: TensorDictBase) -> TensorDictBase:
    return env.step(chosen)["next"]


def describe_processes(found: Processes, n_envs: int = 16) -> list[str]:
    """Return the lines of a report."""
    lines = ["", f"## Two processes, {n_envs} envs at {found.image_size}x{found.image_size}, one thread each", ""]
    lines += ["| processes | env steps per second of wall clock, best | median |", "|---|---|---|"]
    for p, seconds in found.seconds.items():
        lines.append(f"| {p} | {n_envs / min(seconds):.1f} | {n_envs / median(seconds):.1f} |")
    lines += ["", f"Two against one, median of steps that took turns: {found.gain:.2f} times. Largest difference of a "]
    lines[-1] += f"validation accuracy: {found.difference:.4f}."
    return lines
