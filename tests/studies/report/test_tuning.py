"""The score of a short run is the late accuracy with every deficit counting alike."""

from __future__ import annotations

import numpy as np
import pytest

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.studies.report.tuning import balanced_accuracy, tuning_table

NAN = float("nan")


def curve(**columns: list[float]) -> dict[str, np.ndarray]:
    return {name.replace("__", "/"): np.array(values) for name, values in columns.items()}


def test_late_episodes_count_by_deficit():
    """The last half: deficit 0 has 3 episodes of mean (1 x 0.6 + 2 x 0.3) / 3 = 0.4, deficit 1 one of 0.8."""
    table = curve(
        episodes=[4.0, 8.0, 12.0, 16.0],
        deficit_0__count=[4.0, NAN, 1.0, 2.0],
        deficit_0__accuracy=[0.1, NAN, 0.6, 0.3],
        deficit_1__count=[NAN, 4.0, NAN, 1.0],
        deficit_1__accuracy=[NAN, 0.1, NAN, 0.8],
    )
    assert balanced_accuracy(table, share=0.5) == pytest.approx((0.4 + 0.8) / 2)
    with pytest.raises(ConfigError, match="no episode of deficit_1"):
        balanced_accuracy({**table, "deficit_1/count": np.array([NAN, 4.0, NAN, NAN])}, share=0.5)


def test_settings_are_ordered_by_their_mean_over_arms():
    found = {("mlp", "a"): [0.5], ("mlp", "b"): [0.6, 0.4], ("lstm", "a"): [0.5], ("lstm", "b"): [0.7]}
    assert tuning_table(found).splitlines()[2:] == [
        "| b | 60.0 | 50.0 (60.0, 40.0) | 70.0 (70.0) |",
        "| a | 50.0 | 50.0 (50.0) | 50.0 (50.0) |",
    ]
