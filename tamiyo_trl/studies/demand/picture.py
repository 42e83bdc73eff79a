"""The picture of a world's demand: what scripts reach, and how well facts are read step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from tamiyo_trl.studies.demand.readings import VIEWS
from tamiyo_trl.studies.demand.summary import Demand

COLOURS = dict(zip(VIEWS, ("#c1663b", "#2c6e8f")))


def draw_demand(found: Demand, rows: Sequence[dict[str, object]], title: str, path: Path) -> None:
    """Write the picture of a world: bars of the scripts' accuracies, curves of the readability of both facts."""
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    (bars, deficit, seed) = figure.subplots(1, 3)
    names = list(found.accuracy)[::-1]
    for place, name in enumerate(names):
        value = found.accuracy[name]
        colour = next((COLOURS[view] for view in VIEWS if name.endswith(view)), "#8c8c8c")
        error = [[100 * (value.mean - value.low)], [100 * (value.high - value.mean)]]
        bars.barh(place, 100 * value.mean, xerr=error, color=colour, ecolor="black", capsize=2)
    bars.set_yticks(range(len(names)), names, fontsize=8)
    bars.set_xlabel("final test accuracy (%), 95% interval over hosts", fontsize=8)
    bars.set_xlim(left=max(0.0, 100 * min(value.low for value in found.accuracy.values()) - 5))
    for axis, fact, score, label in (
        (deficit, "deficit", "accuracy", "step"),
        (seed, "good seed", "auc", "age of the seed"),
    ):
        for view in VIEWS:
            own = [row for row in rows if row["fact"] == fact and row["view"] == view and row["at"] != -1]
            own = [row for row in own if row[score] != ""]
            axis.plot(
                [row["at"] for row in own], [row[score] for row in own], "o-", ms=3, color=COLOURS[view], label=view
            )
        axis.set_xlabel(label, fontsize=8)
        axis.set_ylabel({"accuracy": "share read right", "auc": "area under the curve"}[score], fontsize=8)
        axis.set_title(f"{fact}: read on held-out episodes", fontsize=9)
        axis.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)
