"""Means with honest intervals, paired wherever two controllers met the same hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tamiyo_trl.errors import ConfigError


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


@dataclass(frozen=True)
class Comparison:
    """A paired comparison: the mean difference with its interval, and how large it is against its own spread.

    Attributes:
        difference: Mean of first - second with its 95% bootstrap interval.
        effect_size: Mean difference over the standard deviation of the differences (Cohen's d for pairs); NaN for one
            pair, infinite where all pairs differ by the same non-zero amount.
        wins: Pairs in which the first is larger.
        p: Two-sided p-value of the paired t-test; NaN for one pair. With few pairs it errs less than the interval,
            which is too narrow: that of five normal pairs excludes zero by chance one time in seven.
    """

    difference: Estimate
    effect_size: float
    wins: int
    p: float

    def text(self, scale: float = 100.0, digits: int = 1) -> str:
        """Return e.g. `+1.2 [+0.4, +2.1], d = 0.9, 4 of 5`."""
        n = self.difference.n
        return f"{self.difference.text(scale, digits, sign=True)}, d = {self.effect_size:.2f}, {self.wins} of {n}"


def comparison(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Comparison:
    """Return the paired comparison of two controllers over pairs that share everything else.

    Raises:
        ConfigError: the two do not have one value each per pair.
    """
    difference = paired(first, second, seed)
    each = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    wins, mean = int((each > 0).sum()), difference.mean
    if len(each) < 2:
        return Comparison(difference, float("nan"), wins, float("nan"))
    spread = float(each.std(ddof=1))
    if spread == 0:
        size = float(np.copysign(np.inf, mean)) if mean else 0.0
        return Comparison(difference, size, wins, 0.0 if mean else 1.0)
    return Comparison(difference, mean / spread, wins, float(stats.ttest_1samp(each, 0.0).pvalue))


def share(hits: Sequence[float], counts: Sequence[float], seed: int = 0, resamples: int = 10_000) -> Estimate | None:
    """Return sum(hits) / sum(counts) with a bootstrap interval over clusters (one hit and one count number each).

    What happened in one cluster (an episode, a run) belongs together, so clusters are drawn, not single events. The
    estimate's n is the number of events, sum(counts); None where there are none.

    Raises:
        ConfigError: hits and counts are not equally many.
    """
    if len(hits) != len(counts):
        raise ConfigError(f"hits and counts must be equally many, got {len(hits)} and {len(counts)}")
    hit, count = np.asarray(hits, dtype=float), np.asarray(counts, dtype=float)
    if not count.sum():
        return None
    mean = float(hit.sum() / count.sum())
    drawn = np.random.default_rng(seed).integers(0, len(hit), size=(resamples, len(hit)))
    totals = count[drawn].sum(1)
    ratios = hit[drawn].sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Estimate(mean, float(low), float(high), int(count.sum()))
