"""Layers that run many rows at once, forward and backward, without autograd.

A step of many small hosts is thousands of small operations: written out, they need none of autograd's bookkeeping, and
who gets which gradient is said in one place. A network is a tree of layers, which also declares its parameters and
draws them.

A row's numbers must not depend, to the last bit, on how many rows run beside it: see `stable`, and `ways` for the one
case in which convolutions depend on it, a row alone (`Run.solo`).

Activations are [n, B, H, W, C], by rows or by pixels (see `rows`); parameters [n, *shape]; running statistics [n, C].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tamiyo_trl.lockstep.invariant import linear, linear_backward, sigmoid, space_mean
from tamiyo_trl.lockstep.rows import Named, Shapes, as_column, as_images, from_column, from_images, uniform

NORM_EPS, BN_MOMENTUM = 1e-5, 0.1
WIDE = 64  # elements that an operation should find side by side
aten = torch.ops.aten


@dataclass
class Run:
    """What a network of n rows is run with.

    Attributes:
        p: parameters by name, [n, *shape].
        statistics: running statistics by name, [n, C], contiguous; training moves them in place.
        training: whether to keep what the backward pass needs.
        solo: whether this is one row that must have the bits it would have among others.
        grads: what the backward pass leaves, by parameter name, [n, *shape].
        tape: what the forward pass keeps; the backward pass takes it off in reverse.
        scratch: what a layer keeps from step to step, such as memory.
    """

    p: Named
    statistics: Named
    training: bool
    solo: bool = False
    grads: Named = field(default_factory=dict)
    tape: list[Any] = field(default_factory=list)
    scratch: dict[Any, Any] = field(default_factory=dict)

    def keep(self, *items: Any) -> None:
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
    def forward(self, x: Tensor, run: Run) -> Tensor:
        """Return the output for x."""

    @abstractmethod
    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:
        """Leave the parameters' gradients in `run.grads`; return the input's gradient (anything if not `inward`)."""


def pool(images: Tensor, run: Run) -> Tensor:
    """Return the 2x2 maximum of images [*, C, H, W]."""
    out, where = aten.max_pool2d_with_indices(images, [2, 2], [2, 2])
    run.keep(images, where)
    return out


def unpool(g: Tensor, run: Run) -> Tensor:
    """Return the gradient of the input of `pool` for that of its output."""
    where, images = run.tape.pop(), run.tape.pop()
    return aten.max_pool2d_with_indices_backward(g, images, [2, 2], [2, 2], [0, 0], [1, 1], False, where)


def affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return x * scale + shift for x [n, B, H, W, C] and a scale and shift for each channel of each row, [n, C]."""
    (n, channels), pixels = scale.shape, x[0].numel() // scale.shape[1]
    together = next(k for k in (8, 4, 2, 1) if k == 1 or (k * channels <= WIDE and pixels % k == 0))
    form = (n, together, channels)
    scale, shift = (t.unsqueeze(1).expand(form).reshape(n, 1, -1) for t in (scale, shift))
    return torch.addcmul(shift, x.reshape(n, -1, together * channels), scale).view(x.shape)


def channel_sum(x: Tensor) -> Tensor:
    """Return the sum [n, C] of x [n, B, H, W, C] over everything but rows and channels."""
    return x.flatten(1, 3).sum(1)


@dataclass(frozen=True)
class Sequence(Layer):
    """One layer after the other."""

    layers: tuple[Layer, ...]

    def shapes(self) -> Shapes:  # noqa: D102
        return {n: s for layer in self.layers for n, s in layer.shapes().items()}

    def draw(self, rng: torch.Generator) -> Named:  # noqa: D102
        return {n: t for layer in self.layers for n, t in layer.draw(rng).items()}

    def norms(self) -> dict[str, int]:  # noqa: D102
        return {n: c for layer in self.layers for n, c in layer.norms().items()}

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        for layer in self.layers:
            x = layer.forward(x, run)
        return x

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        for layer in reversed(self.layers[1:]):
            g = layer.backward(g, run)
        return self.layers[0].backward(g, run, inward)


