"""Learning speed by hand: gains are taken deficit by deficit, thresholds are reached where the curve reaches them."""

from __future__ import annotations

import numpy as np
import pytest

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.studies.measures.learning import Curve, better_final, gain_curve, mean_curve

NAN = float("nan")


def test_gain_is_the_mean_over_deficits_of_the_windows_gain():
    """Window of 2 updates.

    Deficit 0 (never-grow 0.2): updates 1-2 hold 1 x 0.3 + 3 x 0.5 = 1.8 over 4, gain 0.25; updates 2-3: 3 x 0.5 + 1 x
    0.9 = 2.4 over 4, gain 0.4. Deficit 1 (never-grow 0.6): 3 x 0.6 over 3, gain 0; then 3 x 0.8 over 3, gain 0.2.
    """
    table = {
        "episodes": np.array([4.0, 8.0, 12.0]),
        "deficit_0/count": np.array([1.0, 3.0, 1.0]),
        "deficit_0/accuracy": np.array([0.3, 0.5, 0.9]),
        "deficit_1/count": np.array([3.0, NAN, 3.0]),
        "deficit_1/accuracy": np.array([0.6, NAN, 0.8]),
    }
    curve = gain_curve(table, {0: 0.2, 1: 0.6}, window=2)
    assert curve.episodes.tolist() == [8, 12]
    assert curve.gain == pytest.approx([(0.25 + 0.0) / 2, (0.4 + 0.2) / 2])
    assert curve.final == pytest.approx(0.3)
    assert curve.area == pytest.approx((0.125 + 0.3) / 2)
    with pytest.raises(ConfigError, match="shorter than the window of 4"):
        gain_curve(table, {0: 0.2}, window=4)


def test_points_without_every_deficit_are_left_out():
    table = {
        "episodes": np.array([4.0, 8.0]),
        "deficit_0/count": np.array([4.0, 4.0]),
        "deficit_0/accuracy": np.array([0.5, 0.5]),
        "deficit_1/count": np.array([NAN, 1.0]),
        "deficit_1/accuracy": np.array([NAN, 0.5]),
    }
    assert gain_curve(table, {0: 0.0, 1: 0.0}, window=1).episodes.tolist() == [8]
    with pytest.raises(ConfigError, match="every deficit"):
        gain_curve(table, {0: 0.0, 2: 0.0}, window=1)


def test_thresholds_are_first_reached_or_never():
    curve = Curve(np.array([16, 32, 48, 64]), np.array([0.01, 0.05, 0.03, 0.08]))
    assert curve.episodes_to(0.04) == 32
    assert curve.episodes_to(0.05) == 32
    assert curve.episodes_to(0.09) == float("inf")


def test_the_better_arm_is_the_one_that_ends_best():
    def ending(value: float) -> Curve:
        return Curve(np.array([16, 32]), np.array([0.9, value]))

    assert better_final({"a": [ending(0.1), ending(0.3)], "b": [ending(0.25)]}) == pytest.approx(0.25)


def test_mean_curve_takes_shared_points():
    episodes, mean, error = mean_curve(
        [Curve(np.array([16, 32, 48]), np.array([0.0, 0.1, 0.2])), Curve(np.array([32, 48]), np.array([0.3, 0.2]))]
    )
    assert episodes.tolist() == [32, 48]
    assert mean == pytest.approx([0.2, 0.2])
    assert error == pytest.approx([np.std([0.1, 0.3], ddof=1) / np.sqrt(2), 0.0])
