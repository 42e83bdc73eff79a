"""The blueprints a seed can be grown from, by name: each a small module over n rows at once.

C is the number of channels at the site. A blueprint maps the site's activation h to s(h) of the same shape; blending mixes the two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from ..seeding import generator
from .rows import (
    Named,
    Rows,
    Shapes,
    batch_norm,
    conv,
    depthwise_conv,
    gate,
    join_row,
    linear,
    normalise,
    scale_channels,
    scale_rows,
    sigmoid,
    size_of,
    spatial_mean,
    uniform,
)


@dataclass(frozen=True)
class SeedBirth:
    """One germinated seed and its hidden quality.

    Attributes:
        blueprint: name in `BLUEPRINTS`.
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
        if self.blueprint not in BLUEPRINTS:
            raise ConfigError(f"blueprint must be one of {', '.join(BLUEPRINTS)}: got {self.blueprint!r}")
        if not 0.0 <= self.dead_share <= 1.0:
            raise ConfigError(f"dead_share must be in 0..1: got {self.dead_share}")


class Blueprint(ABC):
    """The form of one kind of seed: what it holds, how it is born, what it computes.

    Attributes:
        last: name of the parameter that `SeedBirth.init_scale` multiplies.
        units: names of the parameters whose leading axis is the seed's units; a dead unit's entries are zero.
    """

    last: str
    units: tuple[str, ...]

    @abstractmethod
    def shapes(self, channels: int) -> Shapes:
        """Return name -> shape of one seed's parameters."""

    @abstractmethod
    def draw(self, channels: int, rng: torch.Generator) -> Named:
        """Return the initial parameters of one seed."""

    @abstractmethod
    def apply(self, h: Tensor, p: Named, buffers: Named, training: bool) -> Tensor:
        """Return s(h) [B, n*C, H, W] of n seeds for their hosts' activations h, with parameters [n, *shape]."""

    def norms(self, channels: int) -> dict[str, int]:
        """Return name -> channels of the batch normalisations, which keep running statistics."""
        return {}

    def parameter_count(self, channels: int) -> int:
        """Return the number of parameters of one seed."""
        return size_of(self.shapes(channels))

    def birth(self, birth: SeedBirth, channels: int) -> Rows:
        """Return the single row of a new seed; a function of `birth` and `channels` alone."""
        shapes = self.shapes(channels)
        named = self.draw(channels, generator(birth.seed, "seed", birth.blueprint))
        named[self.last] = named[self.last] * birth.init_scale
        trainable = {name: torch.ones(shape) for name, shape in shapes.items()}
        count = shapes[self.units[0]][0]
        dead = torch.randperm(count, generator=generator(birth.seed, "dead"))[: int(birth.dead_share * count)]
        for name in self.units:
            named[name][dead] = 0.0
            trainable[name][dead] = 0.0
        buffers = {f"{n}.mean": torch.zeros(c) for n, c in self.norms(channels).items()}
        buffers |= {f"{n}.var": torch.ones(c) for n, c in self.norms(channels).items()}
        return Rows.born(join_row(named, shapes), birth.lr_scale, join_row(trainable, shapes), buffers)


