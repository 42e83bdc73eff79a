"""Convolutions of many rows at once, each by the algorithm that is fastest for its map and channels."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from tamiyo_trl.lockstep.conv_algorithms import GROUPED, ONE_BY_ONE, POINTWISE, UNROLLED, WINDOWS, ConvAlgorithm
from tamiyo_trl.lockstep.conv_library import ConvShape
from tamiyo_trl.lockstep.layers import Context, Layer
from tamiyo_trl.lockstep.rows import Named, uniform

FEW_CHANNELS = 8
SMALL_WIDTH, FEW_CHANNELS_WIDTH, GREY_WIDTH = 2, 4, 16  # measured: up to where convolution libraries lose


class Conv(ConvShape, Layer):
    """Same-padded convolution without bias; see `ConvShape`."""

    @override
    def draw(self, rng: torch.Generator) -> Named:
        shape = self.shapes()[self.name]
        return {self.name: uniform(shape, self.c_in * self.kernel**2, rng)}

    def algorithm(self, x: Tensor) -> ConvAlgorithm:
        """Return the algorithm for activations like x: the same for every number of rows."""
        if not _on_cpu(x):
            return GROUPED
        if self.kernel == 1:
            return POINTWISE
        width = (x.shape[3] - 1) // self.stride + 1
        limit = FEW_CHANNELS_WIDTH if self.c_in <= FEW_CHANNELS else SMALL_WIDTH
        if width <= (GREY_WIDTH if self.c_in == 1 else limit):
            return UNROLLED
        return ONE_BY_ONE if self.c_in < FEW_CHANNELS else GROUPED

    @override
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        algorithm = self.algorithm(x)
        out = algorithm.forward(self, x, ctx)
        ctx.save_for_backward(algorithm)
        return out

    @override
    def backward(self, g: Tensor, ctx: Context, needs_input_grad: bool = True) -> Tensor:
        algorithm: ConvAlgorithm = ctx.tape.pop()
        return algorithm.backward(self, g, ctx, needs_input_grad)


class DepthwiseConv(Conv):
    """Same-padded depthwise convolution; weight [n, C, 1, k, k]."""

    @override
    def groups(self, n: int) -> int:
        return n * self.c_out

    @override
    def algorithm(self, x: Tensor) -> ConvAlgorithm:
        return WINDOWS if _on_cpu(x) and x.shape[3] <= SMALL_WIDTH else GROUPED


def _on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
