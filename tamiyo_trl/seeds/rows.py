"""Many small networks of one form as rows of a matrix, and the layers that run all rows at once.

A row is one network's whole parameter vector. Activations of n rows are one tensor [B, n*C, H, W] in channels_last, that is
[B, H, W, n, C] in memory, so that a convolution of every row is one grouped convolution. Axes: B batch, n rows, C channels of one
row, O output channels of one row, P parameters of one row.

A row's numbers must not depend, to the last bit, on how many rows run beside it. Reductions over outer axes break that (columns beyond the last full vector are
summed in another order), and so do batched matrix products. Means over space therefore go through average pooling, per-channel gradients through depthwise
convolutions, linear layers through sums over a last axis. It holds for channel counts that are multiples of 8 and two rows or more; tests prove it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Shapes = Mapping[str, tuple[int, ...]]
Named = dict[str, Tensor]
NORM_EPS, BN_MOMENTUM = 1e-5, 0.1
VECTOR = 64  # a multiple of the elements that vectorised code takes at a time


def size_of(shapes: Shapes) -> int:
    """Return P, the number of parameters of one row."""
    return sum(math.prod(shape) for shape in shapes.values())


def split_rows(values: Tensor, shapes: Shapes) -> Named:
    """Return the named parameters [n, *shape] of the rows `values` [n, P]; gradients flow back as one matrix."""
    parts = values.split([math.prod(shape) for shape in shapes.values()], dim=1)
    return {name: part.reshape(-1, *shape) for (name, shape), part in zip(shapes.items(), parts)}


def join_row(named: Named, shapes: Shapes) -> Tensor:
    """Return one row [P] made of the named parameters of one network."""
    return torch.cat([named[name].reshape(-1) for name in shapes])


@dataclass
class Rows:
    """State of n networks of one form: everything that training changes, and what scales it.

    Attributes:
        values: float32 [n, P], the parameters.
        momentum: float32 [n, P], the optimiser's buffer.
        lr_scale: float32 [n], multiplies the learning rate of a row.
        trainable: float32 [n, P], 0 where a parameter never trains, else 1.
        buffers: running statistics by name, float32 [n, C] each.
    """

    values: Tensor
    momentum: Tensor
    lr_scale: Tensor
    trainable: Tensor
    buffers: Named

    @staticmethod
    def born(values: Tensor, lr_scale: float, trainable: Tensor, buffers: Named) -> Rows:
        """Return one new row [1, P] with no momentum."""
        row = values.reshape(1, -1).float()
        return Rows(
            row.clone(),
            torch.zeros_like(row),
            torch.full((1,), lr_scale, dtype=torch.float64),
            trainable.reshape(1, -1).float().clone(),
            {name: b.reshape(1, -1).float().clone() for name, b in buffers.items()},
        )

    def __len__(self) -> int:
        return self.values.shape[0]

    def tensors(self) -> Named:
        """Return every tensor by name; buffers under `buffer.<name>`."""
        own = {name: getattr(self, name) for name in ("values", "momentum", "lr_scale", "trainable")}
        return own | {f"buffer.{name}": b for name, b in self.buffers.items()}

    @staticmethod
    def from_tensors(tensors: Named) -> Rows:
        """Return the rows that `tensors()` described (no copy)."""
        buffers = {name.removeprefix("buffer."): t for name, t in tensors.items() if name.startswith("buffer.")}
        return Rows(**{n: t for n, t in tensors.items() if not n.startswith("buffer.")}, buffers=buffers)

    def take(self, index: Tensor) -> Rows:
        """Return a copy of the rows `index` (int64 [m]; repeats allowed)."""
        return Rows.from_tensors({name: t.index_select(0, index) for name, t in self.tensors().items()})

    def span(self, start: int, stop: int) -> Rows:
        """Return rows start..stop-1 as views: training them trains these rows."""
        return Rows.from_tensors({name: t[start:stop] for name, t in self.tensors().items()})

    def put(self, index: int, row: Rows) -> None:
        """Overwrite row `index` with the single row `row`."""
        mine, new = self.tensors(), row.tensors()
        for name, tensor in mine.items():
            tensor[index].copy_(new[name][0])

    @staticmethod
    def stack(parts: Sequence[Rows]) -> Rows:
        """Return the rows of all `parts`, in their order."""
        every = [part.tensors() for part in parts]
        return Rows.from_tensors({name: torch.cat([t[name] for t in every]) for name in every[0]})

    def to(self, like: Tensor) -> Rows:
        """Return these rows with the device and dtype of `like`."""
        return Rows.from_tensors({name: t.to(like) for name, t in self.tensors().items()})


def named_row(row: Rows, shapes: Shapes) -> Named:
    """Return name -> copy of the parameters and buffers of the single row `row`."""
    named = {name: t[0].clone() for name, t in split_rows(row.values, shapes).items()}
    return named | {name: b[0].clone() for name, b in row.buffers.items()}


def conv(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Return the same-padded convolution of every row: x [B, n*C, H, W], weight [n, O, C, k, k] -> [B, n*O, H', W']."""
    if x.shape[2] == x.shape[3] == weight.shape[3] == 1:
        return linear(x.flatten(1), weight.flatten(2)).view(len(x), -1, 1, 1)
    padding = weight.shape[3] // 2
    return F.conv2d(x, weight.flatten(0, 1), stride=stride, padding=padding, groups=len(weight))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return the linear map [B, n, O] of every row: x [B, n*C], weight [n, O, C]."""
    return _Linear.apply(x.view(len(x), len(weight), -1), weight)


def depthwise_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Return the same-padded depthwise convolution of every row: weight [n, C, 1, k, k]."""
    n, channels = weight.shape[:2]
    return F.conv2d(x, weight.flatten(0, 1), padding=weight.shape[-1] // 2, groups=n * channels)


def batch_norm(x: Tensor, named: Named, buffers: Named, name: str, training: bool) -> Tensor:
    """Return batch normalisation of every row; with `training` the running statistics [n, C] move in place."""
    batch, width, height, _ = shape = x.shape
    if height == shape[3] == 1:  # one pixel would not tell channels_last from its opposite: lay the batch out as a column
        x = x.flatten(1).as_strided((1, width, batch, 1), (batch * width, 1, width, width))
    out = F.batch_norm(
        x,
        buffers[f"{name}.mean"].view(-1),
        buffers[f"{name}.var"].view(-1),
        named[f"{name}.weight"].flatten(),
        named[f"{name}.bias"].flatten(),
        training,
        BN_MOMENTUM,
        NORM_EPS,
    )
    return out if out.shape == shape else out.permute(2, 1, 0, 3)


def scale_rows(x: Tensor, scale: Tensor) -> Tensor:
    """Return x [B, n*C, H, W] with row r multiplied by scale[r] (float [n])."""
    channels = x.shape[1]
    weight = scale.view(-1, 1).expand(-1, channels // len(scale)).reshape(channels, 1, 1, 1)
    return F.conv2d(x, weight, groups=channels)


def scale_channels(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x [B, n*C, H, W] times weight plus bias (both [n, C])."""
    return F.conv2d(x, weight.reshape(-1, 1, 1, 1), bias.flatten(), groups=x.shape[1])


def spatial_mean(x: Tensor) -> Tensor:
    """Return the mean [B, K] of x [B, K, H, W] over H and W."""
    return _SpatialMean.apply(x)


def gate(x: Tensor, weight: Tensor) -> Tensor:
    """Return x [B, K, H, W] times weight [B, K]."""
    return _Gate.apply(x, weight.view(*weight.shape, 1, 1))


def sigmoid(x: Tensor) -> Tensor:
    """Return the logistic function of x."""
    # Elements beyond the last full vector would go through another implementation of exp.
    flat = x.flatten()
    return F.pad(flat, (0, -len(flat) % VECTOR)).sigmoid()[: len(flat)].view_as(x)


def normalise(x: Tensor, n: int) -> Tensor:
    """Return each row of x [B, n*C, H, W] with mean 0 and variance 1 over its C, H, W per image: group norm with one group, no affine part."""
    return _Normalise.apply(x, n)


def as_rows(x: Tensor, n: int) -> Tensor:
    """Return the memory of x [B, n*C, H, W] (channels_last) as a view [B*H*W, n, C]."""
    return x.permute(0, 2, 3, 1).view(-1, n, x.shape[1] // n)


def take_rows(x: Tensor, n: int, index: Tensor) -> Tensor:
    """Return a copy [B, m*C, H, W] of the rows `index` (int64 [m]) of x [B, n*C, H, W]."""
    batch, _, height, width = x.shape
    return as_rows(x, n).index_select(1, index).view(batch, height, width, -1).permute(0, 3, 1, 2)


def uniform(shape: Iterable[int], fan_in: int, generator: torch.Generator) -> Tensor:
    """Return a draw from U(-b, b) with b = sqrt(1 / fan_in), PyTorch's default for convolutions and linear layers."""
    bound = math.sqrt(1.0 / fan_in)
    return (torch.rand(tuple(shape), generator=generator) * 2 - 1) * bound


def _mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, x.shape[2:])


def _row_mean(x: Tensor, n: int) -> Tensor:
    """Return [B, n*C, 1, 1]: the mean of each row over its C, H, W, repeated over its channels."""
    batch, channels = x.shape[:2]
    mean = _mean(x).view(batch, n, -1).mean(2, keepdim=True)
    return mean.expand(-1, -1, channels // n).reshape(batch, channels, 1, 1)


class _SpatialMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return _mean(x).flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        spread = (g / (ctx.shape[2] * ctx.shape[3])).view(*g.shape, 1, 1).expand(ctx.shape)
        return spread.contiguous(memory_format=torch.channels_last)


class _Linear(torch.autograd.Function):
    # Products summed over a contiguous last axis: a batched matrix product rounds its last matrix differently when their number is odd.

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return (x.unsqueeze(2) * weight).sum(3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        by_input = (g.unsqueeze(2) * weight.transpose(1, 2).contiguous()).sum(3)
        g, x = g.permute(1, 2, 0).contiguous(), x.permute(1, 2, 0).contiguous()
        return by_input, (g.unsqueeze(2) * x.unsqueeze(1)).sum(3)


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return g * weight, _mean(g * x) * (x.shape[2] * x.shape[3])


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int) -> Tensor:
        centred = x - _row_mean(x, n)
        scale = torch.rsqrt(_row_mean(centred.square(), n) + NORM_EPS)
        normed = centred.mul_(scale)
        ctx.n = n
        ctx.save_for_backward(normed, scale)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        normed, scale = ctx.saved_tensors
        parallel = _row_mean(g * normed, ctx.n)
        return (g - _row_mean(g, ctx.n) - normed * parallel) * scale, None
