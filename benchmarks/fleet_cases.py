"""What `benchmarks/fleet.py` times: loops of ordinary modules, fleets, seeds, evaluations and whole episodes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamiyo_trl.hosts import Fleet, HostBirth, HostConfig
from tamiyo_trl.hosts.cnn import to_rows
from tamiyo_trl.hosts.cohort import Epoch
from tamiyo_trl.seeds.blueprints import BLUEPRINTS, SeedBirth

BATCH, LR = 32, 0.05
SEEDED_SHARE, INCUBATING_SHARE = 0.7, 0.3
Turn = Callable[[], None]


@dataclass(frozen=True)
class Data:
    """Random images [N, K, C, H, W], labels [N, K] and an order [N, M] for N hosts."""

    images: Tensor
    labels: Tensor
    order: Tensor

    @staticmethod
    def draw(host: HostConfig, n_hosts: int, steps: int, device: str) -> Data:
        """Draw a pool of 128 images for each host and an order of `steps` batches."""
        rng, shape = torch.Generator().manual_seed(0), (host.in_channels, host.image_size, host.image_size)
        images = torch.randn(n_hosts, 128, *shape, generator=rng)
        labels = torch.randint(0, host.classes, (n_hosts, 128), generator=rng)
        order = torch.randint(0, 128, (n_hosts, steps * BATCH), generator=rng)
        return Data(images.to(device), labels.to(device), order.to(device))


def flops(host: HostConfig) -> int:
    """Return the operations (2 per multiply-add) of training on one image; the first layer needs no input gradient."""
    total, c_in, size = 0, host.in_channels, host.image_size
    for b, (c_out, after, kind) in enumerate(zip(host.channels, host.sizes, host.downsample)):
        at = after if kind == "stride" else size
        total += (2 if b == 0 else 3) * 2 * c_in * c_out * 9 * at**2
        c_in, size = c_out, after
    return total + 3 * 2 * c_in * host.classes


def module(host: HostConfig) -> nn.Module:
    """Return the host as ordinary modules."""
    layers: list[nn.Module] = []
    for c_in, c_out, kind in zip((host.in_channels, *host.channels), host.channels, host.downsample):
        layers.append(nn.Conv2d(c_in, c_out, 3, stride=2 if kind == "stride" else 1, padding=1, bias=False))
        layers += [nn.MaxPool2d(2)] if kind == "pool" else []
        layers += [nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(host.channels[-1], host.classes))


def module_loop(host: HostConfig, data: Data, layout: torch.memory_format) -> Turn:
    """Return a turn that trains one module after the other with torch.optim."""
    hosts = [module(host).to(data.images.device) for _ in data.images]
    for net in hosts:
        net.to(memory_format=layout)  # type: ignore[call-overload] # the stub knows no memory format alone
    optimisers = [torch.optim.SGD(h.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4) for h in hosts]

    def turn() -> None:
        for start in range(0, data.order.shape[1], BATCH):
            for e, (net, sgd) in enumerate(zip(hosts, optimisers)):
                pick = data.order[e, start : start + BATCH]
                images = data.images[e, pick].contiguous(memory_format=layout)
                sgd.zero_grad()
                F.cross_entropy(net(images), data.labels[e, pick]).backward()
                sgd.step()

    return turn


def new_fleet(host: HostConfig, data: Data, engine: str, precision: str = "fp32") -> Fleet:
    """Return a fleet of newborn hosts."""
    fleet = Fleet(host, len(data.images), engine=engine, precision=precision, device=data.images.device)
    fleet.reset(range(fleet.n_hosts), [HostBirth(e) for e in range(fleet.n_hosts)])
    return fleet


def seeded_fleet(host: HostConfig, data: Data, only: str | None) -> tuple[Fleet, Tensor]:
    """Return a fleet in which 70% of the hosts carry a seed at a random site, 30% of those incubating, and their sites.

    only: the one blueprint of all seeds, every host seeded; None mixes all blueprints.
    """
    fleet, rng = new_fleet(host, data, "grouped"), random.Random(1)
    live = torch.full((fleet.n_hosts,), -1)
    incubating = torch.zeros(fleet.n_hosts, fleet.n_sites, dtype=torch.bool)
    for e in range(fleet.n_hosts):
        if only is None and rng.random() > SEEDED_SHARE:
            continue
        site = rng.randrange(fleet.n_sites)
        fleet.germinate(e, site, SeedBirth(only or rng.choice(list(BLUEPRINTS)), e))
        live[e], incubating[e, site] = site, rng.random() < INCUBATING_SHARE
    fleet.set_blend(torch.full(incubating.shape, 0.6), incubating)
    return fleet, live.to(data.images.device)


def training(fleet: Fleet, data: Data) -> Turn:
    """Return a turn that trains a fleet through the order."""
    lr = torch.full((fleet.n_hosts,), LR, device=data.images.device)
    return lambda: void(fleet.train_epoch(data.images, data.labels, data.order, batch_size=BATCH, lr=lr))


@torch.no_grad()
def graphed(fleet: Fleet, data: Data) -> Turn:
    """Return a turn that trains a fleet on a GPU by replaying one recorded step (a CUDA graph) for every batch."""
    ((_, cohort),) = fleet._cohorts(BATCH)
    epoch = Epoch(cohort, torch.full((fleet.n_hosts,), LR, device=data.images.device), fleet.optim)
    pick = data.order[:, :BATCH].clone()

    def step() -> None:
        epoch._step(to_rows(data.images, pick).to(cohort.dtype), data.labels.gather(1, pick))

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def turn() -> None:
        for start in range(0, data.order.shape[1], BATCH):
            pick.copy_(data.order[:, start : start + BATCH])
            graph.replay()

    return turn


def evaluation(fleet: Fleet, data: Data, live: Tensor) -> Turn:
    """Return a turn that evaluates a fleet on 256 images a host, the counterfactual at `live` included."""
    images, labels = data.images.repeat(1, 2, 1, 1, 1), data.labels.repeat(1, 2)
    return lambda: void(fleet.evaluate(images, labels, live))


def episodes(host: HostConfig, data: Data) -> Turn:
    """Return a turn of one 25-step episode of every host under a controller that acts at random.

    Each step trains on the order and evaluates on 256 images with the counterfactual. A host without a live seed grows
    one with probability 1/4 at a free site; it incubates for two steps, blends for three, then is kept or culled.
    """
    held = data.images.repeat(1, 2, 1, 1, 1), data.labels.repeat(1, 2)

    def turn() -> None:
        fleet, rng = new_fleet(host, data, "auto"), random.Random(0)
        train, shape = training(fleet, data), (fleet.n_hosts, fleet.n_sites)
        alpha, incubating = torch.ones(shape), torch.zeros(shape, dtype=torch.bool)
        live, age, kept = [-1] * fleet.n_hosts, [0] * fleet.n_hosts, [set[int]() for _ in range(fleet.n_hosts)]
        for _ in range(25):
            for e in range(fleet.n_hosts):
                free = [s for s in range(fleet.n_sites) if s not in kept[e]]
                if live[e] < 0 and free and rng.random() < 0.25:
                    live[e], age[e] = rng.choice(free), 0
                    fleet.germinate(e, live[e], SeedBirth(rng.choice(list(BLUEPRINTS)), rng.randrange(10**6)))
                elif live[e] >= 0 and age[e] > 5:
                    if rng.random() < 0.5:
                        kept[e].add(live[e])
                    else:
                        fleet.remove(e, live[e])
                    live[e] = -1
                if live[e] >= 0:
                    incubating[e, live[e]], alpha[e, live[e]] = age[e] < 2, min(max(age[e] - 1, 0) / 3, 1.0)
                    age[e] += 1
            fleet.set_blend(alpha, incubating)
            train()
            fleet.evaluate(*held, torch.tensor(live, device=data.images.device))

    return turn


def void(_: object) -> None:
    """Return nothing, whatever was measured."""
