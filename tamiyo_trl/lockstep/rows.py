"""Many small networks of one form as rows of a matrix, and their activations as one tensor.

A row is one network's whole parameter vector. Activations of n rows are one tensor [n, B, H, W, C]. In memory it lies
as the layer that made it left it: by rows, each row's a block of its own, or by pixels, in each the channels of all
rows. A layer that wants the other order copies. Axes: n rows, B batch, H and W pixels, C channels of one row, P
parameters of one row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]
Named = dict[str, Tensor]


def size_of(shapes: Shapes) -> int:
    """Return P, the number of parameters of one row."""
    return sum(math.prod(shape) for shape in shapes.values())


def split_rows(values: Tensor, shapes: Shapes) -> Named:
    """Return the named parameters [n, *shape], contiguous, of the rows `values` [n, P]."""
    parts = values.split([math.prod(shape) for shape in shapes.values()], dim=1)
    return {name: part.reshape(-1, *shape).contiguous() for (name, shape), part in zip(shapes.items(), parts)}


def join_row(named: Named, shapes: Shapes) -> Tensor:
    """Return one row [P] made of the named parameters of one network."""
    return torch.cat([named[name].reshape(-1) for name in shapes])


@dataclass
class Rows:
    """State of n networks of one form: everything that training changes, and what scales it.

    Attributes:
        values: float [n, P], the parameters.
        momentum: float [n, P], the optimiser's buffer.
        lr_scale: float [n], multiplies the learning rate of a row.
        trainable: float [n, P], 0 where a parameter never trains, else 1.
        buffers: running statistics by name, float [n, C] each.
    """

    values: Tensor
    momentum: Tensor
    lr_scale: Tensor
    trainable: Tensor
    buffers: Named

    @staticmethod
    def born(values: Tensor, lr_scale: float, trainable: Tensor, buffers: Named) -> Rows:
        """Return one new row [1, P] with no momentum; bring it to a fleet's device and dtype with `to`."""
        row = values.reshape(1, -1)
        return Rows(
            row.clone(),
            torch.zeros_like(row),
            torch.full((1,), lr_scale, dtype=torch.float64),
            trainable.reshape(1, -1).clone(),
            {name: b.reshape(1, -1).clone() for name, b in buffers.items()},
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

    def is_finite(self) -> Tensor:
        """Return whether all parameters and momenta of each row are finite, bool [n]."""
        return (self.values.abs().sum(1) + self.momentum.abs().sum(1)).isfinite()

    def put(self, index: int, row: Rows) -> None:
        """Overwrite row `index` with the first row of `row`."""
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


def as_images(x: Tensor) -> Tensor:
    """Return x [n, B, H, W, C] as images [n*B, C, H, W] in channels_last, whosever they are; copied if not by rows."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


def from_images(images: Tensor, n: int) -> Tensor:
    """Return images [n*B, C, H, W] in channels_last as [n, B, H, W, C]."""
    return images.permute(0, 2, 3, 1).contiguous().unflatten(0, (n, -1))


def as_groups(x: Tensor) -> Tensor:
    """Return x [n, B, H, W, C] as [B, n*C, H, W] in channels_last, each row a group; copied if not by pixels."""
    return x.permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)


def from_groups(x: Tensor, n: int) -> Tensor:
    """Return x [B, n*C, H, W] in channels_last as a view [n, B, H, W, C]."""
    return x.permute(0, 2, 3, 1).unflatten(3, (n, -1)).permute(3, 0, 1, 2, 4)


def as_column(x: Tensor) -> Tensor:
    """Return x [n, B, H, W, C] as one column of pixels [1, n*C, B*H*W, 1] in channels_last; copied if not by pixels."""
    column = x.permute(1, 2, 3, 0, 4).reshape(1, -1, 1, x.shape[0] * x.shape[4])
    return column.permute(0, 3, 1, 2)


def from_column(column: Tensor, shape: torch.Size) -> Tensor:
    """Undo `as_column`: return a view of `shape`."""
    n, *pixels, channels = shape
    return column.permute(0, 2, 3, 1).view(*pixels, n, channels).permute(3, 0, 1, 2, 4)


def uniform(shape: Iterable[int], fan_in: int, generator: torch.Generator) -> Tensor:
    """Return a draw from U(-b, b) with b = sqrt(1 / fan_in), PyTorch's default for convolutions and linear layers."""
    bound = math.sqrt(1.0 / fan_in)
    return (torch.rand(tuple(shape), generator=generator) * 2 - 1) * bound
