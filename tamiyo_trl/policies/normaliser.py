"""Running normalisation of observations, frozen except when the learner says so."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

CLIP = 10.0
ABSURD = 100.0  # times the spread of all but the farthest hundredth of a batch


class Normaliser(nn.Module):
    """Maps an observation to (x - mean) / std, clipped to +-10; any real [*, F] -> float32 [*, F].

    Statistics and difference are in double precision, so that what varies little around a large number (clock times,
    prices, coordinates) keeps its content. The statistics are buffers that `forward` only reads: collection and update
    see the same ones until `update` folds in a new batch. Before the first update observations pass through (clipped).
    """

    mean: Tensor
    var: Tensor
    scale: Tensor
    count: Tensor

    def __init__(self, features: int, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("mean", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("var", torch.ones(features, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(features, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, observation: Tensor) -> Tensor:
        """Return the normalised observation."""
        return ((observation.double() - self.mean) * self.scale).clamp(-CLIP, CLIP).float()

    @torch.no_grad()
    def update(self, observation: Tensor) -> None:
        """Fold a batch of observations [*, F] into the statistics; absurd readings count as far, not as what they are.

        Source: Chan, Golub and LeVeque (1979), pairwise update of mean and variance.
        """
        x = self._bounded(observation.reshape(-1, self.mean.shape[-1]).double())
        n = x.shape[0]
        total = self.count + n
        delta = x.mean(0) - self.mean
        mean = self.mean + delta * (n / total)
        m2 = self.var * self.count + x.var(0, correction=0) * n + delta**2 * (self.count * n / total)
        self.mean.copy_(mean)
        self.var.copy_(m2 / total)
        self.scale.copy_((self.var + self.epsilon).rsqrt())
        self.count.copy_(total)

    def _bounded(self, x: Tensor) -> Tensor:
        """Return `x` [n, F] drawn in to 100 times the spread around the median: of most of it, so far, or 1."""
        n = x.shape[0]
        if n < 2:
            return x
        middle = x.median(0).values
        spread = (x - middle).abs().kthvalue(max(1, min(n - 1, n * 99 // 100)), 0).values.clamp(min=1.0)
        so_far = torch.where(self.count > 0, self.var.sqrt() + (self.mean - middle).abs(), 0.0)
        limit = ABSURD * torch.maximum(spread, so_far)
        return torch.minimum(torch.maximum(x, middle - limit), middle + limit)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Normaliser:
        """Move the statistics between devices, never to a smaller type."""
        kept = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, before in kept.items():
            after = getattr(self, name)
            if after.dtype != before.dtype:
                setattr(self, name, before.to(after.device))
        return self