class Residual(Sequence):
    """x plus what the layers make of it."""

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        return super().forward(x, run) + x

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        inner = super().backward(g, run, inward)
        return inner.add_(g) if inward else inner


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation born with `gain`."""

    name: str
    channels: int
    gain: float = 1.0

    def shapes(self) -> Shapes:  # noqa: D102
        return {f"{self.name}.weight": (self.channels,), f"{self.name}.bias": (self.channels,)}

    def draw(self, rng: torch.Generator) -> Named:  # noqa: D102
        weight, bias = torch.full((self.channels,), self.gain), torch.zeros(self.channels)
        return {f"{self.name}.weight": weight, f"{self.name}.bias": bias}

    def norms(self) -> dict[str, int]:  # noqa: D102
        return {self.name: self.channels}

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weight, bias, mean, var = self._state(run)
        if not run.training:
            scale = weight * (var + NORM_EPS).rsqrt_()
            return affine(x.to(weight.dtype), scale, bias - mean * scale).to(x.dtype)
        column, flat = as_column(x), [t.view(-1) for t in (weight, bias, mean, var)]
        out, own_mean, inverse = aten.native_batch_norm(column, *flat, True, BN_MOMENTUM, NORM_EPS)
        run.keep(column, own_mean, inverse)
        return from_column(out, x.shape)

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        inverse, own_mean, column = run.tape.pop(), run.tape.pop(), run.tape.pop()
        weight, _, mean, var = (t.view(-1) for t in self._state(run))
        gx, gw, gb = aten.native_batch_norm_backward(
            as_column(g), column, weight, mean, var, own_mean, inverse, True, NORM_EPS, [True, True, True]
        )
        run.grads[f"{self.name}.weight"], run.grads[f"{self.name}.bias"] = gw.view(len(g), -1), gb.view(len(g), -1)
        return from_column(gx, g.shape)

    def _state(self, run: Run) -> list[Tensor]:
        return [(run.p | run.statistics)[f"{self.name}.{part}"] for part in ("weight", "bias", "mean", "var")]


class ReLU(Layer):
    """max(x, 0), in place."""

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        run.keep(x.relu_())
        return x

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        return aten.threshold_backward(g, run.tape.pop(), 0)


class Blur(Layer):
    """5x5 mean, zero-padded."""

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        run.keep(x)
        return from_images(F.avg_pool2d(as_images(x), 5, stride=1, padding=2), len(x))

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        images = as_images(run.tape.pop())
        spread = aten.avg_pool2d_backward(as_images(g), images, [5, 5], [1, 1], [2, 2], False, True, None)
        return from_images(spread, len(g))


@dataclass(frozen=True)
class Head(Layer):
    """Mean over space, then a linear layer with bias; the output is [n, B, O]."""

    name: str
    c_in: int
    c_out: int

    def shapes(self) -> Shapes:  # noqa: D102
        return {f"{self.name}.weight": (self.c_out, self.c_in), f"{self.name}.bias": (self.c_out,)}

    def draw(self, rng: torch.Generator) -> Named:  # noqa: D102
        return {name: uniform(shape, self.c_in, rng) for name, shape in self.shapes().items()}

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weight = run.p[f"{self.name}.weight"]
        mean = space_mean(x).to(weight.dtype)
        run.keep(x, mean)
        return linear(mean, weight) + run.p[f"{self.name}.bias"].unsqueeze(1)

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        mean, x = run.tape.pop(), run.tape.pop()
        gx, run.grads[f"{self.name}.weight"] = linear_backward(g, mean, run.p[f"{self.name}.weight"])
        run.grads[f"{self.name}.bias"] = g.transpose(1, 2).contiguous().sum(2)
        spread = (gx / (x.shape[2] * x.shape[3])).to(x.dtype)
        return spread[:, :, None, None].expand_as(x).contiguous()


@dataclass(frozen=True)
class SqueezeExcite(Layer):
    """x * 2 sigmoid(up relu(down mean(x))): a gate per channel, 1 where `up` is zero."""

    channels: int
    hidden: int

    def shapes(self) -> Shapes:  # noqa: D102
        return {"down": (self.hidden, self.channels), "up": (self.channels, self.hidden)}

    def draw(self, rng: torch.Generator) -> Named:  # noqa: D102
        return {name: uniform(shape, shape[1], rng) for name, shape in self.shapes().items()}

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        mean = space_mean(x).to(run.p["down"].dtype)
        hidden = linear(mean, run.p["down"]).relu_()
        gate = sigmoid(linear(hidden, run.p["up"]))
        run.keep(x, mean, hidden, gate)
        return x * (2 * gate).to(x.dtype)[:, :, None, None]

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        gate, hidden, mean, x = (run.tape.pop() for _ in range(4))
        pixels = x.shape[2] * x.shape[3]
        slope = space_mean(g * x).to(gate.dtype) * (2 * pixels) * gate * (1 - gate)
        g_hidden, run.grads["up"] = linear_backward(slope, hidden, run.p["up"])
        g_hidden = aten.threshold_backward(g_hidden, hidden, 0)
        g_mean, run.grads["down"] = linear_backward(g_hidden, mean, run.p["down"])
        gate, g_mean = (2 * gate).to(x.dtype), (g_mean / pixels).to(x.dtype)
        return g * gate[:, :, None, None] + g_mean[:, :, None, None]


@dataclass(frozen=True)
class MixedNorm(Layer):
    """x + s (w z + b - x), where z is x with mean 0 and variance 1 over C, H, W of each image; s is born 1.

    Source: group normalisation (arXiv:1803.08494) with one group, mixed in by a learned scalar.
    """

    channels: int

    def shapes(self) -> Shapes:  # noqa: D102
        return {"norm.weight": (self.channels,), "norm.bias": (self.channels,), "mix": (1,)}

    def draw(self, rng: torch.Generator) -> Named:  # noqa: D102
        weight, bias = torch.ones(self.channels), torch.zeros(self.channels)
        return {"norm.weight": weight, "norm.bias": bias, "mix": torch.ones(1)}

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        values = x.to(run.p["mix"].dtype)
        form = [values[0, 0].numel()]
        z, mean, scale = aten.native_layer_norm(values.flatten(2), form, None, None, NORM_EPS)
        change = affine(z.view(x.shape), run.p["norm.weight"], run.p["norm.bias"]).sub_(values)
        run.keep(values, mean, scale, z, change)
        return torch.addcmul(values, change, self._mix(run)).to(x.dtype)

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        change, z, scale, mean, values = (run.tape.pop() for _ in range(5))
        form, dtype, g = [values[0, 0].numel()], g.dtype, g.to(values.dtype)
        run.grads["mix"] = channel_sum(g * change).sum(1, keepdim=True)
        mixed = g * self._mix(run)
        run.grads["norm.weight"], run.grads["norm.bias"] = channel_sum(mixed * z.view_as(g)), channel_sum(mixed)
        onward = affine(mixed, run.p["norm.weight"], torch.zeros_like(run.p["norm.weight"])).flatten(2)
        inner, *_ = aten.native_layer_norm_backward(
            onward, values.flatten(2), form, mean, scale, None, None, [True, False, False]
        )
        return inner.view_as(g).add_(g).sub_(mixed).to(dtype)

    def _mix(self, run: Run) -> Tensor:
        return run.p["mix"].view(-1, 1, 1, 1, 1)
