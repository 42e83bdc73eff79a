"""The map of effects as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamiyo_trl.studies.effects.map import NEVER, Effects, paired, ratio


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
    lines = ["| hidden quality | hosts | mean net gain | seeds that cost / more than 2 points |", "|---|---|---|---|"]
    for name, chosen in groups.items():
        values = gains[:, chosen]
        values = values[np.isfinite(values)]
        if values.size:
            lines.append(f"| {name} | {int(chosen.sum())} | {100 * values.mean():+.1f} | {_costly(values)} |")
    return "\n".join(lines)


def cull_table(effects: Effects) -> str:
    """Return how many kept seeds of each blueprint cost their host, over all sites: those were right to be culled."""
    gains = effects.net[:, 1:] - effects.net[:, :1]
    kinds = [name.partition("@")[0] for name in effects.arms[1:]]
    groups = {kind: np.array([other == kind for other in kinds]) for kind in dict.fromkeys(kinds)}
    groups["all"] = np.ones(len(kinds), dtype=bool)
    lines = [
        "| blueprint | " + " | ".join(effects.deficits) + " | all |",
        "|---|" + "---|" * (len(effects.deficits) + 1),
    ]
    for kind, chosen in groups.items():
        parts = [*(gains[d, chosen] for d in range(len(effects.deficits))), gains[:, chosen]]
        lines.append(f"| {kind} | " + " | ".join(_costly(part[np.isfinite(part)]) for part in parts) + " |")
    return "\n".join(lines)


def _costly(gains: np.ndarray) -> str:
    """Say which share of these net gains is a loss, and which share a loss of more than 2 points."""
    return f"{100 * (gains < 0).mean():.0f}% / {100 * (gains < -0.02).mean():.0f}%" if gains.size else ""


OVERVIEW = (
    "| map | hosts | never-grow | oracle | over the best constant | left out | over never-grow | left out "
    "| surest harm but `lossy` | best choice of each deficit |\n|" + "---|" * 10
)


def overview_row(effects: Effects, link: str) -> str:
    """Return a map's row below `OVERVIEW`; `link` is its name and page in Markdown."""
    oracle, never = effects.oracle_values(), effects.net[:, 0].mean(0)
    fair, fair_constant = effects.left_out()
    over = paired(oracle, effects.net[:, effects.constant].mean(0)).text(sign=True)
    harm, cost = effects.surest_harm()
    best = ", ".join(f"{d}: {effects.arms[arm]}" for d, arm in zip(effects.deficits, effects.best, strict=True))
    cells = (
        link,
        f"{effects.hosts}",
        f"{100 * never.mean():.1f}",
        f"{100 * oracle.mean():.1f}",
        f"{over} ({effects.arms[effects.constant]})",
        paired(fair, fair_constant).text(sign=True),
        paired(oracle, never).text(sign=True),
        paired(fair, never).text(sign=True),
        f"{harm}: {cost.text(sign=True)}",
        best,
    )
    return "| " + " | ".join(cells) + " |"
