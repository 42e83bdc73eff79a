"""Intervals are right, and pairs are pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation import estimate, paired
from tamiyo_trl.evaluation.statistics import comparison, share


def plain_bootstrap(values: list[float], resamples: int) -> tuple[float, float]:
    """Percentile bootstrap of the mean, by a loop."""
    rng = np.random.default_rng(1)
    means = sorted(np.mean([values[i] for i in rng.integers(0, len(values), len(values))]) for _ in range(resamples))
    return means[int(0.025 * resamples)], means[int(0.975 * resamples)]


def test_interval_equals_the_plain_bootstrap():
    values = np.random.default_rng(0).normal(3.0, 1.0, 40).tolist()
    result = estimate(values)
    low, high = plain_bootstrap(values, 4000)
    assert result.mean == pytest.approx(np.mean(values))
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.03)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        result = estimate(rng.normal(0.0, 1.0, 30).tolist(), resamples=500)
        hits += result.low <= 0.0 <= result.high
    assert 0.88 <= hits / 200 <= 0.98


def test_pairing_removes_what_both_share():
    shared = np.random.default_rng(3).normal(0.0, 10.0, 25)
    result = paired((shared + 1.0).tolist(), shared.tolist())
    assert result.mean == pytest.approx(1.0)
    assert result.high - result.low < 1e-9
    assert result.excludes_zero


def test_text_is_in_per_cent_with_its_interval():
    assert estimate([0.5, 0.5]).text() == "50.0 [50.0, 50.0]"
    assert estimate([0.02, 0.02]).text(sign=True) == "+2.0 [+2.0, +2.0]"


def test_nothing_and_unpaired_values_are_refused():
    with pytest.raises(ConfigError, match="at least one value"):
        estimate([])
    with pytest.raises(ConfigError, match="got 2 and 1"):
        paired([1.0, 2.0], [1.0])


def test_comparison_by_hand():
    """Differences 1, 3, -1, 1: mean 1, deviation sqrt((0 + 4 + 4 + 0) / 3), three wins."""
    found = comparison([2.0, 5.0, 1.0, 3.0], [1.0, 2.0, 2.0, 2.0])
    assert found.difference.mean == 1.0
    assert found.effect_size == pytest.approx(1 / math.sqrt(8 / 3))
    assert found.wins == 3
    assert found.text(1.0) == f"{found.difference.text(1.0, sign=True)}, d = 0.61, 3 of 4"


def test_effect_size_of_equal_differences():
    assert comparison([2.0, 3.0], [1.0, 2.0]).effect_size == math.inf
    assert comparison([1.0, 2.0], [1.0, 2.0]).effect_size == 0.0
    assert math.isnan(comparison([1.0], [0.0]).effect_size)


def test_the_t_test_by_hand():
    """Differences 1, 3, -1, 1: t = sqrt(3 / 2) with 3 degrees of freedom, p = 0.308 by the closed form of that cdf."""
    t = math.sqrt(1.5)
    below = 0.5 + (t / math.sqrt(3) / (1 + t * t / 3) + math.atan(t / math.sqrt(3))) / math.pi
    assert comparison([2.0, 5.0, 1.0, 3.0], [1.0, 2.0, 2.0, 2.0]).p == pytest.approx(2 * (1 - below))
    assert comparison([2.0, 3.0], [1.0, 2.0]).p == 0.0
    assert comparison([1.0, 2.0], [1.0, 2.0]).p == 1.0
    assert math.isnan(comparison([1.0], [0.0]).p)


def test_share_pools_events_and_draws_clusters():
    """3 of 4 events in two clusters: a bootstrap of the clusters gives 2/2, 3/4 or 1/2, its tails the outer two."""
    found = share([2, 1], [2, 2])
    assert (found.mean, found.n) == (0.75, 4)
    assert (found.low, found.high) == (0.5, 1.0)
    assert share([0, 0], [0, 0]) is None
    with pytest.raises(ConfigError, match="equally many"):
        share([1], [1, 2])
