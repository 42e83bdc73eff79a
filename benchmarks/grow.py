"""What growth sites cost a training step, and the engine `modules` an episode: CPU seconds on one thread.

python benchmarks/grow.py
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.grow import GrowthSite
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.factories import factory_of

REPEATS, STEPS = 9, 12


class Net(nn.Module):
    """Three 3x3 convolutions of 32 channels at 16x16, a place after each."""

    def __init__(self, place: Callable[[], nn.Module]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for c_in in (3, 32, 32):
            blocks += [nn.Conv2d(c_in, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), place()]
        self.body, self.head = nn.Sequential(*blocks), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.head(self.body(x).mean((2, 3)))


def planted(net: nn.Module, blueprint: str, stage: Stage, alpha: float) -> nn.Module:
    """Return a copy of the network with a seed at its second site."""
    net = copy.deepcopy(net)
    site = [module for module in net.modules() if isinstance(module, GrowthSite)][1]
    site.plant(factory_of(blueprint, "map")(32))
    site.show(stage, alpha)
    return net


def cpu_seconds(net: nn.Module) -> float:
    """Return CPU seconds of `STEPS` training steps of 32 images."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    images, labels = torch.randn(32, 3, 16, 16), torch.randint(10, (32,))
    started = time.process_time()
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return time.process_time() - started


def site_table() -> list[str]:
    """Return the cost of sites and seeds as lines of a table."""
    sited = Net(lambda: GrowthSite(32))
    nets: dict[str, nn.Module] = {"bare (nn.Identity in their place)": Net(nn.Identity), "three sites, no seed": sited}
    for blueprint in ("norm", "conv_light", "wide"):
        nets[f"one `{blueprint}` in the incubator"] = planted(sited, blueprint, Stage.TRAINING, 0.0)
        nets[f"one `{blueprint}` blending"] = planted(sited, blueprint, Stage.BLENDING, 0.5)
    times: dict[str, list[float]] = {name: [] for name in nets}
    for _ in range(REPEATS):  # in turn, so that a busy spell hits all alike
        for name, net in nets.items():
            times[name].append(cpu_seconds(net))
    bare = statistics.median(times["bare (nn.Identity in their place)"])
    lines = ["| network | CPU ms a step | of bare |", "|---|---|---|"]
    for name, own in times.items():
        middle = statistics.median(own)
        lines.append(f"| {name} | {1000 * middle / STEPS:.1f} | {middle / bare:.2f} |")
    return lines


def engine_table() -> list[str]:
    """Return the cost of the engines as lines of a table: 8 hosts, 6 steps of the 8x8 digits."""
    splits = SplitSizes(train=512, val=128, test=128, reward=128)
    config = GrowthConfig(image_size=8, splits=splits, observation="minimal")
    lines, base = ["| engine | CPU s | of grouped |", "|---|---|---|"], 0.0
    for engine in ("grouped", "looped", "modules"):
        env = GrowthEnv(replace(config, engine=engine), n_envs=8, seed=0)
        started = time.process_time()
        env.rollout(6)
        spent = time.process_time() - started
        base = base or spent
        lines.append(f"| {engine} | {spent:.2f} | {spent / base:.2f} |")
    return lines


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("\n".join([*site_table(), "", *engine_table()]))
