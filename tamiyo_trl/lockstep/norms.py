"""Normalisations and gates of many rows at once: batch norm, a mixed-in group norm, squeeze-excite."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from tamiyo_trl.lockstep.invariant import linear, linear_backward, sigmoid, space_mean
from tamiyo_trl.lockstep.layers import Context, Layer, aten, channel_sum
from tamiyo_trl.lockstep.rows import Named, Shapes, as_column, from_column, uniform

NORM_EPS, BN_MOMENTUM = 1e-5, 0.1
WIDE = 64  # elements that an operation should find side by side


def affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x * scale + shift for x [n, B, H, W, C] and a scale and shift for each channel of each row, [n, C]."""
    (n, channels), pixels = scale.shape, x[0].numel() // scale.shape[1]
    together = next(k for k in (8, 4, 2, 1) if k == 1 or (k * channels <= WIDE and pixels % k == 0))
    form = (n, together, channels)
    scale, shift = (t.unsqueeze(1).expand(form).reshape(n, 1, -1) for t in (scale, shift))
    return torch.addcmul(shift, x.reshape(n, -1, together * channels), scale).view(x.shape)


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation born with `gain`."""

    name: str
    channels: int
    gain: float = 1.0

    @override
    def shapes(self) -> Shapes:
        return {f"{self.name}.weight": (self.channels,), f"{self.name}.bias": (self.channels,)}

    @override
    def draw(self, rng: torch.Generator) -> Named:
        weight, bias = torch.full((self.channels,), self.gain), torch.zeros(self.channels)
        return {f"{self.name}.weight": weight, f"{self.name}.bias": bias}

    @override
    def norms(self) -> dict[str, int]:
        return {self.name: self.channels}

    @override
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        weight, bias, mean, var = self._state(ctx)
        if not ctx.training:
            scale = weight * (var + NORM_EPS).rsqrt_()
            return affine(x.to(weight.dtype), scale, bias - mean * scale).to(x.dtype)
        column, flat = as_column(x), [t.view(-1) for t in (weight, bias, mean, var)]
        out, own_mean, inverse = aten.native_batch_norm(column, *flat, True, BN_MOMENTUM, NORM_EPS)
        ctx.save_for_backward(column, own_mean, inverse)
        return from_column(out, x.shape)

    @override
    def backward(self, g: Tensor, ctx: Context, needs_input_grad: bool = True) -> Tensor:
        inverse, own_mean, column = ctx.tape.pop(), ctx.tape.pop(), ctx.tape.pop()
        weight, _, mean, var = (t.view(-1) for t in self._state(ctx))
        gx, gw, gb = aten.native_batch_norm_backward(
            as_column(g), column, weight, mean, var, own_mean, inverse, True, NORM_EPS, [True, True, True]
        )
        ctx.grads[f"{self.name}.weight"], ctx.grads[f"{self.name}.bias"] = gw.view(len(g), -1), gb.view(len(g), -1)
        return from_column(gx, g.shape)

    def _state(self, ctx: Context) -> list[Tensor]:
        return [(ctx.p | ctx.statistics)[f"{self.name}.{part}"] for part in ("weight", "bias", "mean", "var")]


@dataclass(frozen=True)
class SqueezeExcite(Layer):
    """x * 2 sigmoid(up relu(down mean(x))): a gate per channel, 1 where `up` is zero."""

    channels: int
    hidden: int

    @override
    def shapes(self) -> Shapes:
        return {"down": (self.hidden, self.channels), "up": (self.channels, self.hidden)}

    @override
    def draw(self, rng: torch.Generator) -> Named:
        return {name: uniform(shape, shape[1], rng) for name, shape in self.shapes().items()}

    @override
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        mean = space_mean(x).to(ctx.p["down"].dtype)
        hidden = linear(mean, ctx.p["down"]).relu_()
        gate = sigmoid(linear(hidden, ctx.p["up"]))
        ctx.save_for_backward(x, mean, hidden, gate)
        return x * (2 * gate).to(x.dtype)[:, :, None, None]

    @override
    def backward(self, g: Tensor, ctx: Context, needs_input_grad: bool = True) -> Tensor:
        gate, hidden, mean, x = (ctx.tape.pop() for _ in range(4))
        pixels = x.shape[2] * x.shape[3]
        slope = space_mean(g * x).to(gate.dtype) * (2 * pixels) * gate * (1 - gate)
        g_hidden, ctx.grads["up"] = linear_backward(slope, hidden, ctx.p["up"])
        g_hidden = aten.threshold_backward(g_hidden, hidden, 0)
        g_mean, ctx.grads["down"] = linear_backward(g_hidden, mean, ctx.p["down"])
        gate, g_mean = (2 * gate).to(x.dtype), (g_mean / pixels).to(x.dtype)
        return g * gate[:, :, None, None] + g_mean[:, :, None, None]


@dataclass(frozen=True)
class MixedNorm(Layer):
    """x + s (w z + b - x), where z is x with mean 0 and variance 1 over C, H, W of each image; s is born 1.

    Source: group normalisation (arXiv:1803.08494) with one group, mixed in by a learned scalar.
    """

    channels: int

    @override
    def shapes(self) -> Shapes:
        return {"norm.weight": (self.channels,), "norm.bias": (self.channels,), "mix": (1,)}

    @override
    def draw(self, rng: torch.Generator) -> Named:
        weight, bias = torch.ones(self.channels), torch.zeros(self.channels)
        return {"norm.weight": weight, "norm.bias": bias, "mix": torch.ones(1)}

    @override
    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        values = x.to(ctx.p["mix"].dtype)
        form = [values[0, 0].numel()]
        z, mean, scale = aten.native_layer_norm(values.flatten(2), form, None, None, NORM_EPS)
        change = affine(z.view(x.shape), ctx.p["norm.weight"], ctx.p["norm.bias"]).sub_(values)
        ctx.save_for_backward(values, mean, scale, z, change)
        return torch.addcmul(values, change, self._mix(ctx)).to(x.dtype)

    @override
    def backward(self, g: Tensor, ctx: Context, needs_input_grad: bool = True) -> Tensor:
        change, z, scale, mean, values = (ctx.tape.pop() for _ in range(5))
        form, dtype, g = [values[0, 0].numel()], g.dtype, g.to(values.dtype)
        ctx.grads["mix"] = channel_sum(g * change).sum(1, keepdim=True)
        mixed = g * self._mix(ctx)
        ctx.grads["norm.weight"], ctx.grads["norm.bias"] = channel_sum(mixed * z.view_as(g)), channel_sum(mixed)
        onward = affine(mixed, ctx.p["norm.weight"], torch.zeros_like(ctx.p["norm.weight"])).flatten(2)
        inner, *_ = aten.native_layer_norm_backward(
            onward, values.flatten(2), form, mean, scale, None, None, [True, False, False]
        )
        return inner.view_as(g).add_(g).sub_(mixed).to(dtype)

    def _mix(self, ctx: Context) -> Tensor:
        return ctx.p["mix"].view(-1, 1, 1, 1, 1)
