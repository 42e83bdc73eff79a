"""Pictures of a run: learning curves, and an episode's timeline. They read numbers, never live objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tamiyo_trl.evaluation.rollout import Episode
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op

_STAGE_COLOURS = {
    Stage.TRAINING: "#9ecae1",
    Stage.BLENDING: "#4292c6",
    Stage.HOLDING: "#08519c",
    Stage.FOSSILIZED: "#238b45",
}
_LABEL_EPOCHS = 4  # about as wide as a blueprint's name
_CULLED = "#cb181d"


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over the last `width` known values at each place; NaN where none is known."""
    result = np.full(len(values), np.nan)
    for place in range(len(values)):
        window = values[max(0, place + 1 - width) : place + 1]
        if np.isfinite(window).any():
            result[place] = np.nanmean(window)
    return result


def learning_curve(metrics: dict[str, np.ndarray], path: Path, references: dict[str, float] | None = None) -> None:
    """Draw final accuracy, return, entropy and KL over episodes; `references` are accuracies to compare with.

    `metrics` holds the columns of a run's metrics table, one value per update (NaN where there was none).
    """
    episodes = np.nancumsum(metrics["episode/count"])
    panels = (
        ("growth/final_accuracy", "final test accuracy (%)", 100.0),
        ("episode/return", "return", 1.0),
        ("entropy/joint", "policy entropy (nats)", 1.0),
        ("ppo/kl", "KL of the update", 1.0),
    )
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    for axis, (column, label, scale) in zip(axes.flat, panels, strict=True):
        values = metrics.get(column, np.full(len(episodes), np.nan)) * scale
        axis.plot(episodes, values, color="#bdbdbd", lw=1)
        axis.plot(episodes, _running_mean(values, 5), color="#08519c", lw=2)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    for number, (name, accuracy) in enumerate((references or {}).items()):
        axes[0, 0].axhline(100 * accuracy, ls="--", lw=1, color=f"C{number + 1}", label=name)
    if references:
        axes[0, 0].legend(fontsize=8, title="held-out hosts", title_fontsize=8)
    for axis in axes[1]:
        axis.set_xlabel("training episodes")
    figure.suptitle("Training: each update (grey) and the mean of the last five (blue)")
    figure.savefig(path, dpi=130)


def timeline(episodes: Sequence[tuple[str, Episode]], blueprints: Sequence[str], path: Path) -> None:
    """Draw episodes side by side: accuracy over the epochs, and each seed's life below it, one lane per site."""
    figure = Figure(figsize=(5.6 * len(episodes), 5.6), layout="constrained")
    grid = figure.subplots(2, len(episodes), sharex="col", squeeze=False, height_ratios=(2, 1.4))
    top = max(episode.val_accuracy.max() for _, episode in episodes)
    for column, (title, episode) in enumerate(episodes):
        upper, lower = grid[0, column], grid[1, column]
        steps = np.arange(1, len(episode.val_accuracy) + 1)
        upper.plot(steps, 100 * episode.val_accuracy, color="black", lw=1.8, label="validation accuracy")
        upper.axhline(100 * episode.final_accuracy, color="#636363", ls=":", label="final test accuracy")
        upper.set(title=title, ylim=(0, 105 * top))
        upper.grid(alpha=0.3)
        _draw_lives(lower, episode, blueprints)
    grid[0, 0].set_ylabel("accuracy (%)")
    grid[0, 0].legend(fontsize=8, loc="lower right")
    names = [Patch(color=colour, label=stage.name.lower()) for stage, colour in _STAGE_COLOURS.items()]
    marks = [Line2D([], [], color=_CULLED, marker="x", ls="", ms=8, mew=2, label="culled")]
    grid[1, 0].legend(handles=[*names, *marks], fontsize=7, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    figure.savefig(path, dpi=130)


def _draw_lives(axis: Axes, episode: Episode, blueprints: Sequence[str]) -> None:
    """Draw one lane per site: a bar per epoch coloured by the stage the seed was in while it trained."""
    n_steps, n_sites = episode.stage.shape
    begun = _stage_during(episode)
    for site in range(n_sites):
        for step in range(n_steps):
            colour = _STAGE_COLOURS.get(Stage(int(begun[step, site])))
            if colour is not None:
                axis.barh(site, 1, left=step + 0.5, height=0.55, color=colour)
        named, raised = -n_steps, False
        for step, (op, where, kind) in enumerate(episode.action):
            if op == Op.GERMINATE and where == site:
                raised = not raised and step - named < _LABEL_EPOCHS  # names of seeds that follow closely take turns
                named, late = step, step > n_steps - _LABEL_EPOCHS
                axis.text(
                    n_steps + 0.5 if late else step + 0.5,
                    site + (0.5 if raised else 0.3),
                    blueprints[int(kind)],
                    fontsize=7,
                    va="bottom",
                    ha="right" if late else "left",
                )
            if op == Op.CULL and where == site:
                axis.plot(step + 0.5, site, "x", color=_CULLED, ms=8, mew=2)
    axis.set(
        yticks=range(n_sites),
        yticklabels=[f"site {site}" for site in range(n_sites)],
        ylim=(-0.5, n_sites - 0.2),
        xlim=(0.5, n_steps + 0.5),
        xlabel="epoch",
    )


def _stage_during(episode: Episode) -> np.ndarray:
    """Return each site's stage during each epoch's training, int [T, S]: the one before it, changed by the action."""
    during = np.vstack([np.zeros_like(episode.stage[:1]), episode.stage[:-1]])
    effects = {Op.GERMINATE: Stage.TRAINING, Op.FOSSILIZE: Stage.FOSSILIZED, Op.CULL: Stage.CULLED}
    for step, (op, site, _) in enumerate(episode.action):
        if op in effects:
            during[step, site] = int(effects[op])
    return during
