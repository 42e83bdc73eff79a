"""Linear probes: how well the hidden deficit can be read from what a controller holds at each step of an episode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tamiyo_trl.errors import ConfigError


def probe_accuracy(
    features: np.ndarray, labels: Sequence[int], steps: Sequence[int], folds: int = 8, seed: int = 0
) -> list[float]:
    """Return, for each of `steps`, the share of episodes whose label a linear probe reads right.

    A logistic regression on standardised features, fitted for each step alone on features [N, T, F] of N episodes with
    labels [N]; every episode is judged by a probe that was fitted without it.

    Raises:
        ConfigError: a label has fewer episodes than there are folds, or there is only one label.
    """
    target = np.asarray(labels)
    counts = np.unique(target, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < folds:
        raise ConfigError(f"a probe needs two labels of at least {folds} episodes each, got counts {counts.tolist()}")
    found = []
    for step in steps:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        split = StratifiedKFold(folds, shuffle=True, random_state=seed)
        guessed = cross_val_predict(probe, features[:, step], target, cv=split)
        found.append(float((guessed == target).mean()))
    return found


def chance(labels: Sequence[int]) -> float:
    """Return what always naming the most frequent label gets right."""
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    return float(counts.max() / counts.sum())
