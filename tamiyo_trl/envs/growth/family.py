"""Families of hosts: which hidden deficit an episode has, and which hidden quality each of its seeds.

Deficits are a function of the episode's seed alone, qualities of the seed and the germination's number. How strong they
are stands in `deficits.py`. `register_family` and `register_deficit` add your own, by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tamiyo_trl.envs.growth.deficits import (
    HALF_DUDS,
    HEALTHY,
    HIDDEN_QUALITY,
    MIXED,
    REGISTERED,
    Deficit,
    QualityRange,
    check_name,
)
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeding import generator


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

    def only(self, names: str) -> Family:
        """Return the family of hosts that have these deficits alone, joined by `+`; everything else stays as it is.

        A name is one of the family's own deficits, or one that was registered.

        Raises:
            ConfigError: there is no such deficit, or it is named twice.
        """
        known = REGISTERED | {deficit.name: deficit for deficit in self.deficits}
        wanted = names.split("+")
        for name in wanted:
            if name not in known:
                own = [deficit.name for deficit in self.deficits]
                every = ", ".join(dict.fromkeys([*own, *known]))
                raise ConfigError(f"the deficit of family {self.name!r} must be one of {every}; got {name!r}")
        if len(set(wanted)) < len(wanted):
            twice = next(name for name in wanted if wanted.count(name) > 1)
            raise ConfigError(f"family '{self.name}:{names}' names {twice} twice")
        return Family(f"{self.name}:{names}", tuple(known[name] for name in wanted), self.quality)


def _log_uniform(bounds: tuple[float, float], rng: torch.Generator) -> float:
    low, high = (math.log(bound) for bound in bounds)
    return math.exp(low + (high - low) * float(torch.rand((), generator=rng)))


def _single(task: str, image_size: int) -> Family:
    return Family("single", (HEALTHY,), HIDDEN_QUALITY)


def _mixed(task: str, image_size: int) -> Family:
    if (task, image_size) not in MIXED:
        known = ", ".join(f"{task} {size}" for task, size in MIXED)
        raise ConfigError(f"family 'mixed' is set for {known}; got {task} {image_size}")
    return Family("mixed", MIXED[task, image_size], HIDDEN_QUALITY)


def _duds(task: str, image_size: int) -> Family:
    return replace(_mixed(task, image_size), name="duds", quality=HALF_DUDS)


FAMILIES: dict[str, Callable[[str, int], Family]] = {"single": _single, "mixed": _mixed, "duds": _duds}


def register_family(name: str, make: Callable[[str, int], Family]) -> None:
    """Let hosts be drawn as `family=name`: `make` returns its deficits and qualities for a task and image size.

    Worker processes import your script anew: register where it is imported, not under `if __name__ == "__main__"`.

    Raises:
        ConfigError: the name is another family's, or could not be asked for.
    """
    check_name("family", name)
    known = FAMILIES.get(name, make)
    if (known.__module__, known.__qualname__) != (make.__module__, make.__qualname__):
        raise ConfigError(f"the name of family {name!r} is taken; choose another")
    FAMILIES[name] = make


def make_family(name: str, image_size: int, task: str = "digits") -> Family:
    """Return the named family, with deficits as strong as this task and image size want them.

    `single` is one healthy host, `mixed` draws one of the deficits, `mixed:contrast` is every host of `mixed` whose
    deficit is `contrast`, and `mixed:contrast+slow` draws one of those two. `duds` has the hosts of `mixed`, and half
    of its seeds do not take.

    Raises:
        ConfigError: the name is unknown, or nothing is known of this task at this image size.
    """
    family, colon, names = name.partition(":")
    if family not in FAMILIES:
        raise ConfigError(f"family must be one of {sorted(FAMILIES)} or e.g. 'mixed:contrast', got {name!r}")
    whole = FAMILIES[family](task, image_size)
    return whole.only(names) if colon else whole
