"""Families of hosts: which hidden deficit an episode has, and which hidden quality each of its seeds.

Deficits are a function of the episode's seed alone, qualities of the seed and the germination's number. The strengths
are set per image size, so that what helps under one deficit is separable from what helps under another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from ..data import Corruption
from ..errors import ConfigError
from ..seeding import generator


@dataclass(frozen=True)
class Deficit:
    """What is wrong with a host or its data; hidden from the controller.

    Attributes:
        name: What reports call it.
        corruption: What is wrong with the data.
        lr_scale: Factor on the host's learning rate (seeds keep theirs).
        stuck_block: Block whose convolution never trains, or None.
        alive_channels: Non-zero output channels of the stuck block.
    """

    name: str
    corruption: Corruption = field(default_factory=Corruption)
    lr_scale: float = 1.0
    stuck_block: int | None = None
    alive_channels: int | None = None


@dataclass(frozen=True)
class QualityRange:
    """What a germinated seed's hidden quality is drawn from.

    Attributes:
        dead_shares: Share of units that are dead, drawn uniformly from these.
        lr_scale: Bounds of the factor on the seed's learning rate, log-uniform.
        init_scale: Bounds of the factor on its last layer's initial weights, log-uniform.
    """

    dead_shares: tuple[float, ...] = (0.0,)
    lr_scale: tuple[float, float] = (1.0, 1.0)
    init_scale: tuple[float, float] = (1.0, 1.0)


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


def _log_uniform(bounds: tuple[float, float], rng: torch.Generator) -> float:
    low, high = (math.log(bound) for bound in bounds)
    return math.exp(low + (high - low) * float(torch.rand((), generator=rng)))


HEALTHY = Deficit("healthy")
HIDDEN_QUALITY = QualityRange(dead_shares=(0.0, 0.0, 0.5, 0.9), lr_scale=(0.2, 1.5))

# Strengths per image size: (contrast, brightness), factor on the learning rate, alive channels of blocks 2 and 3.
_MIXED = {
    8: (
        Deficit("contrast", Corruption(contrast=1.1, brightness=0.8)),
        Deficit("slow", lr_scale=0.12),
        Deficit("stuck1", stuck_block=1, alive_channels=4),
        Deficit("noisy labels", Corruption(label_noise=0.35, pool_size=512)),
        HEALTHY,
    ),
    16: (
        Deficit("contrast", Corruption(contrast=1.2, brightness=0.6)),
        Deficit("slow", lr_scale=0.08),
        Deficit("stuck1", stuck_block=1, alive_channels=4),
        Deficit("stuck2", stuck_block=2, alive_channels=6),
        Deficit("noisy labels", Corruption(label_noise=0.35, pool_size=512)),
        HEALTHY,
    ),
}
FAMILIES = ("single", "mixed")


def make_family(name: str, image_size: int) -> Family:
    """Return the named family, with deficits as strong as this image size wants them.

    Raises:
        ConfigError: the name is unknown.
    """
    if name == "single":
        return Family("single", (HEALTHY,), HIDDEN_QUALITY)
    if name == "mixed":
        return Family("mixed", _MIXED[8 if image_size < 16 else 16], HIDDEN_QUALITY)
    raise ConfigError(f"family must be one of {FAMILIES}, got {name!r}")
