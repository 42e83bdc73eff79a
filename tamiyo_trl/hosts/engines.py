"""Engines: how many hosts of a fleet run in one pass, and in which precision.

All engines share one state and one maths. `grouped` runs every host at once, each layer one grouped convolution; `looped` runs host after host.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from .cnn import HostConfig
from .cohort import Cohort, EpochStats

ENGINES, PRECISIONS = ("auto", "grouped", "looped"), ("fp32", "bf16")


@dataclass(frozen=True)
class Engine:
    """How a fleet is run.

    Attributes:
        name: `grouped` or `looped`.
        precision: `fp32`, or `bf16` (autocast; weights, norms' statistics and optimiser stay fp32).
        rows: hosts that run in one pass.
        chunk: images per host that are evaluated at a time.
        device_type: `cpu` or `cuda`.
    """

    name: str
    precision: str
    rows: int
    chunk: int
    device_type: str

    def cast(self) -> AbstractContextManager[None]:
        """Return the precision's context."""
        return torch.autocast(self.device_type, torch.bfloat16, enabled=self.precision == "bf16")

    def train(
        self, cohort: Cohort, images: Tensor, labels: Tensor, order: Tensor, batch_size: int, lr: Tensor
    ) -> EpochStats:
        """Train a cohort one epoch in `order` [n, M] over its pools images [n, K, C, H, W], labels [n, K]."""
        n, total = order.shape
        own = torch.arange(n, device=order.device).unsqueeze(1)
        loss, correct = torch.zeros(n, device=lr.device), torch.zeros(n, dtype=torch.long, device=lr.device)
        host_norm, seed_norm = torch.zeros_like(loss), torch.zeros_like(cohort.alpha)
        steps = range(0, total, batch_size)
        with self.cast():
            for start in steps:
                pick = order[:, start : start + batch_size]
                step = cohort.train(images[own, pick], labels[own, pick], lr)
                loss += step.loss * pick.shape[1]
                correct += step.correct
                host_norm += step.host_norm
                seed_norm += step.seed_norm
        return EpochStats(loss / total, correct / total, host_norm / len(steps), seed_norm / len(steps))


def make_engine(name: str, precision: str, host: HostConfig, n_hosts: int, device: torch.device) -> Engine:
    """Return the engine called `name` for a fleet.

    Raises:
        ConfigError: no such engine or precision.
    """
    if name not in ENGINES or precision not in PRECISIONS:
        raise ConfigError(
            f"engine must be one of {', '.join(ENGINES)} and precision one of {', '.join(PRECISIONS)}: got {name!r} and {precision!r}"
        )
    if name == "auto":
        name = "grouped" if n_hosts > 1 and max(host.channels) <= 64 else "looped"
    return Engine(name, precision, n_hosts if name == "grouped" else 1, 64, device.type)
