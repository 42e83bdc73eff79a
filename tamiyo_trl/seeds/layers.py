"""Layers that run many rows at once, forward and backward, without autograd.

A step of many small hosts is thousands of small operations; written out, a layer costs a third of what autograd's bookkeeping makes of it, and who gets which
gradient is said in one place. A network is a tree of layers, which also declares its parameters and draws them.

A row's numbers must not depend, to the last bit, on how many rows run beside it. Reductions over outer axes break that (columns beyond the last full vector are
summed in another order), and so do batched matrix products and vectorised exponentials. So sums over space or batch go through average pooling, linear layers
through sums over a last axis. It holds for channel counts that are multiples of 8; tests prove it. A row alone is a
case of its own (`Run.solo`).

Activations are [B, n*C, H, W] in channels_last; parameters [n, *shape]; running statistics [n, C].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .rows import Named, Shapes, uniform

NORM_EPS, BN_MOMENTUM = 1e-5, 0.1
VECTOR = 64  # a multiple of the elements that vectorised code takes at a time
aten = torch.ops.aten


@dataclass
class Run:
    """What a network of n rows is run with.

    Attributes:
        p: parameters by name, [n, *shape].
        statistics: running statistics by name, [n, C], contiguous; training moves them in place.
        training: whether to keep what the backward pass needs.
        solo: whether this is one row that must have the bits it would have among others.
        grads: what the backward pass leaves, by parameter name.
        tape: what the forward pass keeps; the backward pass takes it off in reverse.
        flat: per-channel parameters and statistics as views [n*C].
    """

    p: Named
    statistics: Named
    training: bool
    solo: bool = False
    grads: Named = field(default_factory=dict)
    tape: list[Tensor] = field(default_factory=list)
    flat: Named = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.flat = {name: t.view(-1) for name, t in (self.p | self.statistics).items() if t.dim() == 2}

    def keep(self, *tensors: Tensor) -> None:
        """Put tensors on the tape when training."""
        if self.training:
            self.tape.extend(tensors)


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

    Convolution libraries give a group the same bits for every number of groups from two up, but may choose another algorithm where there is one group.
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
        shape, x = x.shape, as_column(x)
        out, mean, inverse = torch.native_batch_norm(x, *self._state(run), run.training, BN_MOMENTUM, NORM_EPS)
        run.keep(x, mean, inverse)
        return as_pixels(out, shape)

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        inverse, mean, x = run.tape.pop(), run.tape.pop(), run.tape.pop()
        weight, _, *moving = self._state(run)
        shape, g = g.shape, as_column(g)
        gx, gw, gb = aten.native_batch_norm_backward(
            g, x, weight, *moving, mean, inverse, True, NORM_EPS, [True, True, True]
        )
        run.grads[f"{self.name}.weight"], run.grads[f"{self.name}.bias"] = gw, gb
        return as_pixels(gx, shape)

    def _state(self, run: Run) -> list[Tensor]:
        return [run.flat[f"{self.name}.{part}"] for part in ("weight", "bias", "mean", "var")]


class ReLU(Layer):
    """max(x, 0), in place."""

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        run.keep(x.relu_())
        return x

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        return aten.threshold_backward(g, run.tape.pop(), 0)


class MaxPool(Layer):
    """2x2 maximum."""

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        out, where = aten.max_pool2d_with_indices(x, [2, 2], [2, 2])
        run.keep(x, where)
        return out

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        where, x = run.tape.pop(), run.tape.pop()
        return aten.max_pool2d_with_indices_backward(g, x, [2, 2], [2, 2], [0, 0], [1, 1], False, where)


class Blur(Layer):
    """5x5 mean, zero-padded."""

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        run.keep(x)
        return F.avg_pool2d(x, 5, stride=1, padding=2)

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        return aten.avg_pool2d_backward(g, run.tape.pop(), [5, 5], [1, 1], [2, 2], False, True, None)


@dataclass(frozen=True)
class Head(Layer):
    """Mean over space, then a linear layer with bias; the output is [B, n, O]."""

    name: str
    c_in: int
    c_out: int

    def shapes(self) -> Shapes:  # noqa: D102
        return {f"{self.name}.weight": (self.c_out, self.c_in), f"{self.name}.bias": (self.c_out,)}

    def draw(self, rng: torch.Generator) -> Named:  # noqa: D102
        return {name: uniform(shape, self.c_in, rng) for name, shape in self.shapes().items()}

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        weight = run.p[f"{self.name}.weight"]
        mean = space_mean(x).flatten(1).to(weight.dtype)
        run.keep(x, mean)
        return linear(mean, weight) + run.p[f"{self.name}.bias"]

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        mean, x = run.tape.pop(), run.tape.pop()
        gx, run.grads[f"{self.name}.weight"] = linear_backward(g, mean, run.p[f"{self.name}.weight"])
        run.grads[f"{self.name}.bias"] = g.permute(1, 2, 0).contiguous().sum(2)
        spread = (gx / (x.shape[2] * x.shape[3])).to(x.dtype).view(len(x), -1, 1, 1).expand_as(x)
        return spread.contiguous(memory_format=torch.channels_last)


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
        mean = space_mean(x).flatten(1).to(run.p["down"].dtype)
        hidden = linear(mean, run.p["down"]).relu_().flatten(1)
        gate = sigmoid(linear(hidden, run.p["up"]).flatten(1))
        run.keep(x, mean, hidden, gate)
        return x * (2 * gate).to(x.dtype).view(len(x), -1, 1, 1)

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        gate, hidden, mean, x = (run.tape.pop() for _ in range(4))
        pixels = x.shape[2] * x.shape[3]
        slope = space_mean(g * x).flatten(1).to(gate.dtype) * (2 * pixels) * gate * (1 - gate)
        g_hidden, run.grads["up"] = linear_backward(slope, hidden, run.p["up"])
        g_hidden = aten.threshold_backward(g_hidden, hidden, 0)
        g_mean, run.grads["down"] = linear_backward(g_hidden, mean, run.p["down"])
        gate, g_mean = (2 * gate).to(x.dtype), (g_mean / pixels).to(x.dtype)
        return g * gate.view(len(x), -1, 1, 1) + g_mean.view(len(x), -1, 1, 1)


@dataclass(frozen=True)
class MixedNorm(Layer):
    """x + s (w z + b - x), z = x with mean 0 and variance 1 over C, H, W per image (group norm with one group); s born 1."""

    channels: int

    def shapes(self) -> Shapes:  # noqa: D102
        return {"norm.weight": (self.channels,), "norm.bias": (self.channels,), "mix": (1,)}

    def draw(self, rng: torch.Generator) -> Named:  # noqa: D102
        weight, bias = torch.ones(self.channels), torch.zeros(self.channels)
        return {"norm.weight": weight, "norm.bias": bias, "mix": torch.ones(1)}

    def forward(self, x: Tensor, run: Run) -> Tensor:  # noqa: D102
        n, values = len(run.p["mix"]), x.to(run.p["mix"].dtype)
        centred = values - row_mean(values, n)
        scale = (row_mean(centred.square(), n) + NORM_EPS).rsqrt_()
        z = centred.mul_(scale)
        change = z * run.flat["norm.weight"].view(1, -1, 1, 1) + run.flat["norm.bias"].view(1, -1, 1, 1) - values
        run.keep(z, scale, change)
        return (values + change * self._mix(run)).to(x.dtype)

    def backward(self, g: Tensor, run: Run, inward: bool = True) -> Tensor:  # noqa: D102
        change, scale, z = (run.tape.pop() for _ in range(3))
        n, dtype, g = len(run.p["mix"]), g.dtype, g.to(z.dtype)
        run.grads["mix"] = channel_sum(g * change).view(n, -1).sum(1)
        mixed = g * self._mix(run)
        run.grads["norm.weight"], run.grads["norm.bias"] = channel_sum(mixed * z), channel_sum(mixed)
        inner = mixed * run.flat["norm.weight"].view(1, -1, 1, 1)
        inner = (inner - row_mean(inner, n) - z * row_mean(inner * z, n)).mul_(scale)
        return inner.add_(g).sub_(mixed).to(dtype)

    def _mix(self, run: Run) -> Tensor:
        return run.p["mix"].expand(-1, self.channels).reshape(1, -1, 1, 1)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return the linear map [B, n, O] of every row: x [B, n*C], weight [n, O, C]."""
    n, _, c_in = weight.shape
    return (x.view(-1, n, 1, c_in) * weight).sum(3)


