"""Means with honest intervals, paired wherever two controllers met the same hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..errors import ConfigError


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% bootstrap interval over n samples."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly on one side of zero."""
        return self.low > 0 or self.high < 0

    def text(self, scale: float = 100.0, digits: int = 1, sign: bool = False) -> str:
        """Return e.g. `51.2 [49.8, 52.6]`, scaled to per cent by default."""
        plus = "+" if sign else ""
        mean, low, high = (f"{value * scale:{plus}.{digits}f}" for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


def estimate(values: Sequence[float], seed: int = 0, resamples: int = 10_000) -> Estimate:
    """Return the mean of independent values with its percentile bootstrap interval.

    Raises:
        ConfigError: there are no values.
    """
    sample = np.asarray(values, dtype=float)
    if sample.size == 0:
        raise ConfigError("an estimate needs at least one value, got none")
    mean = float(sample.mean())
    if sample.size == 1 or np.ptp(sample) == 0:
        return Estimate(mean, mean, mean, sample.size)
    interval = stats.bootstrap(
        (sample,), np.mean, n_resamples=resamples, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high), sample.size)


def paired(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Estimate:
    """Return the mean of first - second over pairs that share everything but the controller.

    Raises:
        ConfigError: the two do not have one value each per pair.
    """
    if len(first) != len(second):
        raise ConfigError(f"paired values must be equally many, got {len(first)} and {len(second)}")
    return estimate([a - b for a, b in zip(first, second, strict=True)], seed)
