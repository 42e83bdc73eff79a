"""SGD with momentum and weight decay for rows of many forms at once, each row with its own learning rate.

While an epoch lasts, all parameters lie in one flat tensor, parameter after parameter and within a parameter row after
row: layers read views of it, and a step is a handful of operations whatever the number of banks. Kernels [n, O, C,
k, k] lie there transposed, as [n, k, k, C, O], because `lockstep.unrolled` then copies long contiguous runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.lockstep.invariant import VECTOR
from tamiyo_trl.lockstep.rows import Named, Rows, Shapes, split_rows

KERNEL_AXES = 4  # O, C, k, k


@dataclass(frozen=True)
class OptimConfig:
    """Settings of the hosts' and seeds' optimiser.

    Attributes:
        momentum: 0..1, as in `torch.optim.SGD` without dampening.
        weight_decay: added to the gradient as `weight_decay * parameter`.
    """

    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        if not 0.0 <= self.momentum < 1.0 or self.weight_decay < 0.0:
            raise ConfigError(f"momentum must be in 0..1 and weight_decay >= 0: got {self}")


def pack(matrix: Tensor, shapes: Shapes) -> Tensor:
    """Return a matrix [n, P] of rows as one flat tensor, parameter after parameter."""
    return torch.cat([inside_out(part).flatten() for part in split_rows(matrix, shapes).values()])


def unpack(flat: Tensor, n: int, shapes: Shapes) -> Iterator[tuple[str, Tensor]]:
    """Yield name and view [n, *shape] of each parameter in a flat tensor."""
    at = 0
    for name, shape in shapes.items():
        size = n * math.prod(shape)
        part = flat[at : at + size]
        yield name, inside_out(part.view(n, *shape[::-1])) if len(shape) == KERNEL_AXES else part.view(n, *shape)
        at += size


def inside_out(part: Tensor) -> Tensor:
    """Return kernels [n, O, C, k, k] with all axes but the first in reverse order; other parameters as they are."""
    return part.permute(0, 4, 3, 2, 1) if part.dim() == 1 + KERNEL_AXES else part


class Optimiser:
    """The working copy of several groups of rows for one epoch.

    Args:
        groups: rows and form of each group; R rows in all.
        lr: float [R], each row's base rate; multiplied by the row's own scale.
        config: momentum and weight decay.

    Attributes:
        parameters: of each group, name -> view [n, *shape].
    """

    def __init__(self, groups: Sequence[tuple[Rows, Shapes]], lr: Tensor, config: OptimConfig) -> None:
        self.groups, self.config, forms = groups, config, [shapes for _, shapes in groups]
        counts, sizes = [len(rows) for rows, _ in groups], [rows.values.numel() for rows, _ in groups]
        # Elements beyond the last full vector are rounded otherwise: whose they are must not depend on others.
        padding = lr.new_zeros(-sum(sizes) % VECTOR)
        self.sizes, self.padding = [*sizes, len(padding)], padding

        def flat(matrices: Iterable[Tensor]) -> Tensor:
            return torch.cat([*(pack(m, shapes) for m, shapes in zip(matrices, forms)), padding])

        self.values, self.momentum = flat(r.values for r, _ in groups), flat(r.momentum for r, _ in groups)
        rates = [(rate * rows.lr_scale).unsqueeze(1) for rate, (rows, _) in zip(lr.split(counts), groups)]
        self.rate = flat(rate * rows.trainable for rate, (rows, _) in zip(rates, groups))
        masked = not all(bool(rows.trainable.all()) for rows, _ in groups)
        self.mask = flat(rows.trainable for rows, _ in groups) if masked else None
        self.parameters: list[Named] = [
            dict(unpack(part, len(rows), shapes)) for part, (rows, shapes) in zip(self.values.split(self.sizes), groups)
        ]
        # A segment is one parameter of one row.
        segments = [(math.prod(s), n) for n, (_, shapes) in zip(counts, groups) for s in shapes.values()]
        lengths = torch.tensor([size for size, n in segments for _ in range(n)] + [len(padding)], device=lr.device)
        starts = [sum(counts[:i]) for i in range(len(counts))]
        owners = [torch.arange(a, a + n) for a, n, (_, shapes) in zip(starts, counts, groups) for _ in shapes]
        owners.append(torch.tensor([sum(counts)]))  # the padding belongs to no row
        self.lengths, self.owners, self.n_rows = lengths, torch.cat(owners).to(lr.device), sum(counts)
        self.counts = [n for _, n in segments] + [1]
        self.pieces = [size * n for size, n in segments] + [len(padding)]

    def gather(self, grads: Sequence[Named]) -> tuple[Tensor, Tensor]:
        """Return all gradients as one flat tensor, cleared where nothing trains, and each row's norm [R]."""
        parts = [inside_out(named[n]).reshape(-1) for named, (_, shapes) in zip(grads, self.groups) for n in shapes]
        grad = torch.cat([*parts, self.padding]).to(self.values.dtype)
        if self.mask is not None:
            grad.mul_(self.mask)
        pieces = zip(grad.split(self.pieces), self.counts)
        squares = torch.cat([torch.linalg.vector_norm(piece.view(n, -1), dim=1) for piece, n in pieces]).square_()
        norms = grad.new_zeros(self.n_rows + 1).index_add_(0, self.owners, squares)
        return grad, norms[:-1].sqrt_()

    def step(self, grad: Tensor, alive: Tensor) -> None:
        """Take a step along `grad`, which is used up; rows that are not `alive` (bool [R]) stay as they are."""
        grad.add_(self.values, alpha=self.config.weight_decay).add_(self.momentum, alpha=self.config.momentum)
        if alive.device.type == "cpu" and bool(alive.all()):  # asking a GPU would wait for it
            self.momentum = grad
            self.values.addcmul_(self.rate, grad, value=-1.0)
            return
        every = torch.cat([alive, alive.new_ones(1)])
        moves = torch.repeat_interleave(every.index_select(0, self.owners), self.lengths, output_size=len(grad))
        self.momentum.copy_(torch.where(moves, grad, self.momentum))
        moved = torch.addcmul(self.values, self.rate, grad, value=-1.0)  # the same operation, the same bits
        self.values.copy_(torch.where(moves, moved, self.values))

    def write_back(self) -> None:
        """Store values and momentum in the groups' rows."""
        for name in ("values", "momentum"):
            for part, (rows, shapes) in zip(getattr(self, name).split(self.sizes), self.groups):
                pieces = [t.flatten(1) for _, t in unpack(part, len(rows), shapes)]
                getattr(rows, name).copy_(torch.cat(pieces, 1))
