"""The map of effects as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .effects import NEVER, Effects, ratio


def effects_table(effects: Effects) -> str:
    """Return the net gains over never-grow as a Markdown table, in points with 95% intervals; the best arm is bold."""
    lines = [
        "| choice | " + " | ".join(effects.deficits) + " |",
        "|---|" + "---|" * len(effects.deficits),
        f"| {NEVER}: net accuracy % | "
        + " | ".join(f"{100 * effects.net[d, 0].mean():.1f}" for d in range(len(effects.deficits)))
        + " |",
    ]
    for arm in range(1, len(effects.arms)):
        cells = [_cell(effects, d, arm) for d in range(len(effects.deficits))]
        lines.append(f"| {effects.arms[arm]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(effects: Effects, deficit: int, arm: int) -> str:
    if np.isnan(effects.net[deficit, arm]).any():
        return ""
    text = effects.gain(deficit, arm).text(sign=True)
    return f"**{text}**" if effects.best[deficit] == arm else text


def best_table(effects: Effects) -> str:
    """Return each deficit's best choice, its gain, the gain of the choice made by other hosts, and the runner-up."""
    lines = [
        "| deficit | never-grow % | best choice | net gain | gain / its standard error "
        "| chosen by the other hosts | runner-up |",
        "|---|---|---|---|---|---|---|",
    ]
    for d, name in enumerate(effects.deficits):
        first = effects.best[d]
        second = int(effects.means[d].argsort()[-2])
        gain = effects.gain(d, first).text(sign=True) if first else "0"
        error = f"{ratio(effects, d, first):.1f}" if first else ""
        runner = f"{effects.arms[second]} {100 * (effects.means[d, second] - effects.means[d, 0]):+.1f}"
        lines.append(
            f"| {name} | {100 * effects.net[d, 0].mean():.1f} | {effects.arms[first]} | {gain} | {error} "
            f"| {effects.left_out_gain(d).text(sign=True)} | {runner} |"
        )
    return "\n".join(lines)


def quality_table(effects: Effects, dead_share: Sequence[float], lr_scale: Sequence[float]) -> str:
    """Return what kept seeds of each hidden quality gained, over all deficits and the choices that do not always harm.

    `dead_share` and `lr_scale` are those of the first seed of each host, N values each: the same in every choice.
    """
    arms = [number for number, name in enumerate(effects.arms) if number and name not in effects.harmful()]
    gains = (effects.net[:, arms] - effects.net[:, :1]).reshape(-1, effects.hosts)
    dead, rate = np.asarray(dead_share), np.asarray(lr_scale)
    groups = {f"dead share {share:g}": dead == share for share in sorted(set(dead.tolist()))}
    groups |= {
        "learning rate below the host's": rate < 1,
        "1 to 2.5 times the host's": (rate >= 1) & (rate < 2.5),
        "2.5 times and more": rate >= 2.5,
    }
    lines = ["| hidden quality | hosts | mean net gain | seeds that cost more than 2 points |", "|---|---|---|---|"]
    for name, chosen in groups.items():
        values = gains[:, chosen]
        values = values[np.isfinite(values)]
        if values.size:
            harmed = f"{100 * (values < -0.02).mean():.0f}%"
            lines.append(f"| {name} | {int(chosen.sum())} | {100 * values.mean():+.1f} | {harmed} |")
    return "\n".join(lines)
