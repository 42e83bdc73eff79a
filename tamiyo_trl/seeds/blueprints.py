"""The fleet's blueprints, by name: each a small network of rows from the site's activation h to s(h).

They are the lockstep twins of the modules in `map_modules.py`. C is the number of channels at the site. Blending mixes
h and s(h), so a blueprint need not be neutral when it is born.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.lockstep.convolution import Conv, DepthwiseConv
from tamiyo_trl.lockstep.layers import Blur, Layer, ReLU, Residual, Sequence
from tamiyo_trl.lockstep.norms import BatchNorm, MixedNorm, SqueezeExcite
from tamiyo_trl.lockstep.rows import Rows, join_row, size_of
from tamiyo_trl.seeding import generator
from tamiyo_trl.seeds.factories import check_blueprints
from tamiyo_trl.seeds.map_modules import SMALL_GAIN


@dataclass(frozen=True)
class Blueprint:
    """The form of one kind of seed.

    Attributes:
        build: returns the network for C channels.
        last: name of the parameter that `SeedBirth.init_scale` multiplies.
        units: names of the parameters whose leading axis is the seed's units; a dead unit's entries are zero.
    """

    build: Callable[[int], Layer]
    last: str
    units: tuple[str, ...]

    def parameter_count(self, channels: int) -> int:
        """Return the number of parameters of one seed."""
        return size_of(self.build(channels).shapes())


def _norm(c: int) -> Layer:
    return MixedNorm(c)


def _attention(c: int) -> Layer:
    return SqueezeExcite(c, max(1, c // 4))


def _depthwise(c: int) -> Layer:
    return Residual((DepthwiseConv("depth", 1, c), Conv("point", c, c, 1), BatchNorm("norm", c, SMALL_GAIN), ReLU()))


def _conv_light(c: int) -> Layer:
    return Residual((Conv("conv", c, c), BatchNorm("norm", c, SMALL_GAIN), ReLU()))


def _conv_heavy(c: int) -> Layer:
    first = (Conv("conv1", c, c), BatchNorm("norm1", c), ReLU())
    return Residual((*first, Conv("conv2", c, c), BatchNorm("norm2", c, SMALL_GAIN)))


def _wide(c: int) -> Layer:
    return Residual((Conv("conv", c, 4 * c), BatchNorm("norm", 4 * c), ReLU(), Conv("out", 4 * c, c, 1)))


def _lossy(c: int) -> Layer:
    hidden = max(2, c // 4)
    return Sequence((Blur(), Conv("down", c, hidden, 1), Conv("up", hidden, c, 1)))


BLUEPRINTS: dict[str, Blueprint] = {
    "norm": Blueprint(_norm, "mix", ("norm.weight", "norm.bias")),
    "attention": Blueprint(_attention, "up", ("down",)),
    "depthwise": Blueprint(_depthwise, "norm.weight", ("depth",)),
    "conv_light": Blueprint(_conv_light, "norm.weight", ("conv", "norm.weight", "norm.bias")),
    "conv_heavy": Blueprint(_conv_heavy, "norm2.weight", ("conv1", "norm1.weight", "norm1.bias")),
    "wide": Blueprint(_wide, "out", ("conv", "norm.weight", "norm.bias")),
    "lossy": Blueprint(_lossy, "up", ("down",)),
}


@lru_cache(maxsize=256)
def seed_network(blueprint: str, channels: int) -> Layer:
    """Return the network of a blueprint at a site with C channels."""
    return BLUEPRINTS[blueprint].build(channels)


@dataclass(frozen=True)
class SeedBirth:
    """One germinated seed and its hidden quality.

    Attributes:
        blueprint: name of a blueprint.
        seed: root of the seed's own random stream; decides initial weights and which units are dead.
        init_scale: multiplies the initial weights of the seed's last layer.
        lr_scale: multiplies the learning rate of the seed.
        dead_share: share of the seed's units (0..1, rounded down) that are zero and never train.
    """

    blueprint: str
    seed: int
    init_scale: float = 1.0
    lr_scale: float = 1.0
    dead_share: float = 0.0

    def __post_init__(self) -> None:
        check_blueprints((self.blueprint,))
        if not 0.0 <= self.dead_share <= 1.0:
            raise ConfigError(f"dead_share must be in 0..1: got {self.dead_share}")


def seed_row(birth: SeedBirth, channels: int) -> Rows:
    """Return the single row of a new seed at a site with C channels: a function of `birth` and C alone."""
    blueprint, network = BLUEPRINTS[birth.blueprint], seed_network(birth.blueprint, channels)
    shapes, norms = network.shapes(), network.norms()
    named = network.draw(generator(birth.seed, "seed", birth.blueprint))
    named[blueprint.last] = named[blueprint.last] * birth.init_scale
    trainable = {name: torch.ones(shape) for name, shape in shapes.items()}
    count = shapes[blueprint.units[0]][0]
    dead = torch.randperm(count, generator=generator(birth.seed, "dead"))[: int(birth.dead_share * count)]
    for name in blueprint.units:
        named[name][dead] = 0.0
        trainable[name][dead] = 0.0
    return Rows.born(join_row(named, shapes), birth.lr_scale, join_row(trainable, shapes), new_statistics(norms))


def new_statistics(norms: dict[str, int]) -> dict[str, torch.Tensor]:
    """Return the running statistics of new batch normalisations (name -> channels): mean 0, variance 1."""
    means = {f"{name}.mean": torch.zeros(channels) for name, channels in norms.items()}
    return means | {f"{name}.var": torch.ones(channels) for name, channels in norms.items()}
