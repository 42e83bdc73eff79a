"""Algorithms for a convolution of many rows, forward and backward; they agree up to rounding.

Each gives a row the same bits whatever the number of rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from tamiyo_trl.lockstep.conv_library import (
    ALWAYS,
    ConvShape,
    conv_backward,
    convolve,
    double,
    half,
    library_is_invariant,
)
from tamiyo_trl.lockstep.invariant import linear, linear_backward
from tamiyo_trl.lockstep.layers import Context, channel_sum, pool, unpool
from tamiyo_trl.lockstep.rows import as_groups, as_images, from_groups, from_images
from tamiyo_trl.lockstep.unrolled import Form, Unrolled


class ConvAlgorithm(ABC):
    """An algorithm for the forward and backward pass of one convolution."""

    @abstractmethod
    def forward(self, conv: ConvShape, x: Tensor, ctx: Context) -> Tensor:
        """Return the output [n, B, H', W', O] for x [n, B, H, W, C]; put on the tape what the backward pass needs."""

    @abstractmethod
    def backward(self, conv: ConvShape, g: Tensor, ctx: Context, needs_input_grad: bool) -> Tensor:
        """Leave the weight's gradient in `ctx.grads`; return the input's gradient (or anything, if not needed)."""


class Grouped(ConvAlgorithm):
    """One grouped convolution of the library."""

    @override
    def forward(self, conv: ConvShape, x: Tensor, ctx: Context) -> Tensor:
        weight, groups = ctx.p[conv.name], as_groups(x)
        n, flat = len(weight), weight.flatten(0, 1).to(x.dtype, memory_format=torch.channels_last)
        ctx.save_for_backward(groups, flat)
        if ctx.lone_row and not library_is_invariant(conv, groups).forward:
            out = half(convolve(conv, double(groups), torch.cat([flat, flat]), 2))
        else:
            out = convolve(conv, groups, flat, n)
        return from_groups(pool(out, ctx) if conv.pool else out, n)

    @override
    def backward(self, conv: ConvShape, g: Tensor, ctx: Context, needs_input_grad: bool) -> Tensor:
        groups = unpool(as_groups(g), ctx) if conv.pool else as_groups(g)
        weight, x = ctx.tape.pop(), ctx.tape.pop()
        agrees = library_is_invariant(conv, x) if ctx.lone_row else ALWAYS
        gx, gw = conv_backward(
            conv, groups, x, weight, len(g), needs_input_grad and agrees.input_grad, agrees.weight_grad
        )
        if not (agrees.input_grad or not needs_input_grad) or not agrees.weight_grad:
            twice = double(groups), double(x), torch.cat([weight, weight])
            gx2, gw2 = conv_backward(
                conv, *twice, 2, needs_input_grad and not agrees.input_grad, not agrees.weight_grad
            )
            gx = gx if gx2 is None else half(gx2)
            gw = gw if gw2 is None else gw2[: len(weight)]
        ctx.grads[conv.name] = gw.unflatten(0, (len(g), -1))
        return from_groups(gx, len(g)) if needs_input_grad else g


class OneByOne(ConvAlgorithm):
    """A convolution of the library for each row, which then fits into the cache with its pooling."""

    @override
    def forward(self, conv: ConvShape, x: Tensor, ctx: Context) -> Tensor:
        parts = []
        for row, weight in zip(x.split(1), ctx.p[conv.name]):
            own, kernel = as_images(row), weight.contiguous(memory_format=torch.channels_last)
            ctx.save_for_backward(own, kernel)
            out = convolve(conv, own, kernel, 1)
            parts.append(from_images(pool(out, ctx) if conv.pool else out, 1))
        return torch.cat(parts)

    @override
    def backward(self, conv: ConvShape, g: Tensor, ctx: Context, needs_input_grad: bool) -> Tensor:
        inner, grads = [], []
        for row in reversed(g.split(1)):
            own = unpool(as_images(row), ctx) if conv.pool else as_images(row)
            weight, x = ctx.tape.pop(), ctx.tape.pop()
            gx, gw = conv_backward(conv, own, x, weight, 1, needs_input_grad, True)
            inner.append(gx)
            grads.append(gw)
        ctx.grads[conv.name] = torch.stack(grads[::-1])
        return torch.cat([from_images(part, 1) for part in inner[::-1]]) if needs_input_grad else g


class Matrices(ConvAlgorithm):
    """One matrix product for each row of an unrolled kernel; see `unrolled`."""

    @override
    def forward(self, conv: ConvShape, x: Tensor, ctx: Context) -> Tensor:
        weight = ctx.p[conv.name]
        n, batch, height, width, _ = x.shape
        form = Form(n, batch, conv.c_in, conv.c_out, conv.stride, height, width)
        if (conv.name, form) not in ctx.scratch:
            ctx.scratch[conv.name, form] = Unrolled(form, x)
        unrolled: Unrolled = ctx.scratch[conv.name, form]
        patches, matrix = unrolled.patches(x), unrolled.matrix(weight)
        ctx.save_for_backward(patches, matrix, unrolled)
        out = torch.bmm(patches, matrix).view(n, batch, form.out_height, form.out_width, conv.c_out)
        return from_images(pool(as_images(out), ctx), n) if conv.pool else out

    @override
    def backward(self, conv: ConvShape, g: Tensor, ctx: Context, needs_input_grad: bool) -> Tensor:
        n = len(g)
        if conv.pool:
            g = from_images(unpool(as_images(g), ctx), n)
        unrolled, matrix, patches = ctx.tape.pop(), ctx.tape.pop(), ctx.tape.pop()
        g = g.reshape(n, -1, matrix.shape[2])
        ctx.grads[conv.name] = unrolled.weight_gradient(torch.bmm(patches.transpose(1, 2), g))
        return unrolled.fold(torch.bmm(g, matrix.transpose(1, 2))) if needs_input_grad else g


class Pointwise(ConvAlgorithm):
    """One matrix product for each row, for a 1x1 kernel."""

    @override
    def forward(self, conv: ConvShape, x: Tensor, ctx: Context) -> Tensor:
        ctx.save_for_backward(x)
        out = linear(x.flatten(1, 3), ctx.p[conv.name].flatten(2))
        return out.view(*x.shape[:4], conv.c_out)

    @override
    def backward(self, conv: ConvShape, g: Tensor, ctx: Context, needs_input_grad: bool) -> Tensor:
        x, weight = ctx.tape.pop(), ctx.p[conv.name].flatten(2)
        gx, gw = linear_backward(g.flatten(1, 3), x.flatten(1, 3), weight)
        ctx.grads[conv.name] = gw.unflatten(2, (-1, 1, 1))
        return gx.view_as(x)


class Windows(Grouped):
    """The library's depthwise convolution; the gradient of a 3x3 weight from every product that it sums."""

    @override
    def backward(self, conv: ConvShape, g: Tensor, ctx: Context, needs_input_grad: bool) -> Tensor:
        weight, x = ctx.tape.pop(), ctx.tape.pop()
        n = len(g)
        padded = F.pad(from_groups(x, n), (0, 0, 1, 1, 1, 1))
        rows, batch, height, width, channels = padded.shape
        size, steps = (rows, batch, height - 2, width - 2, 3, 3, channels), padded.stride()
        seen = padded.as_strided(size, (*steps[:4], *steps[2:4], 1))
        products = seen * g.unsqueeze(4).unsqueeze(4)
        sums = channel_sum(products.flatten(4))
        ctx.grads[conv.name] = sums.view(n, 9, channels).transpose(1, 2).reshape(ctx.p[conv.name].shape)
        if not needs_input_grad:
            return g
        groups = as_groups(g)
        if ctx.lone_row and not library_is_invariant(conv, x).input_grad:
            twice = double(groups), double(x), torch.cat([weight, weight])
            return from_groups(half(conv_backward(conv, *twice, 2, True, False)[0]), n)
        return from_groups(conv_backward(conv, groups, x, weight, n, True, False)[0], n)


GROUPED, ONE_BY_ONE, UNROLLED, POINTWISE, WINDOWS = Grouped(), OneByOne(), Matrices(), Pointwise(), Windows()
