"""What a training loop tells a Grower, checked; and the same on every process of a distributed training."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist

from tamiyo_trl.errors import ConfigError

NAMES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def checked(given: dict[str, float | torch.Tensor | None]) -> dict[str, float]:
    """Return the measurements as numbers: losses not negative, accuracies fractions 0..1.

    Raises:
        ConfigError: one is missing, not a finite number, negative, or a percentage.
    """
    numbers = {}
    for name, value in given.items():
        if value is None:
            raise ConfigError(f"{name} is missing: a Grower needs {', '.join(NAMES)} of every epoch")
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError):
            raise ConfigError(f"{name} must be a number: got {value!r}") from None
        if not math.isfinite(number):
            raise ConfigError(f"{name} must be finite: got {number}; has the training diverged?")
        if number < 0:
            raise ConfigError(f"{name} must not be negative: got {number}")
        if name.endswith("accuracy") and number > 1:
            raise ConfigError(f"{name} must be a fraction 0..1: got {number:g}; divide a percentage by 100")
        numbers[name] = number
    return numbers


def shared_mean(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """Return the mean of each value over all processes; the values themselves where there is one process."""
    if not _is_distributed():
        return values
    together = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(together)
    return dict(zip(values, (together / dist.get_world_size()).tolist()))


def from_first(action: tuple[int, int, int], device: torch.device) -> tuple[int, int, int]:
    """Return the first process's action on every process."""
    if not _is_distributed():
        return action
    shared = torch.tensor(action, dtype=torch.long, device=device)
    dist.broadcast(shared, 0)
    op, site, kind = shared.tolist()
    return op, site, kind


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
