"""How well a controller judges its seeds: cull precision, recall, and fossilize precision against ground truth."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from tamiyo_trl.evaluation.statistics import Estimate, share
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.measures.forks import Decision
from tamiyo_trl.studies.measures.imposed import Judgement


def read_decisions(path: Path) -> list[Decision]:
    """Read a file of decisions."""
    with path.open(newline="") as file:
        return decisions_of(list(csv.DictReader(file)))


def decisions_of(rows: Sequence[Mapping[str, str]]) -> list[Decision]:
    """Return the decisions of a file's lines, given as column: text."""
    casts: dict[str, Callable[[str], object]] = {
        "int": int,
        "float": float,
        "bool": lambda text: text == "True",
    }
    types = {item.name: casts[str(item.type)] for item in fields(Decision)}
    return [Decision(**{name: types[name](text) for name, text in row.items()}) for row in rows]  # type: ignore[arg-type]  # cast above


@dataclass(frozen=True)
class Precision:
    """How a set of decisions compares with ground truth; None where there was nothing to judge.

    Decisions on seeds that had no time left to be fossilized are not counted: nothing depended on them.

    Attributes:
        culls, fossils: Decisions that counted.
        cull_precision: Share of culled seeds that were harmful.
        fossil_precision: Share of fossilized seeds that helped.
        recall: Share of the harmful seeds that were culled, of those that were decided on.
        harmful: Share of harmful seeds among all that were decided on: what culling at random would score.
        culled_worth, kept_worth: Mean worth of the culled and of the fossilized seeds.
    """

    culls: int
    fossils: int
    cull_precision: Estimate | None
    fossil_precision: Estimate | None
    recall: Estimate | None
    harmful: Estimate | None
    culled_worth: float
    kept_worth: float


def precision(groups: Sequence[Sequence[Decision]], margin: float = 0.0) -> Precision:
    """Return how decisions compare with ground truth; each group (a run) is a set of episodes of its own.

    A seed is harmful where keeping it costs more than `margin` of final test accuracy, and helps where it gains more
    than `margin`. Intervals are bootstrapped over episodes.
    """
    clusters: dict[tuple[int, int], list[Decision]] = {}
    for number, decisions in enumerate(groups):
        for decision in decisions:
            if decision.could_stay:
                clusters.setdefault((number, decision.episode), []).append(decision)
    every = list(clusters.values())

    def count(chosen: Callable[[Decision], bool]) -> list[float]:
        return [float(sum(chosen(decision) for decision in cluster)) for cluster in every]

    culled = count(_is_cull)
    fossil = count(lambda decision: not _is_cull(decision))
    harmful = count(lambda decision: decision.worth < -margin)
    both = count(lambda decision: _is_cull(decision) and decision.worth < -margin)
    helped = count(lambda decision: not _is_cull(decision) and decision.worth > margin)
    flat = [decision for cluster in every for decision in cluster]
    return Precision(
        culls=int(sum(culled)),
        fossils=int(sum(fossil)),
        cull_precision=share(both, culled),
        fossil_precision=share(helped, fossil),
        recall=share(both, harmful),
        harmful=share(harmful, [float(len(cluster)) for cluster in every]),
        culled_worth=_mean([decision.worth for decision in flat if _is_cull(decision)]),
        kept_worth=_mean([decision.worth for decision in flat if not _is_cull(decision)]),
    )


def _is_cull(decision: Decision) -> bool:
    return decision.op == Op.CULL


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


@dataclass(frozen=True)
class ImposedScore:
    """What a controller did about imposed seeds, the same for every controller.

    Attributes:
        seeds: Imposed seeds.
        harmful: Share of them that harm: what culling at random would score.
        culled: Share of them that was culled.
        cull_precision: Share of the culled that were harmful.
        recall: Share of the harmful that were culled.
        fossil_precision: Share of the fossilized that helped.
    """

    seeds: int
    harmful: float
    culled: float
    cull_precision: Estimate | None
    recall: Estimate | None
    fossil_precision: Estimate | None


def imposed_score(groups: Sequence[Sequence[Judgement]], margin: float = 0.0) -> ImposedScore:
    """Return what controllers (one group per training run) did about the imposed seeds; each seed is a cluster."""
    every = [judgement for group in groups for judgement in group]
    harmful = [float(item.worth < -margin) for item in every]
    culled = [float(item.verdict == "culled") for item in every]
    kept = [float(item.verdict == "fossilized") for item in every]
    both = [one * other for one, other in zip(harmful, culled, strict=True)]
    helped = [float(item.worth > margin and item.verdict == "fossilized") for item in every]
    return ImposedScore(
        seeds=len(every),
        harmful=_mean(harmful),
        culled=_mean(culled),
        cull_precision=share(both, culled),
        recall=share(both, harmful),
        fossil_precision=share(helped, kept),
    )
