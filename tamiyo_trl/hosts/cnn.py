"""The host: a small convolutional network with a site for a seed after every block, as rows that run together.

block = conv 3x3 (no bias) -> downsample -> batch norm -> ReLU, then the site; after the last site a global mean and a
linear layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.lockstep.convolution import Conv
from tamiyo_trl.lockstep.layers import Head, Layer, ReLU, Sequence
from tamiyo_trl.lockstep.norms import BatchNorm
from tamiyo_trl.lockstep.rows import Rows, join_row, size_of
from tamiyo_trl.seeding import generator
from tamiyo_trl.seeds.blueprints import new_statistics

DOWNSAMPLES = ("pool", "stride", "none")


@dataclass(frozen=True)
class HostConfig:
    """Form of a host.

    Attributes:
        channels: output channels of each block; one site per block.
        image_size: height and width of the images.
        in_channels: channels of the images.
        classes: number of classes.
        downsample: per block, `pool` (2x2 max after the convolution, before the norm: for positive gain the same
            function as pooling last, at a quarter of the norm's work), `stride` (stride-2 convolution) or `none`.
    """

    channels: tuple[int, ...] = (8, 16, 32)
    image_size: int = 16
    in_channels: int = 3
    classes: int = 10
    downsample: tuple[str, ...] = ("pool", "pool", "pool")

    def __post_init__(self) -> None:
        if not self.channels or min(*self.channels, self.image_size, self.in_channels, self.classes) < 1:
            raise ConfigError(f"channels, image_size, in_channels and classes must be positive: got {self}")
        if len(self.downsample) != len(self.channels) or not set(self.downsample) <= set(DOWNSAMPLES):
            kinds = ", ".join(DOWNSAMPLES)
            raise ConfigError(
                f"downsample needs one of {kinds} per block ({len(self.channels)}): got {self.downsample}"
            )
        if self.sizes[-1] < 1:
            raise ConfigError(f"image_size {self.image_size} is too small for {len(self.channels)} blocks of this kind")

    @classmethod
    def spec(cls) -> HostConfig:
        """Return the design spec's host: 32-64-128 at 32x32, 94,762 parameters."""
        return cls(channels=(32, 64, 128), image_size=32)

    @classmethod
    def baseline(cls) -> HostConfig:
        """Return the spec's tiny host: 8-16-32 at 32x32, 6,418 parameters."""
        return cls(channels=(8, 16, 32), image_size=32)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Height and width of the activation at each site."""
        sizes, size = [], self.image_size
        for kind in self.downsample:
            size = {"pool": size // 2, "stride": (size + 1) // 2, "none": size}[kind]
            sizes.append(size)
        return tuple(sizes)

    @property
    def parameters(self) -> int:
        """Number of parameters of one host."""
        return size_of(host_network(self).shapes())


@dataclass(frozen=True)
class HostNetwork(Sequence):
    """The host's blocks, then its head; a site after every block."""

    @property
    def blocks(self) -> tuple[Layer, ...]:
        """The layers before each site."""
        return self.layers[:-1]

    @property
    def head(self) -> Layer:
        """The layer after the last site."""
        return self.layers[-1]


@lru_cache(maxsize=64)
def host_network(config: HostConfig) -> HostNetwork:
    """Return the network of a host."""
    blocks = []
    for b, (c_in, c_out) in enumerate(zip((config.in_channels, *config.channels), config.channels)):
        kind = config.downsample[b]
        conv = Conv(f"conv{b}", c_in, c_out, stride=2 if kind == "stride" else 1, pool=kind == "pool")
        blocks.append(Sequence((conv, BatchNorm(f"norm{b}", c_out), ReLU())))
    return HostNetwork((*blocks, Head("head", config.channels[-1], config.classes)))


@dataclass(frozen=True)
class HostBirth:
    """One new host and its hidden deficits.

    Attributes:
        seed: root of the host's own random stream; decides its initial weights.
        lr_scale: multiplies the host's learning rate; its seeds are not affected.
        stuck_block: block (0-based) whose convolution never trains, or None.
        alive_channels: output channels of that convolution that are not zero, or None for all.
    """

    seed: int
    lr_scale: float = 1.0
    stuck_block: int | None = None
    alive_channels: int | None = None

    def __post_init__(self) -> None:
        if self.alive_channels is not None and self.stuck_block is None:
            raise ConfigError(f"alive_channels needs a stuck_block: got alive_channels={self.alive_channels}")


def host_row(config: HostConfig, birth: HostBirth) -> Rows:
    """Return the single row of a new host: a function of `birth` alone.

    Raises:
        ConfigError: the stuck block or its alive channels do not exist in this host.
    """
    network = host_network(config)
    shapes, named = network.shapes(), network.draw(generator(birth.seed, "host"))
    trainable = {name: torch.ones(shape) for name, shape in shapes.items()}
    if birth.stuck_block is not None:
        if not 0 <= birth.stuck_block < len(config.channels):
            raise ConfigError(f"stuck_block must be in 0..{len(config.channels) - 1}: got {birth.stuck_block}")
        width, alive = config.channels[birth.stuck_block], birth.alive_channels
        if alive is not None and not 0 <= alive <= width:
            raise ConfigError(f"alive_channels of block {birth.stuck_block} must be in 0..{width}: got {alive}")
        named[f"conv{birth.stuck_block}"][width if alive is None else alive :] = 0.0
        trainable[f"conv{birth.stuck_block}"].zero_()
    statistics = new_statistics(network.norms())
    return Rows.born(join_row(named, shapes), birth.lr_scale, join_row(trainable, shapes), statistics)


def to_rows(images: Tensor, pick: Tensor) -> Tensor:
    """Return images [n, K, C, H, W] number `pick` (int64 [n, B]) of each host as an activation [n, B, H, W, C]."""
    n, pool = images.shape[:2]
    own = torch.arange(n, device=pick.device).unsqueeze(1)
    if images.is_contiguous():
        picked = images.flatten(0, 1).index_select(0, (pick + pool * own).flatten())
    else:  # a pool that hosts share is an expanded view, too large to copy
        picked = images[own, pick].flatten(0, 1)
    return picked.unflatten(0, pick.shape).permute(0, 1, 3, 4, 2).contiguous()
