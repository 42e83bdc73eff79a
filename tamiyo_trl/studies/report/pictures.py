"""The pictures of a study of trained controllers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tamiyo_trl.evaluation.plots import timeline
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.studies.measures.imposed import Judgement
from tamiyo_trl.studies.measures.learning import mean_curve
from tamiyo_trl.studies.measures.precision import imposed_score
from tamiyo_trl.studies.report.tables import MARGIN, OBSERVATIONS, comparisons
from tamiyo_trl.studies.results import Study

COLOURS = {"mlp": "#d95f02", "lstm": "#08519c", "gru": "#1b9e77", "frames": "#7570b3"}
STYLES = {"minimal": "-", "summary": "--"}


def _look(arm: str) -> dict[str, Any]:
    memory, _, seen = arm.partition("-")
    return {"color": COLOURS.get(memory, "#636363"), "ls": STYLES.get(seen, "-")}


def learning_curves(study: Study, path: Path) -> None:
    """Draw each arm's mean gain along the training with a band of one standard error over seeds."""
    seen_sets = [seen for seen in OBSERVATIONS if any(arm.endswith(f"-{seen}") for arm in study.arms)]
    figure = Figure(figsize=(5.2 * len(seen_sets), 4), layout="constrained")
    grid = figure.subplots(1, len(seen_sets), sharey=True, squeeze=False)
    for axis, seen in zip(grid[0], seen_sets, strict=True):
        for arm, runs in study.arms.items():
            if not arm.endswith(f"-{seen}"):
                continue
            episodes, mean, error = mean_curve([run.curve for run in runs])
            colour = COLOURS.get(arm.partition("-")[0], "#636363")
            axis.plot(episodes, 100 * mean, color=colour, lw=2, label=f"{arm} (n={len(runs)})")
            axis.fill_between(episodes, 100 * (mean - error), 100 * (mean + error), color=colour, alpha=0.2)
        axis.axhline(0, color="black", lw=0.8)
        axis.set(title=f"{seen} observations", xlabel="training episodes")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    grid[0, 0].set_ylabel("gain over never-grow (points)")
    figure.savefig(path, dpi=110)


def paired_differences(study: Study, path: Path) -> None:
    """Draw the paired difference of final accuracy for each training seed, and its mean."""
    wanted = comparisons(study)
    figure = Figure(figsize=(7.5, 0.8 + 0.7 * max(1, len(wanted))), layout="constrained")
    axis = figure.subplots()
    for row, (_, first, second) in enumerate(wanted):
        one, other = study.values(first, second, lambda run: run.accuracy)
        each = 100 * (np.array(one) - np.array(other))
        axis.scatter(each, np.full(len(each), row), color="#08519c", alpha=0.6)
        axis.scatter([each.mean()], [row], marker="|", s=400, color="black", lw=2)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(wanted)), [what.replace("`", "") for what, _, _ in wanted], fontsize=8)
    axis.set(
        xlabel="difference of final test accuracy, points; a dot per training seed", ylim=(-0.6, len(wanted) - 0.4)
    )
    axis.grid(alpha=0.3, axis="x")
    axis.invert_yaxis()
    figure.savefig(path, dpi=110)


def precision_bars(study: Study, path: Path) -> None:
    """Draw what each arm did about the imposed seeds: cull precision and recall, against culling at random."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for place, (arm, runs) in enumerate(study.arms.items()):
        groups: list[list[Judgement]] = [run.judged for run in runs]
        found = imposed_score(groups, MARGIN)
        colour = COLOURS.get(arm.partition("-")[0], "#636363")
        for axis, value in zip(axes, (found.cull_precision, found.recall), strict=True):
            if value is None:
                axis.text(place, 0.02, "no culls", rotation=90, ha="center", va="bottom", fontsize=8)
                continue
            reach = [[100 * (value.mean - value.low)], [100 * (value.high - value.mean)]]
            axis.bar(place, 100 * value.mean, color=colour, alpha=0.8, yerr=reach, capsize=4)
        axes[0].hlines(100 * found.harmful, place - 0.4, place + 0.4, color="black", ls="--")
    for axis, title in zip(
        axes, ("cull precision (dashed: culling at random)", "recall of harmful seeds"), strict=True
    ):
        axis.set_xticks(range(len(study.arms)), list(study.arms), rotation=20, fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3, axis="y")
    axes[0].set_ylabel("% of imposed seeds")
    figure.savefig(path, dpi=110)


def ablation_plot(study: Study, path: Path) -> None:
    """Draw the change of final accuracy by each disturbance of the hidden state; a dot per training seed."""
    arms = [arm for arm, runs in study.arms.items() if runs[0].ablations]
    names = list(study.arms[arms[0]][0].ablations) if arms else []
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axis = figure.subplots()
    for number, arm in enumerate(arms):
        shift = 0.2 * (number - (len(arms) - 1) / 2)
        rows = 100 * np.array([[run.ablations[name] for name in names] for run in study.arms[arm]])
        places = np.arange(len(names)) + shift
        colour, hollow = _look(arm)["color"], arm.endswith("-summary")
        for row in rows:
            axis.scatter(places, row, s=22, facecolors="none" if hollow else colour, edgecolors=colour, alpha=0.6)
        label = f"{arm} (n={len(rows)}; {'rings' if hollow else 'dots'}: runs, bar: mean)"
        axis.scatter(places, rows.mean(0), s=300, marker="_", lw=2, color=colour, label=label)
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set_ylabel("change of final accuracy (points)")
    axis.grid(alpha=0.3)
    if arms:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def probe_plot(study: Study, path: Path) -> None:
    """Draw how well the deficit can be read at each step, and the policy's entropy over the episode."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    (left, right) = figure.subplots(1, 2)
    for arm, runs in study.arms.items():
        right.plot(np.mean([run.entropy for run in runs], axis=0), label=arm, **_look(arm))
        able = [run for run in runs if "core" in run.probe]
        if able:
            left.plot(100 * np.mean([run.probe["core"] for run in able], axis=0), label=f"{arm}: memory", **_look(arm))
    for seen in OBSERVATIONS:
        able = [
            run for arm, runs in study.arms.items() for run in runs if arm == f"lstm-{seen}" and "core" in run.probe
        ]
        if able:
            mean = 100 * np.mean([run.probe["observation"] for run in able], axis=0)
            left.plot(mean, color="#969696", ls=STYLES[seen], label=f"{seen}: observation")
    left.set(xlabel="step", ylabel="deficit read right (%)", title="linear probe of the hidden deficit")
    right.set(xlabel="step", ylabel="nats", title="entropy of the policy over the episode")
    _finish([left, right])
    figure.savefig(path, dpi=110)


def _finish(axes: list[Axes]) -> None:
    for axis in axes:
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=7)


def timelines(study: Study, path: Path, first: str = "lstm-minimal", second: str = "mlp-minimal") -> bool:
    """Draw what two arms made of the same host; return whether both arms have a run of one seed.

    The host is drawn at random, once for all: nobody chose it.
    """
    pairs = study.pairs(first, second)
    if not pairs:
        return False
    one, other = pairs[0]
    hosts = len(one.held_out)
    chosen = derive_seed(0, "timeline host") % hosts
    never = study.reference("never-grow")[chosen].final_accuracy
    shown = [
        (
            f"{arm}, seed {run.seed}: {100 * (run.held_out[chosen].final_accuracy - never):+.1f} points",
            run.held_out[chosen],
        )
        for arm, run in ((first, one), (second, other))
    ]
    timeline(shown, study.config.blueprints, path)
    return True
