"""The spec's four success metrics in one table: a recurrent against a memoryless controller, and what that says.

Every number is a paired difference over training seeds. It is called better or worse where both the 95% bootstrap
interval excludes zero and the paired t-test's p is below 0.05, perhaps so where only the interval does, and everything
else is "no difference shown", whichever way it leans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tamiyo_trl.evaluation.statistics import Comparison, Estimate, comparison
from tamiyo_trl.studies.measures.precision import imposed_score, precision
from tamiyo_trl.studies.report.tables import OBSERVATIONS, episodes_until, table, thresholds
from tamiyo_trl.studies.results import Finished, Study

FIRST, SECOND = "lstm", "mlp"
BETTER, WORSE, UNSURE = "better", "worse", "no difference shown"
PERHAPS = "perhaps "
TOO_FEW = "too few seeds to say"
FEWEST_SEEDS = 3
LEVEL = 0.05  # of the t-test


@dataclass(frozen=True)
class Finding:
    """One metric on one observation set.

    Attributes:
        metric: What is measured.
        found: The paired comparison over training seeds.
        scale: What its numbers are multiplied by to be shown.
        digits: Digits after the point.
        less_is_better: Whether a smaller number is the better one.
        disturbed: Whether it compares the LSTM, its state disturbed, with itself instead of with the MLP.
    """

    metric: str
    found: Comparison
    scale: float = 100.0
    digits: int = 1
    less_is_better: bool = False
    disturbed: bool = False

    @property
    def verdict(self) -> str:
        """`better` or `worse`, `perhaps` so where the t-test doubts it, or `no difference shown`.

        Fewer than three training seeds are never worded better or worse.
        """
        if self.found.difference.n < FEWEST_SEEDS:
            return TOO_FEW
        if not self.found.difference.excludes_zero:
            return UNSURE
        word = BETTER if (self.found.difference.mean < 0) == self.less_is_better else WORSE
        return word if self.found.p < LEVEL else PERHAPS + word

    def text(self) -> str:
        """Return the numbers and the verdict."""
        return f"{self.found.text(self.scale, self.digits)}: {self.verdict}"


def findings(study: Study, seen: str) -> list[Finding]:
    """Return what the study found on an observation set, metric by metric; none before a pair of runs is finished."""
    first, second = f"{FIRST}-{seen}", f"{SECOND}-{seen}"
    if not study.pairs(first, second):
        return []
    budget = float(study.arms[first][0].curve.episodes[-1])
    goals = thresholds(study, first, second)
    found = [Finding("final test accuracy, points", _paired(study, first, second, lambda run: run.accuracy))]
    for part, goal in zip((50, 90), goals, strict=True):
        until = _paired(study, first, second, episodes_until(goal, budget))
        found.append(Finding(f"episodes to {part}% of the final gain", until, 1.0, 0, less_is_better=True))
    found.append(Finding("area under the learning curve, points", _paired(study, first, second, _area)))
    for name, measure in (("own seeds", _own_precision), ("imposed seeds", _imposed_precision)):
        if len(_known(study, first, second, measure)[0]):
            what = f"cull precision on {name}, points"
            found.append(Finding(what, _paired(study, first, second, measure)))
    runs = study.arms[first]
    for name in runs[0].ablations:
        changes = [run.ablations[name] for run in runs]
        what = f"hidden state {name}, points"
        found.append(Finding(what, comparison(changes, [0.0] * len(changes)), disturbed=True))
    return found


def verdict_table(study: Study) -> str:
    """Return the four success metrics, a row each and a column per observation set."""
    columns = {seen: {item.metric: item for item in findings(study, seen)} for seen in OBSERVATIONS}
    columns = {seen: found for seen, found in columns.items() if found}
    metrics = list(dict.fromkeys(metric for found in columns.values() for metric in found))
    rows = [
        [metric, *(found[metric].text() if metric in found else "" for found in columns.values())] for metric in metrics
    ]
    return table(("LSTM less MLP (hidden state: less itself)", *(f"on `{seen}`" for seen in columns)), rows)


def verdicts(study: Study) -> list[str]:
    """Return one plain sentence per observation set, whatever the answer is."""
    lines = []
    for seen in OBSERVATIONS:
        found = findings(study, seen)
        if found:
            seeds = len(study.pairs(f"{FIRST}-{seen}", f"{SECOND}-{seen}"))
            lines.append(f"- On `{seen}` (n = {seeds} training seeds) {_sentence(found)}")
    return lines


def _sentence(found: list[Finding]) -> str:
    against = [item for item in found if not item.disturbed]
    parts = []
    for verdict in (BETTER, WORSE, PERHAPS + BETTER, PERHAPS + WORSE):
        named = [item for item in against if item.verdict == verdict]
        if named:
            what = ", ".join(f"{_name(item)} ({_brief(item)})" for item in named)
            parts.append(f"the LSTM is {verdict} than the MLP in {what}")
    unsure = [_name(item) for item in against if item.verdict == UNSURE]
    if unsure:
        parts.append(f"no difference is shown in {', '.join(unsure)}")
    few = [_name(item) for item in against if item.verdict == TOO_FEW]
    if few:
        parts.append(f"there are too few seeds to say anything of {', '.join(few)}")
    resets = [item for item in found if item.disturbed and "reset at" in item.metric and item.verdict != TOO_FEW]
    if resets:
        harmful = [item for item in resets if item.verdict in (WORSE, PERHAPS + WORSE)]
        costs = ", ".join(f"{_name(item).removeprefix('hidden state reset ')} {_brief(item)}" for item in harmful)
        parts.append(
            f"one reset of its hidden state in mid-episode hurts in {len(harmful)} of {len(resets)} places"
            + (f" ({costs} points)" if harmful else "")
        )
    return "; ".join(parts) + "."


def _name(item: Finding) -> str:
    return item.metric.removesuffix(", points")


def _brief(item: Finding) -> str:
    return item.found.difference.text(item.scale, item.digits, sign=True)


def _known(
    study: Study, first: str, second: str, measure: Callable[[Finished], float]
) -> tuple[list[float], list[float]]:
    """Return the paired values of both arms, without the pairs of which either is unknown."""
    values = zip(*study.values(first, second, measure), strict=True)
    known = [(one, other) for one, other in values if np.isfinite(one) and np.isfinite(other)]
    return [one for one, _ in known], [other for _, other in known]


def _paired(study: Study, first: str, second: str, measure: Callable[[Finished], float]) -> Comparison:
    return comparison(*_known(study, first, second, measure))


def _area(run: Finished) -> float:
    return run.curve.area


def _own_precision(run: Finished) -> float:
    return _mean(precision([run.decisions]).cull_precision)


def _imposed_precision(run: Finished) -> float:
    return _mean(imposed_score([run.judged]).cull_precision)


def _mean(value: Estimate | None) -> float:
    return float("nan") if value is None else value.mean
