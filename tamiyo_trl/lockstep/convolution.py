"""Convolutions of many rows at once, each computed in the way that is fastest for its map and channels."""

from __future__ import annotations

import torch
from torch import Tensor

from tamiyo_trl.lockstep.conv_library import ConvShape
from tamiyo_trl.lockstep.conv_ways import GROUPED, ONE_BY_ONE, POINTWISE, UNROLLED, WINDOWS, Way
from tamiyo_trl.lockstep.layers import Layer, Run
from tamiyo_trl.lockstep.rows import Named, uniform

FEW_CHANNELS = 8
SMALL_WIDTH, FEW_CHANNELS_WIDTH, GREY_WIDTH = 2, 4, 16  # measured: up to where convolution libraries lose


class Conv(ConvShape, Layer):
    """Same-padded convolution without bias; see `ConvShape`."""

    def draw(self, rng: torch.Generator) -> Named:  # noqa: D102
        shape = self.shapes()[self.name]
        return {self.name: uniform(shape, self.c_in * self.kernel**2, rng)}

    def way(self, x: Tensor) -> Way:
        """Return the way to compute this for activations like x: the same for every number of rows."""
        if not _on_cpu(x):
            return GROUPED
        if self.kernel == 1:
            return POINTWISE
        width = (x.shape[3] - 1) // self.stride + 1
        limit = FEW_CHANNELS_WIDTH if self.c_in <= FEW_CHANNELS else SMALL_WIDTH
        if width <= (GREY_WIDTH if self.c_in == 1 else limit):
            return UNROLLED
        return ONE_BY_ONE if self.c_in < FEW_CHANNELS else GROUPED

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        way = self.way(x)
        out = way.forward(self, x, run)
        run.keep(way)
        return out

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        way: Way = run.tape.pop()
        return way.backward(self, g, run, inward)


class DepthwiseConv(Conv):
    """Same-padded depthwise convolution; weight [n, C, 1, k, k]."""

    def groups(self, n: int) -> int:  # noqa: D102
        return n * self.c_out

    def way(self, x: Tensor) -> Way:  # noqa: D102
        return WINDOWS if _on_cpu(x) and x.shape[3] <= SMALL_WIDTH else GROUPED


def _on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