def linear_backward(g: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x [B, n*C] and of the weight [n, O, C] for the output's gradient g, [B, n, O] or [B, n*O]."""
    n, c_out, c_in = weight.shape
    g = g.view(-1, n, c_out)
    gx = (g.unsqueeze(2) * weight.transpose(1, 2).contiguous()).sum(3).flatten(1)
    g, x = g.permute(1, 2, 0).contiguous(), x.view(-1, n, c_in).permute(1, 2, 0).contiguous()
    return gx, (g.unsqueeze(2) * x.unsqueeze(1)).sum(3)


def space_mean(x: Tensor) -> Tensor:
    """Return the mean [B, K, 1, 1] of x [B, K, H, W] over H and W."""
    return F.avg_pool2d(x, x.shape[2:])


def row_mean(x: Tensor, n: int) -> Tensor:
    """Return [B, n*C, 1, 1]: the mean of each row of x [B, n*C, H, W] per image, repeated over the row's channels."""
    batch, channels = x.shape[:2]
    mean = space_mean(x).view(batch, n, -1).mean(2, keepdim=True)
    return mean.expand(-1, -1, channels // n).reshape(batch, channels, 1, 1)


def channel_sum(x: Tensor) -> Tensor:
    """Return the sum [K] of x [B, K, H, W] (channels_last) over everything but channels."""
    count, channels = x.numel() // x.shape[1], x.shape[1]
    column = x.as_strided((1, channels, count, 1), (x.numel(), 1, channels, channels))
    return F.avg_pool2d(column, (count, 1)).view(-1) * count


def sigmoid(x: Tensor) -> Tensor:
    """Return the logistic function of x [B, K]."""
    # Elements beyond the last full vector would go through another implementation of exp.
    flat = x.flatten()
    return F.pad(flat, (0, -len(flat) % VECTOR)).sigmoid_()[: len(flat)].view_as(x)


def as_column(x: Tensor) -> Tensor:
    """Return x [B, K, 1, 1] as [1, K, B, 1] in channels_last; other sizes as they are.

    With one pixel, channels_last and its opposite look alike and the wrong kernel may be chosen.
    """
    batch, width, height, _ = x.shape
    if height * x.shape[3] > 1:
        return x
    return x.as_strided((1, width, batch, 1), (batch * width, 1, width, width))


def as_pixels(x: Tensor, shape: torch.Size) -> Tensor:
    """Undo `as_column`: return x in its former `shape`."""
    return x if x.shape == shape else x.as_strided(shape, (shape[1], 1, shape[1], shape[1]))
