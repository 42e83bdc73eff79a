"""The ablation of hidden states as a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation.ablation import Intervention
from tamiyo_trl.evaluation.statistics import comparison


@dataclass(frozen=True)
class Ablations:
    """One trained controller's mean change of final accuracy by each disturbance of its hidden state."""

    changes: dict[Intervention, float]

    @classmethod
    def of(cls, untouched: Mapping[str, float], disturbed: Mapping[Intervention, Mapping[str, float]]) -> Ablations:
        """Pair each disturbance with the untouched controller, host by host (accuracies by episode seed).

        Raises:
            ConfigError: a disturbance was measured on hosts that the untouched controller did not meet.
        """
        changes = {}
        for item, accuracy in disturbed.items():
            if not accuracy.keys() <= untouched.keys():
                raise ConfigError(f"{item.name} was measured on hosts that the untouched controller did not meet")
            changes[item] = float(np.mean([value - untouched[host] for host, value in accuracy.items()]))
        return cls(changes)


def ablations_table(arms: Mapping[str, Sequence[Ablations]]) -> str:
    """Return the changes over training seeds as a Markdown table, in points."""
    names = list(next(iter(arms.values()))[0].changes)
    lines = ["| hidden state | " + " | ".join(arms) + " |", "|---|" + "---|" * len(arms)]
    for item in names:
        cells = []
        for each in arms.values():
            changes = [ablations.changes[item] for ablations in each]
            cells.append(comparison(changes, [0.0] * len(changes)).text())
        lines.append(f"| {item.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ablations_picture(arms: Mapping[str, Sequence[Ablations]], path: Path) -> None:
    """Draw the change by the step of a single reset, the period of repeated ones, and the step of an exchange."""
    panels = (
        ("reset_at", "one reset at step"),
        ("reset_every", "reset every ... steps"),
        ("swap_at", "swapped at step"),
    )
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for axis, (attribute, title) in zip(axes, panels, strict=True):
        for number, (arm, each) in enumerate(arms.items()):
            items = [item for item in each[0].changes if getattr(item, attribute)]
            if not items:
                continue
            places = [getattr(item, attribute) for item in items]
            rows = 100 * np.array([[ablations.changes[item] for item in items] for ablations in each])
            axis.plot(places, rows.mean(0), marker="o", label=f"{arm} (n={len(each)})", color=f"C{number}")
            for row in rows:
                axis.scatter(places, row, s=10, alpha=0.4, color=f"C{number}")
        axis.axhline(0, color="black", lw=0.8)
        axis.set(xlabel=title)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("change of final accuracy (points)")
    axes[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
