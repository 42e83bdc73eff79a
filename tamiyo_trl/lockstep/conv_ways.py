"""Ways to compute a convolution of many rows, forward and backward.

Each gives a row the same bits whatever the number of rows. What one way gives differs from what another gives by
rounding alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from tamiyo_trl.lockstep.conv_library import ALWAYS, ConvShape, convolve, double, half, pull, solo_agrees
from tamiyo_trl.lockstep.invariant import linear, linear_backward
from tamiyo_trl.lockstep.layers import Run, channel_sum, pool, unpool
from tamiyo_trl.lockstep.rows import as_groups, as_images, from_groups, from_images
from tamiyo_trl.lockstep.unrolled import Form, Unrolled


class Way(ABC):
    """One way to compute a convolution."""

    @abstractmethod
    def forward(self, conv: ConvShape, x: Tensor, run: Run) -> Tensor:
        """Return the output [n, B, H', W', O] for x [n, B, H, W, C]; put on the tape what the backward pass needs."""

    @abstractmethod
    def backward(self, conv: ConvShape, g: Tensor, run: Run, inward: bool) -> Tensor:
        """Leave the weight's gradient in `run.grads`; return the input's gradient (anything if not `inward`)."""


class Grouped(Way):
    """One grouped convolution of the library."""

    def forward(self, conv: ConvShape, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weight, groups = run.p[conv.name], as_groups(x)
        n, flat = len(weight), weight.flatten(0, 1).to(x.dtype, memory_format=torch.channels_last)
        run.keep(groups, flat)
        if run.solo and not solo_agrees(conv, groups).forward:
            out = half(convolve(conv, double(groups), torch.cat([flat, flat]), 2))
        else:
            out = convolve(conv, groups, flat, n)
        return from_groups(pool(out, run) if conv.pool else out, n)

    def backward(self, conv: ConvShape, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        groups = unpool(as_groups(g), run) if conv.pool else as_groups(g)
        weight, x = run.tape.pop(), run.tape.pop()
        agrees = solo_agrees(conv, x) if run.solo else ALWAYS
        gx, gw = pull(conv, groups, x, weight, len(g), inward and agrees.inward, agrees.weight)
        if not (agrees.inward or not inward) or not agrees.weight:
            twice = double(groups), double(x), torch.cat([weight, weight])
            gx2, gw2 = pull(conv, *twice, 2, inward and not agrees.inward, not agrees.weight)
            gx = gx if gx2 is None else half(gx2)
            gw = gw if gw2 is None else gw2[: len(weight)]
        run.grads[conv.name] = gw.unflatten(0, (len(g), -1))
        return from_groups(gx, len(g)) if inward else g


class OneByOne(Way):
    """A convolution of the library for each row, which then fits into the cache with its pooling."""

    def forward(self, conv: ConvShape, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        parts = []
        for row, weight in zip(x.split(1), run.p[conv.name]):
            own, kernel = as_images(row), weight.contiguous(memory_format=torch.channels_last)
            run.keep(own, kernel)
            out = convolve(conv, own, kernel, 1)
            parts.append(from_images(pool(out, run) if conv.pool else out, 1))
        return torch.cat(parts)

    def backward(self, conv: ConvShape, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        inner, grads = [], []
        for row in reversed(g.split(1)):
            own = unpool(as_images(row), run) if conv.pool else as_images(row)
            weight, x = run.tape.pop(), run.tape.pop()
            gx, gw = pull(conv, own, x, weight, 1, inward, True)
            inner.append(gx)
            grads.append(gw)
        run.grads[conv.name] = torch.stack(grads[::-1])
        return torch.cat([from_images(part, 1) for part in inner[::-1]]) if inward else g


class Matrices(Way):
    """One matrix product for each row of an unrolled kernel; see `unrolled`."""

    def forward(self, conv: ConvShape, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weight = run.p[conv.name]
        n, batch, height, width, _ = x.shape
        form = Form(n, batch, conv.c_in, conv.c_out, conv.stride, height, width)
        if (conv.name, form) not in run.scratch:
            run.scratch[conv.name, form] = Unrolled(form, x)
        unrolled: Unrolled = run.scratch[conv.name, form]
        patches, matrix = unrolled.patches(x), unrolled.matrix(weight)
        run.keep(patches, matrix, unrolled)
        out = torch.bmm(patches, matrix).view(n, batch, form.out_height, form.out_width, conv.c_out)
        return from_images(pool(as_images(out), run), n) if conv.pool else out

    def backward(self, conv: ConvShape, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        n = len(g)
        if conv.pool:
            g = from_images(unpool(as_images(g), run), n)
        unrolled, matrix, patches = run.tape.pop(), run.tape.pop(), run.tape.pop()
        g = g.reshape(n, -1, matrix.shape[2])
        run.grads[conv.name] = unrolled.weight_gradient(torch.bmm(patches.transpose(1, 2), g))
        return unrolled.fold(torch.bmm(g, matrix.transpose(1, 2))) if inward else g


class Pointwise(Way):
    """One matrix product for each row, for a 1x1 kernel."""

    def forward(self, conv: ConvShape, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        run.keep(x)
        out = linear(x.flatten(1, 3), run.p[conv.name].flatten(2))
        return out.view(*x.shape[:4], conv.c_out)

    def backward(self, conv: ConvShape, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        x, weight = run.tape.pop(), run.p[conv.name].flatten(2)
        gx, gw = linear_backward(g.flatten(1, 3), x.flatten(1, 3), weight)
        run.grads[conv.name] = gw.unflatten(2, (-1, 1, 1))
        return gx.view_as(x)


class Windows(Grouped):
    """The library's depthwise convolution; the gradient of a 3x3 weight from every product that it sums."""

    def backward(self, conv: ConvShape, g: Tensor, run: Run, inward: bool) -> Tensor:  # noqa: D102
        weight, x = run.tape.pop(), run.tape.pop()
        n = len(g)
        padded = F.pad(from_groups(x, n), (0, 0, 1, 1, 1, 1))
        rows, batch, height, width, channels = padded.shape
        size, steps = (rows, batch, height - 2, width - 2, 3, 3, channels), padded.stride()
        seen = padded.as_strided(size, (*steps[:4], *steps[2:4], 1))
        products = seen * g.unsqueeze(4).unsqueeze(4)
        sums = channel_sum(products.flatten(4))
        run.grads[conv.name] = sums.view(n, 9, channels).transpose(1, 2).reshape(run.p[conv.name].shape)
        if not inward:
            return g
        groups = as_groups(g)
        if run.solo and not solo_agrees(conv, x).inward:
            twice = double(groups), double(x), torch.cat([weight, weight])
            return from_groups(half(pull(conv, *twice, 2, True, False)[0]), n)
        return from_groups(pull(conv, groups, x, weight, n, True, False)[0], n)


GROUPED, ONE_BY_ONE, UNROLLED, POINTWISE, WINDOWS = Grouped(), OneByOne(), Matrices(), Pointwise(), Windows()
