"""A probe reads what is there, at the step at which it is there, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.studies.measures.probe import chance, probe_accuracy


def test_a_label_is_read_from_the_step_on_at_which_it_shows():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3], 16)
    features = rng.normal(size=(64, 3, 8))
    features[:, 1, :4] += 6 * np.eye(4)[labels]
    before, shown, after = probe_accuracy(features, labels.tolist(), [0, 1, 2])
    assert shown == 1.0
    assert before < 0.5
    assert after < 0.5


def test_chance_is_the_most_frequent_label():
    assert chance([0, 0, 0, 1, 2]) == pytest.approx(0.6)


def test_too_few_episodes_are_refused():
    with pytest.raises(ConfigError, match=r"at least 8 episodes each, got counts \[8, 2\]"):
        probe_accuracy(np.zeros((10, 2, 3)), [0] * 8 + [1] * 2, [0])
