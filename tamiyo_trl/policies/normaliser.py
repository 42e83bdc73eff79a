"""Running normalisation of observations, frozen except when the learner says so."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLIP = 10.0


class Normaliser(nn.Module):
    """Maps an observation to (x - mean) / std, clipped to +-10; float [*, F] -> float32 [*, F].

    The statistics are buffers that `forward` only reads: collection and update see the same ones until `update` folds
    in a new batch. Before the first update it passes observations through (clipped).
    """

    mean: Tensor
    var: Tensor
    scale: Tensor
    count: Tensor

    def __init__(self, features: int, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("var", torch.ones(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, observation: Tensor) -> Tensor:
        """Return the normalised observation."""
        return ((observation.to(self.mean.dtype) - self.mean) * self.scale).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def update(self, observation: Tensor) -> None:
        """Fold a batch of observations [*, F] into the statistics.

        Source: Chan, Golub and LeVeque (1979), pairwise update of mean and variance.
        """
        x = observation.reshape(-1, self.mean.shape[-1]).double()
        n = x.shape[0]
        total = self.count + n
        delta = x.mean(0) - self.mean
        mean = self.mean + delta * (n / total)
        m2 = self.var * self.count + x.var(0, correction=0) * n + delta**2 * (self.count * n / total)
        self.mean.copy_(mean)
        self.var.copy_(m2 / total)
        self.scale.copy_((self.var + self.epsilon).rsqrt())
        self.count.copy_(total)