def _norm_shapes(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def _norm_init(name: str, channels: int, gain: float) -> Named:
    return {f"{name}.weight": torch.full((channels,), gain), f"{name}.bias": torch.zeros(channels)}


class Norm(Blueprint):
    """h + s * (GroupNorm(h) - h) with one group and a learned scalar s (born 1): 2C + 1 parameters."""

    last = "mix"
    units = ("norm.weight", "norm.bias")

    def shapes(self, channels: int) -> Shapes:  # noqa: D102
        return {**_norm_shapes("norm", channels), "mix": (1,)}

    def draw(self, channels: int, rng: torch.Generator) -> Named:  # noqa: D102
        return {**_norm_init("norm", channels, 1.0), "mix": torch.ones(1)}

    def apply(self, h: Tensor, p: Named, buffers: Named, training: bool) -> Tensor:  # noqa: D102
        normed = scale_channels(normalise(h, len(p["mix"])), p["norm.weight"], p["norm.bias"])
        return h + scale_rows(normed - h, p["mix"].flatten())


class Attention(Blueprint):
    """Squeeze-excite: h * 2 sigmoid(W2 relu(W1 mean(h))), bias-free: 2 C (C/4) parameters."""

    last = "up"
    units = ("down",)

    def shapes(self, channels: int) -> Shapes:  # noqa: D102
        hidden = max(1, channels // 4)
        return {"down": (hidden, channels), "up": (channels, hidden)}

    def draw(self, channels: int, rng: torch.Generator) -> Named:  # noqa: D102
        return {n: uniform(s, s[1], rng) for n, s in self.shapes(channels).items()}

    def apply(self, h: Tensor, p: Named, buffers: Named, training: bool) -> Tensor:  # noqa: D102
        hidden = linear(spatial_mean(h), p["down"]).relu().flatten(1)
        return gate(h, 2 * sigmoid(linear(hidden, p["up"]).flatten(1)))


class Depthwise(Blueprint):
    """h + relu(norm(1x1(depthwise 3x3 h))): 9C + C^2 + 2C parameters."""

    last = "norm.weight"
    units = ("depth",)

    def shapes(self, channels: int) -> Shapes:  # noqa: D102
        return {
            "depth": (channels, 1, 3, 3),
            "point": (channels, channels, 1, 1),
            **_norm_shapes("norm", channels),
        }

    def norms(self, channels: int) -> dict[str, int]:  # noqa: D102
        return {"norm": channels}

    def draw(self, channels: int, rng: torch.Generator) -> Named:  # noqa: D102
        shapes = self.shapes(channels)
        return {
            "depth": uniform(shapes["depth"], 9, rng),
            "point": uniform(shapes["point"], channels, rng),
            **_norm_init("norm", channels, 0.3),
        }

    def apply(self, h: Tensor, p: Named, buffers: Named, training: bool) -> Tensor:  # noqa: D102
        inner = conv(depthwise_conv(h, p["depth"]), p["point"])
        return h + batch_norm(inner, p, buffers, "norm", training).relu_()


class ConvLight(Blueprint):
    """h + relu(norm(3x3 h)): 9C^2 + 2C parameters."""

    last = "norm.weight"
    units = ("conv", "norm.weight", "norm.bias")

    def shapes(self, channels: int) -> Shapes:  # noqa: D102
        return {"conv": (channels, channels, 3, 3), **_norm_shapes("norm", channels)}

    def norms(self, channels: int) -> dict[str, int]:  # noqa: D102
        return {"norm": channels}

    def draw(self, channels: int, rng: torch.Generator) -> Named:  # noqa: D102
        return {
            "conv": uniform((channels, channels, 3, 3), 9 * channels, rng),
            **_norm_init("norm", channels, 0.3),
        }

    def apply(self, h: Tensor, p: Named, buffers: Named, training: bool) -> Tensor:  # noqa: D102
        return h + batch_norm(conv(h, p["conv"]), p, buffers, "norm", training).relu_()


class ConvHeavy(Blueprint):
    """h + norm(3x3(relu(norm(3x3 h)))): 2 (9C^2 + 2C) parameters."""

    last = "norm2.weight"
    units = ("conv1", "norm1.weight", "norm1.bias")

    def shapes(self, channels: int) -> Shapes:  # noqa: D102
        return {
            "conv1": (channels, channels, 3, 3),
            **_norm_shapes("norm1", channels),
            "conv2": (channels, channels, 3, 3),
            **_norm_shapes("norm2", channels),
        }

    def norms(self, channels: int) -> dict[str, int]:  # noqa: D102
        return {"norm1": channels, "norm2": channels}

    def draw(self, channels: int, rng: torch.Generator) -> Named:  # noqa: D102
        shape = (channels, channels, 3, 3)
        return {
            "conv1": uniform(shape, 9 * channels, rng),
            **_norm_init("norm1", channels, 1.0),
            "conv2": uniform(shape, 9 * channels, rng),
            **_norm_init("norm2", channels, 0.3),
        }

    def apply(self, h: Tensor, p: Named, buffers: Named, training: bool) -> Tensor:  # noqa: D102
        inner = batch_norm(conv(h, p["conv1"]), p, buffers, "norm1", training).relu_()
        return h + batch_norm(conv(inner, p["conv2"]), p, buffers, "norm2", training)


class Wide(Blueprint):
    """h + 1x1(relu(norm(3x3: C -> 4C))): 36C^2 + 8C + 4C^2 parameters; the one that adds most capacity."""

    last = "out"
    units = ("conv", "norm.weight", "norm.bias")

    def shapes(self, channels: int) -> Shapes:  # noqa: D102
        wide = 4 * channels
        return {
            "conv": (wide, channels, 3, 3),
            **_norm_shapes("norm", wide),
            "out": (channels, wide, 1, 1),
        }

    def norms(self, channels: int) -> dict[str, int]:  # noqa: D102
        return {"norm": 4 * channels}

    def draw(self, channels: int, rng: torch.Generator) -> Named:  # noqa: D102
        wide = 4 * channels
        return {
            "conv": uniform((wide, channels, 3, 3), 9 * channels, rng),
            **_norm_init("norm", wide, 1.0),
            "out": uniform((channels, wide, 1, 1), wide, rng),
        }

    def apply(self, h: Tensor, p: Named, buffers: Named, training: bool) -> Tensor:  # noqa: D102
        inner = batch_norm(conv(h, p["conv"]), p, buffers, "norm", training).relu_()
        return h + conv(inner, p["out"])


class Lossy(Blueprint):
    """1x1(1x1(mean of 5x5 h)) through max(2, C/4) channels, no residual: it destroys information."""

    last = "up"
    units = ("down",)

    def shapes(self, channels: int) -> Shapes:  # noqa: D102
        hidden = max(2, channels // 4)
        return {"down": (hidden, channels, 1, 1), "up": (channels, hidden, 1, 1)}

    def draw(self, channels: int, rng: torch.Generator) -> Named:  # noqa: D102
        return {n: uniform(s, s[1], rng) for n, s in self.shapes(channels).items()}

    def apply(self, h: Tensor, p: Named, buffers: Named, training: bool) -> Tensor:  # noqa: D102
        blurred = F.avg_pool2d(h, 5, stride=1, padding=2)
        return conv(conv(blurred, p["down"]), p["up"])


BLUEPRINTS: dict[str, Blueprint] = {
    "norm": Norm(),
    "attention": Attention(),
    "depthwise": Depthwise(),
    "conv_light": ConvLight(),
    "conv_heavy": ConvHeavy(),
    "wide": Wide(),
    "lossy": Lossy(),
}
