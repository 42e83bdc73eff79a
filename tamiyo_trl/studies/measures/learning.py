"""How fast a controller learns: its gain over never-grow along the training, and how many episodes that takes.

The curve is what the controller itself earned on its training hosts by sampled actions, so it costs nothing; all arms
of one seed met the same hosts. Every point is a mean over the last updates, taken deficit by deficit so that a batch
with many easy hosts does not look like progress, less never-grow's mean accuracy under that deficit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamiyo_trl.errors import ConfigError

WINDOW = 10  # updates


@dataclass(frozen=True)
class Curve:
    """One run's gain over never-grow, smoothed.

    Attributes:
        episodes: Training episodes so far, int [P].
        gain: Mean gain of the updates up to there, fraction [P].
    """

    episodes: np.ndarray
    gain: np.ndarray

    @property
    def final(self) -> float:
        """The last point's gain."""
        return float(self.gain[-1])

    @property
    def area(self) -> float:
        """Mean gain over the whole curve: the area under it per training episode."""
        return float(self.gain.mean())

    def episodes_to(self, gain: float) -> float:
        """Return after how many episodes the curve first reaches this gain; infinite where it never does."""
        reached = np.flatnonzero(self.gain >= gain)
        return float(self.episodes[reached[0]]) if reached.size else float("inf")


def gain_curve(table: Mapping[str, np.ndarray], never: Mapping[int, float], window: int = WINDOW) -> Curve:
    """Return the smoothed gain of a run whose learning curve has the columns `table`, [updates] each.

    `never` holds never-grow's mean final accuracy under each deficit. The curve begins at the first update whose window
    is full and holds every deficit.

    Raises:
        ConfigError: the run is shorter than the window, or no window holds every deficit.
    """
    updates = len(table["episodes"])
    if updates < window:
        raise ConfigError(f"a curve of {updates} updates is shorter than the window of {window}")
    kernel = np.ones(window)
    gains = []
    for deficit, accuracy in never.items():
        count = np.nan_to_num(table.get(f"deficit_{deficit}/count", np.zeros(updates)))
        total = count * np.nan_to_num(table.get(f"deficit_{deficit}/accuracy", np.zeros(updates)))
        episodes = np.convolve(count, kernel, "valid")
        with np.errstate(invalid="ignore"):
            gains.append(np.convolve(total, kernel, "valid") / np.where(episodes > 0, episodes, np.nan) - accuracy)
    gain = np.mean(gains, axis=0)
    known = np.isfinite(gain)
    if not known.any():
        raise ConfigError(f"no window of {window} updates holds an episode of every deficit")
    return Curve(table["episodes"][window - 1 :][known].astype(int), gain[known])


def better_final(arms: Mapping[str, Sequence[Curve]]) -> float:
    """Return the mean final gain of the arm that ends best: what the others are measured against."""
    return max(float(np.mean([curve.final for curve in curves])) for curves in arms.values())


def mean_curve(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return episodes, mean gain and standard error over seeds at the points that all curves have."""
    shared = sorted(set.intersection(*(set(curve.episodes.tolist()) for curve in curves)))
    rows = np.array([curve.gain[np.searchsorted(curve.episodes, shared)] for curve in curves])
    error = rows.std(0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros(rows.shape[1])
    return np.array(shared), rows.mean(0), error
