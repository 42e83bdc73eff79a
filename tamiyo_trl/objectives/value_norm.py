"""Units of the critic: what it predicts, and how that maps to returns."""

from __future__ import annotations

import torch
from torchrl.modules import PopArtValueNorm, ValueNorm

from tamiyo_trl.objectives.config import ValueNormName

DECAY = 0.99  # per batch: statistics remember about a hundred batches


class IdentityValueNorm(ValueNorm):
    """The critic predicts returns as they are."""

    def update(self, value_target: torch.Tensor) -> None:
        """Keep nothing."""

    def normalize(self, value_target: torch.Tensor) -> torch.Tensor:
        """Return `value_target` itself."""
        return value_target

    def denormalize(self, normalised_value: torch.Tensor) -> torch.Tensor:
        """Return `normalised_value` itself."""
        return normalised_value

    def scale(self) -> torch.Tensor:
        """Return 1."""
        return torch.ones(self.shape)


class RunningValueNorm(PopArtValueNorm):
    """The critic predicts returns standardised by a running mean and deviation (TorchRL's debiased moving averages)."""

    def __init__(self) -> None:
        super().__init__(beta=DECAY)

    @property
    def is_empty(self) -> bool:
        """Whether no batch has been folded in yet."""
        return bool(self.debiasing_term == 0)


def make_value_norm(name: ValueNormName) -> ValueNorm:
    """Return the value normaliser called `name`."""
    return RunningValueNorm() if name == "running" else IdentityValueNorm()


def fold(value_norm: ValueNorm, target: torch.Tensor) -> None:
    """Fold the finite ones of `target` (returns, float32 [R, T, 1]) into the statistics."""
    finite = target[target.isfinite()]
    if len(finite):
        value_norm.update(finite.unsqueeze(-1))


def initialise(value_norm: ValueNorm, target: torch.Tensor) -> None:
    """Fold `target` into statistics that are still empty, so that no normalised target is huge."""
    if isinstance(value_norm, RunningValueNorm) and value_norm.is_empty:
        fold(value_norm, target)
