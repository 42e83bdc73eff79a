"""Families of hosts: which hidden deficit an episode has, and which hidden quality each of its seeds.

Deficits are a function of the episode's seed alone, qualities of the seed and the germination's number. How strong they
are stands in `deficits.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..errors import ConfigError
from ..seeding import generator
from .deficits import HEALTHY, HIDDEN_QUALITY, MIXED, Deficit, QualityRange

FAMILIES = ("single", "mixed")


@dataclass(frozen=True)
class SeedQuality:
    """The hidden quality of one germinated seed (fields as in `QualityRange`)."""

    dead_share: float
    lr_scale: float
    init_scale: float


@dataclass(frozen=True)
class Family:
    """A distribution of hosts: its deficits, equally likely, and the range of seed qualities."""

    name: str
    deficits: tuple[Deficit, ...]
    quality: QualityRange

    def deficit(self, episode_seed: int) -> int:
        """Return the number of this episode's deficit in `deficits`."""
        rng = generator(episode_seed, "deficit")
        return int(torch.randint(len(self.deficits), (), generator=rng))

    def seed_quality(self, episode_seed: int, germination: int) -> SeedQuality:
        """Return the quality of this episode's `germination`-th seed."""
        rng = generator(episode_seed, "quality", germination)
        dead = self.quality.dead_shares[int(torch.randint(len(self.quality.dead_shares), (), generator=rng))]
        lr_scale, init_scale = (
            _log_uniform(bounds, rng) for bounds in (self.quality.lr_scale, self.quality.init_scale)
        )
        return SeedQuality(dead, lr_scale, init_scale)

    def only(self, name: str) -> Family:
        """Return the family of those hosts that have the deficit of this name; everything else stays as it is.

        Raises:
            ConfigError: the family has no such deficit.
        """
        chosen = tuple(deficit for deficit in self.deficits if deficit.name == name)
        if not chosen:
            names = ", ".join(deficit.name for deficit in self.deficits)
            raise ConfigError(f"the deficit of family {self.name!r} must be one of {names}; got {name!r}")
        return Family(f"{self.name}:{name}", chosen, self.quality)


def _log_uniform(bounds: tuple[float, float], rng: torch.Generator) -> float:
    low, high = (math.log(bound) for bound in bounds)
    return math.exp(low + (high - low) * float(torch.rand((), generator=rng)))


def make_family(name: str, image_size: int, task: str = "digits") -> Family:
    """Return the named family, with deficits as strong as this task and image size want them.

    `single` is one healthy host, `mixed` draws one of the deficits, and `mixed:contrast` is every host of `mixed` whose
    deficit is `contrast`.

    Raises:
        ConfigError: the name is unknown, or nothing is known of this task at this image size.
    """
    family, _, deficit = name.partition(":")
    if family == "single":
        whole = Family("single", (HEALTHY,), HIDDEN_QUALITY)
    elif family == "mixed":
        if (task, image_size) not in MIXED:
            known = ", ".join(f"{task} {size}" for task, size in MIXED)
            raise ConfigError(f"family 'mixed' is set for {known}; got {task} {image_size}")
        whole = Family("mixed", MIXED[task, image_size], HIDDEN_QUALITY)
    else:
        raise ConfigError(f"family must be one of {sorted(FAMILIES)} or e.g. 'mixed:contrast', got {name!r}")
    return whole.only(deficit) if ":" in name else whole
