"""Convolutions of many rows at once as one grouped convolution, and of one row as if it were among many."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import Layer, Run, aten
from .rows import Named, Shapes, uniform
from .stable import linear, linear_backward


@dataclass(frozen=True)
class Conv(Layer):
    """Same-padded convolution without bias; weight [n, O, C, k, k]."""

    name: str
    c_in: int
    c_out: int
    kernel: int = 3
    stride: int = 1

    def shapes(self) -> Shapes:  # noqa: D102
        return {self.name: (self.c_out, self.c_in, self.kernel, self.kernel)}

    def draw(self, rng: torch.Generator) -> Named:  # noqa: D102
        shape = self.shapes()[self.name]
        return {self.name: uniform(shape, self.c_in * self.kernel**2, rng)}

    def groups(self, n: int) -> int:
        """Return the groups of the convolution of n rows."""
        return n

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weight = run.p[self.name]
        if self._is_linear(x):
            run.keep(x, weight)
            return linear(x.flatten(1), weight.flatten(2)).view(len(x), -1, 1, 1)
        n, flat = len(weight), weight.flatten(0, 1).to(x.dtype, memory_format=torch.channels_last)
        run.keep(x, flat)
        if run.solo and not self.solo_agrees(x).forward:
            return half(self.convolve(double(x), torch.cat([flat, flat]), 2))
        return self.convolve(x, flat, n)

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        weight, x = run.tape.pop(), run.tape.pop()
        if self._is_linear(x):
            gx, run.grads[self.name] = linear_backward(g.flatten(1), x.flatten(1), weight.flatten(2))
            return gx.view_as(x)
        n = len(run.p[self.name])
        agrees = self.solo_agrees(x) if run.solo else ALWAYS
        gx, gw = self.pull(g, x, weight, n, inward and agrees.inward, agrees.weight)
        if not (agrees.inward or not inward) or not agrees.weight:
            twice = double(g), double(x), torch.cat([weight, weight])
            gx2, gw2 = self.pull(*twice, 2, inward and not agrees.inward, not agrees.weight)
            gx = gx if gx2 is None else half(gx2)
            gw = gw if gw2 is None else gw2[: len(weight)]
        run.grads[self.name] = gw
        return gx

    def convolve(self, x: Tensor, weight: Tensor, n: int) -> Tensor:
        """Return the convolution of n rows; weight [n*O, C, k, k]."""
        return F.conv2d(x, weight, None, self.stride, self.kernel // 2, 1, self.groups(n))

    def pull(self, g: Tensor, x: Tensor, weight: Tensor, n: int, inward: bool, outward: bool) -> tuple[Tensor, Tensor]:
        """Return the gradients of n rows' x (if `inward`) and weight (if `outward`)."""
        stride, padding, mask = [self.stride] * 2, [self.kernel // 2] * 2, [inward, outward, False]
        groups = self.groups(n)
        gx, gw, _ = aten.convolution_backward(g, x, weight, None, stride, padding, [1, 1], False, [0, 0], groups, mask)
        return gx, gw

    def solo_agrees(self, x: Tensor) -> Agreement:
        """Return in which passes one row alone gets the bits that it gets beside others, for activations like x."""
        return _probe(self, tuple(x.shape), x.dtype, x.device)

    def _is_linear(self, x: Tensor) -> bool:
        return self.kernel == 1 and x.shape[2] * x.shape[3] == 1


class DepthwiseConv(Conv):
    """Same-padded depthwise convolution; weight [n, C, 1, k, k]."""

    def groups(self, n: int) -> int:  # noqa: D102
        return n * self.c_out


@dataclass(frozen=True)
class Agreement:
    """Whether one row alone gets the bits it gets beside others, in each pass of a convolution."""

    forward: bool
    inward: bool
    weight: bool


ALWAYS = Agreement(True, True, True)


@lru_cache(maxsize=512)
def _probe(conv: Conv, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Agreement:
    """Compare a row alone with the same row beside a copy.

    Convolution libraries give a group the same bits for every number of groups from two up, but may choose another
    algorithm where there is one group.
    """
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=rng).to(device, dtype, memory_format=torch.channels_last)
    weight = torch.randn(conv.shapes()[conv.name], generator=rng).to(device, dtype, memory_format=torch.channels_last)
    y, y2 = conv.convolve(x, weight, 1), half(conv.convolve(double(x), torch.cat([weight, weight]), 2))
    g = torch.randn(y.shape, generator=rng).to(device, dtype, memory_format=torch.channels_last)
    gx, gw = conv.pull(g, x, weight, 1, True, True)
    gx2, gw2 = conv.pull(double(g), double(x), torch.cat([weight, weight]), 2, True, True)
    return Agreement(torch.equal(y, y2), torch.equal(gx, half(gx2)), torch.equal(gw, gw2[: len(gw)]))


def double(x: Tensor) -> Tensor:
    """Return x [B, K, H, W] beside itself, [B, 2K, H, W], in channels_last."""
    batch, width, height, _ = x.shape
    pair = x.permute(0, 2, 3, 1).unsqueeze(3).expand(-1, -1, -1, 2, -1)
    return pair.reshape(batch, height, -1, 2 * width).permute(0, 3, 1, 2)


def half(x: Tensor) -> Tensor:
    """Return the first half of the channels of x [B, 2K, H, W], in channels_last."""
    return x[:, : x.shape[1] // 2].contiguous(memory_format=torch.channels_last)
