"""SGD with momentum and weight decay on rows, each row with its own learning rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from ..seeds.rows import Rows


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


def gradient_norms(rows: Rows, grad: Tensor) -> Tensor:
    """Return the norm [n] of each row's gradient [n, P]; parameters that never train are cleared in `grad` first."""
    return grad.mul_(rows.trainable).square().sum(1).sqrt()


def velocities(rows: Rows, grad: Tensor, config: OptimConfig) -> tuple[Tensor, Tensor]:
    """Return each row's next momentum [n, P], made in place of `grad`, and whether it is finite (bool [n])."""
    grad.add_(rows.values * rows.trainable, alpha=config.weight_decay).add_(rows.momentum, alpha=config.momentum)
    return grad, grad.sum(1).isfinite()


def move(rows: Rows, velocity: Tensor, lr: Tensor, alive: Tensor) -> None:
    """Move every row with `alive` (bool [n]) along its `velocity` [n, P]; the others keep values and momentum.

    lr: float [n], each row's base rate; multiplied by the row's own scale.
    """
    torch.where(alive.unsqueeze(1), velocity, rows.momentum, out=rows.momentum)
    step = torch.where(alive, lr * rows.lr_scale, 0.0).unsqueeze(1)
    rows.values.copy_(torch.where(alive.unsqueeze(1), rows.values - step * velocity, rows.values))
