"""What the learner reports of a batch and of its optimiser steps."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import torch
from tensordict import TensorDictBase

SATURATED = 0.95  # a bounded unit beyond this has next to no gradient left


class Averages:
    """Weighted means of many small tensors, read back in one go."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._weights: defaultdict[str, float] = defaultdict(float)

    def add(self, values: dict[str, torch.Tensor], weight: float = 1.0) -> None:
        """Add one observation of each of `values` (scalar tensors)."""
        for name, value in values.items():
            weighted = value if weight == 1.0 else value * weight
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
            self._weights[name] += weight

    def means(self) -> dict[str, torch.Tensor]:
        """Return the mean of every quantity that was added, as tensors."""
        return {name: total / self._weights[name] for name, total in self._sums.items()}

    def result(self) -> dict[str, float]:
        """Return the mean of every quantity that was added, as numbers."""
        if not self._sums:
            return {}
        sums = torch.stack([value.reshape(()).to(torch.float64) for value in self._sums.values()]).tolist()
        return {name: total / self._weights[name] for name, total in zip(self._sums, sums)}


def explained_variance(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 1 - Var(target - value) / Var(target) over all steps: 1 is perfect, 0 is no better than a constant.

    Not a number where the targets do not vary.
    """
    return 1 - (target - value).var(correction=0) / target.var(correction=0)


def hidden_metrics(rows: TensorDictBase, state_keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return root mean square and largest magnitude of the stored hidden states [R, T, N, H], and the saturated share.

    The share is that of entries beyond 0.95 in the first state, the memory's bounded output.
    """
    if not state_keys:
        return {}
    states = [rows[key] for key in state_keys]
    squares = sum(state.pow(2).sum() for state in states)
    return {
        "hidden/rms": (squares / sum(state.numel() for state in states)).sqrt(),
        "hidden/max": torch.stack([state.abs().max() for state in states]).max(),
        "hidden/saturated": (states[0].abs() > SATURATED).float().mean(),
    }


@dataclass
class StepLog:
    """What happened to the optimiser steps of one update.

    Attributes:
        taken: steps taken.
        skipped: steps skipped because a loss or gradient was not finite.
        stopped: whether the KL limit ended the update.
        max_ratio: largest probability ratio before any step.
        ratio_error: largest |ratio - 1| before any step.
    """

    taken: int = 0
    skipped: int = 0
    stopped: bool = False
    max_ratio: float = math.nan
    ratio_error: float = math.nan
    _kls: list[float] = field(default_factory=list)
    _averages: Averages = field(default_factory=Averages)

    def begin_epoch(self) -> None:
        """Forget the divergences of the epoch before: the last epoch's are reported."""
        self._kls.clear()

    def see(self, kl: float) -> None:
        """Record the divergence (nats) found on a minibatch before its step."""
        self._kls.append(kl)

    def take(self, values: dict[str, torch.Tensor]) -> None:
        """Record a step that was taken, with its metrics."""
        self.taken += 1
        self._averages.add(values)

    def result(self) -> dict[str, float]:
        """Return the update's metrics: means over the steps taken, the divergence over the last epoch's minibatches."""
        return self._averages.result() | {
            "ppo/kl": sum(self._kls) / len(self._kls) if self._kls else math.nan,
            "ppo/max_ratio_first": self.max_ratio,
            "ppo/ratio_error_first": self.ratio_error,
            "ppo/steps": float(self.taken),
            "ppo/skipped_steps": float(self.skipped),
            "ppo/stopped_early": float(self.stopped),
        }
