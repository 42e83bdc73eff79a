"""What a measured world amounts to: its tidy tables and the one number with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from tamiyo_trl.evaluation.statistics import Estimate, estimate, paired
from tamiyo_trl.studies.demand.measure import BOTH, BOUNDS, READERS
from tamiyo_trl.studies.demand.readings import Log, Reading
from tamiyo_trl.studies.demand.students import MEMORIES
from tamiyo_trl.studies.demand.table import Played, PlayedTable

REGRET, INFORMED = "episode so far over one observation", "both facts known over the episode so far"
DEMAND_COLUMNS = ("world", "observation", "quantity", "mean", "low", "high", "n")
GAP = "students: lstm over mlp"
READABILITY_COLUMNS = ("fact", "view", "model", "at", "rows", "accuracy", "auc", "log_loss")


@dataclass(frozen=True)
class Demand:
    """A world's demand on memory.

    Attributes:
        accuracy: Mean final accuracy of each script on the held-out hosts, with interval.
        regret: What acting on the episode so far earns over acting on one observation, paired by host.
        informed: What knowing both facts earns over the best reading of the episode so far, paired by host.
        work: Seeds planted, kept and culled per episode, of each script and student.
        students: Mean final accuracy of each student on the same hosts; empty where none was taught.
        gap: What students with a memory (lstm) reach over those without (mlp), means over seeds paired by host.
    """

    accuracy: dict[str, Estimate]
    regret: Estimate
    informed: Estimate
    work: dict[str, tuple[float, float, float]]
    students: dict[str, Estimate]
    gap: Estimate | None


def demand(played: PlayedTable, students: PlayedTable) -> Demand:
    """Return what the scripts' and the students' episodes say."""
    names = (*BOUNDS, *READERS.values())
    final = {name: [row.final_accuracy for row in played.of(name)] for name in names}
    one, history = READERS.values()
    work, taught = {}, {name: students.of(name) for name in dict.fromkeys(row.controller for row in students.rows)}
    for name, rows in ({name: played.of(name) for name in names} | taught).items():
        counts = np.array([[row.germinated, row.fossilized, row.culled] for row in rows]).mean(0)
        work[name] = (float(counts[0]), float(counts[1]), float(counts[2]))
    return Demand(
        accuracy={name: estimate(values) for name, values in final.items()},
        regret=paired(final[history], final[one]),
        informed=paired(final[BOTH], final[history]),
        work=work,
        students={name: estimate([row.final_accuracy for row in rows]) for name, rows in taught.items()},
        gap=_gap(taught),
    )


def _gap(taught: Mapping[str, Sequence[Played]]) -> Estimate | None:
    """Return lstm - mlp by host, each the mean over its students; None where none was taught."""
    if not taught:
        return None
    without, with_memory = (
        np.mean([[row.final_accuracy for row in rows] for name, rows in taught.items() if f" {memory} " in name], 0)
        for memory in MEMORIES
    )
    return paired(with_memory.tolist(), without.tolist())


def demand_rows(found: Demand, world: str, observation: str) -> list[dict[str, object]]:
    """Return the demand as a tidy table: a row for each script's accuracy and for both differences, in fractions."""
    values = found.accuracy | {REGRET: found.regret, INFORMED: found.informed} | found.students
    values |= {GAP: found.gap} if found.gap else {}
    return [
        {
            "world": world,
            "observation": observation,
            "quantity": name,
            "mean": round(value.mean, 5),
            "low": round(value.low, 5),
            "high": round(value.high, 5),
            "n": value.n,
        }
        for name, value in values.items()
    ]


def readability(log: Log, readings: dict[tuple[str, str], Reading]) -> list[dict[str, object]]:
    """Return how well each fact is read in each view, by step (deficit) or age (seed), a row each; -1 is over all."""
    rows: list[dict[str, object]] = []
    for (fact, view), reading in readings.items():
        episode, step, truth = log.rows(fact)
        place = step if fact == "deficit" else log.age[episode, step]
        for at in (-1, *sorted(set(place.tolist()))):
            chosen = np.ones(len(place), dtype=bool) if at == -1 else place == at
            rows.append({"fact": fact, "view": view, "model": reading.kind, "at": at, "rows": int(chosen.sum())})
            rows[-1] |= _scores(truth[chosen], reading.held_out[chosen], reading.model.classes_)
    return rows


def _scores(truth: np.ndarray, probability: np.ndarray, classes: np.ndarray) -> dict[str, object]:
    """Return accuracy, area under the curve (two classes only, both present) and log loss, "" where undefined."""
    has_curve = len(classes) == 2 and len(set(truth.tolist())) == 2
    return {
        "accuracy": round(float(accuracy_score(truth, classes[probability.argmax(1)])), 4),
        "auc": round(float(roc_auc_score(truth, probability[:, 1])), 4) if has_curve else "",
        "log_loss": round(float(log_loss(truth, probability, labels=classes)), 4),
    }
