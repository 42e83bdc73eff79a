"""Coefficients that change with the number of frames seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from tamiyo_trl.errors import ConfigError


@dataclass(frozen=True)
class LinearSchedule:
    """A value that moves linearly from `start` to `end` over the first `frames` frames and stays there.

    Attributes:
        start: value at frame 0.
        end: value from frame `frames` on.
        frames: environment steps the change takes, summed over all environments; positive.
    """

    start: float
    end: float
    frames: int

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"LinearSchedule.{name} must be finite: {getattr(self, name)}")
        if self.frames < 1:
            raise ConfigError(f"LinearSchedule.frames must be at least 1: {self.frames}")


Schedule: TypeAlias = float | LinearSchedule


def value_at(schedule: Schedule, frames: int) -> float:
    """Return the value of `schedule` once `frames` frames have been seen; a plain number is constant."""
    if isinstance(schedule, LinearSchedule):
        progress = min(max(frames, 0) / schedule.frames, 1.0)
        return schedule.start + (schedule.end - schedule.start) * progress
    return float(schedule)


def bounds(schedule: Schedule) -> tuple[float, float]:
    """Return the least and the greatest value `schedule` ever takes."""
    if isinstance(schedule, LinearSchedule):
        return min(schedule.start, schedule.end), max(schedule.start, schedule.end)
    return float(schedule), float(schedule)
