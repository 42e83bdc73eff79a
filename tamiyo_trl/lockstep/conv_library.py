"""The library's convolution; a row alone made to agree with a row among others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tamiyo_trl.lockstep.layers import aten
from tamiyo_trl.lockstep.rows import Shapes


@dataclass(frozen=True)
class ConvShape:
    """What a same-padded convolution without bias is: weight [n, O, C, k, k] under `name`.

    `pool` takes a 2x2 maximum after it.
    """

    name: str
    c_in: int
    c_out: int
    kernel: int = 3
    stride: int = 1
    pool: bool = False

    def shapes(self) -> Shapes:
        """Return the shape of one row's weight."""
        return {self.name: (self.c_out, self.c_in, self.kernel, self.kernel)}

    def groups(self, n: int) -> int:
        """Return the groups of the convolution of n rows."""
        return n


def convolve(conv: ConvShape, x: Tensor, weight: Tensor, n: int) -> Tensor:
    """Return the convolution of n rows; weight [n*O, C, k, k]."""
    return F.conv2d(x, weight, None, conv.stride, conv.kernel // 2, 1, conv.groups(n))


def conv_backward(
    conv: ConvShape, g: Tensor, x: Tensor, weight: Tensor, n: int, needs_input_grad: bool, needs_weight_grad: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of n rows' x (if `needs_input_grad`) and weight (if `needs_weight_grad`)."""
    stride, padding, mask = [conv.stride] * 2, [conv.kernel // 2] * 2, [needs_input_grad, needs_weight_grad, False]
    groups = conv.groups(n)
    gx, gw, _ = aten.convolution_backward(g, x, weight, None, stride, padding, [1, 1], False, [0, 0], groups, mask)
    return gx, gw


@dataclass(frozen=True)
class Invariance:
    """Whether one row alone gets the bits it gets beside others, in each pass of a convolution."""

    forward: bool
    input_grad: bool
    weight_grad: bool


ALWAYS = Invariance(True, True, True)


def library_is_invariant(conv: ConvShape, x: Tensor) -> Invariance:
    """Return in which passes one row alone gets the bits that it gets beside others, for activations like x."""
    return _probe(conv, tuple(x.shape), x.dtype, x.device)


@lru_cache(maxsize=512)
def _probe(conv: ConvShape, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Invariance:
    """Compare a row alone with the same row beside a copy.

    Convolution libraries give a group the same bits for every number of groups from two up, but may choose another
    algorithm where there is one group.
    """
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=rng).to(device, dtype, memory_format=torch.channels_last)
    weight = torch.randn(conv.shapes()[conv.name], generator=rng).to(device, dtype, memory_format=torch.channels_last)
    y, y2 = convolve(conv, x, weight, 1), half(convolve(conv, double(x), torch.cat([weight, weight]), 2))
    g = torch.randn(y.shape, generator=rng).to(device, dtype, memory_format=torch.channels_last)
    gx, gw = conv_backward(conv, g, x, weight, 1, True, True)
    gx2, gw2 = conv_backward(conv, double(g), double(x), torch.cat([weight, weight]), 2, True, True)
    return Invariance(torch.equal(y, y2), torch.equal(gx, half(gx2)), torch.equal(gw, gw2[: len(gw)]))


def double(x: Tensor) -> Tensor:
    """Return x [B, K, H, W] beside itself, [B, 2K, H, W], in channels_last."""
    batch, width, height, _ = x.shape
    pair = x.permute(0, 2, 3, 1).unsqueeze(3).expand(-1, -1, -1, 2, -1)
    return pair.reshape(batch, height, -1, 2 * width).permute(0, 3, 1, 2)


def half(x: Tensor) -> Tensor:
    """Return the first half of the channels of x [B, 2K, H, W], in channels_last."""
    return x[:, : x.shape[1] // 2].contiguous(memory_format=torch.channels_last)
