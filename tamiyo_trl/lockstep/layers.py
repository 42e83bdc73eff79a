"""Layers that run many rows at once, forward and backward, without autograd.

A step of many small hosts is thousands of small operations: written out, they need none of autograd's bookkeeping, and
who gets which gradient is said in one place. A network is a tree of layers, which also declares its parameters and
draws them.

A row's numbers must not depend, to the last bit, on how many rows run beside it: see `invariant`, and `conv_algorithms`
for the one case in which convolutions depend on it, a row alone (`Context.lone_row`).

Activations are [n, B, H, W, C], by rows or by pixels (see `rows`); parameters [n, *shape]; running statistics [n, C].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from tamiyo_trl.lockstep.invariant import linear, linear_backward, space_mean
from tamiyo_trl.lockstep.rows import Named, Shapes, as_images, from_images, uniform

aten = torch.ops.aten


@dataclass
class Context:
    """What a network of n rows is run with.

    Attributes:
        p: parameters by name, [n, *shape].
        statistics: running statistics by name, [n, C], contiguous; training moves them in place.
        training: whether to keep what the backward pass needs.
        lone_row: whether this is one row that must have the bits it would have among others.
        grads: what the backward pass leaves, by parameter name, [n, *shape].
        tape: what the forward pass keeps; the backward pass takes it off in reverse.
        scratch: what a layer keeps from step to step, such as memory.
    """

    p: Named
    statistics: Named
    training: bool
    lone_row: bool = False
    grads: Named = field(default_factory=dict)
    tape: list[Any] = field(default_factory=list)
    scratch: dict[Any, Any] = field(default_factory=dict)

    def save_for_backward(self, *items: Any) -> None:
        """Put tensors, or what else says how to go back, on the tape when training."""
        if self.training:
            self.tape.extend(items)


class Layer(ABC):
    """A function of activations with a hand-written gradient."""

    def shapes(self) -> Shapes:
        """Return name -> shape of one row's parameters."""
        return {}

    def draw(self, rng: torch.Generator) -> Named:
        """Return one row's initial parameters."""
        return {}

    def norms(self) -> dict[str, int]:
        """Return name -> channels of the batch normalisations inside."""
        return {}

    @abstractmethod
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        """Return the output for x."""

    @abstractmethod
    def backward(self, g: Tensor, ctx: Context, needs_input_grad: bool = True) -> Tensor:
        """Leave the parameters' gradients in `ctx.grads`; return the input's gradient (or anything, if not needed)."""


def pool(images: Tensor, ctx: Context) -> Tensor:
    """Return the 2x2 maximum of images [*, C, H, W]."""
    out, where = aten.max_pool2d_with_indices(images, [2, 2], [2, 2])
    ctx.save_for_backward(images, where)
    return out


def unpool(g: Tensor, ctx: Context) -> Tensor:
    """Return the gradient of the input of `pool` for that of its output."""
    where, images = ctx.tape.pop(), ctx.tape.pop()
    return aten.max_pool2d_with_indices_backward(g, images, [2, 2], [2, 2], [0, 0], [1, 1], False, where)


def channel_sum(x: Tensor) -> Tensor:
    """Return the sum [n, C] of x [n, B, H, W, C] over everything but rows and channels."""
    return x.flatten(1, 3).sum(1)


@dataclass(frozen=True)
class Sequence(Layer):
    """One layer after the other."""

    layers: tuple[Layer, ...]

    @override
    def shapes(self) -> Shapes:
        return {n: s for layer in self.layers for n, s in layer.shapes().items()}

    @override
    def draw(self, rng: torch.Generator) -> Named:
        return {n: t for layer in self.layers for n, t in layer.draw(rng).items()}

    @override
    def norms(self) -> dict[str, int]:
        return {n: c for layer in self.layers for n, c in layer.norms().items()}

    @override
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        for layer in self.layers:
            x = layer.forward(x, ctx)
        return x

    @override
    def backward(self, g: Tensor, ctx: Context, needs_input_grad: bool = True) -> Tensor:
        for layer in reversed(self.layers[1:]):
            g = layer.backward(g, ctx)
        return self.layers[0].backward(g, ctx, needs_input_grad)


class Residual(Sequence):
    """x plus what the layers make of it."""

    @override
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return super().forward(x, ctx) + x

    @override
    def backward(self, g: Tensor, ctx: Context, needs_input_grad: bool = True) -> Tensor:
        inner = super().backward(g, ctx, needs_input_grad)
        return inner.add_(g) if needs_input_grad else inner


class ReLU(Layer):
    """max(x, 0), in place."""

    @override
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        ctx.save_for_backward(x.relu_())
        return x

    @override
    def backward(self, g: Tensor, ctx: Context, needs_input_grad: bool = True) -> Tensor:
        return aten.threshold_backward(g, ctx.tape.pop(), 0)


class Blur(Layer):
    """5x5 mean, zero-padded."""

    @override
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        ctx.save_for_backward(x)
        return from_images(F.avg_pool2d(as_images(x), 5, stride=1, padding=2), len(x))

    @override
    def backward(self, g: Tensor, ctx: Context, needs_input_grad: bool = True) -> Tensor:
        images = as_images(ctx.tape.pop())
        spread = aten.avg_pool2d_backward(as_images(g), images, [5, 5], [1, 1], [2, 2], False, True, None)
        return from_images(spread, len(g))


@dataclass(frozen=True)
class Head(Layer):
    """Mean over space, then a linear layer with bias; the output is [n, B, O]."""

    name: str
    c_in: int
    c_out: int

    @override
    def shapes(self) -> Shapes:
        return {f"{self.name}.weight": (self.c_out, self.c_in), f"{self.name}.bias": (self.c_out,)}

    @override
    def draw(self, rng: torch.Generator) -> Named:
        return {name: uniform(shape, self.c_in, rng) for name, shape in self.shapes().items()}

    @override
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        weight = ctx.p[f"{self.name}.weight"]
        mean = space_mean(x).to(weight.dtype)
        ctx.save_for_backward(x, mean)
        return linear(mean, weight) + ctx.p[f"{self.name}.bias"].unsqueeze(1)

    @override
    def backward(self, g: Tensor, ctx: Context, needs_input_grad: bool = True) -> Tensor:
        mean, x = ctx.tape.pop(), ctx.tape.pop()
        gx, ctx.grads[f"{self.name}.weight"] = linear_backward(g, mean, ctx.p[f"{self.name}.weight"])
        ctx.grads[f"{self.name}.bias"] = g.transpose(1, 2).contiguous().sum(2)
        spread = (gx / (x.shape[2] * x.shape[3])).to(x.dtype)
        return spread[:, :, None, None].expand_as(x).contiguous()
