"""The tables of a run: what training wrote is read, what the held-out episodes gave is written."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .rollout import Episode

EPISODE_COLUMNS = (
    *("seed", "deficit", "final_accuracy", "reward", "added_parameters"),
    *("germinated", "fossilized", "culled"),
)


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a metrics table, float64 [updates] each; an empty field is NaN."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def write_episodes(path: Path, results: Mapping[str, Sequence[Episode]]) -> None:
    """Write one line per controller and held-out host."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["controller", *EPISODE_COLUMNS])
        for controller, episodes in results.items():
            writer.writerows(
                [controller, *(getattr(episode, name) for name in EPISODE_COLUMNS)] for episode in episodes
            )
