"""What short runs say about learner settings: one score per run, one line per setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.studies.tables import RunKey, Tables


def balanced_accuracy(curve: Mapping[str, np.ndarray], share: float = 0.25) -> float:
    """Return the mean final accuracy of the last `share` of a run's training episodes, all deficits counting alike.

    `curve` holds the columns of a learning curve, [updates] each, with "deficit_<d>/count" and "deficit_<d>/accuracy".

    Raises:
        ConfigError: there are no episodes of a deficit in that part.
    """
    updates = len(curve["episodes"])
    late = slice(updates - max(1, round(share * updates)), updates)
    means = []
    for name in sorted(curve):
        deficit, _, what = name.partition("/")
        if what == "count" and deficit.startswith("deficit_"):
            count = np.nan_to_num(curve[name][late])
            if not count.sum():
                raise ConfigError(f"no episode of {deficit} in the last {share:.0%} of the curve")
            means.append((count * np.nan_to_num(curve[f"{deficit}/accuracy"][late])).sum() / count.sum())
    return float(np.mean(means))


def scores(results: Path, arms: Sequence[str], settings: Sequence[str], seeds: Sequence[int]) -> dict:
    """Return {(arm, setting): scores of the seeds that are finished} of a folder of tables."""
    tables = Tables(results)
    found = {}
    for arm in arms:
        for setting in settings:
            keys = [RunKey(arm, setting, str(seed)) for seed in seeds]
            found[arm, setting] = [balanced_accuracy(tables.curve(key)) for key in keys if key in tables.runs]
    return found


def tuning_table(found: Mapping[tuple[str, str], Sequence[float]]) -> str:
    """Return the scores as a Markdown table, in per cent, a line per setting and a column per arm, best mean first."""
    arms = list(dict.fromkeys(arm for arm, _ in found))
    settings = list(dict.fromkeys(setting for _, setting in found))
    means = {
        setting: float(np.mean([np.mean(found[arm, setting]) if found[arm, setting] else np.nan for arm in arms]))
        for setting in settings
    }
    lines = ["| setting | mean of arms | " + " | ".join(arms) + " |", "|---|---|" + "---|" * len(arms)]
    for setting in sorted(settings, key=lambda name: -np.nan_to_num(means[name], nan=-1.0)):
        cells = []
        for arm in arms:
            each = found[arm, setting]
            cells.append(f"{100 * np.mean(each):.1f} ({', '.join(f'{100 * v:.1f}' for v in each)})" if each else "")
        mean = "" if np.isnan(means[setting]) else f"{100 * means[setting]:.1f}"
        lines.append(f"| {setting} | {mean} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
