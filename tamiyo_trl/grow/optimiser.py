"""How a seed's parameters join and leave somebody's optimiser, and how gradient norms are read in passing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from tamiyo_trl.errors import ConfigError


class Membership:
    """Seeds join one of the optimiser's parameter groups, and leave it with their state; nobody else is touched.

    They take part in a group that exists, and do not get one of their own, because learning-rate schedulers count
    groups when they are made and refuse to go on with more. So a seed learns at its group's rate, decay and momentum.

    Args:
        optimizer: Any of torch.optim but LBFGS, whose state is one vector over all parameters.
        group: Number of the group that seeds join.

    Raises:
        ConfigError: no such optimiser or group.
    """

    def __init__(self, optimizer: Optimizer, group: int) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ConfigError(f"optimizer must be a torch.optim.Optimizer: got {type(optimizer).__name__}")
        if isinstance(optimizer, LBFGS):
            raise ConfigError("LBFGS keeps one state for all parameters together, so none can join: choose another")
        if not 0 <= group < len(optimizer.param_groups):
            raise ConfigError(f"seed_group must be in 0..{len(optimizer.param_groups) - 1}: got {group}")
        self.optimizer, self._group = optimizer, group

    def check_trains(self, model: nn.Module) -> None:
        """Check that this optimiser trains this model.

        Raises:
            ConfigError: it holds none of the model's parameters.
        """
        own = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        if not any(id(p) in own for p in model.parameters()):
            raise ConfigError("the optimizer holds none of the model's parameters: it trains another model")

    def join(self, parameters: Iterable[nn.Parameter]) -> None:
        """Let these parameters be trained."""
        self.optimizer.param_groups[self._group]["params"].extend(parameters)

    def leave(self, parameters: Iterable[nn.Parameter]) -> None:
        """Forget these parameters and their state."""
        gone = list(parameters)
        numbers = {id(p) for p in gone}
        group = self.optimizer.param_groups[self._group]
        group["params"] = [p for p in group["params"] if id(p) not in numbers]
        for p in gone:
            self.optimizer.state.pop(p, None)


class GradientNorms:
    """Mean gradient norms of the model without seeds and of the live seed, over the optimiser's steps of an epoch.

    They are read when the optimiser steps: after unscaling and clipping, as they are used.
    """

    def __init__(self, optimizer: Optimizer, parameters: Callable[[], tuple[list[nn.Parameter], list[nn.Parameter]]]):
        self._parameters = parameters
        self._sums: list[Tensor] = []
        self._steps = 0
        self._handle = optimizer.register_step_pre_hook(self._read)

    @property
    def means(self) -> tuple[float, float]:
        """The means since `clear` (model, live seed); zeros where the optimiser did not step."""
        return (float(self._sums[0]) / self._steps, float(self._sums[1]) / self._steps) if self._steps else (0.0, 0.0)

    def clear(self) -> None:
        """Start anew."""
        self._sums, self._steps = [], 0

    def close(self) -> None:
        """Stop reading."""
        self._handle.remove()

    @torch.no_grad()
    def _read(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        scale = getattr(optimizer, "grad_scale", None)  # a fused optimiser unscales by itself, after this
        norms = [_norm(group) if scale is None else _norm(group) / scale for group in self._parameters()]
        self._sums = [a + b for a, b in zip(self._sums, norms)] if self._steps else norms
        self._steps += 1


def _norm(parameters: list[nn.Parameter]) -> Tensor:
    gradients = [p.grad for p in parameters if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
