"""Ways to compute a convolution of many rows, forward and backward.

Each gives a row the same bits whatever the number of rows. What one way gives differs from what another gives by
rounding alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import Run, aten, pool, unpool
from .rows import host_major, row_minor
from .stable import column_sum, linear, linear_backward
from .unrolled import Form, Unrolled

if TYPE_CHECKING:
    from .convolution import Conv


class Way(ABC):
    """One way to compute a convolution."""

    @abstractmethod
    def forward(self, conv: Conv, x: Tensor, run: Run) -> Tensor:
        """Return the output [B, n*O, H', W'] for x [B, n*C, H, W]; put on the tape what the backward pass needs."""

    @abstractmethod
    def backward(self, conv: Conv, g: Tensor, run: Run, inward: bool) -> Tensor:
        """Leave the weight's gradient in `run.grads`; return the input's gradient (anything if not `inward`)."""


class Grouped(Way):
    """One grouped convolution of the library."""

    def forward(self, conv: Conv, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weight, x = run.p[conv.name], x.contiguous(memory_format=torch.channels_last)
        n, flat = len(weight), weight.flatten(0, 1).to(x.dtype, memory_format=torch.channels_last)
        run.keep(x, flat)
        if run.solo and not solo_agrees(conv, x).forward:
            out = half(convolve(conv, double(x), torch.cat([flat, flat]), 2))
        else:
            out = convolve(conv, x, flat, n)
        return pool(out, run) if conv.pool else out

    def backward(self, conv: Conv, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        g = unpool(g, run) if conv.pool else g
        weight, x = run.tape.pop(), run.tape.pop()
        n = len(run.p[conv.name])
        agrees = solo_agrees(conv, x) if run.solo else ALWAYS
        gx, gw = pull(conv, g, x, weight, n, inward and agrees.inward, agrees.weight)
        if not (agrees.inward or not inward) or not agrees.weight:
            twice = double(g), double(x), torch.cat([weight, weight])
            gx2, gw2 = pull(conv, *twice, 2, inward and not agrees.inward, not agrees.weight)
            gx = gx if gx2 is None else half(gx2)
            gw = gw if gw2 is None else gw2[: len(weight)]
        run.grads[conv.name] = gw
        return gx


class OneByOne(Way):
    """A convolution of the library for each row, which then fits into the cache with its pooling."""

    def forward(self, conv: Conv, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weights, last, parts = run.p[conv.name], torch.channels_last, []
        for row, weight in zip(x.chunk(len(weights), 1), weights):
            own, kernel = row.contiguous(memory_format=last), weight.contiguous(memory_format=last)
            run.keep(own, kernel)
            out = convolve(conv, own, kernel, 1)
            parts.append(pool(out, run) if conv.pool else out)
        return torch.cat([part.permute(0, 2, 3, 1) for part in parts], 3).permute(0, 3, 1, 2)

    def backward(self, conv: Conv, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        n, inner, grads = len(run.p[conv.name]), [], []
        for row in reversed(g.chunk(n, 1)):
            row = row.contiguous(memory_format=torch.channels_last)
            row = unpool(row, run) if conv.pool else row
            weight, x = run.tape.pop(), run.tape.pop()
            gx, gw = pull(conv, row, x, weight, 1, inward, True)
            inner.append(gx)
            grads.append(gw)
        run.grads[conv.name] = torch.stack(grads[::-1])
        if not inward:
            return g
        return torch.cat([part.permute(0, 2, 3, 1) for part in inner[::-1]], 3).permute(0, 3, 1, 2)


class Matrices(Way):
    """One matrix product for each row of an unrolled kernel; see `unrolled`."""

    def forward(self, conv: Conv, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weight = run.p[conv.name]
        n, (batch, _, height, width) = len(weight), x.shape
        images = x.is_contiguous() and height * width > 1  # one pixel is contiguous either way
        form = Form(n, batch, conv.c_in, conv.c_out, conv.stride, height, width, images)
        if (conv.name, form) not in run.scratch:
            run.scratch[conv.name, form] = Unrolled(form, x)
        unrolled: Unrolled = run.scratch[conv.name, form]
        patches, matrix = unrolled.patches(x), unrolled.matrix(weight)
        run.keep(patches, matrix, unrolled)
        out = torch.bmm(patches, matrix).view(-1, form.out_height, form.out_width, conv.c_out)
        if conv.pool:
            out = pool(out.permute(0, 3, 1, 2), run).permute(0, 2, 3, 1)
        return row_minor(out.reshape(n, batch, *out.shape[1:]))

    def backward(self, conv: Conv, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        n = len(run.p[conv.name])
        g = host_major(g, n).reshape(-1, *g.shape[2:], conv.c_out)
        if conv.pool:
            g = unpool(g.permute(0, 3, 1, 2), run).permute(0, 2, 3, 1)
        unrolled, matrix, patches = run.tape.pop(), run.tape.pop(), run.tape.pop()
        g = g.reshape(n, -1, matrix.shape[2])
        run.grads[conv.name] = unrolled.weight_gradient(torch.bmm(patches.transpose(1, 2), g))
        return unrolled.fold(torch.bmm(g, matrix.transpose(1, 2))) if inward else g


class Pointwise(Way):
    """One matrix product for each row, for a 1x1 kernel."""

    def forward(self, conv: Conv, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weight = run.p[conv.name].flatten(2)
        pixels = host_major(x, len(weight))
        shape = pixels.shape[:-1]
        pixels = pixels.reshape(len(weight), -1, conv.c_in)
        run.keep(pixels, weight)
        return row_minor(torch.bmm(pixels, weight.transpose(1, 2)).view(*shape, -1))

    def backward(self, conv: Conv, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        weight, pixels = run.tape.pop(), run.tape.pop()
        own = host_major(g, len(weight))
        shape = own.shape[:-1]
        own = own.reshape(len(weight), -1, conv.c_out)
        run.grads[conv.name] = torch.bmm(own.transpose(1, 2), pixels)
        return row_minor(torch.bmm(own, weight).view(*shape, -1)) if inward else g


class Linear(Way):
    """A linear map, for a 1x1 kernel on a map of one pixel."""

    def forward(self, conv: Conv, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weight = run.p[conv.name]
        run.keep(x)
        return linear(x.flatten(1), weight.flatten(2)).view(len(x), -1, 1, 1)

    def backward(self, conv: Conv, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        x = run.tape.pop()
        gx, run.grads[conv.name] = linear_backward(g.flatten(1), x.flatten(1), run.p[conv.name].flatten(2))
        return gx.view_as(x)


class Windows(Grouped):
    """The library's depthwise convolution; the gradient of a 3x3 weight from every product that it sums."""

    def backward(self, conv: Conv, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        weight, x = run.tape.pop(), run.tape.pop()
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        batch, height, width, channels = padded.shape
        size, steps = (batch, height - 2, width - 2, 3, 3, channels), padded.stride()
        seen = padded.as_strided(size, (*steps[:3], *steps[1:3], 1))
        products = seen * g.permute(0, 2, 3, 1).unsqueeze(3).unsqueeze(3)
        sums = column_sum(products.reshape(-1, 9 * channels))
        run.grads[conv.name] = sums.view(9, channels).t().reshape(run.p[conv.name].shape)
        if not inward:
            return g
        if run.solo and not solo_agrees(conv, x).inward:
            return half(pull(conv, double(g), double(x), torch.cat([weight, weight]), 2, True, False)[0])
        return pull(conv, g, x, weight, len(run.p[conv.name]), True, False)[0]


GROUPED, ONE_BY_ONE, UNROLLED, POINTWISE, LINEAR = Grouped(), OneByOne(), Matrices(), Pointwise(), Linear()
WINDOWS = Windows()


def convolve(conv: Conv, x: Tensor, weight: Tensor, n: int) -> Tensor:
    """Return the convolution of n rows; weight [n*O, C, k, k]."""
    return F.conv2d(x, weight, None, conv.stride, conv.kernel // 2, 1, conv.groups(n))


def pull(
    conv: Conv, g: Tensor, x: Tensor, weight: Tensor, n: int, inward: bool, outward: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of n rows' x (if `inward`) and weight (if `outward`)."""
    stride, padding, mask = [conv.stride] * 2, [conv.kernel // 2] * 2, [inward, outward, False]
    groups = conv.groups(n)
    gx, gw, _ = aten.convolution_backward(g, x, weight, None, stride, padding, [1, 1], False, [0, 0], groups, mask)
    return gx, gw


# ---- a row alone among the library's groups ------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """Whether one row alone gets the bits it gets beside others, in each pass of a convolution."""

    forward: bool
    inward: bool
    weight: bool


ALWAYS = Agreement(True, True, True)


def solo_agrees(conv: Conv, x: Tensor) -> Agreement:
    """Return in which passes one row alone gets the bits that it gets beside others, for activations like x."""
    return _probe(conv, tuple(x.shape), x.dtype, x.device)


@lru_cache(maxsize=512)
def _probe(conv: Conv, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Agreement:
    """Compare a row alone with the same row beside a copy.

    Convolution libraries give a group the same bits for every number of groups from two up, but may choose another
    algorithm where there is one group.
    """
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=rng).to(device, dtype, memory_format=torch.channels_last)
    weight = torch.randn(conv.shapes()[conv.name], generator=rng).to(device, dtype, memory_format=torch.channels_last)
    y, y2 = convolve(conv, x, weight, 1), half(convolve(conv, double(x), torch.cat([weight, weight]), 2))
    g = torch.randn(y.shape, generator=rng).to(device, dtype, memory_format=torch.channels_last)
    gx, gw = pull(conv, g, x, weight, 1, True, True)
    gx2, gw2 = pull(conv, double(g), double(x), torch.cat([weight, weight]), 2, True, True)
    return Agreement(torch.equal(y, y2), torch.equal(gx, half(gx2)), torch.equal(gw, gw2[: len(gw)]))


def double(x: Tensor) -> Tensor:
    """Return x [B, K, H, W] beside itself, [B, 2K, H, W], in channels_last."""
    batch, width, height, _ = x.shape
    pair = x.permute(0, 2, 3, 1).unsqueeze(3).expand(-1, -1, -1, 2, -1)
    return pair.reshape(batch, height, -1, 2 * width).permute(0, 3, 1, 2)


def half(x: Tensor) -> Tensor:
    """Return the first half of the channels of x [B, 2K, H, W], in channels_last."""
    return x[:, : x.shape[1] // 2].contiguous(memory_format=torch.channels_last)
