"""Random lives of hosts, played on a fleet and on plain trainers."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from tamiyo_trl.hosts import Fleet, HostBirth, HostConfig, OptimConfig
from tamiyo_trl.seeding import generator
from tamiyo_trl.seeds.blueprints import BLUEPRINTS, SeedBirth
from tests.reference.plain_host import PlainTrainer

NAMES = tuple(BLUEPRINTS)
OPTIM = OptimConfig()


@dataclass(frozen=True)
class Epoch:
    """What happens to one host before and in one epoch: seeds in and out, blend of each site, a new birth."""

    birth: HostBirth | None
    remove: tuple[int, ...]
    germinate: tuple[tuple[int, SeedBirth], ...]
    alpha: tuple[float, ...]
    incubating: tuple[bool, ...]
    data: int  # seed of the epoch's images, labels and order
    live: int  # site of the live seed, or -1
    poison: float | None = None  # put into one image


def draw_life(seed: int, config: HostConfig, epochs: int, poison: bool = False) -> list[Epoch]:
    """Return a random life of one host: seeds in and out at several sites, incubation, blending, rebirths."""
    rng, sites = random.Random(seed), range(len(config.channels))
    life: list[Epoch] = []
    age: dict[int, int] = {}
    for t in range(epochs):
        birth = None
        if t == 0 or rng.random() < 0.1:
            stuck = rng.choice([None, None, *sites])
            alive = None if stuck is None else rng.randrange(1, config.channels[stuck] + 1)
            birth, age = HostBirth(rng.randrange(10**6), rng.choice([1.0, 0.2]), stuck, alive), {}
        removed = tuple(s for s in age if rng.random() < 0.2)
        age = {s: a + 1 for s, a in age.items() if s not in removed}
        germinated = []
        for site in sites:
            if site not in age and rng.random() < 0.4:
                quality = (rng.choice([1.0, 0.5]), rng.choice([1.0, 0.3]), rng.choice([0.0, 0.0, 0.5]))
                germinated.append((site, SeedBirth(rng.choice(NAMES), rng.randrange(10**6), *quality)))
                age[site] = 0
        incubating = tuple(age.get(s, 0) < 2 and rng.random() < 0.8 for s in sites)
        alpha = tuple(rng.choice([0.0, 0.3, 0.8, 1.0, 1.0]) for _ in sites)
        live = rng.choice([-1, *age])
        bad = rng.choice([float("nan"), float("inf"), 3e38]) if poison and rng.random() < 0.3 else None
        life.append(Epoch(birth, removed, tuple(germinated), alpha, incubating, rng.randrange(10**9), live, bad))
    return life


def draw_data(config: HostConfig, epoch: Epoch, pool: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return one host's images [K, C, H, W], labels [K] and order [K] of an epoch."""
    rng = generator(epoch.data, "test")
    images = torch.randn(pool, config.in_channels, config.image_size, config.image_size, generator=rng).to(dtype)
    labels = torch.randint(0, config.classes, (pool,), generator=rng)
    if epoch.poison is not None:
        images[pool // 2, 0, 3] = epoch.poison
    return images, labels, torch.randint(0, pool, (pool,), generator=rng)


def enter_epoch(fleet: Fleet, lives: list[list[Epoch]], t: int) -> None:
    """Apply the births, culls, germinations and blends of epoch t to every host of a fleet."""
    for host, life in enumerate(lives):
        epoch = life[t]
        if epoch.birth is not None:
            fleet.reset([host], [epoch.birth])
        else:
            for site in epoch.remove:
                fleet.remove(host, site)
        for site, birth in epoch.germinate:
            fleet.germinate(host, site, birth)
    alpha = torch.tensor([life[t].alpha for life in lives], dtype=fleet.engine.dtype)
    fleet.set_blend(alpha, torch.tensor([life[t].incubating for life in lives]))


def run_epoch(
    fleet: Fleet, lives: list[list[Epoch]], t: int, pool: int, batch_size: int, lr: float
) -> dict[str, Tensor]:
    """Train and evaluate every host of a fleet in epoch t; return everything it reported, one row per host."""
    images, labels, order = (
        torch.stack(x) for x in zip(*(draw_data(fleet.host, life[t], pool, fleet.engine.dtype) for life in lives))
    )
    rates = torch.full((fleet.n_hosts,), lr, dtype=fleet.engine.dtype)
    trained = fleet.train_epoch(images, labels, order, batch_size=batch_size, lr=rates)
    measured = fleet.evaluate(images, labels, torch.tensor([life[t].live for life in lives]))
    return vars(trained) | {f"evaluation.{k}": v for k, v in vars(measured).items()} | {"finite": fleet.finite.clone()}


def whole_state(fleet: Fleet, host: int) -> dict[str, Tensor]:
    """Return every number of one host's state by name, momentum included."""
    state = fleet.select([host]).state_dict()
    own = {f"host.{n}": t.clone() for n, t in state["hosts"].items()}
    for bank in state["banks"]:
        own |= {f"{bank['blueprint']}@{bank['site']}.{n}": t.clone() for n, t in bank["rows"].items()}
    return own


class PlainLife:
    """The same life played on a PlainTrainer, alone; only initial weights are read from the fleet."""

    def __init__(self, config: HostConfig, dtype: torch.dtype) -> None:
        self.config, self.dtype = config, dtype
        self.trainer: PlainTrainer

    def enter_epoch(self, fleet: Fleet, host: int, epoch: Epoch) -> None:
        """Apply the epoch's births, culls and blend; the fleet has done so too and has not trained yet."""
        if epoch.birth is not None:
            self.trainer = PlainTrainer(self.config, epoch.birth, fleet.named_host(host), OPTIM)
        for site in epoch.remove:
            self.trainer.host.seeds.pop(site, None)
        for site, birth in epoch.germinate:
            self.trainer.germinate(site, birth, self.config.channels[site], fleet.named_seed(host, site))
        for site, seed in self.trainer.host.seeds.items():
            seed.alpha, seed.incubating = epoch.alpha[site], epoch.incubating[site]

    def run_epoch(self, epoch: Epoch, pool: int, batch_size: int, lr: float) -> dict[str, float]:
        """Train and evaluate; return what `Fleet` reports for one host."""
        images, labels, order = draw_data(self.config, epoch, pool, self.dtype)
        loss = accuracy = host_norm = 0.0
        seed_norms = [0.0] * len(self.config.channels)
        steps = range(0, pool, batch_size)
        for start in steps:
            pick = order[start : start + batch_size]
            step_loss, hits, norm, seeds = self.trainer.step(images[pick], labels[pick], lr)
            loss, accuracy = loss + step_loss * len(pick) / pool, accuracy + hits * len(pick) / pool
            host_norm += norm / len(steps)
            for site, value in seeds.items():
                seed_norms[site] += value / len(steps)
        plain = self.trainer.measure(images, labels)
        other = self.trainer.measure(images, labels, switched=epoch.live) if epoch.live >= 0 else plain
        return {
            "loss": loss,
            "accuracy": accuracy,
            "host_grad_norm": host_norm,
            **{f"seed_grad_norm.{s}": v for s, v in enumerate(seed_norms)},
            "evaluation.loss": plain[0],
            "evaluation.accuracy": plain[1],
            "evaluation.counterfactual_loss": other[0],
            "evaluation.counterfactual_accuracy": other[1],
        }
