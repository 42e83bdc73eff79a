"""What a controller's episodes amount to, in one row, and what a training batch shows of its episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tamiyo_trl.evaluation.rollout import Episode
from tamiyo_trl.evaluation.statistics import Estimate, estimate, paired


@dataclass(frozen=True)
class Row:
    """One controller's row of a comparison. Accuracies are fractions; counts are means per episode.

    Attributes:
        name: The controller.
        final_accuracy: Committed test accuracy.
        gain: Paired difference to the reference controller on the same hosts.
        over_random: Paired difference to the random controller on the same hosts.
        added_parameters, germinated, fossilized, culled: Means per episode.
    """

    name: str
    final_accuracy: Estimate
    gain: Estimate
    over_random: Estimate
    added_parameters: float
    germinated: float
    fossilized: float
    culled: float


def compare(results: Mapping[str, Sequence[Episode]], reference: str, random: str) -> list[Row]:
    """Return a row per controller; all must have met the same hosts in the same order."""
    rows = []
    base, chance = ([episode.final_accuracy for episode in results[name]] for name in (reference, random))
    for name, episodes in results.items():
        final = [episode.final_accuracy for episode in episodes]
        rows.append(
            Row(
                name,
                estimate(final),
                paired(final, base),
                paired(final, chance),
                *(_mean(episodes, what) for what in ("added_parameters", "germinated", "fossilized", "culled")),
            )
        )
    return rows


def _mean(episodes: Sequence[Episode], what: str) -> float:
    return sum(getattr(episode, what) for episode in episodes) / len(episodes)
